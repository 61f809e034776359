//! The GPU that all tests of one binary share.

use sit_engine::backend::{Checks, Choice, Device, Options};
use std::sync::OnceLock;

/// The GPU, or a software adapter, opened once. Its kernels run without runtime checks, as for users.
///
/// # Panics
/// When there is none: a machine that runs these tests must have one, so that none is skipped.
pub fn gpu() -> &'static Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(|| open(Checks::Off))
}

/// [`gpu`], and the same one opened with checked kernels.
///
/// # Panics
/// As [`gpu`].
pub fn gpus() -> [&'static Device; 2] {
    static CHECKED: OnceLock<Device> = OnceLock::new();
    [gpu(), CHECKED.get_or_init(|| open(Checks::On))]
}

fn open(checks: Checks) -> Device {
    let options = Options {
        choice: Choice::Gpu,
        checks,
        ..Options::default()
    };
    match pollster::block_on(Device::open_async(options)) {
        Ok(device) => device,
        Err(error) => panic!(
            "{error}\nThe tests need a Vulkan device; a software one is in Debian's mesa-vulkan-drivers"
        ),
    }
}
