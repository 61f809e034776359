mod tar_files;

use std::fs;
use std::io::{Cursor, Write as _};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use tempfile::TempDir;
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use super::*;
use crate::data::folder::Folder;
use crate::data::{Dataset as _, Kind};

fn config(path: &Path) -> DataConfig {
    DataConfig {
        kind: Kind::Folder,
        path: Some(path.to_owned()),
        image_size: Some(8),
        disk_cache: Some(false),
        ..DataConfig::digits()
    }
}

/// A PNG of one color and of a size of its own.
fn png(level: u8) -> Vec<u8> {
    let side = 8 + u32::from(level % 5);
    let image = RgbImage::from_pixel(side, 2 * side, Rgb([level, 0, 255 - level]));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image)
        .write_to(&mut bytes, ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

/// A tar file with these entries.
fn tar_of(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = ::tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

struct Place(TempDir);

impl Place {
    fn new(files: &[(&str, Vec<u8>)]) -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        for (name, bytes) in files {
            fs::write(place.at(name), bytes).unwrap();
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn open(config: &DataConfig) -> Result<Folder, String> {
    Folder::open(config, &|_, _| ()).map_err(|e| e.to_string())
}

/// The red level of the first pixel, the label and the name of each picture.
fn contents(data: &Folder) -> Vec<(u8, u32, String)> {
    let mut image = [0.0; 3 * 64];
    (0..data.len())
        .map(|index| {
            data.read(index, &mut image).unwrap();
            let level = ((image[0] + 1.0) * 127.5).round() as u8;
            let name = data.item_name(index);
            let below = name.strip_prefix(data.name()).unwrap_or(&name);
            (level, data.label(index), below.to_owned())
        })
        .collect()
}

fn levels_and_labels(data: &Folder) -> Vec<(u8, u32)> {
    contents(data).iter().map(|(x, y, _)| (*x, *y)).collect()
}

fn suggest_text(path: &Path) -> String {
    crate::data::suggest(path).unwrap_err().to_string()
}

/// An archive of arrays: a name, NumPy's type, the shape, and the bytes.
fn npz_of(arrays: &[(&str, &str, &str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, descr, shape, bytes) in arrays {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(format!("{name}.npy"), options).unwrap();
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n");
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(header.as_bytes()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn arrays_are_read_stored_and_compressed() {
    let levels: Vec<u8> = (0..3 * 8 * 8 * 3)
        .map(|i| (i / 192 * 50 + i % 3) as u8)
        .collect();
    let labels: Vec<u8> = [4_i64, 0, 9]
        .into_iter()
        .flat_map(i64::to_le_bytes)
        .collect();
    let arrays: [(&str, &str, &str, &[u8]); 4] = [
        ("x_train", "|u1", "3, 8, 8, 3", &levels),
        ("y_train", "<i8", "3, 1", &labels),
        ("x_test", "|u1", "2, 8, 8", &levels[..128]),
        ("y_test", "|u1", "2, ", &[1, 1]),
    ];
    for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
        let place = Place::new(&[("data.npz", npz_of(&arrays, method))]);
        let path = place.at("data.npz");
        assert_eq!(splits(&path).unwrap(), [Split::Train, Split::Test]);
        for cache_mib in [None, Some(1)] {
            let of = |split| {
                open(&DataConfig {
                    split,
                    cache_mib,
                    ..config(&path)
                })
                .unwrap()
            };
            let train = of(Split::Train);
            assert_eq!(levels_and_labels(&train), [(0, 4), (50, 0), (100, 9)]);
            assert_eq!(
                (train.n_classes(), train.item_name(2)),
                (10, shown(path.join("000002")))
            );
            assert_eq!(of(Split::Test).len(), 2);
        }
    }
}

#[test]
fn what_is_wrong_with_arrays_is_said() {
    use CompressionMethod::{Deflated, Stored};
    let levels = [0; 2 * 4 * 4];
    let of = |shape: &str, method| npz_of(&[("arr_0", "|u1", shape, &levels)], method);
    let big = vec![0; 3 << 20];
    let rows: [(Vec<u8>, &str); 9] = [
        (b"no".to_vec(), "got no zip file ("),
        (
            of("2, 4, 4, 2", Stored),
            "expected the values of [2, 4, 4, 2] of |u1",
        ),
        (
            of("4, 4, 2, 1, 1", Stored),
            "got arr_0 of [4, 4, 2, 1, 1], expected [N, H, W]",
        ),
        (
            of("2, 2, 4, 2", Stored),
            "got arr_0 of [2, 2, 4, 2], expected [N, H, W]",
        ),
        (
            npz_of(&[("arr_0", "<f4", "2, 2, 2", &levels)], Stored),
            "of the type <f4",
        ),
        (
            npz_of(&[("a", "|u1", "2, 4, 4", &levels)], Stored),
            "got the arrays a, expected images in",
        ),
        (
            npz_of(&[("arr_0", "|u1", "0, 4, 4", &[])], Stored),
            "got arr_0 of [0, 4, 4]",
        ),
        (
            npz_of(
                &[
                    ("arr_0", "|u1", "2, 4, 4", &levels),
                    ("label", "|u1", "3, ", &[0; 3]),
                ],
                Stored,
            ),
            "got label of [3], expected [2]",
        ),
        (
            npz_of(&[("arr_0", "|u1", "3, 1024, 1024", &big)], Deflated),
            "got arr_0 that unpacks to 4 MiB, expected at most data.cache_mib = 1",
        ),
    ];
    for (bytes, expected) in rows {
        let place = Place::new(&[("x.npz", bytes)]);
        let text = open(&DataConfig {
            cache_mib: Some(1),
            ..config(&place.at("x.npz"))
        });
        let text = text.err().unwrap_or_default();
        assert!(
            text.contains("x.npz: ") && text.contains(expected),
            "{text}"
        );
    }
    // A value that has changed is found by the checksum.
    let mut packed = of("2, 4, 4", Deflated);
    let at = packed
        .windows(6)
        .position(|w| w == b"\x93NUMPY")
        .unwrap_or(60);
    packed[at + 20] ^= 1;
    let place = Place::new(&[("x.npz", packed)]);
    assert!(open(&config(&place.at("x.npz"))).is_err());
}

#[test]
fn records_of_cifar_are_planes() {
    let record = |labels: &[u8], level: u8| {
        let mut record = labels.to_vec();
        for plane in [level, level + 1, level + 2] {
            record.extend([plane; 1024]);
        }
        record
    };
    let names = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
    let place = Place::new(&[
        (
            "data_batch_1.bin",
            [record(&[3], 10), record(&[0], 20)].concat(),
        ),
        ("data_batch_2.bin", record(&[1], 30)),
        ("test_batch.bin", record(&[5], 40)),
        ("batches.meta.txt", names.into()),
        ("readme.html", b"x".to_vec()),
    ]);
    let data = open(&config(place.0.path())).unwrap();
    assert_eq!(levels_and_labels(&data), [(10, 3), (20, 0), (30, 1)]);
    assert_eq!(
        (data.n_classes(), &data.class_names()[9][..]),
        (10, "truck")
    );
    let mut image = [0.0; 192];
    data.read(0, &mut image).unwrap();
    let level = |x: f32| (x + 1.0) * 127.5;
    assert!((level(image[64]) - 11.0).abs() < 1e-3 && (level(image[128]) - 12.0).abs() < 1e-3);
    let test = DataConfig {
        split: Split::Test,
        ..config(place.0.path())
    };
    assert_eq!(levels_and_labels(&open(&test).unwrap()), [(40, 5)]);
    assert!(
        config(place.0.path())
            .has_test(Some(place.0.path()))
            .unwrap()
    );
    assert!(open(&config(&place.at("data_batch_2.bin"))).unwrap().len() == 1);

    fs::write(place.at("data_batch_2.bin"), [10; 3073]).unwrap();
    let text = open(&config(place.0.path())).err().unwrap();
    assert!(
        text.contains("got the label 10 of image 0, expected labels below 10"),
        "{text}"
    );
    fs::write(place.at("data_batch_2.bin"), [0; 3072]).unwrap();
    let text = open(&config(place.0.path())).err().unwrap();
    assert!(
        text.contains("got 3072 bytes, expected records of 3073 bytes"),
        "{text}"
    );
    fs::write(place.at("batches.meta.txt"), "cat\n").unwrap();
    let text = open(&config(place.0.path())).err().unwrap();
    assert!(
        text.contains("batches.meta.txt: got 1 name, expected the names of 10"),
        "{text}"
    );

    let fine: String = (0..100).map(|i| format!("class {i}\n")).collect();
    let place = Place::new(&[
        ("train.bin", record(&[1, 99], 10)),
        ("test.bin", record(&[1, 98], 20)),
        ("fine_label_names.txt", fine.into()),
    ]);
    let data = open(&config(place.0.path())).unwrap();
    assert_eq!(levels_and_labels(&data), [(10, 99)]);
    assert_eq!(data.class_names()[99], "class 99");
}

#[test]
fn parts_are_told_by_the_names_of_files() {
    let (a, b, c) = (png(10), png(20), png(30));
    let place = Place::new(&[
        ("x-train-00.tar", tar_of(&[("0.png", &a)])),
        ("x-val-00.tar", tar_of(&[("0.png", &b)])),
        ("x-test-00.tar", tar_of(&[("0.png", &c)])),
    ]);
    let of = |split| {
        let split = DataConfig {
            split,
            ..config(place.0.path())
        };
        open(&split).map(|data| levels_and_labels(&data))
    };
    assert_eq!(of(Split::Train).unwrap(), [(10, 0)]);
    assert_eq!(of(Split::Test).unwrap(), [(30, 0)]);
    fs::remove_file(place.at("x-test-00.tar")).unwrap();
    assert_eq!(of(Split::Test).unwrap(), [(20, 0)]);
    fs::remove_file(place.at("x-val-00.tar")).unwrap();
    let text = of(Split::Test).unwrap_err();
    assert!(
        text.starts_with("data.split: got test, expected train: "),
        "{text}"
    );
    // Beside pictures or folders, tar files are no data.
    fs::write(place.at("a.png"), &a).unwrap();
    assert!(!is_archive(place.0.path()).unwrap());
    let text = of(Split::Test).unwrap_err();
    assert!(
        text.contains("a folder of pictures has no test part"),
        "{text}"
    );
    fs::remove_file(place.at("a.png")).unwrap();
    fs::write(place.at("b.npz"), "x").unwrap();
    let text = of(Split::Train).unwrap_err();
    assert!(text.contains("expected archives of one format"), "{text}");
    let pickles = Place::new(&[("data_batch_1", vec![0x80])]);
    let text = suggest_text(pickles.0.path());
    assert!(text.contains("got CIFAR's pickles for Python"), "{text}");
}
