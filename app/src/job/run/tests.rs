//! Tests of a run.

mod adaptive;

use super::*;
use crate::source::{Origin, open};
use crate::state::{Lane, Quantity, Record, Settings, Source, evaluation, ode, sde, terms, total};
use crate::stats::path::{Norms, rms, strong_error};
use sit_engine::backend::Device;
use sit_engine::model::Dit;
use sit_engine::transport::{
    DdpmSampler, Diffusion, Edm, EdmMethod, Method, Ode, Path, Prediction, Respacing, Sampler, Sde,
    SdeMethod,
};

#[test]
fn pieces_are_about_equal_and_in_the_budget() {
    let ms = Duration::from_millis;
    let chunk = |n, took| chunk(n, 4, took, ms(8));
    // Half a millisecond each: 16 at a time, or less to make them equal.
    assert_eq!(chunk(64, ms(2)), 16);
    assert_eq!(chunk(50, ms(2)), 13);
    assert_eq!(chunk(10, ms(2)), 10);
    // One alone is over it.
    assert_eq!(chunk(64, ms(100)), 1);
    assert_eq!(chunk(64, Duration::ZERO), 64);
}

/// A sampler of `n` steps of every method that a lane can have.
fn samplers(n: u32) -> Vec<Sampler> {
    let fixed = Method::ALL.iter().filter(|method| !method.is_adaptive());
    let odes = fixed.map(|method| ode(*method, n));
    let sdes = SdeMethod::ALL.iter();
    odes.chain(sdes.map(|method| sde(*method, Diffusion::default(), n)))
        .chain(of_levels(n))
        .chain(along_others(n))
        .collect()
}

/// Samplers with noise levels of their own.
fn of_levels(n: u32) -> Vec<Sampler> {
    let edm = |method, churn| {
        Sampler::Edm(Edm {
            method,
            n_steps: n,
            churn,
            ..Edm::default()
        })
    };
    let chain = |sampler: DdpmSampler, clip_x0| {
        Sampler::Ddpm(DdpmSampler {
            respacing: Some(Respacing::Sections(vec![n])),
            clip_x0,
            ..sampler
        })
    };
    vec![
        edm(EdmMethod::Euler, 0.0),
        edm(EdmMethod::Heun, 0.0),
        edm(EdmMethod::Heun, 8.0),
        chain(DdpmSampler::ancestral(), None),
        chain(DdpmSampler::ancestral(), Some(6.0)),
        chain(DdpmSampler::ddim(0.0), None),
        chain(DdpmSampler::ddim(0.5), Some(6.0)),
    ]
}

/// An ODE and an SDE along other paths.
fn along_others(n: u32) -> Vec<Sampler> {
    let others = [Path::Gvp, Path::VP].into_iter();
    let both = |path: Path| {
        let (mut ode, mut sde) = (Ode::default(), Sde::default());
        (ode.n_steps, ode.along) = (n, Some(path.clone()));
        (sde.n_steps, sde.along) = (n, Some(path));
        [Sampler::Ode(ode), Sampler::Sde(sde)]
    };
    others.flat_map(both).collect()
}

/// A lane's states, each as many numbers as its `n` samples have; at most `chunk` samples are computed at a time.
fn states(field: &Rc<Field>, lane: &Lane, n: usize, chunk: Option<usize>) -> Vec<Arc<[f32]>> {
    let classes = field.io().n_classes.max(1);
    let labels: Vec<u32> = (0..n).map(|i| (i % classes) as u32).collect();
    let plan = Plan {
        run: 1,
        network: None,
        classes: Vec::new(),
        steps: lane.steps(field.transport()).unwrap(),
        settings: lane.segments.iter().map(|s| s.settings.clone()).collect(),
        labels: vec![labels; lane.segments.len()],
        seed: 5,
        n,
        first: 0,
        from: None,
    };
    let (mut run, start) = Run::new(plan, Rc::clone(field), None).unwrap();
    let (mut states, pace) = (vec![start.unwrap()], Pace::thread(false));
    while !run.is_over() {
        run.chunk = chunk.unwrap_or(run.chunk);
        let frame = pollster::block_on(run.work(&pace)).unwrap();
        states.extend(frame.map(|frame| frame.x));
    }
    states
}

fn lane(sampler: Sampler) -> Lane {
    Lane::new(Settings {
        sampler,
        ..Settings::default()
    })
}

fn digits() -> Rc<Field> {
    let Ok(Origin::Network((model, weights))) = open(&Source::Digits) else {
        panic!("the embedded digits open");
    };
    Rc::new(Field::network(&Device::Cpu, &model, weights).unwrap())
}

fn network(field: &Field) -> &model::Model {
    match field {
        Field::Network(network) => network,
        Field::Exact { .. } => panic!("the digits are a network"),
    }
}

fn two_gaussians(transport: Transport) -> (Rc<Field>, Mixture) {
    let Ok(Origin::Exact(model, mixture)) = open(&Source::Exact("two-gaussians".into())) else {
        panic!("a mixture is known exactly");
    };
    let field = Field::Exact {
        io: model.io,
        transport,
        mixture: mixture.clone(),
    };
    (Rc::new(field), mixture)
}

#[test]
fn every_method_gives_what_the_engine_gives_in_whatever_pieces() {
    const N: usize = 5;
    let field = digits();
    let network = network(&field);
    let labels: Vec<u32> = (0..N as u32).collect();
    for sampler in samplers(6) {
        let mut session = network.sampler(sampler.clone()).batch(N).session().unwrap();
        session.start(5, &[0, 1, 2, 3, 4], &labels).unwrap();
        let mut expected = vec![session.read().unwrap()];
        while !session.is_over() {
            session.step().unwrap();
            expected.push(session.read().unwrap());
        }
        for chunk in [None, Some(2)] {
            let states = states(&field, &lane(sampler.clone()), N, chunk);
            assert_eq!(states.len(), expected.len());
            for (k, (state, expected)) in states.iter().zip(&expected).enumerate() {
                assert_eq!(**state, **expected, "step {k} of {sampler:?}, {chunk:?}");
            }
        }
    }
}

#[test]
fn every_method_reaches_the_data_of_an_exact_field() {
    const N: usize = 64;
    let (field, mixture) = two_gaussians(Transport::default());
    let end = |sampler| states(&field, &lane(sampler), N, None).pop().unwrap();
    let exact = end(ode(Method::Rk4, 256));
    for sampler in samplers(40) {
        let x = end(sampler.clone());
        match &sampler {
            Sampler::Ode(ode) if ode.along.is_none() => {
                let error = strong_error(&x, &exact, 2);
                let most = match ode.method {
                    Method::Euler => 0.05,
                    _ => 0.01,
                };
                assert!(error < most, "{}: {error}", ode.method);
            }
            _ => {
                let near = |p: &&[f32; 2]| {
                    mixture.components().iter().any(|c| {
                        let d = |i: usize| (f64::from(p[i]) - c.mean[i]) / c.std[i];
                        d(0).hypot(d(1)) < 5.0
                    })
                };
                let n = x.as_chunks::<2>().0.iter().filter(near).count();
                assert!(n >= N - 3, "{n} of {N}: {sampler:?}");
            }
        }
    }
}

/// EDM's noise is larger than 1, and its network gets a scaled state.
#[test]
fn a_denoiser_is_sampled_from_its_own_noise() {
    const N: usize = 8;
    let transport = Transport {
        path: Path::EDM,
        prediction: Prediction::Denoiser,
        ..Transport::default()
    };
    let (field, mixture) = two_gaussians(transport.clone());
    let lane = lane(ode(Method::Heun, 20));
    let mut record = Record {
        settings: vec![lane.settings().clone()],
        steps: lane.steps(&transport).unwrap(),
        ..Record::default()
    };
    let plan = Plan {
        run: 1,
        network: None,
        classes: Vec::new(),
        steps: record.steps.clone(),
        settings: record.settings.clone(),
        labels: vec![vec![0; N]],
        seed: 5,
        n: N,
        first: 0,
        from: None,
    };
    let (mut run, start) = Run::new(plan, field, None).unwrap();
    record.start = start.unwrap();
    let std = rms(&record.start);
    assert!((40.0..160.0).contains(&std), "{std}");
    while !run.is_over() {
        record
            .frames
            .extend(pollster::block_on(run.work(&Pace::thread(false))).unwrap());
    }
    for k in [0, 10, 19] {
        let seen = total(&terms(&record, k, Quantity::Predicted, &transport)).unwrap();
        let exact = mixture.at(&transport.path, record.t(k));
        let x = record.state(k).unwrap().as_chunks::<2>().0;
        for (seen, x) in seen.as_chunks::<2>().0.iter().zip(x) {
            let data = exact.data(&x.map(f64::from));
            for (seen, data) in seen.iter().zip(data) {
                // The state of 80 is in f32.
                assert!((f64::from(*seen) - data).abs() < 1e-4, "{seen}, {data}");
            }
        }
    }
    assert!(rms(record.state(20).unwrap()) < 3.0);
}

/// What is shown of a step with an exact field: the predicted data of the state, whatever path it is on.
#[test]
fn the_predicted_data_of_every_sampler_is_the_exact_one() {
    const N: usize = 6;
    let transport = Transport::default();
    let (field, mixture) = two_gaussians(transport.clone());
    let others = of_levels(12).into_iter().chain(along_others(12));
    for sampler in others {
        let lane = lane(sampler.clone());
        let states = states(&field, &lane, N, None);
        let frames = |record: &mut Record| {
            // The outputs are computed again, by the same steps.
            let plan = Plan {
                run: 1,
                network: None,
                classes: Vec::new(),
                steps: record.steps.clone(),
                settings: record.settings.clone(),
                labels: vec![vec![0; N]],
                seed: 5,
                n: N,
                first: 0,
                from: None,
            };
            let (mut run, start) = Run::new(plan, Rc::clone(&field), None).unwrap();
            record.start = start.unwrap();
            while !run.is_over() {
                let frame = pollster::block_on(run.work(&Pace::thread(false))).unwrap();
                record.frames.extend(frame);
            }
        };
        let mut record = Record {
            settings: vec![lane.settings().clone()],
            steps: lane.steps(&transport).unwrap(),
            ..Record::default()
        };
        frames(&mut record);
        assert_eq!(
            record.state(12),
            states.get(12),
            "the same seed, the same bits"
        );
        for k in [0, 5, 10] {
            let step = &record.steps[k].step;
            if step.form().adds_noise_first() {
                // Its evaluation is at a state that is not recorded.
                continue;
            }
            let (path, t) = record.place(k, &transport);
            let seen = total(&terms(&record, k, Quantity::Predicted, &transport)).unwrap();
            let exact = mixture.at(&path, t);
            let x = record.state(k).unwrap().as_chunks::<2>().0;
            for (seen, x) in seen.as_chunks::<2>().0.iter().zip(x) {
                let data = exact.data(&x.map(f64::from));
                for (seen, data) in seen.iter().zip(data) {
                    let far = (f64::from(*seen) - data).abs();
                    assert!(far < 2e-4, "{seen}, {data}: step {k} of {sampler:?}");
                }
            }
            let noise = total(&terms(&record, k + 1, Quantity::Noise, &transport));
            assert_eq!(
                noise.is_some(),
                step.noise() != 0.0,
                "step {k} of {sampler:?}"
            );
            if let Some(noise) = noise {
                let ratio = rms(&noise) / step.noise_std().unwrap();
                assert!(
                    (0.4..2.0).contains(&ratio),
                    "{ratio}: step {k} of {sampler:?}"
                );
            }
        }
        let norms = |k: usize| {
            let (x, out) = evaluation(&record, k).unwrap();
            let noise = record.frames[k].noise.as_deref().unwrap_or_default();
            Norms::new(&transport, &sampler, &record.steps[k].step, &x, &out, noise).unwrap()
        };
        let integrates = matches!(sampler, Sampler::Ode(_) | Sampler::Sde(_));
        assert_eq!(norms(5).drift.is_some(), integrates, "{sampler:?}");
        if let Sampler::Ode(_) = sampler {
            assert_eq!(norms(5).drift, Some(norms(5).velocity));
        }
    }
}

/// A network with outputs for the variance, in steps of discrete diffusion.
#[test]
fn a_learned_variance_is_sampled_and_its_noise_is_not_shown() {
    const N: usize = 3;
    let dit = Dit {
        input_size: 4,
        channels: 1,
        patch: 2,
        dim: 8,
        depth: 1,
        n_heads: 1,
        n_classes: 3,
        learn_sigma: true,
        ..Dit::SIT
    };
    let transport = Transport {
        path: Path::Ddpm(Arc::default()),
        prediction: Prediction::Noise,
        ..Transport::default()
    };
    let network = model::Model::zeros(&Device::Cpu, dit, transport.clone()).unwrap();
    let field = Rc::new(Field::Network(network));
    let sampler: Sampler = DdpmSampler {
        respacing: Some(Respacing::Sections(vec![6])),
        ..DdpmSampler::ancestral()
    }
    .into();
    for guidance in [1.0, 2.0] {
        let mut settings = lane(sampler.clone()).settings().clone();
        settings.guidance.scale = guidance;
        let lane = Lane::new(settings);
        let whole = states(&field, &lane, N, None);
        assert_eq!(whole, states(&field, &lane, N, Some(2)));
        assert!(whole.iter().all(|x| x.len() == N * 16));
        let steps = lane.steps(&transport).unwrap();
        assert_eq!(steps[0].step.noise_std(), None);
        assert_eq!(steps[5].step.noise_std(), Some(0.0));
        let frame = |k: usize| Frame {
            x: Arc::clone(&whole[k + 1]),
            cond: vec![0.0; N * 16].into(),
            uncond: None,
            noise: (k < 5).then(|| vec![1.0; N * 16].into()),
            ms: 0.0,
            ..Frame::default()
        };
        let record = Record {
            settings: vec![lane.settings().clone()],
            start: Arc::clone(&whole[0]),
            frames: (0..6).map(frame).collect(),
            steps,
            ..Record::default()
        };
        assert!(terms(&record, 2, Quantity::Noise, &transport).is_empty());
        let (x, out) = evaluation(&record, 1).unwrap();
        let step = &record.steps[1].step;
        let norms = Norms::new(&transport, &sampler, step, &x, &out, &[]).unwrap();
        assert_eq!((norms.noise, norms.drift), (None, None));
    }
}

#[test]
fn a_branch_begins_without_what_its_past_kept() {
    const N: usize = 4;
    let of = |method| Settings {
        sampler: ode(method, 10),
        ..Settings::default()
    };
    let (from, to) = (of(Method::UniPc), of(Method::DpmPlusPlus2m));
    let branch = Lane::new(from).branch(0.4, to);
    for (field, chunks) in [
        (digits(), [None, Some(3)]),
        (two_gaussians(Transport::default()).0, [None; 2]),
    ] {
        let whole = states(&field, &branch, N, chunks[0]);
        assert_eq!(whole, states(&field, &branch, N, chunks[1]));
        // From there alone.
        let steps = branch.steps(field.transport()).unwrap();
        let first = steps.iter().position(|step| step.segment == 1).unwrap();
        let plan = Plan {
            run: 1,
            network: None,
            classes: Vec::new(),
            settings: branch.segments.iter().map(|s| s.settings.clone()).collect(),
            labels: vec![vec![0, 1, 2, 3]; 2],
            seed: 5,
            n: N,
            first: 0,
            from: Some((first, Arc::clone(&whole[first]))),
            steps,
        };
        let (mut run, _) = Run::new(plan, Rc::clone(&field), None).unwrap();
        while !run.is_over() {
            pollster::block_on(run.work(&Pace::thread(false))).unwrap();
        }
        assert_eq!(run.x, *whole[whole.len() - 1]);
    }
}
