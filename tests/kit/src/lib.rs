//! What the integration tests share: comparisons, inputs, fixtures, devices.

mod close;
mod device;
pub mod fixture;
pub mod formula;
#[cfg(not(target_arch = "wasm32"))]
pub mod inception;
pub mod later;
pub mod net;
pub mod official;
pub mod ops;
mod random;
pub mod sit;

pub use close::{assert_close, distance};
pub use device::{gpu, gpus};
pub use random::{below, uniform};
