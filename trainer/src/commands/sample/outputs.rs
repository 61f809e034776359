//! What `sit sample` writes.

use super::args::Args;
use crate::error::{Failure, Result};
use crate::files::check_writable;
use std::path::{Path, PathBuf};

impl Args {
    /// Refuses outputs that cannot be written, or would replace an input or each other, before the work rather than after it.
    pub fn check_outputs(&self) -> Result<()> {
        let mut taken: Vec<PathBuf> = [Some(&self.source.checkpoint), self.init.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let outputs = [
            ("--out", Some(&self.out)),
            ("--npz", self.npz.as_ref()),
            ("--trajectory", self.trajectory.as_ref()),
        ];
        for (flag, path) in outputs {
            let Some(path) = path else { continue };
            check_writable(path).map_err(|e| Failure::from(e).context(flag))?;
            if taken.contains(path) && path != Path::new("/dev/null") {
                return Err(Failure::Input(format!(
                    "{flag}: {} is in use by another argument",
                    path.display()
                )));
            }
            taken.push(path.clone());
        }
        Ok(())
    }
}
