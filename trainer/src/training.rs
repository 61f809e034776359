//! The training loop of a run: batches, steps, metrics, previews and checkpoints.

mod forecast;
mod health;
mod measure;
mod save;

use crate::config::RunConfig;
use crate::data::{BaseData, Batches, Loader};
use crate::error::{Failure, Result};
use crate::evaluation::{InTraining, Prepared};
use crate::init::Fitted;
use crate::log::Logs;
use crate::peak;
use crate::preview::Previews;
use crate::progress::Progress;
use crate::reconstruct::LatentScale;
use crate::run::{self, Checkpoint, RunFolder, State, Window};
use crate::signals;
use crate::teacher::Teacher;
use crate::vae;
use crate::validation::{Images, Validation};
use forecast::Pace;
use health::Health;
use sit_engine::backend::Device;
use sit_engine::model::{Network as _, Output};
use sit_engine::objective::Batch;
use sit_engine::text::{count, shown};
use sit_engine::train::Trainer;
use std::path::Path;
use std::time::Instant;

/// Steps in a row that may be skipped because their loss or gradient is not finite.
const MAX_SKIPPED_IN_A_ROW: u64 = 20;

/// A run that is ready to train; it has written nothing yet.
pub struct Job {
    config: RunConfig,
    trainer: Trainer,
    /// Of a run that distills.
    teacher: Option<Teacher>,
    loader: Loader,
    previews: Option<Previews>,
    validation: Option<Validation>,
    evaluation: Option<InTraining>,
    /// Of a run that trains an autoencoder.
    latent_scale: Option<LatentScale>,
    /// Floating-point operations per second of products on the device.
    peak_flops: f64,
    state: State,
    /// Norm of the last step's gradient.
    grad_norm: f64,
    health: Health,
    /// Updates that the last checkpoint holds.
    saved_updates: u64,
    /// Whether a checkpoint is due and waits for a step that is not skipped.
    is_due: bool,
}

impl Job {
    /// Makes the model, loads `checkpoint` if there is one, and starts to read data.
    ///
    /// # Errors
    /// A device that cannot hold it, or a checkpoint that does not fit.
    pub fn new(
        config: RunConfig,
        device: &Device,
        images: Images,
        checkpoint: Option<&Checkpoint>,
        teacher: Option<Teacher>,
        evaluation: Option<Prepared>,
    ) -> Result<Self> {
        let Images {
            training: dataset,
            held_out,
            base,
        } = images;
        let model = teacher.as_ref().map(Teacher::model);
        let mut trainer = config.step_with(model).build(device)?;
        let mut state = State {
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
            latents: dataset.latents(),
            n_images: dataset.len() as u64,
            n_base: base.as_ref().map_or(0, BaseData::n_images),
            objective: Vec::new(),
            config: config.clone(),
        };
        if let Some(checkpoint) = checkpoint {
            let (path, saved) = (shown(&checkpoint.path), &checkpoint.state);
            if saved.max_level != state.max_level {
                return Err(Failure::Input(format!(
                    "{path}: was trained on images of levels 0 to {}, these have 0 to {}",
                    saved.max_level, state.max_level
                )));
            }
            vae::check_same(saved.latents.as_ref(), state.latents.as_ref())
                .map_err(|e| e.context(&path))?;
            if saved.device != state.device {
                tracing::warn!(
                    "the run was trained on {}; here it may round differently",
                    saved.device
                );
            }
            if ![0, state.n_images].contains(&saved.n_images) {
                tracing::warn!(
                    "{path}: was trained on {}, there are {} now; the run goes on with other images than it would have had",
                    count(saved.n_images, "image"),
                    state.n_images
                );
            }
            if ![0, state.n_base].contains(&saved.n_base) {
                tracing::warn!(
                    "{path}: transport.base had {}, there are {} now; the run goes on with other images than it would have had",
                    count(saved.n_base, "image"),
                    state.n_base
                );
            }
            checkpoint.load(&trainer)?;
            tracing::info!("going on from {path}");
            state = State {
                program: state.program,
                device: state.device,
                latents: state.latents,
                n_images: state.n_images,
                n_base: state.n_base,
                config: state.config,
                ..saved.clone()
            };
        }
        let is_new = checkpoint.is_none() && config.init.is_none();
        if let Some(teacher) = teacher.as_ref().filter(|_| is_new) {
            teacher.start(&trainer, &config)?;
        }
        trainer.resume_at(state.n_updates, state.n_samples);
        let latent_scale = LatentScale::new(&config, dataset.clone());
        let evaluation = evaluation.map(|prepared| {
            let (base, latents) = (base.clone(), dataset.latents());
            InTraining::new(prepared, &config, &trainer, base, latents.as_ref())
        });
        let shown = held_out.clone().unwrap_or_else(|| dataset.clone());
        Ok(Job {
            loader: Loader::new(
                Batches::new(dataset, config.batches()).with_base(base.clone()),
                config.data.workers,
                state.n_samples,
            )?,
            // Reflow has its pairs, and needs it no more.
            teacher: teacher.filter(|_| !config.is_reflow()),
            previews: Previews::new(&config, &trainer, base.clone(), &*shown)?,
            latent_scale,
            evaluation: evaluation.transpose()?,
            validation: held_out
                .map(|images| Validation::new(&config, &trainer, images, base))
                .transpose()?,
            // Without it only `mfu` is unknown.
            peak_flops: peak::measure(device).unwrap_or_else(|e| {
                tracing::warn!("mfu is not measured: {e}");
                f64::NAN
            }),
            config,
            trainer,
            saved_updates: state.n_updates,
            state,
            grad_norm: f64::NAN,
            health: Health::default(),
            is_due: false,
        })
    }

    /// Starts from other weights, in place of new ones.
    ///
    /// # Errors
    /// Those of [`Fitted::load`].
    pub fn start_from(&mut self, init: Fitted) -> Result<()> {
        init.load(&self.trainer)
    }

    /// Trains to the end, or until it is asked to stop, and writes into `folder`.
    ///
    /// # Errors
    /// [`Failure::Interrupted`] when it was asked to stop, after a checkpoint; a file that cannot be written, a device that fails,
    /// or too many steps that are not finite.
    pub fn train(mut self, folder: &mut RunFolder) -> Result<()> {
        let path = folder.path()?.to_owned();
        if let Some(evaluation) = &mut self.evaluation {
            evaluation.keep(&path)?;
        }
        let mut logs = Logs::open(&path, &self.config, self.evaluated(), self.state.step)?;
        for (step, loss) in logs.losses()? {
            self.health.add(step, loss);
        }
        let total = self.config.train.steps;
        if self.state.step == total && !self.has_line_due() {
            tracing::info!(
                "nothing to do: {} has done its {}; --set train.steps=N gives it more",
                shown(&path),
                count(total, "step")
            );
            return Ok(());
        }
        tracing::info!(
            "training {} parameters for {} of {}, {:.0} MiB, into {}",
            self.config.model.n_params(),
            count(total, "step"),
            count(self.trainer.training().images_per_step(), "image"),
            self.trainer.bytes() as f64 / (1 << 20) as f64,
            shown(&path)
        );
        forecast::check_disk(&self.config, &path);
        let outcome = self.steps(folder, &mut logs);
        // The run folder may have moved.
        let path = folder.path().map_or(path, Path::to_owned);
        let go_on = format!("go on with: sit train --resume {}", shown(&path));
        if let Some(warning) = self.health.warning() {
            tracing::warn!("{warning}; {}", self.advice(&path));
        }
        match outcome {
            Ok(()) => {
                let path = shown(&path);
                let next = match self.config.model.output() {
                    Output::Prediction => format!("sample with: sit sample {path}"),
                    Output::Reconstruction => format!(
                        "encode images with: sit data encode IMAGES --vae {path} --out LATENTS"
                    ),
                    _ => format!(
                        "guide with: sit sample RUN --classifier {path} --classifier-scale 2"
                    ),
                };
                let steps = count(total, "step");
                tracing::info!("done: {steps}, {} skipped; {next}", self.state.skipped);
                Ok(())
            }
            Err(Stop::Interrupted) => {
                tracing::info!("stopped at step {}; {go_on}", self.state.step);
                Err(Failure::Interrupted)
            }
            Err(Stop::NotFinite) => Err(Failure::Run(format!(
                "the last {} had a loss or gradient that is not finite",
                count(self.state.skipped_in_a_row, "step")
            ))
            .hint(self.advice(&path))),
            Err(Stop::Saving(failure)) => Err(failure.on_the_way().hint(go_on)),
            Err(Stop::Failed(failure)) => {
                // Save what was learned so far.
                match self.save(folder) {
                    Ok(true) => tracing::info!("saved step {}", self.state.step),
                    Ok(false) => {}
                    Err(e) => tracing::warn!("step {} is not saved: {e}", self.state.step),
                }
                Err(failure.on_the_way().hint(go_on))
            }
        }
    }

    /// What to do about a run that has diverged.
    fn advice(&self, run: &Path) -> String {
        let steps = run::steps(run).unwrap_or_default();
        let good = self.health.diverged().unwrap_or(self.state.step);
        let lower = "a lower train.learning_rate, or train.clip = 1.0";
        match run::last_until(&steps, good) {
            Some(step) => format!(
                "the last good checkpoint is that of step {step}; go on from it with {lower}: sit train --resume {} --set \
                 train.learning_rate={}",
                shown(run::checkpoint_path(run, step)),
                self.config.train.learning_rate / 4.0
            ),
            None => format!("there is no good checkpoint before that; start again with {lower}"),
        }
    }

    fn steps(&mut self, folder: &mut RunFolder, logs: &mut Logs) -> std::result::Result<(), Stop> {
        let (first, total) = (self.state.step, self.config.train.steps);
        let mut bar = Progress::new("training", "steps", first, total);
        let mut since = (Instant::now(), self.state.step);
        let mut pace = Pace::new(self.state.step);
        if let Some(teacher) = &self.teacher {
            teacher.keep(folder.path()?)?;
        }
        if self.has_line_due() {
            self.write_line(folder, logs, f64::NAN)?;
            since.0 = Instant::now();
        }
        while self.state.step < total {
            if let Some(teacher) = &mut self.teacher {
                teacher.go_on(self.state.step, &self.config, &self.trainer, folder.path()?)?;
            }
            if signals::interrupted() {
                self.save(folder).map_err(Stop::Saving)?;
                return Err(Stop::Interrupted);
            }
            if signals::save_asked() {
                let step = self.state.step;
                match self.save(folder).map_err(Stop::Saving)? {
                    true => tracing::info!("SIGUSR1: step {step} is saved, the run goes on"),
                    false => tracing::info!(
                        "SIGUSR1: nothing to save at step {step}, the weights are those of the last checkpoint or of the start"
                    ),
                }
            }
            let loss = self.step()?;
            let step = self.state.step;
            let every = |n: u64| n > 0 && step.is_multiple_of(n) || step == total;
            bar.set(step, || format!("loss {loss:.4}"));
            // Do not count evaluations, previews and checkpoints as training time.
            let before = Instant::now();
            if every(self.config.log.every_steps) {
                let steps = (step - since.1) as f64;
                self.write_line(folder, logs, steps / since.0.elapsed().as_secs_f64())?;
                since = (before, step);
            }
            if let Some(seconds) = pace.left(step, total) {
                forecast::tell(seconds, &pace, &self.config, folder.path()?);
            }
            if every(self.config.log.preview.every_steps) {
                self.preview(folder, logs)?;
            }
            if self.state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW {
                return Err(Stop::NotFinite);
            }
            let snapshots = self.config.log.snapshots.every_steps;
            if snapshots > 0 && every(snapshots) {
                self.snapshot(folder).map_err(Stop::Saving)?;
            }
            self.is_due |= every(self.config.log.checkpoint_every_steps);
            if self.is_due && (self.state.skipped_in_a_row == 0 || step == total) {
                self.save(folder).map_err(Stop::Saving)?;
            }
            since.0 += before.elapsed();
            pace.pause(before.elapsed());
        }
        // A single step may fail at the end of a good run.
        let in_a_row = self.state.skipped_in_a_row;
        match in_a_row > 1 || in_a_row > 0 && in_a_row >= total - first {
            true => Err(Stop::NotFinite),
            false => Ok(()),
        }
    }

    /// One step; returns its loss. A step that fails counts as not begun.
    fn step(&mut self) -> Result<f64> {
        let n_samples = self.state.n_samples;
        self.try_step().inspect_err(|_| {
            self.state.n_samples = n_samples;
            self.trainer.abandon_step();
        })
    }

    fn try_step(&mut self) -> Result<f64> {
        let accumulate = self.config.train.accumulate;
        for _ in 0..accumulate {
            let batch = self.loader.next_batch()?;
            debug_assert_eq!(batch.first, self.state.n_samples);
            let mut images = Batch::new(&batch.x1, &batch.y, batch.first);
            images.x0 = batch.x0.as_deref();
            self.trainer.accumulate(images)?;
            self.state.n_samples += self.config.train.batch as u64;
        }
        let lr = self.config.learning_rate().at(self.state.step);
        let report = self.trainer.update(lr)?.clone();
        self.state.step += 1;
        self.state.n_updates = self.trainer.n_updates();
        self.grad_norm = report.grad_norm;
        if report.skipped {
            self.state.skipped += 1;
            self.state.skipped_in_a_row += 1;
            let what = if report.loss.is_finite() {
                "the gradient or its norm is not finite".to_owned()
            } else {
                format!("the loss is {}", report.loss)
            };
            tracing::warn!("step {}: {what}; skipped", self.state.step);
        } else {
            self.state.skipped_in_a_row = 0;
            self.state.window.add(&report);
        }
        let loss = if report.skipped {
            f64::NAN
        } else {
            report.loss
        };
        self.health.add(self.state.step, loss);
        Ok(report.loss)
    }
}

/// Why training ends before its last step.
enum Stop {
    /// It was asked for, and a checkpoint is written.
    Interrupted,
    /// Too many steps were skipped.
    NotFinite,
    /// A checkpoint could not be written.
    Saving(Failure),
    /// Anything else failed.
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}
