//! Turns device failures into errors; they never panic.

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

/// The error for a buffer beyond the device's limits.
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

/// The error message and its advice; `what` is the request that failed.
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

/// The first failure of a device. It is permanent: later results of the device cannot be trusted.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    /// Stores wgpu's message that the device is lost.
    pub(super) fn lost(&self, message: &str) -> Error {
        self.set(lost_device(message))
    }

    /// Stores an uncaptured wgpu error.
    pub(super) fn refused(&self, error: &wgpu::Error) {
        self.set(refusal(None, error));
    }

    /// Stores `error` unless there was an earlier one, and returns the first.
    fn set(&self, error: Error) -> Error {
        lock(&self.0).get_or_insert(error).clone()
    }

    pub(super) fn get(&self) -> Option<Error> {
        lock(&self.0).clone()
    }
}

/// How often a wait for the device asks whether to give up.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The callback that decides, from the time waited so far, whether to give up on the device.
#[derive(Default)]
pub(super) struct Watch(OnceLock<Box<dyn Fn(Duration) -> bool + Send + Sync>>);

impl Watch {
    pub(super) fn set(&self, give_up: impl Fn(Duration) -> bool + Send + Sync + 'static) {
        // Later calls are ignored: a device has one host.
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
    /// Whether this thread is inside a [`caught`] call, where a panic becomes an error.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs wgpu code and returns a panic in it as an error, without printing it.
///
/// wgpu 30 panics when a device is lost while being polled, and unwraps some unexpected driver responses; it holds no lock then.
/// Builds with `panic = "abort"` still abort.
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

/// Installs a panic hook that ignores panics that [`caught`] returns as errors, and passes all others to the previous hook.
fn quiet() {
    static HOOK: Once = Once::new();
    // A panicking thread cannot change the hook.
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
    /// The failure that the device has reported, if any.
    pub(super) fn check(&self) -> Result<()> {
        self.shared.failure.get().map_or(Ok(()), Err)
    }

    /// Runs `make` in error scopes and returns the first error; its message has `what` and `bytes` (0: unknown).
    pub(super) fn guarded<T>(&self, what: &str, bytes: u64, make: impl FnOnce() -> T) -> Result<T> {
        if cfg!(target_arch = "wasm32") {
            // In a browser an error scope resolves later, so the error becomes the device's failure instead.
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
                // The panic message lists wgpu's causes, which all mean that the device is lost.
                Err(_) => return Err(failure.lost("while waiting for it")),
            }
        }
    }
}

#[doc(hidden)]
impl Gpu {
    /// Frees the device and all its memory at once; its arenas and programs fail from now on.
    ///
    /// Dropping everything does the same eventually, which in a browser may take long.
    pub fn destroy(&self) {
        let closed = "the GPU was given back: open it again".into();
        self.shared.failure.set(Error::Device(closed));
        // Memory that cannot be freed now is freed when the process ends.
        caught(|| self.shared.device.destroy()).ok();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Dropping a queue makes wgpu wait for its work, forever if the work hangs: after a failure, leak the queue.
        if self.failure.get().is_some() {
            std::mem::forget(wgpu::Queue::clone(&self.queue));
        }
    }
}

/// A queue that does not panic on drop, as wgpu's does when the driver fails.
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
        // Nobody waits for the remaining work, so its failure does not matter.
        caught(|| drop(queue)).ok();
    }
}

fn given_up(waited: Duration) -> Error {
    Error::Device(format!(
        "the GPU did not end its work within {} s and was given up: its driver hangs, or the batch is far too large for it; training goes on from the last checkpoint with `resume`",
        waited.as_secs()
    ))
}

/// The value of a future that is already resolved, as error scopes are on native platforms.
fn at_once<T>(future: impl Future<Output = Option<T>>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs in a child process, to capture what a panic prints.
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
        // The test harness may print the name of this test.
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
