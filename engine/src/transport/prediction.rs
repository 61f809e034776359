//! What the network predicts, and the conversions between velocity, score, noise and data: SiT's `transport/path.py`
//! (`get_score_from_velocity`, ...) and `Transport.get_drift`.

use super::{Coefs, Diffusion, Transport, names::named_enum};
use crate::error::{Error, Result};

named_enum! {
    /// The meaning of the network's output.
    #[derive(Default)]
    pub enum Prediction: "prediction" {
        /// The velocity `E[d_alpha x1 + d_sigma x0 | x_t]`.
        #[default]
        Velocity = "velocity",
        /// The score `grad log p_t = -E[x0 | x_t] / sigma_t`.
        Score = "score",
        /// The noise `E[x0 | x_t]`.
        Noise = "noise",
        /// The data `E[x1 | x_t]` (JiT, arXiv 2511.13720). Divisions by sigma use at least
        /// 0.05.
        Data = "data",
        /// The data on the EDM path, with EDM's preconditioning (arXiv 2206.00364, table 1): `E[x1 | x_t] = c_skip x + c_out O`, where
        /// the network gets `c_in x` and `ln(sigma) / 4` in the place of the time.
        Denoiser = "denoiser",
        /// The mean of the step of a DDPM chain, `E[c_1 x1 + c_2 x_i | x_i]` with the coefficients of `q(x_{i-1} | x_i, x1)`
        /// (improved-diffusion's `PREVIOUS_X`).
        Mean = "mean",
    }
}

named_enum! {
    /// The weight of a score, noise or data loss.
    #[derive(Default)]
    pub enum LossWeight: "loss weight" {
        /// 1.
        #[default]
        None = "none",
        /// `(drift_var / sigma)^2`, which makes the loss equal to the velocity loss (paper, appendix A.4). For data
        /// `((d_alpha sigma - alpha d_sigma) / sigma)^2`, JiT's loss.
        Velocity = "velocity",
        /// `drift_var / sigma^2`, a likelihood bound; not available for data.
        Likelihood = "likelihood",
    }
}

/// What EDM puts around a network at one time (arXiv 2206.00364, table 1).
#[derive(Debug, Clone, Copy)]
pub(super) struct Preconditioning {
    /// `c_skip = s^2 / (sigma^2 + s^2)`, with the standard deviation `s` of the data.
    pub skip: f64,
    /// `c_out = sigma s / sqrt(sigma^2 + s^2)`.
    pub out: f64,
    /// `c_in = 1 / sqrt(sigma^2 + s^2)`.
    pub input: f64,
}

impl Transport {
    /// EDM's preconditioning at `t`.
    pub(super) fn preconditioning(&self, t: f64) -> Preconditioning {
        let (sigma, data) = (self.path.sigma(t), self.data_std);
        let total = sigma * sigma + data * data;
        Preconditioning {
            skip: data * data / total,
            out: sigma * data / libm::sqrt(total),
            input: 1.0 / libm::sqrt(total),
        }
    }

    /// Factor of the state that the network gets at `t`.
    pub(crate) fn input_scale(&self, t: f64) -> f64 {
        match self.prediction {
            Prediction::Denoiser => self.preconditioning(t).input,
            _ => 1.0,
        }
    }

    /// The output of a network of [`Prediction::Denoiser`] for this predicted data.
    pub(crate) fn denoiser_output(&self, t: f64, x: &[f64], data: &[f64]) -> Vec<f64> {
        let Preconditioning { skip, out, .. } = self.preconditioning(t);
        let pairs = x.iter().zip(data);
        pairs.map(|(x, data)| (data - skip * x) / out).collect()
    }

    /// What the network gets in the place of the time `t`: on the DDPM path the index, else mostly `t` itself.
    #[doc(hidden)]
    pub fn time_input(&self, t: f64) -> f64 {
        match self.prediction {
            Prediction::Denoiser => 0.25 * libm::log(self.path.sigma(t)),
            _ => self.path.ddpm().map_or(t, |ddpm| ddpm.time_input(t)),
        }
    }
}

/// Conversions of a network output at time `t` in `[0, 1]`, as coefficients of the state and the output.
impl Transport {
    /// The score if it is finite; `None` where sigma vanishes and there is no limit.
    fn score_coefs(&self, t: f64) -> Option<Coefs> {
        match (self.prediction, &self.path) {
            (Prediction::Score, _) => Some(Coefs { x: 0.0, out: 1.0 }),
            (Prediction::Data | Prediction::Mean, path) => {
                Some(self.noise(t).scaled(-1.0 / path.clamped_sigma(t)))
            }
            (Prediction::Velocity, path) if path.is_decay() => Some(Coefs {
                x: -1.0,
                out: 1.0 / self.path.drift_var(t),
            }),
            _ => {
                let sigma = self.path.sigma(t);
                (sigma > 0.0).then(|| self.noise(t).scaled(-1.0 / sigma))
            }
        }
    }

    fn finite(&self, what: &str, t: f64, coefs: Option<Coefs>) -> Result<Coefs> {
        coefs.filter(|coefs| coefs.is_finite_f32()).ok_or_else(|| {
            Error::Config(format!(
                "the {what} is not finite at t = {t} for {} prediction on the {} path",
                self.prediction, self.path
            ))
        })
    }
}

impl Transport {
    /// The velocity `v = (d ln alpha / dt) x + drift_var s`, the drift of the probability flow ODE.
    ///
    /// # Errors
    /// [`Error::Config`] where it has no finite limit: score or noise at `t = 0` on Linear and GVP, noise at `t = 1` on VP.
    pub fn velocity(&self, t: f64) -> Result<Coefs> {
        let Self {
            path, prediction, ..
        } = self;
        let coefs = match prediction {
            Prediction::Velocity => Coefs { x: 0.0, out: 1.0 },
            Prediction::Score => Coefs {
                x: path.d_log_alpha(t),
                out: path.drift_var(t),
            },
            Prediction::Noise => Coefs {
                x: path.d_log_alpha(t),
                out: -path.drift_var_over_sigma(t),
            },
            Prediction::Data => Coefs {
                x: path.d_sigma(t),
                out: path.data_slope(t),
            }
            .scaled(1.0 / path.clamped_sigma(t)),
            Prediction::Denoiser => self.noise(t).scaled(path.d_sigma(t)),
            Prediction::Mean => Coefs {
                x: path.d_log_alpha(t),
                out: 0.0,
            }
            .plus(self.noise(t).scaled(-path.drift_var_over_sigma(t))),
        };
        self.finite("velocity", t, Some(coefs))
    }
}

#[doc(hidden)]
impl Transport {
    /// The score `s = -E[x0 | x] / sigma`.
    ///
    /// # Errors
    /// [`Error::Config`] at `t = 1` for noise, and for velocity on Linear and GVP.
    pub fn score(&self, t: f64) -> Result<Coefs> {
        self.finite("score", t, self.score_coefs(t))
    }

    /// The noise `E[x0 | x]`; finite everywhere.
    pub fn noise(&self, t: f64) -> Coefs {
        match self.prediction {
            Prediction::Velocity => self.path.noise_from_velocity(t),
            Prediction::Score => Coefs {
                x: 0.0,
                out: -self.path.sigma(t),
            },
            Prediction::Noise => Coefs { x: 0.0, out: 1.0 },
            Prediction::Data => Coefs {
                x: 1.0,
                out: -self.path.alpha(t),
            }
            .scaled(1.0 / self.path.clamped_sigma(t)),
            // alpha is 1.
            Prediction::Denoiser => {
                let Preconditioning { skip, out, .. } = self.preconditioning(t);
                Coefs {
                    x: 1.0 - skip,
                    out: -out,
                }
                .scaled(1.0 / self.path.sigma(t))
            }
            Prediction::Mean => self.noise_of_mean(t),
        }
    }

    /// The predicted data by Tweedie's formula, `E[x1 | x] = (x + sigma^2 s) / alpha`.
    ///
    /// # Errors
    /// [`Error::Config`] for score and noise at `t = 0` on Linear and GVP, where alpha is 0.
    pub fn x1_pred(&self, t: f64) -> Result<Coefs> {
        let Self {
            path, prediction, ..
        } = self;
        let coefs = match prediction {
            Prediction::Velocity => Some(path.data_from_velocity(t)),
            Prediction::Data => Some(Coefs { x: 0.0, out: 1.0 }),
            Prediction::Mean => Some(self.data_of_mean(t)),
            Prediction::Denoiser => {
                let Preconditioning { skip, out, .. } = self.preconditioning(t);
                Some(Coefs { x: skip, out })
            }
            Prediction::Score | Prediction::Noise => {
                let (alpha, sigma) = (path.alpha(t), path.sigma(t));
                (alpha > 0.0).then(|| {
                    Coefs { x: 1.0, out: 0.0 }
                        .plus(self.noise(t).scaled(-sigma))
                        .scaled(1.0 / alpha)
                })
            }
        };
        self.finite("predicted data", t, coefs)
    }

    /// The SDE's drift `v + D_t s`, using the analytic limit of `D_t s` where the score alone is infinite.
    ///
    /// # Errors
    /// [`Error::Config`] where the velocity is not finite, or `D_t s` has no finite limit.
    pub fn drift(&self, diffusion: &Diffusion, t: f64) -> Result<Coefs> {
        let diffusion_score = if diffusion.is_zero() {
            Some(Coefs::ZERO)
        } else if let Some(score) = self.score_coefs(t) {
            Some(score.scaled(diffusion.at(&self.path, t)))
        } else {
            diffusion
                .over_sigma_at_one(&self.path)
                .map(|ratio| self.noise(t).scaled(-ratio))
        };
        let velocity = self.velocity(t)?;
        let what = format!("SDE drift with the {diffusion} diffusion");
        self.finite(&what, t, diffusion_score.map(|coefs| velocity.plus(coefs)))
    }
}

#[cfg(test)]
mod tests;
