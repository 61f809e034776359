//! Exact velocity, score, noise, data and density of a Gaussian mixture on its path from noise, to separate the error of a model
//! from the error of a solver.
//!
//! The data is `x1 ~ sum_k w_k N(m_k, diag s_k^2)`, and `x_t = alpha x1 + sigma x0`. Then `x_t` is a mixture with the same weights,
//! means `alpha m_k` and variances `c_k = alpha^2 s_k^2 + sigma^2`. With the posterior probability `r_k(x)` of component `k` at `x`
//! ```text
//! E[x1 | x] = sum_k r_k (m_k + alpha s_k^2 (x - alpha m_k) / c_k),
//! E[x0 | x] = sum_k r_k sigma (x - alpha m_k) / c_k,
//! v = d_alpha E[x1 | x] + d_sigma E[x0 | x],    grad log p_t = -sum_k r_k (x - alpha m_k) / c_k.
//! ```

use crate::error::Error;
use crate::transport::{Path, Prediction, Step, Transport};
use std::f64::consts::PI;

/// One component of a [`Mixture`].
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Its weight, above 0; weights need not sum to 1.
    pub weight: f64,
    /// Mean `[d]`.
    pub mean: Vec<f64>,
    /// Standard deviation of each coordinate `[d]`, at least 0.
    pub std: Vec<f64>,
}

/// A mixture of Gaussians with diagonal covariances.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    d: usize,
    components: Vec<Component>,
}

impl Mixture {
    /// The mixture of these components.
    ///
    /// # Errors
    /// [`Error::Config`] naming the component, for no components, vectors of different lengths, a weight that is not above 0, a
    /// negative standard deviation, or anything not finite.
    pub fn new(mut components: Vec<Component>) -> Result<Self, Error> {
        let d = components.first().map_or(0, |first| first.mean.len());
        if d == 0 {
            return Err(Error::Config(
                "mixture: got no component or no coordinate".into(),
            ));
        }
        for (k, Component { weight, mean, std }) in components.iter().enumerate() {
            let wrong = if mean.len() != d || std.len() != d {
                format!(
                    "{} means and {} deviations, expected {d} each",
                    mean.len(),
                    std.len()
                )
            } else if !(*weight > 0.0 && weight.is_finite()) {
                format!("weight {weight}, expected a finite number above 0")
            } else if let Some(m) = mean.iter().find(|m| !m.is_finite()) {
                format!("mean {m}, expected a finite number")
            } else if let Some(s) = std.iter().find(|s| !(**s >= 0.0 && s.is_finite())) {
                format!("deviation {s}, expected a finite number of at least 0")
            } else {
                continue;
            };
            return Err(Error::Config(format!(
                "component {k} of a mixture: got {wrong}"
            )));
        }
        let total: f64 = components.iter().map(|c| c.weight).sum();
        components.iter_mut().for_each(|c| c.weight /= total);
        Ok(Self { d, components })
    }

    /// The components; their weights sum to 1.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The number of coordinates.
    pub fn dimension(&self) -> usize {
        self.d
    }

    /// The distribution of `x_t` for `t` in `[0, 1]`.
    pub fn at(&self, path: &Path, t: f64) -> Marginal<'_> {
        let (alpha, sigma) = (path.alpha(t), path.sigma(t));
        let variance = |s: &f64| (alpha * s).powi(2) + sigma * sigma;
        Marginal {
            mixture: self,
            alpha,
            sigma,
            d_alpha: path.d_alpha(t),
            // On VP d_sigma is infinite at t = 1, but sigma d_sigma is finite.
            sigma_d_sigma: path.sigma_d_sigma(t),
            variances: self
                .components
                .iter()
                .flat_map(|c| c.std.iter().map(variance))
                .collect(),
        }
    }

    /// Advances states `x` `[n, d]` by one step, with the exact prediction in place of a network; `noise` `[n, d]` is standard
    /// normal, and ignored if the step adds none. `history` is what steps keep; it is empty at first.
    ///
    /// The difference to a run with many more steps is then the error of the solver alone.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn step(
        &self,
        transport: &Transport,
        step: &Step,
        x: &mut [f64],
        history: &mut Vec<f64>,
        noise: &[f32],
    ) {
        step.apply_with(x, history, noise, |x, t| self.outputs(transport, t, x));
    }

    /// The exact outputs of a network of `transport` for its inputs `[n, d]` at time `t`.
    pub fn outputs(&self, transport: &Transport, t: f64, inputs: &[f64]) -> Vec<f64> {
        let marginal = self.at(&transport.path, t);
        let scale = transport.input_scale(t);
        let output = |input: &[f64]| {
            let x: Vec<f64> = input.iter().map(|x| x / scale).collect();
            match transport.prediction {
                Prediction::Velocity => marginal.velocity(&x),
                Prediction::Score => marginal.score(&x),
                Prediction::Noise => marginal.noise(&x),
                Prediction::Data => marginal.data(&x),
                Prediction::Mean => {
                    let data = marginal.data(&x);
                    transport.mean_output(t, &x, &data)
                }
                Prediction::Denoiser => {
                    let data = marginal.data(&x);
                    transport.denoiser_output(t, &x, &data)
                }
            }
        };
        inputs.chunks_exact(self.d).flat_map(output).collect()
    }
}

/// The distribution of `x_t` at one time.
///
/// If the variance of a coordinate is 0, which happens only at `t = 1` with a standard deviation of 0, the density is a limit, 0 or
/// infinite, and velocity, score and noise are NaN: avoid `t = 1` for points without spread.
#[derive(Debug, Clone)]
pub struct Marginal<'a> {
    mixture: &'a Mixture,
    alpha: f64,
    sigma: f64,
    d_alpha: f64,
    sigma_d_sigma: f64,
    /// `c_k`, `[components, d]`.
    variances: Vec<f64>,
}

impl Marginal<'_> {
    /// `log p_t(x)` of a point `x` `[d]`.
    pub fn log_density(&self, x: &[f64]) -> f64 {
        log_sum_exp(&self.log_joint(x))
    }

    /// `p_t(x)` of a point `x` `[d]`.
    pub fn density(&self, x: &[f64]) -> f64 {
        libm::exp(self.log_density(x))
    }

    /// The posterior mean of the data, `E[x1 | x]`.
    pub fn data(&self, x: &[f64]) -> Vec<f64> {
        self.posterior(x, |_, mean, std, precise| {
            mean + self.alpha * std * std * precise
        })
    }

    /// The velocity `E[d_alpha x1 + d_sigma x0 | x]`.
    pub fn velocity(&self, x: &[f64]) -> Vec<f64> {
        self.posterior(x, |_, mean, std, precise| {
            let covariance = self.d_alpha * self.alpha * std * std + self.sigma_d_sigma;
            self.d_alpha * mean + covariance * precise
        })
    }

    /// The score `grad log p_t(x)`.
    pub fn score(&self, x: &[f64]) -> Vec<f64> {
        self.posterior(x, |_, _, _, precise| -precise)
    }

    /// The posterior mean of the noise, `E[x0 | x]`.
    pub fn noise(&self, x: &[f64]) -> Vec<f64> {
        self.posterior(x, |_, _, _, precise| self.sigma * precise)
    }

    /// `ln(w_k N(x; alpha m_k, c_k))` of every component.
    fn log_joint(&self, x: &[f64]) -> Vec<f64> {
        assert_eq!(x.len(), self.mixture.d, "a point of another dimension");
        let variances = self.variances.chunks_exact(self.mixture.d);
        let components = self.mixture.components.iter().zip(variances);
        let log = |(component, variances): (&Component, &[f64])| {
            let coordinates = x.iter().zip(&component.mean).zip(variances);
            let quadratic = coordinates.map(|((x, mean), variance)| {
                let far = x - self.alpha * mean;
                far * far / variance + libm::log(2.0 * PI * variance)
            });
            libm::log(component.weight) - 0.5 * quadratic.sum::<f64>()
        };
        components.map(log).collect()
    }

    /// `sum_k r_k f(k, mean, std, (x - alpha mean) / c)` in every coordinate.
    fn posterior(&self, x: &[f64], f: impl Fn(usize, f64, f64, f64) -> f64) -> Vec<f64> {
        let log_joint = self.log_joint(x);
        let log_density = log_sum_exp(&log_joint);
        let d = self.mixture.d;
        let mut sum = vec![0.0; d];
        for (k, component) in self.mixture.components.iter().enumerate() {
            let share = libm::exp(log_joint[k] - log_density);
            for i in 0..d {
                let (mean, std) = (component.mean[i], component.std[i]);
                let precise = (x[i] - self.alpha * mean) / self.variances[k * d + i];
                sum[i] += share * f(k, mean, std, precise);
            }
        }
        sum
    }
}

/// `ln sum exp x`, without overflow.
fn log_sum_exp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max.is_infinite() {
        return max;
    }
    max + libm::log(x.iter().map(|x| libm::exp(x - max)).sum())
}
