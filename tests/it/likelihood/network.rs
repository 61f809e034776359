//! The tiny network's traces and likelihoods against an f64 run of the official code.

use pollster::block_on;
use sit_engine::backend::Device;
use sit_engine::model::Model;
use sit_engine::sample::{Draw, Evaluator, LogLikelihood, Sampling, Trace, log_likelihood};
use sit_engine::transport::{ErrorNorm, Ode};
use sit_engine::transport::{
    Method, PathName, Prediction, Sampler, Sde, SdeMethod, Tolerance, Transport,
};
use sit_tests::fixture::Fixture;
use sit_tests::formula::Formula;
use sit_tests::{gpu, net, official};

/// A device, and how far f32 may be from f64 on it: a few times what it is on the CPU (4e-7 of the size of the Jacobian, 8e-7 nats), and
/// ten times that on a GPU.
struct Bench {
    device: &'static Device,
    relative: f64,
    nats: f64,
}

const CPU: Bench = Bench {
    device: &Device::Cpu,
    relative: 2e-6,
    nats: 3e-6,
};

fn gpu_bench() -> Bench {
    Bench {
        device: gpu(),
        relative: 2e-5,
        nats: 3e-5,
    }
}

fn near(what: &str, got: f64, want: f64, scale: f64, tol: f64) {
    let error = (got - want).abs() / scale;
    assert!(
        error <= tol,
        "{what}: got {got}, want {want}, {error:.2e} of {scale}"
    );
    println!("{what}: {error:.1e}");
}

fn sit() -> Fixture {
    Fixture::open("likelihood")
}

fn model(fixture: &Fixture, device: &Device, transport: Transport) -> Model {
    let sit = fixture.root().at("sit");
    let weights = Formula::labelled(sit.at("weights").text(), "flat index i");
    net::model(
        device,
        &official::model(&sit.at("config")),
        transport,
        &weights,
    )
}

/// Trace of the drift's Jacobian and the products with both probes, at each path, prediction and time of the file.
fn traces(bench: &Bench) {
    let fixture = sit();
    let sit = fixture.root().at("sit");
    let len = 256;
    let x = sit.at("x").formula().values(len);
    let probes = ["probe1", "probe2"].map(|key| sit.at(key).formula().values(len));
    let y = sit.at("y").count() as u32;
    for (key, want) in sit.at("values").entries() {
        let mut parts = key.splitn(3, '.');
        let mut part = || parts.next().unwrap();
        let transport = Transport {
            path: part().parse::<PathName>().unwrap().usual().unwrap(),
            prediction: part().parse::<Prediction>().unwrap(),
            ..Transport::default()
        };
        let t: f64 = part().strip_prefix('t').unwrap().parse().unwrap();
        let model = model(&fixture, bench.device, transport.clone());
        let drift = transport.velocity(t).unwrap();
        let quadratic = |probes: &[Vec<f32>]| {
            let mut network = Evaluator::new(&model, 1, probes.len()).unwrap();
            network.write(&x, &[t], &[y]).unwrap();
            network
                .write_probes(probes.iter().map(Vec::as_slice))
                .unwrap();
            block_on(network.run_async()).unwrap()
        };
        let (out, of_probes) = quadratic(&probes);
        // The size of the terms that are added up, of which an error is a share.
        let size = want.at("jacobian_frobenius").number();
        for (j, (probe, q)) in probes.iter().zip(&of_probes).enumerate() {
            let square: f64 = probe.iter().map(|e| f64::from(*e).powi(2)).sum();
            let got = drift.x * square + drift.out * f64::from(*q);
            let name = format!("probe{}", j + 1);
            let scale = size.max(want.at(&name).number().abs());
            near(
                &format!("{key} {name}"),
                got,
                want.at(&name).number(),
                scale,
                bench.relative,
            );
        }
        let unit = |i: usize| {
            (0..len)
                .map(|k| f32::from(u8::from(k == i)))
                .collect::<Vec<_>>()
        };
        let mut trace = len as f64 * drift.x;
        for first in (0..len).step_by(8) {
            let units: Vec<Vec<f32>> = (first..first + 8).map(unit).collect();
            let (_, q) = quadratic(&units);
            trace += drift.out * q.iter().map(|q| f64::from(*q)).sum::<f64>();
        }
        let scale = size.max(want.at("trace").number().abs());
        near(
            &format!("{key} trace"),
            trace,
            want.at("trace").number(),
            scale,
            bench.relative,
        );
        let values = x.iter().zip(&out);
        let values = values.map(|(x, out)| drift.x * f64::from(*x) + drift.out * f64::from(*out));
        let (sum, abs) = values.fold((0.0, 0.0), |(sum, abs), v| (sum + v, abs + v.abs()));
        let all = want.at("drift_abs_sum").number();
        near(
            &format!("{key} drift"),
            sum,
            want.at("drift_sum").number(),
            all,
            bench.relative,
        );
        near(&format!("{key} |drift|"), abs, all, all, bench.relative);
    }
}

#[test]
fn traces_on_the_cpu() {
    traces(&CPU);
}

#[test]
fn traces_on_the_gpu() {
    traces(&gpu_bench());
}

fn sampler(name: &str, n_steps: u32) -> Sampler {
    let method = match name {
        "euler" => Method::Euler,
        "heun2" => Method::Heun,
        "rk4" => Method::Rk438,
        _ => panic!("{name}: not understood"),
    };
    Sampler::ode(method, n_steps)
}

/// The likelihood of one image with label `y`.
fn one(sampling: Sampling<Model>, trace: Trace, x: &[f32], y: u32) -> LogLikelihood {
    let mut likelihood = sampling.batch(1).likelihood(trace).unwrap();
    likelihood.add(&[0], x, &[y]).unwrap();
    loop {
        if let Some(done) = likelihood.step().unwrap().pop() {
            return done;
        }
    }
}

/// Log-likelihoods with the exact trace, and with a probe of the file that is kept.
fn likelihoods(bench: &Bench) {
    let fixture = sit();
    let root = fixture.root();
    let sit = root.at("sit");
    let len = 256;
    let x = Formula::labelled(sit.at("likelihood").text(), "x_data").values(len);
    let probe = sit.at("probe2").formula().values(len);
    let y = sit.at("y").count() as u32;
    let model = model(&fixture, bench.device, Transport::default());
    for (key, want) in sit.at("likelihood_values").entries() {
        let parts: Vec<&str> = key.split('.').collect();
        let sampler = sampler(parts[0], parts[1].parse().unwrap());
        let got = match parts[2] {
            "exact" => one(model.sampler(sampler), Trace::Exact, &x, y),
            "probe2" => {
                let mut network = Evaluator::new(&model, 1, 1).unwrap();
                network.write_probes(std::iter::once(&probe[..])).unwrap();
                let net = |x: &[f64], t: f64| {
                    let x: Vec<f32> = x.iter().map(|x| *x as f32).collect();
                    network.write(&x, &[t], &[y]).unwrap();
                    let (out, q) = block_on(network.run_async()).unwrap();
                    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
                    (wide(out), wide(q))
                };
                let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                log_likelihood(&Transport::default(), &sampler, &x, 1, net).unwrap()
            }
            other => panic!("{other}: not understood"),
        };
        for (what, got) in [
            ("prior", got.prior),
            ("integral_of_trace", got.integral),
            ("log_likelihood", got.nats),
        ] {
            near(
                &format!("{key} {what}"),
                got,
                want.at(what).number(),
                1.0,
                bench.nats,
            );
        }
        let bits = sit_engine::sample::bits_per_dimension(got.nats, len, None);
        near(
            &format!("{key} bits"),
            bits,
            want.at("bits_per_dim").number(),
            1.0,
            bench.nats,
        );
    }
}

#[test]
fn likelihoods_on_the_cpu() {
    likelihoods(&CPU);
}

#[test]
fn likelihoods_on_the_gpu() {
    likelihoods(&gpu_bench());
}

fn hutchinson(n_probes: usize, draw: Draw, is_fresh: bool) -> Trace {
    Trace::Hutchinson {
        n_probes,
        draw,
        is_fresh,
    }
}

fn images(n: usize) -> (Vec<f32>, Vec<u32>) {
    let y = (0..n as u32).map(|i| i % 10).collect();
    (net::sine(n * 256, 0.9, 0.1, 0.2), y)
}

/// All likelihoods of `n` images, in the order of their numbers.
fn all(sampling: Sampling<Model>, trace: Trace, n: usize) -> Vec<LogLikelihood> {
    let (x, y) = images(n);
    let mut likelihood = sampling.likelihood(trace).unwrap();
    let (mut done, mut next) = (Vec::new(), 0);
    while next < n || !likelihood.is_empty() {
        let until = n.min(next + likelihood.room());
        let numbers: Vec<u64> = (next as u64..until as u64).collect();
        likelihood
            .add(&numbers, &x[next * 256..until * 256], &y[next..until])
            .unwrap();
        next = until;
        done.extend(likelihood.step().unwrap());
    }
    done.sort_by_key(|image| image.number);
    done
}

/// The mean over many probes is near the exact trace, within its own error; fresh probes and Gaussian ones as well.
#[test]
fn probes_estimate_the_trace_and_their_own_error() {
    let fixture = sit();
    let model = model(&fixture, &Device::Cpu, Transport::default());
    let heun = || {
        model
            .sampler(Sampler::ode(Method::Heun, 6))
            .batch(2)
            .seed(3)
    };
    let exact = all(heun(), Trace::Exact, 2);
    for (draw, is_fresh) in [
        (Draw::Rademacher, false),
        (Draw::Gaussian, false),
        (Draw::Rademacher, true),
    ] {
        let got = all(heun(), hutchinson(32, draw, is_fresh), 2);
        for (got, exact) in got.iter().zip(&exact) {
            let error = got.std_error.unwrap();
            let distance = (got.nats - exact.nats).abs();
            println!("{draw:?} fresh {is_fresh}: {distance:.4} +- {error:.4}");
            assert!(distance < 3.5 * error && error < 0.5, "{draw:?} {is_fresh}");
            assert_eq!(got.noise, exact.noise);
        }
        // New probes of each evaluation have a smaller error than one that is kept.
        assert!(
            !is_fresh || got[0].std_error.unwrap() < 0.06,
            "{:?}",
            got[0].std_error
        );
    }
    let single = all(heun(), hutchinson(1, Draw::Rademacher, false), 1);
    assert_eq!(single[0].std_error, None);
}

/// Neither the batch nor the neighbors change a bit, with fixed steps and with steps that each image chooses.
#[test]
fn an_image_does_not_depend_on_its_batch() {
    let fixture = sit();
    let model = model(&fixture, &Device::Cpu, Transport::default());
    let dopri5 = Sampler::Ode(Ode {
        method: Method::Dopri5,
        ..Ode::default()
    });
    for sampler in [Sampler::ode(Method::Heun, 3), dopri5] {
        let of = |batch| {
            let sampling = model.sampler(sampler.clone()).batch(batch).seed(1);
            all(sampling, hutchinson(2, Draw::Rademacher, false), 5)
        };
        let alone = of(1);
        assert_eq!(of(2), alone);
        assert_eq!(of(4), alone);
        assert!(
            alone
                .iter()
                .all(|image| image.n_steps[0] >= 1 && image.nfe >= 6)
        );
    }
}

#[test]
fn adaptive_steps_agree_with_many_fixed_ones() {
    let fixture = sit();
    let model = model(&fixture, &Device::Cpu, Transport::default());
    let trace = hutchinson(1, Draw::Rademacher, false);
    let fixed = all(
        model.sampler(Sampler::ode(Method::Rk4, 20)).batch(1),
        trace,
        1,
    );
    for method in [Method::Dopri5, Method::Bosh3, Method::AdaptiveHeun] {
        let sampler = Sampler::Ode(Ode {
            method,
            tolerance: Tolerance {
                rtol: 1e-4,
                atol: 1e-5,
                ..Tolerance::default()
            },
            ..Ode::default()
        });
        let got = all(model.sampler(sampler).batch(1), trace, 1);
        let distance = (got[0].nats - fixed[0].nats).abs();
        println!("{method}: {} evaluations, {distance:.1e} nats", got[0].nfe);
        assert!(distance < 2e-2, "{method}: {distance}");
    }
}

#[test]
fn settings_without_a_likelihood_are_refused() {
    let fixture = sit();
    let model = model(&fixture, &Device::Cpu, Transport::default());
    let refusal = |sampling: Sampling<Model>, trace| {
        sampling.batch(1).likelihood(trace).unwrap_err().to_string()
    };
    let heun = || model.sampler(Sampler::ode(Method::Heun, 3));
    let one = hutchinson(1, Draw::Rademacher, false);
    let message = refusal(heun().guidance(1.5), one);
    assert!(
        message.starts_with("guidance: got 1.5, expected 1"),
        "{message}"
    );
    let message = refusal(heun().autoguidance(model.clone(), 2.0), one);
    assert!(message.starts_with("guidance: "), "{message}");
    let message = refusal(heun(), hutchinson(0, Draw::Rademacher, false));
    assert!(message.starts_with("probes: got 0"), "{message}");
    let sde = Sampler::Sde(Sde {
        method: SdeMethod::Euler,
        ..Sde::default()
    });
    assert!(refusal(model.sampler(sde), one).starts_with("sde: "));
    let dopri5 = |norm| {
        Sampler::Ode(Ode {
            method: Method::Dopri5,
            tolerance: Tolerance {
                norm,
                ..Tolerance::default()
            },
            ..Ode::default()
        })
    };
    let fresh = hutchinson(1, Draw::Rademacher, true);
    let message = refusal(model.sampler(dopri5(ErrorNorm::Sample)), fresh);
    assert!(
        message.starts_with("fresh_probes: an adaptive method"),
        "{message}"
    );
    let message = refusal(model.sampler(dopri5(ErrorNorm::Batch)), one);
    assert!(message.starts_with("error_norm: got batch"), "{message}");
    let mut likelihood = heun().batch(1).likelihood(one).unwrap();
    let (x, _) = images(1);
    assert!(likelihood.add(&[0], &x[1..], &[1]).is_err());
    assert!(likelihood.add(&[0], &x, &[11]).is_err());
    assert!(likelihood.add(&[0], &x, &[]).is_err());
}
