//! The permutation test of two groups (Szekely and Rizzo, "Testing for equal distributions in high dimension", InterStat 2004), and
//! what it would find.

use super::{Energy, Group, resample::Strata};
use sit_engine::rng::{Stream, fill_normal};

/// The result of a permutation test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    /// Chance of groups at least as far apart if both are of one distribution in each class.
    pub p_value: f64,
    /// Sizes of the groups.
    pub sizes: [usize; 2],
    /// Natural logarithm of the number of different relabelings: no p-value can be below its inverse.
    pub ln_relabelings: f64,
    /// Number of random relabelings: no p-value can be below `1 / (1 + permutations)`.
    pub permutations: u32,
    /// The same chance by the first distance alone.
    pub first_p_value: f64,
}

impl Test {
    /// Whether it finds a difference at a level, and the first distance alone finds none.
    pub fn is_fine(&self, level: f64) -> bool {
        self.p_value <= level && self.first_p_value > level
    }
}

impl Test {
    /// The test of equal distributions in every class by one or several energy distances of the same members: members are relabeled at
    /// random within their class. Each distance is measured in standard deviations from its mean over the relabelings, and the largest one
    /// counts.
    ///
    /// Exact at any size if all members are independent: at level `l` it rejects equal distributions with chance at most `l`.
    /// The p-value is `(1 + #{relabelings at least as far apart}) / (1 + permutations)` (Phipson and Smyth, SAGMB 2010).
    ///
    /// # Panics
    /// Without a distance.
    pub fn of(distances: &[Energy], permutations: u32, seed: u64) -> Self {
        // The groups as they are come first. They count in mean and deviation like every relabeling, which keeps the test exact.
        let mut largest = vec![f64::NEG_INFINITY; 1 + permutations as usize];
        let mut first_p_value = 1.0;
        for (number, energy) in distances.iter().enumerate() {
            let values = energy.relabeled(permutations, seed);
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            let deviation = variance.sqrt().max(f64::MIN_POSITIVE);
            let scaled = values.iter().map(|v| (v - mean) / deviation);
            largest
                .iter_mut()
                .zip(scaled)
                .for_each(|(l, s)| *l = l.max(s));
            if number == 0 {
                first_p_value = p_value(&largest);
            }
        }
        Test {
            p_value: p_value(&largest),
            sizes: distances[0].sizes(),
            ln_relabelings: distances[0].ln_relabelings(),
            permutations,
            first_p_value,
        }
    }

    /// The test by the distance of the values as they are, which shapes decide, and by that of the values over their own deviation, in
    /// which a little noise in places that hardly vary counts as much. Points in the plane have no such places.
    ///
    /// # Panics
    /// As [`Energy::new`].
    pub fn of_groups(a: &Group, b: &Group, permutations: u32, seed: u64) -> Self {
        let mut distances = vec![Energy::new(a, b)];
        if a.d() > 2 {
            let [a, b] = over_deviation([a, b]);
            distances.push(Energy::new(&a, &b));
        }
        Test::of(&distances, permutations, seed)
    }
}

/// The share of values at least as large as the first one, which counts itself.
fn p_value(values: &[f64]) -> f64 {
    // Equal distances may differ by rounding, because sums are taken in another order; they count.
    let least = values[0] - 1e-6;
    let n_as_far = values.iter().filter(|value| **value >= least).count();
    n_as_far as f64 / values.len() as f64
}

/// The values of both groups over the deviation that each coordinate has in both together. Coordinates that hardly vary are not blown up
/// without limit.
fn over_deviation(groups: [&Group; 2]) -> [Group; 2] {
    let d = groups[0].d();
    let n = groups.iter().map(|g| g.len()).sum::<usize>() as f64;
    let (mut sums, mut squares) = (vec![0.0_f64; d], vec![0.0_f64; d]);
    for row in groups.iter().flat_map(|g| g.rows()) {
        for (k, x) in row.iter().map(|x| f64::from(*x)).enumerate() {
            sums[k] += x;
            squares[k] += x * x;
        }
    }
    let variance = |(sum, square): (&f64, &f64)| (square / n - (sum / n).powi(2)).max(0.0);
    let variances: Vec<f64> = sums.iter().zip(&squares).map(variance).collect();
    // A hundredth of the deviation of all values.
    let floor = 1e-2 * (variances.iter().sum::<f64>() / d as f64).sqrt() + 1e-6;
    let factors: Vec<f32> = variances
        .iter()
        .map(|v| (1.0 / (v.sqrt() + floor)) as f32)
        .collect();
    groups.map(|group| {
        let rows = group.rows().flat_map(|row| row.iter().zip(&factors));
        let x = rows.map(|(x, factor)| x * factor).collect();
        Group::new(x, d, group.labels().to_vec())
    })
}

/// Sizes of added noise that are tried, as shares of the deviation of all values.
pub const SIZES: [f32; 6] = [0.02, 0.05, 0.1, 0.2, 0.4, 0.8];

/// Trials of one size.
pub const TRIALS: u32 = 20;

/// Share of the trials in which a difference is found that the test can find.
pub const POWER: f64 = 0.8;

/// Permutations of a trial.
const TRIAL_PERMUTATIONS: u32 = 59;

/// Finds the least noise that a test would find, by trials: groups are drawn from both groups together, and one of them gets noise.
pub struct Detecting {
    members: Group,
    strata: Strata,
    n_a: usize,
    deviation: f32,
    level: f64,
    seed: u64,
    trials: u32,
    found: u32,
    size: usize,
}

impl Detecting {
    /// No trials yet, for a test of these groups at this level.
    pub fn new(a: &Group, b: &Group, level: f64, seed: u64) -> Self {
        let x: Vec<f32> = a.values().iter().chain(b.values()).copied().collect();
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / x.len() as f32;
        Detecting {
            members: Group::new(x, a.d(), [a.labels(), b.labels()].concat()),
            strata: Strata::new(a.labels(), b.labels()),
            n_a: a.len(),
            deviation: variance.sqrt(),
            level,
            seed,
            trials: 0,
            found: 0,
            size: 0,
        }
    }

    /// What was found: the least of [`SIZES`] which the test finds in at least [`POWER`] of the trials, `None` within if it finds none;
    /// `None` before enough trials were made.
    pub fn result(&self) -> Option<Option<f32>> {
        if self.size == SIZES.len() {
            return Some(None);
        }
        let is_found = f64::from(self.found) >= POWER * f64::from(TRIALS);
        is_found.then(|| Some(SIZES[self.size]))
    }

    /// Makes one trial, of the next size if the last one is not found often enough.
    pub fn trial(&mut self) {
        if self.result().is_some() {
            return;
        }
        let number = self.size as u32 * TRIALS + self.trials;
        let chosen = self.strata.relabeling(self.seed, number);
        let is_first = |i: usize| chosen.binary_search(&(i as u32)).is_ok();
        let a = self.members.select(is_first);
        let b = self.members.select(|i| !is_first(i));
        debug_assert_eq!(a.len(), self.n_a);
        let mut noise = vec![0.0; b.values().len()];
        fill_normal(self.seed, Stream::Resample, number, 1 << 40, &mut noise);
        let std = SIZES[self.size] * self.deviation;
        let noisy = b.values().iter().zip(&noise).map(|(x, e)| x + std * e);
        let b = Group::new(noisy.collect(), b.d(), b.labels().to_vec());
        let test = Test::of_groups(&a, &b, TRIAL_PERMUTATIONS, self.seed + u64::from(number));
        self.trials += 1;
        self.found += u32::from(test.p_value <= self.level);
        let missed = f64::from(self.trials - self.found);
        if missed > (1.0 - POWER) * f64::from(TRIALS) + 1e-9 {
            (self.trials, self.found) = (0, 0);
            self.size += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` pictures of 16 values, of which the last 12 hardly vary, and noise of deviation `noise` in all of them.
    fn pictures(number: u32, n: usize, noise: f32) -> Group {
        let mut x = vec![0.0; 16 * n];
        fill_normal(80, Stream::Noise, number, 0, &mut x);
        let mut more = vec![0.0; 16 * n];
        fill_normal(80, Stream::Noise, number, 1 << 30, &mut more);
        for (i, (x, e)) in x.iter_mut().zip(&more).enumerate() {
            let scale = if i % 16 < 4 { 1.0 } else { 0.01 };
            *x = scale * *x + noise * e;
        }
        Group::unlabelled(x, 16)
    }

    #[test]
    fn noise_in_places_that_hardly_vary_is_found_and_the_level_holds() {
        let share = |noise: f32| {
            let found = (0..100).filter(|k| {
                let (a, b) = (pictures(2 * k, 24, 0.0), pictures(2 * k + 1, 24, noise));
                let test = Test::of_groups(&a, &b, 59, u64::from(*k));
                test.p_value <= 0.05 && (noise == 0.0 || test.is_fine(0.05))
            });
            found.count()
        };
        let by_values = (0..100).filter(|k| {
            let (a, b) = (pictures(2 * k, 24, 0.0), pictures(2 * k + 1, 24, 0.05));
            Test::of(&[Energy::new(&a, &b)], 59, u64::from(*k)).p_value <= 0.05
        });
        let (none, some, by_values) = (share(0.0), share(0.05), by_values.count());
        // Five of a hundred by chance, with a deviation of 2.2.
        assert!(none <= 13, "{none} of 100 without a difference");
        assert!(
            some >= 80 && by_values <= 20,
            "{some} and {by_values} of 100"
        );
    }

    #[test]
    fn what_a_test_would_find_shrinks_with_the_number_of_samples() {
        let least = |n: usize| {
            let (a, b) = (pictures(0, n, 0.0), pictures(1, n, 0.0));
            let mut detecting = Detecting::new(&a, &b, 0.05, 3);
            let mut trials = 0;
            while detecting.result().is_none() {
                detecting.trial();
                trials += 1;
            }
            assert!(trials >= 16 && trials <= TRIALS * SIZES.len() as u32);
            detecting.result().flatten().unwrap()
        };
        let (few, many) = (least(16), least(96));
        assert!(many <= few && many <= 0.05, "{few} and {many}");
    }
}
