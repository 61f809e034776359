//! `sit sample`: images from a checkpoint.

mod args;
pub(super) mod begin;
pub(super) mod forms;
pub(super) mod guides;
pub(super) mod images;
mod outputs;
mod pictures;
pub mod recipes;
mod reverse;
mod settings;
pub(super) mod solver;
pub(super) mod table;
mod unfinished;

pub use args::Args;

use crate::error::{Failure, Result};
use crate::judge::Agreement;
use crate::sampling::{self, Effort, Noise};
use crate::straightness::Straightness;
use crate::{memory, npz, signals, stdout, trajectory};
use guides::Guides;
use outputs::Files;
use reverse::Trip;
use sit_engine::model::{Blueprint, Model};
use sit_engine::sample::Sampling;
use sit_engine::text::{count, shown};
use sit_engine::transport::{Sampler, Transport, nfe};
use std::cell::RefCell;
use std::iter;
use std::time::Instant;
use unfinished::Unfinished;

/// Runs it.
///
/// # Errors
/// A checkpoint that does not fit, a combination of flags that is refused, or files that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let recipe = args.recipe.as_deref();
    sample(args).map_err(|e| match recipe.and_then(recipes::flags) {
        Some(flags) => e.hint(format!("--recipe stands for {flags}")),
        None => e,
    })
}

fn sample(args: &Args) -> Result<()> {
    let mut source = args.source.open()?;
    source.require_samples()?;
    let (model, transport) = (source.recipe.model.clone(), source.recipe.transport.clone());
    let mut guides = Guides::open(
        args.autoguide.as_deref().zip(args.autoguide_scale),
        args.classifier.as_deref().zip(args.classifier_scale),
        &source.recipe,
    )?;
    let mut io = model.io();
    let mut names = source.recipe.classes.clone();
    if let Some((classifier, _)) = guides.classifier.as_ref().filter(|_| io.n_classes == 0) {
        // A model without classes has those of its classifier.
        io.n_classes = classifier.recipe.model.io().n_classes;
        names.clone_from(&classifier.recipe.classes);
    }
    let mut vae = args.vae.open()?;
    let shown_io = vae.as_ref().map_or(Ok(io), |vae| vae.pictures(io))?;
    if let Some(vae) = &mut vae {
        vae.adopt(source.latents())?;
    }
    let examples = args.examples(&source.recipe)?;
    let mut wanted = match &examples {
        Some(examples) => reverse::wanted(examples),
        None => args.wanted(&io, &names)?,
    };
    images::check_null_class(args.guidance, &io, &source.recipe, wanted.images.labels())?;
    let n = wanted.images.n();
    let transport = Transport {
        t_eps_sample: args.solver.t_eps_sample.or(transport.t_eps_sample),
        base: args.base_of(&transport)?,
        ..transport
    };
    let batch = n.min(args.batch.into()) as usize;
    let own_loss = || table::of_run(&source);
    let sampler = args.solver.sampler(io.image_len(), &transport, own_loss)?;
    // Settings are checked before a device is opened.
    let plain_of = |max_segment_bytes, sampler: &Sampler| -> Result<Sampling<Blueprint>> {
        let (model, transport) = (model.clone(), transport.clone());
        let blueprint = Blueprint::stored(model, transport, args.dtype, max_segment_bytes)?;
        let sampling = Sampling::new(blueprint, sampler.clone());
        let sampling = sampling.guided(args.guidance()).batch(batch);
        Ok(guides
            .blueprints(args.dtype, max_segment_bytes)?
            .apply(sampling))
    };
    let plain = |max_segment_bytes| plain_of(max_segment_bytes, &sampler);
    if args.straightness && sampler.is_adaptive() {
        return Err(Failure::Input(
            "--straightness: it needs given steps; take heun or another method with --steps".into(),
        ));
    }
    let steps = match sampler.is_adaptive() {
        true => plain(u64::MAX)?.forecast().map(|_| None)?,
        false => Some(plain(u64::MAX)?.schedule()?),
    };
    let to_noise = reverse::reversed(&sampler);
    if args.reverse {
        plain_of(u64::MAX, &to_noise)?.forecast()?;
    }
    let n_noisy = steps.iter().flatten().filter(|step| step.noise() != 0.0);
    args.check_chain(&wanted.noise, n_noisy.count())?;
    args.check_outputs(&wanted, &shown_io, vae.as_ref())?;
    let is_drawn = examples.is_none() && matches!(wanted.noise, Noise::Drawn);
    if let Some(base) = is_drawn
        .then(|| begin::begin(args.base.as_deref(), &source, args.seed))
        .transpose()?
        .flatten()
    {
        wanted.noise = Noise::Base(base, transport.start_std(&sampler));
    }
    let judge = Agreement::of(
        args.judge.as_deref(),
        &source.recipe,
        (&shown_io, &names),
        &wanted.images,
    )?;

    let device = args.backend.open()?;
    // Host buffers of a batch: the initial noise, the step's noise, and the state that is read back.
    let batch_bytes = 3 * 4 * (batch * io.image_len()) as u64;
    let init_bytes = match (&wanted.noise, &examples) {
        (_, Some(examples)) => 12 * examples.x.len() as u64,
        (Noise::Drawn | Noise::Base(..), _) => 0,
        (Noise::Given(x), _) => 4 * x.len() as u64,
        (Noise::Chain(x, noise), _) => 4 * (x.len() + noise.len()) as u64,
    };
    let decoder_bytes = vae
        .as_ref()
        .map_or(Ok(0), |vae| vae.decoder_bytes(io, batch))?;
    memory::sampling(&plain(device.max_segment_bytes())?, &device)
        .with_device("--vae", decoder_bytes)
        .with_host("batch", batch_bytes)
        .with_host("--init", init_bytes)
        .with_host(
            "grid",
            args.grid_bytes(&wanted, &shown_io).unwrap_or(u64::MAX),
        )
        .require()?;
    tracing::info!("weights: {}", source.origin);
    let loaded = Model::stored(&device, model.clone(), transport.clone(), args.dtype)?;
    source.weights.load(&loaded)?;
    let loaded_guides = guides.load(&device, args.dtype)?;
    signals::catch();
    let make = |sampler: &Sampler| {
        let sampling = loaded.sampler(sampler.clone()).guided(args.guidance());
        loaded_guides.clone().apply(sampling.batch(batch))
    };
    let sampling = make(&sampler);
    let t: Option<Vec<f32>> = steps.as_ref().map(|steps| {
        let after = steps.iter().map(|step| step.t_next);
        let times = iter::once(steps[0].t).chain(after);
        times.map(|t| t as f32).collect()
    });
    let settings = settings::json(
        &source.origin,
        &names,
        &guides,
        &sampling,
        (args.seed, args.dtype),
        wanted.images.picked(),
        &device,
    );
    let decoder = match &mut vae {
        Some(vae) => Some(vae.decoder(&device, io, batch)?),
        None => None,
    };
    let unfinished = match args.unfinished() {
        None => None,
        Some(folder) => {
            let unit = unfinished::unit(&sampler, batch);
            let files = (&source.origin, &guides, vae.as_ref());
            let settings = args.unfinished_settings(&settings, files, unit);
            let shape = shown_io.image;
            let layout = args.npz.as_ref().map(|_| npz::Layout { shape });
            Some(Unfinished::open(folder, settings, layout, unit)?)
        }
    };
    let left = wanted
        .images
        .after(unfinished.as_ref().map_or(0, Unfinished::done));
    let files = Files::create(
        args,
        &wanted,
        &source.recipe,
        (&shown_io, &names),
        (io.image, decoder),
        t.as_deref(),
        &settings,
        judge,
        unfinished,
    )?;
    let started = Instant::now();
    let mut trip = examples.as_ref().map(Trip::new);
    let mut said = String::new();
    if let Some(examples) = &examples {
        let (noise, effort) = reverse::to_noise(make(&to_noise), &wanted.images, examples)?;
        said += &format!("to noise: {effort}\n");
        wanted.noise = Noise::Given(noise);
    }
    let (files, effort) = match steps {
        Some(steps) => {
            let mut files = files;
            let mut straight = args.straightness.then(Straightness::default);
            sampling::sample(
                &mut sampling.session()?,
                &left,
                &wanted.noise,
                args.seed,
                args.trajectory.is_some() || args.straightness,
                |state| {
                    straight
                        .iter_mut()
                        .for_each(|straight| straight.look(&state, &steps));
                    trip.iter_mut().for_each(|trip| trip.look(&state));
                    files.take(&state)
                },
            )?;
            if let Some(straight) = straight {
                said += &format!("{straight}\n");
            }
            (files, Effort::Fixed(nfe(&steps)))
        }
        None => {
            // Both of its callbacks write.
            let files = RefCell::new(files);
            let mut way = |image, t, x: &[f32]| files.borrow_mut().on_the_way(image, t, x);
            let effort = sampling::adaptive::sample(
                &mut sampling.pool()?,
                &left,
                &wanted.noise,
                args.seed,
                args.trajectory.is_some().then_some(&mut way),
                |state| {
                    trip.iter_mut().for_each(|trip| trip.look(&state));
                    files.borrow_mut().take(&state)
                },
            )?;
            (files.into_inner(), Effort::Own(effort))
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    let mut written = files.finish(&wanted.images)?;
    written += &said;
    if let (Some(trip), Noise::Given(noise), Some(examples)) = (trip, &wanted.noise, &examples) {
        if let Some(path) = &args.noise_out {
            let bytes = trajectory::write_states(path, &io, noise, &examples.y)?;
            written += &format!("{}{}\n", shown(path), stdout::size(bytes));
        }
        written += &trip.verdict(noise);
    }
    stdout::print(&format!(
        "{} in {seconds:.1} s ({effort}), {}\n{written}{}",
        count(left.n(), "image"),
        source.origin,
        wanted.said
    ))
}
