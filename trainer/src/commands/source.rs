//! The argument CHECKPOINT: a run or a file of weights, and flags for what the file does not record.

use super::values::whole;
use crate::config::WeightSet;
use crate::error::{Failure, Result};
use crate::files;
use crate::run::{self, Checkpoint};
use crate::weights::{self, WeightFile};
use sit_engine::checkpoint::{Latents, Names, Recipe};
use sit_engine::model::{ModelConfig, Network as _, Output, has_variance};
use sit_engine::optim::Average;
use sit_engine::text::{count, shown};
use sit_engine::transport::{self, PathName, Prediction, Transport, Variance};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A checkpoint, and flags for files that do not tell.
#[derive(Debug, Clone, clap::Args)]
pub struct SourceArgs {
    /// Run folder (its last checkpoint), checkpoint folder, or a .safetensors or .pt file with the official names or those of diffusers'
    /// DiT. Of a model in several files: any of them, their index, or the folder that holds them; of diffusers also its folder.
    #[arg(value_name = "CHECKPOINT")]
    pub checkpoint: PathBuf,
    /// Weights of a run, or of a .pt file that has both, to take [default: ema].
    #[arg(long, value_enum, ignore_case = true, help_heading = "Model")]
    pub weights: Option<WeightSet>,
    #[command(flatten)]
    pub file: FileArgs,
}

/// What a bare file of weights does not say.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct FileArgs {
    /// Path of a bare file's transport; runs and files written here record theirs [default: linear, or ddpm for a DiT of diffusers].
    #[arg(long, value_name = "linear|gvp|vp|ou|edm|ddpm")]
    path: Option<PathName>,
    /// What a bare file's network predicts; runs and files written here record it [default: velocity, or noise for a DiT of diffusers].
    #[arg(long, value_name = "velocity|score|noise|data|denoiser|mean")]
    prediction: Option<Prediction>,
    /// Heads of a bare file whose width is not a published one.
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=65_536))]
    pub n_heads: Option<usize>,
    /// Image side in pixels of a bare file without pos_embed.
    #[arg(long, value_name = "PIXELS", value_parser = whole::<usize>(1..=4096))]
    pub input_size: Option<usize>,
}

impl FileArgs {
    /// Whether flags say what the network predicts and on which path.
    pub fn states_transport(&self) -> bool {
        self.path.is_some() || self.prediction.is_some()
    }

    /// Path and prediction of a file that does not record them. There is no SiT in diffusers.
    fn transport(&self, names: Names) -> (PathName, Prediction) {
        let is_dit = names == Names::Diffusers;
        let path = self.path.unwrap_or(match is_dit {
            true => PathName::Ddpm,
            false => PathName::default(),
        });
        let prediction = self
            .prediction
            .unwrap_or(match is_dit && path == PathName::Ddpm {
                true => Prediction::Noise,
                false => Prediction::default(),
            });
        (path, prediction)
    }
}

/// Weights that are ready to be loaded, and what they are.
pub struct Opened {
    /// Model, transport and data.
    pub recipe: Recipe,
    /// The file.
    pub weights: WeightFile,
    /// Where they come from.
    pub origin: Origin,
    /// Of a run: its folder, and the folder from which paths of its data start.
    pub run: Option<(PathBuf, Option<PathBuf>)>,
}

/// Where weights come from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Checkpoint folder of a run, or a file.
    pub path: PathBuf,
    /// Training steps, where it is known.
    pub step: Option<u64>,
    /// `ema`, `ema2` or `raw`, where the checkpoint says which.
    pub weights: Option<&'static str>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(step) = self.step {
            write!(f, "step {step}, ")?;
        }
        match self.weights {
            Some("ema") => f.write_str("the moving average of the weights (ema), ")?,
            Some("ema2") => {
                f.write_str("the second moving average of the weights (ema2), ")?;
            }
            Some(_) => f.write_str("the weights as trained (raw), ")?,
            None => {}
        }
        write!(f, "{}", shown(&self.path))
    }
}

impl Opened {
    /// How the latents were made that the model was trained on, if they are latents.
    pub fn latents(&self) -> Option<&Latents> {
        self.recipe.data.as_ref()?.latents.as_ref()
    }

    /// Refuses an autoencoder, which makes no images of noise.
    ///
    /// # Errors
    /// [`Failure::Input`] with what to do instead.
    pub fn require_samples(&self) -> Result<()> {
        if self.recipe.model.output() != Output::Reconstruction {
            return Ok(());
        }
        let path = shown(&self.origin.path);
        Err(Failure::Input(format!(
            "CHECKPOINT: {path}: is an autoencoder, which makes images of latents and not of noise; train a model on the latents that sit data \
             encode IMAGES --vae {path} --out LATENTS makes, and sample that model with --vae {path}"
        )))
    }
}

/// Opens the checkpoint of a network that guides a model of `main`, whose transport and image size a bare file is assumed to have.
///
/// # Errors
/// As of [`SourceArgs::open`].
pub fn guide(checkpoint: &Path, main: &Recipe) -> Result<Opened> {
    let mut args = SourceArgs::bare(checkpoint, None, None);
    if !weights::is_run(checkpoint)?
        && let Some(found) = weights::open(checkpoint)?.examine(None, None).recognized
    {
        args.file.input_size = (!found.knows_image).then_some(main.model.io().image[1]);
        let n_heads = match (&found.model, &main.model) {
            (ModelConfig::Dit(weak), ModelConfig::Dit(main)) => {
                (weak.dim == main.dim).then_some(main.n_heads)
            }
            (ModelConfig::Unet(weak), ModelConfig::Unet(main)) => {
                (weak.width == main.width).then_some(main.n_heads)
            }
            _ => None,
        };
        args.file.n_heads = n_heads.filter(|_| !found.knows_heads);
    }
    let mut source = args.open()?;
    if source.weights.recipe()?.is_none() {
        source.recipe.transport = main.transport.clone();
    }
    Ok(source)
}

/// The path with the variance that a bare file's network can have: DiT's range, or the largest one without outputs for it.
pub fn with_variance(path: transport::Path, model: &ModelConfig) -> Result<transport::Path> {
    Ok(match path {
        transport::Path::Ddpm(ddpm) if !has_variance(model)? => {
            let mut ddpm = Arc::unwrap_or_clone(ddpm);
            ddpm.variance = Variance::FixedLarge;
            transport::Path::Ddpm(Arc::new(ddpm))
        }
        path => path,
    })
}

impl SourceArgs {
    /// Opens the checkpoint and checks the names and shapes of its tensors.
    ///
    /// # Errors
    /// [`Failure::Input`] when it cannot be read, does not fit, or itself records what a flag states.
    pub fn open(&self) -> Result<Opened> {
        let source = if weights::is_run(&self.checkpoint)? {
            self.open_run()?
        } else {
            self.open_file()?
        };
        source.weights.check(&source.recipe.model)?;
        Ok(source)
    }

    fn open_run(&self) -> Result<Opened> {
        let checkpoint = Checkpoint::open(&self.checkpoint)?;
        self.refuse_flags(
            "is a run and records its own",
            &checkpoint.state.config.transport,
        )?;
        let which = self.weights.unwrap_or(WeightSet::Ema);
        let file = checkpoint.weights(which);
        let file = file.map_err(|e| e.context("--weights"))?;
        warn_of_lag(&checkpoint, which);
        let weights = weights::open(&file)?;
        // The scale of latents belongs to these weights.
        let recorded = weights.recipe()?;
        Ok(Opened {
            recipe: Recipe {
                latent_scale: recorded.and_then(|recipe| recipe.latent_scale),
                ..checkpoint.state.recipe()
            },
            weights,
            run: Some((checkpoint.run, checkpoint.state.config.data.path_from)),
            origin: Origin {
                step: Some(checkpoint.state.step),
                weights: Some(match which {
                    WeightSet::Ema => "ema",
                    WeightSet::Ema2 => "ema2",
                    WeightSet::Raw => "raw",
                }),
                path: checkpoint.path,
            },
        })
    }

    fn open_file(&self) -> Result<Opened> {
        let mut weights = weights::open(&self.checkpoint)?;
        if let Some(which) = self.weights {
            if weights.sets().next().is_none() {
                return Err(Failure::Input(format!(
                    "--weights: {} is a file of one set of weights, a run has two of them",
                    shown(&self.checkpoint)
                )));
            }
            weights.select(weights::set_name(which))?;
        }
        let recipe = match weights.recipe()? {
            Some(recipe) => {
                self.refuse_flags("records its own", &recipe.transport)?;
                recipe
            }
            None => {
                let (name, prediction) = self.file.transport(weights.names());
                if weights.names() == Names::Diffusers && !self.file.states_transport() {
                    tracing::info!(
                        "{}: a DiT of diffusers, taken to predict {prediction} on the path {name}; --prediction and --path say otherwise",
                        shown(&self.checkpoint)
                    );
                }
                let path = name.usual().ok_or_else(|| {
                    Failure::Input(format!("--path: got {name}, whose rows only a recipe has"))
                })?;
                let model = weights.model(self.file.n_heads, self.file.input_size)?;
                let transport = Transport {
                    path: with_variance(path, &model)?,
                    prediction,
                    ..Transport::default()
                };
                Recipe::new(model, transport)
            }
        };
        let sets: Vec<&str> = weights.sets().collect();
        if self.weights.is_none() && sets.len() > 1 && !sets.contains(&"ema") {
            let taken = weights.selected().unwrap_or_default();
            tracing::warn!(
                "{} has the sets of weights {}, and no moving average: {taken} is taken",
                shown(&self.checkpoint),
                sets.join(", ")
            );
        }
        let n = count(weights.n_left_out(), "tensor");
        let name = shown(&self.checkpoint);
        if weights.is_reversed() {
            tracing::info!(
                "{name}: trained with REPA: {n} of its projectors left out; its time runs from data to noise and is turned"
            );
        } else if weights.n_left_out() > 0 {
            tracing::warn!("{name}: {n} of something else left out");
        }
        let origin = Origin {
            path: self.checkpoint.clone(),
            step: None,
            weights: match weights.selected() {
                Some("ema") => Some("ema"),
                Some("ema2") => Some("ema2"),
                Some("model") if sets.contains(&"ema") => Some("raw"),
                _ => None,
            },
        };
        Ok(Opened {
            recipe,
            weights,
            origin,
            run: None,
        })
    }

    /// The arguments for a checkpoint, or for a bare file with this number of heads and this image size.
    pub fn bare(checkpoint: &Path, n_heads: Option<usize>, input_size: Option<usize>) -> Self {
        SourceArgs {
            checkpoint: checkpoint.to_owned(),
            weights: None,
            file: FileArgs {
                n_heads,
                input_size,
                ..FileArgs::default()
            },
        }
    }

    /// Refuses flags for what a checkpoint records, unless they state the same.
    fn refuse_flags(&self, why: &str, own: &Transport) -> Result<()> {
        let (path, prediction) = (self.file.path, self.file.prediction);
        let flags = [
            ("--path", path.is_some_and(|path| path != own.path.name())),
            (
                "--prediction",
                prediction.is_some_and(|prediction| prediction != own.prediction),
            ),
            ("--n-heads", self.file.n_heads.is_some()),
            ("--input-size", self.file.input_size.is_some()),
        ];
        match flags.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => Err(Failure::Input(format!(
                "{flag}: {} {why}",
                shown(&self.checkpoint)
            ))),
        }
    }
}

/// The path of a checkpoint from the root, with the checksum of its weights: what lies there may have been replaced.
pub fn fingerprint(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let files = match run::is_run(&whole) || whole.join(run::MODEL).is_file() {
        true => vec![whole.join(run::MODEL)],
        false => weights::files(&whole),
    };
    // A file that cannot be read is refused when it is opened.
    let sum = |file: &PathBuf| files::checksum(file).unwrap_or_default();
    let sums: Vec<String> = files
        .iter()
        .map(|file| format!("{:08x}", sum(file)))
        .collect();
    format!("{}, CRC-32C {}", shown(whole), sums.join(" "))
}

/// Warns of a moving average that still holds the weights that training began with.
fn warn_of_lag(checkpoint: &Checkpoint, which: WeightSet) {
    let train = &checkpoint.state.config.train;
    let (key, decay) = match which {
        WeightSet::Ema => ("ema_decay", train.ema_decay),
        WeightSet::Ema2 => ("ema_decay2", train.ema_decay2.unwrap_or_default()),
        WeightSet::Raw => return,
    };
    let average = Average::Exponential {
        decay,
        warmup: train.ema_warmup,
    };
    let n = checkpoint.state.n_updates;
    let share = average.share_of_initial(n);
    if share > 0.01 {
        tracing::warn!(
            "the moving average of the weights has not caught up: after {} of train.{key} = {decay} it still holds {:.0} % of the \
             initial weights; --weights raw takes the weights as trained",
            count(n, "update"),
            100.0 * share
        );
    }
}
