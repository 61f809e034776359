//! Improved precision and recall.

use super::rows::{PART, Part, Rows, parts};
use super::{Result, at_least, same_length};
use rayon::prelude::*;

/// Vectors of the other set at a time.
const OTHERS: usize = 1024;

/// How much of the one set lies within the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrecisionRecall {
    /// The share of the samples that lie within the reference.
    pub precision: f64,
    /// The share of the reference that lies within the samples.
    pub recall: f64,
}

/// Improved precision and recall (Kynkaanniemi et al., arXiv 1904.06991) with `k` neighbors, 3 in the paper.
///
/// A vector lies within a set if it is no farther from one of its vectors than that vector's k-th nearest neighbor in the set. Memory is for
/// 256 x 1024 distances a thread, whatever the number of vectors; time grows with the product of the numbers.
///
/// # Errors
/// [`super::Error::Lengths`], [`super::Error::TooFew`] for a set of at most `k` vectors.
pub fn precision_recall(
    samples: &dyn Rows,
    reference: &dyn Rows,
    k: usize,
) -> Result<PrecisionRecall> {
    same_length(samples, reference)?;
    for rows in [samples, reference] {
        at_least(k + 1, rows, "precision and recall")?;
    }
    let share = |of: &dyn Rows, within: &dyn Rows| {
        let radii = radii(within, k);
        covered(of, within, &radii) as f64 / of.len() as f64
    };
    Ok(PrecisionRecall {
        precision: share(samples, reference),
        recall: share(reference, samples),
    })
}

/// Squared distances of each vector to its k-th nearest other one.
fn radii(rows: &dyn Rows, k: usize) -> Vec<f64> {
    let all: Vec<_> = parts(rows.len(), PART).collect();
    let of_part = |at: &(usize, usize)| {
        let own = Part::read(rows, *at);
        let mut nearest = vec![Vec::with_capacity(k + 1); at.1];
        let mut distances = Vec::new();
        for other in parts(rows.len(), OTHERS) {
            own.distances(&Part::read(rows, other), &mut distances);
            for (i, row) in distances.chunks_exact(other.1).enumerate() {
                for (j, distance) in row.iter().enumerate() {
                    if at.0 + i != other.0 + j {
                        keep(&mut nearest[i], *distance, k);
                    }
                }
            }
        }
        let last = |list: &Vec<f64>| list.last().copied().unwrap_or(0.0);
        nearest.iter().map(last).collect::<Vec<f64>>()
    };
    let radii: Vec<Vec<f64>> = all.par_iter().map(of_part).collect();
    radii.concat()
}

/// Keeps the `k` least values in order.
fn keep(list: &mut Vec<f64>, value: f64, k: usize) {
    if list.len() == k && list.last().is_some_and(|last| value >= *last) {
        return;
    }
    let at = list.partition_point(|other| *other <= value);
    list.insert(at, value);
    list.truncate(k);
}

/// How many vectors are within the radius of one of the set.
fn covered(of: &dyn Rows, within: &dyn Rows, radii: &[f64]) -> usize {
    let all: Vec<_> = parts(of.len(), PART).collect();
    let of_part = |at: &(usize, usize)| {
        let own = Part::read(of, *at);
        let mut is_within = vec![false; at.1];
        let mut distances = Vec::new();
        for other in parts(within.len(), OTHERS) {
            own.distances(&Part::read(within, other), &mut distances);
            let radii = &radii[other.0..][..other.1];
            for (is_within, row) in is_within.iter_mut().zip(distances.chunks_exact(other.1)) {
                *is_within |= row
                    .iter()
                    .zip(radii)
                    .any(|(distance, radius)| distance <= radius);
            }
        }
        is_within.iter().filter(|is_within| **is_within).count()
    };
    all.par_iter().map(of_part).sum()
}

#[cfg(test)]
mod tests {
    use super::super::tests::vectors;
    use super::super::{Error, Floats};
    use super::*;

    #[test]
    fn points_on_a_line() {
        // Radii of the reference with one neighbor: 1, 1, 8. Of the samples: 0.5, 0.5, 88.
        let reference = [0.0, 1.0, 9.0];
        let samples = [1.5, 2.0, 90.0];
        let (r, s) = (
            Floats::new(&reference, 1).unwrap(),
            Floats::new(&samples, 1).unwrap(),
        );
        assert_eq!(radii(&r, 1), [1.0, 1.0, 64.0]);
        assert_eq!(radii(&r, 2), [81.0, 64.0, 81.0]);
        // 1.5 and 2 are within 1 of 1; 1 is within 0.5 of 1.5, and all others within 88 of 90 but for 0 and 1.
        let both = precision_recall(&s, &r, 1).unwrap();
        assert_eq!(both.precision, 2.0 / 3.0);
        assert_eq!(both.recall, 2.0 / 3.0);
    }

    #[test]
    fn a_set_is_within_itself_also_with_copies() {
        let mut all = vectors(700, 3, 0.0);
        // Five copies: the radius of three neighbors is 0.
        let copy = all[..3].to_vec();
        for row in 300..305 {
            all[3 * row..3 * row + 3].copy_from_slice(&copy);
        }
        let rows = Floats::new(&all, 3).unwrap();
        assert_eq!(radii(&rows, 3)[300], 0.0);
        let both = precision_recall(&rows, &rows, 3).unwrap();
        assert_eq!((both.precision, both.recall), (1.0, 1.0));
        let far: Vec<f32> = all.iter().map(|x| x + 100.0).collect();
        let both = precision_recall(&rows, &Floats::new(&far, 3).unwrap(), 3).unwrap();
        assert_eq!((both.precision, both.recall), (0.0, 0.0));
    }

    #[test]
    fn a_set_has_more_vectors_than_neighbors() {
        let rows = Floats::new(&[0.0, 1.0, 2.0], 1).unwrap();
        let message = precision_recall(&rows, &rows, 3).unwrap_err();
        assert!(matches!(
            message,
            Error::TooFew {
                got: 3,
                least: 4,
                ..
            }
        ));
    }
}
