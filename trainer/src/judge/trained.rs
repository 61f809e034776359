//! The small classifier as what makes features, and says the class of an image.

use super::Made;
use super::classifier;
use super::extract::{Extractor, Taken};
use crate::config::CLASSIFIER;
use crate::data::{Dataset, ImageSet, classes};
use crate::error::{Failure, Result};
use crate::memory::JUDGE_BATCH;
use crate::metrics::Moments;
use crate::real::Real;
use crate::signals::interrupted;
use sit_engine::backend::Device;
use sit_engine::checkpoint::Recipe;
use sit_engine::model::{Features, Model, NetworkIo};
use sit_engine::text::{count, shown};
use std::path::Path;

/// A classifier that was trained on real images, and has a name by its weights.
pub struct Trained {
    network: Features,
    made: Made,
    /// Of its weights.
    hash: u64,
    io: NetworkIo,
    /// Names of its classes; those without one are called by their number.
    classes: Vec<String>,
    /// Images `[n, C, H, W]` in [-1, 1].
    x: Vec<f32>,
    /// The weights of one that is in no file yet.
    unsaved: Option<(Model, Recipe)>,
}

impl Trained {
    /// Images at a time.
    pub const BATCH: usize = JUDGE_BATCH;

    /// That of a file.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the file: it cannot be read, or is no classifier; or a device that fails.
    pub fn open(file: &Path, device: &Device) -> Result<Self> {
        let (mut file, recipe) = classifier::open(file)?;
        let (config, transport) = (recipe.model.clone(), recipe.transport.clone());
        let model = Model::zeros(device, config, transport)?;
        file.load(&model)?;
        Self::of(&model, &recipe)
    }

    /// That of a file, which must be of this data.
    ///
    /// # Errors
    /// As of [`Trained::open`], or a judge of other data.
    pub fn load(file: &Path, real: &Real, device: &Device) -> Result<Self> {
        let (model, recipe) = classifier::load(file, real, device)?;
        Self::of(&model, &recipe)
    }

    /// Trains one on the training images; [`Trained::save`] writes it.
    ///
    /// # Errors
    /// [`Failure::Input`] for data that no classifier can be trained on, [`Failure::Interrupted`], or a device that fails.
    pub fn train(real: &Real, device: &Device) -> Result<Self> {
        tracing::info!(
            "training the judge, {CLASSIFIER} on {} of {}",
            count(real.training.len(), "image"),
            real.training.name(),
        );
        let (model, recipe) = classifier::train(real, device)?;
        let judge = Self::of(&model, &recipe)?;
        Ok(Trained {
            unsaved: Some((model, recipe)),
            ..judge
        })
    }

    /// Writes one that was trained, unless it has been written.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&mut self, file: &Path) -> Result<()> {
        if let Some((model, recipe)) = &self.unsaved {
            classifier::save(model, recipe, file)?;
            tracing::info!("the judge {} is in {}", self.made.extractor, shown(file));
        }
        self.unsaved = None;
        Ok(())
    }

    /// That of `file`, which is trained on the training images and written there if the file is not there.
    ///
    /// # Errors
    /// As of [`Trained::load`], [`Trained::train`] and [`Trained::save`].
    pub fn on(real: &Real, file: &Path, device: &Device) -> Result<Self> {
        if file.exists() {
            return Self::load(file, real, device);
        }
        let mut judge = Self::train(real, device)?;
        judge.save(file)?;
        Ok(judge)
    }

    fn of(model: &Model, recipe: &Recipe) -> Result<Self> {
        let hash = classifier::hash_of_weights(model)?;
        Ok(Trained {
            network: Features::new(model, Self::BATCH)?,
            made: Made {
                extractor: format!("classifier-{hash:016x}"),
                resize: "none".into(),
            },
            hash,
            io: recipe.model.io(),
            classes: recipe.classes.clone(),
            x: Vec::new(),
            unsaved: None,
        })
    }

    /// What it is called, by its weights.
    pub fn name(&self) -> &str {
        &self.made.extractor
    }

    /// A hash of its weights and of the images that others are compared with.
    ///
    /// # Errors
    /// An image that cannot be read any more.
    pub fn hash(&self, data: &dyn Dataset) -> Result<u64> {
        classifier::add_images(self.hash, data)
    }

    /// Features of images `[n, C, H, W]` in [-1, 1].
    ///
    /// # Errors
    /// A device that fails.
    pub fn features(&mut self, x: &[f32]) -> Result<Vec<f32>> {
        Ok(self.network.read(x)?.features)
    }

    /// Moments of the features of all images of a data set, which may be latents, and how many of them have their class by the logits.
    ///
    /// # Errors
    /// An image that cannot be read any more, features that are not finite, or a device that fails.
    pub fn moments(&mut self, data: &dyn Dataset) -> Result<(Moments, usize)> {
        let len = self.io.image_len();
        let n = data.len();
        let mut moments = Moments::new(self.dim());
        let mut right = 0;
        for first in (0..n).step_by(Self::BATCH) {
            if interrupted() {
                return Err(Failure::Interrupted);
            }
            let numbers = first..n.min(first + Self::BATCH);
            self.x.resize(numbers.len() * len, 0.0);
            for (index, image) in numbers.clone().zip(self.x.chunks_exact_mut(len)) {
                data.read(index, image)?;
            }
            let read = self.network.read(&self.x)?;
            moments.add(&read.features)?;
            let labels: Vec<u32> = numbers.map(|index| data.label(index)).collect();
            right += self.agreement(&read.logits, &labels);
        }
        Ok((moments, right))
    }

    /// Names of all classes.
    pub fn classes(&self) -> Vec<String> {
        let numbers = 0..self.io.n_classes;
        numbers.map(|i| classes::name(&self.classes, i)).collect()
    }

    /// The classes of a set's images as the judge numbers them: by name where the set has names, else by number.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the set: it has no labels, or a class that the judge does not know.
    pub fn numbers(&self, set: &ImageSet) -> Result<Vec<u32>> {
        let labels = set.labels().ok_or_else(|| Failure::input("has no labels"));
        let numbers = labels.and_then(|labels| self.numbers_of(labels, set.class_names()));
        numbers.map_err(|e| e.context(set.name()))
    }

    /// The judge's numbers of classes that are called `names`, see [`Trained::numbers`].
    ///
    /// # Errors
    /// [`Failure::Input`]: a class that the judge does not know.
    pub fn numbers_of(
        &self,
        labels: impl IntoIterator<Item = u32>,
        names: &[String],
    ) -> Result<Vec<u32>> {
        let known = self.classes();
        let unknown = |name: String| {
            let known = classes::list(known.iter().cloned());
            Failure::Input(format!(
                "got images of the class {name}, expected those of the judge: {known}"
            ))
        };
        let number = |label: u32| match names.get(label as usize) {
            None if (label as usize) < known.len() => Ok(label),
            None => Err(unknown(label.to_string())),
            Some(name) => {
                let found = known.iter().position(|own| own == name);
                found
                    .map(|at| at as u32)
                    .ok_or_else(|| unknown(shown(name)))
            }
        };
        labels.into_iter().map(number).collect()
    }

    /// The number of images whose class by the logits `[N, K]` is the one that is asked for.
    pub fn agreement(&self, logits: &[f32], asked: &[u32]) -> usize {
        let own = logits.chunks_exact(self.io.n_classes);
        let own = own.map(classifier::largest).zip(asked);
        own.filter(|(own, asked)| *own == **asked as usize).count()
    }
}

impl Extractor for Trained {
    fn made(&self) -> &Made {
        &self.made
    }

    fn dim(&self) -> usize {
        self.network.n_features()
    }

    fn n_logits(&self) -> usize {
        self.io.n_classes
    }

    fn batch(&self) -> usize {
        Self::BATCH
    }

    fn check(&self, [height, width, channels]: [usize; 3]) -> Result<()> {
        let (got, expected) = ([channels, height, width], self.io.image);
        match got == expected {
            true => Ok(()),
            false => Err(Failure::Input(format!(
                "got images of {got:?}, expected {expected:?} ([C, H, W]) as the judge {} reads",
                self.made.extractor
            ))),
        }
    }

    fn read(&mut self, levels: &[u8], [height, width, channels]: [usize; 3]) -> Result<Taken> {
        let (len, pixels) = (height * width * channels, height * width);
        self.x.clear();
        for image in levels.chunks_exact(len) {
            let at = |i: usize| image[i % pixels * channels + i / pixels];
            self.x
                .extend((0..len).map(|i| f32::from(at(i)) / 127.5 - 1.0));
        }
        let read = self.network.read(&self.x)?;
        Ok(Taken {
            features: read.features,
            spatial: Vec::new(),
            logits: read.logits,
        })
    }
}
