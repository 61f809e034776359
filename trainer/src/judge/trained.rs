//! The small classifier as what makes features, and says the class of an image.

use super::classifier::{self, PRESET};
use super::extract::{Extractor, Taken};
use super::{Made, Real};
use crate::data::classes;
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

    /// The name of a class.
    pub fn class(&self, number: usize) -> String {
        classes::name(&self.classes, number)
    }

    /// Names of all classes.
    pub fn classes(&self) -> Vec<String> {
        (0..self.io.n_classes).map(|i| self.class(i)).collect()
    }

    /// The number of images whose class by the logits `[N, K]` has the name that is asked for.
    pub fn agreement(&self, logits: &[f32], asked: &[String]) -> usize {
        let names = self.classes();
        let logits = logits.chunks_exact(self.io.n_classes);
        let own = logits.map(|logits| &names[classifier::largest(logits)]);
        own.zip(asked).filter(|(own, asked)| own == asked).count()
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
