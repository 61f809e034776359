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
use sit_engine::graph::{Arena, Layout};
use sit_engine::model;
use sit_engine::sample::{SampleConfig, Session};
use sit_engine::text::count;
use sit_engine::transport::{Guidance, Transport, nfe};
use std::iter;
use std::time::Instant;

/// Runs it.
///
/// # Errors
/// A checkpoint that does not fit, a combination of flags that is refused, or files that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let mut source = args.source.open()?;
    let (model, transport) = (source.recipe.model, source.recipe.transport);
    let wanted = args.wanted(&model, &source.recipe.classes)?;
    args.check_null_class(&model, source.recipe.class_dropout, wanted.images.labels())?;
    let n = wanted.images.n();
    let config = SampleConfig {
        model,
        transport: Transport {
            t_eps_sample: args.t_eps_sample.or(transport.t_eps_sample),
            ..transport
        },
        sampler: args.sampler(),
        guidance: Guidance {
            scale: args.guidance,
            channels: args.guidance_channels,
            interval: args.guidance_interval,
        },
        weights: Arena::Params,
        batch: n.min(args.batch.into()) as usize,
        keep_out: false,
    };
    let steps = config.schedule()?;
    args.check_outputs(&wanted, &model)?;
    let judge = Judge::of(args.judge.as_deref(), &source.recipe, &wanted.images)?;

    let device = args.backend.open()?;
    // Noise, the step's noise and the state that is read.
    let batch_bytes = 3 * 4 * (config.batch * model.image_len()) as u64;
    let init_bytes = match &wanted.noise {
        Noise::Drawn => 0,
        Noise::Given(x) => 4 * x.len() as u64,
    };
    memory::sampling(&config, &device)
        .with_host("batch", batch_bytes)
        .with_host("--init", init_bytes)
        .with_host("grid", args.grid_bytes(&wanted, &model).unwrap_or(u64::MAX))
        .require()?;
    tracing::info!("weights: {}", source.origin);
    let layout = Layout::new(&model::params(&model), device.max_segment_bytes())?;
    let arenas = device.arenas(&layout, &[Arena::Params])?;
    source.weights.load(&model, &arenas, Arena::Params)?;
    signals::catch();
    let mut session = Session::new(&device, &arenas, &layout, config)?;
    let t: Vec<f32> = iter::once(steps[0].t)
        .chain(steps.iter().map(|step| step.t_next))
        .map(|t| t as f32)
        .collect();
    let settings = settings::json(
        &source.origin,
        &source.recipe.classes,
        &config,
        args.seed,
        wanted.images.picked(),
        &device,
    );
    let mut files = Files::create(
        args,
        &wanted,
        &model,
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
