//! The steps that are profiled.

use crate::commands::source::Opened;
use crate::config::RunConfig;
use crate::error::Result;
use crate::memory;
use pollster::block_on;
use sit_engine::backend::Device;
use sit_engine::backend::profile::Profile;
use sit_engine::model::{Blueprint, Model};
use sit_engine::rng::{Stream, fill_normal};
use sit_engine::sample::Sampling;
use sit_engine::train::Weights;
use sit_engine::transport::{Method, Sampler};
use std::time::{Duration, Instant};

/// Steps of one kind.
pub struct Part {
    /// `training step`.
    pub name: &'static str,
    /// The programs that a step runs, in order.
    pub programs: &'static [&'static str],
    /// For each step, the profile of each program.
    pub steps: Vec<Vec<Profile>>,
    /// Time of each step without profiling, including the work of the host.
    pub plain: Vec<Duration>,
}

impl Part {
    /// All profiles.
    pub fn profiles(&self) -> impl Iterator<Item = &Profile> {
        self.steps.iter().flatten()
    }
}

/// Training steps: gradient and update.
///
/// # Errors
/// A machine or device that cannot hold it.
pub fn training(
    config: &RunConfig,
    source: Option<&mut Opened>,
    device: &Device,
    n_steps: u32,
) -> Result<Part> {
    memory::training(config, device).require()?;
    let mut trainer = config.step().build(device)?;
    if let Some(source) = source {
        source.weights.load(&trainer.model(Weights::Trained))?;
    }
    let mut images = vec![0.0; config.train.batch * config.model.io().image_len()];
    fill_normal(config.train.seed, Stream::Noise, 0, 0, &mut images);
    let labels = labels(config, config.train.batch);
    let lr = config.train.learning_rate;
    let mut part = Part {
        name: "training step",
        programs: &["gradient", "update"],
        steps: Vec::new(),
        plain: Vec::new(),
    };
    // The first one warms up.
    trainer.step(&images, &labels, lr)?;
    let clock = Instant::now();
    for _ in 0..n_steps {
        let start = Instant::now();
        trainer.step(&images, &labels, lr)?;
        part.plain.push(start.elapsed());
        let profiles = block_on(trainer.profile(&mut || clock.elapsed()))?;
        part.steps.push(profiles.into());
    }
    Ok(part)
}

/// Steps of the ODE's simplest solver.
///
/// # Errors
/// A machine or device that cannot hold it.
pub fn sampling(
    config: &RunConfig,
    source: Option<&mut Opened>,
    device: &Device,
    n_steps: u32,
) -> Result<Part> {
    let (batch, transport) = (config.train.batch, &config.transport);
    // The first one warms up.
    let sampler = Sampler::ode(Method::Euler, n_steps + 1);
    let blueprint = Blueprint::new(
        config.model.clone(),
        transport.clone(),
        device.max_segment_bytes(),
    )?;
    let sampling = Sampling::new(blueprint, sampler.clone()).batch(batch);
    memory::sampling(&sampling, device).require()?;
    let model = match source {
        None => Model::init(
            device,
            config.model.clone(),
            transport.clone(),
            config.train.seed,
        )?,
        Some(source) => {
            let model = Model::zeros(device, config.model.clone(), transport.clone())?;
            source.weights.load(&model)?;
            model
        }
    };
    let mut session = model.sampler(sampler).batch(batch).session()?;
    let numbers: Vec<u64> = (0..batch as u64).collect();
    let labels = labels(config, batch);
    session.start(config.train.seed, &numbers, &labels)?;
    let mut part = Part {
        name: "sampling step",
        programs: &["step"],
        steps: Vec::new(),
        plain: Vec::new(),
    };
    session.step()?;
    session.read()?;
    let clock = Instant::now();
    for _ in 0..n_steps {
        let start = Instant::now();
        session.step()?;
        session.read()?;
        part.plain.push(start.elapsed());
        let profile = block_on(session.profile(&mut || clock.elapsed()))?;
        part.steps.push(vec![profile]);
    }
    Ok(part)
}

/// All classes in turn.
fn labels(config: &RunConfig, batch: usize) -> Vec<u32> {
    let n = config.model.io().n_classes.max(1);
    (0..batch).map(|i| (i % n) as u32).collect()
}
