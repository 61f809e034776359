//! The description of a folder of latents.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sit_engine::checkpoint;
use sit_engine::text::shown;

use crate::data::{DataConfig, DataError, classes};

/// The file that describes a folder of latents.
pub const LATENTS: &str = "latents.json";

/// To be changed with the format.
pub const VERSION: u32 = 1;

/// The most bytes of [`LATENTS`].
const MAX_ABOUT_BYTES: u64 = 64 << 20;

/// What the shards hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// [`VERSION`].
    pub version: u32,
    /// `[Z, h, w]` of a latent.
    pub latent: [usize; 3],
    /// `[C, H, W]` of the images that were encoded.
    pub image: [usize; 3],
    /// Whether the mirrored images are encoded, too.
    pub flips: bool,
    /// Whether there are variances.
    pub variances: bool,
    /// Whether values are stored as f16, else as f32.
    pub half: bool,
    /// A model sees `(z - shift) scale`.
    pub scale: f64,
    /// The shift of that.
    pub shift: f64,
    /// The name of the autoencoder's file.
    pub autoencoder: String,
    /// CRC-32C of that file, in hexadecimal digits.
    pub weights: String,
    /// The data that was encoded: its kind and path.
    pub source: String,
    /// Its table of a configuration, in TOML.
    pub settings: String,
    /// The number of classes; 0 for unconditional data.
    pub n_classes: usize,
    /// Their names, as many as are known.
    pub classes: Vec<String>,
    /// The files, in the order of the images.
    pub shards: Vec<ShardAbout>,
}

/// A file of latents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardAbout {
    /// Its name.
    pub file: String,
    /// Its images.
    pub images: usize,
    /// CRC-32C of the file.
    pub crc32c: u32,
}

impl About {
    /// Reads the description of a folder; `None` if it has none.
    ///
    /// # Errors
    /// A file that cannot be read or is of another form.
    pub fn read(folder: &Path) -> Result<Option<Self>, DataError> {
        // The path may be that of a file.
        if !folder.is_dir() {
            return Ok(None);
        }
        let path = folder.join(LATENTS);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(DataError::io(&path, e)),
        };
        let mut text = String::new();
        let mut some = file.take(MAX_ABOUT_BYTES);
        some.read_to_string(&mut text)
            .map_err(|e| DataError::io(&path, e))?;
        let about: About = serde_json::from_str(&text)
            .map_err(|e| DataError::content(&path, e.to_string(), "the description of latents"))?;
        about.check(&path)?;
        Ok(Some(about))
    }

    fn check(&self, path: &Path) -> Result<(), DataError> {
        let refuse = |got: String, expected: &str| Err(DataError::content(path, got, expected));
        if self.version != VERSION {
            let expected = format!("version {VERSION}");
            return refuse(format!("version {}", self.version), &expected);
        }
        let is_size = |n: &usize| (1..=1 << 14).contains(n);
        if !self.latent.iter().all(is_size) {
            return refuse(format!("latents {:?}", self.latent), "sizes of 1 to 16384");
        }
        let finite = self.scale.is_finite() && self.shift.is_finite();
        if !finite || self.scale == 0.0 {
            let got = format!("scale {} and shift {}", self.scale, self.shift);
            return refuse(got, "finite numbers, and no scale of 0");
        }
        let n = self
            .shards
            .iter()
            .try_fold(0, |n: usize, shard| n.checked_add(shard.images));
        if n.is_none_or(|n| n > u32::MAX as usize) {
            return refuse("more images than can be counted".into(), "fewer than 2^32");
        }
        if self.shards.is_empty() || self.shards.iter().any(|shard| shard.images == 0) {
            return refuse("no shard, or an empty one".into(), "shards with images");
        }
        let is_plain = |name: &str| {
            Path::new(name).components().count() == 1
                && !name.contains(['/', '\\', ':'])
                && name != ".."
        };
        match self.shards.iter().find(|shard| !is_plain(&shard.file)) {
            Some(shard) => refuse(
                format!("the file {}", shown(&shard.file)),
                "files of the same folder",
            ),
            None => Ok(()),
        }
    }

    /// The number of classes of a training: that of the images, a larger one with room for more, or 0 to ignore them.
    pub(super) fn classes_for(
        &self,
        config: &DataConfig,
        folder: &Path,
    ) -> Result<usize, DataError> {
        let own = self.n_classes;
        let n = config.n_classes.unwrap_or(own);
        if n != 0 && (n < own || own == 0) {
            let expected = match own {
                0 => "0: the images have no classes".to_owned(),
                own => format!("at least {own}, the classes of the images, or 0"),
            };
            return Err(DataError::config("n_classes", n, expected));
        }
        if n == 0 || config.classes.is_empty() {
            return Ok(n);
        }
        match classes::difference(&config.classes, &self.classes) {
            None => Ok(n),
            Some(difference) => Err(DataError::Classes {
                root: shown(folder),
                difference,
            }),
        }
    }

    /// What a model that is trained on them records.
    pub fn recorded(&self) -> checkpoint::Latents {
        checkpoint::Latents {
            autoencoder: self.autoencoder.clone(),
            weights: self.weights.clone(),
            scale: self.scale,
            shift: self.shift,
        }
    }

    /// Moments of an image: mean alone, or also the variance.
    pub fn n_moments(&self) -> usize {
        1 + usize::from(self.variances)
    }

    /// Encoded versions of an image.
    pub fn n_flips(&self) -> usize {
        1 + usize::from(self.flips)
    }

    /// Bytes of the moments of one version of an image.
    pub fn record_bytes(&self) -> usize {
        self.n_moments() * self.latent_len() * if self.half { 2 } else { 4 }
    }

    pub(super) fn latent_len(&self) -> usize {
        self.latent.iter().product()
    }
}
