//! Transposed copies, the main cost of packing an operand.

/// Scalars whose matrices can be transposed.
pub trait Transpose: Copy {
    /// `to[k][j] = from[j][k]` for all k and j. Inline it in vectorized code.
    ///
    /// # Panics
    /// If a slice is shorter than `to`.
    fn transpose_slices<const N: usize>(from: [&[Self]; N], to: &mut [[Self; N]]);

    /// `to[k][j] = from[min(j, n - 1) * stride + k]` for all k and j. Inline it in vectorized code.
    ///
    /// # Panics
    /// If `from` is too short, or n is 0.
    #[inline(always)]
    fn transpose<const N: usize>(from: &[Self], stride: usize, n: usize, to: &mut [[Self; N]]) {
        let column = |j: usize| &from[j.min(n - 1) * stride..][..to.len()];
        Self::transpose_slices(std::array::from_fn(column), to);
    }
}

/// Rows of the result written at a time, so that they stay in the first-level cache.
const ROWS: usize = 64;

#[inline(always)]
fn one_by_one<F: Copy, const N: usize>(from: [&[F]; N], to: &mut [[F; N]]) {
    for (block, to) in to.chunks_mut(ROWS).enumerate() {
        for (j, column) in from.iter().enumerate() {
            let column = &column[block * ROWS..][..to.len()];
            for (row, &value) in to.iter_mut().zip(column) {
                row[j] = value;
            }
        }
    }
}

impl Transpose for f64 {
    #[inline(always)]
    fn transpose_slices<const N: usize>(from: [&[f64]; N], to: &mut [[f64; N]]) {
        one_by_one(from, to);
    }
}

impl Transpose for f32 {
    #[inline(always)]
    fn transpose_slices<const N: usize>(from: [&[f32]; N], to: &mut [[f32; N]]) {
        #[cfg(target_arch = "x86_64")]
        if N.is_multiple_of(8)
            && let Some(simd) = pulp::x86::V3::try_new()
        {
            let (blocks, rest) = to.as_chunks_mut::<8>();
            avx::blocks(simd, from, blocks);
            let done = 8 * blocks.len();
            if !rest.is_empty() {
                one_by_one(from.map(|column| &column[done..]), rest);
            }
            return;
        }
        one_by_one(from, to);
    }
}

/// On Zen 3 twice as fast as the scalar loop, which the compiler does not turn into shuffles.
#[cfg(target_arch = "x86_64")]
mod avx {
    use pulp::{cast, x86::V3};
    use std::array::from_fn;

    /// All rows, eight at a time.
    #[inline(always)]
    pub fn blocks<const N: usize>(simd: V3, from: [&[f32]; N], to: &mut [[[f32; N]; 8]]) {
        // Equal lengths let the compiler drop the bounds checks.
        let len = to.len();
        let columns = from.map(
            #[inline(always)]
            |column| &column.as_chunks().0[..len],
        );
        for (i, to) in to.iter_mut().enumerate() {
            for first in (0..N).step_by(8) {
                let block = from_fn(
                    #[inline(always)]
                    |j| columns[first + j][i],
                );
                for (to, row) in to.iter_mut().zip(turn(simd, block)) {
                    to[first..first + 8].copy_from_slice(&row);
                }
            }
        }
    }

    /// Transposes 8 x 8 values. Each register is loaded with the halves of two columns that are four apart, so that interleaving
    /// pairs and then quads suffices, without crossing 128-bit lanes.
    #[inline(always)]
    fn turn(simd: V3, columns: [[f32; 8]; 8]) -> [[f32; 8]; 8] {
        let avx = simd.avx;
        let halves = from_fn::<_, 8, _>(
            #[inline(always)]
            |i| {
                let half = |column: [f32; 8]| cast::<[f32; 8], [_; 2]>(column)[i / 4];
                let low = avx._mm256_castps128_ps256(half(columns[i % 4]));
                avx._mm256_insertf128_ps::<1>(low, half(columns[i % 4 + 4]))
            },
        );
        let pairs = from_fn::<_, 8, _>(
            #[inline(always)]
            |i| {
                let (a, b) = (halves[i & !1], halves[i | 1]);
                if i & 1 == 0 {
                    avx._mm256_unpacklo_ps(a, b)
                } else {
                    avx._mm256_unpackhi_ps(a, b)
                }
            },
        );
        from_fn(
            #[inline(always)]
            |i| {
                let at = i & 4 | (i & 2) >> 1;
                let (a, b) = (pairs[at], pairs[at + 2]);
                cast(if i & 1 == 0 {
                    avx._mm256_shuffle_ps::<0b01_00_01_00>(a, b)
                } else {
                    avx._mm256_shuffle_ps::<0b11_10_11_10>(a, b)
                })
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::simd::vectorize;

    fn check<const N: usize>() {
        for (rows, stride) in [(0, 3), (1, 1), (8, 8), (13, 20), (70, 70), (200, 201)] {
            for n in [1, N - 1, N] {
                let from: Vec<f32> = (0..(n - 1) * stride + rows).map(|i| i as f32).collect();
                let mut fast = vec![[0.0; N]; rows];
                vectorize(|| f32::transpose(&from, stride, n, &mut fast));
                let wide: Vec<f64> = from.iter().map(|&x| f64::from(x)).collect();
                let mut plain = vec![[0.0; N]; rows];
                f64::transpose(&wide, stride, n, &mut plain);
                for k in 0..rows {
                    for j in 0..N {
                        let at = j.min(n - 1) * stride + k;
                        assert_eq!((fast[k][j], plain[k][j]), (from[at], wide[at]));
                    }
                }
            }
        }
    }

    #[test]
    fn columns_become_rows() {
        check::<8>();
        check::<16>();
    }
}
