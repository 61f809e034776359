//! The sets of images of `sit eval`.

use crate::commands::examples::is_digits;
use crate::commands::real;
use crate::data::{self, ImageSet, Kind, Npz};
use crate::error::{Failure, Result};
use crate::judge::{Real, Statistics};
use crate::metrics::picks;
use crate::progress::Progress;
use sit_engine::text::shown;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Opens images as they are, at most `n` of them.
///
/// # Errors
/// [`Failure::Input`] naming the path: it cannot be read, has no images, or fewer than `n`.
pub fn open(path: &Path, n: Option<u32>, seed: u64) -> Result<ImageSet> {
    /// Of [`picks`], apart from those of subsets and pixels.
    const STEP: u32 = 1 << 31;
    let mut set = whole(path)?;
    if let Some(n) = n {
        let n = n as usize;
        if n > set.len() {
            return Err(Failure::Input(format!(
                "{}: got {} images, expected at least {n} for --count",
                shown(path),
                set.len()
            )));
        }
        set.take(picks(seed, STEP, set.len(), n));
    }
    Ok(set)
}

fn whole(path: &Path) -> Result<ImageSet> {
    if is_digits(path) {
        return Ok(ImageSet::of_data(Arc::new(data::digits::train()))?);
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

/// Real images as a judge is trained on them, and as pixels are compared.
pub struct Images {
    /// Both parts.
    pub real: Real,
    /// Those that are compared with.
    pub training: ImageSet,
    /// Others of the same kind.
    pub held_out: ImageSet,
}

impl Images {
    /// Opens them in the shape `[H, W, C]` of the samples.
    ///
    /// # Errors
    /// As of [`real::of_path`].
    pub fn open(path: &Path, shape: Option<[usize; 3]>) -> Result<Self> {
        let shape = shape.map(|[height, width, channels]| [channels, height, width]);
        let real = real::of_path(path, shape)?;
        Ok(Images {
            training: ImageSet::of_data(Arc::clone(&real.training))?,
            held_out: ImageSet::of_data(Arc::clone(&real.held_out))?,
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
    pub plain: Option<ImageSet>,
    /// The images as of a training, for pixels and for the small classifier.
    pub images: Option<Images>,
}

impl Reference {
    /// Finds out what it is.
    ///
    /// # Errors
    /// As of [`Statistics::read`].
    pub fn at(path: &Path) -> Result<Self> {
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
}
