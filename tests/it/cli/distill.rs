//! Students: trained, resumed and sampled.

use super::TINY_RUN;
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::path::Path;

/// A tiny student of the run `run`, with a checkpoint after each step.
fn student(preset: &str, out: &str, more: &str) -> String {
    format!(
        "train --preset {preset} --teacher run --out {out} --backend cpu --set model.dim=16 --set model.depth=1 --set model.n_heads=2 \
         --set train.batch=8 --set log.checkpoint_every_steps=1 --set log.preview.every_steps=0 {more}"
    )
}

fn same_weights(folder: &Path, step: u64, runs: [&str; 2]) {
    for file in ["model", "ema", "optim"] {
        let [a, b] = runs.map(|run| {
            let path = format!("{run}/step-{step:08}/{file}.safetensors");
            fs::read(folder.join(path)).unwrap()
        });
        assert!(a == b, "{file} of step {step}");
    }
}

#[test]
fn a_student_of_one_step_resumes_without_its_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, &format!("{TINY_RUN} --set model.n_heads=2"));
    let preset = "digits-one-step";
    let steps = "--set train.steps=3 --set log.preview.every_steps=2";
    let done = run_ok_all(folder, &student(preset, "one", steps));
    assert!(
        done.contains("starts from the weights of its teacher"),
        "{done}"
    );
    run_ok(folder, &student(preset, "half", "--set train.steps=1"));
    fs::rename(folder.join("run"), folder.join("away")).unwrap();
    run_ok(
        folder,
        &format!("train --resume half --backend cpu {steps}"),
    );
    same_weights(folder, 3, ["one", "half"]);

    // The same command goes on with the run, wherever its teacher is.
    let again = student(preset, "one", steps).replace("--teacher run", "--teacher away");
    let done = run_ok_all(folder, &format!("{again} --auto-resume"));
    assert!(done.contains("nothing to do"), "{done}");

    let images = |words: &str| {
        run_ok(
            folder,
            &format!("sample {words} --backend cpu --no-grid --per-class 1 --npz x.npz"),
        );
        fs::read(folder.join("x.npz")).unwrap()
    };
    let own = images("one");
    assert!(own == images("one --steps 1"));
    assert!(own == images("one --batch 3"));
    assert!(own != images("one --steps 2"));
    for (words, expected) in [
        ("sample one --ode heun", "--ode: this model was distilled"),
        ("sample one --sde euler", "--sde: this model was distilled"),
        (
            "sample one --guidance 2",
            "--guidance: expected no guidance: a distilled model",
        ),
        (
            "sample one --t-eps-sample 0.1",
            "--t-eps-sample: this model was distilled",
        ),
        (
            "sample away --autoguide one --autoguide-scale 2",
            "--autoguide: got a distilled model",
        ),
        ("nll one --data digits", "got a distilled model"),
        (
            "loss one --data digits --out loss.csv",
            "got a distilled model",
        ),
        ("train --preset digits-one-step", "--teacher RUN"),
        (
            "train --preset digits-one-step --teacher one",
            "got a model distilled to 1 step, expected",
        ),
        (
            "train --preset digits-one-step --teacher none",
            "--teacher: ",
        ),
        (
            "train --preset digits-one-step --teacher away --set transport.path=GVP",
            "--teacher: got a model that predicts velocity on the Linear path",
        ),
        (
            "train --preset digits-one-step --teacher away --set distill.flow=0",
            "distill.flow: got 0",
        ),
        (
            "train --resume one --set distill.guidance=2 --set train.steps=4",
            "a run keeps it",
        ),
    ] {
        let done = run(folder, &format!("{words} --backend cpu"));
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
    }
    run_ok(folder, "convert one one.safetensors");
    for what in ["one", "one.safetensors"] {
        let info = run_ok(folder, &format!("info {what}"));
        assert!(info.contains("in 1 step, or any other number"), "{info}");
        assert!(!info.contains("does not fit"), "{info}");
    }
    assert!(own == images("one.safetensors"));
    // Without a configuration, the student is like its teacher.
    run_ok(
        folder,
        "train --teacher away --out like --backend cpu --set train.steps=1",
    );
    images("like");
}

#[test]
fn the_teachers_of_later_stages_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, &format!("{TINY_RUN} --set model.n_heads=2"));
    let preset = "digits-four-steps";
    let steps = "--set train.steps=6 --set log.keep_last=9";
    run_ok(folder, &student(preset, "four", steps));
    // Stopped in the middle of a stage and at the beginning of the next one.
    for stop in [3, 4] {
        let half = format!("half-{stop}");
        copy(&folder.join("four"), &folder.join(&half));
        for step in stop + 1..=6 {
            fs::remove_dir_all(folder.join(format!("{half}/step-{step:08}"))).unwrap_or_default();
        }
        if stop == 4 {
            fs::remove_file(folder.join(&half).join("teacher-3.safetensors")).unwrap();
        }
        run_ok(folder, &format!("train --resume {half} --backend cpu"));
        same_weights(folder, 6, ["four", &half]);
    }
    let done = run(
        folder,
        "train --resume four --backend cpu --set train.steps=9",
    );
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr.contains("its stages share them"),
        "{}",
        done.stderr
    );
    let sample = "sample four --backend cpu --no-grid --per-class 1 --npz x.npz";
    run_ok(folder, sample);
    let done = run(folder, &format!("{sample} --steps 2"));
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr
            .contains("--steps: got 2 other steps, expected the 4 equal steps of Euler"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_run_of_reflow_keeps_its_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, &format!("{TINY_RUN} --set model.n_heads=2"));
    let preset = "digits-reflow";
    let few = "--set distill.pairs=20 --set distill.teacher_steps=3";
    let done = run_ok_all(
        folder,
        &student(preset, "one", &format!("{few} --set train.steps=3")),
    );
    assert!(
        done.contains("20 pairs of the teacher; straightness"),
        "{done}"
    );
    run_ok(
        folder,
        &student(preset, "half", &format!("{few} --set train.steps=1")),
    );
    fs::rename(folder.join("run"), folder.join("away")).unwrap();
    run_ok(
        folder,
        "train --resume half --backend cpu --set train.steps=3",
    );
    same_weights(folder, 3, ["one", "half"]);
    let straight = run_ok(
        folder,
        "sample one --ode euler --steps 4 --straightness --backend cpu --per-class 1",
    );
    assert!(straight.contains("straightness 0."), "{straight}");
    for (words, expected) in [
        (
            "sample one --ode dopri5 --straightness",
            "--straightness: it needs given steps",
        ),
        (
            "train --preset digits-reflow --teacher away --set distill.pairs=0",
            "distill.pairs: got 0",
        ),
        ("sample one --sde euler", "noise of this model is paired"),
        (
            "train --preset digits-reflow --teacher away --set transport.path=GVP",
            "transport.base: got paired, expected gaussian on the GVP path",
        ),
        (
            "train --preset digits-reflow --teacher away --set distill.stages=2",
            "distill.stages: it belongs to distill.method = progressive",
        ),
        (
            "train --preset digits --set transport.student_steps=4",
            "transport.student_steps: expected none without the table distill",
        ),
        (
            "train --preset digits-reflow --teacher away --set transport.student_steps=2",
            "transport.student_steps: expected none",
        ),
    ] {
        let done = run(folder, &format!("{words} --backend cpu"));
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, &to).unwrap()),
        }
    }
}

/// Standard error of a command that must succeed.
fn run_ok_all(folder: &Path, words: &str) -> String {
    let done = run(folder, words);
    assert_eq!(done.code, Some(0), "{words}: {}", done.stderr);
    done.stderr
}
