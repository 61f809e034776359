//! The arguments of `sit sweep`.

use crate::commands::backend::BackendArg;
use crate::commands::sample::forms::DiffusionArg;
use crate::commands::source::FileArgs;
use crate::commands::values::{finite, parse_interval, whole};
use crate::config::WeightSet;
use sit_engine::transport::{GuidanceChannels, Method, SdeMethod};
use std::path::PathBuf;

/// Sample a checkpoint with every combination of some settings, and measure the images: one table and a plot.
///
/// A flag takes a list of what the flag of the same name of sit sample takes one of. Combinations that make the same images are one cell.
/// A sweep that was stopped goes on when the same command is given again, and ends in the same table.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Run folder (its last checkpoint), checkpoint folder, or a .safetensors or .pt file with the official names.
    #[arg(value_name = "CHECKPOINT")]
    pub checkpoint: PathBuf,
    /// Weights of a run, or of a .pt file that has both [default: ema].
    #[arg(
        long,
        value_name = "ema,raw",
        value_enum,
        ignore_case = true,
        value_delimiter = ',',
        help_heading = "Model"
    )]
    pub weights: Vec<WeightSet>,
    #[command(flatten)]
    pub file: FileArgs,

    /// Methods of the ODE [default: heun, unless there is --sde]. dopri5, bosh3 and adaptive-heun choose their steps themselves.
    #[arg(
        long,
        value_name = "METHOD,..",
        value_delimiter = ',',
        help_heading = "Solver"
    )]
    pub ode: Vec<Method>,
    /// Methods of the SDE, whose cells follow those of the ODE: euler, heun, pc, alternate.
    #[arg(
        long,
        value_name = "METHOD,..",
        value_delimiter = ',',
        help_heading = "Solver"
    )]
    pub sde: Vec<SdeMethod>,
    /// Numbers of steps [default: 50, of the SDE 250].
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = whole::<u32>(1..=100_000), help_heading = "Solver")]
    pub steps: Vec<u32>,
    /// Diffusions of the SDE [default: sigma].
    #[arg(
        long,
        value_name = "FORM,..",
        value_delimiter = ',',
        value_parser = diffusion,
        requires = "sde",
        help_heading = "Solver"
    )]
    pub diffusion: Vec<String>,
    /// Factors of the diffusion [default: 1].
    #[arg(
        long,
        value_name = "X,..",
        value_delimiter = ',',
        value_parser = finite,
        requires = "sde",
        help_heading = "Solver"
    )]
    pub diffusion_norm: Vec<f64>,
    /// eta of the diffusion w-kl-eta, whose loss by time is what the run has logged.
    #[arg(long, value_name = "X", value_parser = finite, requires = "sde", help_heading = "Solver")]
    pub kl_eta: Option<f64>,
    /// Distance of the first and the last time from 0 and 1, of all cells, as some diffusions need [default: as of sit sample].
    #[arg(long, value_name = "X", value_parser = finite, help_heading = "Solver")]
    pub t_eps_sample: Option<f64>,

    /// Scales of classifier-free guidance; 1 is none [default: 1].
    #[arg(long, value_name = "W,..", value_delimiter = ',', value_parser = finite, help_heading = "Guidance")]
    pub guidance: Vec<f64>,
    /// Channels that are guided: all, or the first 3 [default: all].
    #[arg(
        long,
        value_name = "all,3",
        value_delimiter = ',',
        help_heading = "Guidance"
    )]
    pub guidance_channels: Vec<GuidanceChannels>,
    /// Times between which guidance applies, of every kind [default: 0..1].
    #[arg(long, value_name = "LO..HI,..", value_delimiter = ',', value_parser = parse_interval, allow_hyphen_values = true, help_heading = "Guidance")]
    pub guidance_interval: Vec<[f64; 2]>,
    /// Guide by another checkpoint: a smaller model for the same images, or an early state of this one.
    #[arg(
        long,
        value_name = "CHECKPOINT",
        requires = "autoguide_scale",
        help_heading = "Guidance"
    )]
    pub autoguide: Option<PathBuf>,
    /// Scales of that guidance; 1 is none.
    #[arg(long, value_name = "W,..", value_delimiter = ',', value_parser = finite, requires = "autoguide", help_heading = "Guidance")]
    pub autoguide_scale: Vec<f64>,
    /// Guide by a classifier of noisy images (preset digits-classifier).
    #[arg(
        long,
        value_name = "CHECKPOINT",
        requires = "classifier_scale",
        help_heading = "Guidance"
    )]
    pub classifier: Option<PathBuf>,
    /// Scales of that guidance; 0 is none.
    #[arg(long, value_name = "L,..", value_delimiter = ',', value_parser = finite, requires = "classifier", help_heading = "Guidance")]
    pub classifier_scale: Vec<f64>,

    /// Images of each cell, in all; the classes take turns. A Frechet distance falls with their number, so only those of one number compare.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = whole::<u32>(2..=1_000_000), help_heading = "Images")]
    pub count: u32,
    /// Key of the noise, which all cells share.
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = whole::<u64>(0..=u64::MAX), help_heading = "Images")]
    pub seed: u64,
    /// Images at a time; only memory and speed depend on it.
    #[arg(long, value_name = "B", default_value_t = 64, value_parser = whole::<u32>(1..=65_536), help_heading = "Images")]
    pub batch: u32,

    /// What is measured: agreement, the share of images whose nearest real one has their class, and frechet, the Frechet distance from the
    /// training images by the features of a small classifier, which is trained first [default: both; of a model without classes frechet].
    #[arg(
        long,
        value_name = "agreement,frechet",
        value_enum,
        value_delimiter = ',',
        help_heading = "Judges"
    )]
    pub metric: Vec<Metric>,
    /// Real images for agreement, a folder for each class [default: the held-out images of the data].
    #[arg(long, value_name = "DIR", help_heading = "Judges")]
    pub judge: Option<PathBuf>,
    /// The classifier, which several sweeps can share. It is trained and written there if it is not there [default: DIR/judge.safetensors].
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Judges")]
    pub judge_model: Option<PathBuf>,
    /// The data that the model was trained on, for a file of weights, or where it is now: a folder of pictures, IDX files, digits or
    /// points such as toy:moons [default: what the run says].
    #[arg(long, value_name = "PATH", help_heading = "Judges")]
    pub data: Option<PathBuf>,

    /// Folder of the table (table.csv, table.md; evaluations are those of the solver, passes those of the network for an image, with guidance two
    /// or three for an evaluation), the plot (plot.png), the arguments (sweep.json) and the classifier (judge.safetensors):
    /// empty, new, or that of the same sweep, which goes on.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: PathBuf,
    #[command(flatten)]
    pub backend: BackendArg,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// The share of images whose nearest real one has the class that was asked for.
    Agreement,
    /// The Frechet distance from the training images.
    Frechet,
}

impl Metric {
    /// As the flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Agreement => "agreement",
            Metric::Frechet => "frechet",
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  sit sweep runs/digits --ode euler,heun --steps 4,8,16,32 --out solvers
  sit sweep runs/digits --guidance 1,1.5,2 --ode heun --steps 8,16,32 --weights ema,raw --out guidance
  sit sweep runs/digits --ode heun --sde euler --steps 16,64 --diffusion sigma,sbdm --out noise
  sit sweep runs/digits --guidance 1,1.5 --guidance-interval 0..1,0.2..0.8 --autoguide runs/digits/step-00000600
    --autoguide-scale 1,2 --out guides
  sit sweep digits.safetensors --data digits --metric frechet --judge-model judge.safetensors --out one";

/// A diffusion under the name that it has in the table.
fn diffusion(text: &str) -> Result<String, sit_engine::Error> {
    Ok(match text.parse()? {
        DiffusionArg::Form(form) => form.to_string().to_lowercase(),
        DiffusionArg::File(_) => text.to_owned(),
    })
}
