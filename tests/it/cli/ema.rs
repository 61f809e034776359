//! Second averages, snapshots, and averages after the fact.

use super::tensors::{edit, read, truncate};
use super::{TINY_RUN, copy, names, tree};
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::path::Path;

/// Twenty snapshots of four widths. The last two are taken out of the snapshots, to be compared with.
const WIDE_RUN: &str = "train --preset digits --backend cpu --out run --set train.steps=200 --set train.warmup_steps=10 \
     --set train.batch=16 --set model.dim=48 --set model.depth=2 --set model.n_heads=3 --set log.preview.every_steps=0 \
     --set log.snapshots.every_steps=10 --set log.snapshots.widths=[0.05,0.1,0.07,0.15]";

/// A run with both kinds of averages, in two steps.
fn tiny(folder: &Path) {
    let keys = "--set train.ema_decay2=0.5 --set log.snapshots.every_steps=1";
    run_ok(folder, &format!("{TINY_RUN} {keys}"));
}

/// All values of a file, by name of the tensors.
fn values(path: &Path) -> Vec<f64> {
    let tensors = read(path);
    let values = tensors.values().flat_map(|tensor| tensor.values());
    values.map(f64::from).collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}

/// The distance of `got` from `want`, relative to `want`, and to the distance of `want` from the weights as trained.
fn errors(got: &Path, want: &Path, raw: &Path) -> [f64; 2] {
    let [got, want, raw] = [got, want, raw].map(values);
    let apart = |a: &[f64], b: &[f64]| norm(a.iter().zip(b).map(|(a, b)| a - b));
    let error = apart(&got, &want);
    [
        error / norm(want.iter().copied()),
        error / apart(&want, &raw),
    ]
}

#[test]
fn an_average_after_the_fact_is_one_that_was_kept() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, WIDE_RUN);
    let at = |step: u64, file: &str| {
        folder.join(format!("run/{file}").replace("STEP", &format!("step-{step:08}")))
    };
    for width in [0.07, 0.15] {
        let file = format!("snapshots/STEP/width-{width}.safetensors");
        for step in [100, 200] {
            fs::copy(
                at(step, &file),
                folder.join(format!("kept-{width}-{step}.safetensors")),
            )
            .unwrap();
        }
        for step in (10..=200).step_by(10) {
            fs::remove_file(at(step, &file)).unwrap();
        }
    }
    // A checkpoint has the same averages as the snapshot of its step.
    let same = [
        "snapshots/STEP/width-0.1.safetensors",
        "STEP/width-0.1.safetensors",
    ];
    let [snapshot, checkpoint] = same.map(|file| fs::read(at(200, file)).unwrap());
    assert!(snapshot == checkpoint);

    let raw = at(200, "STEP/model.safetensors");
    for width in [0.07, 0.15] {
        run_ok(
            folder,
            &format!("ema run --width {width} --out made.safetensors"),
        );
        let kept = folder.join(format!("kept-{width}-200.safetensors"));
        let error = errors(&folder.join("made.safetensors"), &kept, &raw);
        println!("width {width}: {error:?}");
        assert!(
            error.iter().all(|&error| error < 0.01),
            "{width}: {error:?}"
        );
    }
    // At an earlier step; the weights of that step are not kept, so those of the end stand for them.
    run_ok(
        folder,
        "ema run --width 0.07 --step 100 --out made.safetensors",
    );
    let error = errors(
        &folder.join("made.safetensors"),
        &folder.join("kept-0.07-100.safetensors"),
        &raw,
    );
    assert!(error.iter().all(|&error| error < 0.01), "{error:?}");
    // A width that was kept is the snapshot's, but for the rounding of the sums.
    run_ok(folder, "ema run --width 0.1 --out made.safetensors");
    let error = errors(
        &folder.join("made.safetensors"),
        &at(200, "snapshots/STEP/width-0.1.safetensors"),
        &raw,
    );
    assert!(error[1] < 1e-5, "{error:?}");

    // The file is a model, and says what it is.
    run_ok(
        folder,
        "sample made.safetensors --backend cpu --steps 1 --per-class 1 --out x.png",
    );
    let data = "--data digits --split test --count 2 --ode heun --steps 2 --probes 1";
    run_ok(
        folder,
        &format!("nll made.safetensors --backend cpu {data}"),
    );
    let text = run_ok(folder, "info made.safetensors");
    assert!(
        text.contains("a power function average of relative width 0.1 over 200 updates, combined"),
        "{text}"
    );
    let text = run_ok(folder, "info run");
    assert!(
        text.contains("width-0.05.safetensors: a power function average of relative width 0.05"),
        "{text}"
    );
}

/// An exponential average from snapshots, against the run's own second one.
#[test]
fn an_exponential_average_after_the_fact_is_the_second_one_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(
        folder,
        &format!("{WIDE_RUN} --set train.ema_decay2=0.95 --set train.ema_warmup=false"),
    );
    run_ok(folder, "ema run --decay 0.95 --out made.safetensors");
    let at = |file: &str| folder.join("run/step-00000200").join(file);
    let error = errors(
        &folder.join("made.safetensors"),
        &at("ema2.safetensors"),
        &at("model.safetensors"),
    );
    println!("decay 0.95: {error:?}");
    assert!(error.iter().all(|&error| error < 0.01), "{error:?}");
}

#[test]
fn what_snapshots_cannot_make_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tiny(folder);
    let refused = |run_folder: &str, words: &str, expected: &str| {
        let done = run(
            folder,
            &format!("ema {run_folder} {words} --out x.safetensors"),
        );
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
        assert!(!folder.join("x.safetensors").exists(), "{words}");
    };
    refused("run", "", "--width <S>");
    refused("run", "--width 0.1 --decay 0.9", "cannot be used with");
    refused(
        "run",
        "--width 0.3",
        "--width: got 0.3, expected a relative width of 0.001 to 0.2886",
    );
    refused(
        "run",
        "--decay 1.5",
        "--decay: got 1.5, expected a number in [0, 1]",
    );
    refused(
        "run",
        "--width 0.28",
        "--width: got 0.28, which 4 files of snapshots represent with a residual of ",
    );
    refused("run", "--decay 0.5", "--decay: got 0.5, which 4 files");
    refused(
        "run",
        "--width 0.1 --step 7",
        "--step: run has no snapshot of step 7, expected one of 2 steps from 1 to 2",
    );
    refused(
        "run/step-00000002",
        "--width 0.1",
        "run/step-00000002: is a part of a run, expected the run itself: run",
    );
    refused("nosuch", "--width 0.1", "nosuch: is not there");
    let done = run(
        folder,
        "ema run --width 0.1 --out run/snapshots/x.safetensors",
    );
    assert_eq!(done.code, Some(2));
    assert!(
        done.stderr.contains("belongs to the run"),
        "{}",
        done.stderr
    );

    let last = "snapshots/step-00000002/width-0.1.safetensors";
    let broken = |name: &str, breaks: &dyn Fn(&Path), expected: &str| {
        copy(&folder.join("run"), &folder.join(name));
        breaks(&folder.join(name).join(last));
        refused(name, "--width 0.1", expected);
    };
    broken(
        "cut",
        &|file| truncate(file, 0.7),
        "cut/snapshots/step-00000002/width-0.1.safetensors: is truncated",
    );
    broken(
        "other",
        &|file| edit(file, |tensors| drop(tensors.pop_first())),
        "width-0.1.safetensors: has no tensor ",
    );
    broken(
        "nan",
        &|file| {
            edit(file, |tensors| {
                let bias = tensors.get_mut("final_layer.linear.bias").unwrap();
                bias.bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
            })
        },
        "is NaN, expected a finite number",
    );
    broken(
        "plain",
        &|file| {
            let raw = file
                .ancestors()
                .nth(3)
                .unwrap()
                .join("step-00000002/model.safetensors");
            fs::copy(raw, file).unwrap();
        },
        "does not record which average it is",
    );
    broken(
        "empty",
        &|file| {
            for entry in fs::read_dir(file.parent().unwrap()).unwrap() {
                fs::remove_file(entry.unwrap().path()).unwrap();
            }
        },
        "empty/snapshots/step-00000002: has no file of an average",
    );
    // A folder that is being written does not count.
    broken(
        "half",
        &|file| {
            let snapshot = file.parent().unwrap();
            for step in ["step-00000001", "step-00000002"] {
                fs::rename(
                    snapshot.with_file_name(step),
                    snapshot.with_file_name(format!(".unfinished-{step}")),
                )
                .unwrap();
            }
        },
        "half: has no snapshots",
    );
    broken(
        "none",
        &|file| fs::remove_dir_all(file.ancestors().nth(2).unwrap()).unwrap(),
        "none: has no snapshots",
    );
}

#[test]
fn every_command_takes_the_second_average() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tiny(folder);
    let own = values(&folder.join("run/step-00000002/ema2.safetensors"));
    assert!(own != values(&folder.join("run/step-00000002/ema.safetensors")));
    run_ok(folder, "convert run x.safetensors --weights ema2");
    assert_eq!(values(&folder.join("x.safetensors")), own);
    let done = run(
        folder,
        "sample run --weights ema2 --backend cpu --steps 1 --per-class 1 --out x.png",
    );
    assert!(
        done.stderr
            .contains("the second moving average of the weights (ema2)"),
        "{}",
        done.stderr
    );
    let branch = TINY_RUN.replace("--out run", "--out branch");
    run_ok(
        folder,
        &format!("{branch} --init-from run --init-weights ema2 --set train.learning_rate=1e-30"),
    );
    let began = values(&folder.join("branch/step-00000001/model.safetensors"));
    let far = began.iter().zip(&own).map(|(a, b)| (a - b).abs());
    assert!(far.fold(0.0, f64::max) < 1e-20);

    // A run without it.
    run_ok(folder, &TINY_RUN.replace("--out run", "--out single"));
    for (words, flag) in [
        (
            "convert single y.safetensors --weights ema2".to_owned(),
            "--weights",
        ),
        (
            TINY_RUN.replace(
                "--out run",
                "--out other --init-from single --init-weights ema2",
            ),
            "--init-weights",
        ),
    ] {
        let done = run(folder, &words);
        assert_eq!(done.code, Some(2), "{words}");
        assert!(
            done.stderr.contains(&format!("{flag}: ")),
            "{}",
            done.stderr
        );
        assert!(
            done.stderr
                .contains("has no second average, as train.ema_decay2 was not set"),
            "{}",
            done.stderr
        );
    }
    for (keys, expected) in [
        (
            "train.ema_decay2=0.9",
            "train.ema_decay2 is not set in the checkpoint, 0.9 was asked for",
        ),
        (
            "log.snapshots.every_steps=1",
            "log.snapshots: no average of width 0.05 is in the checkpoint",
        ),
    ] {
        let done = run(
            folder,
            &format!("train --resume single --backend cpu --set train.steps=4 --set {keys}"),
        );
        assert_eq!(done.code, Some(2), "{keys}");
        assert!(done.stderr.contains(expected), "{}", done.stderr);
    }
}

/// Averages beside the run change nothing of it: all files that it had before have the same bytes, but for its configuration.
#[test]
fn averages_change_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tiny(folder);
    run_ok(folder, &TINY_RUN.replace("--out run", "--out single"));
    let single = folder.join("single");
    let names_of = |run: &str| names(&folder.join(run).join("step-00000002"));
    assert_eq!(
        names_of("single"),
        [
            "ema.safetensors",
            "model.safetensors",
            "optim.safetensors",
            "state.json"
        ]
    );
    assert_eq!(
        names_of("run"),
        [
            "ema.safetensors",
            "ema2.safetensors",
            "model.safetensors",
            "optim.safetensors",
            "state.json",
            "width-0.05.safetensors",
            "width-0.1.safetensors"
        ]
    );
    assert!(!single.join("snapshots").exists());
    let text = fs::read_to_string(single.join("config.toml")).unwrap();
    assert!(
        !text.contains("ema_decay2") && !text.contains("snapshots"),
        "{text}"
    );
    for (path, content) in tree(&single) {
        let name = path.strip_prefix(&single).unwrap();
        if name
            .extension()
            .is_some_and(|ending| ending == "safetensors")
        {
            assert!(
                fs::read(folder.join("run").join(name)).ok() == content,
                "{name:?} differs"
            );
        }
    }
}

/// Without the second average and the snapshots, a run goes on without them.
#[test]
fn averages_can_be_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    tiny(folder);
    run_ok(
        folder,
        "train --resume run --backend cpu --set train.steps=4 --set log.snapshots.every_steps=0",
    );
    let names = names(&folder.join("run/step-00000004"));
    assert!(names.contains(&"ema2.safetensors".to_owned()));
    assert!(!names.contains(&"width-0.1.safetensors".to_owned()));
    // What was kept before stays usable.
    run_ok(folder, "ema run --width 0.05 --out x.safetensors");
}
