//! A run folder: `step-00001000/{model,ema,optim}.safetensors` and `state.json`, each written whole or not at all.

use crate::config::RunConfig;
use crate::error::{Failure, Result};
use crate::files::sync_folder;
use pollster::block_on;
use serde::{Deserialize, Serialize};
use sit_engine::backend::Arenas;
use sit_engine::checkpoint::{self, Reader};
use sit_engine::graph::Arena;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Trained weights in a checkpoint folder.
pub const MODEL: &str = "model.safetensors";
/// Their moving average.
pub const EMA: &str = "ema.safetensors";
/// Moments of the optimizer.
const OPTIM: &str = "optim.safetensors";
/// Everything else.
const STATE: &str = "state.json";

/// Prefix of folders that are being written.
const UNFINISHED: &str = ".unfinished-";

/// What is in a checkpoint beside tensors. It holds no clock time: two runs of the same bits have the same files.
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
    /// Samples drawn from the data: the next one's number. With the seed of the configuration it is the whole state of the
    /// random numbers and of the data order.
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
    /// The resolved configuration.
    pub config: RunConfig,
}

/// Bins of the time axis in `loss_by_t`.
pub const TIME_BINS: usize = 10;

/// Sums of losses since the last line of metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Sum of the steps' losses that were finite.
    pub loss: f64,
    /// Number of them.
    pub n: u64,
    /// Sum and number of images' losses by time.
    pub by_t: [(f64, u64); TIME_BINS],
}

impl Window {
    /// Adds a step: its loss and each image's time and loss.
    pub fn add(&mut self, loss: f64, by_image: &[(f64, f64)]) {
        self.loss += loss;
        self.n += 1;
        for &(t, loss) in by_image {
            let bin = ((t * TIME_BINS as f64) as usize).min(TIME_BINS - 1);
            self.by_t[bin].0 += loss;
            self.by_t[bin].1 += 1;
        }
    }

    /// Mean loss; NaN without a step.
    pub fn mean(&self) -> f64 {
        self.loss / self.n as f64
    }

    /// Mean loss by time; `None` in a bin without an image.
    pub fn mean_by_t(&self) -> Vec<Option<f64>> {
        let mean = |&(sum, n): &(f64, u64)| (n > 0).then(|| sum / n as f64);
        self.by_t.iter().map(mean).collect()
    }
}

/// Writes a checkpoint folder into `run` and returns its path. What stood under its name before is replaced at the end, in
/// one rename; a failure leaves it as it was and nothing unfinished behind.
///
/// # Errors
/// [`Failure::Input`] naming the path that cannot be written.
pub fn save(run: &Path, state: &State, arenas: &Arenas) -> Result<PathBuf> {
    let name = step_name(state.step);
    let at = |path: &Path, e: std::io::Error| {
        Failure::Input(format!("{}: cannot be written: {e}", path.display()))
    };
    let unfinished = tempfile::Builder::new()
        .prefix(UNFINISHED)
        .tempdir_in(run)
        .map_err(|e| at(run, e))?;
    let model = &state.config.model;
    let files = [
        (MODEL, checkpoint::model_tensors(model, Arena::Params)),
        (EMA, checkpoint::model_tensors(model, Arena::Ema)),
        (OPTIM, checkpoint::moment_tensors(model)),
    ];
    for (file, tensors) in files {
        let path = unfinished.path().join(file);
        let mut out = BufWriter::new(File::create(&path).map_err(|e| at(&path, e))?);
        block_on(checkpoint::write(&mut out, model, &tensors, arenas))
            .map_err(|e| Failure::from(e).context(run.join(&name).join(file).display()))?;
        finish(out).map_err(|e| at(&path, e))?;
    }
    let path = unfinished.path().join(STATE);
    let mut out = BufWriter::new(File::create(&path).map_err(|e| at(&path, e))?);
    let json = serde_json::to_vec_pretty(state).map_err(Failure::input)?;
    out.write_all(&json).map_err(|e| at(&path, e))?;
    finish(out).map_err(|e| at(&path, e))?;
    sync_folder(unfinished.path()).map_err(|e| at(&path, e))?;

    let target = run.join(&name);
    if target.exists() {
        // A checkpoint of an earlier try at this step. It goes only now that the new one is whole.
        let old = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(run)
            .map_err(|e| at(run, e))?;
        fs::rename(&target, old.path().join("old")).map_err(|e| at(&target, e))?;
        fs::rename(unfinished.keep(), &target).map_err(|e| at(&target, e))?;
    } else {
        fs::rename(unfinished.keep(), &target).map_err(|e| at(&target, e))?;
    }
    sync_folder(run).map_err(|e| at(run, e))?;
    Ok(target)
}

fn finish(out: BufWriter<File>) -> std::io::Result<()> {
    out.into_inner()
        .map_err(std::io::IntoInnerError::into_error)?
        .sync_all()
}

fn step_name(step: u64) -> String {
    format!("step-{step:08}")
}

fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.parse().ok()
}

/// Steps of the checkpoints in a run folder, in order.
///
/// # Errors
/// [`Failure::Input`] when the folder cannot be read.
pub fn steps(run: &Path) -> Result<Vec<u64>> {
    let unreadable =
        |e: std::io::Error| Failure::Input(format!("{}: cannot be read: {e}", run.display()));
    let mut steps = Vec::new();
    for entry in fs::read_dir(run).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        steps.extend(entry.file_name().to_str().and_then(step_of));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// Deletes all checkpoints but the last `keep_last` and those of every `keep_every` steps (0: none), and what an
/// interrupted process left unfinished.
///
/// # Errors
/// [`Failure::Input`] naming the folder that cannot be deleted.
pub fn prune(run: &Path, keep_last: usize, keep_every: u64) -> Result<()> {
    let steps = steps(run)?;
    let n_old = steps.len().saturating_sub(keep_last.max(1));
    for &step in steps[..n_old]
        .iter()
        .filter(|&&step| keep_every == 0 || step % keep_every != 0)
    {
        let path = run.join(step_name(step));
        fs::remove_dir_all(&path)
            .map_err(|e| Failure::Input(format!("{}: cannot be deleted: {e}", path.display())))?;
    }
    Ok(())
}

/// Deletes what a killed process left unfinished in a run folder; no other process may be writing to it.
pub fn clean(run: &Path) {
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    for entry in entries.filter(|e| e.file_name().to_string_lossy().starts_with(UNFINISHED)) {
        // It will be tried again next time.
        fs::remove_dir_all(entry.path()).ok();
    }
}

/// A checkpoint folder of a run.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The folder.
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
        let path = if path.join(STATE).is_file() {
            path.to_owned()
        } else {
            let Some(&last) = steps(path)?.last() else {
                return Err(Failure::Input(format!(
                    "{}: has no checkpoint (a folder step-00001000 with {STATE})",
                    path.display()
                )));
            };
            path.join(step_name(last))
        };
        let file = path.join(STATE);
        let refuse = |e: &dyn std::fmt::Display| {
            Failure::Input(format!(
                "{}: {e}{}",
                file.display(),
                other_checkpoints(&path)
            ))
        };
        let json = fs::read(&file).map_err(|e| refuse(&format!("cannot be read: {e}")))?;
        let version = serde_json::from_slice::<serde_json::Value>(&json)
            .map_err(|e| refuse(&format!("is not a state: {e}")))?;
        if version["format"] != 1 {
            return Err(refuse(&format!(
                "has format {}, this program reads format 1",
                version["format"]
            )));
        }
        let state: State =
            serde_json::from_slice(&json).map_err(|e| refuse(&format!("is not a state: {e}")))?;
        Ok(Checkpoint { path, state })
    }

    /// The run folder.
    pub fn run(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Loads weights, moving average and moments for further training.
    ///
    /// # Errors
    /// [`Failure::Input`] naming file and tensor that do not fit, and the checkpoints that are left.
    pub fn load(&self, arenas: &Arenas) -> Result<()> {
        self.try_load(arenas).map_err(|e| match e {
            Failure::Input(message) => {
                Failure::Input(format!("{message}{}", other_checkpoints(&self.path)))
            }
            other => other,
        })
    }

    fn try_load(&self, arenas: &Arenas) -> Result<()> {
        let model = &self.state.config.model;
        open(&self.path.join(MODEL))?.load(model, arenas, Arena::Params)?;
        open(&self.path.join(EMA))?.load(model, arenas, Arena::Ema)?;
        checkpoint::load_moments(&mut open(&self.path.join(OPTIM))?, model, arenas)?;
        Ok(())
    }
}

/// A hint at the other checkpoints of the run that `path` belongs to.
fn other_checkpoints(path: &Path) -> String {
    let Some(run) = path.parent() else {
        return String::new();
    };
    let this = path.file_name().and_then(|name| step_of(name.to_str()?));
    let others = steps(run).unwrap_or_default();
    match others.iter().rev().find(|&&step| Some(step) < this) {
        Some(&step) => format!(
            "\nthe checkpoint before it is {}",
            run.join(step_name(step)).display()
        ),
        None => String::new(),
    }
}

/// Opens a safetensors file.
///
/// # Errors
/// [`Failure::Input`] when it cannot be read or is not such a file.
pub fn open(path: &Path) -> Result<Reader<BufReader<File>>> {
    let file = File::open(path)
        .map_err(|e| Failure::Input(format!("{}: cannot be opened: {e}", path.display())))?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        return Err(Failure::Input(format!(
            "{}: is a folder, expected a .safetensors file",
            path.display()
        )));
    }
    Ok(Reader::new(
        path.display().to_string(),
        BufReader::new(file),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_checkpoints_go_and_every_k_stay() {
        let run = tempfile::tempdir().unwrap();
        for step in [10, 20, 30, 40, 50, 60] {
            fs::create_dir(run.path().join(step_name(step))).unwrap();
        }
        fs::create_dir(run.path().join("notes")).unwrap();
        fs::create_dir(run.path().join(".unfinished-x")).unwrap();
        prune(run.path(), 2, 20).unwrap();
        assert_eq!(steps(run.path()).unwrap(), [20, 40, 50, 60]);
        prune(run.path(), 1, 0).unwrap();
        assert_eq!(steps(run.path()).unwrap(), [60]);
        clean(run.path());
        assert!(!run.path().join(".unfinished-x").exists() && run.path().join("notes").exists());
    }

    #[test]
    fn losses_fall_into_their_bins() {
        let mut window = Window::default();
        window.add(2.0, &[(0.0, 1.0), (0.05, 3.0), (1.0, 5.0)]);
        window.add(4.0, &[(0.95, 7.0)]);
        assert_eq!(window.mean(), 3.0);
        let by_t = window.mean_by_t();
        assert_eq!((by_t[0], by_t[5], by_t[9]), (Some(2.0), None, Some(6.0)));
    }
}
