//! The command line of `sit`.

use crate::commands::{
    convert, data, ema, eval, info, loss, nll, profile, sample, selftest, sweep, train,
};
use crate::error::Failure;
use crate::{progress, signals};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use sit_engine::text::{shown, shown_lines};
use std::ffi::OsString;
use std::process::ExitCode;

/// Train, sample and inspect Scalable Interpolant Transformers on any GPU, or on the CPU.
#[derive(Debug, Parser)]
#[command(name = "sit", version, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Methods, with their equations and sources in METHODS.md:
  paths         linear, gvp, vp, ou, edm, ddpm, file:TABLE (transport.path);
                from noise or from another data set (transport.base)
  predictions   velocity, score, noise, data, denoiser, mean (transport.prediction)
  losses        weights none, velocity, likelihood (transport.loss_weight);
                of DDPM mse, rescaled-mse, kl, rescaled-kl
  times         uniform, logit-normal, log-normal, with a shift (transport.times);
                of DDPM uniform, second-moment
  ODE           euler, midpoint, heun, heun3, rk4, rk4-38, bosh3, dopri5,
                adaptive-heun, dpm++2m, unipc (sit sample --ode)
  SDE           euler, heun, pc, alternate (sit sample --sde); its diffusion
                constant, sbdm, sigma, linear, decreasing,
                increasing-decreasing, w-kl-eta or file:PATH
  EDM           heun, euler, with churn (sit sample --edm)
  DDPM          ancestral, ddim, on models of every path (sit sample --ddpm)
  likelihood    exact or hutchinson trace, the bound of DDPM (sit nll),
                Girsanov's bound (sit loss), there and back (sit sample --reverse)
  exact worlds  sit selftest, data.path = \"toy:NAME\"

Examples:
  sit train --preset digits
  sit sample runs/digits --ode heun --steps 50 --guidance 1.5 --out digits.png
  sit sample runs/digits --sde euler --steps 250 --diffusion sigma --out digits-sde.png
  sit sweep runs/digits --ode euler,heun --steps 8,16,32 --guidance 1,1.5 --out sweep
  sit eval ode.npz sde.npz --train-judge digits
  sit eval ode.npz sde.npz --reference digits --train-judge digits
  sit nll runs/digits --data digits --levels 17
  sit loss runs/digits --data digits --out loss.csv
  sit convert runs/digits digits.safetensors --dtype f16
  sit ema runs/digits --width 0.15 --out digits-wide.safetensors
  sit info --preset SiT-XL/2
  sit profile runs/digits --trace digits.json
  sit selftest --backend gpu
  sit data inspect /usr/share/datasets/fashion-mnist

Exit codes: 0 done, 1 failure, 2 bad usage or input, 130 stopped by Ctrl-C or a signal; a run has saved a checkpoint.
SIT_LOG=debug shows more, SIT_LOG=warn less.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a model, or go on with a run.
    Train(train::Args),
    /// Sample images from a checkpoint.
    Sample(Box<sample::Args>),
    /// Sample with every combination of some settings, and measure the images: a table and a plot.
    Sweep(Box<sweep::Args>),
    /// Judge samples: how far they are from real images.
    Eval(Box<eval::Args>),
    /// Show how likely real images are: bits per dimension.
    Nll(Box<nll::Args>),
    /// Measure the loss of the velocity by time, and bound what it costs an SDE.
    Loss(Box<loss::Args>),
    /// Write weights as one .safetensors file that says what it is, under the official names or those of diffusers.
    Convert(convert::Args),
    /// Make an average of a run's weights after the fact, as one .safetensors file.
    Ema(ema::Args),
    /// Show a model's parameters, work and memory, and what this machine can run.
    Info(info::Args),
    /// Show where the time of a training step and of a sampling step goes, by operation or by kernel of the GPU.
    Profile(profile::Args),
    /// Run every sampler on data whose exact velocity is known, and compare.
    Selftest(selftest::Args),
    /// Look at data, and encode it.
    #[command(subcommand)]
    Data(data::Command),
}

/// The command line. Every flag accepts a negative number as its value: `--seed -1` is reported as a wrong number, not as an
/// unknown argument.
fn command() -> clap::Command {
    fn with_negative_numbers(command: clap::Command) -> clap::Command {
        command
            .mut_args(
                |arg| match arg.get_action().takes_values() && !arg.is_positional() {
                    true => arg.allow_negative_numbers(true),
                    false => arg,
                },
            )
            .mut_subcommands(with_negative_numbers)
    }
    with_negative_numbers(Cli::command())
}

fn parse(args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let args = convert::from_export(args);
    let args = match sample::recipes::expand(&args) {
        None => args,
        Some(args) => {
            command = command.mut_subcommand("sample", |sample| sample.args_override_self(true));
            args
        }
    };
    let matches = command.try_get_matches_from_mut(args)?;
    Cli::from_arg_matches(&matches).map_err(|e| e.format(&mut command))
}

/// Runs the command line `args`, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let cli = match parse(args.clone()) {
        Ok(cli) => cli,
        Err(e) => {
            // An argument, such as the name of a downloaded file, may contain terminal control characters.
            let safe = args.iter().map(|arg| shown(arg).into());
            let e = parse(safe.collect()).err().unwrap_or(e);
            // Help and version go to stdout, the rest to stderr; nothing can be done when that fails.
            e.print().ok();
            let asked = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { 0 } else { 2 });
        }
    };
    progress::start_logging();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !crate::data::is_guarded() {
            hook(info);
        }
    }));
    signals::file_limit_is_an_error();
    let done = match cli.command {
        Command::Train(args) => train::run(&args),
        Command::Sample(args) => sample::run(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Nll(args) => nll::run(&args),
        Command::Loss(args) => loss::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Ema(args) => ema::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Selftest(args) => selftest::run(&args),
        Command::Data(command) => data::run(&command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Interrupted) {
                // Not a log line: SIT_LOG must not hide it.
                let text = shown_lines(&format!("error: {failure}\n"));
                progress::message(text.as_bytes());
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(words: &str) -> String {
        let parsed = command().try_get_matches_from(words.split(' '));
        parsed.unwrap_err().render().to_string()
    }

    #[test]
    fn every_method_is_in_the_help() {
        use sit_engine::transport::{
            DdpmLoss, DdpmMethod, DdpmTimes, DiffusionForm, EdmMethod, LossWeight, Method,
            PathName, Prediction, SdeMethod, TimesKind,
        };
        macro_rules! names {
            ($($name:ident)*) => {
                [$($name::ALL.iter().map(|value| value.name()).collect::<Vec<_>>()),*].concat()
            };
        }
        let words: Vec<&str> = EXAMPLES.split([' ', ',', '\n', ';']).collect();
        for name in names!(Prediction LossWeight TimesKind Method SdeMethod DiffusionForm EdmMethod DdpmMethod DdpmLoss DdpmTimes)
        {
            let name = name.to_lowercase();
            assert!(words.contains(&name.as_str()), "{name}");
        }
        for name in names!(PathName).into_iter().filter(|name| *name != "table") {
            assert!(words.contains(&name.to_lowercase().as_str()), "{name}");
        }
    }

    #[test]
    fn a_recipe_stands_for_flags_which_flags_of_ones_own_replace() {
        let parsed = |words: &str| {
            let words = words.split(' ').map(OsString::from);
            let Command::Sample(args) = parse(words.collect()).unwrap().command else {
                panic!("another command");
            };
            format!("{args:?}").replace("recipe: Some", "recipe: None")
        };
        let sde =
            "--sde euler --steps 249 --diffusion sigma --last-step mean --last-step-size 0.04";
        let guided = "--guidance 1.5 --guidance-channels 3";
        let without_name =
            |text: String, name: &str| text.replace(&format!("None({name:?})"), "None");
        let name = "sit-xl-2-sde-250-cfg-1.5";
        for own in ["", " --steps 9", " --diffusion linear --seed 1"] {
            let recipe = parsed(&format!("sit sample x --recipe {name}{own}"));
            let first = own.split(' ').nth(1).unwrap_or("--none");
            let pairs: Vec<&str> = sde.split(' ').chain(guided.split(' ')).collect();
            let kept = pairs.chunks(2).filter(|pair| pair[0] != first);
            let flags: Vec<String> = kept.map(|pair| pair.join(" ")).collect();
            let written = parsed(&format!("sit sample x {}{own}", flags.join(" ")));
            assert_eq!(without_name(recipe, name), written, "{own}");
        }
        // Another sampler takes the place of the whole solver.
        for own in ["--ode dopri5 --rtol 0.1", "--ddpm ddim"] {
            let recipe = parsed(&format!("sit sample x --recipe {name} {own}"));
            let written = parsed(&format!("sit sample x {guided} {own}"));
            assert_eq!(without_name(recipe, name), written, "{own}");
        }
        for name in sample::recipes::names() {
            parsed(&format!("sit sample x --recipe={name}"));
        }
        let wrong = message("sit sample x --recipe sit-xl-3");
        assert!(wrong.contains("sit-xl-2-ode-250"), "{wrong}");
        // Elsewhere a flag that is given twice is refused.
        assert!(message("sit sample x --steps 2 --steps 3").contains("multiple times"));
    }

    #[test]
    fn negative_numbers_are_values_and_are_refused_by_their_range() {
        command().debug_assert();
        for (flag, expected) in [
            (
                "--seed",
                "expected a whole number of 0 to 18446744073709551615",
            ),
            ("--steps", "expected a whole number of 1 to 100000"),
            ("--per-class", "expected a whole number of 1 to 1000000"),
            ("--batch", "expected a whole number of 1 to 65536"),
            ("--n-heads", "expected a whole number of 1 to 65536"),
            ("--input-size", "expected a whole number of 1 to 4096"),
        ] {
            let message = message(&format!("sit sample run {flag} -1"));
            assert!(
                message.starts_with(&format!("error: invalid value '-1' for '{flag} ")),
                "{message}"
            );
            assert!(message.contains(expected), "{message}");
        }
        for flags in [
            "--guidance -5",
            "--t-eps-sample -0.1",
            "--sde euler --last-step-size -1",
            "--guidance-interval -1..1",
        ] {
            let words = format!("sit sample run {flags}");
            command().try_get_matches_from(words.split(' ')).unwrap();
        }
        assert!(message("sit sample run --guidance x").contains("expected a number"));
        assert!(message("sit sample run -5 x").contains("unexpected argument"));
    }
}
