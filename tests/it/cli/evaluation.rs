//! Evaluations of a run while it trains (`log.eval`), runs side by side, and a run as the reference.

use super::TINY_RUN;
use super::eval::{SMALL, floats, json, npz};
use super::resume::interrupt;
use serde_json::Value;
use sit_tests::inception::official_file;
use sit_tests::sit::{run, run_ok, sit};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::Stdio;

const RUN: &str = "train --preset digits-smoke --backend cpu --out run --set log.every_steps=2 --set log.checkpoint_every_steps=2 \
     --set log.preview.every_steps=0 --set log.tensorboard=false --set log.eval.every_steps=4";

/// Lines of measurements.
fn lines(folder: &Path, run: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join(run).join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// What a line says of an evaluation: the metric and the number of samples, without the judge.
fn evaluated(line: &Value) -> Vec<(String, Option<f64>)> {
    let all = line.as_object().unwrap().iter();
    let all = all.filter_map(|(name, value)| Some((name.strip_prefix("eval/")?, value)));
    let short = |name: &str| name.split("-classifier-").next().unwrap().to_owned();
    all.map(|(name, value)| (short(name), value.as_f64()))
        .collect()
}

#[test]
fn numbers_on_the_way_are_those_of_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let set = "--set train.steps=6 --set log.eval.count=50 --set log.eval.steps=3 --set log.eval.guidance=1.5 \
         --set log.eval.metrics=[\"nearest\",\"agreement\",\"frechet\",\"pixel-sw\"]";
    let said = run(folder, &format!("{RUN} {set} --set log.csv=true"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stderr
            .contains("floor, 355 images of digits (test), held out: agreement % 9"),
        "{}",
        said.stderr
    );
    let all = lines(folder, "run");
    // At its own steps and at the end.
    let has = |line: &Value| evaluated(line).iter().all(|(_, value)| value.is_some());
    assert_eq!(all.iter().map(has).collect::<Vec<_>>(), [false, true, true]);
    let csv = fs::read_to_string(folder.join("run/metrics.csv")).unwrap();
    let header = csv.lines().next().unwrap();
    for step in [4, 6] {
        run_ok(
            folder,
            &format!(
                "sample run/step-{step:08} --backend cpu --ode heun --steps 3 --guidance 1.5 --count 50 --balanced --npz {step}.npz"
            ),
        );
        run_ok(
            folder,
            &format!(
                "eval {step}.npz --backend cpu --reference run --judge run/judge.safetensors --json {step}.json"
            ),
        );
        let row = &json(&folder.join(format!("{step}.json")))["rows"][0];
        let found = evaluated(&all[step / 2 - 1]);
        assert_eq!(found.len(), 5, "{found:?}");
        for (name, value) in found {
            let column = name.strip_suffix("-50").unwrap();
            let of = |name: &str| match &row[name] {
                Value::Object(band) => band["value"].as_f64(),
                number => number.as_f64(),
            };
            let own = of(column).or(of(&format!("{column} %")));
            assert_eq!(value, own, "{step} {column}");
            assert!(header.contains(&format!("eval/{name}")), "{header}");
        }
    }
    // Runs side by side.
    let printed = run_ok(folder, "eval --compare run run --json runs.json");
    assert_eq!(printed.lines().count(), 4, "{printed}");
    let header = printed.lines().next().unwrap();
    assert!(
        header.contains("frechet-50-classifier-") && header.contains("nearest-50"),
        "{header}"
    );
    let runs = json(&folder.join("runs.json"));
    let steps = runs["runs"][1]["evaluations"].as_array().unwrap().iter();
    let steps: Vec<u64> = steps.map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [4, 6]);
    // Its own judge is of its data.
    for i in 0..40_u8 {
        let path = folder.join(format!("other/{}", i % 2));
        fs::create_dir_all(&path).unwrap();
        let image = image::GrayImage::from_pixel(8, 8, image::Luma([6 * i]));
        image.save(path.join(format!("{i}.png"))).unwrap();
    }
    let words = "train --resume run --backend cpu --set train.steps=8 --set log.eval.metrics=[\"frechet\"] --set log.eval.reference=other";
    let refused = run(folder, words);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for expected in [
        "judge.safetensors: got a judge of images [1, 8, 8] and 10 classes, expected [1, 8, 8] and 2 classes",
        "; set log.eval.judge to another file, or remove this one",
    ] {
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }
    let refused = run(folder, "eval --compare run --seed 1");
    assert!(refused.stderr.contains("--seed <S>"), "{}", refused.stderr);
    let refused = run(folder, "eval --compare run nowhere");
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("--compare: nowhere cannot be read"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_run_that_is_stopped_in_an_evaluation_makes_it_when_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let set = "--set train.steps=4 --set log.eval.count=4000 --set log.eval.steps=40 --set log.eval.metrics=[\"pixel-sw\"]";
    let child = sit(folder)
        .env("SIT_LOG", "debug")
        .args(format!("{RUN} {set}").split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    while !said.contains("step 4: an evaluation begins") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "{said}");
    }
    interrupt(&child);
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("stopped at step 4"), "{said}");
    assert_eq!(lines(folder, "run").len(), 1);
    let less = "--set log.eval.count=40 --set log.eval.steps=2";
    run_ok(folder, &format!("train --resume run --backend cpu {less}"));
    let whole = RUN.replace("--out run", "--out whole");
    run_ok(folder, &format!("{whole} {set} {less}"));
    let (got, want) = (lines(folder, "run"), lines(folder, "whole"));
    assert_eq!((got.len(), want.len()), (2, 2));
    for (got, want) in got.iter().zip(&want).skip(1) {
        assert_eq!(evaluated(got), evaluated(want));
        assert_eq!((&got["loss"], &got["step"]), (&want["loss"], &want["step"]));
        assert_eq!(got["loss_by_t"], want["loss_by_t"]);
    }
}

/// It would fail again after `--resume`.
#[test]
fn a_run_goes_on_when_an_evaluation_fails() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("weights.safetensors"), official_file()).unwrap();
    fs::create_dir(folder.join("real")).unwrap();
    for i in 0..3 {
        let image = image::GrayImage::from_pixel(8, 8, image::Luma([40 * i]));
        image.save(folder.join(format!("real/{i}.png"))).unwrap();
    }
    // Its header can be read, and its pixels cannot.
    let last = folder.join("real/2.png");
    let bytes = fs::read(&last).unwrap();
    fs::write(&last, &bytes[..50]).unwrap();
    let set = "--set train.steps=4 --set log.eval.count=2 --set log.eval.steps=1 --set log.eval.inception=weights.safetensors \
         --set log.eval.reference=real --set log.eval.metrics=[\"fid\"]";
    let done = run(folder, &format!("{RUN} {set}"));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("step 4: not evaluated: ") && done.stderr.contains("2.png"),
        "{}",
        done.stderr
    );
    let all = lines(folder, "run");
    assert_eq!(evaluated(&all[1]), [("fid-2".to_owned(), None)]);
    assert!(all[1]["loss"].is_number() && all.len() == 2);
}

#[test]
fn fid_on_the_way_is_that_of_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("weights.safetensors"), official_file()).unwrap();
    let eval = "eval s.npz --backend cpu --inception weights.safetensors --reference real.safetensors --metrics fid,is";
    // Statistics of a few real images.
    run_ok(
        folder,
        "eval digits --count 6 --backend cpu --inception weights.safetensors --save-statistics real.safetensors",
    );
    let set = "--set train.steps=4 --set log.eval.count=5 --set log.eval.steps=2 --set log.eval.inception=weights.safetensors \
         --set log.eval.reference=real.safetensors --set log.eval.metrics=[\"is\",\"fid\"]";
    run_ok(folder, &format!("{RUN} {set}"));
    run_ok(
        folder,
        "sample run --backend cpu --ode heun --steps 2 --count 5 --balanced --npz s.npz",
    );
    run_ok(folder, &format!("{eval} --json e.json"));
    let row = &json(&folder.join("e.json"))["rows"][0];
    let all = lines(folder, "run");
    let found = evaluated(&all[1]);
    let expected = [
        ("fid-5".to_owned(), row["fid"].as_f64()),
        ("is-5".to_owned(), row["is"]["value"].as_f64()),
    ];
    assert_eq!(found, expected);
}

#[test]
fn evaluations_that_cannot_be_made_are_refused_before_the_run_begins() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("no.safetensors"), "no judge").unwrap();
    npz(
        &folder.join("few.npz"),
        &[("arr_0", "|u1", "(3, 8, 8, 1)", vec![7; 192])],
    );
    npz(
        &folder.join("moments.npz"),
        &[
            ("mu", "<f8", "(1,)", floats([0.0])),
            ("sigma", "<f8", "(1, 1)", floats([1.0])),
        ],
    );
    for (set, expected) in [
        (
            "log.eval.every_steps=3",
            "log.eval.every_steps: got 3, expected a multiple of log.every_steps = 2",
        ),
        ("log.eval.count=1", "log.eval.count: got 1, expected 2 to"),
        (
            "log.eval.metrics=[\"fid\"]",
            "log.eval.metrics: got fid without log.eval.inception",
        ),
        (
            "log.eval.metrics=[\"fd\"]",
            "log.eval.metrics[0]: got \"fd\", expected one of fid, sfid",
        ),
        (
            "log.eval.guidance=1e39",
            "log.eval.guidance: got 1e39, expected a finite scale of f32",
        ),
        (
            "log.eval.metrics=[agreement,nearest]",
            "log.eval.metrics: got \"[agreement,nearest]\", expected a list, in a shell '[\"agreement\", \"nearest\"]'",
        ),
        ("log.eval.judge=nowhere", "nowhere is not there"),
        ("log.eval.judge=no.safetensors", "error: log.eval.judge: "),
        (
            "log.eval.reference=no.safetensors",
            "error: log.eval.reference: ",
        ),
        (
            "log.eval.count=3 --set log.eval.inception=no.safetensors --set log.eval.metrics=[\"pr\"]",
            "log.eval.count: got 3, expected at least 4 for pr",
        ),
        (
            "log.eval.reference=few.npz --set log.eval.inception=no.safetensors --set log.eval.metrics=[\"pr\"]",
            "few.npz: got 3 images, expected at least 4 for pr",
        ),
        (
            "log.eval.reference=moments.npz --set log.eval.inception=no.safetensors --set log.eval.metrics=[\"fid\",\"sfid\",\"is\"]",
            "moments.npz: has no mu_s and sigma_s, expected them for sfid",
        ),
    ] {
        let done = run(folder, &format!("{RUN} --set {set}"));
        assert_eq!(done.code, Some(2), "{set}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{set}: {}", done.stderr);
        assert!(!folder.join("run").exists(), "{set}");
    }
    for (words, expected) in [
        (
            "train --preset moons --backend cpu --out run --set log.eval.every_steps=1000",
            "log.eval.every_steps: expected 0: only a model that makes pictures is evaluated",
        ),
        (
            "train --preset digits-smoke --backend cpu --out run --set log.eval.every_steps=100 --set model.n_classes=0 --set log.eval.metrics=[\"agreement\"]",
            "log.eval.metrics: got agreement for a model without classes",
        ),
    ] {
        let done = run(folder, words);
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
        assert!(!folder.join("run").exists(), "{words}");
    }
}

#[test]
fn a_table_that_evaluates_nothing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let words = RUN.replace(" --set log.eval.every_steps=4", " --set train.steps=2");
    let said = run(folder, &format!("{words} --set log.eval.count=50"));
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let expected = "[log.eval]: nothing is evaluated, as log.eval.every_steps is 0";
    assert!(said.stderr.contains(expected), "{}", said.stderr);
    let said = run(folder, &words.replace("--out run", "--out other"));
    assert!(!said.stderr.contains("log.eval"), "{}", said.stderr);
    let printed = run_ok(folder, "eval --compare run");
    assert!(
        printed.starts_with("- run has no evaluation yet: log.eval.every_steps is 0"),
        "{printed}"
    );
}

/// Where nothing is held out all images are what a model was trained on, by the data's path and by the run.
#[test]
fn all_training_images_are_looked_at_and_a_fifth_of_them_is_the_floor() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("photos")).unwrap();
    for i in 0..40_u32 {
        let level = |x: u32, y: u32| (x * x * 3 + y * (i + 1) * 11 + i * i * 7) as u8;
        let image = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([level(x, y)]));
        image.save(folder.join(format!("photos/{i}.png"))).unwrap();
    }
    let data = "--out run --set data.kind=folder --set data.path=photos --set data.image_size=8 --set data.channels=1 --set model.n_classes=0";
    run_ok(folder, &TINY_RUN.replace("--out run", data));
    for reference in ["photos", "run"] {
        let words = format!(
            "eval photos --reference {reference} --metrics nearest,pixel-sw --json a.json {SMALL}"
        );
        let printed = run_ok(folder, &words);
        assert!(
            printed.contains("to the nearest of 40 images") && !printed.contains("held out"),
            "{printed}"
        );
        let all = json(&folder.join("a.json"));
        let (own, floor) = (&all["rows"][0], &all["rows"][1]);
        assert_eq!(own["copies %"], 100.0);
        let title = floor["images"].as_str().unwrap();
        assert!(
            title.ends_with(", a fifth of the training images"),
            "{title}"
        );
        assert!(floor["copies %"].as_f64().unwrap() < 50.0, "{floor}");
        assert!(floor["count"].as_u64().unwrap() < 20, "{floor}");
    }
}
