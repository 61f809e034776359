//! What an evaluation of the network costs in each solver, and dopri5 against torchdiffeq.

use super::{Args, Side, median, number, processor, text};
use crate::{cargo, check, root, target};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Images of a batch.
const BATCH: usize = 64;

/// Images of a turn against the peer: places of finished ones are taken by others for a while.
const N: usize = 192;

/// Images of a turn that measures an evaluation of an adaptive solver: so many that the end, where places stay free, hardly counts.
const MANY: usize = 640;

/// Images that the peer samples one at a time.
const ALONE: usize = 16;

/// The engine's default tolerances.
const TOLERANCE: [f64; 2] = [1e-3, 1e-6];

/// Solvers whose evaluations are compared with Euler's: those of given steps, and those that choose them.
const FIXED: [&str; 7] = [
    "midpoint", "heun", "heun3", "rk4", "rk4-38", "dpm++2m", "unipc",
];
const ADAPTIVE: [&str; 3] = ["dopri5", "bosh3", "adaptive-heun"];

/// Prints one table.
pub fn run(args: &Args, weights: &Path, python: &Path, folder: &Path) -> Result<()> {
    check(&mut cargo(
        "build --release --package sit-tests --bin peer-solvers",
    ))?;
    let exchange = folder.join("exchange.safetensors");
    let (mut ours, about) = Side::start(
        Command::new(target().join("release/peer-solvers"))
            .arg(weights)
            .arg(&exchange)
            .arg(MANY.to_string())
            .env("RAYON_NUM_THREADS", args.threads.to_string()),
    )?;
    let sizes = folder.join("sizes.json");
    let [rtol, atol] = TOLERANCE;
    let content = json!({ "model": about["model"], "rtol": rtol, "atol": atol });
    std::fs::write(&sizes, content.to_string()).with_context(|| sizes.display().to_string())?;

    let mut lines = vec![format!(
        "time of an evaluation of an image, relative to Euler's, batch {BATCH}:"
    )];
    let fixed = FIXED.map(|solver| (solver, BATCH));
    for (solver, n) in fixed
        .into_iter()
        .chain(ADAPTIVE.map(|solver| (solver, MANY)))
    {
        let mut ratios = Vec::new();
        for round in 0..=args.rounds {
            let one = |answer: &Value, n: usize| -> Result<f64> {
                Ok(number(answer, "ms")? / number(answer, "nfe")? / n as f64)
            };
            let euler = one(&ours.ask(&format!("euler {BATCH} {BATCH}"))?, BATCH)?;
            let other = one(&ours.ask(&format!("{solver} {BATCH} {n}"))?, n)?;
            // The first turn warms up.
            if round > 0 {
                ratios.push(other / euler);
            }
        }
        lines.push(format!("    {solver:14} {:.3}", median(ratios)));
    }

    let (mut theirs, peer) = Side::start(
        Command::new(python)
            .arg(root().join("tests/peers/pytorch/solvers.py"))
            .args([&sizes, &exchange])
            .env("OMP_NUM_THREADS", args.threads.to_string()),
    )?;
    lines.push(format!("dopri5, rtol {rtol:e}, atol {atol:e}, {N} images:"));
    let alone = theirs.ask(&format!("dopri5 1 {ALONE}"))?;
    lines.push(format!(
        "    the peer, one image at a time: {:.1} evaluations an image, {:.1} images/s",
        number(&alone, "nfe")?,
        rate(ALONE, number(&alone, "ms")?)
    ));
    let mut times = [Vec::new(), Vec::new()];
    let mut last = Vec::new();
    for round in 0..=args.rounds {
        last.clear();
        for (side, times) in [&mut ours, &mut theirs].into_iter().zip(&mut times) {
            let answer = side.ask(&format!("dopri5 {BATCH} {N}"))?;
            if round > 0 {
                times.push(number(&answer, "ms")?);
            }
            last.push(answer);
        }
    }
    let [here, there] = times.map(median);
    for (side, ms, answer) in [("here", here, &last[0]), ("peer", there, &last[1])] {
        lines.push(format!(
            "    {side}, batch {BATCH}: {:.1} evaluations an image, {:.1} images/s, mean |x| {:.5}",
            number(answer, "nfe")?,
            rate(N, ms),
            number(answer, "mean")?
        ));
    }
    lines.push(format!(
        "    {:.2}x the peer's images in a batch, {:.2}x of one at a time",
        there / here,
        rate(N, here) / rate(ALONE, number(&alone, "ms")?)
    ));
    println!(
        "{}, {}, f32, {} threads a side, medians of {} turns each; {}\n{}",
        text(&about, "version")?,
        text(&peer, "version")?,
        args.threads,
        args.rounds,
        processor(),
        lines.join("\n")
    );
    ours.stop()?;
    theirs.stop()
}

fn rate(n: usize, ms: f64) -> f64 {
    n as f64 / ms * 1e3
}
