//! Run-time choice of the widest instruction set: AVX-512 or AVX2 + FMA on x86-64, the target's baseline elsewhere.

use pulp::{Arch, WithSimd};

/// Runs `work` with the vectors of this machine's best instruction set.
pub fn dispatch<W: WithSimd>(work: W) -> W::Output {
    Arch::new().dispatch(work)
}

/// Runs a closure with its loops compiled for this machine's best instruction set.
///
/// Write the closure in place as `vectorize(#[inline(always)] || ...)`, and mark its callees the same way: functions that are not
/// inlined are compiled for the baseline instruction set.
pub fn vectorize<R>(work: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(work)
}
