//! The nearest vectors of a set that comes in a stream.

use super::rows::{OTHERS, PART, Part, Rows, at_a_time, parts};
use super::{Error, Result, same_length};
use crate::signals::interrupted;
use rayon::prelude::*;

/// The two nearest vectors of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Two {
    /// The number of the nearest.
    pub number: u32,
    /// Its Euclidean distance.
    pub first: f64,
    /// That of the next one; infinite where there is none.
    pub second: f64,
}

impl Two {
    /// Whether the vector is a copy: it lies at less than a third of the second distance from the nearest, or on it.
    ///
    /// The ratio and its bound are those of arXiv 2310.02664. A vector of the training distribution that is no copy has two neighbors at about
    /// the same distance, so that its ratio is near 1. A set which has everything twice hides copies that are not exact, as both neighbors are
    /// then equally near.
    pub fn is_copy(&self) -> bool {
        self.first == 0.0 || self.first < self.second / 3.0
    }
}

/// The nearest vectors of each of some, among those that were looked at.
#[derive(Debug, Clone)]
pub struct Nearest {
    /// Squared distances.
    found: Vec<Two>,
    looked_at: u32,
}

impl Nearest {
    /// Of `n` vectors, with nothing looked at.
    pub fn new(n: usize) -> Self {
        let none = Two {
            number: 0,
            first: f64::INFINITY,
            second: f64::INFINITY,
        };
        Nearest {
            found: vec![none; n],
            looked_at: 0,
        }
    }

    /// Compares `rows`, the same at each call, with the next vectors of the stream. Of two at the same distance the earlier one is nearest.
    ///
    /// # Errors
    /// [`Error::Lengths`], [`Error::Interrupted`].
    ///
    /// # Panics
    /// If they are not as many as announced.
    pub fn look(&mut self, rows: &dyn Rows, next: &dyn Rows) -> Result<()> {
        same_length(next, rows)?;
        assert_eq!(rows.len(), self.found.len(), "the vectors announced");
        let before = self.looked_at;
        let n = at_a_time(PART, rows.dim());
        for (first, n_others) in parts(next.len(), at_a_time(OTHERS, rows.dim())) {
            let others = Part::read(next, (first, n_others));
            let found = self.found.par_chunks_mut(n).enumerate();
            found.try_for_each(|(i, found)| {
                if interrupted() {
                    return Err(Error::Interrupted);
                }
                let own = Part::read(rows, (i * n, found.len()));
                let mut distances = Vec::new();
                own.distances(&others, &mut distances);
                for (two, row) in found.iter_mut().zip(distances.chunks_exact(n_others)) {
                    for (j, distance) in row.iter().copied().enumerate() {
                        if distance < two.first {
                            *two = Two {
                                number: before + (first + j) as u32,
                                first: distance,
                                second: two.first,
                            };
                        } else if distance < two.second {
                            two.second = distance;
                        }
                    }
                }
                Ok(())
            })?;
        }
        self.looked_at += next.len() as u32;
        Ok(())
    }

    /// The nearest two of each.
    pub fn finish(mut self) -> Vec<Two> {
        for two in &mut self.found {
            two.first = two.first.sqrt();
            two.second = two.second.sqrt();
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::super::Floats;
    use super::super::tests::vectors;
    use super::*;

    #[test]
    fn copies_are_found_in_a_stream() {
        let training = vectors(1500, 8, 0.0);
        let mut samples = vectors(3, 8, 0.9);
        samples[..8].copy_from_slice(&training[8 * 1200..8 * 1201]);
        for (x, y) in samples[8..16].iter_mut().zip(&training[8 * 7..8 * 8]) {
            *x = y + 1e-3;
        }
        let rows = Floats::new(&samples, 8).unwrap();
        let mut whole = Nearest::new(3);
        whole
            .look(&rows, &Floats::new(&training, 8).unwrap())
            .unwrap();
        let whole = whole.finish();
        assert_eq!((whole[0].number, whole[0].first), (1200, 0.0));
        assert_eq!(whole[1].number, 7);
        assert!(whole[0].is_copy() && whole[1].is_copy() && !whole[2].is_copy());
        let mut parts = Nearest::new(3);
        for part in training.chunks(8 * 400) {
            parts.look(&rows, &Floats::new(part, 8).unwrap()).unwrap();
        }
        for (a, b) in whole.iter().zip(parts.finish()) {
            assert_eq!(a.number, b.number);
            assert!((a.first - b.first).abs() < 1e-9 && (a.second - b.second).abs() < 1e-9);
        }
    }

    /// Vectors so long that a few are a part.
    #[test]
    fn long_vectors_have_the_same_neighbors() {
        const D: usize = 1 << 20;
        let value = |i: usize| [0.0, 1.0, 4.0, 5.0, 9.0, 7.0][i];
        let all: Vec<f32> = (0..6)
            .flat_map(|i| std::iter::repeat_n(value(i), D))
            .collect();
        let rows = Floats::new(&all, D).unwrap();
        let mut nearest = Nearest::new(6);
        nearest.look(&rows, &rows).unwrap();
        let found = nearest.finish();
        for (i, second) in [1.0, 1.0, 1.0, 1.0, 2.0, 2.0].into_iter().enumerate() {
            assert_eq!((found[i].number, found[i].first), (i as u32, 0.0));
            assert_eq!(found[i].second, second * 1024.0);
        }
    }

    #[test]
    fn an_only_vector_is_no_copy_of_what_differs_in_everything() {
        let two = |first, second| Two {
            number: 0,
            first,
            second,
        };
        assert!(two(0.0, 0.0).is_copy() && two(0.3, 1.0).is_copy());
        assert!(!two(0.4, 1.0).is_copy() && !two(1.0, 1.0).is_copy());
    }
}
