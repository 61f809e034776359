//! A file that is written piece by piece and gets its name when it is complete.

use crate::files::{self, FileError};
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file that can be written at any position. [`Pending::finish`] gives it its name; if it is dropped before, nothing remains.
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    out: BufWriter<File>,
    /// The temporary file and its final path; `None` if that is not a regular file, such as `/dev/null`, but written to directly.
    partial: Option<(NamedTempFile, PathBuf)>,
}

impl Pending {
    /// Makes it under a temporary name in the folder of its final path. A link is followed.
    ///
    /// # Errors
    /// [`FileError`] naming `path`.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let open = || {
            if files::is_special(path) {
                let out = File::options().write(true).open(path)?;
                return Ok((out, None));
            }
            if files::names_a_folder(path) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            let target = files::follow(path)?;
            let partial = files::partial(files::parent(&target))?;
            Ok((partial.as_file().try_clone()?, Some((partial, target))))
        };
        let (out, partial) = open().map_err(FileError::of("write", path))?;
        Ok(Pending {
            path: path.to_owned(),
            out: BufWriter::new(out),
            partial,
        })
    }

    /// The path that it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The writer of its content.
    pub fn writer(&mut self) -> &mut BufWriter<File> {
        &mut self.out
    }

    /// Flushes it to the disk and gives it its name; returns its length in bytes.
    ///
    /// # Errors
    /// [`FileError`] naming the path.
    pub fn finish(self) -> Result<u64, FileError> {
        let Pending { path, out, partial } = self;
        let name = || {
            let file = out.into_inner()?;
            let Some((partial, target)) = partial else {
                return Ok(0);
            };
            file.sync_all()?;
            let len = file.metadata()?.len();
            partial.persist(&target).map_err(|e| e.error)?;
            files::sync_folder(files::parent(&target))?;
            Ok(len)
        };
        name().map_err(FileError::of("write", &path))
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Seek for Pending {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.out.seek(to)
    }
}
