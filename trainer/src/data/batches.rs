//! Batches as a function of the seed and the sample's number, drawn where they are needed.

use std::sync::Arc;

use sit_engine::rng::{Stream, permutation, uniform};

use super::{BaseData, DataError, Dataset, Draw, Use};

/// One batch of images and labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Images in [-1, 1], `[B, C, H, W]`.
    pub x1: Vec<f32>,
    /// What stands in the place of noise, `[B, C, H, W]`; `None` for noise.
    pub x0: Option<Vec<f32>>,
    /// Labels, `[B]`.
    pub y: Vec<u32>,
    /// The number of the first sample; the batch holds `first` to `first + B - 1`.
    pub first: u64,
}

/// What decides the batches of a data set.
#[derive(Debug, Clone, Copy)]
pub struct BatchConfig {
    /// The key of the order and of the flips.
    pub seed: u64,
    /// Images per batch, at least 1.
    pub batch: usize,
    /// Whether every other image is mirrored.
    pub flip: bool,
}

/// Makes batches from any sample number on, on every platform the same.
///
/// Sample `n` is image `permutation(seed, epoch)[n mod N]` of epoch `n / N`, mirrored if `uniform(seed, Flip, 0, n) < 1/2`.
/// It holds no state but the current epoch's permutation.
#[derive(Clone)]
pub struct Batches {
    dataset: Arc<dyn Dataset>,
    config: BatchConfig,
    base: Option<BaseData>,
    epoch: Option<(u64, Vec<u32>)>,
}

impl Batches {
    /// Batches of `dataset`.
    ///
    /// # Panics
    /// If the batch is 0.
    pub fn new(dataset: Arc<dyn Dataset>, config: BatchConfig) -> Self {
        assert!(config.batch > 0, "at least one image per batch");
        Self {
            dataset,
            config,
            base: None,
            epoch: None,
        }
    }

    /// Draws what stands in the place of noise from `base`.
    #[must_use]
    pub fn with_base(self, base: Option<BaseData>) -> Self {
        Batches { base, ..self }
    }

    /// Images per batch.
    pub fn batch(&self) -> usize {
        self.config.batch
    }

    /// The batch of the samples `first` to `first + B - 1`.
    ///
    /// # Errors
    /// Those of [`Dataset::read`].
    pub fn at(&mut self, first: u64) -> Result<Batch, DataError> {
        let BatchConfig { seed, batch, flip } = self.config;
        let image_size = self.dataset.shape().iter().product();
        let mut x1 = vec![0.0; batch * image_size];
        let mut y = Vec::with_capacity(batch);
        let mut own = Vec::with_capacity(batch);
        for (image, n) in x1.chunks_exact_mut(image_size).zip(first..) {
            let index = self.index(n);
            let draw = Draw {
                seed,
                number: n,
                mirrored: flip && uniform(seed, Stream::Flip, 0, n) < 0.5,
            };
            self.dataset.draw(index, draw, image)?;
            y.push(self.dataset.label(index));
            own.push(index);
        }
        if self.dataset.is_paired() {
            let mut x0 = vec![0.0; x1.len()];
            for (x0, &index) in x0.chunks_exact_mut(image_size).zip(&own) {
                self.dataset.pair(index, x0);
            }
            let x0 = Some(x0);
            return Ok(Batch { x1, x0, y, first });
        }
        let draw = |base: &BaseData| {
            let mut x0 = vec![0.0; x1.len()];
            for (image, n) in x0.chunks_exact_mut(image_size).zip(first..) {
                base.read(Use::Training, n, image)?;
            }
            Ok(x0)
        };
        let x0 = self.base.as_ref().map(draw).transpose()?;
        Ok(Batch { x1, x0, y, first })
    }

    /// The image of sample number `n`.
    fn index(&mut self, n: u64) -> usize {
        let len = self.dataset.len();
        let epoch = n / len as u64;
        if self.epoch.as_ref().is_none_or(|current| current.0 != epoch) {
            // The epoch is a 32-bit counter of the generator; after 2^32 epochs the orders repeat.
            self.epoch = Some((
                epoch,
                permutation(self.config.seed, epoch as u32, len as u32),
            ));
        }
        let (_, permutation) = self.epoch.as_ref().expect("just set");
        permutation[(n % len as u64) as usize] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::digits;

    const CONFIG: BatchConfig = BatchConfig {
        seed: 3,
        batch: 100,
        flip: true,
    };

    fn batches(config: BatchConfig, n: usize) -> Vec<Batch> {
        let mut batches = Batches::new(Arc::new(digits::train()), config);
        let firsts = (0..n).map(|i| (i * config.batch) as u64);
        firsts.map(|first| batches.at(first).unwrap()).collect()
    }

    /// Sample `n` depends neither on the samples drawn before it nor on the batch that holds it.
    #[test]
    fn a_sample_depends_on_its_number_alone() {
        // 30 batches of 100 span three epochs of 1442 images.
        let whole = batches(CONFIG, 30);
        assert_eq!(whole[7].first, 700);
        let half = BatchConfig {
            batch: 50,
            ..CONFIG
        };
        let mut halves = Batches::new(Arc::new(digits::train()), half);
        for batch in whole.iter().rev() {
            let [a, b] = [batch.first, batch.first + 50].map(|first| halves.at(first).unwrap());
            assert_eq!([a.x1, b.x1].concat(), batch.x1);
            assert_eq!([a.y, b.y].concat(), batch.y);
        }
    }

    #[test]
    fn an_epoch_holds_every_image_once_in_an_order_of_its_own() {
        let config = BatchConfig {
            batch: 1442,
            flip: false,
            ..CONFIG
        };
        let epochs = batches(config, 2);
        assert_ne!(epochs[0].x1, epochs[1].x1);
        assert_ne!(
            epochs[0].x1,
            batches(BatchConfig { seed: 4, ..config }, 1)[0].x1
        );
        let sorted = |x: &[f32]| {
            let mut images: Vec<Vec<u32>> = x
                .chunks(64)
                .map(|image| image.iter().map(|v| v.to_bits()).collect())
                .collect();
            images.sort();
            images
        };
        let digits = digits::train();
        let mut source = vec![0.0; 1442 * 64];
        for (index, image) in source.chunks_mut(64).enumerate() {
            digits.read(index, image).unwrap();
        }
        assert_eq!(sorted(&epochs[0].x1), sorted(&source));
        assert_eq!(sorted(&epochs[1].x1), sorted(&source));
    }

    #[test]
    fn half_of_the_images_are_mirrored() {
        let flipped = batches(CONFIG, 10);
        let plain = batches(
            BatchConfig {
                flip: false,
                ..CONFIG
            },
            10,
        );
        let (mut n_mirrored, mut n_plain) = (0, 0);
        for (flipped, plain) in flipped.iter().zip(&plain) {
            assert_eq!(flipped.y, plain.y);
            for (image, source) in flipped.x1.chunks(64).zip(plain.x1.chunks(64)) {
                let mirrored: Vec<f32> = source
                    .chunks(8)
                    .flat_map(|row| row.iter().rev())
                    .copied()
                    .collect();
                n_plain += usize::from(image == source);
                n_mirrored += usize::from(image == mirrored);
            }
        }
        assert_eq!(n_mirrored + n_plain, 1000, "no digit of these is symmetric");
        // Standard deviation 16.
        assert!((420..580).contains(&n_mirrored), "{n_mirrored}");
    }
}
