//! What the user sees while a command works: a bar with rate and remaining time on a terminal, plain lines elsewhere, and log
//! lines. Nothing here fails or panics if stderr cannot be written: the work goes on without its messages.

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use sit_engine::text::shown_lines;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

/// The visible bar, so that log lines are written above it. indicatif's own collection of bars panics if stderr cannot be written;
/// a single bar does not.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes lines to stderr, above the bar. A failure to write is not an error, because nobody could be told.
pub fn message(lines: &[u8]) {
    let write = || {
        let mut err = io::stderr().lock();
        err.write_all(lines).and_then(|()| err.flush()).ok();
    };
    let bar = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Log lines to stderr; `SIT_LOG` filters them as in `SIT_LOG=debug`.
pub fn start_logging() {
    // Hide what the Vulkan loader says while it looks for a driver: whether there is a GPU is reported anyway. Also hide what the
    // allocator lists when opening a device fails.
    const DEFAULT: &str = "info,wgpu_core=warn,wgpu_hal=warn,wgpu_hal::vulkan::instance=off,gpu_allocator=off,naga=warn";
    let asked = std::env::var("SIT_LOG").unwrap_or_default();
    let asked = asked.trim();
    let (filter, is_wrong) = match filter(asked) {
        _ if asked.is_empty() => (EnvFilter::new(DEFAULT), false),
        Some(filter) => (filter, false),
        None => (EnvFilter::new(DEFAULT), true),
    };
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        // It would report on stderr that stderr cannot be written, and panic.
        .log_internal_errors(false)
        .with_writer(|| BesideBars);
    // Only a second call fails; then the first logger stays.
    format.without_time().try_init().ok();
    if is_wrong {
        tracing::warn!("SIT_LOG={asked}: expected a level: error, warn, info, debug, trace or off");
    }
}

/// The filter of `SIT_LOG`. A word that is no level would name a module, and hide all others.
fn filter(asked: &str) -> Option<EnvFilter> {
    let is_directive = |part: &str| {
        part.contains(['=', '['])
            || part
                .trim()
                .parse::<tracing::level_filters::LevelFilter>()
                .is_ok()
    };
    let all = asked.split(',').all(is_directive);
    EnvFilter::try_new(asked).ok().filter(|_| all)
}

struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The logger escapes escape characters in names and adds its own for colors; other control characters are escaped here.
        let text = String::from_utf8_lossy(line);
        let safe: Vec<String> = text.split('\u{1b}').map(shown_lines).collect();
        message(safe.join("\u{1b}").as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A bar over `total` items, or lines every ten seconds where stderr is not a terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    unit: &'static str,
    /// Time of the start and of the last line, where there is no terminal.
    plain: Option<(Instant, Instant)>,
    first: u64,
}

const LINE_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// Starts at item `first` of `total`; `unit` is what an item is called, in the plural.
    pub fn new(what: &'static str, unit: &'static str, first: u64, total: u64) -> Self {
        let plain = !io::stderr().is_terminal();
        let bar = if plain {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(total)
        };
        bar.set_length(total);
        let template = format!(
            "{{prefix}} {{wide_bar}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{left}} left {{msg}}"
        );
        let left = |state: &ProgressState, out: &mut dyn fmt::Write| {
            // If this fails, the bar only lacks this word.
            write!(out, "{}", duration(state.eta().as_secs_f64())).ok();
        };
        // The template is ours; if it were wrong the default bar would do.
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.with_key("left", left));
        }
        bar.set_prefix(what);
        bar.set_position(first);
        bar.reset_eta();
        if !plain {
            *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        }
        let now = Instant::now();
        Progress {
            bar,
            what,
            unit,
            plain: plain.then_some((now, now)),
            first,
        }
    }

    /// A bar for work in several threads, to be called with items done and items in all; it starts at the first call.
    pub fn shared(what: &'static str, unit: &'static str) -> impl Fn(usize, usize) + Sync {
        let bar = Mutex::new(None);
        move |done, total| {
            // A bar is still usable if another thread panicked while it moved the bar.
            let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
            bar.get_or_insert_with(|| Progress::new(what, unit, 0, total as u64))
                .set(done as u64, String::new);
        }
    }

    /// Moves to item `at`; `message` appears beside the bar.
    pub fn set(&mut self, at: u64, message: impl FnOnce() -> String) {
        match &mut self.plain {
            None => {
                self.bar.set_message(message());
                self.bar.set_position(at);
            }
            Some((start, last)) => {
                self.bar.set_position(at);
                if last.elapsed() < LINE_EVERY {
                    return;
                }
                *last = Instant::now();
                let total = self.bar.length().unwrap_or(at);
                let rate = (at - self.first) as f64 / start.elapsed().as_secs_f64().max(1e-9);
                let left = total.saturating_sub(at) as f64 / rate.max(1e-9);
                let (what, unit) = (self.what, self.unit);
                let message = message();
                let comma = if message.is_empty() { "" } else { ", " };
                tracing::info!(
                    "{what} {at}/{total} {unit}, {rate:.1} {unit}/s, {} left{comma}{message}",
                    duration(left)
                );
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if self.plain.is_none() {
            *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// A time as people say it, in its two largest units: `3 d 4 h`, `12 min 5 s`.
pub fn duration(seconds: f64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    // `as` saturates.
    let seconds = seconds.round() as u64;
    let largest = UNITS.iter().position(|&(_, unit)| seconds >= unit);
    match largest {
        Some(0) if seconds / 86_400 > 100 * 365 => "more than 100 years".into(),
        Some(i) if i + 1 < UNITS.len() => {
            let ((name, unit), (next_name, next)) = (UNITS[i], UNITS[i + 1]);
            match seconds % unit / next {
                0 => format!("{} {name}", seconds / unit),
                rest => format!("{} {name} {rest} {next_name}", seconds / unit),
            }
        }
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units() {
        let cases = [
            (0.2, "0 s"),
            (59.6, "1 min"),
            (62.0, "1 min 2 s"),
            (7_322.0, "2 h 2 min"),
            (86_400.0, "1 d"),
            (273_600.0, "3 d 4 h"),
            (3_056_241.0, "35 d 8 h"),
            (f64::INFINITY, "more than 100 years"),
            (f64::NAN, "0 s"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
    }
}
