//! `cargo xtask emoji`: tests the presets for users' own pictures on a package of emoji, and judges the samples.

use crate::{cargo, check, nearest, root, target};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Sort emoji into class folders, train the preset pictures-32 on them, or with --latents latents-8 on their latents, sample it and judge the
/// samples by held-out emoji.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the unpacked npm package emoji-datasource-google (npm pack emoji-datasource-google@16.0.0, then tar xzf).
    package: PathBuf,
    /// Folder to make, with the images, the run and the samples.
    #[arg(long, default_value = "runs/emoji")]
    out: PathBuf,
    /// Encode them with TAEF2, train on the latents of 64 x 64 pixels, and set the nearest training image beside each sample.
    #[arg(long)]
    latents: bool,
    /// Where to compute: auto, cpu or gpu.
    #[arg(long, default_value = "auto")]
    backend: String,
}

/// One in this many emoji of each class is held out.
const HELD_OUT_ONE_IN: usize = 6;

/// Runs it and prints the results.
pub fn run(args: &Args) -> Result<()> {
    let out = std::path::absolute(&args.out)?;
    ensure!(!out.exists(), "{}: is there already", out.display());
    let list = args.package.join("emoji.json");
    ensure!(list.is_file(), "{}: is not there", list.display());
    check(&mut cargo("build --release --package sit-trainer"))?;
    let counts = sort(&args.package, &out)?;
    let sit = |words: &str, paths: &[(&str, &str)]| {
        let mut command = Command::new(target().join("release/sit"));
        command
            .current_dir(&out)
            .args(words.split_whitespace())
            .args(["--backend", &args.backend]);
        for (flag, path) in paths {
            command.arg(flag).arg(path);
        }
        check(&mut command)
    };
    let vae = |half: &str| {
        let file = format!("tests/fixtures/taef2/taef2_{half}.pth");
        root().join(file).to_string_lossy().into_owned()
    };
    let (encoder, decoder) = (vae("encoder"), vae("decoder"));
    let started = Instant::now();
    let mut decoded = Vec::new();
    match args.latents {
        false => sit(
            "train --preset pictures-32 --set data.path=train --out run",
            &[],
        )?,
        true => {
            sit(
                "data encode train --out latents --set data.image_size=64",
                &[("--vae", &encoder)],
            )?;
            sit(
                "train --preset latents-8 --set data.path=latents --out run",
                &[],
            )?;
            decoded.push(("--vae", &decoder[..]));
        }
    }
    let trained = started.elapsed().as_secs_f64();
    for (solver, name) in [
        ("--ode heun --steps 25", "ode"),
        ("--sde euler --steps 100", "sde"),
    ] {
        let (grid, folder) = (format!("{name}.png"), format!("{name}-pictures"));
        let mut files = decoded.clone();
        files.extend([("--out", &grid[..]), ("--png", &folder[..])]);
        sit(
            &format!("sample run {solver} --guidance 2 --per-class 16 --judge held-out"),
            &files,
        )?;
    }
    if args.latents {
        let (few, beside) = (out.join("few"), out.join("nearest.png"));
        decoded.push(("--png", "few"));
        sit(
            "sample run --sde euler --steps 100 --guidance 2 --per-class 5 --no-grid",
            &decoded,
        )?;
        let least = nearest::write(&few, &out.join("train"), &beside)?;
        println!(
            "{}: samples, each with its nearest training image; the smallest distance is {least:.1} levels",
            beside.display()
        );
    }
    println!(
        "\n{counts}\nencoded and trained in {trained:.0} s; {}",
        out.display()
    );
    Ok(())
}

/// Copies the emoji of the classes into `out/train` and `out/held-out`, a folder for each class; says how many.
fn sort(package: &Path, out: &Path) -> Result<String> {
    let list = package.join("emoji.json");
    let bytes = fs::read(&list).with_context(|| list.display().to_string())?;
    let emoji: Vec<Value> =
        serde_json::from_slice(&bytes).with_context(|| list.display().to_string())?;
    let mut seen: Vec<(&str, usize, usize)> = Vec::new();
    for one in &emoji {
        let Some(class) = class(one) else { continue };
        let at = seen.iter().position(|(name, ..)| *name == class);
        let at = at.unwrap_or_else(|| {
            seen.push((class, 0, 0));
            seen.len() - 1
        });
        let (_, number, n_files) = &mut seen[at];
        let part = if number.is_multiple_of(HELD_OUT_ONE_IN) {
            "held-out"
        } else {
            "train"
        };
        *number += 1;
        let folder = out.join(part).join(class);
        fs::create_dir_all(&folder)?;
        // Keep the skin tones of a hand together: otherwise a held-out hand would be trained on in another color.
        let tones = one["skin_variations"].as_object().into_iter().flatten();
        let all = std::iter::once(one).chain(tones.map(|(_, tone)| tone));
        for image in all.filter_map(|variant| variant["image"].as_str()) {
            let file = package.join("img/google/64").join(image);
            // Google draws most emoji, not all.
            if file.is_file() {
                fs::copy(&file, folder.join(image)).with_context(|| file.display().to_string())?;
                *n_files += 1;
            }
        }
    }
    ensure!(!seen.is_empty(), "{}: no emoji", list.display());
    let counts: Vec<String> = seen
        .iter()
        .map(|(class, _, n_files)| format!("{class} {n_files}"))
        .collect();
    Ok(counts.join(", "))
}

/// The class of an emoji, by its subcategory; `None` for most emoji.
fn class(emoji: &Value) -> Option<&'static str> {
    match emoji["subcategory"].as_str()? {
        "country-flag" => Some("flag"),
        "heart" => Some("heart"),
        "time" if emoji["short_name"].as_str()?.starts_with("clock") => Some("clock"),
        "hands" => Some("hand"),
        kind if kind.starts_with("hand-") => Some("hand"),
        kind if kind.starts_with("animal-") => Some("animal"),
        kind if kind.starts_with("food-") => Some("food"),
        kind if kind.starts_with("face-") => Some("face"),
        "transport-air" | "transport-ground" | "transport-water" => Some("vehicle"),
        _ => None,
    }
}
