//! Files that are either complete or absent.

use crate::pending::Pending;
use sit_engine::text::shown;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter};
#[cfg(feature = "cli")]
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file or folder that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", shown(path))]
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

/// Prefix and suffix of temporary files. The part between them is short, so that a file with the longest valid name can be written.
pub(crate) const PARTIAL: (&str, &str) = (".sit-", ".partial");

/// Checks before long work that a file can be written at `path`, and leaves nothing there. Also deletes unfinished files of killed
/// processes in that folder.
///
/// # Errors
/// [`FileError`] naming `path`, when it is a folder or the name of one, when its name is too long, or when its folder is not
/// there or cannot be written.
pub fn check_writable(path: &Path) -> Result<(), FileError> {
    let attempt = || {
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if names_a_folder(path) {
            let why = "that is the name of a folder, expected one of a file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if is_special(path) {
            return Ok(());
        }
        let target = follow(path)?;
        match target.symlink_metadata() {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        partial(parent(&target))?;
        remove_partial(parent(&target));
        Ok(())
    };
    attempt().map_err(FileError::of("write", path))
}

/// Whether the path can only name a folder: it ends in a slash, `.` or `..`.
pub(crate) fn names_a_folder(path: &Path) -> bool {
    let text = path.as_os_str().to_string_lossy();
    path.file_name().is_none() || text.ends_with(std::path::is_separator) || text.ends_with("/.")
}

/// Whether the path exists and is not a regular file: `/dev/null`, a pipe.
pub(crate) fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| !m.is_file())
}

/// The file that a write to `path` changes: links are followed, also to files that do not exist yet.
pub(crate) fn follow(path: &Path) -> io::Result<PathBuf> {
    // The limit of Linux.
    const MOST: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST {
        match fs::read_link(&path) {
            Ok(link) => path = parent(&path).join(link),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many links that lead to links"))
}

/// Writes a file atomically: whatever happens in between, its name holds either the complete new content or the old content.
///
/// `write` fills a temporary file in the same folder, which is flushed to the disk and then renamed; the folder is flushed too. A
/// link is followed. A path that is not a regular file, such as `/dev/null`, is written to and not replaced. After an error nothing
/// remains. After a power cut a `.sit-NAME.partial` may remain, which the next check of an output in that folder deletes.
///
/// # Errors
/// [`FileError`] naming `path`, for an error of `write` or of the system, such as a full disk.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), FileError> {
    let mut file = Pending::create(path)?;
    write(file.writer()).map_err(FileError::of("write", path))?;
    file.finish().map(drop)
}

/// The CRC-32C of a file.
///
/// # Errors
/// [`FileError`] naming `path`.
#[cfg(feature = "cli")]
pub fn checksum(path: &Path) -> Result<u32, FileError> {
    let error = || FileError::of("read", path);
    let file = File::open(path).map_err(error())?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut sum = 0;
    loop {
        let bytes = reader.fill_buf().map_err(error())?;
        if bytes.is_empty() {
            return Ok(sum);
        }
        sum = crc32c::crc32c_append(sum, bytes);
        let n = bytes.len();
        reader.consume(n);
    }
}

/// A new temporary file, locked while it is open, so that [`remove_partial`] in another process leaves it alone.
pub(crate) fn partial(folder: &Path) -> io::Result<NamedTempFile> {
    // Fail here if the folder is missing, with the system's message: tempfile keeps only the kind of the error.
    folder.metadata()?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(PARTIAL.0).suffix(PARTIAL.1);
    // The temporary file becomes the final file, so it gets the usual permissions.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    loop {
        let file = builder.tempfile_in(folder).map_err(unnamed)?;
        match file.as_file().try_lock() {
            // Between the two calls, another process has locked the file to delete it as a leftover.
            Err(TryLockError::WouldBlock) => {}
            _ if file.path().exists() => return Ok(file),
            _ => {}
        }
    }
}

/// The system's error without the temporary file name.
fn unnamed(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    }
}

/// Deletes unfinished files of killed processes in `folder`. Files that cannot be deleted now are tried again next time.
pub fn remove_partial(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(PARTIAL.0) || !name.ends_with(PARTIAL.1) {
            continue;
        }
        let path = entry.path();
        // A process that is writing the file holds a lock on it. Without lock support the file stays.
        if let Ok(file) = File::options().write(true).open(&path)
            && file.try_lock().is_ok()
        {
            fs::remove_file(&path).ok();
        }
    }
}

/// Identifies a file, however its path is spelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Device and inode.
    #[cfg(unix)]
    Inode(u64, u64),
    /// The path with links resolved; for a file that does not exist, that of its folder plus its name.
    Path(PathBuf),
}

impl Identity {
    /// The identity of the file that `path` leads to, or would lead to if it existed.
    pub fn of(path: &Path) -> Self {
        #[cfg(unix)]
        if let Ok(m) = path.metadata() {
            use std::os::unix::fs::MetadataExt;
            return Self::Inode(m.dev(), m.ino());
        }
        let target = follow(path).unwrap_or_else(|_| path.to_owned());
        let whole = target.canonicalize().unwrap_or_else(|_| {
            let folder = parent(&target);
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
            folder.join(target.file_name().unwrap_or_default())
        });
        if cfg!(any(windows, target_vendor = "apple")) {
            // The file systems of Windows and macOS treat a.png and A.png as the same file.
            return Self::Path(whole.to_string_lossy().to_lowercase().into());
        }
        Self::Path(whole)
    }
}

/// The folder that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Flushes a folder's entries to the disk, so that a rename in it survives a power cut. Does nothing outside of Unix, where folders
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
    use std::io::Write;

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
    fn what_a_killed_write_left_is_deleted_and_what_is_being_written_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [".sit-abc.partial", ".sit-notes", "x.partial"] {
            fs::write(at(name), "rest of an earlier attempt").unwrap();
        }
        write_atomically(&at("x.txt"), |out| {
            check_writable(&at("y.txt")).unwrap();
            out.write_all(b"new")
        })
        .unwrap();
        assert_eq!(fs::read_to_string(at("x.txt")).unwrap(), "new");
        let mut left = names(folder.path());
        left.sort();
        assert_eq!(left, [".sit-notes", "x.partial", "x.txt"]);
    }

    /// The longest name there is.
    #[test]
    fn every_name_that_is_checked_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        for n in [240, 247, 251, 255, 256, 300] {
            let path = folder.path().join("x".repeat(n));
            let checked = check_writable(&path);
            let written = write_atomically(&path, |out| out.write_all(b"x"));
            assert_eq!(checked.is_ok(), written.is_ok(), "{n}: {checked:?}");
            assert_eq!(checked.is_ok(), n <= 255, "{n}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_a_file_has_its_usual_rights() {
        use std::os::unix::fs::{MetadataExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        symlink("sub/link", at("first")).unwrap();
        symlink("../x", at("sub/link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        fs::write(at("plain"), "").unwrap();
        assert_eq!(Identity::of(&at("first")), Identity::of(&at("sub/../x")));
        for text in ["new", "newer"] {
            write_atomically(&at("first"), |out| out.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(at("x")).unwrap(), text);
            assert!(at("first").is_symlink() && at("sub/link").is_symlink());
        }
        let mode = |name: &str| at(name).metadata().unwrap().mode();
        assert_eq!(mode("x"), mode("plain"));
        check_writable(&at("loop")).unwrap_err();
        write_atomically(&at("loop"), |_| Ok(())).unwrap_err();
    }

    #[cfg(unix)]
    #[test]
    fn a_file_is_the_same_by_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a"), "").unwrap();
        fs::hard_link(at("a"), at("b")).unwrap();
        std::os::unix::fs::symlink("a", at("c")).unwrap();
        for same in ["./a", "b", "c", "../nosuch/../x/a"] {
            let is_same = Identity::of(&at("a")) == Identity::of(&at(same));
            assert_eq!(is_same, !same.contains("nosuch"), "{same}");
        }
        assert_ne!(Identity::of(&at("a")), Identity::of(&at("d")));
        assert_eq!(Identity::of(&at("./d")), Identity::of(&at("d")));
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let null = Path::new("/dev/null");
        check_writable(null).unwrap();
        write_atomically(null, |out| out.write_all(b"x")).unwrap();
        assert!(is_special(null));
    }

    #[test]
    fn what_can_be_written_is_told_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        check_writable(&folder.path().join("x.txt")).unwrap();
        assert!(names(folder.path()).is_empty());
        for wrong in ["", "missing/x.txt", "new/", "new/.", "new/.."] {
            check_writable(&folder.path().join(wrong)).expect_err(wrong);
        }
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
