//! `--memory-budget`: training that fits.

use super::metrics;
use sit_tests::sit::{run, run_ok};
use std::fs;

const TRAIN: &str = "train --preset digits-smoke --backend cpu --set train.steps=2 --set log.every_steps=1 --set log.preview.every_steps=0 \
     --set model.dim=64 --set model.depth=4 --set train.batch=64";

/// The forecast of all memory, in MiB.
fn forecast(text: &str) -> f64 {
    let line = { text.lines() }
        .find(|line| line.trim_start().starts_with("all "))
        .unwrap();
    let mib = line.split_whitespace().nth(1).unwrap();
    mib.parse().unwrap()
}

#[test]
fn a_budget_is_kept_and_changes_no_image_of_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let whole = forecast(&run_ok(folder, &format!("{TRAIN} --dry-run")));
    run_ok(folder, &format!("{TRAIN} --out whole"));
    let mut least = whole;
    for share in [0.8, 0.5, 0.3] {
        let budget = (share * whole).ceil();
        let name = format!("run-{budget}");
        let words = format!("{TRAIN} --memory-budget {budget}");
        let fitted = forecast(&run_ok(folder, &format!("{words} --dry-run")));
        assert!(
            fitted <= budget && fitted < least,
            "{fitted} of {budget}, {least} before"
        );
        least = fitted;
        run_ok(folder, &format!("{words} --out {name}"));
        let config = fs::read_to_string(folder.join(&name).join("config.toml")).unwrap();
        let config: toml::Table = config.parse().unwrap();
        let key = |key: &str| config["train"][key].as_integer().unwrap();
        assert_eq!(key("batch") * key("accumulate"), 64);
        let losses = |run: &str| -> Vec<f64> {
            let lines = metrics(&folder.join(run));
            lines
                .iter()
                .filter_map(|line| line["loss"].as_f64())
                .collect()
        };
        let (got, want) = (losses(&name), losses("whole"));
        assert!(got.len() == want.len() && !want.is_empty());
        for (got, want) in got.iter().zip(&want) {
            // The same images, times and noise; gradients are summed in another order.
            assert!((got - want).abs() < 1e-5 * want, "{got}, {want}");
        }
    }
    let done = run(folder, &format!("{TRAIN} --memory-budget 1 --dry-run"));
    assert_eq!(done.code, Some(2));
    let expected = "--memory-budget: got 1 MiB, expected at least";
    assert!(done.stderr.contains(expected), "{}", done.stderr);
    let done = run(folder, "info --memory-budget 100");
    assert!(
        done.stderr.contains("--memory-budget: give --preset"),
        "{}",
        done.stderr
    );
}

#[test]
fn blocks_of_a_run_may_be_computed_again_when_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let train = TRAIN.replace("train.steps=2", "train.steps=4");
    run_ok(folder, &format!("{train} --out whole"));
    run_ok(folder, &format!("{TRAIN} --out run"));
    run_ok(
        folder,
        "train --resume run --backend cpu --set train.steps=4 --set train.recompute=4",
    );
    let file =
        |run: &str| fs::read(folder.join(run).join("step-00000004/model.safetensors")).unwrap();
    let bytes = |run: &str| {
        let file = file(run);
        let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        file[8 + n..].to_vec()
    };
    assert!(bytes("run") == bytes("whole"));
}

/// No binding of a GPU holds the activations of so many images at once.
#[test]
fn a_budget_keeps_to_the_limits_of_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let train = "train --preset digits-smoke --backend gpu --set model.dim=512 --set model.n_heads=8 --set model.depth=1 \
         --set log.preview.every_steps=0 --set train.batch=65536 --dry-run";
    let done = run(folder, train);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr.contains("limit of this device"),
        "{}",
        done.stderr
    );
    let done = run(folder, &format!("{train} --memory-budget 1000000"));
    assert!(
        done.stderr.contains("train.accumulate = "),
        "{}",
        done.stderr
    );
    assert!(
        !done.stderr.contains("limit of this device"),
        "{}",
        done.stderr
    );
}
