//! The training loop of a run: batches, steps, metrics, previews and checkpoints.

use crate::config::RunConfig;
use crate::data::{Dataset, Loader};
use crate::error::{Failure, Result};
use crate::log::{Logs, MetricsLine};
use crate::peak;
use crate::preview::Previews;
use crate::progress::{self, Progress};
use crate::run::{self, Checkpoint, State, Window};
use crate::validation::{self, Images, Validation};
use pollster::block_on;
use sit_engine::backend::Device;
use sit_engine::train::{Batch, Trainer};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Steps in a row that may be skipped because their loss or gradient is not finite.
const MAX_SKIPPED_IN_A_ROW: u64 = 20;

/// A run that is ready to train; it has written nothing yet.
pub struct Job {
    config: RunConfig,
    trainer: Trainer,
    loader: Loader,
    previews: Option<Previews>,
    validation: Option<Validation>,
    /// Floating-point operations per second of products on the device.
    peak_flops: f64,
    state: State,
    /// Norm of the last step's gradient.
    grad_norm: f64,
}

impl Job {
    /// Makes the model, loads `checkpoint` if there is one, and starts to read data.
    ///
    /// # Errors
    /// A device that cannot hold it, or a checkpoint that does not fit.
    pub fn new(
        config: RunConfig,
        device: &Device,
        dataset: Arc<dyn Dataset>,
        checkpoint: Option<&Checkpoint>,
    ) -> Result<Self> {
        let Images {
            training: dataset,
            held_out,
        } = validation::split(&config, dataset)?;
        let mut trainer = Trainer::new(device, config.step())?;
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
            config: config.clone(),
        };
        if let Some(checkpoint) = checkpoint {
            let (path, saved) = (checkpoint.path.display(), &checkpoint.state);
            if saved.max_level != state.max_level {
                return Err(Failure::Input(format!(
                    "{path}: was trained on images of levels 0 to {}, these have 0 to {}",
                    saved.max_level, state.max_level
                )));
            }
            if saved.device != state.device {
                tracing::warn!(
                    "the run was trained on {}; here it may round differently",
                    saved.device
                );
            }
            checkpoint.load(trainer.arenas())?;
            tracing::info!("going on from {path}");
            state = State {
                program: state.program,
                device: state.device,
                config: state.config,
                ..saved.clone()
            };
        }
        trainer.set_n_updates(state.n_updates);
        Ok(Job {
            loader: Loader::new(
                dataset,
                config.batches(),
                config.data.workers,
                state.n_samples,
            )?,
            previews: Previews::new(&config, device, &trainer)?,
            validation: held_out
                .map(|images| Validation::new(&config, device, &trainer, images))
                .transpose()?,
            peak_flops: peak::measure(device)?,
            config,
            trainer,
            state,
            grad_norm: f64::NAN,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Trains to the end, or until Ctrl-C, and writes into `folder`, which is there.
    ///
    /// # Errors
    /// [`Failure::Interrupted`] on Ctrl-C, after a checkpoint; a file that cannot be written, a device that fails, or too many
    /// steps that are not finite.
    pub fn train(mut self, folder: &Path) -> Result<()> {
        let mut logs = Logs::open(folder, &self.config, self.state.step)?;
        let total = self.config.train.steps;
        tracing::info!(
            "training {} parameters for {total} steps of {} images, {:.0} MiB, into {}",
            self.config.model.n_params(),
            self.trainer.config().images_per_step(),
            self.trainer.bytes() as f64 / (1 << 20) as f64,
            folder.display()
        );
        let go_on = format!("go on with: sit train --resume {}", folder.display());
        let outcome = self.steps(folder, &mut logs);
        match &outcome {
            Ok(()) => tracing::info!(
                "done: {total} steps, {} skipped; sample with: sit sample {}",
                self.state.skipped,
                folder.display()
            ),
            Err(Failure::Interrupted) => {
                tracing::info!("stopped at step {}; {go_on}", self.state.step);
            }
            Err(_) => {}
        }
        outcome.map_err(|failure| failure.hint(go_on))
    }

    fn steps(&mut self, folder: &Path, logs: &mut Logs) -> Result<()> {
        let total = self.config.train.steps;
        let mut bar = Progress::new("training", "steps", self.state.step, total);
        let mut since = (Instant::now(), self.state.step);
        let mut saved = self.state.step;
        while self.state.step < total {
            if progress::interrupted() {
                if self.state.step != saved {
                    self.save(folder)?;
                }
                return Err(Failure::Interrupted);
            }
            let loss = self.step()?;
            let step = self.state.step;
            let every = |n: u64| n > 0 && step.is_multiple_of(n) || step == total;
            bar.set(step, || format!("loss {loss:.4}"));
            if every(self.config.log.every_steps) {
                let steps = (step - since.1) as f64;
                self.log(logs, steps / since.0.elapsed().as_secs_f64())?;
                since = (Instant::now(), step);
            }
            // Previews and checkpoints are not training.
            let before = Instant::now();
            if every(self.config.log.preview.every_steps) {
                self.preview(folder, logs)?;
            }
            let too_many = self.state.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW;
            if every(self.config.log.checkpoint_every_steps) || too_many {
                self.save(folder)?;
                saved = step;
            }
            since.0 += before.elapsed();
            if too_many {
                return Err(Failure::Run(format!(
                    "{MAX_SKIPPED_IN_A_ROW} steps in a row had a loss or gradient that is not finite; \
                     try a lower train.learning_rate, or train.clip = 1.0, from an earlier checkpoint"
                )));
            }
        }
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
            block_on(self.trainer.accumulate(micro, batch))?;
            self.state.n_samples += self.config.train.batch as u64;
        }
        let lr = self.config.learning_rate().at(self.state.step);
        let report = block_on(self.trainer.update(lr))?.clone();
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
        } else {
            self.state.skipped_in_a_row = 0;
            self.state.window.add(report.loss, &report.by_image);
        }
        Ok(report.loss)
    }

    fn log(&mut self, logs: &mut Logs, steps_per_sec: f64) -> Result<()> {
        let window = std::mem::take(&mut self.state.window);
        let step = self.state.step;
        let every = self.config.log.validation.every_steps;
        let is_due = every > 0 && step.is_multiple_of(every) || step == self.config.train.steps;
        let validation = self.validation.as_mut().filter(|_| is_due);
        let config = self.trainer.config();
        let macs_per_step = self.trainer.macs() as f64 * config.accumulate as f64;
        let flops = 2.0 * macs_per_step * steps_per_sec;
        let line = MetricsLine {
            step,
            loss: window.mean(),
            validation_loss: validation.map(Validation::loss).transpose()?,
            grad_norm: self.grad_norm,
            lr: self.config.learning_rate().at(step - 1),
            steps_per_sec,
            images_per_sec: steps_per_sec * config.images_per_step() as f64,
            gflops_per_sec: flops / 1e9,
            mfu: flops / self.peak_flops,
            skipped: self.state.skipped,
            loss_by_t: window.mean_by_t(),
        };
        Ok(logs.write(&line)?)
    }

    fn preview(&mut self, folder: &Path, logs: &mut Logs) -> Result<()> {
        let Some(previews) = &mut self.previews else {
            return Ok(());
        };
        let image = previews.sample(folder, self.state.step)?;
        Ok(logs.image(self.state.step, "preview", &image)?)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        run::save(folder, &self.state, self.trainer.arenas())?;
        let log = &self.config.log;
        run::prune(folder, log.keep_last, log.keep_every_steps)
    }
}
