//! What becomes of a device's failures: errors, never panics.

use super::{Gpu, Shared, lock};
use crate::error::{Error, Result};
use crate::graph::launch::Limits;
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use wgpu::{PollError, PollType};

/// Refusal of a buffer beyond the device's limits.
pub(super) fn too_large(label: &str, bytes: u64, limits: &Limits) -> Error {
    Error::Limit(format!(
        "{label} needs {} MiB: over the {} MiB buffer limit of this device; use a smaller batch or `backend` cpu",
        bytes.div_ceil(1 << 20),
        limits.buffer_bytes >> 20
    ))
}

fn lost_device(message: &str) -> Error {
    Error::Device(format!(
        "the GPU was lost ({}): close other programs that use it or take a smaller batch, and start again; training goes on with `resume`",
        one_line(message)
    ))
}

/// What went wrong and what to do; `what` was asked for.
fn refusal(what: Option<(&str, u64)>, error: &wgpu::Error) -> Error {
    let subject = match what {
        None => "its work".into(),
        Some((what, 0)) => what.to_string(),
        Some((what, bytes)) => format!("{what} of {} MiB", bytes.div_ceil(1 << 20)),
    };
    match error {
        wgpu::Error::OutOfMemory { .. } => Error::Limit(format!(
            "the GPU has no memory left for {subject}: take a smaller batch, close other programs that use the GPU, or use `backend` cpu; training goes on with `resume`"
        )),
        _ => Error::Device(format!(
            "the GPU refused {subject}, which should not happen; please report this: {}",
            one_line(&error.to_string())
        )),
    }
}

pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first failure of a device. It stays: what the device computed after it cannot be trusted.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    /// Keeps what wgpu says when the device is lost.
    pub(super) fn lost(&self, message: &str) -> Error {
        self.set(lost_device(message))
    }

    /// Keeps an error of wgpu that no one caught.
    pub(super) fn refused(&self, error: &wgpu::Error) {
        self.set(refusal(None, error));
    }

    /// Keeps `error` if it is the first, and returns the first.
    fn set(&self, error: Error) -> Error {
        lock(&self.0).get_or_insert(error).clone()
    }

    pub(super) fn get(&self) -> Option<Error> {
        lock(&self.0).clone()
    }
}

/// How often a wait for the device looks whether it is to be given up.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Asked while the host waits for the device, with how long it has waited: whether to give the device up.
#[derive(Default)]
pub(super) struct Watch(OnceLock<Box<dyn Fn(Duration) -> bool + Send + Sync>>);

impl Watch {
    pub(super) fn set(&self, give_up: impl Fn(Duration) -> bool + Send + Sync + 'static) {
        // The first one stays: a device has one host.
        self.0.set(Box::new(give_up)).ok();
    }

    fn gives_up(&self, waited: Duration) -> bool {
        self.0.get().is_some_and(|give_up| give_up(waited))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

thread_local! {
    /// Whether this thread is inside wgpu for this backend, where a panic is an error that its caller gets.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` of wgpu; a panic in it is returned, and not printed.
///
/// wgpu 30 has no other way to tell that a device is lost while it is polled, and some answers that it does not expect of a driver reach an
/// `unwrap`; it holds no lock then. A build whose panics abort ends there all the same.
pub(super) fn caught<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    quiet();
    let before = INSIDE.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(before);
    done.map_err(|panic| message(&*panic))
}

/// [`caught`] around every poll of `work`.
pub(super) async fn caught_while<T>(
    work: impl Future<Output = T>,
) -> std::result::Result<T, String> {
    let mut work = pin!(work);
    poll_fn(|context| match caught(|| work.as_mut().poll(context)) {
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Keeps the panic hook, which prints, from what [`caught`] returns as an error anyway. The hook that was there has all other panics.
fn quiet() {
    static HOOK: Once = Once::new();
    // A hook cannot be changed by a thread that panics.
    if cfg!(target_arch = "wasm32") || std::thread::panicking() {
        return;
    }
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !INSIDE.get() {
                before(panic);
            }
        }));
    });
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("for a reason that is not known").into()
}

impl Gpu {
    /// Frees the device and all that lies on it, at once; arenas and programs of it fail from now on.
    ///
    /// Dropping everything does the same in its time, which in a browser may be long.
    pub fn destroy(&self) {
        let closed = "the GPU was given back: open it again".into();
        self.shared.failure.set(Error::Device(closed));
        // What it cannot free now goes with the process.
        caught(|| self.shared.device.destroy()).ok();
    }

    /// The failure that the device has reported, if any.
    pub(super) fn check(&self) -> Result<()> {
        self.shared.failure.get().map_or(Ok(()), Err)
    }

    /// Runs `make`, and returns the error that the device reports meanwhile: it made `what`, of `bytes` (0: unknown).
    pub(super) fn guarded<T>(&self, what: &str, bytes: u64, make: impl FnOnce() -> T) -> Result<T> {
        if cfg!(target_arch = "wasm32") {
            // An error scope answers later in a browser. There the error becomes the device's failure.
            return Ok(make());
        }
        use wgpu::ErrorFilter::{Internal, OutOfMemory, Validation};
        let device = &self.shared.device;
        let scopes = [OutOfMemory, Validation, Internal].map(|kind| device.push_error_scope(kind));
        let made = caught(make);
        let errors = scopes.into_iter().rev().map(|scope| at_once(scope.pop()));
        let errors: Vec<wgpu::Error> = errors.flatten().collect();
        self.check()?;
        let made = made.map_err(|panic| {
            Error::Device(format!(
                "the GPU's driver failed at {what} ({}): update it, or use `backend` cpu",
                one_line(&panic)
            ))
        })?;
        match errors.first() {
            Some(error) => Err(refusal(Some((what, bytes)), error)),
            None => Ok(made),
        }
    }

    /// Waits until the device has finished the submission `index`. Returns at once in a browser.
    pub(super) fn wait(&self, index: &wgpu::SubmissionIndex) -> Result<()> {
        let Shared {
            device,
            failure,
            watch,
            ..
        } = &*self.shared;
        let mut waited = Duration::ZERO;
        loop {
            if watch.gives_up(waited) {
                return Err(failure.set(given_up(waited)));
            }
            let wait = PollType::Wait {
                submission_index: Some(index.clone()),
                timeout: Some(LOOK_EVERY),
            };
            match caught(|| device.poll(wait)) {
                Ok(Ok(_)) => return self.check(),
                Ok(Err(PollError::Timeout)) => {
                    self.check()?;
                    waited += LOOK_EVERY;
                }
                Ok(Err(error)) => return Err(failure.lost(&error.to_string())),
                // The message is wgpu's list of causes, all of which say that the device is lost.
                Err(_) => return Err(failure.lost("while waiting for it")),
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // wgpu waits for the queue's work where the queue is dropped, without end for work that has none. A device that has failed is left
        // to the end of the process.
        if self.failure.get().is_some() {
            std::mem::forget(wgpu::Queue::clone(&self.queue));
        }
    }
}

/// A queue whose end is quiet: wgpu panics when the driver fails there.
#[derive(Debug)]
pub(super) struct Queue(Option<wgpu::Queue>);

impl Queue {
    pub(super) fn new(queue: wgpu::Queue) -> Self {
        Queue(Some(queue))
    }
}

impl Deref for Queue {
    type Target = wgpu::Queue;

    fn deref(&self) -> &wgpu::Queue {
        self.0.as_ref().expect("only dropping takes it")
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let queue = self.0.take();
        // All that was asked of it has been read, or was not wanted.
        caught(|| drop(queue)).ok();
    }
}

fn given_up(waited: Duration) -> Error {
    Error::Device(format!(
        "the GPU did not end its work within {} s and was given up: its driver hangs, or the batch is far too large for it; training goes on from the last checkpoint with `resume`",
        waited.as_secs()
    ))
}

/// The value of a future that is ready, as error scopes are on native platforms.
fn at_once<T>(future: impl Future<Output = Option<T>>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a process of its own: what a panic prints is the process's.
    #[test]
    fn a_panic_inside_is_an_error_and_prints_nothing() {
        const CHILD: &str = "SIT_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            let inside = caught(|| -> () { panic!("inside: {}", 1) });
            assert_eq!(inside, Err("inside: 1".into()));
            let inside = caught_while(async { panic!("inside: 2") });
            assert_eq!(
                at_once(async { Some(inside.await) }),
                Some(Err::<(), _>("inside: 2".into()))
            );
            catch_unwind(|| panic!("outside")).expect_err("it panics");
            return;
        }
        let name = "backend::gpu::fault::tests::a_panic_inside_is_an_error_and_prints_nothing";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{printed}");
        // The name of this test may be printed.
        assert!(!printed.contains("inside: "), "{printed}");
        assert!(printed.contains("outside"), "{printed}");
    }

    #[test]
    fn the_first_failure_stays() {
        let failure = Failure::default();
        assert_eq!(failure.get(), None);
        failure.set(lost_device("reset\n  by the driver"));
        failure.set(Error::Device("a consequence".into()));
        let Some(Error::Device(text)) = failure.get() else {
            panic!("there is a failure");
        };
        assert!(text.contains("(reset by the driver)"), "{text}");
        assert!(text.contains("`resume`"), "{text}");
    }

    #[test]
    fn memory_and_other_errors_differ() {
        let memory = wgpu::Error::OutOfMemory {
            source: "full".into(),
        };
        let text = match refusal(Some(("arena Grads[0]", 5 << 20)), &memory) {
            Error::Limit(text) => text,
            other => panic!("{other:?}"),
        };
        assert!(text.contains("arena Grads[0] of 5 MiB"), "{text}");
        assert!(text.contains("smaller batch"), "{text}");
        let wrong = wgpu::Error::Validation {
            source: "bad".into(),
            description: "binding 3\n is bad".into(),
        };
        let text = match refusal(None, &wrong) {
            Error::Device(text) => text,
            other => panic!("{other:?}"),
        };
        assert!(text.contains("binding 3 is bad"), "{text}");
    }
}
