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

    /// What the network gets in the place of the time `t`.
    #[doc(hidden)]
    pub fn time_input(&self, t: f64) -> f64 {
        match self.prediction {
            Prediction::Denoiser => 0.25 * libm::log(self.path.sigma(t)),
            _ => t,
        }
    }
}

/// Conversions of a network output at time `t` in `[0, 1]`, as coefficients of the state and the output.
impl Transport {
    /// The score if it is finite; `None` where sigma vanishes and there is no limit.
    fn score_coefs(&self, t: f64) -> Option<Coefs> {
        match (self.prediction, &self.path) {
            (Prediction::Score, _) => Some(Coefs { x: 0.0, out: 1.0 }),
            (Prediction::Data, path) => Some(self.noise(t).scaled(-1.0 / path.clamped_sigma(t))),
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
mod tests {
    use super::*;
    use crate::transport::{
        DATA_MIN_SIGMA, DiffusionForm, Path,
        testing::{PLAIN_PATHS, assert_near, diffusions, predictions},
    };

    fn transport(path: Path, prediction: Prediction) -> Transport {
        Transport {
            path,
            prediction,
            ..Transport::default()
        }
    }

    /// Rows of values from the official code: t, score for v = 1 and x = 1, velocity for s = 1 and x = 1.
    #[expect(
        clippy::approx_constant,
        reason = "digits as the official code printed them"
    )]
    const GOLDEN: [(Path, [f64; 3]); 9] = [
        (Path::Linear, [0.1, -1.0, 19.0]),
        (Path::Linear, [0.5, -1.0, 3.0]),
        (Path::Linear, [0.9, -1.0, 1.2222222]),
        (Path::Gvp, [0.1, -0.89916933, 19.835235]),
        (Path::Gvp, [0.5, -0.36338023, 3.1415927]),
        (Path::Gvp, [0.9, 3.0194591, 0.49757939]),
        (Path::VP, [0.1, -0.88895058, 18.01]),
        (Path::VP, [0.5, -0.80099502, 10.05]),
        (Path::VP, [0.9, -0.043062201, 2.09]),
    ];

    #[test]
    fn conversions_match_the_official_code() {
        for (path, [t, score, velocity]) in GOLDEN {
            let s = transport(path.clone(), Prediction::Velocity)
                .score(t)
                .unwrap();
            assert_near(&format!("{path} score at {t}"), s.x + s.out, score, 1e-7);
            let v = transport(path.clone(), Prediction::Score)
                .velocity(t)
                .unwrap();
            assert_near(
                &format!("{path} velocity at {t}"),
                v.x + v.out,
                velocity,
                5e-8,
            );
        }
    }

    #[test]
    fn all_predictions_agree_on_one_posterior() {
        for path in Path::NAMED {
            for t in [1e-3, 0.2, 0.5, 0.8, 0.999] {
                let (x0, x1) = (0.4, -0.9);
                let x = path.alpha(t) * x1 + path.sigma(t) * x0;
                let velocity = path.d_alpha(t) * x1 + path.d_sigma(t) * x0;
                let score = -x0 / path.sigma(t);
                for &prediction in predictions(&path) {
                    let transport = transport(path.clone(), prediction);
                    let out = match prediction {
                        Prediction::Velocity => velocity,
                        Prediction::Score => score,
                        Prediction::Noise => x0,
                        // Below the minimum sigma, the division uses the clamped value.
                        Prediction::Data if path.sigma(t) < DATA_MIN_SIGMA => continue,
                        Prediction::Data => x1,
                        Prediction::Denoiser => transport.denoiser_output(t, &[x], &[x1])[0],
                    };
                    let apply = |c: Coefs| c.x * x + c.out * out;
                    let at = format!("{path} {prediction} at {t}");
                    assert_near(
                        &format!("velocity, {at}"),
                        apply(transport.velocity(t).unwrap()),
                        velocity,
                        1e-10,
                    );
                    assert_near(
                        &format!("score, {at}"),
                        apply(transport.score(t).unwrap()),
                        score,
                        1e-10,
                    );
                    assert_near(
                        &format!("noise, {at}"),
                        apply(transport.noise(t)),
                        x0,
                        1e-10,
                    );
                    assert_near(
                        &format!("data, {at}"),
                        apply(transport.x1_pred(t).unwrap()),
                        x1,
                        1e-10,
                    );
                    let diffusion = Diffusion::new(DiffusionForm::Sigma, 0.5);
                    let drift = velocity + 0.5 * path.sigma(t) * score;
                    assert_near(
                        &format!("drift, {at}"),
                        apply(transport.drift(&diffusion, t).unwrap()),
                        drift,
                        1e-10,
                    );
                }
            }
        }
    }

    #[test]
    fn ends_have_their_limit_or_are_refused() {
        use Prediction::{Data, Noise, Score, Velocity};
        for path in PLAIN_PATHS {
            for &prediction in predictions(&path) {
                let transport = transport(path.clone(), prediction);
                let at = format!("{path} {prediction}");
                let decay = path.is_decay();
                for t in [0.0, 1.0] {
                    let velocity = if t == 0.0 {
                        decay || [Velocity, Data].contains(&prediction)
                    } else {
                        !decay || ![Noise, Data].contains(&prediction)
                    };
                    let score = t == 0.0
                        || [Score, Data].contains(&prediction)
                        || decay && prediction == Velocity;
                    let x1_pred = t == 1.0 || decay || [Velocity, Data].contains(&prediction);
                    assert_eq!(
                        transport.velocity(t).is_ok(),
                        velocity,
                        "velocity of {at} at {t}"
                    );
                    assert_eq!(transport.score(t).is_ok(), score, "score of {at} at {t}");
                    assert_eq!(transport.x1_pred(t).is_ok(), x1_pred, "data of {at} at {t}");
                    assert!(transport.noise(t).is_finite_f32(), "noise of {at} at {t}");
                    let near = (t - 1e-12_f64).abs();
                    for (what, end, inside) in [
                        ("velocity", transport.velocity(t), transport.velocity(near)),
                        ("score", transport.score(t), transport.score(near)),
                        ("data", transport.x1_pred(t), transport.x1_pred(near)),
                        ("noise", Ok(transport.noise(t)), Ok(transport.noise(near))),
                    ] {
                        if let (Ok(end), Ok(inside)) = (end, inside) {
                            // The sigma of VP and OU behaves like a square root here: on OU it is 4e-6.
                            assert_near(
                                &format!("{what} of {at} by x at {t}"),
                                end.x,
                                inside.x,
                                1e-5,
                            );
                            assert_near(
                                &format!("{what} of {at} by out at {t}"),
                                end.out,
                                inside.out,
                                1e-4,
                            );
                        }
                    }
                }
            }
        }
        let message = transport(Path::Linear, Score)
            .velocity(0.0)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "the velocity is not finite at t = 0 for score prediction on the Linear path"
        );
    }

    /// SiT multiplies an infinite score by a vanishing diffusion at `t = 1` and gets NaN.
    #[test]
    fn the_drift_at_one_is_the_limit_from_inside() {
        let mut n_limits = 0;
        for path in Path::NAMED {
            for &prediction in predictions(&path) {
                for shape in diffusions() {
                    for norm in [0.0, shape.norm] {
                        let transport = transport(path.clone(), prediction);
                        let diffusion = Diffusion {
                            norm,
                            ..shape.clone()
                        };
                        let what = format!("{path} {prediction} {diffusion:?}");
                        let Ok(end) = transport.drift(&diffusion, 1.0) else {
                            let far = transport.drift(&diffusion, 1.0 - 1e-12).unwrap();
                            assert!(
                                far.x.abs().max(far.out.abs()) > 1e4,
                                "{what}: refused but {far:?} near the end"
                            );
                            continue;
                        };
                        n_limits += 1;
                        let near = transport.drift(&diffusion, 1.0 - 1e-10).unwrap();
                        assert_near(&format!("{what} by x"), near.x, end.x, 1e-4);
                        assert_near(&format!("{what} by out"), near.out, end.out, 1e-4);
                    }
                }
            }
        }
        assert!(n_limits > 90, "{n_limits}");
    }
}
