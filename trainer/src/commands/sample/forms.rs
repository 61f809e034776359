//! Grids of times and diffusions, by name or in a file.

use sit_engine::transport::{DiffusionForm, Grid, Path, PathName};
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
            _ => match text.parse() {
                Ok(grid) => Ok(GridArg::Named(grid)),
                Err(error) => Err(or_file(error)),
            },
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
        match text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            Some(path) => Ok(DiffusionArg::File(path.into())),
            None => text.parse().map(DiffusionArg::Form).map_err(or_file),
        }
    }
}

/// A refusal that also names the form that only the command line knows.
fn or_file(error: sit_engine::Error) -> sit_engine::Error {
    let text = error.to_string();
    match text.contains("expected") {
        true => sit_engine::Error::Config(format!("{text}, or file:PATH")),
        false => error,
    }
}

/// A path that has its usual numbers, and is not EDM's.
pub fn parse_along(text: &str) -> Result<PathName, String> {
    let name = text.parse::<PathName>().ok();
    let usual = name.filter(|name| name.usual().is_some_and(|path| path != Path::EDM));
    usual.ok_or_else(|| format!("got \"{text}\", expected linear, gvp, vp, ou or ddpm"))
}
