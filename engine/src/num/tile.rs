//! The register tile of a matrix product, the loop in which a network spends nearly all of its time.

use pulp::Simd;

/// Columns of a tile and of a packed panel.
pub const NR: usize = 16;

/// Destination of a tile's sums: rows of up to `NR` values per panel, `row_stride` values apart in `data`.
pub struct Sink<'a, F> {
    /// Starts at the first value of the tile.
    pub data: &'a mut [F],
    /// Distance between rows, in values.
    pub row_stride: usize,
    /// Rows to store; the tile may compute more.
    pub rows: usize,
    /// Columns to store; the tile always computes whole panels.
    pub cols: usize,
    /// Whether to add to the existing values.
    pub add: bool,
}

/// Width of a packed row of a (the values of one k): at least the rows of a tile, and a size that one wide copy fills.
pub const TILE_STRIDE: usize = 8;

/// Unrolling of the loop over k, so that loop overhead is small next to the multiply-adds: two hyper-threads share the instruction
/// decoder of a core.
const UNROLL: usize = 4;

/// Rows of a register tile. With 16 registers of 256 bits, twelve hold sums, two per row.
#[inline(always)]
pub fn tile_rows<S: Simd, F>() -> usize {
    match (size_of::<F>(), S::F32_LANES) {
        (4, 16) => 8,
        (4, _) => 6,
        _ => 2,
    }
}

/// Maximum panels side by side in a register tile: with 32 registers of 512 bits, sixteen hold sums. With a single panel every
/// multiply-add would need its own load, and loads are slower than multiply-adds.
#[inline(always)]
pub fn tile_panels<S: Simd, F>() -> usize {
    match (size_of::<F>(), S::F32_LANES) {
        (4, 16) => 2,
        _ => 1,
    }
}

/// Scalars with a vectorized register tile.
pub trait Tile: Sized {
    /// Stores the sums over k of `a[k][i] * panel[k][j]` for `MR` values of i from `FIRST` on, for each of `P` panels. Each sum is
    /// one chain of multiply-adds from zero, fused if the machine supports it. All operands have the same number of k.
    ///
    /// Explicit vectors, because the compiler keeps plain arrays of sums in memory instead of registers.
    fn tile<S: Simd, const MR: usize, const P: usize, const WIDTH: usize, const FIRST: usize>(
        simd: S,
        panels: [&[[Self; NR]]; P],
        a: &[[Self; WIDTH]],
        sink: Sink<'_, Self>,
    );

    /// [`Tile::tile`] for an a in panels of `NR` columns with `stride` rows each: `a[k / NR * stride + i][k % NR]` replaces
    /// `a[k][i]`. Values past the last row are unspecified.
    fn tile_of_rows<S: Simd, const MR: usize, const P: usize>(
        simd: S,
        panels: [&[[Self; NR]]; P],
        a: &[[Self; NR]],
        stride: usize,
        sink: Sink<'_, Self>,
    );
}

macro_rules! impl_tile {
    ($F:ident, $Vector:ident, $LANES:ident, $as_simd:ident, $as_mut_simd:ident, $splat:ident, $add:ident, $mul_add:ident) => {
        const _: () = {
            #[inline(always)]
            fn add<S: Simd, const MR: usize, const P: usize, const VECTORS: usize>(
                simd: S,
                b: [&[$F; NR]; P],
                a: impl Fn(usize) -> $F,
                sums: &mut [[[S::$Vector; VECTORS]; P]; MR],
            ) {
                for i in 0..MR {
                    let a = simd.$splat(a(i));
                    for p in 0..P {
                        let b = S::$as_simd(b[p]).0;
                        for j in 0..VECTORS {
                            sums[i][p][j] = simd.$mul_add(a, b[j], sums[i][p][j]);
                        }
                    }
                }
            }

            #[inline(always)]
            fn packed<
                S: Simd,
                const MR: usize,
                const P: usize,
                const VECTORS: usize,
                const WIDTH: usize,
                const FIRST: usize,
            >(
                simd: S,
                panels: [&[[$F; NR]]; P],
                a: &[[$F; WIDTH]],
                sink: Sink<'_, $F>,
            ) {
                let mut sums = [[[simd.$splat(0.0); VECTORS]; P]; MR];
                let (a_blocks, a_rest) = a.as_chunks::<UNROLL>();
                // Equal lengths let the compiler drop the bounds checks.
                let panels = panels.map(|panel| panel[..a.len()].as_chunks::<UNROLL>());
                for (k, a) in a_blocks.iter().enumerate() {
                    let b = panels.map(|panel| &panel.0[k]);
                    for (k, a) in a.iter().enumerate() {
                        let b = b.map(|b| &b[k]);
                        add::<S, MR, P, VECTORS>(simd, b, |i| a[FIRST + i], &mut sums);
                    }
                }
                for (k, a) in a_rest.iter().enumerate() {
                    let b = panels.map(|panel| &panel.1[k]);
                    add::<S, MR, P, VECTORS>(simd, b, |i| a[FIRST + i], &mut sums);
                }
                store::<S, MR, P, VECTORS>(simd, sums, sink);
            }

            #[inline(always)]
            fn of_rows<S: Simd, const MR: usize, const P: usize, const VECTORS: usize>(
                simd: S,
                panels: [&[[$F; NR]]; P],
                a: &[[$F; NR]],
                stride: usize,
                sink: Sink<'_, $F>,
            ) {
                let mut sums = [[[simd.$splat(0.0); VECTORS]; P]; MR];
                let depth = panels[0].len();
                let panels = panels.map(|panel| panel[..depth].as_chunks::<NR>());
                let mut spare = None;
                for block in 0..depth.div_ceil(NR) {
                    let rows = &a[block * stride..];
                    let rows = match rows.first_chunk::<MR>() {
                        Some(rows) => rows,
                        None => {
                            let spare = spare.insert([[0.0; NR]; MR]);
                            spare[..rows.len()].copy_from_slice(rows);
                            spare
                        }
                    };
                    if block < depth / NR {
                        let b = panels.map(|panel| &panel.0[block]);
                        for k in 0..NR {
                            let b = b.map(|b| &b[k]);
                            add::<S, MR, P, VECTORS>(simd, b, |i| rows[i][k], &mut sums);
                        }
                    } else {
                        for k in 0..depth % NR {
                            let b = panels.map(|panel| &panel.1[k]);
                            add::<S, MR, P, VECTORS>(simd, b, |i| rows[i][k], &mut sums);
                        }
                    }
                }
                store::<S, MR, P, VECTORS>(simd, sums, sink);
            }

            #[inline(always)]
            fn store<S: Simd, const MR: usize, const P: usize, const VECTORS: usize>(
                simd: S,
                sums: [[[S::$Vector; VECTORS]; P]; MR],
                sink: Sink<'_, $F>,
            ) {
                let Sink {
                    data,
                    row_stride,
                    rows,
                    cols,
                    add,
                } = sink;
                // Whole tiles and partial ones (through a spare buffer) share this store: a second store, or one in a loop, would
                // make the compiler keep the sums in memory.
                let whole = rows >= MR && cols == P * NR;
                let mut spare = (!whole).then(|| [[[0.0; NR]; P]; MR]);
                let (to, to_stride, to_add) = match &mut spare {
                    Some(spare) => (spare.as_flattened_mut().as_flattened_mut(), P * NR, false),
                    None => (&mut *data, row_stride, add),
                };
                for i in 0..MR {
                    let row = to[i * to_stride..][..P * NR].as_chunks_mut::<NR>().0;
                    for p in 0..P {
                        let row = S::$as_mut_simd(&mut row[p]).0;
                        for j in 0..VECTORS {
                            row[j] = if to_add {
                                simd.$add(row[j], sums[i][p][j])
                            } else {
                                sums[i][p][j]
                            };
                        }
                    }
                }
                let Some(values) = &spare else {
                    return;
                };
                for (i, values) in values.iter().enumerate().take(rows) {
                    let row = &mut data[i * row_stride..][..cols];
                    for (out, &sum) in row.iter_mut().zip(values.as_flattened()) {
                        *out = if add { *out + sum } else { sum };
                    }
                }
            }

            impl Tile for $F {
                #[inline(always)]
                fn tile<
                    S: Simd,
                    const MR: usize,
                    const P: usize,
                    const WIDTH: usize,
                    const FIRST: usize,
                >(
                    simd: S,
                    panels: [&[[$F; NR]]; P],
                    a: &[[$F; WIDTH]],
                    sink: Sink<'_, $F>,
                ) {
                    match S::$LANES {
                        16 => packed::<S, MR, P, 1, WIDTH, FIRST>(simd, panels, a, sink),
                        8 => packed::<S, MR, P, 2, WIDTH, FIRST>(simd, panels, a, sink),
                        4 => packed::<S, MR, P, 4, WIDTH, FIRST>(simd, panels, a, sink),
                        2 => packed::<S, MR, P, 8, WIDTH, FIRST>(simd, panels, a, sink),
                        _ => packed::<S, MR, P, NR, WIDTH, FIRST>(simd, panels, a, sink),
                    }
                }

                #[inline(always)]
                fn tile_of_rows<S: Simd, const MR: usize, const P: usize>(
                    simd: S,
                    panels: [&[[$F; NR]]; P],
                    a: &[[$F; NR]],
                    stride: usize,
                    sink: Sink<'_, $F>,
                ) {
                    match S::$LANES {
                        16 => of_rows::<S, MR, P, 1>(simd, panels, a, stride, sink),
                        8 => of_rows::<S, MR, P, 2>(simd, panels, a, stride, sink),
                        4 => of_rows::<S, MR, P, 4>(simd, panels, a, stride, sink),
                        2 => of_rows::<S, MR, P, 8>(simd, panels, a, stride, sink),
                        _ => of_rows::<S, MR, P, NR>(simd, panels, a, stride, sink),
                    }
                }
            }
        };
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
