//! Encoding and decoding against diffusers, on files that diffusers has written.

use super::{Args, Side, in_turns, processor, text};
use crate::{cargo, check, root, target};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Largest difference of an output, in units of its rms: about what diffusers in f32 differs from itself in f64.
const TOLERANCE: f64 = 4e-3;

/// What to measure: its name, the family, arguments of diffusers' class, the side of the images and the batch.
fn cases() -> [(&'static str, &'static str, Value, usize, usize); 3] {
    let kl = |widths: &[usize], blocks: usize, groups: usize| {
        json!({
            "block_out_channels": widths, "layers_per_block": blocks, "norm_num_groups": groups,
            "down_block_types": vec!["DownEncoderBlock2D"; widths.len()],
            "up_block_types": vec!["UpDecoderBlock2D"; widths.len()],
            "latent_channels": 4, "in_channels": 3, "out_channels": 3,
        })
    };
    [
        (
            "AutoencoderKL of Stable Diffusion, 128x128, batch 1",
            "kl",
            kl(&[128, 256, 512, 512], 2, 32),
            128,
            1,
        ),
        (
            "AutoencoderKL of widths 32, 64 and 128, 64x64, batch 4",
            "kl",
            kl(&[32, 64, 128], 1, 32),
            64,
            4,
        ),
        (
            "AutoencoderTiny (TAESD), 256x256, batch 1",
            "tiny",
            json!({}),
            256,
            1,
        ),
    ]
}

/// Prints one table.
pub fn run(args: &Args, python: &Path, folder: &Path) -> Result<()> {
    check(&mut cargo(
        "build --release --package sit-tests --bin peer-autoencoders",
    ))?;
    let folder = folder.join("autoencoder");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let (mut lines, mut versions) = (Vec::new(), String::new());
    for (name, family, model, side, batch) in cases() {
        eprintln!("{name}");
        let sizes = folder.join("sizes.json");
        let content =
            json!({ "family": family, "model": model, "image_size": side, "batch": batch });
        std::fs::write(&sizes, content.to_string()).with_context(|| sizes.display().to_string())?;
        let (mut theirs, peer) = Side::start(
            Command::new(python)
                .arg(root().join("tests/peers/pytorch/autoencoders.py"))
                .args([&sizes, &folder])
                .env("OMP_NUM_THREADS", args.threads.to_string()),
        )?;
        let (mut ours, about) = Side::start(
            Command::new(target().join("release/peer-autoencoders"))
                .arg(&folder)
                .args([side, batch].map(|n| n.to_string()))
                .env("RAYON_NUM_THREADS", args.threads.to_string()),
        )?;
        versions = format!("{}, {}", text(&about, "version")?, text(&peer, "version")?);
        lines.push(name.to_owned());
        for (at, work) in ["encode", "decode"].into_iter().enumerate() {
            let difference = about["differences"][at].as_f64().context("no difference")?;
            ensure!(
                difference <= TOLERANCE,
                "{name}: {work} differs by {difference:.1e} of the output's rms, expected at most {TOLERANCE:.0e}"
            );
            let [here, there] = in_turns([&mut ours, &mut theirs], work, args.rounds)?;
            lines.push(format!(
                "    {work}  here {here:7.1} ms   peer {there:7.1} ms   {:.2}x as fast (within {difference:.0e} of the output's rms)",
                there / here
            ));
        }
        lines.push(format!(
            "    peak memory  here {:.0} MiB, peer {:.0} MiB",
            ours.peak_mib, theirs.peak_mib
        ));
        ours.stop()?;
        theirs.stop()?;
    }
    println!(
        "{versions}, f32, {} threads a side, medians of {} turns each; {}\n{}",
        args.threads,
        args.rounds,
        processor(),
        lines.join("\n")
    );
    Ok(())
}
