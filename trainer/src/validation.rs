//! What held-out images tell while a run trains: their loss, and how near an autoencoder's reconstructions are.

use crate::config::RunConfig;
use crate::data::{self, BaseData, DataError, Dataset, Split, Use};
use crate::error::{Failure, Result};
use crate::reconstruct::Errors;
use sit_engine::model::Reconstruct;
use sit_engine::objective::Batch;
use sit_engine::rng::permutation;
use sit_engine::text::count;
use sit_engine::train::{self, Trainer, Weights};
use std::path::PathBuf;
use std::sync::Arc;

/// The images of a run.
pub struct Images {
    /// What is trained on.
    pub training: Arc<dyn Dataset>,
    /// What is validated on, if the configuration asks for it.
    pub held_out: Option<Arc<dyn Dataset>>,
    /// What the path begins with in the place of noise.
    pub base: Option<BaseData>,
}

/// The images to train on, and those to validate on if the configuration asks for it: the share `data.hold_out`, or else the test
/// images of data that has some, in the folder `path` where the data was found.
///
/// # Errors
/// Data without either, or test images that do not fit.
pub fn split(
    config: &RunConfig,
    path: Option<PathBuf>,
    dataset: Arc<dyn Dataset>,
    base: Option<BaseData>,
) -> Result<Images> {
    let is_asked = config.log.validation.every_steps > 0;
    if config.data.hold_out > 0.0 {
        let (kept, held) = data::hold_out(dataset, config.data.hold_out)?;
        tracing::info!(
            "{}: {} held out, {} to train on",
            held.name(),
            count(held.len(), "image"),
            kept.len()
        );
        if !is_asked && config.log.eval.every_steps == 0 {
            tracing::warn!(
                "nothing measures the images that are held out: log.validation.every_steps is 0"
            );
        }
        let held: Arc<dyn Dataset> = Arc::new(held);
        return Ok(Images {
            training: Arc::new(kept),
            held_out: is_asked.then_some(held),
            base,
        });
    }
    if !is_asked {
        return Ok(Images {
            training: dataset,
            held_out: None,
            base,
        });
    }
    if config.data.split == Split::Test || !config.data.has_test(path.as_deref())? {
        return Err(Failure::Input(format!(
            "data.hold_out: got 0, expected a share such as 0.05: log.validation.every_steps = {} needs images that are not \
             trained on",
            config.log.validation.every_steps
        )));
    }
    let test = data::DataConfig {
        path,
        split: Split::Test,
        n_classes: Some(config.model.io().n_classes),
        ..config.data.clone()
    };
    let test = data::open(&test, &|_, _| ())
        .map_err(|e: DataError| Failure::from(e).context("log.validation"))?;
    if test.shape() != dataset.shape() {
        return Err(Failure::Input(format!(
            "{}: got images of {:?}, expected {:?} as in {}",
            test.name(),
            test.shape(),
            dataset.shape(),
            dataset.name()
        )));
    }
    Ok(Images {
        training: dataset,
        held_out: Some(test),
        base,
    })
}

/// What held-out images tell.
pub struct Measured {
    /// Mean loss.
    pub loss: f64,
    /// The peak signal-to-noise ratio of an autoencoder's reconstructions, in dB.
    pub psnr: Option<f64>,
}

/// Measures a model in training on held-out images.
pub struct Validation {
    session: train::Validation,
    /// Of an autoencoder.
    reconstruct: Option<Reconstruct>,
    images: Arc<dyn Dataset>,
    /// Order of the images, in whole batches: the last batch is filled up with the first images, which are not counted again.
    order: Vec<u32>,
    n: usize,
    base: Option<BaseData>,
    x0: Vec<f32>,
    x1: Vec<f32>,
    y: Vec<u32>,
}

impl Validation {
    /// Makes the program.
    ///
    /// # Errors
    /// A device that cannot hold it.
    pub fn new(
        config: &RunConfig,
        trainer: &Trainer,
        images: Arc<dyn Dataset>,
        base: Option<BaseData>,
    ) -> Result<Self> {
        let batch = config.train.batch;
        let n = images.len().min(config.log.validation.images);
        let all = permutation(config.train.seed, 0, images.len() as u32);
        let order = all.iter().copied().take(n).cycle();
        let order: Vec<u32> = order.take(n.next_multiple_of(batch)).collect();
        let reconstruct = config
            .trains_autoencoder()
            .then(|| Reconstruct::new(&trainer.model(Weights::Average), batch));
        Ok(Self {
            session: train::Validation::new(trainer, Weights::Average)?,
            reconstruct: reconstruct.transpose()?,
            x0: match base {
                Some(_) => vec![0.0; batch * config.model.io().image_len()],
                None => Vec::new(),
            },
            base,
            x1: vec![0.0; batch * config.model.io().image_len()],
            y: vec![0; batch],
            images,
            order,
            n,
        })
    }

    /// Measures the images under the moving average.
    ///
    /// # Errors
    /// An image that cannot be read any more, or a device that fails.
    pub fn measure(&mut self) -> Result<Measured> {
        let mut errors = Errors::default();
        let (batch, mut sum) = (self.y.len(), 0.0);
        let image_len = self.x1.len() / batch;
        for (i, order) in self.order.chunks_exact(batch).enumerate() {
            let slots = self.x1.chunks_exact_mut(image_len).zip(&mut self.y);
            for (&index, (image, label)) in order.iter().zip(slots) {
                self.images.read(index as usize, image)?;
                *label = self.images.label(index as usize);
            }
            let first = i * batch;
            let mut images = Batch::new(&self.x1, &self.y, first as u64);
            if let Some(base) = &self.base {
                for (n, image) in (first as u64..).zip(self.x0.chunks_exact_mut(image_len)) {
                    base.read(Use::Validation, n, image)?;
                }
                images.x0 = Some(&self.x0);
            }
            let losses = self.session.losses(images)?;
            let counted = losses.iter().take(self.n - first.min(self.n));
            sum += counted.map(|(_, loss)| loss).sum::<f64>();
            if let Some(reconstruct) = &mut self.reconstruct {
                let n = batch.min(self.n - first.min(self.n));
                let images = &self.x1[..n * image_len];
                errors.add(images, &reconstruct.read(images)?.images);
            }
        }
        Ok(Measured {
            loss: sum / self.n as f64,
            psnr: self.reconstruct.is_some().then(|| errors.psnr()),
        })
    }
}
