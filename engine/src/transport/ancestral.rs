//! Sampling along a chain of noise levels: ancestral sampling and DDIM.

use super::along::Along;
use super::names::named_enum;
use super::{
    Chain, Coefs, Ddpm, DdpmSchedule, Path, Posterior, Prediction, Respacing, Step, Transport,
    Variance, is_finite_f32,
};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

named_enum! {
    /// How a chain is sampled.
    #[derive(Default)]
    pub enum DdpmMethod: "ddpm" {
        /// Ancestral sampling: each step draws from `p(x_{i-1} | x_i)`, with the mean of `q(x_{i-1} | x_i, x1)` at the predicted image
        /// (arXiv 2006.11239, algorithm 2).
        #[default]
        Ancestral = "ancestral",
        /// DDIM: the predicted image and noise, put together at the next noise level; with `eta` above 0 a part of the noise is drawn
        /// anew (arXiv 2010.02502, equation 12).
        Ddim = "ddim",
    }
}

/// A sampler of discrete diffusion. A model of another path is sampled at the noise levels of `schedule` with 1000 of them, by the
/// exact change of scale and time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DdpmSampler {
    /// The method of its steps.
    pub method: DdpmMethod,
    /// The noise levels of its steps; by default those that the model was trained at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respacing: Option<Respacing>,
    /// The share of new noise in DDIM's steps, from 0 to 1: with 1 as much as in ancestral sampling.
    pub eta: f64,
    /// The largest absolute value of the predicted image, above 0; 1 is for pixels, latents have no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_x0: Option<f64>,
    /// The variance of ancestral sampling; by default the model's, and fixed-small for a model without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variance: Option<Variance>,
    /// The noise levels for a model of another path.
    pub schedule: DdpmSchedule,
    /// Whether DDIM goes from an image to its noise.
    pub reverse: bool,
}

impl DdpmSampler {
    /// Ancestral sampling.
    pub fn ancestral() -> Self {
        Self::default()
    }

    /// DDIM with this share of new noise.
    pub fn ddim(eta: f64) -> Self {
        DdpmSampler {
            method: DdpmMethod::Ddim,
            eta,
            ..Self::default()
        }
    }

    /// Number of steps, as far as it is known without the model.
    pub(crate) fn n_steps(&self) -> u32 {
        let given = self.respacing.as_ref().and_then(Respacing::n_steps);
        given.unwrap_or(1000)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let is_ddim = self.method == DdpmMethod::Ddim;
        if !(0.0..=1.0).contains(&self.eta) || self.eta != 0.0 && !is_ddim {
            let expected = match is_ddim {
                true => "a number from 0 to 1",
                false => "0: only ddim has it",
            };
            return Err(Error::setting(
                "eta",
                format!("got {}, expected {expected}", self.eta),
            ));
        }
        if self.reverse && (!is_ddim || self.eta != 0.0) {
            return Err(Error::setting(
                "reverse",
                "only ddim with eta 0 goes from an image to its noise",
            ));
        }
        match self.clip_x0 {
            Some(clip) if !(clip > 0.0 && is_finite_f32(clip)) => Err(Error::setting(
                "clip_x0",
                format!("got {clip}, expected a number above 0"),
            )),
            _ => Ok(()),
        }
    }
}

/// The steps of a sampler.
pub(crate) fn steps(transport: &Transport, sampler: &DdpmSampler) -> Result<Vec<Step>> {
    transport.validate()?;
    sampler.validate()?;
    let run = Run::new(transport, sampler)?;
    let n = run.chain.len();
    match sampler.reverse {
        true => (0..n).map(|i| run.back(i)).collect(),
        false => (0..n).rev().map(|i| run.step(i)).collect(),
    }
}

/// A sampler of a model.
struct Run<'a> {
    transport: &'a Transport,
    sampler: &'a DdpmSampler,
    /// The path of the states.
    levels: Path,
    chain: Chain,
    variance: Variance,
}

impl<'a> Run<'a> {
    fn new(transport: &'a Transport, sampler: &'a DdpmSampler) -> Result<Self> {
        let own = match &transport.path {
            Path::Ddpm(ddpm) => Some(ddpm),
            _ => None,
        };
        let levels = match own {
            Some(ddpm) => Arc::clone(ddpm),
            None => Arc::new(Ddpm::usual(sampler.schedule)),
        };
        let respacing = sampler.respacing.as_ref().unwrap_or(&levels.respacing);
        let chain = Chain::new(&levels, respacing, "respacing")?;
        let variance = match (sampler.variance, own) {
            (Some(given), Some(ddpm)) if given.is_learned() && given != ddpm.variance => {
                return Err(Error::setting(
                    "ddpm_variance",
                    format!(
                        "got {given}, but the model has learned its steps with {}; expected {}, fixed-small or fixed-large",
                        ddpm.variance, ddpm.variance
                    ),
                ));
            }
            (Some(given), None) if given.is_learned() => {
                return Err(Error::setting(
                    "ddpm_variance",
                    format!(
                        "got {given}, but a model of the {} path has learned none; expected fixed-small or fixed-large",
                        transport.path
                    ),
                ));
            }
            (Some(given), _) => given,
            (None, Some(ddpm)) => ddpm.variance,
            (None, None) => Variance::FixedSmall,
        };
        if own.is_none() {
            check_reach(&transport.path, &levels, &chain)?;
        }
        Ok(Run {
            transport,
            sampler,
            levels: Path::Ddpm(levels),
            chain,
            variance,
        })
    }

    fn along(&self) -> Along<'_> {
        let own = self.transport.path.ddpm().is_some();
        Along::new(self.transport, (!own).then_some(&self.levels))
    }

    /// The time of a position.
    fn time(&self, i: usize) -> f64 {
        let index = self.chain.indices()[i];
        self.levels.ddpm().map_or(0.0, |levels| levels.time(index))
    }

    /// The predicted image at a position from the state and the output.
    fn data(&self, i: usize) -> Result<Coefs> {
        if self.transport.prediction != Prediction::Mean {
            return self.along().data(self.time(i));
        }
        // The network's mean counts for the step of this chain, as in guided-diffusion: also when levels are left out.
        let [of_data, of_x] = self.chain.posterior_mean(i);
        Ok(Coefs {
            x: -of_x / of_data,
            out: 1.0 / of_data,
        })
    }

    /// The step from a position to the next one nearer to data.
    fn step(&self, i: usize) -> Result<Step> {
        let t_next = i.checked_sub(1).map_or(1.0, |i| self.time(i));
        let (abar, before) = (self.chain.abar(i), self.chain.abar_before(i));
        let mut posterior = Posterior::data(self.data(i)?, self.sampler.clip_x0);
        match self.sampler.method {
            DdpmMethod::Ancestral => {
                let [of_data, of_x] = self.chain.posterior_mean(i);
                (posterior.x0, posterior.x) = (of_data, of_x);
                if self.transport.prediction == Prediction::Mean {
                    // The output is the mean, which no predicted image limits.
                    posterior.data = Coefs { x: 0.0, out: 1.0 };
                    (posterior.x0, posterior.x, posterior.clip) = (1.0, 0.0, f64::INFINITY);
                }
                posterior.is_learned = self.variance.is_learned() && self.chain.len() > 1;
                // The mean moves by the variance times the gradient (arXiv 2105.05233, algorithm 1).
                let log_variance = self.chain.log_variance(self.variance, i);
                (posterior.gradient, posterior.log_variance) = match self.variance {
                    Variance::FixedSmall if i == 0 => (0.0, [0.0; 2]),
                    _ if posterior.is_learned => (1.0, log_variance),
                    _ => (libm::exp(log_variance[0]), [0.0; 2]),
                };
                // The last step draws nothing.
                if i > 0 {
                    posterior.noise = 1.0;
                    posterior.log_std = self.chain.log_variance(self.variance, i).map(|v| 0.5 * v);
                }
            }
            DdpmMethod::Ddim => {
                let ratio = (1.0 - before) / (1.0 - abar);
                posterior.noise = self.sampler.eta * libm::sqrt(ratio * self.chain.beta(i));
                let kept = (1.0 - before - posterior.noise * posterior.noise).max(0.0);
                put_together(&mut posterior, abar, before, libm::sqrt(kept));
            }
        }
        self.checked([self.time(i), t_next], i, posterior)
    }

    /// DDIM's step from a position to the next one nearer to noise. Beyond the last one there is noise alone.
    fn back(&self, i: usize) -> Result<Step> {
        let (abar, after) = (self.chain.abar(i), self.chain.abar_after(i));
        let mut posterior = Posterior::data(self.data(i)?, self.sampler.clip_x0);
        put_together(&mut posterior, abar, after, libm::sqrt(1.0 - after));
        // The image stands for the state of the first noise level.
        let t = if i == 0 { 1.0 } else { self.time(i) };
        let t_next = if i + 1 < self.chain.len() {
            self.time(i + 1)
        } else {
            0.0
        };
        self.checked([t, t_next], i, posterior)
    }

    fn checked(&self, times: [f64; 2], i: usize, mut posterior: Posterior) -> Result<Step> {
        let at = self.along().at(self.time(i));
        // The gradient with respect to the state, by that with respect to the network's input.
        posterior.gradient *= at.scale;
        let Posterior { data, x, x0, .. } = posterior;
        let [a, b] = posterior.log_std;
        if ![data.x, data.out, x, x0, a, b, posterior.gradient]
            .into_iter()
            .all(is_finite_f32)
        {
            return Err(Error::Config(format!(
                "the step from noise level {} is not finite for {} prediction on the {} path",
                self.chain.indices()[i],
                self.transport.prediction,
                self.transport.path
            )));
        }
        Ok(Step::posterior(times, at, posterior))
    }
}

/// `X' = sqrt(to) x0 + sigma n`, with the noise `n = (X - sqrt(abar) x0) / sqrt(1 - abar)` that goes with the predicted image.
fn put_together(posterior: &mut Posterior, abar: f64, to: f64, sigma: f64) {
    posterior.x = sigma / libm::sqrt(1.0 - abar);
    posterior.x0 = libm::sqrt(to) - posterior.x * libm::sqrt(abar);
    // A classifier's gradient takes sigma_t times it from the noise, and the predicted image goes with that (arXiv 2105.05233, algorithm 2).
    posterior.gradient = posterior.x0 * (1.0 - abar) / libm::sqrt(abar);
}

/// Rejects noise levels that the path of a model does not have. Where less than 2 % of a state is data, the nearest one will do.
fn check_reach(model: &Path, levels: &Ddpm, chain: &Chain) -> Result<()> {
    const LITTLE_DATA: f64 = 0.02;
    let lambda = |abar: f64| 0.5 * (libm::log(abar) - libm::log(1.0 - abar));
    let reached = [model.half_log_snr(0.0), model.half_log_snr(1.0)];
    for (i, index) in chain.indices().iter().enumerate() {
        let wanted = lambda(chain.abar(i));
        let is_noise = model.alpha(0.0) < LITTLE_DATA * model.sigma(0.0)
            && libm::sqrt(chain.abar(i)) < LITTLE_DATA;
        if wanted > reached[1] || wanted < reached[0] && !is_noise {
            return Err(Error::setting(
                "ddpm",
                format!(
                    "the model's {model} path lacks noise level {index} of the {} schedule: its sigma over alpha goes from {:.4} to \
                     {:.4}, and that level has {:.4}; expected a respacing without it, such as ddim20, or an ODE or SDE",
                    levels.schedule(),
                    libm::exp(-reached[0]),
                    libm::exp(-reached[1]),
                    libm::exp(-wanted),
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
