//! Buffers that a thread keeps for its next call.

use super::real::Real;

/// Values that stay in the second-level cache while they are worked on.
pub(crate) const IN_CACHE: usize = 1 << 16;

/// Bytes.
const CACHE_LINE: usize = 64;

/// Lends `len` values, of any content, from a buffer that this thread keeps.
#[inline(always)]
pub(crate) fn with_scratch<F: Real, R>(len: usize, work: impl FnOnce(&mut [F]) -> R) -> R {
    // Taken out while lent: `work` may wait for other threads and run another product meanwhile.
    let mut buffer = F::scratch().with_borrow_mut(Vec::pop).unwrap_or_default();
    // From a cache line on, so that no vector lies across two.
    let slack = CACHE_LINE / size_of::<F>();
    if buffer.len() < len + slack {
        buffer.resize(len + slack, F::ZERO);
    }
    let start = buffer.as_ptr().align_offset(CACHE_LINE).min(slack);
    let result = work(&mut buffer[start..start + len]);
    F::scratch().with_borrow_mut(|spare| spare.push(buffer));
    result
}
