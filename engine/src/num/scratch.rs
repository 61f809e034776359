//! Buffers that a thread keeps for its next call.

use super::buffer::Buffer;
use super::real::Real;

/// Values that stay in the second-level cache while they are worked on.
pub(crate) const IN_CACHE: usize = 1 << 16;

/// Lends `len` values, of any content, from a buffer that this thread keeps.
#[inline(always)]
pub(crate) fn with_scratch<F: Real, R>(len: usize, work: impl FnOnce(&mut [F]) -> R) -> R {
    // Taken out while lent: `work` may wait for other threads and run another product meanwhile.
    let mut buffer = F::scratch().with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len {
        buffer = Buffer::zeros(len);
    }
    let result = work(&mut buffer[..len]);
    F::scratch().with_borrow_mut(|spare| spare.push(buffer));
    result
}
