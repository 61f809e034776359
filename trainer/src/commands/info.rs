//! `sit info`: what a model needs and what this machine has.

use crate::config::{LogConfig, RunConfig, Source, TrainConfig};
use crate::data::DataConfig;
use crate::error::{Failure, Result};
use crate::run::{self, Checkpoint};
use pollster::block_on;
use sit_engine::backend::{Choice, Device};
use sit_engine::graph::{Arena, Layout};
use sit_engine::model::{self, ModelConfig};
use sit_engine::sample::SampleConfig;
use sit_engine::transport::{Guidance, Method, Sampler, Transport};
use std::path::PathBuf;

/// Show a model's parameters, work and memory, and what this machine can run.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sit info --preset SiT-XL/2 --batch 1\n  sit info runs/digits-1\n  sit info SiT-S-2.safetensors"
)]
pub struct Args {
    /// Run folder, checkpoint folder, or a .safetensors file with the official names.
    #[arg(
        value_name = "CHECKPOINT",
        required_unless_present = "preset",
        conflicts_with = "preset"
    )]
    checkpoint: Option<PathBuf>,
    /// Configuration that comes with the program.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Change a key of the preset's configuration.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "preset")]
    set: Vec<String>,
    /// Images at a time, in training and in sampling [default: the configuration's].
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: Option<u32>,
    /// Heads of a bare file whose width is not a published one.
    #[arg(long, value_name = "N")]
    n_heads: Option<usize>,
    /// Image side in pixels of a bare file without pos_embed.
    #[arg(long, value_name = "PIXELS")]
    input_size: Option<usize>,
}

/// Runs it.
///
/// # Errors
/// A checkpoint or preset that cannot be read.
pub fn run(args: &Args) -> Result<()> {
    let mut config = match (&args.preset, &args.checkpoint) {
        (Some(name), _) => {
            RunConfig::load(Source::Preset(name), &args.set).map_err(Failure::input)?
        }
        (None, Some(path)) if path.is_dir() => {
            let checkpoint = Checkpoint::open(path)?;
            println!(
                "{}: {} steps, trained on {}",
                checkpoint.path.display(),
                checkpoint.state.step,
                checkpoint.state.device
            );
            checkpoint.state.config
        }
        (None, Some(path)) => {
            let model = run::open(path)?.model(args.n_heads, args.input_size)?;
            println!("{}:", path.display());
            RunConfig {
                model,
                transport: Transport::default(),
                data: DataConfig::digits(),
                train: TrainConfig::default(),
                log: LogConfig::default(),
            }
        }
        (None, None) => return Err(Failure::input("give a CHECKPOINT or --preset NAME")),
    };
    if let Some(batch) = args.batch {
        config.train.batch = batch as usize;
    }
    config.model.validate()?;
    print_model(&config.model)?;
    for choice in [Choice::Cpu, Choice::Gpu] {
        println!();
        match block_on(Device::open(choice)) {
            Ok(device) => {
                print_training(&config, &device).and_then(|()| print_sampling(&config, &device))?
            }
            Err(e) => println!("GPU: {e}"),
        }
    }
    Ok(())
}

fn print_model(model: &ModelConfig) -> Result<()> {
    println!(
        "{0}x{0}x{1}, patch {2}: {3} tokens; width {4}, depth {5}, {6} heads of {7}; {8} classes{9}",
        model.input_size,
        model.channels,
        model.patch,
        model.tokens(),
        model.dim,
        model.depth,
        model.n_heads,
        model.dim / model.n_heads,
        model.n_classes,
        if model.learn_sigma {
            "; the last layer has a sigma half, which is dropped"
        } else {
            ""
        }
    );
    println!("\nparameters");
    let params = model::params(model);
    let count = |prefix: &str| {
        params
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(_, shape)| shape.numel())
            .sum::<usize>()
    };
    let parts = [
        ("patch embedding", count("x_embedder")),
        ("time embedding", count("t_embedder")),
        ("label embedding", count("y_embedder")),
        ("blocks", count("blocks")),
        ("last layer", count("final_layer")),
        ("positions (fixed)", model.tokens() * model.dim),
    ];
    for (part, n) in parts {
        println!("  {part:<20} {n:>13}");
    }
    println!("  {:<20} {:>13}", "all", model.n_params());
    let layout = Layout::new(&params, u64::MAX)?;
    let one = sampling(model, Transport::default(), 1, 1.0);
    let macs = one.macs(&layout)?;
    println!(
        "\nforward of one image: {:.3} GMAC (the papers' Gflops)",
        macs as f64 / 1e9
    );
    Ok(())
}

fn sampling(model: &ModelConfig, transport: Transport, batch: usize, scale: f64) -> SampleConfig {
    SampleConfig {
        model: *model,
        transport,
        sampler: Sampler::Ode {
            method: Method::Euler,
            n_steps: 1,
        },
        guidance: Guidance {
            scale,
            ..Guidance::default()
        },
        weights: Arena::Params,
        batch,
    }
}

/// Prints the memory forecast of training on `device`.
///
/// # Errors
/// A configuration whose sizes do not fit together.
pub fn print_training(config: &RunConfig, device: &Device) -> Result<()> {
    println!("{device}");
    let train = config.step();
    let title = format!("training at batch {}", train.batch);
    match train.forecast(device.max_segment_bytes()) {
        Ok(parts) => print_parts(&title, &parts, device),
        Err(e) => println!("  {title}: does not fit: {e}"),
    }
    Ok(())
}

fn print_sampling(config: &RunConfig, device: &Device) -> Result<()> {
    let scale = if config.model.n_classes > 0 { 1.5 } else { 1.0 };
    let sample = sampling(&config.model, config.transport, config.train.batch, scale);
    let title = format!(
        "sampling at batch {}{}",
        sample.batch,
        if scale == 1.0 { "" } else { " with guidance" }
    );
    let parts = Layout::new(&model::params(&config.model), device.max_segment_bytes())
        .and_then(|layout| sample.forecast(&layout));
    match parts {
        Ok(parts) => print_parts(&title, &parts, device),
        Err(e) => println!("  {title}: does not fit: {e}"),
    }
    Ok(())
}

fn print_parts(title: &str, parts: &[(&'static str, u64)], device: &Device) {
    let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
    let total = parts.iter().map(|(_, bytes)| bytes).sum();
    println!("  {title}");
    for (part, bytes) in parts {
        println!("    {part:<18} {:>10.1} MiB", mib(*bytes));
    }
    let verdict = match (device, free_memory()) {
        (Device::Cpu, Some(free)) if total > free => {
            format!("does not fit: {:.0} MiB are free", mib(free))
        }
        (Device::Cpu, Some(free)) => format!("fits: {:.0} MiB are free", mib(free)),
        _ => "how much is free on this device is not known".to_owned(),
    };
    println!("    {:<18} {:>10.1} MiB; {verdict}", "all", mib(total));
}

/// Memory that is free for a new process, in bytes, where the system tells.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(
        line.trim()
            .strip_suffix(" kB")?
            .trim()
            .parse::<u64>()
            .ok()?
            * 1024,
    )
}
