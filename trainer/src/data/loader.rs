//! Batches, prepared by threads ahead of the step.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::{Batch, Batches, DataError};

/// The endless sequence of [`Batches`] from a sample number on.
///
/// A loader started at sample `n` continues one that stopped there, and the number of workers changes nothing. Dropping the
/// loader ends its threads.
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
    /// Starts `workers` threads for `batches` at sample number `first`; each prepares up to two batches ahead.
    ///
    /// # Errors
    /// [`DataError::Config`] if the system refuses that many threads.
    ///
    /// # Panics
    /// If the number of workers is 0.
    pub fn new(batches: Batches, workers: usize, first: u64) -> Result<Self, DataError> {
        assert!(workers > 0, "at least one worker");
        let stride = (workers * batches.batch()) as u64;
        let spawn = |worker| {
            let mut all = batches.clone();
            let mut first = first + (worker * all.batch()) as u64;
            // One batch waits in the channel while the next is made.
            let (sender, batches): (SyncSender<Result<Batch, DataError>>, _) = sync_channel(1);
            let work = move || {
                while sender.send(all.at(first)).is_ok() {
                    first += stride;
                }
            };
            let thread = Builder::new().name(format!("data-{worker}")).spawn(work);
            let thread = thread.map_err(|error| {
                DataError::config("workers", workers, format!("fewer: {error}"))
            })?;
            Ok(Worker { batches, thread })
        };
        Ok(Self {
            workers: (0..workers).map(spawn).collect::<Result<_, _>>()?,
            next: 0,
        })
    }

    /// The most batches that exist at a time: for each worker one in its channel and one in progress, and one in use.
    pub fn batches_ahead(workers: usize) -> usize {
        2 * workers + 1
    }

    /// The next batch, in order; waits for it if need be.
    ///
    /// # Errors
    /// Those of [`super::Dataset::read`] for an image of this batch; the call after it returns the batch that follows.
    pub fn next_batch(&mut self) -> Result<Batch, DataError> {
        let worker = &self.workers[self.next];
        if let Ok(batch) = worker.batches.recv() {
            self.next = (self.next + 1) % self.workers.len();
            return batch;
        }
        // A worker ends only by a panic.
        let thread = self.workers.swap_remove(self.next).thread;
        std::panic::resume_unwind(thread.join().expect_err("the thread ended by a panic"))
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Close all channels before waiting for the first thread.
        let threads: Vec<_> = self.workers.drain(..).map(|worker| worker.thread).collect();
        for thread in threads {
            // The thread has printed its own panic message, and nobody needs its batches any more.
            thread.join().ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{BatchConfig, Dataset, digits};
    use std::sync::Arc;

    const CONFIG: BatchConfig = BatchConfig {
        seed: 3,
        batch: 100,
        flip: true,
    };

    /// The same samples as without threads, in order.
    #[test]
    fn neither_threads_nor_the_start_change_a_batch() {
        // 30 batches of 100 span three epochs of 1442 images.
        for (workers, first) in [(1, 0), (2, 0), (3, 0), (7, 0), (2, 1300)] {
            let mut batches = Batches::new(Arc::new(digits::train()), CONFIG);
            let mut loader = Loader::new(batches.clone(), workers, first).unwrap();
            for first in (first..3000).step_by(100) {
                assert_eq!(loader.next_batch().unwrap(), batches.at(first).unwrap());
            }
        }
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
        let bad = sit_engine::rng::permutation(CONFIG.seed, 0, 1442)[250] as usize;
        let dataset = Arc::new(Broken {
            digits: digits::train(),
            bad,
        });
        let mut loader = Loader::new(Batches::new(dataset, CONFIG), 2, 0).unwrap();
        let mut whole = Batches::new(Arc::new(digits::train()), CONFIG);
        for first in [0, 100, 200, 300] {
            match loader.next_batch() {
                Ok(batch) => assert_eq!(batch, whole.at(first).unwrap()),
                Err(error) => {
                    assert_eq!(first, 200);
                    assert!(error.to_string().starts_with("bad.png: "), "{error}");
                }
            }
        }
    }
}
