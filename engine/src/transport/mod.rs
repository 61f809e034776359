//! SiT's transport as scalars: paths, targets, conversions, diffusions and solver schedules (arXiv 2401.08740; SiT's
//! `transport/`).
//!
//! # Theory
//! The interpolant, the training target, the conversions between velocity, score, noise and data, and the steps of all solvers are
//! linear in tensors, with coefficients that depend on `t` alone. This module computes the coefficients in f64; the code that holds
//! the tensors applies them. A solver is the [`Tableau`] of an explicit Runge-Kutta method; a [`Step`] has its coefficients for one
//! path, one prediction and one pair of times.
//!
//! # Practice
//! [`schedule`] returns the steps of a [`Sampler`], and [`Step::apply`] applies one in f64. Here the exact velocity for data that
//! is always 2 takes the ODE there:
//!
//! ```
//! use sit_engine::transport::{Method, Sampler, Transport, schedule};
//!
//! # fn main() -> sit_engine::Result<()> {
//! let steps = schedule(&Transport::default(), &Sampler::ode(Method::Rk4, 20))?;
//! let mut x = [-0.7];
//! for step in &steps[..19] {
//!     step.apply(&mut x, &[], |x, t| vec![(2.0 - x[0]) / (1.0 - t)]);
//! }
//! assert!((x[0] - (2.0 - 2.7 * 0.05)).abs() < 1e-12);
//! # Ok(())
//! # }
//! ```
//!
//! # Conventions
//!
//! `t = 0` is noise `x0 ~ N(0, I)`, or another data set as [`Base`] says, `t = 1` is data `x1`; the velocity points from noise to data (time runs the other way in the
//! paper). `D_t` is the diffusion of `dX = (v + D_t s) dt + sqrt(2 D_t) dW`, so the paper's `w_t` is `2 D_t`. A combination of
//! settings either has finite coefficients everywhere or is rejected with the reason.

mod adaptive;
mod along;
mod ancestral;
mod base;
mod curve;
mod ddpm;
mod ddpm_bound;
mod diffusion;
mod edm;
mod file;
mod flow;
mod girsanov;
mod grid;
mod guidance;
mod interval;
mod multistep;
mod names;
mod path;
mod prediction;
mod reading;
mod sampler;
mod solver;
mod step;
mod tableau;
mod target;
#[cfg(test)]
mod testing;
mod times;
mod tolerance;

#[doc(hidden)]
pub use adaptive::{Adaptive, START_NFE, Verdict};
pub use ancestral::{DdpmMethod, DdpmSampler};
pub use base::Base;
pub use curve::Curve;
pub use ddpm::{Chain, Ddpm, DdpmLoss, DdpmSchedule, DdpmTimes, Respacing, Variance};
pub use diffusion::{Diffusion, DiffusionForm, KlEta};
pub use edm::{Edm, EdmMethod};
pub(crate) use flow::{Drift, Flow, Leg, Way};
#[doc(hidden)]
pub use girsanov::girsanov_factor;
pub use girsanov::{Bound, girsanov, start_kl};
pub use grid::Grid;
pub use guidance::{Guidance, GuidanceChannels};
pub use interval::Interval;
pub use path::{DATA_MIN_SIGMA, Path, PathName, PathTable};
pub use prediction::{LossWeight, Prediction};
#[doc(hidden)]
pub use reading::Reading;
pub use sampler::{
    Corrector, DEFAULT_LAST_STEP_SIZE, LastStep, Method, Ode, Sampler, Sde, SdeMethod,
};
pub use solver::{langevin, nfe, schedule, schedule_from};
#[doc(hidden)]
pub use step::StepForm;
pub use step::{Posterior, Step};
pub(crate) use tableau::MAX_STAGES;
pub use tableau::Tableau;
pub use target::{Interpolant, LossCoefs, Target};
pub use times::{Times, TimesKind};
pub use tolerance::{ErrorNorm, Tolerance};

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// More steps than a distilled model has.
const MAX_STUDENT_STEPS: u32 = 1024;

/// How a model was trained: path, prediction, weight of the loss and times; and the distance of all times from singular ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "file::TransportFile", into = "file::TransportFile")]
pub struct Transport {
    /// The interpolant's path.
    pub path: Path,
    /// What the network predicts.
    pub prediction: Prediction,
    /// The weight of a score, noise or data loss; `none` with velocity.
    pub loss_weight: LossWeight,
    /// Distance of training times from the ends, in `[0, 0.5)`; by default 1e-5 on VP and OU, 0 on EDM, else 0 for velocity and data and
    /// 1e-3 for score and noise. Times are in `[e, 1 - e]`, on VP and OU in `[0, 1 - e]` (their alpha is never 0). DDPM trains at its
    /// noise levels.
    pub t_eps_train: Option<f64>,
    /// Distance of sampling times from the ends, in `[0, 0.5)`; by default 1e-3 on VP and OU, 1 / T on DDPM, 0 on EDM, else 0 for velocity
    /// and data and 1e-3 for score and noise. Times are in `[e, 1 - e]`, on VP, OU and DDPM in `[0, 1 - e]`; a last step replaces the distance
    /// from 1 by its size. EDM's sampler and chains have noise levels of their own.
    pub t_eps_sample: Option<f64>,
    /// The distribution of training times.
    pub times: Times,
    /// Standard deviation of the data, for the preconditioning of [`Prediction::Denoiser`]; 0.5 by default.
    pub data_std: f64,
    /// What the path begins with: noise, or another data set.
    pub base: Base,
    /// Of a distilled model, the number of equal steps in which it goes from noise to data. What it predicts, converted to a velocity, is
    /// the mean velocity over a step: `x_s = x_t + (s - t) u(x_t, t)`. A network that reads the span s - t takes any other number of steps
    /// too.
    pub student_steps: Option<u32>,
}

impl Default for Transport {
    /// The velocity on the Linear path, at uniform times.
    fn default() -> Self {
        Transport {
            path: Path::default(),
            prediction: Prediction::default(),
            loss_weight: LossWeight::default(),
            t_eps_train: None,
            t_eps_sample: None,
            times: Times::default(),
            data_std: 0.5,
            base: Base::Gaussian,
            student_steps: None,
        }
    }
}

#[doc(hidden)]
impl Transport {
    /// Checks the combination of settings.
    ///
    /// Differs from SiT: a weight on the velocity loss, which SiT silently ignores, is rejected.
    ///
    /// # Errors
    /// [`Error::Setting`] for a weight that the prediction does not have, or a distance outside `[0, 0.5)`.
    pub fn validate(&self) -> Result<()> {
        if self.prediction == Prediction::Velocity && self.loss_weight != LossWeight::None {
            return Err(Error::setting(
                "loss_weight",
                format!(
                    "got {}, but the velocity loss has no weight; use none, or predict score, noise or data",
                    self.loss_weight
                ),
            ));
        }
        self.path.validate()?;
        self.validate_base()?;
        self.times.validate(&self.path)?;
        self.validate_discrete()?;
        if let Some(n) = self
            .student_steps
            .filter(|n| !(1..=MAX_STUDENT_STEPS).contains(n))
        {
            return Err(Error::setting(
                "student_steps",
                format!("got {n}, expected 1 to {MAX_STUDENT_STEPS}"),
            ));
        }
        let is_edm = matches!(self.path, Path::Edm { .. });
        if is_edm != (self.prediction == Prediction::Denoiser) {
            return Err(Error::setting(
                "prediction",
                match is_edm {
                    true => format!(
                        "got {}, expected denoiser on the EDM path, whose states are too large for a network without its \
                         preconditioning",
                        self.prediction
                    ),
                    false => format!(
                        "got denoiser on the {} path, expected the EDM path, or data",
                        self.path
                    ),
                },
            ));
        }
        if self.prediction == Prediction::Denoiser && self.loss_weight != LossWeight::None {
            return Err(Error::setting(
                "loss_weight",
                format!(
                    "got {}, expected none: the denoiser's loss has EDM's weight, 1 / c_out^2",
                    self.loss_weight
                ),
            ));
        }
        if !(self.data_std > 0.0 && self.data_std.is_finite()) {
            return Err(Error::setting(
                "data_std",
                format!("got {}, expected a number above 0", self.data_std),
            ));
        }
        if self.prediction == Prediction::Data && self.loss_weight == LossWeight::Likelihood {
            return Err(Error::setting(
                "loss_weight",
                "got likelihood, expected none or velocity with data prediction",
            ));
        }
        for (name, t_eps) in [
            ("t_eps_train", self.t_eps_train),
            ("t_eps_sample", self.t_eps_sample),
        ] {
            if let Some(t_eps) = t_eps
                && !(0.0..0.5).contains(&t_eps)
            {
                return Err(Error::setting(
                    name,
                    format!("got {t_eps}, expected a time in [0, 0.5)"),
                ));
            }
        }
        Ok(())
    }

    /// Checks what only discrete diffusion has, and what it does not have.
    fn validate_discrete(&self) -> Result<()> {
        let refuse = |key: &str, what: String| Err(Error::setting(key, what));
        let is_ddpm = self.path.ddpm().is_some();
        match self.prediction {
            Prediction::Mean if !is_ddpm => refuse(
                "prediction",
                format!(
                    "got mean on the {} path, expected the DDPM path, whose steps have a mean, or noise or data",
                    self.path
                ),
            ),
            Prediction::Velocity | Prediction::Score if is_ddpm => refuse(
                "prediction",
                format!("got {}, expected noise, data or mean on the DDPM path", self.prediction),
            ),
            Prediction::Mean if self.path.ddpm().is_some_and(|d| d.respacing != Respacing::All) => refuse(
                "ddpm_respacing",
                "expected all with mean prediction, whose steps are those between neighboring noise levels".into(),
            ),
            _ if !is_ddpm => Ok(()),
            _ if self.student_steps.is_some() => refuse(
                "student_steps",
                "expected none on the DDPM path, whose states have no velocity between its noise levels".into(),
            ),
            _ if self.loss_weight != LossWeight::None => refuse(
                "loss_weight",
                format!("got {}, expected none on the DDPM path, whose losses are those of ddpm_loss", self.loss_weight),
            ),
            _ if self.times != Times::default() => refuse(
                "times",
                "expected uniform without a shift on the DDPM path, whose times are those of ddpm_times".into(),
            ),
            _ if self.t_eps_train.is_some() => refuse(
                "t_eps_train",
                "expected none on the DDPM path, whose training times are its noise levels".into(),
            ),
            _ => Ok(()),
        }
    }
}

/// A tensor as a linear combination `x * X + out * O` of the state `X` and the network's output `O` for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefs {
    /// Coefficient of the state.
    pub x: f64,
    /// Coefficient of the network's output.
    pub out: f64,
}

impl Coefs {
    const ZERO: Self = Self { x: 0.0, out: 0.0 };

    fn scaled(self, factor: f64) -> Self {
        Self {
            x: factor * self.x,
            out: factor * self.out,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            x: self.x + other.x,
            out: self.out + other.out,
        }
    }

    fn is_finite_f32(self) -> bool {
        is_finite_f32(self.x) && is_finite_f32(self.out)
    }
}

/// Whether a coefficient is still finite when rounded to f32, in which it is applied.
pub(crate) fn is_finite_f32(value: f64) -> bool {
    (value as f32).is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirty_seven_combinations_are_valid() {
        let mut n_valid = 0;
        for path in Path::NAMED {
            for &prediction in Prediction::ALL {
                for &loss_weight in LossWeight::ALL {
                    let transport = Transport {
                        path: path.clone(),
                        prediction,
                        loss_weight,
                        ..Transport::default()
                    };
                    let is_denoiser = prediction == Prediction::Denoiser;
                    match transport.target() {
                        Ok(_) => n_valid += 1,
                        Err(error) => {
                            let reason = match prediction {
                                Prediction::Velocity if loss_weight != LossWeight::None => {
                                    "the velocity loss has no weight"
                                }
                                Prediction::Mean => "got mean on the",
                                _ if path == Path::EDM && !is_denoiser => "expected denoiser",
                                Prediction::Denoiser if path != Path::EDM => "got denoiser on the",
                                Prediction::Denoiser => "the denoiser's loss has EDM's weight",
                                _ => "expected none or velocity with data prediction",
                            };
                            assert!(error.to_string().contains(reason), "{error}");
                        }
                    }
                }
            }
        }
        assert_eq!(n_valid, 4 * 9 + 1);
    }

    #[test]
    fn a_distance_outside_its_range_is_refused_by_name() {
        for bad in [-1e-3, 0.5, f64::NAN, f64::INFINITY] {
            let transport = Transport {
                t_eps_sample: Some(bad),
                ..Transport::default()
            };
            assert!(
                transport
                    .validate()
                    .unwrap_err()
                    .to_string()
                    .starts_with("t_eps_sample: got")
            );
            let transport = Transport {
                t_eps_train: Some(bad),
                ..Transport::default()
            };
            assert!(
                transport
                    .validate()
                    .unwrap_err()
                    .to_string()
                    .starts_with("t_eps_train: got")
            );
        }
    }

    #[test]
    fn a_deviation_that_is_not_above_zero_is_refused() {
        for data_std in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let transport = Transport {
                data_std,
                ..Transport::default()
            };
            let message = transport.validate().unwrap_err().to_string();
            assert!(message.starts_with("data_std: got"), "{message}");
        }
    }
}
