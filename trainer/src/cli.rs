//! The command line of `sit`.

use crate::commands::{data, export, info, sample, train};
use crate::error::Failure;
use crate::{progress, signals};
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
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
Examples:
  sit train --preset digits
  sit sample runs/digits --ode heun --steps 50 --guidance 1.5 --out digits.png
  sit sample runs/digits --sde euler --steps 250 --diffusion sigma --out digits-sde.png
  sit export runs/digits --dtype f16 --out digits.safetensors
  sit info --preset SiT-XL/2
  sit data inspect /usr/share/datasets/fashion-mnist

Exit codes: 0 done, 1 failure, 2 bad usage or input, 130 stopped by Ctrl-C with a checkpoint.
SIT_LOG=debug shows more, SIT_LOG=warn less.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a model, or go on with a run.
    Train(train::Args),
    /// Sample images from a checkpoint.
    Sample(sample::Args),
    /// Write weights as one .safetensors file that says what it is.
    Export(export::Args),
    /// Show a model's parameters, work and memory, and what this machine can run.
    Info(info::Args),
    /// Look at data.
    #[command(subcommand)]
    Data(data::Command),
}

/// Runs the command line `args`, the program's name first.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version go to stdout, the rest to stderr; nothing can be done when that fails.
            e.print().ok();
            let asked = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked { 0 } else { 2 });
        }
    };
    progress::start_logging();
    signals::file_limit_is_an_error();
    let done = match cli.command {
        Command::Train(args) => train::run(&args),
        Command::Sample(args) => sample::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Info(args) => info::run(&args),
        Command::Data(command) => data::run(&command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Interrupted) {
                // Not a log line: SIT_LOG must not hide it.
                progress::message(format!("error: {failure}\n").as_bytes());
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
