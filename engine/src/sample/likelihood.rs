//! The likelihood of images: the change of variables along the ODE from data to noise.
//!
//! # Theory
//! Along `dX = f(X, t) dt` the density of `X` changes by `d log p(X_t) / dt = -tr(df / dX)` (Chen et al., arXiv 1806.07366; SiT's
//! `sample_ode_likelihood`). An image `x` at the last time `t1` is carried to noise `z` at the first one `t0`, so
//!
//! ```text
//! log p(x) = log N(z; 0, s^2 I) - integral from t0 to t1 of tr(df / dX) dt,
//! ```
//!
//! in nats, summed over dimensions, with the deviation `s` from which the sampler starts. This is the density of what the sampler
//! makes, exactly. Where the path's own state at `t0` still holds data (VP, OU, EDM, or a `t_eps_sample` above 0), the
//! sampler starts from other states than the path has there, and the likelihood is that of the sampler.
//!
//! The trace is exact, from D products with unit vectors, or estimated by `e^T J e` with random probes `e` of mean 0 and
//! covariance I (Hutchinson 1989; Grathwohl et al., arXiv 1810.01367). A probe that is kept for the whole way gives a smooth integrand,
//! as adaptive solvers need. Several probes tell the error of their mean.
//!
//! Levels of an image are discrete. With uniform noise within each level ([`dequantize`]) the density bounds their probability, so
//! `-log p / (D ln 2) + log2(levels / 2)` bounds the bits per dimension from above ([`bits_per_dimension`]; Theis et al.,
//! arXiv 1511.01844).
//!
//! # Practice
//! Every image walks on its own, and whichever images are on their way share each evaluation. States and sums are f64 on the host;
//! the network is evaluated in f32, with one backward pass for each probe.

mod network;
mod probe;
mod units;
mod walk;

pub use network::Evaluator;
pub use units::{bits_per_dimension, dequantize};
pub use walk::log_likelihood;

use super::Sampling;
use super::field::check_velocity;
use crate::error::{Error, Result};
use crate::model::{Blueprint, Model, NetworkIo};
use crate::transport::Flow;
use probe::Probes;
use std::collections::VecDeque;
use walk::Walk;

/// More probes than any use needs.
const MAX_PROBES: usize = 1 << 16;

/// The most backward passes in one program.
const MAX_PASSES: usize = 8;

/// How random probes are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Draw {
    /// Each value is -1 or 1: the least variance among independent values.
    #[default]
    Rademacher,
    /// Each value is standard normal.
    Gaussian,
}

/// How the trace of the drift's Jacobian is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trace {
    /// By a unit vector for each of the D dimensions: D backward passes for each evaluation.
    Exact,
    /// By random probes, each of which gives an estimate of its own.
    Hutchinson {
        /// How many, at least 1; the error of their mean needs at least 2.
        n_probes: usize,
        /// How they are drawn.
        draw: Draw,
        /// Whether each evaluation has new ones; only with fixed steps. Otherwise they are kept for the whole way.
        is_fresh: bool,
    },
}

impl Trace {
    /// Probes of each evaluation of images of `len` values.
    fn n_probes(self, len: usize) -> usize {
        match self {
            Trace::Exact => len,
            Trace::Hutchinson { n_probes, .. } => n_probes,
        }
    }

    /// Sums that are kept along the way: one for each estimate.
    fn n_sums(self) -> usize {
        match self {
            Trace::Exact => 1,
            Trace::Hutchinson { n_probes, .. } => n_probes,
        }
    }

    fn validate(self, flow: &Flow) -> Result<()> {
        let Trace::Hutchinson {
            n_probes, is_fresh, ..
        } = self
        else {
            return Ok(());
        };
        if !(1..=MAX_PROBES).contains(&n_probes) {
            return Err(Error::setting(
                "probes",
                format!("got {n_probes}, expected 1 to {MAX_PROBES}"),
            ));
        }
        if is_fresh && matches!(flow.way(), crate::transport::Way::Adaptive(..)) {
            return Err(Error::setting(
                "fresh_probes",
                "an adaptive method would take the noise of new probes for its own error and never arrive; keep the probes, or use \
                 a method of fixed steps such as heun",
            ));
        }
        Ok(())
    }
}

/// The log-likelihood of one image.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LogLikelihood {
    /// The image's number.
    pub number: u64,
    /// `log p(x)` in nats, summed over dimensions.
    pub nats: f64,
    /// Standard error of `nats` by the spread of the probes; `None` for the exact trace and for a single probe.
    pub std_error: Option<f64>,
    /// `log N(z; 0, s^2 I)` at the end of the way.
    pub prior: f64,
    /// The integral of the trace from noise to data.
    pub integral: f64,
    /// The noise `z` that the image was carried to, `[C, H, W]`.
    pub noise: Vec<f64>,
    /// Network evaluations.
    pub nfe: u32,
    /// Steps that were accepted, and that were rejected.
    pub n_steps: [u32; 2],
}

/// Finds the likelihoods of images, a batch of places at a time.
#[derive(Debug)]
pub struct Likelihood {
    flow: Flow,
    io: NetworkIo,
    network: Evaluator,
    probes: Probes,
    trace: Trace,
    places: Vec<Option<Walk>>,
    waiting: VecDeque<Walk>,
    x: Vec<f32>,
    t: Vec<f64>,
    labels: Vec<u32>,
}

impl<M: AsRef<Blueprint>> Sampling<M> {
    /// The flow of a likelihood, after checking all settings.
    fn flow(&self, trace: Trace) -> Result<Flow> {
        check_velocity(self.model.as_ref(), "model")?;
        self.validate()?;
        let scale = self.guidance.scale;
        if scale != 1.0 || self.weak.is_some() || self.classifier.is_some() {
            return Err(Error::setting(
                "guidance",
                format!(
                    "got {scale}, expected 1: with guidance the drift belongs to no density of the data"
                ),
            ));
        }
        let flow = Flow::new(self.model.as_ref().transport(), &self.sampler)?;
        trace.validate(&flow)?;
        Ok(flow)
    }
}

#[doc(hidden)]
impl<M: AsRef<Blueprint>> Sampling<M> {
    /// Checks the settings of [`Sampling::likelihood`], and tells the memory that it needs, in bytes per category.
    ///
    /// # Errors
    /// As of [`Sampling::likelihood`].
    pub fn likelihood_forecast(&self, trace: Trace) -> Result<Vec<(&'static str, u64)>> {
        self.flow(trace)?;
        let model = self.model.as_ref();
        let n_passes = trace.n_probes(model.io().image_len()).min(MAX_PASSES);
        let slots = network::plan(model, self.batch, n_passes, Vec::new())?.slot_bytes();
        let arena = model.layout().arena_bytes();
        Ok(vec![("parameters", arena), ("activations", slots)])
    }

    /// Time, `alpha` and `sigma` of the states at the ends of the way, data first, and the deviation of the noise.
    ///
    /// # Errors
    /// As of [`Sampling::likelihood`].
    pub fn likelihood_ends(&self) -> Result<([[f64; 3]; 2], f64)> {
        let flow = Flow::new(self.model.as_ref().transport(), &self.sampler)?;
        let (times, marginals) = (flow.times(), flow.marginals());
        let end = |i: usize| [times[i], marginals[i][0], marginals[i][1]];
        Ok(([end(0), end(1)], flow.noise_std()))
    }
}

impl Sampling<Model> {
    /// Creates the program for likelihoods; the sampler's direction does not matter.
    ///
    /// The seed of the probes is that of [`Sampling::seed`].
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Config`] for an invalid setting or combination, with the reason: guidance, an SDE, a multistep
    /// method, new probes with an adaptive method; [`Error::Limit`] and [`Error::Device`] when it does not fit on the device.
    pub fn likelihood(self, trace: Trace) -> Result<Likelihood> {
        let flow = self.flow(trace)?;
        let (io, batch) = (self.model.io(), self.batch);
        let n_probes = trace.n_probes(io.image_len());
        let n_passes = n_probes.min(MAX_PASSES);
        Ok(Likelihood {
            network: Evaluator::new(&self.model, batch, n_passes)?,
            probes: Probes::new(trace, io.image_len(), batch, self.seed),
            places: (0..batch).map(|_| None).collect(),
            waiting: VecDeque::new(),
            x: vec![0.0; batch * io.image_len()],
            t: vec![flow.times()[0]; batch],
            labels: vec![0; batch],
            flow,
            io,
            trace,
        })
    }
}

impl Likelihood {
    /// How many more images can be added.
    pub fn room(&self) -> usize {
        let busy = self.places.iter().flatten().count();
        (2 * self.places.len()).saturating_sub(self.waiting.len() + busy)
    }

    /// Whether all images that were added are finished.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.places.iter().all(Option::is_none)
    }

    /// Adds images x `[N, C, H, W]` by number, with a label for each; a probe is a function of the seed and the image's number.
    ///
    /// # Errors
    /// [`Error::Shape`] for a wrong number of values or labels, [`Error::Config`] for a label beyond the null class.
    pub fn add(&mut self, numbers: &[u64], x: &[f32], y: &[u32]) -> Result<()> {
        let (n, len) = (numbers.len(), self.io.image_len());
        if x.len() != n * len {
            return Err(Error::Shape(format!(
                "x got {} values, expected {n} images of {len}",
                x.len()
            )));
        }
        self.io.check_labels(y, n)?;
        for (i, &number) in numbers.iter().enumerate() {
            let image = x[i * len..(i + 1) * len].iter().map(|&x| x.into());
            let label = y.get(i).copied().unwrap_or(0);
            let n_sums = self.trace.n_sums();
            self.waiting.push_back(Walk::new(
                number,
                label,
                image.collect(),
                n_sums,
                &self.flow,
            ));
        }
        Ok(())
    }

    /// Evaluates the network once for every image on its way, and returns those that are finished.
    ///
    /// # Errors
    /// [`Error::Config`] naming the image and the time for a state that is not finite, a step size that became too small, or more
    /// evaluations than [`Tolerance::max_nfe`](crate::transport::Tolerance::max_nfe); [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn step(&mut self) -> Result<Vec<LogLikelihood>> {
        pollster::block_on(self.step_async())
    }
}

#[doc(hidden)]
impl Likelihood {
    /// Async variant of [`Self::step`], for browsers.
    pub async fn step_async(&mut self) -> Result<Vec<LogLikelihood>> {
        let len = self.io.image_len();
        for (b, place) in self.places.iter_mut().enumerate() {
            if place.is_none() {
                *place = self.waiting.pop_front();
                self.probes.forget(b);
            }
            let Some(walk) = place else { continue };
            let time = walk.input(&self.flow, &mut self.x[b * len..(b + 1) * len])?;
            self.t[b] = self.flow.time_input(time);
            self.labels[b] = walk.label;
            self.probes.prepare(b, walk.number, walk.nfe());
        }
        self.network.write(&self.x, &self.t, &self.labels)?;
        let n_sums = self.trace.n_sums();
        let mut traces = vec![0.0; self.places.len() * n_sums];
        let mut out = Vec::new();
        for part in self.probes.parts(self.network.n_passes()) {
            self.network.write_probes(self.probes.of(part.clone()))?;
            let (outputs, quadratic) = self.network.run_async().await?;
            out = outputs;
            for (b, of_image) in quadratic.chunks_exact(self.network.n_passes()).enumerate() {
                let sums = &mut traces[b * n_sums..(b + 1) * n_sums];
                for (probe, &value) in part.clone().zip(of_image) {
                    // The products with all unit vectors add up to the exact trace.
                    sums[if n_sums == 1 { 0 } else { probe }] += f64::from(value);
                }
            }
        }
        let mut finished = Vec::new();
        for (b, place) in self.places.iter_mut().enumerate() {
            let Some(walk) = place else { continue };
            let out = &out[b * len..(b + 1) * len];
            walk.take(&self.flow, out, &traces[b * n_sums..(b + 1) * n_sums])?;
            if walk.is_over() {
                finished.extend(place.take().map(|walk| walk.finish(&self.flow)));
            }
        }
        Ok(finished)
    }

    /// Images at a time.
    pub fn batch(&self) -> usize {
        self.places.len()
    }

    /// Share of the way that the images in the places have done, each from 0 to 1, added up.
    pub fn progress(&self) -> f64 {
        let [from, to] = self.flow.times();
        let places = self.places.iter().flatten();
        places.map(|walk| (walk.t() - from) / (to - from)).sum()
    }
}
