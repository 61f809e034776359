//! The weights that a new run starts from: which tensors of another model fit, and how the other parameters start.

mod flags;
mod labels;
pub(crate) mod part;

pub use flags::{InitArgs, OwnConfig};

use crate::config::{InitConfig, RunConfig, WeightSet};
use crate::error::{Failure, Result};
use crate::run::Checkpoint;
use crate::weights::{self, WeightFile};
use labels::Classes;
use part::{PATCHES, Part, adds_null};
use sit_engine::checkpoint::{Mismatch, Recipe};
use sit_engine::model::{self, Dit, ModelConfig, PRESETS};
use sit_engine::nn::ParamSpec;
use sit_engine::text::{count, shown};
use sit_engine::train::Trainer;
use std::path::Path;

/// Other weights that a run starts from, checked against its model. Only the header of the file has been read.
pub struct Init {
    /// The file's name.
    name: String,
    file: WeightFile,
    recipe: Option<Recipe>,
    /// The file's model.
    old: Dit,
}

impl Init {
    /// Opens the weights that `config.init` asks for, if any, and records in it which checkpoint and which weights these are.
    ///
    /// # Errors
    /// [`Failure::Input`] when it cannot be read, is not a SiT, or its blocks differ from those of the run's model.
    pub fn open(config: &mut RunConfig) -> Result<Option<Self>> {
        let Some(InitConfig { from, weights }) = &mut config.init else {
            return Ok(None);
        };
        let (file, checkpoint) = open(from, *weights)?;
        let recipe = match checkpoint {
            Some(checkpoint) => {
                *from = checkpoint.path.clone();
                weights.get_or_insert(WeightSet::Ema);
                Some(checkpoint.state.recipe())
            }
            None => {
                *weights = match file.selected() {
                    Some("ema") => Some(WeightSet::Ema),
                    Some("ema2") => Some(WeightSet::Ema2),
                    Some("model") => Some(WeightSet::Raw),
                    _ => None,
                };
                file.recipe()?
            }
        };
        let name = shown(&from);
        let new = dit("the run", &config.model)?;
        let old = match &recipe {
            Some(recipe) => *dit(&name, &recipe.model)?,
            None => model_of(&name, &file, new)?,
        };
        let init = Init {
            name,
            file,
            recipe,
            old,
        };
        init.check(new)?;
        Ok(Some(init))
    }

    /// Refuses a file that is not a complete SiT, and blocks that do not fit those of `new`.
    fn check(&self, new: &Dit) -> Result<()> {
        let (extra, bad): (Vec<_>, Vec<_>) = self
            .file
            .mismatches(&model::params(&self.old)?)
            .into_iter()
            .partition(|mismatch| matches!(mismatch, Mismatch::Extra { .. }));
        if let Some(first) = bad.first() {
            let more = match bad.len() {
                1 => String::new(),
                n => format!(", and {} more do not fit", n - 1),
            };
            return Err(Failure::Input(format!("{}: {first}{more}", self.name)));
        }
        if let Some(Mismatch::Extra { name, .. }) = extra.first() {
            tracing::warn!(
                "{}: tensors that a SiT does not have are left out: {name}{}",
                self.name,
                more(extra.len() - 1)
            );
        }
        let sizes = |m: &Dit| [("dim", m.dim), ("depth", m.depth), ("n_heads", m.n_heads)];
        let differ: Vec<_> = sizes(&self.old)
            .into_iter()
            .zip(sizes(new))
            .filter(|(old, new)| old != new)
            .collect();
        if self.old.design() != new.design() {
            return Err(Failure::Input(format!(
                "{}: its blocks are {}, those of the configuration {}: the weights of the blocks do not fit",
                self.name,
                self.old.design(),
                new.design()
            )));
        }
        if differ.is_empty() {
            return Ok(());
        }
        let list = |texts: Vec<String>| texts.join(", ");
        let has = differ
            .iter()
            .map(|((key, n), _)| format!("model.{key} = {n}"));
        let not = differ.iter().map(|(_, (_, n))| n.to_string());
        let mut set: Vec<String> = differ
            .iter()
            .map(|((key, n), _)| format!(" --set model.{key}={n}"))
            .collect();
        if self.keeps_patches(new) {
            set.push(format!(" --set model.patch={}", self.old.patch));
        }
        Err(Failure::Input(format!(
            "{}: has {}, the configuration has {}: the weights of the blocks do not fit\nthey do with{}",
            self.name,
            list(has.collect()),
            list(not.collect()),
            set.concat()
        )))
    }

    /// Whether only the patch size prevents taking over patch embedding and last layer.
    fn keeps_patches(&self, new: &Dit) -> bool {
        let old = &self.old;
        old.patch != new.patch
            && old.channels == new.channels
            && new.input_size.is_multiple_of(old.patch)
    }

    /// Decides what a run of `config` takes from the file, and logs it; `names` are those of the run's classes.
    ///
    /// # Errors
    /// [`Failure::Input`] when the run's network is no DiT.
    pub fn fit(self, config: &RunConfig, names: &[String]) -> Result<Fitted> {
        let new = dit("the run", &config.model)?;
        let classes = Classes {
            n: new.n_classes,
            names,
        };
        let labels = (self.old.n_classes > 0 && classes.n > 0)
            .then(|| labels::rows(&self.classes(), &classes));
        let (rows, text) = labels.unzip();
        let parts: Vec<_> = model::params(new)
            .unwrap_or_default()
            .into_iter()
            .filter(ParamSpec::is_trained)
            .map(|spec| {
                let part = Part::of(&spec.name, &self.old, new, rows.as_deref());
                (spec, part)
            })
            .collect();
        self.describe(config, new, &parts, text.as_deref());
        Ok(Fitted {
            init: self,
            parts,
            seed: config.train.seed,
        })
    }

    fn describe(&self, config: &RunConfig, new: &Dit, parts: &[Parameter], labels: Option<&str>) {
        let old = &self.old;
        let n_kept = parts.iter().filter(|(_, part)| *part == Part::Kept).count();
        let which = match config.init.as_ref().and_then(|init| init.weights) {
            Some(WeightSet::Ema) => ", moving average",
            Some(WeightSet::Ema2) => ", second moving average",
            Some(WeightSet::Raw) => ", weights as trained",
            None => "",
        };
        tracing::info!(
            "starting from {}{which}: {n_kept} of {} tensors as they are",
            self.name,
            parts.len()
        );
        self.describe_transport(config);
        match (labels, old.n_classes, new.n_classes) {
            (Some(labels), ..) => tracing::info!("label table: {labels}"),
            (None, 0, 0) => {}
            (None, _, 0) if adds_null(old, new) => tracing::info!(
                "label table: none; the embedding of its null class is now part of the embedding of the time"
            ),
            (None, _, 0) => {
                tracing::warn!("label table: none; the blocks no longer see the token of a class")
            }
            (None, _, n) => tracing::info!(
                "label table: new, for {}; there was none",
                count(n, "class")
            ),
        }
        if old.span && !new.span {
            tracing::warn!(
                "{} predicts mean velocities over spans, which this run learns to do without",
                self.name
            );
        }
        let patches = |m: &Dit| format!("{0}x{0}x{1}", m.patch, m.channels);
        if patches(old) != patches(new) {
            tracing::warn!(
                "patch embedding and last layer: new, for patches of {}, not {}{}",
                patches(new),
                patches(old),
                if self.keeps_patches(new) {
                    format!("; --set model.patch={} keeps them", old.patch)
                } else {
                    String::new()
                }
            );
        } else if old.learn_sigma && !new.learn_sigma {
            tracing::info!("last layer: without its sigma half, which is not used");
        } else if !old.learn_sigma && new.learn_sigma {
            tracing::info!("last layer: with a sigma half of zeros, which is not used");
        }
        if self.knows_size() && old.input_size != new.input_size {
            tracing::info!(
                "images of {0}x{0}, not {1}x{1}: positions are computed for the new size",
                new.input_size,
                old.input_size
            );
        }
    }

    fn describe_transport(&self, config: &RunConfig) {
        let new = &config.transport;
        match &self.recipe {
            None => tracing::warn!(
                "{} does not say what it was trained to predict; taken for the configuration's {} on the path {}",
                self.name,
                new.prediction,
                new.path
            ),
            Some(Recipe { transport: old, .. }) => {
                if (&old.path, old.prediction) != (&new.path, new.prediction) {
                    tracing::warn!(
                        "{} was trained to predict {} on the path {}; this run trains {} on {}, which it has to learn anew \
                         (--set transport.prediction={} --set transport.path={} keeps it)",
                        self.name,
                        old.prediction,
                        old.path,
                        new.prediction,
                        new.path,
                        old.prediction,
                        old.path
                    );
                }
            }
        }
    }

    /// Whether the file determines the size of its images.
    fn knows_size(&self) -> bool {
        let records = self.recipe.is_some() || self.file.records_sizes().unwrap_or_default();
        records || self.file.entry("pos_embed").is_some()
    }

    fn classes(&self) -> Classes<'_> {
        Classes {
            n: self.old.n_classes,
            names: self.recipe.as_ref().map_or(&[], |recipe| &recipe.classes),
        }
    }
}

/// What a run takes from a file of weights.
pub struct Fitted {
    init: Init,
    parts: Vec<Parameter>,
    seed: u64,
}

/// A trained parameter, and how it starts.
type Parameter = (ParamSpec, Part);

impl Fitted {
    /// Reads all values that the run would start from.
    ///
    /// # Errors
    /// As [`Fitted::load`].
    pub fn check(self) -> Result<()> {
        let Init { mut file, old, .. } = self.init;
        file.check_tables(&model::params(&old)?)?;
        for (spec, part) in self.parts {
            part.read(&mut file, &spec, || vec![0.0; spec.shape.numel()])?;
        }
        Ok(())
    }

    /// Loads the weights into parameters and averages, which hold the run's initial values.
    ///
    /// # Errors
    /// [`Failure::Input`] naming the tensor that cannot be read or is not finite, [`Failure::Run`] when the device fails.
    pub fn load(self, trainer: &Trainer) -> Result<()> {
        let Init { mut file, old, .. } = self.init;
        file.check_tables(&model::params(&old)?)?;
        for (index, (spec, part)) in self.parts.into_iter().enumerate() {
            let initial = || spec.init.values(&spec.shape, self.seed, index as u32);
            let Some(values) = part.read(&mut file, &spec, initial)? else {
                continue;
            };
            for weights in trainer.training().weights() {
                trainer.model(weights).write(&spec.name, &values)?;
            }
        }
        Ok(())
    }
}

/// The network as a DiT, whose parts are known by name.
fn dit<'a>(name: &str, model: &'a ModelConfig) -> Result<&'a Dit> {
    match model {
        ModelConfig::Dit(dit) => Ok(dit),
        other => Err(Failure::Input(format!(
            "{name}: {other} is no DiT; expected one, as other networks cannot start from a file yet"
        ))),
    }
}

/// Opens the weights of a run's checkpoint or of a file. `which` defaults to the moving average if there are both.
fn open(path: &Path, which: Option<WeightSet>) -> Result<(WeightFile, Option<Checkpoint>)> {
    if weights::is_run(path)? {
        let checkpoint = Checkpoint::open(path)?;
        let which = which.unwrap_or(WeightSet::Ema);
        let file = checkpoint.weights(which);
        let file = file.map_err(|e| e.context("--init-weights"))?;
        return Ok((weights::open(&file)?, Some(checkpoint)));
    }
    let mut file = weights::open(path)?;
    if let Some(which) = which {
        if file.sets().next().is_none() {
            return Err(Failure::Input(format!(
                "--init-weights: {} is a file of one set of weights, a run has two of them",
                shown(path)
            )));
        }
        file.select(weights::set_name(which))?;
    }
    Ok((file, None))
}

/// The model of a file that does not record it. No tensor shows the number of heads: for equal widths it is the configuration's.
fn model_of(name: &str, file: &WeightFile, new: &Dit) -> Result<Dit> {
    if file.records_sizes()? {
        return Ok(*dit(name, &file.model(None, None)?)?);
    }
    // If the image side is unknown, use the patch size: the patch divides it.
    let proj = PATCHES
        .iter()
        .find_map(|name| file.shape(name))
        .filter(|_| file.entry("pos_embed").is_none());
    let side = proj.and_then(|shape| shape.get(2).copied());
    let mut old = *dit(name, &file.model(Some(1), side)?)?;
    let published = PRESETS.iter().find(|preset| preset.dit.dim == old.dim);
    old.n_heads = match published {
        Some(preset) if old.dim != new.dim => preset.dit.n_heads,
        _ => new.n_heads,
    };
    if let Some(preset) = published.filter(|preset| preset.dit.n_heads != old.n_heads) {
        tracing::warn!(
            "{name} does not say its number of heads; {}, of its width, has {}, the configuration model.n_heads = {}",
            preset.name,
            preset.dit.n_heads,
            new.n_heads
        );
    }
    Ok(old)
}

/// ` and 3 more`, or nothing.
fn more(n: usize) -> String {
    match n {
        0 => String::new(),
        n => format!(" and {n} more"),
    }
}
