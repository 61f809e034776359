//! What a person sees while a command works: a bar with rate and time left on a terminal, plain lines elsewhere; logs beside
//! it; and Ctrl-C.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

/// All bars, so that a log line does not tear one.
fn bars() -> &'static MultiProgress {
    static BARS: OnceLock<MultiProgress> = OnceLock::new();
    BARS.get_or_init(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
}

/// Log lines to stderr; `SIT_LOG` filters them as in `SIT_LOG=debug`.
pub fn start_logging() {
    // What the Vulkan loader says while it looks for a driver is no news: whether there is a GPU is told anyway.
    const DEFAULT: &str =
        "info,wgpu_core=warn,wgpu_hal=warn,wgpu_hal::vulkan::instance=off,naga=warn";
    let asked = std::env::var("SIT_LOG").unwrap_or_else(|_| DEFAULT.into());
    let (filter, wrong) = match EnvFilter::try_new(&asked) {
        Ok(filter) => (filter, None),
        Err(e) => (EnvFilter::new(DEFAULT), Some(e)),
    };
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(|| BesideBars);
    // Only a second call fails, and the first one's logging stays.
    format.without_time().try_init().ok();
    if let Some(e) = wrong {
        tracing::warn!("SIT_LOG={asked}: {e}; expected a level such as debug, info or warn");
    }
}

struct BesideBars;

impl Write for BesideBars {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        bars().suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
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
            bars().add(ProgressBar::new(total))
        };
        bar.set_length(total);
        let template = format!(
            "{{prefix}} {{wide_bar}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left {{msg}}"
        );
        // The template is ours; if it were wrong the default bar would do.
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        bar.set_position(first);
        bar.reset_eta();
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
            // A bar that another thread left in the middle of a move is still a bar.
            let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
            bar.get_or_insert_with(|| Progress::new(what, unit, 0, total as u64))
                .set(done as u64, String::new);
        }
    }

    /// Moves to item `at`; `message` stands beside the bar.
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
                tracing::info!(
                    "{what} {at}/{total} {unit}, {rate:.1} {unit}/s, {left:.0} s left {}",
                    message()
                );
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C only sets [`interrupted`]; the second one ends the process at once.
pub fn catch_ctrl_c() {
    let caught = ctrlc::set_handler(|| {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        tracing::warn!("stopping; press Ctrl-C again to stop at once");
    });
    if let Err(e) = caught {
        tracing::warn!("Ctrl-C will end the process at once: {e}");
    }
}

/// Whether Ctrl-C was pressed.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
