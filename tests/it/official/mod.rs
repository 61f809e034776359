//! Numbers of official code. All sizes, settings and formulas come from the fixtures' files; `SIT_FIXTURES` names other ones.

mod command;
mod model;
mod presets;
mod sampling;
mod torch;
mod training;

use sit_engine::backend::Device;
use sit_tests::gpu;

/// A device, and its tolerance: for tensors relative to their rms, for losses relative.
struct Bench {
    device: &'static Device,
    tensor: f64,
    loss: f64,
}

const CPU: Bench = Bench {
    device: &Device::Cpu,
    tensor: 2e-5,
    loss: 1e-5,
};

fn gpu_bench() -> Bench {
    Bench {
        device: gpu(),
        tensor: 2e-4,
        loss: 1e-4,
    }
}
