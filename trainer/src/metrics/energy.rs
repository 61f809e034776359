//! The energy distance.

use super::rows::{OTHERS, PART, Part, Rows, at_a_time, parts, times};
use super::{Band, Error, Resamples, Result, at_least, same_length};
use crate::signals::interrupted;
use rayon::prelude::*;

/// The energy distance of two sets (Szekely and Rizzo 2013), unbiased:
///
/// `2/(mn) sum_ij |x_i - y_j| - 1/(m(m-1)) sum_ij |x_i - x_j| - 1/(n(n-1)) sum_ij |y_i - y_j|`
///
/// In the mean it is 0 for two sets of one distribution and above 0 for all others, whatever the numbers of vectors; it may be below 0. In a
/// resample a vector that is there twice makes no pair with itself. Time grows with the square of the number of vectors, memory does not.
///
/// # Errors
/// [`Error::Lengths`], [`Error::TooFew`] for a set of fewer than 2 vectors, [`Error::Interrupted`].
///
/// # Panics
/// If the resamples are of sets of other lengths.
pub fn energy(x: &dyn Rows, y: &dyn Rows, resamples: &Resamples) -> Result<Band> {
    same_length(x, y)?;
    for rows in [x, y] {
        at_least(2, rows, "an energy distance")?;
    }
    assert_eq!(
        resamples.lengths(),
        [x.len(), y.len()],
        "resamples of the sets"
    );
    let weights = [0, 1].map(|set| weights(resamples, set));
    let sums = |a: usize, b: usize| {
        let rows = [x, y];
        distances([rows[a], rows[b]], [&weights[a], &weights[b]])
    };
    let (xy, xx, yy) = (sums(0, 1)?, sums(0, 0)?, sums(1, 1)?);
    let [m, n] = [x.len(), y.len()].map(|n| n as f64);
    let value = |b: usize| {
        let pairs = |set: usize, n: f64| {
            let counts = weights[set].iter().skip(b).step_by(1 + resamples.len());
            n * n - counts.map(|w| w * w).sum::<f64>()
        };
        2.0 * xy[b] / (m * n) - xx[b] / pairs(0, m) - yy[b] / pairs(1, n)
    };
    let resampled: Vec<f64> = (1..=resamples.len()).map(value).collect();
    Ok(Band::of(value(0), &resampled))
}

/// How often each vector of a set is in the set itself, and in each resample: `[N, 1 + B]`.
fn weights(resamples: &Resamples, set: usize) -> Vec<f64> {
    let n = resamples.lengths()[set];
    let mut weights = Vec::with_capacity(n * (1 + resamples.len()));
    for i in 0..n {
        weights.push(1.0);
        weights.extend((0..resamples.len()).map(|b| f64::from(resamples.counts(set, b)[i])));
    }
    weights
}

/// `sum_ij a_i b_j |x_i - y_j|` for each column of the weights a and b.
fn distances([x, y]: [&dyn Rows; 2], [a, b]: [&[f64]; 2]) -> Result<Vec<f64>> {
    let columns = a.len() / x.len();
    let all: Vec<_> = parts(x.len(), at_a_time(PART, x.dim())).collect();
    // Of each part.
    let mut found = vec![vec![0.0; columns]; all.len()];
    for (first, n) in parts(y.len(), at_a_time(OTHERS, y.dim())) {
        let others = Part::read(y, (first, n));
        let b = &b[first * columns..][..n * columns];
        let of_parts = all.par_iter().zip(&mut found);
        of_parts.try_for_each(|(at, sums)| {
            if interrupted() {
                return Err(Error::Interrupted);
            }
            let (mut distances, mut weighted) = (Vec::new(), vec![0.0; at.1 * columns]);
            Part::read(x, *at).distances(&others, &mut distances);
            distances.iter_mut().for_each(|x| *x = x.sqrt());
            times(&mut weighted, &distances, b, n);
            let a = a[at.0 * columns..].chunks_exact(columns);
            for (weighted, a) in weighted.chunks_exact(columns).zip(a) {
                for ((sum, weighted), a) in sums.iter_mut().zip(weighted).zip(a) {
                    *sum += weighted * a;
                }
            }
            Ok(())
        })?;
    }
    let mut sums = vec![0.0; columns];
    for part in found {
        sums.iter_mut()
            .zip(part)
            .for_each(|(sum, part)| *sum += part);
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::super::Floats;
    use super::super::tests::vectors;
    use super::*;

    #[test]
    fn a_small_one_by_hand() {
        let x = Floats::new(&[0.0, 1.0], 1).unwrap();
        let y = Floats::new(&[3.0, 5.0, 9.0], 1).unwrap();
        let band = energy(&x, &y, &Resamples::none([2, 3])).unwrap();
        let mixed = (3.0 + 5.0 + 9.0 + 2.0 + 4.0 + 8.0) / 6.0;
        let expected = 2.0 * mixed - 1.0 - (2.0 + 6.0 + 4.0) / 3.0;
        assert!((band.value - expected).abs() < 1e-12);
        assert_eq!(band.bounds, None);
    }

    #[test]
    fn parts_add_up_and_resamples_are_those_of_the_counts() {
        let (x, y) = (vectors(300, 2, 0.0), vectors(1100, 2, 1.0));
        let (x, y) = (Floats::new(&x, 2).unwrap(), Floats::new(&y, 2).unwrap());
        let resamples = Resamples::drawn(1, [300, 1100], 40);
        let band = energy(&x, &y, &resamples).unwrap();
        let [low, high] = band.bounds.unwrap();
        assert!(
            low < band.value && band.value < high && low > 0.3,
            "{band:?}"
        );
        let row = |rows: &Floats<'_>, i| {
            let mut row = [0.0; 2];
            rows.read(i, &mut row);
            row
        };
        let sum = |a: &Floats<'_>, b: &Floats<'_>| {
            let mut sum = 0.0;
            for i in 0..a.len() {
                for j in 0..b.len() {
                    let ([a, b], [c, d]) = (row(a, i), row(b, j));
                    sum += f64::hypot(a - c, b - d);
                }
            }
            sum
        };
        let expected = 2.0 * sum(&x, &y) / (300.0 * 1100.0)
            - sum(&x, &x) / (300.0 * 299.0)
            - sum(&y, &y) / (1100.0 * 1099.0);
        assert!(
            (band.value - expected).abs() < 1e-10,
            "{} {expected}",
            band.value
        );
    }

    /// A resample of one vector alone has no pairs.
    #[test]
    fn bands_of_few_vectors_are_numbers() {
        let (x, y) = (vectors(3, 2, 0.0), vectors(2, 2, 1.0));
        let (x, y) = (Floats::new(&x, 2).unwrap(), Floats::new(&y, 2).unwrap());
        let band = energy(&x, &y, &Resamples::drawn(1, [3, 2], 100)).unwrap();
        let [low, high] = band.bounds.unwrap();
        assert!(
            low.is_finite() && high.is_finite() && low <= high,
            "{band:?}"
        );
    }

    #[test]
    fn one_vector_is_too_few() {
        let x = Floats::new(&[0.0], 1).unwrap();
        let refused = energy(&x, &x, &Resamples::none([1, 1])).unwrap_err();
        assert!(matches!(
            refused,
            Error::TooFew {
                got: 1,
                least: 2,
                ..
            }
        ));
    }
}
