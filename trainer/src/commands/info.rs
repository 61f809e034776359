//! `sit info`: what a model needs and what this machine has.

use super::backend;
use crate::config::{LogConfig, RunConfig, Source, TrainConfig};
use crate::data::{DataConfig, classes};
use crate::error::{Failure, Result};
use crate::run::{self, Checkpoint};
use crate::{memory, stdout};
use pollster::block_on;
use sit_engine::backend::{Choice, Device};
use sit_engine::checkpoint::Examination;
use sit_engine::graph::{Arena, Layout};
use sit_engine::model::{self, ModelConfig};
use sit_engine::sample::SampleConfig;
use sit_engine::transport::{Guidance, Method, Sampler, Transport};
use std::path::PathBuf;

/// Show a model's parameters, work and memory, and what this machine can run.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sit info --preset SiT-XL/2 --batch 1\n  sit info runs/digits\n  sit info SiT-XL-2-256x256.pt"
)]
pub struct Args {
    /// Run folder, checkpoint folder, or a .safetensors or .pt file with the official names.
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
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "checkpoint")]
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

/// More tensors that do not fit tell no more.
const MISMATCHES_SHOWN: usize = 10;

/// Runs it.
///
/// # Errors
/// A checkpoint or preset that cannot be read.
pub fn run(args: &Args) -> Result<()> {
    let mut text = String::new();
    let mut names = Vec::new();
    let mut config = match (&args.preset, &args.checkpoint) {
        (Some(name), _) => {
            RunConfig::load(Source::Preset(name), &args.set).map_err(Failure::input)?
        }
        (None, Some(path)) if path.is_dir() => {
            let checkpoint = Checkpoint::open(path)?;
            text += &format!(
                "{}: {} steps, trained on {}\n",
                checkpoint.path.display(),
                checkpoint.state.step,
                checkpoint.state.device
            );
            names.clone_from(&checkpoint.state.config.data.classes);
            checkpoint.state.config
        }
        (None, Some(path)) => {
            let file = run::open(path)?;
            let Examination { model, mismatches } = file.examine(args.n_heads, args.input_size);
            let model = model?;
            names = file
                .recipe()?
                .map_or_else(Vec::new, |recipe| recipe.classes);
            text += &format!("{}: {}", path.display(), file.format());
            let sets: Vec<&str> = file.sets().collect();
            if !sets.is_empty() {
                text += &format!(" with the sets {}", sets.join(", "));
            }
            text += "\n";
            for mismatch in mismatches.iter().take(MISMATCHES_SHOWN) {
                text += &format!("  {mismatch}\n");
            }
            if mismatches.len() > MISMATCHES_SHOWN {
                text += &format!(
                    "  and {} more do not fit\n",
                    mismatches.len() - MISMATCHES_SHOWN
                );
            }
            with_model(model)
        }
        (None, None) => return Err(Failure::input("give a CHECKPOINT or --preset NAME")),
    };
    if let Some(batch) = args.batch {
        config.train.batch = batch as usize;
    }
    config.model.validate()?;
    let classes = match (config.model.n_classes, config.data.n_classes) {
        (0, None) => "as many classes as the data has".to_owned(),
        (n, _) => classes::count(n),
    };
    describe(&mut text, &config.model, &classes, &names)?;
    for choice in [Choice::Cpu, Choice::Gpu] {
        text += "\n";
        match block_on(Device::open(choice)) {
            Ok(device) => {
                let guidance = if config.model.n_classes > 0 { 1.5 } else { 1.0 };
                let sample = one_step(&config, guidance);
                text += &format!(
                    "{device}\n{}{}",
                    memory::training(&config, &device),
                    memory::sampling(&sample, &device)
                );
            }
            Err(e) => text += &format!("{e}\n"),
        }
    }
    let gpus = backend::list();
    if !gpus.is_empty() {
        text += &format!("\n{gpus}");
    }
    stdout::print(&text)
}

fn describe(text: &mut String, model: &ModelConfig, classes: &str, names: &[String]) -> Result<()> {
    *text += &format!(
        "{0}x{0}x{1}, patch {2}: {3} tokens; width {4}, depth {5}, {6} heads of {7}; {8}{9}\n{10}\nparameters\n",
        model.input_size,
        model.channels,
        model.patch,
        model.tokens(),
        model.dim,
        model.depth,
        model.n_heads,
        model.dim / model.n_heads,
        classes,
        if model.learn_sigma {
            "; the last layer has a sigma half, which is dropped"
        } else {
            ""
        },
        match names {
            [] => String::new(),
            names => format!(
                "classes: {}\n",
                classes::numbered(names, 0..names.len().min(model.n_classes))
            ),
        }
    );
    let params = model::params(model);
    let count = |prefix: &str| {
        let part = params.iter().filter(|(name, _)| name.starts_with(prefix));
        part.map(|(_, shape)| shape.numel()).sum::<usize>()
    };
    let parts = [
        ("patch embedding", count("x_embedder")),
        ("time embedding", count("t_embedder")),
        ("label embedding", count("y_embedder")),
        ("blocks", count("blocks")),
        ("last layer", count("final_layer")),
        ("positions (fixed)", model.tokens() * model.dim),
        ("all", model.n_params()),
    ];
    for (part, n) in parts {
        *text += &format!("  {part:<20} {n:>13}\n");
    }
    let layout = Layout::new(&params, u64::MAX)?;
    let mut config = with_model(*model);
    config.train.batch = 1;
    let macs = one_step(&config, 1.0).macs(&layout)? as f64;
    let (macs, unit) = if macs < 1e9 {
        (macs / 1e6, "MMAC")
    } else {
        (macs / 1e9, "GMAC")
    };
    *text += &format!(
        "\nforward of one image: {macs:.2} {unit} (multiply-accumulates, which the papers call flops)\n"
    );
    Ok(())
}

/// A run's configuration of which only the model counts.
fn with_model(model: ModelConfig) -> RunConfig {
    RunConfig {
        model,
        transport: Transport::default(),
        data: DataConfig {
            n_classes: Some(model.n_classes),
            ..DataConfig::digits()
        },
        init: None,
        train: TrainConfig::default(),
        log: LogConfig::default(),
    }
}

/// Sampling a batch; every step of the ODE is like the first.
fn one_step(config: &RunConfig, guidance: f64) -> SampleConfig {
    SampleConfig {
        model: config.model,
        transport: config.transport,
        sampler: Sampler::Ode {
            method: Method::Euler,
            n_steps: 1,
        },
        guidance: Guidance {
            scale: guidance,
            ..Guidance::default()
        },
        weights: Arena::Params,
        batch: config.train.batch,
        keep_out: false,
    }
}
