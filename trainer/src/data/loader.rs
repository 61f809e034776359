//! Batches, prepared by threads ahead of the step.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use sit_engine::rng::{Stream, permutation, uniform};

use super::{DataError, Dataset};

/// One batch of images and labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Images in [-1, 1], `[B, C, H, W]`.
    pub x1: Vec<f32>,
    /// Labels, `[B]`.
    pub y: Vec<u32>,
    /// The number of the first sample; the batch holds `first` to `first + B - 1`.
    pub first: u64,
}

/// How a [`Loader`] batches.
#[derive(Debug, Clone, Copy)]
pub struct LoaderConfig {
    /// The key of the order and of the flips.
    pub seed: u64,
    /// Images per batch.
    pub batch: usize,
    /// Whether every other image is mirrored.
    pub flip: bool,
    /// Threads, at least 1; each prepares up to two batches ahead.
    pub workers: usize,
}

/// An endless sequence of batches that depends on nothing but the seed and the sample's number.
///
/// Sample `n` is image `permutation(seed, epoch)[n mod N]` of epoch `n / N`, mirrored if `uniform(seed, Flip, 0, n) < 1/2`.
/// A loader started at sample `n` therefore continues one that stopped there, and the number of workers changes nothing.
/// Dropping the loader ends its threads.
pub struct Loader {
    workers: Vec<Worker>,
    /// The worker whose turn it is.
    next: usize,
}

struct Worker {
    batches: Receiver<Result<Batch, DataError>>,
    thread: JoinHandle<()>,
}

impl Loader {
    /// Starts the workers at sample number `first`.
    ///
    /// # Errors
    /// [`DataError::Config`] if the system refuses that many threads.
    ///
    /// # Panics
    /// If the batch or the number of workers is 0.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        config: LoaderConfig,
        first: u64,
    ) -> Result<Self, DataError> {
        assert!(
            config.batch > 0 && config.workers > 0,
            "at least one image per batch and one worker"
        );
        let stride = (config.workers * config.batch) as u64;
        let spawn = |worker| {
            let mut order = Order {
                dataset: Arc::clone(&dataset),
                config,
                epoch: None,
            };
            let mut first = first + (worker * config.batch) as u64;
            // One batch waits in the channel while the next is made.
            let (sender, batches): (SyncSender<Result<Batch, DataError>>, _) = sync_channel(1);
            let work = move || {
                while sender.send(order.batch(first)).is_ok() {
                    first += stride;
                }
            };
            let thread = Builder::new().name(format!("data-{worker}")).spawn(work);
            let thread = thread.map_err(|error| {
                DataError::config("workers", config.workers, format!("fewer: {error}"))
            })?;
            Ok(Worker { batches, thread })
        };
        Ok(Self {
            workers: (0..config.workers).map(spawn).collect::<Result<_, _>>()?,
            next: 0,
        })
    }

    /// The next batch, in order; waits for it if need be.
    ///
    /// # Errors
    /// Those of [`Dataset::read`] for an image of this batch; the call after it returns the batch that follows.
    pub fn next_batch(&mut self) -> Result<Batch, DataError> {
        let worker = &self.workers[self.next];
        if let Ok(batch) = worker.batches.recv() {
            self.next = (self.next + 1) % self.workers.len();
            return batch;
        }
        // A worker never hangs up by itself: it panicked.
        let thread = self.workers.swap_remove(self.next).thread;
        std::panic::resume_unwind(thread.join().expect_err("the thread ended by a panic"))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // All channels are closed before the first thread is waited for.
        let threads: Vec<_> = self.workers.drain(..).map(|worker| worker.thread).collect();
        for thread in threads {
            // A panic has been reported by the thread's own message; there is no one left to hand a batch to.
            thread.join().ok();
        }
    }
}

/// Makes batches by sample number; holds the current epoch's permutation.
struct Order {
    dataset: Arc<dyn Dataset>,
    config: LoaderConfig,
    epoch: Option<(u64, Vec<u32>)>,
}

impl Order {
    fn batch(&mut self, first: u64) -> Result<Batch, DataError> {
        let LoaderConfig {
            seed, batch, flip, ..
        } = self.config;
        let [channels, height, width] = self.dataset.shape();
        let image_size = channels * height * width;
        let mut x1 = vec![0.0; batch * image_size];
        let mut y = Vec::with_capacity(batch);
        for (image, n) in x1.chunks_exact_mut(image_size).zip(first..) {
            let index = self.index(n);
            self.dataset.read(index, image)?;
            if flip && uniform(seed, Stream::Flip, 0, n) < 0.5 {
                image.chunks_exact_mut(width).for_each(<[f32]>::reverse);
            }
            y.push(self.dataset.label(index));
        }
        Ok(Batch { x1, y, first })
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

    const CONFIG: LoaderConfig = LoaderConfig {
        seed: 3,
        batch: 100,
        flip: true,
        workers: 1,
    };

    fn batches(config: LoaderConfig, first: u64, n: usize) -> Vec<Batch> {
        let mut loader = Loader::new(Arc::new(digits::train()), config, first).unwrap();
        (0..n).map(|_| loader.next_batch().unwrap()).collect()
    }

    #[test]
    fn the_number_of_workers_changes_nothing() {
        // 30 batches of 100 span three epochs of 1442 images.
        let one = batches(CONFIG, 0, 30);
        for workers in [2, 3, 7] {
            assert_eq!(batches(LoaderConfig { workers, ..CONFIG }, 0, 30), one);
        }
        assert_eq!(one[7].first, 700);
    }

    #[test]
    fn a_loader_continues_where_another_stopped() {
        let whole = batches(CONFIG, 0, 30);
        assert_eq!(batches(CONFIG, 1300, 5), whole[13..18]);
        // Another batch size meets the same samples.
        let half = batches(
            LoaderConfig {
                batch: 50,
                workers: 2,
                ..CONFIG
            },
            1300,
            2,
        );
        assert_eq!([&half[0].x1[..], &half[1].x1].concat(), whole[13].x1);
        assert_eq!([&half[0].y[..], &half[1].y].concat(), whole[13].y);
    }

    #[test]
    fn an_epoch_holds_every_image_once_in_an_order_of_its_own() {
        let config = LoaderConfig {
            batch: 1442,
            flip: false,
            ..CONFIG
        };
        let epochs = batches(config, 0, 2);
        assert_ne!(epochs[0].x1, epochs[1].x1);
        assert_ne!(
            epochs[0].x1,
            batches(LoaderConfig { seed: 4, ..config }, 0, 1)[0].x1
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
        let flipped = batches(CONFIG, 0, 10);
        let plain = batches(
            LoaderConfig {
                flip: false,
                ..CONFIG
            },
            0,
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

    /// A data set whose image `bad` cannot be read.
    struct Broken {
        digits: crate::data::InMemory,
        bad: usize,
    }

    impl Dataset for Broken {
        fn name(&self) -> &str {
            "broken"
        }
        fn len(&self) -> usize {
            self.digits.len()
        }
        fn shape(&self) -> [usize; 3] {
            self.digits.shape()
        }
        fn max_level(&self) -> u8 {
            self.digits.max_level()
        }
        fn n_classes(&self) -> usize {
            self.digits.n_classes()
        }
        fn class_names(&self) -> &[String] {
            self.digits.class_names()
        }
        fn label(&self, index: usize) -> u32 {
            self.digits.label(index)
        }
        fn read(&self, index: usize, image: &mut [f32]) -> Result<(), DataError> {
            if index == self.bad {
                return Err(DataError::content(
                    "bad.png".as_ref(),
                    "nothing",
                    "an image",
                ));
            }
            self.digits.read(index, image)
        }
        fn item_name(&self, index: usize) -> String {
            self.digits.item_name(index)
        }
    }

    #[test]
    fn an_image_that_fails_is_reported_with_its_batch_and_the_next_follows() {
        let bad = permutation(CONFIG.seed, 0, 1442)[250] as usize;
        let dataset = Arc::new(Broken {
            digits: digits::train(),
            bad,
        });
        let mut loader = Loader::new(
            dataset,
            LoaderConfig {
                workers: 2,
                ..CONFIG
            },
            0,
        )
        .unwrap();
        let whole = batches(CONFIG, 0, 4);
        for (n, expected) in whole.iter().enumerate() {
            match loader.next_batch() {
                Ok(batch) => assert_eq!(&batch, expected),
                Err(error) => {
                    assert_eq!(n, 2);
                    assert!(error.to_string().starts_with("bad.png: "), "{error}");
                }
            }
        }
    }
}
