//! Buffers that a thread keeps for reuse.

use super::buffer::Buffer;
use super::real::Real;

/// Number of values that stay in the second-level cache during a computation.
pub(crate) const IN_CACHE: usize = 1 << 16;

/// Lends `len` values with unspecified contents, from a buffer that this thread keeps.
#[inline(always)]
pub(crate) fn with_scratch<F: Real, R>(len: usize, work: impl FnOnce(&mut [F]) -> R) -> R {
    // Removed from the pool while lent: `work` may wait for other threads and run another product on this thread meanwhile.
    let mut buffer = F::scratch().with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len {
        buffer = Buffer::zeros(len);
    }
    let result = work(&mut buffer[..len]);
    F::scratch().with_borrow_mut(|spare| spare.push(buffer));
    result
}
