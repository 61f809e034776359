//! Numbers that compare two sets of vectors: features of samples and of real images, or their pixels.
//!
//! Everything is computed in f64, in parts of fixed size that are added in order: the same vectors give the same bits on one machine, whatever
//! the number of threads and however the vectors came in. What is drawn is a function of a seed.
//!
//! | number | file | source |
//! | --- | --- | --- |
//! | Frechet distance | `frechet.rs`, moments in `moments.rs` | Dowson and Landau 1982; of Inception's features FID, arXiv 1706.08500 |
//! | kernel distance | `kernel.rs` | KID, arXiv 1801.01401 |
//! | precision and recall | `neighbors.rs` | arXiv 1904.06991 |
//! | Inception Score | `score.rs` | arXiv 1606.03498 |
//! | sliced Wasserstein distance, MIND | `sliced.rs` | Bonneel et al. 2015; arXiv 2605.06797 |
//! | energy distance | `energy.rs` | Szekely and Rizzo 2013 |
//! | nearest vectors | `nearest.rs` | arXiv 2310.02664 |
//! | bands | `bootstrap.rs` | Efron 1979 |

mod bootstrap;
mod energy;
mod frechet;
mod kernel;
mod moments;
mod nearest;
mod neighbors;
mod random_state;
mod rows;
mod score;
mod sliced;

pub use bootstrap::{Band, Resamples, Within};
pub use energy::energy;
pub use frechet::{Distance, Gaussian, Reference};
pub use kernel::{Draw, Kernel, Subset, kernel_distance, picks, subsets};
pub use moments::Moments;
pub use nearest::{Nearest, Two};
pub use neighbors::{PrecisionRecall, precision_recall};
pub use random_state::RandomState;
pub use rows::{Floats, Levels, Picked, Rows, work_bytes};
pub use score::{InceptionScore, Splits, inception_score};
pub use sliced::{Directions, Sliced, mind, sliced};

/// Why a number cannot be computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Too few vectors.
    #[error("got {got} images, expected at least {least} for {what}")]
    TooFew {
        /// How many there are.
        got: usize,
        /// How many are needed.
        least: usize,
        /// What they are needed for.
        what: &'static str,
    },
    /// A vector with a value that is not a number, or infinite.
    #[error("the features of image {0} are not finite")]
    NotFinite(usize),
    /// Vectors of two lengths.
    #[error("got vectors of {got} values, expected {expected}")]
    Lengths {
        /// The length of the one.
        got: usize,
        /// The length of the other.
        expected: usize,
    },
    /// Sets of two numbers of vectors, where one number is needed.
    #[error("got {got} and {expected} images, expected as many of each")]
    Counts {
        /// Of the one.
        got: usize,
        /// Of the other.
        expected: usize,
    },
    /// Numbers that are no covariance, or a mean of another length.
    #[error("{0}")]
    NoCovariance(String),
    /// A subset that names a vector which is not there.
    #[error("a subset names image {got}, expected 0 to {most}")]
    NoSuchRow {
        /// The number.
        got: usize,
        /// The largest there is.
        most: usize,
    },
    /// The work was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// Eigenvalues that are not found, which finite covariances do not have.
    #[error("the eigenvalues of a covariance are not found")]
    NoEigenvalues,
}

/// Result of a metric.
pub type Result<T> = std::result::Result<T, Error>;

/// Refuses sets of vectors of two lengths.
fn same_length(a: &dyn Rows, b: &dyn Rows) -> Result<()> {
    let (got, expected) = (a.dim(), b.dim());
    match got == expected {
        true => Ok(()),
        false => Err(Error::Lengths { got, expected }),
    }
}

/// Refuses fewer than `least` vectors.
fn at_least(least: usize, rows: &dyn Rows, what: &'static str) -> Result<()> {
    let got = rows.len();
    match got >= least {
        true => Ok(()),
        false => Err(Error::TooFew { got, least, what }),
    }
}

/// Mean, and standard deviation over N.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|x| (x - mean).powi(2));
    (mean, (squares.sum::<f64>() / n).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors `[n, d]` without a pattern.
    pub fn vectors(n: usize, d: usize, shift: f64) -> Vec<f32> {
        let value = |i: usize| ((i * i) as f64 * 0.37 + shift).sin() + shift;
        (0..n * d).map(|i| value(i) as f32).collect()
    }

    #[test]
    fn vectors_of_two_lengths_are_refused() {
        let (a, b) = (vectors(6, 4, 0.0), vectors(4, 6, 0.0));
        let a = Floats::new(&a, 4).unwrap();
        let b = Floats::new(&b, 6).unwrap();
        let expected = Error::Lengths {
            got: 4,
            expected: 6,
        };
        assert_eq!(same_length(&a, &b), Err(expected));
    }
}
