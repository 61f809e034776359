//! `cargo xtask bench --peers pytorch|torchdiffeq|diffusers|torchvision|torch-fidelity`: the same work here and in a peer, in one run, in turns.

mod autoencoders;
mod fidelity;
mod pictures;
mod solvers;

use crate::{cargo, check, root, target};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Time a training step and a sampling forward against a peer. Needs Linux, Python 3 and the package index.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The peer.
    #[arg(long, value_enum)]
    peers: Peer,
    /// Turns of each side for each kind of work, after one that is not counted.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Threads of each side.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Where both sides compute; on a GPU the peer takes CUDA.
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    backend: Backend,
    /// A Python with the peer's packages, instead of a virtual environment made for it.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Weights that torchdiffeq samples, as `sit convert` writes them.
    #[arg(
        long,
        value_name = "FILE.safetensors",
        required_if_eq("peers", "torchdiffeq")
    )]
    weights: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Backend {
    Cpu,
    Gpu,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Peer {
    /// PyTorch eager.
    Pytorch,
    /// torchdiffeq's dopri5 on PyTorch eager; and the cost of an evaluation in each of our solvers.
    Torchdiffeq,
    /// diffusers' autoencoders, on PyTorch eager.
    Diffusers,
    /// torchvision's ImageFolder with a DataLoader.
    Torchvision,
    /// torch-fidelity's FID, Inception Score, KID, precision and recall.
    TorchFidelity,
}

/// A size to measure: its name, the family, sizes by the names of `Dit`, `Unet` or the benchmark of convolutions, and the batch.
type Case = (&'static str, &'static str, Value, usize);

fn cases(backend: Backend) -> Vec<Case> {
    let model = |input_size, channels, patch, dim, depth, n_heads, n_classes| {
        json!({
            "input_size": input_size, "channels": channels, "patch": patch, "dim": dim, "depth": depth,
            "n_heads": n_heads, "n_classes": n_classes, "learn_sigma": false,
        })
    };
    let mut cases = vec![
        (
            "8x8x1, patch 1, width 64, depth 4, batch 64",
            "dit",
            model(8, 1, 1, 64, 4, 4, 10),
            64,
        ),
        (
            "16x16x3, patch 2, width 128, depth 6, batch 64",
            "dit",
            model(16, 3, 2, 128, 6, 4, 10),
            64,
        ),
        (
            "SiT-S/2, 32x32x4, batch 4",
            "dit",
            model(32, 4, 2, 384, 12, 6, 1000),
            4,
        ),
        // The presets digits-unet and image-folder-64-unet.
        (
            "U-Net, 8x8x1, width 32, batch 64",
            "unet",
            json!({
                "input_size": 8, "channels": 1, "width": 32, "multipliers": [1, 2], "blocks": 1, "attention": [4],
                "n_heads": 2, "groups": 8, "n_classes": 10, "learn_sigma": false,
            }),
            64,
        ),
        (
            "U-Net, 64x64x3, width 64, batch 2",
            "unet",
            json!({
                "input_size": 64, "channels": 3, "width": 64, "multipliers": [1, 2, 3, 4], "blocks": 2,
                "attention": [16, 8], "n_heads": 4, "groups": 32, "n_classes": 10, "learn_sigma": false,
            }),
            2,
        ),
    ];
    let conv = |input_size, channels, outputs| {
        json!({
            "input_size": input_size, "channels": channels, "outputs": outputs, "kernel": 3, "stride": 1,
        })
    };
    // A training step of a convolution is its forward and all gradients.
    cases.extend([
        (
            "conv 3x3, 8x8x64 to 64, batch 64",
            "conv",
            conv(8, 64, 64),
            64,
        ),
        (
            "conv 3x3, 16x16x128 to 128, batch 8",
            "conv",
            conv(16, 128, 128),
            8,
        ),
        (
            "conv 3x3, 32x32x64 to 64, batch 8",
            "conv",
            conv(32, 64, 64),
            8,
        ),
        (
            "conv 3x3, 64x64x32 to 32, batch 8",
            "conv",
            conv(64, 32, 32),
            8,
        ),
    ]);
    if backend == Backend::Gpu {
        let b = model(32, 4, 2, 768, 12, 12, 1000);
        cases.push(("SiT-B/2, 32x32x4, batch 32", "dit", b, 32));
    }
    cases
}

/// Largest difference of the two forwards, in units of the output's rms.
const TOLERANCE: f64 = 1e-4;

/// Makes the peer, checks that both sides compute the same, and prints one table.
pub fn run(args: &Args) -> Result<()> {
    let folder = target().join("peers");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    if let Peer::Torchvision = args.peers {
        return pictures::run(args, &folder);
    }
    if let Peer::TorchFidelity = args.peers {
        return fidelity::run(args, &folder);
    }
    let python = match &args.python {
        Some(python) => python.clone(),
        None => environment(&folder, "pytorch")?,
    };
    if let (Peer::Torchdiffeq, Some(weights)) = (args.peers, &args.weights) {
        return solvers::run(args, weights, &python, &folder);
    }
    if let Peer::Diffusers = args.peers {
        return autoencoders::run(args, &python, &folder);
    }
    let backend = match args.backend {
        Backend::Cpu => "cpu",
        Backend::Gpu => "gpu",
    };
    check(&mut cargo("build --release --package sit-tests --bin peer"))?;

    let mut lines = Vec::new();
    let mut versions = String::new();
    for (name, family, model, batch) in cases(args.backend) {
        eprintln!("{name}");
        let sizes = folder.join("sizes.json");
        std::fs::write(
            &sizes,
            json!({ "family": family, "model": model, "batch": batch }).to_string(),
        )
        .with_context(|| sizes.display().to_string())?;
        let exchange = folder.join("exchange.safetensors");
        let files = [sizes, exchange];

        let (mut ours, about) = Side::start(
            Command::new(target().join("release/peer"))
                .args(&files)
                .arg(backend)
                .env("RAYON_NUM_THREADS", args.threads.to_string()),
        )?;
        let (mut theirs, peer) = Side::start(
            Command::new(&python)
                .arg(root().join("tests/peers/pytorch/peer.py"))
                .args(&files)
                .arg(backend)
                .env("OMP_NUM_THREADS", args.threads.to_string()),
        )?;
        versions = format!("{}, {}", text(&about, "version")?, text(&peer, "version")?);
        let difference = number(&peer, "difference")?;
        ensure!(
            difference <= TOLERANCE,
            "{name}: the forwards differ by {difference:.1e} of the output's rms, expected at most {TOLERANCE:.0e}"
        );
        lines.push(format!(
            "{name} (forwards within {difference:.0e} of the output's rms)"
        ));
        for (phase, work) in [("training step", "train"), ("forward", "forward")] {
            let flop = 2.0 * number(&about, &format!("{work}_macs"))?;
            let [here, there] = in_turns([&mut ours, &mut theirs], work, args.rounds)?;
            let rate = |ms: f64| flop / ms / 1e6;
            lines.push(format!(
                "    {phase:13}  here {here:7.1} ms {:5.1} GFLOP/s   peer {there:7.1} ms {:5.1} GFLOP/s   {:.2}x as fast",
                rate(here),
                rate(there),
                there / here,
            ));
        }
        let mib = |key| Ok::<_, anyhow::Error>(number(&about, key)? / f64::from(1 << 20));
        lines.push(format!(
            "    peak memory    here {:.0} MiB, peer {:.0} MiB; forecast {:.1} MiB, allocated {:.1} MiB",
            ours.peak_mib, theirs.peak_mib, mib("forecast_bytes")?, mib("allocated_bytes")?,
        ));
        ours.stop()?;
        theirs.stop()?;
    }
    println!(
        "{versions}, f32, {} threads a side, medians of {} turns each; {}",
        args.threads,
        args.rounds,
        processor()
    );
    println!("{}", lines.join("\n"));
    Ok(())
}

/// The median times of a piece of work on both sides, in ms, which work in turns.
fn in_turns(mut sides: [&mut Side; 2], work: &str, rounds: usize) -> Result<[f64; 2]> {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            let ms = side.turn(work)?;
            // The first turn warms up.
            if round > 0 {
                times.push(ms);
            }
        }
    }
    Ok(times.map(median))
}

/// The Python of a virtual environment with the pinned requirements of a peer, made again when these change.
fn environment(folder: &Path, peer: &str) -> Result<PathBuf> {
    let requirements = root().join(format!("tests/peers/{peer}/requirements.txt"));
    let environment = folder.join(peer);
    let stamp = environment.join("requirements.txt");
    let python = environment.join("bin/python");
    let wanted =
        std::fs::read(&requirements).with_context(|| requirements.display().to_string())?;
    if std::fs::read(&stamp).ok().as_ref() != Some(&wanted) {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        check(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
        check(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "--requirement"])
                .arg(&requirements),
        )?;
        std::fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())?;
    }
    Ok(python)
}

/// One side: a process that does a piece of work for each line it is sent, and answers with a line of JSON.
struct Side {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    peak_mib: f64,
}

impl Side {
    /// Starts it and returns its description of itself.
    fn start(command: &mut Command) -> Result<(Side, Value)> {
        let shown = crate::text(command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| shown.clone())?;
        let ask = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut side = Side {
            child,
            ask,
            answers,
            peak_mib: 0.0,
        };
        let about = side.answer().with_context(|| shown)?;
        Ok((side, about))
    }

    /// Works for about a third of a second and returns the median time of a piece of work, in ms.
    fn turn(&mut self, work: &str) -> Result<f64> {
        // Idle threads of the other side spin for a while before they sleep.
        std::thread::sleep(Duration::from_millis(50));
        let first = number(&self.ask(work)?, "ms")?;
        let mut times = vec![first];
        for _ in 1..(300.0 / first).ceil() as usize {
            times.push(number(&self.ask(work)?, "ms")?);
        }
        Ok(median(times))
    }

    fn ask(&mut self, work: &str) -> Result<Value> {
        writeln!(self.ask, "{work}")?;
        let answer = self.answer()?;
        self.peak_mib = number(&answer, "peak_mib")?;
        Ok(answer)
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        let n = self.answers.read_line(&mut line)?;
        ensure!(n > 0, "it ended without an answer");
        serde_json::from_str(&line).with_context(|| line.clone())
    }

    fn stop(mut self) -> Result<()> {
        drop(self.ask);
        let status = self.child.wait()?;
        ensure!(status.success(), "a side of the benchmark failed: {status}");
        Ok(())
    }
}

fn text<'a>(answer: &'a Value, key: &str) -> Result<&'a str> {
    answer[key]
        .as_str()
        .with_context(|| format!("no text {key} in {answer}"))
}

fn number(answer: &Value, key: &str) -> Result<f64> {
    answer[key]
        .as_f64()
        .with_context(|| format!("no number {key} in {answer}"))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Name and number of the processors.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |name| {
            name.trim_start_matches([' ', '\t', ':'])
        });
    let n = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {n} processors")
}
