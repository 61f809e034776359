//! Previews of a run: the same noise and classes every time, so that progress shows.

use crate::config::RunConfig;
use crate::data::classes;
use crate::error::Result;
use crate::files::{FileError, write_atomically};
use crate::png::{self, Grid};
use pollster::block_on;
use sit_engine::backend::Device;
use sit_engine::graph::Arena;
use sit_engine::sample::{SampleConfig, Session, initial_noise};
use sit_engine::train::Trainer;
use sit_engine::transport::{Guidance, Method, Sampler};
use std::fs;
use std::io::Write;
use std::path::Path;

/// Images in a row of the grid of a model without classes.
const COLUMNS: usize = 10;

/// The classes of `count` images of a model of `n_classes`, and where they lie: as many of each class, or one of each of
/// `count` classes that are spread evenly.
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

/// Samples the moving average of a model in training.
#[derive(Debug)]
pub struct Previews {
    session: Session,
    x0: Vec<f32>,
    labels: Vec<u32>,
    place: Grid,
}

impl Previews {
    /// Makes the sampler, if the configuration asks for previews.
    ///
    /// # Errors
    /// A sampler that is refused or does not fit the device.
    pub fn new(config: &RunConfig, device: &Device, trainer: &Trainer) -> Result<Option<Self>> {
        let preview = &config.log.preview;
        if preview.every_steps == 0 {
            return Ok(None);
        }
        let model = config.model;
        let scale = match (model.n_classes, config.train.class_dropout) {
            (0, _) => 1.0,
            (_, 0.0) if preview.guidance != 1.0 => {
                tracing::warn!(
                    "log.preview.guidance = {}: previews go without, as train.class_dropout = 0 trains no null class to compare with",
                    preview.guidance
                );
                1.0
            }
            _ => preview.guidance,
        };
        let (labels, place) = arrange(model.n_classes, preview.count);
        if model.n_classes > 0 {
            let mut shown = labels.clone();
            shown.dedup();
            let all = match shown.len() < model.n_classes {
                true => format!(", {} of {}", shown.len(), classes::count(model.n_classes)),
                false => String::new(),
            };
            let shown = shown.into_iter().map(|class| class as usize);
            let shown = classes::numbered(&config.data.classes, shown);
            tracing::info!("previews: {}{all}: {shown}", place.say());
        }
        let sample = SampleConfig {
            model,
            transport: config.transport,
            sampler: Sampler::Ode {
                method: Method::Heun,
                n_steps: preview.steps,
            },
            guidance: Guidance {
                scale,
                ..Guidance::default()
            },
            weights: Arena::Ema,
            batch: labels.len(),
            keep_out: false,
        };
        let mut x0 = vec![0.0; labels.len() * model.image_len()];
        initial_noise(&model, config.train.seed, 0, &mut x0);
        Ok(Some(Previews {
            session: Session::new(device, trainer.arenas(), trainer.layout(), sample)?,
            x0,
            labels,
            place,
        }))
    }

    /// Samples, writes `RUN/previews/step-00001000.png` and returns the PNG.
    ///
    /// # Errors
    /// A device that fails or a file that cannot be written.
    pub fn sample(&mut self, run: &Path, step: u64) -> Result<Vec<u8>> {
        self.session.start(&self.x0, &self.labels)?;
        while self.session.done() < self.session.steps().len() {
            block_on(self.session.step(&[]))?;
        }
        let x = block_on(self.session.read())?;
        let model = &self.session.config().model;
        let shape = [model.channels, model.input_size, model.input_size];
        let image = png::grid(&x, shape, self.place);
        let folder = run.join("previews");
        fs::create_dir_all(&folder).map_err(FileError::of("make", &folder))?;
        let file = folder.join(format!("step-{step:08}.png"));
        write_atomically(&file, |out| out.write_all(&image))?;
        Ok(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
