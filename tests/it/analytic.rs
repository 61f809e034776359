//! Mixtures compared with quadrature, finite differences and the solvers.

use sit_engine::analytic::{Component, Mixture, MixtureNetwork, Points as _, Toy};
use sit_engine::backend::Device;
use sit_engine::rng::{Stream, fill_brownian, fill_normal};
use sit_engine::sample::VelocityLoss;
use sit_engine::transport::{
    Diffusion, Method, Path, Prediction, Sampler, SdeMethod, Transport, schedule,
};
use sit_tests::net::predictions;
use std::f64::consts::PI;

fn near(what: &str, got: f64, want: f64, tol: f64) {
    let difference = (got - want).abs();
    assert!(
        difference <= tol * want.abs().max(1.0),
        "{what}: got {got}, want {want}, difference {difference:e}"
    );
}

fn component(weight: f64, mean: &[f64], std: &[f64]) -> Component {
    Component {
        weight,
        mean: mean.to_vec(),
        std: std.to_vec(),
    }
}

fn line() -> Mixture {
    Mixture::new(vec![
        component(2.0, &[-0.8], &[0.3]),
        component(1.0, &[0.5], &[0.1]),
        component(1.0, &[1.1], &[0.4]),
    ])
    .unwrap()
}

fn plane() -> Mixture {
    Mixture::new(vec![
        component(0.5, &[-0.7, 0.2], &[0.3, 0.5]),
        component(0.2, &[0.9, 0.8], &[0.2, 0.2]),
        component(0.3, &[0.1, -0.9], &[0.6, 0.1]),
    ])
    .unwrap()
}

/// Trapezoid rule from -8 to 8, practically exact for smooth functions that vanish at the ends.
fn integral(f: impl Fn(f64) -> f64) -> f64 {
    let n = 8000;
    (0..=n)
        .map(|i| f(-8.0 + 16.0 * f64::from(i) / f64::from(n)))
        .sum::<f64>()
        * 16.0
        / f64::from(n)
}

fn gaussian(x: f64, mean: f64, std: f64) -> f64 {
    let z = (x - mean) / std;
    (-0.5 * z * z).exp() / (std * (2.0 * PI).sqrt())
}

/// Bayes' rule with the integral over x1 done by quadrature; x0 follows from `x = alpha x1 + sigma x0`.
#[test]
fn posterior_means_and_density_agree_with_quadrature() {
    let mixture = line();
    let prior = |x1: f64| {
        let terms = mixture.components().iter();
        terms
            .map(|c| c.weight * gaussian(x1, c.mean[0], c.std[0]))
            .sum::<f64>()
    };
    for path in Path::NAMED {
        for t in [0.2, 0.5, 0.8] {
            let (alpha, sigma) = (path.alpha(t), path.sigma(t));
            for x in [-1.5, 0.1, 0.7] {
                let joint = |x1| prior(x1) * gaussian(x, alpha * x1, sigma);
                let density = integral(joint);
                let data = integral(|x1| x1 * joint(x1)) / density;
                let noise = (x - alpha * data) / sigma;
                let velocity = path.d_alpha(t) * data + path.d_sigma(t) * noise;
                let at = format!("{path} at {t} of {x}");
                let marginal = mixture.at(&path, t);
                near(
                    &format!("density, {at}"),
                    marginal.density(&[x]),
                    density,
                    1e-10,
                );
                near(
                    &format!("log, {at}"),
                    marginal.log_density(&[x]),
                    density.ln(),
                    1e-10,
                );
                near(&format!("data, {at}"), marginal.data(&[x])[0], data, 1e-9);
                near(
                    &format!("noise, {at}"),
                    marginal.noise(&[x])[0],
                    noise,
                    1e-9,
                );
                let got = marginal.velocity(&[x])[0];
                near(&format!("velocity, {at}"), got, velocity, 1e-8);
                let score = -noise / sigma;
                let got = marginal.score(&[x])[0];
                near(&format!("score, {at}"), got, score, 1e-8);
            }
        }
    }
}

/// The closed form of one Gaussian, written out: all outputs are `slope (x - mean) + at_mean`.
#[test]
fn one_component_is_the_gaussian() {
    let (mean, std) = (0.8, 0.5);
    let gaussian = Mixture::new(vec![component(1.0, &[mean], &[std])]).unwrap();
    for path in Path::NAMED {
        for t in [0.0, 0.3, 0.9, 1.0] {
            let (alpha, sigma) = (path.alpha(t), path.sigma(t));
            let variance = (alpha * std).powi(2) + sigma * sigma;
            let marginal = gaussian.at(&path, t);
            let x = 1.7;
            let z = (x - alpha * mean) / variance;
            let at = format!("{path} at {t}");
            near(
                &at,
                marginal.data(&[x])[0],
                mean + alpha * std * std * z,
                1e-14,
            );
            near(&at, marginal.score(&[x])[0], -z, 1e-14);
            near(&at, marginal.noise(&[x])[0], sigma * z, 1e-14);
            // The velocity of the flow that maps one marginal to the next by scaling and shifting, by central differences.
            if t > 0.0 && t < 1.0 {
                let h = 1e-5;
                let moved = |t: f64| {
                    let (a, s) = (path.alpha(t), path.sigma(t));
                    let scale = (((a * std).powi(2) + s * s) / variance).sqrt();
                    a * mean + scale * (x - alpha * mean)
                };
                let velocity = (moved(t + h) - moved(t - h)) / (2.0 * h);
                near(
                    &format!("velocity, {at}"),
                    marginal.velocity(&[x])[0],
                    velocity,
                    1e-8,
                );
            }
        }
    }
}

/// `d_t p + div(p v) = 0`, by central differences in time and space.
#[test]
fn density_and_velocity_satisfy_the_continuity_equation() {
    let mixture = plane();
    let h = 1e-4;
    let mut largest: f64 = 0.0;
    for path in Path::NAMED {
        for t in [0.1, 0.4, 0.7, 0.95] {
            for x in [[0.0, 0.0], [-0.5, 0.3], [0.4, -0.6]] {
                let density = |t: f64| mixture.at(&path, t).density(&x);
                let change = (density(t + h) - density(t - h)) / (2.0 * h);
                let marginal = mixture.at(&path, t);
                let divergence: f64 = (0..2)
                    .map(|i| {
                        let flux = |sign: f64| {
                            let mut x = x;
                            x[i] += sign * h;
                            marginal.density(&x) * marginal.velocity(&x)[i]
                        };
                        (flux(1.0) - flux(-1.0)) / (2.0 * h)
                    })
                    .sum();
                largest = largest.max(change.abs());
                near(
                    &format!("{path} at {t} of {x:?}"),
                    change,
                    -divergence,
                    2e-5,
                );
            }
        }
    }
    assert!(largest > 0.3, "the density hardly changes: {largest}");
}

#[test]
fn the_score_is_the_gradient_of_the_log_density() {
    let mixture = plane();
    let h = 1e-5;
    for path in Path::NAMED {
        for t in [0.0, 0.4, 1.0] {
            let (x, marginal) = ([0.3, -0.5], mixture.at(&path, t));
            for i in 0..2 {
                let log = |sign: f64| {
                    let mut x = x;
                    x[i] += sign * h;
                    marginal.log_density(&x)
                };
                let gradient = (log(1.0) - log(-1.0)) / (2.0 * h);
                near(
                    &format!("{path} at {t}"),
                    marginal.score(&x)[i],
                    gradient,
                    1e-6,
                );
            }
        }
    }
}

#[test]
fn ends_are_finite_limits() {
    let mixture = plane();
    let x = [0.3, -0.5];
    for path in Path::NAMED {
        for prediction in predictions(&path) {
            let transport = Transport {
                path: path.clone(),
                prediction,
                ..Transport::default()
            };
            let outputs = |t: f64| mixture.outputs(&transport, t, &x);
            for (end, inside) in [(0.0, 1e-11), (1.0, 1.0 - 1e-11)] {
                for (end, inside) in outputs(end).iter().zip(outputs(inside)) {
                    // The sigma of VP and OU is like a square root near t = 1: OU's about 1e-5 at this distance.
                    near(&format!("{path} {prediction}"), inside, *end, 2e-4);
                }
            }
        }
        // Points without spread are degenerate at t = 1 only; at t = 0 everything is finite.
        let points = Mixture::new(vec![
            Component {
                weight: 1.0,
                mean: vec![1.0, 0.0],
                std: vec![0.0; 2],
            },
            Component {
                weight: 1.0,
                mean: vec![-1.0, 0.5],
                std: vec![0.0; 2],
            },
        ])
        .unwrap();
        let start = points.at(&Path::Linear, 0.0);
        near("score", start.score(&x)[1], 0.5, 1e-12);
        near("mean", start.data(&x)[1], 0.25, 1e-12);
    }
}

#[test]
fn far_away_nothing_overflows() {
    let far = plane();
    let marginal = far.at(&Path::Linear, 0.99);
    let x = [400.0, -300.0];
    assert_eq!(marginal.density(&x), 0.0);
    assert!(marginal.log_density(&x).is_finite());
    assert!(marginal.velocity(&x).iter().all(|v| v.is_finite()));
    let got = far.outputs(&Transport::default(), 0.99, &[400.0, -300.0, 0.0, 0.0]);
    let want = [marginal.velocity(&x), marginal.velocity(&[0.0; 2])].concat();
    assert_eq!(got, want);
}

#[test]
fn bad_components_are_named() {
    let refusal = |component| Mixture::new(vec![plane().components()[0].clone(), component]);
    let cases = [
        (component(0.0, &[0.0; 2], &[1.0; 2]), "weight 0,"),
        (component(f64::NAN, &[0.0; 2], &[1.0; 2]), "weight NaN,"),
        (
            component(1.0, &[0.0; 3], &[1.0; 2]),
            "3 means and 2 deviations,",
        ),
        (
            component(1.0, &[f64::INFINITY, 0.0], &[1.0; 2]),
            "mean inf,",
        ),
        (component(1.0, &[0.0; 2], &[1.0, -1.0]), "deviation -1,"),
    ];
    for (component, expected) in cases {
        let message = refusal(component).unwrap_err().to_string();
        let expected = format!("component 1 of a mixture: got {expected}");
        assert!(message.starts_with(&expected), "{message}");
    }
    assert!(
        Mixture::new(vec![])
            .unwrap_err()
            .to_string()
            .contains("no component")
    );
}

/// Runs from fixed noise to the end; an SDE follows the same Brownian path for any number of steps.
fn run(sampler: &Sampler, transport: &Transport, n: usize) -> Vec<f64> {
    let mixture = plane();
    let mut noise = vec![0.0; 2 * n];
    fill_normal(1, Stream::SampleNoise, 0, 0, &mut noise);
    let mut x: Vec<f64> = noise.iter().copied().map(f64::from).collect();
    let mut history = Vec::new();
    let level = sampler.n_steps().ilog2();
    for (k, step) in schedule(transport, sampler).unwrap().iter().enumerate() {
        if k < 1 << level {
            fill_brownian(2, level, k as u32, 0, &mut noise);
        }
        mixture.step(transport, step, &mut x, &mut history, &noise);
    }
    x
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let square: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (square / a.len() as f64).sqrt()
}

#[test]
fn solver_error_falls_with_the_order_of_the_method() {
    let methods = [
        (Method::Euler, 1.8..2.3),
        (Method::Midpoint, 3.5..4.6),
        (Method::Heun, 3.5..4.6),
        (Method::Heun3, 7.0..9.2),
        (Method::Rk4, 14.0..19.0),
        (Method::Rk438, 14.0..19.0),
        (Method::DpmPlusPlus2m, 3.5..4.6),
        // The corrector makes it one order better.
        (Method::UniPc, 5.0..9.2),
    ];
    for prediction in predictions(&Path::Gvp) {
        let of = |t_eps_sample: Option<f64>| Transport {
            path: Path::Gvp,
            prediction,
            t_eps_sample,
            ..Transport::default()
        };
        // Near the end, a data prediction is divided by a clamped sigma instead of the path's.
        let plain = of((prediction == Prediction::Data).then_some(0.06));
        // Where the logarithm of the signal-to-noise ratio is infinite, steps in it are of first order.
        let inside = of(Some(0.06));
        for (method, range) in &methods {
            let transport = match method {
                Method::DpmPlusPlus2m | Method::UniPc => &inside,
                _ => &plain,
            };
            let end = |method, n_steps| run(&Sampler::ode(method, n_steps), transport, 16);
            let exact = end(Method::Rk4, 4096);
            let error = |n_steps| distance(&end(*method, n_steps), &exact);
            let ratio = error(128) / error(256);
            assert!(range.contains(&ratio), "{prediction} {method}: {ratio}");
        }
    }
}

/// On one Brownian path the SDE converges as its steps are halved.
#[test]
fn the_sde_converges_on_its_path() {
    let end = |n_steps| {
        let sampler = Sampler::sde(SdeMethod::Euler, Diffusion::default(), n_steps);
        run(&sampler, &Transport::default(), 64)
    };
    let fine = end(4096);
    let errors = [16, 32, 64, 128].map(|n_steps| distance(&end(n_steps), &fine));
    for pair in errors.windows(2) {
        assert!((1.4..2.8).contains(&(pair[0] / pair[1])), "{errors:?}");
    }
}

/// A network of the exact velocity has no error, and its loss is the variance of the target given the state.
#[test]
fn the_loss_of_a_velocity_is_its_error_and_the_variance_of_the_target() {
    const N: usize = 2000;
    let toy = Toy::Unequal;
    let mixture = toy.mixture().unwrap();
    let network = MixtureNetwork::new(mixture.clone()).unwrap();
    let model = network.on(&Device::Cpu).unwrap();
    let points = toy.points(5, 0..N as u64);
    let x1: Vec<f32> = points.iter().flat_map(|point| point.x).collect();
    let numbers: Vec<u64> = (0..N as u64).collect();
    let mut loss = VelocityLoss::new(&model, N, 3).unwrap();
    let of_data = |i: usize| {
        let of = |f: &dyn Fn(&Component) -> f64| -> f64 {
            mixture.components().iter().map(|c| c.weight * f(c)).sum()
        };
        let mean = of(&|c| c.mean[i]);
        of(&|c| c.mean[i].powi(2) + c.std[i].powi(2)) - mean * mean
    };
    // At t = 0 the state says nothing of the data, and at t = 1 nothing of the noise.
    let variances = [Some((of_data(0) + of_data(1)) / 2.0), None, None, Some(1.0)];
    for ((at, t), variance) in (0..).zip([0.0, 0.3, 0.7, 1.0]).zip(variances) {
        let exact = |state: &[f64], _: u32| mixture.at(&Path::Linear, t).velocity(state);
        let mut of = |off: f64| {
            let moved = |state: &[f64], label| {
                let velocity = exact(state, label);
                velocity.iter().map(|v| v + off).collect()
            };
            let all = loss.errors((at, t), &numbers, &x1, &vec![0; N], &moved);
            let all = all.unwrap();
            [0, 1].map(|k| all.iter().map(|pair| pair[k]).sum::<f64>() / N as f64)
        };
        let [own_loss, error] = of(0.0);
        assert!(error < 1e-9, "t = {t}: {error:e}");
        near("the error of another velocity", of(0.1)[1], 0.01, 1e-4);
        assert_eq!(of(0.1)[0], own_loss);
        if let Some(variance) = variance {
            // Four deviations of a mean of 4000 squares.
            near("loss", own_loss, variance, 4.0 * (2.0 / 4000.0_f64).sqrt());
        }
    }
}
