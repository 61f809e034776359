//! `sit sample`: images from a checkpoint.

mod args;
mod images;
mod outputs;

pub use args::Args;

use crate::data::{Kind, Knn, digits};
use crate::error::Result;
use crate::files::write_atomically;
use crate::sampling;
use crate::{memory, npz, png, signals, stdout};
use images::Images;
use sit_engine::checkpoint::Recipe;
use sit_engine::graph::{Arena, Layout};
use sit_engine::model;
use sit_engine::sample::SampleConfig;
use sit_engine::transport::{Guidance, Transport};
use std::io::Write;
use std::time::Instant;

/// Runs it.
///
/// # Errors
/// A checkpoint that does not fit, a combination of flags that is refused, or files that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let mut source = args.source.open()?;
    let Recipe {
        model, transport, ..
    } = source.recipe;
    let Images {
        start,
        layout: place,
        said,
    } = args.images(&model, &source.recipe.classes)?;
    args.check_null_class(&model, source.recipe.class_dropout, &start.labels)?;
    let n = start.labels.len();
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
        batch: n.min(args.batch as usize),
        keep_out: false,
    };
    config.schedule()?;
    args.check_outputs()?;

    let device = args.backend.open()?;
    memory::sampling(&config, &device).require()?;
    let layout = Layout::new(&model::params(&model), device.max_segment_bytes())?;
    let arenas = device.arenas(&layout, &[Arena::Params])?;
    source.weights.load(&model, &arenas, Arena::Params)?;
    signals::catch();
    let started = Instant::now();
    let trajectory = args.trajectory.is_some();
    let samples = sampling::sample(&device, &arenas, &layout, config, &start, trajectory)?;
    let seconds = started.elapsed().as_secs_f64();

    let shape = [model.channels, model.input_size, model.input_size];
    let grid = png::grid(&samples.x, shape, place);
    write_atomically(&args.out, |out| out.write_all(&grid))?;
    let mut text = format!(
        "{n} images in {seconds:.1} s ({} network evaluations each): {}\n",
        samples.nfe,
        args.out.display()
    );
    text += &said;
    if let Some(path) = &args.npz {
        npz::write(path, &samples.x, shape, &start.labels)?;
        text += &format!("{}\n", path.display());
    }
    if let Some(path) = &args.trajectory {
        samples.write_trajectory(path, &model)?;
        text += &format!("{}\n", path.display());
    }
    let kind = Kind::Digits.to_string();
    let of_digits = source.recipe.data.is_some_and(|data| data.name == kind);
    if of_digits && model.n_classes > 0 && start.labels.iter().all(|&label| label < 10) {
        let knn = Knn::new(&digits::held_out(), Knn::DEFAULT_K)?;
        let agree = knn.agreement(&samples.x, &start.labels);
        let percent = 100.0 * agree as f64 / n as f64;
        text += &format!(
            "{agree} of {n} ({percent:.1} %) are what was asked for, says the nearest of the held-out real digits\n"
        );
    }
    stdout::print(&text)
}
