//! Girsanov's bound on what an error of the velocity costs the SDE (SiT, arXiv 2401.08740, section 3.3).
//!
//! The exact SDE and that of a model have the same noise `sqrt(2 D) dW`. Score and velocity are tied by `v = (d ln alpha) x + S s` with
//! `S = (d ln alpha) sigma^2 - sigma d_sigma`, SBDM's diffusion, so an error `e = v - v^` of the velocity is an error `(1 + D / S) e` of the
//! drift `v + D s`. By Girsanov's theorem and the data processing inequality
//!
//! ```text
//! KL(P* | Q) <= KL(start) + integral of (1 + D / S)^2 / (4 D) E|v - v^|^2 dt,
//! ```
//!
//! in nats, with the square summed over dimensions and averaged over the exact marginals. At every `t` it is least for `D = S`.

use super::{Curve, Diffusion, Path};
use crate::error::{Error, Result};
use std::f64::consts::{FRAC_PI_2, PI};

#[cfg(test)]
mod tests;

/// A bound on a Kullback-Leibler divergence.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Bound {
    /// Nats, summed over dimensions; may be infinite.
    pub nats: f64,
    /// The time at which the integral diverges, if it does.
    pub diverges_at: Option<f64>,
}

/// The integral of Girsanov's bound between two times `[from, to]` in `[0, 1]`, without the divergence at the start.
///
/// `error` is `E|v - v^|^2` by time, summed over dimensions. An integral that does not converge, at an end or where the diffusion
/// vanishes, gives infinity and the first such time.
///
/// # Errors
/// [`Error::Setting`] for a diffusion that is refused; [`Error::Config`] for times that are not in order within `[0, 1]`.
pub fn girsanov(
    path: &Path,
    diffusion: &Diffusion,
    error: &Curve,
    [from, to]: [f64; 2],
) -> Result<Bound> {
    diffusion.validate()?;
    path.validate()?;
    if !(0.0 <= from && from < to && to <= 1.0) {
        return Err(Error::Config(format!(
            "Girsanov's bound: got the times {from} to {to}, expected two in order within 0 to 1"
        )));
    }
    let rate = |t: f64| {
        let error = error.at(t);
        match error == 0.0 {
            true => 0.0,
            false => {
                let [factor, _] = girsanov_factor(path, diffusion.at(path, t), t);
                error * factor
            }
        }
    };
    let mut nats = 0.0;
    let knots = knots(path, diffusion, error, [from, to]);
    for pair in knots.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        for end in [a, b] {
            if diverges(&rate, [a, b], end) {
                return Ok(Bound {
                    nats: f64::INFINITY,
                    diverges_at: Some(end),
                });
            }
        }
        nats += integral(&rate, [a, b]);
    }
    Ok(Bound {
        nats,
        diverges_at: None,
    })
}

/// The factor `(1 + D / S)^2 / (4 D)` of the velocity's squared error in Girsanov's bound, for a diffusion `d` at `t`, and the least one
/// of any diffusion, `1 / S` for `D = S`. Infinite without diffusion.
#[doc(hidden)]
pub fn girsanov_factor(path: &Path, d: f64, t: f64) -> [f64; 2] {
    let sbdm = path.drift_var(t);
    // Finite also where S is infinite.
    [0.25 * (1.0 / d + 2.0 / sbdm + d / sbdm / sbdm), 1.0 / sbdm]
}

/// An upper bound on the divergence of `x_t = alpha x1 + sigma x0` from `N(0, std^2 I)` at the start, in nats over `n_values` dimensions:
/// that of the Gaussians around each `alpha x1`, by convexity. `mean_square` is that of the values of the data. It is 0 where the path
/// begins with noise alone.
#[must_use]
pub fn start_kl([alpha, sigma]: [f64; 2], std: f64, mean_square: f64, n_values: usize) -> f64 {
    let variance = (sigma / std).powi(2);
    let each = (alpha / std).powi(2) * mean_square + variance - 1.0 - libm::log(variance);
    0.5 * n_values as f64 * each
}

/// Times between which the integrand is smooth.
fn knots(path: &Path, diffusion: &Diffusion, error: &Curve, [from, to]: [f64; 2]) -> Vec<f64> {
    let loss = diffusion.kl.as_ref().map(|kl| &kl.loss);
    let curves = [Some(error), diffusion.curve.as_ref(), loss];
    let points = curves.into_iter().flatten().flat_map(Curve::points);
    let inside = points
        .map(|point| point[0])
        .chain(path_knots(path))
        .filter(|t| (from..to).contains(t));
    let mut knots: Vec<f64> = inside.chain([from, to]).collect();
    knots.sort_by(f64::total_cmp);
    knots.dedup();
    knots
}

/// Times at which a derivative of the path's scalars jumps.
fn path_knots(path: &Path) -> Vec<f64> {
    match path {
        Path::Table(table) => table.times().collect(),
        Path::Ddpm(ddpm) => {
            let n = ddpm.n_levels();
            (0..=n).map(|k| f64::from(k) / f64::from(n)).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether the integral over `[a, b]` diverges at its `end`: the integrand grows there as a power of the distance of -1 or less. A
/// function is no power exactly, so slightly more than -1 counts as well.
fn diverges(rate: &impl Fn(f64) -> f64, [a, b]: [f64; 2], end: f64) -> bool {
    const DISTANCES: [f64; 2] = [1e-7, 1e-10];
    let at = |share: f64| {
        let distance = share * (b - a);
        rate(if end == a { a + distance } else { b - distance })
    };
    let [far, near] = DISTANCES.map(at);
    if !near.is_finite() {
        return true;
    }
    if near <= 0.0 || far <= 0.0 {
        return false;
    }
    let power = libm::log(near / far) / libm::log(DISTANCES[0] / DISTANCES[1]);
    power > 0.97
}

/// The integral over `[a, b]` by the tanh-sinh rule (Takahasi and Mori 1974), which bears integrable singularities at the ends.
fn integral(rate: &impl Fn(f64) -> f64, [a, b]: [f64; 2]) -> f64 {
    const H: f64 = 0.05;
    // Nearer to an end than this share, a time cannot be told from it.
    const LEAST: f64 = 1e-13;
    let mut sum = 0.0;
    for i in -80..=80 {
        let u = H * f64::from(i);
        // Share of the way from the nearer end, without cancellation.
        let e = libm::exp(PI * libm::sinh(u.abs()));
        let share = 1.0 / (1.0 + e);
        if share < LEAST {
            continue;
        }
        let weight = FRAC_PI_2 * libm::cosh(u) * 2.0 * share * (1.0 - share);
        let distance = share * (b - a);
        let t = if i < 0 { a + distance } else { b - distance };
        sum += weight * rate(t);
    }
    // d tanh / du over [-1, 1] is twice that over a share from 0 to 1.
    sum * H * (b - a)
}
