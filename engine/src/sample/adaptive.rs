//! Sampling with an adaptive solver: every image has its own times, and the next one takes the place of an image that is finished.

mod run;

use super::Sampling;
use super::attempts::Attempts;
use super::noise::{by_run, initial_noise};
use crate::error::{Error, Result};
use crate::model::{Model, NetworkIo};
use crate::transport::Step;
use std::collections::VecDeque;

/// Takes images from noise to data with an adaptive solver, a batch of places at a time.
#[derive(Debug)]
pub struct Pool {
    attempts: Attempts,
    places: Vec<Option<Place>>,
    /// Images that were added, and those whose first step's size is known.
    waiting: VecDeque<Waiting>,
    ready: VecDeque<Ready>,
    /// The step of each place; a place that is free repeats any.
    steps: Vec<Step>,
    taken: Vec<f32>,
    has_run: bool,
}

/// An image that was added.
#[derive(Debug)]
struct Waiting {
    number: u64,
    label: u32,
    x: Vec<f32>,
}

/// An image before its first step.
#[derive(Debug)]
struct Ready {
    image: Waiting,
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

impl Sampling<Model> {
    /// Creates the programs of an adaptive solver.
    ///
    /// # Errors
    /// [`Error::Setting`] or [`Error::Config`] for an invalid setting or combination, or a method that is not adaptive;
    /// [`Error::Limit`] and [`Error::Device`] when it does not fit on the device.
    pub fn pool(self) -> Result<Pool> {
        let batch = self.batch;
        let attempts = self.attempts()?;
        let solver = &attempts.solver;
        Ok(Pool {
            places: (0..batch).map(|_| None).collect(),
            waiting: VecDeque::with_capacity(batch),
            ready: VecDeque::with_capacity(batch),
            steps: vec![solver.step(solver.times[0], 1.0)?; batch],
            taken: vec![0.0; batch],
            has_run: false,
            attempts,
        })
    }
}

impl Pool {
    /// How many more images can be added.
    pub fn room(&self) -> usize {
        self.attempts
            .sampling
            .batch
            .saturating_sub(self.waiting.len())
    }

    /// Whether all images that were added are finished.
    pub fn is_empty(&self) -> bool {
        let is_waiting = !self.waiting.is_empty() || !self.ready.is_empty();
        !is_waiting && self.places.iter().all(Option::is_none)
    }

    /// Adds images by number, with a label for each, starting from their noise.
    ///
    /// # Errors
    /// [`Error::Shape`] for more images than there is [`Pool::room`] or a wrong number of labels, [`Error::Config`] for a label beyond
    /// the null class.
    pub fn add(&mut self, seed: u64, numbers: &[u64], y: &[u32]) -> Result<()> {
        self.attempts.sampling.check_noise()?;
        let x = self.noise(seed, numbers);
        self.add_from(numbers, &x, y)
    }

    /// As [`Pool::add`], but from the states x `[N, C, H, W]`.
    ///
    /// # Errors
    /// As [`Pool::add`].
    pub fn add_from(&mut self, numbers: &[u64], x: &[f32], y: &[u32]) -> Result<()> {
        let (n, len) = (numbers.len(), self.attempts.io.image_len());
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
        self.attempts.io.check_labels(y, n)?;
        for (i, row) in x.chunks_exact(len).enumerate() {
            self.waiting.push_back(Waiting {
                number: numbers[i],
                label: y.get(i).copied().unwrap_or(0),
                x: row.to_vec(),
            });
        }
        Ok(())
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
    /// The states `[N, C, H, W]` from which images with these numbers start.
    pub fn noise(&self, seed: u64, numbers: &[u64]) -> Vec<f32> {
        let (io, len) = (self.attempts.io, self.attempts.io.image_len());
        let mut x = vec![0.0; numbers.len() * len];
        by_run(numbers, len, &mut x, |first, rows| {
            initial_noise(&io, seed, first, rows);
        });
        self.attempts.sampling.scale_start(&mut x);
        x
    }

    /// Images at a time.
    pub fn batch(&self) -> usize {
        self.attempts.sampling.batch
    }

    /// Shapes of images and labels.
    pub fn io(&self) -> &NetworkIo {
        &self.attempts.io
    }

    /// First and last time, in the direction of integration.
    pub fn times(&self) -> [f64; 2] {
        self.attempts.solver.times
    }

    /// The settings.
    pub fn sampling(&self) -> &Sampling<Model> {
        &self.attempts.sampling
    }

    /// Share of the way that the images in the pool have done, each from 0 to 1, added up.
    pub fn progress(&self) -> f64 {
        let [from, to] = self.attempts.solver.times;
        let places = self.places.iter().flatten();
        places.map(|place| (place.t - from) / (to - from)).sum()
    }
}
