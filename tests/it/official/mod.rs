//! Numbers of official code. All sizes, settings and formulas come from the fixtures' files; `SIT_FIXTURES` names other ones.

mod autoencode;
mod autoencoder;
mod command;
mod ddpm;
mod edm;
mod inception;
mod later;
mod metrics;
mod model;
mod names;
mod ode;
mod presets;
mod sampling;
mod torch;
mod training;

use sit_engine::backend::Device;
use sit_engine::transport::Sampler;
use sit_tests::gpu;

/// A device, and its tolerance: for tensors relative to their rms, for losses relative.
struct Bench {
    device: &'static Device,
    tensor: f64,
    loss: f64,
}

impl Bench {
    /// Tolerance of an end state. The official adaptive solver steps beyond the end and goes back by a polynomial, which is as exact
    /// as its steps are.
    fn end_state(&self, sampler: &Sampler) -> f64 {
        match sampler {
            Sampler::Ode(ode) if ode.method.is_adaptive() => ode.tolerance.rtol,
            _ => self.tensor,
        }
    }
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
