//! Relabelings and bootstrap samples of two groups.

use sit_engine::rng::{Stream, uniform};
use std::collections::BTreeMap;

/// The members of two groups, numbered consecutively (first group, then second group), class by class.
#[derive(Debug)]
pub(super) struct Strata {
    /// Members of a class and how many of them are in the first group.
    classes: Vec<(Vec<u32>, usize)>,
    n_a: usize,
    n_b: usize,
}

impl Strata {
    pub fn new(a: &[u32], b: &[u32]) -> Self {
        let mut classes = BTreeMap::<u32, (Vec<u32>, usize)>::new();
        for (i, &label) in a.iter().chain(b).enumerate() {
            let (members, n_a) = classes.entry(label).or_default();
            members.push(i as u32);
            *n_a += usize::from(i < a.len());
        }
        Self {
            classes: classes.into_values().collect(),
            n_a: a.len(),
            n_b: b.len(),
        }
    }

    /// Natural logarithm of the number of relabelings.
    pub fn ln_relabelings(&self) -> f64 {
        let ln_binomial = |(members, k): &(Vec<u32>, usize)| -> f64 {
            let n = members.len();
            (1..=*k).map(|i| ((n - k + i) as f64 / i as f64).ln()).sum()
        };
        self.classes.iter().map(ln_binomial).sum()
    }

    /// Relabeling number `number`: a uniformly random choice of as many members of each class as are in the first group,
    /// ascending.
    pub fn relabeling(&self, seed: u64, number: u32) -> Vec<u32> {
        let mut chosen = Vec::with_capacity(self.n_a);
        let mut n_drawn = 0;
        for (members, n_a) in &self.classes {
            let mut order = members.clone();
            // The first part of a Fisher-Yates shuffle.
            for i in 0..*n_a {
                order.swap(i, i + below(seed, number, &mut n_drawn, members.len() - i));
            }
            chosen.extend_from_slice(&order[..*n_a]);
        }
        chosen.sort_unstable();
        chosen
    }

    /// How often each member is in bootstrap sample number `number`: each group drawn from itself with replacement.
    ///
    /// It is not drawn by class: a class of a few members would be drawn almost unchanged, and the band would be too narrow. If
    /// classes differ, the band is rather too wide.
    pub fn bootstrap(&self, seed: u64, number: u32, counts: &mut Vec<u32>) {
        counts.clear();
        counts.resize(self.n_a + self.n_b, 0);
        let (a, b) = counts.split_at_mut(self.n_a);
        let mut n_drawn = 0;
        for group in [a, b] {
            for _ in 0..group.len() {
                group[below(seed, number, &mut n_drawn, group.len())] += 1;
            }
        }
    }
}

/// A random integer below `n`; the n-th draw of a resample.
fn below(seed: u64, number: u32, n_drawn: &mut u64, n: usize) -> usize {
    *n_drawn += 1;
    (uniform(seed, Stream::Resample, number, *n_drawn - 1) * n as f64) as usize
}

/// An estimate with a bootstrap band. The stated share of the values that the estimate has on samples drawn from the groups with
/// replacement is between `low` and `high` (percentile method, Efron 1979).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// The estimate.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The stated share, such as 0.9.
    pub level: f64,
}

impl Band {
    /// The percentiles of the resampled values.
    pub(super) fn new(estimate: f64, mut values: Vec<f64>, level: f64) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        let tail = 0.5 * (1.0 - level);
        Self {
            estimate,
            low: quantile(&values, tail),
            high: quantile(&values, 1.0 - tail),
            level,
        }
    }
}

/// The quantile of sorted values, linear between them; NaN of none.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = share * last as f64;
    let left = (position as usize).min(last);
    let fraction = position - left as f64;
    sorted[left] * (1.0 - fraction) + sorted[(left + 1).min(last)] * fraction
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_relabeling_within_classes_is_equally_likely() {
        // Class 0 has members 0, 2 and 3, one of them in the first group; class 1 has 1, 4, 5, 6, one of them too.
        let strata = Strata::new(&[0, 1], &[0, 0, 1, 1, 1]);
        assert!((strata.ln_relabelings() - 12.0_f64.ln()).abs() < 1e-12);
        const N: u32 = 12_000;
        let mut counts = HashMap::new();
        for number in 0..N {
            let chosen = strata.relabeling(5, number);
            assert!(chosen.is_sorted() && chosen.len() == 2, "{chosen:?}");
            assert_eq!(chosen.iter().filter(|i| [0, 2, 3].contains(*i)).count(), 1);
            *counts.entry(chosen).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 12);
        // Chi-square of 11 degrees of freedom: mean 11, standard deviation 4.7.
        let chi_square: f64 = counts
            .values()
            .map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0)
            .sum();
        assert!(chi_square < 11.0 + 5.0 * 4.7, "{chi_square}");
    }

    #[test]
    fn bootstrap_samples_have_the_groups_sizes_and_every_member_its_share() {
        let strata = Strata::new(&[0, 1, 1], &[0; 5]);
        let (mut counts, mut sums) = (Vec::new(), [0_u32; 8]);
        for number in 0..8000 {
            strata.bootstrap(1, number, &mut counts);
            assert_eq!(counts[..3].iter().sum::<u32>(), 3);
            assert_eq!(counts[3..].iter().sum::<u32>(), 5);
            sums.iter_mut().zip(&counts).for_each(|(s, c)| *s += c);
        }
        for sum in sums {
            // A count's variance is below 1.
            assert!(
                (f64::from(sum) - 8000.0).abs() < 5.0 * 8000_f64.sqrt(),
                "{sums:?}"
            );
        }
    }

    #[test]
    fn quantiles_are_linear_between_values() {
        let values = [1.0, 2.0, 4.0];
        for (share, expected) in [(0.0, 1.0), (0.25, 1.5), (0.5, 2.0), (0.75, 3.0), (1.0, 4.0)] {
            assert_eq!(quantile(&values, share), expected);
        }
        assert!(quantile(&[], 0.5).is_nan());
        let band = Band::new(2.5, vec![4.0, 1.0, 2.0], 0.5);
        assert_eq!((band.low, band.estimate, band.high), (1.5, 2.5, 3.0));
    }
}
