//! The loss of images that are not trained on.

use super::draws::{Draws, VALIDATION};
use super::{Batch, TrainConfig, Trainer};
use crate::backend::{Device, Program};
use crate::error::Result;
use crate::graph::plan::Request;
use crate::graph::{Arena, Graph, Layout, Plan};
use crate::model;
use crate::transport::Objective;

/// The training loss (mean over images, weighted as in training) of a model in training at times and noise that are the
/// same every time, so that the change from one call to the next is the model's. No label is dropped.
///
/// Noise and time of image n are functions of (seed, n), and other ones than training draws.
#[derive(Debug)]
pub struct Validation {
    config: TrainConfig,
    objective: Objective,
    program: Program,
    draws: Draws,
}

impl Validation {
    /// Makes the program for the weights in `weights`: [`Arena::Ema`] or [`Arena::Params`].
    ///
    /// # Errors
    /// [`crate::Error::Limit`] and [`crate::Error::Device`] when the device cannot hold it.
    pub fn new(device: &Device, trainer: &Trainer, weights: Arena) -> Result<Self> {
        let config = *trainer.config();
        let plan = plan(&config, trainer.layout(), weights)?;
        let mut program = device.program(plan, trainer.arenas())?;
        model::write_tables(&config.model, &mut program)?;
        Ok(Validation {
            objective: config.transport.objective()?,
            draws: Draws::new(&config),
            program,
            config,
        })
    }

    /// The loss of each image of a batch, `[B]`, with its time. `batch.first` is the number of the first image.
    ///
    /// # Errors
    /// As [`Trainer::accumulate`].
    pub async fn losses(&mut self, batch: Batch<'_>) -> Result<Vec<(f64, f64)>> {
        self.draws
            .draw(&self.config, &self.objective, VALIDATION, batch)?;
        self.draws.write(&mut self.program)?;
        self.program.write("x1", batch.x1)?;
        self.program.run()?;
        let losses = self.program.read("loss").await?;
        Ok(self.draws.by_image(&losses).collect())
    }
}

fn plan(config: &TrainConfig, layout: &Layout, weights: Arena) -> Result<Plan> {
    let mut g = Graph::new();
    let (_, per_sample) = config.loss(&mut g, false)?;
    let request = Request {
        outputs: vec![("loss".into(), per_sample)],
        weights: Some(weights),
        grads: Vec::new(),
    };
    Plan::new(&g, &request, layout)
}

impl TrainConfig {
    /// Device memory of a [`Validation`] beside the training's, in bytes.
    ///
    /// # Errors
    /// As [`TrainConfig::plans`].
    pub fn validation_bytes(&self, layout: &Layout) -> Result<u64> {
        Ok(plan(self, layout, Arena::Ema)?.slot_bytes())
    }
}
