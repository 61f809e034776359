//! Compares the memory forecast with the memory that a process uses.

use sit_tests::sit::sit;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A run with everything that uses memory: previews, held-out images, checkpoints.
const RUN: &str = "train --preset digits-smoke --backend cpu --set train.steps=2 --set train.batch=64 \
     --set log.checkpoint_every_steps=1 --set log.preview.every_steps=1 --set log.preview.steps=1 \
     --set log.validation.every_steps=1 --set log.validation.images=64";

const MIB: f64 = (1 << 20) as f64;

/// `sit` with a fixed number of threads, because the memory of each thread is only roughly forecast.
fn command(folder: &Path, words: &str) -> Command {
    let mut command = sit(folder);
    command.args(words.split_whitespace());
    command.env("RAYON_NUM_THREADS", "4");
    command
}

/// The peak memory of `sit`. Of mapped files it counts only the pages that were touched.
fn peak_bytes(folder: &Path, words: &str) -> f64 {
    let mut child = command(folder, words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    let exit = loop {
        // The peak only grows. A process that has ended has no such line.
        let line = fs::read_to_string(&status).unwrap_or_default();
        let line = line.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        peak = peak.max(1024.0 * kib.unwrap_or(0.0));
        match child.try_wait().unwrap() {
            Some(exit) => break exit,
            None => sleep(Duration::from_millis(1)),
        }
    };
    assert!(exit.success(), "sit {words}");
    peak
}

/// The total that `--dry-run` states.
fn forecast_bytes(folder: &Path, words: &str) -> f64 {
    let done = command(folder, &format!("{words} --dry-run")).output();
    let said = String::from_utf8(done.unwrap().stdout).unwrap();
    let all = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("all "));
    let mib = all.and_then(|all| all.split_whitespace().next()?.parse::<f64>().ok());
    MIB * mib.unwrap_or_else(|| panic!("{said}"))
}

#[test]
fn a_training_takes_the_memory_that_was_forecast() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let measured = |out: &str, set: &str| {
        let words = format!("{RUN} {set} --out {out}");
        let forecast = forecast_bytes(folder, &words);
        let peak = peak_bytes(folder, &words);
        println!(
            "{set}: forecast {:.1} MiB, peak {:.1} MiB",
            forecast / MIB,
            peak / MIB
        );
        (forecast, peak)
    };
    let (tiny_forecast, tiny) = measured(
        "tiny",
        "--set model.dim=16 --set model.depth=1 --set train.batch=1",
    );
    // Memory of the program itself: its code, its threads, the data.
    let program = tiny - tiny_forecast;
    for (out, set) in [
        ("weights", "--set model.dim=256 --set model.depth=5"),
        (
            "activations",
            "--set model.dim=96 --set model.depth=8 --set model.n_heads=3 --set train.batch=256",
        ),
    ] {
        let (forecast, peak) = measured(out, set);
        let took = peak - program;
        let error = forecast / took - 1.0;
        assert!(
            error.abs() <= 0.05,
            "{set}: forecast {:.1} MiB, took {:.1} MiB: {:+.1} %",
            forecast / MIB,
            took / MIB,
            100.0 * error
        );
    }
}
