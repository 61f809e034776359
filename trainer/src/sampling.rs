//! The sampling loop: batches of images from noise to data, handed on as they are made.

pub mod adaptive;

use crate::config::RunConfig;
use crate::data::BaseData;
use crate::error::{Failure, Result};
use crate::progress::Progress;
use crate::signals::interrupted;
use sit_engine::model::{Blueprint, Model};
use sit_engine::rng::{Stream, uniform};
use sit_engine::sample::{Sampling, Session};
use sit_engine::text::count;
use sit_engine::transport::{Grid, Method, Ode, Sampler, nfe};
use std::fmt;
use std::ops::Range;

/// Images to make: a whole list or a part of it. Each image has a number in the whole list, from 0, which is the key of its noise.
#[derive(Debug, Clone)]
pub struct Images {
    /// Labels of the list; of any value for a model without classes.
    labels: Vec<u32>,
    order: Order,
    /// Numbers of the images that are made, in order.
    picked: Vec<Range<u64>>,
}

/// Which image of a list has which label.
#[derive(Debug, Clone, Copy)]
enum Order {
    /// So many consecutive images have the same one.
    Each(u64),
    /// They are drawn with this key.
    Drawn(u64),
}

impl Images {
    /// A list of `n` images: `each` of every label in turn, and then of the first label again.
    ///
    /// # Panics
    /// Without a label, or with 0 of each.
    pub fn new(labels: Vec<u32>, each: u64, n: u64) -> Self {
        assert!(!labels.is_empty() && each > 0, "an image for each label");
        Images {
            labels,
            order: Order::Each(each),
            picked: vec![Range { start: 0, end: n }],
        }
    }

    /// A list of `n` images, each of a label that is drawn uniformly: a function of the key `seed` and the image's number.
    ///
    /// # Panics
    /// Without a label.
    pub fn drawn(labels: Vec<u32>, seed: u64, n: u64) -> Self {
        Images {
            order: Order::Drawn(seed),
            ..Self::new(labels, 1, n)
        }
    }

    /// Keeps only these images of the list.
    #[must_use]
    pub fn pick(self, picked: Vec<Range<u64>>) -> Self {
        Images { picked, ..self }
    }

    /// Leaves out the first `n` of the images that are made.
    #[must_use]
    pub fn after(&self, mut n: u64) -> Self {
        let rest = self.picked.iter().filter_map(|part| {
            let left_out = n.min(part.end - part.start);
            n -= left_out;
            let start = part.start + left_out;
            (start < part.end).then_some(start..part.end)
        });
        let rest = rest.collect();
        self.clone().pick(rest)
    }

    /// Number of images that are made.
    pub fn n(&self) -> u64 {
        self.picked.iter().map(|part| part.end - part.start).sum()
    }

    /// Label of the image `number` of the list.
    pub fn label(&self, number: u64) -> u32 {
        let n = self.labels.len();
        let at = match self.order {
            Order::Each(each) => (number / each % n as u64) as usize,
            Order::Drawn(seed) => {
                (uniform(seed, Stream::SampleLabel, 0, number) * n as f64) as usize
            }
        };
        self.labels[at]
    }

    /// Numbers of the images that are made.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + Clone {
        self.picked.iter().cloned().flatten()
    }

    /// Labels of the images that are made.
    pub fn all_labels(&self) -> impl Iterator<Item = u32> + Clone {
        self.numbers().map(|number| self.label(number))
    }

    /// Numbers of the images that are made, in parts.
    pub fn picked(&self) -> &[Range<u64>] {
        &self.picked
    }

    /// The labels that the list has.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }
}

/// Where the states at the start come from.
#[derive(Debug)]
pub enum Noise {
    /// It is drawn.
    Drawn,
    /// It is given, `[N, C, I, I]` of the whole list.
    Given(Vec<f32>),
    /// As [`Noise::Given`], with the noise of every step that adds some, `[n, N, C, I, I]`.
    Chain(Vec<f32>, Vec<f32>),
    /// Images of another data set stand in its place, times this standard deviation of the noise.
    Base(BaseData, f64),
}

impl Noise {
    /// Writes the states at the start of the images with these numbers, `[N, C, I, I]`; returns whether they are known.
    ///
    /// # Errors
    /// An image of the other data set that cannot be read any more.
    fn starts(&self, numbers: &[u64], len: usize, x: &mut [f32]) -> Result<bool> {
        match self {
            Noise::Drawn => return Ok(false),
            Noise::Given(all) | Noise::Chain(all, _) => {
                for (x, &number) in x.chunks_exact_mut(len).zip(numbers) {
                    x.copy_from_slice(&all[number as usize * len..][..len]);
                }
            }
            Noise::Base(base, std) => base.starts(*std, numbers, x)?,
        }
        Ok(true)
    }

    /// The noise of image `number` in noisy step `n`, each of `len` values.
    fn of_step(&self, n: usize, number: u64, len: usize) -> Option<&[f32]> {
        match self {
            Noise::Chain(x, steps) => Some(&steps[n * x.len() + number as usize * len..][..len]),
            _ => None,
        }
    }
}

/// Images of a batch on their way.
#[derive(Debug, Clone, Copy)]
pub struct State<'a> {
    /// Index of the first of them among the images that are made.
    pub first: u64,
    /// Their numbers in the list.
    pub numbers: &'a [u64],
    /// Their labels.
    pub labels: &'a [u32],
    /// Steps that are done.
    pub step: usize,
    /// Whether they are images: all steps are done.
    pub done: bool,
    /// The state `[B, C, I, I]`.
    pub x: &'a [f32],
}

/// Makes `images`, `session.batch()` at a time, and hands them to `take`: every state when `every` is set, else the images
/// alone. `seed` is the key of the noise.
///
/// # Errors
/// [`Failure::Interrupted`] when it is asked to stop, a device that fails, an image that is not finite, or an error of `take`.
pub fn sample(
    session: &mut Session,
    images: &Images,
    noise: &Noise,
    seed: u64,
    every: bool,
    mut take: impl FnMut(State<'_>) -> Result<()>,
) -> Result<()> {
    let (batch, len, n_steps) = (
        session.batch(),
        session.io().image_len(),
        session.steps().len(),
    );
    let n_batches = images.n().div_ceil(batch as u64);
    let mut bar = Progress::new("sampling", "steps", 0, n_batches * n_steps as u64);
    let mut given = vec![0.0; batch * len];
    let mut all = images.numbers();
    let mut numbers = Vec::with_capacity(batch);
    let mut first = 0;
    for i in 0..n_batches {
        numbers.clear();
        numbers.extend(all.by_ref().take(batch));
        let n = numbers.len();
        let labels: Vec<u32> = numbers.iter().map(|&number| images.label(number)).collect();
        match noise.starts(&numbers, len, &mut given)? {
            false => session.start(seed, &numbers, &labels)?,
            true => session.start_from(seed, &numbers, &given, &labels)?,
        }
        let state = |step| State {
            first,
            numbers: &numbers,
            labels: &labels,
            step,
            done: step == n_steps,
            x: &[],
        };
        let mut n_noisy = 0;
        for step in 0..n_steps {
            if interrupted() {
                return Err(Failure::Interrupted);
            }
            if every {
                let x = &session.read()?[..n * len];
                take(State { x, ..state(step) })?;
            }
            let is_given = session.needs_noise() && matches!(noise, Noise::Chain(..));
            if is_given {
                for (row, &number) in given.chunks_exact_mut(len).zip(&numbers) {
                    row.copy_from_slice(noise.of_step(n_noisy, number, len).unwrap_or_default());
                }
                n_noisy += 1;
                session.step_with(&given)?;
            } else {
                session.step()?;
            }
            bar.set(i * n_steps as u64 + step as u64 + 1, String::new);
        }
        let end = session.read()?;
        let x = &end[..n * len];
        if let Some(at) = x.iter().position(|x| !x.is_finite()) {
            return Err(Failure::Run(format!(
                "image {} is not finite",
                numbers[at / len]
            )));
        }
        take(State {
            x,
            ..state(n_steps)
        })?;
        first += n as u64;
    }
    Ok(())
}

/// How a run samples its own model on the way, `n` images, in batches no larger than those of training: by steps of Heun's method with guidance.
pub fn of_run<M: AsRef<Blueprint>>(
    config: &RunConfig,
    model: M,
    steps: u32,
    guidance: f64,
    n: usize,
) -> Sampling<M> {
    let scale = match (config.model.io().n_classes, config.train.class_dropout) {
        // Without a trained null class, guidance has nothing to compare with.
        (0, _) | (_, 0.0) => 1.0,
        // A student has its teacher's guidance.
        _ if config.distill.is_some() => 1.0,
        _ => guidance,
    };
    let sampler = match config.transport.student_steps {
        Some(n_steps) => Sampler::ode(Method::Euler, n_steps),
        None => Sampler::Ode(Ode {
            n_steps: steps,
            // Where times are moved in training, steps are moved too.
            grid: Grid::shifted(config.transport.times.shift),
            ..Ode::default()
        }),
    };
    Sampling::new(model, sampler)
        .guidance(scale)
        .batch(n.min(config.train.batch))
        .seed(config.train.seed)
}

/// Network evaluations of the images that were made.
#[derive(Debug)]
pub enum Effort {
    /// Of each image.
    Fixed(usize),
    /// Of a solver that chooses its steps.
    Own(adaptive::Effort),
}

impl Effort {
    /// Of an image, on average. Evaluations that guidance adds at the same state do not count.
    pub fn mean(&self) -> f64 {
        match self {
            Effort::Fixed(n) => *n as f64,
            Effort::Own(effort) => effort.mean(),
        }
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effort::Fixed(n) => write!(f, "{} each", count(*n, "network evaluation")),
            Effort::Own(effort) => effort.fmt(f),
        }
    }
}

/// Makes `images` by a solver of either kind, and hands the finished ones to `take`.
///
/// # Errors
/// As of [`sample`], or a setting that is refused.
pub fn finished(
    sampling: Sampling<Model>,
    images: &Images,
    noise: &Noise,
    seed: u64,
    take: impl FnMut(State<'_>) -> Result<()>,
) -> Result<Effort> {
    if sampling.solver().is_adaptive() {
        let mut pool = sampling.pool()?;
        let effort = adaptive::sample(&mut pool, images, noise, seed, None, take)?;
        return Ok(Effort::Own(effort));
    }
    let mut session = sampling.session()?;
    sample(&mut session, images, noise, seed, false, take)?;
    Ok(Effort::Fixed(nfe(session.steps())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_label_for_each_number() {
        let images = Images::new(vec![4, 9], 3, 6);
        assert_eq!(images.all_labels().collect::<Vec<_>>(), [4, 4, 4, 9, 9, 9]);
        let part = images.pick(vec![4..6, 0..1]);
        assert_eq!((part.n(), part.label(4)), (3, 9));
        assert_eq!(part.numbers().collect::<Vec<_>>(), [4, 5, 0]);
        let in_turn = Images::new(vec![4, 9], 1, 3);
        assert_eq!(in_turn.all_labels().collect::<Vec<_>>(), [4, 9, 4]);
    }

    #[test]
    fn drawn_labels_are_those_of_the_numbers() {
        let all = Images::drawn((0..10).collect(), 7, 10_000);
        let mut counts = [0; 10];
        all.all_labels()
            .for_each(|label| counts[label as usize] += 1);
        // Six standard deviations of a binomial.
        assert!(counts.iter().all(|n| (820..1180).contains(n)), "{counts:?}");
        let part = all.clone().pick(vec![40..50, 7..9]);
        assert_eq!((part.label(8), part.n()), (all.label(8), 12));
        let other = Images::drawn((0..10).collect(), 8, 10_000);
        assert!(other.all_labels().ne(all.all_labels()));
    }

    #[test]
    fn images_that_are_made_already_are_left_out() {
        let all = Images::new(vec![0], 1, 20).pick(vec![3..6, 9..10, 15..18]);
        let rest = |n| all.after(n).numbers().collect::<Vec<_>>();
        assert_eq!(rest(0), [3, 4, 5, 9, 15, 16, 17]);
        assert_eq!(rest(2), [5, 9, 15, 16, 17]);
        assert_eq!(rest(4), [15, 16, 17]);
        assert_eq!((rest(7), all.after(7).n()), (vec![], 0));
    }
}
