//! Judges of samples: how many have the class that was asked for, and how far their distribution is from that of real images.
//!
//! *Agreement* asks whether the nearest real image has the class. The *Frechet distance* compares mean and covariance of features, which are
//! those of a small classifier that is trained here on the real images. It is no FID, whose features are of an Inception network, and its
//! numbers compare with those of the same judge alone: of the same weights, real images and number of samples.

mod agreement;
mod classifier;
mod extract;
mod features;
mod inception;
mod pixels;
mod statistics;
mod trained;

pub use agreement::Agreement;
pub use classifier::check as check_classes;
pub use extract::{Extractor, Keep, extract};
pub use features::{Against, FeatureSettings, Features, FeaturesWanted, compare};
pub use inception::InceptionFeatures;
pub use pixels::{Copies, Pixels, Settings as PixelSettings, Which as PixelsWanted};
pub use statistics::{Made, Statistics};
pub use trained::Trained;

use crate::error::Result;
use crate::metrics::{Moments, Reference};
use crate::real::Real;
use crate::sampling::State;
use sit_engine::backend::Device;
use sit_engine::text::count;
use std::path::Path;

/// Measures the Frechet distance of samples from real images.
pub struct Frechet {
    judge: Trained,
    reference: Reference,
    /// Of the features of the samples that were looked at.
    seen: Moments,
    /// What the judge is.
    name: String,
    hash: u64,
    /// The distance of the held-out images, and how many they are.
    floor: (f64, usize),
}

impl Frechet {
    /// The judge of `file`, which is trained on the training images and written there if the file is not there.
    ///
    /// # Errors
    /// [`crate::error::Failure::Input`] for a file that does not fit or data without classes, [`crate::error::Failure::Interrupted`] when it
    /// is asked to stop, a file that cannot be written, or a device that fails.
    pub fn open(real: &Real, file: &Path, device: &Device) -> Result<Self> {
        let mut judge = Trained::on(real, file, device)?;
        let d = judge.dim();
        let (training, _) = judge.moments(&*real.training)?;
        let reference = Reference::new(training.finish()?)?;
        let (held_out, right) = judge.moments(&*real.held_out)?;
        let n_held_out = real.held_out.len();
        let floor = reference.distance(&held_out.finish()?)?.value;
        Ok(Frechet {
            name: format!(
                "{}, {d} features, {}, {:.1} % of {n_held_out} held out",
                judge.name(),
                count(real.training.len(), "image"),
                100.0 * right as f64 / n_held_out as f64
            ),
            hash: judge.hash(&*real.training)?,
            floor: (floor, n_held_out),
            judge,
            reference,
            seen: Moments::new(d),
        })
    }

    /// What the judge is: its name as [`Trained::name`], the number of features, the real images, and its accuracy on others.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A hash of its weights and of the real images. Distances by judges of different hashes do not compare.
    pub fn hash(&self) -> String {
        format!("{:016x}", self.hash)
    }

    /// The length of a vector of features.
    pub fn n_features(&self) -> usize {
        self.judge.dim()
    }

    /// The distance of the held-out images, and how many they are.
    pub fn floor(&self) -> (f64, usize) {
        self.floor
    }

    /// Looks at the images of a batch.
    ///
    /// # Errors
    /// A device that fails.
    pub fn look(&mut self, state: &State<'_>) -> Result<()> {
        Ok(self.seen.add(&self.judge.features(state.x)?)?)
    }

    /// The distance of the samples that were looked at, which are forgotten.
    ///
    /// # Errors
    /// [`crate::error::Failure::Run`] for fewer than 2 samples, or features that are not finite.
    pub fn verdict(&mut self) -> Result<f64> {
        let none = Moments::new(self.judge.dim());
        let samples = std::mem::replace(&mut self.seen, none).finish()?;
        Ok(self.reference.distance(&samples)?.value)
    }
}
