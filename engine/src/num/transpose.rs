//! Columns of a transpose copied to a panel: what packing a weight costs.

use super::tile::NR;

/// Scalars of matrices that can be turned over.
pub trait Transpose: Copy {
    /// `to[k][j] = from[j * stride + k]` for all k and j. Inline it where the loops are vectorized.
    ///
    /// # Panics
    /// If `from` has less.
    fn transpose(from: &[Self], stride: usize, to: &mut [[Self; NR]]);
}

/// Rows of a panel that are written while they stay in the first-level cache.
const ROWS: usize = 64;

#[inline(always)]
fn one_by_one<F: Copy>(from: &[F], stride: usize, to: &mut [[F; NR]]) {
    for (block, to) in to.chunks_mut(ROWS).enumerate() {
        for j in 0..NR {
            let column = &from[j * stride + block * ROWS..][..to.len()];
            for (row, &value) in to.iter_mut().zip(column) {
                row[j] = value;
            }
        }
    }
}

impl Transpose for f64 {
    #[inline(always)]
    fn transpose(from: &[f64], stride: usize, to: &mut [[f64; NR]]) {
        one_by_one(from, stride, to);
    }
}

impl Transpose for f32 {
    #[inline(always)]
    fn transpose(from: &[f32], stride: usize, to: &mut [[f32; NR]]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            let (blocks, rest) = to.as_chunks_mut::<8>();
            for (b, block) in blocks.iter_mut().enumerate() {
                avx::block(simd, from, stride, 8 * b, block);
            }
            let done = 8 * blocks.len();
            if !rest.is_empty() {
                one_by_one(&from[done..], stride, rest);
            }
            return;
        }
        one_by_one(from, stride, to);
    }
}

/// Twice as fast as one by one on Zen 3: the compiler does not turn that into shuffles by itself.
#[cfg(target_arch = "x86_64")]
mod avx {
    use super::NR;
    use pulp::{cast, x86::V3};
    use std::arch::x86_64::__m256;
    use std::array::from_fn;

    /// Eight rows from row `k` on.
    #[inline(always)]
    pub fn block(simd: V3, from: &[f32], stride: usize, k: usize, to: &mut [[f32; NR]; 8]) {
        for half in [0, 8] {
            let columns = from_fn(
                #[inline(always)]
                |j| -> __m256 {
                    let column = from[(half + j) * stride + k..].first_chunk::<8>();
                    cast(*column.expect("whole columns"))
                },
            );
            let rows = turn(simd, columns);
            for (to, row) in to.iter_mut().zip(rows) {
                to[half..half + 8].copy_from_slice(&cast::<_, [f32; 8]>(row));
            }
        }
    }

    /// The transpose of 8 x 8 values: pairs, fours, then halves of registers change places.
    #[inline(always)]
    fn turn(simd: V3, x: [__m256; 8]) -> [__m256; 8] {
        let avx = simd.avx;
        let pairs: [__m256; 8] = from_fn(
            #[inline(always)]
            |i| {
                let (a, b) = (x[i & !1], x[i | 1]);
                if i & 1 == 0 {
                    avx._mm256_unpacklo_ps(a, b)
                } else {
                    avx._mm256_unpackhi_ps(a, b)
                }
            },
        );
        let fours: [__m256; 8] = from_fn(
            #[inline(always)]
            |i| {
                let at = i & 4 | (i & 2) >> 1;
                let (a, b) = (pairs[at], pairs[at + 2]);
                if i & 1 == 0 {
                    avx._mm256_shuffle_ps::<0b01_00_01_00>(a, b)
                } else {
                    avx._mm256_shuffle_ps::<0b11_10_11_10>(a, b)
                }
            },
        );
        from_fn(
            #[inline(always)]
            |i| {
                let (a, b) = (fours[i & 3], fours[i & 3 | 4]);
                if i < 4 {
                    avx._mm256_permute2f128_ps::<0x20>(a, b)
                } else {
                    avx._mm256_permute2f128_ps::<0x31>(a, b)
                }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::simd::vectorize;

    #[test]
    fn columns_become_rows() {
        for (n, stride) in [(0, 3), (1, 1), (8, 8), (13, 20), (70, 70), (200, 201)] {
            let from: Vec<f32> = (0..15 * stride + n).map(|i| i as f32).collect();
            let mut fast = vec![[0.0; NR]; n];
            vectorize(|| f32::transpose(&from, stride, &mut fast));
            let wide: Vec<f64> = from.iter().map(|&x| f64::from(x)).collect();
            let mut plain = vec![[0.0; NR]; n];
            f64::transpose(&wide, stride, &mut plain);
            for k in 0..n {
                for j in 0..NR {
                    assert_eq!(fast[k][j], from[j * stride + k]);
                    assert_eq!(plain[k][j], wide[j * stride + k]);
                }
            }
        }
    }
}
