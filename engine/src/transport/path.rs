//! The interpolant's path: the scalars `alpha_t` and `sigma_t` of `x_t = alpha_t x1 + sigma_t x0`.

use super::{Coefs, names::named_enum};
use std::f64::consts::{FRAC_2_PI, FRAC_PI_2};

named_enum! {
    /// How `x_t` moves from noise (`t = 0`) to data (`t = 1`); SiT (arXiv 2401.08740) section 3 and `transport/path.py`.
    ///
    /// Every function takes `t` in `[0, 1]` and never returns NaN. Singular values are infinite: `d_log_alpha` and `drift_var` of
    /// Linear and GVP at `t = 0`, `d_sigma` of VP at `t = 1`.
    #[derive(Default)]
    pub enum Path: "path" {
        /// `alpha = t`, `sigma = 1 - t`.
        #[default]
        Linear = "Linear",
        /// `alpha = sin(pi t / 2)`, `sigma = cos(pi t / 2)`: generalized variance preserving.
        Gvp = "GVP",
        /// `alpha = exp(-1/4 (1 - t)^2 19.9 - 1/2 (1 - t) 0.1)`, `sigma = sqrt(1 - alpha^2)`: score-SDE's variance
        /// preserving path with beta from 0.1 to 20.
        Vp = "VP",
    }
}

/// The minimum sigma that data predictions are divided by: otherwise a network's error in the image would be amplified without
/// bound near the end (JiT's `t_eps`, there on the Linear path).
#[doc(hidden)]
pub const DATA_MIN_SIGMA: f64 = 0.05;

const VP_BETA_MIN: f64 = 0.1;
const VP_BETA_RANGE: f64 = 19.9;

/// `ln alpha_t` of VP.
fn vp_log_alpha(t: f64) -> f64 {
    let r = 1.0 - t;
    -0.25 * r * r * VP_BETA_RANGE - 0.5 * r * VP_BETA_MIN
}

/// `d ln alpha_t / dt = beta_t / 2` of VP.
fn vp_half_beta(t: f64) -> f64 {
    0.5 * (VP_BETA_MIN + (1.0 - t) * VP_BETA_RANGE)
}

/// `sin(pi t / 2)` for `t` in `[0, 1]`, exact at both ends; `1 - t` gives the cosine.
fn quarter_sin(t: f64) -> f64 {
    if t <= 0.5 {
        libm::sin(FRAC_PI_2 * t)
    } else {
        libm::cos(FRAC_PI_2 * (1.0 - t))
    }
}

impl Path {
    /// `d ln alpha_t / dt`, the coefficient of `x` in the velocity when the score is given.
    pub(crate) fn d_log_alpha(self, t: f64) -> f64 {
        match self {
            Self::Linear => 1.0 / t,
            Self::Gvp => FRAC_PI_2 * self.sigma(t) / self.alpha(t),
            Self::Vp => vp_half_beta(t),
        }
    }

    /// `(d ln alpha / dt) sigma^2 - sigma d_sigma`, the coefficient of the score in the velocity: SiT's `compute_drift()[1]`.
    ///
    /// As a diffusion it is the paper's `w^KL / 2`.
    pub(crate) fn drift_var(self, t: f64) -> f64 {
        match self {
            Self::Linear => (1.0 - t) / t,
            Self::Gvp => FRAC_PI_2 * self.sigma(t) / self.alpha(t),
            Self::Vp => vp_half_beta(t),
        }
    }

    /// `drift_var / sigma`, finite where sigma vanishes on Linear and GVP.
    pub(super) fn drift_var_over_sigma(self, t: f64) -> f64 {
        match self {
            Self::Linear => 1.0 / t,
            Self::Gvp => FRAC_PI_2 / self.alpha(t),
            Self::Vp => vp_half_beta(t) / self.sigma(t),
        }
    }

    /// `lim (1 - t) / sigma_t` as `t` goes to 1.
    pub(super) fn remaining_time_over_sigma_at_one(self) -> f64 {
        match self {
            Self::Linear => 1.0,
            Self::Gvp => FRAC_2_PI,
            Self::Vp => 0.0,
        }
    }

    /// `d_alpha sigma - alpha d_sigma`; divided by sigma it is the coefficient of the data in the velocity.
    pub(super) fn data_slope(self, t: f64) -> f64 {
        match self {
            Self::Linear => 1.0,
            Self::Gvp => FRAC_PI_2,
            // alpha^2 + sigma^2 = 1.
            Self::Vp => self.alpha(t) * vp_half_beta(t) / self.sigma(t),
        }
    }

    /// Sigma, clamped to at least [`DATA_MIN_SIGMA`].
    pub(super) fn clamped_sigma(self, t: f64) -> f64 {
        self.sigma(t).max(DATA_MIN_SIGMA)
    }

    /// `E[x0 | x]` from `x` and the velocity: together with [`Path::data_from_velocity`] it solves `x = alpha x1 + sigma x0`,
    /// `v = d_alpha x1 + d_sigma x0`. Finite on `[0, 1]`.
    pub(super) fn noise_from_velocity(self, t: f64) -> Coefs {
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
            Self::Vp => Coefs {
                x: sigma,
                out: -sigma / vp_half_beta(t),
            },
        }
    }

    /// `E[x1 | x]` from `x` and the velocity. Finite on `[0, 1]`.
    pub(super) fn data_from_velocity(self, t: f64) -> Coefs {
        let (alpha, sigma) = (self.alpha(t), self.sigma(t));
        match self {
            Self::Linear => Coefs { x: 1.0, out: sigma },
            Self::Gvp => Coefs {
                x: alpha,
                out: FRAC_2_PI * sigma,
            },
            Self::Vp => Coefs {
                x: alpha,
                out: sigma * sigma / (alpha * vp_half_beta(t)),
            },
        }
    }
}

#[doc(hidden)]
impl Path {
    /// `d alpha_t / dt`.
    pub fn d_alpha(self, t: f64) -> f64 {
        match self {
            Self::Linear => 1.0,
            Self::Gvp => FRAC_PI_2 * self.sigma(t),
            Self::Vp => self.alpha(t) * vp_half_beta(t),
        }
    }

    /// `d sigma_t / dt`.
    pub fn d_sigma(self, t: f64) -> f64 {
        match self {
            Self::Linear => -1.0,
            Self::Gvp => -FRAC_PI_2 * self.alpha(t),
            Self::Vp => -libm::exp(2.0 * vp_log_alpha(t)) * vp_half_beta(t) / self.sigma(t),
        }
    }
}

#[doc(hidden)]
impl Path {
    /// `alpha_t`, the coefficient of data.
    pub fn alpha(self, t: f64) -> f64 {
        match self {
            Self::Linear => t,
            Self::Gvp => quarter_sin(t),
            Self::Vp => libm::exp(vp_log_alpha(t)),
        }
    }

    /// `sigma_t`, the coefficient of noise.
    pub fn sigma(self, t: f64) -> f64 {
        match self {
            Self::Linear => 1.0 - t,
            Self::Gvp => quarter_sin(1.0 - t),
            Self::Vp => libm::sqrt(-libm::expm1(2.0 * vp_log_alpha(t))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::testing::assert_near;

    /// Rows of values from the official code: t, alpha, d_alpha, sigma, d_sigma, drift_var.
    #[expect(
        clippy::approx_constant,
        reason = "digits as the official code printed them"
    )]
    const GOLDEN: [(Path, [f64; 6]); 9] = [
        (Path::Linear, [0.1, 0.1, 1.0, 0.9, -1.0, 9.0]),
        (Path::Linear, [0.5, 0.5, 1.0, 0.5, -1.0, 1.0]),
        (Path::Linear, [0.9, 0.9, 1.0, 0.1, -1.0, 0.11111111]),
        (
            Path::Gvp,
            [
                0.1,
                0.15643447,
                1.5514572,
                0.98768834,
                -0.24572668,
                9.9176177,
            ],
        ),
        (
            Path::Gvp,
            [
                0.5, 0.70710678, 1.1107207, 0.70710678, -1.1107207, 1.5707963,
            ],
        ),
        (
            Path::Gvp,
            [
                0.9, 0.98768834, 0.24572668, 0.15643447, -1.5514572, 0.2487897,
            ],
        ),
        (
            Path::Vp,
            [
                0.1,
                0.016996463,
                0.15305315,
                0.99985555,
                -0.0026017381,
                9.005,
            ],
        ),
        (
            Path::Vp,
            [0.5, 0.28118288, 1.412944, 0.9596542, -0.41399877, 5.025],
        ),
        (
            Path::Vp,
            [0.9, 0.9467218, 0.98932428, 0.32205254, -2.9082673, 1.045],
        ),
    ];

    #[test]
    fn scalars_match_the_official_code() {
        for (path, [t, alpha, d_alpha, sigma, d_sigma, drift_var]) in GOLDEN {
            // The table has eight digits.
            assert_near(&format!("{path} alpha({t})"), path.alpha(t), alpha, 5e-8);
            assert_near(
                &format!("{path} d_alpha({t})"),
                path.d_alpha(t),
                d_alpha,
                5e-8,
            );
            assert_near(&format!("{path} sigma({t})"), path.sigma(t), sigma, 5e-8);
            assert_near(
                &format!("{path} d_sigma({t})"),
                path.d_sigma(t),
                d_sigma,
                5e-8,
            );
            assert_near(
                &format!("{path} drift_var({t})"),
                path.drift_var(t),
                drift_var,
                5e-8,
            );
        }
    }

    #[test]
    fn derivatives_match_central_differences_and_definitions() {
        for &path in Path::ALL {
            for i in 1..20 {
                let (t, h) = (f64::from(i) / 20.0, 1e-6);
                let slope = |f: &dyn Fn(f64) -> f64| (f(t + h) - f(t - h)) / (2.0 * h);
                let (alpha, sigma) = (path.alpha(t), path.sigma(t));
                assert_near(
                    &format!("{path} d_alpha({t})"),
                    path.d_alpha(t),
                    slope(&|s| path.alpha(s)),
                    1e-7,
                );
                assert_near(
                    &format!("{path} d_sigma({t})"),
                    path.d_sigma(t),
                    slope(&|s| path.sigma(s)),
                    1e-7,
                );
                let d_log_alpha = path.d_alpha(t) / alpha;
                assert_near(
                    &format!("{path} d_log_alpha({t})"),
                    path.d_log_alpha(t),
                    d_log_alpha,
                    1e-12,
                );
                let drift_var = d_log_alpha * sigma * sigma - sigma * path.d_sigma(t);
                assert_near(
                    &format!("{path} drift_var({t})"),
                    path.drift_var(t),
                    drift_var,
                    1e-12,
                );
                let slope = path.d_alpha(t) * sigma - alpha * path.d_sigma(t);
                assert_near(
                    &format!("{path} data_slope({t})"),
                    path.data_slope(t),
                    slope,
                    1e-12,
                );
                let over_sigma = path.drift_var_over_sigma(t);
                assert_near(
                    &format!("{path} drift_var_over_sigma({t})"),
                    over_sigma,
                    drift_var / sigma,
                    1e-12,
                );
            }
        }
    }

    #[test]
    fn velocity_is_undone_at_every_time_and_both_ends() {
        for &path in Path::ALL {
            for t in [0.0, 1e-9, 0.3, 0.5, 0.7, 1.0 - 1e-9, 1.0] {
                let (x0, x1) = (0.7, -1.3);
                let (noise, data) = (path.noise_from_velocity(t), path.data_from_velocity(t));
                if path == Path::Vp && t == 1.0 {
                    // A single pair has infinite velocity here; compare with the limit of the coefficients, where x alone
                    // determines both.
                    assert_eq!(
                        (noise, data),
                        (Coefs { x: 0.0, out: -0.0 }, Coefs { x: 1.0, out: 0.0 })
                    );
                    continue;
                }
                let x = path.alpha(t) * x1 + path.sigma(t) * x0;
                let v = path.d_alpha(t) * x1 + path.d_sigma(t) * x0;
                assert_near(
                    &format!("{path} x0 at {t}"),
                    noise.x * x + noise.out * v,
                    x0,
                    1e-9,
                );
                assert_near(
                    &format!("{path} x1 at {t}"),
                    data.x * x + data.out * v,
                    x1,
                    1e-9,
                );
            }
        }
    }

    #[test]
    fn ends_are_exact() {
        for &path in Path::ALL {
            assert_eq!((path.alpha(1.0), path.sigma(1.0)), (1.0, 0.0), "{path}");
            assert_eq!(
                path.drift_var(1.0),
                if path == Path::Vp { 0.05 } else { 0.0 },
                "{path}"
            );
        }
        for path in [Path::Linear, Path::Gvp] {
            assert_eq!((path.alpha(0.0), path.sigma(0.0)), (0.0, 1.0), "{path}");
            assert_eq!(
                (path.d_log_alpha(0.0), path.drift_var(0.0)),
                (f64::INFINITY, f64::INFINITY),
                "{path}"
            );
        }
        assert_eq!(Path::Vp.d_sigma(1.0), f64::NEG_INFINITY);
        for &path in Path::ALL {
            for t in [0.0, f64::MIN_POSITIVE, 1.0 - f64::EPSILON, 1.0] {
                let all = [
                    path.alpha(t),
                    path.sigma(t),
                    path.d_alpha(t),
                    path.d_sigma(t),
                    path.d_log_alpha(t),
                    path.drift_var(t),
                    path.drift_var_over_sigma(t),
                ];
                assert!(
                    all.iter().all(|value| !value.is_nan()),
                    "{path} at {t}: {all:?}"
                );
            }
        }
    }

    #[test]
    fn names_parse_in_any_case_and_a_wrong_one_lists_the_right_ones() {
        assert_eq!("gvp".parse::<Path>().unwrap(), Path::Gvp);
        assert_eq!("LINEAR".parse::<Path>().unwrap().to_string(), "Linear");
        let message = "cosine".parse::<Path>().unwrap_err().to_string();
        assert_eq!(
            message,
            "path: got \"cosine\", expected one of Linear, GVP, VP"
        );
        for &path in Path::ALL {
            assert_eq!(path.name().parse::<Path>().unwrap(), path);
        }
    }
}
