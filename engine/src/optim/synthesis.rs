//! Averages after the fact: any average of the weights as a combination of averages that were kept in training.
//!
//! # Theory
//! An average gives the weights of training time τ the share p(τ) dτ, its *profile*. A power function up to time t has
//! `p(τ) = (γ+1) τ^γ / t^(γ+1)` on `[0, t]`. Averages are linear in their profiles, so the average whose profile is `Σ c_j p_j` is
//! `Σ c_j average_j`. The coefficients are those of the least `||p - Σ c_j p_j||` whose shares sum to 1 (Karras et al. 2024,
//! arXiv 2312.02696, section 3.2 and appendix C). The shares of single updates are integrals of p over intervals of length 1; on them the
//! distance is at most as large.

use super::average::{Average, exponent};
use crate::error::{Error, Result};

/// Below this pivot, relative to 1, a profile is one of the others within rounding.
const MIN_PIVOT: f64 = 1e-13;

/// Terms of the sum in [`mean_of_share`] up to so many deviations from the mean.
const DEVIATIONS: f64 = 12.0;

/// An average over the updates up to one of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profile {
    /// How it was, or would have been, kept.
    pub average: Average,
    /// Updates that it is over, at least 1.
    pub n_updates: u64,
}

/// An average as a combination of others.
#[derive(Debug, Clone, PartialEq)]
pub struct Combination {
    /// The coefficient of each; they sum to 1.
    pub coefficients: Vec<f64>,
    /// `||p - Σ c_j p_j|| / ||p||`: 0 for an average that is represented exactly.
    pub residual: f64,
}

impl Profile {
    /// The combination of `kept` averages that is nearest to this one. Those over later updates are no part of it.
    ///
    /// # Errors
    /// [`Error::Setting`] for an average out of range. [`Error::Config`] for a kept average that is no power function, when none is up to
    /// this time, when two are the same, and for an exponential average with a warm-up.
    pub fn combine(&self, kept: &[Profile]) -> Result<Combination> {
        let refuse = |what: &str| Err(Error::Config(what.to_owned()));
        for profile in kept.iter().chain([self]) {
            profile.average.validate()?;
            if profile.n_updates == 0 {
                return refuse("an average over 0 updates, expected at least 1");
            }
        }
        if let Average::Exponential { warmup: true, .. } = self.average {
            return refuse(
                "an exponential average with a warm-up is not combined, expected one without",
            );
        }
        let used: Vec<usize> = (0..kept.len())
            .filter(|&j| kept[j].n_updates <= self.n_updates)
            .collect();
        if used.is_empty() {
            return refuse("no kept average is up to this time, expected at least one");
        }
        let mut basis = Vec::new();
        for &j in &used {
            let Average::Power { width } = kept[j].average else {
                return refuse("a kept average that is no power function");
            };
            basis.push((exponent(width), kept[j].n_updates as f64));
        }
        let Some((combined, residual)) = nearest(self, &basis) else {
            return refuse("two of the kept averages are the same within rounding");
        };
        let mut coefficients = vec![0.0; kept.len()];
        for (&j, c) in used.iter().zip(combined) {
            coefficients[j] = c;
        }
        Ok(Combination {
            coefficients,
            residual,
        })
    }

    /// The inner product with a power function (γ, t), which ends no later.
    fn dot(&self, power: (f64, f64)) -> f64 {
        let end = self.n_updates as f64;
        match self.average {
            Average::Power { width } => dot(power, (exponent(width), end)),
            Average::Exponential { decay, .. } => {
                let (gamma, t) = power;
                let rate = -libm::log(decay);
                match rate {
                    0.0 => 0.0,
                    // A decay of 0 is all of the last update.
                    f64::INFINITY => f64::from(t == end) * (gamma + 1.0) / t,
                    _ => rate * libm::exp(rate * (t - end)) * mean_of_share(gamma, rate * t),
                }
            }
        }
    }

    /// `||p||²`.
    fn norm_sq(&self) -> f64 {
        match self.average {
            Average::Power { width } => {
                let own = (exponent(width), self.n_updates as f64);
                dot(own, own)
            }
            Average::Exponential { decay, .. } => {
                let rate = -libm::log(decay);
                let begun = -libm::expm1(-2.0 * rate * self.n_updates as f64);
                0.5 * rate * begun
            }
        }
    }
}

/// `∫ p q dτ` of two power functions (γ, t): `(γp+1) (γq+1) / ((γp+γq+1) tq) · (tp/tq)^γq`, with p that which ends first.
fn dot(p: (f64, f64), q: (f64, f64)) -> f64 {
    let ((gp, tp), (gq, tq)) = if p.1 <= q.1 { (p, q) } else { (q, p) };
    (gp + 1.0) * (gq + 1.0) / ((gp + gq + 1.0) * tq) * libm::pow(tp / tq, gq)
}

/// `∫_0^1 (γ+1) u^γ e^(x(u-1)) du`: the mean of `(γ+1) / (γ+1+K)` over K of a Poisson distribution of mean x. All terms are positive.
fn mean_of_share(gamma: f64, x: f64) -> f64 {
    let reach = DEVIATIONS * (x.sqrt() + DEVIATIONS);
    let first = (x - reach).max(0.0).floor();
    let n = (x + reach - first).ceil() as u64;
    // From the logarithm, since e^-x underflows; ln k! is lgamma(k + 1).
    let mut term = libm::exp(first * libm::log(x) - x - libm::lgamma(first + 1.0));
    let mut sum = 0.0;
    for i in 0..n {
        let k = first + i as f64;
        sum += term * (gamma + 1.0) / (gamma + 1.0 + k);
        term *= x / (k + 1.0);
    }
    sum
}

/// The coefficients of the power functions `basis` that are nearest to `target` with a sum of 1, and the relative distance. `None` when
/// two of them are the same.
fn nearest(target: &Profile, basis: &[(f64, f64)]) -> Option<(Vec<f64>, f64)> {
    let scales: Vec<f64> = basis.iter().map(|&p| dot(p, p).sqrt().recip()).collect();
    let gram = |i: usize, j: usize| dot(basis[i], basis[j]) * scales[i] * scales[j];
    let factor = cholesky(basis.len(), gram)?;
    let products = basis.iter().zip(&scales).map(|(&p, s)| target.dot(p) * s);
    let products: Vec<f64> = products.collect();
    let free = solve(&factor, &products);
    // With a Lagrange multiplier for the sum of the coefficients `x_j scales_j`.
    let ones = solve(&factor, &scales);
    let sum = |x: &[f64]| x.iter().zip(&scales).map(|(x, s)| x * s).sum::<f64>();
    let multiplier = (1.0 - sum(&free)) / sum(&ones);
    let x: Vec<f64> = free
        .iter()
        .zip(&ones)
        .map(|(x, one)| x + multiplier * one)
        .collect();

    let norm_sq = target.norm_sq();
    let mut distance_sq = norm_sq;
    for i in 0..x.len() {
        let row: f64 = (0..x.len()).map(|j| gram(i, j) * x[j]).sum();
        distance_sq += x[i] * (row - 2.0 * products[i]);
    }
    let residual = (distance_sq.max(0.0) / norm_sq).sqrt();
    Some((
        x.iter().zip(&scales).map(|(x, s)| x * s).collect(),
        residual,
    ))
}

/// The lower factor of a symmetric matrix with ones on its diagonal, row by row; `None` unless it is positive definite.
fn cholesky(n: usize, of: impl Fn(usize, usize) -> f64) -> Option<Vec<Vec<f64>>> {
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for i in 0..n {
        let mut row: Vec<f64> = Vec::new();
        for (j, other) in rows.iter().enumerate() {
            let known: f64 = row.iter().zip(other).map(|(a, b)| a * b).sum();
            row.push((of(i, j) - known) / other[j]);
        }
        let pivot = of(i, i) - row.iter().map(|x| x * x).sum::<f64>();
        if pivot.is_nan() || pivot < MIN_PIVOT {
            return None;
        }
        row.push(pivot.sqrt());
        rows.push(row);
    }
    Some(rows)
}

/// Solves `L Lᵀ x = b`.
fn solve(rows: &[Vec<f64>], b: &[f64]) -> Vec<f64> {
    let mut x = b.to_vec();
    for (i, row) in rows.iter().enumerate() {
        let known: f64 = row[..i].iter().zip(&x).map(|(a, b)| a * b).sum();
        x[i] = (x[i] - known) / row[i];
    }
    for i in (0..rows.len()).rev() {
        let known: f64 = (i + 1..rows.len()).map(|k| rows[k][i] * x[k]).sum();
        x[i] = (x[i] - known) / rows[i][i];
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn power(width: f64, n_updates: u64) -> Profile {
        let average = Average::power(width);
        Profile { average, n_updates }
    }

    /// Two widths at every tenth update.
    fn snapshots(n: u64) -> Vec<Profile> {
        let at = |i: u64| [power(0.05, 10 * i), power(0.1, 10 * i)];
        (1..=n).flat_map(at).collect()
    }

    /// The shares of single updates, by the recursion.
    fn shares(profile: &Profile, n: u64) -> Vec<f64> {
        let mut shares = vec![0.0; n as usize];
        for t in 0..profile.n_updates {
            let rate = profile.average.rate_after(t);
            shares.iter_mut().for_each(|share| *share *= 1.0 - rate);
            shares[t as usize] = rate;
        }
        shares
    }

    /// `∫ f dτ` on `[0, end]` by the midpoints of a fine grid.
    fn integral(end: f64, f: impl Fn(f64) -> f64) -> f64 {
        let n = 400_000;
        let step = end / f64::from(n);
        (0..n).map(|i| f((f64::from(i) + 0.5) * step)).sum::<f64>() * step
    }

    #[test]
    fn inner_products_are_integrals() {
        let value = |(gamma, t): (f64, f64), tau: f64| match tau <= t {
            true => (gamma + 1.0) * libm::pow(tau, gamma) / libm::pow(t, gamma + 1.0),
            false => 0.0,
        };
        for (p, q) in [
            ((16.0, 30.0), (6.0, 50.0)),
            ((6.0, 50.0), (16.0, 50.0)),
            ((0.0, 20.0), (3.5, 50.0)),
        ] {
            let want = integral(f64::min(p.1, q.1), |tau| value(p, tau) * value(q, tau));
            for got in [dot(p, q), dot(q, p)] {
                assert!((got - want).abs() < 1e-6 * want, "{got} {want}");
            }
        }
        for decay in [0.5, 0.9, 0.999] {
            let average = Average::exponential(decay);
            let profile = Profile {
                average,
                n_updates: 50,
            };
            let rate = -libm::log(decay);
            let own = |tau: f64| rate * libm::exp(rate * (tau - 50.0));
            for p in [(16.0, 30.0), (0.0, 50.0), (6.0, 50.0)] {
                let want = integral(p.1, |tau| own(tau) * value(p, tau));
                let got = profile.dot(p);
                assert!(
                    (got - want).abs() < 1e-6 * want,
                    "{decay} {p:?}: {got} {want}"
                );
            }
            let want = integral(50.0, |tau| own(tau) * own(tau));
            assert!((profile.norm_sq() - want).abs() < 1e-6 * want, "{decay}");
        }
        // Far beyond the largest e^x.
        let got = mean_of_share(6.0, 4000.0);
        let want = integral(1.0, |u| {
            7.0 * libm::pow(u, 6.0) * libm::exp(4000.0 * (u - 1.0))
        });
        assert!((got - want).abs() < 1e-5 * want, "{got} {want}");
    }

    #[test]
    fn a_kept_average_is_itself() {
        let kept = snapshots(20);
        for (j, profile) in kept.iter().enumerate().skip(10) {
            let Combination {
                coefficients,
                residual,
            } = profile.combine(&kept).unwrap();
            assert!(residual < 1e-6, "{residual}");
            for (i, c) in coefficients.iter().enumerate() {
                assert!((c - f64::from(i == j)).abs() < 1e-6, "{i} {c}");
            }
        }
    }

    /// On single updates the combination is as near as the residual says, and its shares sum to 1.
    #[test]
    fn the_residual_bounds_the_distance_of_the_shares() {
        let kept = snapshots(30);
        let exponential = Average::exponential(0.98);
        let others = [0.03, 0.07, 0.12, 0.15, 0.2].map(|width| power(width, 300));
        for target in others.into_iter().chain([
            power(0.08, 200),
            Profile {
                average: exponential,
                n_updates: 300,
            },
        ]) {
            let Combination {
                coefficients,
                residual,
            } = target.combine(&kept).unwrap();
            let mut combined = vec![0.0; 300];
            for (c, profile) in coefficients.iter().zip(&kept) {
                for (sum, share) in combined.iter_mut().zip(shares(profile, 300)) {
                    *sum += c * share;
                }
            }
            let want = shares(&target, 300);
            let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
            let apart: Vec<f64> = combined.iter().zip(&want).map(|(a, b)| a - b).collect();
            let bound = residual * target.norm_sq().sqrt();
            assert!(
                norm(&apart) <= bound + 1e-9,
                "{target:?}: {} {bound}",
                norm(&apart)
            );
            // Not by far: the interval of an update is short against the profiles.
            assert!(
                norm(&apart) > 0.5 * bound,
                "{target:?}: {} {bound}",
                norm(&apart)
            );
            assert!((combined.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn what_cannot_be_combined_is_refused_or_has_a_residual() {
        let kept = snapshots(10);
        let residual = |target: Profile| target.combine(&kept).unwrap().residual;
        assert!(residual(power(0.07, 100)) < 0.01);
        // Narrower than the distance of the snapshots, and between two of them.
        assert!(residual(power(0.005, 100)) > 0.3);
        assert!(residual(power(0.05, 95)) > 0.1);
        let fast = Average::exponential(0.5);
        assert!(
            residual(Profile {
                average: fast,
                n_updates: 100
            }) > 0.3
        );
        // Its initial weights, more than a half, are in no snapshot.
        let slow = Average::exponential(0.9999);
        assert!(
            residual(Profile {
                average: slow,
                n_updates: 100
            }) > 0.3
        );

        let message =
            |target: Profile, kept: &[Profile]| target.combine(kept).unwrap_err().to_string();
        for (target, kept, expected) in [
            (
                power(0.1, 5),
                &kept[..],
                "no kept average is up to this time",
            ),
            (power(0.1, 100), &[], "no kept average"),
            (power(0.5, 100), &kept[..], "width: got 0.5"),
            (power(0.1, 0), &kept[..], "over 0 updates"),
            (
                power(0.07, 100),
                &[power(0.1, 100); 2],
                "the same within rounding",
            ),
        ] {
            let message = message(target, kept);
            assert!(message.contains(expected), "{message}");
        }
        let warm = Average::Exponential {
            decay: 0.9,
            warmup: true,
        };
        let warm = Profile {
            average: warm,
            n_updates: 100,
        };
        assert!(message(warm, &kept).contains("warm-up"));
    }
}
