//! The Frechet distance of two sets of vectors.

use crate::error::{Failure, Result};
use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// Mean and covariance of a set of vectors, and how many they are.
#[derive(Debug, Clone)]
pub struct Gaussian {
    mean: DVector<f64>,
    covariance: DMatrix<f64>,
    n: usize,
}

impl Gaussian {
    /// Of the vectors `[N, d]`; the covariance is the sum of squares over N - 1.
    ///
    /// # Errors
    /// [`Failure::Run`] for fewer than 2 vectors, or a value that is not finite, naming the vector.
    pub fn of(vectors: &[f32], d: usize) -> Result<Self> {
        let n = vectors.len() / d;
        if n < 2 {
            return Err(Failure::Run(format!(
                "got {n} images, expected at least 2 for a covariance"
            )));
        }
        if let Some(at) = vectors.iter().position(|x| !x.is_finite()) {
            return Err(Failure::Run(format!(
                "the features of image {} are not finite",
                at / d
            )));
        }
        let mut rows = DMatrix::from_row_iterator(n, d, vectors.iter().map(|&x| f64::from(x)));
        let mean = rows.row_mean();
        rows.row_iter_mut().for_each(|mut row| row -= &mean);
        Ok(Gaussian {
            covariance: rows.tr_mul(&rows) / (n - 1) as f64,
            mean: mean.transpose(),
            n,
        })
    }

    /// How many vectors they are of.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The Frechet distance to another one of the same dimension (Dowson and Landau 1982), a square:
    ///
    /// `|m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^(1/2) S2 S1^(1/2))^(1/2)`
    ///
    /// The covariances may be singular. Eigenvalues below 0, which only rounding makes, count as 0.
    pub fn distance(&self, other: &Gaussian) -> f64 {
        let root = root(&self.covariance);
        let product = symmetric(&root * &other.covariance * &root);
        let eigenvalues = product.symmetric_eigenvalues();
        let common: f64 = eigenvalues.iter().map(|l| l.max(0.0).sqrt()).sum();
        let means = (&self.mean - &other.mean).norm_squared();
        let traces = self.covariance.trace() + other.covariance.trace();
        (means + traces - 2.0 * common).max(0.0)
    }
}

/// The square root of a covariance.
fn root(covariance: &DMatrix<f64>) -> DMatrix<f64> {
    let SymmetricEigen {
        eigenvalues,
        eigenvectors,
    } = covariance.clone().symmetric_eigen();
    let roots = eigenvalues.map(|l| l.max(0.0).sqrt());
    symmetric(&eigenvectors * DMatrix::from_diagonal(&roots) * eigenvectors.transpose())
}

/// Without the part that rounding has made antisymmetric.
fn symmetric(matrix: DMatrix<f64>) -> DMatrix<f64> {
    (&matrix + matrix.transpose()) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaussian(mean: &[f64], covariance: DMatrix<f64>) -> Gaussian {
        Gaussian {
            mean: DVector::from_row_slice(mean),
            covariance,
            n: 2,
        }
    }

    fn diagonal(values: &[f64]) -> DMatrix<f64> {
        DMatrix::from_diagonal(&DVector::from_row_slice(values))
    }

    /// A rotation of three dimensions about two axes.
    fn rotation(a: f64, b: f64) -> DMatrix<f64> {
        let (s, c) = a.sin_cos();
        let first = DMatrix::from_row_slice(3, 3, &[c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0]);
        let (s, c) = b.sin_cos();
        first * DMatrix::from_row_slice(3, 3, &[1.0, 0.0, 0.0, 0.0, c, -s, 0.0, s, c])
    }

    /// For covariances that commute it is `|m1 - m2|^2 + sum (s1 - s2)^2` of the standard deviations s.
    #[test]
    fn of_diagonal_covariances_it_is_that_of_the_deviations() {
        let a = gaussian(&[1.0, 2.0, 0.0], diagonal(&[4.0, 1.0, 0.25]));
        let b = gaussian(&[0.0, 2.0, 2.0], diagonal(&[1.0, 9.0, 0.25]));
        let expected = (1.0 + 4.0) + (1.0 + 4.0);
        assert!((a.distance(&b) - expected).abs() < 1e-12);
        // Of singular ones, too.
        let point = gaussian(&[0.0; 3], diagonal(&[0.0; 3]));
        let line = gaussian(&[0.0; 3], diagonal(&[9.0, 0.0, 0.0]));
        assert!((point.distance(&line) - 9.0).abs() < 1e-12);
        assert!((line.distance(&point) - 9.0).abs() < 1e-12);
    }

    #[test]
    fn a_rotation_of_both_changes_nothing() {
        let r = rotation(0.7, -1.1);
        let turned = |mean: &[f64], values: &[f64]| {
            let mean = &r * DVector::from_row_slice(mean);
            gaussian(mean.as_slice(), &r * diagonal(values) * r.transpose())
        };
        let a = turned(&[1.0, 2.0, 0.0], &[4.0, 1.0, 0.25]);
        let b = turned(&[0.0, 2.0, 2.0], &[1.0, 9.0, 0.0]);
        let expected = (1.0 + 4.0) + (1.0 + 4.0 + 0.25);
        assert!((a.distance(&b) - expected).abs() < 1e-10);
    }

    /// In two dimensions `tr M^(1/2) = sqrt(tr M + 2 sqrt(det M))`, with the trace and the determinant of `S1 S2`.
    #[test]
    fn covariances_that_do_not_commute() {
        let a = DMatrix::from_row_slice(2, 2, &[2.0, 0.5, 0.5, 1.0]);
        let b = DMatrix::from_row_slice(2, 2, &[1.0, -0.8, -0.8, 3.0]);
        let product = &a * &b;
        let root = f64::sqrt(product.determinant());
        let common = f64::sqrt(product.trace() + 2.0 * root);
        let expected = a.trace() + b.trace() - 2.0 * common;
        let distance = gaussian(&[0.0; 2], a).distance(&gaussian(&[0.0; 2], b));
        assert!((distance - expected).abs() < 1e-12 && expected > 0.1);
    }

    /// Vectors `[n, d]` without a pattern.
    fn vectors(n: usize, d: usize) -> Vec<f32> {
        (0..n * d).map(|i| ((i * i) as f32 * 0.37).sin()).collect()
    }

    #[test]
    fn the_same_set_twice_has_no_distance() {
        // More vectors than dimensions, and fewer.
        for (n, d) in [(200, 16), (10, 64)] {
            let set = Gaussian::of(&vectors(n, d), d).unwrap();
            let distance = set.distance(&set.clone());
            assert!(distance < 1e-6, "{n}: {distance}");
        }
    }

    #[test]
    fn moments_are_those_of_the_vectors() {
        let set = Gaussian::of(&[1.0, 0.0, 3.0, 4.0, 5.0, 2.0], 2).unwrap();
        assert_eq!((set.n(), set.mean.as_slice()), (3, &[3.0, 2.0][..]));
        assert_eq!(set.covariance.as_slice(), [4.0, 2.0, 2.0, 4.0]);
        let refused = |vectors: &[f32]| Gaussian::of(vectors, 2).unwrap_err().to_string();
        assert!(refused(&[1.0, 2.0]).starts_with("got 1 images"));
        let message = refused(&[1.0, 2.0, 3.0, f32::NAN]);
        assert_eq!(message, "the features of image 1 are not finite");
    }
}
