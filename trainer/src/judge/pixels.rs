//! Judges that need no network: distances of pixels.

use crate::data::ImageSet;
use crate::error::{Failure, Result};
use crate::memory;
use crate::metrics::{Band, Directions, Levels, Nearest, Resamples, Two, energy, picks, sliced};
use crate::progress::Progress;
use crate::signals::interrupted;
use sit_engine::text::count;

/// How sets are compared.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Images of each set.
    pub n: usize,
    /// Key of what is drawn: images, directions, resamples.
    pub seed: u64,
    /// Directions of the sliced distances.
    pub directions: usize,
    /// Resamples of the bands.
    pub resamples: usize,
    /// What takes less memory, for refusals.
    pub fewer: &'static str,
}

/// Which numbers are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Which {
    /// The sliced distances.
    pub sliced: bool,
    /// The energy distance.
    pub energy: bool,
}

/// Images of the reference that others are compared with.
pub struct Pixels {
    settings: Settings,
    reference: Vec<u8>,
    image_len: usize,
    directions: Directions,
    resamples: Resamples,
}

/// What comparing a set has come to.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// The sliced Wasserstein distance.
    pub sliced: Option<Band>,
    /// MIND.
    pub mind: Option<Band>,
    /// The energy distance.
    pub energy: Option<Band>,
}

/// How near images lie to training images.
#[derive(Debug, Clone)]
pub struct Copies {
    /// The nearest two of each image.
    pub nearest: Vec<Two>,
    /// Numbers of the images in their set.
    pub numbers: Vec<u32>,
    /// Values of an image.
    image_len: usize,
}

/// Some images of a set, the same ones each time: their numbers, ascending.
fn chosen(set: &ImageSet, n: usize, seed: u64, which: u32) -> Vec<u32> {
    /// Of [`crate::metrics::picks`], apart from those of subsets.
    const FIRST_STEP: u32 = 1 << 30;
    let mut numbers = picks(seed, FIRST_STEP + which, set.len(), n);
    numbers.sort_unstable();
    numbers
}

/// The levels of some images of a set.
fn levels(set: &ImageSet, numbers: &[u32], settings: &Settings) -> Result<Vec<u8>> {
    let bytes = memory::pixels(numbers.len(), set.image_len(), settings.directions);
    memory::require_host(
        &format!(
            "comparing pixels of {} of {}",
            count(numbers.len(), "image"),
            set.name()
        ),
        Some(bytes),
        settings.fewer,
    )?;
    set.some(numbers, || match interrupted() {
        true => Err(Failure::Interrupted),
        false => Ok(()),
    })
}

impl Pixels {
    /// Takes images of the reference.
    ///
    /// # Errors
    /// Images that cannot be read, or too little memory.
    pub fn new(reference: &ImageSet, settings: Settings) -> Result<Self> {
        let n = settings.n;
        let numbers = chosen(reference, n, settings.seed, 0);
        let image_len = reference.image_len();
        Ok(Pixels {
            reference: levels(reference, &numbers, &settings)?,
            image_len,
            directions: Directions::drawn(settings.seed, settings.directions, image_len),
            resamples: Resamples::drawn(settings.seed, [n, n], settings.resamples),
            settings,
        })
    }

    /// Compares images of another set.
    ///
    /// # Errors
    /// Images that cannot be read, too little memory, or [`Failure::Interrupted`].
    pub fn compare(&self, set: &ImageSet, which: Which) -> Result<Compared> {
        let numbers = chosen(set, self.settings.n, self.settings.seed, 1);
        let own = levels(set, &numbers, &self.settings)?;
        let own = Levels::new(&own, self.image_len)?;
        let reference = Levels::new(&self.reference, self.image_len)?;
        let mut compared = Compared {
            sliced: None,
            mind: None,
            energy: None,
        };
        if which.sliced {
            let found = sliced(&own, &reference, &self.directions, &self.resamples)?;
            compared.sliced = Some(found.wasserstein());
            compared.mind = Some(found.mind());
        }
        if which.energy {
            compared.energy = Some(energy(&own, &reference, &self.resamples)?);
        }
        Ok(compared)
    }

    /// The nearest of all training images of some images of a set.
    ///
    /// # Errors
    /// As of [`Pixels::compare`].
    pub fn copies(&self, set: &ImageSet, training: &ImageSet) -> Result<Copies> {
        let numbers = chosen(set, self.settings.n, self.settings.seed, 1);
        let own = levels(set, &numbers, &self.settings)?;
        let own = Levels::new(&own, self.image_len)?;
        let mut nearest = Nearest::new(numbers.len());
        let mut bar = Progress::new("nearest", "images", 0, training.len() as u64);
        training.each(memory::stream(self.image_len), |first, levels| {
            if interrupted() {
                return Err(Failure::Interrupted);
            }
            let next = Levels::new(levels, self.image_len)?;
            nearest.look(&own, &next)?;
            let done = first + levels.len() / self.image_len;
            bar.set(done as u64, String::new);
            Ok(())
        })?;
        Ok(Copies {
            nearest: nearest.finish(),
            numbers,
            image_len: self.image_len,
        })
    }
}

impl Copies {
    /// The share of the images that are copies of a training image, see [`Two::is_copy`].
    pub fn share(&self) -> f64 {
        let copies = self.nearest.iter().filter(|two| two.is_copy()).count();
        copies as f64 / self.nearest.len() as f64
    }

    /// A quantile of the distances to the nearest training image, as the root mean square of the difference in levels of 0 to 255.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut distances: Vec<f64> = self.nearest.iter().map(|two| two.first).collect();
        distances.sort_by(f64::total_cmp);
        let at = (share * (distances.len() - 1) as f64).round() as usize;
        distances[at] / (self.image_len as f64).sqrt() * 127.5
    }
}
