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
mod check;
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

use crate::error::Result;
use crate::graph::Plan;
use crate::model::{Blueprint, Model, NetworkIo};
use crate::transport::{Adaptive, Guidance, Sampler, Step, schedule};
use field::{Field, Guided};
use plan::Form;

/// Maximum images per batch.
const MAX_BATCH: usize = 1 << 20;

/// What to sample and how. With a [`Blueprint`] it can report memory; with a [`Model`] it can also sample.
#[derive(Debug, Clone)]
#[must_use]
pub struct Sampling<M> {
    model: M,
    /// The weak network of autoguidance, and its scale.
    weak: Option<(M, f64)>,
    /// The classifier that guides, and its scale.
    classifier: Option<(M, f64)>,
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

    /// Autoguidance: `weak + scale (this - weak)`, where `this` may have classifier-free guidance of its own. The weak one may be a
    /// different network, for the same images, classes and transport. The interval of [`Self::guided`] applies.
    pub fn autoguidance(mut self, weak: M, scale: f64) -> Self {
        self.weak = Some((weak, scale));
        self
    }

    /// Classifier guidance: the score becomes `s + scale grad log p(y | x, t)`, with the probability p of a
    /// [`Classifier`](crate::model::Classifier) of states on the same path. At t = 0, where the state has nothing of the data, the gradient
    /// counts as 0. The model may have no classes; then the labels are the classifier's. The interval of [`Self::guided`] applies.
    pub fn classifier_guidance(mut self, classifier: M, scale: f64) -> Self {
        self.classifier = Some((classifier, scale));
        self
    }

    /// Shapes of the images, and the number of classes that labels choose from.
    fn io(&self) -> NetworkIo {
        let mut io = self.model.as_ref().io();
        if let Some((classifier, _)) = self.classifier.as_ref().filter(|_| io.n_classes == 0) {
            io.n_classes = classifier.as_ref().io().n_classes;
        }
        io
    }

    /// The networks, in the order of their parameter sets.
    fn networks(&self) -> impl Iterator<Item = &M> {
        let guides = self.weak.iter().chain(&self.classifier);
        std::iter::once(&self.model).chain(guides.map(|(model, _)| model))
    }

    /// What guides where guidance applies or not.
    fn guides(&self, covered: bool) -> Guided {
        let has = |guide: &Option<(M, f64)>, none: f64| {
            covered && guide.as_ref().is_some_and(|(_, scale)| *scale != none)
        };
        Guided {
            class: covered && self.guidance.scale != 1.0,
            weak: has(&self.weak, 1.0),
            classifier: has(&self.classifier, 0.0),
        }
    }

    /// The scale of autoguidance at time `t`: 1 where it does not apply.
    fn weak_scale_at(&self, t: f64) -> f64 {
        match &self.weak {
            Some((_, scale)) if self.guidance.covers(t) => *scale,
            _ => 1.0,
        }
    }

    /// What the gradient of the classifier with respect to the network's input adds to the prediction at time `t`: the score is an affine
    /// function of the prediction, and the network's input a multiple of the state.
    fn push_at(&self, t: f64) -> f64 {
        let transport = self.model.as_ref().transport();
        let score_by_out = transport.score(t).map_or(0.0, |score| score.out);
        match score_by_out == 0.0 {
            true => 0.0,
            false => self.classifier_scale_at(t) * transport.input_scale(t) / score_by_out,
        }
    }

    /// The scale of classifier guidance at time `t`: 0 where it does not apply.
    fn classifier_scale_at(&self, t: f64) -> f64 {
        match &self.classifier {
            Some((_, scale)) if self.guidance.covers(t) => *scale,
            _ => 0.0,
        }
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

    fn field(&self) -> Field<'_> {
        Field {
            model: self.model.as_ref(),
            weak: self.weak.as_ref().map(|(weak, _)| weak.as_ref()),
            classifier: self.classifier.as_ref().map(|(model, _)| model.as_ref()),
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
        self.model.as_ref().transport().require_noise(
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
        let covers = |&t: &f64| self.guidance.covers(t);
        let guided = |step: &Step| self.guides(step.times().iter().any(covers));
        plan::forms(steps, guided, self.keep_error)
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
    /// [`crate::Error::Setting`] or [`crate::Error::Config`] for an invalid setting or combination, with the reason.
    pub fn forecast(&self) -> Result<Vec<(&'static str, u64)>> {
        let mut slots = 0;
        for form in self.all_forms()? {
            slots += self.plan(form)?.slot_bytes();
        }
        let arena = |model: &M| model.as_ref().layout().arena_bytes();
        let of = |guide: &Option<(M, f64)>| guide.as_ref().map(|(model, _)| arena(model));
        let (weak, classifier) = (of(&self.weak), of(&self.classifier));
        let parts = std::iter::once(("parameters", arena(&self.model)))
            .chain(weak.map(|bytes| ("parameters of the guide", bytes)))
            .chain(classifier.map(|bytes| ("parameters of the classifier", bytes)))
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
            weak: None,
            classifier: None,
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
    /// [`crate::Error::Setting`] or [`crate::Error::Config`] for an invalid setting or combination, with the reason.
    pub fn schedule(&self) -> Result<Vec<Step>> {
        self.validate()?;
        let steps = schedule(self.model.as_ref().transport(), &self.sampler)?;
        self.check_steps(&steps)?;
        Ok(steps)
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
    /// [`crate::Error::Setting`] or [`crate::Error::Config`] for an invalid setting or combination, with the reason; [`crate::Error::Limit`] and [`crate::Error::Device`] when it does not fit on the device.
    pub fn session(self) -> Result<Session> {
        let steps = self.schedule()?;
        Session::new(self, steps)
    }

    /// As [`Sampling::session`], with the given steps: part of a schedule, or steps of your own. The sampler setting is not used.
    ///
    /// # Errors
    /// As [`Sampling::session`]; [`crate::Error::Config`] when there are no steps.
    pub fn session_of(self, steps: Vec<Step>) -> Result<Session> {
        self.validate()?;
        Session::new(self, steps)
    }

    /// Samples one image per label, `[N, C, H, W]`; an unconditional model uses only the number of labels. Image n always gets the
    /// noise number n.
    ///
    /// # Errors
    /// As [`Sampling::session`]; [`crate::Error::Config`] for a label beyond the null class.
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
