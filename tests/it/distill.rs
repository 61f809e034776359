//! Distillation against ODEs whose mean velocities are known.

use sit_engine::Result;
use sit_engine::backend::Device;
use sit_engine::model::{Dit, Inputs, Model, Network, NetworkIo, Outputs};
use sit_engine::nn::{Init, Scope};
use sit_engine::objective::{Batch, Distill, Pieces, Teacher};
use sit_engine::ops::{pointwise, reduce};
use sit_engine::train::Trainer;
use sit_engine::transport::{Guidance, Method, Sampler, Transport};

/// `dx/dt = rate · x`, whose mean velocity over a span h is `x (exp(rate h) - 1) / h`. The rate is a parameter.
#[derive(Debug, Clone, Copy)]
struct Growth {
    has_span: bool,
}

const RATE: f64 = 0.7;

impl Network for Growth {
    fn io(&self) -> NetworkIo {
        let mut io = NetworkIo::new([1, 2, 2], 0);
        io.has_span = self.has_span;
        io
    }

    fn validate(&self, _: usize) -> Result<()> {
        Ok(())
    }

    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
        let rate = s.param("rate", [1, 1, 1, 1], Init::Ones)?;
        let g = s.graph();
        let shape = g.shape(inputs.x).clone();
        let rate = reduce::broadcast(g, rate, shape.clone())?;
        let Some(span) = inputs.span else {
            let out = pointwise::mul(g, inputs.x, rate)?;
            return Ok(Outputs::new(out));
        };
        let span = g.reshape(span, [shape[0], 1, 1, 1])?;
        let span = reduce::broadcast(g, span, shape)?;
        // rate (1 + u/2 (1 + u/3 (1 + ...))) with u = rate · span.
        let u = pointwise::mul(g, rate, span)?;
        let mut sum = pointwise::affine(g, u, 0.0, 1.0)?;
        for k in (2..=9).rev() {
            let term = pointwise::mul(g, u, sum)?;
            sum = pointwise::affine(g, term, 1.0 / f64::from(k), 1.0)?;
        }
        let factor = pointwise::mul(g, rate, sum)?;
        Ok(Outputs::new(pointwise::mul(g, inputs.x, factor)?))
    }
}

fn student_of(n_steps: u32) -> Transport {
    Transport {
        student_steps: Some(n_steps),
        ..Transport::default()
    }
}

/// The losses of eight images when the student's rate is `rate`.
fn losses(has_span: bool, n_steps: u32, pieces: Pieces, rate: f64) -> Vec<(f64, f64)> {
    let device = Device::Cpu;
    let teacher = Growth { has_span: false };
    let teacher = Model::init(&device, teacher, Transport::default(), 0).unwrap();
    teacher.write("rate", &[RATE as f32]).unwrap();
    let transport = student_of(n_steps);
    let objective = Distill {
        transport: transport.clone(),
        teacher: Teacher::from(teacher),
        guidance: Guidance::default(),
        pieces,
    };
    let student = Trainer::builder(Growth { has_span });
    let student = student.transport(transport).objective(objective).batch(8);
    let mut trainer = student.build(&device).unwrap();
    let weights = trainer.model(sit_engine::train::Weights::Trained);
    weights.write("rate", &[rate as f32]).unwrap();
    let x1: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin()).collect();
    trainer.step(&x1, &[], 1e-3).unwrap().by_image.clone()
}

#[test]
fn a_student_that_knows_the_mean_velocity_has_nothing_to_learn() {
    for flow in [1e-9, 0.5, 1.0] {
        let split = Pieces::Split { flow };
        let exact = losses(true, 1, split, RATE);
        assert!(exact.iter().all(|(_, loss)| *loss < 1e-10), "{exact:?}");
        // Over an empty span only the teacher's rate is right; over others each rate agrees with itself.
        let other = losses(true, 1, split, 2.0 * RATE);
        let n_wrong = other.iter().filter(|(_, loss)| *loss > 1e-3).count();
        match flow {
            1.0 => assert_eq!(n_wrong, 8),
            0.5 => assert!((1..8).contains(&n_wrong), "{other:?}"),
            _ => assert_eq!(n_wrong, 0, "{other:?}"),
        }
    }
}

#[test]
fn a_step_of_a_grid_learns_two_of_its_teacher() {
    let n_steps = 4;
    let halve = Pieces::Halve {
        stages: 1,
        images_per_stage: 8,
    };
    // Two Euler steps of half a step h: x (1 + h rate / 2)^2 = x + h u.
    let h = 1.0 / f64::from(n_steps);
    let mean = ((1.0 + 0.5 * h * RATE).powi(2) - 1.0) / h;
    let exact = losses(false, n_steps, halve, mean);
    assert!(exact.iter().all(|(_, loss)| *loss < 1e-10), "{exact:?}");
    let on_grid = |t: f64| (t * f64::from(n_steps)).fract() == 0.0 && t < 1.0;
    assert!(exact.iter().all(|(t, _)| on_grid(*t)), "{exact:?}");
    let other = losses(false, n_steps, halve, RATE);
    assert!(other.iter().all(|(_, loss)| *loss > 1e-5), "{other:?}");
}

/// Each stage has its own grid, by the number of the image.
#[test]
fn stages_halve_the_number_of_steps() {
    let device = Device::Cpu;
    let teacher =
        Model::init(&device, Growth { has_span: false }, Transport::default(), 0).unwrap();
    teacher.write("rate", &[RATE as f32]).unwrap();
    let objective = Distill {
        transport: student_of(2),
        teacher: Teacher::from(teacher),
        guidance: Guidance::default(),
        pieces: Pieces::Halve {
            stages: 3,
            images_per_stage: 16,
        },
    };
    let student = Trainer::builder(Growth { has_span: false }).transport(student_of(2));
    let mut trainer = student
        .objective(objective)
        .batch(8)
        .build(&device)
        .unwrap();
    for n_steps in [8.0, 8.0, 4.0, 4.0, 2.0, 2.0, 2.0] {
        let h = 1.0 / n_steps;
        let mean = ((1.0 + 0.5 * h * RATE).powi(2) - 1.0) / h;
        let weights = trainer.model(sit_engine::train::Weights::Trained);
        weights.write("rate", &[mean as f32]).unwrap();
        let x1: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin()).collect();
        // At a rate of 0 nothing is learned.
        let losses = trainer.step(&x1, &[], 0.0).unwrap().by_image.clone();
        let is_right = |(t, loss): &(f64, f64)| (t * n_steps).fract() == 0.0 && *loss < 1e-10;
        assert!(losses.iter().all(is_right), "{n_steps}: {losses:?}");
    }
}

/// Guidance of the teacher goes into the student: the first loss of a copy of the teacher is the square of what guidance adds.
#[test]
fn a_student_learns_the_guided_velocity() {
    let device = Device::Cpu;
    let network = Dit {
        input_size: 4,
        channels: 1,
        dim: 32,
        depth: 1,
        n_heads: 2,
        n_classes: 3,
        learn_sigma: false,
        ..Dit::preset("SiT-S/2").unwrap()
    };
    let teacher = Model::init(&device, network, Transport::default(), 0).unwrap();
    // Many layers start at 0.
    for spec in teacher.specs().iter().filter(|spec| spec.is_trained()) {
        let values = sit_tests::net::sine(spec.shape.numel(), 0.2, 1.3, 0.0);
        teacher.write(&spec.name, &values).unwrap();
    }
    let (x0, x1, y) = (&[0.3; 16], &[-0.4; 16], &[2]);
    let guidance = Guidance {
        scale: 3.0,
        ..Guidance::default()
    };
    let transport = student_of(1);
    let span = Dit {
        span: true,
        ..network
    };
    let objective = Distill {
        transport: transport.clone(),
        teacher: Teacher::from(teacher.clone()),
        guidance,
        pieces: Pieces::Split { flow: 1.0 },
    };
    let student = Trainer::builder(span).transport(transport);
    let mut trainer = student
        .objective(objective)
        .batch(1)
        .build(&device)
        .unwrap();
    for spec in teacher.specs().iter().filter(|spec| spec.is_trained()) {
        let values = teacher.read(&spec.name).unwrap();
        let weights = trainer.model(sit_engine::train::Weights::Trained);
        weights.write(&spec.name, &values).unwrap();
    }
    let mut batch = Batch::new(x1, y, 0);
    batch.x0 = Some(x0);
    trainer.accumulate(batch).unwrap();
    let (t, loss) = trainer.update(1e-3).unwrap().by_image[0];
    let state: Vec<f32> = x0
        .iter()
        .zip(x1)
        .map(|(x0, x1)| {
            let (x0, x1) = (f64::from(*x0), f64::from(*x1));
            ((1.0 - t) * x0 + t * x1) as f32
        })
        .collect();
    let after = |scale: f64| {
        let steps = Sampler::ode(Method::Euler, 1);
        let steps = sit_engine::transport::schedule_from(teacher.transport(), &steps, t).unwrap();
        let sampling = teacher.sampler(Sampler::ode(Method::Euler, 1)).batch(1);
        let mut session = sampling
            .guidance(scale)
            .session_of(steps[..1].to_vec())
            .unwrap();
        session.start_from(0, &[0], &state, y).unwrap();
        session.step().unwrap();
        (session.read().unwrap(), 1.0 - t)
    };
    let ((plain, h), (guided, _)) = (after(1.0), after(3.0));
    let squares = plain
        .iter()
        .zip(&guided)
        .map(|(a, b)| (f64::from(a - b) / h).powi(2));
    let expected = squares.sum::<f64>() / 16.0;
    assert!(expected > 1e-4, "{expected}");
    assert!((loss / expected - 1.0).abs() < 1e-3, "{loss} {expected}");
}
