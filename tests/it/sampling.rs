//! Properties of every combination of a solver's settings.

use sit_engine::backend::Device;
use sit_engine::model::{Dit, Model, Network};
use sit_engine::sample::{Sampling, initial_noise, step_noise};
use sit_engine::transport::{
    Diffusion, DiffusionForm, Guidance, GuidanceChannels, LastStep, Method, Path, Prediction,
    Sampler, Sde, SdeMethod, Step, Tableau, Transport,
};
use sit_tests::assert_close;
use sit_tests::net::{self, TINY, sine_weights, solve};

fn config(path: Path, prediction: Prediction, sampler: Sampler) -> Sampling<Model> {
    let transport = Transport {
        path,
        prediction,
        ..Transport::default()
    };
    let model = net::model(&Device::Cpu, &TINY, transport, &sine_weights(0.1));
    model.sampler(sampler).batch(2)
}

fn noise(seed: u64, first: u64, n: usize) -> Vec<f32> {
    let mut x = vec![0.0; n * TINY.io().image_len()];
    initial_noise(&TINY.io(), seed, first, &mut x);
    x
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn an_sde_without_diffusion_is_the_ode_bit_for_bit() {
    let methods = [
        (SdeMethod::Euler, Method::Euler),
        (SdeMethod::Heun, Method::Heun),
        (SdeMethod::Alternate, Method::Euler),
    ];
    for path in Path::NAMED {
        let prediction = net::predictions(&path)[0];
        for (method, of_ode) in methods {
            let n_steps = 7;
            let sde = Sampler::Sde(Sde {
                method,
                diffusion: Diffusion::new(DiffusionForm::Sigma, 0.0),
                last_step: LastStep::None,
                n_steps,
                ..Sde::default()
            });
            let ode = Sampler::ode(of_ode, n_steps);
            let ends = [sde, ode].map(|sampler| {
                let config = config(path.clone(), prediction, sampler);
                let mut session = config.session().unwrap();
                solve(&mut session, &noise(1, 0, 2), &[1, 2], |_| {
                    unreachable!("there is no noise")
                })
            });
            assert_eq!(bits(&ends[0]), bits(&ends[1]), "{path} {method}");
        }
    }
}

/// Image 5 of a run is the same alone and among others, with guidance and the SDE's noise.
#[test]
fn a_sample_does_not_depend_on_its_neighbors() {
    let sampler = Sampler::sde(SdeMethod::Heun, Diffusion::default(), 4);
    let sample = |first: u64, batch: usize, y: &[u32]| {
        let config = config(Path::Gvp, Prediction::Score, sampler.clone());
        let mut session = config.batch(batch).guidance(1.5).session().unwrap();
        solve(&mut session, &noise(9, first, batch), y, |step| {
            let mut noise = vec![0.0; batch * TINY.io().image_len()];
            step_noise(&TINY.io(), 9, step, first, &mut noise);
            noise
        })
    };
    let alone = sample(5, 1, &[4]);
    let len = TINY.io().image_len();
    assert_eq!(
        bits(&sample(3, 7, &[0, 1, 4, 3, 10, 5, 6])[2 * len..3 * len]),
        bits(&alone)
    );
    assert_eq!(bits(&sample(5, 64, &[4; 64])[..len]), bits(&alone));
}

/// Guidance within an interval changes programs during sampling; outside of it only the conditional output is used.
#[test]
fn guidance_applies_within_its_interval_only() {
    let sampler = Sampler::ode(Method::Euler, 10);
    let end = |guidance: Guidance| {
        let config = config(Path::Linear, Prediction::Velocity, sampler.clone());
        let mut session = config.guided(guidance).session().unwrap();
        solve(&mut session, &noise(0, 0, 2), &[1, 2], |_| vec![])
    };
    let plain = end(Guidance::default());
    let never = end(Guidance {
        scale: 3.0,
        interval: [0.31, 0.39],
        ..Guidance::default()
    });
    assert_eq!(bits(&plain), bits(&never));
    let partly = end(Guidance {
        scale: 3.0,
        interval: [0.3, 0.6],
        ..Guidance::default()
    });
    let always = end(Guidance {
        scale: 3.0,
        ..Guidance::default()
    });
    let first3 = end(Guidance {
        scale: 3.0,
        channels: GuidanceChannels::First3,
        ..Guidance::default()
    });
    let different = [&plain, &partly, &always, &first3];
    for (i, a) in different.iter().enumerate() {
        assert!(a.iter().all(|x| x.is_finite()));
        assert!(different[..i].iter().all(|b| bits(b) != bits(a)));
    }
}

/// One network evaluation a step (the reference does two in each step of an SDE), more only for methods of several stages.
#[test]
fn a_step_evaluates_the_network_once() {
    let macs = |sampler| {
        let config = config(Path::Linear, Prediction::Velocity, sampler);
        config.session().unwrap().macs(0)
    };
    let once = macs(Sampler::ode(Method::Euler, 3));
    let of_ode = [
        (Method::Midpoint, 2),
        (Method::Heun, 2),
        (Method::Heun3, 3),
        (Method::Rk4, 4),
        (Method::Rk438, 4),
        (Method::DpmPlusPlus2m, 1),
        (Method::UniPc, 1),
    ];
    for (method, n) in of_ode {
        assert_eq!(macs(Sampler::ode(method, 3)), n * once, "{method}");
    }
    let of_sde = [
        (SdeMethod::Euler, 1),
        (SdeMethod::Heun, 2),
        (SdeMethod::PredictorCorrector, 1),
        (SdeMethod::Alternate, 1),
    ];
    for (method, n) in of_sde {
        let sde = Sampler::sde(method, Diffusion::default(), 3);
        assert_eq!(macs(sde), n * once, "{method}");
    }
}

#[test]
fn an_unconditional_model_samples_and_refuses_guidance() {
    let model = Dit {
        n_classes: 0,
        ..TINY
    };
    let sampler = Sampler::ode(Method::Heun, 2);
    let weights = sine_weights(0.1);
    let model = net::model(&Device::Cpu, &model, Transport::default(), &weights);
    let config = model.sampler(sampler).batch(2);
    let mut session = config.clone().session().unwrap();
    assert!(
        solve(&mut session, &noise(0, 0, 2), &[], |_| vec![])
            .iter()
            .all(|x| x.is_finite())
    );
    let error = config.guidance(2.0).schedule().unwrap_err().to_string();
    assert!(error.contains("no classes"), "{error}");
}

/// What the app records: the network's outputs of each step explain the next state, and a session started from a recorded state in
/// the middle continues with the same bits.
#[test]
fn kept_outputs_and_a_start_on_the_way() {
    let guidance = Guidance {
        scale: 2.0,
        interval: [0.4, 1.0],
        ..Guidance::default()
    };
    let euler = Sampler::ode(Method::Euler, 6);
    let config = config(Path::Linear, Prediction::Velocity, euler);
    let config = config.guided(guidance).keep_out();
    let y = [3, 7];
    let mut whole = config.clone().session().unwrap();
    assert!(whole.read_out().is_err());
    let mut states = vec![noise(4, 0, 2)];
    whole.start_at(0, &states[0], &y).unwrap();
    for i in 0..6 {
        whole.step().unwrap();
        let next = whole.read().unwrap();
        let out = whole.read_out().unwrap();
        let both = whole.read_both().unwrap();
        assert_eq!(both, [next.clone(), out.clone()]);
        let n = next.len();
        let guided = i >= 3;
        assert_eq!(out.len(), if guided { 2 * n } else { n }, "step {i}");
        let explained: Vec<f32> = (0..n)
            .map(|j| {
                let v = if guided {
                    out[n + j] + 2.0 * (out[j] - out[n + j])
                } else {
                    out[j]
                };
                states[i][j] + v / 6.0
            })
            .collect();
        assert_close(&format!("step {i}"), &next, &explained, 1e-6);
        states.push(next);
    }
    let mut rest = config.session().unwrap();
    rest.start_at(2, &states[2], &y).unwrap();
    assert_eq!((rest.done(), rest.t()), (2, whole.steps()[2].t));
    while rest.done() < 6 {
        rest.step().unwrap();
    }
    assert_eq!(bits(&rest.read().unwrap()), bits(&states[6]));
    assert!(rest.start_at(6, &states[2], &y).is_err());
}

/// `weak + w (strong - weak)` at every evaluation: 1 is the strong model, 0 the weak one, and another network may be the weak one.
#[test]
fn autoguidance_mixes_two_models() {
    let transport = Transport::default();
    let model = |config: &Dit, scale: f64| {
        net::model(
            &Device::Cpu,
            config,
            transport.clone(),
            &sine_weights(scale),
        )
    };
    let (strong, weak) = (model(&TINY, 0.1), model(&TINY, 0.05));
    let smaller = model(&Dit { depth: 1, ..TINY }, 0.1);
    let sampler = Sampler::ode(Method::Heun, 3);
    let end = |sampling: Sampling<Model>| sampling.seed(3).sample(&[1, 2]).unwrap();
    let plain = |model: &Model| end(model.sampler(sampler.clone()));
    let guided = |guide: &Model, w| {
        let sampling = strong.sampler(sampler.clone());
        end(sampling.autoguidance(guide.clone(), w))
    };
    assert_close("w = 1", &guided(&weak, 1.0), &plain(&strong), 1e-6);
    assert_close("w = 0", &guided(&weak, 0.0), &plain(&weak), 1e-6);
    assert_close(
        "a smaller guide",
        &guided(&smaller, 0.0),
        &plain(&smaller),
        1e-6,
    );

    // One Euler step is linear in the outputs.
    let one = |sampling: Sampling<Model>| end(sampling);
    let euler = |model: &Model| model.sampler(Sampler::ode(Method::Euler, 1));
    let (a, b) = (one(euler(&strong)), one(euler(&weak)));
    let mixed = one(euler(&strong).autoguidance(weak.clone(), 2.5));
    let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| b + 2.5 * (a - b)).collect();
    assert_close("w = 2.5", &mixed, &expected, 1e-5);

    // Its memory is in the forecast, and what does not fit is refused.
    let parts = euler(&strong).autoguidance(smaller, 2.0);
    let parts = parts.forecast().unwrap();
    assert!(
        parts
            .iter()
            .any(|(part, bytes)| *part == "parameters of the guide" && *bytes > 0)
    );
    let other = Dit {
        n_classes: 3,
        ..TINY
    };
    let other = model(&other, 0.1);
    let error = euler(&strong).autoguidance(other, 2.0).schedule();
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("autoguide: got a model of"), "{error}");
    // Two models with the same weights have a single arena, which a program cannot lock twice.
    let error = euler(&strong).autoguidance(strong.clone(), 2.0).session();
    assert!(error.is_err());
}

/// Heun's estimate is the distance of its step from Euler's; a controller asks for a step of its own after each.
#[test]
fn a_controller_chooses_steps_by_their_estimated_error() {
    let ode = |method| config(Path::Linear, Prediction::Velocity, Sampler::ode(method, 4));
    let mut heun = ode(Method::Heun).keep_error().session().unwrap();
    let mut euler = ode(Method::Euler).session().unwrap();
    assert!(heun.read_error().is_err(), "nothing was done");
    for session in [&mut heun, &mut euler] {
        session.start(5, &[0, 1], &[1, 2]).unwrap();
        session.step().unwrap();
    }
    let (a, b) = (heun.read().unwrap(), euler.read().unwrap());
    let len = TINY.io().image_len();
    for (sample, error) in heun.read_error().unwrap().into_iter().enumerate() {
        let pairs = a.iter().zip(&b).skip(sample * len).take(len);
        let square: f64 = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
        let want = (square / len as f64).sqrt();
        // The states are of order 1, in f32.
        assert!((error - want).abs() < 1e-7 && want > 1e-5, "{error} {want}");
    }

    let transport = Transport::default();
    let step = |from: f64, size: f64| {
        let to = if from + size > 0.999 {
            1.0
        } else {
            from + size
        };
        Step::runge_kutta(&Tableau::HEUN, [from, to], 0.0, |t| transport.velocity(t)).unwrap()
    };
    let run = |tolerance: f64| {
        let sampling = ode(Method::Heun).keep_error();
        let mut session = sampling.session_of(vec![step(0.0, 0.05)]).unwrap();
        session.start(5, &[0, 1], &[1, 2]).unwrap();
        let mut size = 0.05;
        loop {
            session.step().unwrap();
            if session.t() == 1.0 {
                return (session.read().unwrap(), session.steps().len());
            }
            let worst = session
                .read_error()
                .unwrap()
                .into_iter()
                .fold(1e-12, f64::max);
            size *= (0.9 * (tolerance / worst).sqrt()).clamp(0.3, 3.0);
            session.push(step(session.t(), size)).unwrap();
        }
    };
    let ((rough, few), (fine, many)) = (run(1e-2), run(1e-5));
    assert!(many > 2 * few, "{few} steps and {many}");
    let exact = ode(Method::Rk4)
        .session()
        .map(|mut session| solve(&mut session, &noise(5, 0, 2), &[1, 2], |_| vec![]));
    let distance = |x: &[f32]| {
        let pairs = x.iter().zip(exact.as_ref().unwrap());
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(
        distance(&fine) < distance(&rough),
        "{} {}",
        distance(&fine),
        distance(&rough)
    );

    let sampling = ode(Method::Heun).keep_error();
    let mut session = sampling.session_of(vec![step(0.0, 0.5)]).unwrap();
    let gap = session.push(step(0.6, 0.1)).unwrap_err().to_string();
    assert!(gap.contains("starts at t = 0.6, expected 0.5"), "{gap}");
    let velocity = |t| transport.velocity(t);
    let other = Step::runge_kutta(&Tableau::RK4, [0.5, 1.0], 0.0, velocity).unwrap();
    let other = session.push(other).unwrap_err().to_string();
    assert!(
        other.contains("no program for a step of 4 evaluations"),
        "{other}"
    );
}
