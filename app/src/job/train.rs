//! Training a small network, a batch at a time.

use crate::state::{Learned, Model, Source, TrainingAction};
use sit_engine::backend::Device;
use sit_engine::checkpoint::{self, Precision, Recipe};
use sit_engine::error::{Error, Result};
use sit_engine::graph::Arena;
use sit_engine::optim::LearningRate;
use sit_engine::sample::{SampleConfig, Session, initial_noise};
use sit_engine::train::{Batch, TrainConfig, Trainer};
use sit_engine::transport::{Guidance, Method, Sampler};
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
    /// Network, transport, optimizer, batch and seed.
    pub config: TrainConfig,
    /// The learning rate; it also states the number of steps.
    pub learning_rate: LearningRate,
    /// Whether every other image is mirrored.
    pub flip: bool,
}

/// Samples that show how far it is: as many as make this many tokens, and at most [`PREVIEW_SAMPLES`].
const PREVIEW_TOKENS: usize = 4096;

/// Most samples that show how far it is.
const PREVIEW_SAMPLES: usize = 64;

/// Steps of the ODE that makes them.
const PREVIEW_STEPS: u32 = 20;

/// Steps between two previews.
const PREVIEW_EVERY: u64 = 25;

/// Tokens at a time, so that a piece of work stays short; where the window has only this thread, very short.
const PIECE_TOKENS: usize = if cfg!(target_arch = "wasm32") {
    256
} else {
    4096
};

impl TrainPlan {
    /// The same images in each step, in pieces that are short enough: equal within rounding.
    fn in_pieces(&self) -> TrainConfig {
        let most = (PIECE_TOKENS / self.config.model.tokens()).max(1);
        let pieces = self.config.batch.div_ceil(most);
        TrainConfig {
            batch: self.config.batch.div_ceil(pieces),
            accumulate: self.config.accumulate * pieces,
            ..self.config
        }
    }

    fn preview(&self) -> SampleConfig {
        let TrainConfig {
            model, transport, ..
        } = self.config;
        SampleConfig {
            model,
            transport,
            sampler: Sampler::Ode {
                method: Method::Euler,
                n_steps: PREVIEW_STEPS,
            },
            guidance: Guidance::default(),
            weights: Arena::Ema,
            batch: (PREVIEW_TOKENS / model.tokens()).clamp(1, PREVIEW_SAMPLES),
            keep_out: false,
        }
    }

    /// Bytes that training and its samples take on the device.
    ///
    /// # Errors
    /// Settings that are refused.
    pub fn forecast(&self) -> Result<u64> {
        let config = self.in_pieces();
        let layout = config.layout(u64::MAX)?;
        let training = config.forecast(u64::MAX)?;
        // The weights are shared.
        let preview = self.preview().forecast(&layout)?;
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
    /// Noise and labels of the preview.
    noise: Vec<f32>,
    labels: Vec<u32>,
    /// Steps of the preview under way that are left.
    preview_left: usize,
    step: u64,
    n_samples: u64,
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
    pub fn new(device: &Device, mut plan: TrainPlan) -> Result<Self> {
        plan.config = plan.in_pieces();
        let config = &plan.config;
        let trainer = Trainer::new(device, *config)?;
        let batches = BatchConfig {
            seed: config.seed,
            batch: config.batch,
            flip: plan.flip,
        };
        let sample = plan.preview();
        let preview = Session::new(device, trainer.arenas(), trainer.layout(), sample)?;
        let mut noise = vec![0.0; sample.batch * config.model.image_len()];
        initial_noise(&config.model, config.seed, 0, &mut noise);
        let n_classes = config.model.n_classes.max(1);
        Ok(Training {
            batches: Batches::new(Arc::clone(&plan.dataset), batches),
            labels: (0..sample.batch).map(|i| (i % n_classes) as u32).collect(),
            noise,
            preview,
            preview_left: 0,
            trainer,
            plan,
            step: 0,
            n_samples: 0,
            micro: 0,
            begin: None,
            running: true,
        })
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
        if self.micro < self.plan.config.accumulate {
            let batch = self
                .batches
                .at(self.n_samples)
                .map_err(|e| Error::Config(e.to_string()))?;
            let of_step = Batch {
                x1: &batch.x1,
                y: &batch.y,
                first: batch.first,
            };
            self.trainer.accumulate(self.micro, of_step).await?;
            self.n_samples += self.plan.config.batch as u64;
            self.micro += 1;
            return Ok(None);
        }
        self.micro = 0;
        let lr = self.plan.learning_rate.at(self.step);
        let report = self.trainer.update(lr).await?;
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
            self.preview.start(&self.noise, &self.labels)?;
            self.preview_left = PREVIEW_STEPS as usize;
        }
        Ok(Some(TrainingAction::Learned(Box::new(learned))))
    }

    async fn preview(&mut self) -> Result<Option<TrainingAction>> {
        self.preview.step(&[]).await?;
        // A piece ends when it is done, or a GPU that also draws the window would have several of them to do first.
        let x = self.preview.read().await?.into();
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
        let TrainConfig {
            model, transport, ..
        } = self.plan.config;
        let recipe = Recipe {
            model,
            transport,
            data: None,
            classes: self.plan.dataset.class_names().to_vec(),
            class_dropout: (model.n_classes > 0).then_some(self.plan.config.class_dropout),
        };
        let tensors = checkpoint::model_tensors(&model, Arena::Ema);
        let mut bytes = Vec::new();
        checkpoint::write(
            &mut bytes,
            &recipe,
            &tensors,
            Precision::F32,
            self.trainer.arenas(),
        )
        .await?;
        let model = Model {
            source: Source::Trained(self.plan.name.clone()),
            config: model,
            transport,
            classes: recipe.classes,
        };
        Ok((model, bytes))
    }
}
