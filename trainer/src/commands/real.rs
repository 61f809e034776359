//! The real images that judges compare with: what a checkpoint was trained on, and others of the same kind.

use super::examples;
use super::source::Opened;
use crate::data::{self, DataConfig, Dataset, Split};
use crate::error::{Failure, Result};
use crate::judge::Real;
use crate::progress::Progress;
use crate::run::Checkpoint;
use sit_engine::model::NetworkIo;
use sit_engine::text::{count, shown};
use std::path::Path;
use std::sync::Arc;

/// The share of the images that is held out where the data has no test images and the run held none out.
const HELD_OUT: f64 = 0.2;

/// The real images of a checkpoint: those of `path` (the argument `--data`), else those that its run was trained on, or that its recipe
/// names.
///
/// # Errors
/// [`Failure::Input`]: the data is not named, not there or cannot be read, or its images have another shape than the model's.
pub fn of(checkpoint: &Path, source: &Opened, path: Option<&Path>) -> Result<Real> {
    let io = source.recipe.model.io();
    let real = match (path, &source.run) {
        (Some(path), _) => at(path, &io).map_err(|e| e.context("--data"))?,
        (None, Some((run, _))) => {
            let hint = |e: Failure| e.hint("--data PATH says where the data is now");
            of_run(checkpoint, run).map_err(hint)?
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
            at(Path::new(name), &io)?
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

/// The data at a path, its part to train on where it has two.
fn at(path: &Path, io: &NetworkIo) -> Result<Real> {
    let training = examples::dataset(path, None, Split::Train, None, io)?;
    let is_digits = path == Path::new("digits") && !path.exists();
    let has_test = is_digits || data::suggest(path)?.has_test(Some(path))?;
    let test = || examples::dataset(path, Some(Split::Test), Split::Test, None, io);
    let title = path.file_name().unwrap_or(path.as_os_str());
    with_held_out(shown(title), has_test, training, test)
}

/// The data at a path with images of a shape `[C, H, W]`, or without one of the shape that it suggests.
///
/// # Errors
/// [`Failure::Input`]: data that is not there or cannot be read, or whose images have another shape.
pub fn of_path(path: &Path, shape: Option<[usize; 3]>) -> Result<Real> {
    let suggested = || -> Result<[usize; 3]> {
        if examples::is_digits(path) {
            return Ok(data::digits::held_out().shape());
        }
        let config = data::suggest(path)?;
        match config.image_size {
            Some(size) => Ok([config.channels(), size, size]),
            // Its files say it.
            None => Ok(data::open(&config, &|_, _| {})?.shape()),
        }
    };
    let shape = match shape {
        Some(shape) => shape,
        None => suggested()?,
    };
    let real = at(path, &NetworkIo::new(shape, 0))?;
    match real.training.shape() == shape {
        true => Ok(real),
        false => Err(Failure::Input(format!(
            "{}: got images of {:?}, expected {shape:?} ([C, H, W]) as the samples have",
            real.training.name(),
            real.training.shape(),
        ))),
    }
}

/// The data of a run.
fn of_run(checkpoint: &Path, run: &Path) -> Result<Real> {
    let config = Checkpoint::open(checkpoint)?.state.config.data;
    let is_unlabeled = config.n_classes == Some(0);
    let config = DataConfig {
        path: config.place(Some(run))?,
        // A model without classes may have been trained on images that have some.
        n_classes: config.n_classes.filter(|_| !is_unlabeled),
        ..config
    };
    let bar = Progress::shared("reading", "files");
    let all = data::open(&config, &bar)?;
    let title = config.title();
    if config.hold_out > 0.0 {
        let (training, held_out) = data::hold_out(all, config.hold_out)?;
        return Ok(Real {
            title,
            training: Arc::new(training),
            held_out: Arc::new(held_out),
        });
    }
    let test = || {
        let test = DataConfig {
            split: Split::Test,
            ..config.clone()
        };
        Ok(data::open(&test, &bar)?)
    };
    // Else the test images are what it was trained on.
    let has_test = config.split == Split::Train && config.has_test(config.path.as_deref())?;
    with_held_out(title, has_test, all, test)
}

/// Data with its test images, else with a share of its own.
fn with_held_out(
    title: String,
    has_test: bool,
    all: Arc<dyn Dataset>,
    test: impl FnOnce() -> Result<Arc<dyn Dataset>>,
) -> Result<Real> {
    let why = match has_test {
        false => "it has no test images".to_owned(),
        true => match test() {
            Ok(held_out) => {
                return Ok(Real {
                    title,
                    training: all,
                    held_out,
                });
            }
            Err(e) => e.to_string(),
        },
    };
    let (training, held_out) = data::hold_out(all, HELD_OUT)?;
    tracing::info!(
        "{}: {} held out for the judges, {} to compare with; {why}",
        training.name(),
        count(held_out.len(), "image"),
        training.len()
    );
    Ok(Real {
        title,
        training: Arc::new(training),
        held_out: Arc::new(held_out),
    })
}
