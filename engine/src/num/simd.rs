//! Picks the widest instruction set at run time: AVX2 + FMA on x86-64, the target's own elsewhere.

use pulp::{Arch, WithSimd};

/// Runs `work` with the vectors of the best instruction set of this machine.
pub fn dispatch<W: WithSimd>(work: W) -> W::Output {
    Arch::new().dispatch(work)
}

/// Runs a closure with its loops compiled for the best instruction set of this machine.
///
/// Write the closure in place as `vectorize(#[inline(always)] || ...)`, and mark what it calls alike: code that is not
/// inlined is compiled for the baseline instruction set.
pub fn vectorize<R>(work: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(work)
}
