//! A run's configuration: TOML files, presets by name, `--set key=value`, and what a valid one is.
//!
//! Every table refuses keys it does not know. A configuration that was loaded is complete: written out it holds every
//! default, and read back it is the same.

mod autoencoder;
mod distill;
mod eval;
#[cfg(not(target_arch = "wasm32"))]
mod file;
mod keys;
mod load;
mod nesting;
pub(crate) mod number;
mod presets;
mod tables;
mod value;

pub use autoencoder::AutoencoderConfig;
pub use distill::{DistillConfig, DistillMethod};
pub use eval::{CLASSIFIER, EvalConfig, Metric, Protocol};
pub use load::{Source, data_with, set_key};
pub use presets::{how_to_install, preset_called, preset_names};
pub use tables::{
    InitConfig, LogConfig, PreviewConfig, SnapshotConfig, TrainConfig, ValidationConfig, WeightSet,
};
#[cfg(feature = "cli")]
pub(crate) use value::suggestion;

use serde::{Deserialize, Serialize};
use sit_engine::model::{Model, ModelConfig, Network as _, Output};
use sit_engine::optim::{AdamW, Average, LearningRate};
use sit_engine::text::count;
use sit_engine::train::{Trainer, Training};
use sit_engine::transport::{Base, Transport};

use crate::data::{BatchConfig, DataConfig, Dataset, Kind};

/// Why a configuration cannot be used: names the file, preset or flag, the key, what it is and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Everything that decides what a run does, besides the machine and its backend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The network. In a file, `preset = "SiT-S/2"` gives `patch`, `dim`, `depth` and `n_heads`, and `learn_sigma` is
    /// true unless set. `n_classes = "auto"`, the default there, is as many as the data has: a folder with class folders trains
    /// conditionally.
    pub model: ModelConfig,
    /// What the network learns; Linear path and velocity by default.
    #[serde(default)]
    pub transport: Transport,
    /// The images.
    pub data: DataConfig,
    /// Where the weights start from; without it they are new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitConfig>,
    /// The teacher that the model learns from, and how; without it the model learns from the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distill: Option<DistillConfig>,
    /// The loss of an autoencoder, of a run that trains one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoencoder: Option<AutoencoderConfig>,
    /// Optimization.
    #[serde(default)]
    pub train: TrainConfig,
    /// What a run writes, and when.
    #[serde(default)]
    pub log: LogConfig,
}

impl RunConfig {
    /// Whether the run learns from pairs that a teacher makes.
    pub fn is_reflow(&self) -> bool {
        let distill = self.distill.as_ref();
        distill.is_some_and(|distill| distill.method == DistillMethod::Reflow)
    }

    /// Whether the run trains an autoencoder.
    pub fn trains_autoencoder(&self) -> bool {
        self.model.output() == Output::Reconstruction
    }

    /// What a training step is made of; of a run that distills, enough for a forecast.
    pub fn step(&self) -> Training {
        self.step_with(None)
    }

    /// What a training step is made of, with the teacher of a run that distills.
    pub fn step_with(&self, teacher: Option<&Model>) -> Training {
        let distill = self.distill.as_ref();
        // A network that is refused here is refused by name with the other settings.
        let objective = distill.and_then(|distill| distill.objective(self, teacher).ok()?);
        match (objective, &self.autoencoder) {
            (Some(objective), _) => self.plain_step().objective(objective),
            (None, Some(loss)) => self.plain_step().objective(loss.objective()),
            (None, None) => self.plain_step(),
        }
    }

    fn plain_step(&self) -> Training {
        let TrainConfig {
            betas,
            adam_eps,
            weight_decay,
            clip,
            ema_decay,
            ema_warmup,
            ..
        } = self.train;
        let adamw = AdamW {
            betas,
            adam_eps,
            weight_decay,
            clip,
            ema_decay,
            ema_warmup,
        };
        Trainer::builder(self.model.clone())
            .transport(self.transport.clone())
            .adamw(adamw)
            .averages(self.averages())
            .batch(self.train.batch)
            .accumulate(self.train.accumulate)
            .recompute(self.train.recompute)
            .class_dropout(self.train.class_dropout)
            .seed(self.train.seed)
    }

    /// The averages beside that of `train.ema_decay`: the second one, and those of snapshots.
    pub fn averages(&self) -> Vec<Average> {
        let second = self.train.ema_decay2.map(|decay| Average::Exponential {
            decay,
            warmup: self.train.ema_warmup,
        });
        let snapshots = &self.log.snapshots;
        let widths = match snapshots.every_steps {
            0 => &[],
            _ => &snapshots.widths[..],
        };
        let powers = widths.iter().copied().map(Average::power);
        second.into_iter().chain(powers).collect()
    }

    /// The order of the samples.
    pub fn batches(&self) -> BatchConfig {
        BatchConfig {
            seed: self.train.seed,
            batch: self.train.batch,
            flip: self.data.flip,
        }
    }

    /// The learning rate by step.
    pub fn learning_rate(&self) -> LearningRate {
        LearningRate {
            peak: self.train.learning_rate,
            warmup_steps: self.train.warmup_steps,
            schedule: self.train.schedule,
            final_fraction: self.train.final_lr_fraction,
            total_steps: self.train.steps,
        }
    }

    /// The configuration as TOML, every default written out.
    ///
    /// # Errors
    /// [`ConfigError`] for a path that is not UTF-8; only a configuration that was not read from TOML can have one.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        let text = match self.data.n_classes {
            Some(_) => toml::to_string(self),
            None => toml::Table::try_from(self).map(|table| with_auto(table).to_string()),
        };
        text.map_err(|error| ConfigError::new(format!("cannot be kept in a file: {error}")))
    }

    /// The configuration as a TOML table, every default written out.
    ///
    /// # Errors
    /// [`ConfigError`] for a number that TOML cannot represent; only a configuration that was not read from TOML can have one.
    pub fn to_table(&self) -> Result<toml::Table, ConfigError> {
        let table = toml::Table::try_from(self);
        let table = table.map_err(|error| ConfigError::new(error.to_string()))?;
        Ok(match self.data.n_classes {
            Some(_) => table,
            None => with_auto(table),
        })
    }

    /// Takes over what opening the data has determined: the number of classes, if it was left to the data, and their names.
    pub fn resolve(&mut self, dataset: &dyn Dataset) {
        dataset.resolve(&mut self.data);
        if let Some(n_classes) = self.data.n_classes {
            self.model.set_n_classes(n_classes);
        }
    }

    /// The values by dotted key, such as `train.betas`.
    ///
    /// # Errors
    /// As [`RunConfig::to_table`].
    pub fn keys(&self) -> Result<toml::Table, ConfigError> {
        fn flatten(prefix: &str, table: toml::Table, into: &mut toml::Table) {
            for (key, value) in table {
                match value {
                    toml::Value::Table(table) => flatten(&format!("{prefix}{key}."), table, into),
                    value => {
                        into.insert(format!("{prefix}{key}"), value);
                    }
                }
            }
        }
        let mut flat = toml::Table::new();
        flatten("", self.to_table()?, &mut flat);
        Ok(flat)
    }

    /// Checks all that can be checked without opening a file or a device.
    ///
    /// # Errors
    /// [`ConfigError`] for a value out of its range, or tables that contradict each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_work()?;
        self.data
            .check()
            .map_err(|error| ConfigError::new(error.to_string()))?;
        if let Some(n_classes) = self.data.n_classes
            && n_classes != self.model.io().n_classes
        {
            return Err(ConfigError::new(format!(
                "data.n_classes: got {n_classes}, expected model.n_classes = {}",
                self.model.io().n_classes
            )));
        }
        match self.data.kind {
            Kind::Digits => self.check_shape("the digits", [1, 8, 8]),
            Kind::Toy => self.check_shape("the points of a toy", [2, 1, 1]),
            Kind::Folder => {
                let size = self.data.image_size.unwrap_or_default();
                let channels = self.data.channels();
                self.check_shape(
                    "the data, set by data.image_size and data.channels",
                    [channels, size, size],
                )
            }
            // The shape is known only when the files are opened.
            Kind::Idx | Kind::Latents => Ok(()),
        }
    }

    /// The part of [`RunConfig::validate`] that does not look at the data.
    ///
    /// # Errors
    /// As there.
    pub fn validate_work(&self) -> Result<(), ConfigError> {
        let plain = |error: sit_engine::Error| ConfigError::new(error.to_string());
        self.model.validate(1).map_err(plain)?;
        let in_transport = |e: sit_engine::Error| plain(e.within("transport"));
        self.transport.target().map_err(in_transport)?;
        let in_train = |e: sit_engine::Error| match e {
            // An error of the network, which already names its table.
            sit_engine::Error::Setting { ref key, .. } if key.starts_with("model") => plain(e),
            sit_engine::Error::Setting { ref key, .. } if key == "student_steps" => in_transport(e),
            sit_engine::Error::Setting { ref key, .. } if distill::KEYS.contains(&&key[..]) => {
                plain(e.within("distill"))
            }
            sit_engine::Error::Setting { ref key, .. } if autoencoder::KEYS.contains(&&key[..]) => {
                plain(e.within("autoencoder"))
            }
            e => plain(e.within("train")),
        };
        // Before the training step, which does not know the keys of the averages.
        self.train.validate()?;
        self.log.validate()?;
        self.log.eval.validate(self)?;
        autoencoder::check(self)?;
        match &self.distill {
            Some(distill) => distill.validate(self)?,
            None if self.transport.student_steps.is_some() => {
                return Err(ConfigError::new(
                    "transport.student_steps: expected none without the table distill: only a model that learns from a teacher has them",
                ));
            }
            None if self.model.io().has_span => {
                return Err(ConfigError::new(
                    "model.span: got true, expected false without the table distill: only a model that learns from a teacher has spans",
                ));
            }
            None if self.transport.base == Base::Paired => {
                return Err(ConfigError::new(
                    "transport.base: got paired, expected distill.method = reflow with it",
                ));
            }
            None => {}
        }
        self.step().validate().map_err(in_train)?;
        self.train.validate_work(self.model.io().image_len())
    }

    /// Checks that the network fits the images.
    ///
    /// # Errors
    /// [`ConfigError`] for images of another shape, or of more classes than the network has.
    pub fn check_dataset(&self, dataset: &dyn Dataset) -> Result<(), ConfigError> {
        self.check_shape(dataset.name(), dataset.shape())?;
        let plain = |error: sit_engine::Error| ConfigError::new(error.to_string());
        self.model.validate(1).map_err(plain)?;
        if self.model.output() == Output::Logits && dataset.n_classes() < 2 {
            return Err(ConfigError::new(format!(
                "model.family: got classifier, and {} has {}, expected at least 2",
                dataset.name(),
                count(dataset.n_classes(), "class")
            )));
        }
        if dataset.n_classes() > self.model.io().n_classes {
            return Err(ConfigError::new(format!(
                "model.n_classes: got {}, expected at least {}, the classes of {}",
                self.model.io().n_classes,
                dataset.n_classes(),
                dataset.name()
            )));
        }
        Ok(())
    }

    fn check_shape(
        &self,
        data: &str,
        [channels, height, width]: [usize; 3],
    ) -> Result<(), ConfigError> {
        if height != width {
            return Err(ConfigError::new(format!(
                "{data}: got images of {width}x{height}, expected squares"
            )));
        }
        let [own_channels, own_height, _] = self.model.io().image;
        let sizes = [
            ("input_size", own_height, width, "side of the images"),
            ("channels", own_channels, channels, "channels of the images"),
        ];
        for (key, got, expected, what) in sizes {
            if got != expected {
                return Err(ConfigError::new(format!(
                    "model.{key}: got {got}, expected {expected}, the {what} of {data}"
                )));
            }
        }
        Ok(())
    }
}

/// The value of `model.n_classes` that leaves the number to the data.
const AUTO: &str = "auto";

/// The table of a configuration whose data has not been opened yet.
fn with_auto(mut table: toml::Table) -> toml::Table {
    if let Some(toml::Value::Table(model)) = table.get_mut("model") {
        model.insert("n_classes".to_owned(), AUTO.into());
    }
    table
}

#[cfg(test)]
mod tests;
