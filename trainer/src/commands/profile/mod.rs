//! `sit profile`: where the time of a training step and of a sampling step goes.

mod measure;
mod table;
mod trace;

use super::backend::BackendArg;
use super::info::with_model;
use super::source::{Opened, SourceArgs};
use super::values::whole;
use crate::config::{self, RunConfig, preset_called, preset_names};
use crate::error::{Failure, Result};
use crate::files::{is_special, write_atomically};
use crate::outputs::Outputs;
use crate::run::Checkpoint;
use crate::{stdout, weights};
use clap::ValueEnum;
use measure::Part;
use sit_engine::backend::Device;
use sit_engine::model::Network as _;
use sit_engine::text::{count, shown};
use sit_engine::transport::Base;
use std::path::{Path, PathBuf};

/// Show where the time of a training step and of a sampling step goes, by operation or by kernel of the GPU.
///
/// The steps are done on noise in place of images: no data is read and nothing is trained. A training step is the gradient of one batch and the
/// update; a sampling step is one evaluation of the network, without guidance, and the step of the solver.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub struct Args {
    /// Run folder, checkpoint folder, or a .safetensors or .pt file with the official names.
    #[arg(value_name = "CHECKPOINT", conflicts_with = "preset")]
    checkpoint: Option<PathBuf>,
    /// Configuration that comes with the program; the weights are the initial ones.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Change a key of the preset's configuration.
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "checkpoint")]
    set: Vec<String>,
    /// Do only steps of this kind [default: both].
    #[arg(long, value_enum, value_name = "train|sample")]
    what: Option<What>,
    /// Images at a time [default: the configuration's].
    #[arg(long, value_name = "B", value_parser = whole::<u32>(1..=65_536))]
    batch: Option<u32>,
    /// Steps of each kind that are measured, after one that is not; the table has their mean.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = whole::<u32>(1..=1000))]
    steps: u32,
    /// Also write every span of time as a trace, which https://ui.perfetto.dev and chrome://tracing show.
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Heads of a bare file whose width is not a published one.
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=65_536), conflicts_with = "preset")]
    n_heads: Option<usize>,
    /// Image side in pixels of a bare file without pos_embed.
    #[arg(long, value_name = "PIXELS", value_parser = whole::<usize>(1..=4096), conflicts_with = "preset")]
    input_size: Option<usize>,
    #[command(flatten)]
    backend: BackendArg,
}

const NOTES: &str = "\
Examples:
  sit profile --preset SiT-S/2 --batch 4 --what train
  sit profile runs/digits --trace digits.json
  sit profile SiT-XL-2-256x256.pt --what sample --batch 1 --backend gpu

GFLOP/s counts two operations a multiply-accumulate of matrix products; MB and GB/s are those of the operands, read and written, whatever a
cache saves. On the CPU, operations are measured one after the other on all samples, where a step takes some samples through several of them:
their sum differs from the time of a step. A GPU writes its own time before and after each kernel; one without timestamps is waited for.";

/// Which steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Training steps.
    Train,
    /// Sampling steps.
    Sample,
}

/// Runs it.
///
/// # Errors
/// A checkpoint or preset that cannot be read, a file that cannot be written, or a device that cannot hold the model.
pub fn run(args: &Args) -> Result<()> {
    let (config, mut source) = args.model()?;
    args.check_outputs()?;
    let device = args.backend.open()?;
    let mut parts = Vec::new();
    if args.what != Some(What::Sample) {
        parts.push(measure::training(
            &config,
            source.as_mut(),
            &device,
            args.steps,
        )?);
    }
    if args.what != Some(What::Train) {
        parts.push(measure::sampling(
            &config,
            source.as_mut(),
            &device,
            args.steps,
        )?);
    }
    let mut text = args.head(&config, &device);
    for part in &parts {
        text += &format!("\n{}", table::of(part));
    }
    if let Some(path) = &args.trace {
        args.write_trace(path, &parts, &device)?;
        text += &format!("\n{}\n", shown(path));
    }
    stdout::print(&text)
}

impl Args {
    /// The configuration, and the weights of a checkpoint.
    fn model(&self) -> Result<(RunConfig, Option<Opened>)> {
        let (mut config, source) = match (&self.checkpoint, &self.preset) {
            (Some(path), _) => {
                let bare = SourceArgs::bare(path, self.n_heads, self.input_size);
                let source =
                    bare.open()
                        .map_err(|e| match preset_called(&path.to_string_lossy()) {
                            Some(name) if !path.exists() => {
                                e.hint(format!("did you mean --preset {name}?"))
                            }
                            _ => e,
                        })?;
                let config = match weights::is_run(path)? {
                    true => Checkpoint::open(path)?.state.config,
                    false => RunConfig {
                        transport: source.recipe.transport.clone(),
                        ..with_model(source.recipe.model.clone())
                    },
                };
                (config, Some(source))
            }
            (None, None) => {
                return Err(Failure::Input(format!(
                    "give a CHECKPOINT or --preset NAME ({})",
                    preset_names().join(", ")
                )));
            }
            (None, Some(name)) => {
                let preset = config::Source::Preset(name);
                let config = RunConfig::load(preset, &self.set).map_err(Failure::input)?;
                let valid = config.validate_work();
                valid.map_err(|e| Failure::input(preset.blame(&self.set, &e)))?;
                (config, None)
            }
        };
        if let Some(batch) = self.batch {
            config.train.batch = batch as usize;
        }
        // One batch is a step here, and nothing runs beside it.
        config.train.accumulate = 1;
        // Other images than noise cost a step nothing.
        config.transport.base = Base::Gaussian;
        config.log.preview.every_steps = 0;
        config.log.validation.every_steps = 0;
        config.model.validate(1)?;
        if config.transport.student_steps.is_some() {
            return Err(Failure::Input(
                "got a student, expected another model: a step of its training evaluates a teacher, which is not profiled".into(),
            ));
        }
        config.distill = None;
        config.step().validate()?;
        Ok((config, source))
    }

    fn check_outputs(&self) -> Result<()> {
        let Some(trace) = &self.trace else {
            return Ok(());
        };
        let mut outputs = Outputs::default();
        if let Some(path) = &self.checkpoint {
            outputs.reads("CHECKPOINT", path);
        }
        outputs.writes("--trace", trace, &["json"])?;
        if trace.extension().is_none() && !is_special(trace) {
            return Err(Failure::Input(format!(
                "--trace: {}: expected a name that ends in .json",
                shown(trace)
            )));
        }
        Ok(())
    }

    /// What is profiled, where.
    fn head(&self, config: &RunConfig, device: &Device) -> String {
        let [channels, height, width] = config.model.io().image;
        format!(
            "{device}\n{height}x{width}x{channels}, {}, batch {}; mean of {}\n",
            config.model,
            config.train.batch,
            count(self.steps, "step"),
        )
    }

    fn write_trace(&self, path: &Path, parts: &[Part], device: &Device) -> Result<()> {
        let json = trace::json(parts, &device.to_string());
        write_atomically(path, |out| Ok(serde_json::to_writer(out, &json)?))?;
        Ok(())
    }
}
