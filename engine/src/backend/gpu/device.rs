//! Opens a device.

use super::adapter::{self, Asked, check_limits, describe, none, required_limits};
use super::fault::{Failure, Queue, Watch, caught_while, one_line};
use super::{Gpu, Shared};
use crate::backend::Checks;
use crate::error::{Error, Result};
use crate::graph::launch::Limits;
use std::sync::{Arc, Mutex};

/// wgpu and some drivers store binding sizes as signed 32-bit integers.
const MAX_BINDING_BYTES: u64 = (2 << 30) - ALIGN_BYTES;
const ALIGN_BYTES: u64 = 256;

/// Opens the first usable adapter; `from` is the prefix of error messages about the name.
pub(super) async fn open(asked: Asked<'_>, from: &str, checks: Checks) -> Result<Gpu> {
    let software = !matches!(asked, Asked::Fastest { software: false });
    let mut refused = Vec::new();
    for adapter in adapter::candidates(asked, from).await? {
        let info = adapter.get_info();
        let opened = match required_limits(&adapter, software) {
            Ok(limits) => connect(&adapter, info.clone(), limits, checks).await,
            Err(reason) => Err(reason),
        };
        match opened {
            Ok(gpu) => return Ok(gpu),
            Err(reason) => refused.push(format!("{}: {reason}", describe(&info))),
        }
    }
    match asked {
        Asked::Fastest { .. } => Err(none(&refused)),
        Asked::Named(_) => Err(Error::Config(format!("{from}{}", refused.join("; ")))),
    }
}

async fn connect(
    adapter: &wgpu::Adapter,
    info: wgpu::AdapterInfo,
    limits: wgpu::Limits,
    checks: Checks,
) -> std::result::Result<Gpu, String> {
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("sit"),
        // Used for profiles only.
        required_features: adapter.features() & wgpu::Features::TIMESTAMP_QUERY,
        required_limits: limits.clone(),
        // Few, long-lived buffers: preallocated blocks would only waste memory.
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    };
    // wgpu compiles internal pipelines here, in which the driver's compiler may fail.
    let opened = caught_while(async { adapter.request_device(&descriptor).await }).await;
    let opened = opened.map_err(|panic| format!("its driver fails ({})", one_line(&panic)))?;
    let (device, queue) = opened.map_err(|error| one_line(&error.to_string()))?;
    Ok(wrap(device, queue, info, &limits, checks))
}

/// Wraps a device that the caller has opened, for example to draw a window.
pub(super) fn share(
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
) -> Result<Gpu> {
    let limits = device.limits();
    if let Err(reason) = check_limits(&limits) {
        return Err(none(&[format!("{}: {reason}", describe(&info))]));
    }
    Ok(wrap(device, queue, info, &limits, Checks::Off))
}

fn wrap(
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    limits: &wgpu::Limits,
    checks: Checks,
) -> Gpu {
    let failure = Failure::default();
    let lost = failure.clone();
    device.set_device_lost_callback(move |_, message| {
        lost.lost(&message);
    });
    let uncaptured = failure.clone();
    device.on_uncaptured_error(Arc::new(move |error| uncaptured.refused(&error)));

    let binding = limits
        .max_storage_buffer_binding_size
        .min(limits.max_buffer_size)
        .min(MAX_BINDING_BYTES);
    Gpu {
        shared: Arc::new(Shared {
            device,
            queue: Queue::new(queue),
            info,
            limits: Limits {
                binding_bytes: binding / ALIGN_BYTES * ALIGN_BYTES,
                buffer_bytes: limits.max_buffer_size,
            },
            checks,
            failure,
            watch: Watch::default(),
            pipelines: Mutex::default(),
            work: Mutex::default(),
        }),
    }
}
