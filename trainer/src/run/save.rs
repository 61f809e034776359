//! Writing the folders of checkpoints and snapshots, each whole or not at all.

use super::folder::{SNAPSHOTS, UNFINISHED, step_name};
use super::{EMA, EMA2, MODEL, OPTIM, STATE, State};
use crate::error::{Failure, Result};
use crate::files::sync_folder;
use sit_engine::checkpoint::{Averaged, Precision, Recipe};
use sit_engine::optim::Average;
use sit_engine::text::shown;
use sit_engine::train::{Trainer, Weights};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The file of an average beside [`EMA`]: there is one exponential one, and one power function for each width.
pub fn average_file(average: &Average) -> String {
    match average {
        Average::Exponential { .. } => EMA2.to_owned(),
        Average::Power { width } => format!("width-{width}.safetensors"),
    }
}

/// The files of weights in a checkpoint of a run with these averages, and which weights each has.
pub(super) fn weight_files(averages: &[Average]) -> Vec<(String, Weights)> {
    let own = [(MODEL, Weights::Trained), (EMA, Weights::Average)];
    let own = own.map(|(file, weights)| (file.to_owned(), weights));
    let others = averages.iter().zip(0..);
    let others = others.map(|(average, k)| (average_file(average), Weights::Another(k)));
    own.into_iter().chain(others).collect()
}

impl State {
    /// What the file of `weights` records about itself, with the scale of an autoencoder's latents.
    fn recipe_of(
        &self,
        averages: &[Average],
        weights: Weights,
        latent_scale: Option<f64>,
    ) -> Recipe {
        let average = match weights {
            Weights::Another(k) => averages.get(usize::from(k)),
            _ => None,
        };
        let averaged = |&average: &Average| Averaged {
            average,
            n_updates: self.n_updates,
            residual: None,
        };
        Recipe {
            average: average.map(averaged),
            latent_scale,
            ..self.recipe()
        }
    }
}

/// Writes a checkpoint folder into `run` and returns its path; `latent_scale` is that of an autoencoder with these weights. A failure leaves
/// nothing unfinished behind.
///
/// # Errors
/// [`Failure::Run`] naming the path that cannot be written, or when the device fails.
pub fn save(
    run: &Path,
    state: &State,
    trainer: &Trainer,
    latent_scale: impl Fn(Weights) -> Option<f64>,
) -> Result<PathBuf> {
    let averages = trainer.training().other_averages();
    let mut folder = Folder::new(run, state.step)?;
    for (file, weights) in weight_files(averages) {
        let recipe = state.recipe_of(averages, weights, latent_scale(weights));
        folder.weights(&file, trainer, weights, &recipe)?;
    }
    folder.file(OPTIM, |out| Ok(trainer.save_moments(out, &state.recipe())?))?;
    let json = serde_json::to_vec_pretty(state).map_err(Failure::input)?;
    folder.file(STATE, |out| Ok(out.write_all(&json)?))?;
    folder.finish()
}

/// Writes the power function averages of a run into `run/snapshots/step-00001000`, and returns that path; nothing of the run
/// depends on them. A failure leaves nothing unfinished behind.
///
/// # Errors
/// As [`save`].
pub fn save_snapshot(run: &Path, state: &State, trainer: &Trainer) -> Result<PathBuf> {
    let averages = trainer.training().other_averages();
    let snapshots = run.join(SNAPSHOTS);
    fs::create_dir_all(&snapshots).map_err(|e| unwritable(&snapshots, &e))?;
    let mut folder = Folder::new(&snapshots, state.step)?;
    for (average, k) in averages.iter().zip(0..) {
        if let Average::Power { .. } = average {
            let weights = Weights::Another(k);
            let recipe = state.recipe_of(averages, weights, None);
            folder.weights(&average_file(average), trainer, weights, &recipe)?;
        }
    }
    folder.finish()
}

/// A folder of a step that is being written under a temporary name.
struct Folder<'a> {
    parent: &'a Path,
    target: PathBuf,
    unfinished: tempfile::TempDir,
}

impl<'a> Folder<'a> {
    fn new(parent: &'a Path, step: u64) -> Result<Self> {
        let target = parent.join(step_name(step));
        let unfinished = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(parent)
            .map_err(|e| unwritable(&target, &e))?;
        Ok(Folder {
            parent,
            target,
            unfinished,
        })
    }

    fn weights(
        &mut self,
        file: &str,
        trainer: &Trainer,
        weights: Weights,
        recipe: &Recipe,
    ) -> Result<()> {
        let model = trainer.model(weights);
        self.file(file, |out| Ok(model.save(out, recipe, Precision::F32)?))
    }

    /// Writes a file. Errors name it by its final path.
    fn file(
        &mut self,
        file: &str,
        write: impl FnOnce(&mut BufWriter<File>) -> std::result::Result<(), Unwritten>,
    ) -> Result<()> {
        let name = self.target.join(file);
        let path = self.unfinished.path().join(file);
        let out = File::create(path).map_err(|e| unwritable(&name, &e))?;
        let mut out = BufWriter::new(out);
        write(&mut out).map_err(|e| match e {
            Unwritten::Engine(e) => Failure::from(e).context(shown(&name)).on_the_way(),
            Unwritten::File(e) => unwritable(&name, &e),
        })?;
        let out = out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error);
        let synced = out.and_then(|out| out.sync_all());
        synced.map_err(|e| unwritable(&name, &e))
    }

    /// Gives the folder its name, now that it is complete.
    fn finish(self) -> Result<PathBuf> {
        let target = self.target;
        let at = |e: std::io::Error| unwritable(&target, &e);
        sync_folder(self.unfinished.path()).map_err(at)?;
        fs::rename(self.unfinished.path(), &target).map_err(at)?;
        // The folder has its final name now: do not delete it.
        let _ = self.unfinished.keep();
        sync_folder(self.parent).map_err(at)?;
        Ok(target)
    }
}

/// Why a file was not written.
enum Unwritten {
    Engine(sit_engine::Error),
    File(std::io::Error),
}

impl From<sit_engine::Error> for Unwritten {
    fn from(error: sit_engine::Error) -> Self {
        Unwritten::Engine(error)
    }
}

impl From<std::io::Error> for Unwritten {
    fn from(error: std::io::Error) -> Self {
        Unwritten::File(error)
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Run(format!("{}: cannot be written: {error}", shown(path)))
}
