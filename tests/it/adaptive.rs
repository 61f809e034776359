//! Adaptive solvers and solvers of several steps: properties that hold for every model.

use sit_engine::backend::Device;
use sit_engine::model::{Model, Network};
use sit_engine::sample::{Finished, Pool, Sampling, initial_noise};
use sit_engine::transport::{
    ErrorNorm, Guidance, Method, Ode, Path, Prediction, Tolerance, Transport,
};
use sit_tests::net::{self, TINY, sine_weights};
use sit_tests::{assert_close, gpu};
use std::collections::BTreeMap;

const ADAPTIVE: [Method; 3] = [Method::Dopri5, Method::Bosh3, Method::AdaptiveHeun];

/// Scale of the weights. Images take different numbers of steps then, a few of them rejected.
const SCALE: f64 = 0.3;

const FINE: Tolerance = Tolerance {
    rtol: 1e-4,
    atol: 1e-6,
    max_nfe: 10_000,
    norm: ErrorNorm::Sample,
};

const TIGHT: Tolerance = Tolerance {
    rtol: 1e-5,
    atol: 1e-7,
    ..FINE
};

fn ode(method: Method, tolerance: Tolerance) -> Ode {
    Ode {
        method,
        tolerance,
        ..Ode::default()
    }
}

fn sampling(ode: Ode) -> Sampling<Model> {
    let transport = Transport::default();
    let model = net::model(&Device::Cpu, &TINY, transport, &sine_weights(SCALE));
    model.sampler(ode.into())
}

const SEED: u64 = 5;

fn label(number: u64) -> u32 {
    (number % 10) as u32
}

fn noise(n: usize) -> Vec<f32> {
    let mut x = vec![0.0; n * TINY.io().image_len()];
    initial_noise(&TINY.io(), SEED, 0, &mut x);
    x
}

/// Images by number, which are added in this order, as many at a time as there is room for.
fn run(pool: &mut Pool, numbers: &[u64]) -> BTreeMap<u64, Finished> {
    let (mut images, mut added) = (BTreeMap::new(), 0);
    while added < numbers.len() || !pool.is_empty() {
        let more = &numbers[added..numbers.len().min(added + pool.room())];
        let labels: Vec<u32> = more.iter().copied().map(label).collect();
        pool.add(SEED, more, &labels).unwrap();
        added += more.len();
        let finished = pool.step().unwrap();
        images.extend(finished.into_iter().map(|image| (image.number, image)));
    }
    images
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

fn all(images: &BTreeMap<u64, Finished>) -> Vec<f32> {
    images.values().flat_map(|image| image.x.clone()).collect()
}

/// Bit for bit, with numbers of steps and evaluations. Other neighbors come with another size of the batch, and with another order.
#[test]
fn an_image_does_not_depend_on_the_pool() {
    let numbers: Vec<u64> = (0..11).collect();
    for method in ADAPTIVE {
        for scale in [1.0, 2.5] {
            let sampling = sampling(ode(method, FINE)).guidance(scale);
            let pool = |batch: usize| sampling.clone().batch(batch).pool().unwrap();
            let alone = run(&mut pool(1), &numbers);
            let steps = |images: &BTreeMap<u64, Finished>| -> Vec<[u32; 2]> {
                images.values().map(|image| image.n_steps).collect()
            };
            assert_eq!(alone.len(), numbers.len());
            for batch in [3, 8] {
                let mut pool = pool(batch);
                let together = run(&mut pool, &numbers);
                assert!(together == alone, "{method} in batches of {batch}");
                // The same pool goes on with other images.
                let order = [7, 2, 10, 0, 5, 9, 1, 4, 3, 8, 6];
                let mixed = run(&mut pool, &order);
                assert!(mixed == alone, "{method}: {:?}", steps(&mixed));
            }
            let steps = steps(&alone);
            let is_varied = steps.iter().any(|n| *n != steps[0]);
            assert!(
                is_varied,
                "{method}: all places are filled at once: {steps:?}"
            );
        }
    }
}

#[test]
fn sampling_is_the_pool() {
    let numbers: Vec<u64> = (0..7).collect();
    let labels: Vec<u32> = numbers.iter().copied().map(label).collect();
    let sampling = sampling(ode(Method::Dopri5, FINE)).seed(SEED);
    let pool = run(&mut sampling.clone().batch(2).pool().unwrap(), &numbers);
    for batch in [3, 64] {
        let images = sampling.clone().batch(batch).sample(&labels).unwrap();
        assert_eq!(bits(&images), bits(&all(&pool)));
    }
}

fn many_steps(n_steps: u32) -> Ode {
    Ode {
        method: Method::Rk4,
        n_steps,
        ..Ode::default()
    }
}

#[test]
fn tight_tolerances_agree_with_many_steps() {
    let labels = [0, 1, 2];
    let exact = sampling(many_steps(100)).seed(SEED);
    let exact = exact.sample(&labels).unwrap();
    for method in ADAPTIVE {
        let distances = [1e-3, 1e-5].map(|rtol| {
            let atol = rtol / 100.0;
            let tolerance = Tolerance { rtol, atol, ..FINE };
            let images = sampling(ode(method, tolerance)).seed(SEED).sample(&labels);
            let images = images.unwrap();
            assert_close(&format!("{method} {rtol}"), &images, &exact, 10.0 * rtol);
            sit_tests::distance(&images, &exact).unwrap().1
        });
        assert!(distances[1] < distances[0], "{method}: {distances:?}");
    }
}

#[test]
fn too_many_evaluations_are_an_error_that_names_the_image_and_the_time() {
    let tolerance = Tolerance {
        max_nfe: 20,
        ..FINE
    };
    let sampling = sampling(ode(Method::Bosh3, tolerance)).batch(2);
    let mut pool = sampling.pool().unwrap();
    pool.add(SEED, &[41, 42], &[1, 2]).unwrap();
    let error = loop {
        if let Err(error) = pool.step() {
            break error.to_string();
        }
    };
    let (image, rest) = error.split_once(": ").unwrap();
    assert!(["image 41", "image 42"].contains(&image), "{error}");
    let (n, rest) = rest
        .split_once(" network evaluations reached only t = ")
        .unwrap();
    // Two evaluations find the first step, and each step has three.
    assert_eq!(n, "20", "{error}");
    let (t, rest) = rest.split_once(", ").unwrap();
    let t: f64 = t.parse().unwrap();
    assert!(t > 0.0 && t < 1.0, "{error}");
    assert!(
        rest.contains("a step takes 3: set `max_nfe`, which is 20"),
        "{error}"
    );
}

/// As torchdiffeq does it. Another batch takes other steps.
#[test]
fn images_of_a_batch_may_share_their_steps() {
    let shared = Tolerance {
        norm: ErrorNorm::Batch,
        ..FINE
    };
    for method in ADAPTIVE {
        let pool = |norm: Tolerance| {
            let sampling = sampling(ode(method, norm)).guidance(2.5).batch(3);
            sampling.pool().unwrap()
        };
        let images = run(&mut pool(shared), &[0, 1, 2, 3, 4, 5]);
        let efforts: Vec<_> = images.values().map(|i| (i.nfe, i.n_steps)).collect();
        for batch in efforts.chunks(3) {
            assert!(
                batch.iter().all(|effort| *effort == batch[0]),
                "{efforts:?}"
            );
        }
        // A batch of one is its own.
        let (one, own) = (run(&mut pool(shared), &[4]), run(&mut pool(FINE), &[4]));
        assert!(one == own, "{method}");
        assert!(one[&4].x != images[&4].x, "{method}");
    }
}

/// The scale jumps at the ends of the interval; steps become small there.
#[test]
fn guidance_within_an_interval() {
    let guided = |ode: Ode, interval: [f64; 2]| {
        let guidance = Guidance {
            scale: 3.0,
            interval,
            ..Guidance::default()
        };
        let sampling = sampling(ode).guided(guidance).seed(SEED);
        sampling.sample(&[1, 2, 3]).unwrap()
    };
    let dopri5 = |interval| guided(ode(Method::Dopri5, TIGHT), interval);
    // Steps of a fixed size are of first order there.
    let exact = guided(many_steps(1000), [0.25, 0.75]);
    assert_close("0.25 to 0.75", &dopri5([0.25, 0.75]), &exact, 5e-3);
    let ends = [[0.0, 1.0], [0.25, 0.75], [0.25, 1.0]].map(dopri5);
    let far = |a: &[f32], b: &[f32]| sit_tests::distance(a, b).unwrap().1 > 1e-2;
    assert!(far(&ends[0], &ends[1]) && far(&ends[1], &ends[2]) && far(&ends[0], &ends[2]));
}

/// From noise to data and back, and from data to noise and back.
#[test]
fn there_and_back() {
    let n = 3;
    let labels: Vec<u32> = (0..n as u64).map(label).collect();
    let x = noise(n);
    for (method, tol) in [
        (Method::Dopri5, 1e-3),
        (Method::Bosh3, 3e-3),
        (Method::Rk4, 1e-4),
    ] {
        let way = |reverse: bool, x: &[f32]| -> Vec<f32> {
            let ode = Ode {
                reverse,
                ..ode(method, TIGHT)
            };
            let sampling = sampling(ode).batch(n);
            if !method.is_adaptive() {
                let mut session = sampling.session().unwrap();
                return net::solve(&mut session, x, &labels, |_| vec![]);
            }
            let mut pool = sampling.pool().unwrap();
            let times = if reverse { [1.0, 0.0] } else { [0.0, 1.0] };
            assert_eq!(pool.times(), times);
            let images = net::solve_adaptive(&mut pool, x, &labels);
            images.into_iter().flat_map(|image| image.x).collect()
        };
        for first in [false, true] {
            let there = way(first, &x);
            let back = way(!first, &there);
            assert!(sit_tests::distance(&there, &x).unwrap().1 > 0.1);
            assert_close(&format!("{method} {first}"), &back, &x, tol);
        }
    }
}

/// The steps in f64 around the network in f32.
fn by_hand(model: &Model, ode: &Ode, device: &Device, x: &[f32], y: &[u32]) -> Vec<f64> {
    let transport = model.transport();
    let mut program = net::network(device, &TINY, y.len(), &sine_weights(SCALE));
    program.write_u32("y", y).unwrap();
    let mut state: Vec<f64> = x.iter().map(|&x| x.into()).collect();
    let mut history = Vec::new();
    let steps = model.sampler(ode.clone().into()).schedule().unwrap();
    for step in steps {
        step.apply_with(&mut state, &mut history, &[], |x, t| {
            let x: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            program.write("x", &x).unwrap();
            let t = transport.time_input(t) as f32;
            program.write("t", &vec![t; y.len()]).unwrap();
            let out = net::run(&mut program, "out");
            out.into_iter().map(f64::from).collect()
        });
    }
    state
}

/// On every path, and along another one.
fn solvers_of_several_steps(device: &Device) {
    let y = [3, 10];
    for path in Path::NAMED {
        for prediction in net::predictions(&path) {
            // Data predictions are what these solvers hold on to; the others say the same.
            if prediction == Prediction::Score {
                continue;
            }
            let transport = Transport {
                path: path.clone(),
                prediction,
                ..Transport::default()
            };
            let model = net::model(device, &TINY, transport, &sine_weights(SCALE));
            let along = (path == Path::Linear).then_some(Path::Gvp);
            for method in [Method::DpmPlusPlus2m, Method::UniPc] {
                for along in [None, along.clone()] {
                    let ode = Ode {
                        method,
                        n_steps: 8,
                        along,
                        ..Ode::default()
                    };
                    let sampler = ode.clone().into();
                    let std = model.transport().start_std(&sampler) as f32;
                    let x: Vec<f32> = noise(y.len()).iter().map(|x| std * x).collect();
                    let what = format!("{path} {prediction} {method} along {:?}", ode.along);
                    let mut session = model.sampler(sampler).batch(y.len()).session().unwrap();
                    let got = net::solve(&mut session, &x, &y, |_| vec![]);
                    let want = by_hand(&model, &ode, device, &x, &y);
                    assert_close(&what, &got, &want, 1e-5);
                }
            }
        }
    }
}

#[test]
fn solvers_of_several_steps_on_the_cpu_are_their_formula() {
    solvers_of_several_steps(&Device::Cpu);
}

#[test]
fn solvers_of_several_steps_on_the_gpu_are_their_formula() {
    solvers_of_several_steps(gpu());
}
