//! The arguments of `sit sample`.

use super::images::{Index, parse_index};
use super::solver::SolverArgs;
use crate::commands::backend::BackendArg;
use crate::commands::examples::PartArgs;
use crate::commands::source::SourceArgs;
use crate::commands::values::{finite, parse_interval, whole};
use crate::error::{Failure, Result};
use crate::vae::VaeArgs;
use clap::builder::PossibleValuesParser;
use sit_engine::model::Storage;
use sit_engine::transport::{Guidance, GuidanceChannels};
use std::path::{Path, PathBuf};

/// Sample images from a checkpoint.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub source: SourceArgs,

    #[command(flatten)]
    pub solver: SolverArgs,

    /// Solver and guidance of a row of the tables of SiT or DiT; flags that are given beside it take the place of its own, another sampler that of
    /// all of its solver. The number in a name is
    /// that of network evaluations.
    #[arg(long, value_name = "NAME", help_heading = "Images", value_parser = PossibleValuesParser::new(super::recipes::names()))]
    pub recipe: Option<String>,
    /// Classes by number or by name, as in 0-9 or cat,dog; none for no class. --per-class images of each [default: all, without --count at most
    /// the first 10].
    #[arg(long, value_name = "LIST", help_heading = "Images")]
    pub classes: Option<String>,
    /// Images of each class, or in all for an unconditional model [default: 8, of points in the plane 1000].
    #[arg(long, value_name = "N", help_heading = "Images", value_parser = whole::<u32>(1..=1_000_000))]
    pub per_class: Option<u32>,
    /// Make N images in all, of classes that are drawn with the seed, for --npz or --png. A command that was stopped or killed goes on where it was when
    /// it is given again, and leaves the same files; until then the folder FILE.npz.unfinished holds what is done. With --reverse: take N of the
    /// images of --data, chosen at random, the same ones each time.
    #[arg(
        long,
        value_name = "N",
        help_heading = "Images",
        value_parser = whole::<u32>(1..=10_000_000),
        conflicts_with_all = ["per_class", "init", "trajectory", "straightness"]
    )]
    pub count: Option<u32>,
    /// As many images of each class for --count, in turn, rather than classes that are drawn.
    #[arg(
        long,
        help_heading = "Images",
        requires = "count",
        conflicts_with = "reverse"
    )]
    pub balanced: bool,
    /// Make only these images of the list that --classes and --per-class or --count give, as in 10 or 3,8-9: the same images as in the whole
    /// list. Numbers begin at 0; with 8 images a class, image 10 is the third one of the second class.
    #[arg(long, value_name = "LIST", help_heading = "Images", value_parser = parse_index)]
    pub index: Option<Index>,
    /// Scale of classifier-free guidance; 1 is none and costs half.
    #[arg(long, value_name = "X", help_heading = "Images", default_value_t = 1.0, value_parser = finite)]
    pub guidance: f64,
    /// Channels that are guided: all, or the first 3 as in the official code.
    #[arg(long, value_name = "all|3", help_heading = "Images", default_value_t = GuidanceChannels::default())]
    pub guidance_channels: GuidanceChannels,
    /// Times between which guidance applies; 0 is noise, 1 is data.
    #[arg(long, value_name = "LO..HI", help_heading = "Images", default_value = "0..1", value_parser = parse_interval, allow_hyphen_values = true)]
    pub guidance_interval: [f64; 2],
    /// Guide by another checkpoint: a smaller model for the same images, or an early state of this one.
    #[arg(
        long,
        value_name = "CHECKPOINT",
        help_heading = "Images",
        requires = "autoguide_scale"
    )]
    pub autoguide: Option<PathBuf>,
    /// Scale of that guidance: weak + W (strong - weak); with --guidance, weak + W (guided strong - weak).
    #[arg(long, value_name = "W", help_heading = "Images", value_parser = finite, requires = "autoguide")]
    pub autoguide_scale: Option<f64>,
    /// Guide by a classifier of noisy images (preset digits-classifier): its gradient moves images to their class. The model itself may
    /// have no classes.
    #[arg(
        long,
        value_name = "CHECKPOINT",
        help_heading = "Images",
        requires = "classifier_scale"
    )]
    pub classifier: Option<PathBuf>,
    /// Scale of that guidance: the score is s + L grad log p(class | x, t).
    #[arg(long, value_name = "L", help_heading = "Images", value_parser = finite, requires = "classifier")]
    pub classifier_scale: Option<f64>,
    /// Key of the noise; the same seed gives the same images for any --batch.
    #[arg(long, value_name = "S", help_heading = "Images", default_value_t = 0, value_parser = whole::<u64>(0..=u64::MAX))]
    pub seed: u64,
    /// Start from the tensor x [B, C, H, W] of this file (of a trajectory's [n+1, B, C, H, W] from the first state). The tensor y [B]
    /// gives the labels; without it the classes of --classes take turns. The tensor noise [n, B, C, H, W] replaces the noise of the n
    /// steps of an SDE that add some, so that a chain can be repeated.
    #[arg(long, value_name = "NOISE.safetensors", help_heading = "Images", conflicts_with_all = ["per_class"])]
    pub init: Option<PathBuf>,
    /// Data that a model begins with in the place of noise (transport.base), if it is no longer where the model says: each image starts from
    /// one of its images, chosen by the seed and the image's number.
    #[arg(long, value_name = "PATH", help_heading = "Images", conflicts_with_all = ["init", "reverse"])]
    pub base: Option<PathBuf>,
    /// Carry the images of --data to noise and back again by the same ODE solver or DDIM, and tell how far from them they arrive. The grid and
    /// the other outputs show what came back.
    #[arg(
        long,
        help_heading = "Images",
        requires = "data",
        conflicts_with_all = ["sde", "edm", "init", "classes", "per_class", "index", "judge", "trajectory"]
    )]
    pub reverse: bool,
    /// Real images for --reverse: a folder of pictures, IDX files, or an .npz file with arr_0 and label.
    #[arg(
        long,
        value_name = "PATH",
        help_heading = "Images",
        requires = "reverse"
    )]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub part: PartArgs,

    /// Grid of all images, a row or a block for each class; of points in the plane a scatter plot; with --count there is none [default: samples.png].
    #[arg(long, value_name = "GRID.png", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Write no grid.
    #[arg(long, help_heading = "Output", conflicts_with = "out")]
    no_grid: bool,
    /// Also write a folder of single PNGs, 000000-class3-dog.png by number and class; it must be empty or not be there.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub png: Option<PathBuf>,
    /// Also write arr_0 [N, H, W, C], uint8 or of latents without --vae float32 as they are, and label [N].
    #[arg(long, value_name = "FILE.npz", help_heading = "Output")]
    pub npz: Option<PathBuf>,
    /// Also write every state, unclamped: t [n+1] (of a solver that chooses its steps [n+1, B]) and x [n+1, B, C, H, W] of n steps, f32, y [B],
    /// and the settings.
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Output")]
    pub trajectory: Option<PathBuf>,
    /// Also write the noise of --reverse, x [B, C, H, W] and y [B], as --init takes it.
    #[arg(
        long,
        value_name = "FILE.safetensors",
        help_heading = "Output",
        requires = "reverse"
    )]
    pub noise_out: Option<PathBuf>,
    #[command(flatten)]
    pub vae: VaeArgs,
    /// Count the images whose nearest real image, by the distance of pixels, has the class that was asked for. DIR holds the real
    /// images, a folder for each class, or IDX files, or is an archive, of which the part to test with is taken; images that were not trained
    /// on make the fairest judges.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub judge: Option<PathBuf>,
    /// Tell how straight the paths of the ODE are: the mean square of the velocity along a path less its displacement, 0 for straight
    /// lines.
    #[arg(long, help_heading = "Output", conflicts_with_all = ["sde", "edm", "ddpm", "reverse"])]
    pub straightness: bool,
    /// How weights are kept in memory: f32, or rounded to f16 or bf16 for half of it. The computation is in f32 with the rounded weights.
    #[arg(long, value_name = "f32|f16|bf16", help_heading = "Model", default_value_t = Storage::F32, value_parser = |s: &str| s.parse::<Storage>())]
    pub dtype: Storage,
    /// Images at a time; only memory and speed depend on it, and with --error-norm batch the images.
    #[arg(long, value_name = "B", help_heading = "Output", default_value_t = 64, value_parser = whole::<u32>(1..=65_536))]
    pub batch: u32,
    #[command(flatten)]
    pub backend: BackendArg,
}

const EXAMPLES: &str = "\
Examples:
  sit sample runs/digits --guidance 1.5
  sit sample runs/digits --ode heun --steps 50 --classes 3,5,7 --per-class 16 --out odd.png
  sit sample runs/digits --sde euler --steps 250 --diffusion sigma --last-step mean --npz samples.npz
  sit sample SiT-XL-2-256.pt --vae sd-vae-ft-ema/ --classes 207,360 --guidance 4 --guidance-channels 3
  sit sample SiT-XL-2-256.pt --vae sd-vae-ft-ema/ --recipe sit-xl-2-sde-250-cfg-1.5 --count 50000 --npz samples.npz
  sit sample runs/digits --classifier runs/digits-classifier --classifier-scale 2
  sit sample runs/digits-one-step --steps 1
  sit sample runs/digits --index 10 --steps 250 --out image-10.png
  sit sample runs/digits --count 50000 --balanced --batch 256 --npz samples.npz
  sit sample runs/digits --init noise.safetensors --trajectory path.safetensors
  sit sample runs/moons-to-rings --per-class 2000 --out rings.png
  sit sample runs/digits --reverse --data digits --ode dopri5 --noise-out noise.safetensors";

impl Args {
    /// The number of images of `--count`, unless it is one of given images.
    pub fn many(&self) -> Option<u64> {
        let count = self.count.filter(|_| !self.reverse);
        count.map(u64::from)
    }

    /// Refuses a grid of `--count`.
    pub fn check_grid(&self) -> Result<()> {
        match (self.many(), &self.out) {
            (Some(_), Some(_)) => Err(Failure::Input(
                "--out: --count makes no grid; --per-class does".into(),
            )),
            _ => Ok(()),
        }
    }

    /// The file of the grid, if there is one.
    pub fn grid(&self) -> Option<&Path> {
        let usual = || Path::new("samples.png");
        let is_wanted = !self.no_grid && self.many().is_none();
        is_wanted.then(|| self.out.as_deref().unwrap_or_else(usual))
    }

    /// The guidance that is asked for.
    pub fn guidance(&self) -> Guidance {
        Guidance {
            scale: self.guidance,
            channels: self.guidance_channels,
            interval: self.guidance_interval,
        }
    }
}
