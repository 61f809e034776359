//! Models that begin with another data set in the place of noise.

use super::args::Args;
use crate::commands::base::{self, BASE};
use crate::commands::source::Opened;
use crate::data::BaseData;
use crate::error::{Failure, Result};
use sit_engine::text::shown;
use sit_engine::transport::{Base, Transport};
use std::path::Path;

impl Args {
    /// The base of the model, with the path of `--base` in the place of its own.
    ///
    /// # Errors
    /// [`Failure::Input`] for a path of a model that begins with noise.
    pub fn base_of(&self, transport: &Transport) -> Result<Base> {
        match (&self.base, &transport.base) {
            (None, base) => Ok(base.clone()),
            (Some(path), Base::Data(_)) => Ok(Base::Data(path.to_string_lossy().into_owned())),
            (Some(path), Base::Gaussian | Base::Paired) => Err(Failure::Input(format!(
                "--base: got {}, but this model begins with noise; --init starts from given states",
                shown(path)
            ))),
        }
    }
}

/// The data that a model begins with, if it is not noise, with the path of `--base` in the place of its own; `seed` chooses its images.
///
/// # Errors
/// As of [`base::open`].
pub fn begin(base: Option<&Path>, source: &Opened, seed: u64) -> Result<Option<BaseData>> {
    let Some(own) = source.recipe.transport.base.data() else {
        return Ok(None);
    };
    let io = source.recipe.model.io();
    let data = match (base, &source.run) {
        (Some(path), _) => base::open("--base", &path.to_string_lossy(), None, None, &io)?,
        (None, run) => {
            let (run, from) = match run {
                Some((run, from)) => (Some(run.as_path()), from.as_deref()),
                None => (None, None),
            };
            base::open(BASE, own, run, from, &io)
                .map_err(|e| e.hint("--base PATH says where the data is now"))?
        }
    };
    tracing::info!("each image starts from one of {}", data.name());
    Ok(Some(BaseData::new(data, seed)))
}
