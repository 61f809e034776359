//! Mean and covariance of vectors that come in a stream.

use super::rows::PART;
use super::{Error, Gaussian, Result};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Columns of the covariance that a thread takes at a time.
const COLUMNS: usize = 256;

/// Mean m and covariance S of vectors that are forgotten: memory for d^2 + 256 d numbers, whatever the number of vectors.
///
/// Each 256 vectors have a mean and centered squares of their own, which are merged (Chan, Golub and LeVeque 1983):
///
/// `m = m_a + (m_b - m_a) n_b / n`, `Q = Q_a + Q_b + (m_b - m_a)(m_b - m_a)^T n_a n_b / n`, `S = Q / (n - 1)`
///
/// Sums of squares without a center lose as many digits as the mean is larger than the deviation. The parts begin at every 256th vector, so that
/// the bits do not depend on how many come at a time.
#[derive(Debug, Clone)]
pub struct Moments {
    dim: usize,
    n: usize,
    mean: Vec<f64>,
    /// The lower triangle of Q, row-major.
    squares: Vec<f64>,
    /// Vectors of the part that is not full.
    pending: Vec<f64>,
}

impl Moments {
    /// Of no vectors, of `dim` values each.
    pub fn new(dim: usize) -> Self {
        Moments {
            dim,
            n: 0,
            mean: vec![0.0; dim],
            squares: vec![0.0; dim * dim],
            pending: Vec::with_capacity(PART * dim),
        }
    }

    /// How many vectors there were.
    pub fn n(&self) -> usize {
        self.n + self.pending.len() / self.dim.max(1)
    }

    /// Takes the vectors `[n, d]`.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming the vector, [`Error::Lengths`] for values that are no whole vectors; nothing is taken then.
    pub fn add(&mut self, vectors: &[f32]) -> Result<()> {
        super::Floats::new(vectors, self.dim).map_err(|e| match e {
            Error::NotFinite(row) => Error::NotFinite(self.n() + row),
            other => other,
        })?;
        for vector in vectors.chunks_exact(self.dim) {
            self.pending.extend(vector.iter().map(|x| f64::from(*x)));
            if self.pending.len() == PART * self.dim {
                self.merge();
            }
        }
        Ok(())
    }

    /// Merges the vectors of the last part.
    fn merge(&mut self) {
        let (d, part) = (self.dim, &mut self.pending);
        let n = part.len() / d.max(1);
        if n == 0 {
            return;
        }
        let mut mean = vec![0.0; d];
        for row in part.chunks_exact(d) {
            mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        mean.iter_mut().for_each(|sum| *sum /= n as f64);
        for row in part.chunks_exact_mut(d) {
            row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean);
        }
        let all = self.n + n;
        let weight = self.n as f64 * n as f64 / all as f64;
        let shift: Vec<f64> = mean.iter().zip(&self.mean).map(|(b, a)| b - a).collect();
        let part = MatRef::from_row_major_slice(&part[..], n, d);
        let bands = self.squares.par_chunks_mut(COLUMNS * d).enumerate();
        bands.for_each(|(band, squares)| {
            let (first, rows) = (band * COLUMNS, squares.len() / d);
            let out = MatMut::from_row_major_slice_mut(&mut *squares, rows, d);
            matmul(
                out.subcols_mut(0, first + rows),
                Accum::Add,
                part.subcols(first, rows).transpose(),
                part.subcols(0, first + rows),
                1.0,
                Par::Seq,
            );
            for (row, squares) in squares.chunks_exact_mut(d).enumerate() {
                let own = weight * shift[first + row];
                for (square, shift) in squares.iter_mut().zip(&shift[..=first + row]) {
                    *square += own * shift;
                }
            }
        });
        let share = n as f64 / all as f64;
        for (mean, shift) in self.mean.iter_mut().zip(&shift) {
            *mean += shift * share;
        }
        self.n = all;
        self.pending.clear();
    }

    /// Their mean and covariance.
    ///
    /// # Errors
    /// [`Error::TooFew`] for fewer than 2 vectors.
    pub fn finish(mut self) -> Result<Gaussian> {
        self.merge();
        if self.n < 2 {
            return Err(Error::TooFew {
                got: self.n,
                least: 2,
                what: "a covariance",
            });
        }
        let (d, over) = (self.dim, (self.n - 1) as f64);
        for i in 0..d {
            for j in 0..=i {
                let value = self.squares[i * d + j] / over;
                self.squares[i * d + j] = value;
                self.squares[j * d + i] = value;
            }
        }
        Gaussian::new(self.mean, self.squares, Some(self.n))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::vectors;
    use super::*;

    fn of(vectors: &[f32], d: usize, batch: usize) -> Gaussian {
        let mut moments = Moments::new(d);
        for part in vectors.chunks(batch * d) {
            moments.add(part).unwrap();
        }
        assert_eq!(moments.n(), vectors.len() / d);
        moments.finish().unwrap()
    }

    #[test]
    fn moments_are_those_of_the_vectors() {
        let set = of(&[1.0, 0.0, 3.0, 4.0, 5.0, 2.0], 2, 3);
        assert_eq!((set.n(), set.mean()), (Some(3), &[3.0, 2.0][..]));
        assert_eq!(set.covariance(), [4.0, 2.0, 2.0, 4.0]);
    }

    #[test]
    fn their_bits_do_not_depend_on_the_batches() {
        let all = vectors(700, 5, 0.1);
        let whole = of(&all, 5, 700);
        for batch in [1, 37, 256, 300] {
            let other = of(&all, 5, batch);
            assert_eq!(other.mean(), whole.mean());
            assert_eq!(other.covariance(), whole.covariance());
        }
    }

    /// A mean of 10^5 and a deviation of about 1: sums of squares would have six digits of the variance.
    #[test]
    fn a_mean_far_from_zero_costs_no_digits() {
        let near = vectors(1000, 3, 0.0);
        // Multiples of 1/64 have the same distances there.
        let near: Vec<f32> = near.iter().map(|x| (x * 64.0).round() / 64.0).collect();
        let far: Vec<f32> = near.iter().map(|x| x + 1e5).collect();
        let (near, far) = (of(&near, 3, 1000), of(&far, 3, 1000));
        for (a, b) in near.covariance().iter().zip(far.covariance()) {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
    }

    #[test]
    fn bad_vectors_are_named_and_one_is_too_few() {
        let mut moments = Moments::new(2);
        moments.add(&[0.0; 4]).unwrap();
        let refused = moments.add(&[0.0, 0.0, f32::NAN, 0.0]);
        assert_eq!(refused, Err(Error::NotFinite(3)));
        assert!(moments.add(&[0.0; 3]).is_err());
        assert_eq!(moments.n(), 2);
        let mut one = Moments::new(2);
        one.add(&[0.0; 2]).unwrap();
        let message = one.finish().unwrap_err().to_string();
        assert_eq!(
            message,
            "got 1 images, expected at least 2 for a covariance"
        );
    }
}
