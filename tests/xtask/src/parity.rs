//! `cargo xtask parity`: SiT-XL/2 with formula weights against the official output.

use crate::{cargo, check};
use anyhow::Result;

/// Runs it in a process of its own, which reports its peak memory.
pub fn run() -> Result<()> {
    check(&mut cargo(
        "run --release --package sit-tests --bin parity -- SiT-XL/2",
    ))
}
