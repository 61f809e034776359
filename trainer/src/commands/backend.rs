//! The flag `--backend`.

use crate::error::{Failure, Result};
use pollster::block_on;
use sit_engine::backend::{Choice, Device};

/// Where to compute.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct BackendArg {
    /// auto: a real GPU if there is one, else the CPU; gpu: a GPU, a software adapter included.
    #[arg(long, value_name = "auto|cpu|gpu", default_value = "auto", value_parser = |s: &str| s.parse::<Choice>())]
    pub backend: Choice,
}

impl BackendArg {
    /// Opens the device.
    ///
    /// # Errors
    /// [`crate::error::Failure::Input`] when a GPU is asked for and there is none.
    pub fn open(self) -> Result<Device> {
        let device = block_on(Device::open(self.backend))
            .map_err(|e| Failure::Input(format!("--backend: {e}")))?;
        tracing::info!("computing on {device}");
        Ok(device)
    }
}
