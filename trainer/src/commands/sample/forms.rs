//! Grids of times and diffusions, by name or in a file.

use sit_engine::transport::{DiffusionForm, Grid};
use std::path::PathBuf;
use std::str::FromStr;

/// A grid by name, or in a file.
#[derive(Debug, Clone)]
pub enum GridArg {
    Named(Grid),
    /// The shift by the size of an image.
    Shift,
    File(PathBuf),
}

impl FromStr for GridArg {
    type Err = sit_engine::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(GridArg::File(path.into())),
            None if text == "shift" => Ok(GridArg::Shift),
            _ => text.parse().map(GridArg::Named),
        }
    }
}

/// A diffusion by name, or in a file.
#[derive(Debug, Clone)]
pub enum DiffusionArg {
    Form(DiffusionForm),
    File(PathBuf),
}

impl FromStr for DiffusionArg {
    type Err = sit_engine::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("file:") {
            Some(path) => Ok(DiffusionArg::File(path.into())),
            None => text.parse().map(DiffusionArg::Form),
        }
    }
}
