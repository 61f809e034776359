//! Bands of a number by resampling.

use sit_engine::rng::{Stream, uniform};
use std::collections::BTreeMap;

/// Of [`Stream::Resample`], apart from those of subsets.
const FIRST_STEP: usize = 1 << 24;

/// Resamples of two sets, each drawn with repetitions: how often a vector is in each.
#[derive(Debug, Clone)]
pub struct Resamples {
    /// For each set `[B, N]`.
    counts: [Vec<u32>; 2],
    lengths: [usize; 2],
    n: usize,
}

impl Resamples {
    /// `n` resamples of two sets of these lengths (Efron 1979), a function of the seed.
    pub fn drawn(seed: u64, lengths: [usize; 2], n: usize) -> Self {
        let of_set = |set: usize| {
            let len = lengths[set];
            let mut counts = vec![0; n * len];
            for (b, counts) in counts.chunks_exact_mut(len.max(1)).enumerate() {
                for i in 0..len {
                    let step = (FIRST_STEP + 2 * b + set) as u32;
                    let u = uniform(seed, Stream::Resample, step, i as u64);
                    counts[((u * len as f64) as usize).min(len - 1)] += 1;
                }
            }
            counts
        };
        Resamples {
            counts: [of_set(0), of_set(1)],
            lengths,
            n,
        }
    }

    /// None, of two sets of these lengths.
    pub fn none(lengths: [usize; 2]) -> Self {
        Self::drawn(0, lengths, 0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Lengths of the sets.
    pub fn lengths(&self) -> [usize; 2] {
        self.lengths
    }

    /// How often each vector of a set is in a resample.
    pub(super) fn counts(&self, set: usize, number: usize) -> &[u32] {
        &self.counts[set][number * self.lengths[set]..][..self.lengths[set]]
    }
}

/// Resamples of one set, in which each vector is drawn among those with its label: numbers of a set with chosen labels do not vary with them.
#[derive(Debug, Clone)]
pub struct Within {
    seed: u64,
    /// Numbers of the vectors of each label.
    of_label: Vec<Vec<usize>>,
    n_vectors: usize,
    n: usize,
}

impl Within {
    /// `n` resamples of vectors with these labels.
    pub fn of(seed: u64, labels: &[u32], n: usize) -> Self {
        let mut of_label: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (i, label) in labels.iter().enumerate() {
            of_label.entry(*label).or_default().push(i);
        }
        Within {
            seed,
            of_label: of_label.into_values().collect(),
            n_vectors: labels.len(),
            n,
        }
    }

    /// How many vectors the set has.
    pub fn n_vectors(&self) -> usize {
        self.n_vectors
    }

    /// How many resamples there are.
    pub fn n(&self) -> usize {
        self.n
    }

    /// How often each vector is in a resample.
    pub(super) fn counts(&self, number: usize) -> Vec<u32> {
        let step = (FIRST_STEP + 2 * number) as u32;
        let mut counts = vec![0; self.n_vectors];
        for own in &self.of_label {
            for i in own {
                let u = uniform(self.seed, Stream::Resample, step, *i as u64);
                counts[own[((u * own.len() as f64) as usize).min(own.len() - 1)]] += 1;
            }
        }
        counts
    }
}

/// A number with what resampling says of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// The number.
    pub value: f64,
    /// Between these are 95 % of the resamples' numbers, shifted so that their mean is the number; `None` without resamples that have one.
    ///
    /// A resample has some vectors twice and others not at all. It is thus farther from any set than its own set is, and the shift takes that
    /// away: what is left is how much the number varies.
    pub bounds: Option<[f64; 2]>,
}

impl Band {
    /// Of a number and those of the resamples; a resample without a number, as of one vector alone, does not count.
    pub fn of(value: f64, resampled: &[f64]) -> Self {
        let resampled = resampled.iter().copied().filter(|x| x.is_finite());
        let resampled: Vec<f64> = resampled.collect();
        if resampled.len() < 2 {
            return Band {
                value,
                bounds: None,
            };
        }
        let mean = resampled.iter().sum::<f64>() / resampled.len() as f64;
        let mut sorted = resampled;
        sorted.sort_by(f64::total_cmp);
        let bound = |share: f64| value + quantile(&sorted, share) - mean;
        Band {
            value,
            bounds: Some([bound(0.025), bound(0.975)]),
        }
    }
}

/// Linear between the sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let low = (at as usize).min(sorted.len() - 1);
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resample_is_as_large_as_its_set() {
        let drawn = Resamples::drawn(7, [50, 20], 30);
        for b in 0..30 {
            assert_eq!(drawn.counts(0, b).iter().sum::<u32>(), 50);
            assert_eq!(drawn.counts(1, b).iter().sum::<u32>(), 20);
        }
        assert_ne!(drawn.counts(0, 0), drawn.counts(0, 1));
        let other = Resamples::drawn(8, [50, 20], 30);
        assert_ne!(drawn.counts(0, 0), other.counts(0, 0));
    }

    #[test]
    fn a_band_lies_about_its_number() {
        let resampled: Vec<f64> = (0..=100).map(f64::from).collect();
        let band = Band::of(10.0, &resampled);
        assert_eq!(band.bounds, Some([10.0 + 2.5 - 50.0, 10.0 + 97.5 - 50.0]));
        assert_eq!(Band::of(1.0, &[2.0]).bounds, None);
        // What is not defined does not count.
        let odd = [f64::NAN, 1.0, f64::NEG_INFINITY, 1.0];
        assert_eq!(Band::of(2.0, &odd).bounds, Some([2.0, 2.0]));
        assert_eq!(Band::of(2.0, &odd[..3]).bounds, None);
    }

    #[test]
    fn a_resample_within_labels_has_as_many_of_each() {
        let labels = [3, 0, 3, 3, 0, 9];
        let drawn = Within::of(1, &labels, 20);
        for b in 0..20 {
            let counts = drawn.counts(b);
            for (label, n) in [(3, 3), (0, 2), (9, 1)] {
                let of_label = labels.iter().zip(&counts).filter(|(own, _)| **own == label);
                assert_eq!(of_label.map(|(_, n)| n).sum::<u32>(), n);
            }
        }
        assert!((1..20).any(|b| drawn.counts(b) != drawn.counts(0)));
    }
}
