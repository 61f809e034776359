//! The memory of evaluations in training.

use crate::config::{EvalConfig, Metric, RunConfig};
use crate::error::{Failure, Result};
use crate::metrics::{Directions, work_bytes};
use crate::preview;
use crate::sampling;
use crate::weights;
use sit_engine::inception::Inception;
use sit_engine::model::{Blueprint, Features, NetworkIo};

/// Images at a time in the small classifier.
pub const JUDGE_BATCH: usize = 64;

/// Bytes of training images that are compared at a time, at most.
const STREAM_BYTES: usize = 32 << 20;

/// Training images of `image_len` values that are compared at a time.
pub fn stream(image_len: usize) -> usize {
    (STREAM_BYTES / image_len).clamp(1, 2048)
}

/// Bytes that comparing the pixels of `n` images takes beside the reference.
pub fn pixels(n: usize, image_len: usize, directions: usize) -> u64 {
    let levels = (n + stream(image_len)) as u64 * image_len as u64;
    levels + work_bytes(image_len) + Directions::drawn(0, directions, image_len).bytes()
}

/// Bytes of what is kept of each of `n` images: features, and those of samples have logits.
fn kept(metrics: &[Metric], n: usize, are_samples: bool) -> u64 {
    let has_vectors = metrics.iter().any(|metric| metric.needs_vectors());
    let has_logits = are_samples && metrics.contains(&Metric::Is);
    let values = usize::from(has_vectors) * Inception::N_FEATURES
        + usize::from(has_logits) * Inception::N_LOGITS;
    4 * n as u64 * values as u64
}

/// Bytes of what evaluations keep of `n` real images.
pub fn of_real(config: &RunConfig, n: usize) -> u64 {
    let eval = &config.log.eval;
    match eval.every_steps {
        0 => 0,
        _ => kept(&eval.measured(config.model.io().n_classes), n, false),
    }
}

/// The judge of pictures, that of a file or one that will be trained; `None` where it is refused later.
fn judge(config: &RunConfig, pictures: &NetworkIo) -> Result<Option<Blueprint>> {
    if let Some(path) = &config.log.eval.judge {
        let recipe = weights::open(path)?.recipe()?;
        let blueprint = recipe.map(|own| Blueprint::new(own.model, own.transport, u64::MAX));
        return Ok(blueprint.transpose()?);
    }
    let ([_, height, width], n_classes) = (pictures.image, config.model.io().n_classes);
    if height != width || n_classes < 2 {
        return Ok(None);
    }
    let config = RunConfig::classifier_of(pictures.image, n_classes).map_err(Failure::input)?;
    Ok(Some(config.step().blueprint(u64::MAX)?))
}

/// Bytes that evaluations take beside training: on the device, and in the memory of the process, but for [`of_real`].
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
    let image_len = pictures.image_len();
    let batch = 3 * 4 * (sampling.batch_size() * io.image_len()) as u64;
    let mut on_host = eval.count as u64 * image_len as u64 + batch;
    let metrics = eval.measured(io.n_classes);
    let wants = |is: fn(Metric) -> bool| metrics.iter().any(|metric| is(*metric));
    if wants(Metric::is_of_inception) {
        let network = Inception::forecast(EvalConfig::INCEPTION_BATCH)?;
        on_device = on_device.saturating_add(network);
        // Mean and covariance of samples, and those of the real images with their root.
        on_host += kept(&metrics, eval.count, true) + 4 * 8 * (Inception::N_FEATURES as u64).pow(2);
    }
    if wants(Metric::is_of_judge)
        && let Some(judge) = judge(config, &pictures).map_err(|e| e.context("log.eval.judge"))?
    {
        let weights = judge.specs().iter();
        let weights: u64 = weights.map(|spec| 4 * spec.shape.numel() as u64).sum();
        let network = Features::forecast(&judge, JUDGE_BATCH)?;
        on_device = on_device.saturating_add(weights + network);
    }
    if wants(Metric::is_of_pixels) {
        let n = EvalConfig::PIXELS.min(eval.count);
        on_host += pixels(n, image_len, EvalConfig::DIRECTIONS) + (n * image_len) as u64;
    }
    Ok((on_device, on_host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;
    use crate::memory;
    use sit_engine::backend::Device;
    use sit_engine::checkpoint::{Precision, Recipe};
    use sit_engine::model::Model;
    use std::fs::File;

    fn config(set: &[&str]) -> RunConfig {
        let set = ["log.eval.every_steps=100", "log.eval.inception=FILE"]
            .iter()
            .chain(set);
        let set: Vec<String> = set.map(|set| (*set).to_owned()).collect();
        let config = RunConfig::load(Source::Preset("digits-smoke"), &set).unwrap();
        config.validate().unwrap();
        config
    }

    fn bytes(metrics: &str, set: &[&str]) -> (u64, u64) {
        let metrics = format!("log.eval.metrics={metrics}");
        let config = config(&[&[&*metrics], set].concat());
        let blueprint = config.step().blueprint(u64::MAX).unwrap();
        forecast(&config, &blueprint).unwrap()
    }

    #[test]
    fn both_networks_and_what_is_kept_are_in_the_forecast() {
        let (inception, moments) = bytes("[\"fid\"]", &[]);
        let (judge, little) = bytes("[\"frechet\"]", &[]);
        let (both, _) = bytes("[\"fid\",\"frechet\"]", &[]);
        let (neither, _) = bytes("[\"pixel-sw\"]", &[]);
        assert!(neither < judge && judge < inception && inception < both);
        assert_eq!(both - inception, judge - neither);
        // 1000 samples with features, logits and pixels.
        assert_eq!(bytes("[\"kid\"]", &[]).1 - moments, 1000 * 4 * 2048);
        assert_eq!(bytes("[\"is\"]", &[]).1 - moments, 1000 * 4 * 1008);
        let pixels = bytes("[\"nearest\"]", &[]).1;
        assert!(pixels > little + 2 * 64_000, "{pixels} {little}");
        let set = ["log.eval.metrics=[\"mind\"]"];
        assert_eq!(of_real(&config(&set), 300), 300 * 4 * 2048);
        assert_eq!(of_real(&config(&[]), 300), 0);
        let text = memory::training(&config(&set), &Device::Cpu).to_string();
        assert!(text.contains("samples of an evaluation"), "{text}");
    }

    #[test]
    fn a_judge_of_a_file_is_counted_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("judge.safetensors");
        let large = RunConfig::load(
            Source::Preset(crate::config::CLASSIFIER),
            &["model.dim=256".into()],
        );
        let large = large.unwrap();
        let model = Model::zeros(&Device::Cpu, large.model.clone(), large.transport.clone());
        let recipe = Recipe::new(large.model, large.transport);
        let mut file = File::create(&path).unwrap();
        let saved = model.unwrap().save(&mut file, &recipe, Precision::F32);
        saved.unwrap();
        let (usual, _) = bytes("[\"agreement\"]", &[]);
        let set = format!("log.eval.judge={}", path.display());
        let (own, _) = bytes("[\"agreement\"]", &[&set]);
        assert!(own > usual + (1 << 20), "{usual} {own}");
    }
}
