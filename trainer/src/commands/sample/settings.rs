//! What a trajectory records of how it was made.

use crate::commands::source::Origin;
use serde::Serialize;
use sit_engine::sample::SampleConfig;
use sit_engine::text::shown;
use sit_engine::transport::{Guidance, Sampler, Transport};
use std::ops::Range;

/// The settings, as JSON in the file's metadata.
#[derive(Debug, Serialize)]
struct Settings<'a> {
    program: String,
    /// Checkpoint folder of a run, or a file of weights.
    checkpoint: String,
    step: Option<u64>,
    /// `ema` or `raw`.
    weights: Option<&'static str>,
    /// Names of the classes, where they are known.
    classes: &'a [String],
    transport: Transport,
    sampler: Sampler,
    guidance: Guidance,
    seed: u64,
    /// First and last number of the images in the whole list, part by part.
    index: Vec<[u64; 2]>,
    device: String,
}

/// The settings of `config` as JSON.
pub fn json(
    origin: &Origin,
    classes: &[String],
    config: &SampleConfig,
    seed: u64,
    parts: &[Range<u64>],
    device: &impl ToString,
) -> String {
    let settings = Settings {
        program: format!("sit {}", env!("CARGO_PKG_VERSION")),
        checkpoint: shown(&origin.path),
        step: origin.step,
        weights: origin.weights,
        classes,
        transport: config.transport,
        sampler: config.sampler,
        guidance: config.guidance,
        seed,
        index: parts
            .iter()
            .map(|part| [part.start, part.end - 1])
            .collect(),
        device: device.to_string(),
    };
    serde_json::to_string(&settings).expect("plain values under names")
}
