//! The diffusion of the sampling SDE: SiT's `transport/path.py`, `compute_diffusion`.

use super::{Curve, Path, is_finite_f32, names::named_enum};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;
use std::fmt;

named_enum! {
    /// The shape of `D_t` over time, scaled by `norm`.
    ///
    /// Differs from SiT: `constant` and `increasing-decreasing` work (in SiT the former raises a type error and the latter's key is
    /// misspelled).
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
        /// `(norm cos(pi t) + 1)^2 / 4`: here norm changes the shape, and norm 0 gives the constant 1/4, not 0.
        Decreasing = "decreasing",
        /// `norm sin(pi t)^2`.
        IncreasingDecreasing = "increasing-decreasing",
        /// `norm D L / (L + 8 eta D^2)` with SBDM's `D` and the model's loss `L_t`: the paper's `w^{KL,eta}`, which is the best one
        /// of its largest model. It is 0 where SBDM is infinite.
        WKlEta = "w-kl-eta",
    }
}

/// The diffusion `D_t` of `dX = (v + D_t s) dt + sqrt(2 D_t) dW`; the paper's `w_t` is `2 D_t`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Diffusion {
    /// The shape over time.
    pub form: DiffusionForm,
    /// The scale, at least 0; see [`DiffusionForm`] for its meaning in each form.
    pub norm: f64,
    /// A hand-drawn shape that replaces `form`: `D_t = norm curve_t`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curve: Option<Curve>,
    /// What `w-kl-eta` needs beside the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl: Option<KlEta>,
}

/// The numbers of the diffusion `w-kl-eta`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KlEta {
    /// `eta`, at least 0; with 0 the diffusion is SBDM's.
    pub eta: f64,
    /// The model's loss of the velocity over time, as a mean over values.
    pub loss: Curve,
}

impl Default for Diffusion {
    /// `sigma` with norm 1, the default of SiT's command line.
    fn default() -> Self {
        Self::new(DiffusionForm::Sigma, 1.0)
    }
}

/// The name of the form, or `free-hand`.
impl fmt::Display for Diffusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self.curve {
            Some(_) => "free-hand",
            None => self.form.name(),
        })
    }
}

impl Diffusion {
    /// A named form.
    pub const fn new(form: DiffusionForm, norm: f64) -> Self {
        Self {
            form,
            norm,
            curve: None,
            kl: None,
        }
    }

    /// Checks the norm.
    pub(super) fn validate(&self) -> Result<()> {
        let norm = self.norm;
        if !(norm >= 0.0 && is_finite_f32(norm)) {
            return Err(Error::setting(
                "diffusion_norm",
                format!("got {norm}, expected a finite number of at least 0"),
            ));
        }
        match (&self.kl, self.form) {
            (None, DiffusionForm::WKlEta) => {
                return Err(Error::setting(
                    "loss_table",
                    "the diffusion w-kl-eta needs the model's loss over time",
                ));
            }
            (Some(KlEta { eta, .. }), _) if !(*eta >= 0.0 && eta.is_finite()) => {
                return Err(Error::setting(
                    "kl_eta",
                    format!("got {eta}, expected a finite number of at least 0"),
                ));
            }
            _ => {}
        }
        match self.curve.as_ref().map(Curve::max) {
            Some(max) if !is_finite_f32(norm * max) => Err(Error::setting(
                "diffusion_norm",
                format!("got {norm}, which makes the curve's largest value {max} infinite"),
            )),
            _ => Ok(()),
        }
    }

    /// Whether `D_t` is 0 at every time, so that the SDE is the ODE.
    pub(super) fn is_zero(&self) -> bool {
        match &self.curve {
            Some(curve) => self.norm == 0.0 || curve.max() == 0.0,
            None => self.norm == 0.0 && self.form != DiffusionForm::Decreasing,
        }
    }

    /// `lim D_t / sigma_t` as `t` goes to 1 and sigma to 0; `None` where it is infinite.
    pub(super) fn over_sigma_at_one(&self, path: &Path) -> Option<f64> {
        if self.is_zero() {
            return Some(0.0);
        }
        if let Some(curve) = &self.curve {
            // Checked before multiplying: on VP the other factor is 0, and infinity times 0 would be NaN.
            let ratio = curve.over_remaining_time_at_one();
            return ratio
                .is_finite()
                .then(|| self.norm * ratio * path.remaining_time_over_sigma_at_one());
        }
        let ratio = match self.form {
            // Near data SBDM vanishes, and with it what eta changes.
            DiffusionForm::Sbdm | DiffusionForm::WKlEta => {
                self.norm * path.drift_var_over_sigma(1.0)
            }
            DiffusionForm::Sigma => self.norm,
            DiffusionForm::Linear => self.norm * path.remaining_time_over_sigma_at_one(),
            // Vanishes as (1 - t)^2, and sigma no faster than 1 - t.
            DiffusionForm::IncreasingDecreasing => 0.0,
            // Vanishes as (1 - t)^4 if norm is 1, and not at all otherwise.
            DiffusionForm::Decreasing if self.norm == 1.0 => 0.0,
            DiffusionForm::Decreasing | DiffusionForm::Constant => f64::INFINITY,
        };
        ratio.is_finite().then_some(ratio)
    }
}

#[doc(hidden)]
impl Diffusion {
    /// The curve through this diffusion's values, with norm 1, as a start for editing by hand.
    ///
    /// SBDM's infinite start is replaced by the value half a segment later.
    pub fn to_curve(&self, path: &Path) -> Curve {
        let value = |t| self.at(path, t).min(f32::MAX.into()) as f32;
        let mut values = std::array::from_fn(|i| value(Curve::time(i)));
        if self.at(path, 0.0).is_infinite() {
            values[0] = value(0.5 * Curve::time(1));
        }
        Curve::new(values).expect("a diffusion is at least 0")
    }

    /// `D_t` for `t` in `[0, 1]`; infinite only for SBDM at `t = 0` on Linear and GVP.
    pub fn at(&self, path: &Path, t: f64) -> f64 {
        if self.is_zero() {
            return 0.0;
        }
        if let Some(curve) = &self.curve {
            return self.norm * curve.at(t);
        }
        match self.form {
            DiffusionForm::Constant => self.norm,
            DiffusionForm::Sbdm => self.norm * path.drift_var(t),
            DiffusionForm::WKlEta => {
                let Some(KlEta { eta, loss }) = &self.kl else {
                    return 0.0;
                };
                let (sbdm, loss) = (path.drift_var(t), loss.at(t));
                match () {
                    () if *eta == 0.0 || sbdm == 0.0 => self.norm * sbdm,
                    () if loss == 0.0 => 0.0,
                    // Divided by D^2 L, so that it is 0 where D is infinite.
                    () => self.norm / (1.0 / sbdm + 8.0 * eta * sbdm / loss),
                }
            }
            DiffusionForm::Sigma => self.norm * path.sigma(t),
            DiffusionForm::Linear => self.norm * (1.0 - t),
            DiffusionForm::Decreasing => {
                let root = 0.5 * (self.norm * libm::cos(PI * t) + 1.0);
                root * root
            }
            DiffusionForm::IncreasingDecreasing => {
                // Uses the distance to the nearer end, so that both ends are exactly 0.
                let sin = libm::sin(PI * t.min(1.0 - t));
                self.norm * sin * sin
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::testing::{assert_near, diffusion, diffusions, drawn};

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
        // The official code does not have w-kl-eta.
        assert_eq!(cases.len(), DiffusionForm::ALL.len() - 1);
        for (form, expected) in cases {
            for (t, expected) in [0.1, 0.5, 0.9].into_iter().zip(expected) {
                let diffusion = Diffusion::new(form, 1.0);
                assert_near(
                    &format!("{form} at {t}"),
                    diffusion.at(&Path::Gvp, t),
                    expected,
                    5e-8,
                );
            }
        }
    }

    #[test]
    fn norm_scales_every_form_but_decreasing() {
        for &form in DiffusionForm::ALL {
            let at = |norm| diffusion(form, norm).at(&Path::Linear, 0.3);
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
        for path in Path::NAMED {
            for &form in DiffusionForm::ALL {
                for norm in [0.0, 0.7, 1.0, 2.0] {
                    for t in [0.0, 1e-12, 0.5, 1.0 - 1e-12, 1.0] {
                        let d = diffusion(form, norm).at(&path, t);
                        assert!(d >= 0.0, "{path} {form} {norm} at {t}: {d}");
                        let infinite = form == DiffusionForm::Sbdm
                            && norm > 0.0
                            && t == 0.0
                            && path.alpha(0.0) == 0.0;
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

    #[test]
    fn a_curve_takes_the_place_of_the_form() {
        let curve = drawn(0.5, [0.0, 4.0, 2.0, 2.0, 2.0]);
        assert_eq!(curve.to_string(), "free-hand");
        for (t, expected) in [
            (0.0, 0.0),
            (0.125, 1.0),
            (0.25, 2.0),
            (0.375, 1.5),
            (1.0, 1.0),
        ] {
            assert_eq!(curve.at(&Path::VP, t), expected);
        }
    }

    #[test]
    fn a_curve_goes_on_from_any_diffusion() {
        for path in Path::NAMED {
            for diffusion in diffusions() {
                let curve = diffusion.to_curve(&path);
                for i in 0..Curve::POINTS {
                    let (t, got) = (Curve::time(i), curve.at(Curve::time(i)));
                    let infinite = diffusion.at(&path, t).is_infinite();
                    let expected = diffusion.at(&path, if infinite { 1.0 / 32.0 } else { t });
                    assert_near(&format!("{path} {diffusion:?} at {t}"), got, expected, 1e-7);
                }
            }
        }
    }

    #[test]
    fn w_kl_eta_weighs_sbdm_by_the_loss() {
        let sbdm = Diffusion::new(DiffusionForm::Sbdm, 0.7);
        let loss = Curve::through(vec![[0.0, 2.0], [1.0, 0.0]]).unwrap();
        let with = |eta| Diffusion {
            kl: Some(KlEta {
                eta,
                loss: loss.clone(),
            }),
            ..Diffusion::new(DiffusionForm::WKlEta, 0.7)
        };
        for path in Path::NAMED {
            for t in [0.1, 0.5, 0.9] {
                assert_eq!(with(0.0).at(&path, t), sbdm.at(&path, t), "{path} at {t}");
                let (d, loss) = (path.drift_var(t), 2.0 * (1.0 - t));
                let want = 0.7 * d * loss / (loss + 8.0 * 0.3 * d * d);
                assert_near(
                    &format!("{path} at {t}"),
                    with(0.3).at(&path, t),
                    want,
                    1e-13,
                );
            }
        }
        // Where SBDM is infinite, and where the loss is 0.
        assert_eq!(with(0.3).at(&Path::Linear, 0.0), 0.0);
        assert_eq!(with(0.3).at(&Path::VP, 1.0), 0.0);
    }

    #[test]
    fn w_kl_eta_without_its_numbers_is_refused() {
        let refusal = |diffusion: Diffusion| diffusion.validate().unwrap_err().to_string();
        let bare = Diffusion::new(DiffusionForm::WKlEta, 1.0);
        assert!(refusal(bare).starts_with("loss_table: the diffusion w-kl-eta needs"));
        let mut full = diffusion(DiffusionForm::WKlEta, 1.0);
        full.validate().unwrap();
        for eta in [-1.0, f64::NAN, f64::INFINITY] {
            full.kl.as_mut().unwrap().eta = eta;
            assert!(refusal(full.clone()).starts_with(&format!("kl_eta: got {eta},")));
        }
    }

    #[test]
    fn a_curve_too_large_for_f32_is_refused() {
        let mut curve = drawn(1e20, [1e18; 5]);
        curve.validate().unwrap();
        curve.norm = 1e21;
        let message = curve.validate().unwrap_err().to_string();
        assert!(
            message.starts_with("diffusion_norm: got 1000000000000000000000,"),
            "{message}"
        );
    }

    #[test]
    fn files_without_a_curve_are_as_before_and_those_with_one_come_back() {
        let named = Diffusion::new(DiffusionForm::Linear, 0.5);
        let text = serde_json::to_string(&named).unwrap();
        assert_eq!(text, r#"{"form":"linear","norm":0.5}"#);
        assert_eq!(serde_json::from_str::<Diffusion>(&text).unwrap(), named);
        let curve = drawn(0.5, [0.0, 4.0, 2.0, 2.0, 1.0]);
        for given in [curve, diffusion(DiffusionForm::WKlEta, 0.5)] {
            let text = serde_json::to_string(&given).unwrap();
            assert_eq!(serde_json::from_str::<Diffusion>(&text).unwrap(), given);
        }
    }
}
