//! Noise, times and label dropout of a batch's samples, each a function of the seed and the sample's number.

use super::{Batch, TrainConfig};
use crate::backend::Program;
use crate::error::{Error, Result};
use crate::num::par::{for_rows, grain, rows_mut};
use crate::rng::{Stream, fill_normal, uniform};
use crate::transport::Objective;

/// `step` of the generator's counter in training.
pub const TRAINING: u32 = 0;
/// `step` of the generator's counter in validation: other numbers than any that are trained on.
pub const VALIDATION: u32 = 1;

/// Host buffers of a batch, kept from step to step.
#[derive(Debug)]
pub struct Draws {
    x0: Vec<f32>,
    t: Vec<f32>,
    /// Empty for an unconditional model.
    y: Vec<u32>,
    xt_coef: Vec<f32>,
    loss_coef: Vec<f32>,
}

impl Draws {
    /// Buffers for a batch of `config`.
    pub fn new(config: &TrainConfig) -> Self {
        let b = config.batch;
        let labels = config.model.null_class().map_or(0, |_| b);
        Draws {
            x0: vec![0.0; b * config.model.image_len()],
            t: vec![0.0; b],
            y: vec![0; labels],
            xt_coef: vec![0.0; 4 * b],
            loss_coef: vec![0.0; 4 * b],
        }
    }

    /// Draws what belongs to the samples `batch.first` to `batch.first + B - 1`. Validation drops no labels.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is not one label an image, [`Error::Config`] for a label beyond the classes.
    pub fn draw(
        &mut self,
        config: &TrainConfig,
        objective: &Objective,
        step: u32,
        batch: Batch<'_>,
    ) -> Result<()> {
        let (model, seed) = (&config.model, config.seed);
        let (first, len) = (batch.first, model.image_len());
        for_rows(rows_mut(&mut self.x0, len), grain(32 * len), |row, x0| {
            let index = (first + row as u64) * len as u64;
            fill_normal(seed, Stream::Noise, step, index, x0);
        });
        for b in 0..config.batch {
            // The network sees the f32 time, so the coefficients are of that one too.
            let u = uniform(seed, Stream::Time, step, first + b as u64);
            let t = objective.sample_t(u) as f32;
            self.t[b] = t;
            let at = objective.interpolant(f64::from(t));
            let loss = objective.loss(f64::from(t));
            self.xt_coef[4 * b..][..4].copy_from_slice(&[at.x0, at.x1, 0.0, 0.0].map(|c| c as f32));
            self.loss_coef[4 * b..][..4]
                .copy_from_slice(&[loss.weight, loss.out, loss.x0, loss.x1].map(|c| c as f32));
        }
        let Some(null) = model.null_class() else {
            return Ok(());
        };
        if batch.y.len() != config.batch {
            let (got, want) = (batch.y.len(), config.batch);
            return Err(Error::Shape(format!("y got {got} labels, expected {want}")));
        }
        if let Some(label) = batch.y.iter().find(|&&label| label > null) {
            return Err(Error::Config(format!(
                "label {label}: expected a class below {null}, or {null} for none"
            )));
        }
        for (b, (y, &label)) in self.y.iter_mut().zip(batch.y).enumerate() {
            let dropped = step == TRAINING
                && uniform(seed, Stream::LabelDrop, step, first + b as u64) < config.class_dropout;
            *y = if dropped { null } else { label };
        }
        Ok(())
    }

    /// Writes what was drawn into the inputs of a program with [`TrainConfig::loss`] in it.
    pub fn write(&self, program: &mut Program) -> Result<()> {
        if !self.y.is_empty() {
            program.write_u32("y", &self.y)?;
        }
        program.write("x0", &self.x0)?;
        program.write("t", &self.t)?;
        program.write("xt_coef", &self.xt_coef)?;
        program.write("loss_coef", &self.loss_coef)
    }

    /// Time and loss of each image.
    pub fn by_image(&self, losses: &[f32]) -> impl Iterator<Item = (f64, f64)> {
        let times = self.t.iter().zip(losses);
        times.map(|(&t, &loss)| (f64::from(t), f64::from(loss)))
    }
}
