//! The noise of sampling, a function of the seed and each image's number, so that a sample does not depend on its batch.

use crate::error::{Error, Result};
use crate::model::NetworkIo;
use crate::num::par::{for_rows, grain, rows_mut};
use crate::rng::{Stream, fill_brownian, fill_normal};

/// Standard normal noise for the images numbered `first..` of a sampling run, `[.., C, I, I]`: the initial noise.
///
/// It depends on (seed, image number) only, not on how the images are batched.
#[doc(hidden)]
pub fn initial_noise(io: &NetworkIo, seed: u64, first: u64, out: &mut [f32]) {
    fill(io, seed, Stream::SampleNoise, 0, first, out);
}

/// The noise of SDE step number `step` for the images numbered `first..`, `[.., C, I, I]`.
#[doc(hidden)]
pub fn step_noise(io: &NetworkIo, seed: u64, step: usize, first: u64, out: &mut [f32]) {
    fill(io, seed, Stream::SdeNoise, step as u32, first, out);
}

/// The noise of step number `step` of `n_steps` equal SDE steps for the images numbered `first..`, `[.., C, I, I]`. A run with
/// twice as many steps follows the same Brownian path: `noise = (noise' of 2 step + noise' of 2 step + 1) / sqrt 2`.
///
/// # Errors
/// [`Error::Config`] when `n_steps` is not a power of two, or `step` not below it.
#[doc(hidden)]
pub fn brownian_noise(
    io: &NetworkIo,
    seed: u64,
    step: usize,
    n_steps: u32,
    first: u64,
    out: &mut [f32],
) -> Result<()> {
    if !n_steps.is_power_of_two() {
        return Err(Error::Config(format!(
            "steps on one Brownian path: got {n_steps}, expected a power of two, so that halving a step refines the path"
        )));
    }
    if step >= n_steps as usize {
        return Err(Error::Config(format!(
            "step on a Brownian path: got {step}, expected one below {n_steps}"
        )));
    }
    let (len, level) = (io.image_len(), n_steps.ilog2());
    let cost = 32 * len * (level as usize + 1);
    for_rows(rows_mut(out, len), grain(cost), |row, x| {
        fill_brownian(
            seed,
            level,
            step as u32,
            (first + row as u64) * len as u64,
            x,
        );
    });
    Ok(())
}

fn fill(io: &NetworkIo, seed: u64, stream: Stream, step: u32, first: u64, out: &mut [f32]) {
    let len = io.image_len();
    for_rows(rows_mut(out, len), grain(32 * len), |row, x| {
        fill_normal(seed, stream, step, (first + row as u64) * len as u64, x);
    });
}

/// Calls `fill(first number, rows)` for each run of consecutive numbers; `x` has one row per image.
pub(super) fn by_run(
    numbers: &[u64],
    len: usize,
    x: &mut [f32],
    mut fill: impl FnMut(u64, &mut [f32]),
) {
    let mut rest = x;
    for run in numbers.chunk_by(|a, b| a + 1 == *b) {
        let (rows, after) = rest.split_at_mut(run.len() * len);
        fill(run[0], rows);
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IO: NetworkIo = NetworkIo {
        image: [3, 5, 5],
        n_classes: 0,
        has_span: false,
        latent: None,
    };

    #[test]
    fn brownian_noise_refines_whatever_the_batch() {
        let len = IO.image_len();
        let noise = |step, n_steps, first, n: usize| {
            let mut out = vec![0.0; n * len];
            brownian_noise(&IO, 7, step, n_steps, first, &mut out).unwrap();
            out
        };
        let (coarse, left, right) = (noise(3, 8, 0, 4), noise(6, 16, 0, 4), noise(7, 16, 0, 4));
        for ((n, a), b) in coarse.iter().zip(&left).zip(&right) {
            assert!((n - (a + b) * std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-6);
        }
        assert_eq!(noise(3, 8, 2, 2), coarse[2 * len..]);
    }

    #[test]
    fn a_brownian_path_of_other_steps_is_refused() {
        let mut out = vec![0.0; IO.image_len()];
        let mut refusal = |step, n_steps| {
            let result = brownian_noise(&IO, 7, step, n_steps, 0, &mut out);
            result.unwrap_err().to_string()
        };
        assert!(refusal(0, 0).contains("got 0, expected a power of two"));
        assert!(refusal(0, 12).contains("got 12, expected a power of two"));
        assert!(refusal(8, 8).contains("got 8, expected one below 8"));
    }

    #[test]
    fn runs_of_numbers_are_filled_at_once() {
        let mut calls = Vec::new();
        let mut x = [0.0; 10];
        by_run(&[7, 8, 3], 3, &mut x, |first, rows| {
            calls.push((first, rows.len()));
            rows.fill(first as f32);
        });
        assert_eq!(calls, [(7, 6), (3, 3)]);
        assert_eq!(x, [7.0, 7.0, 7.0, 7.0, 7.0, 7.0, 3.0, 3.0, 3.0, 0.0]);
    }
}
