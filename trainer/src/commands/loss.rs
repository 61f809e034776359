//! `sit loss`: the loss of a model's velocity by time, and what it means for sampling by an SDE.

use super::backend::BackendArg;
use super::exact::Exact;
use super::examples::{DataArgs, Examples};
use super::source::SourceArgs;
use super::values::{finite, whole};
use crate::error::{Failure, Result};
use crate::files::write_atomically;
use crate::outputs::Outputs;
use crate::progress::Progress;
use crate::signals::{self, interrupted};
use crate::{memory, stdout};
use sit_engine::model::{Blueprint, Model};
use sit_engine::sample::{Sampling, VelocityLoss, loss_times};
use sit_engine::text::{count, shown};
use sit_engine::transport::{
    Curve, DEFAULT_LAST_STEP_SIZE, Diffusion, DiffusionForm, KlEta, Method, Path, Sampler,
    Transport, girsanov, start_kl,
};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

/// Measure the loss of a model's velocity by time on real images, for --diffusion w-kl-eta, and bound what it costs an SDE.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    data: DataArgs,

    /// Table to write: lines of t and the loss, a mean over values and images.
    #[arg(long, value_name = "FILE.csv", help_heading = "Output")]
    out: PathBuf,
    /// Equal times from the first to the last one of sampling.
    #[arg(long, value_name = "N", default_value_t = 21, value_parser = whole::<u32>(2..=10_000), help_heading = "Output")]
    times: u32,
    /// eta of the diffusion w-kl-eta in the list of bounds, at least 0.
    #[arg(long, value_name = "X", default_value_t = 0.01, value_parser = finite, help_heading = "Output")]
    kl_eta: f64,
    /// Key of the noise; the same seed gives the same table.
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = whole::<u64>(0..=u64::MAX), help_heading = "Output")]
    seed: u64,
    /// Distance of the first and the last time from 0 and 1, in [0, 0.5) [default: the run's transport.t_eps_sample, else what path
    /// and prediction need].
    #[arg(long, value_name = "X", value_parser = finite, help_heading = "Output")]
    t_eps_sample: Option<f64>,
    /// Images at a time; only memory and speed depend on it.
    #[arg(long, value_name = "B", default_value_t = 64, value_parser = whole::<u32>(1..=65_536), help_heading = "Output")]
    batch: u32,
    #[command(flatten, next_help_heading = "Output")]
    backend: BackendArg,
}

const EXAMPLES: &str = "\
Examples:
  sit loss runs/digits --data digits --out loss.csv
  sit loss runs/eight --data toy:eight-gaussians --count 1000 --out loss.csv
  sit loss runs/fashion --data /usr/share/datasets/fashion-mnist --count 512 --times 41 --out loss.csv
  sit sample runs/digits --sde euler --diffusion w-kl-eta --kl-eta 0.01 --loss-table loss.csv

The loss is |v(x_t, t) - (d_alpha x1 + d_sigma x0)|^2 with the velocity as samplers read it, whatever the model predicts. Of a toy that is a
mixture of Gaussians, as toy:eight-gaussians, the true error of the velocity is told as well.";

/// Runs it.
///
/// # Errors
/// A checkpoint or data that do not fit, a combination of flags that is refused, or a file that cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let mut source = args.source.open()?;
    source.require_samples()?;
    let recipe = source.recipe.clone();
    let transport = Transport {
        t_eps_sample: args.t_eps_sample.or(recipe.transport.t_eps_sample),
        ..recipe.transport.clone()
    };
    if args.kl_eta.is_nan() || args.kl_eta < 0.0 {
        return Err(Failure::Input(format!(
            "--kl-eta: got {}, expected at least 0",
            args.kl_eta
        )));
    }
    let times = loss_times(&transport, args.times)?;
    let mut outputs = Outputs::default();
    outputs.reads("CHECKPOINT", &args.source.checkpoint);
    outputs.reads_images("--data", &args.data.data);
    outputs.writes("--out", &args.out, &["csv", "txt"])?;
    let images = args.data.open(&recipe)?;
    let device = args.backend.open()?;
    let batch = images.len().min(args.batch as usize);
    let most = device.max_segment_bytes();
    let blueprint = Blueprint::new(recipe.model.clone(), transport.clone(), most)?;
    let one_step = Sampling::new(blueprint, Sampler::ode(Method::Euler, 1));
    memory::sampling(&one_step.batch(batch), &device).require()?;
    tracing::info!("weights: {}", source.origin);
    let model = Model::zeros(&device, recipe.model.clone(), transport.clone())?;
    source.weights.load(&model)?;
    signals::catch();
    let exact = Exact::of(&images, recipe.model.io().n_classes);
    let known = exact.as_ref().and_then(|exact| exact.as_ref().ok());
    let (losses, errors) = measure(&model, &images, known, &times, batch, args.seed)?;
    write_atomically(&args.out, |out| {
        writeln!(out, "t,loss")?;
        let mut rows = times.iter().zip(&losses);
        rows.try_for_each(|(t, loss)| writeln!(out, "{t},{loss}"))
    })?;
    let mut text = format!(
        "{}: the loss of the velocity at {}, on {}, {}\n",
        shown(&args.out),
        count(times.len(), "time"),
        images.name,
        source.origin
    );
    if let Some(Err(why)) = &exact {
        writeln!(text, "{why}").ok();
    }
    if errors.is_some() {
        text += "  time            loss  true error E|v - v^|^2, a mean over values; the rest of the loss is the variance of the target\n";
    }
    for (i, (t, loss)) in times.iter().zip(&losses).enumerate() {
        match errors.as_ref().map(|errors| errors[i]) {
            Some(error) => writeln!(text, "  t = {t:<8.4} {loss:.6}  {error:.6}"),
            None => writeln!(text, "  t = {t:<8.4} {loss:.6}"),
        }
        .ok();
    }
    let errors = errors.as_deref();
    text += &bounds(&transport, &times, (&losses, errors), &images, args.kl_eta)?;
    stdout::print(&text)
}

/// The mean loss over all images at each time, and the mean error where the exact velocity is known.
fn measure(
    model: &Model,
    images: &Examples,
    exact: Option<&Exact>,
    times: &[f64],
    batch: usize,
    seed: u64,
) -> Result<(Vec<f64>, Option<Vec<f64>>)> {
    let (n, len) = (images.len(), model.io().image_len());
    let path = &model.transport().path;
    let mut loss = VelocityLoss::new(model, batch, seed)?;
    let mut sums = vec![[0.0; 2]; times.len()];
    let mut bar = Progress::new("loss", "images", 0, n as u64);
    for first in (0..n).step_by(batch) {
        let part = first..n.min(first + batch);
        let x = &images.x[part.start * len..part.end * len];
        for ((at, &t), sum) in (0..).zip(times).zip(&mut sums) {
            if interrupted() {
                return Err(Failure::Interrupted);
            }
            let numbers = &images.numbers[part.clone()];
            let y = &images.y[part.clone()];
            let of_images = match exact {
                None => loss
                    .losses((at, t), numbers, x, y)?
                    .into_iter()
                    .map(|loss| [loss, 0.0])
                    .collect(),
                Some(exact) => {
                    let velocity = |state: &[f64], label| exact.velocity(path, t, state, label);
                    loss.errors((at, t), numbers, x, y, &velocity)?
                }
            };
            // One by one, so that the sum does not depend on the batch.
            for [loss, error] in of_images {
                sum[0] += loss;
                sum[1] += error;
            }
        }
        bar.set(part.end as u64, String::new);
    }
    let means = |k: usize| sums.iter().map(|sum| sum[k] / n as f64).collect::<Vec<_>>();
    let (losses, errors) = (means(0), exact.map(|_| means(1)));
    match losses
        .iter()
        .chain(errors.iter().flatten())
        .position(|loss| !loss.is_finite())
    {
        Some(at) => Err(Failure::Run(format!(
            "the loss at t = {} is not finite",
            times[at % times.len()]
        ))),
        None => Ok((losses, errors)),
    }
}

/// The loss as a function of time; its first and last values count to the ends.
fn curve(times: &[f64], losses: &[f64], factor: f64) -> Result<Curve> {
    let pairs = times.iter().zip(losses);
    let points = pairs.map(|(t, loss)| [*t, factor * loss]);
    Ok(Curve::extended(points.collect())?)
}

/// Girsanov's bound of each form of the diffusion, by the true error where it is known, else with the loss in its place.
fn bounds(
    transport: &Transport,
    times: &[f64],
    (losses, errors): (&[f64], Option<&[f64]>),
    images: &Examples,
    eta: f64,
) -> Result<String> {
    let path = &transport.path;
    let n_values = images.x.len() / images.len();
    let error = curve(times, errors.unwrap_or(losses), n_values as f64)?;
    let of = match errors {
        Some(_) => "The error is the true one, so the bound is loose by no variance of the target.",
        None => {
            "The loss stands for the error E|v - v^|^2. It also holds the variance of the target,\nwhich no model can avoid, so these are loose upper bounds."
        }
    };
    let t0 = times[0];
    let last = 1.0 - DEFAULT_LAST_STEP_SIZE;
    let start = start_kl(
        [path.alpha(t0), path.sigma(t0)],
        start_std(path),
        images.mean_square(),
        n_values,
    );
    let mut text = format!(
        "Girsanov's bound for an SDE with each diffusion D (norm 1): KL(P*|Q) <= KL(start) + integral of (1 + D/D_sbdm)^2 / (4 D) E|v - v^|^2 \
         dt,\nin nats over {}, from t = {t0}. {of} KL(start) <= {start:.3} nats.\n  {:<24}{:>22}{:>22}\n",
        count(n_values, "value"),
        "diffusion",
        format!("to t = {last}"),
        "to t = 1"
    );
    for &form in DiffusionForm::ALL {
        let diffusion = Diffusion {
            kl: match form {
                DiffusionForm::WKlEta => Some(KlEta {
                    eta,
                    loss: curve(times, losses, 1.0)?,
                }),
                _ => None,
            },
            ..Diffusion::new(form, 1.0)
        };
        let to = |end: f64| -> Result<String> {
            let bound = girsanov(path, &diffusion, &error, [t0, end])?;
            Ok(match bound.diverges_at {
                Some(t) => format!("infinite at t = {t}"),
                None => format!("{:.4}", bound.nats),
            })
        };
        let name = match form {
            DiffusionForm::Sbdm => "SBDM (the least)".to_owned(),
            DiffusionForm::WKlEta => format!("{form}, eta {eta}"),
            form => form.to_string(),
        };
        writeln!(text, "  {name:<24}{:>22}{:>22}", to(last)?, to(1.0)?).ok();
    }
    writeln!(
        text,
        "t = {last} is where the last step of an SDE begins by default; \"infinite\" means that the integral diverges there"
    )
    .ok();
    Ok(text)
}

/// Standard deviation of the noise from which an SDE starts.
fn start_std(path: &Path) -> f64 {
    let transport = Transport {
        path: path.clone(),
        ..Transport::default()
    };
    transport.start_std(&Sampler::ode(Method::Euler, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_has_its_bound_and_sbdm_the_least() {
        let images = Examples {
            name: "x".into(),
            numbers: vec![0],
            x: vec![0.5; 4],
            y: vec![0],
            has_levels: true,
            toy: None,
        };
        let times = [0.0, 0.5, 1.0];
        let text = bounds(
            &Transport::default(),
            &times,
            (&[0.1, 0.2, 0.3], None),
            &images,
            0.01,
        )
        .unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("  ")).collect();
        // A header, and a line for each form.
        assert_eq!(lines.len(), 1 + DiffusionForm::ALL.len());
        let number = |line: &str| -> f64 {
            let words: Vec<&str> = line.split_whitespace().collect();
            words
                .iter()
                .find_map(|w| w.contains('.').then(|| w.parse().ok())?)
                .unwrap_or(f64::INFINITY)
        };
        let of = |name: &str| number(&lines.iter().find(|l| l.contains(name)).unwrap()[24..]);
        let least = of("SBDM");
        assert!(least.is_finite() && least > 0.0, "{text}");
        for name in ["constant", "sigma", "linear", "decreasing"] {
            assert!(of(name) >= least, "{text}");
        }
        assert!(
            lines
                .iter()
                .find(|l| l.contains("increasing-"))
                .unwrap()
                .contains("infinite at t = 0")
        );
        assert!(text.contains("loose upper bounds"), "{text}");
        let true_errors: &[f64] = &[0.01, 0.02, 0.03];
        let (losses, errors) = (&[0.1, 0.2, 0.3], Some(true_errors));
        let exact = bounds(
            &Transport::default(),
            &times,
            (losses, errors),
            &images,
            0.01,
        )
        .unwrap();
        let sbdm = exact
            .lines()
            .find(|line| line.contains("SBDM (the least)"))
            .unwrap();
        assert!((number(&sbdm[24..]) - least / 10.0).abs() < 1e-3, "{exact}");
        assert!(
            exact.contains("the true one") && !exact.contains("loose upper"),
            "{exact}"
        );
        assert!(
            lines
                .iter()
                .filter(|l| l.contains("infinite at t = 1"))
                .count()
                >= 4,
            "{text}"
        );
    }
}
