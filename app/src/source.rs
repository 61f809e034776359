//! Where networks come from: the program itself, or a dropped file. The header of a file is read before anything else.

use crate::state::{self, Bytes, Checkpoint, Model, Source};
use crate::words::in_controls;
use sit_engine::analytic::{Mixture, Points, Toy};
use sit_engine::checkpoint::{Reader, Recipe};
use sit_engine::model::NetworkIo;
use sit_engine::text::shown;
use sit_engine::transport::Transport;
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
                latents: None,
                of_images: true,
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
        latents: recipe.latents().cloned(),
        of_images: recipe
            .data
            .as_ref()
            .is_some_and(|data| data.latents.is_none()),
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
            let recipe = match reader.recipe().map_err(words)? {
                Some(recipe) => recipe,
                None => Recipe::new(config, Transport::default()),
            };
            begins_with_data(&recipe.transport).map_or(Ok(()), Err)?;
            Ok((model(source, &recipe), reader))
        }
    }
}

/// Why a model that does not begin with noise is not shown: the lanes draw their start.
pub fn begins_with_data(transport: &Transport) -> Option<String> {
    let data = transport.base.data()?;
    Some(format!(
        "It begins with {data} in the place of noise, from which nothing starts here: `sit sample` draws from it."
    ))
}
