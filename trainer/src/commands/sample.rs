//! `sit sample`: images from a checkpoint.

use super::backend::BackendArg;
use super::source::SourceArgs;
use super::values::{Classes, parse_classes, parse_interval};
use crate::data::{Kind, Knn, digits};
use crate::error::{Failure, Result};
use crate::files::{check_writable, write_atomically};
use crate::progress::catch_ctrl_c;
use crate::run;
use crate::sampling::{self, Start};
use crate::{memory, npz, png, stdout};
use sit_engine::checkpoint::Recipe;
use sit_engine::graph::{Arena, Layout};
use sit_engine::model::{self, ModelConfig};
use sit_engine::sample::SampleConfig;
use sit_engine::transport::{
    DEFAULT_LAST_STEP_SIZE, Diffusion, DiffusionForm, Guidance, GuidanceChannels, LastStep, Method,
    Sampler, Transport,
};
use std::io::Write;
use std::iter;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Sample images from a checkpoint.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    source: SourceArgs,

    /// Integrate the probability flow ODE [default: heun].
    #[arg(
        long,
        value_name = "euler|heun",
        help_heading = "Solver",
        conflicts_with = "sde"
    )]
    ode: Option<Method>,
    /// Integrate the SDE.
    #[arg(long, value_name = "euler|heun", help_heading = "Solver")]
    sde: Option<Method>,
    /// Steps on the time grid, before an SDE's last one; euler evaluates the network once a step, heun twice [default: 50,
    /// with --sde 250].
    #[arg(long, value_name = "N", help_heading = "Solver", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: Option<u32>,
    /// Diffusion D of the SDE dX = (v + D s) dt + sqrt(2 D) dW: constant, sbdm, sigma, linear, decreasing or
    /// increasing-decreasing.
    #[arg(long, value_name = "FORM", help_heading = "Solver", default_value_t = Diffusion::default().form, requires = "sde", conflicts_with = "ode")]
    diffusion: DiffusionForm,
    /// Factor of the diffusion, at least 0; the paper's w is twice D.
    #[arg(long, value_name = "X", help_heading = "Solver", default_value_t = Diffusion::default().norm, requires = "sde", conflicts_with = "ode")]
    diffusion_norm: f64,
    /// Last step of the SDE, without noise: mean, tweedie, euler or none.
    #[arg(long, value_name = "STEP", help_heading = "Solver", default_value_t = LastStep::default(), requires = "sde", conflicts_with = "ode")]
    last_step: LastStep,
    /// Time that the last step of the SDE takes, above 0 and below 1.
    #[arg(long, value_name = "X", help_heading = "Solver", default_value_t = DEFAULT_LAST_STEP_SIZE, requires = "sde", conflicts_with = "ode")]
    last_step_size: f64,

    /// Distance of the first and the last time from 0 and 1, in [0, 0.5) [default: the run's transport.t_eps_sample, else what
    /// path, prediction and solver need].
    #[arg(long, value_name = "X", help_heading = "Solver")]
    t_eps_sample: Option<f64>,

    /// Classes, as in 0-9 or 207,360; the one after the last is none. --per-class images of each [default: all, at most the
    /// first 10].
    #[arg(long, value_name = "LIST", help_heading = "Images", value_parser = parse_classes)]
    classes: Option<Classes>,
    /// Images of each class, or in all for an unconditional model.
    #[arg(long, value_name = "N", help_heading = "Images", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    per_class: u32,
    /// Scale of classifier-free guidance; 1 is none and costs half.
    #[arg(long, value_name = "X", help_heading = "Images", default_value_t = 1.0)]
    guidance: f64,
    /// Channels that are guided: all, or the first 3 as in the official code.
    #[arg(long, value_name = "all|3", help_heading = "Images", default_value_t = GuidanceChannels::default())]
    guidance_channels: GuidanceChannels,
    /// Times between which guidance applies; 0 is noise, 1 is data.
    #[arg(long, value_name = "LO..HI", help_heading = "Images", default_value = "0..1", value_parser = parse_interval)]
    guidance_interval: [f64; 2],
    /// Key of the noise; the same seed gives the same images for any --batch.
    #[arg(long, value_name = "S", help_heading = "Images", default_value_t = 0)]
    seed: u64,
    /// Start from the tensor x [B, C, H, W] of this file, and labels from y [B] when it has one.
    #[arg(long, value_name = "NOISE.safetensors", help_heading = "Images", conflicts_with_all = ["per_class"])]
    init: Option<PathBuf>,

    /// Grid of all images, one row a class.
    #[arg(
        long,
        value_name = "GRID.png",
        help_heading = "Output",
        default_value = "samples.png"
    )]
    out: PathBuf,
    /// Also write arr_0 uint8 [N, H, W, C] and label [N].
    #[arg(long, value_name = "FILE.npz", help_heading = "Output")]
    npz: Option<PathBuf>,
    /// Also write every state, unclamped: t [n+1] and x [n+1, B, C, H, W] of n steps, f32.
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Output")]
    trajectory: Option<PathBuf>,
    /// Images at a time; only memory and speed depend on it.
    #[arg(long, value_name = "B", help_heading = "Output", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    #[command(flatten)]
    backend: BackendArg,
}

const EXAMPLES: &str = "\
Examples:
  sit sample runs/digits --guidance 1.5
  sit sample runs/digits --ode heun --steps 50 --classes 3,5,7 --per-class 16 --out odd.png
  sit sample runs/digits --sde euler --steps 250 --diffusion sigma --last-step mean --npz samples.npz
  sit sample SiT-S-2.safetensors --classes 207,360 --guidance 4 --guidance-channels 3
  sit sample runs/digits --init noise.safetensors --trajectory path.safetensors";

impl Args {
    fn sampler(&self) -> Sampler {
        match (self.ode, self.sde) {
            (_, Some(method)) => Sampler::Sde {
                method,
                diffusion: Diffusion::new(self.diffusion, self.diffusion_norm),
                last_step: self.last_step,
                last_step_size: self.last_step_size,
                n_steps: self.steps.unwrap_or(250),
            },
            (method, None) => Sampler::Ode {
                method: method.unwrap_or(Method::Heun),
                n_steps: self.steps.unwrap_or(50),
            },
        }
    }

    /// Labels of all images, and where the noise comes from.
    fn images(&self, model: &ModelConfig) -> Result<Images> {
        let init = self
            .init
            .as_deref()
            .map(|path| read_init(path, model))
            .transpose()?;
        if self.classes.is_some() {
            let why = match &init {
                _ if model.n_classes == 0 => "this model has no classes",
                Some(Init { y: Some(_), .. }) => "the file of --init has labels y",
                _ => "",
            };
            if !why.is_empty() {
                return Err(Failure::Input(format!("--classes: {why}")));
            }
        }
        let classes = match &self.classes {
            Some(Classes(classes)) => classes.clone(),
            None => (0..model.n_classes.clamp(1, 10) as u32).collect(),
        };
        if let Some(class) = classes
            .iter()
            .find(|&&class| class as usize > model.n_classes)
        {
            return Err(Failure::Input(format!(
                "--classes {class}: this model has {0} classes, 0 to {1}, and {0} for none",
                model.n_classes,
                model.n_classes - 1
            )));
        }
        let per_class = self.per_class as usize;
        let (labels, columns, x) = match init {
            None => {
                let labels: Vec<u32> = classes
                    .iter()
                    .flat_map(|&class| iter::repeat_n(class, per_class))
                    .collect();
                let columns = if model.n_classes == 0 {
                    columns(per_class)
                } else {
                    per_class
                };
                (labels, columns, None)
            }
            Some(Init { n, x, y }) => {
                let in_turn = || classes.iter().copied().cycle().take(n).collect();
                (y.unwrap_or_else(in_turn), columns(n), Some(x))
            }
        };
        if labels.len() > MAX_IMAGES {
            return Err(Failure::Input(format!(
                "--per-class: {} images are too many for a grid, expected at most {MAX_IMAGES}; take several seeds",
                labels.len()
            )));
        }
        let seed = self.seed;
        Ok(Images {
            start: Start { labels, x, seed },
            columns,
        })
    }

    /// Refuses outputs that cannot be written, or would replace an input or each other, before the work rather than after it.
    fn check_outputs(&self) -> Result<()> {
        let mut taken: Vec<PathBuf> = [Some(&self.source.checkpoint), self.init.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let outputs = [
            ("--out", Some(&self.out)),
            ("--npz", self.npz.as_ref()),
            ("--trajectory", self.trajectory.as_ref()),
        ];
        for (flag, path) in outputs {
            let Some(path) = path else { continue };
            check_writable(path).map_err(|e| Failure::from(e).context(flag))?;
            if taken.contains(path) && path != Path::new("/dev/null") {
                return Err(Failure::Input(format!(
                    "{flag}: {} is in use by another argument",
                    path.display()
                )));
            }
            taken.push(path.clone());
        }
        Ok(())
    }
}

/// Columns of a grid of `n` images that is about square.
fn columns(n: usize) -> usize {
    n.isqrt().max(1)
}

/// More than that is a data set, not a grid.
const MAX_IMAGES: usize = 1_000_000;

struct Images {
    start: Start,
    /// Columns of the grid.
    columns: usize,
}

struct Init {
    n: usize,
    x: Vec<f32>,
    y: Option<Vec<u32>>,
}

fn read_init(path: &Path, model: &ModelConfig) -> Result<Init> {
    let mut file = run::open(path)?;
    let size = model.input_size;
    let n = match file.shape("x").as_deref() {
        Some(&[n, c, h, w]) if n > 0 && [c, h, w] == [model.channels, size, size] => n,
        Some(shape) => {
            return Err(Failure::Input(format!(
                "{}: x is {shape:?}, expected [B, {}, {size}, {size}]",
                path.display(),
                model.channels
            )));
        }
        None => {
            return Err(Failure::Input(format!(
                "{}: has no tensor x",
                path.display()
            )));
        }
    };
    let y = match file.shape("y").as_deref() {
        None => None,
        Some(&[m]) if m == n => Some(file.read_labels("y")?),
        Some(shape) => {
            return Err(Failure::Input(format!(
                "{}: y is {shape:?}, expected [{n}]",
                path.display()
            )));
        }
    };
    if let Some(label) = y
        .iter()
        .flatten()
        .find(|&&label| label as usize > model.n_classes)
    {
        return Err(Failure::Input(format!(
            "{}: y holds {label}, expected 0 to {}",
            path.display(),
            model.n_classes
        )));
    }
    Ok(Init {
        n,
        x: file.read("x")?,
        y,
    })
}

/// Runs it.
///
/// # Errors
/// A checkpoint that does not fit, a combination of flags that is refused, or files that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let mut source = args.source.open()?;
    let Recipe {
        model, transport, ..
    } = source.recipe;
    let Images { start, columns } = args.images(&model)?;
    let n = start.labels.len();
    let config = SampleConfig {
        model,
        transport: Transport {
            t_eps_sample: args.t_eps_sample.or(transport.t_eps_sample),
            ..transport
        },
        sampler: args.sampler(),
        guidance: Guidance {
            scale: args.guidance,
            channels: args.guidance_channels,
            interval: args.guidance_interval,
        },
        weights: Arena::Params,
        batch: n.min(args.batch as usize),
        keep_out: false,
    };
    config.schedule()?;
    args.check_outputs()?;

    let device = args.backend.open()?;
    memory::sampling(&config, &device).require()?;
    let layout = Layout::new(&model::params(&model), device.max_segment_bytes())?;
    let arenas = device.arenas(&layout, &[Arena::Params])?;
    source.weights.load(&model, &arenas, Arena::Params)?;
    catch_ctrl_c();
    let started = Instant::now();
    let trajectory = args.trajectory.is_some();
    let samples = sampling::sample(&device, &arenas, &layout, config, &start, trajectory)?;
    let seconds = started.elapsed().as_secs_f64();

    let shape = [model.channels, model.input_size, model.input_size];
    let grid = png::grid(&samples.x, shape, columns);
    write_atomically(&args.out, |out| out.write_all(&grid))?;
    let mut text = format!(
        "{n} images in {seconds:.1} s ({} network evaluations each): {}\n",
        samples.nfe,
        args.out.display()
    );
    if let Some(path) = &args.npz {
        npz::write(path, &samples.x, shape, &start.labels)?;
        text += &format!("{}\n", path.display());
    }
    if let Some(path) = &args.trajectory {
        samples.write_trajectory(path, &model)?;
        text += &format!("{}\n", path.display());
    }
    let kind = Kind::Digits.to_string();
    let of_digits = source.recipe.data.is_some_and(|data| data.name == kind);
    if of_digits && model.n_classes > 0 && start.labels.iter().all(|&label| label < 10) {
        let knn = Knn::new(&digits::held_out(), Knn::DEFAULT_K)?;
        let agree = knn.agreement(&samples.x, &start.labels);
        let percent = 100.0 * agree as f64 / n as f64;
        text += &format!(
            "{agree} of {n} ({percent:.1} %) are what was asked for, says the nearest of the held-out real digits\n"
        );
    }
    stdout::print(&text)
}
