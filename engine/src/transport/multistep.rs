//! Multistep solvers in the half-logarithm of the signal-to-noise ratio, `lambda = ln (alpha / sigma)`: DPM-Solver++(2M) and UniPC.
//!
//! With `m = E[x1 | x]`, the ODE's exact solution from `t` to `t'` is
//! `x' = (sigma' / sigma) x + sigma' * integral of e^lambda m d lambda`. Both methods take `m` as a polynomial in lambda through the
//! last evaluations. For a constant `m` that is DDIM's step, `alpha' m + sigma' n` with the noise `n = E[x0 | x]`: it is the first
//! step, and the step from or to an end where lambda is infinite.

use super::along::Along;
use super::{Coefs, Method, Step};
use crate::error::Result;

/// What is known at a time.
#[derive(Debug, Clone, Copy)]
struct Point {
    alpha: f64,
    sigma: f64,
    lambda: f64,
}

/// Coefficients of `[Y, H_0, H_1, H_2, O]`, as many as a method has.
type Row = [f64; 5];

fn plus(a: Row, factor: f64, b: Row) -> Row {
    std::array::from_fn(|i| a[i] + if factor == 0.0 { 0.0 } else { factor * b[i] })
}

fn row(at: usize) -> Row {
    std::array::from_fn(|i| if i == at { 1.0 } else { 0.0 })
}

/// The steps between these times.
pub(super) fn steps(along: &Along<'_>, method: Method, times: &[f64]) -> Result<Vec<Step>> {
    let path = along.path();
    let points: Vec<Point> = times
        .iter()
        .map(|&t| Point {
            alpha: path.alpha(t),
            sigma: path.sigma(t),
            lambda: path.half_log_snr(t),
        })
        .collect();
    let step = |i: usize| match method {
        Method::UniPc => unipc(along, times, &points, i),
        _ => dpm_plus_plus(along, times, &points, i),
    };
    (0..times.len() - 1).map(step).collect()
}

/// A row over `[Y, O]` with `n` kept tensors between them.
fn spread(coefs: Coefs, n: usize) -> Row {
    plus(plus([0.0; 5], coefs.x, row(0)), coefs.out, row(1 + n))
}

/// The coefficient of a change of `m` that is constant over the step: `sigma' * integral of e^lambda d lambda`.
fn weight(from: Point, to: Point) -> f64 {
    to.alpha - from.alpha * to.sigma / from.sigma
}

/// The step of lambda before step `i`, if both it and the step's own are finite.
fn before(points: &[Point], i: usize) -> Option<f64> {
    let previous = i
        .checked_sub(1)
        .map(|j| points[i].lambda - points[j].lambda)?;
    let own = points[i + 1].lambda - points[i].lambda;
    (previous.is_finite() && own.is_finite()).then_some(previous)
}

fn dpm_plus_plus(along: &Along<'_>, times: &[f64], points: &[Point], i: usize) -> Result<Step> {
    let (t, from, to) = (times[i], points[i], points[i + 1]);
    let (data, noise) = (spread(along.data(t)?, 1), spread(along.noise(t)?, 1));
    let mut end = plus(plus([0.0; 5], to.alpha, data), to.sigma, noise);
    if let Some(previous) = before(points, i) {
        let ratio = (to.lambda - from.lambda) / previous;
        let change = plus(data, -1.0, row(1));
        end = plus(end, weight(from, to) * 0.5 * ratio, change);
    }
    let n = 3;
    Ok(Step::multistep(
        [t, times[i + 1]],
        along.at(t),
        &end[..n],
        &[&data[..n]],
    ))
}

/// Keeps the corrected state and the data of the last two evaluations.
fn unipc(along: &Along<'_>, times: &[f64], points: &[Point], i: usize) -> Result<Step> {
    let (t, from, to) = (times[i], points[i], points[i + 1]);
    let [state, last, older] = [row(1), row(2), row(3)];
    let (data, noise) = (along.data(t)?, along.noise(t)?);
    let data_row = spread(data, 3);
    // The evaluation at the predicted state corrects that state.
    let own = |j: usize| points[j + 1].lambda - points[j].lambda;
    let corrected = match i.checked_sub(1) {
        Some(j) if own(j).is_finite() => {
            let (from, to, h) = (points[j], points[i], own(j));
            let base = plus(
                plus([0.0; 5], to.sigma / from.sigma, state),
                weight(from, to),
                last,
            );
            let change = plus(data_row, -1.0, last);
            let (b, weight) = (libm::expm1(-h), weight(from, to));
            let phi = phis(-h, b);
            match before(points, j) {
                None => plus(base, weight * 0.5, change),
                Some(previous) => {
                    let r = -previous / h;
                    // r_0 + r_1 = phi_1, r r_0 + r_1 = phi_2.
                    let r0 = (phi[0] - phi[1]) / (1.0 - r);
                    let older_change = plus(older, -1.0, last);
                    let base = plus(base, weight * r0 / r, older_change);
                    plus(base, weight * (phi[0] - r0), change)
                }
            }
        }
        _ => row(0),
    };
    // The noise that goes with the data, x = alpha m + sigma n, at the corrected state.
    let mut end = match from.sigma > 0.0 {
        true => plus(
            plus([0.0; 5], to.sigma / from.sigma, corrected),
            weight(from, to),
            data_row,
        ),
        false => plus(
            plus([0.0; 5], to.alpha, data_row),
            to.sigma,
            spread(noise, 3),
        ),
    };
    if let Some(previous) = before(points, i) {
        let ratio = (to.lambda - from.lambda) / previous;
        let change = plus(data_row, -1.0, last);
        end = plus(end, weight(from, to) * 0.5 * ratio, change);
    }
    Ok(Step::multistep(
        [t, times[i + 1]],
        along.at(t),
        &end,
        &[&corrected, &data_row, &last],
    ))
}

/// `b_k = k! phi_{k+1}(h) h / B` for k = 1 and 2, with `phi_1 = (e^h - 1) / h`, `phi_{k+1} = (phi_k - 1 / k!) / h` and `B = e^h - 1`.
fn phis(h: f64, b: f64) -> [f64; 2] {
    let phi1 = b / h - 1.0;
    let phi2 = phi1 / h - 0.5;
    [phi1 / b, 2.0 * phi2 / b]
}

#[cfg(test)]
mod tests;
