//! Tests that train: on points in the plane and on files.

use super::{drop_file, drop_files, go_to, shot, still, until};
use crate::App;
use crate::state::{Source, Status};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use image::{ImageFormat, Rgb, RgbImage};
use std::fs;
use std::io::Cursor;
use std::path::Path;

#[test]
fn a_toy_is_learned_kept_and_stepped() {
    let mut harness = still();
    harness.get_by_label("Train").click();
    harness.step();
    harness.step();
    harness.get_by_label("Start training").click();
    harness.step();
    until(&mut harness, "twenty steps", |app| {
        app.state().training.step >= 20
    });
    harness.get_by_label("Pause training").click();
    until(&mut harness, "a pause", |app| {
        app.state().training.status == Status::Paused
    });
    let training = &harness.state().state().training;
    assert!(training.preview.is_some() && training.by_t().len() >= 5);
    assert!(training.curve.iter().all(|[_, loss]| loss.is_finite()));
    let step = training.step;
    for _ in 0..10 {
        harness.step();
    }
    assert_eq!(harness.state().state().training.step, step);
    harness.get_by_label("Step it in the lanes").click();
    until(&mut harness, "the lanes", |app| {
        app.state().model.as_ref().is_some_and(|m| m.is_plane()) && app.state().is_shown(0)
    });
    go_to(&mut harness, 30);
    shot(&mut harness, "train");
    harness.get_by_label("Go on").click();
    until(&mut harness, "going on", |app| {
        app.state().training.step > step + 5
    });
}

/// A disk of one color on another one, 24 x 18.
fn disk(ink: [u8; 3], paper: [u8; 3]) -> RgbImage {
    RgbImage::from_fn(24, 18, |x, y| {
        let inside = (x as f64 - 11.5).hypot(y as f64 - 8.5) < 7.0;
        Rgb(if inside { ink } else { paper })
    })
}

/// A folder of two classes, in two formats.
fn folder(root: &Path) {
    for (class, color) in [("orange", [230, 120, 0]), ("sky", [40, 120, 220])] {
        fs::create_dir_all(root.join(class)).unwrap();
        for (i, ending) in ["png", "webp"].iter().cycle().take(9).enumerate() {
            let image = disk(color, [20 * i as u8, 10, 30]);
            image
                .save(root.join(class).join(format!("{i}.{ending}")))
                .unwrap();
        }
    }
}

fn drop_path(harness: &mut Harness<'_, App>, path: &Path) {
    drop_files(harness, [(path.to_owned(), Vec::new())]);
}

/// Draws frames until data has been read that the window describes like this.
fn ready(harness: &mut Harness<'_, App>, expected: &str) {
    let facts = |app: &App| {
        let opened = app.state().files.ready()?;
        let ([c, h, w], n) = (opened.dataset.shape(), opened.dataset.len());
        Some(format!("{n} images of {w}×{h}×{c}, "))
    };
    until(harness, expected, |app| {
        facts(app).is_some_and(|facts| expected.starts_with(&facts))
    });
    harness.get_by_label(expected);
}

/// Draws frames until data was refused for this reason.
fn refused(harness: &mut Harness<'_, App>, expected: &str) {
    let error = |app: &App| app.state().files.error.clone();
    until(harness, expected, |app| {
        error(app).is_some_and(|error| error.contains(expected))
    });
    harness.get_by_label(&error(harness.state()).unwrap());
}

fn train(harness: &mut Harness<'_, App>, steps: u64) {
    let start = harness.query_by_label("Start training");
    start
        .unwrap_or_else(|| harness.get_by_label("Start again"))
        .click();
    until(harness, "some steps", |app| {
        let training = &app.state().training;
        training.step >= steps && training.preview.is_some()
    });
    harness.get_by_label("Pause training").click();
    until(harness, "a pause", |app| {
        app.state().training.status == Status::Paused
    });
}

#[test]
fn a_folder_of_images_is_trained_on_and_stepped() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("disks");
    folder(&path);
    let mut harness = still();
    drop_path(&mut harness, &path);
    ready(&mut harness, "18 images of 16×16×3, 2 classes: orange, sky");
    harness.get_by_label_contains("patch 2: 64 tokens");
    // Another size reads the data again, and the network fits it.
    harness.get_by_label("8×8").click();
    ready(&mut harness, "18 images of 8×8×3, 2 classes: orange, sky");
    harness.get_by_label_contains("patch 2: 16 tokens");
    train(&mut harness, 3);
    shot(&mut harness, "files-train");
    harness.get_by_label("Step it in the lanes").click();
    let name = Source::Trained("folder disks".into());
    until(&mut harness, "the lanes", |app| {
        let model = app.state().model.as_ref();
        model.is_some_and(|m| m.source == name) && app.state().is_shown(0)
    });
    let config = harness.state().state().model.as_ref().unwrap().io;
    assert_eq!((config.channels(), config.image[1]), (3, 8));
    assert_eq!(config.n_classes, 2);
    go_to(&mut harness, 25);
    shot(&mut harness, "files-lanes");
}

const IMAGES: &[u8] = include_bytes!("../../../trainer/assets/digits/digits-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../../../trainer/assets/digits/digits-labels-idx1-ubyte.gz");

/// Images and labels in memory, as a browser has them.
fn drop_pair(harness: &mut Harness<'_, App>) {
    let pair = [
        ("images-idx3-ubyte.gz", IMAGES),
        ("labels-idx1-ubyte.gz", LABELS),
    ];
    drop_files(
        harness,
        pair.map(|(name, bytes)| (name.into(), bytes.to_vec())),
    );
}

#[test]
fn an_idx_file_finds_its_labels() {
    let root = tempfile::tempdir().unwrap();
    let (images, labels) = (IMAGES, LABELS);
    let file = root.path().join("train-images-idx3-ubyte.gz");
    fs::write(&file, images).unwrap();
    fs::write(root.path().join("train-labels-idx1-ubyte.gz"), labels).unwrap();
    let mut harness = still();
    // The file, or its folder.
    for path in [&*file, root.path()] {
        drop_path(&mut harness, path);
        // The folder's kind is determined in the background.
        let name = path.file_name().unwrap().to_string_lossy();
        until(&mut harness, &name, |app| {
            let wanted = app.state().files.wanted.as_ref();
            wanted.is_some_and(|wanted| wanted.name.ends_with(&*name))
        });
        ready(&mut harness, "1797 images of 8×8×1, 10 classes");
        assert!(harness.query_by_label("Image size").is_none());
    }
    drop_pair(&mut harness);
    ready(&mut harness, "1797 images of 8×8×1, 10 classes");
    harness.get_by_label("2 files");
    // Missing labels, and a truncated file of images.
    drop_file(&mut harness, "images-idx3-ubyte.gz", images.to_vec());
    refused(&mut harness, "0 files called labels");
    fs::write(&file, &images[..images.len() / 2]).unwrap();
    drop_path(&mut harness, &file);
    refused(&mut harness, "cut off or corrupt");
}

#[test]
fn what_is_dropped_last_is_what_is_wanted() {
    let root = tempfile::tempdir().unwrap();
    folder(root.path());
    let mut harness = still();
    // The folder is still being examined when the other files arrive.
    drop_files(&mut harness, [(root.path().to_owned(), Vec::new())]);
    drop_pair(&mut harness);
    ready(&mut harness, "1797 images of 8×8×1, 10 classes");
    std::thread::sleep(std::time::Duration::from_millis(100));
    harness.step();
    let wanted = harness.state().state().files.wanted.as_ref();
    assert_eq!(wanted.unwrap().name, "2 files");
}

#[test]
fn images_without_a_folder_are_trained_on_as_well() {
    let image = |ink| {
        let mut png = Cursor::new(Vec::new());
        disk(ink, [0; 3])
            .write_to(&mut png, ImageFormat::Png)
            .unwrap();
        png.into_inner()
    };
    let mut harness = still();
    let files = [("a.png", image([255; 3])), ("b.png", image([9, 99, 200]))];
    drop_files(
        &mut harness,
        files.map(|(name, bytes)| (name.into(), bytes)),
    );
    ready(&mut harness, "2 images of 16×16×3, no classes");
    harness.get_by_label("Some of the training images");
}

#[test]
fn bad_folders_are_explained_and_nothing_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let [good, empty, mixed] = ["good", "empty", "mixed"].map(|name| root.path().join(name));
    folder(&good);
    folder(&mixed);
    fs::create_dir(&empty).unwrap();
    fs::write(mixed.join("sky/0.png"), b"\x89PNG, or so it says").unwrap();
    let mut harness = still();
    drop_path(&mut harness, &good);
    ready(&mut harness, "18 images of 16×16×3, 2 classes: orange, sky");
    harness.get_by_label("8×8").click();
    ready(&mut harness, "18 images of 8×8×3, 2 classes: orange, sky");
    train(&mut harness, 1);
    let step = harness.state().state().training.step;

    drop_path(&mut harness, &empty);
    refused(&mut harness, "no images");
    harness.get_by_label("These files cannot be trained on.");
    assert!(
        harness
            .get_by_label("Start again")
            .accesskit_node()
            .is_disabled()
    );
    drop_path(&mut harness, &mixed);
    refused(&mut harness, "1 of 18 images cannot be read");
    shot(&mut harness, "files-bad");
    harness
        .get_by_label("Leave out images that cannot be read")
        .click();
    harness.step();
    harness.step();
    ready(&mut harness, "17 images of 16×16×3, 2 classes: orange, sky");
    // The training is still paused, and the earlier data can be restored.
    drop_path(&mut harness, &empty);
    refused(&mut harness, "no images");
    harness.get_by_label("Back to folder mixed").click();
    harness.step();
    harness.step();
    harness.get_by_label("17 images of 16×16×3, 2 classes: orange, sky");
    assert_eq!(harness.state().state().training.step, step);
    harness.get_by_label("Go on").click();
    until(&mut harness, "going on", |app| {
        app.state().training.step > step
    });
}

#[test]
fn the_lanes_follow_the_network_in_training() {
    let mut harness = still();
    harness.get_by_label("Train").click();
    harness.step();
    harness.step();
    harness.get_by_label("More").click();
    for _ in 0..20 {
        harness.step();
    }
    for label in ["Learning rate", "Path", "Predicts", "Own width"] {
        assert!(
            harness.query_all_by_label(label).next().is_some(),
            "{label}"
        );
    }
    harness.state_mut().form.steps = 300;
    harness.get_by_label("Start training").click();
    until(&mut harness, "the first preview", |app| {
        app.state().training.preview.is_some()
    });
    // The data are shown beside the samples.
    harness.get_by_label("Some of the data");
    let data = &harness.state().state().training.data;
    assert_eq!(data.len(), 2 * 64);
    harness.get_by_label("Follow in the lanes").click();
    harness.step();
    // The first steps of the lanes are those of one network after another.
    let seen = std::cell::RefCell::new(std::collections::HashSet::new());
    until(&mut harness, "two networks", |app| {
        let state = app.state();
        if let (Source::Trained(_), Some(frame)) = (&state.source, state.records[0].frames.first())
        {
            let bits: Vec<u32> = frame.x.iter().map(|x| x.to_bits()).collect();
            seen.borrow_mut().insert(bits);
        }
        seen.borrow().len() >= 2
    });
}
