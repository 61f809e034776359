//! `sit eval --inception`: FID and its kin from files, against the network and the metrics of the libraries.

use super::eval::{floats, json, npz};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use sit_engine::inception::{Inception, Resize, Taps};
use sit_tests::inception::official_file;
use sit_tests::sit::{run, run_ok};
use sit_tests::{assert_close, below};
use sit_trainer::metrics::{
    Directions, Draw, Floats, Gaussian, Moments, Reference, Splits, inception_score,
    kernel_distance, mind, precision_recall, subsets,
};
use std::fs;
use std::io::Cursor;

const SIDE: usize = 32;

fn images(seed: u64, n: usize) -> Vec<u8> {
    let levels = below(seed, n * SIDE * SIDE * 3, 256);
    // Neither of one brightness nor of one contrast, so that features differ.
    let image = |i: usize| i / (SIDE * SIDE * 3);
    let levels = levels.into_iter().enumerate();
    levels
        .map(|(i, x)| ((x as usize * (image(i) + 2)) / (n + 2)) as u8)
        .collect()
}

fn moments(vectors: &[f32], dim: usize) -> Gaussian {
    let mut moments = Moments::new(dim);
    moments.add(vectors).unwrap();
    moments.finish().unwrap()
}

/// What the libraries say.
fn expected(samples: &Taps, reference: &Taps) -> Vec<(&'static str, f64)> {
    let (d, spatial) = (Inception::N_FEATURES, 2023);
    let distance = |a: &[f32], b: &[f32], d| {
        let root = Reference::new(moments(b, d)).unwrap();
        root.distance(&moments(a, d)).unwrap().value
    };
    let (x, y) = (
        Floats::new(&samples.pool2048, d).unwrap(),
        Floats::new(&reference.pool2048, d).unwrap(),
    );
    let n = samples.pool2048.len() / d;
    let score = inception_score(
        &samples.logits_unbiased,
        Inception::N_LOGITS,
        Splits::Size(5000),
        None,
    )
    .unwrap();
    let lengths = [n, reference.pool2048.len() / d];
    let kid = kernel_distance(&x, &y, &subsets(Draw::Own(0), lengths, n, 100)).unwrap();
    let both = precision_recall(&x, &y, 3).unwrap();
    vec![
        ("fid", distance(&samples.pool2048, &reference.pool2048, d)),
        (
            "sfid",
            distance(&samples.spatial2023, &reference.spatial2023, spatial),
        ),
        ("is", score.mean),
        ("kid", kid.mean),
        ("precision", both.precision),
        ("recall", both.recall),
    ]
}

#[test]
fn numbers_of_files_are_those_of_the_network_and_the_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("weights.safetensors"), official_file()).unwrap();
    let (a, b) = (images(1, 5), images(2, 6));
    let array = |n: usize, levels: &[u8]| {
        let shape: &'static str = if n == 5 {
            "(5, 32, 32, 3)"
        } else {
            "(6, 32, 32, 3)"
        };
        ("arr_0", "|u1", shape, levels.to_vec())
    };
    npz(&folder.join("a.npz"), &[array(5, &a)]);
    npz(&folder.join("b.npz"), &[array(6, &b)]);
    let words = "eval a.npz --backend cpu --inception weights.safetensors";
    let printed = run_ok(
        folder,
        &format!("{words} --reference b.npz --json all.json"),
    );
    assert!(
        printed.contains(" fid |") && printed.contains("resized by tf1 (protocol adm)"),
        "{printed}"
    );
    assert!(
        printed.contains("a set has no more images than the 2048 features"),
        "{printed}"
    );
    let mut reader = Reader::new("formula weights", Cursor::new(official_file())).unwrap();
    let mut network = Inception::load(&Device::Cpu, &mut reader, Resize::Tf1, 4).unwrap();
    let [x, y] = [&a, &b].map(|levels| network.features(levels, [SIDE, SIDE]).unwrap());
    let row = json(&folder.join("all.json"))["rows"][0].clone();
    for (name, want) in expected(&x, &y) {
        let got = row[name]["value"].as_f64().or(row[name].as_f64());
        assert_close(name, &[got.unwrap()], &[want], 1e-9);
    }
    // Of sets of two numbers of images, MIND takes as many of each.
    assert!(
        row["mind"].as_f64().unwrap() > 0.0 && printed.contains("mind: 1000 directions, 5 images"),
        "{row}"
    );
    let d = Inception::N_FEATURES;
    let x = Floats::new(&x.pool2048, d).unwrap();
    assert_eq!(mind(&x, &x, &Directions::drawn(0, 10, d)), Ok(0.0));

    // Statistics stand for their images, for the same resize.
    let save =
        "eval b.npz --backend cpu --inception weights.safetensors --save-statistics b.safetensors";
    let said = run_ok(folder, save);
    assert!(
        said.contains("2048 features of 6 images of 32x32x3 in b.npz, by inception-"),
        "{said}"
    );
    run_ok(
        folder,
        &format!("{words} --reference b.safetensors --json fid.json"),
    );
    let of_file = json(&folder.join("fid.json"))["rows"][0].clone();
    for name in ["fid", "sfid", "is"] {
        assert_eq!(of_file[name], row[name], "{name}");
    }
    assert!(of_file.get("kid").is_none());
    let official = folder.join("pt_inception-2015-12-05-6726825d.pth");
    fs::copy(folder.join("weights.safetensors"), official).unwrap();
    let identity = |n: usize| floats((0..n * n).map(move |i| f64::from(i % (n + 1) == 0)));
    npz(
        &folder.join("small.npz"),
        &[
            ("mu", "<f8", "(3,)", floats([0.0; 3])),
            ("sigma", "<f8", "(3, 3)", identity(3)),
        ],
    );
    // A score compares with nothing.
    let printed = run_ok(folder, &format!("{words} --reference b.npz --metrics is"));
    assert!(printed.contains("(protocol adm)\n"), "{printed}");
    npz(
        &folder.join("few.npz"),
        &[("arr_0", "|u1", "(3, 32, 32, 3)", vec![7; 9216])],
    );
    for (words, expected) in [
        (
            format!("{words} --reference few.npz --metrics pr"),
            "few.npz: got 3 images, expected at least 4 for pr",
        ),
        (
            format!("{words} --reference b.npz --metrics is --protocol torch-fidelity"),
            "a.npz: got 5 images, expected at least 10 for is",
        ),
        (
            format!("{words} --reference b.safetensors --protocol clean-fid"),
            "got statistics of images resized by tf1, expected antialias",
        ),
        (
            format!("{words} --reference small.npz"),
            "got statistics of 3 features, expected 2048 as inception-",
        ),
        (
            format!("{words} --reference small.npz --metrics sfid"),
            "small.npz: has no mu_s and sigma_s, expected them for sfid",
        ),
        (
            format!("{words} --reference b.safetensors --metrics kid"),
            "--metrics kid: --reference is a file of statistics, expected images",
        ),
        (
            format!("{words} --reference b.npz --metrics is --protocol pytorch-fid"),
            "--metrics is: --protocol pytorch-fid has none",
        ),
        (
            "eval a.npz --reference b.npz --metrics fid".into(),
            "--metrics fid: expected --inception FILE",
        ),
        (
            "eval a.npz --reference b.npz --protocol adm".into(),
            "--inception <FILE>",
        ),
        (
            "eval a.npz --backend cpu --reference b.npz --inception pt_inception-2015-12-05-6726825d.pth".into(),
            "expected 6726825d as its name says: it is damaged, or another file",
        ),
        (
            "eval a.npz --backend cpu --reference b.npz --inception b.safetensors".into(),
            "--inception: ",
        ),
    ] {
        let done = run(folder, &words);
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
    }
}
