//! `cargo xtask ladder`: the talks' way from DDPM to SiT, step by step, on real digits at one small size.

mod orders;
mod picture;
mod plan;
mod published;
mod report;
mod results;

use crate::study::{Args, Picture, Study};
use anyhow::Result;
use results::Results;

/// Runs what has not been run yet and writes the tables and the picture.
pub fn run(args: &Args) -> Result<()> {
    let study = Study::open("ladder", args)?;
    study.run(&plan::jobs(args))?;
    let results = Results::of(&study, args.seeds)?;
    let text = report::markdown(&results, args)?;
    let png = picture::png(&results)?;
    let picture = Picture {
        file: "ladder.png",
        alt: "Distance of each rung here, its published FID, and distance by evaluations of the network",
        png,
    };
    study.publish(args, &text, &[picture])
}
