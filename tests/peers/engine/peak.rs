//! The memory of this process.

use std::error::Error;

/// Its peak, in MiB.
pub fn peak_mib() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| {
        peak.trim()
            .trim_end_matches("kB")
            .trim()
            .parse::<f64>()
            .ok()
    });
    Ok(kib.ok_or("no VmHWM in /proc/self/status")? / 1024.0)
}
