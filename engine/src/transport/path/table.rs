//! A path that is given by a table over time.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// `alpha` and `sigma` at some times, and in between by monotone cubic interpolation (Fritsch and Carlson 1980), so that their
/// derivatives are continuous. Alpha rises, sigma falls, and their ratio rises strictly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<[f64; 3]>", into = "Vec<[f64; 3]>")]
pub struct PathTable {
    rows: Vec<[f64; 3]>,
    /// `d alpha / dt` and `d sigma / dt` at each time.
    slopes: Vec<[f64; 2]>,
}

/// The scalars of a path at one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values {
    pub alpha: f64,
    pub sigma: f64,
    pub d_alpha: f64,
    pub d_sigma: f64,
}

impl PathTable {
    /// The path through these rows of `[t, alpha, sigma]`; the times rise from 0 to 1.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the row and what is wrong with it.
    pub fn new(rows: Vec<[f64; 3]>) -> Result<Self> {
        let refuse = |i: usize, what: &str| {
            let [t, alpha, sigma] = rows[i];
            Err(Error::setting(
                "path_table",
                format!(
                    "row {} got t = {t}, alpha = {alpha}, sigma = {sigma}; {what}",
                    i + 1
                ),
            ))
        };
        if rows.len() < 2 {
            return Err(Error::setting(
                "path_table",
                format!(
                    "got {} rows of t, alpha and sigma, expected at least 2",
                    rows.len()
                ),
            ));
        }
        let last = rows.len() - 1;
        for (i, row) in rows.iter().enumerate() {
            let [t, alpha, sigma] = *row;
            if !row.iter().all(|value| value.is_finite() && *value >= 0.0) {
                return refuse(i, "expected finite numbers of at least 0");
            }
            if (i == 0 && t != 0.0) || (i == last && t != 1.0) {
                return refuse(i, "expected the first time to be 0 and the last one 1");
            }
            if (i == 0 && sigma == 0.0) || (i == last && alpha == 0.0) {
                return refuse(i, "expected noise at time 0 and data at time 1");
            }
            if let Some(&[t0, alpha0, sigma0]) = i.checked_sub(1).map(|i| &rows[i]) {
                if t <= t0 {
                    return refuse(i, "expected a later time than in the row before");
                }
                if alpha < alpha0 || sigma > sigma0 || (alpha, sigma) == (alpha0, sigma0) {
                    return refuse(i, "expected alpha to rise and sigma to fall");
                }
            }
        }
        let column = |k: usize| slopes(&rows, k);
        let slopes = column(1).into_iter().zip(column(2));
        let table = PathTable {
            slopes: slopes.map(|(alpha, sigma)| [alpha, sigma]).collect(),
            rows,
        };
        // The interpolation must not come to rest, or velocity and noise would not determine each other.
        const PARTS: usize = 8;
        for i in 0..=last * PARTS {
            let (row, part) = (i / PARTS, (i % PARTS) as f64 / PARTS as f64);
            let next = table.rows[(row + 1).min(last)][0];
            let t = table.rows[row][0] * (1.0 - part) + next * part;
            let at = table.at(t);
            let slope = at.d_alpha * at.sigma - at.alpha * at.d_sigma;
            if slope.is_nan() || slope <= 0.0 {
                return Err(Error::setting(
                    "path_table",
                    format!(
                        "alpha / sigma stands still at t = {t}, expected it to rise at every time"
                    ),
                ));
            }
        }
        Ok(table)
    }

    /// The times of the rows.
    pub(in crate::transport) fn times(&self) -> impl Iterator<Item = f64> + '_ {
        self.rows.iter().map(|row| row[0])
    }

    /// The values at `t` in `[0, 1]`, exact at the rows.
    pub(super) fn at(&self, t: f64) -> Values {
        let after = self.rows.partition_point(|row| row[0] <= t);
        let i = after.clamp(1, self.rows.len() - 1) - 1;
        let (from, to) = (&self.rows[i], &self.rows[i + 1]);
        let width = to[0] - from[0];
        let u = (t - from[0]) / width;
        let column = |k: usize| {
            let (a, b) = (from[k], to[k]);
            let (da, db) = (
                width * self.slopes[i][k - 1],
                width * self.slopes[i + 1][k - 1],
            );
            hermite(u, [a, b], [da, db])
        };
        let ([alpha, d_alpha], [sigma, d_sigma]) = (column(1), column(2));
        Values {
            alpha,
            sigma,
            d_alpha: d_alpha / width,
            d_sigma: d_sigma / width,
        }
    }

    /// The time of `ln (alpha / sigma)`, by bisection; the nearer end for one that is not reached.
    pub(super) fn time_of(&self, half_log_snr: f64) -> f64 {
        let (mut lo, mut hi) = (0.0, 1.0);
        // 60 halvings of [0, 1] reach the resolution of f64.
        for _ in 0..60 {
            let t = 0.5 * (lo + hi);
            let at = self.at(t);
            match libm::log(at.alpha) - libm::log(at.sigma) < half_log_snr {
                true => lo = t,
                false => hi = t,
            }
        }
        match (lo, hi) {
            (0.0, _) => 0.0,
            (_, 1.0) => 1.0,
            _ => 0.5 * (lo + hi),
        }
    }
}

impl TryFrom<Vec<[f64; 3]>> for PathTable {
    type Error = Error;

    fn try_from(rows: Vec<[f64; 3]>) -> Result<Self> {
        Self::new(rows)
    }
}

impl From<PathTable> for Vec<[f64; 3]> {
    fn from(table: PathTable) -> Self {
        table.rows
    }
}

/// The cubic on `[0, 1]` with these values and derivatives at its ends: its value and its derivative at `u`.
fn hermite(u: f64, [a, b]: [f64; 2], [da, db]: [f64; 2]) -> [f64; 2] {
    if u == 1.0 {
        return [b, db];
    }
    let (c, d) = (3.0 * (b - a) - 2.0 * da - db, 2.0 * (a - b) + da + db);
    [
        a + u * (da + u * (c + u * d)),
        da + u * (2.0 * c + u * 3.0 * d),
    ]
}

/// The derivatives of column `k` at each row that keep the interpolation monotone: in between the harmonic mean of both sides'
/// slopes, at the ends the three-point formula with its sign and size kept in bounds.
fn slopes(rows: &[[f64; 3]], k: usize) -> Vec<f64> {
    let width = |i: usize| rows[i + 1][0] - rows[i][0];
    let slope = |i: usize| (rows[i + 1][k] - rows[i][k]) / width(i);
    let last = rows.len() - 1;
    if last == 1 {
        return vec![slope(0); 2];
    }
    let end = |h0: f64, h1: f64, d0: f64, d1: f64| {
        let d = ((2.0 * h0 + h1) * d0 - h0 * d1) / (h0 + h1);
        match () {
            () if d * d0 <= 0.0 => 0.0,
            () if d0 * d1 <= 0.0 && d.abs() > 3.0 * d0.abs() => 3.0 * d0,
            () => d,
        }
    };
    let inner = (1..last).map(|i| {
        let (d0, d1) = (slope(i - 1), slope(i));
        if d0 * d1 <= 0.0 {
            return 0.0;
        }
        let (w0, w1) = (2.0 * width(i) + width(i - 1), width(i) + 2.0 * width(i - 1));
        (w0 + w1) / (w0 / d0 + w1 / d1)
    });
    let first = end(width(0), width(1), slope(0), slope(1));
    let end = end(
        width(last - 1),
        width(last - 2),
        slope(last - 1),
        slope(last - 2),
    );
    std::iter::once(first).chain(inner).chain([end]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Path;
    use crate::transport::testing::assert_near;
    use std::sync::Arc;

    fn gvp(n: usize) -> PathTable {
        let row = |i: usize| {
            let t = i as f64 / n as f64;
            [t, Path::Gvp.alpha(t), Path::Gvp.sigma(t)]
        };
        PathTable::new((0..=n).map(row).collect()).unwrap()
    }

    #[test]
    fn a_table_of_a_path_is_that_path() {
        let path = Path::Table(Arc::new(gvp(200)));
        for i in 1..100 {
            let t = f64::from(i) / 100.0 + 0.003;
            assert_near("alpha", path.alpha(t), Path::Gvp.alpha(t), 1e-5);
            assert_near("sigma", path.sigma(t), Path::Gvp.sigma(t), 1e-5);
            assert_near("d_alpha", path.d_alpha(t), Path::Gvp.d_alpha(t), 1e-3);
            assert_near("d_sigma", path.d_sigma(t), Path::Gvp.d_sigma(t), 1e-3);
        }
        for t in [0.0, 0.4, 1.0] {
            let back = path.time_of(path.half_log_snr(t));
            assert_near("time", back, t, 1e-14);
        }
    }

    #[test]
    fn two_rows_are_the_linear_path() {
        let table = PathTable::new(vec![[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]]).unwrap();
        let at = table.at(0.3);
        assert_eq!([at.alpha, at.d_alpha, at.d_sigma], [0.3, 1.0, -1.0]);
        assert!((at.sigma - 0.7).abs() < 1e-15);
    }

    #[test]
    fn wrong_rows_are_refused_by_number() {
        let refusal = |rows: &[[f64; 3]]| PathTable::new(rows.to_vec()).unwrap_err().to_string();
        let (noise, data) = ([0.0, 0.0, 1.0], [1.0, 1.0, 0.0]);
        assert!(refusal(&[noise]).contains("got 1 rows"));
        for (rows, expected) in [
            (vec![noise, [0.9, 1.0, 0.0]], "row 2 got t = 0.9"),
            (vec![[0.0, 0.0, 0.0], data], "expected noise at time 0"),
            (
                vec![noise, [0.5, f64::NAN, 0.5], data],
                "row 2 got t = 0.5, alpha = NaN",
            ),
            (vec![noise, [0.5, 0.5, 1.5], data], "row 2 got"),
            (
                vec![noise, [0.5, 0.5, 0.5], [0.5, 0.6, 0.4], data],
                "row 3 got",
            ),
            (
                vec![
                    noise,
                    [0.3, 0.3, 0.5],
                    [0.6, 1.0, 0.5],
                    [0.8, 1.0, 0.2],
                    [1.0, 1.1, 0.2],
                ],
                "stands still at t = 0.6",
            ),
        ] {
            let message = refusal(&rows);
            assert!(message.contains(expected), "{message}");
        }
    }
}
