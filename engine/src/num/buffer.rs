//! Storage whose vectors never lie across two cache lines.

use super::real::Real;
use bytemuck::{Pod, Zeroable};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A cache line, and the longest vector.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Values from the beginning of a cache line on. An allocator puts a long [`Vec`] 16 bytes past one, and every vector of 64 bytes then
/// lies across two: a forward took 3 to 6 % longer.
#[derive(Clone, Debug)]
pub struct Buffer<F> {
    lines: Vec<Line>,
    len: usize,
    values: PhantomData<F>,
}

impl<F> Default for Buffer<F> {
    fn default() -> Self {
        Buffer {
            lines: Vec::new(),
            len: 0,
            values: PhantomData,
        }
    }
}

impl<F: Real> Buffer<F> {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Buffer {
            lines: bytemuck::zeroed_vec((len * size_of::<F>()).div_ceil(size_of::<Line>())),
            len,
            values: PhantomData,
        }
    }
}

impl<F: Real> Deref for Buffer<F> {
    type Target = [F];

    fn deref(&self) -> &[F] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<F: Real> DerefMut for Buffer<F> {
    fn deref_mut(&mut self) -> &mut [F] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_begin_with_a_cache_line() {
        for len in [0, 1, 15, 16, 17, 100_000] {
            let mut buffer = Buffer::<f64>::zeros(len);
            assert_eq!(buffer.as_ptr().align_offset(64), 0);
            assert_eq!(*buffer, vec![0.0; len][..]);
            buffer.fill(1.0);
            assert_eq!(buffer.clone().iter().sum::<f64>(), len as f64);
        }
    }
}
