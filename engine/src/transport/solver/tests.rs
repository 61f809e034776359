mod settings;

use super::*;
use crate::transport::{
    Curve, DEFAULT_LAST_STEP_SIZE, Diffusion, DiffusionForm, LastStep, Method, Path, Prediction,
    testing::{Affine, Gaussian, PLAIN_PATHS, assert_near, diffusions, drawn, predictions},
};

const DATA: Gaussian = Gaussian {
    mean: 0.8,
    std: 0.5,
};

/// SiT's paths and a short OU: the usual one needs more steps.
const PATHS: [Path; 4] = [Path::Linear, Path::Gvp, Path::VP, Path::Ou { time: 1.0 }];

/// Predictions whose conversions are exact up to the end; for data, sigma is clamped there.
const EXACT: [Prediction; 3] = [Prediction::Velocity, Prediction::Score, Prediction::Noise];

fn transport(path: Path, prediction: Prediction) -> Transport {
    Transport {
        path,
        prediction,
        ..Transport::default()
    }
}

fn sde(method: SdeMethod, diffusion: &Diffusion, last_step: LastStep, n_steps: u32) -> Sampler {
    Sampler::Sde(Sde {
        method,
        diffusion: diffusion.clone(),
        last_step,
        n_steps,
        ..Sde::default()
    })
}

/// A step with the exact network on Gaussian data: an affine map, with noise of these sizes added before and after it.
fn exact_step(transport: &Transport, step: &Step) -> (f64, Affine, f64) {
    let net = |x: &[f64], t| {
        let output = DATA.network(transport, t);
        x.iter().map(|&x| output.at(x)).collect()
    };
    let mut ends = [0.0, 1.0];
    step.apply(&mut ends, &[], net);
    let map = Affine {
        slope: ends[1] - ends[0],
        offset: ends[0],
    };
    match step.form().adds_noise_first() {
        true => (step.noise(), map, 0.0),
        false => (0.0, map, step.noise()),
    }
}

/// Mean and variance after all steps, from the exact marginal at the first time. Affine steps have no sampling error.
fn moments(transport: &Transport, steps: &[Step]) -> (f64, f64) {
    steps.iter().fold(
        DATA.marginal(&transport.path, steps[0].t),
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
    let mean =
        |f: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / points.len() as f64;
    let (mx, my) = (mean(&|p| p.0), mean(&|p| p.1));
    -mean(&|p| (p.0 - mx) * (p.1 - my)) / mean(&|p| (p.0 - mx).powi(2))
}

/// The steps of a method of one step; those of an adaptive one are of equal size too.
fn equal_steps(transport: &Transport, method: Method, n_steps: u32) -> Vec<Step> {
    let Solver::Adaptive(tableau, ..) = method.solver() else {
        return schedule(transport, &Sampler::ode(method, n_steps)).unwrap();
    };
    let euler = schedule(transport, &Sampler::ode(Method::Euler, n_steps)).unwrap();
    let along = Along::new(transport, None);
    let step = |step: &Step| ode_step(&along, tableau, [step.t, step.t_next]).unwrap();
    euler.iter().map(step).collect()
}

#[test]
fn ode_orders_on_a_gaussian() {
    for path in PATHS.into_iter().chain([Path::EDM]) {
        for &prediction in predictions(&path) {
            for &method in Method::ALL {
                let expected = match method {
                    Method::Euler => 1.0,
                    Method::Midpoint | Method::Heun | Method::AdaptiveHeun => 2.0,
                    Method::Heun3 | Method::Bosh3 => 3.0,
                    Method::Rk4 | Method::Rk438 => 4.0,
                    // The order of dopri5 is that of its tableau; the others take several steps.
                    Method::Dopri5 | Method::DpmPlusPlus2m | Method::UniPc => continue,
                };
                let mut transport = transport(path.clone(), prediction);
                if prediction == Prediction::Data {
                    // Keeps sigma above its minimum.
                    transport.t_eps_sample = Some(0.06);
                }
                // Sizes at which the method's error dominates rounding.
                let sizes = match expected {
                    4.0 => [160, 200, 240, 280, 320],
                    _ => [40, 80, 160, 320, 640],
                };
                let errors = sizes.map(|n_steps| {
                    let steps = equal_steps(&transport, method, n_steps);
                    let end = steps
                        .iter()
                        .fold(1.7, |x, step| exact_step(&transport, step).1.at(x));
                    let exact = DATA
                        .flow(&path, steps[0].t, steps.last().unwrap().t_next)
                        .at(1.7);
                    (n_steps, (end - exact).abs())
                });
                let got = order(&errors);
                // For some of these the leading error term vanishes.
                let may_exceed = method == Method::Midpoint || prediction == Prediction::Data;
                assert!(
                    got > expected - 0.1 && (may_exceed || got < expected + 0.1),
                    "{path} {prediction} {method}: order {got}, {errors:?}"
                );
            }
        }
    }
}

/// Whether a default transport must reject an SDE, from a closed-form argument, independent of the code's arithmetic.
fn is_singular(
    path: &Path,
    prediction: Prediction,
    method: SdeMethod,
    diffusion: &Diffusion,
    last_step: LastStep,
) -> bool {
    let reaches_ends = !path.is_decay() && prediction == Prediction::Velocity;
    let starts_infinite = diffusion.curve.is_none() && diffusion.form == DiffusionForm::Sbdm;
    let stays_positive = match (&diffusion.curve, diffusion.form) {
        (Some(curve), _) => curve.values()[Curve::POINTS - 1] > 0.0,
        (None, DiffusionForm::Constant) => true,
        (None, DiffusionForm::Decreasing) => diffusion.norm != 1.0,
        _ => false,
    };
    reaches_ends
        && (starts_infinite
            || stays_positive && method == SdeMethod::Heun && last_step == LastStep::None)
}

/// The mean and variance after an exact integration followed by the last step.
fn expected_moments(path: &Path, diffusion: &Diffusion, last_step: LastStep, t: f64) -> (f64, f64) {
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

/// Every SDE preserves the marginals: the moments have a discretization error only, below 0.2 % of the standard deviation and 1 %
/// of the variance at 500 steps, and half of that at 1000 (weak order 1).
#[test]
fn sde_moments_of_every_combination() {
    let mut n_checked = 0;
    for path in PATHS {
        for prediction in EXACT {
            for method in [SdeMethod::Euler, SdeMethod::Heun, SdeMethod::Alternate] {
                for &last_step in LastStep::ALL {
                    for diffusion in diffusions() {
                        let what =
                            format!("{path} {prediction} {method} {last_step} {diffusion:?}");
                        let mut transport = transport(path.clone(), prediction);
                        let diffusion = &diffusion;
                        let singular = is_singular(&path, prediction, method, diffusion, last_step);
                        let result = schedule(&transport, &sde(method, diffusion, last_step, 10));
                        assert_eq!(result.is_err(), singular, "{what}: {result:?}");
                        if singular {
                            transport.t_eps_sample = Some(1e-3);
                        }
                        let errors = [500, 1000].map(|n_steps| {
                            let sampler = sde(method, diffusion, last_step, n_steps);
                            let steps = schedule(&transport, &sampler).unwrap();
                            let t1 = transport.sample_interval(&sampler).unwrap().t1;
                            let expected = expected_moments(&path, diffusion, last_step, t1);
                            let got = moments(&transport, &steps);
                            let mean_error = (got.0 - expected.0).abs() / expected.1.sqrt();
                            (mean_error, (got.1 / expected.1 - 1.0).abs())
                        });
                        let [(mean, variance), (half_mean, half_variance)] = errors;
                        assert!(mean < 0.002 && variance < 0.01, "{what}: {errors:?}");
                        let halved =
                            |e: f64, half: f64| half < 2e-4 || (0.45..0.55).contains(&(half / e));
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
    assert_eq!(n_checked, 4 * 3 * 3 * 4 * (7 * 2 + 2));
}

#[test]
fn an_sde_without_diffusion_is_the_ode_bit_for_bit() {
    let pairs = [
        (SdeMethod::Euler, Method::Euler),
        (SdeMethod::Heun, Method::Heun),
        (SdeMethod::Alternate, Method::Euler),
    ];
    for path in Path::NAMED {
        for &prediction in predictions(&path) {
            for (method, of_ode) in pairs {
                let zero = |diffusion| Diffusion {
                    norm: 0.0,
                    ..diffusion
                };
                let flat = drawn(1.0, [0.0; 5]);
                for diffusion in diffusions().into_iter().map(zero).chain([flat]) {
                    if diffusion.curve.is_none() && diffusion.form == DiffusionForm::Decreasing {
                        continue; // its norm 0 is the constant 1/4
                    }
                    let transport = transport(path.clone(), prediction);
                    let sde = sde(method, &diffusion, LastStep::None, 17);
                    let [sde, ode] = [sde, Sampler::ode(of_ode, 17)].map(|sampler| {
                        let steps = schedule(&transport, &sampler).unwrap();
                        steps.iter().flat_map(step_bits).collect::<Vec<_>>()
                    });
                    assert_eq!(sde, ode, "{path} {prediction} {method} {diffusion:?}");
                }
            }
        }
    }
}

fn step_bits(step: &Step) -> Vec<u64> {
    let rows = (0..step.times().len()).flat_map(|i| step.row(i).to_vec());
    let numbers = [step.t, step.t_next, step.noise()].into_iter();
    let all = numbers.chain(rows).chain(step.end().to_vec());
    all.map(f64::to_bits).collect()
}

/// The schedule against SiT's formulas as written in its code, on arbitrary states and outputs.
#[test]
fn steps_are_the_references_formulas() {
    for path in PLAIN_PATHS {
        for method in [SdeMethod::Euler, SdeMethod::Heun] {
            let transport = transport(path.clone(), Prediction::Velocity);
            let diffusion = Diffusion::new(DiffusionForm::Sigma, 0.5);
            let steps = schedule(&transport, &sde(method, &diffusion, LastStep::Mean, 10)).unwrap();
            let drift = |x: f64, v: f64, t: f64| {
                let ratio = path.alpha(t) / path.d_alpha(t);
                let sigma = path.sigma(t);
                let score = (ratio * v - x) / (sigma * sigma - ratio * path.d_sigma(t) * sigma);
                v + diffusion.at(&path, t) * score
            };
            let (x, eps, net) = (0.3, -1.25, |x: f64, t: f64| (3.0 * x + t).sin());
            for (i, step) in steps.iter().enumerate() {
                let (dt, kick) = if i == 10 {
                    (DEFAULT_LAST_STEP_SIZE, 0.0)
                } else {
                    (
                        0.096,
                        (2.0 * diffusion.at(&path, step.t)).sqrt() * 0.096_f64.sqrt() * eps,
                    )
                };
                let (t, t_next) = (step.t, step.t + dt);
                let mut got = [x];
                step.apply(&mut got, &[eps as f32], |x, t| vec![net(x[0], t)]);
                let want = if step.times().len() == 1 {
                    x + drift(x, net(x, t), t) * dt + kick
                } else {
                    let x_hat = x + kick;
                    let k1 = drift(x_hat, net(x_hat, t), t);
                    let x_p = x_hat + dt * k1;
                    let k2 = drift(x_p, net(x_p, t_next), t_next);
                    x_hat + 0.5 * dt * (k1 + k2)
                };
                let [got] = got;
                assert_near(&format!("{path} {method} step {i}"), got, want, 1e-12);
            }
        }
    }
}

/// Heun's embedded method is Euler's: the error estimate is the difference of the two.
#[test]
fn the_error_of_a_step_is_estimated_by_its_companion() {
    let transport = transport(Path::Gvp, Prediction::Velocity);
    let step = |method| schedule(&transport, &Sampler::ode(method, 7)).unwrap()[3];
    let (euler, heun) = (step(Method::Euler), step(Method::Heun));
    let net = |x: &[f64], t: f64| vec![(3.0 * x[0] + t).sin()];
    let (mut low, mut high) = ([0.4], [0.4]);
    euler.apply(&mut low, &[], net);
    heun.apply(&mut high, &[], net);
    let outs = [net(&[0.4], heun.t)[0], net(&low, heun.t_next)[0]];
    let row = heun.error().unwrap();
    let estimate = row[0] * 0.4 + row[1] * outs[0] + row[2] * outs[1];
    assert_near("estimate", estimate, high[0] - low[0], 1e-14);
    assert_eq!(step(Method::Rk4).error(), None);
}

#[test]
fn a_schedule_from_the_way_has_the_size_and_the_end_of_the_whole() {
    let transport = transport(Path::Linear, Prediction::Velocity);
    let ode = &Sampler::ode(Method::Euler, 20);
    let sde = &Sampler::sde(SdeMethod::Euler, Diffusion::default(), 24);
    for sampler in [ode, sde] {
        let whole = schedule(&transport, sampler).unwrap();
        for from in [0, 7, whole.len() - 1] {
            let rest = schedule_from(&transport, sampler, whole[from].t).unwrap();
            assert_eq!(rest.len(), whole.len() - from, "{sampler:?} from {from}");
            for (a, b) in rest.iter().zip(&whole[from..]) {
                assert_near("t", a.t, b.t, 1e-12);
                assert_near("t_next", a.t_next, b.t_next, 1e-12);
            }
        }
        // Between two steps, and so close to the end that less than half a step is left.
        let interval = transport.sample_interval(sampler).unwrap();
        for t in [0.503, interval.t1 - 1e-3] {
            let rest = schedule_from(&transport, sampler, t).unwrap();
            assert_eq!((rest[0].t, rest[rest.len() - 1].t_next), (t, 1.0));
            assert!(rest.windows(2).all(|pair| pair[0].t_next == pair[1].t));
        }
    }
    for (sampler, t) in [(ode, 1.0), (ode, -0.1), (sde, 0.97), (sde, f64::NAN)] {
        let message = schedule_from(&transport, sampler, t)
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with(&format!("start at t = {t}: ")),
            "{message}"
        );
    }
}
