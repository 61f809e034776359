//! How much memory a job needs, part by part, before anything is allocated.

use crate::config::RunConfig;
use crate::error::{Failure, Result};
use sit_engine::Error;
use sit_engine::backend::Device;
use sit_engine::graph::Layout;
use sit_engine::model;
use sit_engine::sample::SampleConfig;
use std::fmt;

/// What a job needs on a device, and what is free there.
#[derive(Debug)]
pub struct Forecast {
    what: String,
    /// Bytes by part, or why the device cannot run it.
    parts: std::result::Result<Vec<(&'static str, u64)>, Error>,
    /// Bytes, where the system tells.
    free: Option<u64>,
}

/// The memory of a training run.
pub fn training(config: &RunConfig, device: &Device) -> Forecast {
    Forecast {
        what: format!("training at batch {}", config.train.batch),
        parts: config.step().forecast(device.max_segment_bytes()),
        free: free(device),
    }
}

/// The memory of sampling.
pub fn sampling(config: &SampleConfig, device: &Device) -> Forecast {
    let layout = Layout::new(&model::params(&config.model), device.max_segment_bytes());
    Forecast {
        what: format!(
            "sampling at batch {}{}",
            config.batch,
            if config.guidance.scale == 1.0 {
                ""
            } else {
                " with guidance"
            }
        ),
        parts: layout.and_then(|layout| config.forecast(&layout)),
        free: free(device),
    }
}

impl Forecast {
    fn total(parts: &[(&'static str, u64)]) -> u64 {
        parts.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Refuses what the machine has no memory for; the system would end the process in the middle of it.
    ///
    /// # Errors
    /// [`Failure::Input`] with what is needed and what is free.
    pub fn require(self) -> Result<()> {
        let needed = Self::total(&self.parts?);
        match self.free {
            Some(free) if needed > free => Err(Failure::Input(format!(
                "{} needs {:.0} MiB of memory, {:.0} MiB are free; use a smaller batch or model",
                self.what,
                mib(needed),
                mib(free)
            ))),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = match &self.parts {
            Ok(parts) => parts,
            Err(e) => return writeln!(f, "  {}: does not fit: {e}", self.what),
        };
        writeln!(f, "  {}", self.what)?;
        for (part, bytes) in parts {
            writeln!(f, "    {part:<18} {:>10.1} MiB", mib(*bytes))?;
        }
        let total = Self::total(parts);
        let verdict = match self.free {
            Some(free) if total > free => format!("does not fit: {:.0} MiB are free", mib(free)),
            Some(free) => format!("fits: {:.0} MiB are free", mib(free)),
            None => "how much is free on this device is not known".to_owned(),
        };
        writeln!(f, "    {:<18} {:>10.1} MiB; {verdict}", "all", mib(total))
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1 << 20) as f64
}

/// Memory that a new process can have on a device, in bytes, where the system tells.
pub fn free(device: &Device) -> Option<u64> {
    let Device::Cpu = device else {
        return None;
    };
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    Some((kib("MemAvailable:")? + kib("SwapFree:").unwrap_or(0)) * 1024)
}
