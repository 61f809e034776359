//! Brownian motion that can be refined consistently: Levy's construction (P. Levy 1948; Karatzas and Shreve, section 2.3) with its
//! increments scaled to unit variance.
//!
//! Step `k` of `2^L` equal steps is the leaf `k` of a binary tree. With independent standard normal `z`,
//!
//! ```text
//! n_0[0] = z_0,    n_l[2j] = (n_{l-1}[j] + z_{l,j}) / sqrt 2,    n_l[2j+1] = (n_{l-1}[j] - z_{l,j}) / sqrt 2.
//! ```
//!
//! The `n_l` of one level are independent standard normals, as a rotation of independent normals, and
//! `n_{l-1}[j] = (n_l[2j] + n_l[2j+1]) / sqrt 2`: the increment `sqrt(dt) n` of a step is the sum of the increments of its halves.

use super::{Stream, normal_pair};
use std::f64::consts::FRAC_1_SQRT_2;

/// Fills `out` with the scaled increments over step `k` of `2^level` of the Brownian motions with indices `first_index`,
/// `first_index + 1`, ..., each rounded to f32. The cost is `level + 1` normals per element.
///
/// # Panics
/// If `level` is above 31 or `k` is not below `2^level`.
pub fn fill_brownian(seed: u64, level: u32, k: u32, first_index: u64, out: &mut [f32]) {
    assert!(
        level < 32 && u64::from(k) < 1 << level,
        "step {k} of level {level}"
    );
    let mut rest = out;
    let mut index = first_index;
    while !rest.is_empty() {
        let pair = pair(seed, level, k, index / 2);
        let pair = &pair[(index % 2) as usize..];
        let n = pair.len().min(rest.len());
        let (now, later) = rest.split_at_mut(n);
        for (x, z) in now.iter_mut().zip(pair) {
            *x = *z as f32;
        }
        (rest, index) = (later, index + n as u64);
    }
}

/// The increments of the two indices of a block.
fn pair(seed: u64, level: u32, k: u32, block: u64) -> [f64; 2] {
    // The stream's step is the tree node: 0 is the root's increment, 2^(l-1) + j splits node j of level l - 1 into its halves.
    let mut n = normal_pair(seed, Stream::Brownian, 0, block);
    for l in 1..=level {
        let parent = k >> (level - l + 1);
        let split = normal_pair(seed, Stream::Brownian, (1 << (l - 1)) + parent, block);
        let is_right = k >> (level - l) & 1 == 1;
        let sign = if is_right { -1.0 } else { 1.0 };
        n = std::array::from_fn(|i| (n[i] + sign * split[i]) * FRAC_1_SQRT_2);
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn increments(seed: u64, level: u32, n: usize) -> Vec<Vec<f32>> {
        let mut steps = vec![vec![0.0; n]; 1 << level];
        for (k, out) in steps.iter_mut().enumerate() {
            fill_brownian(seed, level, k as u32, 0, out);
        }
        steps
    }

    #[test]
    fn a_step_is_the_sum_of_its_halves() {
        let levels: Vec<_> = (0..=6).map(|level| increments(3, level, 64)).collect();
        for (coarse, fine) in levels.iter().zip(&levels[1..]) {
            for (k, n) in coarse.iter().enumerate() {
                for (i, &n) in n.iter().enumerate() {
                    let sum = f64::from(fine[2 * k][i]) + f64::from(fine[2 * k + 1][i]);
                    let difference = (f64::from(n) - sum * FRAC_1_SQRT_2).abs();
                    // Error of three roundings to f32 of numbers below 8.
                    assert!(
                        difference < 1e-6,
                        "step {k} of {}: {difference}",
                        coarse.len()
                    );
                }
            }
        }
    }

    /// Means, variances and all correlations between steps, each within five standard deviations.
    #[test]
    fn steps_are_standard_normal_and_independent() {
        const N: usize = 20_000;
        let steps = increments(11, 3, N);
        let mean = |f: &dyn Fn(usize) -> f64| (0..N).map(f).sum::<f64>() / N as f64;
        let check = |what: String, got: f64, expected: f64, variance: f64| {
            let z = (got - expected) / (variance / N as f64).sqrt();
            assert!(
                z.abs() < 5.0,
                "{what}: {got} is {z} deviations from {expected}"
            );
        };
        for (a, x) in steps.iter().enumerate() {
            let x = |i| f64::from(x[i]);
            check(format!("mean of {a}"), mean(&x), 0.0, 1.0);
            check(
                format!("variance of {a}"),
                mean(&|i| x(i).powi(2)),
                1.0,
                2.0,
            );
            check(
                format!("kurtosis of {a}"),
                mean(&|i| x(i).powi(4)),
                3.0,
                96.0,
            );
            for (b, y) in steps[..a].iter().enumerate() {
                let y = |i: usize| f64::from(y[i]);
                check(format!("{a} {b}"), mean(&|i| x(i) * y(i)), 0.0, 1.0);
                let squares = mean(&|i| (x(i) * y(i)).powi(2));
                check(format!("squares of {a} {b}"), squares, 1.0, 8.0);
            }
        }
        let neighbors = (0..N - 1).map(|i| f64::from(steps[5][i]) * f64::from(steps[5][i + 1]));
        check(
            "indices".into(),
            neighbors.sum::<f64>() / N as f64,
            0.0,
            1.0,
        );
    }

    #[test]
    fn any_split_gives_the_same_bits() {
        let whole = &increments(9, 4, 20)[5];
        for first in 0..20 {
            for end in first..=20 {
                let mut part = vec![f32::NAN; end - first];
                fill_brownian(9, 4, 5, first as u64, &mut part);
                assert_eq!(part, whole[first..end], "{first}..{end}");
            }
        }
    }

    /// Shared links contain seeds, so the values of a seed must never change.
    #[test]
    fn values_are_pinned_and_depend_on_the_seed() {
        let one = |seed| {
            let mut x = [0.0];
            fill_brownian(seed, 5, 19, 3, &mut x);
            x[0]
        };
        assert_eq!(one(42), -0.60467255);
        assert_ne!(one(42), one(43));
    }

    /// Halving the steps of the Euler-Maruyama method on the Ornstein-Uhlenbeck process `dX = -X dt + s dW` halves the
    /// distance to the exact solution of the same path (strong order 1, as the noise is additive).
    #[test]
    fn halving_the_steps_of_an_ou_process_halves_the_error_of_a_path() {
        const N: usize = 256;
        const FINE: u32 = 14;
        let (s, x0) = (0.8_f64, 1.3);
        // X_1 = e^-1 x0 + s times the integral of e^(u-1) dW_u; the share of a step is its increment times the mean of e^(u-1), up
        // to a variance of dt^3 / 12 per step, 5e-6 in total.
        let mut exact = vec![x0 * libm::exp(-1.0); N];
        let dt = 1.0 / f64::from(1_u32 << FINE);
        let mut n = vec![0.0; N];
        for k in 0..1 << FINE {
            fill_brownian(1, FINE, k, 0, &mut n);
            let t = f64::from(k) * dt;
            let mean = (libm::exp(t + dt - 1.0) - libm::exp(t - 1.0)) / dt;
            for (x, n) in exact.iter_mut().zip(&n) {
                *x += s * mean * dt.sqrt() * f64::from(*n);
            }
        }
        // Root mean square over paths.
        let error = |level: u32, seed: u64| {
            let dt = 1.0 / f64::from(1_u32 << level);
            let mut x = vec![x0; N];
            let mut n = vec![0.0; N];
            for k in 0..1 << level {
                fill_brownian(seed, level, k, 0, &mut n);
                for (x, n) in x.iter_mut().zip(&n) {
                    *x += -*x * dt + s * dt.sqrt() * f64::from(*n);
                }
            }
            let square: f64 = x.iter().zip(&exact).map(|(x, e)| (x - e).powi(2)).sum();
            (square / N as f64).sqrt()
        };
        let errors: Vec<f64> = (3..=9).map(|level| error(level, 1)).collect();
        for pair in errors.windows(2) {
            let ratio = pair[0] / pair[1];
            assert!((1.8..2.2).contains(&ratio), "{ratio}, {errors:?}");
        }
        // A run on another path does not converge to this one.
        assert!(error(9, 2) > 0.5, "{}", error(9, 2));
    }
}
