//! The energy distance of two groups (Szekely and Rizzo, "Energy statistics", J. Stat. Plan. Inference 2013).

use super::{Band, Group, resample::Strata, squared_distance};
use std::ops::Range;

/// The distances between all members of two groups. The statistics are sums of these.
#[derive(Debug)]
pub struct Energy {
    strata: Strata,
    n_a: usize,
    n: usize,
    /// `[n, n]`, the first group's members first.
    distances: Vec<f32>,
    /// Sums of the rows.
    row_sums: Vec<f64>,
}

impl Energy {
    /// Measures all distances.
    ///
    /// # Panics
    /// If the groups' vectors have different lengths or a group has fewer than two.
    pub fn new(a: &Group, b: &Group) -> Self {
        assert_eq!(a.d(), b.d(), "vectors of different lengths");
        assert!(
            a.len() > 1 && b.len() > 1,
            "groups of {} and {}",
            a.len(),
            b.len()
        );
        let rows: Vec<&[f32]> = a.rows().chain(b.rows()).collect();
        let n = rows.len();
        let mut distances = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..i {
                let distance = squared_distance(rows[i], rows[j]).sqrt();
                distances[i * n + j] = distance;
                distances[j * n + i] = distance;
            }
        }
        let sum = |row: &[f32]| row.iter().copied().map(f64::from).sum();
        Self {
            strata: Strata::new(a.labels(), b.labels()),
            n_a: a.len(),
            n,
            row_sums: distances.chunks_exact(n).map(sum).collect(),
            distances,
        }
    }

    /// The energy distance `2 E|X - Y| - E|X - X'| - E|Y - Y'|`, by means over pairs of different members.
    ///
    /// It is unbiased: for groups of one distribution it is 0 on average, so it is negative about half of the time. Unit: that of
    /// the vectors. The square root of its expectation is a metric of distributions.
    pub fn distance(&self) -> f64 {
        let a: Vec<u32> = (0..self.n_a as u32).collect();
        self.between(&a)
    }

    /// The energy distance between these members, in ascending order, and all others.
    fn between(&self, a: &[u32]) -> f64 {
        // The sum over pairs within a; those across and within the others follow from the sums of rows.
        let (mut within, mut rows) = (0.0, 0.0);
        for (position, &i) in a.iter().enumerate() {
            let row = &self.distances[i as usize * self.n..][..self.n];
            let later = a[position + 1..].iter();
            within += later.map(|&j| f64::from(row[j as usize])).sum::<f64>();
            rows += self.row_sums[i as usize];
        }
        let across = rows - 2.0 * within;
        let others = 0.5 * self.row_sums.iter().sum::<f64>() - within - across;
        let (n, m) = (a.len() as f64, (self.n - a.len()) as f64);
        2.0 * (across / (n * m) - within / (n * (n - 1.0)) - others / (m * (m - 1.0)))
    }

    /// The energy distances of the groups and of `permutations` random relabelings within the classes, in this order.
    pub(super) fn relabeled(&self, permutations: u32, seed: u64) -> Vec<f64> {
        let relabeled =
            (0..permutations).map(|number| self.between(&self.strata.relabeling(seed, number)));
        std::iter::once(self.distance()).chain(relabeled).collect()
    }

    /// Sizes of the groups.
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.n_a, self.n - self.n_a]
    }

    /// Natural logarithm of the number of different relabelings.
    pub(super) fn ln_relabelings(&self) -> f64 {
        self.strata.ln_relabelings()
    }

    /// The energy distance with a bootstrap band.
    ///
    /// Pairs of a member drawn twice with itself are left out, which keeps the resampled values unbiased. Near 0 the band is too
    /// wide (the bootstrap adds a spread that a degenerate statistic does not have; Arcones and Gine, Ann. Stat. 1992): it shows a
    /// size, and a [`Test`](super::Test) decides whether there is a difference.
    pub fn band(&self, resamples: u32, level: f64, seed: u64) -> Band {
        // Compute several resamples side by side, so that it vectorizes.
        const K: usize = 8;
        let (mut of_one, mut values) = (Vec::new(), Vec::new());
        let mut counts = vec![[0.0; K]; self.n];
        for number in 0..resamples {
            self.strata.bootstrap(seed, number, &mut of_one);
            let k = number as usize % K;
            let each = counts.iter_mut().zip(&of_one);
            each.for_each(|(all, one)| all[k] = f64::from(*one));
            if k + 1 == K || number + 1 == resamples {
                values.extend(self.between_counted(&counts)[..=k].iter().flatten());
            }
        }
        Band::new(self.distance(), values, level)
    }

    /// The energy distances of the groups with each member as often as counted, for `K` counts; `None` if a group is one member
    /// only.
    fn between_counted<const K: usize>(&self, counts: &[[f64; K]]) -> [Option<f64>; K] {
        let row_sums = |i: usize, members: Range<usize>| -> [f64; K] {
            let row = &self.distances[i * self.n..][members.clone()];
            let mut sums = [0.0; K];
            for (distance, counts) in row.iter().zip(&counts[members]) {
                for k in 0..K {
                    sums[k] += counts[k] * f64::from(*distance);
                }
            }
            sums
        };
        let (mut within_a, mut within_b, mut across) = ([0.0; K], [0.0; K], [0.0; K]);
        let add = |sum: &mut [f64; K], i: usize, members: Range<usize>| {
            let of_row = row_sums(i, members);
            for k in 0..K {
                sum[k] += counts[i][k] * of_row[k];
            }
        };
        for i in 0..self.n_a {
            add(&mut within_a, i, 0..i);
        }
        for i in self.n_a..self.n {
            add(&mut across, i, 0..self.n_a);
            add(&mut within_b, i, self.n_a..i);
        }
        // Pairs of different members of a group, each once.
        let pairs = |group: &[[f64; K]], k: usize| {
            let n = group.len() as f64;
            0.5 * (n * n - group.iter().map(|c| c[k] * c[k]).sum::<f64>())
        };
        let (a, b) = counts.split_at(self.n_a);
        std::array::from_fn(|k| {
            let (pairs_a, pairs_b) = (pairs(a, k), pairs(b, k));
            let across = across[k] / (a.len() * b.len()) as f64;
            (pairs_a > 0.0 && pairs_b > 0.0)
                .then(|| 2.0 * across - within_a[k] / pairs_a - within_b[k] / pairs_b)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Test;
    use sit_engine::rng::{Stream, fill_normal};
    use std::f64::consts::PI;

    /// `n` vectors of normals about `mean` in every coordinate; draws of different numbers are independent.
    fn normals(number: u32, n: usize, d: usize, mean: f32) -> Vec<f32> {
        let mut x = vec![0.0; n * d];
        fill_normal(77, Stream::Noise, number, 0, &mut x);
        x.iter_mut().for_each(|x| *x += mean);
        x
    }

    fn groups(number: u32, n: usize, d: usize, shift: f32) -> Energy {
        let a = Group::unlabelled(normals(2 * number, n, d, 0.0), d);
        let b = Group::unlabelled(normals(2 * number + 1, n, d, shift), d);
        Energy::new(&a, &b)
    }

    /// `E|Z + shift|` of a normal of this deviation (the folded normal's mean).
    fn folded(shift: f64, deviation: f64) -> f64 {
        let z = shift / deviation;
        let erf = libm::erf(z / 2_f64.sqrt());
        deviation * (2.0 / PI).sqrt() * libm::exp(-0.5 * z * z) + shift * erf
    }

    fn exact(shift: f64) -> f64 {
        2.0 * folded(shift, 2_f64.sqrt()) - 2.0 * folded(0.0, 2_f64.sqrt())
    }

    #[test]
    fn distance_by_hand() {
        let a = Group::unlabelled(vec![0.0, 3.0], 1);
        let b = Group::unlabelled(vec![1.0, 1.0, 7.0], 1);
        // Across: (1 + 1 + 7 + 2 + 2 + 4) / 6; within: 3 and (0 + 6 + 6) / 3.
        let expected = 2.0 * 17.0 / 6.0 - 3.0 - 4.0;
        assert!((Energy::new(&a, &b).distance() - expected).abs() < 1e-12);
        let flat = Group::unlabelled(vec![0.0, 0.0, 3.0, 4.0], 2);
        assert_eq!(Energy::new(&flat, &flat).distances[1], 5.0);
    }

    #[test]
    fn distance_is_the_gaussian_one_without_bias() {
        for shift in [0.0, 0.5, 2.0] {
            let values: Vec<f64> = (0..300)
                .map(|k| groups(k, 12, 1, shift as f32).distance())
                .collect();
            let mean = values.iter().sum::<f64>() / 300.0;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 299.0;
            let z = (mean - exact(shift)) / (variance / 300.0).sqrt();
            assert!(
                z.abs() < 4.0,
                "shift {shift}: {mean}, exact {}, {z}",
                exact(shift)
            );
        }
    }

    /// With so few members there are 70 relabelings; the p-value is near the share of those at least as far apart.
    #[test]
    fn p_value_is_the_share_of_relabelings() {
        let energy = groups(3, 4, 2, 0.8);
        let all = (0_u32..256).filter(|set| set.count_ones() == 4);
        let as_far = all.filter(|set| {
            let a: Vec<u32> = (0..8).filter(|i| set >> i & 1 == 1).collect();
            energy.between(&a) >= energy.distance() - 1e-9
        });
        let share = as_far.count() as f64 / 70.0;
        let test = |permutations, seed| Test::of(std::slice::from_ref(&energy), permutations, seed);
        let found = test(4000, 1);
        assert!((found.ln_relabelings - 70_f64.ln()).abs() < 1e-12);
        let deviation = (share * (1.0 - share) / 4000.0).sqrt();
        assert!(
            (found.p_value - share).abs() < 4.0 * deviation + 1e-3,
            "{found:?}, {share}"
        );
        assert_eq!(test(100, 1), test(100, 1));
        assert_ne!(test(100, 1).p_value, test(100, 2).p_value);
    }

    /// Under equal distributions p-values are uniform: the number of those at most 5 % and 50 % is binomial.
    #[test]
    fn the_level_holds_and_a_shift_is_found() {
        const N: u32 = 400;
        let p_values = |shift| -> Vec<f64> {
            (0..N)
                .map(|k| Test::of(&[groups(k, 16, 2, shift)], 99, u64::from(k)).p_value)
                .collect()
        };
        let share =
            |p: &[f64], level: f64| p.iter().filter(|p| **p <= level).count() as f64 / f64::from(N);
        let null = p_values(0.0);
        for level in [0.05, 0.5] {
            let deviation = (level * (1.0 - level) / f64::from(N)).sqrt();
            let got = share(&null, level);
            assert!(
                (got - level).abs() < 4.0 * deviation,
                "{got} at level {level}"
            );
        }
        let power = share(&p_values(1.0), 0.05);
        assert!(power > 0.9, "{power}");
    }

    /// Classes far apart hide a shift within them, unless members are relabeled within classes only.
    #[test]
    fn classes_do_not_hide_a_shift_within_them() {
        let lane = |number, shift: f32| {
            let mut x = normals(number, 40, 2, 0.0);
            let labels: Vec<u32> = (0..40).map(|i| i % 4).collect();
            for (row, &label) in x.chunks_exact_mut(2).zip(&labels) {
                row[0] += 40.0 * label as f32 + shift;
            }
            (x, labels)
        };
        let ((a, labels), (b, _)) = (lane(0, 0.0), lane(1, 1.5));
        let stratified = Energy::new(
            &Group::new(a.clone(), 2, labels.clone()),
            &Group::new(b.clone(), 2, labels),
        );
        let blind = Energy::new(&Group::unlabelled(a, 2), &Group::unlabelled(b, 2));
        assert_eq!(stratified.distance(), blind.distance());
        let p_value = |energy| Test::of(&[energy], 199, 3).p_value;
        let (with, without) = (p_value(stratified), p_value(blind));
        assert!(with <= 0.01 && without > 0.2, "{with} {without}");
    }

    /// Lanes from the same noise are too alike for a test of independent groups; their halves are independent.
    #[test]
    fn halves_of_lanes_from_the_same_noise_keep_the_level() {
        let (mut whole, mut halves) = (0, 0);
        for k in 0..200 {
            let noise = normals(2 * k, 32, 2, 0.0);
            let extra = normals(2 * k + 1, 32, 2, 0.0);
            // The same marginal, correlated 0.95 with the first lane.
            let other = noise
                .iter()
                .zip(&extra)
                .map(|(x, e)| 0.95 * x + 0.0975_f32.sqrt() * e);
            let (a, b) = (
                Group::unlabelled(noise.clone(), 2),
                Group::unlabelled(other.collect(), 2),
            );
            whole += usize::from(Test::of(&[Energy::new(&a, &b)], 99, 5).p_value <= 0.5);
            let (a, b) = crate::stats::independent_halves(&a, &b);
            halves += usize::from(Test::of(&[Energy::new(&a, &b)], 99, 5).p_value <= 0.5);
        }
        assert!(whole < 20, "{whole} of 200 at level 0.5");
        assert!((72..=128).contains(&halves), "{halves} of 200 at level 0.5");
    }

    /// The 90 % band holds the true distance about that often, and at 0 at least that often.
    #[test]
    fn the_band_covers_the_true_distance() {
        let coverage = |shift: f64| {
            let covered = (0..100).filter(|&k| {
                let band = groups(1000 + k, 32, 1, shift as f32).band(200, 0.9, u64::from(k));
                (band.low..=band.high).contains(&exact(shift))
            });
            covered.count()
        };
        let (far, zero) = (coverage(1.0), coverage(0.0));
        assert!((79..=98).contains(&far), "{far} of 100");
        assert!(zero >= 85, "{zero} of 100");
    }
}
