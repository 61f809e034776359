//! The measurements of a run, and the loss of held-out images.

use super::{TINY_RUN, metrics};
use sit_tests::sit::{run, run_ok};
use std::fs;

/// The digits come with held-out images; a share of the training images may be held out instead.
#[test]
fn held_out_images_have_a_loss_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let on = "--set log.every_steps=1 --set log.validation.every_steps=2 --set log.validation.images=50 --set train.steps=4";
    for (out, more) in [("test", ""), ("held", "--set data.hold_out=0.1")] {
        let said = run_ok(
            folder.path(),
            &format!("{TINY_RUN} {on} {more} --out {out}").replace("--out run ", ""),
        );
        let lines = metrics(&folder.path().join(out));
        let losses: Vec<Option<f64>> = lines
            .iter()
            .map(|line| line["validation_loss"].as_f64())
            .collect();
        assert!(
            losses[0].is_none() && losses[2].is_none(),
            "{said}: {losses:?}"
        );
        // A network of zeros predicts 0, so its loss is the variance of data minus noise: 1 plus that of the digits.
        let (first, last) = (losses[1].unwrap(), losses[3].unwrap());
        assert!((1.0..3.0).contains(&first) && (1.0..3.0).contains(&last));
        // Times and noise are the same each time, so the loss falls with the weights, by little.
        assert!(last < first && first - last < 0.2, "{losses:?}");
    }
    // Validation does not change training, except for the images that are left out.
    run_ok(
        folder.path(),
        &format!("{TINY_RUN} --set train.steps=4 --out plain").replace("--out run ", ""),
    );
    let ema = |run: &str| {
        fs::read(
            folder
                .path()
                .join(run)
                .join("step-00000004/ema.safetensors"),
        )
        .unwrap()
    };
    assert!(ema("plain") == ema("test") && ema("plain") != ema("held"));
}

#[test]
fn a_resumed_run_validates_as_one_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let on = "--set log.every_steps=1 --set log.validation.every_steps=1 --set data.hold_out=0.05 --set log.csv=true";
    run_ok(folder.path(), &format!("{TINY_RUN} {on}"));
    run_ok(
        folder.path(),
        "train --resume run --backend cpu --set train.steps=4",
    );
    let whole =
        format!("{TINY_RUN} {on} --set train.steps=4 --out whole").replace("--out run ", "");
    run_ok(folder.path(), &whole);
    let [a, b] = ["run", "whole"].map(|run| metrics(&folder.path().join(run)));
    assert_eq!(a.len(), 4);
    assert_eq!(a, b);
    let csv = fs::read_to_string(folder.path().join("run/metrics.csv")).unwrap();
    let cells: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(cells[0][..3], ["step", "loss", "validation_loss"]);
    assert_eq!(cells.len(), 5);
    for (row, line) in cells[1..].iter().zip(&a) {
        assert_eq!(row.len(), cells[0].len());
        assert_eq!(row[0].parse::<u64>().ok(), line["step"].as_u64());
        assert_eq!(row[2].parse::<f64>().ok(), line["validation_loss"].as_f64());
    }
}

#[test]
fn a_validation_without_images_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (
            "--set log.validation.every_steps=3 --set log.every_steps=2",
            "log.validation.every_steps: got 3, expected a multiple of log.every_steps = 2",
        ),
        (
            "--set log.validation.every_steps=2 --set data.split=test",
            "data.hold_out: got 0, expected a share",
        ),
        (
            "--set data.hold_out=1.5",
            "data.hold_out: got 1.5, expected a share",
        ),
        (
            "--set data.hold_out=1e-12",
            "expected a share that leaves at least one",
        ),
    ];
    for (set, message) in cases {
        let done = run(folder.path(), &format!("{TINY_RUN} {set}"));
        assert_eq!(done.code, Some(2), "{set}: {}", done.stderr);
        assert!(done.stderr.contains(message), "{set}: {}", done.stderr);
        assert!(!folder.path().join("run").exists());
    }
}
