//! A picture of a data set: its name, its label, and where it lies.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};

use image::DynamicImage;

use super::BadFile;
use super::decode::{Header, Rules, decode};

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its file; of a picture in an archive the archive's path, and then its name or number there.
    pub path: PathBuf,
    /// Its label.
    pub label: u32,
    /// Where an archive has it.
    pub at: At,
}

impl Item {
    /// A file of its own.
    pub fn file(path: PathBuf, label: u32) -> Self {
        let at = At::default();
        Self { path, label, at }
    }
}

/// Where a picture lies in archives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct At {
    /// The number of the archive.
    pub archive: u32,
    /// Bytes of the picture's file, where it has one.
    pub bytes: u32,
    /// The first of them in the archive; or the picture's number there.
    pub first: u64,
}

/// What an archive has of a picture.
pub enum Content {
    /// The file of a picture.
    File(Vec<u8>),
    /// Pixels.
    Pixels(DynamicImage),
}

/// Reads pictures from archives, from several threads at a time.
pub trait Reader: Send + Sync {
    /// The archives, by number.
    fn archives(&self) -> &[PathBuf];

    /// Whether pictures are files that must be decoded.
    fn has_files(&self) -> bool {
        true
    }

    /// Reads the picture at a place, or says why it cannot be read.
    fn read(&self, at: At) -> Result<Content, String>;
}

/// How the pictures of a data set are read: from archives, or without one each from a file of its own.
pub type Source = Option<Box<dyn Reader>>;

/// Reads and decodes a picture.
///
/// # Errors
/// A picture that cannot be read or decoded.
pub fn load(source: &Source, item: &Item, rules: Rules) -> Result<DynamicImage, BadFile> {
    let Some(reader) = source else {
        return decode(
            &item.path,
            File::open(&item.path).map(BufReader::new),
            rules,
        );
    };
    match reader.read(item.at) {
        Ok(Content::File(bytes)) => decode(&item.path, Ok(Cursor::new(bytes)), rules),
        Ok(Content::Pixels(image)) => Ok(image),
        Err(reason) => Err(bad(&item.path, reason)),
    }
}

/// The header of a picture; `None` for one that cannot be read.
pub fn header(source: &Source, item: &Item) -> Option<Header> {
    let Some(reader) = source else {
        return Header::read(BufReader::new(File::open(&item.path).ok()?));
    };
    match reader.read(item.at).ok()? {
        Content::File(bytes) => Header::read(Cursor::new(bytes)),
        Content::Pixels(image) => Some(Header {
            size: (image.width() as usize, image.height() as usize),
            has_color: image.color().has_color(),
        }),
    }
}

fn bad(path: &Path, reason: String) -> BadFile {
    BadFile {
        path: path.to_owned(),
        reason,
    }
}
