//! Nats and bits per dimension, and noise within the levels of an image.

use crate::error::{Error, Result};
use crate::rng::{Stream, uniform};
use std::f64::consts::LN_2;

/// Bits per dimension of images of `len` values from `nats`, their log-density.
///
/// `-nats / (len ln 2)`; with the number of levels of the images, of which `[-1, 1]` has `2 / levels` each, plus
/// `log2(levels / 2)`: the cost of the discrete image, as [`dequantize`] makes it continuous.
#[must_use]
pub fn bits_per_dimension(nats: f64, len: usize, levels: Option<u32>) -> f64 {
    let density = -nats / (len as f64 * LN_2);
    density + levels.map_or(0.0, |levels| libm::log2(0.5 * f64::from(levels)))
}

/// Spreads images x `[N, .., ..]` of `len` values, in [-1, 1], over their levels: `x = 2 (level + u) / levels - 1` with `u` uniform in
/// `[0, 1)`, a function of the seed, of each image's number and of the value's place. The level is the nearest one to `x = 2 level /
/// (levels - 1) - 1`.
///
/// # Errors
/// [`Error::Setting`] for fewer than 2 or more than 65536 levels; [`Error::Config`] naming a value that is not in `[-1, 1]`.
pub fn dequantize(
    seed: u64,
    numbers: &[u64],
    levels: u32,
    len: usize,
    x: &mut [f32],
) -> Result<()> {
    if !(2..=65_536).contains(&levels) {
        return Err(Error::setting(
            "levels",
            format!("got {levels}, expected 2 to 65536"),
        ));
    }
    let last = f64::from(levels - 1);
    for (image, &number) in x.chunks_exact_mut(len).zip(numbers) {
        let first = number.wrapping_mul(len as u64);
        for (value, index) in image.iter_mut().zip(first..) {
            if !(-1.0..=1.0).contains(value) {
                return Err(Error::Config(format!(
                    "image {number}: got the value {value}, expected one in [-1, 1]"
                )));
            }
            let level = libm::round(0.5 * (f64::from(*value) + 1.0) * last);
            let u = uniform(seed, Stream::Dequantize, 0, index);
            *value = (2.0 * (level + u) / f64::from(levels) - 1.0) as f32;
        }
    }
    Ok(())
}
