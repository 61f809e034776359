//! `cargo xtask demo`: the main job from a clean clone, with real data.

use crate::{cargo, check, root, target, text};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Train on real digits, sample them with the ODE and the SDE, and judge the samples.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to compute: auto, cpu or gpu.
    #[arg(long, default_value = "auto")]
    backend: String,
    /// Run folder to make [default: runs/demo, runs/demo-2, ...].
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Samples of each of the ten digits.
const PER_CLASS: &str = "50";

/// Solver, its flags, and the scale of guidance of each grid.
const GRIDS: [(&str, &str, &str); 4] = [
    ("ODE (Heun)", "--ode heun --steps 10", "1.5"),
    ("ODE (Heun)", "--ode heun --steps 10", "1"),
    ("SDE (Euler-Maruyama)", "--sde euler --steps 30", "1.5"),
    ("SDE (Euler-Maruyama)", "--sde euler --steps 30", "1"),
];

/// Runs it and prints the results.
pub fn run(args: &Args) -> Result<()> {
    check(&mut cargo("build --release --package sit-trainer"))?;
    let run = args
        .out
        .clone()
        .unwrap_or_else(|| free_folder(&root().join("runs/demo")));
    let started = Instant::now();
    let sit = |words: &str| {
        let mut command = Command::new(target().join("release/sit"));
        command
            .args(words.split_whitespace())
            .args(["--backend", &args.backend]);
        command
    };
    check(sit("train --preset digits").arg("--out").arg(&run))?;
    let mut lines = vec![format!(
        "trained in {:.0} s into {}",
        started.elapsed().as_secs_f64(),
        run.display()
    )];

    lines.extend(grids(&sit, &run, &run)?);
    lines.push(judged(&mut sit("eval"), &run)?);
    lines.push(format!(
        "all in {:.0} s after the build",
        started.elapsed().as_secs_f64()
    ));
    println!("\n{}", lines.join("\n"));
    Ok(())
}

/// Samples `weights` into a PNG for each of [`GRIDS`] in `folder`, and returns a line about each.
pub fn grids(sit: &dyn Fn(&str) -> Command, weights: &Path, folder: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (solver, flags, guidance) in GRIDS {
        let grid = folder.join(format!("{}-guidance-{guidance}.png", kind(flags)));
        let mut command = sit(&format!(
            "sample {flags} --guidance {guidance} --per-class {PER_CLASS} --classes 0-9"
        ));
        command.arg("--out").arg(&grid).arg(weights);
        command.arg("--npz").arg(grid.with_extension("npz"));
        let before = Instant::now();
        let agreement = agreement(&mut command)?;
        let seconds = before.elapsed().as_secs_f64();
        lines.push(format!(
            "{solver}, guidance {guidance}: {seconds:.0} s, {agreement}\n    {}",
            grid.display()
        ));
    }
    Ok(lines)
}

/// The table of a judge of all samples, under which the digits that were held out stand.
fn judged(eval: &mut Command, run: &Path) -> Result<String> {
    let names =
        GRIDS.map(|(_, flags, guidance)| format!("{}-guidance-{guidance}.npz", kind(flags)));
    eval.current_dir(run)
        .args(names)
        .args(["--train-judge", "digits"])
        // As many as digits are held out: distances fall with their number.
        .args(["--count", "355"]);
    let output = check_output(eval)?;
    Ok(format!("\n{}", output.trim_end()))
}

/// The kind of a sampler by its flags.
fn kind(flags: &str) -> &'static str {
    match flags.starts_with("--ode") {
        true => "ode",
        false => "sde",
    }
}

/// Runs `sit sample` and returns its line about the classes.
fn agreement(command: &mut Command) -> Result<String> {
    let printed = check_output(command)?;
    let line = printed
        .lines()
        .find(|line| line.contains("what was asked for"));
    Ok(line
        .context("sit sample did not classify the digits")?
        .to_owned())
}

/// Runs a command and returns what it printed.
fn check_output(command: &mut Command) -> Result<String> {
    eprintln!("$ {}", text(command));
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| text(command))?;
    ensure!(
        output.status.success(),
        "{}: {}",
        text(command),
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn free_folder(folder: &Path) -> PathBuf {
    if !folder.exists() {
        return folder.to_owned();
    }
    let numbered = |n: u32| PathBuf::from(format!("{}-{n}", folder.display()));
    (2..)
        .map(numbered)
        .find(|path| !path.exists())
        .unwrap_or_else(|| folder.to_owned())
}
