//! `sit nll`: bits per dimension of real images.

mod report;
mod vlb;

use super::backend::BackendArg;
use super::exact::Exact;
use super::examples::{DataArgs, Examples};
use super::source::SourceArgs;
use super::values::{finite, whole};
use crate::error::{Failure, Result};
use crate::outputs::Outputs;
use crate::progress::Progress;
use crate::signals::{self, interrupted};
use crate::{memory, stdout};
use clap::ValueEnum;
use report::Report;
use sit_engine::model::{Blueprint, Model};
use sit_engine::sample::{self, LogLikelihood, Sampling, Trace};
use sit_engine::text::count;
use sit_engine::transport::{ErrorNorm, Method, Ode, Respacing, Sampler, Tolerance, Transport};
use std::path::PathBuf;
use std::time::Instant;

/// Show how likely real images are under a model: bits per dimension, by the change of variables along the ODE.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    data: DataArgs,

    /// How the trace of the drift's Jacobian is found: hutchinson estimates it with random probes, exact takes a backward pass for each
    /// value of an image, which suits small images.
    #[arg(long, value_name = "hutchinson|exact", default_value = "hutchinson", value_parser = ["hutchinson", "exact"], help_heading = "Trace")]
    trace: String,
    /// Probes of each image, kept for its whole way; each costs a backward pass. With 2 or more, their own error is told.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = whole::<u32>(1..=65_536), help_heading = "Trace")]
    probes: u32,
    /// How probes are drawn: values of -1 and 1, which have the least variance, or standard normal ones.
    #[arg(long, value_enum, default_value_t = Draw::Rademacher, help_heading = "Trace")]
    probe: Draw,
    /// Draw new probes for each evaluation; only with fixed steps.
    #[arg(long, help_heading = "Trace")]
    fresh_probes: bool,
    /// Levels of the images' values. They are made continuous by uniform noise within a level: x = 2 (level + u) / N - 1.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = whole::<u32>(2..=65_536), help_heading = "Trace")]
    levels: u32,
    /// Key of the probes and of the noise within levels.
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = whole::<u64>(0..=u64::MAX), help_heading = "Trace")]
    seed: u64,

    /// Method that integrates the ODE from data to noise [default: dopri5].
    #[arg(
        long,
        value_name = "euler|midpoint|heun|heun3|rk4|rk4-38|dopri5|bosh3|adaptive-heun",
        default_value_t = Method::Dopri5,
        hide_default_value = true,
        help_heading = "Solver"
    )]
    ode: Method,
    /// Equal steps of a method of fixed steps [default: 50].
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=100_000), help_heading = "Solver")]
    steps: Option<u32>,
    /// Relative tolerance of dopri5, bosh3 and adaptive-heun, for each value of the state and for log p per dimension [default: 0.001].
    #[arg(long, value_name = "X", value_parser = finite, help_heading = "Solver")]
    rtol: Option<f64>,
    /// Their absolute tolerance [default: 0.000001].
    #[arg(long, value_name = "X", value_parser = finite, help_heading = "Solver")]
    atol: Option<f64>,
    /// The most network evaluations that they may take for an image [default: 10000].
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=10_000_000), help_heading = "Solver")]
    max_nfe: Option<u32>,
    /// Distance of the first and the last time from 0 and 1, in [0, 0.5) [default: the run's transport.t_eps_sample, else what path
    /// and prediction need].
    #[arg(long, value_name = "X", value_parser = finite, help_heading = "Solver")]
    t_eps_sample: Option<f64>,
    /// Show the variational bound of a DDPM chain instead, in bits per dimension of 256 levels: an evaluation of the network at each
    /// noise level.
    #[arg(
        long,
        conflicts_with_all = ["trace", "probes", "probe", "fresh_probes", "levels", "ode", "steps", "rtol", "atol", "max_nfe", "t_eps_sample"],
        help_heading = "Bound"
    )]
    vlb: bool,
    /// Noise levels of --vlb that are used: all, a number, one for each section of the chain such as 10,15,20, or ddim and a number
    /// [default: those that the model was trained at].
    #[arg(
        long,
        value_name = "all|250|10,15,20|ddim50",
        requires = "vlb",
        help_heading = "Bound"
    )]
    respacing: Option<Respacing>,
    /// Clamp the predicted image of --vlb to [-X, X] [default: not; without a number 1].
    #[arg(long, value_name = "X", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = finite, requires = "vlb", help_heading = "Bound")]
    clip_x0: Option<f64>,
    /// Scale of guidance; only 1, none, has a likelihood.
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = finite, hide = true)]
    guidance: f64,

    /// Also write a row for each image: its number in the data, label, nats, their error, prior, integral, bits per dimension,
    /// evaluations.
    #[arg(long, value_name = "FILE.csv", help_heading = "Output")]
    csv: Option<PathBuf>,
    /// Images at a time; only memory and speed depend on it.
    #[arg(long, value_name = "B", default_value_t = 32, value_parser = whole::<u32>(1..=65_536), help_heading = "Output")]
    batch: u32,
    #[command(flatten)]
    backend: BackendArg,
}

const EXAMPLES: &str = "\
Examples:
  sit nll runs/digits --data digits --levels 17
  sit nll runs/fashion --data /usr/share/datasets/fashion-mnist --count 256 --probes 4 --csv nll.csv
  sit nll runs/faces --data photos --count 64 --ode heun --steps 50 --fresh-probes
  sit nll runs/digits --data digits.npz --trace exact --count 16
  sit nll runs/digits-ddpm --data digits --vlb --respacing 100 --clip-x0

x is in [-1, 1]. Bits per dimension are -log p(x) / (D ln 2) + log2(levels / 2) for images of D values: with uniform noise within levels a
bound from above on the bits that the discrete image costs. log p(x) is the density of the images that the ODE makes.";

/// How probes are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Draw {
    /// -1 or 1.
    Rademacher,
    /// Standard normal.
    Gaussian,
}

impl Args {
    fn kind(&self) -> Result<Trace> {
        if self.trace == "exact" {
            let given = [
                ("--probes", self.probes != 1),
                ("--probe", self.probe != Draw::Rademacher),
                ("--fresh-probes", self.fresh_probes),
            ];
            return match given.iter().find(|(_, is_given)| *is_given) {
                Some((flag, _)) => Err(Failure::Input(format!(
                    "{flag}: --trace exact takes no random probes"
                ))),
                None => Ok(Trace::Exact),
            };
        }
        Ok(Trace::Hutchinson {
            n_probes: self.probes as usize,
            draw: match self.probe {
                Draw::Rademacher => sample::Draw::Rademacher,
                Draw::Gaussian => sample::Draw::Gaussian,
            },
            is_fresh: self.fresh_probes,
        })
    }

    /// Refuses to write over what is read.
    fn check_outputs(&self) -> Result<()> {
        let mut outputs = Outputs::default();
        outputs.reads("CHECKPOINT", &self.source.checkpoint);
        outputs.reads_images("--data", &self.data.data);
        match &self.csv {
            Some(csv) => outputs.writes("--csv", csv, &["csv"]),
            None => Ok(()),
        }
    }

    fn sampler(&self) -> Result<Sampler> {
        let usual = Ode::default();
        if self.ode.is_adaptive() && self.steps.is_some() {
            return Err(Failure::Input(format!(
                "--steps: {} chooses its steps itself, by --rtol and --atol; for given steps take heun, rk4 or another method",
                self.ode
            )));
        }
        let has_tolerance = self.rtol.is_some() || self.atol.is_some() || self.max_nfe.is_some();
        if !self.ode.is_adaptive() && has_tolerance {
            return Err(Failure::Input(format!(
                "--rtol, --atol and --max-nfe: they belong to dopri5, bosh3 and adaptive-heun, got --ode {}",
                self.ode
            )));
        }
        let tolerance = usual.tolerance;
        Ok(Sampler::Ode(Ode {
            method: self.ode,
            n_steps: self.steps.unwrap_or(usual.n_steps),
            reverse: true,
            tolerance: Tolerance {
                rtol: self.rtol.unwrap_or(tolerance.rtol),
                atol: self.atol.unwrap_or(tolerance.atol),
                max_nfe: self.max_nfe.unwrap_or(tolerance.max_nfe),
                norm: ErrorNorm::Sample,
            },
            ..usual
        }))
    }
}

/// Runs it.
///
/// # Errors
/// A checkpoint or data that do not fit, a combination of flags that is refused, or a file that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let mut source = args.source.open()?;
    source.require_samples()?;
    if args.vlb {
        return vlb::run(args, source);
    }
    // The parser looks at what a flag belongs to only where nothing speaks against it.
    let of_bound = [
        ("--respacing", args.respacing.is_some()),
        ("--clip-x0", args.clip_x0.is_some()),
    ];
    if let Some((flag, _)) = of_bound.iter().find(|(_, is_given)| *is_given) {
        return Err(Failure::Input(format!("{flag}: it belongs to --vlb")));
    }
    let recipe = source.recipe.clone();
    let (trace, sampler) = (args.kind()?, args.sampler()?);
    let transport = Transport {
        t_eps_sample: args.t_eps_sample.or(recipe.transport.t_eps_sample),
        ..recipe.transport.clone()
    };
    let io = recipe.model.io();
    let plain = |most: u64, batch: usize| -> sit_engine::Result<Sampling<Blueprint>> {
        let blueprint = Blueprint::new(recipe.model.clone(), transport.clone(), most)?;
        let sampling = Sampling::new(blueprint, sampler.clone());
        Ok(sampling.guidance(args.guidance).batch(batch))
    };
    // Settings are checked before the data is read, and before a device is opened.
    plain(u64::MAX, 1)?.likelihood_forecast(trace)?;
    let (ends, noise_std) = plain(u64::MAX, 1)?.likelihood_ends()?;
    args.check_outputs()?;
    let mut images = args.data.open(&recipe)?;
    let levels = levels(
        args,
        &images,
        recipe.data.as_ref().map(|data| data.max_level),
    )?;
    if let Some(levels) = levels {
        sample::dequantize(
            args.seed,
            &images.numbers,
            levels,
            io.image_len(),
            &mut images.x,
        )?;
    }
    let device = args.backend.open()?;
    let batch = images.len().min(args.batch as usize);
    let needs = plain(device.max_segment_bytes(), batch)
        .and_then(|sampling| sampling.likelihood_forecast(trace));
    memory::parts(
        format!("likelihoods of {batch} images at a time"),
        needs,
        &device,
    )
    .require()?;
    tracing::info!("weights: {}", source.origin);
    let model = Model::zeros(&device, recipe.model.clone(), transport.clone())?;
    source.weights.load(&model)?;
    signals::catch();
    let sampling = model.sampler(sampler.clone()).guidance(args.guidance);
    let sampling = sampling.batch(batch).seed(args.seed);
    let started = Instant::now();
    let results = measure(sampling, trace, &images)?;
    let report = Report {
        images: &images,
        results: &results,
        len: io.image_len(),
        levels,
        trace,
        method: args.ode,
        ends,
        noise_std,
        exact: Exact::of(&images, io.n_classes)
            .map(|exact| exact.map(|exact| exact.log_densities(&images))),
        seconds: started.elapsed().as_secs_f64(),
        origin: source.origin.to_string(),
    };
    if let Some(csv) = &args.csv {
        report.write(csv)?;
    }
    stdout::print(&report.text(args.csv.as_deref()))
}

/// The levels that the images are spread over; latents have none.
fn levels(args: &Args, images: &Examples, max_level: Option<u8>) -> Result<Option<u32>> {
    if !images.has_levels {
        return match args.levels {
            256 => Ok(None),
            levels => Err(Failure::Input(format!(
                "--levels: got {levels}, but the values of {} are float32, which have no levels",
                images.name
            ))),
        };
    }
    let of_training = max_level.map(|max| u32::from(max) + 1);
    if let Some(own) = of_training.filter(|own| *own != args.levels) {
        tracing::warn!(
            "the model was trained on images of {own} levels, and these are measured with {}: --levels {own} takes the model's",
            args.levels
        );
    }
    Ok(Some(args.levels))
}

/// The likelihoods of all images, in their order.
fn measure(
    sampling: Sampling<Model>,
    trace: Trace,
    images: &Examples,
) -> Result<Vec<LogLikelihood>> {
    let (n, len) = (images.len(), images.x.len() / images.len());
    let mut likelihood = sampling.likelihood(trace)?;
    let mut bar = Progress::new("likelihood", "images", 0, n as u64);
    let mut done: Vec<LogLikelihood> = Vec::with_capacity(n);
    let mut added = 0;
    while done.len() < n {
        if interrupted() {
            return Err(Failure::Interrupted);
        }
        let until = n.min(added + likelihood.room());
        let new = added..until;
        likelihood.add(
            &images.numbers[new.clone()],
            &images.x[new.start * len..new.end * len],
            &images.y[new],
        )?;
        added = until;
        done.extend(likelihood.step()?);
        let on_the_way = likelihood.progress();
        bar.set(done.len() as u64, || match on_the_way {
            0.0 => String::new(),
            share => format!("and {share:.1} of those on their way"),
        });
    }
    done.sort_by_key(|image| image.number);
    match done.iter().find(|image| !image.nats.is_finite()) {
        Some(image) => Err(Failure::Run(format!(
            "{}: the likelihood of image {} ({}) is not finite",
            images.name,
            image.number,
            count(image.nfe, "evaluation")
        ))),
        None => Ok(done),
    }
}
