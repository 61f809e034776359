//! The real images that judges compare with: what a checkpoint was trained on, and others of the same kind.

use super::source::Opened;
use crate::data;
use crate::error::{Failure, Result};
use crate::real::Real;
use sit_engine::text::shown;
use std::path::Path;

/// The real images of a checkpoint: those of `path` (the argument `--data`), else those that its run was trained on, or that its recipe
/// names.
///
/// # Errors
/// [`Failure::Input`]: the data is not named, not there or cannot be read, or its images have another shape than the model's.
pub fn of(checkpoint: &Path, source: &Opened, path: Option<&Path>) -> Result<Real> {
    let io = source.recipe.model.io();
    let real = match (path, &source.run) {
        (Some(path), _) => Real::at(path, &io).map_err(|e| e.context("--data"))?,
        (None, Some((run, _))) => {
            let hint = |e: Failure| e.hint("--data PATH says where the data is now");
            Real::of_run(checkpoint, run).map_err(hint)?
        }
        (None, None) => {
            let name = source.recipe.data.as_ref().map(|data| data.name.as_str());
            let is_known = |name: &&str| {
                *name == "digits" || data::toy(Path::new(name)).is_ok_and(|toy| toy.is_some())
            };
            let name = name.filter(is_known).ok_or_else(|| {
                Failure::Input(format!(
                    "--data: expected the data that the model was trained on, which {} does not say",
                    shown(checkpoint)
                ))
            })?;
            Real::at(Path::new(name), &io)?
        }
    };
    if real.training.shape() != io.image {
        return Err(Failure::Input(format!(
            "{}: got images of {:?}, expected {:?} ([C, H, W]) as the model has",
            real.training.name(),
            real.training.shape(),
            io.image
        )));
    }
    Ok(real)
}
