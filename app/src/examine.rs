//! What a file of weights is, from its header alone.

use crate::source::{Opened, WeightStream, begins_with_data, stream};
use crate::state::{Autoencoder, Bytes, Model, Source};
use crate::words::in_controls;
use sit_engine::autoencoder::{AutoencoderConfig, AutoencoderKl, Half, halves, recognize};
use sit_engine::checkpoint::Reader;
use sit_engine::model::{Blueprint, ModelConfig, Network as _, Output};
use sit_engine::sample::Sampling;
use sit_engine::text::{count, shown};
use sit_engine::transport::{Method, Sampler, Transport};
use sit_trainer::data::classes;
use std::io::{Read, Seek};

/// What a dropped file is, from its header alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// What it is, one fact a line.
    pub facts: Vec<String>,
    /// Why it is not loaded, one reason a line; empty when it is.
    pub refusals: Vec<String>,
}

/// What a file has.
pub enum Found {
    /// A network that lanes sample from.
    Network(Opened),
    /// A classifier, which judges samples.
    Judge(Opened),
    /// An autoencoder, whose decoder turns latents into pictures.
    Autoencoder(
        Autoencoder,
        AutoencoderConfig,
        Reader<Box<dyn WeightStream>>,
    ),
}

/// Reads the header of a dropped file: a description, and what it has if that fits and there is memory for it.
///
/// `n_samples` at a time are sampled; a buffer of the device may have `max_segment_bytes`.
pub fn examine(
    name: &str,
    bytes: &Bytes,
    n_samples: usize,
    max_segment_bytes: u64,
) -> (Card, Option<Found>) {
    let mut card = Card {
        name: name.to_owned(),
        ..Card::default()
    };
    let open = |stream| Reader::new(name, stream).map_err(|e| in_controls(&e));
    let reader = match stream(bytes).and_then(open) {
        Ok(reader) => reader,
        Err(error) => {
            card.refusals.push(error);
            return (card, None);
        }
    };
    let n_tensors = reader.tensors().count();
    let n_values: usize = reader.tensors().map(|(_, e)| e.shape.numel()).sum();
    card.facts.push(format!(
        "{} file of {}, {}",
        reader.format(),
        count(n_tensors, "tensor"),
        count(n_values, "value")
    ));
    let is_moment = |(name, _): (&str, &_)| name.starts_with("exp_avg");
    if n_tensors > 0 && reader.tensors().all(is_moment) {
        card.refusals.push(
            "It has the moments of an optimizer; the weights are in the file beside it.".into(),
        );
        return (card, None);
    }
    match autoencoder(&reader) {
        Ok(None) => {}
        Ok(Some(config)) => return examine_autoencoder(card, config, reader),
        Err(why) => {
            card.refusals.push(why);
            return (card, None);
        }
    }
    let examination = reader.examine(None, None);
    let config = match examination.model {
        Ok(config) => config,
        Err(error) => {
            card.refusals.push(in_controls(&error));
            return (card, None);
        }
    };
    let io = config.io();
    let [channels, height, width] = io.image;
    let is_classifier = config.output() == Output::Logits;
    let what = match is_classifier {
        true => "a classifier",
        false => "a SiT",
    };
    card.facts.push(format!(
        "{what} of {config} on {height}×{width}×{channels}, {}: {} parameters",
        count(io.n_classes, "class"),
        config.n_params()
    ));
    let mismatches = &examination.mismatches;
    card.refusals
        .extend(mismatches.iter().map(|m| m.to_string()));
    let recipe = reader.recipe().map_err(|e| in_controls(&e));
    let (transport, classes, latents, of_images) = match recipe {
        Ok(Some(recipe)) => {
            let Transport {
                path, prediction, ..
            } = &recipe.transport;
            card.facts.push(format!(
                "trained on the {path} path to predict {prediction}"
            ));
            card.refusals.extend(begins_with_data(&recipe.transport));
            if let Some(n) = recipe.transport.student_steps {
                card.refusals.push(format!(
                    "It was distilled to {}, which no lane takes: `sit sample` does.",
                    count(n, "step")
                ));
            }
            if let Some(made) = recipe.latents() {
                card.facts.push(format!(
                    "its samples are latents of {}: open that autoencoder, too, and they are shown as pictures",
                    shown(&made.autoencoder)
                ));
            }
            if !recipe.classes.is_empty() {
                let known = 0..recipe.classes.len().min(io.n_classes);
                let names = classes::numbered(&recipe.classes, known);
                card.facts.push(format!("classes: {names}"));
            }
            let of_images = recipe.data.as_ref().is_some_and(|it| it.latents.is_none());
            let latents = recipe.latents().cloned();
            (recipe.transport, recipe.classes, latents, of_images)
        }
        Ok(None) => {
            card.facts.push(
                "does not say what it was trained to do: taken as SiT's default, Linear and velocity".into(),
            );
            Default::default()
        }
        Err(error) => {
            card.refusals.push(error);
            Default::default()
        }
    };
    if is_classifier {
        card.facts.push(
            "says how many of the finished samples of each lane have the class that was asked for"
                .into(),
        );
    }
    let forecast = |blueprint| {
        let sampling = Sampling::new(blueprint, Sampler::ode(Method::Euler, 1));
        sampling.batch(n_samples).keep_out().forecast()
    };
    let blueprint = Blueprint::new(config.clone(), transport.clone(), max_segment_bytes);
    match blueprint.and_then(forecast) {
        _ if is_classifier => {}
        Err(error) => card.refusals.push(in_controls(&error)),
        Ok(parts) => {
            if max_segment_bytes < u64::MAX {
                let most = mib(max_segment_bytes);
                card.facts.push(format!("this GPU binds {most} at a time"));
            }
            let needs: u64 = parts.iter().map(|(_, bytes)| bytes).sum();
            let each: Vec<String> = parts
                .iter()
                .map(|(what, bytes)| format!("{what} {}", mib(*bytes)))
                .collect();
            card.facts.push(format!(
                "needs {} for {n_samples} samples at a time ({})",
                mib(needs),
                each.join(", ")
            ));
        }
    }
    if !card.refusals.is_empty() {
        return (card, None);
    }
    let model = Model {
        source: Source::File(name.to_owned()),
        io,
        network: Some(config),
        transport,
        classes,
        latents,
        of_images,
    };
    let opened = (model, reader);
    let found = match is_classifier {
        true => Found::Judge(opened),
        false => Found::Network(opened),
    };
    (card, Some(found))
}

/// Whether files of weights are all checkpoints of networks that lanes sample from, so far as their headers tell.
pub fn are_checkpoints(files: &[(String, Bytes)]) -> bool {
    let is_other = |(name, bytes): &(String, Bytes)| {
        let reader =
            stream(bytes).and_then(|stream| Reader::new(name, stream).map_err(|e| in_controls(&e)));
        let Ok(reader) = reader else {
            return false;
        };
        let is_judge = || {
            let model = reader.examine(None, None).model;
            model.is_ok_and(|config| config.output() == Output::Logits)
        };
        matches!(autoencoder(&reader), Ok(Some(_))) || is_judge()
    };
    !files.iter().any(is_other)
}

/// The autoencoder of a file; `None` of a file of something else.
///
/// # Errors
/// What is wrong with its recipe, or with its latents.
fn autoencoder<R: Read + Seek>(reader: &Reader<R>) -> Result<Option<AutoencoderConfig>, String> {
    match reader.recipe() {
        Err(_) => Ok(None),
        Ok(None) => Ok(recognize(reader).ok()),
        Ok(Some(recipe)) => match (&recipe.model, recipe.latent_scale) {
            (ModelConfig::Autoencoder(net), Some(scale)) => {
                Ok(Some(AutoencoderKl { scale, ..net.kl() }.into()))
            }
            (ModelConfig::Autoencoder(_), None) => Err(
                "It is an autoencoder that records no scale of its latents, whose standard deviation was not a finite number above 0."
                    .into(),
            ),
            _ => Ok(None),
        },
    }
}

fn examine_autoencoder(
    mut card: Card,
    config: AutoencoderConfig,
    reader: Reader<Box<dyn WeightStream>>,
) -> (Card, Option<Found>) {
    let autoencoder = Autoencoder {
        name: card.name.clone(),
        latent_channels: config.latent_channels(),
        channels: config.channels(),
        factor: config.factor(),
        scaling: config.scaling(),
    };
    let [scale, shift] = autoencoder.scaling;
    card.facts.push(format!(
        "an autoencoder: latents of {}, {} times as small as pictures of {}",
        count(autoencoder.latent_channels, "channel"),
        autoencoder.factor,
        count(autoencoder.channels, "channel"),
    ));
    card.facts.push(format!(
        "scale {scale} and shift {shift} of the latents are taken for a network that does not say which ones it was trained on"
    ));
    if !halves(&reader, &config).contains(&Half::Decoder) {
        let why = "It has the encoder alone; the lanes need the decoder.";
        card.refusals.push(why.into());
        return (card, None);
    }
    (card, Some(Found::Autoencoder(autoencoder, config, reader)))
}

/// Bytes in words.
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_tensors_is_not_of_an_optimizer() {
        let refusals = |header: &[u8]| {
            let mut file = (header.len() as u64).to_le_bytes().to_vec();
            file.extend(header);
            let shape_bytes = if header.len() > 2 { 4 } else { 0 };
            file.resize(file.len() + shape_bytes, 0);
            let bytes = Bytes::Memory(file.into());
            examine("a.safetensors", &bytes, 1, u64::MAX).0.refusals
        };
        let moment = br#"{"exp_avg.x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        assert!(refusals(moment)[0].contains("the moments of an optimizer"));
        let none = refusals(b"{}");
        assert!(
            none.len() == 1 && !none[0].contains("optimizer"),
            "{none:?}"
        );
    }
}
