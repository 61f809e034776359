//! The GPU backend: runs a plan on a wgpu device (Vulkan, Metal, DX12, browser WebGPU).
//!
//! Everything that waits is async. On native platforms the wait polls the device in place; in a browser the event loop resolves it.
//! Device failures never panic: they are stored and returned by the next call.

mod abilities;
mod adapter;
mod arenas;
mod device;
mod fault;
mod pipeline;
mod profile;
mod program;
mod read;
mod tensor;

pub use abilities::Abilities;
#[cfg(not(target_arch = "wasm32"))]
pub use adapter::list;
pub use adapter::{Listed, list_async};
pub use arenas::Arenas;
pub use program::Program;
pub use tensor::Tensor;

use super::Checks;
use crate::error::{Error, Result};
use crate::graph::launch::Limits;
use crate::graph::{Arena, Layout, Plan};
use adapter::Asked;
use fault::{Failure, Queue, Watch};
use pipeline::Pipeline;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Maximum submissions in flight. The next one waits for the oldest, so that a loop that never reads cannot queue work and upload
/// buffers without bound. (A browser cannot wait here; there the caller must read now and then.)
const MAX_IN_FLIGHT: usize = 8;

/// Uploads are submitted after this many bytes, which frees their staging memory.
const UPLOAD_BYTES: usize = 16 << 20;

/// An open wgpu device. Clones share it.
#[derive(Clone, Debug)]
pub struct Gpu {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    device: wgpu::Device,
    queue: Queue,
    info: wgpu::AdapterInfo,
    limits: Limits,
    checks: Checks,
    failure: Failure,
    watch: Watch,
    pipelines: Mutex<BTreeMap<&'static str, Pipeline>>,
    work: Mutex<Work>,
}

/// Work given to the queue.
#[derive(Debug, Default)]
struct Work {
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    uploaded: usize,
    made: Made,
}

/// Counts of objects created on a device; none of them grows while programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Compute pipelines: one for each kernel in use, shared by all programs.
    pub pipelines: usize,
    /// Buffers, including those freed since.
    pub buffers: usize,
}

// A panic while a lock is held may leave stale values but no broken invariants, so poisoning is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens the GPU that `name` selects: its index in [`list`], or a part of its name, ignoring case. It may be a software one.
    ///
    /// # Errors
    /// [`Error::Config`] with the list when there is no such GPU, or with the reason why it cannot be used.
    pub(crate) async fn open_named(name: &str, checks: Checks) -> Result<Gpu> {
        device::open(Asked::Named(name), "", checks).await
    }

    /// Uses a device that the caller has opened, for example to draw a window; `info` describes its adapter. From now on its
    /// uncaptured errors are handled here and fail the work.
    ///
    /// # Errors
    /// [`Error::Device`] when its limits are below WebGPU's defaults.
    pub fn share(device: wgpu::Device, queue: wgpu::Queue, info: wgpu::AdapterInfo) -> Result<Gpu> {
        device::share(device, queue, info)
    }

    fn is(&self, other: &Gpu) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// Allocates one buffer, filled with zeros.
    fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        self.check()?;
        if bytes > self.shared.limits.buffer_bytes {
            return Err(fault::too_large(label, bytes, &self.shared.limits));
        }
        let buffer = self.guarded(label, bytes, || {
            self.shared.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some(label),
                size: bytes,
                usage,
                mapped_at_creation: false,
            })
        })?;
        lock(&self.shared.work).made.buffers += 1;
        Ok(buffer)
    }

    /// Writes `bytes` into `buffer` before the next submission.
    fn upload(&self, buffer: &wgpu::Buffer, mut offset: u64, bytes: &[u8]) -> Result<()> {
        self.check()?;
        for chunk in bytes.chunks(UPLOAD_BYTES) {
            self.shared.queue.write_buffer(buffer, offset, chunk);
            offset += chunk.len() as u64;
            let full = {
                let mut work = lock(&self.shared.work);
                work.uploaded += chunk.len();
                work.uploaded >= UPLOAD_BYTES
            };
            if full {
                self.submit(None)?;
            }
        }
        self.check()
    }

    fn encoder(&self) -> wgpu::CommandEncoder {
        let descriptor = wgpu::CommandEncoderDescriptor::default();
        self.shared.device.create_command_encoder(&descriptor)
    }

    /// Submits pending uploads, then `encoder`. Returns the index to wait for.
    fn submit(&self, encoder: Option<wgpu::CommandEncoder>) -> Result<wgpu::SubmissionIndex> {
        let queue = &self.shared.queue;
        let submitted = fault::caught(|| {
            let commands = encoder.map(wgpu::CommandEncoder::finish);
            queue.submit(commands)
        });
        let index = submitted.map_err(|panic| self.shared.failure.lost(&panic))?;
        let oldest = {
            let mut work = lock(&self.shared.work);
            work.uploaded = 0;
            work.in_flight.push_back(index.clone());
            if work.in_flight.len() > MAX_IN_FLIGHT {
                work.in_flight.pop_front()
            } else {
                None
            }
        };
        match oldest {
            Some(oldest) => self.wait(&oldest)?,
            None => self.check()?,
        }
        Ok(index)
    }
}

#[doc(hidden)]
impl Gpu {
    /// Opens the fastest GPU; a software adapter only if `allow_software` and there is nothing else. The environment variable
    /// `WGPU_ADAPTER_NAME` can name another one, as in other wgpu programs.
    ///
    /// # Errors
    /// [`Error::Device`] naming the adapters that were rejected, and what to install or use instead; [`Error::Config`] when the
    /// environment names a GPU that cannot be used.
    pub async fn open(allow_software: bool, checks: Checks) -> Result<Gpu> {
        match adapter::named_by_environment() {
            Some(name) => {
                device::open(Asked::Named(&name), adapter::FROM_ENVIRONMENT, checks).await
            }
            None => {
                let software = allow_software;
                device::open(Asked::Fastest { software }, "", checks).await
            }
        }
    }

    /// Registers a callback that is asked ten times a second while the host waits for the device, with the duration of this wait so
    /// far. When it returns true, the wait ends with an error and the device is abandoned, since hung work cannot be waited for.
    /// Only the first call has an effect.
    pub fn give_up_when(&self, give_up: impl Fn(Duration) -> bool + Send + Sync + 'static) {
        self.shared.watch.set(give_up);
    }

    /// Maximum bytes of an arena segment: the size of a storage binding.
    pub fn max_segment_bytes(&self) -> u64 {
        self.shared.limits.binding_bytes
    }

    /// Binding and buffer limits of the device.
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// True for an adapter that runs on the CPU.
    pub fn is_software(&self) -> bool {
        self.shared.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Counts of what has been created on the device so far.
    pub fn made(&self) -> Made {
        lock(&self.shared.work).made
    }

    /// Allocates arenas of `layout`, filled with zeros.
    ///
    /// # Errors
    /// [`Error::Limit`] when the device cannot hold them, [`Error::Device`] when it has failed.
    pub fn arenas(&self, layout: &Layout, kinds: &[Arena]) -> Result<Arenas> {
        Arenas::new(self, layout, kinds)
    }

    /// Creates the buffers, pipelines and bind groups of `plan`.
    ///
    /// # Errors
    /// [`Error::Limit`] when the plan does not fit the device, [`Error::Device`] when the device fails, [`Error::Shape`]
    /// when `arenas` lacks one the plan uses, has another layout or belongs to another device.
    pub fn program(&self, plan: Plan, sets: Vec<Arenas>) -> Result<Program> {
        Program::new(self, plan, sets)
    }

    /// Bytes that [`Gpu::program`] would allocate for `plan`.
    ///
    /// # Errors
    /// As [`Gpu::program`], as far as they can be detected without allocating.
    pub fn program_bytes(&self, plan: &Plan) -> Result<u64> {
        program::bytes(plan, &self.shared.limits)
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", adapter::describe(&self.shared.info))
    }
}

/// Bytes of a slice of floats or integers.
fn bytes_of<T: bytemuck::NoUninit>(data: &[T]) -> &[u8] {
    bytemuck::cast_slice(data)
}

/// Rejects `got` values for `name`, which expects `expected`.
fn check_len(name: &str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Shape(format!(
        "{name} got {got} values, expected {expected}"
    )))
}
