//! `sit data`: look at data, and encode it.

use super::backend::BackendArg;
use super::values::whole;
use crate::config::data_with;
use crate::data::{self, About, DataConfig, Kind};
use crate::encode::{self, Options};
use crate::error::{Failure, Result};
use crate::files;
use crate::outputs::Outputs;
use crate::progress::Progress;
use crate::signals;
use crate::stdout;
use crate::vae::Vae;
use sit_engine::analytic::Points as _;
use sit_engine::text::{count, shown};
use std::fs;
use std::path::{Path, PathBuf};

/// Look at data, and encode it.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Count classes, sizes and levels of a folder of images, of archives or of IDX files, and name the files that cannot be read.
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect {
        /// Folder of images (one subfolder per class, or flat) or of IDX files; an archive of images (.tar, .npz, .parquet), a folder of
        /// them or of CIFAR's binary files, or a pattern; `digits` for the embedded data; `toy:moons` and the like for points in the plane.
        path: PathBuf,
    },
    /// Encode images to latents with an autoencoder, for a model that is trained on them. A command that was stopped goes on where it was.
    #[command(after_help = ENCODE_EXAMPLES)]
    Encode(EncodeArgs),
}

const INSPECT_EXAMPLES: &str = "\
Examples:
  sit data inspect digits
  sit data inspect /usr/share/datasets/fashion-mnist
  sit data inspect photos/
  sit data inspect cifar-10-batches-bin/
  sit data inspect 'train-{000000..000146}.tar'";

const ENCODE_EXAMPLES: &str = "\
Examples:
  sit data encode photos/ --vae sd-vae-ft-ema/ --out latents/ --set data.image_size=256
  sit data encode photos/ --vae taef2_encoder.pth --out latents/ --set data.image_size=64 --dtype f32
  sit train --preset SiT-S/2 --set data.path=latents/ --set model.n_classes=auto
  sit data encode /usr/share/datasets/fashion-mnist --vae runs/autoencoder-f4 --out latents/";

/// The arguments of `sit data encode`.
#[derive(Debug, clap::Args)]
pub struct EncodeArgs {
    /// Folder of images (one subfolder per class, or flat), of archives or of IDX files; an archive, or a pattern of several.
    path: PathBuf,
    /// The autoencoder: a run with model.family = "autoencoder", a folder or a file of diffusers' AutoencoderKL, or TAESD's encoder.
    #[arg(long, value_name = "FILE")]
    vae: PathBuf,
    /// Memory that the autoencoder may take for an image, in MiB; larger images are encoded in tiles that overlap.
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..))]
    vae_memory: u32,
    /// Folder of the latents; new or empty, or one in which this command was stopped.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Change how the images are read, as in data.image_size=256; the keys are those of the table data of a configuration.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How latents are stored.
    #[arg(long, value_enum, default_value_t = Stored::F16)]
    dtype: Stored,
    /// Leave out the mirrored images; the latents can then not be mirrored in training (data.flip).
    #[arg(long)]
    no_flips: bool,
    /// Images of a file [default: as many as 64 MiB hold].
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=100_000))]
    shard_images: Option<u32>,
    #[command(flatten)]
    backend: BackendArg,
}

/// What a folder of latents holds.
fn latents(path: &Path, about: &About) -> String {
    let n: usize = about.shards.iter().map(|shard| shard.images).sum();
    let ([z, h, w], [c, height, width]) = (about.latent, about.image);
    format!(
        "{}: latents of {} of {}, {}\n{z} x {h} x {w}, of {c} x {height} x {width} pixels by {}{}, in {}\ntrain on them with: sit train --preset SiT-S/2 \
         --set data.path={} --set model.channels={z} --set model.input_size={h} --set model.n_classes=auto\n",
        shown(path),
        count(n, "image"),
        about.source,
        count(about.n_classes, "class"),
        about.autoencoder,
        if about.flips {
            ", plain and mirrored"
        } else {
            ""
        },
        count(about.shards.len(), "shard"),
        shown(path),
    )
}

/// Types of stored latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Stored {
    F16,
    F32,
}

fn encode(args: &EncodeArgs) -> Result<()> {
    let mut vae = Vae::open("--vae", &args.vae, u64::from(args.vae_memory) << 20)?;
    let config = data_with(&data::suggest(&args.path)?, &args.set);
    let config = config.map_err(|e| Failure::Input(e.to_string()))?;
    for (key, is_set) in [("hold_out", config.hold_out != 0.0), ("flip", config.flip)] {
        if is_set {
            return Err(Failure::Input(format!(
                "--set data.{key}: is of a training on the latents; all images are encoded"
            )));
        }
    }
    let (own, out) = (fs::canonicalize(&args.path), std::path::absolute(&args.out));
    if let (Ok(own), Ok(out)) = (own, out)
        && out.starts_with(&own)
    {
        return Err(Failure::Input(format!(
            "--out: {}: lies in the folder of the images",
            shown(&args.out)
        )));
    }
    if config.kind == Kind::Latents {
        return Err(Failure::Input(format!(
            "{}: holds latents already",
            shown(&args.path)
        )));
    }
    let mut outputs = Outputs::default();
    outputs.reads_images("PATH", &args.path);
    outputs.reads("--vae", vae.path());
    let bar = Progress::shared("reading", "files");
    let images = data::open(&config, &bar)?;
    drop(bar);
    vae.latent(images.shape())?;
    let device = args.backend.open()?;
    signals::catch();
    let options = Options {
        half: args.dtype == Stored::F16,
        flips: !args.no_flips,
        shard_images: args.shard_images.map(|n| n as usize),
    };
    let made = encode::encode(&*images, &config, &mut vae, &device, &args.out, options)?;
    let [z, height, width] = made.latent;
    let kept = match made.kept {
        0 => String::new(),
        n => format!(
            ", {n} of which {} there already",
            if n == 1 { "was" } else { "were" }
        ),
    };
    stdout::print(&format!(
        "{}: {} as latents of {z} x {height} x {width}{} in {}{kept}\n",
        shown(&args.out),
        count(made.images, "image"),
        if args.no_flips {
            ""
        } else {
            ", plain and mirrored,"
        },
        count(made.shards, "shard"),
    ))
}

/// Runs it.
///
/// # Errors
/// A missing or empty folder, or an invalid IDX file.
pub fn run(command: &Command) -> Result<()> {
    let path = match command {
        Command::Inspect { path } => path,
        Command::Encode(args) => return encode(args),
    };
    let bar = Progress::shared("reading", "files");
    let asked = DataConfig {
        path: Some(path.clone()),
        ..DataConfig::digits()
    };
    // Leave a path that does not exist to `inspect`: it may be the word for the embedded digits.
    let path = asked
        .place(None)
        .ok()
        .flatten()
        .unwrap_or_else(|| path.clone());
    if let Some(toy) = data::toy(&path)? {
        drop(bar);
        let (name, n_classes) = (data::path_of(toy), toy.n_classes() as usize);
        return stdout::print(&format!(
            "{name}: {}\npoints in the plane, as images of 1x1 with 2 channels, of {}\ntrain on them with: sit train --preset moons --set \
             data.path={name}\n",
            toy.about(),
            count(n_classes, "class")
        ));
    }
    if let Some(about) = About::read(&path)? {
        drop(bar);
        for shard in &about.shards {
            let file = path.join(&shard.file);
            let sum = files::checksum(&file)?;
            if sum != shard.crc32c {
                return Err(Failure::Input(format!(
                    "{}: got the checksum {sum:08x}, expected {:08x}: it was changed or broken",
                    shown(&file),
                    shard.crc32c
                )));
            }
        }
        return stdout::print(&latents(&path, &about));
    }
    let report = data::inspect(&path, &bar)?;
    drop(bar);
    stdout::print(&report.to_string())
}
