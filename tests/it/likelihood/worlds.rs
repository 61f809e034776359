//! Distributions with a known density: mixtures in 2 and 8 dimensions, and a correlated Gaussian in 16.

use sit_engine::analytic::{Component, Mixture};
use sit_engine::rng::{Stream, normal, uniform};
use sit_engine::sample::{LogLikelihood, log_likelihood};
use sit_engine::transport::{Method, Ode, Path, Prediction, Sampler, Tolerance, Transport};
use sit_tests::fixture::{Entry, Fixture};

fn near(what: &str, got: f64, want: f64, tol: f64) {
    let difference = (got - want).abs();
    assert!(
        difference <= tol * want.abs().max(1.0),
        "{what}: got {got}, want {want}, difference {difference:e}"
    );
}

fn rows(entry: &Entry) -> Vec<Vec<f64>> {
    entry.list().iter().map(Entry::numbers).collect()
}

/// Values of a formula such as `1.5*sin(1.9*i+0.7), shape [5,2]`, in rows.
fn stated(entry: &Entry, width: usize) -> Vec<Vec<f64>> {
    let text = entry.text();
    let (_, shape) = text.split_once("shape [").expect("a shape");
    let n: usize = shape.split(',').next().unwrap().parse().unwrap();
    let values = entry.formula().exact(n * width);
    values.chunks_exact(width).map(<[f64]>::to_vec).collect()
}

/// The mixture of an entry, and its points.
fn world(entry: &Entry, d: usize) -> (Mixture, Vec<Vec<f64>>) {
    let weights = entry.at("weights").numbers();
    let mixture = match entry.get("covariances") {
        Some(covariances) => {
            let means = rows(&entry.at("means"));
            let full = covariances
                .list()
                .iter()
                .map(|c| rows(c).concat())
                .collect::<Vec<_>>();
            let parts = weights.into_iter().zip(means).zip(full);
            Mixture::full(parts.map(|((w, m), c)| (w, m, c)).collect())
        }
        None => {
            let means = stated(&entry.at("means"), d);
            let variances = stated(&entry.at("diagonal_variances"), d);
            let parts = weights.into_iter().zip(means).zip(variances);
            Mixture::new(
                parts
                    .map(|((weight, mean), variances)| Component {
                        weight,
                        mean,
                        std: variances.iter().map(|v| v.sqrt()).collect(),
                    })
                    .collect(),
            )
        }
    };
    (mixture.unwrap(), stated(&entry.at("x"), d))
}

fn dopri5(tolerance: f64) -> Sampler {
    Sampler::Ode(Ode {
        method: Method::Dopri5,
        tolerance: Tolerance {
            rtol: tolerance,
            atol: tolerance,
            ..Tolerance::default()
        },
        ..Ode::default()
    })
}

/// The likelihood with the exact velocity of a mixture and its exact trace.
fn exact(mixture: &Mixture, transport: &Transport, sampler: &Sampler, x: &[f64]) -> LogLikelihood {
    let net = |x: &[f64], t: f64| {
        let marginal = mixture.at(&transport.path, t);
        (marginal.velocity(x), vec![marginal.velocity_trace(x)])
    };
    log_likelihood(transport, sampler, x, 1, net).unwrap()
}

#[test]
fn mixtures_have_the_velocity_trace_and_likelihood_of_the_fixture() {
    let fixture = Fixture::open("likelihood");
    for (key, d) in [("2d", 2), ("8d", 8)] {
        let entry = fixture.root().at(key);
        let (mixture, points) = world(&entry, d);
        for (t, want) in entry.at("at_the_points").entries() {
            let marginal = mixture.at(&Path::Linear, t.parse().unwrap());
            let velocity = rows(&want.at("velocity"));
            let trace = want.at("trace").numbers();
            for (i, x) in points.iter().enumerate() {
                let at = format!("{key} at {t}, point {i}");
                near(
                    &format!("trace, {at}"),
                    marginal.velocity_trace(x),
                    trace[i],
                    1e-9,
                );
                let got = marginal.velocity(x);
                let pairs = got.iter().zip(&velocity[i]);
                pairs.for_each(|(got, want)| near(&format!("velocity, {at}"), *got, *want, 1e-9));
                if let Some(score) = want.get("score") {
                    let score = rows(&score);
                    let pairs = marginal.score(x).into_iter().zip(&score[i]);
                    pairs.for_each(|(got, want)| near(&format!("score, {at}"), got, *want, 1e-9));
                }
            }
        }
        let want = |key: &str| entry.at(key).numbers();
        let ends = rows(&entry.at("noise_end"));
        for (i, x) in points.iter().enumerate() {
            let at = format!("{key}, point {i}");
            let data = mixture.at(&Path::Linear, 1.0);
            near(
                &at,
                data.log_density(x),
                want("log_density_at_data")[i],
                1e-10,
            );
            let got = exact(&mixture, &Transport::default(), &dopri5(1e-10), x);
            near(&at, got.nats, want("ode_log_likelihood")[i], 2e-9);
            near(&at, got.integral, want("integral_of_trace")[i], 2e-9);
            got.noise
                .iter()
                .zip(&ends[i])
                .for_each(|(got, want)| near(&at, *got, *want, 2e-9));
            assert_eq!(got.std_error, None);
        }
    }
}

/// Every method and path ends at the density of the data; what the sampler starts from is that of the path only where the path begins
/// with noise alone, or nearly so.
#[test]
fn all_methods_and_paths_find_the_density() {
    let fixture = Fixture::open("likelihood");
    let (mixture, points) = world(&fixture.root().at("2d"), 2);
    let methods = [
        (Method::Midpoint, 400, 1e-4),
        (Method::Heun, 400, 1e-4),
        (Method::Heun3, 200, 1e-5),
        (Method::Rk4, 100, 1e-5),
        (Method::Rk438, 100, 1e-5),
        (Method::Euler, 4000, 5e-3),
    ];
    for (method, n_steps, tol) in methods {
        for path in [Path::Linear, Path::Gvp] {
            let transport = Transport {
                path,
                ..Transport::default()
            };
            let sampler = Sampler::ode(method, n_steps);
            for x in &points[..2] {
                let want = mixture.at(&transport.path, 1.0).log_density(x);
                let got = exact(&mixture, &transport, &sampler, x);
                near(
                    &format!("{method} on {}", transport.path),
                    got.nats,
                    want,
                    tol,
                );
                assert_eq!(got.nfe, n_steps * method.evaluations() as u32);
            }
        }
    }
    for (method, tol) in [
        (Method::Dopri5, 1e-6),
        (Method::Bosh3, 1e-5),
        (Method::AdaptiveHeun, 1e-4),
    ] {
        let sampler = Sampler::Ode(Ode {
            method,
            tolerance: Tolerance {
                rtol: 1e-8,
                atol: 1e-8,
                max_nfe: 10_000_000,
                ..Tolerance::default()
            },
            ..Ode::default()
        });
        let want = mixture.at(&Path::Linear, 1.0).log_density(&points[0]);
        let got = exact(&mixture, &Transport::default(), &sampler, &points[0]);
        near(method.name(), got.nats, want, tol);
    }
    // The singular ends are left out, so the density is that of the state at the last time, from the noise of the first one.
    for path in [Path::VP, Path::OU] {
        let transport = Transport {
            path,
            ..Transport::default()
        };
        for x in &points {
            let want = mixture.at(&transport.path, 0.999).log_density(x);
            let got = exact(&mixture, &transport, &dopri5(1e-8), x);
            near(&format!("{}", transport.path), got.nats, want, 2e-2);
        }
    }
}

/// The trace of a network that predicts something else is that of its drift: the score of a mixture has the Jacobian `(J_v - a I) / S`.
#[test]
fn other_predictions_and_other_paths_have_the_same_likelihood() {
    let fixture = Fixture::open("likelihood");
    let (mixture, points) = world(&fixture.root().at("8d"), 8);
    let x = &points[3];
    for (path, prediction, along) in [
        (Path::Linear, Prediction::Score, None),
        (Path::Linear, Prediction::Noise, None),
        (Path::Linear, Prediction::Velocity, Some(Path::Gvp)),
        (Path::Gvp, Prediction::Data, Some(Path::Linear)),
        (Path::EDM, Prediction::Denoiser, None),
    ] {
        let transport = Transport {
            path,
            prediction,
            t_eps_sample: (prediction == Prediction::Data).then_some(0.06),
            ..Transport::default()
        };
        let what = format!("{} of {prediction} along {along:?}", transport.path);
        let ends = |path: &Path, t: f64| mixture.at(path, t).log_density(x);
        let own = along.clone().unwrap_or(transport.path.clone());
        let sampler = Sampler::Ode(Ode {
            along,
            ..match dopri5(1e-9) {
                Sampler::Ode(ode) => ode,
                _ => unreachable!(),
            }
        });
        let h = 1e-4;
        // The Jacobian of any output by central differences.
        let net = |input: &[f64], t: f64| {
            let out = mixture.outputs(&transport, t, input);
            let slope = |i: usize| {
                let moved = |sign: f64| {
                    let mut input = input.to_vec();
                    input[i] += sign * h;
                    mixture.outputs(&transport, t, &input)[i]
                };
                (moved(1.0) - moved(-1.0)) / (2.0 * h)
            };
            let trace = (0..8).map(slope).sum();
            (out, vec![trace])
        };
        let got = log_likelihood(&transport, &sampler, x, 1, net).unwrap();
        let end = match (&own, prediction) {
            (Path::Edm { .. }, _) => 1.0,
            (_, Prediction::Data) => 0.94,
            (_, Prediction::Velocity) => 1.0,
            _ => 0.999,
        };
        near(&what, got.nats, ends(&own, end), 3e-2);
    }
}

/// A Gaussian in 16 dimensions with covariance `C_ij = s_i s_j 0.6^|i-j|`, `s_i = 0.5 + 0.05 i`, mean 0.
struct Correlated {
    mixture: Mixture,
    covariance: Vec<f64>,
}

const D: usize = 16;

impl Correlated {
    fn new() -> Self {
        let s = |i: usize| 0.5 + 0.05 * i as f64;
        let entry = |k: usize| {
            let (i, j) = (k / D, k % D);
            s(i) * s(j) * 0.6_f64.powi(i.abs_diff(j) as i32)
        };
        let covariance: Vec<f64> = (0..D * D).map(entry).collect();
        let mixture = Mixture::full(vec![(1.0, vec![0.0; D], covariance.clone())]).unwrap();
        Correlated {
            mixture,
            covariance,
        }
    }

    /// A point of the distribution, by Cholesky's factor.
    fn point(&self, number: u64) -> Vec<f64> {
        let mut l = vec![0.0; D * D];
        for i in 0..D {
            for j in 0..=i {
                let sum: f64 = (0..j).map(|k| l[i * D + k] * l[j * D + k]).sum();
                let rest = self.covariance[i * D + j] - sum;
                l[i * D + j] = if i == j {
                    rest.sqrt()
                } else {
                    rest / l[j * D + j]
                };
            }
        }
        let z: Vec<f64> = (0..D as u64)
            .map(|i| normal(5, Stream::Toy, 0, number * D as u64 + i))
            .collect();
        (0..D)
            .map(|i| (0..D).map(|j| l[i * D + j] * z[j]).sum())
            .collect()
    }

    /// The products `e^T J e` of the velocity's Jacobian with probes: it is constant, so differences are exact.
    fn quadratic(&self, t: f64, probes: &[Vec<f64>]) -> Vec<f64> {
        let marginal = self.mixture.at(&Path::Linear, t);
        let zero = marginal.velocity(&[0.0; D]);
        let of = |e: &Vec<f64>| {
            let moved = marginal.velocity(e);
            let rows = moved.iter().zip(&zero).zip(e);
            rows.map(|((a, b), e)| (a - b) * e).sum()
        };
        probes.iter().map(of).collect()
    }
}

#[test]
fn a_correlated_gaussian_has_its_closed_form() {
    let world = Correlated::new();
    let transport = Transport::default();
    let default = dopri5(1e-6);
    let (mut squares, mut probe_squares, mut z_squares, n) = (0.0, 0.0, 0.0, 40);
    let mut difference_of_means = 0.0;
    for number in 0..n {
        let x = world.point(number);
        let want = world.mixture.at(&Path::Linear, 1.0).log_density(&x);
        for sampler in [
            default.clone(),
            Sampler::Ode(Ode {
                method: Method::Dopri5,
                ..Ode::default()
            }),
        ] {
            let got = exact(&world.mixture, &transport, &sampler, &x);
            assert!((got.nats - want).abs() < 0.01, "{} {want}", got.nats);
            squares += (got.nats - want).powi(2) / 2.0;
        }
        // Eight probes that are kept.
        let probe = |k: u64| -> Vec<f64> {
            let value = |i: u64| match uniform(9, Stream::Probe, k as u32, number * 16 + i) < 0.5 {
                true => 1.0,
                false => -1.0,
            };
            (0..16).map(value).collect()
        };
        let probes: Vec<Vec<f64>> = (0..8).map(probe).collect();
        let net = |x: &[f64], t: f64| {
            let marginal = world.mixture.at(&Path::Linear, t);
            (marginal.velocity(x), world.quadratic(t, &probes))
        };
        let got = log_likelihood(&transport, &default, &x, 8, net).unwrap();
        let error = got.std_error.unwrap();
        probe_squares += (got.nats - want).powi(2);
        z_squares += ((got.nats - want) / error).powi(2);
        difference_of_means += got.nats - want;
    }
    let n = n as f64;
    let rms = |squares: f64| (squares / n).sqrt();
    println!(
        "exact: rms {:.2e} nats; 8 kept probes: rms {:.3}, in their error bars {:.2}, mean difference {:.3}",
        rms(squares),
        rms(probe_squares),
        rms(z_squares),
        difference_of_means / n
    );
    // Unbiased: the mean over the images is 0 within three of its own errors. The error bars are those of t with 7 degrees of
    // freedom, whose variance is 7/5.
    assert!((difference_of_means / n).abs() < 3.0 * rms(probe_squares) / n.sqrt());
    assert!((0.8..1.6).contains(&rms(z_squares)), "{}", rms(z_squares));
}

#[test]
fn what_has_no_likelihood_is_refused() {
    let refusal = |sampler: Sampler| {
        let net = |x: &[f64], _: f64| (x.to_vec(), vec![1.0]);
        log_likelihood(&Transport::default(), &sampler, &[0.1], 1, net)
            .unwrap_err()
            .to_string()
    };
    let sde = Sampler::Sde(sit_engine::transport::Sde::default());
    assert!(refusal(sde).starts_with("sde: the likelihood is that of the ODE"));
    for method in [Method::DpmPlusPlus2m, Method::UniPc] {
        let message = refusal(Sampler::ode(method, 10));
        assert!(
            message.starts_with(&format!("ode: got {method}, expected a method")),
            "{message}"
        );
    }
    // A drift that is not finite names the image and the time.
    let net = |x: &[f64], t: f64| (vec![if t < 0.5 { f64::NAN } else { x[0] }], vec![1.0]);
    let heun = Sampler::ode(Method::Heun, 10);
    let error = log_likelihood(&Transport::default(), &heun, &[0.1], 1, net).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("image 0: the drift or its trace is not finite at t = 0.5")
    );
}
