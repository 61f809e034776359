//! The settings of a training run.

use super::{Trainer, Weights};
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::graph::Arena;
use crate::model::{Blueprint, IN_PAGE, Network, Output};
use crate::objective::{Autoencode, Classify, Discrete, Matching, Objective};
use crate::optim::{AdamW, Average, MAX_AVERAGES};
use crate::transport::Transport;
use std::sync::Arc;

/// Maximum images per batch, and maximum batches per step.
const MAX_BATCH: usize = 1 << 20;

/// The settings of a training run. Defaults: SiT's objective and AdamW, 64 images per step, 10 % of labels dropped, seed 0.
#[derive(Debug, Clone)]
#[must_use]
pub struct Training {
    pub(super) network: Arc<dyn Network>,
    pub(super) transport: Transport,
    objective: Option<Arc<dyn Objective>>,
    pub(super) adamw: AdamW,
    pub(super) averages: Vec<Average>,
    pub(super) batch: usize,
    pub(super) accumulate: usize,
    pub(super) recompute: usize,
    class_dropout: f64,
    pub(super) seed: u64,
}

impl Training {
    pub(super) fn new(network: impl Network + 'static) -> Self {
        Training {
            network: Arc::new(network),
            transport: Transport::default(),
            objective: None,
            adamw: AdamW::default(),
            averages: Vec::new(),
            batch: 64,
            accumulate: 1,
            recompute: 0,
            class_dropout: 0.1,
            seed: 0,
        }
    }

    /// The network's prediction, the path and the weight of the loss.
    pub fn transport(self, transport: Transport) -> Self {
        Training { transport, ..self }
    }

    /// Another objective than [`Matching`], [`Discrete`] on the DDPM path, or [`Classify`] for a classifier and [`Autoencode`] for an
    /// autoencoder. It draws the labels itself, so [`Self::class_dropout`] does not apply; the
    /// transport still says how the model is sampled.
    pub fn objective(self, objective: impl Objective + 'static) -> Self {
        Training {
            objective: Some(Arc::new(objective)),
            ..self
        }
    }

    /// The optimizer and the moving average.
    pub fn adamw(self, adamw: AdamW) -> Self {
        Training { adamw, ..self }
    }

    /// Averages of the weights beside that of [`AdamW::ema_decay`], at most 8; each takes as much memory as the weights.
    pub fn averages(self, averages: impl Into<Vec<Average>>) -> Self {
        Training {
            averages: averages.into(),
            ..self
        }
    }

    /// Images per forward and backward pass.
    pub fn batch(self, batch: usize) -> Self {
        Training { batch, ..self }
    }

    /// Forward and backward passes whose gradients are averaged into one update.
    pub fn accumulate(self, accumulate: usize) -> Self {
        Training { accumulate, ..self }
    }

    /// The first so many blocks of the network keep only their output for the backward pass, which computes their inside again (Chen et
    /// al., arXiv 1604.06174): less memory for at most one more forward pass, and the same bits. 0 is none, and a number beyond the
    /// blocks is all of them.
    pub fn recompute(self, recompute: usize) -> Self {
        Training { recompute, ..self }
    }

    /// Probability that a label is replaced by the null class.
    pub fn class_dropout(self, class_dropout: f64) -> Self {
        Training {
            class_dropout,
            ..self
        }
    }

    /// Seed of noise, times, label dropout and initial weights.
    pub fn seed(self, seed: u64) -> Self {
        Training { seed, ..self }
    }

    /// Creates the programs and arenas; parameters and moving average start from the seed's initial values.
    ///
    /// # Errors
    /// [`Error::Setting`] for an invalid setting; [`Error::Limit`] and [`Error::Device`] when it does not fit on the device.
    pub fn build(self, device: &Device) -> Result<Trainer> {
        Trainer::new(self, device)
    }

    /// The objective.
    pub(super) fn chosen_objective(&self) -> Arc<dyn Objective> {
        match &self.objective {
            Some(objective) => Arc::clone(objective),
            None if self.network.output() == Output::Logits && !IN_PAGE => {
                Arc::new(Classify::new(self.transport.clone()))
            }
            None if self.network.output() == Output::Reconstruction && !IN_PAGE => {
                Arc::new(Autoencode::default())
            }
            None if self.transport.path.ddpm().is_some() => {
                Arc::new(Discrete::new(self.transport.clone(), self.class_dropout))
            }
            None => Arc::new(Matching {
                transport: self.transport.clone(),
                class_dropout: self.class_dropout,
            }),
        }
    }

    pub(super) fn arenas(&self) -> Vec<Arena> {
        let accum = (self.accumulate > 1).then_some(Arena::Accum);
        let always = [
            Arena::Params,
            Arena::Grads,
            Arena::MomentM,
            Arena::MomentV,
            Arena::Ema,
        ];
        let averages = (0..self.averages.len()).map(|k| Arena::Average(k as u8));
        always.into_iter().chain(accum).chain(averages).collect()
    }
}

#[doc(hidden)]
impl Training {
    /// Checks everything that needs no device.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key, its value and what was expected.
    pub fn validate(&self) -> Result<()> {
        self.network.validate(1)?;
        self.chosen_objective().validate(&self.network.io())?;
        self.adamw.validate()?;
        self.averages.iter().try_for_each(Average::validate)?;
        if self.averages.len() > MAX_AVERAGES {
            return Err(Error::setting(
                "averages",
                format!(
                    "got {}, expected at most {MAX_AVERAGES}",
                    self.averages.len()
                ),
            ));
        }
        for (key, n) in [("batch", self.batch), ("accumulate", self.accumulate)] {
            if !(1..=MAX_BATCH).contains(&n) {
                return Err(Error::setting(
                    key,
                    format!("got {n}, expected 1 to {MAX_BATCH}"),
                ));
            }
        }
        self.network.validate(self.batch)
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &AdamW {
        &self.adamw
    }

    /// All weights that training keeps.
    pub fn weights(&self) -> impl Iterator<Item = Weights> + use<> {
        let others = 0..self.averages.len() as u8;
        let first = [Weights::Trained, Weights::Average];
        first.into_iter().chain(others.map(Weights::Another))
    }

    /// The averages beside that of the optimizer.
    pub fn other_averages(&self) -> &[Average] {
        &self.averages
    }

    /// Images per batch.
    pub fn batch_size(&self) -> usize {
        self.batch
    }

    /// Batches per step.
    pub fn batches_per_step(&self) -> usize {
        self.accumulate
    }

    /// Images per step.
    pub fn images_per_step(&self) -> usize {
        self.batch * self.accumulate
    }

    /// The part of the model that needs no device.
    ///
    /// # Errors
    /// Those of [`Blueprint::new`].
    pub fn blueprint(&self, max_segment_bytes: u64) -> Result<Blueprint> {
        let network = Arc::clone(&self.network);
        Blueprint::new(network, self.transport.clone(), max_segment_bytes)
    }
}
