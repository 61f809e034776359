//! What samples are compared with.

use super::Settings;
use crate::config::Metric;
use crate::data::{self, Dataset, ImageSet, Kind, Npz};
use crate::error::{Failure, Result};
use crate::judge::Statistics;
use crate::progress::Progress;
use crate::real::{Real, is_digits};
use crate::run;
use sit_engine::text::{count, shown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether it is the folder of a run, which stands for what the run is trained on.
fn is_run(path: &Path) -> bool {
    run::steps(path).is_ok_and(|steps| !steps.is_empty())
}

/// Opens images as they are.
///
/// # Errors
/// [`Failure::Input`] naming the path: it cannot be read, or has no images.
pub fn plain(path: &Path) -> Result<ImageSet> {
    check_regular(path)?;
    if is_digits(path) {
        return Ok(ImageSet::of_data(Arc::new(data::digits::train()))?);
    }
    if is_run(path) {
        return Ok(ImageSet::of_data(Real::of_run(path, path)?.all)?);
    }
    let is_archive = data::is_archive(path)?;
    let suggested = match is_archive {
        true => None,
        false => Some(data::suggest(path)?),
    };
    let refuse = |what: &str| {
        let path = shown(path);
        Err(Failure::Input(format!(
            "{path}: got {what}, expected pictures"
        )))
    };
    match suggested.filter(|config| config.kind != Kind::Folder) {
        None => Ok(ImageSet::open(path)?),
        Some(config) if config.kind == Kind::Latents => refuse("latents"),
        Some(config) if config.kind == Kind::Toy => refuse("points"),
        Some(config) => {
            let bar = Progress::shared("reading", "files");
            Ok(ImageSet::of_data(data::open(&config, &bar)?)?)
        }
    }
}

/// Refuses a pipe, which would wait for a writer.
fn check_regular(path: &Path) -> Result<()> {
    let is_odd = |about: std::fs::Metadata| !about.is_file() && !about.is_dir();
    match path.metadata().is_ok_and(is_odd) {
        false => Ok(()),
        true => Err(Failure::Input(format!(
            "{}: got a pipe or a device, expected a regular file or a folder",
            shown(path)
        ))),
    }
}

/// Real images as a judge is trained on them, and as pixels are compared.
pub struct Images {
    /// The data.
    pub real: Real,
    /// Those of [`Real::all`].
    pub all: Arc<ImageSet>,
    /// Those of [`Real::training`].
    pub training: Arc<ImageSet>,
    /// Those of [`Real::held_out`].
    pub held_out: Arc<ImageSet>,
}

impl Images {
    /// Opens them in the shape `[H, W, C]` of the samples.
    ///
    /// # Errors
    /// As of [`Real::of_shape`] and [`Real::of_run`].
    pub fn open(path: &Path, shape: Option<[usize; 3]>) -> Result<Self> {
        check_regular(path)?;
        let shape = shape.map(|[height, width, channels]| [channels, height, width]);
        if is_run(path) {
            let real = Real::of_run(path, path)?;
            let own = real.training.shape();
            return match shape.is_none_or(|shape| shape == own) {
                true => Self::of(real),
                false => Err(Failure::Input(format!(
                    "{}: got a run on images of {own:?}, expected {:?} ([C, H, W]) as the samples have",
                    shown(path),
                    shape.unwrap_or_default()
                ))),
            };
        }
        Self::of(Real::of_shape(path, shape)?)
    }

    /// Takes all parts.
    ///
    /// # Errors
    /// [`Failure::Input`]: data that is no pictures.
    pub fn of(real: Real) -> Result<Self> {
        let set = |data: &Arc<dyn Dataset>| ImageSet::of_data(Arc::clone(data)).map(Arc::new);
        Ok(Images {
            all: set(&real.all)?,
            training: set(&real.training)?,
            held_out: set(&real.held_out)?,
            real,
        })
    }
}

/// What samples are compared with.
pub struct Reference {
    /// Where it lies.
    pub path: PathBuf,
    /// Statistics of features, if it is a file of them.
    pub statistics: Option<Statistics>,
    /// Whether it has images as they are: it is no file of statistics, or an `.npz` file with both.
    pub has_plain: bool,
    /// The images as they are, for features of large networks.
    pub plain: Option<Arc<ImageSet>>,
    /// The images as of a training, for pixels and for the small classifier.
    pub images: Option<Images>,
}

impl Reference {
    /// Finds out what it is.
    ///
    /// # Errors
    /// As of [`Statistics::read`].
    pub fn at(path: &Path) -> Result<Self> {
        check_regular(path)?;
        let statistics = Statistics::read(path)?;
        let is_npz = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("npz"));
        let has_plain = match &statistics {
            Some(_) if is_npz => Npz::open(path)?.array("arr_0")?.is_some(),
            Some(_) => false,
            None => true,
        };
        Ok(Reference {
            path: path.to_owned(),
            statistics,
            has_plain,
            plain: None,
            images: None,
        })
    }

    /// The images that a model was trained on.
    ///
    /// # Errors
    /// As of [`Images::of`].
    pub fn of(real: Real) -> Result<Self> {
        let images = Images::of(real)?;
        Ok(Reference {
            path: PathBuf::from(images.all.name()),
            statistics: None,
            has_plain: true,
            plain: Some(Arc::clone(&images.all)),
            images: Some(images),
        })
    }

    /// Opens the images that some metrics need, beside statistics; those of the judge and of pixels in the shape `[H, W, C]` of the samples. With
    /// `trains` a judge is trained on them too.
    ///
    /// # Errors
    /// [`Failure::Input`]: images that cannot be read, or statistics in the place of images.
    pub fn open(
        &mut self,
        metrics: &[Metric],
        shape: Option<[usize; 3]>,
        trains: bool,
    ) -> Result<()> {
        let first = |is: &dyn Fn(Metric) -> bool| metrics.iter().find(|metric| is(**metric));
        let has_statistics = self.statistics.is_some();
        let needs_images =
            first(&|metric| metric.is_of_pixels() || metric.needs_vectors() && !self.has_plain);
        if let Some(metric) = needs_images.filter(|_| has_statistics) {
            return Err(Failure::Input(format!(
                "{}: got a file of statistics, expected images for {}",
                shown(&self.path),
                metric.name()
            )));
        }
        let is_distance = |metric: Metric| metric.is_of_inception() && metric.compares();
        let is_missing = !has_statistics && first(&is_distance).is_some();
        if is_missing || first(&Metric::needs_vectors).is_some() {
            self.plain = Some(Arc::new(plain(&self.path)?));
        }
        let is_small = |metric: Metric| !metric.is_of_inception();
        if !has_statistics && (trains || first(&is_small).is_some()) {
            self.images = Some(Images::open(&self.path, shape)?);
        }
        Ok(())
    }

    /// Refuses sets of fewer images than a metric needs, of `samples` by name and number and of the reference, and statistics without those that a
    /// metric compares; before the work.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the set.
    pub fn check(&self, settings: &Settings, samples: &[(&str, usize)]) -> Result<()> {
        for metric in &settings.metrics {
            if let Some(statistics) = &self.statistics
                && *metric == Metric::Sfid
                && statistics.spatial.is_none()
            {
                return Err(Failure::Input(format!(
                    "{}: has no mu_s and sigma_s, expected them for sfid",
                    shown(&self.path)
                )));
            }
            let mut sets = samples.to_vec();
            let images = self.images.iter();
            let images = images.flat_map(|images| [&images.training, &images.held_out]);
            let real: Vec<_> = match metric.is_of_inception() {
                true => self.plain.iter().collect(),
                false => images.collect(),
            };
            let real = real.into_iter().filter(|_| metric.compares());
            sets.extend(real.map(|set| (set.name(), set.len())));
            let least = metric.least(settings.protocol);
            if let Some((name, n)) = sets.into_iter().find(|(_, n)| *n < least) {
                return Err(Failure::Input(format!(
                    "{name}: got {}, expected at least {least} for {}",
                    count(n, "image"),
                    metric.name()
                )));
            }
        }
        Ok(())
    }
}
