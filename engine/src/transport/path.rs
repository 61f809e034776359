//! The interpolant's path: the scalars `alpha_t` and `sigma_t` of `x_t = alpha_t x1 + sigma_t x0`.

mod table;
#[cfg(test)]
mod tests;

pub use table::PathTable;

use super::{Coefs, Ddpm, names::named_enum};
use crate::error::{Error, Result};
use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};
use std::fmt;
use std::sync::Arc;

/// How `x_t` moves from noise (`t = 0`) to data (`t = 1`); SiT (arXiv 2401.08740) section 3 and `transport/path.py`.
///
/// Every function takes `t` in `[0, 1]` and never returns NaN. Singular values are infinite: `d_log_alpha` and `drift_var` of
/// Linear and GVP at `t = 0`, `d_sigma` of VP at `t = 1`.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Path {
    /// `alpha = t`, `sigma = 1 - t`.
    #[default]
    Linear,
    /// `alpha = sin(pi t / 2)`, `sigma = cos(pi t / 2)`: generalized variance preserving.
    Gvp,
    /// Score-SDE's variance preserving path (arXiv 2011.13456): `d ln alpha / dt = beta_t / 2`, `sigma = sqrt(1 - alpha^2)`, where
    /// `beta_t` falls linearly from the second number at noise to the first one at data; see [`Path::VP`].
    Vp {
        /// `beta` at data and at noise, both above 0.
        beta: [f64; 2],
    },
    /// The Ornstein-Uhlenbeck process over a time `T`: `alpha = exp(-T (1 - t))`, `sigma = sqrt(1 - alpha^2)`. Its velocity is a
    /// derivative by `t`; see [`Path::OU`].
    Ou {
        /// The process's time `T`, above 0.
        time: f64,
    },
    /// EDM's pure denoising (arXiv 2206.00364): `alpha = 1`, and `sigma^(1/rho)` falls linearly from its largest value at noise to
    /// its smallest one at data; see [`Path::EDM`].
    Edm {
        /// The smallest and the largest `sigma`.
        sigma: [f64; 2],
        /// The exponent `rho`, at least 1.
        rho: f64,
    },
    /// `alpha` and `sigma` of a table over time.
    Table(Arc<PathTable>),
    /// The noise levels of discrete diffusion, `alpha = sqrt(abar)` and `sigma = sqrt(1 - abar)`.
    Ddpm(Arc<Ddpm>),
}

named_enum! {
    /// A path, without its numbers.
    #[doc(hidden)]
    #[derive(Default)]
    pub enum PathName: "path" {
        /// [`Path::Linear`].
        #[default]
        Linear = "Linear",
        /// [`Path::Gvp`].
        Gvp = "GVP",
        /// [`Path::Vp`].
        Vp = "VP",
        /// [`Path::Ou`].
        Ou = "OU",
        /// [`Path::Edm`].
        Edm = "EDM",
        /// [`Path::Ddpm`].
        Ddpm = "DDPM",
        /// [`Path::Table`].
        Table = "table",
    }
}

/// The minimum sigma that data predictions are divided by: otherwise a network's error in the image would be amplified without
/// bound near the end (JiT's `t_eps`, there on the Linear path).
#[doc(hidden)]
pub const DATA_MIN_SIGMA: f64 = 0.05;

/// `sin(pi t / 2)` for `t` in `[0, 1]`, exact at both ends; `1 - t` gives the cosine.
fn quarter_sin(t: f64) -> f64 {
    if t <= 0.5 {
        libm::sin(FRAC_PI_2 * t)
    } else {
        libm::cos(FRAC_PI_2 * (1.0 - t))
    }
}

/// `sigma^(1/rho)` of EDM's path.
fn edm_root(sigma: [f64; 2], rho: f64, t: f64) -> f64 {
    libm::pow(sigma[1], 1.0 / rho) + t * edm_slope(sigma, rho)
}

/// `d sigma^(1/rho) / dt` of EDM's path.
fn edm_slope([least, most]: [f64; 2], rho: f64) -> f64 {
    libm::pow(least, 1.0 / rho) - libm::pow(most, 1.0 / rho)
}

/// `a / b`, and 0 for 0 / 0.
fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 { 0.0 } else { a / b }
}

impl Path {
    /// The VP path with score-SDE's numbers, beta from 0.1 to 20.
    pub const VP: Path = Path::Vp { beta: [0.1, 20.0] };

    /// The Ornstein-Uhlenbeck path of time 10.
    pub const OU: Path = Path::Ou { time: 10.0 };

    /// EDM's path with its numbers, sigma from 0.002 to 80 and rho 7.
    pub const EDM: Path = Path::Edm {
        sigma: [0.002, 80.0],
        rho: 7.0,
    };

    /// Checks the path's numbers.
    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |key: &str, got: String, expected: &str| {
            Err(Error::setting(
                key,
                format!("got {got}, expected {expected}"),
            ))
        };
        match *self {
            Self::Vp { beta } if !beta.iter().all(|b| *b > 0.0 && *b <= 1e3) => refuse(
                "vp_beta",
                format!("{beta:?}"),
                "two numbers above 0 and at most 1000, at data and at noise",
            ),
            Self::Ou { time } if !(time > 0.0 && time <= 1e3) => refuse(
                "ou_time",
                time.to_string(),
                "a number above 0 and at most 1000",
            ),
            Self::Edm {
                sigma: [least, most],
                ..
            } if !(least > 0.0 && least < most && most <= 1e6) => refuse(
                "edm_sigma",
                format!("[{least}, {most}]"),
                "two rising numbers above 0 and at most 1e6",
            ),
            Self::Edm { rho, .. } if !(1.0..=100.0).contains(&rho) => {
                refuse("edm_rho", rho.to_string(), "a number from 1 to 100")
            }
            Self::Ddpm(ref ddpm) => ddpm.validate(),
            _ => Ok(()),
        }
    }

    /// `-ln alpha_t` and `d ln alpha_t / dt` of a path with `alpha^2 + sigma^2 = 1` that is given by its rate.
    fn decay(&self, t: f64) -> Option<[f64; 2]> {
        let r = 1.0 - t;
        match *self {
            Self::Vp {
                beta: [at_data, at_noise],
            } => {
                let range = at_noise - at_data;
                let log = 0.25 * r * r * range + 0.5 * r * at_data;
                Some([log, 0.5 * (at_data + r * range)])
            }
            Self::Ou { time } => Some([time * r, time]),
            Self::Ddpm(ref ddpm) => Some(ddpm.decay(t)),
            _ => None,
        }
    }

    /// Whether alpha is above 0 and sigma as a square root at `t = 1`, as on VP, OU and DDPM: then times are in `[0, 1 - e]`.
    pub(crate) fn is_decay(&self) -> bool {
        matches!(self, Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_))
    }

    /// `d ln alpha_t / dt`, the coefficient of `x` in the velocity when the score is given.
    pub(crate) fn d_log_alpha(&self, t: f64) -> f64 {
        match self {
            Self::Linear => 1.0 / t,
            Self::Gvp => FRAC_PI_2 * self.sigma(t) / self.alpha(t),
            Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => self.rate(t),
            _ => self.d_alpha(t) / self.alpha(t),
        }
    }

    /// `(d ln alpha / dt) sigma^2 - sigma d_sigma`, the coefficient of the score in the velocity: SiT's `compute_drift()[1]`.
    ///
    /// As a diffusion it is the paper's `w^KL / 2`.
    pub(crate) fn drift_var(&self, t: f64) -> f64 {
        match self {
            Self::Linear => (1.0 - t) / t,
            Self::Gvp => FRAC_PI_2 * self.sigma(t) / self.alpha(t),
            Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => self.rate(t),
            _ => ratio(self.sigma(t) * self.data_slope(t), self.alpha(t)),
        }
    }

    /// `drift_var / sigma`, finite where sigma vanishes on Linear and GVP.
    pub(super) fn drift_var_over_sigma(&self, t: f64) -> f64 {
        match self {
            Self::Linear => 1.0 / t,
            Self::Gvp => FRAC_PI_2 / self.alpha(t),
            Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => self.rate(t) / self.sigma(t),
            _ => self.data_slope(t) / self.alpha(t),
        }
    }

    /// `lim (1 - t) / sigma_t` as `t` goes to 1.
    pub(super) fn remaining_time_over_sigma_at_one(&self) -> f64 {
        match self {
            Self::Linear => 1.0,
            Self::Gvp => FRAC_2_PI,
            Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => 0.0,
            _ if self.sigma(1.0) > 0.0 => 0.0,
            _ => -1.0 / self.d_sigma(1.0),
        }
    }

    /// `d_alpha sigma - alpha d_sigma`; divided by sigma it is the coefficient of the data in the velocity.
    pub(super) fn data_slope(&self, t: f64) -> f64 {
        match self {
            Self::Linear => 1.0,
            Self::Gvp => FRAC_PI_2,
            // alpha^2 + sigma^2 = 1.
            Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => {
                self.alpha(t) * self.rate(t) / self.sigma(t)
            }
            _ => self.d_alpha(t) * self.sigma(t) - self.alpha(t) * self.d_sigma(t),
        }
    }

    /// `d ln alpha / dt` of a path that is given by it.
    fn rate(&self, t: f64) -> f64 {
        self.decay(t).map_or(f64::NAN, |[_, rate]| rate)
    }

    /// Sigma, clamped to at least [`DATA_MIN_SIGMA`]. DDPM's formulas do not clamp: its smallest noise level is above 0.
    pub(super) fn clamped_sigma(&self, t: f64) -> f64 {
        match self {
            Self::Ddpm(_) => self.sigma(t),
            _ => self.sigma(t).max(DATA_MIN_SIGMA),
        }
    }

    /// Discrete diffusion's settings, if it is such a path.
    pub(crate) fn ddpm(&self) -> Option<&Ddpm> {
        match self {
            Self::Ddpm(ddpm) => Some(ddpm),
            _ => None,
        }
    }

    /// `E[x0 | x]` from `x` and the velocity: together with [`Path::data_from_velocity`] it solves `x = alpha x1 + sigma x0`,
    /// `v = d_alpha x1 + d_sigma x0`. Finite on `[0, 1]`.
    pub(super) fn noise_from_velocity(&self, t: f64) -> Coefs {
        let (alpha, sigma) = (self.alpha(t), self.sigma(t));
        match self {
            Self::Linear => Coefs {
                x: 1.0,
                out: -alpha,
            },
            Self::Gvp => Coefs {
                x: sigma,
                out: -FRAC_2_PI * alpha,
            },
            Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => Coefs {
                x: sigma,
                out: -sigma / self.rate(t),
            },
            _ => Coefs {
                x: self.d_alpha(t),
                out: -alpha,
            }
            .scaled(1.0 / self.data_slope(t)),
        }
    }

    /// `E[x1 | x]` from `x` and the velocity. Finite on `[0, 1]`.
    pub(super) fn data_from_velocity(&self, t: f64) -> Coefs {
        let (alpha, sigma) = (self.alpha(t), self.sigma(t));
        match self {
            Self::Linear => Coefs { x: 1.0, out: sigma },
            Self::Gvp => Coefs {
                x: alpha,
                out: FRAC_2_PI * sigma,
            },
            Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => Coefs {
                x: alpha,
                out: sigma * sigma / (alpha * self.rate(t)),
            },
            _ => Coefs {
                x: -self.d_sigma(t),
                out: sigma,
            }
            .scaled(1.0 / self.data_slope(t)),
        }
    }

    /// `ln (alpha_t / sigma_t)`, half the logarithm of the signal-to-noise ratio: it rises with `t`, from minus to plus infinity
    /// where alpha and sigma vanish at the ends.
    pub(crate) fn half_log_snr(&self, t: f64) -> f64 {
        libm::log(self.alpha(t)) - libm::log(self.sigma(t))
    }

    /// The time of a [`Path::half_log_snr`]; the nearer end for one that this path does not reach, but on EDM, whose formula goes on.
    pub(crate) fn time_of(&self, half_log_snr: f64) -> f64 {
        match *self {
            // sigma / alpha = e^-lambda.
            Self::Linear => 1.0 / (1.0 + libm::exp(-half_log_snr)),
            Self::Gvp => FRAC_2_PI * libm::atan(libm::exp(half_log_snr)),
            Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => {
                // -2 ln alpha = ln(1 + e^-2 lambda).
                let log = 0.5 * libm::log1p(libm::exp(-2.0 * half_log_snr));
                let [most, _] = self.decay(0.0).unwrap_or_default();
                if log >= most {
                    return 0.0;
                }
                let r = match *self {
                    Self::Ddpm(ref ddpm) => return ddpm.time_of_decay(log),
                    Self::Ou { time } => log / time,
                    Self::Vp {
                        beta: [at_data, at_noise],
                    } => {
                        // The root of range/4 r^2 + at_data/2 r = log, in the form that stays exact for a small range.
                        let range = at_noise - at_data;
                        let root = libm::sqrt(at_data * at_data / 4.0 + range * log);
                        2.0 * log / (at_data / 2.0 + root)
                    }
                    _ => unreachable!("matched above"),
                };
                (1.0 - r).clamp(0.0, 1.0)
            }
            Self::Edm { sigma, rho } => {
                let root = libm::exp(-half_log_snr / rho);
                let from_noise = root - edm_root(sigma, rho, 0.0);
                // Other levels have times, too: before 0 larger ones, which churn reaches.
                from_noise / edm_slope(sigma, rho)
            }
            Self::Table(ref table) => table.time_of(half_log_snr),
        }
    }
}

#[doc(hidden)]
impl Path {
    /// The paths that have a name, with their usual numbers.
    pub const NAMED: [Path; 5] = [Path::Linear, Path::Gvp, Path::VP, Path::OU, Path::EDM];

    /// The name, without numbers.
    pub fn name(&self) -> PathName {
        match self {
            Self::Linear => PathName::Linear,
            Self::Gvp => PathName::Gvp,
            Self::Vp { .. } => PathName::Vp,
            Self::Ou { .. } => PathName::Ou,
            Self::Edm { .. } => PathName::Edm,
            Self::Table(_) => PathName::Table,
            Self::Ddpm(_) => PathName::Ddpm,
        }
    }

    /// `d alpha_t / dt`.
    pub fn d_alpha(&self, t: f64) -> f64 {
        match *self {
            Self::Linear => 1.0,
            Self::Gvp => FRAC_PI_2 * self.sigma(t),
            Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => self.alpha(t) * self.rate(t),
            Self::Edm { .. } => 0.0,
            Self::Table(ref table) => table.at(t).d_alpha,
        }
    }

    /// `d sigma_t / dt`.
    pub fn d_sigma(&self, t: f64) -> f64 {
        match *self {
            Self::Linear => -1.0,
            Self::Gvp => -FRAC_PI_2 * self.alpha(t),
            Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => {
                let [log, rate] = self.decay(t).unwrap_or_default();
                -libm::exp(-2.0 * log) * rate / self.sigma(t)
            }
            Self::Edm { sigma, rho } => {
                let root = edm_root(sigma, rho, t);
                rho * libm::pow(root, rho - 1.0) * edm_slope(sigma, rho)
            }
            Self::Table(ref table) => table.at(t).d_sigma,
        }
    }

    /// `sigma_t d_sigma_t`, finite also where `d_sigma` is not.
    pub fn sigma_d_sigma(&self, t: f64) -> f64 {
        match self {
            Self::Linear => -self.sigma(t),
            // alpha^2 + sigma^2 = 1.
            Self::Gvp | Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => {
                -self.alpha(t) * self.d_alpha(t)
            }
            _ => self.sigma(t) * self.d_sigma(t),
        }
    }

    /// `alpha_t`, the coefficient of data.
    pub fn alpha(&self, t: f64) -> f64 {
        match *self {
            Self::Linear => t,
            Self::Gvp => quarter_sin(t),
            Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => {
                let [log, _] = self.decay(t).unwrap_or_default();
                libm::exp(-log)
            }
            Self::Edm { .. } => 1.0,
            Self::Table(ref table) => table.at(t).alpha,
        }
    }

    /// `sigma_t`, the coefficient of noise.
    pub fn sigma(&self, t: f64) -> f64 {
        match *self {
            Self::Linear => 1.0 - t,
            Self::Gvp => quarter_sin(1.0 - t),
            Self::Vp { .. } | Self::Ou { .. } | Self::Ddpm(_) => {
                let [log, _] = self.decay(t).unwrap_or_default();
                libm::sqrt(-libm::expm1(-2.0 * log))
            }
            Self::Edm { sigma, rho } => libm::pow(edm_root(sigma, rho, t), rho),
            Self::Table(ref table) => table.at(t).sigma,
        }
    }
}

impl PathName {
    /// The path of this name with its usual numbers; `None` for a table.
    #[doc(hidden)]
    pub fn usual(self) -> Option<Path> {
        match self {
            PathName::Ddpm => Some(Path::Ddpm(Arc::default())),
            _ => Path::NAMED.into_iter().find(|path| path.name() == self),
        }
    }
}

/// The name: `Linear`, `GVP`, `VP`, `OU`, `EDM`, `table` or `DDPM`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}
