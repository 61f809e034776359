//! `sit sample`: images from a checkpoint.

mod args;
mod images;
mod judge;
mod outputs;
mod pictures;
mod settings;

pub use args::Args;

use crate::error::Result;
use crate::sampling::{self, Noise};
use crate::{memory, signals, stdout};
use judge::Judge;
use outputs::Files;
use sit_engine::model::{Blueprint, Model};
use sit_engine::sample::Sampling;
use sit_engine::text::count;
use sit_engine::transport::{Transport, nfe};
use std::iter;
use std::time::Instant;

/// Runs it.
///
/// # Errors
/// A checkpoint that does not fit, a combination of flags that is refused, or files that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let mut source = args.source.open()?;
    let (model, transport) = (source.recipe.model.clone(), source.recipe.transport);
    let io = model.io();
    let wanted = args.wanted(&io, &source.recipe.classes)?;
    args.check_null_class(&io, source.recipe.class_dropout, wanted.images.labels())?;
    let n = wanted.images.n();
    let transport = Transport {
        t_eps_sample: args.t_eps_sample.or(transport.t_eps_sample),
        ..transport
    };
    let mut guide = args.guide(&source.recipe)?;
    let batch = n.min(args.batch.into()) as usize;
    // Settings are checked before a device is opened.
    let plain = |max_segment_bytes| -> Result<Sampling<Blueprint>> {
        let blueprint = Blueprint::new(model.clone(), transport, max_segment_bytes)?;
        let sampling = Sampling::new(blueprint, args.sampler());
        let sampling = sampling.guided(args.guidance()).batch(batch);
        Ok(match &guide {
            None => sampling,
            Some(guide) => {
                let weak =
                    Blueprint::new(guide.recipe.model.clone(), transport, max_segment_bytes)?;
                sampling.autoguidance(weak, args.autoguide_scale())
            }
        })
    };
    let steps = plain(u64::MAX)?.schedule()?;
    args.check_outputs(&wanted, &io)?;
    let judge = Judge::of(args.judge.as_deref(), &source.recipe, &wanted.images)?;

    let device = args.backend.open()?;
    // Host buffers of a batch: the initial noise, the step's noise, and the state that is read back.
    let batch_bytes = 3 * 4 * (batch * io.image_len()) as u64;
    let init_bytes = match &wanted.noise {
        Noise::Drawn => 0,
        Noise::Given(x) => 4 * x.len() as u64,
    };
    memory::sampling(&plain(device.max_segment_bytes())?, &device)
        .with_host("batch", batch_bytes)
        .with_host("--init", init_bytes)
        .with_host("grid", args.grid_bytes(&wanted, &io).unwrap_or(u64::MAX))
        .require()?;
    tracing::info!("weights: {}", source.origin);
    let loaded = Model::zeros(&device, model, transport)?;
    source.weights.load(&loaded)?;
    let mut sampling = loaded.sampler(args.sampler()).guided(args.guidance());
    if let Some(guide) = &mut guide {
        tracing::info!("guide: {}", guide.origin);
        let weak = Model::zeros(&device, guide.recipe.model.clone(), transport)?;
        guide.weights.load(&weak)?;
        sampling = sampling.autoguidance(weak, args.autoguide_scale());
    }
    signals::catch();
    let mut session = sampling.batch(batch).session()?;
    let t: Vec<f32> = iter::once(steps[0].t)
        .chain(steps.iter().map(|step| step.t_next))
        .map(|t| t as f32)
        .collect();
    let settings = settings::json(
        &source.origin,
        &source.recipe.classes,
        guide.as_ref().map(|guide| &guide.origin),
        session.sampling(),
        args.seed,
        wanted.images.picked(),
        &device,
    );
    let mut files = Files::create(
        args,
        &wanted,
        &io,
        &source.recipe.classes,
        &t,
        &settings,
        judge,
    )?;
    let started = Instant::now();
    sampling::sample(
        &mut session,
        &wanted.images,
        &wanted.noise,
        args.seed,
        args.trajectory.is_some(),
        |state| files.take(&state),
    )?;
    let seconds = started.elapsed().as_secs_f64();
    let written = files.finish(&wanted.images)?;
    stdout::print(&format!(
        "{} in {seconds:.1} s ({} each), {}\n{written}{}",
        count(n, "image"),
        count(nfe(&steps), "network evaluation"),
        source.origin,
        if args.no_grid { "" } else { &wanted.said }
    ))
}
