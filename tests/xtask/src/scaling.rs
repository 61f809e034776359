//! `cargo xtask scaling`: distance against the network's work and against the work of its training.

mod plan;
mod published;
mod report;
mod results;

use crate::study::{Args, Picture, Study};
use anyhow::Result;

/// Runs what has not been run yet and writes the tables and the pictures.
pub fn run(args: &Args) -> Result<()> {
    let study = Study::open("scaling", args)?;
    // The work of a model is known first, so that the time that is left can be told.
    study.run(&plan::infos())?;
    let works = results::works(&study)?;
    study.run(&plan::jobs(args, &works))?;
    let judge = results::judge(&study, args)?;
    let results = results::read(&study, args, &works, &judge)?;
    let text = report::markdown(&results, args, &judge)?;
    let pictures = [
        Picture {
            file: "scaling-forward.png",
            alt: "Distance by the work of a forward here, and FID of DiT",
            png: report::forward(&results)?,
        },
        Picture {
            file: "scaling-training.png",
            alt: "Distance by the work of a training here, and FID of DiT",
            png: report::training(&results)?,
        },
    ];
    study.publish(args, &text, &pictures)
}
