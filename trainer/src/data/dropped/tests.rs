use std::io::Write;

use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};

use super::*;
use crate::data::Dataset;

fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let image: DynamicImage = image.into();
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Archives among them unpacked, as a page does it.
fn open_files(config: &DataConfig, files: Vec<File>) -> Result<InMemory, DataError> {
    let quiet = async |_, _| ();
    pollster::block_on(async {
        let files = unpack(files, quiet).await?;
        super::open_files(config, &files, quiet).await
    })
}

#[test]
fn gz_files_are_unpacked_in_pieces() {
    let content: Vec<u8> = (0..600_000u32).map(|i| (i / 7) as u8).collect();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&content).unwrap();
    let gz = gz.finish().unwrap();
    let torn = gz[..gz.len() / 2].to_vec();
    let files = vec![
        ("a.gz".to_owned(), gz.into()),
        ("b.GZ".to_owned(), torn.clone().into()),
    ];
    let calls = std::cell::Cell::new(0);
    let progress = async |_, _| calls.set(calls.get() + 1);
    let files = pollster::block_on(unpack(files, progress)).unwrap();
    assert_eq!(&files[0].1[..], &content[..]);
    assert_eq!(&files[1].1[..], &torn[..]);
    assert!(calls.get() >= 3, "{} calls", calls.get());
}

fn files() -> Vec<File> {
    let file = |name: &str, bytes: Vec<u8>| (name.to_owned(), bytes.into());
    vec![
        file(
            "pets/dog/b.png",
            png(RgbImage::from_pixel(20, 12, Rgb([255, 0, 51]))),
        ),
        file(
            "pets/cat/deep/a.png",
            png(GrayImage::from_pixel(9, 9, [204].into())),
        ),
        file(
            "pets/dog/a.PNG",
            png(RgbImage::from_pixel(8, 8, Rgb([0, 102, 255]))),
        ),
        file("pets/dog/._b.png", b"hidden".to_vec()),
        file("pets/notes.txt", b"x".to_vec()),
    ]
}

fn config(kind: Kind) -> DataConfig {
    DataConfig {
        kind,
        path: Some("dropped".into()),
        image_size: (kind == Kind::Folder).then_some(8),
        ..DataConfig::digits()
    }
}

fn message(config: &DataConfig, files: &[File]) -> String {
    let opened = open_files(config, files.to_vec());
    opened.map(drop).unwrap_err().to_string()
}

fn levels(data: &InMemory) -> (&[u8], &[u32], &[String]) {
    (&data.levels, &data.labels, &data.class_names)
}

#[test]
fn an_archive_stands_for_its_files() {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.add_directory("pets/", options).unwrap();
    for (name, bytes) in files() {
        let method = match name.ends_with("png") {
            true => zip::CompressionMethod::Stored,
            false => zip::CompressionMethod::Deflated,
        };
        zip.start_file(name, options.compression_method(method))
            .unwrap();
        zip.write_all(&bytes).unwrap();
    }
    let bytes = zip.finish().unwrap().into_inner();
    let config = config(Kind::Folder);
    let zipped = open_files(&config, vec![("pets.ZIP".into(), bytes.clone().into())]).unwrap();
    let plain = open_files(&config, files()).unwrap();
    assert_eq!(levels(&zipped), levels(&plain));
    let cut = [("pets.zip".into(), bytes[..bytes.len() / 2].into())];
    let text = message(&config, &cut);
    assert!(
        text.starts_with("pets.zip: got ") && text.ends_with("expected a whole zip archive"),
        "{text}"
    );
    let mut changed = bytes;
    // A byte of the first image, after the headers of its folder and its own: the checksum in the archive no longer matches.
    changed[100] ^= 1;
    let text = message(&config, &[("pets.zip".into(), changed.into())]);
    assert!(
        text.starts_with("pets.zip: got ") && text.contains("pets/dog/b.png"),
        "{text}"
    );
}

/// The same images on a disk give the same data.
#[test]
fn dropped_images_are_those_of_a_folder() {
    let files = files();
    let data = open_files(&config(Kind::Folder), files.clone()).unwrap();
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in &files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let on_disk = DataConfig {
        path: Some(root.path().join("pets")),
        ..config(Kind::Folder)
    };
    std::fs::remove_file(root.path().join("pets/notes.txt")).unwrap();
    let folder = crate::data::open(&on_disk, &|_, _| ()).unwrap();
    assert_eq!(data.class_names(), ["cat", "dog"]);
    assert_eq!(data.class_names(), folder.class_names());
    assert_eq!((data.len(), data.shape()), (folder.len(), folder.shape()));
    for index in 0..data.len() {
        let mut images = [[0.0; 3 * 64]; 2];
        data.read(index, &mut images[0]).unwrap();
        folder.read(index, &mut images[1]).unwrap();
        assert!(images[0] == images[1], "{index}");
        assert_eq!(data.label(index), folder.label(index));
    }
}

#[test]
fn what_systems_and_runs_leave_is_no_data_and_numbers_are_in_order() {
    let name = |name: &str| (name.to_owned(), files()[0].1.clone());
    let dropped: Vec<File> = [
        "pets/10/a.png",
        "pets/2/a.png",
        "pets/__MACOSX/2/._a.png",
        "pets/@eaDir/2/a.png",
        "pets/runs/one/metrics.jsonl",
        "pets/runs/one/previews/1.png",
    ]
    .map(name)
    .into();
    let natural = DataConfig {
        class_order: Some(crate::data::ClassOrder::Natural),
        ..config(Kind::Folder)
    };
    let data = open_files(&natural, dropped.clone()).unwrap();
    assert_eq!(data.class_names(), ["2", "10"]);
    assert_eq!((data.label(0), data.label(1)), (1, 0));
    let text = open_files(&config(Kind::Folder), dropped).unwrap();
    assert_eq!(text.class_names(), ["10", "2"]);
    assert_eq!((text.label(0), text.label(1)), (0, 1));
}

#[test]
fn images_without_folders_have_no_classes() {
    let flat: Vec<File> = files().into_iter().take(1).collect();
    let data = open_files(&config(Kind::Folder), flat.clone()).unwrap();
    assert_eq!((data.len(), data.n_classes()), (1, 0));
    let with_classes = DataConfig {
        n_classes: Some(2),
        ..config(Kind::Folder)
    };
    assert_eq!(
        message(&with_classes, &flat),
        "data.n_classes: got 2, expected 0, dropped has no class folders"
    );
}

/// StyleGAN's archives have folders that are no classes; the classes lie in dataset.json.
#[test]
fn a_file_of_labels_in_an_archive_is_not_passed_over() {
    let with = |json: &str| {
        let mut files = files();
        files.push(("pets/dataset.json".to_owned(), json.as_bytes().into()));
        files
    };
    let labelled = with("{\"labels\": [[\"dog/b.png\", 1]]}");
    let folder = config(Kind::Folder);
    let text = message(&folder, &labelled);
    assert!(text.contains("the labels of pets/dataset.json"), "{text}");
    let without_classes = DataConfig {
        n_classes: Some(0),
        ..config(Kind::Folder)
    };
    open_files(&without_classes, labelled).unwrap();
    open_files(&folder, with("{\"labels\" : null}")).unwrap();
}

#[test]
fn what_is_wrong_is_named() {
    let mut mixed = files();
    mixed[0].0 = "pets/b.png".to_owned();
    let folder = config(Kind::Folder);
    assert!(message(&folder, &mixed).contains("some in folders and some not"));
    assert!(message(&folder, &[]).contains("got no images"));
    let mut bad = files();
    bad[0].1 = bad[0].1[..30].into();
    let text = message(&folder, &bad);
    assert!(
        text.contains("1 of 3 images") && text.contains("pets/dog/b.png"),
        "{text}"
    );
    let skip = DataConfig {
        skip_bad: true,
        ..folder
    };
    assert_eq!(open_files(&skip, bad).unwrap().len(), 2);
    assert!(message(&DataConfig::digits(), &[]).starts_with("data.kind: got digits"));
}

#[test]
fn a_pair_of_idx_files_is_found_by_name() {
    let file = |name: &str, bytes: &[u8]| (name.to_owned(), bytes.into());
    let images = [
        &[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2][..],
        &[0, 255],
    ]
    .concat();
    let labels = [0, 0, 8, 1, 0, 0, 0, 1, 4];
    let pair = [
        file("t10k-labels-idx1-ubyte", &labels),
        file("t10k-images-idx3-ubyte", &images),
        file("train-images-idx3-ubyte", &images[..16]),
        file("train-labels-idx1-ubyte", &labels),
    ];
    let test = DataConfig {
        split: Split::Test,
        ..config(Kind::Idx)
    };
    let data = open_files(&test, pair.to_vec()).unwrap();
    assert_eq!(
        (data.shape(), data.n_classes(), data.label(0)),
        ([1, 1, 2], 5, 4)
    );
    let text = message(&config(Kind::Idx), &pair);
    assert!(text.starts_with("train-images-idx3-ubyte: got "), "{text}");
    let one = open_files(&config(Kind::Idx), pair[..2].to_vec()).unwrap();
    assert_eq!(one.len(), 1, "a pair alone needs no name of a split");
    let text = message(&config(Kind::Idx), &pair[2..3]);
    assert!(
        text.starts_with("dropped: got 0 files called labels"),
        "{text}"
    );
}
