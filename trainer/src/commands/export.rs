//! `sit export`: weights as one file that says what it is.

use super::source::SourceArgs;
use crate::error::{Failure, Result};
use crate::files::{FileError, write_atomically};
use crate::memory;
use crate::outputs::Outputs;
use crate::stdout;
use crate::vae;
use sit_engine::Error;
use sit_engine::backend::Device;
use sit_engine::checkpoint::Precision;
use sit_engine::model::{Blueprint, Model, ModelConfig};
use sit_engine::text::shown;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Write the weights of a checkpoint as one .safetensors file with the official names, which `sit sample` takes without flags; of an
/// autoencoder also as a folder for diffusers.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  sit export runs/digits --dtype f16 --out digits.safetensors\n  sit export SiT-XL-2-256x256.pt --out SiT-XL-2.safetensors\n  sit export runs/autoencoder-f4 --out vae"
)]
pub struct Args {
    #[command(flatten)]
    source: SourceArgs,
    /// Type of the values: f32, or f16 for half the bytes, rounded.
    #[arg(long, value_name = "f32|f16", default_value = "f32", value_parser = |s: &str| s.parse::<Precision>())]
    dtype: Precision,
    /// File to write. Of an autoencoder a name without an ending is a new or empty folder, for diffusion_pytorch_model.safetensors and
    /// config.json: --vae takes the file and the folder, diffusers' AutoencoderKL.from_pretrained takes the folder.
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
}

/// Runs it.
///
/// # Errors
/// A checkpoint that does not fit, a value that f16 cannot hold, or a file that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let mut source = args.source.open()?;
    let mut outputs = Outputs::default();
    outputs.reads("CHECKPOINT", &args.source.checkpoint);
    let recipe = &source.recipe;
    let net = match &recipe.model {
        ModelConfig::Autoencoder(net) => Some(vae::about(&args.source.checkpoint, net, recipe)?),
        _ => None,
    };
    let about = net.filter(|_| args.out.extension().is_none());
    match about {
        Some(_) => outputs.fills("--out", &args.out)?,
        None => outputs.writes("--out", &args.out, &["safetensors"])?,
    }
    let blueprint = Blueprint::new(recipe.model.clone(), recipe.transport.clone(), u64::MAX)?;
    memory::weights(&blueprint).require()?;
    let model = Model::zeros(&Device::Cpu, recipe.model.clone(), recipe.transport.clone())?;
    source.weights.load(&model)?;
    let mut bad_value = false;
    let file = match &about {
        Some(_) => {
            fs::create_dir_all(&args.out).map_err(FileError::of("make", &args.out))?;
            args.out.join(vae::WEIGHTS)
        }
        None => args.out.clone(),
    };
    write_atomically(&file, |out| {
        model.save(out, recipe, args.dtype).map_err(|e| {
            bad_value = matches!(e, Error::Checkpoint(_));
            io::Error::other(e)
        })
    })
    .map_err(|e| match bad_value {
        true => Failure::input(e),
        false => e.into(),
    })?;
    if let Some(about) = about {
        write_atomically(&args.out.join(vae::CONFIG), |out| {
            out.write_all(about.as_bytes())
        })?;
    }
    stdout::print(&format!("{}\n", shown(&args.out)))
}
