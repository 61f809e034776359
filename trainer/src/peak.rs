//! How fast a device multiplies matrices, as a reference for training steps.

use pollster::block_on;
use sit_engine::backend::Device;
use sit_engine::error::Result;
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Graph, Layout, Plan};
use sit_engine::ops::linear;
use std::time::{Duration, Instant};

/// Matrix products in sequence, so that the cost of starting them is small.
const CHAIN: usize = 4;

/// Larger sizes are not tried after a product that takes this long.
const LONG_ENOUGH: Duration = Duration::from_millis(5);

/// Floating-point operations per second, two a multiply-accumulate, of f32 products of square matrices: the best of three runs at
/// the best size. Takes about 50 ms.
///
/// A CPU is as fast at the sizes that are tried there as at larger ones, and each of its threads keeps the memory in which it has packed a matrix,
/// which would be more than training takes.
///
/// # Errors
/// [`sit_engine::Error::Device`] when the device fails.
pub fn measure(device: &Device) -> Result<f64> {
    let mut best = 0.0_f64;
    let sizes = match device {
        Device::Cpu => &[128, 256, 512][..],
        _ => &[128, 256, 512, 1024, 2048, 4096],
    };
    for &size in sizes {
        let time = products(device, size)?;
        best = best.max((2 * CHAIN * usize::pow(size, 3)) as f64 / time.as_secs_f64());
        if time > LONG_ENOUGH {
            break;
        }
    }
    Ok(best)
}

/// The shortest of three runs.
fn products(device: &Device, size: usize) -> Result<Duration> {
    let mut g = Graph::new();
    let mut x = g.input("x", [size, size]);
    let (w, b) = (g.input("w", [size, size]), g.input("b", [size]));
    for _ in 0..CHAIN {
        x = linear::linear(&mut g, x, w, b)?;
    }
    let request = Request {
        outputs: vec![("x".into(), x)],
        ..Request::default()
    };
    let layout = Layout::default();
    let arenas = device.arenas(&layout, &[])?;
    let mut program = device.program(Plan::new(&g, &request, &[&layout])?, &[&arenas])?;
    // The identity is orthogonal: repeated products neither grow nor vanish.
    let mut identity = vec![0.0; size * size];
    identity.iter_mut().step_by(size + 1).for_each(|x| *x = 1.0);
    program.write("w", &identity)?;
    program.write("x", &identity)?;
    let mut best = Duration::MAX;
    // The first run warms up.
    for _ in 0..4 {
        let start = Instant::now();
        program.run()?;
        block_on(program.read("x"))?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_counts_every_operation() {
        // The same products by hand, of one size and once, are at most as fast, and not a hundred times slower.
        let peak = measure(&Device::Cpu).unwrap();
        let time = products(&Device::Cpu, 256).unwrap().as_secs_f64();
        let rate = (2 * CHAIN * 256_usize.pow(3)) as f64 / time;
        assert!(rate / 10.0 < peak && peak < 100.0 * rate, "{peak} {rate}");
    }
}
