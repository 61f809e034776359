//! `sit ema`: an average of the weights of a run, made after the fact from its snapshots.

use super::values::{finite, whole};
use crate::error::{Failure, Result};
use crate::files::write_atomically;
use crate::outputs::Outputs;
use crate::progress::Progress;
use crate::{memory, run, stdout, weights};
use sit_engine::backend::Device;
use sit_engine::checkpoint::{Averaged, Precision, Recipe};
use sit_engine::model::{Blueprint, Model};
use sit_engine::optim::{Average, Combination, Profile};
use sit_engine::text::{count, shown};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Make an average of the weights of a run after the fact, from the snapshots that it kept (log.snapshots.every_steps), and write it as
/// one .safetensors file, which all commands take.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Run folder with snapshots.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Relative width S of a power function average: the standard deviation of the training times that it averages over, as a share of
    /// the training so far; 0.001 to 0.2886, which is the plain mean of all weights.
    #[arg(long, value_name = "S", value_parser = finite, required_unless_present = "decay")]
    width: Option<f64>,
    /// Decay D of an exponential average with the same decay in every update, such as 0.999, in place of a width.
    #[arg(long, value_name = "D", value_parser = finite, conflicts_with = "width")]
    decay: Option<f64>,
    /// Average up to the snapshot of this step [default: the last].
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..=99_999_999))]
    step: Option<u64>,
    /// File to write.
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  sit train --preset digits --set log.snapshots.every_steps=60
  sit ema runs/digits --width 0.15 --out wide.safetensors
  sit ema runs/digits --width 0.07 --step 900 --out half.safetensors
  sit ema runs/digits --decay 0.99 --out short.safetensors
  sit sample wide.safetensors --out wide.png";

/// A larger residual is refused: such an average would be another one than was asked for.
const MAX_RESIDUAL: f64 = 0.05;

/// Bytes of a parameter: a sum in f64, and the value that is written.
const BYTES: u64 = 12;

/// Runs it.
///
/// # Errors
/// A run without snapshots, an average that they do not represent, a file that does not fit or cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let average = match (args.width, args.decay) {
        (Some(width), _) => Average::power(width),
        (None, decay) => Average::exponential(decay.unwrap_or_default()),
    };
    average.validate()?;
    let mut outputs = Outputs::default();
    outputs.reads("RUN", &args.run);
    outputs.writes("--out", &args.out, &["safetensors"])?;
    let Snapshots { recipe, kept } = Snapshots::open(&args.run, args.step)?;
    let n_updates = kept.iter().map(|kept| kept.profile.n_updates).max();
    let wanted = Profile {
        average,
        n_updates: n_updates.unwrap_or_default(),
    };
    let profiles: Vec<Profile> = kept.iter().map(|kept| kept.profile).collect();
    let combination = wanted.combine(&profiles)?;
    let averaged = Averaged {
        residual: Some(combination.residual),
        ..wanted.into()
    };
    check(&averaged, kept.len())?;
    let recipe = Recipe {
        average: Some(averaged),
        ..recipe
    };
    let model = combine(&recipe, &kept, &combination)?;
    write_atomically(&args.out, |out| {
        let saved = model.save(out, &recipe, Precision::F32);
        saved.map_err(io::Error::other)
    })?;
    tracing::info!("{averaged}, from {}", count(kept.len(), "file"));
    stdout::print(&format!("{}\n", shown(&args.out)))
}

/// Refuses an average that the snapshots do not represent.
fn check(averaged: &Averaged, n_files: usize) -> Result<()> {
    let residual = averaged.residual.unwrap_or_default();
    if residual <= MAX_RESIDUAL {
        return Ok(());
    }
    let (flag, got) = match averaged.average {
        Average::Power { width } => ("--width", width),
        Average::Exponential { decay, .. } => ("--decay", decay),
    };
    if !residual.is_finite() {
        return Err(Failure::Input(format!(
            "{flag}: got {got}, which is no average of several updates"
        )));
    }
    Err(Failure::Input(format!(
        "{flag}: got {got}, which {} of snapshots represent with a residual of {:.1} %, expected at most {:.0} %; more snapshots \
         (log.snapshots.every_steps) represent more averages",
        count(n_files, "file"),
        100.0 * residual,
        100.0 * MAX_RESIDUAL
    )))
}

/// The averages that a run has kept.
struct Snapshots {
    /// What all of them record about themselves.
    recipe: Recipe,
    /// The averages, in order of time.
    kept: Vec<Kept>,
}

/// A file of an average.
struct Kept {
    path: PathBuf,
    profile: Profile,
}

impl Snapshots {
    /// Opens the snapshots of a run, or those up to that of `last`, and checks their tensors.
    ///
    /// # Errors
    /// [`Failure::Input`] when there are none, not of that step, or a file is missing, cut off or of another model.
    fn open(run: &Path, last: Option<u64>) -> Result<Self> {
        let folder = run.join(run::SNAPSHOTS);
        let steps = match folder.is_dir() {
            true => run::steps(&folder)?,
            false => Vec::new(),
        };
        if !run.exists() {
            return Err(Failure::Input(format!(
                "{}: is not there, expected a run",
                shown(run)
            )));
        }
        let of_run = run
            .parent()
            .filter(|parent| parent.join(run::SNAPSHOTS).is_dir());
        if let (None, Some(parent)) = (steps.last(), of_run) {
            return Err(Failure::Input(format!(
                "{}: is a part of a run, expected the run itself: {}",
                shown(run),
                shown(parent)
            )));
        }
        let Some(&newest) = steps.last() else {
            return Err(Failure::Input(format!(
                "{}: has no snapshots (a folder {} with step-00001000), expected a run that was trained with \
                 log.snapshots.every_steps",
                shown(run),
                run::SNAPSHOTS
            )));
        };
        let last = last.unwrap_or(newest);
        if !steps.contains(&last) {
            let near = run::last_until(&steps, last).unwrap_or(steps[0]);
            return Err(Failure::Input(format!(
                "--step: {} has no snapshot of step {last}, expected one of {} from {} to {newest}, such as {near}",
                shown(run),
                count(steps.len(), "step"),
                steps[0]
            )));
        }
        let mut found: Option<Snapshots> = None;
        for step in steps.into_iter().filter(|&step| step <= last) {
            let snapshot = run::checkpoint_path(&folder, step);
            for name in average_files(&snapshot)? {
                open(&snapshot.join(name), &mut found)?;
            }
        }
        found.ok_or_else(|| Failure::Input(format!("{}: has no averages", shown(&folder))))
    }
}

/// Names of the averages in the folder of a snapshot.
fn average_files(snapshot: &Path) -> Result<Vec<String>> {
    let refuse = |what: &str| Failure::Input(format!("{}: {what}", shown(snapshot)));
    let entries = fs::read_dir(snapshot).map_err(|e| refuse(&format!("cannot be read: {e}")))?;
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().into_string());
    let mut names: Vec<String> = names
        .flatten()
        .filter(|name| name.ends_with(".safetensors"))
        .collect();
    names.sort();
    match names.is_empty() {
        true => Err(refuse(
            "has no file of an average, expected one of each width",
        )),
        false => Ok(names),
    }
}

/// Adds an average to those that were found before, unless no update was done since.
fn open(path: &Path, found: &mut Option<Snapshots>) -> Result<()> {
    let file = weights::open(path)?;
    let refuse = |what: &str| Failure::Input(format!("{}: {what}", shown(path)));
    let recipe = file.recipe()?;
    let Some((recipe, averaged)) = recipe.and_then(|r| r.average.map(|averaged| (r, averaged)))
    else {
        return Err(refuse(
            "does not record which average it is, expected a snapshot",
        ));
    };
    file.check(&recipe.model)?;
    let profile = Profile {
        average: averaged.average,
        n_updates: averaged.n_updates,
    };
    let kept = Kept {
        path: path.to_owned(),
        profile,
    };
    match found {
        None => {
            let kept = vec![kept];
            *found = Some(Snapshots { recipe, kept });
        }
        Some(others) if others.recipe.model != recipe.model => {
            return Err(refuse("is of another model than the snapshots before it"));
        }
        Some(others) if others.kept.iter().any(|other| other.profile == profile) => {}
        Some(others) => others.kept.push(kept),
    }
    Ok(())
}

/// The combined weights. They are added in f64, a file at a time.
fn combine(recipe: &Recipe, kept: &[Kept], combination: &Combination) -> Result<Model> {
    let n_params = recipe.model.n_params() as u64;
    memory::require_host("the average", Some(BYTES * n_params), "use a smaller model")?;
    let model = Model::zeros(&Device::Cpu, recipe.model.clone(), recipe.transport.clone())?;
    let blueprint: &Blueprint = &model;
    let specs: Vec<_> = blueprint
        .specs()
        .iter()
        .filter(|spec| spec.is_trained())
        .collect();
    let mut sums: Vec<Vec<f64>> = specs
        .iter()
        .map(|spec| vec![0.0; spec.shape.numel()])
        .collect();
    let mut bar = Progress::new("adding", "files", 0, kept.len() as u64);
    for (i, (kept, &c)) in kept.iter().zip(&combination.coefficients).enumerate() {
        let mut file = weights::open(&kept.path)?;
        for (spec, sum) in specs.iter().zip(&mut sums) {
            let values = file.read_param(spec)?;
            let pairs = sum.iter_mut().zip(values);
            pairs.for_each(|(sum, x)| *sum += c * f64::from(x));
        }
        bar.set(i as u64 + 1, String::new);
    }
    for (spec, sum) in specs.iter().zip(&sums) {
        let values: Vec<f32> = sum.iter().map(|&x| x as f32).collect();
        model.write(&spec.name, &values)?;
    }
    Ok(model)
}
