//! Real images: what a model was trained on, and others of the same kind.

use crate::data::{self, DataConfig, Dataset, Kind, Split};
use crate::error::{Failure, Result};
use crate::progress::Progress;
use crate::run::Checkpoint;
use sit_engine::model::NetworkIo;
use sit_engine::text::{count, shown};
use std::path::Path;
use std::sync::Arc;

/// The share of the training images that judges do not see where the data has no test images and the run held none out.
const SHARE: f64 = 0.2;

/// Real images in two parts.
#[derive(Clone)]
pub struct Real {
    /// What they are, as recipes say it.
    pub title: String,
    /// All that the model was trained on.
    pub all: Arc<dyn Dataset>,
    /// Those of them that judges are trained on and compare with.
    pub training: Arc<dyn Dataset>,
    /// Those that judges have not seen: test images, images that the run held out, or else a share of what the model was trained on.
    pub held_out: Arc<dyn Dataset>,
}

impl Real {
    /// Parts of which the model has seen the one alone.
    fn apart(title: String, training: Arc<dyn Dataset>, held_out: Arc<dyn Dataset>) -> Self {
        Real {
            title,
            all: Arc::clone(&training),
            training,
            held_out,
        }
    }

    /// What [`Real::held_out`] is called.
    pub fn floor(&self) -> String {
        let name = self.held_out.name();
        match Arc::ptr_eq(&self.all, &self.training) {
            true => format!("{name}, held out"),
            false => format!("{name}, a fifth of the training images"),
        }
    }

    /// The data at a path, its part to train on where it has two, for a model.
    ///
    /// # Errors
    /// [`Failure::Input`]: data that is not there or cannot be read.
    pub fn at(path: &Path, io: &NetworkIo) -> Result<Self> {
        let training = dataset(path, None, Split::Train, None, io)?;
        let has_test = is_digits(path) || data::suggest(path)?.has_test(Some(path))?;
        let test = || dataset(path, Some(Split::Test), Split::Test, None, io);
        let title = path.file_name().unwrap_or(path.as_os_str());
        Self::with_held_out(shown(title), has_test, training, test)
    }

    /// The data at a path with images of a shape `[C, H, W]`, or without one of the shape that it suggests.
    ///
    /// # Errors
    /// [`Failure::Input`]: data that is not there or cannot be read, or whose images have another shape.
    pub fn of_shape(path: &Path, shape: Option<[usize; 3]>) -> Result<Self> {
        let suggested = || -> Result<[usize; 3]> {
            if is_digits(path) {
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
        let real = Self::at(path, &NetworkIo::new(shape, 0))?;
        match real.training.shape() == shape {
            true => Ok(real),
            false
                if shape[1] != shape[2]
                    && !is_digits(path)
                    && data::suggest(path)?.kind == Kind::Folder =>
            {
                Err(Failure::Input(format!(
                    "{}: got samples of {shape:?} ([C, H, W]), expected square ones: real pictures are cropped to squares, as in a training",
                    real.training.name()
                )))
            }
            false => Err(Failure::Input(format!(
                "{}: got images of {:?}, expected {shape:?} ([C, H, W]) as the samples have",
                real.training.name(),
                real.training.shape(),
            ))),
        }
    }

    /// The data of the run of a checkpoint, in the folder `run`.
    ///
    /// # Errors
    /// [`Failure::Input`]: data that is not there any more or cannot be read.
    pub fn of_run(checkpoint: &Path, run: &Path) -> Result<Self> {
        let config = Checkpoint::open(checkpoint)?.state.config.data;
        let is_unlabeled = config.n_classes == Some(0);
        let config = DataConfig {
            path: config.place(Some(run))?,
            // A model without classes may have been trained on images that have some.
            n_classes: config.n_classes.filter(|_| !is_unlabeled),
            ..config
        };
        let all = data::open(&config, &Progress::shared("reading", "files"))?;
        Self::of_data(&config, all)
    }

    /// All the data of a run, in the parts that the configuration makes of it.
    ///
    /// # Errors
    /// [`Failure::Input`]: data that cannot be split.
    pub fn of_data(config: &DataConfig, all: Arc<dyn Dataset>) -> Result<Self> {
        let title = config.title();
        if config.hold_out > 0.0 {
            let (training, held_out) = data::hold_out(all, config.hold_out)?;
            return Ok(Self::apart(title, Arc::new(training), Arc::new(held_out)));
        }
        let test = || {
            let test = DataConfig {
                split: Split::Test,
                ..config.clone()
            };
            let bar = Progress::shared("reading", "files");
            Ok(data::open(&test, &bar)?)
        };
        // Else the test images are what it was trained on.
        let has_test = config.split == Split::Train && config.has_test(config.path.as_deref())?;
        Self::with_held_out(title, has_test, all, test)
    }

    /// Data with its test images, else with a share of its own for the floor.
    fn with_held_out(
        title: String,
        has_test: bool,
        all: Arc<dyn Dataset>,
        test: impl FnOnce() -> Result<Arc<dyn Dataset>>,
    ) -> Result<Self> {
        let why = match has_test {
            false => "it has no test images".to_owned(),
            true => match test() {
                Ok(held_out) => return Ok(Self::apart(title, all, held_out)),
                Err(e) => e.to_string(),
            },
        };
        let parts = data::hold_out(Arc::clone(&all), SHARE);
        let (training, held_out) = parts.map_err(|_| {
            Failure::Input(format!(
                "{}: got {}, expected more: {why}, and a fifth of the images, drawn by their names, is the floor",
                shown(all.name()),
                count(all.len(), "image")
            ))
        })?;
        tracing::info!(
            "{}: judges are trained on {} and compare with them, their floor is the other {}; {why}",
            all.name(),
            count(training.len(), "image"),
            held_out.len()
        );
        Ok(Real {
            title,
            all,
            training: Arc::new(training),
            held_out: Arc::new(held_out),
        })
    }
}

/// Whether it names the digits that come with the program.
pub fn is_digits(path: &Path) -> bool {
    path == Path::new("digits") && !path.exists()
}

/// Opens pictures in a folder or archives, latents, IDX files, the digits, or a toy of at least `count` points. Where the data has a training and a test part,
/// `split` names the one, else `usual`.
pub fn dataset(
    path: &Path,
    split: Option<Split>,
    usual: Split,
    count: Option<u32>,
    io: &NetworkIo,
) -> Result<Arc<dyn Dataset>> {
    if is_digits(path) {
        let held_out = split.unwrap_or(usual) == Split::Test;
        return Ok(match held_out {
            true => Arc::new(data::digits::held_out()),
            false => Arc::new(data::digits::train()),
        });
    }
    let suggested = data::suggest(path)?;
    let bar = Progress::shared("reading", "files");
    if suggested.kind == Kind::Latents {
        return Ok(data::open(&suggested, &bar)?);
    }
    if suggested.kind == Kind::Toy {
        let config = DataConfig {
            split: split.unwrap_or(usual),
            count: count.map(|n| n as usize),
            ..suggested
        };
        return Ok(data::open(&config, &bar)?);
    }
    if suggested.kind == Kind::Idx {
        let part = |split| {
            let config = DataConfig {
                split,
                ..suggested.clone()
            };
            data::open(&config, &bar)
        };
        return Ok(match split {
            Some(split) => part(split)?,
            None if path.is_file() => part(suggested.split)?,
            None => part(usual).or_else(|_| part(suggested.split))?,
        });
    }
    if split.is_some() && !data::is_archive(path)? {
        return Err(Failure::Input(format!(
            "{} is a folder of pictures; --split chooses between IDX files, and between archives",
            shown(path)
        )));
    }
    let parts = data::splits(path)?;
    let usual = parts.iter().find(|part| **part == usual);
    let split = split.or(usual.or(parts.first()).copied());
    if !crate::png::is_picture(io.channels()) {
        return Err(Failure::Input(format!(
            "{}: got pictures, but this model makes latents of {} channels; a folder that sit data encode has made, or an .npz file with arr_0 of float32, has them",
            shown(path),
            io.channels()
        )));
    }
    let mut config = DataConfig {
        kind: Kind::Folder,
        path: Some(path.to_owned()),
        split: split.unwrap_or_default(),
        image_size: Some(io.image[1]),
        channels: Some(io.channels()),
        disk_cache: Some(false),
        ..DataConfig::digits()
    };
    config.settle();
    Ok(data::open(&config, &bar)?)
}
