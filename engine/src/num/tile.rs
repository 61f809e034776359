//! The register tile of a matrix product: the one loop where nearly all time of a network goes.

use pulp::Simd;

/// Columns of a tile and of a packed panel.
pub const NR: usize = 16;

/// Scalars with a vectorized register tile.
pub trait Tile: Sized {
    /// The sums over k of `column(k)[i] * panel[k][j]`, each one chain of multiply-adds from zero, fused where the
    /// machine can.
    ///
    /// Explicit vectors, since the compiler keeps plain arrays of sums in memory instead of registers.
    fn tile_sums<S: Simd, const MR: usize>(
        simd: S,
        panel: &[[Self; NR]],
        column: impl Fn(usize) -> [Self; MR],
    ) -> [[Self; NR]; MR];
}

macro_rules! impl_tile {
    ($F:ident, $LANES:ident, $as_simd:ident, $as_mut_simd:ident, $splat:ident, $mul_add:ident) => {
        impl Tile for $F {
            #[inline(always)]
            fn tile_sums<S: Simd, const MR: usize>(
                simd: S,
                panel: &[[$F; NR]],
                column: impl Fn(usize) -> [$F; MR],
            ) -> [[$F; NR]; MR] {
                #[inline(always)]
                fn vectors<S: Simd, const MR: usize, const VECTORS: usize>(
                    simd: S,
                    panel: &[[$F; NR]],
                    column: impl Fn(usize) -> [$F; MR],
                ) -> [[$F; NR]; MR] {
                    let mut sums = [[simd.$splat(0.0); VECTORS]; MR];
                    for (k, b) in panel.iter().enumerate() {
                        let (a, b) = (column(k), S::$as_simd(b).0);
                        for i in 0..MR {
                            let a = simd.$splat(a[i]);
                            for j in 0..VECTORS {
                                sums[i][j] = simd.$mul_add(a, b[j], sums[i][j]);
                            }
                        }
                    }
                    let mut out = [[0.0; NR]; MR];
                    for (out, sums) in out.iter_mut().zip(&sums) {
                        S::$as_mut_simd(out).0.copy_from_slice(sums);
                    }
                    out
                }
                match S::$LANES {
                    16 => vectors::<S, MR, 1>(simd, panel, column),
                    8 => vectors::<S, MR, 2>(simd, panel, column),
                    4 => vectors::<S, MR, 4>(simd, panel, column),
                    2 => vectors::<S, MR, 8>(simd, panel, column),
                    _ => vectors::<S, MR, NR>(simd, panel, column),
                }
            }
        }
    };
}

impl_tile!(
    f32,
    F32_LANES,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    mul_add_e_f32s
);
impl_tile!(
    f64,
    F64_LANES,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    mul_add_e_f64s
);
