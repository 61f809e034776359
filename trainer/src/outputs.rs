//! Checks what a command may write: nothing that it reads, nothing twice, and no file with the extension of another format.

use crate::error::{Failure, Result};
use crate::files::{FileError, Identity, check_writable, parent};
use crate::{data, run, weights};
use sit_engine::text::shown;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The files that a command reads and writes. It compares files, not paths: links and hard links are recognized.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Each file in use, and what the command does with it.
    taken: Vec<(Identity, String)>,
    /// Folders of runs and checkpoints that are read.
    runs: Vec<PathBuf>,
    /// Folders that are read or written as a whole, and the argument that names each.
    data: Vec<(PathBuf, String)>,
}

impl Outputs {
    /// Marks `path` as read by the argument `name`. For a file of weights this includes all parts of the model; for the folder of a
    /// run or checkpoint, or a file in one, everything that belongs to the run.
    pub fn reads(&mut self, name: &str, path: &Path) {
        let folder = if path.is_dir() { path } else { parent(path) };
        if let Ok(folder) = folder.canonicalize() {
            let file = folder.join(path.file_name().unwrap_or_default());
            let is_checkpoint = folder.join(run::STATE).is_file()
                && (path.is_dir() || run::belongs(&folder, &file));
            if is_checkpoint {
                self.runs.extend(folder.parent().map(Path::to_owned));
            }
            if is_checkpoint || path.is_dir() {
                self.runs.push(folder);
            }
        }
        for file in weights::files(path) {
            self.taken
                .push((Identity::of(&file), format!("is read, by {name}")));
        }
    }

    /// Marks the folder `path` of images, and everything in it, as read by the argument `name`.
    pub fn reads_data(&mut self, name: &str, path: &Path) {
        self.data
            .extend(path.canonicalize().map(|path| (path, name.to_owned())));
    }

    /// As [`Outputs::reads`] for a file of images, and the IDX files beside one of them, which are read with it; as [`Outputs::reads_data`] for a
    /// folder of images.
    pub fn reads_images(&mut self, name: &str, path: &Path) {
        if path.is_dir() {
            return self.reads_data(name, path);
        }
        self.reads(name, path);
        let is_idx = |file: &Path| {
            file.file_name()
                .is_some_and(|own| data::is_idx(&shown(own)))
        };
        if let Ok(beside) = fs::read_dir(parent(path))
            && is_idx(path)
        {
            let files = beside.flatten().map(|entry| entry.path());
            files
                .filter(|file| is_idx(file))
                .for_each(|file| self.reads(name, &file));
        }
    }

    /// Checks before the work that the file `path`, named by the argument `flag`, can be written. Its name must have one of
    /// `extensions` (without the dot) or none, unless it is a device such as `/dev/null`.
    ///
    /// # Errors
    /// [`Failure::Run`] for a full disk; [`Failure::Input`] naming `flag` and `path`: it cannot be written, it has another extension, it is
    /// read or written by another argument, or it belongs to a run.
    pub fn writes(&mut self, flag: &str, path: &Path, extensions: &[&str]) -> Result<()> {
        let name = shown(path);
        let refuse = |why: String| Err(Failure::Input(format!("{flag}: {name}{why}")));
        check_writable(path).map_err(|e| Failure::beforehand(e).context(flag))?;
        if path.metadata().is_ok_and(|m| !m.is_file()) {
            // A device or a pipe accepts anything, any number of times.
            return Ok(());
        }
        if let Some(extension) = path.extension()
            && !extensions
                .iter()
                .any(|known| extension.eq_ignore_ascii_case(known))
        {
            return refuse(format!(
                ": got .{}, expected .{}; no other format is written here",
                shown(extension),
                extensions.join(" or .")
            ));
        }
        self.take(flag, path).or_else(refuse)
    }

    /// Records that `flag` writes `path`, or says why it must not.
    fn take(&mut self, flag: &str, path: &Path) -> std::result::Result<(), String> {
        let identity = Identity::of(path);
        if let Some((_, how)) = self.taken.iter().find(|(other, _)| *other == identity) {
            return Err(format!(" is in use: it {how}"));
        }
        let whole = whole(path);
        let is_in = |folder: &PathBuf| whole.iter().any(|path| path.starts_with(folder));
        if let Some((_, name)) = self.data.iter().find(|(folder, _)| is_in(folder)) {
            return Err(format!(" is in the folder of images of {name}"));
        }
        let belongs = |run: &PathBuf| whole.iter().any(|path| run::belongs(run, path));
        if self.runs.iter().any(belongs) {
            return Err(" is in use: it belongs to the run that is read".into());
        }
        // Nor a file of another run, which that run would use when it goes on.
        let is_of_run = |path: &PathBuf| {
            let folder = parent(path);
            let is_run = [run::STATE, "config.toml"].map(|file| folder.join(file).is_file());
            is_run.contains(&true) && run::belongs(folder, path)
        };
        if whole.iter().any(is_of_run) {
            return Err(" belongs to the run in that folder".into());
        }
        self.taken
            .push((identity, format!("is written, by {flag}")));
        Ok(())
    }

    /// Checks before the work that the folder named by the argument `flag` is empty or can be made.
    ///
    /// # Errors
    /// [`Failure::Run`] for a full disk, else [`Failure::Input`], naming `flag` and `folder`.
    pub fn fills(&mut self, flag: &str, folder: &Path) -> Result<()> {
        let refuse = |what: String| {
            Err(Failure::Input(format!(
                "{flag}: {}{what}, expected an empty folder or a new one",
                shown(folder)
            )))
        };
        let beforehand =
            |verb, e| Failure::beforehand(FileError::of(verb, folder)(e)).context(flag);
        let there = if folder.symlink_metadata().is_err() {
            let above = folder.ancestors().skip(1).map(|above| {
                if above == Path::new("") {
                    Path::new(".")
                } else {
                    above
                }
            });
            match above.into_iter().find(|above| above.exists()) {
                Some(there) if there.is_dir() => there,
                _ => return refuse(": cannot be made".into()),
            }
        } else {
            match fs::read_dir(folder).map(|mut entries| entries.next()) {
                Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
                    return refuse(": is no folder".into());
                }
                Err(e) => return Err(beforehand("read", e)),
                Ok(Some(Ok(entry))) => {
                    return refuse(format!(": holds {} already", shown(entry.file_name())));
                }
                Ok(_) => folder,
            }
        };
        tempfile::tempfile_in(there).map_err(|e| beforehand("write", e))?;
        self.take(flag, folder).or_else(refuse)?;
        self.data.extend(
            folder
                .canonicalize()
                .map(|folder| (folder, flag.to_owned())),
        );
        Ok(())
    }
}

/// The canonical paths of a file that may not exist: that of a link itself, and that of its target.
fn whole(path: &Path) -> Vec<PathBuf> {
    let mut missing = vec![path.file_name().unwrap_or_default()];
    let mut above = parent(path);
    let there = loop {
        match above.canonicalize() {
            Ok(there) => break there,
            Err(_) => {
                let Some(name) = above.file_name() else {
                    return Vec::new();
                };
                missing.push(name);
                above = parent(above);
            }
        }
    };
    let whole = missing
        .iter()
        .rev()
        .fold(there, |path, name| path.join(name));
    vec![path.canonicalize().unwrap_or_else(|_| whole.clone()), whole]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for step in ["run/step-00000010", "run/previews"] {
            fs::create_dir_all(at(step)).unwrap();
        }
        for file in [
            "m.safetensors",
            "run/config.toml",
            "run/step-00000010/state.json",
        ] {
            fs::write(at(file), "").unwrap();
        }
        fs::create_dir(at("other")).unwrap();
        fs::write(at("other/state.json"), "").unwrap();
        let reading = || {
            let mut outputs = Outputs::default();
            outputs.reads("CHECKPOINT", &at("run"));
            outputs.reads("--init", &at("m.safetensors"));
            outputs
        };
        let all = ["png", "safetensors", "toml", "json"];
        for taken in [
            "m.safetensors",
            "run/../m.safetensors",
            "run/config.toml",
            "run/step-00000010/ema.safetensors",
            "run/./step-00000010/state.json",
            "run/previews/step-00000010.png",
            "run",
            "run/",
            "new/",
            "nosuch/x.png",
            "x.jpg",
            "x.pt",
            "other/model.safetensors",
            "other/state.json",
        ] {
            let error = reading().writes("--out", &at(taken), &all).unwrap_err();
            let message = error.to_string();
            assert!(message.starts_with("--out: "), "{taken}: {message}");
            assert_eq!(error.exit_code(), 2, "{taken}");
        }
        for free in ["x.PNG", "x", "run/samples.png", "./x.safetensors"] {
            reading().writes("--out", &at(free), &all).expect(free);
            // Again, in the next command.
            fs::write(at(free), "").unwrap();
            reading().writes("--out", &at(free), &all).expect(free);
        }
        // All parts of a model, and all of a run of which one file is read.
        for n in [1, 2] {
            fs::write(at(&format!("m-0000{n}-of-00002.safetensors")), "").unwrap();
        }
        for (read, taken) in [
            (
                "m-00001-of-00002.safetensors",
                "m-00002-of-00002.safetensors",
            ),
            ("run/step-00000010", "run/step-00000020/model.safetensors"),
            (
                "run/step-00000010/ema.safetensors",
                "run/step-00000010/model.safetensors",
            ),
        ] {
            fs::create_dir_all(at("run/step-00000020")).unwrap();
            let mut outputs = Outputs::default();
            outputs.reads("CHECKPOINT", &at(read));
            let refused = outputs.writes("--out", &at(taken), &all);
            refused.expect_err(taken);
        }
        let mut outputs = reading();
        outputs.writes("--out", &at("a.png"), &all).unwrap();
        let twice = outputs.writes("--npz", &at("./a.png"), &all).unwrap_err();
        assert!(
            twice.to_string().ends_with("is written, by --out"),
            "{twice}"
        );
    }

    #[test]
    fn idx_files_are_read_together() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for file in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "free"] {
            fs::write(at(file), "").unwrap();
        }
        let mut outputs = Outputs::default();
        outputs.reads_images("--reference", &at("train-images-idx3-ubyte"));
        for taken in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
            let refused = outputs.writes("--json", &at(taken), &["json"]).unwrap_err();
            let message = refused.to_string();
            assert!(
                message.ends_with(" is in use: it is read, by --reference"),
                "{message}"
            );
        }
        outputs.writes("--json", &at("free"), &["json"]).unwrap();
    }

    #[test]
    fn folders_are_new_or_empty_and_not_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for empty in ["run/previews", "run/step-00000010", "empty", "photos"] {
            fs::create_dir_all(at(empty)).unwrap();
        }
        for file in ["run/config.toml", "file"] {
            fs::write(at(file), "").unwrap();
        }
        let fill = |name: &str| {
            let mut outputs = Outputs::default();
            outputs.reads("CHECKPOINT", &at("run"));
            outputs.reads_data("--judge", &at("photos"));
            outputs.writes("--npz", &at("x.npz"), &["npz"]).unwrap();
            outputs.fills("--png", &at(name))
        };
        for free in ["empty", "new", "new/er", "run/samples"] {
            fill(free).expect(free);
            assert!(!at("new").exists());
        }
        for (taken, why) in [
            ("file", "is no folder"),
            ("file/x", "cannot be made"),
            ("run", "holds "),
            ("run/previews", "belongs to the run"),
            ("./x.npz", "is written, by --npz"),
            ("photos/new/er", "is in the folder of images of --judge"),
        ] {
            let message = fill(taken).unwrap_err().to_string();
            assert!(
                message.starts_with("--png: ") && message.contains(why),
                "{taken}: {message}"
            );
        }
    }
}
