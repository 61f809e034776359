//! The measurements of a run: `metrics.jsonl`, on request `metrics.csv`, and TensorBoard event files.

mod hparams;
mod metrics;
mod tensorboard;

pub use metrics::{Metrics, MetricsLine, Table, VALIDATION_PSNR, more};
pub use tensorboard::TensorBoard;

use crate::config::RunConfig;
use crate::files::FileError;
use std::path::Path;

/// The files of a run that grow with it.
#[derive(Debug)]
pub struct Logs {
    jsonl: Metrics,
    csv: Option<Metrics>,
    tensorboard: Option<TensorBoard>,
}

impl Logs {
    /// Opens the files that `config` asks for in the run's folder, to go on after step `last_step`; lines also have the numbers of `evaluated`.
    ///
    /// # Errors
    /// [`FileError`] naming a file that cannot be opened, read or cut.
    pub fn open(
        folder: &Path,
        config: &RunConfig,
        evaluated: &[String],
        last_step: u64,
    ) -> Result<Self, FileError> {
        let more = more(config).iter().map(|name| (*name).to_owned());
        let more = more.chain(evaluated.iter().cloned()).collect();
        let jsonl = Metrics::open(&folder.join("metrics.jsonl"), Table::Jsonl, last_step)?;
        let csv = match config.log.csv {
            true => Some(Metrics::open(
                &folder.join("metrics.csv"),
                Table::Csv(more),
                last_step,
            )?),
            false => None,
        };
        let tensorboard = match config.log.tensorboard {
            true => {
                let mut file = TensorBoard::create(folder, last_step)?;
                file.hparams(&hparams::of(config), evaluated)?;
                Some(file)
            }
            false => None,
        };
        Ok(Self {
            jsonl,
            csv,
            tensorboard,
        })
    }

    /// Step and mean loss of each line until now.
    ///
    /// # Errors
    /// [`FileError`] if the file cannot be read.
    pub fn losses(&self) -> Result<Vec<(u64, f64)>, FileError> {
        self.jsonl.losses()
    }

    /// Writes a line of measurements to each file.
    ///
    /// # Errors
    /// [`FileError`] naming the file that cannot be written.
    pub fn write(&mut self, line: &MetricsLine) -> Result<(), FileError> {
        self.jsonl.write(line)?;
        if let Some(csv) = &mut self.csv {
            csv.write(line)?;
        }
        if let Some(tensorboard) = &mut self.tensorboard {
            tensorboard.scalars(line.step, &line.scalars())?;
        }
        Ok(())
    }

    /// Shows a PNG image of a step in TensorBoard.
    ///
    /// # Errors
    /// [`FileError`] if it cannot be written.
    pub fn image(&mut self, step: u64, tag: &str, png: &[u8]) -> Result<(), FileError> {
        match &mut self.tensorboard {
            Some(tensorboard) => tensorboard.image(step, tag, png),
            None => Ok(()),
        }
    }
}
