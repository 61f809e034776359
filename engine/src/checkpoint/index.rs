//! What a file of tensors holds and where it lies, told from its header: one form for all formats.

use crate::shape::Shape;
use std::collections::BTreeMap;
use std::fmt;

pub use safetensors::tensor::Dtype;

/// The format of a file of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A header in JSON, then the values.
    Safetensors,
    /// What `torch.save` writes since PyTorch 1.6: a zip archive of a pickle and of stored arrays.
    Torch,
    /// What it wrote before: five pickles, then the arrays.
    TorchLegacy,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Safetensors => "safetensors",
            Format::Torch => "PyTorch",
            Format::TorchLegacy => "PyTorch (the format of before 1.6)",
        })
    }
}

/// Where a tensor's values lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// First byte of the first value, from the start of the file.
    pub start: u64,
    /// Values from one index of each axis to the next; `None` for contiguous rows.
    pub strides: Option<Vec<u64>>,
}

/// A tensor as it lies in a file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its sizes.
    pub shape: Shape,
    /// Type of its values, which are little-endian.
    pub dtype: Dtype,
    /// Number of the file among those of a model in parts.
    pub(super) part: usize,
    /// Where its values lie, or why they cannot be read.
    pub(super) place: Result<Place, String>,
}

impl Entry {
    /// Bytes of all values; `None` when they are more than a file has.
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

/// Tensors that belong together.
#[derive(Debug, Default)]
pub(super) struct Set {
    /// `ema` or `model` where a file has both; the only one of a file has no name.
    pub name: String,
    /// Where it lies in the file: a key, and what stands before every name.
    pub place: String,
    /// Tensors that lie in the same place and belong to something else.
    pub n_left_out: usize,
    pub tensors: Tensors,
}

/// A file's header.
#[derive(Debug)]
pub(super) struct Index {
    pub format: Format,
    /// At least one, the one that is read by default first.
    pub sets: Vec<Set>,
    /// The file's text metadata under [`super::recipe::RECIPE_KEY`].
    pub recipe: Option<String>,
}

/// A text from a file as messages show it: one line without control characters, its end cut off when it is long.
pub fn shown(text: &str) -> String {
    const MOST: usize = 120;
    let plain = |c: char| if c.is_control() { '?' } else { c };
    let mut shown: String = text.chars().take(MOST).map(plain).collect();
    if shown.len() < text.len() {
        shown += "...";
    }
    shown
}
