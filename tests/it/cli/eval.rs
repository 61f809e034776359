//! `sit eval`: rows of samples and their floor, judges, statistics, and what is refused.

use super::TINY_RUN;
use serde_json::Value;
use sit_tests::sit::{run, run_ok, sit};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A classifier without much training that stands for the judge.
fn judge(folder: &Path, name: &str, seed: u32) {
    let train = format!("--out {name} --set model.family=classifier --set train.seed={seed}");
    run_ok(folder, &TINY_RUN.replace("--out run", &train));
    run_ok(folder, &format!("convert {name} {name}.safetensors"));
}

/// Samples of a model without much training, by an ODE and by an SDE.
fn samples(folder: &Path) {
    run_ok(folder, TINY_RUN);
    let sample = "sample run --backend cpu --count 60 --balanced --steps 3";
    run_ok(folder, &format!("{sample} --npz ode.npz"));
    let sde = "--sde euler --diffusion sigma --npz sde.npz";
    run_ok(folder, &format!("{sample} {sde}"));
}

/// Writes arrays of a type, a shape and bytes.
pub fn npz(path: &Path, arrays: &[(&str, &str, &str, Vec<u8>)]) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    for (name, dtype, shape, bytes) in arrays {
        zip.start_file(format!("{name}.npy"), SimpleFileOptions::default())
            .unwrap();
        let header =
            format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n");
        zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
        zip.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        zip.write_all(header.as_bytes()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap();
}

pub fn floats(values: impl IntoIterator<Item = f64>) -> Vec<u8> {
    values.into_iter().flat_map(f64::to_le_bytes).collect()
}

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A number of a row, with a band or without one.
fn value(row: &Value, column: &str) -> f64 {
    let number = row[column].get("value").unwrap_or(&row[column]);
    number.as_f64().unwrap()
}

pub const SMALL: &str = "--backend cpu --pixels 50 --directions 20 --resamples 20";

#[test]
fn an_ode_an_sde_and_the_floor_are_rows_of_one_table() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    samples(folder);
    judge(folder, "judge", 0);
    let words = format!(
        "eval ode.npz sde.npz --reference digits --judge judge.safetensors --json a.json {SMALL}"
    );
    let printed = run_ok(folder, &words);
    let table: Vec<&str> = printed
        .lines()
        .filter(|line| line.starts_with('|'))
        .collect();
    let [head, _, rows @ ..] = &table[..] else {
        panic!("{printed}");
    };
    let columns: Vec<&str> = head.trim_matches('|').split('|').map(str::trim).collect();
    let expected = [
        "images",
        "count",
        "agreement %",
        "frechet",
        "pixel-sw",
        "pixel-mind",
        "pixel-energy",
        "nearest",
        "copies %",
    ];
    assert_eq!(columns, expected);
    let titles: Vec<&str> = rows
        .iter()
        .map(|row| row[1..].split('|').next().unwrap().trim())
        .collect();
    assert_eq!(titles, ["ode.npz", "sde.npz", "digits (test), held out"]);
    let all = json(&folder.join("a.json"));
    assert_eq!(all["settings"]["pixels"], 50);
    let rows = all["rows"].as_array().unwrap();
    for row in rows {
        for name in ["frechet", "pixel-sw", "pixel-mind", "pixel-energy"] {
            let number = |key: &str| row[name][key].as_f64().unwrap();
            assert!(number("low") < number("value") && number("value") < number("high"));
        }
        assert!(row["agreement %"].as_f64().unwrap() >= 0.0);
        let copies = &row["nearest_training_images"];
        let quantile = |key: &str| copies["rms_levels_quantiles"][key].as_f64().unwrap();
        assert!(quantile("0.05") <= quantile("0.5") && quantile("0.5") <= quantile("0.95"));
    }
    // A model that has seen two batches is far from the digits, by each of them.
    for name in ["pixel-sw", "pixel-mind", "pixel-energy"] {
        let value = |row: usize| rows[row][name]["value"].as_f64().unwrap();
        assert!(value(0) > 2.0 * value(2).abs(), "{name}");
    }
    for name in ["frechet", "nearest"] {
        assert!(
            value(&rows[0], name) > 2.0 * value(&rows[2], name),
            "{name}"
        );
    }
    // Neither the threads nor the place in the table changes a bit.
    let one = sit(folder)
        .env("RAYON_NUM_THREADS", "1")
        .args(words.replace("a.json", "b.json").split(' '))
        .output()
        .unwrap();
    assert!(one.status.success());
    assert_eq!(String::from_utf8_lossy(&one.stdout), printed);
    assert!(fs::read(folder.join("a.json")).unwrap() == fs::read(folder.join("b.json")).unwrap());
    run_ok(
        folder,
        &words
            .replace("ode.npz sde.npz", "sde.npz")
            .replace("a.json", "c.json"),
    );
    assert_eq!(json(&folder.join("c.json"))["rows"][0], rows[1]);
}

#[test]
fn the_training_images_themselves_have_no_distance_and_are_copies() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    judge(folder, "judge", 0);
    let words = "--metrics frechet,nearest --judge judge.safetensors";
    run_ok(
        folder,
        &format!("eval digits --reference digits {words} --json a.json {SMALL}"),
    );
    let all = json(&folder.join("a.json"));
    let (own, floor) = (&all["rows"][0], &all["rows"][1]);
    assert!(value(own, "frechet") < 1e-6, "{own}");
    assert_eq!(
        (own["nearest"].as_f64(), own["copies %"].as_f64()),
        (Some(0.0), Some(100.0))
    );
    assert!(value(floor, "frechet") > 1e-4 && value(floor, "nearest") > 1.0);
    assert!(floor["copies %"].as_f64().unwrap() < 10.0, "{floor}");
}

#[test]
fn statistics_stand_for_their_images_and_for_one_judge() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    samples(folder);
    judge(folder, "judge", 0);
    judge(folder, "other", 1);
    let eval = "eval ode.npz --backend cpu --metrics frechet";
    let printed = run_ok(
        folder,
        "eval digits --backend cpu --judge judge.safetensors --save-statistics digits.safetensors",
    );
    assert!(
        printed.contains("16 features of 1442 images of 8x8x1"),
        "{printed}"
    );
    let by_judge = "--judge judge.safetensors";
    run_ok(
        folder,
        &format!("{eval} --reference digits {by_judge} --json a.json"),
    );
    run_ok(
        folder,
        &format!("{eval} --reference digits.safetensors {by_judge} --json b.json"),
    );
    let of_images = json(&folder.join("a.json"))["rows"][0].clone();
    let of_file = json(&folder.join("b.json"));
    assert_eq!(of_file["rows"], Value::Array(vec![of_images]));
    // As ADM's files, which do not say what they are of.
    let identity = (0..256).map(|i| f64::from(i % 17 == 0));
    let mu = ("mu", "<f8", "(16,)", floats([0.0; 16]));
    let sigma = ("sigma", "<f8", "(16, 16)", floats(identity));
    npz(&folder.join("good.npz"), &[mu.clone(), sigma.clone()]);
    run_ok(folder, &format!("{eval} --reference good.npz {by_judge}"));
    let nan = ("sigma", "<f8", "(16, 16)", floats([f64::NAN; 256]));
    npz(&folder.join("nan.npz"), &[mu.clone(), nan]);
    let indefinite =
        (0..256).map(|i| f64::from(u8::from(i % 17 == 0) + 2 * u8::from(i == 1 || i == 16)));
    let indefinite = ("sigma", "<f8", "(16, 16)", floats(indefinite));
    npz(&folder.join("indefinite.npz"), &[mu.clone(), indefinite]);
    let huge = ("mu", "<f8", "(16,)", floats([1e200; 16]));
    npz(&folder.join("huge.npz"), &[huge, sigma.clone()]);
    let short = ("sigma", "<f8", "(16, 8)", floats([0.0; 128]));
    npz(&folder.join("short.npz"), &[mu.clone(), short]);
    let whole = ("sigma", "<i8", "(16, 16)", floats([0.0; 256]));
    npz(&folder.join("whole.npz"), &[mu.clone(), whole]);
    npz(&folder.join("alone.npz"), &[mu]);
    let mu = ("mu", "<f8", "(1,)", floats([0.0]));
    npz(
        &folder.join("one.npz"),
        &[mu, ("sigma", "<f8", "(1, 1)", floats([1.0]))],
    );
    for (words, expected) in [
        (
            "--reference digits.safetensors --judge other.safetensors",
            "got statistics of the extractor classifier-",
        ),
        (
            "--reference one.npz --judge judge.safetensors",
            "got statistics of 1 features, expected 16 as classifier-",
        ),
        (
            "--reference nan.npz --judge judge.safetensors",
            "value [0, 0] of the covariance is NaN",
        ),
        (
            "--reference indefinite.npz --judge judge.safetensors",
            "indefinite.npz: mu and sigma: is no covariance: got the eigenvalue -1",
        ),
        (
            "--reference huge.npz --judge judge.safetensors",
            "huge.npz: mu and sigma: value 0 of the mean is 1e200, expected a number of at most 1e75",
        ),
        (
            "--reference short.npz --judge judge.safetensors",
            "sigma is [16, 8], expected [16, 16]",
        ),
        (
            "--reference whole.npz --judge judge.safetensors",
            "sigma of the type <i8, expected float64",
        ),
        (
            "--reference alone.npz --judge judge.safetensors",
            "has mu, expected sigma beside it",
        ),
        (
            "--reference judge.safetensors --judge judge.safetensors",
            "has no statistics",
        ),
    ] {
        let done = run(folder, &format!("{eval} {words}"));
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
    }
    // Of metrics that are asked for the Inception network is not needed.
    run_ok(
        folder,
        &format!("{eval} --reference digits.safetensors {by_judge} --inception good.npz"),
    );
    let done = run(
        folder,
        &format!(
            "{} --reference good.npz {by_judge}",
            eval.replace("frechet", "nearest")
        ),
    );
    assert!(
        done.stderr
            .contains("--reference is a file of statistics, expected images"),
        "{}",
        done.stderr
    );
    // Without labels there is nothing to agree with.
    let images = ("arr_0", "|u1", "(3, 8, 8, 1)", vec![7; 192]);
    npz(&folder.join("bare.npz"), std::slice::from_ref(&images));
    let bare = "eval bare.npz --backend cpu --reference digits --judge judge.safetensors";
    let printed = run_ok(folder, &format!("{bare} --pixels 3 --directions 5"));
    assert!(!printed.contains("agreement %"), "{printed}");
    assert!(
        printed.contains("a set has no more images than there are features"),
        "{printed}"
    );
    let done = run(folder, &format!("{bare} --metrics agreement"));
    assert!(
        done.stderr.contains("bare.npz has no labels"),
        "{}",
        done.stderr
    );
    let label = (
        "arr_1",
        "<i8",
        "(3,)",
        [0_i64, 10, 2].map(i64::to_le_bytes).concat(),
    );
    npz(&folder.join("far.npz"), &[images, label]);
    let done = run(folder, &bare.replace("bare.npz", "far.npz"));
    assert!(
        done.stderr
            .contains("far.npz: got images of the class 10, expected those of the judge: 0, 1"),
        "{}",
        done.stderr
    );
}

/// Classes of samples in folders are matched by name, and pictures of another size are refused.
#[test]
fn folders_of_samples_have_the_classes_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let image = |path: &str, side: u32, level: u8| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = image::GrayImage::from_fn(side, side, |x, y| {
            image::Luma([level.wrapping_add((x * y) as u8)])
        });
        image.save(path).unwrap();
    };
    for i in 0..30 {
        image(&format!("real/dark/{i}.png"), 8, 2 * i);
        image(&format!("real/light/{i}.png"), 8, 150 + 2 * i);
    }
    for i in 0..6 {
        image(&format!("samples/light/{i}.png"), 8, 151 + 9 * i);
        image(&format!("samples/dark/{i}.png"), 8, 3 + 9 * i);
        image(&format!("other/red/{i}.png"), 8, 0);
    }
    let train = "--out judge --set model.family=classifier --set data.kind=folder --set data.path=real --set data.image_size=8 \
         --set data.channels=1 --set model.n_classes=2";
    run_ok(folder, &TINY_RUN.replace("--out run", train));
    run_ok(folder, "convert judge judge.safetensors");
    let eval =
        "--backend cpu --reference real --judge judge.safetensors --metrics agreement,pixel-energy";
    let printed = run_ok(folder, &format!("eval samples {eval}"));
    assert!(
        printed.contains("| samples") && printed.contains("agreement"),
        "{printed}"
    );
    let done = run(folder, &format!("eval other {eval}"));
    assert_eq!(done.code, Some(2));
    assert!(
        done.stderr.contains(
            "other: got images of the class red, expected those of the judge: dark, light"
        ),
        "{}",
        done.stderr
    );
    // So do the samples of a model in training.
    let train = "--out run --set data.kind=folder --set data.path=other --set data.image_size=8 --set data.channels=1 --set model.n_classes=1 \
         --set log.eval.every_steps=100 --set log.eval.metrics=[\"agreement\"] --set log.eval.judge=judge.safetensors --set log.eval.reference=real";
    let done = run(folder, &TINY_RUN.replace("--out run", train));
    assert_eq!(done.code, Some(2));
    assert!(
        done.stderr.contains(
            "log.eval.judge: got images of the class red, expected those of the judge: dark, light"
        ),
        "{}",
        done.stderr
    );
    image("samples/dark/9.png", 9, 0);
    let done = run(folder, &format!("eval samples {eval}"));
    assert_eq!(done.code, Some(2));
    assert!(
        done.stderr.contains("9.png: got 9x9 pixels, expected 8x8"),
        "{}",
        done.stderr
    );
}
