//! `sit data`: look at data.

use crate::data::{self, DataConfig};
use crate::error::Result;
use crate::progress::Progress;
use crate::stdout;
use sit_engine::analytic::Points as _;
use sit_engine::text::count;
use std::path::PathBuf;

/// Look at data.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Count classes, sizes and levels of a folder of images or IDX files, and name the files that cannot be read.
    #[command(
        after_help = "Examples:\n  sit data inspect digits\n  sit data inspect /usr/share/datasets/fashion-mnist\n  sit data inspect photos/"
    )]
    Inspect {
        /// Folder of images (one subfolder per class, or flat) or of IDX files; `digits` for the embedded data; `toy:moons` and the like
        /// for points in the plane.
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
    if let Some(toy) = data::toy(&path)? {
        drop(bar);
        let (name, n_classes) = (data::path_of(toy), toy.n_classes() as usize);
        return stdout::print(&format!(
            "{name}: {}\npoints in the plane, as images of 1x1 with 2 channels, of {}\ntrain on them with: sit train --preset moons --set \
             data.path={name}\n",
            toy.about(),
            count(n_classes, "class")
        ));
    }
    let report = data::inspect(&path, &bar)?;
    drop(bar);
    stdout::print(&report.to_string())
}
