//! The number format of a written file.

use crate::error::{Error, Result};
use std::str::FromStr;

/// The number format of a written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Unchanged.
    #[default]
    F32,
    /// Rounded to the nearest half, with half the bytes. Use f32 for models to train further or to compare bit for bit.
    F16,
}

#[doc(hidden)]
impl Precision {
    /// Bytes per value.
    pub fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 => 2,
        }
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Precision::F32),
            "f16" => Ok(Precision::F16),
            _ => Err(Error::Config(format!("got {text:?}, expected f32 or f16"))),
        }
    }
}
