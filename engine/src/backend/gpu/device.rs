//! Opening a device, and what becomes of its failures.

use super::{Gpu, Shared, lock};
use crate::error::{Error, Result};
use crate::graph::launch::Limits;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use wgpu::{DeviceType, PollType};

/// Allocations are refused beyond this percentage of the memory that the driver says is left: beyond it drivers page to
/// the host, or the system ends the process.
const MEMORY_PERCENT: u8 = 95;

/// wgpu and drivers count bytes of a binding in 32 signed bits here and there.
const MAX_BINDING_BYTES: u64 = (2 << 30) - ALIGN_BYTES;
const ALIGN_BYTES: u64 = 256;

pub(super) async fn open(allow_software: bool) -> Result<Gpu> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
            for_resource_creation: Some(MEMORY_PERCENT),
            for_device_loss: None,
        },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut refused = Vec::new();
    for adapter in adapters(&instance).await {
        let info = adapter.get_info();
        let opened = match required_limits(&adapter, allow_software) {
            Ok(limits) => connect(&adapter, info.clone(), limits).await,
            Err(reason) => Err(reason),
        };
        match opened {
            Ok(gpu) => return Ok(gpu),
            Err(reason) => refused.push(format!("{}: {reason}", describe(&info))),
        }
    }
    Err(none(&refused))
}

/// All adapters, the fastest first.
async fn adapters(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    if cfg!(target_arch = "wasm32") {
        // A browser lists no adapters, it offers one.
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = instance.request_adapter(&options).await;
        return adapter.into_iter().collect();
    }
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::all()).await;
    adapters.sort_by_key(|adapter| match adapter.get_info().device_type {
        DeviceType::DiscreteGpu => 0,
        DeviceType::IntegratedGpu => 1,
        DeviceType::VirtualGpu => 2,
        DeviceType::Other => 3,
        DeviceType::Cpu => 4,
    });
    adapters
}

/// The limits to ask `adapter` for, or why it cannot be used.
fn required_limits(
    adapter: &wgpu::Adapter,
    allow_software: bool,
) -> std::result::Result<wgpu::Limits, String> {
    if adapter.get_info().device_type == DeviceType::Cpu && !allow_software {
        return Err("a software renderer, slower than --backend cpu".into());
    }
    let (has, web) = (adapter.limits(), wgpu::Limits::default());
    lacks(&has)?;
    // Images are of no interest here, so that a device may have smaller ones than WebGPU asks for.
    Ok(wgpu::Limits {
        max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
        max_buffer_size: has.max_buffer_size,
        ..web.or_worse_values_from(&has)
    })
}

/// Refuses a device whose limits are below the least of WebGPU, for which the kernels are written.
fn lacks(has: &wgpu::Limits) -> std::result::Result<(), String> {
    let web = wgpu::Limits::default();
    let needs = [
        (
            "storage buffers in a kernel",
            has.max_storage_buffers_per_shader_stage,
            web.max_storage_buffers_per_shader_stage,
        ),
        (
            "invocations in a workgroup",
            has.max_compute_invocations_per_workgroup,
            web.max_compute_invocations_per_workgroup,
        ),
        (
            "bytes of workgroup memory",
            has.max_compute_workgroup_storage_size,
            web.max_compute_workgroup_storage_size,
        ),
        (
            "workgroups along an axis",
            has.max_compute_workgroups_per_dimension,
            web.max_compute_workgroups_per_dimension,
        ),
    ];
    match needs.into_iter().find(|(_, has, needs)| has < needs) {
        Some((what, has, needs)) => Err(format!("{has} {what}, {needs} are needed")),
        None => Ok(()),
    }
}

async fn connect(
    adapter: &wgpu::Adapter,
    info: wgpu::AdapterInfo,
    limits: wgpu::Limits,
) -> std::result::Result<Gpu, String> {
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("sit"),
        required_limits: limits.clone(),
        // Few buffers that live long: blocks that are filled in advance would only waste memory.
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    };
    let (device, queue) = adapter
        .request_device(&descriptor)
        .await
        .map_err(|error| error.to_string())?;

    Ok(adopt(device, queue, info, &limits))
}

/// A device that someone else has opened, for example to draw a window.
pub(super) fn share(
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
) -> Result<Gpu> {
    let limits = device.limits();
    if let Err(reason) = lacks(&limits) {
        return Err(none(&[format!("{}: {reason}", describe(&info))]));
    }
    Ok(adopt(device, queue, info, &limits))
}

fn adopt(
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    limits: &wgpu::Limits,
) -> Gpu {
    let failure = Failure::default();
    let lost = failure.clone();
    device.set_device_lost_callback(move |_, message| lost.set(lost_device(&message)));
    let uncaptured = failure.clone();
    device.on_uncaptured_error(Arc::new(move |error| uncaptured.set(refusal(None, &error))));

    let binding = limits
        .max_storage_buffer_binding_size
        .min(limits.max_buffer_size)
        .min(MAX_BINDING_BYTES);
    Gpu {
        shared: Arc::new(Shared {
            device,
            queue,
            info,
            limits: Limits {
                binding_bytes: binding / ALIGN_BYTES * ALIGN_BYTES,
                buffer_bytes: limits.max_buffer_size,
            },
            failure,
            pipelines: Mutex::default(),
            work: Mutex::default(),
        }),
    }
}

/// `NVIDIA H200 (Vulkan, NVIDIA 570.86)`.
pub(super) fn describe(info: &wgpu::AdapterInfo) -> String {
    let software = (info.device_type == DeviceType::Cpu).then_some("software");
    let driver = format!("{} {}", info.driver, info.driver_info);
    let backend = match info.backend {
        wgpu::Backend::Vulkan => "Vulkan",
        wgpu::Backend::Metal => "Metal",
        wgpu::Backend::Dx12 => "Direct3D 12",
        wgpu::Backend::BrowserWebGpu => "WebGPU",
        other => other.to_str(),
    };
    let parts = [Some(backend), Some(driver.trim()), software];
    let parts: Vec<&str> = parts
        .into_iter()
        .flatten()
        .filter(|p| !p.is_empty())
        .collect();
    let name = if info.name.is_empty() {
        "GPU"
    } else {
        &info.name
    };
    format!("{name} ({})", parts.join(", "))
}

fn none(refused: &[String]) -> Error {
    let install = if cfg!(target_arch = "wasm32") {
        "use a browser with WebGPU switched on"
    } else if cfg!(target_os = "linux") {
        "install the Vulkan driver of your GPU, or a software one (Debian: mesa-vulkan-drivers), or use --backend cpu"
    } else {
        "update the driver of your GPU, or use --backend cpu"
    };
    let found = match refused {
        [] => "there is no GPU".to_string(),
        _ => format!("no GPU can be used ({})", refused.join("; ")),
    };
    Error::Device(format!("{found}: {install}"))
}

/// Refusal of a buffer beyond the device's limits.
pub(super) fn too_large(label: &str, bytes: u64, limits: &Limits) -> Error {
    Error::Limit(format!(
        "{label} needs {} MiB: over the {} MiB buffer limit of this device; use a smaller batch or --backend cpu",
        bytes.div_ceil(1 << 20),
        limits.buffer_bytes >> 20
    ))
}

fn lost_device(message: &str) -> Error {
    Error::Device(format!(
        "the GPU was lost ({}): close other programs that use it or take a smaller batch, and start again; training goes on with --resume",
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
            "the GPU has no memory left for {subject}: take a smaller batch, close other programs that use the GPU, or use --backend cpu; training goes on with --resume"
        )),
        _ => Error::Device(format!(
            "the GPU refused {subject}, which should not happen; please report this: {}",
            one_line(&error.to_string())
        )),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The first failure of a device. It stays: what the device computed after it cannot be trusted.
#[derive(Clone, Debug, Default)]
pub(super) struct Failure(Arc<Mutex<Option<Error>>>);

impl Failure {
    fn set(&self, error: Error) {
        lock(&self.0).get_or_insert(error);
    }

    pub(super) fn get(&self) -> Option<Error> {
        lock(&self.0).clone()
    }
}

impl Gpu {
    /// Frees the device and all that lies on it, at once; arenas and programs of it fail from now on.
    ///
    /// Dropping everything does the same in its time, which in a browser may be long.
    pub fn destroy(&self) {
        let closed = "the GPU was given back: open it again".into();
        self.shared.failure.set(Error::Device(closed));
        self.shared.device.destroy();
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
        let made = make();
        let errors = scopes.into_iter().rev().map(|scope| at_once(scope.pop()));
        let errors: Vec<wgpu::Error> = errors.flatten().collect();
        self.check()?;
        match errors.first() {
            Some(error) => Err(refusal(Some((what, bytes)), error)),
            None => Ok(made),
        }
    }

    /// Waits until the device has finished the submission `index`. Returns at once in a browser.
    pub(super) fn wait(&self, index: wgpu::SubmissionIndex) -> Result<()> {
        let wait = PollType::Wait {
            submission_index: Some(index),
            timeout: None,
        };
        // wgpu 30 panics when the device is lost while it is polled, with no lock held. A build whose panics abort ends there.
        let polled = catch_unwind(AssertUnwindSafe(|| self.shared.device.poll(wait)));
        let failed = match polled {
            Ok(Ok(_)) => return self.check(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "while waiting for it".into(),
        };
        self.shared.failure.set(lost_device(&failed));
        self.check()
    }
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

    #[test]
    fn no_gpu_says_what_to_install_and_what_was_refused() {
        let nothing = none(&[]).to_string();
        assert!(nothing.starts_with("there is no GPU: "), "{nothing}");
        let refused = none(&[
            "llvmpipe (Vulkan): slow".into(),
            "Old (Vulkan): 4 buffers".into(),
        ]);
        let refused = refused.to_string();
        assert!(
            refused.contains("(llvmpipe (Vulkan): slow; Old (Vulkan): 4 buffers)"),
            "{refused}"
        );
        if cfg!(target_os = "linux") {
            assert!(nothing.contains("mesa-vulkan-drivers"), "{nothing}");
        }
        for text in [nothing, refused] {
            assert!(text.ends_with("or use --backend cpu"), "{text}");
        }
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
        assert!(text.contains("--resume"), "{text}");
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
