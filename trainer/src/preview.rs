//! Previews of a run: the same noise and classes, or the same images, every time, so that progress shows.

mod pairs;

use crate::config::RunConfig;
use crate::data::{self, BaseData, Dataset, classes};
use crate::error::Result;
use crate::files::{FileError, write_atomically};
use crate::png::{self, Grid, Sheet};
use crate::sampling;
use crate::vae::{self, Vae};
use pairs::Pairs;
use sit_engine::analytic::Toy;
use sit_engine::checkpoint::Latents;
use sit_engine::model::{Blueprint, Network as _, NetworkIo, Output};
use sit_engine::sample::{Sampling, Session};
use sit_engine::text::count;
use sit_engine::train::{Trainer, Weights};
use std::fs;
use std::io::Write;
use std::path::Path;

/// Images in a row of the grid of a model without classes.
const COLUMNS: usize = 10;

/// The classes of `count` images of a model with `n_classes`, and their layout: the same number of each class, or one image of each
/// of `count` evenly spread classes.
fn arrange(n_classes: usize, count: usize) -> (Vec<u32>, Grid) {
    match n_classes {
        0 => (vec![0; count], Grid::rows(COLUMNS)),
        n if n <= count => {
            let labels = (0..n as u32).flat_map(|class| std::iter::repeat_n(class, count / n));
            (labels.collect(), Grid::by_class(n, count / n))
        }
        n => {
            let labels = (0..count).map(|i| (i * n / count) as u32);
            (labels.collect(), Grid::by_class(count, 1))
        }
    }
}

/// Previews of a model in training, by its moving average.
#[derive(Debug)]
pub enum Previews {
    /// Of a model that makes images.
    Samples(Box<Samples>),
    /// Of an autoencoder.
    Pairs(Pairs),
}

/// Samples a model.
#[derive(Debug)]
pub struct Samples {
    session: Session,
    seed: u64,
    labels: Vec<u32>,
    place: Grid,
    toy: Option<Toy>,
    base: Option<BaseData>,
    /// Of a model of latents.
    decoder: Option<vae::Pictures>,
}

/// How previews are sampled from `model`, in batches no larger than those of training; `None` if there are none.
fn of_previews<M: AsRef<Blueprint>>(config: &RunConfig, model: M) -> Option<Sampling<M>> {
    let (preview, n_classes) = (&config.log.preview, config.model.io().n_classes);
    let (labels, _) = arrange(n_classes, preview.count);
    // A classifier has no samples, and an autoencoder makes images of images.
    let has_samples = config.model.output() == Output::Prediction;
    (has_samples && preview.every_steps > 0).then(|| {
        let n = labels.len();
        sampling::of_run(config, model, preview.steps, preview.guidance, n)
    })
}

/// The autoencoder of the previews of a model of latents.
fn open_vae(config: &RunConfig) -> Result<Option<Vae>> {
    let path = config.log.preview.vae.as_deref();
    let vae = path.map(|path| Vae::open("log.preview.vae", path, vae::PREVIEW_BYTES));
    vae.transpose()
}

/// Refuses previews whose autoencoder cannot be read, before anything is forecast.
///
/// # Errors
/// As of [`Vae::open`].
pub fn check(config: &RunConfig) -> Result<()> {
    open_vae(config).map(drop)
}

/// What pictures of a model's samples are, decoded where it makes latents, and the bytes of the decoder for a batch.
///
/// # Errors
/// As of [`check`], or an autoencoder of other latents.
pub fn decoded(config: &RunConfig, batch: usize) -> Result<(NetworkIo, u64)> {
    let io = config.model.io();
    match open_vae(config)? {
        Some(vae) => Ok((vae.pictures(io)?, vae.decoder_bytes(io, batch)?)),
        None => Ok((io, 0)),
    }
}

/// Bytes that previews take beside training: on the device, and in the memory of the process.
///
/// # Errors
/// A sampler that is refused.
pub fn forecast(config: &RunConfig, blueprint: &Blueprint) -> Result<(u64, u64)> {
    if Pairs::are_asked(config) {
        return Ok(Pairs::forecast(config, blueprint)?);
    }
    let Some(sampling) = of_previews(config, blueprint.clone()) else {
        return Ok((0, 0));
    };
    let parts = sampling.forecast()?;
    // The moving average is already counted as a part of training.
    let program = parts.iter().filter(|(part, _)| *part != "parameters");
    let program: u64 = program.map(|(_, bytes)| bytes).sum();
    let batch = 3 * 4 * sampling.batch_size() * config.model.io().image_len();
    let (labels, place) = arrange(config.model.io().n_classes, config.log.preview.count);
    let (shown, decoded) = decoded(config, sampling.batch_size())?;
    let grid = Sheet::forecast(labels.len(), shown.image, place);
    let program = program.saturating_add(decoded);
    let on_host = (batch as u64).saturating_add(grid.unwrap_or(u64::MAX));
    Ok((program, on_host))
}

impl Previews {
    /// Makes the programs, if the configuration asks for previews; an autoencoder shows some of `images`.
    ///
    /// # Errors
    /// A sampler that is refused or does not fit the device, or an image that cannot be read.
    pub fn new(
        config: &RunConfig,
        trainer: &Trainer,
        base: Option<BaseData>,
        images: &dyn Dataset,
    ) -> Result<Option<Self>> {
        if Pairs::are_asked(config) {
            return Ok(Some(Previews::Pairs(Pairs::new(config, trainer, images)?)));
        }
        let samples = Samples::new(config, trainer, base, images.latents().as_ref())?;
        Ok(samples.map(|samples| Previews::Samples(Box::new(samples))))
    }

    /// Writes `RUN/previews/step-00001000.png` and returns the PNG.
    ///
    /// # Errors
    /// A device that fails or a file that cannot be written.
    pub fn make(&mut self, run: &Path, step: u64) -> Result<Vec<u8>> {
        let sheet = match self {
            Previews::Samples(samples) => samples.sheet()?,
            Previews::Pairs(pairs) => pairs.sheet()?,
        };
        let folder = run.join("previews");
        fs::create_dir_all(&folder).map_err(FileError::of("make", &folder))?;
        let file = folder.join(format!("step-{step:08}.png"));
        let mut image = Vec::new();
        sheet
            .write(&mut image)
            .map_err(FileError::of("write", &file))?;
        write_atomically(&file, |out| out.write_all(&image))?;
        Ok(image)
    }
}

impl Samples {
    fn new(
        config: &RunConfig,
        trainer: &Trainer,
        base: Option<BaseData>,
        latents: Option<&Latents>,
    ) -> Result<Option<Self>> {
        let Some(sampling) = of_previews(config, trainer.model(Weights::Average)) else {
            return Ok(None);
        };
        let decoder = match open_vae(config)? {
            None => None,
            Some(mut vae) => {
                vae.adopt(latents)?;
                Some(vae.decoder(trainer.device(), config.model.io(), sampling.batch_size())?)
            }
        };
        let shown = decoder.as_ref().map(vae::Pictures::io);
        let io = shown.unwrap_or_else(|| config.model.io());
        let toy = config.data.path.as_deref().map(data::toy);
        let toy = toy.transpose()?.flatten();
        if let Some(what) = png::shows(io.image, toy) {
            tracing::info!("previews: {what}");
        }
        let preview = &config.log.preview;
        if io.n_classes > 0 && config.train.class_dropout == 0.0 && preview.guidance != 1.0 {
            tracing::warn!(
                "log.preview.guidance = {}: previews go without, as train.class_dropout = 0 trains no null class to compare with",
                preview.guidance
            );
        }
        let (labels, place) = arrange(io.n_classes, preview.count);
        if io.n_classes > 0 && !png::is_plane(io.image) {
            let mut shown = labels.clone();
            shown.dedup();
            let all = match shown.len() < io.n_classes {
                true => format!(", {} of {}", shown.len(), count(io.n_classes, "class")),
                false => String::new(),
            };
            let shown = shown.into_iter().map(|class| class as usize);
            let shown = classes::numbered(&config.data.classes, shown);
            tracing::info!("previews: {}{all}: {shown}", place.say());
        }
        Ok(Some(Samples {
            session: sampling.session()?,
            seed: config.train.seed,
            labels,
            place,
            toy,
            base,
            decoder,
        }))
    }

    fn sheet(&mut self) -> Result<Sheet> {
        let (io, batch) = (*self.session.io(), self.session.batch());
        let shown = self.decoder.as_ref().map_or(io, vae::Pictures::io);
        let mut sheet = Sheet::new(self.labels.len(), shown.image, self.place, self.toy);
        let mut states = vec![0.0; batch * io.image_len()];
        for (i, labels) in self.labels.chunks(batch).enumerate() {
            let first = i * batch;
            let numbers: Vec<u64> = (first as u64..).take(labels.len()).collect();
            match &self.base {
                None => self.session.start(self.seed, &numbers, labels)?,
                Some(base) => {
                    let sampling = self.session.sampling();
                    let std = sampling.model().transport().start_std(sampling.solver());
                    base.starts(std, &numbers, &mut states)?;
                    self.session
                        .start_from(self.seed, &numbers, &states, labels)?;
                }
            }
            while !self.session.is_over() {
                self.session.step()?;
            }
            let x = self.session.read()?;
            let x = &x[..labels.len() * io.image_len()];
            match &mut self.decoder {
                None => sheet.put(first, x, labels),
                Some(decoder) => sheet.put(first, &decoder.of(x)?, labels),
            }
        }
        Ok(sheet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;
    use crate::memory;
    use sit_engine::backend::Device;

    fn config(set: &[&str]) -> RunConfig {
        let set: Vec<String> = set.iter().map(|&set| set.to_owned()).collect();
        RunConfig::load(Source::Preset("digits-smoke"), &set).unwrap()
    }

    #[test]
    fn previews_are_the_same_in_batches_of_any_size() {
        let sample = |batch: usize| {
            let batch = format!("train.batch={batch}");
            let config = config(&[&batch, "log.preview.count=12", "log.preview.steps=2"]);
            let trainer = config.step().build(&Device::Cpu).unwrap();
            let images = data::open(&config.data, &|_, _| ()).unwrap();
            let previews = Previews::new(&config, &trainer, None, &*images);
            let mut previews = previews.unwrap().unwrap();
            let folder = tempfile::tempdir().unwrap();
            let png = previews.make(folder.path(), 7).unwrap();
            let file = folder.path().join("previews/step-00000007.png");
            assert_eq!(fs::read(file).unwrap(), png);
            png
        };
        let whole = sample(64);
        assert!(sample(5) == whole && sample(1) == whole);
    }

    #[test]
    fn previews_are_in_the_forecast_by_their_batch_and_their_grid() {
        let bytes = |set: &[&str]| {
            let config = config(set);
            let blueprint = config.step().blueprint(u64::MAX).unwrap();
            let (on_device, on_host) = forecast(&config, &blueprint).unwrap();
            on_device + on_host
        };
        assert_eq!(bytes(&["log.preview.every_steps=0"]), 0);
        let one = bytes(&["log.preview.count=1"]);
        let batch = bytes(&["log.preview.count=16"]);
        let many = bytes(&["log.preview.count=4096"]);
        assert!(one > 0 && batch > 2 * one, "{one} {batch}");
        // Beyond a batch of training the grid alone grows: about 50x50 pixels an image, and the PNG.
        assert!(many - batch < 3 * 2500 * 4096, "{batch} {many}");
        let text = memory::training(&config(&[]), &Device::Cpu).to_string();
        assert!(text.contains("previews"), "{text}");
    }

    #[test]
    fn previews_are_laid_out_by_class_for_any_number_of_classes() {
        let (labels, grid) = arrange(10, 40);
        assert_eq!(labels[..9], [0, 0, 0, 0, 1, 1, 1, 1, 2]);
        assert_eq!((labels.len(), grid), (40, Grid::by_class(10, 4)));
        // As many of each: 35 of 7 classes.
        let (labels, grid) = arrange(7, 40);
        assert_eq!((labels.len(), grid), (35, Grid::by_class(7, 5)));
        let (labels, _) = arrange(1000, 40);
        assert_eq!((labels.len(), labels[1], labels[39]), (40, 25, 975));
        let (labels, grid) = arrange(0, 40);
        assert_eq!((labels, grid), (vec![0; 40], Grid::rows(10)));
    }
}
