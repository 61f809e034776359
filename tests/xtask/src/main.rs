//! `cargo xtask VERB`: everything a developer or a newcomer runs that is not `sit` itself.

mod app_model;
mod apt;
mod bench;
mod ci;
mod demo;
mod emoji;
mod ladder;
mod modern_vulkan;
mod nearest;
mod parity;
mod scaling;
mod study;
mod tidy;
mod web;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Chores of the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Train the small model that the app embeds, write it and judge it.
    AppModel(app_model::Args),
    /// Speed and memory against another implementation.
    Bench(bench::Args),
    /// All checks and tests, with their set-up.
    Ci,
    /// Build in release, train on real digits, sample with the ODE and the SDE: at most 4 minutes on 2 cores.
    Demo(demo::Args),
    /// Train the preset for one's own pictures on emoji of 8 classes, sample and judge it: a quarter of an hour on 2 cores.
    Emoji(emoji::Args),
    /// The talks' way from DDPM to SiT with guidance, on digits at one small size, beside the published figures.
    Ladder(study::Args),
    /// The operations, networks and trainings on a recent software driver with 16-bit floats and matrix units, in a folder made by debootstrap.
    ModernVulkan,
    /// Forward of SiT-XL/2 against the official output; needs 3 GB of memory.
    Parity,
    /// Distance against work: three widths, three patch sizes and the four block designs, on digits, beside the published trend.
    Scaling(study::Args),
    /// Build the page and serve it on 127.0.0.1.
    Serve(web::ServeArgs),
    /// Rules that compilers do not check: module arrows, circles and length of files, stems, paths in ARCHITECTURE.md.
    Tidy,
    /// Build the page: a folder of static files for any web server.
    Web(web::Args),
    /// The kernels, the operations and the page in a headless Chromium, which is installed when there is none.
    WebTest(web::TestArgs),
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The causes on one line; a backtrace of this program tells nobody anything.
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::AppModel(args) => app_model::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Ci => ci::run(),
        Verb::Demo(args) => demo::run(&args),
        Verb::Emoji(args) => emoji::run(&args),
        Verb::Ladder(args) => ladder::run(&args),
        Verb::ModernVulkan => modern_vulkan::run(),
        Verb::Parity => parity::run(),
        Verb::Scaling(args) => scaling::run(&args),
        Verb::Serve(args) => web::serve(&args),
        Verb::Tidy => tidy::run(),
        Verb::Web(args) => web::run(&args).map(|_| ()),
        Verb::WebTest(args) => web::test::run(&args),
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(&here).to_owned()
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty());
    root().join(named.map_or_else(|| "target".into(), PathBuf::from))
}

/// `cargo` in the root of the repository, as it was called.
fn cargo(args: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args.split_whitespace()).current_dir(root());
    cargo
}

/// Runs a command and fails when it does.
fn check(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", text(command));
    let status = command.status().with_context(|| text(command))?;
    ensure!(status.success(), "{}: {status}", text(command));
    Ok(())
}

/// A command as it would be typed.
fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|w| w.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
