//! What a file of tensors holds and where it lies, told from its header: one form for all formats.

use crate::shape::Shape;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

pub use safetensors::tensor::Dtype;

/// The format of a file of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A header in JSON, then the values.
    Safetensors,
    /// What `torch.save` writes since PyTorch 1.6: a zip archive of a pickle and of stored arrays.
    Torch,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Safetensors => "safetensors",
            Format::Torch => "PyTorch",
        })
    }
}

/// A tensor as it lies in a file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its sizes.
    pub shape: Shape,
    /// Type of its values.
    pub dtype: Dtype,
    /// Bytes of its values, contiguous and little-endian, from the start of the file; or why they cannot be read.
    pub(super) place: Result<Range<u64>, String>,
}

impl Entry {
    /// Why its values cannot be read as f32, if so.
    pub(super) fn unreadable(&self) -> Option<String> {
        match self.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => self.place.as_ref().err().cloned(),
            other => Some(format!("is {other}, expected F32, F16 or BF16")),
        }
    }
}

/// Tensors by name.
pub(super) type Tensors = BTreeMap<String, Entry>;

/// A file's header.
#[derive(Debug)]
pub(super) struct Index {
    pub format: Format,
    /// Sets of tensors by name, at least one: a training checkpoint holds the weights and their moving average. The only one of
    /// a file without sets has no name.
    pub sets: Vec<(String, Tensors)>,
    /// The file's text metadata under [`super::RECIPE_KEY`].
    pub recipe: Option<String>,
}
