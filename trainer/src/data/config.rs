//! The `[data]` table of a run's configuration.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sit_engine::text::shown;

use super::plane::is_toy;
use super::{DataError, classes};

/// Where the images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The 8x8 digits embedded in the program.
    Digits,
    /// A folder with the IDX or IDX.gz files of MNIST, Fashion-MNIST and the like.
    Idx,
    /// PNG, JPEG and WebP images: a folder of them, with one subfolder per class or flat for unconditional data; or archives: tar files,
    /// `.npz`, CIFAR's binaries, Parquet.
    Folder,
    /// A folder of latents that `sit data encode` has made.
    Latents,
    /// Points in the plane as images of one pixel and two channels: `path = "toy:moons"` and the like.
    Toy,
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Digits => "digits",
            Kind::Idx => "idx",
            Kind::Folder => "folder",
            Kind::Latents => "latents",
            Kind::Toy => "toy",
        })
    }
}

/// Which part of a data set that comes in two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What is trained on.
    #[default]
    Train,
    /// What is held out: the `t10k` files of an IDX folder, every fifth of the digits.
    Test,
}

/// The order of class folders, and so the numbers of classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClassOrder {
    /// By value where all names are whole numbers (2 before 10), else as text.
    Natural,
    /// As text: the reference's order (10 before 2).
    #[default]
    Text,
}

/// The `[data]` table. A key that the kind does not use is an error when set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// `"digits"`, `"idx"`, `"folder"`, `"latents"` or `"toy"`.
    pub kind: Kind,
    /// The folder; required for `idx`, `folder` and `latents`. For `folder` also an archive of images, a folder of archives, or
    /// several by a pattern: `train-{000000..000009}.tar` (WebDataset), an `.npz`, the folder of CIFAR-10's or CIFAR-100's binary files, a
    /// `.parquet`. For `toy` its name, `toy:moons`, `toy:rings` and so on.
    pub path: Option<PathBuf>,
    /// The folder that a relative `path` starts from, relative to the run's folder. A run records the folder that it is started in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_from: Option<PathBuf>,
    /// `"train"` (default) or `"test"`; for `digits`, `idx`, `toy`, and a `folder` of archives called so.
    #[serde(default)]
    pub split: Split,
    /// The number of points, 10000 by default; for `toy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Side of the square that each image is resized and cropped to, in pixels, 1 to 4096; required for `folder`.
    pub image_size: Option<usize>,
    /// 1 for grey, 3 for RGB (default); for `folder`.
    pub channels: Option<usize>,
    /// The number of classes, by default that of the data. A larger number leaves room for classes to come; 0 ignores the labels.
    pub n_classes: Option<usize>,
    /// Names of the classes in order, as many as are known; class `i` without one is called by its number. A run takes the names of
    /// its data and keeps them. If set, they are the class folders in the order of their numbers, or the names of an IDX file's
    /// labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// The label of class 0: 0 by default, or 1 if the labels are 1 to n of n classes; for `idx`, and for a `folder` with numbers
    /// in a file of labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_label: Option<u32>,
    /// Exchange rows and columns of each image, as EMNIST's files need: true by default for files called `emnist-...`; for `idx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transpose: Option<bool>,
    /// `"natural"` (default of a new run): class folders whose names are all whole numbers are in the order of the numbers; or
    /// `"text"`: the reference's order, and that of runs made before this key; for `folder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_order: Option<ClassOrder>,
    /// Turn images as their EXIF orientation says: true by default in a new run. The reference does not, nor do runs made before
    /// this key; for `folder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exif_orientation: Option<bool>,
    /// Images of more million pixels than this are refused before they are decoded, 64 by default; for `folder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_megapixels: Option<u64>,
    /// RGB levels 0 to 255 that show through transparent pixels, white by default; for `folder`.
    pub background: Option<[u8; 3]>,
    /// Share of the images that are held out of training for `log.validation`, in [0, 1); 0 by default. The choice depends only on
    /// each image's name below the folder, so added images do not change it for the others.
    #[serde(default)]
    pub hold_out: f64,
    /// Mirror every other image, chosen by the seed and the sample's number. Default false.
    #[serde(default)]
    pub flip: bool,
    /// Go on without the images that cannot be decoded. Default false; for `folder`.
    #[serde(default)]
    pub skip_bad: bool,
    /// Keep the cropped images in memory if they fit in this many MiB, 1024 by default; for `folder`.
    pub cache_mib: Option<u64>,
    /// Keep what `cache_mib` keeps on disk as well, so that the next start decodes only what has changed: true by default; for
    /// `folder`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_cache: Option<bool>,
    /// Threads that prepare batches ahead of the step, 1 to 256. Default 2.
    #[serde(default = "default_workers")]
    pub workers: usize,
}

fn default_workers() -> usize {
    2
}

impl DataConfig {
    /// The training split of the embedded digits, everything else at its default.
    pub fn digits() -> Self {
        Self {
            kind: Kind::Digits,
            path: None,
            path_from: None,
            split: Split::Train,
            count: None,
            image_size: None,
            channels: None,
            n_classes: None,
            classes: Vec::new(),
            first_label: None,
            transpose: None,
            class_order: None,
            exif_orientation: None,
            max_megapixels: None,
            background: None,
            hold_out: 0.0,
            flip: false,
            skip_bad: false,
            cache_mib: None,
            disk_cache: None,
            workers: default_workers(),
        }
    }

    /// What recipes call the data: its kind, and a toy by its path.
    pub fn title(&self) -> String {
        match (&self.path, self.kind) {
            (Some(path), Kind::Toy) => shown(path),
            _ => self.kind.to_string(),
        }
    }

    /// Its kind and path, as in `folder photos`; an archive is its path.
    pub fn described(&self) -> String {
        match &self.path {
            Some(path) if self.kind == Kind::Folder && path.extension().is_some() => shown(path),
            Some(path) => format!("{} {}", self.kind, shown(path)),
            None => self.kind.to_string(),
        }
    }

    /// Sets the defaults of a new run that older runs did not have. A saved run without these keys keeps the order and the
    /// orientation it was trained with.
    pub fn settle(&mut self) {
        if self.kind == Kind::Folder {
            self.class_order.get_or_insert(ClassOrder::Natural);
            self.exif_orientation.get_or_insert(true);
        }
    }

    /// Checks all that can be checked without opening a file.
    ///
    /// # Errors
    /// [`DataError::Config`] for a key that is missing, out of range, or set and not used by the kind.
    pub fn check(&self) -> Result<(), DataError> {
        if let Some(path) = self.path.as_deref().filter(|path| is_toy(path))
            && self.kind != Kind::Toy
        {
            let expected = format!("toy for data.path {}", shown(path));
            return Err(DataError::config("kind", self.kind, expected));
        }
        let set = [
            (
                "path",
                self.path.is_some(),
                &[Kind::Idx, Kind::Folder, Kind::Latents, Kind::Toy][..],
            ),
            ("count", self.count.is_some(), &[Kind::Toy]),
            (
                "split",
                self.split != Split::Train,
                &[Kind::Digits, Kind::Idx, Kind::Folder, Kind::Toy],
            ),
            ("image_size", self.image_size.is_some(), &[Kind::Folder]),
            ("channels", self.channels.is_some(), &[Kind::Folder]),
            (
                "first_label",
                self.first_label.is_some(),
                &[Kind::Idx, Kind::Folder],
            ),
            ("transpose", self.transpose.is_some(), &[Kind::Idx]),
            ("background", self.background.is_some(), &[Kind::Folder]),
            ("skip_bad", self.skip_bad, &[Kind::Folder]),
            ("class_order", self.class_order.is_some(), &[Kind::Folder]),
            (
                "exif_orientation",
                self.exif_orientation.is_some(),
                &[Kind::Folder],
            ),
            (
                "max_megapixels",
                self.max_megapixels.is_some(),
                &[Kind::Folder],
            ),
            ("cache_mib", self.cache_mib.is_some(), &[Kind::Folder]),
            ("disk_cache", self.disk_cache.is_some(), &[Kind::Folder]),
        ];
        for (key, is_set, kinds) in set {
            if is_set && !kinds.contains(&self.kind) {
                return Err(DataError::config(
                    key,
                    "a value",
                    format!("none, data.kind = \"{}\" does not use it", self.kind),
                ));
            }
        }
        if self.kind != Kind::Digits {
            self.required_path()?;
        }
        if self.kind == Kind::Toy {
            self.toy()?;
            self.n_points()?;
        }
        if self.kind == Kind::Folder {
            self.required_image_size()?;
            let channels = self.channels();
            if channels != 1 && channels != 3 {
                return Err(DataError::config(
                    "channels",
                    channels,
                    "1 (grey) or 3 (RGB)",
                ));
            }
        }
        classes::check(&self.classes, self.n_classes)?;
        if self.max_megapixels == Some(0) {
            let expected = "at least 1 million pixels";
            return Err(DataError::config("max_megapixels", 0, expected));
        }
        if !(0.0..1.0).contains(&self.hold_out) {
            return Err(DataError::config(
                "hold_out",
                self.hold_out,
                "a share of at least 0 and below 1",
            ));
        }
        if !(1..=256).contains(&self.workers) {
            return Err(DataError::config(
                "workers",
                self.workers,
                "1 to 256 threads",
            ));
        }
        Ok(())
    }

    pub(super) fn required_path(&self) -> Result<&Path, DataError> {
        let expected = match self.kind {
            Kind::Toy => "a toy such as toy:moons",
            Kind::Latents => "the folder with the latents",
            Kind::Folder => "the folder or the archive with the images",
            _ => "the folder with the images",
        };
        self.path
            .as_deref()
            .ok_or_else(|| DataError::config("path", "nothing", expected))
    }

    pub(super) fn required_image_size(&self) -> Result<usize, DataError> {
        const EXPECTED: &str = "a side of 1 to 4096 pixels";
        match self.image_size {
            Some(size) if (1..=4096).contains(&size) => Ok(size),
            Some(size) => Err(DataError::config("image_size", size, EXPECTED)),
            None => Err(DataError::config("image_size", "nothing", EXPECTED)),
        }
    }

    /// The channels of a folder's images: 1 or 3.
    pub fn channels(&self) -> usize {
        self.channels.unwrap_or(3)
    }

    pub(super) fn background(&self) -> [u8; 3] {
        self.background.unwrap_or([255; 3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kind_needs_and_what_it_does_not_use() {
        let cases = [
            (
                "kind = \"idx\"",
                "data.path: got nothing, expected the folder with the images",
            ),
            (
                "kind = \"folder\"\npath = \"x\"",
                "data.image_size: got nothing, expected a side of 1 to 4096 pixels",
            ),
            (
                "kind = \"folder\"\npath = \"x\"\nimage_size = 0",
                "data.image_size: got 0, expected a side of 1 to 4096 pixels",
            ),
            (
                "kind = \"folder\"\npath = \"x\"\nimage_size = 8\nchannels = 4",
                "data.channels: got 4, expected 1 (grey) or 3 (RGB)",
            ),
            (
                "kind = \"folder\"\npath = \"x\"\nimage_size = 8\nmax_megapixels = 0",
                "data.max_megapixels: got 0, expected at least 1 million pixels",
            ),
            (
                "kind = \"digits\"\nexif_orientation = true",
                "data.exif_orientation: got a value, expected none, data.kind = \"digits\" does not use it",
            ),
            (
                "kind = \"digits\"\npath = \"x\"",
                "data.path: got a value, expected none, data.kind = \"digits\" does not use it",
            ),
            (
                "kind = \"digits\"\nworkers = 0",
                "data.workers: got 0, expected 1 to 256 threads",
            ),
        ];
        for (text, expected) in cases {
            let config: DataConfig = toml::from_str(text).unwrap();
            assert_eq!(config.check().unwrap_err().to_string(), expected);
        }
        let config: DataConfig =
            toml::from_str("kind = \"folder\"\npath = \"x\"\nimage_size = 64").unwrap();
        config.check().unwrap();
    }
}
