//! A run folder: `step-00001000/{model,ema,optim}.safetensors` and `state.json`, each written whole or not at all, and snapshots of
//! averages in `snapshots/step-00001000`.

mod check;
mod folder;
mod save;

pub use folder::{
    RunFolder, SNAPSHOTS, belongs, check_new, checkpoint_path, free_name, last_until, prune,
    set_aside, steps,
};

pub use save::{average_file, save, save_snapshot};

use crate::config::{RunConfig, WeightSet};
use crate::error::{Failure, Result};
use crate::weights::{self, open};
use folder::{step_name, step_of};
use save::weight_files;
use serde::{Deserialize, Serialize};
use sit_engine::checkpoint::{Data, Latents, Recipe};
use sit_engine::text::shown;
use sit_engine::train::{Report, Trainer};
use sit_engine::transport;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Trained weights in a checkpoint folder.
pub const MODEL: &str = "model.safetensors";
/// Their moving average.
pub const EMA: &str = "ema.safetensors";
/// A second moving average, of a run with `train.ema_decay2`.
pub const EMA2: &str = "ema2.safetensors";
/// Moments of the optimizer.
const OPTIM: &str = "optim.safetensors";
/// Everything else.
pub const STATE: &str = "state.json";

/// More bytes than any state has.
const MAX_STATE_BYTES: u64 = 16 << 20;

/// What is in a checkpoint beside tensors. It contains no clock time, so that two identical runs write identical files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Version of this format, 1.
    pub format: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// Steps done.
    pub step: u64,
    /// Updates done: steps that were not skipped.
    pub n_updates: u64,
    /// Number of samples drawn from the data, which is also the number of the next one. With the seed of the configuration it is
    /// the whole state of the random numbers and of the data order.
    pub n_samples: u64,
    /// Steps skipped in all.
    pub skipped: u64,
    /// Steps skipped in a row.
    pub skipped_in_a_row: u64,
    /// Losses since the last line of metrics.
    pub window: Window,
    /// Backend and device that trained it; other ones may round differently.
    pub device: String,
    /// How data was scaled: `x = 2 · level / max_level - 1`.
    pub max_level: u8,
    /// How the latents were made that it is trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latents: Option<Latents>,
    /// Number of training images; 0 if unknown, in runs made before this key.
    #[serde(default)]
    pub n_images: u64,
    /// Number of images of the data that the path begins with; 0 for noise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_base: u64,
    /// What the objective has learned from losses; empty for most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objective: Vec<f32>,
    /// The resolved configuration.
    pub config: RunConfig,
}

impl State {
    /// What each file of weights records about itself.
    pub fn recipe(&self) -> Recipe {
        let mut transport = self.config.transport.clone();
        if let Some(distill) = &self.config.distill {
            // Within a stage the student takes its steps.
            let stage = distill.stage(&self.config, self.step.saturating_sub(1));
            transport.student_steps = distill.student_steps(&self.config, stage);
        }
        Recipe {
            model: self.config.model.clone(),
            transport,
            data: Some(Data {
                name: self.config.data.title(),
                max_level: self.max_level,
                latents: self.latents.clone(),
            }),
            classes: self.config.data.classes.clone(),
            class_dropout: (self.config.model.io().n_classes > 0).then_some(
                match self.config.transport.student_steps {
                    // A student is never taught without a label.
                    Some(_) => 0.0,
                    None => self.config.train.class_dropout,
                },
            ),
            average: None,
            latent_scale: None,
        }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Bins of the time axis in `loss_by_t`.
pub const TIME_BINS: usize = 10;

/// Sums of losses since the last line of metrics.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Sum of the steps' finite losses.
    pub loss: f64,
    /// Number of them.
    pub n: u64,
    /// Sum and number of images' losses by time.
    pub by_t: [(f64, u64); TIME_BINS],
    /// Sums of the parts of the steps' losses, by name; empty for most objectives.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, f64>,
}

impl Window {
    /// Adds a step: its loss, each image's time and loss, and the parts of the loss.
    pub fn add(&mut self, report: &Report) {
        self.loss += report.loss;
        self.n += 1;
        for &(name, part) in &report.parts {
            *self.parts.entry(name.to_owned()).or_default() += part;
        }
        // Some objectives draw no times.
        for &(t, loss) in report.by_image.iter().filter(|(t, _)| !t.is_nan()) {
            let bin = ((t * TIME_BINS as f64) as usize).min(TIME_BINS - 1);
            self.by_t[bin].0 += loss;
            self.by_t[bin].1 += 1;
        }
    }

    /// Mean loss; NaN without a step.
    pub fn mean(&self) -> f64 {
        self.loss / self.n as f64
    }

    /// Means of the parts of the loss.
    pub fn mean_parts(&self) -> BTreeMap<String, f64> {
        let mean = |(name, sum): (&String, &f64)| (name.clone(), sum / self.n as f64);
        self.parts.iter().map(mean).collect()
    }

    /// Mean loss by time; `None` in a bin without an image.
    pub fn mean_by_t(&self) -> Vec<Option<f64>> {
        let mean = |&(sum, n): &(f64, u64)| (n > 0).then(|| sum / n as f64);
        self.by_t.iter().map(mean).collect()
    }
}

/// Whether `path` is a run folder with a checkpoint, or a checkpoint folder.
pub fn is_run(path: &Path) -> bool {
    path.join(STATE).is_file() || steps(path).is_ok_and(|steps| !steps.is_empty())
}

/// A checkpoint folder of a run.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The run's folder.
    pub run: PathBuf,
    /// The checkpoint's folder.
    pub path: PathBuf,
    /// What is in it beside tensors.
    pub state: State,
}

impl Checkpoint {
    /// Opens `path`: a checkpoint folder, or a run folder, of which it takes the last checkpoint.
    ///
    /// # Errors
    /// [`Failure::Input`] when there is none or its state cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let (run, path) = if path.join(STATE).is_file() {
            // The path may be `.` or a link.
            let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            let run = whole.parent().unwrap_or(&whole).to_owned();
            (run, path.to_owned())
        } else {
            let Some(&last) = steps(path)?.last() else {
                return Err(Failure::Input(format!(
                    "{}: has no checkpoint (a folder step-00001000 with {STATE}){}",
                    shown(path),
                    weights::hint(path)
                )));
            };
            (path.to_owned(), path.join(step_name(last)))
        };
        Self::read(run, path)
    }

    /// Opens the checkpoint of `step` in the folder `run`.
    ///
    /// # Errors
    /// [`Failure::Input`] when its state cannot be read.
    pub fn at(run: &Path, step: u64) -> Result<Self> {
        Self::read(run.to_owned(), run.join(step_name(step)))
    }

    fn read(run: PathBuf, path: PathBuf) -> Result<Self> {
        let file = path.join(STATE);
        let refuse = |what: String| {
            Failure::Input(format!(
                "{}: {what}{}",
                shown(&file),
                hint(&run, step_of_path(&path))
            ))
        };
        if file.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Err(refuse("is no file".into()));
        }
        let mut json = Vec::new();
        let read = |json: &mut Vec<u8>| File::open(&file)?.take(MAX_STATE_BYTES).read_to_end(json);
        read(&mut json).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        let not_a_state = |e: serde_json::Error| refuse(format!("is not a state: {e}"));
        let mut value: serde_json::Value = serde_json::from_slice(&json).map_err(not_a_state)?;
        if value["format"] != 1 {
            return Err(refuse(format!(
                "has format {}, this program reads format 1",
                value["format"]
            )));
        }
        // A run made before the warm-up of the moving average goes on without it.
        if let Some(train) = value
            .pointer_mut("/config/train")
            .and_then(serde_json::Value::as_object_mut)
        {
            train.entry("ema_warmup").or_insert(false.into());
        }
        let state: State = serde_path_to_error::deserialize(value).map_err(|e| {
            match e.path().to_string().as_str() {
                "." => not_a_state(e.into_inner()),
                path => refuse(format!("{path}: {}", e.inner())),
            }
        })?;
        state.validate().map_err(|e| refuse(e.to_string()))?;
        Ok(Checkpoint { run, path, state })
    }

    /// The file of these weights.
    ///
    /// # Errors
    /// [`Failure::Input`] for a second average that the run does not keep.
    pub fn weights(&self, which: WeightSet) -> Result<PathBuf> {
        let file = match which {
            WeightSet::Ema => EMA,
            WeightSet::Ema2 if self.state.config.train.ema_decay2.is_none() => {
                return Err(Failure::Input(format!(
                    "{} has no second average, as train.ema_decay2 was not set; expected ema or raw",
                    shown(&self.path)
                )));
            }
            WeightSet::Ema2 => EMA2,
            WeightSet::Raw => MODEL,
        };
        Ok(self.path.join(file))
    }

    /// Checks the names and shapes of the weights and of their averages.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn check(&self) -> Result<()> {
        weight_files(&self.state.config.averages())
            .iter()
            .try_for_each(|(file, _)| {
                Ok(open(&self.path.join(file))?.check(&self.state.config.model)?)
            })
            .map_err(|e| self.with_hint(e))
    }

    /// Loads weights, their averages and moments for further training.
    ///
    /// # Errors
    /// [`Failure::Input`] naming file and tensor that do not fit, and the checkpoints that are left.
    pub fn load(&self, trainer: &Trainer) -> Result<()> {
        self.try_load(trainer).map_err(|e| self.with_hint(e))
    }

    fn with_hint(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Input(message) => {
                Failure::Input(message + &hint(&self.run, Some(self.state.step)))
            }
            other => other,
        }
    }

    fn try_load(&self, trainer: &Trainer) -> Result<()> {
        for (file, weights) in weight_files(trainer.training().other_averages()) {
            open(&self.path.join(file))?.load(&trainer.model(weights))?;
        }
        trainer.load_moments(&mut open(&self.path.join(OPTIM))?)?;
        let learns = match &self.state.config.transport.path {
            transport::Path::Ddpm(ddpm) => ddpm.times == transport::DdpmTimes::SecondMoment,
            _ => false,
        };
        if learns && self.state.objective.is_empty() {
            return Err(Failure::Input(format!(
                "{}: objective: got none, expected the losses by which ddpm_times second-moment draws",
                shown(self.path.join(STATE))
            )));
        }
        let restored = trainer.restore_objective(&self.state.objective);
        restored.map_err(|e| {
            let file = shown(self.path.join(STATE));
            Failure::from(e).context(format_args!("{file}: objective"))
        })
    }
}

fn step_of_path(checkpoint: &Path) -> Option<u64> {
    step_of(checkpoint.file_name()?.to_str()?)
}

/// A hint at the checkpoint before `step` of a run, if there is one.
fn hint(run: &Path, step: Option<u64>) -> String {
    let steps = steps(run).unwrap_or_default();
    match steps.iter().rev().find(|&&earlier| Some(earlier) < step) {
        Some(&earlier) => format!(
            "\nthe checkpoint before it is {}",
            shown(run.join(step_name(earlier)))
        ),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_fall_into_their_bins() {
        let mut window = Window::default();
        let report = |loss, by_image: &[(f64, f64)], part| {
            let mut report = Report::default();
            report.loss = loss;
            report.by_image = by_image.to_vec();
            report.parts = vec![("kl", part)];
            report
        };
        window.add(&report(2.0, &[(0.0, 1.0), (0.05, 3.0), (1.0, 5.0)], 1.0));
        window.add(&report(4.0, &[(0.95, 7.0), (f64::NAN, 9.0)], 2.0));
        assert_eq!(window.mean(), 3.0);
        assert_eq!(window.mean_parts()["kl"], 1.5);
        let by_t = window.mean_by_t();
        assert_eq!((by_t[0], by_t[5], by_t[9]), (Some(2.0), None, Some(6.0)));
    }
}
