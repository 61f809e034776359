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
//! `t = 0` is noise `x0 ~ N(0, I)`, `t = 1` is data `x1`; the velocity points from noise to data (time runs the other way in the
//! paper). `D_t` is the diffusion of `dX = (v + D_t s) dt + sqrt(2 D_t) dW`, so the paper's `w_t` is `2 D_t`. A combination of
//! settings either has finite coefficients everywhere or is rejected with the reason.

mod curve;
mod diffusion;
mod guidance;
mod interval;
mod names;
mod path;
mod prediction;
mod sampler;
mod solver;
mod step;
mod tableau;
mod target;
#[cfg(test)]
mod testing;

pub use curve::Curve;
pub use diffusion::{Diffusion, DiffusionForm};
pub use guidance::{Guidance, GuidanceChannels};
pub use interval::Interval;
pub use path::{DATA_MIN_SIGMA, Path};
pub use prediction::{LossWeight, Prediction};
pub use sampler::{DEFAULT_LAST_STEP_SIZE, LastStep, Method, Sampler};
pub use solver::{nfe, schedule, schedule_from};
pub use step::Step;
#[doc(hidden)]
pub use step::StepForm;
pub(crate) use tableau::MAX_STAGES;
pub use tableau::Tableau;
pub use target::{Interpolant, LossCoefs, Target};

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// How a model was trained: path, prediction and weight of the loss; and the distance of all times from singular ends.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Transport {
    /// The interpolant's path.
    pub path: Path,
    /// What the network predicts.
    pub prediction: Prediction,
    /// The weight of a score, noise or data loss; `none` with velocity.
    pub loss_weight: LossWeight,
    /// Distance of training times from the ends, in `[0, 0.5)`; by default 1e-5 on VP, else 0 for
    /// velocity and data and 1e-3 for score and noise. Times are in `[e, 1 - e]`, on VP in `[0, 1 - e]` (its alpha is never 0).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t_eps_train: Option<f64>,
    /// Distance of sampling times from the ends, in `[0, 0.5)`; by default 0 for velocity and data on
    /// Linear and GVP, else 1e-3. Times are in `[e, 1 - e]`, on VP in `[0, 1 - e]`; a last step replaces the distance from 1 by its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t_eps_sample: Option<f64>,
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
fn is_finite_f32(value: f64) -> bool {
    (value as f32).is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_seven_combinations_are_valid() {
        let mut n_valid = 0;
        for &path in Path::ALL {
            for &prediction in Prediction::ALL {
                for &loss_weight in LossWeight::ALL {
                    let transport = Transport {
                        path,
                        prediction,
                        loss_weight,
                        ..Transport::default()
                    };
                    match transport.target() {
                        Ok(_) => n_valid += 1,
                        Err(error) => {
                            let reason = match prediction {
                                Prediction::Velocity => "the velocity loss has no weight",
                                _ => "expected none or velocity with data prediction",
                            };
                            assert!(error.to_string().contains(reason), "{error}");
                        }
                    }
                }
            }
        }
        assert_eq!(n_valid, 27);
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
}
