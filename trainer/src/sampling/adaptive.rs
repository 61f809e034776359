//! The sampling loop of an adaptive solver: images finish in any order, and are handed on in theirs.

use super::{Images, Noise, State};
use crate::error::{Failure, Result};
use crate::progress::Progress;
use crate::signals::interrupted;
use sit_engine::sample::{Finished, Pool};
use std::collections::BTreeMap;
use std::fmt;

/// Network evaluations of the images, and their steps.
#[derive(Debug, Default)]
pub struct Effort {
    n: u64,
    nfe: u64,
    max_nfe: u32,
    n_steps: [u64; 2],
}

impl Effort {
    /// Network evaluations of an image, on average.
    pub fn mean(&self) -> f64 {
        self.nfe as f64 / self.n.max(1) as f64
    }

    fn add(&mut self, image: &Finished) {
        self.n += 1;
        self.nfe += u64::from(image.nfe);
        self.max_nfe = self.max_nfe.max(image.nfe);
        for (all, own) in self.n_steps.iter_mut().zip(image.n_steps) {
            *all += u64::from(own);
        }
    }
}

/// `38.2 network evaluations each, at most 50; 5.9 steps each, 0.2 more rejected`.
impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = |sum: u64| sum as f64 / self.n.max(1) as f64;
        let [accepted, rejected] = self.n_steps.map(mean);
        write!(
            f,
            "{:.1} network evaluations each, at most {}; {accepted:.1} steps each, {rejected:.1} more rejected",
            self.mean(),
            self.max_nfe
        )
    }
}

/// A state on the way: index of the image among those that are made, its time, and the state `[C, H, W]`.
pub type OnTheWay<'a> = dyn FnMut(u64, f64, &[f32]) -> Result<()> + 'a;

/// Makes `images` as [`super::sample`] does. `way` takes every accepted state of every image, the first and the last among them.
///
/// # Errors
/// As of [`super::sample`].
pub fn sample(
    pool: &mut Pool,
    images: &Images,
    noise: &Noise,
    seed: u64,
    mut way: Option<&mut OnTheWay<'_>>,
    mut take: impl FnMut(State<'_>) -> Result<()>,
) -> Result<Effort> {
    let (n, len) = (images.n(), pool.io().image_len());
    let mut all = images.numbers();
    // Indices of the images that were added and not handed on.
    let mut index: BTreeMap<u64, u64> = BTreeMap::new();
    let [begin, _] = pool.times();
    let mut bar = Progress::new("sampling", "images", 0, n);
    let mut effort = Effort::default();
    let mut done: BTreeMap<u64, Finished> = BTreeMap::new();
    let (mut added, mut handed) = (0, 0);
    while handed < n {
        if interrupted() {
            return Err(Failure::Interrupted);
        }
        // A slow image does not let the finished ones behind it pile up.
        let ahead = (handed + 4 * pool.batch() as u64).min(n);
        let until = ahead.min(added + pool.room() as u64);
        if added < until {
            let some = all.by_ref().take((until - added) as usize);
            let numbers: Vec<u64> = some.collect();
            index.extend(numbers.iter().copied().zip(added..));
            let labels: Vec<u32> = numbers.iter().map(|&number| images.label(number)).collect();
            let mut x = vec![0.0; numbers.len() * len];
            if !noise.starts(&numbers, len, &mut x)? {
                x = pool.noise(seed, &numbers);
            }
            if let Some(way) = &mut way {
                for (i, x) in x.chunks_exact(len).enumerate() {
                    way(added + i as u64, begin, x)?;
                }
            }
            pool.add_from(&numbers, &x, &labels)?;
            added = until;
        }
        let finished = pool.step()?;
        if let Some(way) = &mut way {
            for state in pool.accepted()? {
                way(index[&state.number], state.t, &state.x)?;
            }
        }
        for image in finished {
            if !image.x.iter().all(|x| x.is_finite()) {
                return Err(Failure::Run(format!(
                    "image {} is not finite",
                    image.number
                )));
            }
            let at = index[&image.number];
            if let Some(way) = &mut way {
                way(at, pool.times()[1], &image.x)?;
            }
            effort.add(&image);
            done.insert(at, image);
        }
        while let Some(image) = done.remove(&handed) {
            take(State {
                first: handed,
                numbers: &[image.number],
                labels: &[images.label(image.number)],
                step: 0,
                done: true,
                x: &image.x,
            })?;
            index.remove(&image.number);
            handed += 1;
        }
        bar.set(handed + done.len() as u64, String::new);
    }
    Ok(effort)
}
