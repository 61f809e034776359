//! The sampling loop: batches of images from noise to data.

use crate::error::{Failure, Result};
use crate::files::write_atomically;
use crate::progress::Progress;
use crate::signals::interrupted;
use pollster::block_on;
use sit_engine::backend::{Arenas, Device};
use sit_engine::checkpoint::{self, Precision};
use sit_engine::graph::Layout;
use sit_engine::model::ModelConfig;
use sit_engine::sample::{SampleConfig, Session, initial_noise, step_noise};
use sit_engine::shape::Shape;
use sit_engine::transport::nfe;
use std::io::Write;
use std::path::Path;

/// What to start from.
#[derive(Debug)]
pub struct Start {
    /// A label for each image; of any value for a model without classes.
    pub labels: Vec<u32>,
    /// Noise `[N, C, I, I]` that was given; else it is drawn from `seed`.
    pub x: Option<Vec<f32>>,
    /// Key of the noise.
    pub seed: u64,
}

/// Samples.
#[derive(Debug)]
pub struct Samples {
    /// Images `[N, C, I, I]`.
    pub x: Vec<f32>,
    /// Times of the states.
    pub t: Vec<f32>,
    /// The state `[N, C, I, I]` at each time if a trajectory was asked for, else none.
    pub states: Vec<Vec<f32>>,
    /// Network evaluations of an image.
    pub nfe: usize,
}

/// Samples an image for each label, `config.batch` at a time.
///
/// # Errors
/// [`Failure::Interrupted`] on Ctrl-C, a device that cannot hold it or fails, or an image that is not finite.
pub fn sample(
    device: &Device,
    arenas: &Arenas,
    layout: &Layout,
    config: SampleConfig,
    start: &Start,
    trajectory: bool,
) -> Result<Samples> {
    let mut session = Session::new(device, arenas, layout, config)?;
    let (n, len, batch) = (start.labels.len(), config.model.image_len(), config.batch);
    let n_steps = session.steps().len();
    let times = session.steps().iter().map(|step| step.t_next);
    let mut samples = Samples {
        x: Vec::with_capacity(n * len),
        t: std::iter::once(session.t())
            .chain(times)
            .map(|t| t as f32)
            .collect(),
        states: vec![Vec::new(); if trajectory { n_steps + 1 } else { 0 }],
        nfe: nfe(session.steps()),
    };
    let n_batches = n.div_ceil(batch);
    let mut bar = Progress::new("sampling", "steps", 0, (n_batches * n_steps) as u64);
    let (mut x0, mut noise) = (vec![0.0; batch * len], vec![0.0; batch * len]);
    let mut labels = vec![0; batch];
    for i in 0..n_batches {
        let first = i * batch;
        let here = first..(first + batch).min(n);
        let keep = here.len() * len;
        // The last batch is filled up with what the buffers hold; a sample does not depend on its neighbors.
        labels[..here.len()].copy_from_slice(&start.labels[here]);
        match &start.x {
            Some(x) => x0[..keep].copy_from_slice(&x[first * len..][..keep]),
            None => initial_noise(&config.model, start.seed, first as u64, &mut x0),
        }
        session.start(&x0, &labels)?;
        for step in 0..n_steps {
            if interrupted() {
                return Err(Failure::Interrupted);
            }
            if let Some(state) = samples.states.get_mut(step) {
                state.extend(&block_on(session.read())?[..keep]);
            }
            if session.needs_noise() {
                step_noise(&config.model, start.seed, step, first as u64, &mut noise);
            }
            block_on(session.step(&noise))?;
            bar.set((i * n_steps + step + 1) as u64, String::new);
        }
        let end = block_on(session.read())?;
        if let Some(at) = end[..keep].iter().position(|x| !x.is_finite()) {
            return Err(Failure::Run(format!(
                "image {} is not finite",
                first + at / len
            )));
        }
        if let Some(state) = samples.states.last_mut() {
            state.extend(&end[..keep]);
        }
        samples.x.extend(&end[..keep]);
    }
    Ok(samples)
}

impl Samples {
    /// Writes `t` `[n+1]` and `x` `[n+1, N, C, I, I]`.
    ///
    /// # Errors
    /// [`Failure::Run`] when the file cannot be written.
    pub fn write_trajectory(&self, path: &Path, model: &ModelConfig) -> Result<()> {
        let (n, size) = (self.x.len() / model.image_len(), model.input_size);
        let tensors = [
            ("t".to_owned(), Shape::from([self.t.len()])),
            (
                "x".to_owned(),
                Shape::from([self.t.len(), n, model.channels, size, size]),
            ),
        ];
        let header = checkpoint::header(&tensors, Precision::F32, None)?;
        write_atomically(path, |out| {
            out.write_all(&header)?;
            checkpoint::write_values(out, &self.t)?;
            self.states
                .iter()
                .try_for_each(|state| checkpoint::write_values(out, state))
        })?;
        Ok(())
    }
}
