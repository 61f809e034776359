//! Checks that run in the browser. Each returns a line of JSON, or rejects with what is wrong.

use serde_json::json;
use sit_engine::backend::{Choice, Device};
use sit_tests::ops::{CPU_TOL, GPU_TOL, compare_all};
use wasm_bindgen::prelude::*;

/// Writes panics to the console, which the tests read.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| {
        web_sys::console::error_1(&panic.to_string().into());
    }));
}

/// The operations' cases in f32 on the CPU backend (`gpu` false) or on WebGPU against the f64 oracle.
///
/// On WebGPU this compiles every kernel with the browser's own WGSL compiler, which is stricter than naga.
#[wasm_bindgen]
pub async fn ops(gpu: bool) -> Result<String, String> {
    let start = js_sys::Date::now();
    let (choice, tol) = if gpu {
        (Choice::Gpu, GPU_TOL)
    } else {
        (Choice::Cpu, CPU_TOL)
    };
    let device = Device::open_async(choice)
        .await
        .map_err(|error| error.to_string())?;
    let report = compare_all(&device, tol).await;
    if !report.failures.is_empty() {
        return Err(report.failures.join("\n"));
    }
    let n_kernels = sit_shaders::ALL.len();
    let n_pipelines = match &device {
        Device::Cpu => n_kernels,
        Device::Gpu(gpu) => gpu.made().pipelines,
    };
    if n_pipelines != n_kernels {
        return Err(format!("{n_pipelines} pipelines of {n_kernels} kernels"));
    }
    let worst = report.worst.iter().max_by(|a, b| a.1.total_cmp(&b.1));
    let ms = js_sys::Date::now() - start;
    Ok(json!({ "device": device.to_string(), "worst": worst, "tol": tol, "ms": ms }).to_string())
}
