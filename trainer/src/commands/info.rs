//! `sit info`: what a model needs and what this machine has.

mod kind;
mod needs;
mod sizes;

use super::backend;
use super::values::whole;
use crate::budget::BudgetArg;
use crate::config::{
    AutoencoderConfig, LogConfig, RunConfig, Source, TrainConfig, WeightSet, preset_called,
};
use crate::data::{DataConfig, classes};
use crate::error::{Failure, Result, in_flags};
use crate::run::{self, Checkpoint};
use crate::stdout;
use crate::weights::{self, WeightFile};
use sit_engine::backend::{Choice, Device};
use sit_engine::checkpoint::{self, Examination};
use sit_engine::model::{
    self, Blueprint, ModelConfig, Network as _, Output, Recognized, has_variance,
};
use sit_engine::text::{self, shown};
use sit_engine::transport::{Method, Sampler, Transport, start_kl};
use std::path::PathBuf;

/// Show what a file of weights is and what to pass to sample it, a model's parameters, work and memory, and what this machine can run.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sit info --preset SiT-XL/2 --batch 1\n  sit info --preset SiT-B/2 --memory-budget 16000\n  sit info runs/digits\n  sit info SiT-XL-2-256x256.pt"
)]
pub struct Args {
    /// Run folder, checkpoint folder, or a .safetensors or .pt file of any kind; without it and --preset only what this machine has is
    /// shown.
    #[arg(value_name = "CHECKPOINT", conflicts_with = "preset")]
    checkpoint: Option<PathBuf>,
    /// Configuration that comes with the program.
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Change a key of the preset's configuration.
    #[arg(
        long = "set",
        value_name = "KEY=VALUE",
        conflicts_with = "checkpoint",
        requires = "preset"
    )]
    set: Vec<String>,
    /// Images at a time, in training and in sampling [default: the configuration's].
    #[arg(long, value_name = "B", value_parser = whole::<u32>(1..=65_536))]
    batch: Option<u32>,
    /// Heads of a bare file whose width is not a published one.
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=65_536), requires = "checkpoint")]
    n_heads: Option<usize>,
    /// Image side in pixels of a bare file without pos_embed.
    #[arg(long, value_name = "PIXELS", value_parser = whole::<usize>(1..=4096), requires = "checkpoint")]
    input_size: Option<usize>,
    #[command(flatten)]
    budget: BudgetArg,
}

impl Args {
    /// The flags that say what a bare file does not, as they were given.
    fn given(&self) -> String {
        let flags = [("n-heads", self.n_heads), ("input-size", self.input_size)];
        let given = flags.into_iter();
        let given = given.filter_map(|(flag, n)| Some(format!(" --{flag} {}", n?)));
        given.collect()
    }
}

/// The most mismatched tensors that are listed; more would not help.
const MISMATCHES_SHOWN: usize = 10;

/// Runs it.
///
/// # Errors
/// A checkpoint or preset that cannot be read.
pub fn run(args: &Args) -> Result<()> {
    let mut text = String::new();
    let mut names = Vec::new();
    let mut transport = None;
    let mut advice = String::new();
    let mut config = match (&args.preset, &args.checkpoint) {
        (Some(name), _) => {
            let source = Source::Preset(name);
            let config = RunConfig::load(source, &args.set).map_err(Failure::input)?;
            let valid = config.validate_work();
            valid.map_err(|e| Failure::input(source.blame(&args.set, &e)))?;
            config
        }
        (None, Some(path)) if weights::is_run(path)? => {
            if args.n_heads.or(args.input_size).is_some() {
                return Err(Failure::Input(format!(
                    "--n-heads, --input-size: {} is a run and records its own sizes",
                    shown(path)
                )));
            }
            let checkpoint = Checkpoint::open(path)?;
            text += &format!(
                "{}: {}, trained on {}\n",
                shown(&checkpoint.path),
                text::count(checkpoint.state.step, "step"),
                checkpoint.state.device
            );
            for average in checkpoint.state.config.averages() {
                let file = run::average_file(&average);
                text += &format!("{file}: {average}\n");
            }
            names.clone_from(&checkpoint.state.config.data.classes);
            let ema = weights::open(&checkpoint.weights(WeightSet::Ema)?)?;
            text += &latents(ema.recipe()?.and_then(|recipe| recipe.latent_scale));
            transport = Some(checkpoint.state.config.transport.clone());
            checkpoint.state.config
        }
        (None, Some(path)) => {
            let file =
                weights::open(path).map_err(|e| match preset_called(&path.to_string_lossy()) {
                    Some(name) if !path.exists() => {
                        e.hint(format!("did you mean --preset {name}?"))
                    }
                    _ => e,
                })?;
            text += &kind::file(path, &file);
            if let Some(recipe) = file.recipe()? {
                names = recipe.classes;
                transport = Some(recipe.transport);
                text += &latents(recipe.latent_scale);
                if let Some(averaged) = recipe.average {
                    text += &format!("{averaged}\n");
                }
            }
            if let Some(other) = kind::other(path, &file) {
                return stdout::print(&(text + &other));
            }
            match recognized(&file, args, &mut text) {
                Ok(known) if known.knows_heads && known.knows_image => {
                    advice = kind::network(path, &file, &known, &args.given())?;
                    with_model(known.model)
                }
                outcome => {
                    if let Ok(known) = &outcome {
                        let count = text::count(known.model.io().n_classes, "class");
                        describe(&mut text, known, &count, &names)?;
                        text += &kind::network(path, &file, known, &args.given())?;
                        text += &open_questions(known);
                    }
                    stdout::print(&text)?;
                    return outcome.map(drop);
                }
            }
        }
        (None, None) if args.budget.is_given() => {
            return Err(Failure::Input(
                "--memory-budget: give --preset NAME or a CHECKPOINT, whose training is to fit"
                    .into(),
            ));
        }
        (None, None) => return machine(),
    };
    if let Some(batch) = args.batch {
        config.train.batch = batch as usize;
    }
    config.model.validate(1)?;
    let classes = match (config.model.io().n_classes, config.data.n_classes) {
        (0, None) => "as many classes as the data has".to_owned(),
        (n, _) => text::count(n, "class"),
    };
    let known = Recognized::all(config.model.clone());
    describe(&mut text, &known, &classes, &names)?;
    text += &advice;
    if let Some(transport) = transport {
        text += &start(&transport, config.model.io().image_len());
        if let Some(n) = transport.student_steps {
            let any = match config.model.io().has_span {
                true => ", or any other number",
                false => "",
            };
            text += &format!(
                "a student: it makes an image in {}{any}\n",
                text::count(n, "step")
            );
        }
        config.transport = transport;
    }
    if config.model.io().has_span {
        // It was trained beside a teacher.
        config.distill.get_or_insert_default();
    }
    for choice in [Choice::Cpu, Choice::Gpu] {
        text += "\n";
        match Device::open(choice) {
            Ok(device) => text += &needs::text(&config, args.budget, &device)?,
            Err(e) => text += &format!("{}\n", in_flags(&e)),
        }
    }
    text += &gpus();
    stdout::print(&text)
}

/// The most tensors that are listed of a file that is not a SiT.
const TENSORS_SHOWN: usize = 5;

/// Shows the devices of this machine, without a model.
fn machine() -> Result<()> {
    let mut text = String::new();
    for choice in [Choice::Cpu, Choice::Gpu] {
        match Device::open(choice) {
            Ok(device) => text += &format!("{device}\n"),
            Err(e) => text += &format!("{}\n", in_flags(&e)),
        }
    }
    text += &gpus();
    stdout::print(&text)
}

/// The GPUs by number, after an empty line; nothing without any.
fn gpus() -> String {
    let gpus = backend::list();
    match gpus.is_empty() {
        true => String::new(),
        false => format!("\n{gpus}"),
    }
}

/// The model sizes found in a file. Writes mismatched tensors to `text`, or the first tensors if the file is not a SiT.
fn recognized(file: &WeightFile, args: &Args, text: &mut String) -> Result<Recognized> {
    let Examination {
        model,
        recognized,
        mismatches,
    } = file.examine(args.n_heads, args.input_size);
    for mismatch in mismatches.iter().take(MISMATCHES_SHOWN) {
        *text += &format!("  {mismatch}\n");
    }
    if mismatches.len() > MISMATCHES_SHOWN {
        let more = mismatches.len() - MISMATCHES_SHOWN;
        *text += &format!("  and {more} more do not fit\n");
    }
    if let Some(recognized) = recognized {
        return Ok(recognized);
    }
    for (name, entry) in file.tensors().take(TENSORS_SHOWN) {
        let (name, shape) = (checkpoint::shown(name), &entry.shape);
        *text += &format!("  {name} {shape} {}\n", entry.dtype);
    }
    let n_tensors = file.tensors().count();
    if n_tensors > TENSORS_SHOWN {
        *text += &format!("  and {} more tensors\n", n_tensors - TENSORS_SHOWN);
    }
    model?;
    Err(Failure::input("a file whose tensors tell no sizes"))
}

/// Sizes that the file does not state, and the flags that state them.
fn open_questions(known: &Recognized) -> String {
    let mut text = String::new();
    if !known.knows_heads {
        let dim = known.model.heads_divide();
        let heads: Vec<String> = (1..=dim.min(32))
            .filter(|n| dim.is_multiple_of(*n))
            .map(|n| n.to_string())
            .collect();
        text += &format!(
            "\nthe file does not tell the number of heads; give --n-heads, a divisor of {dim} ({}), for its memory\n",
            heads.join(", ")
        );
    }
    if !known.knows_image {
        let why = match known.model {
            ModelConfig::Dit(_) => "has no pos_embed to tell the image size",
            _ => "does not tell the image size",
        };
        text += &format!("\nthe file {why}; give --input-size for its work and memory\n");
    }
    text
}

/// The sizes and parameters.
fn describe(text: &mut String, known: &Recognized, classes: &str, names: &[String]) -> Result<()> {
    let mut model = known.model.clone();
    model.set_span(false);
    let blueprint = Blueprint::new(model, Transport::default(), u64::MAX)?;
    let (sizes, parts) = sizes::of(known);
    *text += &match known.model.output() {
        // It ignores labels.
        Output::Reconstruction => sizes,
        _ => format!("{sizes}; {classes}"),
    };
    if has_variance(&known.model)? {
        *text += match &known.model {
            ModelConfig::Dit(_) => "; the last layer has a sigma half, which is dropped",
            _ => "; the last layer has outputs for a variance",
        };
    }
    *text += "\n";
    if !names.is_empty() {
        let n_shown = names.len().min(known.model.io().n_classes);
        *text += &format!("classes: {}\n", classes::numbered(names, 0..n_shown));
    }
    let count = |prefix: &str| {
        let trained = blueprint.specs().iter().filter(|spec| spec.is_trained());
        let part = trained.filter(|spec| spec.name.starts_with(prefix));
        part.map(|spec| spec.shape.numel()).sum::<usize>()
    };
    let parts = parts.iter().map(|(part, name)| (*part, count(name)));
    let mut parts: Vec<(&str, usize)> = parts.filter(|(_, n)| *n > 0).collect();
    let trunk = match &known.model {
        ModelConfig::Dit(dit) => Some(*dit),
        ModelConfig::Classifier(classifier) => Some(classifier.trunk),
        _ => None,
    };
    match (trunk, known.knows_image) {
        (Some(dit), true) => {
            parts.push(("positions (fixed)", dit.tokens() * dit.dim));
            parts.push(("all", blueprint.n_params()));
        }
        (Some(_), false) => parts.push(("all but positions", count(""))),
        _ => parts.push(("all", blueprint.n_params())),
    }
    if let Some(dit) = trunk {
        *text += &format!("blocks: {}\n", dit.design());
    }
    *text += "\nparameters\n";
    for (part, n) in parts {
        *text += &format!("  {part:<20} {n:>13}\n");
    }
    if !known.knows_image {
        return Ok(());
    }
    let macs = model::macs(blueprint.network())? as f64;
    let (macs, unit) = if macs < 1e9 {
        (macs / 1e6, "MMAC")
    } else {
        (macs / 1e9, "GMAC")
    };
    *text += &format!(
        "\nforward of one image: {macs:.2} {unit} (multiply-accumulates, which the papers call flops)\n"
    );
    Ok(())
}

/// The scale of an autoencoder's latents.
fn latents(scale: Option<f64>) -> String {
    let line = |scale| format!("its latents are multiplied by {scale:.4} for a latent model\n");
    scale.map_or(String::new(), line)
}

/// What a model's path begins with, where that is not noise alone.
fn start(transport: &Transport, n_values: usize) -> String {
    let (path, base) = (&transport.path, &transport.base);
    if base.data().is_some() {
        return format!("begins with {base} in the place of noise\n");
    }
    let (alpha, sigma) = (path.alpha(0.0), path.sigma(0.0));
    if alpha == 0.0 {
        return String::new();
    }
    let std = transport.start_std(&Sampler::ode(Method::Euler, 1));
    let kl = start_kl([alpha, sigma], std, 1.0, n_values);
    format!(
        "mismatch at t = 0: on the {path} path the state there is {alpha:.3e} data + {sigma:.4} noise, and sampling starts from noise of \
         deviation {std:.4}; KL(start) <= {kl:.3e} nats for {n_values} values of data with unit variance\n"
    )
}

/// A configuration in which only the model matters.
pub(super) fn with_model(model: ModelConfig) -> RunConfig {
    let n_classes = model.io().n_classes;
    RunConfig {
        distill: None,
        autoencoder: (model.output() == Output::Reconstruction).then(AutoencoderConfig::default),
        model,
        transport: Transport::default(),
        data: DataConfig {
            n_classes: Some(n_classes),
            ..DataConfig::digits()
        },
        init: None,
        train: TrainConfig::default(),
        log: LogConfig::default(),
    }
}
