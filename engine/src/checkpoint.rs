//! Files of weights under official names, safetensors and PyTorch's `.pt`: headers are checked before anything is read, tensors
//! are read one at a time, and every refusal names the tensor. Files are the caller's; this module reads and writes streams.

mod examine;
mod header;
mod index;
mod pickle;
mod torch;
mod write;

pub use examine::{Examination, Mismatch};
pub use header::{header, header_of};
pub use index::{Dtype, Entry, Format};
pub use write::{Precision, Tensor, model_tensors, moment_tensors, write, write_values};

use crate::backend::Arenas;
use crate::error::{Error, Result};
use crate::graph::Arena;
use crate::model::{ModelConfig, params, pos_embed};
use crate::shape::Shape;
use crate::transport::Transport;
use half::{bf16, f16};
use index::{Index, Tensors};
use serde::{Deserialize, Serialize};
use std::io::{Read, Seek, SeekFrom};

/// Official name of the fixed position embedding, `[1, T, D]`: written for other programs, checked when it is read.
const POS_EMBED: &str = "pos_embed";

/// Key of the file's metadata that holds the [`Recipe`] as JSON.
const RECIPE_KEY: &str = "sit";

/// What a file of weights says of itself: all that sampling needs to know beside the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The network.
    pub model: ModelConfig,
    /// What it was trained to do.
    pub transport: Transport,
    /// What it was trained on, where that is known.
    #[serde(default)]
    pub data: Option<Data>,
    /// Names of the classes in their order, as many as are known; a class without one is called by its number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Share of the training labels that were replaced by the null class, where that is known; without any, guidance has nothing
    /// to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_dropout: Option<f64>,
}

/// What a model was trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Its name, in the words of the program that trained.
    pub name: String,
    /// How it was scaled: `x = 2 · level / max_level - 1`.
    pub max_level: u8,
}

/// A file of weights that is open for reading, its header checked against its length.
#[derive(Debug)]
pub struct Reader<R> {
    name: String,
    stream: R,
    index: Index,
    /// The set that is read.
    set: usize,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the header of a safetensors or `.pt` file, told by its first bytes; `name` is what messages call the file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a file that is truncated or is neither, or a `.pt` file that holds more than a state dict.
    pub fn new(name: impl Into<String>, mut stream: R) -> Result<Self> {
        let name = name.into();
        let refuse = |what: String| Error::Checkpoint(format!("{name}: {what}"));
        let open = || {
            let len = stream.seek(SeekFrom::End(0))?;
            stream.rewind()?;
            let mut magic = Vec::new();
            stream.by_ref().take(4).read_to_end(&mut magic)?;
            stream.rewind()?;
            Ok((len, magic))
        };
        let (len, magic) =
            { open }().map_err(|e: std::io::Error| refuse(format!("cannot be read: {e}")))?;
        let index = if magic == torch::MAGIC {
            torch::read(&mut stream, len)
        } else {
            header::read(&mut stream, len)
        };
        Ok(Reader {
            index: index.map_err(refuse)?,
            name,
            stream,
            set: 0,
        })
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.index.format
    }

    /// Names of the sets of weights in a training checkpoint of PyTorch, `ema` and `model`, the one that is read by default
    /// first; none in other files.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        let sets = self.index.sets.iter().map(|(name, _)| &name[..]);
        sets.filter(|name| !name.is_empty())
    }

    /// Reads the set `name` from now on.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when there is none.
    pub fn select(&mut self, name: &str) -> Result<()> {
        match self.index.sets.iter().position(|(set, _)| set == name) {
            Some(set) => self.set = set,
            None => return self.refuse(format_args!("has no set of weights {name}")),
        }
        Ok(())
    }

    /// What the file says of itself; `None` when it was written by another program.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it cannot be understood.
    pub fn recipe(&self) -> Result<Option<Recipe>> {
        let Some(json) = &self.index.recipe else {
            return Ok(None);
        };
        serde_json::from_str(json)
            .map(Some)
            .or_else(|e| self.refuse(format_args!("metadata {RECIPE_KEY}: {e}")))
    }

    fn set(&self) -> &Tensors {
        &self.index.sets[self.set].1
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.set().iter().map(|(name, entry)| (&name[..], entry))
    }

    /// A tensor's shape and type, if the file has it.
    pub fn entry(&self, tensor: &str) -> Option<&Entry> {
        self.set().get(tensor)
    }

    /// Shape of a tensor, if the file has it.
    pub fn shape(&self, tensor: &str) -> Option<Shape> {
        self.entry(tensor).map(|entry| entry.shape.clone())
    }

    /// Reads a tensor of any shape; f16 and bf16 are widened, which is exact.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is missing, has another type, holds a NaN or an infinity, or cannot be read.
    pub fn read(&mut self, tensor: &str) -> Result<Vec<f32>> {
        let (dtype, bytes) = self.bytes(tensor, &[Dtype::F32, Dtype::F16, Dtype::BF16])?;
        let two = |of: fn([u8; 2]) -> f32| bytes.as_chunks().0.iter().map(|b| of(*b)).collect();
        let values: Vec<f32> = match dtype {
            Dtype::F16 => two(|b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => two(|b| bf16::from_le_bytes(b).to_f32()),
            _ => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
        };
        if let Some(at) = values.iter().position(|x| !x.is_finite()) {
            return self.refuse(format_args!(
                "{tensor}[{at}] is {}, expected a finite number",
                values[at]
            ));
        }
        Ok(values)
    }

    /// Reads a tensor of class labels, i64, i32 or u8 in the file.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is missing, has another type or a negative label, or the file cannot be read.
    pub fn read_labels(&mut self, tensor: &str) -> Result<Vec<u32>> {
        let (dtype, bytes) = self.bytes(tensor, &[Dtype::I64, Dtype::I32, Dtype::U8])?;
        let wide: Vec<i64> = match dtype {
            Dtype::U8 => bytes.into_iter().map(i64::from).collect(),
            Dtype::I32 => {
                let words = bytes.as_chunks().0.iter();
                words.map(|b| i32::from_le_bytes(*b).into()).collect()
            }
            _ => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| i64::from_le_bytes(*b))
                .collect(),
        };
        let labels: std::result::Result<Vec<u32>, _> =
            wide.iter().map(|&label| u32::try_from(label)).collect();
        labels.or_else(|_| {
            self.refuse(format_args!(
                "{tensor} holds a label that is negative or too large"
            ))
        })
    }

    /// The bytes of a tensor of one of these types.
    fn bytes(&mut self, tensor: &str, dtypes: &[Dtype]) -> Result<(Dtype, Vec<u8>)> {
        let Some(entry) = self.entry(tensor) else {
            return self.refuse(format_args!("has no tensor {tensor}"));
        };
        let dtype = entry.dtype;
        if !dtypes.contains(&dtype) {
            let expected: Vec<String> = dtypes.iter().map(Dtype::to_string).collect();
            return self.refuse(format_args!(
                "{tensor} is {dtype}, expected {}",
                expected.join(" or ")
            ));
        }
        let place = match &entry.place {
            Ok(place) => place.clone(),
            Err(why) => return self.refuse(format_args!("{tensor} {why}")),
        };
        let mut bytes = vec![0; (place.end - place.start) as usize];
        let done = self
            .stream
            .seek(SeekFrom::Start(place.start))
            .and_then(|_| self.stream.read_exact(&mut bytes));
        match done {
            Ok(()) => Ok((dtype, bytes)),
            Err(e) => self.refuse(format_args!("{tensor} cannot be read: {e}")),
        }
    }

    /// Checks that the file's position embedding, if it has one, is the fixed one of `config`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is another, or cannot be read.
    pub fn check_positions(&mut self, config: &ModelConfig) -> Result<()> {
        if let Some(entry) = self.entry(POS_EMBED) {
            // Half a unit in the last place of numbers up to 1, beside the rounding of other programs' sines.
            let rounding = match entry.dtype {
                Dtype::F16 => 1.0 / 4096.0,
                Dtype::BF16 => 1.0 / 512.0,
                _ => 0.0,
            };
            let stored = self.read(POS_EMBED)?;
            let differs = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-5 + rounding;
            if let Some(at) = stored.iter().zip(&pos_embed(config)).position(differs) {
                let got = stored[at];
                return self.refuse(format_args!(
                    "{POS_EMBED}[{at}] is {got}: not the fixed position embedding of a SiT"
                ));
            }
        }
        Ok(())
    }

    /// Loads all tensors of `config` into `arena`; nothing is written before the names and shapes of all were checked.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] naming the tensor that does not fit, is not finite or cannot be read, or a position embedding
    /// other than the fixed one; [`Error::Device`] when the device fails.
    pub fn load(&mut self, config: &ModelConfig, arenas: &Arenas, arena: Arena) -> Result<()> {
        self.check(config)?;
        self.check_positions(config)?;
        for (name, _) in params(config) {
            let values = self.read(&name)?;
            arenas.write(arena, &name, &values)?;
        }
        Ok(())
    }
}

/// Loads the moments that [`moment_tensors`] describes.
///
/// # Errors
/// As [`Reader::load`].
pub fn load_moments<R: Read + Seek>(
    file: &mut Reader<R>,
    config: &ModelConfig,
    arenas: &Arenas,
) -> Result<()> {
    let tensors = moment_tensors(config);
    for tensor in &tensors {
        match file.shape(&tensor.name) {
            Some(got) if got == tensor.shape => {}
            got => {
                let got = got.map_or("missing".to_owned(), |s| s.to_string());
                return file.refuse(format_args!(
                    "{} is {got}, expected {}",
                    tensor.name, tensor.shape
                ));
            }
        }
    }
    for tensor in tensors {
        let values = file.read(&tensor.name)?;
        if let Some((arena, name)) = tensor.source {
            arenas.write(arena, &name, &values)?;
        }
    }
    Ok(())
}
