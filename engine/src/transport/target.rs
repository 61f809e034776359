//! What a network is trained to match, and the weight of its loss: SiT's `Transport.training_losses`.

use super::prediction::Preconditioning;
use super::{Interval, LossWeight, Prediction, Transport, is_finite_f32};
use crate::error::{Error, Result};

/// The coefficients of `x_t = x0 X0 + x1 X1`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interpolant {
    /// `sigma_t`, the coefficient of noise.
    pub x0: f64,
    /// `alpha_t`, the coefficient of data.
    pub x1: f64,
}

/// The loss `weight * mean(r^2)` of one sample, with the residual `r = out O + x0 X0 + x1 X1` of the network's output `O`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossCoefs {
    /// Weight of the mean square.
    pub weight: f64,
    /// Coefficient of the network's output.
    pub out: f64,
    /// Coefficient of noise.
    pub x0: f64,
    /// Coefficient of data.
    pub x1: f64,
}

impl LossCoefs {
    /// The row of coefficients that [`crate::ops::loss::loss`] reads: `[weight, out, x0, x1]`.
    pub(crate) fn row(self) -> [f64; 4] {
        [self.weight, self.out, self.x0, self.x1]
    }
}

/// What a network is trained to match under a valid [`Transport`]; finite at every time of its interval.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    transport: Transport,
    interval: Interval,
}

#[doc(hidden)]
impl Transport {
    /// The training target.
    ///
    /// # Errors
    /// [`Error::Setting`] for an invalid combination, [`Error::Config`] for a loss that is infinite at an end of the training interval.
    pub fn target(&self) -> Result<Target> {
        self.validate()?;
        let target = Target {
            transport: self.clone(),
            interval: self.train_interval()?,
        };
        // Weights and coefficients are largest at the ends.
        for t in [target.interval.t0, target.interval.t1] {
            if !target.loss(t).row().into_iter().all(is_finite_f32) {
                return Err(Error::setting(
                    "t_eps_train",
                    format!(
                        "the {} loss with weight {} on the {} path is infinite at t = {t}; \
                     use a larger t_eps_train, or leave it out for the default",
                        self.prediction, self.loss_weight, self.path
                    ),
                ));
            }
        }
        Ok(target)
    }
}

impl Target {
    /// The interval of training times.
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// A training time from a uniform number in `[0, 1)` and a standard normal one.
    pub(crate) fn sample_t(&self, uniform: f64, normal: impl FnOnce() -> f64) -> f64 {
        let Transport { times, path, .. } = &self.transport;
        times.at(path, self.interval, uniform, normal)
    }

    /// What the network gets at `t`: its time, and the coefficients of noise and data in its state.
    pub(crate) fn input(&self, t: f64) -> (f64, Interpolant) {
        let Interpolant { x0, x1 } = self.interpolant(t);
        let scale = self.transport.input_scale(t);
        let state = Interpolant {
            x0: scale * x0,
            x1: scale * x1,
        };
        (self.transport.time_input(t), state)
    }

    /// The interpolant at `t`.
    pub fn interpolant(&self, t: f64) -> Interpolant {
        Interpolant {
            x0: self.transport.path.sigma(t),
            x1: self.transport.path.alpha(t),
        }
    }

    /// The loss at `t`: velocity `|O - (d_alpha X1 + d_sigma X0)|^2`, noise `w |O - X0|^2`,
    /// score `w |sigma O + X0|^2`, data `w |O - X1|^2`, mean `|O - (c_1 X1 + c_2 x)|^2`.
    pub fn loss(&self, t: f64) -> LossCoefs {
        let path = &self.transport.path;
        let weight = match self.transport.loss_weight {
            LossWeight::None => 1.0,
            LossWeight::Velocity if self.transport.prediction == Prediction::Data => {
                let slope = path.data_slope(t) / path.clamped_sigma(t);
                slope * slope
            }
            LossWeight::Velocity => path.drift_var_over_sigma(t) * path.drift_var_over_sigma(t),
            LossWeight::Likelihood => path.drift_var_over_sigma(t) / path.sigma(t),
        };
        match self.transport.prediction {
            Prediction::Velocity => LossCoefs {
                weight,
                out: 1.0,
                x0: -path.d_sigma(t),
                x1: -path.d_alpha(t),
            },
            Prediction::Score => LossCoefs {
                weight,
                out: path.sigma(t),
                x0: 1.0,
                x1: 0.0,
            },
            Prediction::Noise => LossCoefs {
                weight,
                out: 1.0,
                x0: -1.0,
                x1: 0.0,
            },
            Prediction::Data => LossCoefs {
                weight,
                out: 1.0,
                x0: 0.0,
                x1: -1.0,
            },
            // The mean is c_1 X1 + c_2 (alpha X1 + sigma X0).
            Prediction::Mean => {
                let [data, x] = self.transport.mean_coefs(t);
                LossCoefs {
                    weight,
                    out: 1.0,
                    x0: -x * path.sigma(t),
                    x1: -data - x * path.alpha(t),
                }
            }
            // |c_skip x + c_out O - X1|^2 / c_out^2.
            Prediction::Denoiser => {
                let Preconditioning { skip, out, .. } = self.transport.preconditioning(t);
                LossCoefs {
                    weight,
                    out: 1.0,
                    x0: skip * path.sigma(t) / out,
                    x1: (skip - 1.0) / out,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{
        Path, Times, TimesKind,
        testing::{PLAIN_PATHS, assert_near, predictions},
    };

    fn target(path: Path, prediction: Prediction, loss_weight: LossWeight) -> Target {
        Transport {
            path,
            prediction,
            loss_weight,
            ..Transport::default()
        }
        .target()
        .unwrap()
    }

    /// Rows of values from the official code: t, velocity weight, likelihood weight.
    #[expect(
        clippy::approx_constant,
        reason = "digits as the official code printed them"
    )]
    const GOLDEN: [(Path, [f64; 3]); 9] = [
        (Path::Linear, [0.1, 100.0, 11.111111]),
        (Path::Linear, [0.5, 4.0, 4.0]),
        (Path::Linear, [0.9, 1.2345679, 11.111111]),
        (Path::Gvp, [0.1, 100.82654, 10.166407]),
        (Path::Gvp, [0.5, 4.9348022, 3.1415927]),
        (Path::Gvp, [0.9, 2.5292974, 10.166407]),
        (Path::VP, [0.1, 81.113457, 9.0076021]),
        (Path::VP, [0.5, 27.418431, 5.4564041]),
        (Path::VP, [0.9, 10.528806, 10.075413]),
    ];

    #[test]
    fn weights_match_the_official_code() {
        for (path, [t, velocity, likelihood]) in GOLDEN {
            for prediction in [Prediction::Score, Prediction::Noise] {
                let weight = |kind| target(path.clone(), prediction, kind).loss(t).weight;
                assert_eq!(weight(LossWeight::None), 1.0);
                assert_near(
                    &format!("{path} velocity at {t}"),
                    weight(LossWeight::Velocity),
                    velocity,
                    5e-8,
                );
                assert_near(
                    &format!("{path} likelihood at {t}"),
                    weight(LossWeight::Likelihood),
                    likelihood,
                    5e-8,
                );
            }
        }
    }

    #[test]
    fn residuals_are_output_minus_target() {
        for path in PLAIN_PATHS {
            let (t, x0, x1, out) = (0.3, 0.6, -1.1, 0.25);
            let residual = |prediction| {
                let loss = target(path.clone(), prediction, LossWeight::None).loss(t);
                loss.out * out + loss.x0 * x0 + loss.x1 * x1
            };
            let velocity = path.d_alpha(t) * x1 + path.d_sigma(t) * x0;
            assert_near(
                "velocity",
                residual(Prediction::Velocity),
                out - velocity,
                1e-15,
            );
            assert_near("noise", residual(Prediction::Noise), out - x0, 1e-15);
            assert_near("data", residual(Prediction::Data), out - x1, 1e-15);
            assert_near(
                "score",
                residual(Prediction::Score),
                path.sigma(t) * out + x0,
                1e-15,
            );
            let interpolant =
                target(path.clone(), Prediction::Velocity, LossWeight::None).interpolant(t);
            assert_eq!(
                (interpolant.x0, interpolant.x1),
                (path.sigma(t), path.alpha(t))
            );
        }
    }

    /// EDM's table 1: the loss is that of the data with the weight `1 / c_out^2`, for inputs and targets of variance 1.
    #[test]
    fn a_denoiser_is_preconditioned() {
        let target = target(Path::EDM, Prediction::Denoiser, LossWeight::None);
        let std = target.transport.data_std;
        for t in [0.0, 0.3, 0.9, 1.0] {
            let sigma = Path::EDM.sigma(t);
            let (time, state) = target.input(t);
            assert_near("time", time, sigma.ln() / 4.0, 1e-14);
            let variance = |of_noise: f64, of_data: f64| of_noise.powi(2) + (std * of_data).powi(2);
            assert_near("input", variance(state.x0, state.x1), 1.0, 1e-14);
            let LossCoefs {
                weight,
                out,
                x0,
                x1,
            } = target.loss(t);
            assert_near("target", variance(x0, x1), 1.0, 1e-9);
            let (noise, data, output) = (0.6, -1.1, 0.25);
            let residual = out * output + x0 * noise + x1 * data;
            let x = data + sigma * noise;
            let skip = std.powi(2) / (sigma.powi(2) + std.powi(2));
            let c_out = sigma * std / (sigma.powi(2) + std.powi(2)).sqrt();
            let error = skip * x + c_out * output - data;
            let want = (error / c_out).powi(2);
            assert_near("loss", weight * residual.powi(2), want, 1e-9);
        }
    }

    /// Paper, appendix A.4: a velocity-weighted noise, score or data loss is the velocity loss of the converted output.
    #[test]
    fn the_velocity_weight_gives_the_velocity_loss() {
        for path in PLAIN_PATHS {
            for prediction in [Prediction::Score, Prediction::Noise, Prediction::Data] {
                let transport = Transport {
                    path: path.clone(),
                    prediction,
                    ..Transport::default()
                };
                let (t, x0, x1, out) = (0.4, 0.6, -1.1, 0.25);
                let x = path.alpha(t) * x1 + path.sigma(t) * x0;
                let loss = target(path.clone(), prediction, LossWeight::Velocity).loss(t);
                let weighted = loss.weight * (loss.out * out + loss.x0 * x0 + loss.x1 * x1).powi(2);
                let v = transport.velocity(t).unwrap();
                let target = path.d_alpha(t) * x1 + path.d_sigma(t) * x0;
                let velocity_loss = (v.x * x + v.out * out - target).powi(2);
                assert_near(
                    &format!("{path} {prediction}"),
                    weighted,
                    velocity_loss,
                    1e-11,
                );
            }
        }
    }

    #[test]
    fn every_valid_combination_is_finite_over_its_interval() {
        for path in Path::NAMED {
            for &prediction in predictions(&path) {
                for (&loss_weight, &kind) in LossWeight::ALL
                    .iter()
                    .flat_map(|weight| TimesKind::ALL.iter().map(move |kind| (weight, kind)))
                {
                    let transport = Transport {
                        path: path.clone(),
                        prediction,
                        loss_weight,
                        times: Times::usual(kind),
                        ..Transport::default()
                    };
                    let Ok(target) = transport.target() else {
                        continue;
                    };
                    for i in 0..=1000 {
                        let uniform = f64::from(i) / 1000.0;
                        let t = target.sample_t(uniform, || 20.0 * uniform - 10.0);
                        let LossCoefs {
                            weight,
                            out,
                            x0,
                            x1,
                        } = target.loss(t);
                        let all_finite = [weight, out, x0, x1].into_iter().all(is_finite_f32);
                        assert!(
                            all_finite && weight > 0.0,
                            "{path} {prediction} {loss_weight} {kind} at {t}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn an_infinite_loss_is_refused() {
        let zero = |path: &Path, prediction, loss_weight| {
            Transport {
                path: path.clone(),
                prediction,
                loss_weight,
                t_eps_train: Some(0.0),
                ..Default::default()
            }
            .target()
        };
        for path in &PLAIN_PATHS {
            for prediction in [Prediction::Score, Prediction::Noise] {
                assert!(zero(path, prediction, LossWeight::None).is_ok());
                for weight in [LossWeight::Velocity, LossWeight::Likelihood] {
                    let message = zero(path, prediction, weight).unwrap_err().to_string();
                    assert!(
                        message.contains("infinite at t = ") && message.contains("t_eps_train"),
                        "{message}"
                    );
                }
            }
            assert_eq!(
                zero(path, Prediction::Velocity, LossWeight::None).is_ok(),
                !path.is_decay()
            );
        }
    }
}
