//! `sit train`: the optimization loop.

mod resume;

use super::backend::BackendArg;
use super::base;
use super::describe;
use crate::budget::BudgetArg;
use crate::config::{self, DistillMethod, RunConfig, Source, preset_names};
use crate::data::{self, DataConfig, DataError, Dataset};
use crate::error::{Failure, Result};
use crate::files::{FileError, write_atomically};
use crate::init::{Fitted, Init, InitArgs, OwnConfig};
use crate::pairs::Pairs;
use crate::progress::Progress;
use crate::real::{Real, is_digits};
use crate::run::{self, Checkpoint, RunFolder};
use crate::training::Job;
use crate::{evaluation, memory, preview, signals, stdout, teacher, validation};
use sit_engine::text::shown;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Train a model, or go on with a run.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Configuration file.
    #[arg(value_name = "CONFIG.toml", conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Configuration that comes with the program: digits, digits-unet, digits-one-step, digits-four-steps, digits-reflow, digits-classifier, digits-data, digits-edm, digits-ou, digits-ddpm, digits-smoke, moons, moons-to-rings, fashion-mnist, fashion-mnist-latents, autoencoder-f4, pictures-32, latents-8, image-folder-64, image-folder-64-unet, SiT-S/2 ...
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Change a key of the configuration, as in train.steps=100; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Leave out images that cannot be decoded or have no label, and class folders without images; the same as --set
    /// data.skip_bad=true.
    #[arg(long)]
    skip_bad: bool,
    /// Go on with the last checkpoint of this run folder, or with this checkpoint folder; without a configuration, with
    /// the run's own.
    #[arg(long, value_name = "RUN", conflicts_with = "out")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    init: InitArgs,
    /// Run folder to make [default: the key log.folder, else runs/NAME; runs/NAME-2 if that is there, and so on].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the run in the run folder (--out, or the default one) if it is there, else start it: one command for a job that
    /// may be stopped and started again.
    #[arg(long, conflicts_with = "resume")]
    auto_resume: bool,
    #[command(flatten)]
    budget: BudgetArg,
    #[command(flatten)]
    backend: BackendArg,
    /// Check everything, show the configuration and the memory forecast, and make no run; decoded images are kept as in a run.
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  sit train --preset digits
  sit train --preset moons-to-rings --set transport.base=data:toy:spiral
  sit train --preset fashion-mnist --set train.steps=20000 --set train.learning_rate=3e-4
  sit train my.toml --out runs/mine --backend cpu
  sit train --resume runs/mine
  sit train --resume runs/mine --set train.steps=30000
  sit train --preset digits --out runs/job --auto-resume
  sit train --preset image-folder-64 --set data.path=photos --dry-run
  sit train --preset SiT-B/2 --set data.path=latents --memory-budget 8000
  sit train --preset image-folder-64 --set data.path='train-{000000..000146}.tar'   (or .npz, .parquet, a folder of CIFAR's binaries)
  sit train --preset image-folder-64 --set data.path=photos --init-from runs/other
  sit train --init-from runs/mine --out runs/branch --set train.learning_rate=1e-5
  sit train --preset digits-one-step --teacher runs/digits

Signals: Ctrl-C, SIGTERM, SIGHUP, SIGXCPU and SIGUSR2 save a checkpoint after the step and stop, SIGUSR1 saves one and goes on.";

/// Runs it.
///
/// # Errors
/// Bad configuration or data, an unwritable folder, a device that cannot hold the model, or too many steps that are not
/// finite.
pub fn run(args: &Args) -> Result<()> {
    signals::usr1_goes_on();
    args.init.check()?;
    let (mut config, start) = args.start()?;
    // The location of a run is not one of its settings.
    config.log.folder = None;
    // Check what can be refused quickly before opening the data, which may take minutes.
    let run = match &start {
        // If the number changes later, relative paths from the folder stay the same.
        Start::Next(name) => run::free_name(name),
        Start::New(folder) | Start::Again(folder) => folder.clone(),
        Start::From(checkpoint) => checkpoint.run.clone(),
    };
    if matches!(start, Start::Next(_) | Start::New(_)) {
        run::check_new(&run)?;
    }
    let checkpoint = match &start {
        Start::From(checkpoint) => Some(&**checkpoint),
        _ => None,
    };
    let steps_before = checkpoint.map(|c| run::steps(&c.run)).transpose()?;
    // A run may go on from another folder.
    let eval = &mut config.log.eval;
    for (key, path) in [
        ("log.preview.vae", &mut config.log.preview.vae),
        ("log.eval.judge", &mut eval.judge),
        ("log.eval.inception", &mut eval.inception),
        ("log.eval.reference", &mut eval.reference),
    ] {
        if let Some(path) = path.as_mut().filter(|path| !is_digits(path)) {
            let full = std::path::absolute(&*path);
            *path =
                full.map_err(|e| Failure::Input(format!("{key}: got {}: {e}", shown(&*path))))?;
        }
    }
    preview::check(&config)?;
    evaluation::check(&config)?;
    let init = match checkpoint {
        Some(_) => None,
        None => Init::open(&mut config)?,
    };
    let teacher = teacher::Opened::open(&mut config, checkpoint)?;
    describe::settings(&config);
    let (dataset, path) = open_data(&mut config, &run, checkpoint)?;
    let init = init.map(|init| init.fit(&config, dataset.class_names()));
    let init = init.transpose()?;
    let device = args.backend.open()?;
    let config = args.budget.fit(config, &device)?;
    // Each worker has the order of an epoch.
    let order = 4 * (dataset.len() * config.data.workers) as u64;
    // Of another reference it is known when that is open.
    let n_real = (config.log.eval.reference.as_ref()).map_or(dataset.len(), |_| 0);
    let forecast = memory::training(&config, &device)
        .with_host("order of images", order)
        .with_host("features of real images", memory::of_real(&config, n_real));
    let base = base::of_run(&config, &run, checkpoint.is_some())?;
    let all = dataset.clone();
    let mut images = validation::split(&config, path.clone(), dataset, base)?;
    let toml = config.to_toml().map_err(Failure::input)?;
    if args.dry_run {
        if let Some(checkpoint) = checkpoint {
            checkpoint.check()?;
        }
        init.map_or(Ok(()), Fitted::check)?;
        stdout::print(&format!("{toml}\n{device}\n{forecast}"))?;
        return forecast.require();
    }
    forecast.require()?;
    let teacher = teacher.map(|teacher| teacher.load(&device)).transpose()?;
    let pairs = match &config.distill {
        Some(distill) if distill.method == DistillMethod::Reflow => {
            signals::catch();
            let data = &*images.training;
            let pairs = match (&teacher, checkpoint) {
                (Some(teacher), _) => Pairs::make(teacher.model(), distill, &config, data)?,
                (None, Some(checkpoint)) => Pairs::open(&checkpoint.run, &config, data)?,
                (None, None) => {
                    return Err(Failure::input(
                        "distill.teacher: got none, expected --teacher RUN",
                    ));
                }
            };
            Some(Arc::new(pairs))
        }
        _ => None,
    };
    if let Some(pairs) = &pairs {
        images.training = pairs.clone();
    }
    if config.log.eval.every_steps > 0 {
        signals::catch();
    }
    let data = DataConfig {
        path,
        ..config.data.clone()
    };
    let class_names = all.class_names().to_vec();
    let evaluation = evaluation::Prepared::open(
        &config,
        &class_names,
        || Real::of_data(&data, all),
        checkpoint.map(|checkpoint| &*checkpoint.run),
        &device,
    )?;
    let mut job = Job::new(config, &device, images, checkpoint, teacher, evaluation)?;
    if let Some(init) = init {
        job.start_from(init)?;
    }

    // Write nothing before all checks have passed.
    let mut folder = match &start {
        Start::Next(name) => RunFolder::make_next(name)?,
        Start::New(folder) => {
            let made = RunFolder::make(folder)?;
            // Another process may have made the folder first, and may already have finished.
            run::check_new(folder)?;
            made
        }
        Start::Again(folder) => RunFolder::make(folder)?,
        Start::From(checkpoint) => RunFolder::claim(&checkpoint.run)?,
    };
    let path = folder.path()?.to_owned();
    if steps_before.is_some() && Some(run::steps(&path)?) != steps_before {
        return Err(Failure::Input(format!(
            "{}: another process has trained in this folder just now; give the command again",
            shown(&path)
        )));
    }
    let step = checkpoint.map_or(0, |checkpoint| checkpoint.state.step);
    for old in run::set_aside(&path, step)? {
        let what = match old.parent() {
            Some(folder) if folder.ends_with(run::SNAPSHOTS) => "snapshot",
            _ => "checkpoint",
        };
        tracing::warn!(
            "a {what} from after step {step} is now called {}",
            shown(&old)
        );
    }
    let file = path.join(CONFIG);
    let saved = checkpoint.map(|checkpoint| checkpoint.state.config.to_toml());
    let saved = saved.transpose().map_err(Failure::input)?;
    keep_edited(&file, [Some(&toml), saved.as_ref()])?;
    write_atomically(&file, |out| out.write_all(toml.as_bytes()))?;
    if let Some(pairs) = pairs.iter().find(|_| checkpoint.is_none()) {
        pairs.keep(&path)?;
    }
    if pairs.is_none() {
        signals::catch();
    }
    job.train(&mut folder)
}

/// The resolved configuration in a run folder, for people and for a run that was killed before its first checkpoint.
const CONFIG: &str = "config.toml";

/// Renames a run's configuration whose values are none of `known`: somebody edited it, and it would be overwritten.
fn keep_edited(file: &Path, known: [Option<&String>; 2]) -> Result<()> {
    let Ok(text) = fs::read_to_string(file) else {
        return Ok(());
    };
    let values = text.parse::<toml::Table>();
    // A key that is left out has its default, or one of an earlier version.
    fn is_part(of: &toml::Table, part: &toml::Table) -> bool {
        part.iter().all(|(key, value)| match (value, of.get(key)) {
            (toml::Value::Table(part), Some(toml::Value::Table(of))) => is_part(of, part),
            (value, other) => other == Some(value),
        })
    }
    let mut known = known.into_iter().flatten();
    let is_known = |known: &String| match (&values, known.parse::<toml::Table>()) {
        (Ok(values), Ok(known)) => is_part(&known, values),
        _ => false,
    };
    if known.any(is_known) {
        return Ok(());
    }
    let numbered = (2..).map(|n| format!("{CONFIG}.old-{n}"));
    let mut names = std::iter::once(format!("{CONFIG}.old")).chain(numbered);
    let old = names.find_map(|name| Some(file.with_file_name(name)).filter(|old| !old.exists()));
    let old = old.unwrap_or_else(|| file.with_extension("toml.old"));
    fs::rename(file, &old).map_err(FileError::of("write", &old))?;
    tracing::warn!(
        "{}: other settings than the run goes on with; it is now {}",
        shown(file),
        shown(&old)
    );
    Ok(())
}

enum Start {
    /// In the first free one of `NAME`, `NAME-2` ...
    Next(PathBuf),
    /// In a folder that is empty or not there.
    New(PathBuf),
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
        // A path on the command line is relative to the working folder.
        let is_set = |key: &str| set.iter().any(|text| config::set_key(text) == key);
        let is_placed = is_set("data.path");
        let load_after = |first: &[String], source: Source| -> Result<RunConfig> {
            let set: Vec<String> = first.iter().chain(&set).cloned().collect();
            let mut config = RunConfig::load(source, &set).map_err(Failure::input)?;
            let named = |e| Failure::input(source.blame(&set, &e));
            config.validate().map_err(named)?;
            if is_placed || self.resume.is_none() {
                config.data.path_from = None;
            }
            Ok(config)
        };
        let load = |source| load_after(&[], source);
        let asked = match (&self.config, &self.preset) {
            (Some(path), _) => Some(Source::File(path)),
            (None, Some(name)) => Some(Source::Preset(name)),
            (None, None) => None,
        };
        let own;
        let resume = match (&self.resume, &self.out) {
            (Some(resume), _) => resume.clone(),
            // An existing run has its own configuration.
            (None, Some(out)) if self.auto_resume && has_run(out) => out.clone(),
            (None, out) => {
                let nothing = || {
                    Failure::Input(format!(
                        "give --preset NAME ({}), a CONFIG.toml, --resume RUN, or --init-from RUN",
                        preset_names().join(", ")
                    ))
                };
                own = match asked {
                    Some(_) => None,
                    None => self.init.own_config()?,
                };
                let mut config = match (asked, &own) {
                    (Some(asked), _) => load(asked)?,
                    (
                        None,
                        Some(OwnConfig {
                            origin,
                            config,
                            set,
                        }),
                    ) => load_after(set.as_slice(), Source::Saved(origin, config))?,
                    (None, None) => return Err(nothing()),
                };
                self.init.put_into(&mut config)?;
                let folder = config.log.folder.clone();
                let default = folder.unwrap_or_else(|| "runs/run".into());
                match out {
                    Some(out) => return Ok((config, Start::New(out.clone()))),
                    None if self.auto_resume && own.is_some() => {
                        return Err(Failure::input(
                            "--auto-resume: a branch of a run needs --out DIR, where it starts or goes on",
                        ));
                    }
                    None if !self.auto_resume => return Ok((config, Start::Next(default))),
                    None if !has_run(&default) => return Ok((config, Start::New(default))),
                    None => default,
                }
            }
        };
        let resume = &resume;
        if resume.is_dir() && !resume.join(run::STATE).is_file() && run::steps(resume)?.is_empty() {
            // It was stopped before its first checkpoint, or even before its configuration was written.
            let config_file = resume.join(CONFIG);
            match asked {
                None if config_file.is_file() => {
                    let config = load(Source::File(&config_file))?;
                    return Ok((config, Start::Again(resume.clone())));
                }
                Some(asked) if config_file.is_file() || run::check_new(resume).is_ok() => {
                    let mut config = load(asked)?;
                    self.init.put_into(&mut config)?;
                    if config_file.is_file() {
                        let begun = RunConfig::load(Source::File(&config_file), &[]);
                        config.init = begun.map_err(Failure::input)?.init;
                    }
                    return Ok((config, Start::Again(resume.clone())));
                }
                None if run::check_new(resume).is_ok() => {
                    return Err(Failure::Input(format!(
                        "{}: no run has begun here; with --preset NAME or a CONFIG.toml one starts",
                        shown(resume)
                    )));
                }
                _ => {}
            }
        }
        let checkpoint = Checkpoint::open(resume)?;
        let origin = shown(&checkpoint.path);
        let saved = &checkpoint.state.config;
        let mut config = load(asked.unwrap_or(Source::Saved(&origin, saved)))?;
        if self.auto_resume {
            self.init.put_into(&mut config)?;
        }
        resume::keep(saved, &mut config, &is_set);
        resume::check(saved, &config).map_err(|e| e.context(&origin))?;
        if config.train.steps < checkpoint.state.step {
            return Err(Failure::Input(format!(
                "train.steps: got {}, expected at least the {} steps that {origin} has done",
                config.train.steps, checkpoint.state.step
            )));
        }
        Ok((config, Start::From(Box::new(checkpoint))))
    }
}

/// Opens the data and fills in the settings that the configuration leaves to it. Also returns the folder where it was found.
fn open_data(
    config: &mut RunConfig,
    run: &Path,
    checkpoint: Option<&Checkpoint>,
) -> Result<(Arc<dyn Dataset>, Option<PathBuf>)> {
    if config.data.path_from.is_none() {
        let base = config.transport.base.data().map(Path::new);
        config.data.remember_place(run, base);
    }
    let found = DataConfig {
        path: config.data.place(Some(run)).map_err(|e| {
            match config::how_to_install(&config.data) {
                Some(line) => Failure::from(e).hint(line),
                None if checkpoint.is_some() => {
                    Failure::from(e).hint("--set data.path=FOLDER says where it is now")
                }
                None => e.into(),
            }
        })?,
        ..config.data.clone()
    };
    let bar = Progress::shared("checking", "images");
    let dataset = data::open(&found, &bar).map_err(|error| {
        let keeps = matches!(error, DataError::Classes { .. }) && checkpoint.is_some();
        let failure = Failure::from(error);
        match keeps {
            true => {
                failure.hint("a run keeps its classes: bring the folders back, or start a new run")
            }
            false => failure,
        }
    })?;
    drop(bar);
    let asked = config.data.clone();
    config.resolve(&*dataset);
    config.check_dataset(&*dataset).map_err(Failure::input)?;
    if checkpoint.is_some() && asked.classes.is_empty() && !config.data.classes.is_empty() {
        tracing::info!("the run has no names of its classes yet; it takes those of its data now");
    }
    describe::data(config, &asked, &*dataset)?;
    Ok((dataset, found.path))
}

/// Whether a run has begun in this folder.
fn has_run(folder: &Path) -> bool {
    folder.join(CONFIG).is_file() || run::steps(folder).is_ok_and(|steps| !steps.is_empty())
}
