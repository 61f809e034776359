//! `sit train`: the optimization loop.

use super::backend::BackendArg;
use crate::config::{RunConfig, Source, preset_names};
use crate::data::{self, Dataset};
use crate::error::{Failure, Result};
use crate::files::write_atomically;
use crate::progress::{self, Progress};
use crate::run::{self, Checkpoint};
use crate::training::Job;
use crate::{memory, stdout};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Train a model, or go on with a run.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Configuration file.
    #[arg(value_name = "CONFIG.toml", conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Configuration that comes with the program: digits, digits-smoke, fashion-mnist, image-folder-64, SiT-S/2 ...
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Change a key of the configuration, as in train.steps=100; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Leave out images that cannot be decoded; the same as --set data.skip_bad=true.
    #[arg(long)]
    skip_bad: bool,
    /// Go on with the last checkpoint of this run folder, or with this checkpoint folder; without a configuration, with
    /// the run's own.
    #[arg(long, value_name = "RUN", conflicts_with = "out")]
    resume: Option<PathBuf>,
    /// Run folder to make [default: the key log.folder, else runs/NAME; runs/NAME-2 if that is there, and so on].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    backend: BackendArg,
    /// Check everything, show the configuration and the memory forecast, write nothing.
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  sit train --preset digits
  sit train --preset fashion-mnist --set train.steps=20000 --set train.learning_rate=3e-4
  sit train my.toml --out runs/mine --backend cpu
  sit train --resume runs/mine
  sit train --resume runs/mine --set train.steps=30000
  sit train --preset image-folder-64 --set data.path=photos --dry-run";

/// Runs it.
///
/// # Errors
/// Bad configuration or data, an unwritable folder, a device that cannot hold the model, or too many steps that are not
/// finite.
pub fn run(args: &Args) -> Result<()> {
    let (mut config, start) = args.start()?;
    // Where a run lies is not part of what it does.
    let folder = config.log.folder.take();
    config.validate().map_err(Failure::input)?;
    // What is quick to refuse comes before the data, which may take minutes to check.
    let (folder, checkpoint) = match start {
        Start::From(checkpoint) => (checkpoint.run.clone(), Some(*checkpoint)),
        Start::Again(folder) => (folder, None),
        Start::New => {
            let default = || run::free_name(&folder.unwrap_or_else(|| "runs/run".into()));
            let folder = args.out.clone().unwrap_or_else(default);
            check_new(&folder)?;
            (folder, None)
        }
    };
    let dataset = open_data(&config)?;
    config.check_dataset(&*dataset).map_err(Failure::input)?;
    let device = args.backend.open()?;
    if args.dry_run {
        if let Some(checkpoint) = &checkpoint {
            checkpoint.check()?;
        }
        let forecast = memory::training(&config, &device);
        return stdout::print(&format!("{}\n{device}\n{forecast}", config.to_toml()));
    }
    memory::training(&config, &device).require()?;
    let job = Job::new(config, &device, dataset, checkpoint.as_ref())?;

    // Nothing is written before everything that can be refused is.
    fs::create_dir_all(&folder).map_err(|e| unwritable(&folder, &e))?;
    let _lock = run::claim(&folder)?;
    if let Some(checkpoint) = &checkpoint {
        for old in run::set_aside(&folder, checkpoint.state.step)? {
            tracing::warn!(
                "a checkpoint from after step {} is now called {}",
                checkpoint.state.step,
                old.display()
            );
        }
    }
    let toml = job.config().to_toml();
    write_atomically(&folder.join(CONFIG), |out| out.write_all(toml.as_bytes()))?;
    progress::catch_ctrl_c();
    job.train(&folder)
}

/// The resolved configuration in a run folder, for people and for a run that was killed before its first checkpoint.
const CONFIG: &str = "config.toml";

enum Start {
    New,
    /// In a run folder without a checkpoint.
    Again(PathBuf),
    From(Box<Checkpoint>),
}

impl Args {
    fn start(&self) -> Result<(RunConfig, Start)> {
        let mut set = self.set.clone();
        if self.skip_bad {
            set.push("data.skip_bad=true".into());
        }
        let load = |source| RunConfig::load(source, &set).map_err(Failure::input);
        let asked = match (&self.config, &self.preset) {
            (Some(path), _) => Some(Source::File(path)),
            (None, Some(name)) => Some(Source::Preset(name)),
            (None, None) => None,
        };
        let Some(resume) = &self.resume else {
            let nothing = || {
                Failure::Input(format!(
                    "give --preset NAME ({}), a CONFIG.toml, or --resume RUN",
                    preset_names().join(", ")
                ))
            };
            return Ok((load(asked.ok_or_else(nothing)?)?, Start::New));
        };
        let config_file = resume.join(CONFIG);
        if config_file.is_file() && run::steps(resume)?.is_empty() {
            // It was stopped before its first checkpoint.
            let config = load(asked.unwrap_or(Source::File(&config_file)))?;
            return Ok((config, Start::Again(resume.clone())));
        }
        let checkpoint = Checkpoint::open(resume)?;
        let origin = checkpoint.path.display().to_string();
        let saved = &checkpoint.state.config;
        let config = load(asked.unwrap_or(Source::Saved(&origin, saved)))?;
        check_resume(saved, &config).map_err(|e| e.context(&origin))?;
        if config.train.steps < checkpoint.state.step {
            return Err(Failure::Input(format!(
                "train.steps: got {}, expected at least the {} steps that {origin} has done",
                config.train.steps, checkpoint.state.step
            )));
        }
        Ok((config, Start::From(Box::new(checkpoint))))
    }
}

/// Refuses a configuration that the weights, the noise or the data order of a run do not fit, and tells what else changes.
fn check_resume(saved: &RunConfig, asked: &RunConfig) -> Result<()> {
    let mut asked = asked.clone();
    asked.log.folder = None;
    let keys = |config: &RunConfig| config.keys().map_err(Failure::input);
    let (saved, asked) = (keys(saved)?, keys(&asked)?);
    let mut names: Vec<&String> = saved.keys().chain(asked.keys()).collect();
    names.sort();
    names.dedup();
    let text = |value: Option<&toml::Value>| value.map_or("not set".into(), toml::Value::to_string);
    for name in names {
        let (old, new) = (saved.get(name), asked.get(name));
        if old == new {
            continue;
        }
        let (old, new) = (text(old), text(new));
        if ["model.", "transport.", "train.seed"]
            .iter()
            .any(|kept| name.starts_with(kept))
        {
            return Err(Failure::Input(format!(
                "{name} is {old} in the checkpoint, {new} was asked for; a run keeps it"
            )));
        }
        tracing::info!("{name} was {old}, is now {new}");
    }
    Ok(())
}

fn open_data(config: &RunConfig) -> Result<Arc<dyn Dataset>> {
    if let Some(path) = &config.data.path
        && !path.exists()
    {
        let path = path.display();
        return Err(Failure::Input(format!("data.path: {path} is not there")));
    }
    let bar = Progress::shared("checking", "images");
    let dataset = data::open(&config.data, &bar)?;
    drop(bar);
    let [c, h, w] = dataset.shape();
    tracing::info!(
        "{}: {} images of {h}x{w}x{c}, {} classes",
        dataset.name(),
        dataset.len(),
        dataset.n_classes()
    );
    Ok(dataset)
}

/// Refuses a folder that holds anything, or that cannot be made.
fn check_new(folder: &Path) -> Result<()> {
    let first = match folder.read_dir() {
        Ok(mut entries) => entries.next(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(unwritable(folder, &e)),
    };
    match first {
        None => Ok(()),
        Some(_) => Err(Failure::Input(format!(
            "{}: is not empty; --resume goes on with a run, --out takes a new folder",
            folder.display()
        ))),
    }
}

fn unwritable(folder: &Path, error: &io::Error) -> Failure {
    Failure::Input(format!("{}: cannot be written: {error}", folder.display()))
}
