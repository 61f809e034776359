//! `cargo xtask app-model`: the small model that the app embeds, from its recipe.

use crate::{cargo, check, demo, root, target};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// Train the embedded model, write it as f16 and judge it as the demo does.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run folder to make; one that is there goes on where it stopped.
    #[arg(long, default_value = "runs/app-digits")]
    run: PathBuf,
    /// File to write.
    #[arg(long, default_value = "app/assets/digits.safetensors")]
    out: PathBuf,
}

/// The limit is low because the page loads the model at its start.
const MAX_BYTES: u64 = 1_000_000;

/// Runs it and prints what came out. The CPU backend makes the same bytes on the same machine.
pub fn run(args: &Args) -> Result<()> {
    check(&mut cargo("build --release --package sit-trainer"))?;
    let (run, out) = (root().join(&args.run), root().join(&args.out));
    let sit = |words: &str| {
        let mut command = Command::new(target().join("release/sit"));
        command.args(words.split_whitespace());
        command
    };
    let flag = if run.exists() { "--resume" } else { "--out" };
    check(
        sit("train --preset app-digits --backend cpu")
            .arg(flag)
            .arg(&run),
    )?;
    check(sit("convert --weights ema --dtype f16").arg(&run).arg(&out))?;
    let bytes = fs::metadata(&out)
        .with_context(|| out.display().to_string())?
        .len();
    ensure!(
        bytes < MAX_BYTES,
        "{}: got {bytes} bytes, expected less than {MAX_BYTES}",
        out.display()
    );
    let sit = |words: &str| sit(&format!("{words} --backend cpu"));
    let lines = demo::grids(&sit, &out, &run)?;
    println!("\n{}: {bytes} bytes\n{}", out.display(), lines.join("\n"));
    Ok(())
}
