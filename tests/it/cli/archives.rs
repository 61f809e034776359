//! Pictures in archives: they work wherever a folder of them does, and to the same bytes.

use super::data::images;
use super::{TINY_RUN, names};
use sit_tests::fixture;
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::path::Path;

/// The pictures of [`images`] in the order of a folder.
const ORDER: [&str; 6] = [
    "cat/grey.PNG",
    "cat/rgb.png",
    "cat/deeper/alpha.png",
    "dog/grey-alpha.png",
    "dog/rgb.jpg",
    "dog/rgb.webp",
];

fn tar(folder: &Path, to: &Path, files: &[&str]) {
    let mut tar = tar::Builder::new(fs::File::create(to).unwrap());
    for name in files {
        tar.append_path_with_name(folder.join(name), name).unwrap();
    }
    tar.finish().unwrap();
}

const TRAIN: &str = "train --preset digits-smoke --backend cpu --set train.steps=4 --set data.kind=folder --set data.image_size=8 \
     --set data.flip=true --set model.channels=3 --set model.n_classes=2 --set data.hold_out=0.4 --set log.validation.every_steps=2 \
     --set log.preview.every_steps=0";

/// What a run says of its losses.
fn losses(folder: &Path, words: &str, out: &str) -> Vec<serde_json::Value> {
    run_ok(folder, &format!("{words} --out {out}"));
    super::metrics(&folder.join(out))
}

#[test]
fn a_tar_file_trains_validates_and_measures_as_its_folder_does() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(&folder.join("data"));
    tar(&folder.join("data"), &folder.join("data.tar"), &ORDER);
    fs::create_dir(folder.join("shards")).unwrap();
    for (number, files) in ORDER.chunks(3).enumerate() {
        let to = folder.join(format!("shards/train-{number:03}.tar"));
        tar(&folder.join("data"), &to, files);
    }
    let of =
        |path: &str, out: &str| losses(folder, &format!("{TRAIN} --set data.path={path}"), out);
    let expected = of("data", "of-folder");
    assert!(
        expected.iter().any(|line| line["validation_loss"].is_f64()),
        "{expected:?}"
    );
    assert_eq!(of("data.tar", "of-tar"), expected);
    // Read as they are needed.
    assert_eq!(of("data.tar --set data.cache_mib=0", "of-disk"), expected);
    let plain = format!("{TRAIN} --set data.hold_out=0 --set log.validation.every_steps=0");
    let expected = losses(folder, &format!("{plain} --set data.path=data"), "all");
    for (path, out) in [
        ("shards", "all-shards"),
        ("shards/train-{000..001}.tar", "all-pattern"),
    ] {
        let words = format!("{plain} --set data.path={path}");
        assert_eq!(losses(folder, &words, out), expected);
    }
    // A run finds a pattern again.
    run_ok(
        folder,
        "train --resume all-pattern --backend cpu --set train.steps=5",
    );

    let measure = |path: &str| {
        let words = format!(
            "nll all --data {path} --backend cpu --probes 1 --ode euler --steps 2 --csv nll.csv"
        );
        run_ok(folder, &words);
        let table = fs::read_to_string(folder.join("nll.csv")).unwrap();
        fs::remove_file(folder.join("nll.csv")).unwrap();
        table
    };
    assert_eq!(measure("data.tar"), measure("data"));
    let judge = |path: &str| {
        let words =
            format!("sample all --backend cpu --steps 1 --per-class 2 --judge {path} --out x.png");
        let text = run_ok(folder, &words).replace(path, "data");
        fs::remove_file(folder.join("x.png")).unwrap();
        text
    };
    assert_eq!(judge("data.tar"), judge("data"));

    let report = |path: &str| {
        let text = run_ok(folder, &format!("data inspect {path}"));
        let table = text.split_once("\nsizes").unwrap().1;
        let table = table.split("for a configuration").next().unwrap();
        table.replace("left out: 1 .txt\n", "")
    };
    assert_eq!(report("data.tar"), report("data"));
    assert_eq!(report("shards"), report("data"));
    let text = run_ok(folder, "data inspect shards/train-{000..001}.tar");
    let command = text.trim_end().rsplit_once("\nsit ").unwrap().1;
    assert!(command.contains("'shards/train-{000..001}.tar'"), "{text}");
}

#[test]
fn a_tar_file_is_encoded_as_its_folder_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    images(&folder.join("data"));
    tar(&folder.join("data"), &folder.join("data.tar"), &ORDER);
    let vae = fixture::path("taef2/taef2_encoder.pth");
    let encode = |path: &str, out: &str| {
        let words = format!(
            "data encode {path} --vae {} --set data.image_size=16 --backend cpu --out {out}",
            vae.display()
        );
        run_ok(folder, &words);
        assert_eq!(names(&folder.join(out)).len(), 2);
        fs::read(folder.join(out).join("shard-00000-of-00001.safetensors")).unwrap()
    };
    assert_eq!(encode("data.tar", "of-tar"), encode("data", "of-folder"));
    let text = run_ok(folder, "data inspect of-tar");
    assert!(
        text.contains("latents of 6 images of data.tar, 2 classes"),
        "{text}"
    );
}

#[test]
fn arrays_and_parquet_files_train_and_their_parts_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    run_ok(
        folder,
        "sample run --backend cpu --per-class 1 --steps 2 --no-grid --npz data.npz",
    );
    let text = run_ok(folder, "data inspect data.npz");
    assert!(
        text.contains("data.npz: 10 images\n")
            && text.contains(&format!("  {:<16}{:>9}", "8x8", 10)),
        "{text}"
    );
    assert!(text.contains("10 classes: number, name, images"), "{text}");
    let grey = "train --preset digits-smoke --backend cpu --set train.steps=2 --set data.kind=folder --set data.image_size=8 \
         --set data.channels=1 --set log.preview.every_steps=0 --set data.path=data.npz --out arrays";
    run_ok(folder, grey);

    let parquet = fixture::path("parquet/hf.parquet");
    fs::create_dir(folder.join("hub")).unwrap();
    for name in [
        "train-00000-of-00002",
        "train-00001-of-00002",
        "test-00000-of-00001",
    ] {
        fs::copy(&parquet, folder.join(format!("hub/{name}.parquet"))).unwrap();
    }
    let text = run_ok(folder, "data inspect hub");
    let row = |name, n| format!("  {name:<8}{n:>9}");
    for part in [
        "hub: 24 images",
        &row("train", 16),
        &row("test", 8),
        "cat",
        "path = \"hub\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let color = "train --preset digits-smoke --backend cpu --set train.steps=2 --set data.kind=folder --set data.image_size=8 \
         --set model.channels=3 --set model.n_classes=3 --set log.preview.every_steps=0 --set log.validation.every_steps=1 \
         --set data.path=hub --out parquet";
    let done = run(folder, color);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("hub: 16 images of 8x8x3, 3 classes"),
        "{}",
        done.stderr
    );
    let nll = "nll parquet --data hub --backend cpu --probes 1 --ode euler --steps 2";
    let of_split = |more: &str| run_ok(folder, &format!("{nll} {more}"));
    assert!(of_split("").contains("8 images"), "{}", of_split(""));
    assert!(of_split("--split train").contains("16 images"));
    let one = color.replace("path=hub", "path=hub/train-00000-of-00002.parquet");
    let refused = run(folder, &format!("{one}-2"));
    let expected = "data.hold_out: got 0, expected a share";
    assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    let refused = run(
        folder,
        "data inspect hub/train-{00000..00002}-of-00002.parquet",
    );
    let expected =
        "train-00002-of-00002.parquet: got no such file, expected the 3 files of hub/train-";
    assert!(refused.stderr.contains(expected), "{}", refused.stderr);
}
