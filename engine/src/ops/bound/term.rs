//! One value's term of the bound, with its derivatives.

use crate::num::Real;

/// A term and its derivatives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term<F> {
    pub value: F,
    /// By the residual.
    pub by_r: F,
    /// By the logarithmic variance.
    pub by_log_var: F,
}

/// `2 sqrt(2 / pi)`: the tanh form of the normal distribution is the logistic function of `SLOPE (x + CUBIC x^3)`.
const SLOPE: f64 = 1.595_769_121_605_730_8;
const CUBIC: f64 = 0.044_715;
/// Half the distance of two levels of a picture in [-1, 1].
const HALF_LEVEL: f64 = 1.0 / 255.0;
/// The least probability is 1e-12.
const LEAST_LOG: f64 = -27.631_021_115_928_547;

/// The term for a residual `r`, an image's value `x1` and a logarithmic variance that is `z` above that of q; numbers are
/// `[k, log variance of q, is_first]`.
pub(super) fn term<F: Real>(r: F, x1: F, z: F, [k, log_q, is_first]: [F; 3]) -> Term<F> {
    match is_first > F::of(0.5) {
        true => decoder(k * r, x1, log_q + z, k),
        false => divergence(k * r, log_q + z, z, k),
    }
}

/// `KL(q || p)` for means that are `d` apart, and `z` the difference of the logarithmic variances.
fn divergence<F: Real>(d: F, log_var: F, z: F, k: F) -> Term<F> {
    let half = F::of(0.5);
    let precision = (-log_var).exp();
    let square = d * d * precision;
    let (phi, slope) = match z.abs() < F::of(0.5) {
        // The differences would cancel.
        true => (
            z * z * (half - z * sixth(z)),
            z * (F::ONE - z * (half - z * sixth(z))),
        ),
        false => {
            let e = (-z).exp();
            (e - F::ONE + z, F::ONE - e)
        }
    };
    Term {
        value: half * (phi + square),
        by_r: k * d * precision,
        by_log_var: half * (slope - square),
    }
}

/// `1/6 - z/24 + z^2/120 - z^3/720 + z^4/5040 - z^5/40320`.
fn sixth<F: Real>(z: F) -> F {
    let c = [
        1.0 / 6.0,
        1.0 / 24.0,
        1.0 / 120.0,
        1.0 / 720.0,
        1.0 / 5040.0,
        1.0 / 40320.0,
    ]
    .map(F::of);
    c[0] - z * (c[1] - z * (c[2] - z * (c[3] - z * (c[4] - z * c[5]))))
}

/// `ln sigmoid(x)`.
fn log_sigmoid<F: Real>(x: F) -> F {
    let tail = (F::ONE + (-x.abs()).exp()).ln();
    (if x < F::ZERO { x } else { F::ZERO }) - tail
}

/// `-ln P` for a mean that is `d` above the image.
fn decoder<F: Real>(d: F, x1: F, log_var: F, k: F) -> Term<F> {
    let (half, least) = (F::of(0.5), F::of(LEAST_LOG));
    let (slope, cubic, tripled) = (F::of(SLOPE), F::of(CUBIC), F::of(3.0 * CUBIC));
    let s = (-half * log_var).exp();
    let (p, q) = (s * (F::of(HALF_LEVEL) - d), s * (-F::of(HALF_LEVEL) - d));
    let logistic = |x: F| slope * (x + cubic * x * x * x);
    let rise = |x: F| slope * (F::ONE + tripled * x * x);
    let (a, b) = (logistic(p), logistic(q));
    // Derivatives by the image less the mean, and by the logarithmic variance.
    let below = (
        log_sigmoid(a),
        [s * rise(p), -half * p * rise(p)],
        (-a).sigmoid(),
    );
    let above = (
        log_sigmoid(-b),
        [s * rise(q), -half * q * rise(q)],
        -b.sigmoid(),
    );
    let (log, by) = match x1 {
        x1 if x1 < F::of(-0.999) => (below.0, below.1.map(|by| below.2 * by)),
        x1 if x1 > F::of(0.999) => (above.0, above.1.map(|by| above.2 * by)),
        _ => {
            // sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)), with a - b and its derivatives as products.
            let (width, squares) = (s * F::of(2.0 * HALF_LEVEL), p * p + p * q + q * q);
            let gap = slope * width * (F::ONE + cubic * squares);
            let gap_by = [
                s * slope * tripled * width * (p + q),
                -half * slope * width * (F::ONE + tripled * squares),
            ];
            let lost = match gap < F::of(0.5) {
                true => gap * (F::ONE - gap * (half - gap * sixth(gap))),
                false => F::ONE - (-gap).exp(),
            };
            let share = (F::ONE - lost) / lost;
            let by = |i: usize| below.2 * below.1[i] + above.2 * above.1[i] + share * gap_by[i];
            (below.0 + above.0 + lost.ln(), [by(0), by(1)])
        }
    };
    // A probability at its least has no gradient, as in the reference.
    if log < least {
        return Term {
            value: -least,
            by_r: F::ZERO,
            by_log_var: F::ZERO,
        };
    }
    Term {
        value: -log,
        // The image less the mean falls as the residual rises.
        by_r: k * by[0],
        by_log_var: -by[1],
    }
}
