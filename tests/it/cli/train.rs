//! What `sit train`, `sit info` and `sit data` write and print.

use super::{TINY_RUN, checkpoints, metrics, names, tree};
use sit_engine::model::Dit;
use sit_tests::sit::{run, run_ok, sit};
use std::process::Stdio;

#[test]
fn a_run_folder_holds_what_it_should() {
    let folder = tempfile::tempdir().unwrap();
    // The default name, and the next free one.
    for name in ["digits-smoke", "digits-smoke-2"] {
        run_ok(folder.path(), "train --preset digits-smoke --backend cpu");
        let run = folder.path().join("runs").join(name);
        let mut found = names(&run);
        let events = found
            .iter()
            .position(|name| name.starts_with("events.out.tfevents."));
        found.remove(events.expect("TensorBoard's file"));
        let expected = [
            "config.toml",
            "metrics.jsonl",
            "previews",
            "step-00000010",
            "step-00000020",
        ];
        assert_eq!(found, expected);
        let files = [
            "ema.safetensors",
            "model.safetensors",
            "optim.safetensors",
            "state.json",
        ];
        assert_eq!(names(&run.join("step-00000020")), files);
        assert_eq!(
            names(&run.join("previews")),
            ["step-00000010.png", "step-00000020.png"]
        );
    }
    let lines = metrics(&folder.path().join("runs/digits-smoke"));
    let steps: Vec<u64> = lines
        .iter()
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, (1..=20).collect::<Vec<_>>());
    let keys: Vec<&String> = lines[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "grad_norm",
            "loss",
            "loss_by_t",
            "lr",
            "skipped",
            "step",
            "validation_loss"
        ]
    );
    // The written configuration makes the same run.
    run_ok(
        folder.path(),
        "train runs/digits-smoke/config.toml --backend cpu --out again",
    );
    assert_eq!(metrics(&folder.path().join("again")), lines);
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let text = run_ok(
        folder.path(),
        "train --preset digits-smoke --backend cpu --dry-run",
    );
    for part in [
        "[model]",
        "dim = 32",
        "training at batch 16",
        "moments",
        "MiB",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(tree(folder.path()).is_empty());
    run_ok(folder.path(), TINY_RUN);
    let before = tree(folder.path());
    run_ok(
        folder.path(),
        "train --resume run --backend cpu --set train.steps=4 --dry-run",
    );
    assert!(tree(folder.path()) == before);
}

/// Weight decay of this size multiplies the weights by -10^6 in a step.
#[test]
fn twenty_steps_that_are_not_finite_stop_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let words = "train --preset digits-smoke --backend cpu --out run --set train.steps=100 --set train.learning_rate=1 \
         --set train.weight_decay=1e6 --set log.checkpoint_every_steps=0 --set log.preview.every_steps=0";
    let done = run(folder.path(), words);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    for part in [
        "the last 20 steps had a loss or gradient",
        "train.learning_rate",
        "no good checkpoint",
        "the loss is NaN; skipped",
    ] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    let lines = metrics(&folder.path().join("run"));
    let skipped: Vec<u64> = lines
        .iter()
        .map(|line| line["skipped"].as_u64().unwrap())
        .collect();
    let first = skipped.iter().position(|&n| n > 0).unwrap();
    assert!(skipped[first..].iter().copied().eq(1..=20), "{skipped:?}");
    let last = lines.last().unwrap();
    assert!(last["loss"].is_null() && last["step"] == first + 20);
    // If the weights give nothing finite, no checkpoint is written.
    assert!(checkpoints(&folder.path().join("run")).is_empty());
    // Nor is a shorter run that ends in such steps done.
    let short = format!("train.steps={}", first + 4);
    let words = words.replace("train.steps=100", &short);
    let done = run(folder.path(), &words.replace("--out run", "--out short"));
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(done.stderr.contains("the last 4 steps"), "{}", done.stderr);
}

/// Multiply-accumulates of the matrix products of a forward, counted by hand.
fn macs(m: &Dit) -> usize {
    let (t, d) = (m.tokens(), m.dim);
    let pixels = m.patch * m.patch * m.channels;
    let block = 12 * t * d * d + 2 * t * t * d + 6 * d * d;
    let embed = t * pixels * d + 256 * d + d * d;
    embed + m.depth * block + 2 * d * d + t * d * m.patch * m.patch * m.out_channels()
}

#[test]
fn info_of_a_preset() {
    let folder = tempfile::tempdir().unwrap();
    let text = run_ok(folder.path(), "info --preset sit-xl-2 --batch 1");
    // The paper says 118.64 G, which includes a little more than the matrix products.
    let gmac = format!(
        "{:.2} GMAC",
        macs(&Dit::preset("SiT-XL/2").unwrap()) as f64 / 1e9
    );
    assert_eq!(gmac, "118.62 GMAC");
    for part in [
        "675129632",
        &gmac,
        "28",
        "1152",
        "CPU",
        "training at batch 1",
        "sampling at batch 1 with guidance",
        "fit",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    // The parts add up.
    let parameters = text
        .split("parameters\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let mut numbers: Vec<u64> = parameters
        .lines()
        .map(|line| line.split_whitespace().last().unwrap().parse().unwrap())
        .collect();
    let all = numbers.pop().unwrap();
    assert_eq!(numbers.iter().sum::<u64>(), all);
}

#[test]
fn info_of_a_run_and_of_data() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(folder.path(), TINY_RUN);
    let text = run_ok(folder.path(), "info run");
    for part in [
        "run/step-00000002: 2 steps",
        "8x8x1, patch 2: 16 tokens",
        "10 classes",
        "MMAC",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    run_ok(folder.path(), "info run/step-00000001/model.safetensors");
    let text = run_ok(folder.path(), "data inspect digits");
    for part in [
        "1797 images",
        "train        1442",
        "8x8",
        "10 classes",
        "kind = \"digits\"",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
}

#[test]
fn help_has_examples_units_and_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let expected: [(&str, &[&str]); 6] = [
        ("--help", &["Examples:", "Exit codes:", "130"]),
        (
            "train --help",
            &[
                "Examples:",
                "[default: auto]",
                "KEY=VALUE",
                "--skip-bad",
                "--dry-run",
            ],
        ),
        (
            "sample --help",
            &[
                "Examples:",
                "[default: 50, with --sde 250, with --edm 18]",
                "[default: ema]",
                "[default: samples.png]",
                "0 is noise, 1 is data",
                "[default: 0.04]",
                "--t-eps-sample",
                "[N, H, W, C]",
                "in pixels",
            ],
        ),
        (
            "info --help",
            &["Examples:", "Images at a time", "in pixels"],
        ),
        ("data --help", &["inspect"]),
        ("data inspect --help", &["Examples:", "digits"]),
    ];
    for (words, parts) in expected {
        let text = run_ok(folder.path(), words);
        // Lines are wrapped.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(text.contains(part), "sit {words} lacks {part}:\n{text}");
        }
    }
    assert!(run_ok(folder.path(), "--version").starts_with("sit "));
    assert!(run_ok(folder.path(), "info").starts_with("CPU"));
}

/// As in `sit data inspect digits | head -1`.
#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = sit(folder.path())
        .args(["data", "inspect", "digits"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !stderr.contains("panicked"),
        "{stderr}"
    );
}
