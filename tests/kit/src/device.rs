//! The GPU that all tests of one binary share.

use sit_engine::backend::{Choice, Device};
use std::sync::OnceLock;

/// The GPU, a software one if need be, opened once.
///
/// # Panics
/// When there is none: a machine that runs these tests must have one, so that none is skipped.
pub fn gpu() -> &'static Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(|| match pollster::block_on(Device::open(Choice::Gpu)) {
        Ok(device) => device,
        Err(error) => panic!(
            "{error}\nThe tests need a Vulkan device; a software one is in Debian's mesa-vulkan-drivers"
        ),
    })
}
