//! The images that a path begins with in the place of noise: `transport.base = "data:PATH"`.

use std::fmt;
use std::sync::Arc;

use sit_engine::rng::{Stream, uniform};

use super::{DataError, Dataset};

/// What an image stands in the place of noise for; the draws of each are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Training.
    Training = 0,
    /// Held-out images.
    Validation = 1,
    /// Samples and previews.
    Sampling = 2,
}

/// A data set in the place of noise.
///
/// The image for sample number `n` is number `floor(N uniform(seed, Base, use, n))` of `N`: it depends on the seed and the number alone, and
/// not on the order of the other data set.
#[derive(Clone)]
pub struct BaseData {
    data: Arc<dyn Dataset>,
    seed: u64,
}

impl fmt::Debug for BaseData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with seed {}", self.data.name(), self.seed)
    }
}

impl BaseData {
    /// Draws of `seed` from `data`.
    pub fn new(data: Arc<dyn Dataset>, seed: u64) -> Self {
        BaseData { data, seed }
    }

    /// The number of images.
    pub fn n_images(&self) -> u64 {
        self.data.len() as u64
    }

    /// Writes the states at the start of the samples with these numbers, `[N, C, H, W]`: `std x0`.
    ///
    /// # Errors
    /// As [`BaseData::read`].
    pub fn starts(&self, std: f64, numbers: &[u64], x: &mut [f32]) -> Result<(), DataError> {
        let len: usize = self.data.shape().iter().product();
        for (row, &n) in x.chunks_exact_mut(len).zip(numbers) {
            self.read(Use::Sampling, n, row)?;
            if std != 1.0 {
                row.iter_mut().for_each(|x| *x *= std as f32);
            }
        }
        Ok(())
    }

    /// Writes `x0` `[C, H, W]` of sample number `n`.
    ///
    /// # Errors
    /// Those of [`Dataset::read`].
    pub fn read(&self, of: Use, n: u64, x0: &mut [f32]) -> Result<(), DataError> {
        let u = uniform(self.seed, Stream::Base, of as u32, n);
        let len = self.data.len();
        let index = (u * len as f64) as usize;
        self.data.read(index.min(len - 1), x0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{BatchConfig, Batches, Loader, digits};

    #[test]
    fn a_draw_depends_on_seed_and_number_alone_and_not_on_the_other_image() {
        let data: Arc<dyn Dataset> = Arc::new(digits::train());
        let base = BaseData::new(Arc::clone(&data), 3);
        let of = |base: &BaseData, of: Use, n: u64| {
            let mut x0 = vec![0.0; 64];
            base.read(of, n, &mut x0).unwrap();
            x0
        };
        let config = |batch| BatchConfig {
            seed: 3,
            batch,
            flip: false,
        };
        let batches =
            |batch| Batches::new(Arc::clone(&data), config(batch)).with_base(Some(base.clone()));
        let whole = batches(100).at(700).unwrap();
        let (x0, x1) = (whole.x0.unwrap(), whole.x1);
        let mut n_same = 0;
        for (i, (x0, x1)) in x0.chunks(64).zip(x1.chunks(64)).enumerate() {
            let n = 700 + i as u64;
            assert_eq!(x0, of(&base, Use::Training, n));
            n_same += usize::from(x0 == x1);
        }
        assert!(n_same < 5, "{n_same} of 100 pairs are the same image");
        // Another batch size, and threads.
        let mut loader = Loader::new(batches(50), 3, 700).unwrap();
        let halves = [loader.next_batch().unwrap(), loader.next_batch().unwrap()];
        assert_eq!(halves.map(|half| half.x0.unwrap()).concat(), x0);
        let first = |seed, used| of(&BaseData::new(Arc::clone(&data), seed), used, 0);
        assert_ne!(first(3, Use::Training), first(4, Use::Training));
        assert_ne!(first(3, Use::Training), first(3, Use::Sampling));
        assert_ne!(first(3, Use::Training), first(3, Use::Validation));
    }
}
