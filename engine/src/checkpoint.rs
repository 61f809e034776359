//! Weight files with official names: safetensors, PyTorch's `.pt`, and dictionaries of NumPy arrays in a pickle. A DiT under the names of
//! diffusers is found under the official ones, too. Headers are checked before any values are read, tensors are read one at a time, and
//! every error names the tensor. This module reads and writes streams; opening files is up to the caller.
//!
//! ```
//! use sit_engine::backend::Device;
//! use sit_engine::checkpoint::{Precision, Reader, Recipe};
//! use sit_engine::model::{Model, Dit};
//! use sit_engine::transport::Transport;
//! use std::io::Cursor;
//!
//! # fn main() -> sit_engine::Result<()> {
//! let network = Dit { input_size: 8, dim: 32, depth: 1, n_heads: 2, ..Dit::preset("SiT-S/4").unwrap() };
//! let transport = Transport::default();
//! let model = Model::init(&Device::Cpu, network, transport.clone(), 0)?;
//! let mut file = Vec::new();
//! model.save(&mut file, &Recipe::new(network, transport), Precision::F32)?;
//!
//! let mut reader = Reader::new("the file", Cursor::new(file))?;
//! let recipe = reader.recipe()?.expect("it was written here");
//! let again = Model::zeros(&Device::Cpu, recipe.model, recipe.transport)?;
//! reader.load(&again)?;
//! # Ok(())
//! # }
//! ```

mod diffusers;
mod examine;
mod foreign;
mod header;
mod index;
mod legacy;
mod names;
mod numpy;
mod pickle;
mod precision;
mod recipe;
mod renamed;
mod sets;
mod state_dict;
mod torch;
mod values;
mod write;

pub use examine::{Examination, Mismatch};
pub use header::header_of;
pub use index::{Dtype, Entry, Format, shown};
pub use names::Names;
pub use precision::Precision;
pub use recipe::{Averaged, Data, Latents, Recipe};
pub(crate) use write::write_moments;
pub use write::{Writer, write_values};

use crate::backend::Arenas;
use crate::error::{Error, Result};
use crate::model::{self, Blueprint, IN_PAGE, Model};
use crate::nn::{Init, ParamSpec};
use crate::shape::Shape;
use diffusers::Sizes;
use index::{Index, Set, Tensors};
use recipe::RECIPE_KEY;
use std::fmt;
use std::io::{Read, Seek, SeekFrom};

/// Names of tensors that tell a network: the official ones, and those of diffusers' transformers.
const LANDMARKS: [&str; 4] = {
    let [a, b, c] = model::LANDMARKS;
    [a, b, c, names::LANDMARK]
};

/// A weight file, or several that make up one model, open for reading; headers are checked against file lengths.
#[derive(Debug)]
pub struct Reader<R> {
    name: String,
    parts: Vec<Part<R>>,
    index: Index,
    /// Number of tensors in all files.
    n_tensors: usize,
    /// What a configuration beside the file says.
    sizes: Option<Sizes>,
    /// Index of the selected set.
    set: usize,
}

/// An open file.
#[derive(Debug)]
struct Part<R> {
    name: String,
    stream: R,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the header of a safetensors or `.pt` file, or of a pickle of NumPy arrays, detected by its first bytes; `name` is used in
    /// messages.
    ///
    /// Tensors in a nested dictionary (`ema`, `state_dict`), or with a prefix that a program has added (`module.`), are found under
    /// their official names.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a truncated file, one that is neither, with what it is instead, or a `.pt` file that contains more
    /// than tensors and dictionaries.
    pub fn new(name: impl Into<String>, stream: R) -> Result<Self> {
        let name = name.into();
        Self::in_parts(name.clone(), vec![(name, stream)])
    }

    /// Names of the weight sets if a file has several, such as `ema` and `model` in PyTorch training checkpoints, the default
    /// first; empty for other files.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        let sets = self.index.sets.iter().map(|set| &set.name[..]);
        sets.filter(|name| !name.is_empty())
    }

    /// Name of the set that is read; `None` if the file has only one.
    pub fn selected(&self) -> Option<&str> {
        let name = &self.set().name[..];
        (!name.is_empty()).then_some(name)
    }

    /// Selects the set `name` for reading.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is no such set.
    pub fn select(&mut self, name: &str) -> Result<()> {
        match self.index.sets.iter().position(|set| set.name == name) {
            Some(set) => self.set = set,
            None => {
                let sets: Vec<&str> = self.sets().collect();
                let sets = sets.join(", ");
                return self.refuse(format_args!("has no set of weights {name}, but {sets}"));
            }
        }
        Ok(())
    }

    /// The file's validated metadata; `None` if another program wrote it.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it cannot be parsed or is invalid, which [`Reader::new`] detects already.
    pub fn recipe(&self) -> Result<Option<Recipe>> {
        let Some(json) = &self.index.recipe else {
            return Ok(None);
        };
        let recipe: Recipe = serde_json::from_str(json).or_else(|e| {
            // Not in backquotes, in which a message has the keys of settings.
            let what = shown(&e.to_string()).replace('`', "\"");
            self.refuse(format_args!("metadata {RECIPE_KEY}: {what}"))
        })?;
        let valid = recipe.validate();
        valid.or_else(|e| self.refuse(format_args!("metadata {RECIPE_KEY}: {e}")))?;
        Ok(Some(recipe))
    }

    fn set(&self) -> &Set {
        &self.index.sets[self.set]
    }

    fn all(&self) -> &Tensors {
        &self.set().tensors
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.all().iter().map(|(name, entry)| (&name[..], entry))
    }

    /// Loads all tensors of `model` into its weights; nothing is written until all names and shapes have been checked.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor that does not match, is not finite or cannot be read, or a position embedding other
    /// than the fixed one; [`Error::Device`] when the device fails.
    pub fn load(&mut self, model: &Model) -> Result<()> {
        let specs = model.specs();
        self.check_specs(specs)?;
        self.check_tables(specs)?;
        for spec in specs.iter().filter(|spec| spec.is_trained()) {
            model.write(&spec.name, &self.read_param(spec)?)?;
        }
        Ok(())
    }

    /// Reads a trained parameter.
    ///
    /// # Errors
    /// As [`Reader::read`]; [`Error::Checkpoint`] for a matrix of zeros, as a broken download has.
    #[doc(hidden)]
    pub fn read_param(&mut self, spec: &ParamSpec) -> Result<Vec<f32>> {
        let (name, values) = (&spec.name, self.read(&spec.name)?);
        if spec.init.is_random() && values.iter().all(|&x| x == 0.0) {
            return self.refuse(format_args!(
                "{name} has only zeros, as after a download that broke off"
            ));
        }
        Ok(values)
    }

    /// Loads the moments of AdamW that belong to `blueprint`.
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub(crate) fn load_moments(&mut self, blueprint: &Blueprint, arenas: &Arenas) -> Result<()> {
        let moments = write::moments(blueprint.specs());
        for (name, spec, _) in moments.clone() {
            match self.shape(&name) {
                Some(got) if got == spec.shape => {}
                got => {
                    let got = got.map_or("missing".to_owned(), |s| s.to_string());
                    return self.refuse(format_args!("{name} is {got}, expected {}", spec.shape));
                }
            }
        }
        for (name, spec, arena) in moments {
            arenas.write(arena, &spec.name, &self.read(&name)?)?;
        }
        Ok(())
    }
}

#[doc(hidden)]
impl<R: Read + Seek> Reader<R> {
    /// Reads the headers of the files of one model; `name` is used in messages.
    ///
    /// # Errors
    /// As [`Reader::new`], naming the file, and for a tensor that is in two of them.
    pub fn in_parts(name: impl Into<String>, files: Vec<(String, R)>) -> Result<Self> {
        let name = name.into();
        let mut parts = Vec::new();
        let mut whole: Option<Index> = None;
        for (part, mut stream) in files {
            let index = open(&mut stream).map_err(|what| refuse(&part, what))?;
            match &mut whole {
                None => whole = Some(index),
                Some(whole) => join(whole, index, parts.len()).map_err(|e| refuse(&part, e))?,
            }
            parts.push(Part { name: part, stream });
        }
        let mut index = whole.ok_or_else(|| refuse(&name, "has no parts"))?;
        let n_tensors = index.sets.iter().map(|set| set.tensors.len()).sum();
        // A file with a recipe has no wrappers' names, and may have those of moments.
        if index.recipe.is_none() {
            index.sets = sets::named(index.sets).map_err(|what| refuse(&name, what))?;
        }
        // The page, which is to load fast, has no use for large models of other programs.
        if !IN_PAGE {
            let official: std::result::Result<_, String> =
                index.sets.into_iter().map(renamed::official).collect();
            index.sets = official.map_err(|what| refuse(&name, what))?;
        }
        let reader = Reader {
            index,
            n_tensors,
            sizes: None,
            name,
            parts,
            set: 0,
        };
        reader.recipe()?;
        Ok(reader)
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.index.format
    }

    /// What the file calls the tensors of the selected set, which are found here under their official names.
    pub fn names(&self) -> Names {
        self.set().names
    }

    /// Whether the selected set was trained with REPA: projectors beside it are left out, and its time, which runs from data to noise,
    /// is turned when its values are read.
    pub fn is_reversed(&self) -> bool {
        self.set().is_reversed
    }

    /// What the file calls the tensor with this official name, for display.
    fn called(&self, official: &str) -> String {
        shown(&self.names().called(official))
    }

    /// Number of files.
    pub fn n_parts(&self) -> usize {
        self.parts.len()
    }

    /// Number of tensors in all files and sets.
    pub fn n_tensors(&self) -> usize {
        self.n_tensors
    }

    /// Location of the selected set in the file, for display, unless it is at the top level: the key of its dictionary and the
    /// prefix of its names.
    pub fn place(&self) -> Option<&str> {
        let place = &self.set().place[..];
        (!place.is_empty()).then_some(place)
    }

    /// Number of tensors next to the selected set that belong to other parts of the program that saved them.
    pub fn n_left_out(&self) -> usize {
        self.set().n_left_out
    }

    /// A tensor's shape and type, if the file has it.
    pub fn entry(&self, tensor: &str) -> Option<&Entry> {
        self.all().get(tensor)
    }

    /// Shape of a tensor, if the file has it.
    pub fn shape(&self, tensor: &str) -> Option<Shape> {
        self.entry(tensor).map(|entry| entry.shape.clone())
    }

    /// Checks that the fixed tables among `specs`, such as the position embedding, equal those of the file, if it has them, and that
    /// what the file has several times is equal.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when a table or a copy differs or cannot be read.
    pub fn check_tables(&mut self, specs: &[ParamSpec]) -> Result<()> {
        self.check_copies()?;
        for spec in specs {
            let (Init::Table(table), Some(entry)) = (spec.init, self.entry(&spec.name)) else {
                continue;
            };
            // Half an ulp of numbers up to 1, in addition to differences in other programs' sines.
            let rounding = match entry.dtype {
                Dtype::F16 => 1.0 / 4096.0,
                Dtype::BF16 => 1.0 / 512.0,
                _ => 0.0,
            };
            let stored = self.read(&spec.name)?;
            let differs = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-5 + rounding;
            if let Some(at) = stored.iter().zip(&table.values()).position(differs) {
                let (name, got) = (&spec.name, stored[at]);
                return self.refuse(format_args!(
                    "{name}[{at}] is {got}: not the fixed position embedding of a SiT"
                ));
            }
        }
        Ok(())
    }
}

/// Reads the header of a stream.
fn open(stream: &mut (impl Read + Seek)) -> std::result::Result<Index, String> {
    let io = |e: std::io::Error| format!("cannot be read: {e}");
    let len = stream.seek(SeekFrom::End(0)).map_err(io)?;
    stream.rewind().map_err(io)?;
    foreign::read(stream, len)
}

/// Adds the tensors of file number `part`.
fn join(whole: &mut Index, index: Index, part: usize) -> std::result::Result<(), String> {
    let ([into], [set]) = (&mut whole.sets[..], &index.sets[..]) else {
        return Err("has several sets of weights, expected one in a file of several".into());
    };
    if let Some(name) = set
        .tensors
        .keys()
        .find(|name| into.tensors.contains_key(*name))
    {
        return Err(format!("has {}, which a part before it has", shown(name)));
    }
    let tensors = index.sets.into_iter().flat_map(|set| set.tensors);
    into.tensors.extend(tensors.map(|(name, mut entry)| {
        entry.part = part;
        (name, entry)
    }));
    whole.recipe = whole.recipe.take().or(index.recipe);
    Ok(())
}

fn refuse(name: &str, what: impl fmt::Display) -> Error {
    Error::Checkpoint(format!("{name}: {what}"))
}
