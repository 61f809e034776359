//! The classifier whose features are compared: trained here, on real images.

use crate::config::RunConfig;
use crate::data::{Batches, Dataset, classes};
use crate::error::{Failure, Result};
use crate::files::write_atomically;
use crate::progress::Progress;
use crate::real::Real;
use crate::signals::interrupted;
use crate::weights::{self, WeightFile};
use sit_engine::Error;
use sit_engine::backend::Device;
use sit_engine::checkpoint::{Data, Precision, Recipe};
use sit_engine::model::{Model, ModelConfig};
use sit_engine::text::{count, shown};
use sit_engine::train::Weights;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Refuses data that no classifier can be trained on.
///
/// # Errors
/// [`Failure::Input`] for data without classes, or images that are not square.
pub fn check(data: &dyn Dataset) -> Result<()> {
    let [_, height, width] = data.shape();
    if height == width && data.n_classes() > 1 {
        return Ok(());
    }
    Err(Failure::Input(format!(
        "{}: got images of {height}x{width} and {} classes, expected square ones of at least 2 classes to train a classifier on",
        data.name(),
        data.n_classes()
    )))
}

/// The configuration for images of this data.
fn config(data: &dyn Dataset) -> Result<RunConfig> {
    check(data)?;
    RunConfig::classifier_of(data.shape(), data.n_classes()).map_err(Failure::input)
}

/// The name of the data that a judge is trained on: paths of different data may end alike, so that it has the number of images and a hash of their
/// labels and of some of them.
fn name(real: &Real) -> Result<String> {
    /// Images that are read. All of a large folder would take as long as the evaluation.
    const MOST: usize = 16;
    let data = &real.training;
    let n = data.len();
    let labels: Vec<f32> = (0..n).map(|i| data.label(i) as f32).collect();
    let mut hash = add(HASH, &labels);
    let mut image = vec![0.0; data.shape().iter().product()];
    for index in (0..n).step_by(n.div_ceil(MOST).max(1)) {
        data.read(index, &mut image)?;
        hash = add(hash, &image);
    }
    Ok(format!(
        "{}, {}, {hash:016x}",
        real.title,
        count(n, "image")
    ))
}

/// What its file says of itself.
fn recipe(config: &RunConfig, real: &Real) -> Result<Recipe> {
    Ok(Recipe {
        data: Some(Data {
            name: name(real)?,
            max_level: real.training.max_level(),
            latents: real.training.latents(),
        }),
        classes: real.training.class_names().to_vec(),
        ..Recipe::new(config.model.clone(), config.transport.clone())
    })
}

/// Trains it on the training images and their noisy states at all times; the same data, seed and device give the same weights. Its average
/// is taken.
///
/// # Errors
/// [`Failure::Input`] for data without classes, [`Failure::Interrupted`] when it is asked to stop, or a device that fails.
pub fn train(real: &Real, device: &Device) -> Result<(Model, Recipe)> {
    let config = config(&*real.training)?;
    let mut trainer = config.step().build(device)?;
    let mut batches = Batches::new(Arc::clone(&real.training), config.batches());
    let rate = config.learning_rate();
    let total = config.train.steps;
    let mut bar = Progress::new("training the judge", "steps", 0, total);
    for step in 0..total {
        if interrupted() {
            return Err(Failure::Interrupted);
        }
        let batch = batches.at(step * config.train.batch as u64)?;
        let report = trainer.step(&batch.x1, &batch.y, rate.at(step))?;
        let loss = report.loss;
        bar.set(step + 1, || format!("loss {loss:.4}"));
    }
    let recipe = recipe(&config, real)?;
    Ok((trainer.model(Weights::Average), recipe))
}

/// Writes its weights, which [`load`] reads and `sit sample --classifier` takes.
///
/// # Errors
/// The file cannot be written.
pub fn save(model: &Model, recipe: &Recipe, path: &Path) -> Result<()> {
    let write = |out: &mut io::BufWriter<_>| {
        let saved = model.save(out, recipe, Precision::F32);
        saved.map_err(|e: Error| io::Error::other(e))
    };
    Ok(write_atomically(path, write)?)
}

/// Opens the file of one that was trained before.
///
/// # Errors
/// [`Failure::Input`] naming the file: it cannot be read, or is no classifier.
pub fn open(path: &Path) -> Result<(WeightFile, Recipe)> {
    let refuse = |what: &str| {
        let expected = "expected a judge that sit wrote";
        Failure::Input(format!("{}: {what}, {expected}", shown(path)))
    };
    let file = weights::open(path)?;
    let recipe = file.recipe()?;
    let recipe = recipe.ok_or_else(|| refuse("is of another program"))?;
    if !matches!(recipe.model, ModelConfig::Classifier(_)) {
        return Err(refuse("is no classifier"));
    }
    file.check(&recipe.model)?;
    Ok((file, recipe))
}

/// Reads the weights of one that was trained before.
///
/// # Errors
/// [`Failure::Input`] naming the file: it cannot be read, or is of other data, images or classes.
pub fn load(path: &Path, real: &Real, device: &Device) -> Result<(Model, Recipe)> {
    let refuse = |what: String| Failure::Input(format!("{}: {what}", shown(path)));
    let (mut file, recipe) = open(path)?;
    let (io, data) = (recipe.model.io(), &real.training);
    if (io.image, io.n_classes) != (data.shape(), data.n_classes()) {
        return Err(refuse(format!(
            "got a judge of images {:?} and {} classes, expected {:?} and {} classes as {} has",
            io.image,
            io.n_classes,
            data.shape(),
            data.n_classes(),
            data.name()
        )));
    }
    if recipe.classes != data.class_names() && !recipe.classes.is_empty() {
        let list = |names: &[String]| classes::list(names.iter().map(shown));
        return Err(refuse(format!(
            "got a judge of the classes {}, expected {} as {} has",
            list(&recipe.classes),
            list(data.class_names()),
            data.name()
        )));
    }
    // A classifier that sit train has made says no more than the title.
    let expected = name(real)?;
    let is_other = |own: &&Data| own.name != expected && own.name != real.title;
    if let Some(own) = recipe.data.as_ref().filter(is_other) {
        return Err(refuse(format!(
            "got a judge of {}, expected one of {expected}",
            shown(&own.name)
        )));
    }
    let (config, transport) = (recipe.model.clone(), recipe.transport.clone());
    let model = Model::zeros(device, config, transport)?;
    file.load(&model)?;
    Ok((model, recipe))
}

/// The first one of the largest values.
pub fn largest(values: &[f32]) -> usize {
    let mut at = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[at] {
            at = i;
        }
    }
    at
}

/// Where a 64-bit FNV-1a begins.
const HASH: u64 = 0xcbf2_9ce4_8422_2325;

/// Goes on with a 64-bit FNV-1a.
fn add(hash: u64, values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    bytes.fold(hash, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// 64-bit FNV-1a of the weights.
///
/// # Errors
/// A device that fails.
pub fn hash_of_weights(model: &Model) -> Result<u64> {
    let mut hash = HASH;
    for spec in model.specs().iter().filter(|spec| spec.is_trained()) {
        hash = add(hash, &model.read(&spec.name)?);
    }
    Ok(hash)
}

/// Goes on with the 64-bit FNV-1a of the images of a data set.
///
/// # Errors
/// An image that cannot be read any more.
pub fn add_images(mut hash: u64, data: &dyn Dataset) -> Result<u64> {
    let mut image = vec![0.0; data.shape().iter().product()];
    for index in 0..data.len() {
        data.read(index, &mut image)?;
        hash = add(hash, &image);
    }
    Ok(hash)
}
