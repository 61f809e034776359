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
    fs::copy(folder.join("net.safetensors"), folder.join("net.json")).unwrap();
    for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
        fs::write(folder.join(name), "").unwrap();
    }
    fs::create_dir_all(folder.join("real/a")).unwrap();
    fs::write(folder.join("real/a/x.json"), "").unwrap();
    fs::create_dir(folder.join("one")).unwrap();
    let image = image::GrayImage::new(8, 8);
    image.save(folder.join("one/a.png")).unwrap();
    fs::create_dir(folder.join("several")).unwrap();
    for i in 0..20 {
        image.save(folder.join(format!("several/{i}.png"))).unwrap();
    }
    let good = arr_0("|u1", "(4, 8, 8, 1)", 256);
    let far = [1_i64 << 40, 0, 0, 0].map(i64::to_le_bytes).concat();
    let far = ("arr_1", "<i8", "(4,)", far);
    npz(&folder.join("far.npz"), &[good.clone(), far]);
    let text = ("arr_1", "<U1", "(4,)", vec![0; 16]);
    npz(&folder.join("text.npz"), &[good, text]);
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
        (
            "good.npz --reference digits --metrics pixel-sw,copies",
            "--metrics: got copies, expected nearest, whose column it is",
        ),
        (
            "good.npz --reference digits --metrics recall",
            "--metrics: got recall, expected pr, whose column it is",
        ),
        (
            "good.npz --reference digits --metrics faces",
            "[possible values: fid, sfid,",
        ),
        (
            "good.npz --train-judge none --judge z",
            "--train-judge: none",
        ),
        (
            "good.npz --train-judge one --judge z",
            "--train-judge: one: got 1 image, expected more: it has no test images, and a fifth",
        ),
        (
            "wide.npz --reference several --metrics pixel-sw",
            "several: got samples of [1, 8, 16] ([C, H, W]), expected square ones",
        ),
        (
            "one.npz --judge net.json --save-statistics s.safetensors",
            "one.npz: got 1 image, expected at least 2 for --save-statistics",
        ),
        (
            "far.npz --reference digits",
            "far.npz: got arr_1 with 1099511627776, expected labels of 0 to 4294967295",
        ),
        (
            "text.npz --reference digits",
            "text.npz: got arr_1 of the type <U1, expected whole numbers",
        ),
        (
            "good.npz --reference digits --metrics agreement --judge net.safetensors",
            "good.npz has no labels, expected a folder for each class, or an .npz file of sit sample --npz",
        ),
    ] {
        let done = run(folder, &format!("eval {words}"));
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
        assert_eq!(done.stdout, "");
    }
    assert_eq!(names(folder), before);
}

/// A pipe would wait for a writer.
#[cfg(unix)]
#[test]
fn pipes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = std::process::Command::new("mkfifo")
        .arg(folder.join("pipe"))
        .status();
    assert!(made.unwrap().success());
    for (words, argument) in [
        ("digits --reference pipe", "--reference: "),
        (
            "digits --reference digits --train-judge pipe",
            "--train-judge: ",
        ),
        ("pipe --reference digits", ""),
    ] {
        let done = run(folder, &format!("eval {words}"));
        assert_eq!(done.code, Some(2), "{words}");
        let expected = format!("{argument}pipe: got a pipe or a device, expected a regular file");
        assert!(done.stderr.contains(&expected), "{}", done.stderr);
    }
}

/// What is left out or made smaller unasked stands over the table.
#[test]
fn notes_say_what_limits_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(
        folder,
        &TINY_RUN.replace("--out run", "--out net --set model.family=classifier"),
    );
    run_ok(folder, "convert net net.safetensors");
    let images = (
        "arr_0",
        "|u1",
        "(400, 8, 8, 1)",
        (0..25_600).map(|i| i as u8).collect(),
    );
    npz(&folder.join("many.npz"), std::slice::from_ref(&images));
    let words = "eval many.npz --backend cpu --reference digits --judge net.safetensors --directions 5 --resamples 2";
    let printed = run_ok(folder, words);
    for note in [
        "- agreement: left out, as many.npz has no labels; a folder for each class",
        "- pixel-, nearest: of 355 images of each set, as digits (test) has no more",
    ] {
        assert!(printed.contains(note), "{note}: {printed}");
    }
    let printed = run_ok(folder, &format!("{words} --count 300"));
    assert!(!printed.contains("has no more\n"), "{printed}");
}

/// The paths of two sets may end alike.
#[test]
fn a_judge_is_of_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let image = |path: String, level: u8| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let image = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([level ^ (x * y) as u8]));
        image.save(path).unwrap();
    };
    for i in 0..30 {
        for (class, level) in [("dark", 0), ("light", 150)] {
            image(format!("one/train/{class}/{i}.png"), level + i);
            image(format!("two/train/{class}/{i}.png"), level + i + 40);
        }
        image(format!("three/train/red/{i}.png"), i);
        image(format!("three/train/blue/{i}.png"), 200 + i);
    }
    let eval = "eval --backend cpu --judge judge.safetensors --train-judge";
    let named = run_ok(folder, &format!("{eval} one/train"));
    assert_eq!(run_ok(folder, &format!("{eval} one/train")), named);
    for (data, expected) in [
        ("two/train", "got a judge of train, "),
        (
            "three/train",
            "got a judge of the classes dark, light, expected blue, red",
        ),
    ] {
        let done = run(folder, &format!("{eval} {data}"));
        assert_eq!(done.code, Some(2), "{data}");
        assert!(done.stderr.contains(expected), "{}", done.stderr);
    }
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
