//! What a command may write: nothing that it reads, nothing twice, and no format under another one's name.

use crate::error::{Failure, Result};
use crate::files::{Identity, check_writable, parent};
use crate::run;
use sit_engine::text::shown;
use std::path::{Path, PathBuf};

/// The files that a command reads and writes. Files are compared, not spellings: links and hard links are seen through.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Each file in use, and what the command does with it.
    taken: Vec<(Identity, String)>,
    /// Folders of runs and checkpoints that are read.
    runs: Vec<PathBuf>,
}

impl Outputs {
    /// Marks `path` as read by the argument `name`: a file, or the folder of a run or of a checkpoint with all that belongs
    /// to the run.
    pub fn reads(&mut self, name: &str, path: &Path) {
        if path.is_dir() {
            self.runs.extend(path.canonicalize());
        }
        self.taken
            .push((Identity::of(path), format!("is read, by {name}")));
    }

    /// Checks the file `path` that the argument `flag` names, before the work rather than after it. Its name ends in one of
    /// `extensions` (without the dot), or has no extension, or is a device such as `/dev/null`.
    ///
    /// # Errors
    /// [`Failure::Input`] naming `flag` and `path`: it cannot be written, it has another extension, or it is read or written by
    /// another argument.
    pub fn writes(&mut self, flag: &str, path: &Path, extensions: &[&str]) -> Result<()> {
        let name = shown(path);
        let refuse = |why: String| Err(Failure::Input(format!("{flag}: {name}{why}")));
        check_writable(path).map_err(|e| Failure::input(e).context(flag))?;
        if path.metadata().is_ok_and(|m| !m.is_file()) {
            // A device or a pipe takes what it gets, and several times.
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
        let identity = Identity::of(path);
        if let Some((_, how)) = self.taken.iter().find(|(other, _)| *other == identity) {
            return refuse(format!(" is in use: it {how}"));
        }
        if self.belongs_to_a_run(path) {
            return refuse(" is in use: it belongs to the run that is read".into());
        }
        self.taken
            .push((identity, format!("is written, by {flag}")));
        Ok(())
    }

    fn belongs_to_a_run(&self, path: &Path) -> bool {
        let Ok(folder) = parent(path).canonicalize() else {
            return false;
        };
        let whole = folder.join(path.file_name().unwrap_or_default());
        // A link inside the folder, or one to a file of it.
        let whole = [path.canonicalize().unwrap_or_else(|_| whole.clone()), whole];
        let belongs = |run: &PathBuf| whole.iter().any(|path| run::belongs(run, path));
        self.runs.iter().any(belongs)
    }
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
        ] {
            let error = reading().writes("--out", &at(taken), &all).unwrap_err();
            let message = error.to_string();
            assert!(message.starts_with("--out: "), "{taken}: {message}");
            assert_eq!(error.exit_code(), 2, "{taken}");
        }
        for free in [
            "x.PNG",
            "x",
            "run/samples.png",
            "state.json",
            "./x.safetensors",
        ] {
            reading().writes("--out", &at(free), &all).expect(free);
            // Again, in the next command.
            fs::write(at(free), "").unwrap();
            reading().writes("--out", &at(free), &all).expect(free);
        }
        let mut outputs = reading();
        outputs.writes("--out", &at("a.png"), &all).unwrap();
        let twice = outputs.writes("--npz", &at("./a.png"), &all).unwrap_err();
        assert!(
            twice.to_string().ends_with("is written, by --out"),
            "{twice}"
        );
    }
}
