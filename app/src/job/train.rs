//! Training a small network, a batch at a time.

use crate::state::{Learned, Model, Source, TrainingAction};
use sit_engine::backend::Device;
use sit_engine::checkpoint::{Precision, Recipe};
use sit_engine::error::{Error, Result};
use sit_engine::model::{Blueprint, Dit, Network as _};
use sit_engine::objective::Batch;
use sit_engine::optim::{AdamW, LearningRate};
use sit_engine::sample::{Sampling, Session};
use sit_engine::train::{self, Trainer, Weights};
use sit_engine::transport::{Method, Sampler, Transport};
use sit_trainer::data::{BatchConfig, Batches, Dataset};
use std::sync::Arc;
use web_time::Instant;

/// What to train.
#[derive(Clone)]
pub struct TrainPlan {
    /// Names what the network learns.
    pub name: String,
    /// The data.
    pub dataset: Arc<dyn Dataset>,
    /// The network.
    pub model: Dit,
    /// What it learns.
    pub transport: Transport,
    /// The optimizer.
    pub adamw: AdamW,
    /// Images of a step.
    pub batch: usize,
    /// Probability that a label is replaced by the null class.
    pub class_dropout: f64,
    /// Seed of weights, noise and order.
    pub seed: u64,
    /// The learning rate; it also states the number of steps.
    pub learning_rate: LearningRate,
    /// Whether every other image is mirrored.
    pub flip: bool,
}

/// Preview samples contain this many tokens in total, in at most [`PREVIEW_SAMPLES`] samples.
const PREVIEW_TOKENS: usize = 4096;

/// The most samples of a preview.
const PREVIEW_SAMPLES: usize = 64;

/// Images that are looked at for one of a class.
const SEARCHED: usize = 2000;

/// Steps of the ODE that makes them.
const PREVIEW_STEPS: u32 = 20;

/// Steps between two previews.
const PREVIEW_EVERY: u64 = 25;

/// Tokens at a time, so that a piece of work stays short; shorter still if the window shares this thread.
const PIECE_TOKENS: usize = if cfg!(target_arch = "wasm32") {
    256
} else {
    4096
};

impl TrainPlan {
    /// Splits each step into short pieces of the same images; the result is equal within rounding.
    fn in_pieces(&self) -> train::Training {
        let most = (PIECE_TOKENS / self.model.tokens()).max(1);
        let least = self.batch.div_ceil(most);
        let pieces = (least..self.batch).find(|n| self.batch.is_multiple_of(*n));
        let pieces = pieces.unwrap_or(self.batch);
        Trainer::builder(self.model)
            .transport(self.transport.clone())
            .adamw(self.adamw)
            .batch(self.batch / pieces)
            .accumulate(pieces)
            .class_dropout(self.class_dropout)
            .seed(self.seed)
    }

    fn preview<M: AsRef<Blueprint>>(&self, model: M) -> Sampling<M> {
        let batch = (PREVIEW_TOKENS / self.model.tokens()).clamp(1, PREVIEW_SAMPLES);
        Sampling::new(model, Sampler::ode(Method::Euler, PREVIEW_STEPS)).batch(batch)
    }

    /// Bytes that training and its samples take on the device.
    ///
    /// # Errors
    /// Settings that are refused.
    pub fn forecast(&self) -> Result<u64> {
        let training = self.in_pieces();
        let blueprint = training.blueprint(u64::MAX)?;
        let training = training.forecast(u64::MAX)?;
        // The weights are shared.
        let preview = self.preview(blueprint).forecast()?;
        let samples = preview.iter().filter(|(what, _)| *what != "parameters");
        Ok(training.iter().chain(samples).map(|(_, bytes)| bytes).sum())
    }
}

/// A network in training.
pub struct Training {
    plan: TrainPlan,
    trainer: Trainer,
    batches: Batches,
    preview: Session,
    /// Numbers and labels of the preview.
    numbers: Vec<u64>,
    labels: Vec<u32>,
    /// Remaining steps of the preview in progress.
    preview_left: usize,
    step: u64,
    /// Batches done of the step in progress.
    micro: usize,
    begin: Option<Instant>,
    /// Whether it goes on.
    pub running: bool,
}

impl Training {
    /// Makes the network and the programs.
    ///
    /// # Errors
    /// Settings that are refused, or a device that cannot hold it.
    pub fn new(device: &Device, plan: TrainPlan) -> Result<Self> {
        let trainer = plan.in_pieces().build(device)?;
        let batches = BatchConfig {
            seed: plan.seed,
            batch: trainer.training().batch_size(),
            flip: plan.flip,
        };
        let preview = plan.preview(trainer.model(Weights::Average)).session()?;
        let n_classes = plan.model.n_classes.max(1);
        let numbers = 0..preview.batch();
        Ok(Training {
            batches: Batches::new(Arc::clone(&plan.dataset), batches),
            labels: numbers.clone().map(|i| (i % n_classes) as u32).collect(),
            numbers: numbers.map(|i| i as u64).collect(),
            preview,
            preview_left: 0,
            trainer,
            plan,
            step: 0,
            micro: 0,
            begin: None,
            running: true,
        })
    }

    /// Data of the same classes as the previews, `[N, C, I, I]`; what cannot be read is left out.
    pub fn examples(&self) -> Arc<[f32]> {
        let data = &self.plan.dataset;
        let (len, mut next) = (data.shape().iter().product(), 0);
        let (mut all, mut one) = (Vec::new(), vec![0.0; len]);
        for label in &self.labels {
            let found = (next..data.len().min(next + SEARCHED)).find(|i| data.label(*i) == *label);
            let Some(index) = found else {
                continue;
            };
            next = index + 1;
            if data.read(index, &mut one).is_ok() {
                all.extend_from_slice(&one);
            }
        }
        all.into()
    }

    /// Whether there is something to do.
    pub fn is_busy(&self) -> bool {
        self.preview_left > 0 || self.running && self.step < self.plan.learning_rate.total_steps
    }

    /// One piece: a forward and backward, an update, or a step of the preview.
    ///
    /// # Errors
    /// Data that cannot be read any more, or a device that fails.
    pub async fn work(&mut self) -> Result<Option<TrainingAction>> {
        if self.preview_left > 0 {
            return self.preview().await;
        }
        self.begin.get_or_insert_with(Instant::now);
        if self.micro < self.trainer.training().batches_per_step() {
            let batch = self
                .batches
                .at(self.trainer.n_images())
                .map_err(|e| Error::Config(e.to_string()))?;
            let of_step = Batch::new(&batch.x1, &batch.y, batch.first);
            self.trainer.accumulate_async(of_step).await?;
            self.micro += 1;
            return Ok(None);
        }
        self.micro = 0;
        let lr = self.plan.learning_rate.at(self.step);
        let report = self.trainer.update_async(lr).await?;
        self.step += 1;
        let begin = self.begin.take().expect("set before the first batch");
        let learned = Learned {
            step: self.step,
            loss: report.loss,
            by_image: report.by_image.clone(),
            skipped: report.skipped,
            ms: begin.elapsed().as_secs_f64() * 1e3,
        };
        let last = self.step == self.plan.learning_rate.total_steps;
        if self.step == 1 || self.step.is_multiple_of(PREVIEW_EVERY) || last {
            self.preview
                .start(self.plan.seed, &self.numbers, &self.labels)?;
            self.preview_left = PREVIEW_STEPS as usize;
        }
        Ok(Some(TrainingAction::Learned(Box::new(learned))))
    }

    async fn preview(&mut self) -> Result<Option<TrainingAction>> {
        self.preview.step_async().await?;
        // Wait for the result: a GPU that also draws the window would otherwise queue several pieces before a frame.
        let x = self.preview.read_async().await?.into();
        self.preview_left -= 1;
        if self.preview_left > 0 {
            return Ok(None);
        }
        let step = self.step;
        Ok(Some(TrainingAction::Previewed { step, x }))
    }

    /// The averaged weights as a file, and the network they make.
    ///
    /// # Errors
    /// A device that fails.
    pub async fn keep(&self) -> Result<(Model, Vec<u8>)> {
        let TrainPlan {
            model, transport, ..
        } = &self.plan;
        let (model, transport) = (*model, transport.clone());
        let recipe = Recipe {
            model: model.into(),
            transport: transport.clone(),
            data: None,
            classes: self.plan.dataset.class_names().to_vec(),
            class_dropout: (model.n_classes > 0).then_some(self.plan.class_dropout),
            average: None,
            latent_scale: None,
        };
        let mut bytes = Vec::new();
        let average = self.trainer.model(Weights::Average);
        average
            .save_async(&mut bytes, &recipe, Precision::F32)
            .await?;
        let model = Model {
            latents: None,
            of_images: true,
            source: Source::Trained(self.plan.name.clone()),
            io: model.io(),
            network: Some(model.into()),
            transport,
            classes: recipe.classes,
        };
        Ok((model, bytes))
    }
}
