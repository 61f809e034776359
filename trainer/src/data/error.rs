//! What can be wrong with the data, always named by file, item or key.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sit_engine::text::{count, shown};

/// An image file that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFile {
    /// The file.
    pub path: PathBuf,
    /// What the decoder said.
    pub reason: String,
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.path), self.reason)
    }
}

/// Bad data or a bad description of it. Each message names the file or key, what it got and what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A key of the `[data]` table that is missing, unused by the kind, or out of range.
    #[error("data.{key}: got {got}, expected {expected}")]
    Config {
        /// The key inside `[data]`.
        key: &'static str,
        /// Its value, or "nothing".
        got: String,
        /// The values that are valid.
        expected: String,
    },
    /// A path that does not exist, and where it was looked for.
    #[error("data.path: {0}")]
    Place(String),
    /// A file or folder that cannot be opened, listed or read.
    #[error("{}: {source}", shown(path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file whose content is not what its format promises, or a folder without what was looked for.
    #[error("{}: got {got}, expected {expected}", shown(path))]
    Content {
        /// The file or folder.
        path: PathBuf,
        /// What it holds.
        got: String,
        /// What it should hold.
        expected: String,
    },
    /// A label that has no row in the model's label table.
    #[error("{}: label {label} of image {index} is out of range, expected {first} to {} (data.n_classes = {n_classes})",
        shown(path), (u64::from(*first) + *n_classes as u64).saturating_sub(1))]
    Label {
        /// The labels' file.
        path: PathBuf,
        /// The image's number in the file.
        index: usize,
        /// The label found.
        label: u32,
        /// The label of class 0.
        first: u32,
        /// The number of classes.
        n_classes: usize,
    },
    /// Class folders, or names in a file of labels, that are not those that `data.classes` names.
    #[error("{root}: the classes are not those of data.classes: {difference}")]
    Classes {
        /// The folder.
        root: String,
        /// Which are gone and which are new.
        difference: String,
    },
    /// Images of a folder that cannot be decoded, found when the folder was opened.
    #[error("{}", bad_images(bad, *n_images))]
    BadImages {
        /// Every bad file.
        bad: Vec<BadFile>,
        /// The number of image files in the folder.
        n_images: usize,
    },
    /// An image that was good when the folder was opened and cannot be read any more.
    #[error("{0}: the image was readable when the data was opened")]
    Changed(BadFile),
}

impl DataError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn content(
        path: &Path,
        got: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Content {
            path: path.to_owned(),
            got: got.into(),
            expected: expected.into(),
        }
    }

    pub(super) fn config(
        key: &'static str,
        got: impl fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Config {
            key,
            got: got.to_string(),
            expected: expected.into(),
        }
    }
}

fn bad_images(bad: &[BadFile], n_images: usize) -> String {
    const SHOWN: usize = 5;
    let mut text = format!(
        "{} of {} cannot be read:",
        bad.len(),
        count(n_images, "image")
    );
    for file in bad.iter().take(SHOWN) {
        text += &format!("\n  {file}");
    }
    if bad.len() > SHOWN {
        text += &format!(
            "\n  and {} more (`sit data inspect` lists them all)",
            bad.len() - SHOWN
        );
    }
    text + "\ndata.skip_bad = true (or --skip-bad) goes on without them"
}
