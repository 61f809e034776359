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
    command.env("RAYON_NUM_THREADS", "2");
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

/// Forecast and peak of a command.
fn measured(folder: &Path, words: &str) -> (f64, f64) {
    let forecast = forecast_bytes(folder, words);
    let peak = peak_bytes(folder, words);
    println!(
        "{words}: forecast {:.1} MiB, peak {:.1} MiB",
        forecast / MIB,
        peak / MIB
    );
    (forecast, peak)
}

/// Commands take what was forecast, beside the memory of the program itself, which the command `small` shows: its code, its threads, the
/// data.
fn assert_forecast(folder: &Path, small: &str, commands: &[String]) {
    let (forecast, peak) = measured(folder, small);
    let program = peak - forecast;
    for words in commands {
        let (forecast, peak) = measured(folder, words);
        let took = peak - program;
        let error = forecast / took - 1.0;
        assert!(
            error.abs() <= 0.05,
            "{words}: forecast {:.1} MiB, took {:.1} MiB: {:+.1} %",
            forecast / MIB,
            took / MIB,
            100.0 * error
        );
    }
}

#[test]
fn a_training_takes_the_memory_that_was_forecast() {
    let folder = tempfile::tempdir().unwrap();
    let of = |out: &str, set: &str| format!("{RUN} {set} --out {out}");
    assert_forecast(
        folder.path(),
        // Enough to hide what the measurement of the device's speed takes before.
        &of("small", "--set model.dim=128 --set model.depth=4"),
        &[
            of("weights", "--set model.dim=256 --set model.depth=5"),
            of(
                "activations",
                "--set model.dim=96 --set model.depth=8 --set model.n_heads=3 --set train.batch=256",
            ),
            of(
                "recomputed",
                "--set model.dim=96 --set model.depth=8 --set model.n_heads=3 --set train.batch=256 --set train.recompute=8",
            ),
        ],
    );
}

#[test]
fn sampling_takes_the_memory_that_was_forecast() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let made = |run: &str, set: &str| {
        let words = format!("{RUN} --set log.preview.every_steps=0 {set} --out {run}");
        let words = words.replace("--set log.preview.every_steps=1 ", "");
        let done = command(folder, &words).output().unwrap();
        assert!(done.status.success(), "{words}");
        let info = command(folder, &format!("info {run}")).output();
        let info = String::from_utf8(info.unwrap().stdout).unwrap();
        let (_, sampling) = info
            .split_once("  sampling at batch 64 with guidance")
            .unwrap();
        let mib = |line: &str| -> f64 {
            let words = line.split_whitespace().filter_map(|word| word.parse().ok());
            words.map(|mib: f64| MIB * mib).next().unwrap()
        };
        let line = |part: &str| mib(sampling.lines().find(|line| line.contains(part)).unwrap());
        let words = format!(
            "sample {run} --ode euler --steps 1 --guidance 1.5 --backend cpu --count 64 --balanced --batch 64"
        );
        let peak = |dtype: &str| {
            peak_bytes(
                folder,
                &format!("{words} --dtype {dtype} --npz {run}-{dtype}.npz"),
            )
        };
        [
            (line(" all "), peak("f32")),
            (line("--dtype f16 or bf16"), peak("bf16")),
        ]
    };
    let small = made("small", "--set model.dim=16 --set model.depth=1");
    let large = made(
        "large",
        "--set model.dim=384 --set model.depth=12 --set model.n_heads=6",
    );
    for ((forecast, peak), (small_forecast, small_peak)) in large.into_iter().zip(small) {
        let took = peak - (small_peak - small_forecast);
        println!(
            "forecast {:.1} MiB, took {:.1} MiB",
            forecast / MIB,
            took / MIB
        );
        assert!((forecast / took - 1.0).abs() <= 0.05);
    }
}

/// Of an autoencoder, with everything that uses memory.
const AUTOENCODER: &str = r#"
[model]
family = "autoencoder"
input_size = 8
channels = 1
latent_channels = 2
widths = [8, 8]
blocks = 1
groups = 4

[data]
kind = "digits"

[train]
steps = 2
batch = 1

[log]
every_steps = 1
checkpoint_every_steps = 1
preview.every_steps = 1
validation.every_steps = 1
validation.images = 64
"#;

#[test]
fn an_autoencoder_takes_the_memory_that_was_forecast() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("ae.toml"), AUTOENCODER).unwrap();
    let of = |out: &str, set: &str| format!("train ae.toml --backend cpu {set} --out {out}");
    assert_forecast(
        folder,
        // Enough to hide what the measurement of the device's speed takes before.
        &of("small", "--set model.widths=[16,16] --set train.batch=256"),
        &[
            of(
                "weights",
                "--set model.widths=[64,128,256] --set train.batch=8",
            ),
            of(
                "activations",
                "--set model.widths=[32,32] --set train.batch=512",
            ),
        ],
    );
}
