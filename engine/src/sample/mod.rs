//! Sampling: from noise to images.
//!
//! # Theory
//! Sampling has three parts. The *field* is evaluated at a state and a time: the network, or a guided mix of two evaluations. The
//! *form* of a step is how often it evaluates the field and whether it adds noise; there is one program per form. The *schedule* is
//! the sequence of steps, as rows of f64 coefficients ([`crate::transport::schedule`]), which the device only applies.
//!
//! Guidance (Ho and Salimans 2022) moves the prediction away from a worse one: `worse + scale (good - worse)`. In classifier-free
//! guidance the worse one is the same network without the label; in autoguidance (Karras et al., arXiv 2406.02507) it is a smaller
//! network or one with less training.
//!
//! # Practice
//! [`Sampling`] has the settings, reports the memory use before anything is allocated, and creates a [`Session`], which takes a
//! batch from noise to images step by step. [`Sampling::sample`] does all of that in one call:
//!
//! ```
//! use sit_engine::backend::Device;
//! use sit_engine::model::{Model, Dit};
//! use sit_engine::transport::{Method, Sampler, Transport};
//!
//! # fn main() -> sit_engine::Result<()> {
//! # let network = Dit { dim: 32, depth: 1, n_heads: 2, input_size: 8, ..Dit::preset("SiT-S/4").unwrap() };
//! let model = Model::init(&Device::Cpu, network, Transport::default(), 0)?;
//! let images = model.sampler(Sampler::ode(Method::Heun, 2)).guidance(1.5).seed(7).sample(&[3, 8])?;
//! assert_eq!(images.len(), 2 * model.io().image_len());
//! # Ok(())
//! # }
//! ```

mod adaptive;
mod attempts;
mod field;
mod likelihood;
mod losses;
mod noise;
mod plan;
mod session;
mod vlb;
mod write;

pub use adaptive::{Finished, Pool};
#[doc(hidden)]
pub use attempts::{Attempt, Attempts};
pub use likelihood::{Draw, Likelihood, LogLikelihood, Trace, bits_per_dimension, dequantize};
#[doc(hidden)]
pub use likelihood::{Evaluator, log_likelihood};
#[doc(hidden)]
pub use losses::{VelocityLoss, loss_times};
pub use noise::{brownian_noise, initial_noise, step_noise};
pub use session::Session;
pub use vlb::{VariationalBound, Vlb};

use crate::error::{Error, Result};
use crate::graph::Plan;
use crate::model::{Blueprint, Model};
use crate::transport::{Adaptive, Guidance, GuidanceChannels, Sampler, Step, schedule};
use field::Field;
use plan::Form;

/// Maximum images per batch.
const MAX_BATCH: usize = 1 << 20;

/// What to sample and how. With a [`Blueprint`] it can report memory; with a [`Model`] it can also sample.
#[derive(Debug, Clone)]
#[must_use]
pub struct Sampling<M> {
    model: M,
    guide: Option<M>,
    sampler: Sampler,
    guidance: Guidance,
    batch: usize,
    keep_out: bool,
    keep_error: bool,
    seed: u64,
}

impl Model {
    /// Sampling from these weights with `sampler`.
    pub fn sampler(&self, sampler: Sampler) -> Sampling<Model> {
        Sampling::new(self.clone(), sampler)
    }
}

impl<M: AsRef<Blueprint>> Sampling<M> {
    /// Classifier-free guidance with this scale at all times; 1 means none.
    pub fn guidance(mut self, scale: f64) -> Self {
        self.guidance.scale = scale;
        self
    }

    /// Guidance with all its settings.
    pub fn guided(self, guidance: Guidance) -> Self {
        Sampling { guidance, ..self }
    }

    /// Autoguidance: `weak` replaces the unconditional evaluation, `weak + scale (this - weak)`. It may be a different network, for
    /// the same images, classes and transport. Sets the scale of [`Self::guided`], whose interval applies.
    pub fn autoguidance(mut self, weak: M, scale: f64) -> Self {
        self.guide = Some(weak);
        self.guidance.scale = scale;
        self
    }

    /// Images per batch. Memory and speed depend on it, the images do not.
    pub fn batch(self, batch: usize) -> Self {
        Sampling { batch, ..self }
    }

    /// Seed of the noise of [`Self::sample`]; a session gets its seed in [`Session::start`].
    pub fn seed(self, seed: u64) -> Self {
        Sampling { seed, ..self }
    }

    /// Keeps the network's output of each step for [`Session::read_out`].
    pub fn keep_out(self) -> Self {
        Sampling {
            keep_out: true,
            ..self
        }
    }

    /// Keeps the estimated error of each step for [`Session::read_error`], where the method has an
    /// estimate: the midpoint method and Heun, and tableaus of your own with an embedded method.
    pub fn keep_error(self) -> Self {
        Sampling {
            keep_error: true,
            ..self
        }
    }

    fn validate(&self) -> Result<()> {
        let model = self.model.as_ref();
        self.guidance.validate()?;
        let io = model.io();
        if let Some(guide) = self.guide.as_ref().map(AsRef::as_ref) {
            field::check_guide(model, guide)?;
            if self.guidance.channels != GuidanceChannels::All {
                return Err(Error::setting(
                    "guidance_channels",
                    "expected all, as autoguidance changes every channel",
                ));
            }
        } else if self.guidance.scale != 1.0 && io.n_classes == 0 {
            return Err(Error::setting(
                "guidance",
                "this model has no classes, so there is nothing to guide by",
            ));
        }
        if !(1..=MAX_BATCH).contains(&self.batch) {
            let got = self.batch;
            return Err(Error::setting(
                "batch",
                format!("got {got}, expected 1 to {MAX_BATCH}"),
            ));
        }
        Ok(())
    }

    fn field(&self) -> Field<'_> {
        Field {
            model: self.model.as_ref(),
            guide: self.guide.as_ref().map(AsRef::as_ref),
            channels: self.guidance.channels,
            batch: self.batch,
        }
    }

    /// What the network gets in the place of time `t`.
    fn time_input(&self, t: f64) -> f64 {
        self.model.as_ref().transport().time_input(t)
    }

    /// Refuses to draw noise for a model that begins with data.
    fn check_noise(&self) -> Result<()> {
        self.model.as_ref().transport().require_gaussian(
            "base",
            "noise is no valid start for it; give the states at t = 0 (`start_from` or `add_from`)",
        )
    }

    /// From standard normal noise to the state at the start.
    fn scale_start(&self, noise: &mut [f32]) {
        let std = self.model.as_ref().transport().start_std(&self.sampler) as f32;
        if std != 1.0 {
            noise.iter_mut().for_each(|x| *x *= std);
        }
    }

    fn forms(&self, steps: &[Step]) -> Vec<Form> {
        plan::forms(steps, &self.guidance, self.keep_error)
    }

    /// The forms of all steps, each once; of an adaptive solver, the drift's and the attempt's.
    fn all_forms(&self) -> Result<Vec<Form>> {
        if !self.sampler.is_adaptive() {
            return Ok(plan::unique(&self.forms(&self.schedule()?)));
        }
        self.validate()?;
        let solver = Adaptive::new(self.model.as_ref().transport(), &self.sampler)?;
        Ok(self.adaptive_forms(&solver)?.to_vec())
    }

    fn plan(&self, form: Form) -> Result<Plan> {
        plan::plan(&self.field(), form, self.keep_out, Vec::new())
    }

    /// Device memory needed for sampling, in bytes per category, before anything is allocated.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Config`] for an invalid setting or combination, with the reason.
    pub fn forecast(&self) -> Result<Vec<(&'static str, u64)>> {
        let mut slots = 0;
        for form in self.all_forms()? {
            slots += self.plan(form)?.slot_bytes();
        }
        let arena = |model: &M| model.as_ref().layout().arena_bytes();
        let guide = self.guide.as_ref().map(arena);
        let parts = std::iter::once(("parameters", arena(&self.model)))
            .chain(guide.map(|bytes| ("parameters of the guide", bytes)))
            .chain([("activations", slots)]);
        Ok(parts.collect())
    }
}

#[doc(hidden)]
impl<M: AsRef<Blueprint>> Sampling<M> {
    /// Sampling from `model` with `sampler`: without guidance, in batches of 64 images, seed 0.
    pub fn new(model: M, sampler: Sampler) -> Self {
        Sampling {
            model,
            guide: None,
            sampler,
            guidance: Guidance::default(),
            batch: 64,
            keep_out: false,
            keep_error: false,
            seed: 0,
        }
    }

    /// The model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The solver.
    pub fn solver(&self) -> &Sampler {
        &self.sampler
    }

    /// The guidance.
    pub fn guidance_settings(&self) -> &Guidance {
        &self.guidance
    }

    /// Images per batch.
    pub fn batch_size(&self) -> usize {
        self.batch
    }

    /// The schedule, after validating all settings.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Config`] for an invalid setting or combination, with the reason.
    pub fn schedule(&self) -> Result<Vec<Step>> {
        self.validate()?;
        schedule(self.model.as_ref().transport(), &self.sampler)
    }

    /// Multiply-accumulates of the first step.
    ///
    /// # Errors
    /// As [`Sampling::schedule`].
    pub fn macs(&self) -> Result<u64> {
        Ok(self.plan(self.all_forms()?[0])?.macs())
    }
}

impl Sampling<Model> {
    /// Creates the programs for the schedule.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Config`] for an invalid setting or combination, with the reason; [`Error::Limit`] and [`Error::Device`] when it does not fit on the device.
    pub fn session(self) -> Result<Session> {
        let steps = self.schedule()?;
        Session::new(self, steps)
    }

    /// As [`Sampling::session`], with the given steps: part of a schedule, or steps of your own. The sampler setting is not used.
    ///
    /// # Errors
    /// As [`Sampling::session`]; [`Error::Config`] when there are no steps.
    pub fn session_of(self, steps: Vec<Step>) -> Result<Session> {
        self.validate()?;
        Session::new(self, steps)
    }

    /// Samples one image per label, `[N, C, H, W]`; an unconditional model uses only the number of labels. Image n always gets the
    /// noise number n.
    ///
    /// # Errors
    /// As [`Sampling::session`]; [`Error::Config`] for a label beyond the null class.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn sample(self, labels: &[u32]) -> Result<Vec<f32>> {
        pollster::block_on(self.sample_async(labels))
    }
}

#[doc(hidden)]
impl Sampling<Model> {
    /// Async variant of [`Self::sample`], for browsers.
    pub async fn sample_async(self, labels: &[u32]) -> Result<Vec<f32>> {
        if self.sampler.is_adaptive() {
            return self.sample_adaptive(labels).await;
        }
        let batch = self.batch.min(labels.len().max(1));
        let (seed, len) = (self.seed, self.model.io().image_len());
        let mut session = self.batch(batch).session()?;
        let mut images = Vec::with_capacity(labels.len() * len);
        for (i, labels) in labels.chunks(batch).enumerate() {
            let first = (i * batch) as u64;
            let numbers: Vec<u64> = (first..first + labels.len() as u64).collect();
            session.start(seed, &numbers, labels)?;
            while !session.is_over() {
                session.step_async().await?;
            }
            images.extend_from_slice(&session.read_async().await?[..labels.len() * len]);
        }
        Ok(images)
    }
}

impl Sampling<Model> {
    async fn sample_adaptive(self, labels: &[u32]) -> Result<Vec<f32>> {
        let batch = self.batch.min(labels.len().max(1));
        let (seed, len) = (self.seed, self.model.io().image_len());
        let mut images = vec![0.0; labels.len() * len];
        let mut pool = self.batch(batch).pool()?;
        let mut next = 0;
        while next < labels.len() || !pool.is_empty() {
            let until = labels.len().min(next + pool.room());
            let numbers: Vec<u64> = (next as u64..until as u64).collect();
            pool.add(seed, &numbers, &labels[next..until])?;
            next = until;
            for image in pool.step_async().await? {
                images[image.number as usize * len..][..len].copy_from_slice(&image.x);
            }
        }
        Ok(images)
    }
}
