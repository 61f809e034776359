//! The metrics of Inception features against torch-fidelity: the same images and weights in one run.

use super::{Args, environment, number, processor, text};
use crate::{cargo, check, root, target};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Images of each of the two sets.
const COUNT: usize = 2000;

/// Images at a time on the side of the peer, where it is fastest among 8, 16, 32 and 64 on two cores.
const BATCH: usize = 32;

/// Largest relative difference of a metric.
const TOLERANCE: f64 = 1e-3;

/// What a metric is called here and there; a deviation stands beside its mean.
const METRICS: [(&str, Option<&str>, &str); 7] = [
    ("fid", None, "frechet_inception_distance"),
    ("is", Some("value"), "inception_score_mean"),
    ("is", Some("deviation"), "inception_score_std"),
    ("kid", Some("value"), "kernel_inception_distance_mean"),
    ("kid", Some("deviation"), "kernel_inception_distance_std"),
    ("precision", None, "precision_f64"),
    ("recall", None, "recall_f64"),
];

/// Prints one table.
pub fn run(args: &Args, folder: &Path) -> Result<()> {
    let python = match &args.python {
        Some(python) => python.clone(),
        None => environment(folder, "torch-fidelity")?,
    };
    let scripts = root().join("tests/peers/torch-fidelity");
    let folder = folder.join("fidelity");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    check(&mut cargo(
        "build --release --package sit-tests --bin peer-fidelity",
    ))?;
    check(&mut cargo(
        "build --release --package sit-trainer --bin sit",
    ))?;
    let weights = folder.join("weights.safetensors");
    check(Command::new(target().join("release/peer-fidelity")).arg(&weights))?;
    check(
        Command::new(&python)
            .arg(scripts.join("prepare.py"))
            .arg(&weights)
            .arg(&folder)
            .arg(COUNT.to_string()),
    )?;
    let (seconds, peak, _) = timed(
        Command::new(target().join("release/sit"))
            .current_dir(&folder)
            .args(["eval", "samples.npz", "--reference", "real.npz"])
            .args(["--inception", "weights.pth", "--protocol", "torch-fidelity"])
            .args(["--metrics", "fid,is,kid,pr", "--backend", "cpu"])
            .args(["--json", "ours.json"])
            .env("RAYON_NUM_THREADS", args.threads.to_string()),
    )?;
    let json = folder.join("ours.json");
    let ours = std::fs::read(&json).with_context(|| json.display().to_string())?;
    let ours: Value = serde_json::from_slice(&ours)?;
    let ours = &ours["rows"][0];
    let (_, peer_peak, printed) = timed(
        Command::new(&python)
            .arg(scripts.join("peer.py"))
            .arg(&folder)
            .args([args.threads, BATCH].map(|n| n.to_string()))
            .env("OMP_NUM_THREADS", args.threads.to_string()),
    )?;
    let line = printed.lines().last().unwrap_or_default();
    let peer: Value = serde_json::from_str(line).with_context(|| printed.clone())?;
    println!(
        "{}, f32, {} threads a side, {COUNT} images of 64x64x3 against {COUNT}; {}",
        text(&peer, "version")?,
        args.threads,
        processor()
    );
    let mut largest = 0.0_f64;
    for (column, part, name) in METRICS {
        let own = match part {
            Some(part) => number(&ours[column], part)?,
            None => number(ours, column)?,
        };
        let theirs = number(&peer, name)?;
        let difference = (own - theirs).abs() / theirs.abs();
        largest = largest.max(difference);
        println!("    {name:30}  here {own:12.6}   peer {theirs:12.6}   {difference:.1e}");
    }
    let [precision, recall] = [number(&peer, "precision")?, number(&peer, "recall")?];
    println!(
        "    torch-fidelity's own precision and recall, whose distances are in f32: {precision:.4}, {recall:.4}"
    );
    let peer_seconds = number(&peer, "seconds")?;
    println!(
        "    time: here {seconds:.1} s, the whole command; peer {peer_seconds:.1} s without the start of Python; {:.2}x as fast",
        peer_seconds / seconds
    );
    println!("    peak memory: here {peak:.0} MiB, peer {peer_peak:.0} MiB");
    ensure!(
        largest <= TOLERANCE,
        "a metric differs by {largest:.1e}, expected at most {TOLERANCE:.0e}"
    );
    Ok(())
}

/// Runs a command: its time in seconds, its peak memory in MiB, and what it printed.
fn timed(command: &mut Command) -> Result<(f64, f64, String)> {
    let shown = crate::text(command);
    let start = Instant::now();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| shown.clone())?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0_f64;
    let exit = loop {
        // The peak only grows. A process that has ended has no such line.
        let line = std::fs::read_to_string(&status).unwrap_or_default();
        let line = line.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        peak = peak.max(kib.unwrap_or(0.0) / 1024.0);
        match child.try_wait()? {
            Some(exit) => break exit,
            None => sleep(Duration::from_millis(20)),
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let printed = child.wait_with_output()?.stdout;
    ensure!(exit.success(), "{shown}: {exit}");
    Ok((
        seconds,
        peak,
        String::from_utf8_lossy(&printed).into_owned(),
    ))
}
