//! `sit sample`: images from a checkpoint.

use super::backend::BackendArg;
use crate::data::{Kind, Knn, digits};
use crate::error::{Failure, Result};
use crate::files::write_atomically;
use crate::progress::{Progress, interrupted};
use crate::run::{self, Checkpoint};
use crate::{npz, png};
use clap::ValueEnum;
use pollster::block_on;
use sit_engine::backend::{Arenas, Device};
use sit_engine::checkpoint::{self, Reader};
use sit_engine::graph::{Arena, Layout};
use sit_engine::model::{self, ModelConfig};
use sit_engine::sample::{SampleConfig, Session, initial_noise, step_noise};
use sit_engine::shape::Shape;
use sit_engine::transport::{
    DEFAULT_LAST_STEP_SIZE, Diffusion, DiffusionForm, Guidance, GuidanceChannels, LastStep, Method,
    Path, Prediction, Sampler, Transport, nfe,
};
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path as FilePath, PathBuf};
use std::time::Instant;

/// Sample images from a checkpoint.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Run folder (its last checkpoint), checkpoint folder, or a .safetensors file with the official names.
    #[arg(value_name = "CHECKPOINT")]
    checkpoint: PathBuf,

    /// Integrate the probability flow ODE [default: heun].
    #[arg(long, value_name = "euler|heun", help_heading = "Solver", num_args = 0..=1, default_missing_value = "heun", conflicts_with = "sde")]
    ode: Option<Method>,
    /// Integrate the SDE.
    #[arg(long, value_name = "euler|heun", help_heading = "Solver", num_args = 0..=1, default_missing_value = "euler")]
    sde: Option<Method>,
    /// Steps on the time grid; euler evaluates the network once a step, heun twice [default: 50, with --sde 250].
    #[arg(long, value_name = "N", help_heading = "Solver", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: Option<u32>,
    /// Diffusion D of the SDE dX = (v + D s) dt + sqrt(2 D) dW: constant, sbdm, sigma, linear, decreasing or
    /// increasing-decreasing.
    #[arg(long, value_name = "FORM", help_heading = "Solver", default_value_t = Diffusion::default().form, requires = "sde")]
    diffusion: DiffusionForm,
    /// Factor of the diffusion, at least 0; the paper's w is twice D.
    #[arg(long, value_name = "X", help_heading = "Solver", default_value_t = Diffusion::default().norm, requires = "sde")]
    diffusion_norm: f64,
    /// Last step of the SDE, without noise: mean, tweedie, euler or none.
    #[arg(long, value_name = "STEP", help_heading = "Solver", default_value_t = LastStep::default(), requires = "sde")]
    last_step: LastStep,
    /// Time that the last step of the SDE takes, above 0 and below 1.
    #[arg(long, value_name = "X", help_heading = "Solver", default_value_t = DEFAULT_LAST_STEP_SIZE, requires = "sde")]
    last_step_size: f64,

    /// Classes, as in 0-9 or 207,360,387; --per-class images of each [default: all, at most the first 10].
    #[arg(long, value_name = "LIST", help_heading = "Images", value_parser = parse_classes)]
    classes: Option<Classes>,
    /// Images of each class, or in all for an unconditional model.
    #[arg(long, value_name = "N", help_heading = "Images", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
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

    /// Weights of a run to sample with.
    #[arg(long, value_enum, help_heading = "Model", default_value = "ema")]
    weights: Weights,
    /// Path of a bare file's transport; a run records its own [default: linear].
    #[arg(long, value_name = "linear|gvp|vp", help_heading = "Model")]
    path: Option<Path>,
    /// What a bare file's network predicts; a run records its own [default: velocity].
    #[arg(long, value_name = "velocity|score|noise", help_heading = "Model")]
    prediction: Option<Prediction>,
    /// Heads of a bare file whose width is not a published one.
    #[arg(long, value_name = "N", help_heading = "Model")]
    n_heads: Option<usize>,
    /// Image side in pixels of a bare file without pos_embed.
    #[arg(long, value_name = "PIXELS", help_heading = "Model")]
    input_size: Option<usize>,

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
    /// Also write every state, unclamped: t [n+1] and x [n+1, B, C, H, W], f32.
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
  sit sample runs/digits-1 --guidance 1.5
  sit sample runs/digits-1 --ode heun --steps 50 --classes 3,5,7 --per-class 16 --out odd.png
  sit sample runs/digits-1 --sde euler --steps 250 --diffusion sigma --last-step mean --npz samples.npz
  sit sample SiT-S-2.safetensors --classes 207,360 --guidance 4 --guidance-channels 3
  sit sample runs/digits-1 --init noise.safetensors --trajectory path.safetensors";

/// Which weights of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Weights {
    /// Moving average of the weights.
    Ema,
    /// Weights as trained.
    Raw,
}

/// A list of classes.
#[derive(Debug, Clone)]
struct Classes(Vec<u32>);

fn parse_classes(text: &str) -> std::result::Result<Classes, String> {
    let number = |s: &str| {
        s.trim()
            .parse::<u32>()
            .map_err(|_| format!("{s:?} is not a class; expected a list like 0-9 or 207,360"))
    };
    let mut classes = Vec::new();
    for part in text.split(',') {
        match part.split_once('-') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last || last - first >= 1_000_000 {
                    return Err(format!(
                        "{part:?}: expected the first class before the last"
                    ));
                }
                classes.extend(first..=last);
            }
            None => classes.push(number(part)?),
        }
    }
    Ok(Classes(classes))
}

fn parse_interval(text: &str) -> std::result::Result<[f64; 2], String> {
    let refuse = || format!("{text:?}: expected two times like 0.1..0.8");
    let (lo, hi) = text.split_once("..").ok_or_else(refuse)?;
    match (lo.trim().parse(), hi.trim().parse()) {
        (Ok(lo), Ok(hi)) => Ok([lo, hi]),
        _ => Err(refuse()),
    }
}

/// A model that is ready to sample.
struct Source {
    model: ModelConfig,
    transport: Transport,
    weights: Reader<BufReader<File>>,
    /// Whether it was trained on the embedded digits.
    is_digits: bool,
}

impl Args {
    fn source(&self) -> Result<Source> {
        if self.checkpoint.is_dir() {
            let checkpoint = Checkpoint::open(&self.checkpoint)?;
            let config = &checkpoint.state.config;
            for (flag, given) in [
                ("--path", self.path.is_some()),
                ("--prediction", self.prediction.is_some()),
                ("--n-heads", self.n_heads.is_some()),
                ("--input-size", self.input_size.is_some()),
            ] {
                if given {
                    return Err(Failure::Input(format!(
                        "{flag}: {} is a run and records its own",
                        self.checkpoint.display()
                    )));
                }
            }
            let file = match self.weights {
                Weights::Ema => run::EMA,
                Weights::Raw => run::MODEL,
            };
            return Ok(Source {
                model: config.model,
                transport: config.transport,
                weights: run::open(&checkpoint.path.join(file))?,
                is_digits: config.data.kind == Kind::Digits,
            });
        }
        let weights = run::open(&self.checkpoint)?;
        let transport = Transport {
            path: self.path.unwrap_or_default(),
            prediction: self.prediction.unwrap_or_default(),
            ..Transport::default()
        };
        Ok(Source {
            model: weights.model(self.n_heads, self.input_size)?,
            transport,
            weights,
            is_digits: false,
        })
    }

    fn sampler(&self) -> Sampler {
        match (self.ode, self.sde) {
            (_, Some(method)) => Sampler::Sde {
                method,
                diffusion: Diffusion {
                    form: self.diffusion,
                    norm: self.diffusion_norm,
                },
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
        if model.n_classes == 0 {
            if self.classes.is_some() {
                return Err(Failure::input("--classes: this model has no classes"));
            }
            let n = init.as_ref().map_or(self.per_class as usize, |init| init.n);
            return Ok(Images {
                labels: vec![0; n],
                columns: columns(n),
                x: init.map(|init| init.x),
            });
        }
        let classes = match &self.classes {
            Some(Classes(classes)) => classes.clone(),
            None => (0..model.n_classes.min(10) as u32).collect(),
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
        Ok(match init {
            None => Images {
                labels: classes
                    .iter()
                    .flat_map(|&class| vec![class; self.per_class as usize])
                    .collect(),
                columns: self.per_class as usize,
                x: None,
            },
            Some(Init { n, x, y }) => {
                let labels =
                    y.unwrap_or_else(|| (0..n).map(|i| classes[i % classes.len()]).collect());
                Images {
                    labels,
                    columns: columns(n),
                    x: Some(x),
                }
            }
        })
    }
}

/// Columns of a grid of `n` images that is about square.
fn columns(n: usize) -> usize {
    n.isqrt().max(1)
}

struct Images {
    labels: Vec<u32>,
    columns: usize,
    /// Initial noise that was given.
    x: Option<Vec<f32>>,
}

struct Init {
    n: usize,
    x: Vec<f32>,
    y: Option<Vec<u32>>,
}

fn read_init(path: &FilePath, model: &ModelConfig) -> Result<Init> {
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
    let mut source = args.source()?;
    let model = source.model;
    let images = args.images(&model)?;
    let config = SampleConfig {
        model,
        transport: source.transport,
        sampler: args.sampler(),
        guidance: Guidance {
            scale: args.guidance,
            channels: args.guidance_channels,
            interval: args.guidance_interval,
        },
        weights: Arena::Params,
        batch: images.labels.len().min(args.batch as usize),
    };
    config.schedule()?;
    source.weights.check(&model)?;

    let device = args.backend.open()?;
    let layout = Layout::new(&model::params(&model), device.max_segment_bytes())?;
    let arenas = device.arenas(&layout, &[Arena::Params])?;
    source.weights.load(&model, &arenas, Arena::Params)?;
    let started = Instant::now();
    let done = sample(&device, &arenas, &layout, config, args, &images)?;
    let seconds = started.elapsed().as_secs_f64();

    let size = model.input_size;
    let grid = png::grid(&done.x, [model.channels, size, size], images.columns);
    write_atomically(&args.out, |out| out.write_all(&grid))?;
    let n = images.labels.len();
    println!(
        "{n} images in {seconds:.1} s ({} network evaluations each): {}",
        done.nfe,
        args.out.display()
    );
    if let Some(path) = &args.npz {
        npz::write(path, &done.x, [model.channels, size, size], &images.labels)?;
        println!("{}", path.display());
    }
    if let Some(path) = &args.trajectory {
        write_trajectory(path, &model, n, &done)?;
        println!("{}", path.display());
    }
    if source.is_digits && images.labels.iter().all(|&label| label < 10) {
        let knn = Knn::new(&digits::held_out(), Knn::DEFAULT_K)?;
        let agree = knn.agreement(&done.x, &images.labels);
        let percent = 100.0 * agree as f64 / n as f64;
        println!(
            "{agree} of {n} ({percent:.1} %) are what was asked for, says the nearest of the held-out real digits"
        );
    }
    Ok(())
}

struct Done {
    /// Images `[N, C, I, I]`.
    x: Vec<f32>,
    /// Times and states `[N, C, I, I]` of a trajectory, if one was asked for.
    t: Vec<f32>,
    states: Vec<Vec<f32>>,
    nfe: usize,
}

fn sample(
    device: &Device,
    arenas: &Arenas,
    layout: &Layout,
    config: SampleConfig,
    args: &Args,
    images: &Images,
) -> Result<Done> {
    let mut session = Session::new(device, arenas, layout, config)?;
    let (n, len, batch) = (images.labels.len(), config.model.image_len(), config.batch);
    let n_steps = session.steps().len();
    let mut done = Done {
        x: vec![],
        t: vec![],
        states: vec![],
        nfe: nfe(session.steps()),
    };
    if args.trajectory.is_some() {
        done.t = std::iter::once(session.steps()[0].t)
            .chain(session.steps().iter().map(|s| s.t_next))
            .map(|t| t as f32)
            .collect();
        done.states = vec![Vec::with_capacity(n * len); n_steps + 1];
    }
    let n_batches = n.div_ceil(batch);
    let mut bar = Progress::new("sampling", "steps", 0, (n_batches * n_steps) as u64);
    let (mut x0, mut noise) = (vec![0.0; batch * len], vec![0.0; batch * len]);
    for i in 0..n_batches {
        let first = i * batch;
        let images_here = first..(first + batch).min(n);
        let keep = images_here.len() * len;
        // The last batch is filled up with what it held before; a sample does not depend on its neighbors.
        let mut labels = vec![0; batch];
        labels[..images_here.len()].copy_from_slice(&images.labels[images_here.clone()]);
        match &images.x {
            Some(x) => x0[..keep].copy_from_slice(&x[first * len..][..keep]),
            None => initial_noise(&config.model, args.seed, first as u64, &mut x0),
        }
        session.start(&x0, &labels)?;
        for step in 0..n_steps {
            if interrupted() {
                return Err(Failure::Interrupted);
            }
            if let Some(state) = done.states.get_mut(step) {
                state.extend(&block_on(session.read())?[..keep]);
            }
            if session.needs_noise() {
                step_noise(&config.model, args.seed, step, first as u64, &mut noise);
            }
            block_on(session.step(&noise)).map_err(|e| Failure::Run(e.to_string()))?;
            bar.set((i * n_steps + step + 1) as u64, String::new);
        }
        let end = block_on(session.read()).map_err(|e| Failure::Run(e.to_string()))?;
        if let Some(at) = end[..keep].iter().position(|x| !x.is_finite()) {
            return Err(Failure::Run(format!(
                "image {} is not finite",
                first + at / len
            )));
        }
        if let Some(state) = done.states.last_mut() {
            state.extend(&end[..keep]);
        }
        done.x.extend(&end[..keep]);
    }
    Ok(done)
}

/// Writes `t` `[n+1]` and `x` `[n+1, B, C, H, W]`.
fn write_trajectory(path: &FilePath, model: &ModelConfig, n: usize, done: &Done) -> Result<()> {
    let size = model.input_size;
    let tensors = [
        ("t".to_owned(), Shape::from([done.t.len()])),
        (
            "x".to_owned(),
            Shape::from([done.t.len(), n, model.channels, size, size]),
        ),
    ];
    let header = checkpoint::header(&tensors, &[])?;
    write_atomically(path, |out| {
        out.write_all(&header)?;
        checkpoint::write_values(out, &done.t)?;
        done.states
            .iter()
            .try_for_each(|state| checkpoint::write_values(out, state))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_classes() {
        let list = |text| parse_classes(text).map(|Classes(c)| c);
        assert_eq!(list("0-3"), Ok(vec![0, 1, 2, 3]));
        assert_eq!(list("207, 360,1-2"), Ok(vec![207, 360, 1, 2]));
        for bad in ["", "a", "3-1", "1-", "0-4000000000"] {
            assert!(list(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn intervals_of_time() {
        assert_eq!(parse_interval("0.1..0.8"), Ok([0.1, 0.8]));
        assert!(parse_interval("0.1-0.8").is_err() && parse_interval("a..b").is_err());
    }
}
