//! Training: one program for the loss and its gradient and one for the update, over shared arenas; and the loss on held-out images.
//!
//! # Theory
//! A step draws noise, times and dropped labels for a batch ([`crate::objective`]), computes the mean loss and its gradient, and
//! updates the weights with AdamW ([`crate::optim`]). The host checks the loss before the update: a step with a non-finite loss or
//! gradient changes nothing. All randomness is a function of the seed and the number of the image since the run began, so a run
//! that is interrupted and resumed gives the same bits.
//!
//! # Practice
//! [`Training`] has the settings, reports the memory use before anything is allocated, and creates a [`Trainer`]:
//!
//! ```
//! use sit_engine::backend::Device;
//! use sit_engine::model::Dit;
//! use sit_engine::train::{Trainer, Weights};
//! use sit_engine::transport::{Method, Sampler};
//!
//! # fn main() -> sit_engine::Result<()> {
//! # let network = Dit { dim: 32, depth: 1, n_heads: 2, input_size: 8, ..Dit::preset("SiT-S/4").unwrap() };
//! let mut trainer = Trainer::builder(network).batch(2).seed(0).build(&Device::Cpu)?;
//! let (images, labels) = (vec![0.5; 2 * trainer.io().image_len()], [3, 8]);
//! let report = trainer.step(&images, &labels, 1e-3)?;
//! assert!(report.loss.is_finite());
//! let samples = trainer.model(Weights::Average).sampler(Sampler::ode(Method::Heun, 2)).sample(&labels)?;
//! # Ok(())
//! # }
//! ```

mod plans;
mod settings;
mod validation;

pub use plans::Plans;
pub use settings::Training;
pub use validation::Validation;

use crate::backend::profile::{Clock, Profile};
use crate::backend::{Arenas, Device, Program};
use crate::checkpoint::{self, Reader, Recipe};
use crate::error::{Error, Result};
use crate::graph::Arena;
use crate::model::{Blueprint, Model, Network};
use crate::objective::{Batch, Objective, Ports, SampleKey, TIMES, WEIGHTS};
use crate::optim;
use std::io::{Read, Seek, Write};
use std::ops::Deref;
use std::sync::Arc;

/// The weights to sample from or to save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weights {
    /// The moving average of the weights, which gives better samples.
    #[default]
    Average,
    /// The weights as they are trained.
    Trained,
    /// The average of this number in [`Training::averages`].
    Another(u8),
}

impl Weights {
    fn arena(self) -> Arena {
        match self {
            Weights::Average => Arena::Ema,
            Weights::Trained => Arena::Params,
            Weights::Another(number) => Arena::Average(number),
        }
    }
}

/// Result of a step.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Mean loss over all images of the step.
    pub loss: f64,
    /// Norm of the gradient before clipping; NaN for a step that was skipped.
    pub grad_norm: f64,
    /// Whether the loss or the gradient was not finite, so that nothing was changed.
    pub skipped: bool,
    /// Time and loss of every image, without a factor that makes up for times that are not drawn alike; the time is NaN where the
    /// objective draws none.
    pub by_image: Vec<(f64, f64)>,
    /// The parts of the loss that the objective names, as means over all images of the step.
    pub parts: Vec<(&'static str, f64)>,
}

/// A model in training on a device.
#[derive(Debug)]
pub struct Trainer {
    training: Training,
    objective: Arc<dyn Objective>,
    blueprint: Blueprint,
    device: Device,
    arenas: Arenas,
    grad: Program,
    update: Program,
    ports: Ports,
    n_updates: u64,
    n_images: u64,
    /// Batches accumulated in the current step.
    n_batches: usize,
    /// Sum of the losses of the current step, with their factors.
    loss: f64,
    report: Report,
}

impl Deref for Trainer {
    type Target = Blueprint;

    fn deref(&self) -> &Blueprint {
        &self.blueprint
    }
}

impl Trainer {
    /// The settings of training `network`, with SiT's defaults.
    pub fn builder(network: impl Network + 'static) -> Training {
        Training::new(network)
    }

    pub(crate) fn new(training: Training, device: &Device) -> Result<Self> {
        training.validate()?;
        let blueprint = training.blueprint(device.max_segment_bytes())?;
        let (plans, ports) = plans::plans(&training, &blueprint)?;
        let arenas = device.arenas(blueprint.layout(), &training.arenas())?;
        let objective = training.chosen_objective();
        let grad = device.program(plans.grad, &with_teacher(&arenas, &*objective)?)?;
        let update = device.program(plans.update, &[&arenas])?;
        for (spec, values) in blueprint.initial(training.seed) {
            for weights in training.weights() {
                arenas.write(weights.arena(), &spec.name, &values)?;
            }
        }
        Ok(Trainer {
            objective,
            training,
            blueprint,
            device: device.clone(),
            arenas,
            grad,
            update,
            ports,
            n_updates: 0,
            n_images: 0,
            n_batches: 0,
            loss: 0.0,
            report: Report::default(),
        })
    }

    /// The model in training, to sample from or to save; it changes with every step.
    pub fn model(&self, weights: Weights) -> Model {
        let (blueprint, arenas) = (self.blueprint.clone(), self.arenas.clone());
        Model::over(blueprint, &self.device, arenas, weights.arena())
    }

    /// Updates done so far: steps that were not skipped.
    pub fn n_updates(&self) -> u64 {
        self.n_updates
    }

    /// Images trained on so far, which is also the number of the next one.
    pub fn n_images(&self) -> u64 {
        self.n_images
    }

    /// Continues from a state with this many updates and images; the caller loads weights and moments.
    pub fn resume_at(&mut self, n_updates: u64, n_images: u64) {
        (self.n_updates, self.n_images) = (n_updates, n_images);
    }

    /// Writes the moments of AdamW as a safetensors file; with all [`Weights`], this is all that is needed to resume.
    ///
    /// # Errors
    /// As [`Model::save`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn save_moments<'a>(
        &self,
        out: &mut impl Write,
        recipe: impl Into<Option<&'a Recipe>>,
    ) -> Result<()> {
        pollster::block_on(self.save_moments_async(out, recipe))
    }

    /// Loads the moments of AdamW that [`Trainer::save_moments`] wrote.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn load_moments<R: Read + Seek>(&self, file: &mut Reader<R>) -> Result<()> {
        file.load_moments(&self.blueprint, &self.arenas)
    }

    /// What the objective has learned from losses ([`Objective::state`]); it belongs to the state of a run.
    pub fn objective_state(&self) -> Vec<f32> {
        self.objective.state()
    }

    /// Goes on from what [`Trainer::objective_state`] returned.
    ///
    /// # Errors
    /// [`Error::Shape`] for a state of another objective.
    pub fn restore_objective(&self, state: &[f32]) -> Result<()> {
        self.objective.restore(state)
    }

    /// One step at learning rate `lr` on `batch` images x1 `[B, C, H, W]` in [-1, 1], which is not checked, with labels y `[B]`. With
    /// [`Training::accumulate`], x1 and y hold that many batches, one after the other.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong batch size, [`Error::Setting`] for the learning rate, [`Error::Config`] for a label beyond the
    /// classes, [`Error::Device`] when the device fails. A step that failed is as if it had not begun.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn step(&mut self, x1: &[f32], y: &[u32], lr: f64) -> Result<&Report> {
        pollster::block_on(self.step_async(x1, y, lr))
    }

    /// Adds the loss and gradient of a batch to the step. Call [`Trainer::update`] after [`Training::accumulate`] batches.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong batch size, [`Error::Config`] for a label beyond the classes, or when the step already has all
    /// its batches, [`Error::Device`] when the device fails. A batch that failed is not added.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn accumulate(&mut self, batch: Batch<'_>) -> Result<()> {
        pollster::block_on(self.accumulate_async(batch))
    }

    /// Updates the parameters at learning rate `lr`, unless a loss or the gradient is not finite.
    ///
    /// # Errors
    /// [`Error::Config`] when batches of the step are missing, [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn update(&mut self, lr: f64) -> Result<&Report> {
        pollster::block_on(self.update_async(lr))
    }
}

#[doc(hidden)]
impl Trainer {
    /// Async variant of [`Self::save_moments`], for browsers.
    pub async fn save_moments_async<'a>(
        &self,
        out: &mut impl Write,
        recipe: impl Into<Option<&'a Recipe>>,
    ) -> Result<()> {
        checkpoint::write_moments(out, recipe.into(), &self.blueprint, &self.arenas).await
    }

    /// Async variant of [`Self::step`], for browsers.
    pub async fn step_async(&mut self, x1: &[f32], y: &[u32], lr: f64) -> Result<&Report> {
        check_rate(lr)?;
        if self.n_batches > 0 {
            return Err(Error::Config(
                "a step is under way, begun by accumulate: expected its other batches and update"
                    .into(),
            ));
        }
        let (batch, len) = (self.training.batch, self.io().image_len());
        let n = self.training.images_per_step();
        if x1.len() != n * len {
            return Err(Error::Shape(format!(
                "x1 got {} values, expected {n} images of {len}",
                x1.len()
            )));
        }
        if self.io().null_class().is_some() && y.len() != n {
            let got = y.len();
            return Err(Error::Shape(format!("y got {got} labels, expected {n}")));
        }
        let start = self.n_images;
        for (i, x1) in x1.chunks_exact(batch * len).enumerate() {
            // An unconditional model does not read the labels, so there may be fewer.
            let y = y.get(i * batch..(i + 1) * batch).unwrap_or(y);
            let batch = Batch::new(x1, y, self.n_images);
            if let Err(e) = self.accumulate_async(batch).await {
                self.abandon_step();
                self.n_images = start;
                return Err(e);
            }
        }
        self.update_async(lr).await
    }

    /// Async variant of [`Self::accumulate`], for browsers.
    pub async fn accumulate_async(&mut self, batch: Batch<'_>) -> Result<()> {
        let accumulate = self.training.accumulate;
        if self.n_batches == accumulate {
            return Err(Error::Config(format!(
                "the step has its {accumulate} batches: update comes next"
            )));
        }
        let key = SampleKey {
            seed: self.training.seed,
            number: batch.first,
            is_validation: false,
        };
        self.objective.draw(key, &batch, &mut self.ports)?;
        self.ports.write(&mut self.grad)?;
        if accumulate > 1 {
            let keep = if self.n_batches == 0 { 0.0 } else { 1.0 };
            self.grad.write(plans::KEEP, &[keep])?;
        }
        if self.n_batches == 0 {
            self.report.by_image.clear();
            self.loss = 0.0;
            let parts = self.ports.parts().iter();
            self.report.parts = parts.map(|&(name, _)| (name, 0.0)).collect();
        }
        self.grad.run()?;
        let losses = self.grad.read(plans::LOSS).await?;
        self.loss = losses
            .iter()
            .fold(self.loss, |sum, &loss| sum + f64::from(loss));
        self.report.by_image.extend(by_image(&self.ports, &losses));
        let images = self.training.images_per_step() as f64;
        for (name, mean) in &mut self.report.parts {
            let values = self.grad.read(name).await?;
            *mean += values.iter().map(|&value| f64::from(value)).sum::<f64>() / images;
        }
        self.n_batches += 1;
        self.n_images = batch.first + self.training.batch as u64;
        Ok(())
    }

    /// Async variant of [`Self::update`], for browsers.
    pub async fn update_async(&mut self, lr: f64) -> Result<&Report> {
        check_rate(lr)?;
        let (n, expected) = (self.n_batches, self.training.accumulate);
        if n != expected {
            return Err(Error::Config(format!(
                "the step has {n} batches, expected {expected} before the update"
            )));
        }
        self.n_batches = 0;
        let n = self.report.by_image.len().max(1) as f64;
        self.report.loss = self.loss / n;
        self.report.grad_norm = f64::NAN;
        self.report.skipped = !self.report.loss.is_finite();
        if !self.report.skipped {
            let hyper = self.training.adamw.hyper(lr, self.n_updates + 1);
            self.update.write(optim::HYPER, &hyper)?;
            let averages = &self.training.averages;
            if !averages.is_empty() {
                let mut rates = [0.0; optim::MAX_AVERAGES];
                for (rate, average) in rates.iter_mut().zip(averages) {
                    *rate = average.rate_after(self.n_updates) as f32;
                }
                self.update.write(optim::RATES, &rates[..averages.len()])?;
            }
            self.update.run()?;
            let stats = self.update.read(optim::STATS).await?;
            self.report.skipped = stats[1] != 0.0;
            if !self.report.skipped {
                self.report.grad_norm = f64::from(stats[0]);
                self.objective.learn(&self.report.by_image);
            }
        }
        self.n_updates += u64::from(!self.report.skipped);
        Ok(&self.report)
    }

    /// The settings.
    pub fn training(&self) -> &Training {
        &self.training
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Weights, gradients, moments and moving average, for programs of your own.
    pub fn arenas(&self) -> &Arenas {
        &self.arenas
    }

    /// Bytes allocated on the device.
    pub fn bytes(&self) -> u64 {
        self.arenas.bytes() + self.grad.bytes() + self.update.bytes()
    }

    /// Multiply-accumulates of the forward and backward of one batch.
    pub fn macs(&self) -> u64 {
        self.grad.plan().macs()
    }

    /// Repeats the gradient of the last batch and the update of the last step, measuring each kernel ([`Program::profile`]). The
    /// weights change as in another update; the counts do not.
    ///
    /// # Errors
    /// [`Error::Device`] when the device fails.
    pub async fn profile(&mut self, clock: &mut Clock<'_>) -> Result<[Profile; 2]> {
        let grad = self.grad.profile(clock).await?;
        Ok([grad, self.update.profile(clock).await?])
    }

    /// Discards the batches of an unfinished step; the next batch starts a new step.
    pub fn abandon_step(&mut self) {
        self.n_batches = 0;
    }
}

/// The arenas of a training program: those of the network in training, and those of the teacher.
fn with_teacher<'a>(arenas: &'a Arenas, objective: &'a dyn Objective) -> Result<Vec<&'a Arenas>> {
    let mut sets = vec![arenas];
    if let Some(teacher) = objective.teacher() {
        let model = teacher.model().ok_or_else(|| {
            Error::setting("teacher", "got a network without weights, expected a model")
        })?;
        sets.push(model.arenas());
    }
    Ok(sets)
}

fn check_rate(lr: f64) -> Result<()> {
    match lr.is_finite() && lr >= 0.0 {
        true => Ok(()),
        false => Err(Error::setting(
            "learning_rate",
            format!("got {lr}, expected a number of at least 0"),
        )),
    }
}

/// Time and loss of each image of a batch.
fn by_image(ports: &Ports, losses: &[f32]) -> Vec<(f64, f64)> {
    let of = |port| ports.get(port).unwrap_or(&[]);
    let (times, weights) = (of(TIMES), of(WEIGHTS));
    let time = |b: usize| times.get(b).map_or(f64::NAN, |&t| f64::from(t));
    let weight = |b: usize| weights.get(b).map_or(1.0, |&w| f64::from(w));
    let losses = losses.iter().enumerate();
    losses
        .map(|(b, &loss)| (time(b), f64::from(loss) / weight(b)))
        .collect()
}

#[cfg(test)]
mod tests;
