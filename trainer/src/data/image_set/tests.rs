use std::fs::{self, File};
use std::io::Write;

use image::RgbImage;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::*;
use crate::data::digits;

/// Writes arrays of a type, a shape and bytes.
fn npz(path: &Path, is_compressed: bool, arrays: &[(&str, &str, &str, &[u8])]) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    let method = match is_compressed {
        true => CompressionMethod::Deflated,
        false => CompressionMethod::Stored,
    };
    for (name, dtype, shape, bytes) in arrays {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(format!("{name}.npy"), options).unwrap();
        let header =
            format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(header.as_bytes()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

fn read(set: &ImageSet) -> Result<Vec<u8>, DataError> {
    let numbers: Vec<u32> = (0..set.len() as u32).collect();
    set.some(&numbers, || Ok(()))
}

fn batches(set: &ImageSet, batch: usize) -> Vec<(usize, Vec<u8>)> {
    let mut all = Vec::new();
    set.each(batch, |first, levels| {
        all.push((first, levels.to_vec()));
        Ok::<(), DataError>(())
    })
    .unwrap();
    all
}

#[test]
fn arrays_are_read_in_batches_also_compressed_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npz");
    let images: Vec<u8> = (0..5 * 12).collect();
    let labels: Vec<u8> = [3_i64, 0, 1, 1, 2]
        .iter()
        .flat_map(|l| l.to_le_bytes())
        .collect();
    for is_compressed in [false, true] {
        npz(
            &path,
            is_compressed,
            &[
                ("arr_0", "|u1", "(5, 2, 2, 3)", &images),
                ("arr_1", "<i8", "(5,)", &labels),
            ],
        );
        let mut set = ImageSet::open(&path).unwrap();
        assert_eq!((set.len(), set.shape()), (5, [2, 2, 3]));
        assert_eq!(set.labels().unwrap(), [3, 0, 1, 1, 2]);
        assert!(set.class_names().is_empty());
        let found = batches(&set, 2);
        assert_eq!(found.iter().map(|b| b.0).collect::<Vec<_>>(), [0, 2, 4]);
        let all: Vec<u8> = found.into_iter().flat_map(|batch| batch.1).collect();
        assert_eq!(all, images);
        assert_eq!(read(&set).unwrap(), images);
        set.take(vec![4, 1]);
        let some = [&images[12..24], &images[48..]].concat();
        assert_eq!(read(&set).unwrap(), some);
        assert_eq!(set.labels().unwrap(), [0, 2]);
    }
    // Damaged: the checksum is that of other images.
    npz(&path, false, &[("arr_0", "|u1", "(5, 2, 2, 3)", &images)]);
    let set = ImageSet::open(&path).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(3).position(|w| w == [7, 8, 9]).unwrap();
    bytes[at] = 0;
    fs::write(&path, bytes).unwrap();
    let message = read(&set).unwrap_err().to_string();
    assert!(message.contains("arr_0 that cannot be read"), "{message}");
    // Replaced meanwhile.
    npz(
        &path,
        false,
        &[("arr_0", "|u1", "(4, 2, 2, 3)", &images[..48])],
    );
    let message = read(&set).unwrap_err().to_string();
    assert!(message.contains("another arr_0 than before"), "{message}");
}

#[test]
fn arrays_of_other_types_and_shapes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.npz");
    let (images, labels) = ([0; 48], [0; 32]);
    let label = |dtype, shape, n: usize| ("label", dtype, shape, &labels[..n]);
    let arr_0 = |dtype, shape, n: usize| ("arr_0", dtype, shape, &images[..n]);
    let good = arr_0("|u1", "(4, 2, 2, 3)", 48);
    for (arrays, expected) in [
        (
            vec![arr_0("<f4", "(1, 2, 2, 3)", 48)],
            "arr_0 of the type <f4, expected levels as uint8 (|u1)",
        ),
        (
            vec![arr_0("|u1", "(4, 12)", 48)],
            "arr_0 of [4, 12], expected [N, H, W, C] with 1 or 3 channels",
        ),
        (
            vec![arr_0("|u1", "(4, 3, 2, 2)", 48)],
            "expected [N, H, W, C] with 1 or 3",
        ),
        (
            vec![arr_0("|u1", "(0, 2, 2, 3)", 0)],
            "expected at least one image",
        ),
        (
            vec![good, label("<i8", "(3,)", 24)],
            "label of [3], expected [4], a label for each image",
        ),
        (
            vec![good, label("<f8", "(4,)", 32)],
            "label of the type <f8, expected whole numbers",
        ),
    ] {
        npz(&path, false, &arrays);
        let message = ImageSet::open(&path).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let negative: Vec<u8> = [0_i64, -1, 0, 0]
        .iter()
        .flat_map(|l| l.to_le_bytes())
        .collect();
    npz(&path, false, &[good, ("label", "<i8", "(4,)", &negative)]);
    let message = ImageSet::open(&path).map(|_| ()).unwrap_err().to_string();
    assert!(
        message.contains("label with -1, expected labels of 0 to 4294967295"),
        "{message}"
    );
}

#[test]
fn pictures_have_the_classes_of_their_folders_and_one_size() {
    let folder = tempfile::tempdir().unwrap();
    let image = |name: &str, width: u32, red: u8| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(width, 2, image::Rgb([red, 0, 9]))
            .save(path)
            .unwrap();
    };
    for (name, red) in [("cat/a.png", 1), ("dog/a.png", 2), ("dog/b.png", 3)] {
        image(name, 3, red);
    }
    let set = ImageSet::open(folder.path()).unwrap();
    assert_eq!((set.len(), set.shape()), (3, [2, 3, 3]));
    assert_eq!(set.labels().unwrap(), [0, 1, 1]);
    assert_eq!(set.class_names(), ["cat", "dog"]);
    let reds = |levels: Vec<u8>| levels.chunks(18).map(|image| image[0]).collect::<Vec<_>>();
    assert_eq!(reds(read(&set).unwrap()), [1, 2, 3]);
    let some = set.some(&[0, 2], || Ok::<(), DataError>(()));
    assert_eq!(reds(some.unwrap()), [1, 3]);
    image("dog/c.png", 4, 0);
    let message = ImageSet::open(folder.path()).err().unwrap().to_string();
    assert!(
        message.contains("c.png: got 2x4 pixels, expected 2x3 as the first picture has"),
        "{message}"
    );
    fs::write(folder.path().join("dog/c.png"), "no picture").unwrap();
    let set = ImageSet::open(folder.path()).unwrap();
    let message = read(&set).unwrap_err().to_string();
    assert!(
        message.contains("c.png: got") && message.contains("expected a picture"),
        "{message}"
    );
}

#[test]
fn levels_in_memory_are_taken_as_they_are() {
    let levels: Vec<u8> = (0..24).collect();
    let mut set = ImageSet::of_levels(
        "made",
        [2, 1, 3],
        levels.clone(),
        Some(vec![4, 5, 6, 7]),
        &[],
    );
    assert_eq!(read(&set).unwrap(), levels);
    set.take(vec![3, 1]);
    assert_eq!(
        read(&set).unwrap(),
        [&levels[6..12], &levels[18..]].concat()
    );
    assert_eq!(set.labels().unwrap(), [5, 7]);
}

#[test]
fn data_sets_become_levels() {
    let data = Arc::new(digits::held_out());
    let set = ImageSet::of_data(data.clone()).unwrap();
    assert_eq!((set.len(), set.shape()), (data.len(), [8, 8, 1]));
    let mut image = vec![0.0; 64];
    data.read(7, &mut image).unwrap();
    let expected: Vec<u8> = image.iter().map(|x| level(*x)).collect();
    assert_eq!(read(&set).unwrap()[7 * 64..8 * 64], expected);
    assert_eq!(set.labels().unwrap()[7], data.label(7));
}
