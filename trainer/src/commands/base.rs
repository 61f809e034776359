//! Opens the data that a model begins with in the place of noise: `transport.base = "data:PATH"`.

use crate::config::RunConfig;
use crate::data::{BaseData, DataConfig, DataError, Dataset, Split};
use crate::error::{Failure, Result};
use crate::real;
use sit_engine::model::NetworkIo;
use sit_engine::text::count;
use std::path::Path;
use std::sync::Arc;

/// The key of a configuration.
pub const BASE: &str = "transport.base";

/// Opens the data that a run's path begins with, if it is not noise. The run lies in the folder `run`, or will.
///
/// # Errors
/// As of [`open`].
pub fn of_run(config: &RunConfig, run: &Path, goes_on: bool) -> Result<Option<BaseData>> {
    let Some(path) = config.transport.base.data() else {
        return Ok(None);
    };
    let from = config.data.path_from.as_deref();
    let data = open(BASE, path, Some(run), from, &config.model.io());
    let data = data.map_err(|e| match goes_on {
        true => e.hint("--set transport.base=data:PATH says where it is now"),
        false => e,
    })?;
    tracing::info!(
        "the path begins with {} in the place of noise: {}",
        data.name(),
        count(data.len(), "image")
    );
    Ok(Some(BaseData::new(data, config.train.seed)))
}

/// Opens the data set at `path`, its part to train on where it has two. A relative path of a run starts where that of its data does: from
/// `path_from`, as seen from the folder `run`.
///
/// # Errors
/// [`Failure::Input`] naming `key`: the data is not there, cannot be read, or its images have another shape than the model's.
pub fn open(
    key: &str,
    path: &str,
    run: Option<&Path>,
    path_from: Option<&Path>,
    io: &NetworkIo,
) -> Result<Arc<dyn Dataset>> {
    find(path, run, path_from, io).map_err(|e| e.context(key))
}

fn find(
    path: &str,
    run: Option<&Path>,
    path_from: Option<&Path>,
    io: &NetworkIo,
) -> Result<Arc<dyn Dataset>> {
    let config = DataConfig {
        path: Some(path.into()),
        path_from: path_from.map(Path::to_owned),
        ..DataConfig::digits()
    };
    // What these say of data.path holds of this path.
    let plain = |e: DataError| match e {
        DataError::Place(message) => Failure::Input(message),
        DataError::Config { got, expected, .. } => {
            Failure::Input(format!("got {got}, expected {expected}"))
        }
        e => e.into(),
    };
    let place = config.place(run).map_err(plain)?;
    let place = place.unwrap_or_else(|| path.into());
    crate::data::toy(&place).map_err(plain)?;
    let data = real::dataset(&place, None, Split::Train, None, io)?;
    if data.shape() != io.image {
        return Err(Failure::Input(format!(
            "{}: got images of {:?}, expected {:?} ([C, H, W]) as the model has",
            data.name(),
            data.shape(),
            io.image
        )));
    }
    Ok(data)
}
