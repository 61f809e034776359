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
//! A full covariance is diagonal along its own axes, which `x_t` shares: all of this holds in those coordinates.

use super::eigen;
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
    /// Standard deviation of each coordinate `[d]`, at least 0; with a full covariance, along its axes.
    pub std: Vec<f64>,
}

/// A mixture of Gaussians, with diagonal covariances or full ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    d: usize,
    components: Vec<Component>,
    /// Columns are the axes of each component `[d, d]`; `None` for those of the coordinates.
    axes: Vec<Option<Vec<f64>>>,
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
        Ok(Self {
            d,
            axes: vec![None; components.len()],
            components,
        })
    }

    /// The mixture of Gaussians with these weights, means `[d]` and symmetric covariances `[d, d]`.
    ///
    /// # Errors
    /// As [`Mixture::new`], and for a covariance of another size, one that is not symmetric, or one with a negative variance.
    pub fn full(parts: Vec<(f64, Vec<f64>, Vec<f64>)>) -> Result<Self, Error> {
        let (mut components, mut axes) = (Vec::new(), Vec::new());
        for (k, (weight, mean, covariance)) in parts.into_iter().enumerate() {
            let d = mean.len();
            let refuse =
                |what: String| Err(Error::Config(format!("component {k} of a mixture: {what}")));
            if covariance.len() != d * d {
                let n = covariance.len();
                return refuse(format!(
                    "got a covariance of {n} entries, expected {}",
                    d * d
                ));
            }
            let is_symmetric = |i: usize| covariance[i] == covariance[i % d * d + i / d];
            if !(0..d * d).all(|i| covariance[i].is_finite() && is_symmetric(i)) {
                return refuse("expected a finite symmetric covariance".into());
            }
            let (variances, own) = eigen::symmetric(&covariance, d);
            // A variance of 0 may come out as a tiny negative number.
            let least = -1e-12 * variances.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
            if let Some(negative) = variances.iter().find(|v| **v < least) {
                return refuse(format!("got the variance {negative}, expected at least 0"));
            }
            components.push(Component {
                weight,
                mean,
                std: variances.iter().map(|v| libm::sqrt(v.max(0.0))).collect(),
            });
            axes.push(Some(own));
        }
        Ok(Self {
            axes,
            ..Self::new(components)?
        })
    }

    /// A vector in the axes of component `k`.
    fn along_axes(&self, k: usize, x: Vec<f64>) -> Vec<f64> {
        self.turned(k, x, |i, j| j * self.d + i)
    }

    /// A vector in the axes of component `k`, back in coordinates.
    fn in_coordinates(&self, k: usize, x: Vec<f64>) -> Vec<f64> {
        self.turned(k, x, |i, j| i * self.d + j)
    }

    fn turned(&self, k: usize, x: Vec<f64>, at: impl Fn(usize, usize) -> usize) -> Vec<f64> {
        let Some(axes) = &self.axes[k] else {
            return x;
        };
        let entry = |i: usize| x.iter().enumerate().map(|(j, x)| axes[at(i, j)] * x).sum();
        (0..self.d).map(entry).collect()
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
        self.posterior(x, 1.0, |std| self.alpha * std * std)
    }

    /// The velocity `E[d_alpha x1 + d_sigma x0 | x]`.
    pub fn velocity(&self, x: &[f64]) -> Vec<f64> {
        self.posterior(x, self.d_alpha, |std| self.covariance(std))
    }

    /// The trace of the velocity's Jacobian, `sum_i d v_i / d x_i`.
    ///
    /// With the component's own velocity `u_k` and score `g_k` it is `sum_k r_k (sum_i a_ki / c_ki + (g_k - g) u_k)`, where `g` is the score
    /// and `a_ki` the covariance of velocity and state.
    pub fn velocity_trace(&self, x: &[f64]) -> f64 {
        let (d, score) = (self.mixture.d, self.score(x));
        let log_joint = self.log_joint(x);
        let log_density = log_sum_exp(&log_joint);
        let mut sum = 0.0;
        for (k, component) in self.mixture.components.iter().enumerate() {
            let variances = &self.variances[k * d..(k + 1) * d];
            let precise = self.precise(k, x);
            let slopes: Vec<f64> = component.std.iter().map(|s| self.covariance(*s)).collect();
            let own: f64 = slopes.iter().zip(variances).map(|(a, c)| a / c).sum();
            let moved: Vec<f64> = slopes.iter().zip(&precise).map(|(a, p)| a * p).collect();
            let (moved, precise) = (
                self.mixture.in_coordinates(k, moved),
                self.mixture.in_coordinates(k, precise),
            );
            let product: f64 = (0..d)
                .map(|i| (-precise[i] - score[i]) * (self.d_alpha * component.mean[i] + moved[i]))
                .sum();
            sum += libm::exp(log_joint[k] - log_density) * (own + product);
        }
        sum
    }

    /// The score `grad log p_t(x)`.
    pub fn score(&self, x: &[f64]) -> Vec<f64> {
        self.posterior(x, 0.0, |_| -1.0)
    }

    /// The posterior mean of the noise, `E[x0 | x]`.
    pub fn noise(&self, x: &[f64]) -> Vec<f64> {
        self.posterior(x, 0.0, |_| self.sigma)
    }

    /// The covariance of velocity and state along an axis with this deviation of the data.
    fn covariance(&self, std: f64) -> f64 {
        self.d_alpha * self.alpha * std * std + self.sigma_d_sigma
    }

    /// `x - alpha m_k` in the axes of component `k`.
    fn far(&self, k: usize, x: &[f64]) -> Vec<f64> {
        let mean = &self.mixture.components[k].mean;
        let far = x.iter().zip(mean).map(|(x, m)| x - self.alpha * m);
        self.mixture.along_axes(k, far.collect())
    }

    /// `(x - alpha m_k) / c_k` in the axes of component `k`.
    fn precise(&self, k: usize, x: &[f64]) -> Vec<f64> {
        let (d, mut far) = (self.mixture.d, self.far(k, x));
        let variances = &self.variances[k * d..(k + 1) * d];
        far.iter_mut().zip(variances).for_each(|(far, c)| *far /= c);
        far
    }

    /// `ln(w_k N(x; alpha m_k, c_k))` of every component.
    fn log_joint(&self, x: &[f64]) -> Vec<f64> {
        assert_eq!(x.len(), self.mixture.d, "a point of another dimension");
        let d = self.mixture.d;
        let log = |(k, component): (usize, &Component)| {
            let variances = &self.variances[k * d..(k + 1) * d];
            let far = self.far(k, x);
            let quadratic = far
                .iter()
                .zip(variances)
                .map(|(far, variance)| far * far / variance + libm::log(2.0 * PI * variance));
            libm::log(component.weight) - 0.5 * quadratic.sum::<f64>()
        };
        self.mixture
            .components
            .iter()
            .enumerate()
            .map(log)
            .collect()
    }

    /// `sum_k r_k (of_mean m_k + f(std) (x - alpha m_k) / c_k)`.
    fn posterior(&self, x: &[f64], of_mean: f64, f: impl Fn(f64) -> f64) -> Vec<f64> {
        let log_joint = self.log_joint(x);
        let log_density = log_sum_exp(&log_joint);
        let mut sum = vec![0.0; self.mixture.d];
        for (k, component) in self.mixture.components.iter().enumerate() {
            let share = libm::exp(log_joint[k] - log_density);
            let precise = self.precise(k, x);
            let pairs = component.std.iter().zip(&precise);
            let moved: Vec<f64> = pairs.map(|(std, precise)| f(*std) * precise).collect();
            let moved = self.mixture.in_coordinates(k, moved);
            for ((sum, mean), moved) in sum.iter_mut().zip(&component.mean).zip(moved) {
                *sum += share * (of_mean * mean + moved);
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
