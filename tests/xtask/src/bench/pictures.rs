//! The way from files of pictures to batches against torchvision's ImageFolder and DataLoader.

use super::{Args, Side, environment, median, number, processor, text};
use crate::{cargo, check, root, target};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Images of a batch.
const BATCH: usize = 16;

/// While one side works, the queues of the other are full: they are filled in this time.
const REST: Duration = Duration::from_millis(1500);

/// Largest difference of a value of the two sides in [-1, 1], with the same crop: JPEG and Pillow's filters are matched to the bit.
const TOLERANCE: f64 = 1e-6;

/// Prints one table.
pub fn run(args: &Args, folder: &Path) -> Result<()> {
    let python = match &args.python {
        Some(python) => python.clone(),
        None => environment(folder, "torchvision")?,
    };
    let scripts = root().join("tests/peers/torchvision");
    let pictures = folder.join("pictures");
    if !pictures.is_dir() {
        let partial = folder.join("pictures.partial");
        check(
            Command::new(&python)
                .arg(scripts.join("pictures.py"))
                .arg(&partial),
        )?;
        std::fs::rename(&partial, &pictures).with_context(|| pictures.display().to_string())?;
    }
    let tar = folder.join("pictures.tar");
    check(
        Command::new("tar")
            .args(["--sort=name", "-C"])
            .arg(&pictures)
            .arg("-cf")
            .arg(&tar)
            .arg("."),
    )?;
    check(&mut cargo(
        "build --release --package sit-tests --example peer-pictures",
    ))?;
    let exchange = folder.join("exchange.safetensors");
    let ours = |path: &PathBuf| {
        Side::start(
            Command::new(target().join("release/examples/peer-pictures"))
                .arg(path)
                .arg(BATCH.to_string())
                .arg(args.threads.to_string())
                .arg(&exchange),
        )
    };
    let mut sides = vec![("folder", ours(&pictures)?), ("tar file", ours(&tar)?)];
    for crop in ["official", "resize"] {
        let peer = Side::start(
            Command::new(&python)
                .arg(scripts.join("peer.py"))
                .arg(&pictures)
                .arg(BATCH.to_string())
                .arg(args.threads.to_string())
                .args([crop])
                .arg(&exchange),
        )?;
        let difference = number(&peer.1, "difference")?;
        ensure!(
            crop != "official" || difference <= TOLERANCE,
            "the pictures differ by {difference:.1e}, expected at most {TOLERANCE:.0e}"
        );
        sides.push((crop, peer));
    }
    let n = number(&sides[0].1.1, "images")? as usize / BATCH * BATCH;
    let version = text(&sides[2].1.1, "version")?.to_owned();
    let mut times = vec![Vec::new(); sides.len()];
    for round in 0..=args.rounds {
        for ((_, (side, _)), times) in sides.iter_mut().zip(&mut times) {
            std::thread::sleep(REST);
            let ms = number(&side.ask("batches")?, "ms")?;
            // The first turn warms up.
            if round > 0 {
                times.push(ms);
            }
        }
    }
    println!(
        "{version}, {} workers a side, batches of {BATCH} of 3x256x256, medians of {} turns of {n} pictures each; {}",
        args.threads,
        args.rounds,
        processor()
    );
    for ((name, _), own) in sides.iter().zip(&times) {
        let against = |peer: usize| {
            let ratios = times[peer].iter().zip(own).map(|(peer, own)| peer / own);
            median(ratios.collect())
        };
        let rate = n as f64 / median(own.clone()) * 1e3;
        println!(
            "    {name:10} {rate:7.1} pictures/s   {:.2}x of ImageFolder with the official crop, {:.2}x with Resize and CenterCrop",
            against(2),
            against(3)
        );
    }
    for (_, (side, _)) in sides {
        side.stop()?;
    }
    Ok(())
}
