//! Previews of a run: the same noise and classes every time, so that progress shows.

use crate::config::RunConfig;
use crate::error::Result;
use crate::files::{FileError, write_atomically};
use crate::png;
use pollster::block_on;
use sit_engine::backend::Device;
use sit_engine::graph::Arena;
use sit_engine::sample::{SampleConfig, Session, initial_noise};
use sit_engine::train::Trainer;
use sit_engine::transport::{Guidance, Method, Sampler};
use std::fs;
use std::io::Write;
use std::path::Path;

/// Images in a row of the grid.
const COLUMNS: usize = 10;

/// Samples the moving average of a model in training.
#[derive(Debug)]
pub struct Previews {
    session: Session,
    x0: Vec<f32>,
    labels: Vec<u32>,
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
        let scale = if model.n_classes > 0 {
            preview.guidance
        } else {
            1.0
        };
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
            batch: preview.count,
            keep_out: false,
        };
        let mut x0 = vec![0.0; preview.count * model.image_len()];
        initial_noise(&model, config.train.seed, 0, &mut x0);
        let label = |i: usize| (i % model.n_classes.max(1)) as u32;
        Ok(Some(Previews {
            session: Session::new(device, trainer.arenas(), trainer.layout(), sample)?,
            x0,
            labels: (0..preview.count).map(label).collect(),
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
        let image = png::grid(&x, shape, COLUMNS);
        let folder = run.join("previews");
        fs::create_dir_all(&folder).map_err(FileError::of("make", &folder))?;
        let file = folder.join(format!("step-{step:08}.png"));
        write_atomically(&file, |out| out.write_all(&image))?;
        Ok(image)
    }
}
