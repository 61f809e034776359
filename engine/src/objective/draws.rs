//! What the objectives of this library draw alike: noise and dropped labels.

use super::{Batch, Port, Ports, SampleKey};
use crate::error::{Error, Result};
use crate::num::par::{for_rows, grain, rows_mut};
use crate::rng::{Stream, fill_normal, uniform};

/// The noise of each image: that of the batch, or drawn.
pub(super) fn noise(
    key: SampleKey,
    batch: &Batch<'_>,
    to: Port<f32>,
    ports: &mut Ports,
) -> Result<()> {
    let SampleKey { seed, number, .. } = key;
    let (step, len) = (key.step(), ports.io().image_len());
    if let Some(x0) = batch.x0 {
        return ports.copy(to, x0);
    }
    for_rows(
        rows_mut(ports.fill(to)?, len),
        grain(32 * len),
        |row, x0| {
            let index = (number + row as u64) * len as u64;
            fill_normal(seed, Stream::Noise, step, index, x0);
        },
    );
    Ok(())
}

/// A standard normal number.
pub(super) fn normal(seed: u64, stream: Stream, step: u32, index: u64) -> f64 {
    let mut n = [0.0];
    fill_normal(seed, stream, step, index, &mut n);
    f64::from(n[0])
}

/// The label of each image, or the null class in its place with the probability `dropout`, unless the network has no classes.
pub(super) fn labels(
    key: SampleKey,
    batch: &Batch<'_>,
    dropout: f64,
    to: Port<u32>,
    ports: &mut Ports,
) -> Result<()> {
    let Some(null) = ports.io().null_class() else {
        return Ok(());
    };
    ports.io().check_labels(batch.y, ports.batch())?;
    for (b, (y, &label)) in ports.fill(to)?.iter_mut().zip(batch.y).enumerate() {
        let drawn = || {
            uniform(
                key.seed,
                Stream::LabelDrop,
                key.step(),
                key.number + b as u64,
            )
        };
        let dropped = !key.is_validation && drawn() < dropout;
        *y = if dropped { null } else { label };
    }
    Ok(())
}

/// Rejects a probability of dropped labels that is none.
pub(super) fn check_dropout(dropout: f64) -> Result<()> {
    match (0.0..=1.0).contains(&dropout) {
        true => Ok(()),
        false => Err(Error::setting(
            "class_dropout",
            format!("got {dropout}, expected a probability in [0, 1]"),
        )),
    }
}

/// Writes the coefficients of sample `b`.
pub(super) fn put<const N: usize>(rows: &mut [f32], b: usize, row: [f64; N]) {
    rows[N * b..][..N].copy_from_slice(&row.map(|c| c as f32));
}
