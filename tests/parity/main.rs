//! Forward of a published size with formula weights against the official output: `parity SiT-XL/2`, and with weights that are kept in 16 bits
//! `parity SiT-XL/2 bf16`.

use sit_engine::backend::Device;
use sit_engine::model::Storage;
use sit_tests::{assert_close, official};
use std::time::Instant;

fn main() {
    let name = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "SiT-XL/2".to_owned());
    let storage = std::env::args().nth(2).unwrap_or_default();
    let storage: Storage = storage.parse().unwrap_or_default();
    // Of weights in 16 bits, a few times what rounding each of them gives.
    let allowed = match storage {
        Storage::F32 => 2e-5,
        Storage::F16 => 1e-3,
        Storage::Bf16 => 8e-3,
    };
    let started = Instant::now();
    let (got, want) = official::preset(&Device::Cpu, &name, storage);
    assert_close(&name, &got, &want, allowed);
    let rms = (want.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / want.len() as f64).sqrt();
    let worst = got
        .iter()
        .zip(&want)
        .map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs())
        .fold(0.0, f64::max);
    println!(
        "{name}, weights in {storage}: {} outputs within {:.1e} of their rms ({allowed:.0e} allowed), {:.0} s",
        got.len(),
        worst / rms,
        started.elapsed().as_secs_f64()
    );
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    match status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
        Some(peak) => println!("peak memory: {}", peak.trim()),
        None => println!("peak memory: not known on this system"),
    }
}
