//! The loss on held-out images.

use super::{Trainer, Training, Weights, by_image, plans, with_teacher};
use crate::backend::Program;
use crate::error::Result;
use crate::model::Blueprint;
use crate::objective::{Batch, Objective, Ports, SampleKey};
use std::sync::Arc;

/// The training loss (mean over images, weighted as in training), measured at fixed times and with fixed noise, so that changes
/// between calls are due to the model. Labels are not dropped.
///
/// Noise and time of image n are functions of (seed, n), independent of those drawn in training.
#[derive(Debug)]
pub struct Validation {
    seed: u64,
    objective: Arc<dyn Objective>,
    program: Program,
    ports: Ports,
}

impl Validation {
    /// Creates the program for these weights.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] and [`crate::Error::Device`] when it does not fit on the device.
    pub fn new(trainer: &Trainer, weights: Weights) -> Result<Self> {
        let training = trainer.training();
        let (plan, ports) = plans::loss_plan(training, trainer, weights.arena())?;
        let objective = training.chosen_objective();
        let sets = with_teacher(trainer.arenas(), &*objective)?;
        Ok(Validation {
            program: trainer.device().program(plan, &sets)?,
            seed: training.seed,
            objective,
            ports,
        })
    }

    /// Time and loss of each image of a batch, `[B]`. `batch.first` is the number of the first image.
    ///
    /// # Errors
    /// As [`Trainer::accumulate`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn losses(&mut self, batch: Batch<'_>) -> Result<Vec<(f64, f64)>> {
        pollster::block_on(self.losses_async(batch))
    }
}

#[doc(hidden)]
impl Validation {
    /// Async variant of [`Self::losses`], for browsers.
    pub async fn losses_async(&mut self, batch: Batch<'_>) -> Result<Vec<(f64, f64)>> {
        let key = SampleKey {
            seed: self.seed,
            number: batch.first,
            is_validation: true,
        };
        self.objective.draw(key, &batch, &mut self.ports)?;
        self.ports.write(&mut self.program)?;
        self.program.run()?;
        let losses = self.program.read(plans::LOSS).await?;
        Ok(by_image(&self.ports, &losses))
    }
}

#[doc(hidden)]
impl Training {
    /// Device memory of a [`Validation`] in addition to the training's, in bytes.
    ///
    /// # Errors
    /// As [`Training::forecast`].
    pub fn validation_bytes(&self, blueprint: &Blueprint) -> Result<u64> {
        let (plan, _) = plans::loss_plan(self, blueprint, Weights::Average.arena())?;
        Ok(plan.slot_bytes())
    }
}
