//! `sit data`: look at data.

use crate::data;
use crate::error::Result;
use crate::progress::Progress;
use std::path::PathBuf;
use std::sync::Mutex;

/// Look at data.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Count classes, sizes and levels of a folder of images or IDX files, and name the files that cannot be read.
    #[command(
        after_help = "Examples:\n  sit data inspect digits\n  sit data inspect /usr/share/datasets/fashion-mnist\n  sit data inspect photos/"
    )]
    Inspect {
        /// Folder of images (one subfolder per class, or flat) or of IDX files; `digits` for the embedded data.
        path: PathBuf,
    },
}

/// Runs it.
///
/// # Errors
/// A missing or empty folder, or an invalid IDX file.
pub fn run(command: &Command) -> Result<()> {
    let Command::Inspect { path } = command;
    let progress = Mutex::new(None);
    let report = data::inspect(path, &|done, total| {
        // Held only to move the bar; a poisoned lock would still move it.
        let mut bar = progress
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        bar.get_or_insert_with(|| Progress::new("reading", "files", 0, total as u64))
            .set(done as u64, String::new);
    })?;
    drop(progress);
    print!("{report}");
    Ok(())
}
