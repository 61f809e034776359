//! Latents that `sit data encode` has made: the posteriors of an autoencoder, in shards.
//!
//! A folder holds `latents.json` ([`About`]) and safetensors files, each with the tensors `moments` `[n, flips, m, Z, h, w]`, f16 or f32,
//! `label` i64 `[n]` and `names`, the images' names as lines of UTF-8. `flips` is 2 when the mirrored images are encoded, too; `m` is 2, the mean and the logarithm of the variance, or 1,
//! the mean. Shards are read where an image is needed, so that they may be larger than the memory.

mod about;

pub use about::{About, LATENTS, ShardAbout, VERSION};

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::f16;
use sit_engine::checkpoint::{self, Dtype, Reader};
use sit_engine::rng::{Stream, fill_normal};
use sit_engine::text::{count, shown};

use super::{DataConfig, DataError, Dataset, Draw};

/// Latents as data.
pub struct Latents {
    name: String,
    about: About,
    n_classes: usize,
    class_names: Vec<String>,
    shards: Vec<Shard>,
    labels: Vec<u32>,
}

/// A shard whose header has been read.
struct Shard {
    path: PathBuf,
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

    /// Checks that a file is a shard of so many images, and returns their labels and names.
    ///
    /// # Errors
    /// A file that cannot be read or is of another form.
    pub fn check_shard(
        path: &Path,
        about: &About,
        images: usize,
    ) -> Result<(Vec<u32>, Vec<Box<str>>), DataError> {
        let (shard, labels) = Shard::open(path, about, images, 0)?;
        Ok((labels, shard.names))
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
        let n_classes = about.classes_for(config, folder)?;
        if n_classes == 0 {
            labels.fill(0);
        }
        let class_names = match n_classes {
            0 => Vec::new(),
            _ => about.classes.clone(),
        };
        Ok(Latents {
            name: shown(folder),
            n_classes,
            class_names,
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
        if let Some(label) = labels
            .iter()
            .find(|label| **label as usize >= about.n_classes.max(1))
        {
            let expected = format!("labels of {}", count(about.n_classes, "class"));
            return Err(DataError::content(
                path,
                format!("the label {label}"),
                expected,
            ));
        }
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
        // Thousands of shards would exceed the open files of a process.
        let at = self.at + record as u64 * (len * size) as u64;
        let read = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut bytes)
        });
        read.map_err(|e| DataError::io(&self.path, e))?;
        let values: Vec<f32> = match size {
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
        };
        match values.iter().find(|value| !value.is_finite()) {
            None => Ok(values),
            Some(value) => Err(DataError::content(
                &self.path,
                format!("the number {value} in {} {record}", Latents::MOMENTS),
                "finite ones",
            )),
        }
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

    fn latents(&self) -> Option<checkpoint::Latents> {
        Some(self.about.recorded())
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
