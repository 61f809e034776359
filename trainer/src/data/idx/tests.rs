use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::data::{DataConfig, Dataset, Kind, Split};

fn idx(magic: u32, dims: &[u32], values: &[u8]) -> Vec<u8> {
    let words = [&[magic], dims].concat();
    words
        .into_iter()
        .flat_map(u32::to_be_bytes)
        .chain(values.iter().copied())
        .collect()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn images() -> Vec<u8> {
    let values: Vec<u8> = (0..3 * 2 * 4).map(|i| i * 10).collect();
    idx(IMAGES_MAGIC, &[3, 2, 4], &values)
}

fn labels() -> Vec<u8> {
    idx(LABELS_MAGIC, &[3], &[2, 0, 1])
}

fn parse_bytes(images: &[u8], labels: &[u8]) -> Result<InMemory, DataError> {
    parse(
        "test",
        (Path::new("the-images"), images),
        (Path::new("the-labels"), labels),
        255,
    )
}

fn message(images: &[u8], labels: &[u8]) -> String {
    parse_bytes(images, labels)
        .expect_err("bad input is refused")
        .to_string()
}

#[test]
fn plain_and_gzipped_files_hold_the_same() {
    for (images, labels) in [(images(), labels()), (gz(&images()), gz(&labels()))] {
        let data = parse_bytes(&images, &labels).unwrap();
        assert_eq!(
            (data.len(), data.shape(), data.n_classes()),
            (3, [1, 2, 4], 3)
        );
        assert_eq!([data.label(0), data.label(1), data.label(2)], [2, 0, 1]);
        let mut image = [0.0; 8];
        data.read(1, &mut image).unwrap();
        assert_eq!(image[0], -95.0 / 255.0);
        assert_eq!(data.item_name(1), "the-images, image 1");
    }
}

#[test]
fn every_truncation_is_refused_by_name() {
    for (what, images, labels) in [
        ("plain", images(), labels()),
        ("gzip", gz(&images()), gz(&labels())),
    ] {
        for end in 0..images.len() {
            let text = message(&images[..end], &labels);
            assert!(
                text.starts_with("the-images: got "),
                "{what} images cut at {end}: {text}"
            );
        }
        for end in 0..labels.len() {
            let text = message(&images, &labels[..end]);
            assert!(
                text.starts_with("the-labels: got "),
                "{what} labels cut at {end}: {text}"
            );
        }
    }
}

#[test]
fn a_flipped_bit_in_a_gzip_stream_never_changes_the_data() {
    let (whole, labels) = (gz(&images()), labels());
    let levels = parse_bytes(&whole, &labels).unwrap().levels;
    let mut n_refused = 0;
    for bit in 0..whole.len() * 8 {
        let mut images = whole.clone();
        images[bit / 8] ^= 1 << (bit % 8);
        // Some bits carry no data: time, system, and the rest of the last byte of the deflate stream.
        match parse_bytes(&images, &labels) {
            Ok(data) => assert_eq!(data.levels, levels, "bit {bit}"),
            Err(_) => n_refused += 1,
        }
    }
    assert!(n_refused > whole.len() * 4, "{n_refused}");
}

#[test]
fn bad_headers_are_refused() {
    let cases = [
        (
            idx(0x802, &[3, 2, 4], &[0; 24]),
            labels(),
            "the-images: got magic number 0x802, expected 0x803 (IDX, 3 dimensions of u8)",
        ),
        (
            images(),
            images(),
            "the-labels: got magic number 0x803, expected 0x801 (IDX, 1 dimensions of u8) or 0xc02 (IDX, 2 dimensions of i32)",
        ),
        (
            idx(IMAGES_MAGIC, &[0, 2, 4], &[]),
            labels(),
            "the-images: got the dimensions 0x2x4, expected dimensions of at least 1 and a size of less than 2^64",
        ),
        (
            idx(IMAGES_MAGIC, &[3, 2, 4], &[0; 25]),
            labels(),
            "the-images: got more than 24 bytes of data, expected 24 for the dimensions 3x2x4",
        ),
        (
            images(),
            idx(LABELS_MAGIC, &[4], &[0; 4]),
            "the-labels: got 4 labels, expected 3, one for each image of the-images",
        ),
    ];
    for (images, labels, expected) in cases {
        assert_eq!(message(&images, &labels), expected);
    }
}

#[test]
fn a_huge_declared_size_allocates_nothing() {
    for dims in [
        [u32::MAX; 3],
        [1 << 31, 1 << 16, 1 << 16],
        [u32::MAX, 1 << 15, 1],
    ] {
        for images in [
            idx(IMAGES_MAGIC, &dims, &[1, 2, 3]),
            gz(&idx(IMAGES_MAGIC, &dims, &[1, 2, 3])),
        ] {
            assert!(message(&images, &labels()).starts_with("the-images: got "));
        }
    }
}

#[test]
fn labels_beyond_n_classes_are_refused_and_0_classes_drop_them() {
    let with = |n_classes| {
        let config = DataConfig {
            n_classes: Some(n_classes),
            ..DataConfig::digits()
        };
        parse_bytes(&images(), &labels())
            .unwrap()
            .with_classes(&config)
    };
    let text = with(2).unwrap_err().to_string();
    assert_eq!(
        text,
        "the-labels: label 2 of image 0 is out of range, expected 0 to 1 (data.n_classes = 2)"
    );
    assert_eq!(with(7).unwrap().n_classes(), 7);
    let unconditional = with(0).unwrap();
    assert_eq!((unconditional.n_classes(), unconditional.label(0)), (0, 0));
}

fn config(path: &Path, split: Split) -> DataConfig {
    DataConfig {
        kind: Kind::Idx,
        path: Some(path.to_owned()),
        split,
        ..DataConfig::digits()
    }
}

#[test]
fn folders_are_searched_by_split() {
    let folder = tempfile::tempdir().unwrap();
    let opened = |path: &Path, split| open(&config(path, split));
    let text = opened(folder.path(), Split::Train).unwrap_err().to_string();
    assert!(
        text.contains("expected train-images-idx3-ubyte or train-images-idx3-ubyte.gz"),
        "{text}"
    );
    fs::write(folder.path().join("train-images.idx3-ubyte"), images()).unwrap();
    let text = opened(folder.path(), Split::Train).unwrap_err().to_string();
    assert!(text.contains("expected train-labels-idx1-ubyte"), "{text}");
    let labels = gz(&labels());
    fs::write(folder.path().join("train-labels-idx1-ubyte.gz"), labels).unwrap();
    assert_eq!(opened(folder.path(), Split::Train).unwrap().len(), 3);
    assert!(opened(folder.path(), Split::Test).is_err());
    let missing = folder.path().join("missing");
    let text = opened(&missing, Split::Train).unwrap_err().to_string();
    assert!(text.starts_with(&missing.display().to_string()), "{text}");
    let file = folder.path().join("train-images.idx3-ubyte");
    assert_eq!(opened(&file, Split::Train).unwrap().len(), 3);
    let other = folder.path().join("notes.txt");
    fs::write(&other, "").unwrap();
    let text = opened(&other, Split::Train).unwrap_err().to_string();
    assert!(
        text.contains("got a file, expected a folder with IDX files"),
        "{text}"
    );
}

/// A folder as EMNIST and QMNIST are published: a name before `train`, and several data sets beside each other.
#[test]
fn published_names_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let letters = idx(LABELS_MAGIC, &[3], &[1, 26, 2]);
    write("emnist-letters-train-images-idx3-ubyte.gz", &gz(&images()));
    write("emnist-letters-train-labels-idx1-ubyte.gz", &gz(&letters));
    let data = open(&config(folder.path(), Split::Train)).unwrap();
    assert_eq!(
        (data.n_classes(), data.labels.clone()),
        (26, vec![0, 25, 1])
    );
    assert_eq!(data.class_names()[25], "Z");
    // Rows and columns are exchanged: the file's 2x4 are 4x2.
    assert_eq!(
        (data.shape(), data.levels(0)),
        ([1, 4, 2], &[0, 40, 10, 50, 20, 60, 30, 70][..])
    );
    let mut resolved = config(folder.path(), Split::Train);
    data.resolve(&mut resolved);
    assert_eq!(
        (resolved.first_label, resolved.transpose),
        (Some(1), Some(true))
    );
    assert_eq!(open(&resolved).unwrap().labels, data.labels);
    resolved.transpose = Some(false);
    assert_eq!(
        open(&resolved).unwrap().levels,
        parse_bytes(&images(), &labels()).unwrap().levels
    );

    // If a folder has several data sets, the path of one file selects its data set.
    write("emnist-digits-train-images-idx3-ubyte.gz", &gz(&images()));
    write("emnist-digits-train-labels-idx1-ubyte.gz", &gz(&labels()));
    let text = open(&config(folder.path(), Split::Train))
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("several data sets: emnist-digits, emnist-letters"),
        "{text}"
    );
    let file = folder
        .path()
        .join("emnist-digits-train-images-idx3-ubyte.gz");
    let data = open(&config(&file, Split::Train)).unwrap();
    assert_eq!((data.n_classes(), data.labels.clone()), (3, vec![2, 0, 1]));
    assert_eq!((data.first_label, data.transpose), (None, Some(true)));

    let rows: Vec<u8> = [[7, 0], [3, 1], [0, 2]]
        .iter()
        .flat_map(|row: &[i32; 2]| row.iter().flat_map(|value| value.to_be_bytes()))
        .collect();
    let qmnist = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(qmnist.path().join(name), bytes).unwrap();
    write("qmnist-test-images-idx3-ubyte.gz", &gz(&images()));
    write(
        "qmnist-test-labels-idx2-int.gz",
        &gz(&idx(LABEL_ROWS_MAGIC, &[3, 2], &rows)),
    );
    let data = open(&config(qmnist.path(), Split::Test)).unwrap();
    assert_eq!((data.n_classes(), data.labels.clone()), (8, vec![7, 3, 0]));
    assert_eq!((data.shape(), data.transpose), ([1, 2, 4], None));
    let negative = idx(LABEL_ROWS_MAGIC, &[3, 2], &[0xff; 24]);
    let text = message(&images(), &negative);
    assert_eq!(
        text,
        "the-labels: got the label -1 of image 0, expected labels of at least 0"
    );
}

#[test]
fn labels_from_1_are_told_and_counted_from_1() {
    let with = |labels: [u8; 3], change: fn(&mut DataConfig)| {
        let mut config = DataConfig::digits();
        change(&mut config);
        let labels = idx(LABELS_MAGIC, &[3], &labels);
        let data = parse_bytes(&images(), &labels)
            .unwrap()
            .with_classes(&config);
        data.map(|data| {
            (
                data.n_classes,
                data.labels.clone(),
                data.class_names.join(" "),
            )
        })
        .map_err(|error| error.to_string())
    };
    let names = "1 2 3".to_owned();
    assert_eq!(
        with([1, 3, 2], |_| ()),
        Ok((3, vec![0, 2, 1], names.clone()))
    );
    assert_eq!(
        with([1, 3, 2], |c| c.n_classes = Some(3)),
        Ok((3, vec![0, 2, 1], names))
    );
    // Asked for: the label 0 has no image.
    assert_eq!(
        with([1, 3, 2], |c| c.n_classes = Some(4)),
        Ok((4, vec![1, 3, 2], String::new()))
    );
    assert_eq!(
        with([1, 3, 2], |c| c.first_label = Some(0)),
        Ok((4, vec![1, 3, 2], String::new()))
    );
    let named = with([1, 3, 2], |c| {
        c.classes = vec!["a".into(), "b".into(), "c".into()]
    });
    assert_eq!(named, Ok((3, vec![0, 2, 1], "a b c".into())));
    assert_eq!(
        with([5, 7, 5], |c| c.first_label = Some(5)).unwrap().1,
        [0, 2, 0]
    );
    assert_eq!(
        with([1, 3, 2], |c| c.first_label = Some(2)).unwrap_err(),
        "the-labels: label 1 of image 0 is out of range, expected 2 to 3 (data.n_classes = 2)"
    );
}

/// What a header declares is compared with the memory before anything is unpacked.
#[test]
fn more_images_than_the_memory_holds_are_refused_at_once() {
    let huge = idx(IMAGES_MAGIC, &[1 << 20, 1 << 14, 1 << 14], &[0; 1000]);
    for images in [gz(&huge), huge] {
        let text = message(&images, &labels());
        assert!(
            text.contains("MiB of memory that there are for it"),
            "{text}"
        );
    }
}
