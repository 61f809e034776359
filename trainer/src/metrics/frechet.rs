//! The Frechet distance of two normal distributions.

use super::rows::{PART, times, times_transposed};
use super::{Band, Error, Moments, Result, Within};
use crate::signals::interrupted;
use faer::{MatRef, Side};
use rayon::prelude::*;

/// Shares of the largest value that rounding makes: files in f32 have seven digits.
const ASYMMETRY: f64 = 1e-5;

/// Larger numbers have squares of squares that are not finite.
const LARGEST: f64 = 1e75;

/// Mean and covariance of vectors, and how many they were.
#[derive(Debug, Clone)]
pub struct Gaussian {
    mean: Vec<f64>,
    /// `[d, d]`, symmetric.
    covariance: Vec<f64>,
    n: Option<usize>,
}

impl Gaussian {
    /// Of `mean` `[d]` and `covariance` `[d, d]` of `n` vectors, where that is known.
    ///
    /// # Errors
    /// [`Error::NoCovariance`] for other lengths, values that are not finite, a negative variance or a matrix that is not symmetric;
    /// [`Error::TooFew`] for fewer than 2 vectors.
    pub fn new(mean: Vec<f64>, covariance: Vec<f64>, n: Option<usize>) -> Result<Self> {
        let d = mean.len();
        let refuse = |what: String| Err(Error::NoCovariance(what));
        if d == 0 || covariance.len() != d * d {
            let got = covariance.len();
            return refuse(format!(
                "got {got} values of a covariance and a mean of {d}, expected {d} x {d}"
            ));
        }
        let is_odd = |x: &f64| !x.is_finite() || x.abs() > LARGEST;
        if let Some(i) = mean.iter().position(is_odd) {
            return refuse(format!(
                "value {i} of the mean is {:e}, expected a number of at most {LARGEST:e}",
                mean[i]
            ));
        }
        if let Some(at) = covariance.iter().position(is_odd) {
            return refuse(format!(
                "value [{}, {}] of the covariance is {:e}, expected a number of at most {LARGEST:e}",
                at / d,
                at % d,
                covariance[at]
            ));
        }
        let largest = (0..d).map(|i| covariance[i * d + i]).fold(0.0, f64::max);
        for i in 0..d {
            let own = covariance[i * d + i];
            if own < -ASYMMETRY * largest {
                return refuse(format!("variance {i} is {own}, expected at least 0"));
            }
            for j in 0..i {
                let (a, b) = (covariance[i * d + j], covariance[j * d + i]);
                if (a - b).abs() > ASYMMETRY * largest.max(a.abs()) {
                    return refuse(format!(
                        "values [{i}, {j}] and [{j}, {i}] of the covariance are {a} and {b}, expected a symmetric matrix"
                    ));
                }
            }
        }
        if let Some(got) = n.filter(|n| *n < 2) {
            return Err(Error::TooFew {
                got,
                least: 2,
                what: "a covariance",
            });
        }
        Ok(Gaussian {
            mean,
            covariance,
            n,
        })
    }

    /// As [`Gaussian::new`], of numbers of unknown origin: a symmetric matrix may have eigenvalues below 0, whose distances would be too small. At 2048
    /// dimensions it takes about a second.
    ///
    /// # Errors
    /// Those of [`Gaussian::new`], and [`Error::NoCovariance`] for an eigenvalue below 0.
    pub fn of_file(mean: Vec<f64>, covariance: Vec<f64>, n: Option<usize>) -> Result<Self> {
        let made = Self::new(mean, covariance, n)?;
        let values = made.matrix().self_adjoint_eigenvalues(Side::Lower);
        let values = values.map_err(|_| Error::NoEigenvalues)?;
        let largest = values
            .iter()
            .fold(0.0, |most: f64, value| most.max(value.abs()));
        match values.first() {
            Some(least) if *least < -ASYMMETRY * largest => Err(Error::NoCovariance(format!(
                "is no covariance: got the eigenvalue {least:.3e}, expected at least 0"
            ))),
            _ => Ok(made),
        }
    }

    /// Its mean, `[d]`.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Its covariance, `[d, d]`.
    pub fn covariance(&self) -> &[f64] {
        &self.covariance
    }

    /// How many vectors it is of, if that is known.
    pub fn n(&self) -> Option<usize> {
        self.n
    }

    /// The length of a vector.
    pub fn dim(&self) -> usize {
        self.mean.len()
    }

    /// Whether its vectors are too few for a covariance of full rank.
    pub fn is_singular(&self) -> bool {
        self.n.is_some_and(|n| n <= self.dim())
    }

    /// The rank of the covariance by its eigenvalues in ascending order: those above rounding, and at most n - 1.
    fn rank(&self, ascending: impl DoubleEndedIterator<Item = f64> + Clone) -> usize {
        let d = self.dim();
        let most = self.n.map_or(d, |n| d.min(n - 1));
        let largest = ascending.clone().fold(0.0, f64::max);
        let least = largest * d as f64 * f64::EPSILON;
        let above = ascending.rev().take(most);
        above.take_while(|value| *value > least).count()
    }

    fn matrix(&self) -> MatRef<'_, f64> {
        let d = self.dim();
        MatRef::from_row_major_slice(&self.covariance, d, d)
    }

    fn trace(&self) -> f64 {
        let d = self.dim();
        (0..d).map(|i| self.covariance[i * d + i]).sum()
    }
}

/// What distances are measured from, with the root of its covariance.
#[derive(Debug, Clone)]
pub struct Reference {
    gaussian: Gaussian,
    /// `L^(1/2) Q^T` of the eigenvalues L above 0 and their vectors Q, `[rank, d]`.
    root: Vec<f64>,
}

/// A Frechet distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// The distance, a square.
    pub value: f64,
    /// Whether a set has no more vectors than a vector has values. Its covariance is singular, and the distance is large for that alone.
    pub is_singular: bool,
}

impl Reference {
    /// Finds the root of the covariance. At 2048 dimensions it takes about a second.
    ///
    /// # Errors
    /// [`Error::NoEigenvalues`], which does not happen to finite covariances.
    pub fn new(gaussian: Gaussian) -> Result<Self> {
        let d = gaussian.dim();
        let eigen = gaussian.matrix().self_adjoint_eigen(Side::Lower);
        let eigen = eigen.map_err(|_| Error::NoEigenvalues)?;
        let (vectors, values) = (eigen.U(), eigen.S());
        let rank = gaussian.rank((0..d).map(|i| values[i]));
        let mut root = Vec::with_capacity(rank * d);
        for i in d - rank..d {
            let scale = values[i].sqrt();
            root.extend((0..d).map(|j| scale * vectors[(j, i)]));
        }
        Ok(Reference { gaussian, root })
    }

    /// What it is made of.
    pub fn gaussian(&self) -> &Gaussian {
        &self.gaussian
    }

    /// The Frechet distance (Dowson and Landau 1982), a square:
    ///
    /// `|m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S2^(1/2) S1 S2^(1/2))^(1/2)`
    ///
    /// The last trace is that of the roots of the eigenvalues of `R S1 R^T`, where `R = L^(1/2) Q^T` of the reference's `S2 = Q L Q^T`: two
    /// symmetric problems, and no root of a matrix that is not symmetric. The covariances may be singular. Eigenvalues below 0, which only
    /// rounding makes, count as 0. So do those beyond the rank of either covariance: of 2048 values near 10^-16 the roots add up to more than
    /// the distance of a set from itself may be.
    ///
    /// # Errors
    /// [`Error::Lengths`] for vectors of another length, [`Error::NoEigenvalues`].
    pub fn distance(&self, other: &Gaussian) -> Result<Distance> {
        let d = self.gaussian.dim();
        if other.dim() != d {
            return Err(Error::Lengths {
                got: other.dim(),
                expected: d,
            });
        }
        let rank = self.root.len() / d;
        let common = match rank {
            0 => 0.0,
            _ => {
                let mut product = vec![0.0; rank * rank];
                let parts = product.par_chunks_mut(PART * rank);
                parts
                    .zip(self.root.par_chunks(PART * d))
                    .for_each(|(out, root)| {
                        let mut half = vec![0.0; root.len()];
                        times(&mut half, root, &other.covariance, d);
                        times_transposed(out, &half, &self.root, d);
                    });
                let product = MatRef::from_row_major_slice(&product, rank, rank);
                let values = product.self_adjoint_eigenvalues(Side::Lower);
                let values = values.map_err(|_| Error::NoEigenvalues)?;
                let of_other = other.matrix().self_adjoint_eigenvalues(Side::Lower);
                let of_other = of_other.map_err(|_| Error::NoEigenvalues)?;
                let first = rank - rank.min(other.rank(of_other.iter().copied()));
                let roots = values[first..].iter().map(|l| l.max(0.0).sqrt());
                roots.sum::<f64>()
            }
        };
        let means = self.gaussian.mean.iter().zip(&other.mean);
        let of_means = means.map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let traces = self.gaussian.trace() + other.trace();
        Ok(Distance {
            value: (of_means + traces - 2.0 * common).max(0.0),
            is_singular: self.gaussian.is_singular() || other.is_singular(),
        })
    }

    /// The distance of vectors `[n, d]`, which is `value`, with the band of resamples of them. The reference is the same for all of them.
    ///
    /// # Errors
    /// Those of [`Reference::distance`], or [`Error::Interrupted`].
    ///
    /// # Panics
    /// If the resamples are of another number of vectors.
    pub fn band(&self, value: f64, vectors: &[f32], resamples: &Within) -> Result<Band> {
        let d = self.gaussian.dim();
        assert_eq!(resamples.n_vectors() * d, vectors.len(), "whole vectors");
        let distance = |b: usize| {
            let mut moments = Moments::new(d);
            for (vector, times) in vectors.chunks_exact(d).zip(resamples.counts(b)) {
                for _ in 0..times {
                    moments.add(vector)?;
                }
            }
            match interrupted() {
                true => Err(Error::Interrupted),
                false => Ok(self.distance(&moments.finish()?)?.value),
            }
        };
        let distances = (0..resamples.n()).into_par_iter().map(distance);
        Ok(Band::of(value, &distances.collect::<Result<Vec<f64>>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::vectors;
    use super::*;

    /// A matrix of three dimensions.
    type Three = [[f64; 3]; 3];

    fn times(a: &Three, b: &Three) -> Three {
        [0, 1, 2].map(|i| [0, 1, 2].map(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
    }

    fn turned(a: &Three) -> Three {
        [0, 1, 2].map(|i| [0, 1, 2].map(|j| a[j][i]))
    }

    /// A rotation of three dimensions about two axes.
    fn rotation(a: f64, b: f64) -> Three {
        let (s, c) = a.sin_cos();
        let first = [[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]];
        let (s, c) = b.sin_cos();
        times(&first, &[[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    }

    fn diagonal(x: [f64; 3]) -> Three {
        [[x[0], 0.0, 0.0], [0.0, x[1], 0.0], [0.0, 0.0, x[2]]]
    }

    fn gaussian<const D: usize>(mean: [f64; D], covariance: [[f64; D]; D]) -> Gaussian {
        Gaussian::new(mean.to_vec(), covariance.concat(), None).unwrap()
    }

    fn distance(a: &Gaussian, b: &Gaussian) -> f64 {
        let reference = Reference::new(b.clone()).unwrap();
        reference.distance(a).unwrap().value
    }

    /// For covariances that commute it is `|m1 - m2|^2 + sum (s1 - s2)^2` of the standard deviations s.
    #[test]
    fn of_diagonal_covariances_it_is_that_of_the_deviations() {
        let a = gaussian([1.0, 2.0, 0.0], diagonal([4.0, 1.0, 0.25]));
        let b = gaussian([0.0, 2.0, 2.0], diagonal([1.0, 9.0, 0.25]));
        let expected = (1.0 + 4.0) + (1.0 + 4.0);
        assert!((distance(&a, &b) - expected).abs() < 1e-12);
        // Of singular ones, too.
        let point = gaussian([0.0; 3], diagonal([0.0; 3]));
        let line = gaussian([0.0; 3], diagonal([9.0, 0.0, 0.0]));
        assert!((distance(&point, &line) - 9.0).abs() < 1e-12);
        assert!((distance(&line, &point) - 9.0).abs() < 1e-12);
    }

    #[test]
    fn a_rotation_of_both_changes_nothing() {
        let r = rotation(0.7, -1.1);
        let both = |mean: [f64; 3], values: [f64; 3]| {
            let mean = [0, 1, 2].map(|i| (0..3).map(|j| r[i][j] * mean[j]).sum());
            gaussian(mean, times(&times(&r, &diagonal(values)), &turned(&r)))
        };
        let a = both([1.0, 2.0, 0.0], [4.0, 1.0, 0.25]);
        let b = both([0.0, 2.0, 2.0], [1.0, 9.0, 0.0]);
        let expected = (1.0 + 4.0) + (1.0 + 4.0 + 0.25);
        assert!((distance(&a, &b) - expected).abs() < 1e-10);
        assert!((distance(&b, &a) - expected).abs() < 1e-10);
    }

    /// In two dimensions `tr M^(1/2) = sqrt(tr M + 2 sqrt(det M))`, with the trace and the determinant of `S1 S2`.
    #[test]
    fn covariances_that_do_not_commute() {
        let (a, b) = ([[2.0, 0.5], [0.5, 1.0]], [[1.0, -0.8], [-0.8, 3.0]]);
        let trace = 2.0 * 1.0 + 2.0 * 0.5 * -0.8 + 1.0 * 3.0;
        let root = f64::sqrt((2.0 - 0.25) * (3.0 - 0.64));
        let expected = 3.0 + 4.0 - 2.0 * f64::sqrt(trace + 2.0 * root);
        let distance = distance(&gaussian([0.0; 2], a), &gaussian([0.0; 2], b));
        assert!((distance - expected).abs() < 1e-12 && expected > 0.1);
    }

    fn of(vectors: &[f32], d: usize) -> Gaussian {
        let mut moments = Moments::new(d);
        moments.add(vectors).unwrap();
        moments.finish().unwrap()
    }

    #[test]
    fn the_same_set_twice_has_no_distance() {
        // More vectors than dimensions, and fewer, by far.
        for (n, d) in [(200, 16), (10, 64), (20, 300)] {
            let set = of(&vectors(n, d, 0.5), d);
            let reference = Reference::new(set.clone()).unwrap();
            let same = reference.distance(&set).unwrap();
            assert!(same.value < 1e-10, "{n}: {}", same.value);
            assert_eq!(same.is_singular, n <= d);
        }
    }

    /// With a shift alone, it is the square of the shift, whatever the rank.
    #[test]
    fn a_shift_is_its_square() {
        for (n, d) in [(200, 16), (10, 64)] {
            let a = vectors(n, d, 0.0);
            let b: Vec<f32> = a.iter().map(|x| x + 0.5).collect();
            let distance = distance(&of(&a, d), &of(&b, d));
            assert!((distance - 0.25 * d as f64).abs() < 1e-5, "{distance}");
        }
    }

    #[test]
    fn a_band_is_that_of_resamples() {
        let (n, d) = (400, 4);
        let reference = Reference::new(of(&vectors(4000, d, 0.0), d)).unwrap();
        let set = vectors(n, d, 0.3);
        let value = reference.distance(&of(&set, d)).unwrap().value;
        let band = |labels: &[u32], times| {
            let resamples = Within::of(1, labels, times);
            reference.band(value, &set, &resamples).unwrap().bounds
        };
        let [low, high] = band(&vec![0; n], 100).unwrap();
        assert!(0.0 < low && low < value && value < high && high < 2.0 * value);
        assert_eq!(band(&vec![0; n], 1), None);
        // Of vectors that are all alone in their class nothing varies.
        let alone: Vec<u32> = (0..n as u32).collect();
        let [low, high] = band(&alone, 10).unwrap();
        assert!((low - value).abs() < 1e-9 && (high - value).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_covariance_is_refused() {
        let refused = |mean: &[f64], covariance: &[f64], n| {
            let made = Gaussian::new(mean.to_vec(), covariance.to_vec(), n);
            made.unwrap_err().to_string()
        };
        let cases = [
            (
                refused(&[0.0; 2], &[0.0; 3], None),
                "got 3 values of a covariance",
            ),
            (refused(&[], &[], None), "got 0 values of a covariance"),
            (
                refused(&[f64::NAN], &[1.0], None),
                "value 0 of the mean is NaN",
            ),
            (
                refused(&[0.0], &[f64::INFINITY], None),
                "value [0, 0] of the covariance is inf",
            ),
            (
                refused(&[1e200], &[1.0], None),
                "value 0 of the mean is 1e200, expected a number of at most 1e75",
            ),
            (refused(&[0.0], &[-1.0], None), "variance 0 is -1"),
            (
                refused(&[0.0; 2], &[1.0, 0.5, 0.4, 1.0], None),
                "values [1, 0] and [0, 1]",
            ),
            (refused(&[0.0], &[1.0], Some(1)), "got 1 images"),
        ];
        for (message, expected) in cases {
            assert!(message.starts_with(expected), "{message}");
        }
        let covariance = vec![1.0, 2.0, 2.0, 1.0];
        let refused = Gaussian::of_file(vec![0.0; 2], covariance, None).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "is no covariance: got the eigenvalue -1.000e0, expected at least 0"
        );
        let singular = vec![1.0, 1.0, 1.0, 1.0 - 1e-7];
        Gaussian::of_file(vec![0.0; 2], singular, None).unwrap();
        let two = Reference::new(gaussian([0.0; 2], [[1.0, 0.0], [0.0, 1.0]])).unwrap();
        let refused = two.distance(&gaussian([0.0], [[1.0]])).unwrap_err();
        assert_eq!(
            refused,
            Error::Lengths {
                got: 1,
                expected: 2
            }
        );
    }
}
