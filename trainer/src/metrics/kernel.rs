//! The kernel distance, of Inception's features KID.

use super::rows::{PART, Picked, Rows, part, parts, times_transposed};
use super::{RandomState, Result, at_least, mean_and_deviation, same_length};
use rayon::prelude::*;
use sit_engine::rng::{Stream, uniform};

/// A subset of each of two sets, by the numbers of its vectors.
pub type Subset = [Vec<u32>; 2];

/// A kernel distance: the mean over subsets, and their standard deviation over N.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kernel {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of a subset.
    pub deviation: f64,
}

/// The squared maximum mean discrepancy of two sets with a cubic kernel, unbiased, in the mean over subsets (KID, arXiv 1801.01401):
///
/// `1/(m(m-1)) sum_(i != j) k(x_i, x_j) + 1/(n(n-1)) sum_(i != j) k(y_i, y_j) - 2/(mn) sum_ij k(x_i, y_j)`, `k(x, y) = (x . y / d + 1)^3`
///
/// It has no bias by the number of vectors, and may be below 0.
///
/// # Errors
/// [`super::Error::Lengths`], [`super::Error::TooFew`] for a subset of fewer than 2 vectors or no subset, [`super::Error::NoSuchRow`].
pub fn kernel_distance(x: &dyn Rows, y: &dyn Rows, subsets: &[Subset]) -> Result<Kernel> {
    same_length(x, y)?;
    let values = subsets.iter().map(|[of_x, of_y]| {
        let (x, y) = (Picked::new(x, of_x)?, Picked::new(y, of_y)?);
        at_least(2, &x, "a kernel distance")?;
        at_least(2, &y, "a kernel distance")?;
        let [m, n] = [x.len(), y.len()].map(|n| n as f64);
        let own = |rows: &dyn Rows, n: f64| kernels(rows, rows, true) / (n * (n - 1.0));
        Ok(own(&x, m) + own(&y, n) - 2.0 * kernels(&x, &y, false) / (m * n))
    });
    let values = values.collect::<Result<Vec<f64>>>()?;
    if values.is_empty() {
        return Err(super::Error::TooFew {
            got: 0,
            least: 2,
            what: "a kernel distance",
        });
    }
    let (mean, deviation) = mean_and_deviation(&values);
    Ok(Kernel { mean, deviation })
}

/// The sum of the kernel over all pairs, of a set with itself those of two different vectors.
fn kernels(x: &dyn Rows, y: &dyn Rows, is_same: bool) -> f64 {
    let d = x.dim();
    let all: Vec<_> = parts(x.len(), PART).collect();
    let of_part = |at: &(usize, usize)| {
        let own = part(x, *at);
        let mut products = Vec::new();
        let mut sum = 0.0;
        for other in parts(y.len(), PART) {
            products.resize(at.1 * other.1, 0.0);
            times_transposed(&mut products, &own, &part(y, other), d);
            for (i, row) in products.chunks_exact(other.1).enumerate() {
                for (j, product) in row.iter().enumerate() {
                    if !(is_same && at.0 + i == other.0 + j) {
                        sum += (product / d as f64 + 1.0).powi(3);
                    }
                }
            }
        }
        sum
    };
    let sums: Vec<f64> = all.par_iter().map(of_part).collect();
    sums.iter().sum()
}

/// How subsets are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// With the generator of [`sit_engine::rng`].
    Own(u64),
    /// As torch-fidelity draws them, with [`RandomState`].
    TorchFidelity(u32),
}

/// `n` subsets of `size` vectors of two sets of these lengths, each without repetitions. KID takes 100 of 1,000.
///
/// # Panics
/// If a set is smaller than a subset.
pub fn subsets(draw: Draw, lengths: [usize; 2], size: usize, n: usize) -> Vec<Subset> {
    assert!(
        lengths.iter().all(|len| size <= *len),
        "subsets of the sets"
    );
    match draw {
        Draw::TorchFidelity(seed) => {
            let mut state = RandomState::new(seed);
            let mut pick = |len: usize| {
                let mut order = state.permutation(len as u32);
                order.truncate(size);
                order
            };
            (0..n).map(|_| lengths.map(&mut pick)).collect()
        }
        Draw::Own(seed) => {
            let pick = |number: usize, set: usize| {
                let step = (2 * number + set) as u32;
                picks(seed, step, lengths[set], size)
            };
            (0..n).map(|i| [pick(i, 0), pick(i, 1)]).collect()
        }
    }
}

/// `size` different numbers below `len`: the first steps of a shuffle (Fisher and Yates).
pub fn picks(seed: u64, step: u32, len: usize, size: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..len as u32).collect();
    for i in 0..size.min(len) {
        let u = uniform(seed, Stream::Resample, step, i as u64);
        let left = len - i;
        let j = i + ((u * left as f64) as usize).min(left - 1);
        order.swap(i, j);
    }
    order.truncate(size);
    order
}

#[cfg(test)]
mod tests {
    use super::super::tests::vectors;
    use super::super::{Error, Floats};
    use super::*;

    fn all(m: usize, n: usize) -> Vec<Subset> {
        vec![[(0..m as u32).collect(), (0..n as u32).collect()]]
    }

    /// Two vectors of one value each: `k(1, 2)`, `k(0, 1)` and four mixed ones.
    #[test]
    fn a_small_one_by_hand() {
        let x = Floats::new(&[1.0, 2.0], 1).unwrap();
        let y = Floats::new(&[0.0, 1.0], 1).unwrap();
        let expected = 27.0 + 1.0 - 2.0 * (1.0 + 8.0 + 1.0 + 27.0) / 4.0;
        let kernel = kernel_distance(&x, &y, &all(2, 2)).unwrap();
        assert_eq!((kernel.mean, kernel.deviation), (expected, 0.0));
    }

    #[test]
    fn parts_add_up_and_two_shifts_differ() {
        let (a, b) = (vectors(600, 4, 0.0), vectors(500, 4, 0.7));
        let (x, y) = (Floats::new(&a, 4).unwrap(), Floats::new(&b, 4).unwrap());
        let whole = kernel_distance(&x, &y, &all(600, 500)).unwrap().mean;
        let k = |a: &[f32], b: &[f32]| {
            let dot: f64 = a
                .iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum();
            (dot / 4.0 + 1.0).powi(3)
        };
        let sum = |a: &[f32], b: &[f32], is_same: bool| {
            let mut sum = 0.0;
            for (i, a) in a.chunks(4).enumerate() {
                for (j, b) in b.chunks(4).enumerate() {
                    sum += if is_same && i == j { 0.0 } else { k(a, b) };
                }
            }
            sum
        };
        let expected = sum(&a, &a, true) / (600.0 * 599.0) + sum(&b, &b, true) / (500.0 * 499.0)
            - 2.0 * sum(&a, &b, false) / (600.0 * 500.0);
        assert!(
            (whole - expected).abs() < 1e-11 * expected,
            "{whole} {expected}"
        );
        assert!(expected > 0.1);
    }

    #[test]
    fn subsets_have_no_repetitions_and_are_those_of_the_seed() {
        for draw in [Draw::Own(3), Draw::TorchFidelity(3)] {
            let drawn = subsets(draw, [20, 30], 15, 4);
            assert_eq!(drawn, subsets(draw, [20, 30], 15, 4));
            assert_ne!(drawn[0], drawn[1]);
            for ([a, b], most) in drawn.iter().map(|[a, b]| ([a, b], [20, 30])) {
                for (numbers, most) in [(a, most[0]), (b, most[1])] {
                    let mut sorted = numbers.clone();
                    sorted.sort_unstable();
                    sorted.dedup();
                    assert!(sorted.len() == 15 && sorted.iter().all(|n| *n < most));
                }
            }
        }
        assert_ne!(
            subsets(Draw::Own(3), [20, 20], 5, 1),
            subsets(Draw::Own(4), [20, 20], 5, 1)
        );
    }

    #[test]
    fn too_few_are_refused() {
        let a = vectors(3, 2, 0.0);
        let x = Floats::new(&a, 2).unwrap();
        let one = kernel_distance(&x, &x, &all(1, 3)).unwrap_err();
        assert!(matches!(one, Error::TooFew { got: 1, .. }));
        assert!(kernel_distance(&x, &x, &[]).is_err());
        let far = kernel_distance(&x, &x, &all(4, 3)).unwrap_err();
        assert_eq!(far, Error::NoSuchRow { got: 3, most: 2 });
    }
}
