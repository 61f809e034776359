//! The number format of a written file.

use super::index::Dtype;
use crate::error::{Error, Result};
use half::{bf16, f16};
use std::fmt;
use std::str::FromStr;

/// The number format of a written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Unchanged.
    #[default]
    F32,
    /// Rounded to the nearest half, with half the bytes. Use f32 for models to train further or to compare bit for bit.
    F16,
    /// Rounded to the nearest bfloat16, with half the bytes: the range of f32, and 8 significant bits where f16 has 11.
    Bf16,
}

#[doc(hidden)]
impl Precision {
    /// Bytes per value.
    pub fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 | Precision::Bf16 => 2,
        }
    }

    /// The type of values that are stored without a change; f64 becomes f32.
    pub fn of(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F16 => Precision::F16,
            Dtype::BF16 => Precision::Bf16,
            _ => Precision::F32,
        }
    }

    /// The type in a file.
    pub(super) fn dtype(self) -> Dtype {
        match self {
            Precision::F32 => Dtype::F32,
            Precision::F16 => Dtype::F16,
            Precision::Bf16 => Dtype::BF16,
        }
    }

    /// The value after rounding; infinite if it is beyond the range.
    pub(super) fn rounded(self, x: f32) -> f32 {
        match self {
            Precision::F32 => x,
            Precision::F16 => f16::from_f32(x).to_f32(),
            Precision::Bf16 => bf16::from_f32(x).to_f32(),
        }
    }

    /// The bytes of a value, little-endian.
    pub(super) fn put(self, x: f32, bytes: &mut Vec<u8>) {
        match self {
            Precision::F32 => bytes.extend(x.to_le_bytes()),
            Precision::F16 => bytes.extend(f16::from_f32(x).to_le_bytes()),
            Precision::Bf16 => bytes.extend(bf16::from_f32(x).to_le_bytes()),
        }
    }

    /// The largest value.
    pub(super) fn max(self) -> f32 {
        match self {
            Precision::F32 => f32::MAX,
            Precision::F16 => f16::MAX.to_f32(),
            Precision::Bf16 => bf16::MAX.to_f32(),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Precision::F32),
            "f16" => Ok(Precision::F16),
            "bf16" => Ok(Precision::Bf16),
            _ => Err(Error::Config(format!(
                "got {text:?}, expected f32, f16 or bf16"
            ))),
        }
    }
}
