//! `sit nll --vlb`: the variational bound of a DDPM chain.

use super::Args;
use super::report::{mean, with_error};
use crate::commands::examples::Examples;
use crate::commands::source::Opened;
use crate::error::{Failure, Result};
use crate::files::write_atomically;
use crate::progress::Progress;
use crate::signals::{self, interrupted};
use crate::{memory, stdout};
use sit_engine::model::{Blueprint, Model};
use sit_engine::sample::{Sampling, VariationalBound, Vlb};
use sit_engine::text::{count, shown};
use sit_engine::transport::{Method, Prediction, Sampler};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

/// Levels that the last term of the bound reads.
const LEVELS: u32 = 256;

/// Runs it.
///
/// # Errors
/// A checkpoint of another path, guidance, data that do not fit or have no levels, or a file that cannot be written.
pub fn run(args: &Args, mut source: Opened) -> Result<()> {
    if args.guidance != 1.0 {
        return Err(Failure::Input(format!(
            "--guidance: got {}, expected 1: the bound is that of the model without guidance",
            args.guidance
        )));
    }
    let recipe = source.recipe.clone();
    if args.clip_x0.is_some() && recipe.transport.prediction == Prediction::Mean {
        return Err(Failure::Input(
            "--clip-x0: the bound of a model that predicts the mean reads no predicted image"
                .into(),
        ));
    }
    let levels = Vlb::check(&recipe.transport, args.respacing.as_ref(), args.clip_x0);
    let levels = levels.map_err(|e| Failure::from(e).context("--vlb"))?;
    args.check_outputs()?;
    let images = args.data.open(&recipe)?;
    if !images.has_levels {
        return Err(Failure::Input(format!(
            "--vlb: the values of {} are float32, expected images of {LEVELS} levels, which the last term of the bound reads",
            images.name
        )));
    }
    let of_training = recipe
        .data
        .as_ref()
        .map(|data| u32::from(data.max_level) + 1);
    if let Some(own) = of_training.filter(|own| *own != LEVELS) {
        tracing::warn!(
            "the model was trained on images of {own} levels; the bound counts the bits of {LEVELS}"
        );
    }
    let device = args.backend.open()?;
    let batch = images.len().min(args.batch as usize);
    let most = device.max_segment_bytes();
    let blueprint = Blueprint::new(recipe.model.clone(), recipe.transport.clone(), most)?;
    let evaluation = Sampling::new(blueprint, Sampler::ode(Method::Euler, 1));
    memory::sampling(&evaluation.batch(batch), &device).require()?;
    tracing::info!("weights: {}", source.origin);
    let model = Model::zeros(&device, recipe.model.clone(), recipe.transport.clone())?;
    source.weights.load(&model)?;
    signals::catch();
    let started = Instant::now();
    let bounds = measure(args, &model, &images, [batch, levels])?;
    if let Some(csv) = &args.csv {
        write(csv, &images, &bounds)?;
    }
    let mut text = text(&bounds, &images, levels);
    writeln!(
        text,
        "{:.1} s, {}",
        started.elapsed().as_secs_f64(),
        source.origin
    )
    .ok();
    if let Some(csv) = &args.csv {
        writeln!(text, "{}", shown(csv)).ok();
    }
    stdout::print(&text)
}

/// The bounds of all images, in their order.
fn measure(
    args: &Args,
    model: &Model,
    images: &Examples,
    [batch, levels]: [usize; 2],
) -> Result<Vec<VariationalBound>> {
    let (n, len) = (images.len(), model.io().image_len());
    let mut vlb = Vlb::new(model, batch, args.respacing.as_ref(), args.clip_x0)?;
    let mut bar = Progress::new("bound", "images", 0, n as u64);
    let mut bounds = Vec::with_capacity(n);
    for first in (0..n).step_by(batch) {
        let part = first..n.min(first + batch);
        let x = &images.x[part.start * len..part.end * len];
        let (numbers, y) = (&images.numbers[part.clone()], &images.y[part.clone()]);
        let measured = vlb.bound_async(args.seed, numbers, x, y, |done| {
            let share = done as f64 / levels as f64;
            bar.set(
                first as u64 + (share * part.len() as f64) as u64,
                String::new,
            );
            !interrupted()
        });
        let measured = pollster::block_on(measured)?;
        bounds.extend(measured.ok_or(Failure::Interrupted)?);
    }
    let is_bad = |bound: &VariationalBound| !bound.total().is_finite();
    match bounds.iter().position(is_bad) {
        Some(at) => Err(Failure::Run(format!(
            "{}: the bound of image {} is not finite",
            images.name, images.numbers[at]
        ))),
        None => Ok(bounds),
    }
}

/// The lines for the terminal.
fn text(bounds: &[VariationalBound], images: &Examples, levels: usize) -> String {
    let all = |value: fn(&VariationalBound) -> f64| -> (f64, Option<f64>) {
        mean(&bounds.iter().map(value).collect::<Vec<f64>>())
    };
    let last = |bound: &VariationalBound| bound.terms.last().copied().unwrap_or(0.0);
    let (total, error) = all(VariationalBound::total);
    let (prior, _) = all(|bound| bound.prior);
    let (of_image, _) = all(last);
    let (noise, _) =
        all(|bound| bound.x0_errors.iter().sum::<f64>() / bound.x0_errors.len() as f64);
    let of = match error {
        Some(_) => "± is the standard error of the mean over",
        None => "of",
    };
    format!(
        "{} bits per dimension, a bound from above; {LEVELS} levels, x in [-1, 1]\n{of} {}\nof it {prior:.2e} for the noise at the start, \
         {:.4} for the steps, {of_image:.4} for the image at the end; {}\nmean squared error of the predicted noise over all levels: \
         {noise:.4}\n",
        with_error(total, error),
        images.name,
        total - prior - of_image,
        count(levels, "network evaluation"),
    )
}

/// Writes a row for each image.
fn write(path: &Path, images: &Examples, bounds: &[VariationalBound]) -> Result<()> {
    write_atomically(path, |out| {
        writeln!(out, "image,label,bits_per_dimension,prior,steps,last_step")?;
        for ((bound, number), label) in bounds.iter().zip(&images.numbers).zip(&images.y) {
            let (total, last) = (bound.total(), bound.terms.last().copied().unwrap_or(0.0));
            let steps = total - bound.prior - last;
            writeln!(
                out,
                "{number},{label},{total},{},{steps},{last}",
                bound.prior
            )?;
        }
        Ok(())
    })?;
    Ok(())
}
