//! `sit data`: look at data.

use crate::data::{self, DataConfig};
use crate::error::Result;
use crate::progress::Progress;
use crate::stdout;
use std::path::PathBuf;

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
    let bar = Progress::shared("reading", "files");
    let asked = DataConfig {
        path: Some(path.clone()),
        ..DataConfig::digits()
    };
    // Leave a path that does not exist to `inspect`: it may be the word for the embedded digits.
    let path = asked
        .place(None)
        .ok()
        .flatten()
        .unwrap_or_else(|| path.clone());
    let report = data::inspect(&path, &bar)?;
    drop(bar);
    stdout::print(&report.to_string())
}
