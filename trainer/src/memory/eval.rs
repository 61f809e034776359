//! The memory of evaluations in training.

use crate::config::{EvalConfig, RunConfig};
use crate::error::{Failure, Result};
use crate::preview;
use crate::sampling;
use sit_engine::inception::Inception;
use sit_engine::model::{Blueprint, Features};

/// Images at a time in the small classifier.
pub const JUDGE_BATCH: usize = 64;

/// Bytes that evaluations take beside training: on the device, and in the memory of the process.
///
/// # Errors
/// A sampler or a network that is refused.
pub fn forecast(config: &RunConfig, blueprint: &Blueprint) -> Result<(u64, u64)> {
    let (eval, io) = (&config.log.eval, config.model.io());
    let sampling = sampling::of_run(
        config,
        blueprint.clone(),
        eval.steps,
        eval.guidance,
        eval.count,
    );
    let parts = sampling.forecast()?;
    // The moving average is already counted as a part of training.
    let program = parts.iter().filter(|(part, _)| *part != "parameters");
    let mut on_device: u64 = program.map(|(_, bytes)| bytes).sum();
    let (pictures, decoder) = preview::decoded(config, sampling.batch_size())?;
    on_device = on_device.saturating_add(decoder);
    let metrics = eval.measured(io.n_classes);
    let mut dim = 0;
    if metrics.iter().any(|metric| metric.is_of_inception()) {
        let network = Inception::forecast(EvalConfig::INCEPTION_BATCH)?;
        on_device = on_device.saturating_add(network);
        dim = Inception::N_FEATURES as u64;
    } else if metrics.iter().any(|metric| metric.is_of_judge()) {
        let [_, height, width] = pictures.image;
        if height == width && io.n_classes > 1 {
            let config = RunConfig::classifier_of(pictures.image, io.n_classes);
            let config = config.map_err(Failure::input)?;
            let judge = config.step().blueprint(u64::MAX)?;
            let weights = judge.specs().iter();
            let weights: u64 = weights.map(|spec| 4 * spec.shape.numel() as u64).sum();
            let network = Features::forecast(&judge, JUDGE_BATCH)?;
            on_device = on_device.saturating_add(weights + network);
        }
    }
    let samples = eval.count as u64 * pictures.image_len() as u64;
    let vectors = match metrics.iter().any(|metric| metric.needs_vectors()) {
        true => 4 * eval.count as u64 * dim,
        false => 0,
    };
    // Mean and covariance of samples, and those of the real images with their root.
    let moments = 4 * 8 * dim * dim;
    let batch = 3 * 4 * (sampling.batch_size() * io.image_len()) as u64;
    Ok((on_device, samples + vectors + moments + batch))
}
