//! Files that are whole or not there.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file or folder that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// "read", "write", ...
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`: the error of doing `action` to `path`.
    pub fn of(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Checks that a file can be written at `path`, and leaves nothing there: before long work rather than after it.
///
/// # Errors
/// [`FileError`] naming `path`, when it is a folder or its folder cannot be written.
pub fn check_writable(path: &Path) -> Result<(), FileError> {
    let attempt = if path.is_dir() {
        Err(io::ErrorKind::IsADirectory.into())
    } else if is_special(path) {
        Ok(())
    } else {
        tempfile::tempfile_in(parent(path)).map(drop)
    };
    attempt.map_err(FileError::of("write", path))
}

/// Whether it is there and no regular file: `/dev/null`, a pipe.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| !m.is_file())
}

/// Writes a file so that its name holds the whole new content or what it held before, whatever happens in between.
///
/// `write` fills `.NAME.partial` in the same folder, which is flushed to the disk and then renamed; the folder is flushed
/// too. What is no regular file, such as `/dev/null`, is written to and not replaced. After an error nothing is left of it; after a power cut a `.NAME.partial` may be, and the next write replaces it.
///
/// # Errors
/// [`FileError`] naming `path`, for an error of `write` or of the system, such as a full disk.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), FileError> {
    replace(path, write).map_err(FileError::of("write", path))
}

fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    if is_special(path) {
        let mut out = BufWriter::new(File::options().write(true).open(path)?);
        write(&mut out)?;
        return out.flush();
    }
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?;
    let partial = path.with_file_name(format!(".{}.partial", name.to_string_lossy()));
    let written = File::create(&partial).and_then(|file| {
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        out.into_inner()?.sync_all()?;
        fs::rename(&partial, path)
    });
    if written.is_err() {
        // The error that matters is the first; what cannot be removed was never there or is replaced by the next write.
        fs::remove_file(&partial).ok();
    }
    written?;
    sync_folder(parent(path))
}

/// The folder that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Flushes a folder's entries to the disk, so that a rename in it survives a power cut; does nothing off Unix, where folders
/// cannot be opened.
///
/// # Errors
/// Those of the system.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        for text in ["a longer one", "short"] {
            write_atomically(&path, |out| out.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["x.txt"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.txt");
        fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, |out| {
            out.write_all(&[0; 100_000])?;
            Err(io::ErrorKind::StorageFull.into())
        });
        let message = error.unwrap_err().to_string();
        assert_eq!(
            message,
            format!("cannot write {}: no storage space", path.display())
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["x.txt"]);
    }

    #[test]
    fn what_an_interrupted_write_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join(".x.txt.partial"),
            "rest of an earlier attempt",
        )
        .unwrap();
        write_atomically(&folder.path().join("x.txt"), |out| out.write_all(b"new")).unwrap();
        assert_eq!(
            fs::read_to_string(folder.path().join("x.txt")).unwrap(),
            "new"
        );
        assert_eq!(names(folder.path()), ["x.txt"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let null = Path::new("/dev/null");
        check_writable(null).unwrap();
        write_atomically(null, |out| out.write_all(b"x")).unwrap();
        assert!(is_special(null) && !Path::new("/dev/.null.partial").exists());
    }

    #[test]
    fn what_can_be_written_is_told_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(&folder.path().join("x.txt")).unwrap();
        assert!(names(folder.path()).is_empty());
        check_writable(folder.path()).unwrap_err();
        check_writable(&folder.path().join("missing/x.txt")).unwrap_err();
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("missing/x.txt");
        let message = write_atomically(&path, |_| Ok(())).unwrap_err().to_string();
        assert!(
            message.starts_with(&format!("cannot write {}: ", path.display())),
            "{message}"
        );
    }
}
