//! Where to compute: the flags `--backend` and `--device`.

use crate::error::{Failure, Result, in_flags};
use crate::signals;
use sit_engine::backend::{Choice, Device, Options, gpu};
use std::time::Duration;

/// The longest wait for the GPU after a signal to stop. Work in progress takes a few seconds at most, because systems reset a GPU
/// that works on one thing for longer. A scheduler kills the process half a minute after its signal.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where to compute.
#[derive(Debug, Clone, clap::Args)]
pub struct BackendArg {
    /// auto: a real GPU if there is one, else the CPU; gpu: a GPU, a software adapter included.
    #[arg(long, value_name = "auto|cpu|gpu", default_value = "auto", value_parser = |s: &str| s.parse::<Choice>())]
    pub backend: Choice,
    /// GPU to compute on: its number in the list of `sit info`, or a part of its name [default: the fastest, or what
    /// WGPU_ADAPTER_NAME names].
    ///
    /// WGPU_BACKEND limits the list to graphics systems: vulkan, dx12, metal. Where a driver crashes while the GPUs are listed, leave
    /// it out: on Windows, the Vulkan driver of AMD's integrated GPUs does so in some versions, and WGPU_BACKEND=dx12 helps.
    #[arg(long, value_name = "N|NAME")]
    pub device: Option<String>,
}

impl BackendArg {
    /// Opens the device.
    ///
    /// # Errors
    /// [`crate::error::Failure::Input`] when a GPU is asked for and there is none, or none of that name.
    pub fn open(&self) -> Result<Device> {
        let options = Options {
            choice: self.backend,
            gpu: self.device.clone(),
            ..Options::default()
        };
        let device = Device::open(options).map_err(|e| {
            let failure = Failure::Input(in_flags(&e));
            match (&self.device, self.backend) {
                (Some(_), _) => failure.context("--device"),
                (None, Choice::Auto) => failure,
                (None, _) => failure.context("--backend"),
            }
        })?;
        device.give_up_when(|waited| waited >= PATIENCE && signals::interrupted());
        tracing::info!("computing on {device}");
        Ok(device)
    }
}

/// What runs on all of them.
const KERNELS: &str = "kernels: 32-bit floats everywhere, products in tiles of 64 or 32 by the sizes of the network; 16-bit floats and matrix \
units are not used yet\n";

/// The GPUs of this machine as text, with the numbers that `--device` takes; empty if there is none.
pub fn list() -> String {
    let gpus = match gpu::list() {
        Ok(gpus) => gpus,
        Err(e) => return format!("{}\n", in_flags(&e)),
    };
    let mut text = String::new();
    let is_usable = gpus.iter().any(|gpu| gpu.refused.is_none());
    for (number, gpu) in gpus.iter().enumerate() {
        if number == 0 {
            text += "GPUs, by the number that --device takes\n";
        }
        text += &format!("  {number}  {}", gpu.name);
        if let Some(reason) = &gpu.refused {
            text += &format!(": {reason}");
        }
        text += &format!("\n     {}\n", gpu.abilities);
    }
    if is_usable {
        text += KERNELS;
    }
    text
}
