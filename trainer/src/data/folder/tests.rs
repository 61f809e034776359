use image::{DynamicImage, GrayImage, Rgb, RgbImage, RgbaImage};
use tempfile::TempDir;

use std::fs;

use super::*;
use crate::data::{ClassOrder, Kind, listing};

const QUIET: Progress = &|_, _| ();

fn config(root: &Path) -> DataConfig {
    DataConfig {
        kind: Kind::Folder,
        path: Some(root.to_owned()),
        image_size: Some(8),
        ..DataConfig::digits()
    }
}

fn save(root: &Path, name: &str, image: impl Into<DynamicImage>) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.into().save(path).unwrap();
}

fn flat_color(color: [u8; 3]) -> RgbImage {
    RgbImage::from_pixel(20, 12, Rgb(color))
}

/// Two classes, two formats, four kinds of pixel.
fn mixed() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    save(root.path(), "b/one.png", flat_color([255, 0, 51]));
    save(root.path(), "b/two.webp", flat_color([0, 102, 255]));
    save(root.path(), "a/deeper/three.PNG", flat_color([128; 3]));
    save(
        root.path(),
        "a/grey.png",
        GrayImage::from_pixel(9, 9, [204].into()),
    );
    save(
        root.path(),
        "a/alpha.png",
        RgbaImage::from_pixel(8, 8, [0, 0, 0, 0].into()),
    );
    fs::write(root.path().join("b/notes.txt"), "x").unwrap();
    fs::write(root.path().join(".hidden.png"), "x").unwrap();
    root
}

/// The first pixel of every image, as levels.
fn first_pixels(folder: &Folder) -> Vec<[f32; 3]> {
    let mut image = [0.0; 3 * 64];
    (0..folder.len())
        .map(|index| {
            folder.read(index, &mut image).unwrap();
            [image[0], image[64], image[128]].map(|x| (x + 1.0) * 127.5)
        })
        .collect()
}

#[test]
fn classes_formats_and_kinds_of_pixel() {
    let root = mixed();
    let folder = Folder::open(&config(root.path()), QUIET).unwrap();
    assert_eq!(
        (folder.len(), folder.shape(), folder.n_classes()),
        (5, [3, 8, 8], 2)
    );
    assert_eq!(folder.class_names(), ["a", "b"]);
    let labels: Vec<u32> = (0..5).map(|index| folder.label(index)).collect();
    assert_eq!(labels, [0, 0, 0, 1, 1]);
    let pixels = first_pixels(&folder);
    let expected = [
        [255.0; 3],
        [204.0; 3],
        [128.0; 3],
        [255.0, 0.0, 51.0],
        [0.0, 102.0, 255.0],
    ];
    for (got, want) in pixels.iter().flatten().zip(expected.iter().flatten()) {
        assert!((got - want).abs() < 1e-3, "{pixels:?}");
    }
    let blue = DataConfig {
        background: Some([0, 0, 255]),
        ..config(root.path())
    };
    assert_eq!(
        first_pixels(&Folder::open(&blue, QUIET).unwrap())[0],
        [0.0, 0.0, 255.0]
    );
    let left_out = listing::list(root.path(), ClassOrder::Text, true, false)
        .unwrap()
        .left_out;
    assert_eq!(left_out.to_string(), "1 .txt, 1 hidden or of the system");
}

#[test]
fn the_cache_changes_nothing_but_a_file_that_vanishes_is_named() {
    let root = mixed();
    let cached = Folder::open(&config(root.path()), QUIET).unwrap();
    let decoded = Folder::open(
        &DataConfig {
            cache_mib: Some(0),
            ..config(root.path())
        },
        QUIET,
    )
    .unwrap();
    assert!(cached.cache.is_some() && decoded.cache.is_none());
    assert_eq!(first_pixels(&cached), first_pixels(&decoded));
    let path = root.path().join("a/grey.png");
    fs::remove_file(&path).unwrap();
    let error = decoded.read(1, &mut [0.0; 192]).unwrap_err().to_string();
    assert!(error.starts_with(path.to_str().unwrap()), "{error}");
    cached.read(1, &mut [0.0; 192]).unwrap();
}

#[test]
fn a_corrupt_file_is_reported_by_path_or_skipped() {
    let root = mixed();
    let good = first_pixels(&Folder::open(&config(root.path()), QUIET).unwrap());
    let png = fs::read(root.path().join("b/one.png")).unwrap();
    fs::write(root.path().join("a/cut.png"), &png[..png.len() / 2]).unwrap();
    fs::write(root.path().join("b/not-an-image.jpg"), "hello").unwrap();
    for cache_mib in [None, Some(0)] {
        let config = DataConfig {
            cache_mib,
            ..config(root.path())
        };
        let error = Folder::open(&config, QUIET).err().unwrap().to_string();
        assert!(
            error.starts_with("2 of 7 images cannot be read:"),
            "{error}"
        );
        for name in ["a/cut.png", "b/not-an-image.jpg", "--skip-bad"] {
            assert!(error.contains(name), "{error}");
        }
        let folder = Folder::open(
            &DataConfig {
                skip_bad: true,
                ..config
            },
            QUIET,
        )
        .unwrap();
        assert_eq!(first_pixels(&folder), good);
        assert_eq!(folder.label(3), 1);
    }
}

#[test]
fn nothing_but_bad_files_is_an_error_even_when_they_are_skipped() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("one.png"), "").unwrap();
    let config = DataConfig {
        skip_bad: true,
        ..config(root.path())
    };
    let error = Folder::open(&config, QUIET).err().unwrap().to_string();
    assert!(error.starts_with("1 of 1 image cannot be read:"), "{error}");
}

#[test]
fn a_flat_folder_is_unconditional() {
    let root = tempfile::tempdir().unwrap();
    save(root.path(), "one.png", flat_color([9; 3]));
    let folder = Folder::open(
        &DataConfig {
            channels: Some(1),
            ..config(root.path())
        },
        QUIET,
    )
    .unwrap();
    assert_eq!(
        (folder.n_classes(), folder.label(0), folder.shape()),
        (0, 0, [1, 8, 8])
    );
    let error = Folder::open(
        &DataConfig {
            n_classes: Some(2),
            ..config(root.path())
        },
        QUIET,
    )
    .err()
    .unwrap();
    assert!(
        error
            .to_string()
            .starts_with("data.n_classes: got 2, expected 0, "),
        "{error}"
    );
}

#[test]
fn classes_of_the_folder_and_of_the_configuration() {
    let root = mixed();
    let open = |n_classes| {
        Folder::open(
            &DataConfig {
                n_classes: Some(n_classes),
                ..config(root.path())
            },
            QUIET,
        )
    };
    assert_eq!(open(5).unwrap().n_classes(), 5);
    let unconditional = open(0).unwrap();
    assert_eq!((unconditional.n_classes(), unconditional.label(4)), (0, 0));
    let error = open(1).err().unwrap().to_string();
    assert!(
        error.starts_with("data.n_classes: got 1, expected at least 2, the classes of "),
        "{error}"
    );
}

#[test]
fn folders_without_images_are_refused_by_name() {
    let root = tempfile::tempdir().unwrap();
    let message = |path: &Path| {
        let error = Folder::open(&config(path), QUIET)
            .err()
            .unwrap()
            .to_string();
        assert!(error.starts_with(path.to_str().unwrap()), "{error}");
        error
    };
    message(&root.path().join("missing"));
    fs::write(root.path().join("notes.txt"), "x").unwrap();
    assert!(message(root.path()).contains("got no images, but 1 .txt, expected"));
    assert!(message(&root.path().join("notes.txt")).contains("got a file"));
    save(root.path(), "a/one.png", flat_color([0; 3]));
    fs::create_dir(root.path().join("b")).unwrap();
    assert!(message(root.path()).contains("no images, expected at least one image"));
    save(root.path(), "two.png", flat_color([0; 3]));
    assert!(message(root.path()).contains("both 1 image and 1 folder"));
}

#[test]
fn classes_without_a_readable_image_are_left_out_with_skip_bad() {
    let root = mixed();
    fs::create_dir(root.path().join("aa")).unwrap();
    fs::create_dir(root.path().join("ab")).unwrap();
    fs::write(root.path().join("ab/bad.png"), "no").unwrap();
    let skip = DataConfig {
        skip_bad: true,
        ..config(root.path())
    };
    let folder = Folder::open(&skip, QUIET).unwrap();
    assert_eq!(
        (folder.class_names(), folder.n_classes()),
        (&["a".to_owned(), "b".to_owned()][..], 2)
    );
    let labels: Vec<u32> = (0..5).map(|index| folder.label(index)).collect();
    assert_eq!(labels, [0, 0, 0, 1, 1]);
}

/// Names are kept in their printed form. Two folders that print alike would be one class, and the run could not be resumed.
#[cfg(unix)]
#[test]
fn class_folders_that_show_alike_are_refused() {
    let root = tempfile::tempdir().unwrap();
    for class in ["a\nb", r"a\nb"] {
        save(root.path(), &format!("{class}/one.png"), flat_color([9; 3]));
    }
    let error = Folder::open(&config(root.path()), QUIET).err().unwrap();
    let text = error.to_string();
    assert!(text.contains(r"both show as a\nb"), "{text}");
}

/// The second start decodes nothing and gives the same bytes.
#[test]
fn the_second_start_reads_the_disk() {
    let root = mixed();
    let place = tempfile::tempdir().unwrap();
    let open = || {
        let mut was = 0;
        let folder = Folder::open_with(&config(root.path()), QUIET, |folder, root| {
            let mut cache = Cache::new(
                place.path(),
                root,
                &folder.fit,
                &folder.files,
                &folder.source,
            );
            cache.keep_all();
            let mut levels = vec![0; folder.len() * folder.fit.bytes()];
            was = cache
                .read(&mut levels)
                .iter()
                .filter(|&&found| found)
                .count();
            Some(cache)
        });
        (folder.unwrap(), was)
    };
    let (first, n_first) = open();
    let (second, n_second) = open();
    assert_eq!((n_first, n_second), (0, 5));
    assert!(first.cache.is_some() && first.cache == second.cache);
    assert_eq!(first.files, second.files);
    // A changed file is decoded again, and so is a good file that has become bad.
    save(root.path(), "b/one.png", flat_color([1, 2, 3]));
    fs::write(root.path().join("a/grey.png"), "no").unwrap();
    let with_cache = |folder: &Folder, root: &Path| {
        let mut cache = Cache::new(place.path(), root, &folder.fit, &folder.files, &None);
        cache.keep_all();
        Some(cache)
    };
    let error = Folder::open_with(&config(root.path()), QUIET, with_cache);
    assert!(error.is_err());
    save(root.path(), "a/grey.png", GrayImage::new(30, 9));
    let (third, n_third) = open();
    let plain = Folder::open_with(&config(root.path()), QUIET, |_, _| None).unwrap();
    // The file that was bad for a while is no longer in the cache.
    assert_eq!(n_third, 4);
    assert!(third.cache == plain.cache && third.cache != first.cache);
}
