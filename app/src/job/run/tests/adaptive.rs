//! Lanes whose steps an adaptive solver chooses.

use super::*;
use sit_engine::transport::{ErrorNorm, Guidance, Tolerance};

fn adaptive(method: Method, rtol: f64) -> Sampler {
    Sampler::Ode(Ode {
        method,
        tolerance: Tolerance {
            rtol,
            norm: ErrorNorm::Batch,
            ..Tolerance::default()
        },
        ..Ode::default()
    })
}

const ADAPTIVE: [Method; 3] = [Method::Dopri5, Method::Bosh3, Method::AdaptiveHeun];

/// Does all steps of a lane, whose record is returned.
fn record(field: &Rc<Field>, lane: &Lane, n: usize, chunk: Option<usize>) -> Record {
    let classes = field.io().n_classes.max(1);
    let labels: Vec<u32> = (0..n).map(|i| (i % classes) as u32).collect();
    let steps = lane.steps(field.transport()).unwrap();
    let settings: Vec<_> = lane.segments.iter().map(|s| s.settings.clone()).collect();
    let plan = Plan {
        run: 1,
        network: None,
        classes: Vec::new(),
        steps: steps.clone(),
        settings: settings.clone(),
        labels: vec![labels; lane.segments.len()],
        seed: 5,
        n,
        first: 0,
        from: None,
    };
    let (mut run, start) = Run::new(plan, Rc::clone(field), None).unwrap();
    let mut record = Record {
        run: 1,
        settings,
        steps,
        start: start.unwrap(),
        ..Record::default()
    };
    let pace = Pace::thread(false);
    while !run.is_over() {
        run.chunk = chunk.unwrap_or(run.chunk);
        if let Some(frame) = pollster::block_on(run.work(&pace)).unwrap() {
            if record.frames.len() == record.steps.len() {
                record.steps.choose(*run.last().unwrap());
            }
            record.frames.push(frame);
        }
    }
    assert_eq!(record.nfe(record.frames.len()), run.nfe());
    record
}

#[test]
fn an_adaptive_method_gives_what_the_engine_gives_in_whatever_pieces() {
    const N: usize = 5;
    let field = digits();
    let network = network(&field);
    let labels: Vec<u32> = (0..N as u32).collect();
    for (method, scale) in ADAPTIVE.into_iter().zip([1.0, 1.0, 2.0]) {
        let sampler = adaptive(method, 1e-2);
        let sampling = network.sampler(sampler.clone()).guidance(scale);
        let mut pool = sampling.batch(N).pool().unwrap();
        pool.add(5, &[0, 1, 2, 3, 4], &labels).unwrap();
        let mut expected = vec![0.0; N * field.io().image_len()];
        let mut counts = None;
        while !pool.is_empty() {
            for image in pool.step().unwrap() {
                expected[image.number as usize * image.x.len()..][..image.x.len()]
                    .copy_from_slice(&image.x);
                counts = Some((image.nfe as usize, image.n_steps[0] as usize));
            }
        }
        let (nfe, n_steps) = counts.unwrap();
        let lane = Lane::new(Settings {
            sampler,
            guidance: Guidance {
                scale,
                ..Guidance::default()
            },
            ..Settings::default()
        });
        let mut whole = None;
        for chunk in [None, Some(2)] {
            let record = record(&field, &lane, N, chunk);
            assert_eq!(record.frames.len(), n_steps, "{method}, {chunk:?}");
            let twice = 1 + usize::from(scale != 1.0);
            assert_eq!(record.nfe(n_steps), nfe * twice, "{method}");
            let x = record.state(n_steps).unwrap();
            assert_eq!(**x, *expected, "{method}, {chunk:?}");
            let frames = whole.get_or_insert_with(|| record.frames.clone());
            for (frame, other) in record.frames.iter().zip(frames.iter()) {
                assert_eq!((&frame.x, &frame.cond), (&other.x, &other.cond), "{method}");
                assert_eq!(frame.uncond, other.uncond);
            }
        }
    }
}

#[test]
fn an_adaptive_method_in_an_exact_field_errs_by_itself_alone() {
    const N: usize = 64;
    let (field, mixture) = two_gaussians(Transport::default());
    let transport = field.transport();
    for method in ADAPTIVE {
        let lane = lane(adaptive(method, 1e-3));
        let record = record(&field, &lane, N, None);
        let n = record.frames.len();
        assert!(record.is_whole() && record.t(n) == 1.0);
        let errors = crate::errors::Ways::default().errors(&record, n, &mixture, transport);
        let errors = errors.unwrap();
        assert!(errors.network < 2e-5, "{method}: {errors:?}");
        assert!(
            (1e-7..2e-2).contains(&errors.solver),
            "{method}: {errors:?}"
        );
        // What is recorded is the network's output at the state; Heun's goes on with that of its predictor.
        for k in 0..n {
            let x: Vec<f64> = record
                .state(k)
                .unwrap()
                .iter()
                .map(|x| (*x).into())
                .collect();
            let exact = mixture.outputs(transport, record.t(k), &x);
            let far = exact.iter().zip(&*record.frames[k].cond);
            let far = far
                .map(|(a, b)| (a - f64::from(*b)).abs())
                .fold(0.0, f64::max);
            let most = if method == Method::AdaptiveHeun {
                0.5
            } else {
                1e-4
            };
            assert!(far < most, "{method}, step {k}: {far}");
        }
    }
}

#[test]
fn an_sde_goes_on_where_an_adaptive_method_ends() {
    let (field, _) = two_gaussians(Transport::default());
    let first = record(&field, &lane(adaptive(Method::Dopri5, 1e-3)), 8, None);
    let settings = Settings {
        sampler: sde(SdeMethod::Euler, Diffusion::default(), 40),
        ..Settings::default()
    };
    let branch = lane(adaptive(Method::Dopri5, 1e-3)).branch(first.t(3), settings);
    let second = record(&field, &branch, 8, None);
    assert_eq!(
        second.frames[..3].iter().map(|f| &f.x).collect::<Vec<_>>(),
        first.frames[..3].iter().map(|f| &f.x).collect::<Vec<_>>()
    );
    assert_eq!(second.t(3), first.t(3));
    assert!(second.steps[3].noise() > 0.0 && second.frames[3].noise.is_some());
    assert_eq!(second.t(second.steps.len()), 1.0);
    // One Brownian path goes on in its middle, however many steps came before.
    let settings = Settings {
        sampler: sde(SdeMethod::Euler, Diffusion::default(), 65),
        noise: Noise::Brownian,
        ..Settings::default()
    };
    let branch = lane(adaptive(Method::Dopri5, 1e-6)).branch(0.5, settings);
    let third = record(&field, &branch, 8, None);
    let n_chosen = third.steps.iter().take_while(|s| s.segment == 0).count();
    assert!(n_chosen > 0 && third.is_whole());
}

#[test]
fn a_tolerance_that_cannot_be_met_says_where() {
    let (field, _) = two_gaussians(Transport::default());
    let Sampler::Ode(mut ode) = adaptive(Method::Dopri5, 1e-3) else {
        panic!("an ODE");
    };
    ode.tolerance.max_nfe = 30;
    let lane = lane(ode.into());
    let plan = Plan {
        run: 1,
        network: None,
        classes: Vec::new(),
        steps: lane.steps(field.transport()).unwrap(),
        settings: vec![lane.settings().clone()],
        labels: vec![Vec::new()],
        seed: 5,
        n: 8,
        first: 0,
        from: None,
    };
    let (mut run, _) = Run::new(plan, Rc::clone(&field), None).unwrap();
    let pace = Pace::thread(false);
    let error = loop {
        if let Err(error) = pollster::block_on(run.work(&pace)) {
            break error.to_string();
        }
    };
    assert!(
        error.contains("all samples: 26 network evaluations reached only t = 0."),
        "{error}"
    );
}

/// What a step took beyond one attempt is attempts that were rejected, and these are recorded.
#[test]
fn rejected_attempts_are_recorded_where_they_would_have_ended() {
    let field = digits();
    let mut found = 0;
    for method in ADAPTIVE {
        let lane = Lane::new(Settings {
            sampler: adaptive(method, 1e-5),
            ..Settings::default()
        });
        let record = record(&field, &lane, 4, None);
        let attempt = record.steps.last().unwrap().nfe;
        for (k, (step, frame)) in record.steps.iter().zip(&record.frames).enumerate() {
            // The first step's size takes two evaluations more.
            let first = if k == 0 { 2 } else { 0 };
            let attempts = (step.nfe - first) / attempt.min(step.nfe - first);
            assert_eq!(frame.rejected.len() + 1, attempts, "{method}, step {k}");
            for t in &frame.rejected {
                assert!(*t > step.step.t_next && *t <= 1.0 + 1e-9, "{t}");
            }
            found += frame.rejected.len();
        }
    }
    assert!(found > 0, "no attempt was rejected");
}
