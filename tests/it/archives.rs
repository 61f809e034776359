//! Data sets in archives that were damaged: 10,000 files give errors or data, no panic, and take memory in proportion to their size.

use crate::hostile::{Numbers, mutant};
use crate::memory::peak;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use sit_trainer::data::{self, DataConfig, Kind};
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Limit of memory: bytes per byte of the file, and bytes for any file. A label may be up to 999,999, and then there are a million classes, which
/// have names.
const MOST: (usize, usize) = (64, 32 << 20);

/// Opens a data set and reads all of it; the bytes are those of what was damaged.
#[track_caller]
fn read_all(what: &str, config: &DataConfig, n_bytes: usize) -> Result<(), String> {
    let (done, most) = peak(|| {
        let words = |e: data::DataError| e.to_string();
        let found = data::open(config, &|_, _| ()).map_err(words)?;
        let mut image = vec![0.0; found.shape().iter().product()];
        for index in 0..found.len() {
            found.read(index, &mut image).map_err(words)?;
            assert!(image.iter().all(|x| x.is_finite()), "{what}: image {index}");
        }
        drop(data::suggest(config.path.as_deref().unwrap()));
        Ok(())
    });
    let limit = MOST.0 * n_bytes + MOST.1;
    assert!(
        most <= limit,
        "{what}: {most} bytes of memory for a file of {n_bytes}: {done:?}"
    );
    done
}

fn pictures(path: &Path) -> DataConfig {
    DataConfig {
        kind: Kind::Folder,
        path: Some(path.to_owned()),
        image_size: Some(4),
        cache_mib: Some(1),
        max_megapixels: Some(1),
        disk_cache: Some(false),
        ..DataConfig::digits()
    }
}

fn picture(level: u8, format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(6, 5, |x, y| Rgb([level, x as u8, y as u8]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image)
        .write_to(&mut bytes, format)
        .unwrap();
    bytes.into_inner()
}

fn tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let long = format!("{}/2.webp", "long".repeat(40));
    let jpeg = include_bytes!("../fixtures/pictures/422.jpg");
    let files: [(&str, &[u8]); 6] = [
        ("0.png", &picture(10, ImageFormat::Png)),
        ("0.cls", b"1"),
        ("1.jpg", jpeg),
        ("1.json", b"{\"label\": 0}"),
        (&long, &picture(30, ImageFormat::WebP)),
        (&long.replace("webp", "cls"), b"0"),
    ];
    fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, bytes).unwrap();
    }
    for (name, bytes) in files {
        append(&mut tar, name, bytes);
    }
    append(&mut tar, "3.cls", b"1");
    tar.append_pax_extensions([("path", "3.png".as_bytes())])
        .unwrap();
    append(&mut tar, "other", &picture(40, ImageFormat::Png));
    tar.into_inner().unwrap()
}

/// A tar file whose damaged headers have sums that are right.
fn with_sums(mut bytes: Vec<u8>) -> Vec<u8> {
    for block in bytes.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    bytes
}

fn npz(method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let levels: Vec<u8> = (0..3 * 4 * 4 * 3).map(|i| i as u8).collect();
    for (name, header, bytes) in [
        (
            "arr_0",
            "'|u1', 'fortran_order': False, 'shape': (3, 4, 4, 3)",
            &levels[..],
        ),
        (
            "label",
            "'<i4', 'fortran_order': False, 'shape': (3,)",
            &[0; 12],
        ),
    ] {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(format!("{name}.npy"), options).unwrap();
        let header = format!("{{'descr': {header}, }}\n");
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(header.as_bytes()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn parquet() -> Vec<u8> {
    let schema = "message schema { OPTIONAL group image { OPTIONAL BYTE_ARRAY bytes; OPTIONAL BYTE_ARRAY path (UTF8); } OPTIONAL INT64 label; }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let info = r#"{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}}}"#;
    let properties = WriterProperties::builder()
        .set_compression(parquet::basic::Compression::SNAPPY)
        .set_data_page_row_count_limit(2)
        .set_write_batch_size(1)
        .set_key_value_metadata(Some(vec![parquet::file::metadata::KeyValue::new(
            "huggingface".to_owned(),
            info.to_owned(),
        )]))
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties.into()).unwrap();
    for group in 0..2 {
        let mut rows = writer.next_row_group().unwrap();
        while let Some(mut column) = rows.next_column().unwrap() {
            let level = |i: u8| picture(group * 90 + i * 20, ImageFormat::Png);
            let bytes: Vec<ByteArray> = (0..4).map(|i| level(i).into()).collect();
            match column.untyped() {
                ColumnWriter::ByteArrayColumnWriter(column) => {
                    column.write_batch(&bytes, Some(&[2; 4]), None).unwrap();
                }
                ColumnWriter::Int64ColumnWriter(column) => {
                    column
                        .write_batch(&[0, 1, 1, 0], Some(&[1; 4]), None)
                        .unwrap();
                }
                _ => unreachable!("two types of columns"),
            }
            column.close().unwrap();
        }
        rows.close().unwrap();
    }
    writer.into_inner().unwrap()
}

/// A folder of latents with one shard, and the shard.
fn latents(folder: &Path) -> Vec<u8> {
    let about = serde_json::json!({
        "version": data::VERSION, "latent": [2, 2, 2], "image": [3, 16, 16], "flips": false, "variances": true, "half": true,
        "scale": 1.0, "shift": 0.0, "autoencoder": "a", "weights": "00000000", "source": "x", "settings": "",
        "n_classes": 2, "classes": ["cat", "dog"], "shards": [{ "file": "shard.safetensors", "images": 3, "crc32c": 0 }],
    });
    fs::write(folder.join(data::LATENTS), about.to_string()).unwrap();
    let header = r#"{"moments":{"dtype":"F16","shape":[3,1,2,2,2,2],"data_offsets":[0,96]},"label":{"dtype":"I64","shape":[3],"data_offsets":[96,120]},"names":{"dtype":"U8","shape":[17],"data_offsets":[120,137]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend([0x11; 96]);
    bytes.extend([0, 1, 1].into_iter().flat_map(i64::to_le_bytes));
    bytes.extend(b"cat/a\ndog/b\ndog/c");
    bytes
}

/// A name of the files, how many are made, the whole file, what is done to each after it was damaged, and how it is opened.
struct Row {
    name: &'static str,
    n: usize,
    whole: Vec<u8>,
    repair: fn(Vec<u8>) -> Vec<u8>,
    file: &'static str,
    config: DataConfig,
}

#[test]
fn ten_thousand_damaged_archives_give_errors_or_data() {
    // A panic of a library that the reader catches is an error of the file; as in the program, it is not printed.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !data::is_guarded() {
            hook(info);
        }
    }));
    // Work of other threads would not be counted.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread();
    let _pool = pool.build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let shard = at("latents");
    fs::create_dir(&shard).unwrap();
    let row = |name, n, whole, repair, file| Row {
        name,
        n,
        whole,
        repair,
        file,
        config: pictures(&at(file)),
    };
    let rows = [
        row("tar", 1250, tar(), |bytes| bytes, "a.tar"),
        row("tar with sums", 1250, tar(), with_sums, "b.tar"),
        row(
            "npz",
            1250,
            npz(CompressionMethod::Stored),
            |bytes| bytes,
            "c.npz",
        ),
        row(
            "compressed npz",
            1250,
            npz(CompressionMethod::Deflated),
            |bytes| bytes,
            "d.npz",
        ),
        row("Parquet", 2500, parquet(), |bytes| bytes, "e.parquet"),
        Row {
            name: "latents",
            n: 2500,
            whole: latents(&shard),
            repair: |bytes| bytes,
            file: "latents/shard.safetensors",
            config: DataConfig {
                kind: Kind::Latents,
                path: Some(shard.clone()),
                ..DataConfig::digits()
            },
        },
    ];
    assert_eq!(rows.iter().map(|row| row.n).sum::<usize>(), 10_000);
    for Row {
        name,
        n,
        whole,
        repair,
        file,
        config,
    } in rows
    {
        let path = at(file);
        fs::write(&path, &whole).unwrap();
        read_all(name, &config, whole.len()).unwrap();
        let mut numbers = Numbers(11);
        let mut n_refused = 0;
        for i in 0..n {
            let bytes = repair(mutant(&whole, &mut numbers));
            fs::write(&path, &bytes).unwrap();
            let what = format!("{name}, mutant {i}");
            n_refused += usize::from(read_all(&what, &config, bytes.len()).is_err());
        }
        // Some damage changes only levels, or what nobody reads.
        assert!(
            n_refused > n / 4 && n_refused < n,
            "{name}: {n_refused} of {n}"
        );
    }
}
