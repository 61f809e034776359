//! `cargo xtask parity`: SiT-XL/2 with formula weights against the official output.

use crate::{cargo, check};
use anyhow::Result;

/// Runs it for each way to keep the weights, in processes of their own, which report their peak memory.
pub fn run() -> Result<()> {
    for storage in ["f32", "f16", "bf16"] {
        check(&mut cargo(&format!(
            "run --release --package sit-tests --bin parity -- SiT-XL/2 {storage}"
        )))?;
    }
    Ok(())
}
