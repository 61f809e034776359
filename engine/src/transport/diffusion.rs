//! The diffusion of the sampling SDE: SiT's `transport/path.py`, `compute_diffusion`.

use super::{Path, names::named_enum};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

named_enum! {
    /// The shape of `D_t` over time, of size `norm`.
    ///
    /// Differs from SiT: `constant` and `increasing-decreasing` work (there the first is a type error and the second's
    /// key is misspelt).
    #[derive(Default)]
    pub enum DiffusionForm: "diffusion form" {
        /// `norm`.
        Constant = "constant",
        /// `norm drift_var`: with norm 1 the paper's `w^KL / 2` and score-SDE's reverse process. Infinite at `t = 0` on
        /// Linear and GVP.
        Sbdm = "SBDM",
        /// `norm sigma_t`. The paper writes `w_t = sigma_t`, which is norm 0.5.
        #[default]
        Sigma = "sigma",
        /// `norm (1 - t)`.
        Linear = "linear",
        /// `(norm cos(pi t) + 1)^2 / 4`: here norm shapes the curve, and norm 0 means 1/4, not 0.
        Decreasing = "decreasing",
        /// `norm sin(pi t)^2`.
        IncreasingDecreasing = "increasing-decreasing",
    }
}

/// The diffusion `D_t` of `dX = (v + D_t s) dt + sqrt(2 D_t) dW`; the paper's `w_t` is `2 D_t`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Diffusion {
    /// The shape over time.
    pub form: DiffusionForm,
    /// The size, at least 0; [`DiffusionForm`] says how it enters each form.
    pub norm: f64,
}

impl Default for Diffusion {
    /// `sigma` with norm 1, the default of SiT's command line.
    fn default() -> Self {
        Self {
            form: DiffusionForm::Sigma,
            norm: 1.0,
        }
    }
}

impl Diffusion {
    /// `D_t` for `t` in `[0, 1]`; infinite only for SBDM at `t = 0` on Linear and GVP.
    pub fn at(&self, path: Path, t: f64) -> f64 {
        if self.is_zero() {
            return 0.0;
        }
        match self.form {
            DiffusionForm::Constant => self.norm,
            DiffusionForm::Sbdm => self.norm * path.drift_var(t),
            DiffusionForm::Sigma => self.norm * path.sigma(t),
            DiffusionForm::Linear => self.norm * (1.0 - t),
            DiffusionForm::Decreasing => {
                let root = 0.5 * (self.norm * libm::cos(PI * t) + 1.0);
                root * root
            }
            DiffusionForm::IncreasingDecreasing => {
                // The smaller distance to an end, so that both ends are exactly 0.
                let sin = libm::sin(PI * t.min(1.0 - t));
                self.norm * sin * sin
            }
        }
    }

    /// Whether `D_t` is 0 at every time, which makes the SDE the ODE.
    pub(super) fn is_zero(&self) -> bool {
        self.norm == 0.0 && self.form != DiffusionForm::Decreasing
    }

    /// `lim D_t / sigma_t` as `t` goes to 1 and sigma to 0; `None` where it is infinite.
    pub(super) fn over_sigma_at_one(&self, path: Path) -> Option<f64> {
        let ratio = match self.form {
            _ if self.is_zero() => 0.0,
            DiffusionForm::Sbdm => self.norm * path.drift_var_over_sigma(1.0),
            DiffusionForm::Sigma => self.norm,
            DiffusionForm::Linear => self.norm * path.remaining_time_over_sigma_at_one(),
            // Vanishes as (1 - t)^2, sigma at most as 1 - t.
            DiffusionForm::IncreasingDecreasing => 0.0,
            // Vanishes as (1 - t)^4 with norm 1 and not at all otherwise.
            DiffusionForm::Decreasing if self.norm == 1.0 => 0.0,
            DiffusionForm::Decreasing | DiffusionForm::Constant => f64::INFINITY,
        };
        ratio.is_finite().then_some(ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::testing::assert_near;

    #[test]
    #[expect(
        clippy::approx_constant,
        reason = "digits as the official code printed them"
    )]
    fn forms_match_the_official_values() {
        let cases = [
            (DiffusionForm::Decreasing, [0.95165538, 0.25, 0.00059886615]),
            (
                DiffusionForm::IncreasingDecreasing,
                [0.095491503, 1.0, 0.095491503],
            ),
            (DiffusionForm::Sbdm, [9.9176177, 1.5707963, 0.2487897]),
            (DiffusionForm::Sigma, [0.98768834, 0.70710678, 0.15643447]),
            (DiffusionForm::Linear, [0.9, 0.5, 0.1]),
            (DiffusionForm::Constant, [1.0; 3]),
        ];
        assert_eq!(cases.len(), DiffusionForm::ALL.len());
        for (form, expected) in cases {
            for (t, expected) in [0.1, 0.5, 0.9].into_iter().zip(expected) {
                let diffusion = Diffusion { form, norm: 1.0 };
                assert_near(
                    &format!("{form} at {t}"),
                    diffusion.at(Path::Gvp, t),
                    expected,
                    5e-8,
                );
            }
        }
    }

    #[test]
    fn norm_scales_every_form_but_decreasing() {
        for &form in DiffusionForm::ALL {
            let at = |norm| Diffusion { form, norm }.at(Path::Linear, 0.3);
            if form == DiffusionForm::Decreasing {
                assert_near(
                    "decreasing",
                    at(0.7),
                    0.25 * (0.7 * (0.3 * PI).cos() + 1.0).powi(2),
                    1e-14,
                );
                assert_eq!(at(0.0), 0.25);
            } else {
                assert_near(form.name(), at(0.7), 0.7 * at(1.0), 1e-14);
                assert_eq!(at(0.0), 0.0);
            }
        }
    }

    #[test]
    fn no_form_is_negative_or_nan() {
        for &path in Path::ALL {
            for &form in DiffusionForm::ALL {
                for norm in [0.0, 0.7, 1.0, 2.0] {
                    for t in [0.0, 1e-12, 0.5, 1.0 - 1e-12, 1.0] {
                        let d = Diffusion { form, norm }.at(path, t);
                        assert!(d >= 0.0, "{path} {form} {norm} at {t}: {d}");
                        let infinite = form == DiffusionForm::Sbdm
                            && norm > 0.0
                            && t == 0.0
                            && path != Path::Vp;
                        assert_eq!(
                            d.is_infinite(),
                            infinite,
                            "{path} {form} {norm} at {t}: {d}"
                        );
                    }
                }
            }
        }
    }
}
