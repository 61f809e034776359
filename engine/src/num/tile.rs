//! The register tile of a matrix product: the one loop where nearly all time of a network goes.

use pulp::Simd;

/// Columns of a tile and of a packed panel.
pub const NR: usize = 16;

/// Where the sums of a tile go: rows of up to `NR` values that start `row_stride` values apart in `data`.
pub struct Sink<'a, F> {
    /// From the first value of the tile on.
    pub data: &'a mut [F],
    /// Values from row to row.
    pub row_stride: usize,
    /// Rows to store; the tile may compute more.
    pub rows: usize,
    /// Columns to store; the tile always computes `NR`.
    pub cols: usize,
    /// Whether to add to what is there.
    pub add: bool,
}

/// Values of a for each k, side by side, where a is packed for tiles: at least as many as a tile has rows, and one wide copy
/// packs them.
pub const TILE_STRIDE: usize = 8;

/// Steps of k that the loop of a tile does at once. Counting then costs little beside the multiply-adds: two threads that
/// share a core share what decodes their instructions.
const UNROLL: usize = 4;

/// Rows of a register tile. Of 16 registers of 256 bits twelve hold sums, two of them a row; one of 512 bits holds a row,
/// and eight hide the latency of an addition.
#[inline(always)]
pub fn tile_rows<S: Simd, F>() -> usize {
    match (size_of::<F>(), S::F32_LANES) {
        (4, 16) => 8,
        (4, _) => 6,
        _ => 2,
    }
}

/// Scalars with a vectorized register tile.
pub trait Tile: Sized {
    /// Stores the sums over k of `a[k][i] * panel[k][j]` for `MR` of i from `FIRST` on, each one chain of multiply-adds from
    /// zero, fused where the machine can. Both have as many k.
    ///
    /// Explicit vectors, since the compiler keeps plain arrays of sums in memory instead of registers.
    fn tile<S: Simd, const MR: usize, const WIDTH: usize, const FIRST: usize>(
        simd: S,
        panel: &[[Self; NR]],
        a: &[[Self; WIDTH]],
        sink: Sink<'_, Self>,
    );
}

macro_rules! impl_tile {
    ($F:ident, $Vector:ident, $LANES:ident, $as_simd:ident, $as_mut_simd:ident, $splat:ident, $add:ident, $mul_add:ident) => {
        impl Tile for $F {
            #[inline(always)]
            fn tile<S: Simd, const MR: usize, const WIDTH: usize, const FIRST: usize>(
                simd: S,
                panel: &[[$F; NR]],
                a: &[[$F; WIDTH]],
                sink: Sink<'_, $F>,
            ) {
                #[inline(always)]
                fn add<S: Simd, const MR: usize, const VECTORS: usize>(
                    simd: S,
                    b: &[$F; NR],
                    a: &[$F],
                    sums: &mut [[S::$Vector; VECTORS]; MR],
                ) {
                    let b = S::$as_simd(b).0;
                    for i in 0..MR {
                        let a = simd.$splat(a[i]);
                        for j in 0..VECTORS {
                            sums[i][j] = simd.$mul_add(a, b[j], sums[i][j]);
                        }
                    }
                }

                #[inline(always)]
                fn vectors<
                    S: Simd,
                    const MR: usize,
                    const VECTORS: usize,
                    const WIDTH: usize,
                    const FIRST: usize,
                >(
                    simd: S,
                    panel: &[[$F; NR]],
                    a: &[[$F; WIDTH]],
                    sink: Sink<'_, $F>,
                ) {
                    let mut sums = [[simd.$splat(0.0); VECTORS]; MR];
                    let (b_blocks, b_rest) = panel.as_chunks::<UNROLL>();
                    let (a_blocks, a_rest) = a.as_chunks::<UNROLL>();
                    for (b, a) in b_blocks.iter().zip(a_blocks) {
                        for (b, a) in b.iter().zip(a) {
                            add::<S, MR, VECTORS>(simd, b, &a[FIRST..], &mut sums);
                        }
                    }
                    for (b, a) in b_rest.iter().zip(a_rest) {
                        add::<S, MR, VECTORS>(simd, b, &a[FIRST..], &mut sums);
                    }
                    for (i, sums) in sums.iter().enumerate() {
                        if i >= sink.rows {
                            break;
                        }
                        let row = &mut sink.data[i * sink.row_stride..][..sink.cols];
                        if let Some(row) = row.as_mut_array::<NR>() {
                            let row = S::$as_mut_simd(row).0;
                            for j in 0..VECTORS {
                                row[j] = if sink.add {
                                    simd.$add(row[j], sums[j])
                                } else {
                                    sums[j]
                                };
                            }
                        } else {
                            let mut values = [0.0; NR];
                            S::$as_mut_simd(&mut values).0.copy_from_slice(sums);
                            for (out, &sum) in row.iter_mut().zip(&values) {
                                *out = if sink.add { *out + sum } else { sum };
                            }
                        }
                    }
                }
                match S::$LANES {
                    16 => vectors::<S, MR, 1, WIDTH, FIRST>(simd, panel, a, sink),
                    8 => vectors::<S, MR, 2, WIDTH, FIRST>(simd, panel, a, sink),
                    4 => vectors::<S, MR, 4, WIDTH, FIRST>(simd, panel, a, sink),
                    2 => vectors::<S, MR, 8, WIDTH, FIRST>(simd, panel, a, sink),
                    _ => vectors::<S, MR, NR, WIDTH, FIRST>(simd, panel, a, sink),
                }
            }
        }
    };
}

impl_tile!(
    f32,
    f32s,
    F32_LANES,
    as_simd_f32s,
    as_mut_simd_f32s,
    splat_f32s,
    add_f32s,
    mul_add_e_f32s
);
impl_tile!(
    f64,
    f64s,
    F64_LANES,
    as_simd_f64s,
    as_mut_simd_f64s,
    splat_f64s,
    add_f64s,
    mul_add_e_f64s
);
