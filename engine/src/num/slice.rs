//! Vectorized functions of scalars and slices, with the same bits on every machine with fused multiply-adds.
//!
//! The scalar functions vectorize inside [`vectorize`]; the slice functions call it themselves.

use super::real::Real;
use super::simd::vectorize;

/// Accumulators of a reduction: element i goes to lane i mod `LANES`, and the lanes are combined in a fixed tree.
const LANES: usize = 16;

/// GELU with the tanh approximation: x / 2 (1 + tanh u) = x s with s = sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3).
///
/// Hendrycks and Gimpel 2016, arXiv:1606.08415.
#[inline(always)]
pub fn gelu<F: Real>(x: F) -> F {
    gelu_with_slope(x).0
}

/// [`gelu`] and its derivative s + x s (1 - s) d(2u)/dx.
#[inline(always)]
pub fn gelu_with_slope<F: Real>(x: F) -> (F, F) {
    const SLOPE: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::SQRT_2;
    const CUBIC: f64 = 0.044715;
    // Beyond ±10 s rounds to 0 or 1 in f32; the clamp also prevents overflow.
    let c = Real::max(-F::of(10.0), Real::min(F::of(10.0), x));
    let square = c * c;
    // With e = e^-2u, 1 - s equals e s, which avoids cancellation.
    let e = (c * square.fused(F::of(-SLOPE * CUBIC), F::of(-SLOPE))).exp();
    let s = F::ONE / (F::ONE + e);
    let dv = square.fused(F::of(3.0 * SLOPE * CUBIC), F::of(SLOPE));
    (x * s, (c * dv).fused(e * s * s, s))
}

/// s = sigmoid(x) and s (1 - s), without the cancellation of 1 - s.
#[inline(always)]
fn sigmoid_with_slope<F: Real>(x: F) -> (F, F) {
    // 0 where exp saturates: then the product vanishes even with the cube of a large x.
    let size = x.abs();
    let e = if size > F::of(87.0) {
        F::ZERO
    } else {
        (-size).exp()
    };
    let larger = F::ONE / (F::ONE + e);
    let smaller = e * larger;
    (if x < F::ZERO { smaller } else { larger }, larger * smaller)
}

/// SiLU: x sigmoid(x) = x / (1 + e^-x).
#[inline(always)]
pub fn silu<F: Real>(x: F) -> F {
    x / (F::ONE + (-x).exp())
}

/// The derivative of [`silu`]: s + x s (1 - s) with s = sigmoid(x).
#[inline(always)]
pub fn silu_grad<F: Real>(x: F) -> F {
    let (s, slope) = sigmoid_with_slope(x);
    s + x * slope
}

/// Loads x into the cache in memory order, which is faster than reading it by columns. Inline it in vectorized code.
#[inline(always)]
pub fn fetch<F: Real>(x: &[F]) {
    const CACHE_LINE: usize = 16;
    let mut sums = [F::ZERO; 8];
    for lines in x.as_chunks::<{ 8 * CACHE_LINE }>().0 {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += lines[i * CACHE_LINE];
        }
    }
    // Keeps the compiler from removing the unused reads.
    std::hint::black_box(sums);
}

/// out_i = f(x_i), with `f` vectorized; write it in place as `#[inline(always)] |x| ...`.
pub fn map<F: Real>(out: &mut [F], x: &[F], f: impl Fn(F) -> F) {
    assert_eq!(out.len(), x.len());
    vectorize(
        #[inline(always)]
        || {
            for (out, &x) in out.iter_mut().zip(x) {
                *out = f(x);
            }
        },
    );
}

/// x_i = f(x_i), with `f` vectorized; write it in place as `#[inline(always)] |x| ...`.
pub fn map_in_place<F: Real>(x: &mut [F], f: impl Fn(F) -> F) {
    vectorize(
        #[inline(always)]
        || {
            for x in x {
                *x = f(*x);
            }
        },
    );
}

/// out_i = f(a_i, b_i), with `f` vectorized; write it in place as `#[inline(always)] |a, b| ...`.
pub fn zip_map<F: Real>(out: &mut [F], a: &[F], b: &[F], f: impl Fn(F, F) -> F) {
    assert!(out.len() == a.len() && out.len() == b.len());
    vectorize(
        #[inline(always)]
        || {
            for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *out = f(a, b);
            }
        },
    );
}

/// The sum of the values.
pub fn sum<F: Real>(x: &[F]) -> F {
    vectorize(
        #[inline(always)]
        || {
            sum_of(
                [x],
                #[inline(always)]
                |[x]| x,
            )
        },
    )
}

/// The sum of (x_i - shift)^2.
pub fn sum_sq<F: Real>(x: &[F], shift: F) -> F {
    vectorize(
        #[inline(always)]
        || {
            sum_of(
                [x],
                #[inline(always)]
                |[x]| (x - shift) * (x - shift),
            )
        },
    )
}

/// The sum of a_i b_i.
pub fn dot<F: Real>(a: &[F], b: &[F]) -> F {
    assert_eq!(a.len(), b.len());
    vectorize(
        #[inline(always)]
        || {
            sum_of(
                [a, b],
                #[inline(always)]
                |[a, b]| a * b,
            )
        },
    )
}

/// out_i += scale x_i.
pub fn axpy<F: Real>(out: &mut [F], scale: F, x: &[F]) {
    assert_eq!(out.len(), x.len());
    vectorize(
        #[inline(always)]
        || {
            for (out, &x) in out.iter_mut().zip(x) {
                *out += scale * x;
            }
        },
    );
}

/// Replaces x by e^(scale x - max), with max the largest `scale x` of its column. Returns for each column the sum of the new values
/// and log sum e^(scale x): a softmax(scale x) without the final division. Inline it in vectorized code.
#[inline(always)]
pub fn exp_columns<F: Real, const N: usize>(x: &mut [[F; N]], scale: F) -> ([F; N], [F; N]) {
    let mut max = [F::of(f64::NEG_INFINITY); N];
    for x in &*x {
        for (max, &x) in max.iter_mut().zip(x) {
            *max = max.max(x);
        }
    }
    let max = max.map(
        #[inline(always)]
        |max| max * scale,
    );
    for x in x.iter_mut() {
        for (x, max) in x.iter_mut().zip(max) {
            *x = x.fused(scale, -max).exp();
        }
    }
    let mut totals = [F::ZERO; N];
    for x in &*x {
        for (total, &x) in totals.iter_mut().zip(x) {
            *total += x;
        }
    }
    let mut logs = max;
    for (log, total) in logs.iter_mut().zip(totals) {
        *log += total.ln();
    }
    (totals, logs)
}

/// Softmax backward: replaces each row of scores by p = e^(scale scores - log), with the row's `log`, and the gradients of p by
/// those of the scores, p (g - delta) scale, with the row's `delta`. Inline it in vectorized code.
#[inline(always)]
pub fn softmax_rows_bwd<F: Real, const N: usize>(
    scores: &mut [[F; N]],
    grads: &mut [[F; N]],
    scale: F,
    logs: &[F],
    deltas: &[F],
) {
    let rows = scores.iter_mut().zip(grads).zip(logs.iter().zip(deltas));
    for ((p, g), (&log, &delta)) in rows {
        for (p, g) in p.iter_mut().zip(g) {
            *p = p.fused(scale, -log).exp();
            *g = *p * (*g - delta) * scale;
        }
    }
}

/// The sum of `term` over the elements of equally long slices, lane by lane.
#[inline(always)]
pub fn sum_of<F: Real, const N: usize>(slices: [&[F]; N], term: impl Fn([F; N]) -> F) -> F {
    let mut lanes = [F::ZERO; LANES];
    let mut split = slices.map(|s| s.as_chunks::<LANES>());
    let n = split.iter().map(|s| s.0.len()).min().unwrap_or(0);
    split.iter_mut().for_each(|s| s.0 = &s.0[..n]);
    for i in 0..n {
        let chunks = split.map(
            #[inline(always)]
            |s| &s.0[i],
        );
        // Mapping arrays to arrays compiles to whole vectors; a loop over the lanes would be scalarized.
        let terms: [F; LANES] = std::array::from_fn(
            #[inline(always)]
            |j| {
                term(chunks.map(
                    #[inline(always)]
                    |c| c[j],
                ))
            },
        );
        lanes = std::array::from_fn(
            #[inline(always)]
            |j| lanes[j] + terms[j],
        );
    }
    let rest = split.map(|s| s.1);
    let n = rest.iter().map(|s| s.len()).min().unwrap_or(0);
    for (i, lane) in lanes.iter_mut().enumerate().take(n) {
        *lane += term(rest.map(|r| r[i]));
    }
    fold(
        lanes,
        #[inline(always)]
        |a, b| a + b,
    )
}

/// Combines the lanes in a fixed tree.
#[inline(always)]
fn fold<F: Real>(lanes: [F; LANES], combine: impl Fn(F, F) -> F) -> F {
    // Arrays of constant length become vectors; a loop over halves does not.
    macro_rules! halve {
        ($from:expr, $n:literal) => {{
            let from = $from;
            let half: [F; $n] = std::array::from_fn(
                #[inline(always)]
                |i| combine(from[i], from[i + $n]),
            );
            half
        }};
    }
    halve!(halve!(halve!(halve!(lanes, 8), 4), 2), 1)[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(lo: f32, hi: f32) -> Vec<f32> {
        let n = 100_003;
        (0..n)
            .map(|i| lo + (hi - lo) * i as f32 / (n - 1) as f32)
            .collect()
    }

    /// The largest error of f32 against f64, relative to the larger of the result and `floor`.
    fn worst(x: &[f32], f: fn(f32) -> f32, exact: fn(f64) -> f64, floor: f64) -> f64 {
        let mut y = vec![0.0; x.len()];
        map(&mut y, x, f);
        x.iter()
            .zip(&y)
            .map(|(&x, &y)| {
                let want = exact(f64::from(x));
                (f64::from(y) - want).abs() / want.abs().max(floor)
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn activations_agree_with_f64() {
        let x = grid(-6.0, 6.0);
        // The tail x e^2u amplifies the rounding of 2u by its size (2u = -24 at x = -6, where gelu is 1e-10).
        let forward = [worst(&x, gelu, gelu, 0.05), worst(&x, silu, silu, 0.05)];
        assert!(forward.iter().all(|&w| w < 6e-7), "{forward:?}");
        let grad = [
            worst(&x, |x| gelu_with_slope(x).1, |x| gelu_with_slope(x).1, 0.1),
            worst(&x, silu_grad, silu_grad, 0.1),
        ];
        assert!(grad.iter().all(|&w| w < 1e-6), "{grad:?}");
    }

    #[test]
    fn gelu_is_the_tanh_approximation_and_grads_are_derivatives() {
        for i in -60..=60 {
            let x = f64::from(i) * 0.1;
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            assert!((gelu(x) - 0.5 * x * (1.0 + u.tanh())).abs() < 1e-15 * (1.0 + x.abs()));
            assert!((silu(x) - x / (1.0 + (-x).exp())).abs() < 1e-15 * (1.0 + x.abs()));
            let slope = |f: fn(f64) -> f64| (f(x + 1e-5) - f(x - 1e-5)) / 2e-5;
            assert!((gelu_with_slope(x).1 - slope(gelu)).abs() < 1e-9);
            assert!((silu_grad(x) - slope(silu)).abs() < 1e-9);
        }
    }

    #[test]
    fn activations_hold_at_the_ends() {
        for big in [100.0f32, 1e4, 1e8, 1e12] {
            assert_eq!((gelu(big), silu(big)), (big, big));
            // exp saturates: e^-big is the smallest normal number.
            let nothing = 2.0 * big * f32::MIN_POSITIVE;
            assert!(gelu(-big).abs() <= nothing && silu(-big).abs() <= nothing);
            assert_eq!(gelu_with_slope(big).1, 1.0);
            assert!(gelu_with_slope(-big).1.abs() <= 300.0 * f32::MIN_POSITIVE);
            assert_eq!((silu_grad(big), silu_grad(-big)), (1.0, 0.0));
        }
        assert!(gelu(f32::NAN).is_nan() && gelu_with_slope(f32::NAN).1.is_nan());
        assert!(silu(f32::NAN).is_nan() && silu_grad(f32::NAN).is_nan());
    }

    #[test]
    fn reductions_agree_with_f64() {
        for n in [0, 1, 15, 16, 17, 64, 1000] {
            let a: Vec<f32> = (0..n).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..n).map(|i| (i as f32 * 0.71).cos()).collect();
            let exact = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
                a.iter()
                    .zip(&b)
                    .map(|(&a, &b)| f(f64::from(a), f64::from(b)))
                    .sum()
            };
            let bound = 1e-7 * (1 + n) as f64;
            assert!((f64::from(sum(&a)) - exact(&|a, _| a)).abs() <= bound);
            assert!((f64::from(dot(&a, &b)) - exact(&|a, b| a * b)).abs() <= bound);
            assert!((f64::from(sum_sq(&a, 0.5)) - exact(&|a, _| (a - 0.5).powi(2))).abs() <= bound);
        }
    }

    #[test]
    fn softmax_agrees_with_f64() {
        for n in [1, 3, 16, 65, 256] {
            let score = |i: usize, j: usize| 40.0 * ((i + 300 * j) as f32 * 0.37).sin();
            let mut x: Vec<[f32; 4]> = (0..n)
                .map(|i| std::array::from_fn(|j| score(i, j)))
                .collect();
            let mut rows = x.clone();
            let mut want: Vec<[f64; 4]> = x.iter().map(|x| x.map(f64::from)).collect();
            let (totals, logs) = exp_columns(&mut x, 0.25);
            let (want_totals, want_logs) = exp_columns(&mut want, 0.25);
            for j in 0..4 {
                assert!(
                    (f64::from(logs[j]) - want_logs[j]).abs() < 1e-6 * want_logs[j].abs().max(1.0)
                );
                let exact = (0..n).map(|i| want[i][j] / want_totals[j]);
                for (i, want) in exact.clone().enumerate() {
                    let got = f64::from(x[i][j] / totals[j]);
                    assert!(
                        (got - want).abs() < 2e-6 * want + 1e-12,
                        "{n}: {got} for {want}"
                    );
                }
                assert!((exact.sum::<f64>() - 1.0).abs() < 1e-13);
            }
            let logs: Vec<f32> = (0..n).map(|i| i as f32 * 0.1).collect();
            let deltas: Vec<f32> = (0..n).map(|i| i as f32 * 0.3).collect();
            let mut grads = rows.clone();
            softmax_rows_bwd(&mut rows, &mut grads, 0.25, &logs, &deltas);
            for i in 0..n {
                let score = f64::from(score(i, 1));
                let p = (0.25 * score - f64::from(logs[i])).exp();
                assert!((f64::from(rows[i][1]) - p).abs() < 3e-6 * p);
                let g = p * (score - f64::from(deltas[i])) * 0.25;
                assert!((f64::from(grads[i][1]) - g).abs() < 1e-5 * p * (1.0 + score.abs()));
            }
        }
        let mut overflow = [[1e30f32], [0.0]];
        exp_columns(&mut overflow, 1.0);
        assert_eq!(overflow[0], [1.0]);
        assert!(overflow[1][0] <= 2.0 * f32::MIN_POSITIVE);
    }

    #[test]
    fn passes_visit_every_element() {
        let a: Vec<f64> = (0..37).map(f64::from).collect();
        let mut out = vec![0.0; 37];
        zip_map(&mut out, &a, &a, |a, b| a + b);
        axpy(&mut out, -1.0, &a);
        map_in_place(&mut out, |x| x + 1.0);
        assert_eq!(out, (1..38).map(f64::from).collect::<Vec<_>>());
    }
}
