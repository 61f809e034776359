//! `sit train`: the optimization loop.

use super::backend::BackendArg;
use crate::config::{RunConfig, Source, preset_names};
use crate::data::{self, Dataset, Loader, LoaderConfig};
use crate::error::{Failure, Result};
use crate::files::write_atomically;
use crate::log::{Metrics, MetricsLine, TensorBoard};
use crate::preview::Previews;
use crate::progress::{self, Progress};
use crate::run::{self, Checkpoint, State, Window};
use pollster::block_on;
use sit_engine::backend::Device;
use sit_engine::train::{Batch, Trainer};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Steps in a row that may be skipped because their loss or gradient is not finite.
const MAX_SKIPPED_IN_A_ROW: u64 = 20;

/// Train a model, or go on with a run.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Configuration file.
    #[arg(value_name = "CONFIG.toml", conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Configuration that comes with the program: digits, digits-smoke, fashion-mnist, image-folder-64, SiT-S/2 ...
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Change a key of the configuration; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Go on with this run folder, or from this checkpoint folder of a run.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["out"])]
    resume: Option<PathBuf>,
    /// Run folder to make [default: log.folder, or runs/NAME, runs/NAME-2, ...].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    backend: BackendArg,
    /// Check everything, show the configuration and the memory forecast, write nothing.
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  sit train --preset digits
  sit train --preset fashion-mnist --set train.steps=20000 --set train.learning_rate=3e-4
  sit train my.toml --out runs/mine --backend cpu
  sit train --resume runs/mine
  sit train --preset image-folder-64 --set data.path=photos --dry-run";

/// Runs it.
///
/// # Errors
/// Bad configuration or data, an unwritable folder, a device that cannot hold the model, or too many steps that are not
/// finite.
pub fn run(args: &Args) -> Result<()> {
    let (mut config, start) = start(args)?;
    // Where a run lies is not part of what it does.
    let folder = config.log.folder.take();
    config.validate().map_err(Failure::input)?;
    let dataset = open_data(&config)?;
    config.check_dataset(&*dataset).map_err(Failure::input)?;
    let device = args.backend.open()?;
    if args.dry_run {
        print!("{}", config.to_toml());
        return super::info::print_training(&config, &device);
    }
    let folder = match &start {
        Start::New => {
            let folder = args
                .out
                .clone()
                .unwrap_or_else(|| free_folder(folder.unwrap_or_else(|| "runs/run".into())));
            create(&folder)?;
            let toml = config.to_toml();
            write_atomically(&folder.join(CONFIG), |out| out.write_all(toml.as_bytes()))?;
            folder
        }
        Start::Again(folder) => folder.clone(),
        Start::From(checkpoint) => checkpoint.run().to_owned(),
    };
    run::clean(&folder);
    Job::new(config, &folder, &device, dataset, start)?.train()
}

/// The resolved configuration in a run folder, for people and for a run that was killed before its first checkpoint.
const CONFIG: &str = "config.toml";

enum Start {
    New,
    /// In a run folder without a checkpoint.
    Again(PathBuf),
    From(Box<Checkpoint>),
}

fn start(args: &Args) -> Result<(RunConfig, Start)> {
    let asked = match (&args.config, &args.preset) {
        (Some(path), _) => Some(Source::File(path)),
        (None, Some(name)) => Some(Source::Preset(name)),
        (None, None) => None,
    };
    let load = |source| RunConfig::load(source, &args.set).map_err(Failure::input);
    let Some(resume) = &args.resume else {
        let presets = || preset_names().join(", ");
        let nothing = || {
            Failure::Input(format!(
                "give --preset NAME ({}), a CONFIG.toml, or --resume RUN",
                presets()
            ))
        };
        return Ok((load(asked.ok_or_else(nothing)?)?, Start::New));
    };
    let config_file = resume.join(CONFIG);
    if config_file.is_file() && run::steps(resume)?.is_empty() {
        // It was stopped before its first checkpoint.
        return Ok((
            load(asked.unwrap_or(Source::File(&config_file)))?,
            Start::Again(resume.clone()),
        ));
    }
    let checkpoint = Checkpoint::open(resume)?;
    let saved = &checkpoint.state.config;
    let origin = checkpoint.path.display().to_string();
    let config = load(asked.unwrap_or(Source::Saved(&origin, saved)))?;
    check_resume(saved, &config).map_err(|e| e.context(&origin))?;
    Ok((config, Start::From(Box::new(checkpoint))))
}

/// Refuses a configuration that the weights, the noise or the data order of a run do not fit.
fn check_resume(saved: &RunConfig, asked: &RunConfig) -> Result<()> {
    let table = |config: &RunConfig| serde_json::json!({ "model": config.model, "transport": config.transport, "train": { "seed": config.train.seed } });
    let (saved, asked) = (table(saved), table(asked));
    for (name, keys) in saved.as_object().into_iter().flatten() {
        for (key, value) in keys.as_object().into_iter().flatten() {
            let new = &asked[name][key];
            if new != value {
                return Err(Failure::Input(format!(
                    "{name}.{key} is {value} in the checkpoint, {new} was asked for; a run keeps it"
                )));
            }
        }
    }
    Ok(())
}

fn open_data(config: &RunConfig) -> Result<Arc<dyn Dataset>> {
    let bar = std::sync::Mutex::new(None);
    let dataset = data::open(&config.data, &|done, total| {
        let mut bar = bar
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        bar.get_or_insert_with(|| Progress::new("checking", "images", 0, total as u64))
            .set(done as u64, String::new);
    })?;
    let [c, h, w] = dataset.shape();
    tracing::info!(
        "{}: {} images of {h}x{w}x{c}, {} classes",
        dataset.name(),
        dataset.len(),
        dataset.n_classes()
    );
    Ok(dataset)
}

/// `folder`, or with the first number that is free: `runs/digits-2`.
fn free_folder(folder: PathBuf) -> PathBuf {
    let numbered = |n: u32| PathBuf::from(format!("{}-{n}", folder.display()));
    if !folder.exists() {
        return folder;
    }
    (2..)
        .map(numbered)
        .find(|path| !path.exists())
        .unwrap_or(folder)
}

fn create(folder: &Path) -> Result<()> {
    let refuse =
        |e: std::io::Error| Failure::Input(format!("{}: cannot be written: {e}", folder.display()));
    if folder
        .read_dir()
        .is_ok_and(|mut entries| entries.next().is_some())
    {
        return Err(Failure::Input(format!(
            "{}: is not empty; --resume goes on with a run, --out takes a new folder",
            folder.display()
        )));
    }
    std::fs::create_dir_all(folder).map_err(refuse)
}

/// A run in progress.
struct Job {
    config: RunConfig,
    folder: PathBuf,
    trainer: Trainer,
    loader: Loader,
    state: State,
    metrics: Metrics,
    /// Of the last step.
    grad_norm: f64,
    tensorboard: Option<TensorBoard>,
    previews: Option<Previews>,
}

impl Job {
    fn new(
        config: RunConfig,
        folder: &Path,
        device: &Device,
        dataset: Arc<dyn Dataset>,
        start: Start,
    ) -> Result<Self> {
        let mut trainer = Trainer::new(device, config.step())?;
        let state = match start {
            Start::From(checkpoint) => {
                checkpoint.load(trainer.arenas())?;
                tracing::info!("going on from {}", checkpoint.path.display());
                let mut state = checkpoint.state;
                if state.device != device.to_string() {
                    tracing::warn!(
                        "the run was trained on {}; here it may round differently",
                        state.device
                    );
                }
                state.config = config.clone();
                state.device = device.to_string();
                state
            }
            _ => State {
                format: 1,
                program: env!("CARGO_PKG_VERSION").into(),
                step: 0,
                n_updates: 0,
                n_samples: 0,
                skipped: 0,
                skipped_in_a_row: 0,
                window: Window::default(),
                device: device.to_string(),
                max_level: dataset.max_level(),
                config: config.clone(),
            },
        };
        trainer.set_n_updates(state.n_updates);
        let loader = LoaderConfig {
            seed: config.train.seed,
            batch: config.train.batch,
            flip: config.data.flip,
            workers: config.data.workers,
        };
        Ok(Job {
            loader: Loader::new(dataset, loader, state.n_samples)?,
            grad_norm: f64::NAN,
            metrics: Metrics::open(&folder.join("metrics.jsonl"), state.step)?,
            tensorboard: if config.log.tensorboard {
                Some(TensorBoard::create(folder, state.step)?)
            } else {
                None
            },
            previews: Previews::new(&config, folder, device, &trainer)?,
            folder: folder.to_owned(),
            config,
            trainer,
            state,
        })
    }

    fn train(mut self) -> Result<()> {
        let total = self.config.train.steps;
        tracing::info!(
            "training {} parameters for {} steps of {} images, {:.0} MiB, into {}",
            self.config.model.n_params(),
            total,
            self.trainer.config().images_per_step(),
            self.trainer.bytes() as f64 / (1 << 20) as f64,
            self.folder.display()
        );
        let mut bar = Progress::new("training", "steps", self.state.step, total);
        let mut since = (Instant::now(), self.state.step);
        let mut saved = self.state.step;
        while self.state.step < total {
            if progress::interrupted() {
                if self.state.step != saved {
                    self.save()?;
                }
                let folder = self.folder.display();
                tracing::info!(
                    "stopped at step {}; go on with: sit train --resume {folder}",
                    self.state.step
                );
                return Err(Failure::Interrupted);
            }
            let loss = self.step()?;
            let step = self.state.step;
            let every = |n: u64| n > 0 && step.is_multiple_of(n) || step == total;
            bar.set(step, || format!("loss {loss:.4}"));
            if every(self.config.log.every_steps) {
                let seconds = since.0.elapsed().as_secs_f64();
                let images = (step - since.1) * self.trainer.config().images_per_step() as u64;
                self.log(images as f64 / seconds)?;
                since = (Instant::now(), step);
            }
            if every(self.config.log.preview.every_steps) {
                let before = Instant::now();
                self.preview()?;
                // Previews and checkpoints are not training.
                since.0 += before.elapsed();
            }
            if every(self.config.log.checkpoint_every_steps) {
                let before = Instant::now();
                self.save()?;
                since.0 += before.elapsed();
                saved = step;
            }
        }
        drop(bar);
        tracing::info!(
            "done: {} steps, {} skipped; sample with: sit sample {}",
            total,
            self.state.skipped,
            self.folder.display()
        );
        Ok(())
    }

    /// One step; returns its loss.
    fn step(&mut self) -> Result<f64> {
        let accumulate = self.config.train.accumulate;
        for micro in 0..accumulate {
            let batch = self.loader.next_batch()?;
            debug_assert_eq!(batch.first, self.state.n_samples);
            let batch = Batch {
                x1: &batch.x1,
                y: &batch.y,
                first: batch.first,
            };
            block_on(self.trainer.accumulate(micro, batch)).map_err(broken)?;
            self.state.n_samples += self.config.train.batch as u64;
        }
        let lr = self.config.learning_rate().at(self.state.step);
        let report = block_on(self.trainer.update(lr)).map_err(broken)?.clone();
        self.state.step += 1;
        self.state.n_updates = self.trainer.n_updates();
        self.grad_norm = report.grad_norm;
        if report.skipped {
            self.state.skipped += 1;
            self.state.skipped_in_a_row += 1;
            tracing::warn!(
                "step {}: loss {} or gradient norm {} is not finite; skipped",
                self.state.step,
                report.loss,
                report.grad_norm
            );
            if self.state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW {
                let path = self.save()?;
                return Err(Failure::Run(format!(
                    "{MAX_SKIPPED_IN_A_ROW} steps in a row were not finite; the last finite weights are in {}; \
                     try a lower train.learning_rate or train.clip = 1.0",
                    path.display()
                )));
            }
        } else {
            self.state.skipped_in_a_row = 0;
            self.state.window.add(report.loss, &report.by_image);
        }
        Ok(report.loss)
    }

    fn log(&mut self, images_per_sec: f64) -> Result<()> {
        let window = std::mem::take(&mut self.state.window);
        let (step, lr) = (
            self.state.step,
            self.config.learning_rate().at(self.state.step - 1),
        );
        let (loss, grad_norm, skipped) = (window.mean(), self.grad_norm, self.state.skipped);
        let loss_by_t = window.mean_by_t();
        self.metrics.write(&MetricsLine {
            step,
            loss,
            grad_norm,
            lr,
            images_per_sec,
            skipped,
            loss_by_t,
        })?;
        if let Some(tensorboard) = &mut self.tensorboard {
            let scalars = [
                ("loss", loss),
                ("grad_norm", grad_norm),
                ("lr", lr),
                ("images_per_sec", images_per_sec),
                ("skipped", skipped as f64),
            ];
            tensorboard.scalars(step, &scalars)?;
        }
        Ok(())
    }

    fn preview(&mut self) -> Result<()> {
        let Some(previews) = &mut self.previews else {
            return Ok(());
        };
        let image = previews.sample(self.state.step)?;
        if let Some(tensorboard) = &mut self.tensorboard {
            tensorboard.image(self.state.step, "preview", &image)?;
        }
        Ok(())
    }

    fn save(&mut self) -> Result<PathBuf> {
        let path = run::save(&self.folder, &self.state, self.trainer.arenas())?;
        let log = &self.config.log;
        run::prune(&self.folder, log.keep_last, log.keep_every_steps)?;
        Ok(path)
    }
}

/// A failure of the device in the middle of a run.
fn broken(error: sit_engine::Error) -> Failure {
    Failure::Run(format!(
        "{error}\ngo on from the last checkpoint with: sit train --resume RUN"
    ))
}
