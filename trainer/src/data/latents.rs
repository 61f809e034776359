//! Latents that `sit data encode` has made: the posteriors of an autoencoder, in shards.
//!
//! A folder holds `latents.json` ([`About`]) and safetensors files, each with the tensors `moments` `[n, flips, m, Z, h, w]`, f16 or f32,
//! `label` i64 `[n]` and `names`, the images' names as lines of UTF-8. `flips` is 2 when the mirrored images are encoded, too; `m` is 2, the mean and the logarithm of the variance, or 1,
//! the mean. Shards are read where an image is needed, so that they may be larger than the memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use half::f16;
use serde::{Deserialize, Serialize};
use sit_engine::checkpoint::{Dtype, Reader};
use sit_engine::rng::{Stream, fill_normal};
use sit_engine::text::{count, shown};

use super::{DataConfig, DataError, Dataset, Draw, classes};

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
    /// The data that was encoded.
    pub source: String,
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

    fn latent_len(&self) -> usize {
        self.latent.iter().product()
    }
}

/// Latents as data.
pub struct Latents {
    name: String,
    about: About,
    n_classes: usize,
    class_names: Vec<String>,
    shards: Vec<Shard>,
    labels: Vec<u32>,
}

/// An open shard.
struct Shard {
    path: PathBuf,
    file: Mutex<File>,
    /// The number of its first image among all.
    first: usize,
    /// Names of its images, below the folder that was encoded.
    names: Vec<Box<str>>,
    /// Where the moments begin in the file, and their type.
    at: u64,
    dtype: Dtype,
}

impl Latents {
    /// The tensor of a shard with the posteriors.
    pub const MOMENTS: &str = "moments";
    /// That with the labels.
    pub const LABEL: &str = "label";
    /// That with the images' names.
    pub const NAMES: &str = "names";

    /// Checks that a file is a shard of so many images.
    ///
    /// # Errors
    /// A file that cannot be read or is of another form.
    pub fn check_shard(path: &Path, about: &About, images: usize) -> Result<(), DataError> {
        Shard::open(path, about, images, 0).map(drop)
    }

    /// Opens the folder and all of its shards.
    ///
    /// # Errors
    /// A file that is missing, cut off or of another form, or a label out of range.
    pub fn open(config: &DataConfig) -> Result<Self, DataError> {
        let folder = config.required_path()?;
        let about = About::read(folder)?.ok_or_else(|| {
            DataError::content(
                folder,
                format!("no {LATENTS}"),
                "a folder that `sit data encode` has made; images have data.kind = \"folder\"",
            )
        })?;
        let (mut shards, mut labels) = (Vec::new(), Vec::new());
        for shard in &about.shards {
            let path = folder.join(&shard.file);
            let (open, own) = Shard::open(&path, &about, shard.images, labels.len())?;
            shards.push(open);
            labels.extend(own);
        }
        if config.flip && !about.flips {
            return Err(DataError::config(
                "flip",
                true,
                "false: the mirrored images were not encoded",
            ));
        }
        let source = folder.join(LATENTS);
        let names = match config.n_classes {
            Some(0) => Vec::new(),
            _ => about.classes.clone(),
        };
        let numbered = classes::number(&mut labels, names, config, &source)?;
        Ok(Latents {
            name: shown(folder),
            n_classes: numbered.n,
            class_names: numbered.names,
            about,
            shards,
            labels,
        })
    }

    /// What the folder holds.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The moments of an image, plain or mirrored: `[m, Z, h, w]`.
    fn moments(&self, index: usize, mirrored: bool) -> Result<Vec<f32>, DataError> {
        let shard = self.shards.partition_point(|shard| shard.first <= index) - 1;
        let shard = &self.shards[shard];
        let len = self.about.n_moments() * self.about.latent_len();
        let record = (index - shard.first) * self.about.n_flips() + usize::from(mirrored);
        shard.values(record, len)
    }
}

impl Shard {
    /// Opens a shard whose first image has the number `first`; also returns its labels.
    fn open(
        path: &Path,
        about: &About,
        images: usize,
        first: usize,
    ) -> Result<(Self, Vec<u32>), DataError> {
        let open = || File::open(path).map_err(|e| DataError::io(path, e));
        let of_reader =
            |e: sit_engine::Error| DataError::content(path, e.to_string(), "a shard of latents");
        let mut reader =
            Reader::new(shown(path), std::io::BufReader::new(open()?)).map_err(of_reader)?;
        let [z, h, w] = about.latent;
        let expected = [images, about.n_flips(), about.n_moments(), z, h, w];
        let wanted = if about.half { Dtype::F16 } else { Dtype::F32 };
        let refuse = |got: String| {
            DataError::content(
                path,
                got,
                format!("{} {expected:?} of {wanted}", Latents::MOMENTS),
            )
        };
        let entry = reader.entry(Latents::MOMENTS).cloned();
        let entry = entry.ok_or_else(|| refuse("no moments".into()))?;
        if entry.dtype != wanted || entry.shape[..] != expected {
            return Err(refuse(format!("{} of {}", entry.shape, entry.dtype)));
        }
        let at = entry
            .offset()
            .ok_or_else(|| refuse("moments that are not stored in one piece".into()))?;
        let labels = reader.read_labels(Latents::LABEL).map_err(of_reader)?;
        if labels.len() != images {
            return Err(DataError::content(
                path,
                count(labels.len(), "label"),
                count(images, "label"),
            ));
        }
        let names = reader.read_labels(Latents::NAMES).map_err(of_reader)?;
        let names: Vec<u8> = names.into_iter().map(|byte| byte as u8).collect();
        let names = String::from_utf8_lossy(&names);
        let names: Vec<Box<str>> = names.lines().map(Box::from).collect();
        if names.len() != images {
            return Err(DataError::content(
                path,
                count(names.len(), "name"),
                count(images, "name"),
            ));
        }
        let shard = Shard {
            names,
            path: path.to_owned(),
            file: Mutex::new(open()?),
            first,
            at,
            dtype: entry.dtype,
        };
        Ok((shard, labels))
    }

    /// `len` values of record number `record`.
    fn values(&self, record: usize, len: usize) -> Result<Vec<f32>, DataError> {
        let size = if self.dtype == Dtype::F16 { 2 } else { 4 };
        let mut bytes = vec![0; len * size];
        {
            let mut file = self.file.lock().unwrap_or_else(|e| e.into_inner());
            let at = self.at + (record * len * size) as u64;
            file.seek(SeekFrom::Start(at))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(|e| DataError::io(&self.path, e))?;
        }
        Ok(match size {
            2 => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f16::from_le_bytes(*b).to_f32())
                .collect(),
            _ => bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
        })
    }
}

impl Dataset for Latents {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> [usize; 3] {
        self.about.latent
    }

    fn max_level(&self) -> u8 {
        255
    }

    fn has_levels(&self) -> bool {
        false
    }

    fn n_classes(&self) -> usize {
        self.n_classes
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    /// The mean of the posterior, as a model sees it.
    fn read(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
        let moments = self.moments(index, false)?;
        for (x, mean) in image.iter_mut().zip(&moments) {
            *x = ((f64::from(*mean) - self.about.shift) * self.about.scale) as f32;
        }
        Ok(())
    }

    /// A sample of the posterior, of the mirrored image if asked.
    fn draw(&self, index: usize, draw: Draw, image: &mut [f32]) -> Result<(), DataError> {
        let moments = self.moments(index, draw.mirrored)?;
        let (mean, log_variance) = moments.split_at(image.len());
        let first = draw.number * image.len() as u64;
        fill_normal(draw.seed, Stream::Posterior, 0, first, image);
        let std = log_variance.iter().map(|v| f64::from(*v * 0.5).exp());
        let std = std.chain(std::iter::repeat(0.0));
        for ((x, mean), std) in image.iter_mut().zip(mean).zip(std) {
            let z = f64::from(*mean) + std * f64::from(*x);
            *x = ((z - self.about.shift) * self.about.scale) as f32;
        }
        Ok(())
    }

    fn item_name(&self, index: usize) -> String {
        let shard = self.shards.partition_point(|shard| shard.first <= index) - 1;
        let shard = &self.shards[shard];
        format!("{}/{}", self.name, shard.names[index - shard.first])
    }
}
