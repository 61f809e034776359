//! Where networks come from: the program itself, or a dropped file. The header of a file is read before anything else.

use crate::state::{self, Bytes, Checkpoint, Model, Source};
use crate::words::in_controls;
use sit_engine::analytic::{Mixture, Points, Toy};
use sit_engine::checkpoint::{Reader, Recipe};
use sit_engine::model::{Blueprint, Network as _, NetworkIo, Output};
use sit_engine::sample::Sampling;
use sit_engine::text::{count, shown};
use sit_engine::transport::{Method, Sampler, Transport};
use sit_trainer::data::classes;
use std::io::{Cursor, Read, Seek};
use std::sync::Arc;

/// A small SiT trained on the 8x8 digits; `assets/README.md` says how.
const DIGITS: &[u8] = include_bytes!("../assets/digits.safetensors");

/// A small SiT trained on 32x32 emoji. The page loads it when it is asked for.
#[cfg(not(target_arch = "wasm32"))]
const EMOJI: &[u8] = include_bytes!("../assets/emoji.safetensors");
#[cfg(target_arch = "wasm32")]
const EMOJI_FILE: &str = "emoji.safetensors";

/// A stream of weights: a file, or bytes in memory.
pub trait WeightStream: Read + Seek + Send {}
impl<T: Read + Seek + Send> WeightStream for T {}

/// A network that is ready to be loaded.
pub type Opened = (Model, Reader<Box<dyn WeightStream>>);

/// What the lanes sample from.
pub enum Origin {
    /// A network.
    Network(Opened),
    /// The exact field of a mixture.
    Exact(Model, Mixture),
    /// A network whose file lies beside the page.
    #[cfg(target_arch = "wasm32")]
    Page(&'static str),
}

/// The data sets whose exact field is known.
pub fn mixtures() -> impl Iterator<Item = (Toy, Mixture)> {
    let known = |toy: &Toy| Some((*toy, toy.mixture()?));
    Toy::ALL.iter().filter_map(known)
}

/// The mixture that a source is, or was trained on, if any.
pub fn mixture(source: &Source) -> Option<Mixture> {
    match source {
        Source::Exact(name) | Source::Trained(name) => Toy::from_name(name).ok()?.mixture(),
        Source::Digits | Source::Emoji | Source::File(_) => None,
    }
}

/// Opens the network of a source.
///
/// # Errors
/// An explanation of what to do if a network is not available, or of what is wrong with a file.
pub fn open(source: &Source) -> Result<Origin, String> {
    match source {
        Source::Digits => own(source, Box::new(Cursor::new(DIGITS))).map(Origin::Network),
        #[cfg(not(target_arch = "wasm32"))]
        Source::Emoji => own(source, Box::new(Cursor::new(EMOJI))).map(Origin::Network),
        #[cfg(target_arch = "wasm32")]
        Source::Emoji => Ok(Origin::Page(EMOJI_FILE)),
        Source::Exact(toy) => {
            let mixture = mixture(source).ok_or_else(|| {
                format!("The exact field of {toy} is not known: it is no mixture.")
            })?;
            let model = Model {
                source: source.clone(),
                network: None,
                // A point is a pixel of two channels.
                io: NetworkIo::new([2, 1, 1], 0),
                transport: Transport::default(),
                classes: Vec::new(),
            };
            Ok(Origin::Exact(model, mixture))
        }
        Source::File(name) => Err(format!(
            "A link does not carry weights: drop the file {name} here to go on."
        )),
        Source::Trained(data) => Err(format!(
            "A link does not carry weights: train on {data} to go on, or drop the checkpoint that was kept."
        )),
    }
}

/// Opens a network that comes with the program.
///
/// # Errors
/// What is wrong with its file.
pub fn own(source: &Source, stream: Box<dyn WeightStream>) -> Result<Opened, String> {
    let name = source.title();
    let reader = Reader::new(&name, stream).map_err(|e| in_controls(&e))?;
    let recipe = reader.recipe().map_err(|e| in_controls(&e))?;
    let recipe = recipe.ok_or_else(|| format!("{name}: the file has no recipe"))?;
    Ok((model(source.clone(), &recipe), reader))
}

fn model(source: Source, recipe: &Recipe) -> Model {
    Model {
        source,
        io: recipe.model.io(),
        network: Some(recipe.model.clone()),
        transport: recipe.transport.clone(),
        classes: recipe.classes.clone(),
    }
}

/// Opens a file to be read in parts.
///
/// # Errors
/// The system's words.
pub fn stream(bytes: &Bytes) -> Result<Box<dyn WeightStream>, String> {
    match bytes {
        Bytes::Memory(bytes) => Ok(Box::new(Cursor::new(Arc::clone(bytes)))),
        #[cfg(not(target_arch = "wasm32"))]
        Bytes::Disk(path) => {
            let file = std::fs::File::open(path)
                .map_err(|e| format!("{}: cannot be opened: {e}", shown(path)))?;
            Ok(Box::new(std::io::BufReader::new(file)))
        }
        #[cfg(target_arch = "wasm32")]
        Bytes::Disk(path) => Err(format!("{}: a browser opens no paths", shown(&path))),
    }
}

/// Opens a checkpoint of a timeline, which the lanes will call `name`, and checks the names and shapes of its tensors.
///
/// # Errors
/// What is missing or does not fit, with file and tensor.
pub fn checkpoint(
    name: &str,
    checkpoint: &Checkpoint,
    which: state::Weights,
) -> Result<Opened, String> {
    let words = |e: sit_engine::Error| in_controls(&e);
    let source = Source::File(name.to_owned());
    match checkpoint {
        #[cfg(not(target_arch = "wasm32"))]
        Checkpoint::Step(run, step) => {
            use sit_trainer::run;
            let saved = run::Checkpoint::at(run, *step).map_err(|e| e.to_string())?;
            let path = saved.path.join(match which {
                state::Weights::Ema => run::EMA,
                state::Weights::Raw => run::MODEL,
            });
            let file = shown(&path);
            let reader = Reader::new(file, stream(&Bytes::Disk(path))?).map_err(words)?;
            let recipe = saved.state.recipe();
            reader.check(&recipe.model).map_err(words)?;
            begins_with_data(&recipe.transport).map_or(Ok(()), Err)?;
            Ok((model(source, &recipe), reader))
        }
        #[cfg(target_arch = "wasm32")]
        Checkpoint::Step(..) => {
            let _ = which;
            Err("a browser opens no run folders".into())
        }
        Checkpoint::File(bytes) => {
            let reader = Reader::new(name, stream(bytes)?).map_err(words)?;
            let config = reader.model(None, None).map_err(words)?;
            reader.check(&config).map_err(words)?;
            let (transport, classes) = match reader.recipe().map_err(words)? {
                Some(recipe) => (recipe.transport, recipe.classes),
                None => Default::default(),
            };
            begins_with_data(&transport).map_or(Ok(()), Err)?;
            let model = Model {
                source,
                io: config.io(),
                network: Some(config),
                transport,
                classes,
            };
            Ok((model, reader))
        }
    }
}

/// Why a model that does not begin with noise is not shown: the lanes draw their start.
fn begins_with_data(transport: &Transport) -> Option<String> {
    let data = transport.base.data()?;
    Some(format!(
        "It begins with {data} in the place of noise, from which nothing starts here: `sit sample` draws from it."
    ))
}

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

/// Whether a network says the class of an image, and so judges samples.
pub fn is_judge(model: &Model) -> bool {
    let output = model.network.as_ref().map(|network| network.output());
    output == Some(Output::Logits)
}

/// Reads the header of a dropped file: a description, and the network if it fits and there is memory for it: one that lanes sample, or a classifier
/// ([`is_judge`]).
///
/// `n_samples` at a time are sampled; a buffer of the device may have `max_segment_bytes`.
pub fn examine(
    name: &str,
    bytes: &Bytes,
    n_samples: usize,
    max_segment_bytes: u64,
) -> (Card, Option<Opened>) {
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
    let (transport, classes) = match recipe {
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
            if !recipe.classes.is_empty() {
                let known = 0..recipe.classes.len().min(io.n_classes);
                let names = classes::numbered(&recipe.classes, known);
                card.facts.push(format!("classes: {names}"));
            }
            (recipe.transport, recipe.classes)
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
    };
    (card, Some((model, reader)))
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
