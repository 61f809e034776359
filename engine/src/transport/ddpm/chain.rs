//! The tables of a chain of noise levels.

use super::{Ddpm, Respacing, Variance};
use crate::error::Result;

/// A chain of noise levels, all of [`Ddpm`]'s or some of them: what its steps from noise to data are, as numbers in f64. Positions
/// count the levels that are used, from 0, which is nearly clean; indices are those of [`Ddpm`].
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    indices: Vec<usize>,
    pub(in crate::transport) abar: Vec<f64>,
}

/// The mean of `q(x_{i-1} | x_i, x1)` (arXiv 2006.11239, equation 7): coefficients of `x1` and of `x_i`.
pub(super) fn posterior_mean(abar_before: f64, abar: f64) -> [f64; 2] {
    let alpha = abar / abar_before;
    let beta = 1.0 - alpha;
    [
        libm::sqrt(abar_before) * beta / (1.0 - abar),
        (1.0 - abar_before) * libm::sqrt(alpha) / (1.0 - abar),
    ]
}

impl Chain {
    /// The levels of a respacing; `key` is the setting that an error names.
    ///
    /// # Errors
    /// Those of [`Respacing::indices`].
    pub fn new(ddpm: &Ddpm, respacing: &Respacing, key: &str) -> Result<Self> {
        let indices = respacing.indices(ddpm.n_levels, key)?;
        let abar = |i: &usize| libm::exp(ddpm.log_abar[i + 1]);
        Ok(Chain {
            abar: indices.iter().map(abar).collect(),
            indices,
        })
    }

    /// Number of levels.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether it has none, which does not happen.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// Index of each position.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// `abar` at a position.
    pub fn abar(&self, i: usize) -> f64 {
        self.abar[i]
    }

    /// `abar` one position nearer to data; 1 for the image itself.
    pub fn abar_before(&self, i: usize) -> f64 {
        if i == 0 { 1.0 } else { self.abar[i - 1] }
    }

    /// `abar` one position nearer to noise; 0 beyond the last one.
    pub fn abar_after(&self, i: usize) -> f64 {
        self.abar.get(i + 1).copied().unwrap_or(0.0)
    }

    /// `beta = 1 - abar_i / abar_{i-1}`.
    pub fn beta(&self, i: usize) -> f64 {
        1.0 - self.abar(i) / self.abar_before(i)
    }

    /// The variance of `q(x_{i-1} | x_i, x1)`; 0 at position 0.
    pub fn posterior_variance(&self, i: usize) -> f64 {
        self.beta(i) * (1.0 - self.abar_before(i)) / (1.0 - self.abar(i))
    }

    /// The logarithm of the posterior variance, at position 0 that of position 1. A chain of one level takes that of `beta`: its
    /// only step adds no noise, and its only term of the bound is the one that reads the image.
    pub fn log_posterior_variance(&self, i: usize) -> f64 {
        match (i, self.len()) {
            (0, 1) => libm::log(self.beta(0)),
            (0, _) => libm::log(self.posterior_variance(1)),
            _ => libm::log(self.posterior_variance(i)),
        }
    }

    /// The mean of `q(x_{i-1} | x_i, x1)`: coefficients of `x1` and of `x_i`.
    pub fn posterior_mean(&self, i: usize) -> [f64; 2] {
        posterior_mean(self.abar_before(i), self.abar(i))
    }

    /// The logarithm of a step's variance as `a + b v`, with the network's further output `v`; `b` is 0 for a fixed one.
    pub fn log_variance(&self, variance: Variance, i: usize) -> [f64; 2] {
        let small = self.log_posterior_variance(i);
        match variance {
            Variance::FixedSmall => [small, 0.0],
            Variance::FixedLarge if i == 0 => [small, 0.0],
            Variance::FixedLarge => [libm::log(self.beta(i)), 0.0],
            Variance::Learned => [0.0, 1.0],
            Variance::LearnedRange => {
                let large = libm::log(self.beta(i));
                [0.5 * (large + small), 0.5 * (large - small)]
            }
        }
    }
}
