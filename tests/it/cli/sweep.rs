//! `sit sweep`: cells, tables, judges, and a sweep that is stopped and goes on.

use super::TINY_RUN;
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::path::Path;

/// A run, and a classifier without much training that stands for the judge.
fn model_and_judge(folder: &Path) {
    run_ok(folder, TINY_RUN);
    for (name, seed) in [("judge", 0), ("other", 1)] {
        let train = format!("--out {name} --set model.family=classifier --set train.seed={seed}");
        run_ok(folder, &TINY_RUN.replace("--out run", &train));
        run_ok(folder, &format!("convert {name} {name}.safetensors"));
    }
}

/// The rows of a table, each with the values of these columns.
fn columns(folder: &Path, names: &[&str]) -> Vec<Vec<String>> {
    let text = fs::read_to_string(folder.join("table.csv")).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let at: Vec<usize> = names
        .iter()
        .map(|name| head.iter().position(|column| column == name).unwrap())
        .collect();
    lines
        .map(|row| at.iter().map(|&i| row[i].to_owned()).collect())
        .collect()
}

fn bytes(folder: &Path) -> Vec<Vec<u8>> {
    let files = ["table.csv", "table.md", "plot.png", "sweep.json"];
    files
        .map(|file| fs::read(folder.join(file)).unwrap())
        .into()
}

const SWEEP: &str = "sweep run --backend cpu --ode euler,heun --sde euler --steps 2,3 --diffusion sigma,sbdm --t-eps-sample 0.01 \
     --weights ema,raw --count 70 --batch 32 --judge-model judge.safetensors --out";

#[test]
fn a_sweep_that_was_stopped_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model_and_judge(folder);
    let printed = run_ok(folder, &format!("{SWEEP} whole"));
    let whole = folder.join("whole");
    assert_eq!(fs::read_to_string(whole.join("table.md")).unwrap(), printed);
    assert!(
        printed.contains(
            "Of all rows, where it applies: diffusion_norm 1, guidance 1, count 70, seed 0."
        ),
        "{printed}"
    );
    // The judge is called as sit eval calls it.
    let eval = "eval --train-judge digits --judge judge.safetensors --backend cpu";
    let name = run_ok(folder, eval);
    let name = name.split(" in ").next().unwrap();
    assert!(
        printed.contains(&format!("({name}, 16 features, 1442 images, ")),
        "{name} {printed}"
    );
    let rows = columns(
        &whole,
        &[
            "weights",
            "solver",
            "steps",
            "evaluations",
            "passes",
            "diffusion",
        ],
    );
    let expected = [
        ["ema", "ode-euler", "2", "2", "2", ""],
        ["ema", "ode-euler", "3", "3", "3", ""],
        ["ema", "ode-heun", "2", "4", "4", ""],
        ["ema", "ode-heun", "3", "6", "6", ""],
        // With the last step.
        ["ema", "sde-euler", "2", "3", "3", "sigma"],
        ["ema", "sde-euler", "2", "3", "3", "sbdm"],
        ["ema", "sde-euler", "3", "4", "4", "sigma"],
        ["ema", "sde-euler", "3", "4", "4", "sbdm"],
    ];
    assert_eq!(rows.len(), 16);
    assert_eq!(rows[..8], expected);
    for (row, measured) in rows[8..].iter().zip(&expected) {
        assert_eq!(
            (&row[0][..], &row[1..]),
            ("raw", &measured.map(str::to_owned)[1..])
        );
    }
    for row in columns(&whole, &["agreement", "frechet"]) {
        let [agreement, frechet] = [0, 1].map(|i| row[i].parse::<f64>().unwrap());
        assert!(
            (0.0..=100.0).contains(&agreement) && frechet > 0.0,
            "{row:?}"
        );
    }

    // Killed in the middle of a line, before the files that come at the end.
    let table = fs::read(whole.join("table.csv")).unwrap();
    let cut = folder.join("cut");
    fs::create_dir(&cut).unwrap();
    let ends: Vec<usize> = (0..table.len()).filter(|&i| table[i] == b'\n').collect();
    fs::write(cut.join("table.csv"), &table[..ends[5] + 9]).unwrap();
    fs::copy(whole.join("sweep.json"), cut.join("sweep.json")).unwrap();
    // Only memory and speed depend on the batch.
    let words = format!("{SWEEP} cut").replace("--batch 32", "--batch 9");
    let done = run(folder, &words);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("5 of 16 cells are done already"),
        "{}",
        done.stderr
    );
    assert!(!done.stderr.contains("cell 5 of 16") && done.stderr.contains("cell 6 of 16"));
    assert!(bytes(&cut) == bytes(&whole));
    // And once more, with nothing to do.
    let again = run(folder, &words);
    assert!(!again.stderr.contains("cell 16 of 16"), "{}", again.stderr);
    assert!(bytes(&cut) == bytes(&whole) && again.stdout == printed);

    for (from, to, expected) in [
        ("--steps 2,3", "--steps 2,4", "steps 2,3, got 2,4"),
        (
            "--count 70",
            "--count 71 --seed 1",
            "count 70, got 71; seed 0, got 1",
        ),
        (
            "--weights ema,raw",
            "--weights raw",
            "weights ema,raw, got raw",
        ),
        (
            "judge.safetensors",
            "other.safetensors",
            "table.csv: line 2: judge: got ",
        ),
    ] {
        let done = run(folder, &words.replace(from, to));
        assert_eq!(done.code, Some(2), "{to}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{to}: {}", done.stderr);
    }
    assert!(bytes(&cut) == bytes(&whole));
}

#[test]
fn settings_that_change_no_image_make_no_cell() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    run_ok(
        folder,
        "sweep run --backend cpu --ode euler,bosh3 --steps 4 --guidance 1,1.5 --guidance-channels all,3 \
         --guidance-interval 0..1,0.2..0.6 --autoguide run/step-00000001 --autoguide-scale 1,2 --count 20 \
         --metric agreement --out out",
    );
    let names = [
        "solver",
        "steps",
        "passes",
        "guidance",
        "guidance_channels",
        "guidance_interval",
        "autoguide_scale",
    ];
    let out = folder.join("out");
    let rows = columns(&out, &names);
    assert_eq!(rows.len(), 14);
    let expected = [
        ["ode-euler", "4", "4", "1", "", "", ""],
        ["ode-euler", "4", "8", "1", "", "0..1", "2"],
        ["ode-euler", "4", "6", "1", "", "0.2..0.6", "2"],
        ["ode-euler", "4", "8", "1.5", "all", "0..1", ""],
        ["ode-euler", "4", "12", "1.5", "all", "0..1", "2"],
        ["ode-euler", "4", "6", "1.5", "all", "0.2..0.6", ""],
        ["ode-euler", "4", "8", "1.5", "all", "0.2..0.6", "2"],
    ];
    assert_eq!(rows[..7], expected);
    // A solver that chooses its steps: they are measured, and what guides is evaluated at all times.
    let own = columns(
        &out,
        &["steps", "evaluations", "passes", "frechet", "judge"],
    );
    for (row, of_euler) in own[7..].iter().zip(&rows) {
        let n: f64 = row[1].parse().unwrap();
        assert!(n > 4.0 && row[0].is_empty(), "{row:?}");
        let passes: f64 = row[2].parse().unwrap();
        let n_guides = [&of_euler[3][..] != "1", !of_euler[6].is_empty()];
        let n_guides = n_guides.iter().filter(|guides| **guides).count();
        assert!((passes / n - (1 + n_guides) as f64).abs() < 0.1, "{row:?}");
        assert_eq!(row[3..], ["", ""]);
    }
    assert!(!out.join("judge.safetensors").exists());
}

/// The judge is trained, stored and shared, and knows the digits.
#[test]
fn the_judge_is_trained_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let sweep = "sweep run --backend cpu --ode euler --steps 2 --count 50 --metric frechet --out";
    let done = run(folder, &format!("{sweep} one"));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("fewer images than the 64 features"),
        "{}",
        done.stderr
    );
    let accuracy = done.stdout.split("64 features, 1442 images, ").nth(1);
    let accuracy = accuracy.and_then(|rest| rest.split(" %").next());
    let accuracy: f64 = accuracy.unwrap().parse().unwrap();
    assert!(accuracy > 90.0, "{}", done.stdout);
    assert!(
        done.stdout.contains(" % of 355 held out)"),
        "{}",
        done.stdout
    );
    // Noise that a hardly trained model makes is far from the digits, real ones are near.
    let of_real = done.stdout.split("has not seen have ").nth(1).unwrap();
    let of_real: f64 = of_real.lines().next().unwrap().parse().unwrap();
    let of_noise: f64 = columns(&folder.join("one"), &["frechet"])[0][0]
        .parse()
        .unwrap();
    assert!(of_noise > 10.0 * of_real, "{of_noise} {of_real}");
    let shared = run_ok(
        folder,
        &format!("{sweep} two --judge-model one/judge.safetensors"),
    );
    assert_eq!(shared, done.stdout);
    let tables = ["one", "two"].map(|out| fs::read(folder.join(out).join("table.csv")).unwrap());
    assert!(tables[0] == tables[1]);
}

#[test]
fn what_cannot_be_swept_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    model_and_judge(folder);
    for (name, set) in [
        ("blind", "model.n_classes=0"),
        ("wide", "model.n_classes=12"),
    ] {
        run_ok(
            folder,
            &TINY_RUN.replace("--out run", &format!("--out {name} --set {set}")),
        );
    }
    run_ok(folder, "convert run run.safetensors");
    let wide = TINY_RUN.replace(
        "--out run",
        "--out wide-judge --set model.family=classifier --set model.n_classes=12",
    );
    run_ok(folder, &wide);
    run_ok(folder, "convert wide-judge wide.safetensors");
    fs::create_dir(folder.join("full")).unwrap();
    fs::write(folder.join("full/notes.txt"), "").unwrap();
    let rows = [
        ("run --metric fid", "--metric"),
        ("run --steps=", "--steps"),
        ("run --steps 4,0", "expected a whole number of 1 to 100000"),
        ("run --ode heun,nosuch", "expected one of euler"),
        (
            "run --ode dopri5 --steps 4",
            "--steps: every solver that is given chooses its steps itself",
        ),
        (
            "run --sde pc --diffusion sigma",
            "--sde pc has no diffusion",
        ),
        (
            "run --sde euler --diffusion sbdm",
            "sde-euler, 250 steps, diffusion sbdm: the SBDM diffusion is infinite at t = 0",
        ),
        (
            "run --sde euler --diffusion w-kl-eta",
            "--diffusion w-kl-eta: expected --kl-eta X",
        ),
        (
            "run --guidance-interval 0.2..0.8",
            "--guidance-interval: no guidance is given",
        ),
        (
            "run --guidance-channels 3",
            "--guidance-channels: no --guidance is given",
        ),
        (
            "run --guidance 2 --guidance-interval 0.8..0.2",
            "expected two times in order within 0..1",
        ),
        ("run --weights ema2", "--weights: "),
        ("run --autoguide run", "--autoguide-scale"),
        (
            "blind --guidance 1,2 --metric frechet",
            "this model has no classes",
        ),
        (
            "blind --metric agreement",
            "--metric agreement: this model has no classes",
        ),
        (
            "run --judge-model wide.safetensors",
            "got a judge of images [1, 8, 8] and 12 classes, expected [1, 8, 8] and 10 classes",
        ),
        (
            "run --judge-model run.safetensors",
            "is no classifier, expected a judge",
        ),
        ("run --out full", "--out: full: holds notes.txt already"),
        ("run --out run", "--out: run: holds"),
        (
            "judge --metric frechet",
            "got a classifier, expected a network that predicts",
        ),
        ("run --data nosuch", "--data: nosuch"),
    ];
    for (words, expected) in rows {
        let out = if words.contains("--out") {
            ""
        } else {
            "--out out"
        };
        let done = run(
            folder,
            &format!("sweep {words} --backend cpu --count 20 {out}"),
        );
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
        let left = folder.join("out");
        // A judge is read after the folder is made.
        if left.exists() {
            assert!(words.contains("--judge-model"), "{words}");
            fs::remove_dir_all(left).unwrap();
        }
    }
}
