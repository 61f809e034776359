//! The probes of the trace: unit vectors, or draws that depend only on the seed, the image's number and the probe's.

use super::{Draw, MAX_PASSES, Trace};
use crate::rng::{Stream, fill_normal, uniform};
use std::ops::Range;

/// The probes of all places.
#[derive(Debug)]
pub(super) struct Probes {
    trace: Trace,
    len: usize,
    seed: u64,
    /// All probes: D unit vectors, or K random ones.
    n: usize,
    /// The random probes, each `[B, D]`; of the unit vectors as many as a run has, made when they are asked for.
    values: Vec<Vec<f32>>,
    /// The coordinates of those unit vectors.
    units: Vec<Option<usize>>,
    /// What each place's probes were drawn for: number of the image, and of the evaluation if they are fresh.
    drawn: Vec<Option<(u64, u32)>>,
}

impl Probes {
    pub fn new(trace: Trace, len: usize, batch: usize, seed: u64) -> Self {
        let n = trace.n_probes(len);
        let n_kept = match trace {
            Trace::Exact => n.min(MAX_PASSES),
            Trace::Hutchinson { .. } => n,
        };
        Probes {
            trace,
            len,
            seed,
            n,
            values: vec![vec![0.0; batch * len]; n_kept],
            units: vec![None; n_kept],
            drawn: vec![None; batch],
        }
    }

    /// A place has another image.
    pub fn forget(&mut self, b: usize) {
        self.drawn[b] = None;
    }

    /// Draws the probes of place `b` for evaluation `n` of image `number`, unless they are there.
    pub fn prepare(&mut self, b: usize, number: u64, n: u32) {
        let Trace::Hutchinson {
            draw,
            is_fresh,
            n_probes,
        } = self.trace
        else {
            return;
        };
        let key = (number, if is_fresh { n } else { 0 });
        if self.drawn[b] == Some(key) {
            return;
        }
        self.drawn[b] = Some(key);
        let first = number.wrapping_mul(self.len as u64);
        for (k, values) in self.values.iter_mut().enumerate() {
            let step = key.1.wrapping_mul(n_probes as u32).wrapping_add(k as u32);
            let row = &mut values[b * self.len..(b + 1) * self.len];
            match draw {
                Draw::Gaussian => fill_normal(self.seed, Stream::Probe, step, first, row),
                Draw::Rademacher => {
                    for (value, i) in row.iter_mut().zip(first..) {
                        let is_up = uniform(self.seed, Stream::Probe, step, i) < 0.5;
                        *value = if is_up { 1.0 } else { -1.0 };
                    }
                }
            }
        }
    }

    /// The numbers of the probes of each run of `n_passes`.
    pub fn parts(&self, n_passes: usize) -> Vec<Range<usize>> {
        let firsts = (0..self.n).step_by(n_passes.max(1));
        firsts
            .map(|first| first..self.n.min(first + n_passes))
            .collect()
    }

    /// The probes of these numbers, of a run, each `[B, D]`.
    pub fn of(&mut self, part: Range<usize>) -> impl Iterator<Item = &[f32]> {
        let values = match self.trace {
            Trace::Hutchinson { .. } => &self.values[part],
            Trace::Exact => {
                let rows = self.values.iter_mut().zip(&mut self.units);
                for ((values, unit), i) in rows.zip(part.clone()) {
                    for row in values.chunks_exact_mut(self.len) {
                        if let Some(before) = *unit {
                            row[before] = 0.0;
                        }
                        row[i] = 1.0;
                    }
                    *unit = Some(i);
                }
                &self.values[..part.len()]
            }
        };
        values.iter().map(Vec::as_slice)
    }
}
