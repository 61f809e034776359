//! Previews of an autoencoder: images with their reconstructions.

use super::COLUMNS;
use crate::config::RunConfig;
use crate::data::Dataset;
use crate::error::Result;
use crate::png::{self, Grid, Sheet};
use sit_engine::model::{Blueprint, Reconstruct};
use sit_engine::rng::permutation;
use sit_engine::text::count;
use sit_engine::train::{Trainer, Weights};

/// Reconstructs the same images each time, on the right of each original.
#[derive(Debug)]
pub struct Pairs {
    reconstruct: Reconstruct,
    images: Vec<f32>,
    shape: [usize; 3],
}

/// The number of images: with their reconstructions at most as many as previews have.
fn n_images(config: &RunConfig) -> usize {
    (config.log.preview.count / 2).max(1)
}

fn batch(config: &RunConfig) -> usize {
    n_images(config).min(config.train.batch)
}

impl Pairs {
    /// Whether a run shows pairs.
    pub fn are_asked(config: &RunConfig) -> bool {
        config.trains_autoencoder() && config.log.preview.every_steps > 0
    }

    /// Bytes that they take beside training: on the device, and in the memory of the process.
    ///
    /// # Errors
    /// A network that is refused.
    pub fn forecast(config: &RunConfig, blueprint: &Blueprint) -> sit_engine::Result<(u64, u64)> {
        let program = Reconstruct::forecast(blueprint, batch(config))?;
        let (n, shape) = (n_images(config), config.model.io().image);
        let images = 2 * 4 * (n * config.model.io().image_len()) as u64;
        let sheet = Sheet::forecast(2 * n, shape, Grid::rows(COLUMNS));
        Ok((program, images.saturating_add(sheet.unwrap_or(u64::MAX))))
    }

    /// Shows the first of `images` in a fixed random order.
    ///
    /// # Errors
    /// An image that cannot be read, or a device that cannot hold the program.
    pub fn new(config: &RunConfig, trainer: &Trainer, images: &dyn Dataset) -> Result<Self> {
        let io = config.model.io();
        let order = permutation(config.train.seed, 0, images.len() as u32);
        let mut pixels = Vec::new();
        for &index in order.iter().take(n_images(config)) {
            let mut image = vec![0.0; io.image_len()];
            images.read(index as usize, &mut image)?;
            pixels.extend(image);
        }
        tracing::info!(
            "previews: {}, each with its reconstruction on the right{}",
            count(pixels.len() / io.image_len(), "image"),
            png::shows(io.image, None).map_or(String::new(), |what| format!("; {what}"))
        );
        Ok(Pairs {
            reconstruct: Reconstruct::new(&trainer.model(Weights::Average), batch(config))?,
            images: pixels,
            shape: io.image,
        })
    }

    pub(super) fn sheet(&mut self) -> Result<Sheet> {
        let again = self.reconstruct.read(&self.images)?.images;
        let len: usize = self.shape.iter().product();
        let n = self.images.len() / len;
        let mut sheet = Sheet::new(2 * n, self.shape, Grid::rows(COLUMNS), None);
        let pairs = self.images.chunks_exact(len).zip(again.chunks_exact(len));
        for (i, (image, again)) in pairs.enumerate() {
            sheet.put(2 * i, image, &[0]);
            sheet.put(2 * i + 1, again, &[0]);
        }
        Ok(sheet)
    }
}
