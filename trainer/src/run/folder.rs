//! The folder of a run: its owner, its location, and the checkpoints that it keeps.

use super::{EMA, EMA2, MODEL, OPTIM, STATE};
use crate::error::{Failure, Result};
use crate::files::{self, Identity, parent};
use sit_engine::text::shown;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Prefix of folders that are being written.
pub(super) const UNFINISHED: &str = ".unfinished-";

/// Folder of a run's snapshots, which has a folder for each step.
pub const SNAPSHOTS: &str = "snapshots";

/// A run folder that is this process's own until it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    identity: Identity,
    /// Open and locked, if the system supports that for folders.
    lock: Option<File>,
}

impl RunFolder {
    /// Claims `path` for this process, and deletes unfinished files of a killed process in it.
    ///
    /// # Errors
    /// [`Failure::Input`] when another process trains in it.
    pub fn claim(path: &Path) -> Result<Self> {
        // Some systems cannot open folders, and some file systems cannot lock them. Then there is no lock.
        let lock = File::open(path).ok();
        if let Some(Err(TryLockError::WouldBlock)) = lock.as_ref().map(File::try_lock) {
            return Err(Failure::Input(format!(
                "{}: another process is training in this folder",
                shown(path)
            )));
        }
        for folder in [path, &path.join("previews"), &path.join(SNAPSHOTS)] {
            // Another command may be writing such a file now: this call leaves locked files alone.
            files::remove_partial(folder);
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let unfinished =
                |name: &str| is_unfinished(name) && !name.starts_with(files::PARTIAL.0);
            for entry in entries.filter(|e| unfinished(&e.file_name().to_string_lossy())) {
                // What cannot be deleted now will be tried again next time.
                let path = entry.path();
                fs::remove_dir_all(&path)
                    .or_else(|_| fs::remove_file(&path))
                    .ok();
            }
        }
        Ok(RunFolder {
            path: path.to_owned(),
            identity: Identity::of(path),
            lock,
        })
    }

    /// Makes the first of `NAME`, `NAME-2`, `NAME-3` ... that does not exist, and claims it. Concurrent processes get different
    /// folders.
    ///
    /// # Errors
    /// [`Failure::Input`] when it cannot be made.
    pub fn make_next(name: &Path) -> Result<Self> {
        fs::create_dir_all(parent(name)).map_err(|e| unwritable(name, &e))?;
        loop {
            let path = free_name(name);
            match fs::create_dir(&path) {
                Ok(()) => return Self::claim(&path),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(unwritable(&path, &e)),
            }
        }
    }

    /// Makes `path` unless it exists, and claims it.
    ///
    /// # Errors
    /// [`Failure::Input`] when it cannot be made, or when another process trains in it.
    pub fn make(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(|e| unwritable(path, &e))?;
        Self::claim(path)
    }

    /// The present path of the folder. If the folder was renamed, new files would otherwise go to another place than open ones.
    ///
    /// # Errors
    /// [`Failure::Run`] when it was deleted, or moved to an unknown place.
    pub fn path(&mut self) -> Result<&Path> {
        if self.path.is_dir() && Identity::of(&self.path) == self.identity {
            return Ok(&self.path);
        }
        match self.lock.as_ref().and_then(path_of) {
            Some(path) if Identity::of(&path) == self.identity => {
                tracing::warn!(
                    "the run folder {} is now {}; the run goes on there",
                    shown(&self.path),
                    shown(&path)
                );
                self.path = path;
                Ok(&self.path)
            }
            _ => Err(Failure::Run(format!(
                "{}: the run folder was deleted or moved away while it trained",
                shown(&self.path)
            ))),
        }
    }
}

/// The present path of an open folder, where the system tells.
fn path_of(folder: &File) -> Option<PathBuf> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = folder;
        None
    }
}

/// Whether `name` is that of an unfinished file or folder.
fn is_unfinished(name: &str) -> bool {
    name.starts_with(UNFINISHED) || name.starts_with('.') && name.ends_with(files::PARTIAL.1)
}

/// Refuses a folder that is not empty or cannot be made. Leftovers of a process that was killed before it wrote its configuration
/// do not count.
///
/// # Errors
/// [`Failure::Input`] naming the folder.
pub fn check_new(folder: &Path) -> Result<()> {
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(unwritable(folder, &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| unwritable(folder, &e))?;
        if !is_unfinished(&entry.file_name().to_string_lossy()) {
            return Err(Failure::Input(format!(
                "{}: is not empty; --resume goes on with a run, --out takes a new folder, and with --auto-resume one or the other",
                shown(folder)
            )));
        }
    }
    Ok(())
}

fn unwritable(folder: &Path, error: &io::Error) -> Failure {
    let message = format!("{}: cannot be written: {error}", shown(folder));
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::Run(message),
        _ => Failure::Input(message),
    }
}

/// `path`, or `path` with the first free number: `runs/digits-2`.
pub fn free_name(path: &Path) -> PathBuf {
    // Remove a slash at the end: a number after it would name an entry of the folder.
    let path: PathBuf = path.components().collect();
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("-{n}"));
        PathBuf::from(name)
    };
    std::iter::once(path.clone())
        .chain((2..).map(numbered))
        .find(|path| path.symlink_metadata().is_err())
        .expect("a folder has no 2^32 entries")
}

pub(super) fn step_name(step: u64) -> String {
    format!("step-{step:08}")
}

pub(super) fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (name == step_name(step)).then_some(step)
}

/// Steps of the checkpoints in a run folder, in order.
///
/// # Errors
/// [`Failure::Input`] when the folder cannot be read.
pub fn steps(run: &Path) -> Result<Vec<u64>> {
    let unreadable = |e: io::Error| Failure::Input(format!("{}: cannot be read: {e}", shown(run)));
    let mut steps = Vec::new();
    for entry in fs::read_dir(run).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        steps.extend(entry.file_name().to_str().and_then(step_of));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// The checkpoint of `step` in the folder `run`.
pub fn checkpoint_path(run: &Path, step: u64) -> PathBuf {
    run.join(step_name(step))
}

/// Deletes all checkpoints but the last `keep_last` and those of every `keep_every` steps (0: none). If the run has diverged after
/// the step `good`, also keeps the last checkpoint up to that step, or the first one if all are later.
///
/// # Errors
/// [`Failure::Run`] naming the folder that cannot be deleted.
pub fn prune(run: &Path, keep_last: usize, keep_every: u64, good: Option<u64>) -> Result<()> {
    let steps = steps(run).map_err(Failure::on_the_way)?;
    let kept = good.map(|good| last_until(&steps, good).or(steps.first().copied()));
    let n_old = steps.len().saturating_sub(keep_last.max(1));
    for &step in steps[..n_old]
        .iter()
        .filter(|&&step| keep_every == 0 || step % keep_every != 0)
        .filter(|&&step| kept != Some(Some(step)))
    {
        let path = run.join(step_name(step));
        // Rename first: a folder with the name of a checkpoint is always complete.
        let doomed = run.join(format!("{UNFINISHED}{}", step_name(step)));
        fs::rename(&path, &doomed)
            .and_then(|()| fs::remove_dir_all(&doomed))
            .map_err(|e| Failure::Run(format!("{}: cannot be deleted: {e}", shown(&path))))?;
    }
    Ok(())
}

/// The last of `steps`, which are in order, that is not after `step`.
pub fn last_until(steps: &[u64], step: u64) -> Option<u64> {
    steps.iter().copied().rfind(|&earlier| earlier <= step)
}

/// Renames the checkpoints and snapshots after `step` to `step-00001000.old`, so that a run that goes on from an earlier step does
/// not mix them with its own. Returns their new paths.
///
/// # Errors
/// [`Failure::Run`] naming the folder that cannot be renamed.
pub fn set_aside(run: &Path, step: u64) -> Result<Vec<PathBuf>> {
    let mut aside = Vec::new();
    for folder in [run.to_owned(), run.join(SNAPSHOTS)] {
        if !folder.is_dir() {
            continue;
        }
        for later in steps(&folder)?.into_iter().filter(|&later| later > step) {
            let path = folder.join(step_name(later));
            let old = free_name(&folder.join(format!("{}.old", step_name(later))));
            fs::rename(&path, &old)
                .map_err(|e| Failure::Run(format!("{}: cannot be renamed: {e}", shown(&path))))?;
            aside.push(old);
        }
    }
    Ok(aside)
}

/// Whether the file `path` is, or would be, one that a run keeps in `folder`: the folder of a run or of a checkpoint. Both
/// paths are canonical.
pub fn belongs(folder: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(folder) else {
        return false;
    };
    let mut parts = inside.iter().map(|part| part.to_string_lossy());
    let Some(first) = parts.next() else {
        return true;
    };
    let is_weights = [MODEL, EMA, EMA2, OPTIM].contains(&&*first) || first.starts_with("width-");
    let in_checkpoint = (is_weights || first == STATE) && folder.join(STATE).exists();
    let in_run = ["config.toml", "previews", SNAPSHOTS].contains(&&*first)
        || ["step-", "metrics.", "events.out.tfevents", "."]
            .iter()
            .any(|prefix| first.starts_with(prefix));
    in_checkpoint || in_run
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_name_lies_beside_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("x");
        assert_eq!(free_name(&run.join("")), run);
        fs::create_dir(&run).unwrap();
        assert_eq!(free_name(&run.join("")), folder.path().join("x-2"));
    }

    /// A file of a killed process is deleted; a file that another command is writing stays.
    #[test]
    fn only_what_nobody_writes_is_cleaned_up() {
        let run = tempfile::tempdir().unwrap();
        let at = |name: &str| run.path().join(name);
        for name in [".sit-dead.partial", ".sit-live.partial"] {
            fs::write(at(name), "x").unwrap();
        }
        let live = File::options().write(true).open(at(".sit-live.partial"));
        let live = live.unwrap();
        live.lock().unwrap();
        RunFolder::claim(run.path()).unwrap();
        assert!(!at(".sit-dead.partial").exists() && at(".sit-live.partial").exists());
    }

    #[test]
    fn old_checkpoints_go_and_every_k_stay() {
        let run = tempfile::tempdir().unwrap();
        for step in [10, 20, 30, 40, 50, 60] {
            fs::create_dir(run.path().join(step_name(step))).unwrap();
        }
        fs::create_dir(run.path().join("notes")).unwrap();
        fs::create_dir(run.path().join(".unfinished-x")).unwrap();
        prune(run.path(), 2, 20, None).unwrap();
        assert_eq!(steps(run.path()).unwrap(), [20, 40, 50, 60]);
        prune(run.path(), 1, 0, None).unwrap();
        assert_eq!(steps(run.path()).unwrap(), [60]);
        RunFolder::claim(run.path()).unwrap();
        assert!(!run.path().join(".unfinished-x").exists() && run.path().join("notes").exists());
    }

    #[test]
    fn later_checkpoints_are_set_aside() {
        let run = tempfile::tempdir().unwrap();
        let aside = ["step-00000030.old", "step-00000030.old-2"].map(|old| run.path().join(old));
        for old in &aside {
            fs::create_dir(run.path().join(step_name(20))).ok();
            fs::create_dir(run.path().join(step_name(30))).unwrap();
            assert_eq!(
                set_aside(run.path(), 20).unwrap()[..],
                *std::slice::from_ref(old)
            );
            assert_eq!(steps(run.path()).unwrap(), [20]);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_run_belongs_to_one_process() {
        let run = tempfile::tempdir().unwrap();
        let first = RunFolder::claim(run.path()).unwrap();
        let error = RunFolder::claim(run.path()).unwrap_err().to_string();
        assert!(error.contains("another process"), "{error}");
        drop(first);
        RunFolder::claim(run.path()).unwrap();
    }
}
