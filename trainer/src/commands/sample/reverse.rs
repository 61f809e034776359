//! `sit sample --reverse`: real images to noise by the ODE, and back again by the same solver.

use super::args::Args;
use super::images::Wanted;
use crate::commands::examples::{self, Examples, WhichArgs};
use crate::error::{Failure, Result};
use crate::png::Grid;
use crate::sampling::{self, Images, Noise, State};
use sit_engine::checkpoint::Recipe;
use sit_engine::model::Model;
use sit_engine::sample::Sampling;
use sit_engine::transport::{DdpmSampler, Ode, Sampler};

impl Args {
    /// The real images of `--reverse`.
    ///
    /// # Errors
    /// As of [`examples::open`].
    pub fn examples(&self, recipe: &Recipe) -> Result<Option<Examples>> {
        if self.data.is_some() && !self.reverse {
            return Err(Failure::Input("--data: it belongs to --reverse".into()));
        }
        self.data
            .as_deref()
            .map(|data| {
                let (count, part) = (self.count, self.part.clone());
                examples::open(data, &WhichArgs { count, part }, recipe)
            })
            .transpose()
    }
}

/// The way back to images; its noise is found first.
pub fn wanted(examples: &Examples) -> Wanted {
    let n = examples.len();
    Wanted {
        images: Images::new(examples.y.clone(), 1, n as u64),
        noise: Noise::Drawn,
        place: Grid::square(n),
        said: String::new(),
    }
}

/// The sampler in the other direction; one that has none stays as it is.
pub fn reversed(sampler: &Sampler) -> Sampler {
    match sampler {
        Sampler::Ode(ode) => Sampler::Ode(Ode {
            reverse: !ode.reverse,
            ..ode.clone()
        }),
        Sampler::Ddpm(chain) => Sampler::Ddpm(DdpmSampler {
            reverse: !chain.reverse,
            ..chain.clone()
        }),
        other => other.clone(),
    }
}

/// Carries the images to noise `[N, C, H, W]`; also says what it took.
///
/// # Errors
/// As of [`sampling::sample`].
pub fn to_noise(
    sampling: Sampling<Model>,
    images: &Images,
    examples: &Examples,
) -> Result<(Vec<f32>, String)> {
    let given = Noise::Given(examples.x.clone());
    let mut noise = Vec::with_capacity(examples.x.len());
    let effort = sampling::finished(sampling, images, &given, 0, |state| {
        noise.extend_from_slice(state.x);
        Ok(())
    })?;
    Ok((noise, effort.to_string()))
}

/// How far the images that came back are from the real ones.
pub struct Trip<'a> {
    examples: &'a Examples,
    squares: f64,
    n: usize,
}

impl<'a> Trip<'a> {
    pub fn new(examples: &'a Examples) -> Self {
        Trip {
            examples,
            squares: 0.0,
            n: 0,
        }
    }

    /// Looks at images that came back.
    pub fn look(&mut self, state: &State<'_>) {
        if !state.done || state.numbers.is_empty() {
            return;
        }
        let len = state.x.len() / state.numbers.len();
        let real = &self.examples.x[state.first as usize * len..][..state.x.len()];
        let pairs = real.iter().zip(state.x);
        self.squares += pairs
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
            .sum::<f64>();
        self.n += state.x.len();
    }

    /// A line about all of them.
    pub fn verdict(&self, noise: &[f32]) -> String {
        let rms = (self.squares / self.n.max(1) as f64).sqrt();
        let own = self.examples.mean_square().sqrt();
        let of_noise = noise.iter().map(|z| f64::from(*z).powi(2)).sum::<f64>();
        format!(
            "round trip of {}: rms error {rms:.3e}, {:.3e} of the data's rms {own:.4}; the noise has rms {:.4}\n",
            self.examples.name,
            rms / own,
            (of_noise / noise.len().max(1) as f64).sqrt()
        )
    }
}
