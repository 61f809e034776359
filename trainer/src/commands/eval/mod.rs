//! `sit eval`: how far samples are from real images.

mod args;
mod asked;
mod compare;
mod metric;
mod sets;
mod table;

pub use args::Args;

use crate::config::Metric;
use crate::data::ImageSet;
use crate::error::{Failure, Result};
use crate::evaluation::{self, Evaluation};
use crate::files::write_atomically;
use crate::judge::{Extractor, InceptionFeatures, Keep, Statistics, Trained, extract};
use crate::{signals, stdout};
use asked::Asked;
use serde_json::Value;
use sit_engine::backend::Device;
use sit_engine::text::{count, shown};
use std::io::Write as _;
use std::path::Path;

/// Runs it.
///
/// # Errors
/// Images or statistics that cannot be read or do not compare, arguments that do not go together, or files that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    args.check()?;
    if !args.compare.is_empty() {
        let (table, json) = compare::runs(&args.compare)?;
        write_json(args, &json)?;
        return stdout::print(&table);
    }
    let open = |path| sets::open(path, args.count, args.seed);
    let samples = args.samples.iter().map(|path| open(path));
    let samples = samples.collect::<Result<Vec<ImageSet>>>()?;
    if let [first, others @ ..] = &samples[..]
        && let Some(other) = others.iter().find(|other| other.shape() != first.shape())
    {
        return Err(Failure::Input(format!(
            "SAMPLES: got {} and {}, expected images of one size",
            first.described(),
            other.described()
        )));
    }
    if let Some(path) = &args.save_statistics {
        return save_statistics(args, &samples[0], path);
    }
    let asked = Asked::open(args, &samples)?;
    let device = match asked.needs_device(args) {
        true => Some(args.backend.open()?),
        false => None,
    };
    signals::catch();
    let judge = match (&device, args.judge_file()) {
        (Some(device), Some(file)) => Some(asked.judge(args, file, device)?),
        _ => None,
    };
    if let Some(judge) = judge.as_ref().filter(|_| args.samples.is_empty()) {
        let file = args.judge_file().map(shown).unwrap_or_default();
        return stdout::print(&format!("{} in {file}\n", judge.name()));
    }
    let inception = match &device {
        Some(device) if asked.settings.wants(Metric::is_of_inception) => inception(args, device)?,
        _ => None,
    };
    let settings = asked.to_json(args);
    let mut notes = asked.notes;
    let mut evaluation = Evaluation::new(asked.settings, asked.reference, judge, inception);
    let sets: Vec<&ImageSet> = samples.iter().collect();
    if let Some(first) = sets.first() {
        evaluation.check(first.name(), first.shape())?;
    }
    let (rows, said) = evaluation.measure(&sets, true)?;
    notes.extend(said);
    write_json(args, &table::to_json(&rows, &notes, settings))?;
    stdout::print(&table::markdown(&rows, &notes))
}

/// The file of `--json`.
fn write_json(args: &Args, json: &Value) -> Result<()> {
    let Some(path) = &args.json else {
        return Ok(());
    };
    write_atomically(path, |out| {
        serde_json::to_writer_pretty(&mut *out, json)?;
        out.write_all(b"\n")
    })?;
    Ok(())
}

/// The network of `--inception`.
fn inception(args: &Args, device: &Device) -> Result<Option<InceptionFeatures>> {
    let Some(file) = &args.inception else {
        return Ok(None);
    };
    let resize = evaluation::resize(args.protocol);
    let network = InceptionFeatures::open(file, resize, args.batch as usize, device);
    let network = network.map_err(|e| e.context("--inception"))?;
    let made = network.made();
    tracing::info!("{}, images resized by {}", made.extractor, made.resize);
    Ok(Some(network))
}

/// The features of one set, for later.
fn save_statistics(args: &Args, set: &ImageSet, path: &Path) -> Result<()> {
    if set.len() < 2 {
        return Err(Failure::Input(format!(
            "{}: got {}, expected at least 2 for --save-statistics",
            set.name(),
            count(set.len(), "image")
        )));
    }
    let device = args.backend.open()?;
    signals::catch();
    let mut extractor: Box<dyn Extractor> = match (inception(args, &device)?, args.judge_file()) {
        (Some(network), _) => Box::new(network),
        (None, Some(file)) => Box::new(match &args.train_judge {
            Some(data) => {
                let images = evaluation::Images::open(data, Some(set.shape()));
                let images = images.map_err(|e| e.context("--train-judge"))?;
                Trained::on(&images.real, file, &device)?
            }
            None => Trained::open(file, &device)?,
        }),
        (None, None) => return Err(Failure::Input("--save-statistics: expected --judge".into())),
    };
    let keep = Keep {
        spatial: true,
        ..Keep::default()
    };
    let found = extract(&mut *extractor, set, keep, asked::FEWER)?;
    let features = found.moments.finish()?;
    let spatial = found.spatial.map(|moments| moments.finish()).transpose()?;
    let made = extractor.made();
    Statistics::write(path, made, set.len(), &features, spatial.as_ref())?;
    stdout::print(&format!(
        "wrote {}: mean and covariance of {} of {}, by {}\n",
        shown(path),
        count(features.dim(), "feature"),
        set.described(),
        made.extractor
    ))
}
