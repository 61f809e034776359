//! Schedules of the ODE and SDE solvers: SiT's `transport/integrators.py` and `Sampler`.

use super::{Coefs, Diffusion, Interval, Transport, names::named_enum};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The default size of the SDE's last step (paper, table 10; SiT's `sample_sde`).
pub const DEFAULT_LAST_STEP_SIZE: f64 = 0.04;

named_enum! {
    /// The integration method, of an ODE or an SDE.
    pub enum Method: "method" {
        /// Euler, or Euler-Maruyama: order 1, one network evaluation a step.
        Euler = "euler",
        /// Heun (explicit trapezoid), with the SDE's noise added before it: order 2 for the ODE, two evaluations a step.
        Heun = "heun",
    }
}

named_enum! {
    /// The SDE's last step, without noise, from `1 - last_step_size` to 1.
    #[derive(Default)]
    pub enum LastStep: "last step" {
        /// The mean of an Euler-Maruyama step, `x + size (v + D s)`.
        #[default]
        Mean = "mean",
        /// The predicted data, `(x + sigma^2 s) / alpha`.
        Tweedie = "tweedie",
        /// An Euler step of the ODE, `x + size v`.
        Euler = "euler",
        /// No last step: the SDE is integrated to the end of its interval.
        None = "none",
    }
}

/// How to get from noise to data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Sampler {
    /// The probability flow ODE `dX = v dt`.
    Ode {
        /// The integration method.
        method: Method,
        /// Number of steps, at least 1.
        n_steps: u32,
    },
    /// The SDE `dX = (v + D s) dt + sqrt(2 D) dW`.
    Sde {
        /// The integration method.
        method: Method,
        /// The diffusion `D`.
        diffusion: Diffusion,
        /// The last step.
        last_step: LastStep,
        /// Size of the last step in `(0, 1)`, 0.04 by default; without a last step it has no meaning.
        last_step_size: f64,
        /// Number of steps before the last step, at least 1.
        n_steps: u32,
    },
}

impl Sampler {
    /// The integration method.
    pub fn method(&self) -> Method {
        match *self {
            Self::Ode { method, .. } | Self::Sde { method, .. } => method,
        }
    }

    /// Number of steps on the grid, without the last step.
    pub fn n_steps(&self) -> u32 {
        match *self {
            Self::Ode { n_steps, .. } | Self::Sde { n_steps, .. } => n_steps,
        }
    }
}

/// One step of a schedule: it takes the state `X` from `t` to `t_next`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Time of the state before the step, at which the network is evaluated first.
    pub t: f64,
    /// Time of the state after the step.
    pub t_next: f64,
    /// What becomes of the state.
    pub update: Update,
}

/// The new state `X'` from the state `X`, the network `net` and standard normal noise `E`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Update {
    /// `X' = x X + out net(X, t) + noise E`.
    Euler {
        /// Coefficient of the state.
        x: f64,
        /// Coefficient of the network's output.
        out: f64,
        /// Coefficient of the noise; 0 in the ODE and in a last step.
        noise: f64,
    },
    /// `Y = X + noise E`, `O0 = net(Y, t)`, `M = mid [Y, O0]`, `O1 = net(M, t_next)`, `X' = end [Y, O0, O1]`.
    Heun {
        /// Coefficient of the noise; 0 in the ODE.
        noise: f64,
        /// Coefficients of the predicted state, of `[Y, O0]`.
        mid: [f64; 2],
        /// Coefficients of the new state, of `[Y, O0, O1]`.
        end: [f64; 3],
    },
}

impl Update {
    fn euler(drift: Coefs, dt: f64, noise: f64) -> Self {
        Self::Euler {
            x: 1.0 + dt * drift.x,
            out: dt * drift.out,
            noise,
        }
    }

    fn heun(drift: Coefs, drift_next: Coefs, dt: f64, noise: f64) -> Self {
        let mid = [1.0 + dt * drift.x, dt * drift.out];
        let half_dt = 0.5 * dt;
        let end = [
            1.0 + half_dt * (drift.x + drift_next.x * mid[0]),
            half_dt * (drift.out + drift_next.x * mid[1]),
            half_dt * drift_next.out,
        ];
        Self::Heun { noise, mid, end }
    }

    fn nfe(&self) -> usize {
        match self {
            Self::Euler { .. } => 1,
            Self::Heun { .. } => 2,
        }
    }
}

/// Number of network evaluations of a schedule (each of twice the batch where guidance is active).
pub fn nfe(steps: &[Step]) -> usize {
    steps.iter().map(|step| step.update.nfe()).sum()
}

/// The steps of a sampler: `n_steps` equal ones over [`Transport::sample_interval`], then the SDE's last step if it has one.
///
/// Differs from SiT: `n_steps` counts steps, not grid points, and one network evaluation serves the velocity and the score
/// of an SDE step (the reference evaluates the network twice on the same input). With a diffusion of 0 the coefficients
/// are those of the ODE, bit for bit.
///
/// # Errors
/// [`crate::error::Error::Config`] from [`Transport::sample_interval`].
pub fn schedule(transport: &Transport, sampler: &Sampler) -> Result<Vec<Step>> {
    let interval = transport.sample_interval(sampler)?;
    steps(transport, sampler, interval, sampler.n_steps())
}

/// The steps of a sampler from time `t` on: as many equal ones to the end of its interval as come nearest to the size of
/// [`schedule`]'s, then its last step.
///
/// # Errors
/// As [`schedule`]; [`crate::error::Error::Config`] for a time before the sampler's interval or after its last step.
pub fn schedule_from(transport: &Transport, sampler: &Sampler, t: f64) -> Result<Vec<Step>> {
    let Interval { t0, t1 } = transport.sample_interval(sampler)?;
    let n_steps = f64::from(sampler.n_steps()) * (t1 - t) / (t1 - t0);
    let rest = match t {
        _ if t == t1 => steps(transport, sampler, Interval { t0, t1 }, 0)?,
        _ if (t0..t1).contains(&t) => {
            let n_steps = libm::round(n_steps).max(1.0) as u32;
            steps(transport, sampler, Interval { t0: t, t1 }, n_steps)?
        }
        _ => Vec::new(),
    };
    if rest.is_empty() {
        return Err(Error::Config(format!(
            "start at t = {t}: this sampler steps from {t0} to {t1}"
        )));
    }
    Ok(rest)
}

fn steps(
    transport: &Transport,
    sampler: &Sampler,
    interval: Interval,
    n_steps: u32,
) -> Result<Vec<Step>> {
    let time = |i: u32| interval.at(f64::from(i) / f64::from(n_steps));
    let mut steps = Vec::with_capacity(n_steps as usize + 1);
    for i in 0..n_steps {
        let (t, t_next) = (time(i), time(i + 1));
        let dt = t_next - t;
        let noise = match sampler {
            Sampler::Ode { .. } => 0.0,
            Sampler::Sde { diffusion, .. } => {
                libm::sqrt(2.0 * diffusion.at(transport.path, t) * dt)
            }
        };
        let drift = transport.sampler_drift(sampler, t)?;
        let update = match sampler.method() {
            Method::Euler => Update::euler(drift, dt, noise),
            Method::Heun => {
                Update::heun(drift, transport.sampler_drift(sampler, t_next)?, dt, noise)
            }
        };
        steps.push(Step { t, t_next, update });
    }
    if let Some(update) = transport.last_update(sampler, interval.t1)? {
        steps.push(Step {
            t: interval.t1,
            t_next: 1.0,
            update,
        });
    }
    Ok(steps)
}

impl Transport {
    /// The drift a sampler integrates: the velocity, or the SDE's `v + D s`.
    pub(super) fn sampler_drift(&self, sampler: &Sampler, t: f64) -> Result<Coefs> {
        match sampler {
            Sampler::Ode { .. } => self.velocity(t),
            Sampler::Sde { diffusion, .. } => self.drift(diffusion, t),
        }
    }

    /// The SDE's last step from time `t`, if the sampler has one.
    pub(super) fn last_update(&self, sampler: &Sampler, t: f64) -> Result<Option<Update>> {
        let Sampler::Sde {
            last_step,
            last_step_size,
            ..
        } = *sampler
        else {
            return Ok(None);
        };
        let update = match last_step {
            LastStep::None => return Ok(None),
            LastStep::Mean => Update::euler(self.sampler_drift(sampler, t)?, last_step_size, 0.0),
            LastStep::Euler => Update::euler(self.velocity(t)?, last_step_size, 0.0),
            LastStep::Tweedie => {
                let Coefs { x, out } = self.x1_pred(t)?;
                Update::Euler { x, out, noise: 0.0 }
            }
        };
        Ok(Some(update))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{
        Curve, DiffusionForm, Path, Prediction,
        testing::{Affine, Gaussian, assert_near, diffusions, drawn},
    };

    const DATA: Gaussian = Gaussian {
        mean: 0.8,
        std: 0.5,
    };

    fn transport(path: Path, prediction: Prediction) -> Transport {
        Transport {
            path,
            prediction,
            ..Transport::default()
        }
    }

    fn sde(method: Method, diffusion: Diffusion, last_step: LastStep, n_steps: u32) -> Sampler {
        Sampler::Sde {
            method,
            diffusion,
            last_step,
            last_step_size: DEFAULT_LAST_STEP_SIZE,
            n_steps,
        }
    }

    /// A step with the exact network on Gaussian data: noise of this size is added before and after an affine map.
    fn exact_step(transport: &Transport, step: &Step) -> (f64, Affine, f64) {
        let net = |t| DATA.output(transport.path, transport.prediction, t);
        let o0 = net(step.t);
        match step.update {
            Update::Euler { x, out, noise } => (
                0.0,
                Affine {
                    slope: x + out * o0.slope,
                    offset: out * o0.offset,
                },
                noise,
            ),
            Update::Heun { noise, mid, end } => {
                let m = Affine {
                    slope: mid[0] + mid[1] * o0.slope,
                    offset: mid[1] * o0.offset,
                };
                let o1 = net(step.t_next).after(m);
                let slope = end[0] + end[1] * o0.slope + end[2] * o1.slope;
                (
                    noise,
                    Affine {
                        slope,
                        offset: end[1] * o0.offset + end[2] * o1.offset,
                    },
                    0.0,
                )
            }
        }
    }

    /// Mean and variance after all steps, from the exact marginal at the first time. Steps are affine, so there is no
    /// sampling error.
    fn moments(transport: &Transport, steps: &[Step]) -> (f64, f64) {
        steps.iter().fold(
            DATA.marginal(transport.path, steps[0].t),
            |(mean, variance), step| {
                let (before, map, after) = exact_step(transport, step);
                (
                    map.at(mean),
                    map.slope.powi(2) * (variance + before.powi(2)) + after.powi(2),
                )
            },
        )
    }

    /// Least-squares slope of `ln error` against `ln n_steps`, negated.
    fn order(errors: &[(u32, f64)]) -> f64 {
        let points: Vec<(f64, f64)> = errors
            .iter()
            .map(|&(n, e)| (f64::from(n).ln(), e.ln()))
            .collect();
        let mean = |f: &dyn Fn(&(f64, f64)) -> f64| {
            points.iter().map(f).sum::<f64>() / points.len() as f64
        };
        let (mx, my) = (mean(&|p| p.0), mean(&|p| p.1));
        -mean(&|p| (p.0 - mx) * (p.1 - my)) / mean(&|p| (p.0 - mx).powi(2))
    }

    #[test]
    fn ode_orders_on_a_gaussian() {
        for &path in Path::ALL {
            for &prediction in Prediction::ALL {
                for (method, expected) in [(Method::Euler, 1.0), (Method::Heun, 2.0)] {
                    let transport = transport(path, prediction);
                    let errors = [40, 80, 160, 320, 640].map(|n_steps| {
                        let steps =
                            schedule(&transport, &Sampler::Ode { method, n_steps }).unwrap();
                        let end = steps
                            .iter()
                            .fold(1.7, |x, step| exact_step(&transport, step).1.at(x));
                        let exact = DATA
                            .flow(path, steps[0].t, steps.last().unwrap().t_next)
                            .at(1.7);
                        (n_steps, (end - exact).abs())
                    });
                    let got = order(&errors);
                    assert!(
                        (got - expected).abs() < 0.1,
                        "{path} {prediction} {method}: order {got}, {errors:?}"
                    );
                }
            }
        }
    }

    /// Whether a default transport refuses an SDE, by the closed-form argument rather than the code's arithmetic.
    fn is_singular(
        path: Path,
        prediction: Prediction,
        method: Method,
        diffusion: Diffusion,
        last_step: LastStep,
    ) -> bool {
        let reaches_ends = path != Path::Vp && prediction == Prediction::Velocity;
        let starts_infinite = diffusion.curve.is_none() && diffusion.form == DiffusionForm::Sbdm;
        let stays_positive = match (diffusion.curve, diffusion.form) {
            (Some(curve), _) => curve.values()[Curve::POINTS - 1] > 0.0,
            (None, DiffusionForm::Constant) => true,
            (None, DiffusionForm::Decreasing) => diffusion.norm != 1.0,
            _ => false,
        };
        reaches_ends
            && (starts_infinite
                || stays_positive && method == Method::Heun && last_step == LastStep::None)
    }

    /// The mean and variance that an exact integration followed by the last step has.
    fn expected_moments(
        path: Path,
        diffusion: Diffusion,
        last_step: LastStep,
        t: f64,
    ) -> (f64, f64) {
        let marginal = DATA.marginal(path, t);
        let velocity = DATA.output(path, Prediction::Velocity, t);
        let score = DATA.output(path, Prediction::Score, t);
        let size = DEFAULT_LAST_STEP_SIZE;
        let euler = |drift: Affine| Affine {
            slope: 1.0 + size * drift.slope,
            offset: size * drift.offset,
        };
        let last = match last_step {
            LastStep::None => return marginal,
            LastStep::Euler => euler(velocity),
            LastStep::Tweedie => DATA.data(path, t),
            LastStep::Mean => {
                let d = diffusion.at(path, t);
                euler(Affine {
                    slope: velocity.slope + d * score.slope,
                    offset: velocity.offset + d * score.offset,
                })
            }
        };
        (last.at(marginal.0), last.slope.powi(2) * marginal.1)
    }

    /// Every SDE keeps the marginals: its moments are off by a discretization error alone, below 0.2 % of the standard
    /// deviation and 1 % of the variance at 500 steps, and half as large at 1000 (weak order 1).
    #[test]
    fn sde_moments_of_every_combination() {
        let mut n_checked = 0;
        for &path in Path::ALL {
            for &prediction in Prediction::ALL {
                for &method in Method::ALL {
                    for &last_step in LastStep::ALL {
                        for diffusion in diffusions() {
                            let what =
                                format!("{path} {prediction} {method} {last_step} {diffusion:?}");
                            let mut transport = transport(path, prediction);
                            let singular =
                                is_singular(path, prediction, method, diffusion, last_step);
                            let result =
                                schedule(&transport, &sde(method, diffusion, last_step, 10));
                            assert_eq!(result.is_err(), singular, "{what}: {result:?}");
                            if singular {
                                transport.t_eps_sample = Some(1e-3);
                            }
                            let errors = [500, 1000].map(|n_steps| {
                                let sampler = sde(method, diffusion, last_step, n_steps);
                                let steps = schedule(&transport, &sampler).unwrap();
                                let t1 = transport.sample_interval(&sampler).unwrap().t1;
                                let expected = expected_moments(path, diffusion, last_step, t1);
                                let got = moments(&transport, &steps);
                                let mean_error = (got.0 - expected.0).abs() / expected.1.sqrt();
                                (mean_error, (got.1 / expected.1 - 1.0).abs())
                            });
                            let [(mean, variance), (half_mean, half_variance)] = errors;
                            assert!(mean < 0.002 && variance < 0.01, "{what}: {errors:?}");
                            let halved = |e: f64, half: f64| {
                                half < 2e-4 || (0.45..0.55).contains(&(half / e))
                            };
                            assert!(
                                halved(mean, half_mean) && halved(variance, half_variance),
                                "{what}: {errors:?}"
                            );
                            n_checked += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(n_checked, 3 * 3 * 2 * 4 * (6 * 2 + 2));
    }

    #[test]
    fn an_sde_without_diffusion_is_the_ode_bit_for_bit() {
        for &path in Path::ALL {
            for &prediction in Prediction::ALL {
                for &method in Method::ALL {
                    let zero = |diffusion| Diffusion {
                        norm: 0.0,
                        ..diffusion
                    };
                    let flat = drawn(1.0, [0.0; 5]);
                    for diffusion in diffusions().into_iter().map(zero).chain([flat]) {
                        if diffusion.curve.is_none() && diffusion.form == DiffusionForm::Decreasing
                        {
                            continue; // its norm 0 is the constant 1/4
                        }
                        let transport = transport(path, prediction);
                        let sde = schedule(&transport, &sde(method, diffusion, LastStep::None, 17))
                            .unwrap();
                        let ode = schedule(
                            &transport,
                            &Sampler::Ode {
                                method,
                                n_steps: 17,
                            },
                        )
                        .unwrap();
                        let bits =
                            |steps: &[Step]| steps.iter().flat_map(step_bits).collect::<Vec<_>>();
                        assert_eq!(
                            bits(&sde),
                            bits(&ode),
                            "{path} {prediction} {method} {diffusion:?}"
                        );
                    }
                }
            }
        }
    }

    fn step_bits(step: &Step) -> Vec<u64> {
        let coefs = match step.update {
            Update::Euler { x, out, noise } => vec![x, out, noise],
            Update::Heun { noise, mid, end } => [&[noise][..], &mid[..], &end[..]].concat(),
        };
        [step.t, step.t_next]
            .into_iter()
            .chain(coefs)
            .map(f64::to_bits)
            .collect()
    }

    /// The schedule against the reference's step as it is written there, on arbitrary states and outputs.
    #[test]
    fn steps_are_the_references_formulas() {
        for &path in Path::ALL {
            for &method in Method::ALL {
                let transport = transport(path, Prediction::Velocity);
                let diffusion = Diffusion::new(DiffusionForm::Sigma, 0.5);
                let steps =
                    schedule(&transport, &sde(method, diffusion, LastStep::Mean, 10)).unwrap();
                let drift = |x: f64, v: f64, t: f64| {
                    let ratio = path.alpha(t) / path.d_alpha(t);
                    let sigma = path.sigma(t);
                    let score = (ratio * v - x) / (sigma * sigma - ratio * path.d_sigma(t) * sigma);
                    v + diffusion.at(path, t) * score
                };
                let (x, eps, net) = (0.3, -1.2, |x: f64, t: f64| (3.0 * x + t).sin());
                for (i, step) in steps.iter().enumerate() {
                    let (dt, kick) = if i == 10 {
                        (DEFAULT_LAST_STEP_SIZE, 0.0)
                    } else {
                        (
                            0.096,
                            (2.0 * diffusion.at(path, step.t)).sqrt() * 0.096_f64.sqrt() * eps,
                        )
                    };
                    let (t, t_next) = (step.t, step.t + dt);
                    let (got, want) = match step.update {
                        Update::Euler { x: cx, out, noise } => {
                            let v = net(x, t);
                            (
                                cx * x + out * v + noise * eps,
                                x + drift(x, v, t) * dt + kick,
                            )
                        }
                        Update::Heun { noise, mid, end } => {
                            let y = x + noise * eps;
                            let o0 = net(y, t);
                            let m = mid[0] * y + mid[1] * o0;
                            let got = end[0] * y + end[1] * o0 + end[2] * net(m, step.t_next);
                            let x_hat = x + kick;
                            let k1 = drift(x_hat, net(x_hat, t), t);
                            let x_p = x_hat + dt * k1;
                            let k2 = drift(x_p, net(x_p, t_next), t_next);
                            (got, x_hat + 0.5 * dt * (k1 + k2))
                        }
                    };
                    assert_near(&format!("{path} {method} step {i}"), got, want, 1e-12);
                }
            }
        }
    }

    #[test]
    fn grids_have_the_stated_steps_and_evaluations() {
        let transport = transport(Path::Linear, Prediction::Score);
        let diffusion = Diffusion::default();
        let cases = [
            (
                Sampler::Ode {
                    method: Method::Euler,
                    n_steps: 10,
                },
                10,
                10,
                0.999,
            ),
            (
                Sampler::Ode {
                    method: Method::Heun,
                    n_steps: 10,
                },
                10,
                20,
                0.999,
            ),
            (
                sde(Method::Euler, diffusion, LastStep::None, 10),
                10,
                10,
                0.999,
            ),
            (
                sde(Method::Euler, diffusion, LastStep::Mean, 10),
                11,
                11,
                1.0,
            ),
            (
                sde(Method::Heun, diffusion, LastStep::Tweedie, 10),
                11,
                21,
                1.0,
            ),
        ];
        for (sampler, n_steps, n_evaluations, end) in cases {
            let steps = schedule(&transport, &sampler).unwrap();
            assert_eq!(
                (steps.len(), nfe(&steps)),
                (n_steps, n_evaluations),
                "{sampler:?}"
            );
            assert_eq!(
                (steps[0].t, steps[n_steps - 1].t_next),
                (0.001, end),
                "{sampler:?}"
            );
            assert!(
                steps.windows(2).all(|pair| pair[0].t_next == pair[1].t),
                "{sampler:?}"
            );
            assert!(steps.iter().all(|step| step.t < step.t_next), "{sampler:?}");
        }
    }

    #[test]
    fn the_last_step_is_without_noise() {
        for &last_step in LastStep::ALL {
            let sampler = sde(Method::Heun, Diffusion::default(), last_step, 4);
            let steps = schedule(&transport(Path::Gvp, Prediction::Noise), &sampler).unwrap();
            match steps[steps.len() - 1].update {
                Update::Euler { noise, .. } => assert!(last_step != LastStep::None && noise == 0.0),
                Update::Heun { .. } => assert_eq!(last_step, LastStep::None),
            }
        }
    }

    #[test]
    fn a_schedule_from_the_way_has_the_size_and_the_end_of_the_whole() {
        let transport = transport(Path::Linear, Prediction::Velocity);
        let ode = Sampler::Ode {
            method: Method::Euler,
            n_steps: 20,
        };
        let sde = sde(Method::Euler, Diffusion::default(), LastStep::Mean, 24);
        for sampler in [ode, sde] {
            let whole = schedule(&transport, &sampler).unwrap();
            for from in [0, 7, whole.len() - 1] {
                let rest = schedule_from(&transport, &sampler, whole[from].t).unwrap();
                assert_eq!(rest.len(), whole.len() - from, "{sampler:?} from {from}");
                for (a, b) in rest.iter().zip(&whole[from..]) {
                    assert_near("t", a.t, b.t, 1e-12);
                    assert_near("t_next", a.t_next, b.t_next, 1e-12);
                }
            }
            // Between two steps, and so near to the end that less than half a step is left.
            let interval = transport.sample_interval(&sampler).unwrap();
            for t in [0.503, interval.t1 - 1e-3] {
                let rest = schedule_from(&transport, &sampler, t).unwrap();
                assert_eq!((rest[0].t, rest[rest.len() - 1].t_next), (t, 1.0));
                assert!(rest.windows(2).all(|pair| pair[0].t_next == pair[1].t));
            }
        }
        for (sampler, t) in [(ode, 1.0), (ode, -0.1), (sde, 0.97), (sde, f64::NAN)] {
            let message = schedule_from(&transport, &sampler, t)
                .unwrap_err()
                .to_string();
            assert!(
                message.starts_with(&format!("start at t = {t}: ")),
                "{message}"
            );
        }
    }
}
