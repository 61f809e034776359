//! Statistics of samples, as pure functions: no drawing, no device, no clock, and all randomness from a seed.
//!
//! Two groups of samples are compared by an exact [`mod@test`] of their [`energy`] distances, by [`sliced`] (a distance in pixel units) and
//! by [`histogram`]s along [`direction`]s; [`verdict`] puts the test into words. [`path`] describes the trajectory from noise to
//! data, [`nearest`] a sample's nearest training image.

pub mod direction;
pub mod energy;
mod group;
pub mod histogram;
pub mod nearest;
pub mod path;
mod resample;
pub mod sliced;
pub mod test;
pub mod verdict;

pub use energy::Energy;
pub use group::{Group, independent_halves};
pub use resample::Band;
pub use sliced::Sliced;
pub use test::Test;
pub use verdict::Verdict;

/// Squared distance of two vectors.
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    sum_of_pairs(a, b, |x, y| (x - y) * (x - y))
}

/// Inner product of two vectors.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of_pairs(a, b, |x, y| x * y)
}

/// The sum of `f` over all coordinates, in eight lanes so that it vectorizes.
fn sum_of_pairs(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let tail: f32 = tail.map(|(x, y)| f(*x, *y)).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            sums[i] += f(x[i], y[i]);
        }
    }
    sums.iter().sum::<f32>() + tail
}
