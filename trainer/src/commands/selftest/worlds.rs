//! The data of the self-test.

use crate::error::Result;
use sit_engine::analytic::{Component, Mixture, MixtureNetwork};
use sit_engine::backend::Device;
use sit_engine::model::Model;
use sit_engine::rng::{Stream, fill_normal, uniform};
use sit_engine::sample::Sampling;
use sit_engine::transport::Sampler;

/// Key of the noise.
pub const SEED: u64 = 20_240_116;

/// Data whose exact velocity is the network.
pub struct World {
    /// The data.
    pub mixture: Mixture,
    /// Its velocity on the Linear path.
    pub model: Model,
}

impl World {
    fn new(components: Vec<Component>, device: &Device) -> Result<Self> {
        let mixture = Mixture::new(components)?;
        let model = MixtureNetwork::new(mixture.clone())?.on(device)?;
        Ok(World { mixture, model })
    }

    /// One Gaussian in four dimensions: the flow is known, `m + s x0`.
    pub fn gaussian(device: &Device) -> Result<Self> {
        let component = Component {
            weight: 1.0,
            mean: vec![0.5, -0.3, 0.0, 1.0],
            std: vec![0.5, 0.8, 1.3, 0.25],
        };
        Self::new(vec![component], device)
    }

    /// Three Gaussians of unequal weights in the plane.
    pub fn three(device: &Device) -> Result<Self> {
        let component = |weight, mean: [f64; 2], std: [f64; 2]| Component {
            weight,
            mean: mean.to_vec(),
            std: std.to_vec(),
        };
        let components = vec![
            component(0.5, [-1.0, 0.4], [0.3, 0.2]),
            component(0.3, [0.8, 0.9], [0.25, 0.4]),
            component(0.2, [0.5, -1.1], [0.4, 0.3]),
        ];
        Self::new(components, device)
    }

    /// Sampling from it, `n` points at once.
    pub fn sampling(&self, sampler: Sampler, n: usize) -> Sampling<Model> {
        self.model.sampler(sampler).batch(n).seed(SEED)
    }

    /// Mean and variance of each coordinate of the data.
    pub fn moments(&self) -> Vec<[f64; 2]> {
        let d = self.mixture.dimension();
        let components = self.mixture.components();
        let moment = |i: usize| {
            let mean: f64 = components.iter().map(|c| c.weight * c.mean[i]).sum();
            let square = |c: &Component| c.weight * (c.mean[i].powi(2) + c.std[i].powi(2));
            let squares: f64 = components.iter().map(square).sum();
            [mean, squares - mean * mean]
        };
        (0..d).map(moment).collect()
    }
}

/// A point of the data.
pub fn drawn(mixture: &Mixture, i: u64) -> Vec<f64> {
    let mut left = uniform(SEED, Stream::Time, 1, i);
    let components = mixture.components();
    let chosen = components.iter().find(|component| {
        left -= component.weight;
        left < 0.0
    });
    let component = chosen.unwrap_or(&components[components.len() - 1]);
    let d = mixture.dimension();
    let mut normal = vec![0.0; d];
    fill_normal(SEED, Stream::Noise, 1, i * d as u64, &mut normal);
    let values = component.mean.iter().zip(&component.std).zip(normal);
    values.map(|((m, s), n)| m + s * f64::from(n)).collect()
}

/// The root mean square of a difference.
pub fn rms(difference: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = difference.len().max(1) as f64;
    (difference.map(|x| x * x).sum::<f64>() / n).sqrt()
}
