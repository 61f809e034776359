//! The sampling settings that a trajectory records.

use super::guides::Guides;
use crate::commands::source::{Opened, Origin};
use serde::Serialize;
use sit_engine::model::{Model, Storage};
use sit_engine::sample::Sampling;
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
    /// The checkpoint of the network that guides, and its scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    autoguide: Option<(String, f64)>,
    /// The checkpoint of the classifier, and its scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    classifier: Option<(String, f64)>,
    /// How the weights were kept, unless as f32.
    #[serde(skip_serializing_if = "Option::is_none")]
    dtype: Option<String>,
    seed: u64,
    /// Ranges of image numbers in the whole list, each as first and last.
    index: Vec<[u64; 2]>,
    device: String,
}

/// The settings of `sampling` as JSON.
pub fn json(
    origin: &Origin,
    classes: &[String],
    guides: &Guides<Opened>,
    sampling: &Sampling<Model>,
    (seed, storage): (u64, Storage),
    parts: &[Range<u64>],
    device: &impl ToString,
) -> String {
    let named = |(guide, scale): &(Opened, f64)| (shown(&guide.origin.path), *scale);
    let settings = Settings {
        program: format!("sit {}", env!("CARGO_PKG_VERSION")),
        checkpoint: shown(&origin.path),
        step: origin.step,
        weights: origin.weights,
        classes,
        transport: sampling.model().transport().clone(),
        sampler: sampling.solver().clone(),
        guidance: *sampling.guidance_settings(),
        autoguide: guides.weak.as_ref().map(named),
        classifier: guides.classifier.as_ref().map(named),
        dtype: (storage != Storage::F32).then(|| storage.to_string()),
        seed,
        index: parts
            .iter()
            .map(|part| [part.start, part.end - 1])
            .collect(),
        device: device.to_string(),
    };
    serde_json::to_string(&settings).expect("plain values under names")
}
