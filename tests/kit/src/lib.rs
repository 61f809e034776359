//! What the integration tests share: comparisons, fixtures, devices.

pub mod fixture;

use sit_engine::backend::{Choice, Device};
use std::sync::OnceLock;

/// Asserts that `got` is `want` within `tol` times the root mean square of `want`, element by element.
///
/// # Panics
/// When an element is further away or not finite, or the lengths differ.
pub fn assert_close(what: &str, got: &[f32], want: &[f32], tol: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of elements");
    let squares: f64 = want.iter().map(|&x| f64::from(x).powi(2)).sum();
    let rms = (squares / want.len().max(1) as f64).sqrt();
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let difference = (f64::from(got) - f64::from(want)).abs();
        assert!(
            difference <= tol * rms,
            "{what}[{i}]: got {got}, expected {want}; {:.2e} of the rms {rms:.3e}, allowed {tol:.0e}",
            difference / rms
        );
    }
}

/// The GPU of the test run, a software one included, opened once.
///
/// # Panics
/// When there is none: a missing device is a failure, not a skip.
pub fn gpu() -> &'static Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(|| {
        pollster::block_on(Device::open(Choice::Gpu))
            .unwrap_or_else(|e| panic!("the GPU tests need a Vulkan device (Debian: apt-get install mesa-vulkan-drivers): {e}"))
    })
}

#[cfg(test)]
mod tests {
    use super::assert_close;

    #[test]
    fn close_is_close() {
        assert_close("equal", &[1.0, -2.0], &[1.0, -2.0], 0.0);
        assert_close("near", &[1.0, -2.001], &[1.0, -2.0], 1e-3);
        assert_close("nothing", &[], &[], 0.0);
    }

    fn refuses(got: &[f32], want: &[f32]) {
        let (got, want) = (got.to_vec(), want.to_vec());
        std::panic::catch_unwind(move || assert_close("", &got, &want, 1e-3))
            .expect_err("not close");
    }

    #[test]
    fn far_is_refused() {
        refuses(&[1.1], &[1.0]);
        refuses(&[0.9], &[1.0]);
        refuses(&[f32::NAN], &[1.0]);
        refuses(&[f32::INFINITY], &[1.0]);
        refuses(&[1.0], &[f32::NAN]);
        refuses(&[1.0], &[1.0, 1.0]);
    }
}
