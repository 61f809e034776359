//! Sampling with an adaptive solver: every image has its own times, and the next one takes the place of an image that is finished.

mod run;

use super::Sampling;
use super::noise::{by_run, initial_noise};
use super::plan::{Form, TOLERANCE};
use super::write::{FormProgram, Writer};
use crate::error::{Error, Result};
use crate::model::{Model, NetworkIo};
use crate::transport::{Adaptive, ErrorNorm, Step};
use std::collections::VecDeque;

/// Takes images from noise to data with an adaptive solver, a batch of places at a time.
#[derive(Debug)]
pub struct Pool {
    sampling: Sampling<Model>,
    solver: Adaptive,
    io: NetworkIo,
    /// Evaluates the drift.
    drift: FormProgram,
    /// Attempts a step.
    attempt: FormProgram,
    places: Vec<Option<Place>>,
    waiting: VecDeque<Waiting>,
    /// The step of each place; a place that is free repeats any.
    steps: Vec<Step>,
    writer: Writer,
    taken: Vec<f32>,
    labels: Vec<u32>,
    has_run: bool,
}

/// An image before its first step.
#[derive(Debug)]
struct Waiting {
    number: u64,
    label: u32,
    x: Vec<f32>,
    drift: Vec<f32>,
    h: f64,
}

/// An image on its way.
#[derive(Debug)]
struct Place {
    number: u64,
    t: f64,
    h: f64,
    nfe: u32,
    n_accepted: u32,
    n_rejected: u32,
}

/// A finished image.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Finished {
    /// Its number.
    pub number: u64,
    /// The image `[C, H, W]`.
    pub x: Vec<f32>,
    /// Network evaluations, with guidance of twice the batch.
    pub nfe: u32,
    /// Steps that were accepted, and that were rejected.
    pub n_steps: [u32; 2],
}

/// An accepted state of an image.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Number of the image.
    pub number: u64,
    /// Time of the state.
    pub t: f64,
    /// The state `[C, H, W]`.
    pub x: Vec<f32>,
}

/// Network evaluations that find the size of the first step.
const START_NFE: u32 = 2;

impl Sampling<Model> {
    /// Creates the programs of an adaptive solver.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Config`] for an invalid setting or combination, or a method that is not adaptive;
    /// [`Error::Limit`] and [`Error::Device`] when it does not fit on the device.
    pub fn pool(self) -> Result<Pool> {
        self.validate()?;
        let solver = Adaptive::new(self.model.transport(), &self.sampler)?;
        let [drift, attempt] = self.adaptive_forms(&solver)?;
        let (io, batch) = (self.model.io(), self.batch);
        let mut pool = Pool {
            drift: FormProgram::new(&self, drift)?,
            attempt: FormProgram::new(&self, attempt)?,
            places: (0..batch).map(|_| None).collect(),
            waiting: VecDeque::with_capacity(2 * batch),
            steps: vec![solver.step(solver.times[0], 1.0)?; batch],
            writer: Writer::new(batch),
            taken: vec![0.0; batch],
            labels: vec![0; 2 * batch],
            has_run: false,
            sampling: self,
            solver,
            io,
        };
        if let Some(null) = io.null_class() {
            pool.labels[batch..].fill(null);
        }
        let tolerance = pool.solver.weights().map(|weight| weight as f32);
        pool.attempt.program.write(TOLERANCE, &tolerance)?;
        Ok(pool)
    }
}

impl<M: AsRef<crate::model::Blueprint>> Sampling<M> {
    /// Forms of the evaluation of the drift and of an attempt.
    pub(super) fn adaptive_forms(&self, solver: &Adaptive) -> Result<[Form; 2]> {
        let t = solver.times[0];
        let form = |step: Step, is_adaptive: bool| Form {
            step: crate::transport::StepForm {
                has_first_row: true,
                ..step.form()
            },
            // Every image has its own times, so the guided program also serves times outside the interval.
            is_guided: self.guidance.scale != 1.0,
            has_error: is_adaptive,
            is_adaptive,
        };
        Ok([
            form(solver.drift(t)?, false),
            form(solver.step(t, 1.0)?, true),
        ])
    }
}

impl Pool {
    /// How many more images can be added.
    pub fn room(&self) -> usize {
        self.sampling.batch.saturating_sub(self.waiting.len())
    }

    /// Whether all images that were added are finished.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.places.iter().all(Option::is_none)
    }

    /// Adds images by number, with a label for each, starting from their noise.
    ///
    /// # Errors
    /// [`Error::Shape`] for more images than there is [`Pool::room`] or a wrong number of labels, [`Error::Config`] for a label beyond
    /// the null class, [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn add(&mut self, seed: u64, numbers: &[u64], y: &[u32]) -> Result<()> {
        pollster::block_on(self.add_async(seed, numbers, y))
    }

    /// As [`Pool::add`], but from the states x `[N, C, H, W]`.
    ///
    /// # Errors
    /// As [`Pool::add`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn add_from(&mut self, numbers: &[u64], x: &[f32], y: &[u32]) -> Result<()> {
        pollster::block_on(self.add_from_async(numbers, x, y))
    }

    /// Attempts a step for every image on its way, and returns those that are finished.
    ///
    /// # Errors
    /// [`Error::Config`] naming the image and the time for a step size that became too small, or more evaluations than
    /// [`Tolerance::max_nfe`](crate::transport::Tolerance::max_nfe); [`Error::Device`] when the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn step(&mut self) -> Result<Vec<Finished>> {
        pollster::block_on(self.step_async())
    }
}

#[doc(hidden)]
impl Pool {
    /// Async variant of [`Self::add`], for browsers.
    pub async fn add_async(&mut self, seed: u64, numbers: &[u64], y: &[u32]) -> Result<()> {
        self.sampling.check_noise()?;
        let x = self.noise(seed, numbers);
        self.add_from_async(numbers, &x, y).await
    }

    /// The states `[N, C, H, W]` from which images with these numbers start.
    pub fn noise(&self, seed: u64, numbers: &[u64]) -> Vec<f32> {
        let (io, len) = (self.io, self.io.image_len());
        let mut x = vec![0.0; numbers.len() * len];
        by_run(numbers, len, &mut x, |first, rows| {
            initial_noise(&io, seed, first, rows);
        });
        self.sampling.scale_start(&mut x);
        x
    }

    /// Async variant of [`Self::add_from`], for browsers.
    pub async fn add_from_async(&mut self, numbers: &[u64], x: &[f32], y: &[u32]) -> Result<()> {
        let (n, len) = (numbers.len(), self.io.image_len());
        if n > self.room() {
            return Err(Error::Shape(format!(
                "got {n} images, expected at most {}",
                self.room()
            )));
        }
        if x.len() != n * len {
            return Err(Error::Shape(format!(
                "x got {} values, expected {n} images of {len}",
                x.len()
            )));
        }
        self.io.check_labels(y, n)?;
        if n == 0 {
            return Ok(());
        }
        let t = vec![self.solver.times[0]; n];
        let label = |i: usize| y.get(i).copied().unwrap_or(0);
        let labels: Vec<u32> = (0..n).map(label).collect();
        let f0 = self.drifts(&t, x, &labels).await?;
        let [atol, rtol] = self.solver.weights();
        let is_shared = self.solver.tolerance().norm == ErrorNorm::Batch;
        // Norms over a sample, or over all of them.
        let norms = |values: &dyn Fn(usize) -> f64| -> Vec<f64> {
            let squares = |i: usize| {
                let row = i * len..(i + 1) * len;
                let weighted = row.map(|k| {
                    let weight = atol + rtol * f64::from(x[k]).abs();
                    (values(k) / weight).powi(2)
                });
                weighted.sum::<f64>() / len as f64
            };
            let mut squares: Vec<f64> = (0..n).map(squares).collect();
            if is_shared {
                let mean = squares.iter().sum::<f64>() / n as f64;
                squares.fill(mean);
            }
            squares.into_iter().map(f64::sqrt).collect()
        };
        let d0 = norms(&|k| x[k].into());
        let d1 = norms(&|k| f0[k].into());
        let h0: Vec<f64> = (0..n).map(|i| self.solver.trial(d0[i], d1[i])).collect();
        let direction = (self.solver.times[1] - self.solver.times[0]).signum();
        let trial: Vec<f32> = (0..n * len)
            .map(|k| (f64::from(x[k]) + direction * h0[k / len] * f64::from(f0[k])) as f32)
            .collect();
        let t1: Vec<f64> = h0.iter().map(|h| t[0] + direction * h).collect();
        let f1 = self.drifts(&t1, &trial, &labels).await?;
        let change = norms(&|k| f64::from(f1[k]) - f64::from(f0[k]));
        for i in 0..n {
            let row = i * len..(i + 1) * len;
            self.waiting.push_back(Waiting {
                number: numbers[i],
                label: labels[i],
                x: x[row.clone()].to_vec(),
                drift: f0[row].to_vec(),
                h: self.solver.first(h0[i], d1[i], change[i]),
            });
        }
        Ok(())
    }

    /// The drifts of states x `[N, C, H, W]` at their times.
    async fn drifts(&mut self, t: &[f64], x: &[f32], y: &[u32]) -> Result<Vec<f32>> {
        let (batch, len) = (self.sampling.batch, self.io.image_len());
        let n = t.len();
        let at = |b: usize| self.solver.drift(t[b.min(n - 1)]);
        let steps = (0..batch).map(at).collect::<Result<Vec<_>>>()?;
        // Places without an image repeat the last one.
        let mut states = x.to_vec();
        let mut labels = y.to_vec();
        for _ in n..batch {
            states.extend_from_slice(&x[(n - 1) * len..]);
            labels.push(y[n - 1]);
        }
        labels.extend_from_slice(&self.labels[batch..]);
        self.writer.step(&mut self.drift, &self.sampling, &steps)?;
        write_labels(&mut self.drift, &labels)?;
        self.drift.program.write("x", &states)?;
        self.drift.program.run()?;
        let mut drifts = self.drift.program.read("x").await?;
        drifts.truncate(n * len);
        Ok(drifts)
    }

    /// Images at a time.
    pub fn batch(&self) -> usize {
        self.sampling.batch
    }

    /// Shapes of images and labels.
    pub fn io(&self) -> &NetworkIo {
        &self.io
    }

    /// First and last time, in the direction of integration.
    pub fn times(&self) -> [f64; 2] {
        self.solver.times
    }

    /// The settings.
    pub fn sampling(&self) -> &Sampling<Model> {
        &self.sampling
    }

    /// Share of the way that the images in the pool have done, each from 0 to 1, added up.
    pub fn progress(&self) -> f64 {
        let [from, to] = self.solver.times;
        let places = self.places.iter().flatten();
        places.map(|place| (place.t - from) / (to - from)).sum()
    }
}

/// Writes the labels `[2B]`, conditional first, as far as the program has them.
fn write_labels(to: &mut FormProgram, labels: &[u32]) -> Result<()> {
    // A network may ignore the label.
    if to.program.plan().has_input("y") {
        let n = to.program.plan().input("y")?.ty.shape.numel();
        to.program.write_u32("y", &labels[..n])?;
    }
    Ok(())
}
