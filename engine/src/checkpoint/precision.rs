//! The type of the values of a file that is written.

use crate::error::{Error, Result};
use std::str::FromStr;

/// Type of the values of a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// As they are.
    #[default]
    F32,
    /// Rounded to the nearest half, half the bytes. A model that is trained on or compared bit for bit stays f32.
    F16,
}

impl Precision {
    /// Bytes of a value.
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
