//! Complete steps of a small model on the CPU: a training step and a sampling step. `elem/s` are images. The first loss is compared
//! with that of a network that outputs 0, and a solver step with the network's output.
//!
//! `cargo bench -p sit-engine --bench steps`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sit_engine::Result;
use sit_engine::backend::Device;
use sit_engine::model::Dit;
use sit_engine::objective::Batch;
use sit_engine::rng::{Stream, fill_normal};
use sit_engine::sample::Session;
use sit_engine::train::{Trainer, Weights};
use sit_engine::transport::{Method, Sampler};
use std::time::Duration;

const BATCH: usize = 64;
const LEARNING_RATE: f64 = 1e-3;

/// About the size of the preset `digits`.
fn small() -> Dit {
    Dit {
        input_size: 8,
        channels: 1,
        dim: 96,
        depth: 6,
        n_heads: 3,
        n_classes: 10,
        learn_sigma: false,
        ..Dit::preset("SiT-S/2").expect("it is published")
    }
}

fn normal(which: u32, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    fill_normal(0, Stream::Noise, which, 0, &mut values);
    values
}

/// A model trained for some steps, with its images and labels; the first loss is checked.
fn trained() -> Result<(Trainer, Vec<f32>, Vec<u32>)> {
    let mut trainer = Trainer::builder(small()).batch(BATCH).build(&Device::Cpu)?;
    let len = BATCH * trainer.io().image_len();
    let (x0, x1) = (normal(1, len), normal(2, len));
    let y: Vec<u32> = (0..BATCH).map(|b| (b % 10) as u32).collect();
    let mut batch = Batch::new(&x1, &y, 0);
    batch.x0 = Some(&x0);
    trainer.accumulate(batch)?;
    let loss = trainer.update(LEARNING_RATE)?.loss;
    // A new network outputs 0, so the residual is the velocity, data minus noise.
    let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
    let want = x1.iter().zip(&x0).map(square).sum::<f64>() / len as f64;
    assert!(
        (loss - want).abs() <= 1e-5 * want,
        "loss {loss}, expected {want}"
    );
    for _ in 0..3 {
        trainer.step(&x1, &y, LEARNING_RATE)?;
    }
    Ok((trainer, x1, y))
}

fn training(c: &mut Criterion) {
    let (mut trainer, x1, y) = trained().expect("the CPU does not fail");
    let mut group = c.benchmark_group("training step");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("small", |b| {
        b.iter(|| {
            trainer
                .step(&x1, &y, LEARNING_RATE)
                .map(|report| report.loss)
        });
    });
}

/// A started session, after checking one step: `x + h v` for the network's output v.
fn session(trainer: &Trainer, y: &[u32]) -> Result<Session> {
    let sampling = trainer
        .model(Weights::Trained)
        .sampler(Sampler::ode(Method::Euler, 100));
    let mut session = sampling.batch(BATCH).keep_out().session()?;
    let numbers: Vec<u64> = (0..BATCH as u64).collect();
    session.start(0, &numbers, y)?;
    let (before, t) = (session.read()?, session.t());
    session.step()?;
    let h = session.t() - t;
    let [after, v] = session.read_both()?;
    assert!(
        v.iter().any(|&v| v != 0.0),
        "a trained network has an output"
    );
    for ((x, after), v) in before.iter().zip(&after).zip(&v) {
        let want = f64::from(*x) + h * f64::from(*v);
        assert!(
            (f64::from(*after) - want).abs() <= 1e-5,
            "{after}, expected {want}"
        );
    }
    Ok(session)
}

fn sampling(c: &mut Criterion) {
    let (trainer, _, y) = trained().expect("the CPU does not fail");
    let mut session = session(&trainer, &y).expect("the CPU does not fail");
    let x = normal(3, BATCH * trainer.io().image_len());
    let mut group = c.benchmark_group("sampling step");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("small, Euler", |b| {
        b.iter(|| {
            if session.is_over() {
                session.start_at(0, &x, &y)?;
            }
            session.step()
        });
    });
}

criterion_group! {
    name = steps;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5)).sample_size(30);
    targets = training, sampling
}
criterion_main!(steps);
