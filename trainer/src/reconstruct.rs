//! What an autoencoder in training makes of images: how near its reconstructions are, and the scale of its latents.

use crate::config::RunConfig;
use crate::data::Dataset;
use crate::error::Result;
use sit_engine::model::{Model, Reconstruct};
use sit_engine::rng::{Stream, fill_normal, permutation};
use std::sync::Arc;

/// The most images whose latents are measured, the least, and the number of values that is enough.
const MOST_IMAGES: usize = 1024;
const LEAST_IMAGES: usize = 16;
const VALUES: usize = 1 << 18;

/// The `step` of the noise of the measured latents, beside those of training and of validation.
const STEP: u32 = 2;

/// Measures the scale of latents by images of the training data, the same ones each time.
pub struct LatentScale {
    images: Arc<dyn Dataset>,
    order: Vec<u32>,
    seed: u64,
    batch: usize,
}

impl LatentScale {
    /// `None` for a run that trains no autoencoder.
    pub fn new(config: &RunConfig, images: Arc<dyn Dataset>) -> Option<Self> {
        let latent = config.model.io().latent?;
        let seed = config.train.seed;
        let n = (VALUES / latent.iter().product::<usize>()).clamp(LEAST_IMAGES, MOST_IMAGES);
        let order = permutation(seed, 0, images.len() as u32);
        Some(LatentScale {
            order: order.iter().copied().take(n).collect(),
            images,
            seed,
            batch: config.train.batch,
        })
    }

    /// 1 / the standard deviation of all values of latents that are drawn from the posteriors of the images, as in latent diffusion (Rombach
    /// et al. 2022, appendix G); `None` if that is no finite number.
    ///
    /// # Errors
    /// An image that cannot be read any more, or a device that fails.
    pub fn measure(&self, model: &Model) -> Result<Option<f64>> {
        let batch = self.batch.min(self.order.len());
        let mut reconstruct = Reconstruct::new(model, batch)?;
        let len = model.io().image_len();
        let mut x = vec![0.0; batch * len];
        let (mut n, mut sum, mut squares, mut noise) = (0, 0.0, 0.0, Vec::new());
        for some in self.order.chunks(batch) {
            for (&index, image) in some.iter().zip(x.chunks_exact_mut(len)) {
                self.images.read(index as usize, image)?;
            }
            let read = reconstruct.read(&x[..some.len() * len])?;
            noise.resize(read.mean.len(), 0.0);
            fill_normal(self.seed, Stream::Posterior, STEP, n, &mut noise);
            n += noise.len() as u64;
            let moments = read.mean.iter().zip(&read.log_variance);
            for ((mean, log_variance), noise) in moments.zip(&noise) {
                let std = (0.5 * f64::from(*log_variance)).exp();
                let z = f64::from(*mean) + std * f64::from(*noise);
                sum += z;
                squares += z * z;
            }
        }
        let mean = sum / n as f64;
        let scale = (squares / n as f64 - mean * mean).sqrt().recip();
        Ok((scale.is_finite() && scale > 0.0).then_some(scale))
    }
}

/// Square errors of reconstructions, with values limited to those of pictures.
#[derive(Debug, Default)]
pub struct Errors {
    sum: f64,
    n: u64,
}

impl Errors {
    /// Adds images and their reconstructions.
    pub fn add(&mut self, images: &[f32], reconstructions: &[f32]) {
        for (x, again) in images.iter().zip(reconstructions) {
            self.sum += f64::from(x - again.clamp(-1.0, 1.0)).powi(2);
            self.n += 1;
        }
    }

    /// The peak signal-to-noise ratio, 10 log10(4 / mean square error), in dB: values have a range of 2.
    pub fn psnr(&self) -> f64 {
        10.0 * (4.0 * self.n as f64 / self.sum).log10()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_range_is_20_decibels() {
        let mut errors = Errors::default();
        errors.add(&[0.0, 0.5], &[0.2, 0.3]);
        errors.add(&[-1.0], &[-0.8]);
        assert!((errors.psnr() - 20.0).abs() < 1e-5, "{}", errors.psnr());
        // What is beyond black is black in a picture.
        let mut exact = Errors::default();
        exact.add(&[-1.0], &[-1.7]);
        assert_eq!(exact.psnr(), f64::INFINITY);
    }
}
