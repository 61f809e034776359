//! Images and labels to train on: the embedded digits, IDX files, pictures in folders and archives, latents, points in the plane, and the
//! loader that batches them.
//!
//! Every data set yields `[C, H, W]` f32 images in [-1, 1], `x = 2 · level / max_level - 1` with integer levels
//! 0 to [`Dataset::max_level`] (16 for the digits, 255 otherwise), and labels below [`Dataset::n_classes`]. Points and latents have no levels,
//! and reach beyond [-1, 1].

#[cfg(not(target_arch = "wasm32"))]
mod archive;
mod base;
mod batches;
pub mod classes;
mod config;
mod crop;
mod decode;
pub mod digits;
#[cfg(not(target_arch = "wasm32"))]
mod disk;
mod dropped;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod folder;
mod idx;
#[cfg(not(target_arch = "wasm32"))]
mod image_set;
#[cfg(not(target_arch = "wasm32"))]
mod inspect;
#[cfg(not(target_arch = "wasm32"))]
mod item;
mod jpeg;
mod knn;
#[cfg(not(target_arch = "wasm32"))]
mod labels;
#[cfg(not(target_arch = "wasm32"))]
mod latents;
#[cfg(not(target_arch = "wasm32"))]
mod listing;
#[cfg(not(target_arch = "wasm32"))]
mod loader;
mod memory;
mod names;
#[cfg(not(target_arch = "wasm32"))]
mod numpy;
#[cfg(not(target_arch = "wasm32"))]
mod place;
mod plane;
mod subset;
mod suggest;

use std::sync::Arc;

#[cfg(not(target_arch = "wasm32"))]
pub use archive::{is_archive, splits};
pub use base::{BaseData, Use};
pub use batches::{Batch, BatchConfig, Batches};
pub use config::{ClassOrder, DataConfig, Kind, Split};
pub use decode::{EXTENSIONS, is_guarded};
pub use dropped::{File, open_files, unpack};
pub use error::{BadFile, DataError};
#[cfg(not(target_arch = "wasm32"))]
pub use idx::has_idx;
#[cfg(not(target_arch = "wasm32"))]
pub use image_set::ImageSet;
#[cfg(not(target_arch = "wasm32"))]
pub use inspect::{ChannelStats, Report, inspect};
pub use knn::Knn;
#[cfg(not(target_arch = "wasm32"))]
pub use latents::{About, LATENTS, Latents, ShardAbout, VERSION};
#[cfg(not(target_arch = "wasm32"))]
pub use loader::Loader;
pub use memory::InMemory;
#[cfg(not(target_arch = "wasm32"))]
pub use numpy::{Array, Npz};
pub use plane::{Plane, path_of, toy};
pub use subset::{Subset, hold_out};
#[cfg(not(target_arch = "wasm32"))]
pub use suggest::suggest;
pub use suggest::{is_idx, suggest_files};

/// Called from several threads with (files checked, files in all) while a folder is opened.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// A finite, ordered collection of labeled images of one shape.
#[expect(
    clippy::len_without_is_empty,
    reason = "an empty data set is refused when it is opened"
)]
pub trait Dataset: Send + Sync {
    /// What the data is, for logs: "digits (train)", "/data/faces".
    fn name(&self) -> &str;

    /// The number of images, at least 1.
    fn len(&self) -> usize;

    /// `[C, H, W]` of every image.
    fn shape(&self) -> [usize; 3];

    /// The brightest level of the source; see the module's equation.
    fn max_level(&self) -> u8;

    /// Whether the values are levels; those of points and latents are not.
    fn has_levels(&self) -> bool {
        true
    }

    /// How the images were made, if they are latents.
    fn latents(&self) -> Option<sit_engine::checkpoint::Latents> {
        None
    }

    /// The number of classes, 0 for unconditional data.
    fn n_classes(&self) -> usize;

    /// The classes' names, as many as are known; class `i` without one is called by its number.
    fn class_names(&self) -> &[String];

    /// Writes what opening the data has determined into the table that it was opened with: the number of classes and their names.
    fn resolve(&self, config: &mut DataConfig) {
        config.n_classes = Some(self.n_classes());
        config.classes = self.class_names().to_vec();
    }

    /// The class of image `index`, below [`Dataset::n_classes`]; 0 for unconditional data.
    fn label(&self, index: usize) -> u32;

    /// Writes image `index` into `image`, `C · H · W` values in [-1, 1].
    ///
    /// # Errors
    /// [`DataError::Changed`] if the image is decoded on the fly and its file is no longer readable.
    fn read(&self, index: usize, image: &mut [f32]) -> Result<(), DataError>;

    /// Writes what a training sees of image `index`: the image, mirrored if asked.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    fn draw(&self, index: usize, draw: Draw, image: &mut [f32]) -> Result<(), DataError> {
        self.read(index, image)?;
        if draw.mirrored {
            let [_, _, width] = self.shape();
            image.chunks_exact_mut(width).for_each(<[f32]>::reverse);
        }
        Ok(())
    }

    /// Whether each image is paired with noise of its own; else noise is drawn.
    fn is_paired(&self) -> bool {
        false
    }

    /// Writes the noise that image `index` is paired with, where there is any.
    fn pair(&self, _index: usize, _x0: &mut [f32]) {}

    /// Where image `index` comes from, for messages: a path, or a file and a number.
    fn item_name(&self, index: usize) -> String;
}

/// A sample of a training. What is random in it is a function of the seed and its number.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    /// The key of the training's random numbers.
    pub seed: u64,
    /// The number of the sample.
    pub number: u64,
    /// Whether the image is mirrored.
    pub mirrored: bool,
}

/// Opens the data that `config` describes. All images of a folder are decoded once, except those in the disk cache, so that bad
/// files are found now.
///
/// # Errors
/// Any [`DataError`]: invalid or unused keys, missing or empty folders, corrupt files, labels out of range.
pub fn open(config: &DataConfig, progress: Progress) -> Result<Arc<dyn Dataset>, DataError> {
    config.check()?;
    Ok(match config.kind {
        Kind::Digits => {
            let digits = match config.split {
                Split::Train => digits::train(),
                Split::Test => digits::held_out(),
            };
            Arc::new(digits.with_classes(config)?)
        }
        Kind::Toy => Arc::new(plane::open(config)?),
        #[cfg(not(target_arch = "wasm32"))]
        Kind::Idx => Arc::new(idx::open(config)?),
        #[cfg(not(target_arch = "wasm32"))]
        Kind::Folder => Arc::new(folder::Folder::open(config, progress)?),
        #[cfg(not(target_arch = "wasm32"))]
        Kind::Latents => Arc::new(Latents::open(config)?),
        #[cfg(target_arch = "wasm32")]
        Kind::Folder | Kind::Idx | Kind::Latents => {
            let _ = progress;
            let expected = "digits; a browser opens no folders, see open_files";
            return Err(DataError::config("kind", config.kind, expected));
        }
    })
}

/// `image[i] = 2 · levels[i] / max_level - 1`, one rounding per value.
fn scale(levels: &[u8], max_level: u8, image: &mut [f32]) {
    assert_eq!(levels.len(), image.len(), "the buffer holds one image");
    for (value, &level) in image.iter_mut().zip(levels) {
        *value = (2 * i32::from(level) - i32::from(max_level)) as f32 / f32::from(max_level);
    }
}
