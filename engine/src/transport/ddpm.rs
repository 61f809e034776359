//! Discrete diffusion: DDPM's chain of noise levels as a path (Ho et al., arXiv 2006.11239; Nichol and Dhariwal, arXiv 2102.09672).
//!
//! The chain has `T` noise levels, `x_i = sqrt(abar_i) x1 + sqrt(1 - abar_i) x0` with `abar_i = prod_{j <= i} (1 - beta_j)`; index 0
//! is nearly clean. As a path, index `i` is the time `t = 1 - (i + 1) / T` and `t = 1` is the image itself; in between `ln abar` is
//! linear in `i`, DPM-Solver's convention (arXiv 2206.00927, appendix D.1), so that all solvers step along it.

mod chain;
mod mean;
mod respacing;

pub use chain::Chain;
pub use respacing::Respacing;

use super::names::named_enum;
use crate::error::{Error, Result};

/// More noise levels than any model has.
const MAX_LEVELS: u32 = 100_000;

named_enum! {
    /// How `beta` rises along the chain.
    #[derive(Default)]
    pub enum DdpmSchedule: "noise schedule" {
        /// Linear from 1e-4 to 0.02 for 1000 levels, and times `1000 / T` for `T` of them (DDPM; DiT).
        #[default]
        Linear = "linear",
        /// `abar_i = cos^2((u + 0.008) / 1.008 pi / 2)` for `u = (i + 1) / T`, with `beta` at most 0.999 (arXiv 2102.09672, section 3.2).
        Cosine = "cosine",
    }
}

named_enum! {
    /// The variance of a step of the chain from noise to data.
    #[derive(Default)]
    pub enum Variance: "variance" {
        /// The smallest one, that of `q(x_{i-1} | x_i, x1)`: `(1 - abar_{i-1}) / (1 - abar_i) beta_i`; at index 0 that of index 1.
        FixedSmall = "fixed-small",
        /// The largest one, `beta_i`; at index 0 the smallest one.
        FixedLarge = "fixed-large",
        /// The network's further outputs are its logarithm.
        Learned = "learned",
        /// The network's further outputs `v` interpolate its logarithm: `f ln beta_i + (1 - f) ln(smallest)` with `f = (v + 1) / 2`
        /// (arXiv 2102.09672, equation 15; DiT).
        #[default]
        LearnedRange = "learned-range",
    }
}

impl Variance {
    /// Whether the network has an output for it.
    pub fn is_learned(self) -> bool {
        matches!(self, Self::Learned | Self::LearnedRange)
    }
}

named_enum! {
    /// The loss of discrete diffusion. With a learned variance, the squared errors are hybrid: the variational bound is added, whose
    /// gradient reaches the variance alone (arXiv 2102.09672, equation 16).
    #[derive(Default)]
    pub enum DdpmLoss: "loss" {
        /// The mean squared error of the prediction; the bound of the hybrid counts as it is.
        #[default]
        Mse = "mse",
        /// The same, with the bound of the hybrid times `T / 1000`, where `T` is the length of the chain.
        RescaledMse = "rescaled-mse",
        /// The term of the variational bound at the time, in bits per dimension.
        Kl = "kl",
        /// The same times the length of the chain: an estimate of the whole bound.
        RescaledKl = "rescaled-kl",
    }
}

named_enum! {
    /// How the indices of training are drawn.
    #[derive(Default)]
    pub enum DdpmTimes: "times" {
        /// All alike.
        #[default]
        Uniform = "uniform",
        /// In proportion to the root of the mean square of the last ten losses at each index, once there are ten, and the loss is
        /// weighted by the inverse (arXiv 2102.09672, section 3.3).
        SecondMoment = "second-moment",
    }
}

/// The settings of discrete diffusion, and its noise levels.
#[derive(Debug, Clone)]
pub struct Ddpm {
    schedule: DdpmSchedule,
    n_levels: u32,
    /// The variance of the steps that the network is trained for.
    pub variance: Variance,
    /// The loss.
    pub loss: DdpmLoss,
    /// How indices are drawn.
    pub times: DdpmTimes,
    /// Whether the network gets `1000 / T` times the index in the place of the index.
    pub rescale_times: bool,
    /// The indices that it is trained at; all by default.
    pub respacing: Respacing,
    /// `ln abar` of the image itself, 0, and of every index.
    log_abar: Vec<f64>,
}

/// The noise levels follow from the settings.
impl PartialEq for Ddpm {
    fn eq(&self, other: &Self) -> bool {
        let key = |ddpm: &Self| {
            (
                (ddpm.schedule, ddpm.n_levels, ddpm.variance, ddpm.loss),
                (ddpm.times, ddpm.rescale_times),
            )
        };
        key(self) == key(other) && self.respacing == other.respacing
    }
}

impl Default for Ddpm {
    /// DiT's: linear with 1000 levels, the hybrid loss with the variance in a range.
    fn default() -> Self {
        Self::usual(DdpmSchedule::Linear)
    }
}

impl Ddpm {
    /// A schedule of this many noise levels, else with DiT's settings.
    ///
    /// # Errors
    /// [`Error::Setting`] for too many levels, or for so few that a `beta` of the schedule is 1 or more.
    pub fn new(schedule: DdpmSchedule, n_levels: u32) -> Result<Self> {
        let refuse = |what: String| Err(Error::setting("ddpm_steps", what));
        if !(1..=MAX_LEVELS).contains(&n_levels) {
            return refuse(format!("got {n_levels}, expected 1 to {MAX_LEVELS}"));
        }
        let betas = betas(schedule, n_levels);
        if let Some(beta) = betas.iter().find(|beta| !(**beta > 0.0 && **beta < 1.0)) {
            return refuse(format!(
                "got {n_levels}, with which the {schedule} schedule has a beta of {beta}, and every beta must be below 1; expected \
                 more than 20 with the linear one, or the cosine one"
            ));
        }
        Ok(Self::of(schedule, n_levels, &betas))
    }

    /// A schedule of 1000 noise levels.
    pub fn usual(schedule: DdpmSchedule) -> Self {
        Self::of(schedule, 1000, &betas(schedule, 1000))
    }

    fn of(schedule: DdpmSchedule, n_levels: u32, betas: &[f64]) -> Self {
        let mut abar = 1.0;
        let levels = betas.iter().map(|beta| {
            abar *= 1.0 - beta;
            libm::log(abar)
        });
        Ddpm {
            schedule,
            n_levels,
            variance: Variance::default(),
            loss: DdpmLoss::default(),
            times: DdpmTimes::default(),
            rescale_times: false,
            respacing: Respacing::default(),
            log_abar: std::iter::once(0.0).chain(levels).collect(),
        }
    }

    /// The schedule.
    pub fn schedule(&self) -> DdpmSchedule {
        self.schedule
    }

    /// Number of noise levels `T`.
    pub fn n_levels(&self) -> u32 {
        self.n_levels
    }

    /// The chain that the network is trained on.
    ///
    /// # Errors
    /// [`Error::Setting`] for a respacing that this many levels do not have.
    pub fn chain(&self) -> Result<Chain> {
        Chain::new(self, &self.respacing, "ddpm_respacing")
    }

    /// The time of an index.
    pub fn time(&self, index: usize) -> f64 {
        1.0 - (index + 1) as f64 / f64::from(self.n_levels)
    }

    /// The index of a time, a real number from -1 for the image itself to `T - 1`. Exact at the times of [`Ddpm::time`], in spite
    /// of rounding.
    pub fn index(&self, t: f64) -> f64 {
        let real = f64::from(self.n_levels) * (1.0 - t) - 1.0;
        let near = libm::round(real);
        match (real - near).abs() < 1e-9 {
            true => near,
            false => real,
        }
    }

    /// What the network gets in the place of the time `t`: the index, or `1000 / T` times it.
    pub(super) fn time_input(&self, t: f64) -> f64 {
        let factor = match self.rescale_times {
            true => 1000.0 / f64::from(self.n_levels),
            false => 1.0,
        };
        factor * self.index(t)
    }

    /// `-ln alpha` and its derivative, `d ln alpha / dt`, at the real index of `t`.
    pub(super) fn decay(&self, t: f64) -> [f64; 2] {
        let [log, slope] = self.log_abar_at(self.index(t));
        [-0.5 * log, -0.5 * slope * f64::from(self.n_levels)]
    }

    /// `ln abar` at a real index, and its slope by the index.
    fn log_abar_at(&self, index: f64) -> [f64; 2] {
        let from_data = (index + 1.0).clamp(0.0, f64::from(self.n_levels));
        let k = (from_data as usize).min(self.log_abar.len() - 2);
        let (from, to) = (self.log_abar[k], self.log_abar[k + 1]);
        [from + (from_data - k as f64) * (to - from), to - from]
    }

    /// The time of `-ln alpha`; the nearer end for one that is not reached.
    pub(super) fn time_of_decay(&self, log: f64) -> f64 {
        let wanted = -2.0 * log;
        // It falls along the chain.
        let after = self.log_abar.partition_point(|level| *level >= wanted);
        let k = after.clamp(1, self.log_abar.len() - 1) - 1;
        let (from, to) = (self.log_abar[k], self.log_abar[k + 1]);
        let part = ((wanted - from) / (to - from)).clamp(0.0, 1.0);
        1.0 - (k as f64 + part) / f64::from(self.n_levels)
    }

    /// The mean of `q(x_{i-1} | x_i, x1)` at the real index of `t`: coefficients of `x1` and of `x_i`.
    pub(super) fn posterior(&self, t: f64) -> [f64; 2] {
        let index = self.index(t);
        let [here, _] = self.log_abar_at(index);
        let [before, _] = self.log_abar_at(index - 1.0);
        chain::posterior_mean(libm::exp(before), libm::exp(here))
    }

    pub(super) fn validate(&self) -> Result<()> {
        self.chain().map(|_| ())
    }
}

/// `beta` of every index, in f64.
fn betas(schedule: DdpmSchedule, n: u32) -> Vec<f64> {
    let n_levels = f64::from(n);
    let at = |i: u32| f64::from(i);
    match schedule {
        DdpmSchedule::Linear => {
            let scale = 1000.0 / n_levels;
            let (from, to) = (scale * 1e-4, scale * 0.02);
            let step = (to - from) / at((n - 1).max(1));
            // The last one exactly, so that what is refused does not depend on rounding.
            let beta = |i: u32| if i + 1 == n { to } else { from + at(i) * step };
            (0..n).map(beta).collect()
        }
        DdpmSchedule::Cosine => {
            let abar = |i: u32| {
                let angle = (at(i) / n_levels + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2;
                let cos = libm::cos(angle);
                cos * cos
            };
            let beta = |i: u32| (1.0 - abar(i + 1) / abar(i)).min(0.999);
            (0..n).map(beta).collect()
        }
    }
}

#[cfg(test)]
mod tests;
