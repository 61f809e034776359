//! The GPU backend: runs a plan on a wgpu device (Vulkan, Metal, DX12, browser WebGPU).
//!
//! Whatever waits is async. On native platforms the wait happens in place, by polling the device; in a browser the
//! event loop resolves it. Failures of the device never panic: they are kept and returned by the next call.

mod adapter;
mod arenas;
mod device;
mod fault;
mod pipeline;
mod profile;
mod program;
mod read;
mod tensor;

pub use adapter::{Listed, list};
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

/// Submissions that may be under way. The next waits for the oldest, so that a loop which never reads cannot queue work
/// and upload buffers without end. (A browser cannot wait here; there the caller must read now and then.)
const MAX_IN_FLIGHT: usize = 8;

/// Bytes of uploads that are collected before they are sent to the device, which frees their staging memory.
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

/// What the queue has been given.
#[derive(Debug, Default)]
struct Work {
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    uploaded: usize,
    made: Made,
}

/// What a device has made so far; none of it grows while programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Compute pipelines: one for each kernel in use, shared by all programs.
    pub pipelines: usize,
    /// Buffers, those freed since included.
    pub buffers: usize,
}

// A panic while a lock was held leaves values, not broken structures.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// Opens the fastest GPU; a software adapter only if `allow_software` and there is nothing else. The environment's
    /// `WGPU_ADAPTER_NAME` names another one, as for other programs on wgpu.
    ///
    /// # Errors
    /// [`Error::Device`] naming the adapters that were refused, and what to install or to use instead; [`Error::Config`] when the
    /// environment names none that can be used.
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

    /// Opens the GPU that `name` names: its place in [`list`], or a part of its name in any case. It may be a software adapter.
    ///
    /// # Errors
    /// [`Error::Config`] with the list when there is no such GPU, or with the reason why it cannot be used.
    pub async fn open_named(name: &str, checks: Checks) -> Result<Gpu> {
        device::open(Asked::Named(name), "", checks).await
    }

    /// Has `give_up` asked ten times a second while the host waits for the device, with how long this wait has taken. Once it says true the wait
    /// ends with an error, and the device is left alone: work that never ends cannot be waited for. The first call counts.
    pub fn give_up_when(&self, give_up: impl Fn(Duration) -> bool + Send + Sync + 'static) {
        self.shared.watch.set(give_up);
    }

    /// Computes on a device that someone else has opened, for example to draw a window; `info` is its adapter's. Its errors that
    /// no one catches come here from now on, and end the work.
    ///
    /// # Errors
    /// [`Error::Device`] when its limits are below the least of WebGPU.
    pub fn share(device: wgpu::Device, queue: wgpu::Queue, info: wgpu::AdapterInfo) -> Result<Gpu> {
        device::share(device, queue, info)
    }

    /// Most bytes a segment of an arena may have: what a storage binding can span.
    pub fn max_segment_bytes(&self) -> u64 {
        self.shared.limits.binding_bytes
    }

    /// What the device can bind and allocate.
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// True for an adapter that computes on the processor.
    pub fn is_software(&self) -> bool {
        self.shared.info.device_type == wgpu::DeviceType::Cpu
    }

    /// What has been made on the device so far.
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

    /// Makes the buffers, pipelines and bind groups of `plan`.
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
    /// As there, from what can be told without allocating.
    pub fn program_bytes(&self, plan: &Plan) -> Result<u64> {
        program::bytes(plan, &self.shared.limits)
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

    /// Writes `bytes` into `buffer` before whatever is submitted next.
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

    /// Submits pending uploads, then `encoder`. Returns what to wait for.
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

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", adapter::describe(&self.shared.info))
    }
}

/// Bytes of a slice of floats or integers.
fn bytes_of<T: bytemuck::NoUninit>(data: &[T]) -> &[u8] {
    bytemuck::cast_slice(data)
}

/// Refuses `got` values for `name`, which has `expected`.
fn check_len(name: &str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Shape(format!(
        "{name} got {got} values, expected {expected}"
    )))
}
