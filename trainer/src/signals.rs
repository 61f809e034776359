//! Signals that ask a run to stop or to save, from a keyboard, a closed terminal or a cluster.
//!
//! Ctrl-C, SIGTERM, SIGHUP, SIGUSR2 and SIGXCPU ask to stop, SIGUSR1 to save and go on. SIGHUP that is ignored, as under
//! `nohup`, stays ignored.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

static STOP: AtomicBool = AtomicBool::new(false);
static STOP_SEEN: AtomicBool = AtomicBool::new(false);
static SAVE: AtomicBool = AtomicBool::new(false);

/// If a step takes longer than this after a signal, the user is told that it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the work is to stop.
pub fn interrupted() -> bool {
    let stop = STOP.load(Ordering::Relaxed);
    if stop {
        STOP_SEEN.store(true, Ordering::Relaxed);
    }
    stop
}

/// Whether a checkpoint was asked for since the last call.
pub fn save_asked() -> bool {
    SAVE.swap(false, Ordering::Relaxed)
}

/// Logs that the work will stop, and later, if it has not, what the user can do. It has a thread of its own: if stderr blocks, as
/// behind a stopped terminal, only the message waits.
fn announce(name: &'static str) {
    let tell = move || {
        tracing::warn!("{name}: stopping after this step; Ctrl-C or SIGTERM again stops at once");
        thread::sleep(PATIENCE);
        if !STOP_SEEN.load(Ordering::Relaxed) {
            tracing::warn!(
                "the step has not ended for {} s; Ctrl-C or SIGTERM again stops at once, and loses what is in no file yet",
                PATIENCE.as_secs()
            );
        }
    };
    // Without this thread the work stops all the same.
    thread::Builder::new().name("stop".into()).spawn(tell).ok();
}

#[cfg(unix)]
pub use unix::{catch, file_limit_is_an_error, usr1_goes_on};

#[cfg(unix)]
mod unix {
    use super::{Ordering, SAVE, STOP, announce};
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level;
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, Instant};

    /// `timeout`, shells and service managers send a signal twice at once; a person takes longer.
    const TWICE_AT_ONCE: Duration = Duration::from_millis(300);

    /// From now on a write beyond `ulimit -f` fails with an error. Without this, the signal would end the process in mid-write.
    pub fn file_limit_is_an_error() {
        // If the signal cannot be caught, it keeps its default action.
        signal_hook::flag::register(SIGXFSZ, Arc::default()).ok();
    }

    /// Ignores SIGUSR1, which asks a run to save and go on, until there is something to save.
    pub fn usr1_goes_on() {
        signal_hook::flag::register(SIGUSR1, Arc::default()).ok();
    }

    /// From now on the first signal to stop only sets [`super::interrupted`]; Ctrl-C or SIGTERM after it ends the process
    /// at once.
    pub fn catch() {
        let mut signals = vec![SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU];
        if !is_ignored(SIGHUP) {
            signals.push(SIGHUP);
        }
        let caught = Signals::new(&signals).and_then(|signals| {
            let work = move || watch(signals);
            thread::Builder::new().name("signals".into()).spawn(work)
        });
        if let Err(e) = caught {
            tracing::warn!("signals will end the process at once: {e}");
        }
    }

    fn watch(mut signals: Signals) {
        let mut stopped: Option<Instant> = None;
        for signal in signals.forever() {
            if signal == SIGUSR1 {
                SAVE.store(true, Ordering::Relaxed);
                continue;
            }
            match stopped {
                None => {
                    STOP.store(true, Ordering::Relaxed);
                    stopped = Some(Instant::now());
                    let name = low_level::signal_name(signal).unwrap_or("signal");
                    announce(if signal == SIGINT { "Ctrl-C" } else { name });
                }
                // The signals of a closed terminal and of a time limit are sent several times.
                Some(since)
                    if since.elapsed() > TWICE_AT_ONCE && [SIGINT, SIGTERM].contains(&signal) =>
                {
                    low_level::exit(130);
                }
                Some(_) => {}
            }
        }
    }

    /// Whether the process was started with this signal ignored.
    fn is_ignored(signal: i32) -> bool {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        #[allow(
            unsafe_code,
            reason = "no safe call tells what a signal does; this one only asks, into its own memory"
        )]
        // SAFETY: the first pointer is null, so nothing changes; the second one is to a sigaction, for which zeros are valid.
        let action = unsafe {
            libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
            action.assume_init()
        };
        action.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(windows)]
mod windows {
    use super::{Ordering, STOP, announce};

    /// There is no such limit here.
    pub fn file_limit_is_an_error() {}

    /// There is no such signal here.
    pub fn usr1_goes_on() {}

    /// From now on the first Ctrl-C only sets [`super::interrupted`]; the second one ends the process at once.
    pub fn catch() {
        let caught = ctrlc::set_handler(|| {
            if STOP.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            announce("Ctrl-C");
        });
        if let Err(e) = caught {
            tracing::warn!("Ctrl-C will end the process at once: {e}");
        }
    }
}

#[cfg(windows)]
pub use windows::{catch, file_limit_is_an_error, usr1_goes_on};
