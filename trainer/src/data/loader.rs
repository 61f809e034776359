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
