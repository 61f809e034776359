//! Forecasts the time of a run, from the steps done so far, and its disk space.

use crate::config::{LogConfig, RunConfig};
use crate::host;
use crate::progress::duration;
use crate::run;
use sit_engine::text::shown;
use std::path::Path;
use std::time::{Duration, Instant};

/// Long enough to measure, and short enough that the user is still watching.
const MEASURED: Duration = Duration::from_secs(3);

/// A shorter run is over before a forecast is read.
const WORTH_TELLING: f64 = 60.0;

/// A longer run gets a warning.
const DAY: f64 = 86_400.0;

/// Measures the first steps.
#[derive(Debug)]
pub struct Pace {
    /// Start of the measured steps, and the number of steps done by then.
    start: (Instant, u64),
    /// Whether the first step is left out: it is slower than those after it, and counts only if there is no other.
    warm: bool,
    steps_per_sec: Option<f64>,
}

impl Pace {
    /// Starts at the end of step `step`.
    pub fn new(step: u64) -> Self {
        Pace {
            start: (Instant::now(), step),
            warm: false,
            steps_per_sec: None,
        }
    }

    /// Leaves out time that was not spent on training.
    pub fn pause(&mut self, time: Duration) {
        self.start.0 += time;
    }

    /// The seconds that the steps until `total` will take. Returned once, when enough steps have been measured.
    pub fn left(&mut self, step: u64, total: u64) -> Option<f64> {
        if self.steps_per_sec.is_some() {
            return None;
        }
        let elapsed = self.start.0.elapsed();
        if elapsed < MEASURED {
            if !self.warm {
                self.warm = true;
                self.start = (Instant::now(), step);
            }
            return None;
        }
        let rate = (step - self.start.1) as f64 / elapsed.as_secs_f64();
        self.steps_per_sec = Some(rate);
        Some((total - step) as f64 / rate)
    }
}

/// Logs how long the run will take and how much disk space it will use.
pub fn tell(seconds: f64, pace: &Pace, config: &RunConfig, folder: &Path) {
    if seconds < WORTH_TELLING {
        return;
    }
    let rate = pace.steps_per_sec.unwrap_or_default();
    let digits = if rate < 10.0 { 2 } else { 0 };
    let n = n_kept(&config.log, config.train.steps);
    let free =
        host::free_disk(folder).map_or(String::new(), |free| format!(", {} are free", gb(free)));
    let snapshots = match snapshot_bytes(config, 0) {
        0 => String::new(),
        bytes => format!(", snapshots of {}", gb(bytes)),
    };
    let text = format!(
        "about {} left at {rate:.digits$} steps/s; {n} checkpoint{} kept of {} in all{snapshots}{free}",
        duration(seconds),
        if n == 1 { " is" } else { "s are" },
        gb(n.saturating_mul(checkpoint_bytes(config)))
    );
    if seconds < DAY {
        tracing::info!("{text}");
    } else {
        tracing::warn!("{text}");
    }
}

/// Warns of a disk that does not hold the checkpoints and snapshots.
pub fn check_disk(config: &RunConfig, folder: &Path) {
    let there = run::steps(folder).map_or(0, |steps| steps.len() as u64);
    // A new checkpoint is complete before an old one is deleted.
    let n = (n_kept(&config.log, config.train.steps) + 1).saturating_sub(there);
    let has_snapshots = config.log.snapshots.every_steps > 0;
    let of_snapshots =
        run::steps(&folder.join(run::SNAPSHOTS)).map_or(0, |steps| steps.len() as u64);
    let needed = n
        .saturating_mul(checkpoint_bytes(config))
        .saturating_add(snapshot_bytes(config, of_snapshots));
    if let Some(free) = host::free_disk(folder)
        && needed > free
    {
        tracing::warn!(
            "{}: the checkpoints{} will need {}, {} are free; log.keep_last and log.keep_every_steps say how many are kept{}",
            shown(folder),
            if has_snapshots { " and snapshots" } else { "" },
            gb(needed),
            gb(free),
            if has_snapshots {
                ", log.snapshots.every_steps how many snapshots"
            } else {
                ""
            }
        );
    }
}

/// Weights, moving average and two moments, and other averages, f32.
fn checkpoint_bytes(config: &RunConfig) -> u64 {
    4 * (4 + config.averages().len() as u64) * config.model.n_params() as u64
}

/// The snapshots of a whole run, f32, less the first `n_there`, which there are already.
fn snapshot_bytes(config: &RunConfig, n_there: u64) -> u64 {
    let snapshots = &config.log.snapshots;
    // The last step always has one.
    let n = match snapshots.every_steps {
        0 => 0,
        every => config.train.steps.div_ceil(every),
    };
    let bytes = 4 * snapshots.widths.len() as u64 * config.model.n_params() as u64;
    n.saturating_sub(n_there).saturating_mul(bytes)
}

/// The number of checkpoints that remain after `total` steps.
fn n_kept(log: &LogConfig, total: u64) -> u64 {
    // The last step is always saved.
    let every = match log.checkpoint_every_steps {
        0 => total.max(1),
        every => every,
    };
    let n_saved = total.div_ceil(every);
    let n_last = n_saved.min(log.keep_last.max(1) as u64);
    let last_old = (n_saved - n_last) * every;
    let n_stay = match log.keep_every_steps {
        0 => 0,
        kept => last_old / (every / gcd(every, kept)).saturating_mul(kept),
    };
    n_last + n_stay
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn gb(bytes: u64) -> String {
    let gb = bytes as f64 / 1e9;
    match gb {
        0.1.. => format!("{gb:.1} GB"),
        _ => format!("{:.1} MB", gb * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_counted_as_they_are_kept() {
        let cases = [
            // total, every, keep_last, keep_every
            ((300, 20, 2, 100), 4),
            ((300, 0, 3, 0), 1),
            ((300, 1000, 3, 0), 1),
            ((10_000, 1000, 3, 0), 3),
            ((2000, 1000, 3, 0), 2),
            ((1_000_000, 5000, 3, 20_000), 52),
        ];
        for ((total, checkpoint_every_steps, keep_last, keep_every_steps), kept) in cases {
            let log = LogConfig {
                checkpoint_every_steps,
                keep_last,
                keep_every_steps,
                ..LogConfig::default()
            };
            assert_eq!(
                n_kept(&log, total),
                kept,
                "{total} {checkpoint_every_steps}"
            );
        }
    }
}
