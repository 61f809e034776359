//! The flags of a run that starts from other weights.

use crate::config::{DistillMethod, InitConfig, RunConfig, WeightSet};
use crate::error::{Failure, Result};
use crate::run::Checkpoint;
use sit_engine::text::shown;
use sit_engine::transport::Base;
use std::path::PathBuf;

/// Flags of a new run that starts from other weights.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Start from the weights of this run (its last checkpoint) or file; without a configuration, with the run's own. Parts that do
    /// not fit the model are named; they start anew, or are refused.
    #[arg(long, value_name = "RUN|FILE", conflicts_with = "resume")]
    init_from: Option<PathBuf>,
    /// Weights to start from, of a run or of a .pt file that has both [default: ema].
    #[arg(long, value_enum, requires = "init_from")]
    init_weights: Option<WeightSet>,
    /// Distill this run (its last checkpoint) or file: the model learns from it to take few steps (preset digits-one-step); without a
    /// configuration, with the run's own and one step.
    #[arg(long, value_name = "RUN|FILE", conflicts_with_all = ["resume", "init_from"])]
    teacher: Option<PathBuf>,
}

impl InitArgs {
    /// Checks that a run can record where it started from: its files are UTF-8.
    ///
    /// # Errors
    /// [`Failure::Input`] for a path that is not UTF-8.
    pub fn check(&self) -> Result<()> {
        let other = [
            ("--init-from", &self.init_from),
            ("--teacher", &self.teacher),
        ];
        let other = other.iter().find_map(|(flag, from)| {
            let from = from.as_ref()?;
            from.to_str().is_none().then_some((flag, from))
        });
        match other {
            Some((flag, from)) => Err(Failure::Input(format!(
                "{flag}: {}: got a path that is not UTF-8, expected one that a configuration can name; a link of another name \
                 can stand for it",
                shown(from)
            ))),
            _ => Ok(()),
        }
    }

    /// The configuration of the given run, for a branch in a folder beside it.
    ///
    /// # Errors
    /// [`Failure::Input`] when its checkpoint cannot be read, or it is a file, which has none.
    pub fn own_config(&self) -> Result<Option<OwnConfig>> {
        let Some(from) = self.init_from.as_ref().or(self.teacher.as_ref()) else {
            return Ok(None);
        };
        if from.is_file() {
            let flag = match self.teacher {
                Some(_) => "--teacher",
                None => "--init-from",
            };
            return Err(Failure::Input(format!(
                "{flag}: {} is a file of weights and says nothing of data and training; add --preset NAME or a CONFIG.toml",
                shown(from)
            )));
        }
        let Checkpoint { run, path, state } = Checkpoint::open(from)?;
        let mut config = state.config;
        if config.distill.is_some() && self.teacher.is_none() {
            return Err(Failure::Input(format!(
                "--init-from: {} was distilled; --resume goes on with it, and --preset NAME or a CONFIG.toml trains another model from its \
                 weights",
                shown(&path)
            )));
        }
        config.distill = None;
        config.transport.student_steps = None;
        let data = &mut config.data;
        // Use the present location of the data. If the data is missing, a flag may still replace it.
        if let Ok(place) = data.place(Some(&run)) {
            data.path = place;
        }
        // The data may have other classes now. A number of classes that was set explicitly stays.
        let is_auto = !data.classes.is_empty() && Some(data.classes.len()) == data.n_classes;
        data.classes.clear();
        if is_auto {
            data.n_classes = None;
        }
        config.log.folder = Some(run);
        Ok(Some(OwnConfig {
            origin: shown(&path),
            config,
            set: is_auto.then(|| "model.n_classes=auto".to_owned()),
        }))
    }

    /// Adds the flags to a configuration.
    ///
    /// # Errors
    /// [`Failure::Input`] for a configuration that cannot be distilled.
    pub fn put_into(&self, config: &mut RunConfig) -> Result<()> {
        if let Some(from) = &self.init_from {
            config.init = Some(InitConfig {
                from: from.clone(),
                weights: self.init_weights,
            });
        }
        let Some(teacher) = &self.teacher else {
            return Ok(());
        };
        let distill = config.distill.get_or_insert_default();
        distill.teacher = Some(teacher.clone());
        config
            .model
            .set_span(distill.method == DistillMethod::Split);
        match distill.method {
            DistillMethod::Reflow => config.transport.base = Base::Paired,
            DistillMethod::Split | DistillMethod::Progressive => {
                config.transport.student_steps.get_or_insert(1);
            }
        }
        config.validate().map_err(Failure::input)
    }
}

/// The configuration of a run for a branch of it.
pub struct OwnConfig {
    /// Its name in messages.
    pub origin: String,
    /// The configuration.
    pub config: RunConfig,
    /// The setting that the data of the branch decides again, as `key=value`.
    pub set: Option<String>,
}
