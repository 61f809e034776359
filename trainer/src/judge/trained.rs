//! The small classifier as what makes features, and says the class of an image.

use super::classifier::{self, PRESET};
use super::extract::{Extractor, Taken};
use super::{Made, Real};
use crate::data::{ImageSet, classes};
use crate::error::{Failure, Result};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Recipe;
use sit_engine::model::{Features, Model, NetworkIo};
use sit_engine::text::{count, shown};
use std::path::Path;

/// Images at a time.
const BATCH: usize = 64;

/// A classifier that was trained on real images, and has a name by its weights.
pub struct Trained {
    network: Features,
    made: Made,
    io: NetworkIo,
    /// Names of its classes; those without one are called by their number.
    classes: Vec<String>,
    /// Images `[n, C, H, W]` in [-1, 1].
    x: Vec<f32>,
}

impl Trained {
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

    /// That of `file`, which is trained on the training images and written there if the file is not there.
    ///
    /// # Errors
    /// [`Failure::Input`] for a file of other data, or data that no classifier can be trained on, [`Failure::Interrupted`], a file that cannot
    /// be written, or a device that fails.
    pub fn on(real: &Real, file: &Path, device: &Device) -> Result<Self> {
        if file.exists() {
            classifier::load(file, real, device)?;
            return Self::open(file, device);
        }
        tracing::info!(
            "training the judge, {PRESET} on {} of {}, into {}",
            count(real.training.len(), "image"),
            real.training.name(),
            shown(file)
        );
        let (model, recipe) = classifier::train(real, device)?;
        classifier::save(&model, &recipe, file)?;
        Self::of(&model, &recipe)
    }

    fn of(model: &Model, recipe: &Recipe) -> Result<Self> {
        let hash = classifier::hash_of_weights(model)?;
        Ok(Trained {
            network: Features::new(model, BATCH)?,
            made: Made {
                extractor: format!("classifier-{hash:016x}"),
                resize: "none".into(),
            },
            io: recipe.model.io(),
            classes: recipe.classes.clone(),
            x: Vec::new(),
        })
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
        let refuse = |what: String| Failure::Input(format!("{}: {what}", set.name()));
        let labels = set.labels().ok_or_else(|| refuse("has no labels".into()))?;
        let (known, names) = (self.classes(), set.class_names());
        let unknown = |name: String| {
            let known = classes::list(known.iter().cloned());
            refuse(format!(
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

    fn batch(&self) -> usize {
        BATCH
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
