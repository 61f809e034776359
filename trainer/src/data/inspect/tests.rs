use std::fs;

use image::{GrayImage, RgbImage};

use super::*;

const QUIET: Progress = &|_, _| ();

#[test]
fn the_digits_by_name() {
    let report = inspect(Path::new("digits"), QUIET).unwrap();
    assert_eq!(
        report.splits,
        [("train".to_owned(), 1442), ("test".to_owned(), 355)]
    );
    assert_eq!(report.classes.len(), 10);
    assert_eq!(report.classes[3], ("3".to_owned(), 183));
    // Mean and standard deviation of the source, computed in Python.
    let stats = report.channels[0];
    assert_eq!((stats.min, stats.max), (0, 16));
    assert!(
        (stats.mean - 4.884164579855314).abs() < 1e-9,
        "{}",
        stats.mean
    );
    assert!(
        (stats.std - 6.016787548672236).abs() < 1e-9,
        "{}",
        stats.std
    );
    let text = report.to_string();
    assert!(text.starts_with("digits: 1797 images\n"), "{text}");
    assert!(
        text.contains("grey   0 to 16, mean 4.88 (-0.3895), std 6.02 (0.7521)"),
        "{text}"
    );
    assert!(text.ends_with("[data]\nkind = \"digits\"\nsplit = \"train\"\nhold_out = 0.0\nflip = false\nskip_bad = false\nworkers = 2\n\nto train on it:\n\nsit train --preset digits\n"), "{text}");
}

#[test]
fn a_folder_with_two_sizes_and_a_bad_file() {
    let root = tempfile::tempdir().unwrap();
    for class in ["cat", "dog"] {
        fs::create_dir(root.path().join(class)).unwrap();
    }
    RgbImage::from_pixel(40, 20, [10, 0, 0].into())
        .save(root.path().join("cat/1.png"))
        .unwrap();
    GrayImage::from_pixel(16, 16, [20].into())
        .save(root.path().join("dog/2.png"))
        .unwrap();
    fs::write(root.path().join("dog/3.png"), "no").unwrap();
    let report = inspect(root.path(), QUIET).unwrap();
    assert_eq!(report.sizes, BTreeMap::from([((16, 16), 1), ((40, 20), 1)]));
    assert_eq!(
        report.classes,
        [("cat".to_owned(), 1), ("dog".to_owned(), 1)]
    );
    assert_eq!(report.bad.len(), 1);
    assert_eq!(report.bad[0].path, root.path().join("dog/3.png"));
    // 800 pixels of 10 and 256 of 20; 800 of 0 and 256 of 20.
    assert!((report.channels[0].mean - (800.0 * 10.0 + 256.0 * 20.0) / 1056.0).abs() < 1e-12);
    assert!((report.channels[2].mean - 256.0 * 20.0 / 1056.0).abs() < 1e-12);
    let suggestion = &report.suggestion;
    assert_eq!(
        (
            suggestion.image_size,
            suggestion.channels,
            suggestion.skip_bad
        ),
        (Some(16), Some(3), true)
    );
    suggestion.check().unwrap();
    let text = report.to_string();
    for line in [
        "2 classes: ",
        "1 image cannot be read",
        "  40x20                   1",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn classes_have_their_numbers_and_what_is_left_out_is_said() {
    let root = tempfile::tempdir().unwrap();
    for class in ["2", "10"] {
        fs::create_dir(root.path().join(class)).unwrap();
        let path = root.path().join(class).join("a.png");
        GrayImage::new(8, 8).save(path).unwrap();
    }
    fs::create_dir(root.path().join("11")).unwrap();
    fs::write(root.path().join("2/b.gif"), "").unwrap();
    let report = inspect(root.path(), QUIET).unwrap();
    let text = report.to_string();
    for line in [
        "     1 10 ",
        "\nclasses are in the order of their numbers; ",
        "1 class folder without images\n",
        "left out: 1 .gif\n",
        "skip_bad = true",
    ] {
        assert!(text.contains(line), "{line:?} in {text}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_whose_name_is_not_utf8_is_inspected() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join(std::ffi::OsStr::from_bytes(b"img\xff"));
    fs::create_dir(&folder).unwrap();
    GrayImage::new(8, 8).save(folder.join("a.png")).unwrap();
    let text = inspect(&folder, QUIET).unwrap().to_string();
    assert!(
        text.contains("img\\xff: 1 image\n") && text.contains("is not UTF-8"),
        "{text}"
    );
}

#[test]
fn a_missing_folder_is_named() {
    let error = inspect(Path::new("no/such/folder"), QUIET)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("no/such/folder: "), "{error}");
}
