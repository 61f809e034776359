//! `sit eval`: what is refused before the work, and work that is stopped.

use super::eval::npz;
use super::resume::{interrupt, start};
use super::{TINY_RUN, names};
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn what_is_odd_is_refused_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let arr_0 = |dtype, shape, n: usize| ("arr_0", dtype, shape, vec![9; n]);
    for (name, array) in [
        ("good.npz", arr_0("|u1", "(4, 8, 8, 1)", 256)),
        ("one.npz", arr_0("|u1", "(1, 8, 8, 1)", 64)),
        ("wide.npz", arr_0("|u1", "(4, 8, 16, 1)", 512)),
        ("color.npz", arr_0("|u1", "(2, 8, 8, 3)", 384)),
        ("float.npz", arr_0("<f4", "(1, 8, 8, 1)", 256)),
        ("flat.npz", arr_0("|u1", "(4, 64)", 256)),
    ] {
        npz(&folder.join(name), &[array]);
    }
    fs::write(folder.join("no.npz"), "no archive").unwrap();
    run_ok(folder, TINY_RUN);
    let train = "--out net --set model.family=classifier";
    run_ok(folder, &TINY_RUN.replace("--out run", train));
    run_ok(folder, "convert net net.safetensors");
    fs::rename(folder.join("net.safetensors"), folder.join("net.json")).unwrap();
    for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
        fs::write(folder.join(name), "").unwrap();
    }
    fs::create_dir_all(folder.join("real/a")).unwrap();
    fs::write(folder.join("real/a/x.json"), "").unwrap();
    let before = names(folder);
    for (words, expected) in [
        ("good.npz", "--reference: expected the real images"),
        ("--reference digits", "SAMPLES: expected images to judge"),
        (
            "one.npz --reference digits",
            "one.npz: got 1 image, expected at least 2",
        ),
        (
            "good.npz wide.npz --reference digits",
            "expected images of one size",
        ),
        (
            "wide.npz --reference digits",
            "expected [1, 8, 16] ([C, H, W]) as the samples have",
        ),
        (
            "color.npz --reference digits",
            "expected [3, 8, 8] ([C, H, W]) as the samples have",
        ),
        (
            "float.npz --reference digits",
            "arr_0 of the type <f4, expected levels as uint8",
        ),
        ("flat.npz --reference digits", "arr_0 of [4, 64]"),
        ("no.npz --reference digits", "no.npz: got no zip file"),
        ("gone.npz --reference digits", "gone.npz"),
        ("good.npz --reference gone", "--reference: gone"),
        (
            "good.npz --reference digits --count 5",
            "got 4 images, expected at least 5 for --count",
        ),
        (
            "good.npz --reference digits --metrics frechet",
            "--metrics frechet: expected --judge FILE",
        ),
        (
            "good.npz --reference digits --judge no.safetensors",
            "no.safetensors is not there; --train-judge DATA trains it",
        ),
        ("good.npz --reference digits --judge good.npz", "good.npz"),
        (
            "good.npz --save-statistics s.safetensors",
            "--save-statistics: expected --inception FILE or --judge FILE",
        ),
        (
            "good.npz --judge good.npz --save-statistics s.safetensors --json s.json",
            "--json <FILE.json>",
        ),
        (
            "--train-judge digits --json s.json",
            "--json: expected SAMPLES, whose numbers are written",
        ),
        (
            "good.npz one.npz --judge good.npz --save-statistics s.safetensors",
            "got 2 SAMPLES, expected one",
        ),
        (
            "good.npz --reference digits --json good.npz",
            "--json: good.npz",
        ),
        ("good.npz --reference digits --json x.csv", "expected .json"),
        (
            "good.npz --judge net.json --reference digits --metrics frechet --json net.json",
            "--json: net.json is in use: it is read, by --judge",
        ),
        (
            "good.npz --reference train-images-idx3-ubyte --json train-labels-idx1-ubyte",
            "--json: train-labels-idx1-ubyte is in use: it is read, by --reference",
        ),
        (
            "real --reference digits --json real/a/x.json",
            "--json: real/a/x.json is in the folder of images of SAMPLES",
        ),
        (
            "run --reference digits",
            "run: is a run, expected samples: sit sample run --count",
        ),
        (
            "good.npz --reference digits --pixels 1",
            "expected a whole number of 2 to",
        ),
        ("good.npz --reference toy:moons", "expected"),
    ] {
        let done = run(folder, &format!("eval {words}"));
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
        assert_eq!(done.stdout, "");
    }
    assert_eq!(names(folder), before);
}

/// Of so many directions the pixels alone take minutes.
#[test]
fn it_stops_between_directions() {
    let folder = tempfile::tempdir().unwrap();
    let words =
        "eval digits --backend cpu --reference digits --directions 1000000 --metrics pixel-sw";
    let mut child = start(folder.path(), words);
    std::thread::sleep(Duration::from_secs(3));
    interrupt(&child);
    let begun = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(20));
}
