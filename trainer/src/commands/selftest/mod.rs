//! `sit selftest`: every sampler on data whose exact velocity is known, on the chosen backend.

mod likelihood;
mod ode;
mod sde;
mod worlds;

use crate::commands::backend::BackendArg;
use crate::error::{Failure, Result};
use crate::{progress::Progress, signals, stdout};
use std::fmt::Write as _;
use std::time::Instant;

/// Run every sampler on Gaussian mixtures, whose velocity and density are known, and compare with what they must give.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    backend: BackendArg,
}

const EXAMPLES: &str = "\
Examples:
  sit selftest
  sit selftest --backend gpu

order is the measured order of convergence, error the root mean square against the exact flow. Moments may be off by 2 % of a standard
deviation (variances by 4 %), which steps of finite size leave; what is told is the rest in standard errors.";

/// One line of the report.
pub struct Line {
    /// What was run.
    pub name: String,
    /// Network evaluations of a sample.
    pub nfe: f64,
    /// What was measured.
    pub measured: String,
    /// What was expected, if it does not hold.
    pub wrong: Option<String>,
}

/// Runs it.
///
/// # Errors
/// A device that fails, or a sampler that does not give what it must.
pub fn run(args: &Args) -> Result<()> {
    let device = args.backend.open()?;
    signals::catch();
    let begun = Instant::now();
    let checks: [(&str, Check); 6] = [
        ("ODE solvers", ode::orders),
        ("adaptive ODE solvers", ode::adaptive),
        ("other paths, EDM's sampler and DDIM", ode::paths),
        ("SDE samplers", sde::moments),
        ("likelihoods", likelihood::densities),
        ("Langevin dynamics and matching", sde::theory),
    ];
    let mut lines = Vec::new();
    let mut bar = Progress::new("testing", "parts", 0, checks.len() as u64);
    for (i, (name, check)) in checks.into_iter().enumerate() {
        if signals::interrupted() {
            return Err(Failure::Interrupted);
        }
        let made = check(&device).map_err(|e| e.context(name))?;
        lines.push((name, made));
        bar.set(i as u64 + 1, String::new);
    }
    drop(bar);
    let mut text = format!("{device}\n");
    let (mut n, mut n_wrong) = (0, 0);
    for (name, lines) in &lines {
        writeln!(text, "\n{name}").ok();
        for line in lines {
            n += 1;
            n_wrong += usize::from(line.wrong.is_some());
            let verdict = line.wrong.as_deref().unwrap_or("ok");
            writeln!(
                text,
                "  {:<32} {:>7.1} evaluations  {:<40} {verdict}",
                line.name, line.nfe, line.measured
            )
            .ok();
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    writeln!(
        text,
        "\n{} of {n} as they must be, in {seconds:.1} s",
        n - n_wrong
    )
    .ok();
    stdout::print(&text)?;
    match n_wrong {
        0 => Ok(()),
        _ => Err(Failure::Run(format!(
            "{n_wrong} of {n} samplers do not give what they must on this device"
        ))),
    }
}

type Check = fn(&sit_engine::backend::Device) -> Result<Vec<Line>>;
