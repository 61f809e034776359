//! The contents of a tensor file and their locations, read from its header, in one form for all formats.

use super::names::Names;
use crate::shape::Shape;
use std::collections::BTreeMap;
use std::fmt;

pub use safetensors::tensor::Dtype;

/// The format of a file of tensors.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A header in JSON, then the values.
    Safetensors,
    /// The `torch.save` format since PyTorch 1.6: a zip archive with a pickle and uncompressed arrays.
    Torch,
    /// The older format: five pickles, then the arrays.
    TorchLegacy,
    /// A pickle of dictionaries of NumPy arrays.
    Numpy,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Safetensors => "safetensors",
            Format::Torch => "PyTorch",
            Format::TorchLegacy => "PyTorch (the format of before 1.6)",
            Format::Numpy => "NumPy arrays in a pickle",
        })
    }
}

/// Location of a tensor's values.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In one array.
    Array {
        /// Offset of the first value from the start of the file, in bytes.
        start: u64,
        /// Stride of each axis, in values; `None` for contiguous rows.
        strides: Option<Vec<u64>>,
    },
    /// The rows of tensors of one type, one after the other.
    Joined(Vec<Entry>),
}

/// A tensor in a file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its sizes.
    pub shape: Shape,
    /// Type of its values, which are little-endian.
    pub dtype: Dtype,
    /// Index of the file, for a model in several files.
    pub(super) part: usize,
    /// Location of the values, or why they cannot be read.
    pub(super) place: Result<Place, String>,
}

impl Entry {
    /// Where in its file the values begin; `None` for values that are not in row-major order or cannot be read.
    pub fn offset(&self) -> Option<u64> {
        match self.place.as_ref().ok()? {
            Place::Array {
                start,
                strides: None,
            } => Some(*start),
            _ => None,
        }
    }

    /// Bytes of all values; `None` on overflow.
    pub(super) fn n_bytes(&self) -> Option<u64> {
        let mut sizes = self.shape.iter();
        let numel = sizes.try_fold(1_u64, |n, &size| n.checked_mul(size as u64));
        Some(numel?.checked_mul(self.dtype.bitsize() as u64)? / 8)
    }

    /// Why its values cannot be read as f32, if so.
    pub(super) fn unreadable(&self) -> Option<String> {
        match self.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64 => {
                self.place.as_ref().err().cloned()
            }
            other => Some(format!("is {other}, expected F32, F16, BF16 or F64")),
        }
    }
}

/// Tensors by name.
pub(super) type Tensors = BTreeMap<String, Entry>;

/// Tensors that belong to one model.
#[derive(Debug, Default)]
pub(super) struct Set {
    /// `ema` or `model` if a file has both; empty if the file has only one set.
    pub name: String,
    /// What the file calls its tensors.
    pub names: Names,
    /// Of diffusers: further copies of tensors, which must have the same values.
    pub copies: Vec<Copied>,
    /// Of REPA: time runs from data to noise, so that its velocity points there.
    pub is_reversed: bool,
    /// Its location in the file: the key of its dictionary, and the prefix of its names.
    pub place: String,
    /// Number of tensors in the same dictionary that belong to something else.
    pub n_left_out: usize,
    pub tensors: Tensors,
}

/// A tensor that a set has more than once.
#[derive(Debug)]
pub(super) struct Copied {
    /// The official name of the tensor.
    pub of: String,
    /// The copy's name in the file.
    pub name: String,
    pub entry: Entry,
}

/// A file's header.
#[derive(Debug)]
pub(super) struct Index {
    pub format: Format,
    /// At least one; the first is the default.
    pub sets: Vec<Set>,
    /// The text under [`super::recipe::RECIPE_KEY`] in the file's metadata.
    pub recipe: Option<String>,
}

/// Text from a file, for messages: one line without control characters, truncated if long.
#[doc(hidden)]
pub fn shown(text: &str) -> String {
    const MOST: usize = 120;
    let plain = |c: char| if c.is_control() { '?' } else { c };
    let mut shown: String = text.chars().take(MOST).map(plain).collect();
    if shown.len() < text.len() {
        shown += "...";
    }
    shown
}
