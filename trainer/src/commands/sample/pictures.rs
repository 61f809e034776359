//! The folder of single PNGs that `--png` asks for.

use crate::error::{Failure, Result};
use crate::files::{FileError, sync_folder};
use crate::png;
use crate::sampling::State;
use crate::stdout;
use sit_engine::model::ModelConfig;
use sit_engine::text::shown;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A folder that gets a file for each image, named by its number and class: `000010-class3.png`. What is in it is whole at any time.
pub struct Pictures {
    folder: PathBuf,
    model: ModelConfig,
    /// Whether the folder was made here; without a picture it is taken away again.
    made: bool,
    n: u64,
    bytes: u64,
}

/// A picture that is being written.
const PARTIAL: &str = ".partial.png";

impl Pictures {
    /// Checks that the folder is empty, or not there in one that is.
    pub fn check(folder: &Path) -> Result<()> {
        let refuse = |what: String| {
            Failure::Input(format!(
                "--png: {}: {what}, expected an empty folder or a new one",
                shown(folder)
            ))
        };
        if folder.symlink_metadata().is_err() {
            let above = folder.ancestors().skip(1).map(|above| {
                if above == Path::new("") {
                    Path::new(".")
                } else {
                    above
                }
            });
            let there = above.into_iter().find(|above| above.exists());
            return match there {
                Some(there) if there.is_dir() => tempfile::tempfile_in(there)
                    .map(drop)
                    .map_err(|e| Failure::from(FileError::of("write", folder)(e)).context("--png")),
                _ => Err(refuse("cannot be made".into())),
            };
        }
        let mut entries = fs::read_dir(folder).map_err(|e| match e.kind() {
            io::ErrorKind::NotADirectory => refuse("is no folder".into()),
            _ => Failure::from(FileError::of("read", folder)(e)).context("--png"),
        })?;
        match entries.next() {
            Some(Ok(entry)) => Err(refuse(format!(
                "holds {:?} already",
                entry.file_name().to_string_lossy()
            ))),
            _ => tempfile::tempfile_in(folder)
                .map(drop)
                .map_err(|e| Failure::from(FileError::of("write", folder)(e)).context("--png")),
        }
    }

    /// Makes the folder.
    pub fn create(folder: &Path, model: &ModelConfig) -> Result<Self> {
        let made = !folder.exists();
        fs::create_dir_all(folder).map_err(FileError::of("make", folder))?;
        Ok(Pictures {
            folder: folder.to_owned(),
            model: *model,
            made,
            n: 0,
            bytes: 0,
        })
    }

    /// Writes the images of a batch.
    pub fn write(&mut self, state: &State<'_>) -> Result<()> {
        let images = state.x.chunks_exact(self.model.image_len());
        let partial = self.folder.join(PARTIAL);
        let mut bytes = Vec::new();
        for ((&number, &label), image) in state.numbers.iter().zip(state.labels).zip(images) {
            let path = self.folder.join(self.name(number, label));
            bytes.clear();
            png::write(&mut bytes, image, self.model.image_shape())
                .and_then(|()| fs::write(&partial, &bytes))
                .and_then(|()| fs::rename(&partial, &path))
                .map_err(FileError::of("write", &path))?;
            self.n += 1;
            self.bytes += bytes.len() as u64;
        }
        Ok(())
    }

    fn name(&self, number: u64, label: u32) -> String {
        match self.model.null_class() {
            None => format!("{number:06}.png"),
            Some(null) if null == label => format!("{number:06}-none.png"),
            Some(_) => format!("{number:06}-class{label}.png"),
        }
    }

    /// Flushes the folder, and returns a line that names it.
    pub fn finish(self) -> Result<String> {
        sync_folder(&self.folder).map_err(FileError::of("write", &self.folder))?;
        Ok(format!(
            "{}: {} single pictures{}\n",
            shown(&self.folder),
            self.n,
            stdout::size(self.bytes)
        ))
    }
}

impl Drop for Pictures {
    fn drop(&mut self) {
        // What is not there, or not empty, stays as it is.
        fs::remove_file(self.folder.join(PARTIAL)).ok();
        if self.made && self.n == 0 {
            fs::remove_dir(&self.folder).ok();
        }
    }
}
