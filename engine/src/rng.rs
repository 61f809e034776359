//! Random numbers as a function of (seed, stream, step, index). There is no state, so a value does not depend on how a batch is
//! split, on the platform, or on where a run was resumed.
//!
//! The generator is Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011). The seed is
//! its key; its 128-bit counter is `[block low, block high, step, stream]`. Block `i` holds the uniforms, or the normals,
//! of index `2 i` and `2 i + 1`. Elementary functions come from `libm`, whose results are the same everywhere.

mod brownian;

#[doc(hidden)]
pub use brownian::fill_brownian;

use rand::{TryRng, seq::SliceRandom};
use std::convert::Infallible;

/// The purpose of a draw; draws of different streams are independent. The numbers determine the values of a seed: add new ones,
/// never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum Stream {
    /// Initial weights; `step` is the parameter's number.
    Init = 0,
    /// Training times.
    Time = 1,
    /// Training noise `x0`.
    Noise = 2,
    /// Labels replaced by the null class.
    LabelDrop = 3,
    /// Horizontal flips.
    Flip = 4,
    /// Data order; `step` is the epoch.
    Shuffle = 5,
    /// The initial noise of a sample.
    SampleNoise = 6,
    /// The noise of SDE steps.
    SdeNoise = 7,
    /// The noise of SDE steps on a path that finer steps share; `step` is a node of the Brownian tree.
    Brownian = 8,
    /// Points of a synthetic data set; `step` is the number of the coordinate's draw.
    Toy = 9,
    /// Relabelings and bootstrap samples; `step` is the number of the resample.
    Resample = 10,
    /// Random directions; `step` is the number of the direction.
    Direction = 11,
    /// Further draws of an objective of your own; `step` tells them apart.
    Objective = 12,
    /// Probes of the trace of a Jacobian; `step` is the number of the probe.
    Probe = 16,
    /// Where in its level a value of an image lies.
    Dequantize = 17,
    /// Noise that a loss by time is measured with; `step` is the number of the time.
    LossNoise = 18,
    /// Which image of another data set stands in the place of noise; `step` is 1 for validation.
    Base = 19,
    /// Latents that are drawn from the posterior of an image.
    Posterior = 20,
    /// Classes of images that are sampled.
    SampleLabel = 21,
}

/// The ten-round Philox4x32 bijection of `counter` under `key`, as in the paper's Random123 library.
pub(crate) fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    for _ in 0..10 {
        let p0 = MULTIPLIERS[0] * u64::from(c0);
        let p1 = MULTIPLIERS[1] * u64::from(c2);
        (c0, c1, c2, c3) = (
            (p1 >> 32) as u32 ^ c1 ^ k0,
            p1 as u32,
            (p0 >> 32) as u32 ^ c3 ^ k1,
            p0 as u32,
        );
        (k0, k1) = (k0.wrapping_add(WEYL[0]), k1.wrapping_add(WEYL[1]));
    }
    [c0, c1, c2, c3]
}

fn block_words(seed: u64, stream: Stream, step: u32, block: u64) -> [u32; 4] {
    let counter = [block as u32, (block >> 32) as u32, step, stream as u32];
    philox4x32_10(counter, [seed as u32, (seed >> 32) as u32])
}

/// Two 64-bit words of one block.
fn block_pair(seed: u64, stream: Stream, step: u32, block: u64) -> [u64; 2] {
    let [a, b, c, d] = block_words(seed, stream, step, block).map(u64::from);
    [a | b << 32, c | d << 32]
}

const TWO_POW_MINUS_53: f64 = 1.0 / (1_u64 << 53) as f64;

/// A uniform number in `[0, 1)`, a multiple of 2^-53.
pub fn uniform(seed: u64, stream: Stream, step: u32, index: u64) -> f64 {
    (block_pair(seed, stream, step, index / 2)[(index % 2) as usize] >> 11) as f64
        * TWO_POW_MINUS_53
}

/// A standard normal number, by the Box-Muller transform (1958); its magnitude is at most 8.6.
pub fn normal(seed: u64, stream: Stream, step: u32, index: u64) -> f64 {
    normal_pair(seed, stream, step, index / 2)[(index % 2) as usize]
}

/// `sqrt(-2 ln u) (cos a, sin a)` with `u` uniform in `(0, 1]` and `a` uniform on the circle.
fn normal_pair(seed: u64, stream: Stream, step: u32, block: u64) -> [f64; 2] {
    let [w0, w1] = block_pair(seed, stream, step, block);
    let radius = libm::sqrt(-2.0 * libm::log(((w0 >> 11) + 1) as f64 * TWO_POW_MINUS_53));
    // Two bits choose the quarter of the circle and 53 the angle about its middle: sine and cosine then need no argument
    // reduction.
    let fraction = (w1 << 2 >> 11) as f64 * TWO_POW_MINUS_53 - 0.5;
    let (sin, cos) = libm::sincos(fraction * std::f64::consts::FRAC_PI_2);
    let (half_turn, quarter_turn) = (w1 >> 63 == 1, w1 >> 62 & 1 == 1);
    let radius = if half_turn { -radius } else { radius };
    if quarter_turn {
        [radius * -sin, radius * cos]
    } else {
        [radius * cos, radius * sin]
    }
}

/// Fills `out` with [`normal`] of index `first_index`, `first_index + 1`, ..., each rounded to f32.
pub fn fill_normal(seed: u64, stream: Stream, step: u32, first_index: u64, out: &mut [f32]) {
    // An odd first index is the second half of its block.
    let n_odd = (first_index % 2) as usize;
    let (head, rest) = out.split_at_mut(n_odd.min(out.len()));
    for x in head {
        *x = normal(seed, stream, step, first_index) as f32;
    }
    for (block, pair) in (first_index.div_ceil(2)..).zip(rest.chunks_mut(2)) {
        for (x, z) in pair.iter_mut().zip(normal_pair(seed, stream, step, block)) {
            *x = z as f32;
        }
    }
}

/// The order of `n` items in an epoch: a uniformly random permutation of `0..n`, a function of (seed, epoch).
#[doc(hidden)]
pub fn permutation(seed: u64, epoch: u32, n: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    order.shuffle(&mut StreamRng::new(seed, Stream::Shuffle, epoch));
    order
}

/// The words of one (seed, stream, step) in sequence, as a generator for the `rand` crate's distributions.
///
/// It reads the same blocks as the indexed functions, so use only one of the two for a (stream, step).
#[derive(Debug, Clone)]
pub(crate) struct StreamRng {
    seed: u64,
    stream: Stream,
    step: u32,
    next_block: u64,
    words: [u32; 4],
    n_used: usize,
}

impl StreamRng {
    /// The generator at its first word.
    pub(crate) fn new(seed: u64, stream: Stream, step: u32) -> Self {
        Self {
            seed,
            stream,
            step,
            next_block: 0,
            words: [0; 4],
            n_used: 4,
        }
    }

    fn next_word(&mut self) -> u32 {
        if self.n_used == self.words.len() {
            self.words = block_words(self.seed, self.stream, self.step, self.next_block);
            self.next_block += 1;
            self.n_used = 0;
        }
        self.n_used += 1;
        self.words[self.n_used - 1]
    }
}

impl TryRng for StreamRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_word())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let low = u64::from(self.next_word());
        Ok(low | u64::from(self.next_word()) << 32)
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(4) {
            chunk.copy_from_slice(&self.next_word().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, RngExt};

    #[test]
    fn philox_matches_the_published_vectors() {
        let cases = [
            (
                [0; 4],
                [0; 2],
                [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
            ),
            (
                [u32::MAX; 4],
                [u32::MAX; 2],
                [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
            ),
            (
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(
                philox4x32_10(counter, key),
                expected,
                "counter {counter:x?} key {key:x?}"
            );
        }
    }

    #[test]
    fn every_coordinate_changes_the_value() {
        let base = uniform(1, Stream::Time, 2, 3);
        let others = [
            uniform(0, Stream::Time, 2, 3),
            uniform(1 | 1 << 40, Stream::Time, 2, 3),
            uniform(1, Stream::Noise, 2, 3),
            uniform(1, Stream::Time, 1, 3),
            uniform(1, Stream::Time, 2, 2),
            uniform(1, Stream::Time, 2, 3 | 1 << 40),
        ];
        assert!(
            others.iter().all(|&other| other != base),
            "{base} {others:?}"
        );
    }

    #[test]
    fn fill_equals_the_scalar_function_for_any_split() {
        let expected: Vec<u32> = (5..25)
            .map(|i| (normal(9, Stream::Noise, 4, i) as f32).to_bits())
            .collect();
        for cut in 0..=expected.len() {
            let mut out = vec![f32::NAN; expected.len()];
            let (left, right) = out.split_at_mut(cut);
            fill_normal(9, Stream::Noise, 4, 5, left);
            fill_normal(9, Stream::Noise, 4, 5 + cut as u64, right);
            assert_eq!(
                out.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
                expected,
                "cut at {cut}"
            );
        }
    }

    /// Runs are reproduced from their seeds, so the values of a seed must never change.
    #[test]
    fn values_are_pinned() {
        assert_eq!(uniform(42, Stream::Time, 0, 1), 0.7850700722375236);
        assert_eq!(normal(42, Stream::SampleNoise, 3, 7), 2.6983683824845555);
        assert_eq!(permutation(42, 1, 10), [8, 1, 3, 0, 5, 2, 7, 9, 4, 6]);
    }

    #[test]
    fn uniforms_fill_the_unit_interval() {
        const N: usize = 100_000;
        let mut counts = [0_u32; 100];
        let mut sum = 0.0;
        for i in 0..N {
            let u = uniform(3, Stream::Time, 0, i as u64);
            assert!((0.0..1.0).contains(&u), "{u}");
            counts[(u * 100.0) as usize] += 1;
            sum += u;
        }
        // Chi-square of 99 degrees of freedom: mean 99, standard deviation 14.1; five deviations either way.
        let chi_square: f64 = counts
            .iter()
            .map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0)
            .sum();
        assert!((30.0..170.0).contains(&chi_square), "{chi_square}");
        let z = (sum / N as f64 - 0.5) * (12.0 * N as f64).sqrt();
        assert!(z.abs() < 5.0, "mean is {z} deviations off");
    }

    #[test]
    fn normals_have_the_moments_and_no_correlation_in_a_pair() {
        const N: usize = 200_000;
        let mut x = vec![0.0_f32; N];
        fill_normal(11, Stream::SdeNoise, 0, 0, &mut x);
        let mean_of =
            |f: &dyn Fn(f64) -> f64| x.iter().map(|&v| f(f64::from(v))).sum::<f64>() / N as f64;
        // (moment, expected, variance of one term); the mean of N terms is within five standard errors.
        let moments = [
            ("1", mean_of(&|v| v), 0.0, 1.0),
            ("2", mean_of(&|v| v.powi(2)), 1.0, 2.0),
            ("3", mean_of(&|v| v.powi(3)), 0.0, 15.0),
            ("4", mean_of(&|v| v.powi(4)), 3.0, 96.0),
            (
                "P(|x| > 2)",
                mean_of(&|v| f64::from(u8::from(v.abs() > 2.0))),
                0.045500264,
                0.0435,
            ),
        ];
        for (name, got, expected, variance) in moments {
            let z = (got - expected) / (variance / N as f64).sqrt();
            assert!(z.abs() < 5.0, "moment {name}: {got}, {z} deviations off");
        }
        let pair_sum: f64 = x.chunks(2).map(|p| f64::from(p[0]) * f64::from(p[1])).sum();
        let z = pair_sum / (N as f64 / 2.0).sqrt();
        assert!(z.abs() < 5.0, "pair correlation {z} deviations off");
        let quadrants = x.chunks(2).fold([0_u32; 4], |mut counts, p| {
            counts[usize::from(p[0] > 0.0) * 2 + usize::from(p[1] > 0.0)] += 1;
            counts
        });
        let spread = (N as f64 / 2.0 * 0.25 * 0.75).sqrt();
        for count in quadrants {
            let z = (f64::from(count) - N as f64 / 8.0) / spread;
            assert!(z.abs() < 5.0, "quadrants {quadrants:?}");
        }
    }

    #[test]
    fn a_permutation_holds_every_item_once_and_depends_on_seed_and_epoch() {
        for n in [0, 1, 2, 1000] {
            let mut sorted = permutation(7, 0, n);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..n).collect::<Vec<_>>());
        }
        let base = permutation(7, 0, 1000);
        assert_ne!(base, permutation(7, 1, 1000));
        assert_ne!(base, permutation(8, 0, 1000));
        assert_eq!(base, permutation(7, 0, 1000));
    }

    #[test]
    fn every_permutation_of_four_is_equally_likely() {
        const N: u32 = 24_000;
        let mut counts = std::collections::HashMap::new();
        for epoch in 0..N {
            *counts.entry(permutation(5, epoch, 4)).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        // Chi-square of 23 degrees of freedom: mean 23, standard deviation 6.8.
        let chi_square: f64 = counts
            .values()
            .map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0)
            .sum();
        assert!(chi_square < 23.0 + 5.0 * 6.8, "{chi_square}");
    }

    #[test]
    fn the_generator_walks_the_blocks_in_order() {
        let mut rng = StreamRng::new(13, Stream::Shuffle, 2);
        let words: Vec<u32> = (0..2)
            .flat_map(|block| block_words(13, Stream::Shuffle, 2, block))
            .collect();
        assert_eq!((0..8).map(|_| rng.next_u32()).collect::<Vec<_>>(), words);
        let mut rng = StreamRng::new(13, Stream::Shuffle, 2);
        assert_eq!(rng.next_u64(), block_pair(13, Stream::Shuffle, 2, 0)[0]);
        let mut bytes = [0; 6];
        rng.fill_bytes(&mut bytes);
        assert_eq!(bytes[..4], words[2].to_le_bytes());
        assert_eq!(bytes[4..], words[3].to_le_bytes()[..2]);
        assert!((0..1000).all(|_| (3..9).contains(&rng.random_range(3..9))));
    }
}
