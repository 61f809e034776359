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
    /// Factor of the sums.
    pub alpha: F,
    /// Whether to add to what is there.
    pub add: bool,
}

/// Steps of k that the loop of a tile does at once. Counting, and checking that a is long enough, then cost little beside
/// the multiply-adds: two threads that share a core share what decodes their instructions.
pub const UNROLL: usize = 4;

/// The rows of a that a tile multiplies, in whole blocks of [`UNROLL`] steps of k and the steps after them.
pub trait Rows<F>: Copy {
    /// A block.
    type Block: Copy;

    /// Block number `c`.
    fn block(self, c: usize) -> Self::Block;

    /// The value of row i at step u of a block.
    fn of(block: Self::Block, u: usize, i: usize) -> F;

    /// The value of row i at step u after the last block.
    fn rest(self, u: usize, i: usize) -> F;
}

/// Rows that lie each on its own, k after k.
#[derive(Clone, Copy)]
pub struct InRows<'a, F, const MR: usize> {
    blocks: [&'a [[F; UNROLL]]; MR],
    rest: [&'a [F]; MR],
}

impl<'a, F, const MR: usize> InRows<'a, F, MR> {
    /// All of one length.
    #[inline(always)]
    pub fn new(rows: [&'a [F]; MR]) -> Self {
        Self {
            blocks: rows.map(
                #[inline(always)]
                |row| row.as_chunks().0,
            ),
            rest: rows.map(
                #[inline(always)]
                |row| row.as_chunks::<UNROLL>().1,
            ),
        }
    }
}

impl<'a, F: Copy, const MR: usize> Rows<F> for InRows<'a, F, MR> {
    type Block = [&'a [F; UNROLL]; MR];

    #[inline(always)]
    fn block(self, c: usize) -> Self::Block {
        self.blocks.map(
            #[inline(always)]
            |row| &row[c],
        )
    }

    #[inline(always)]
    fn of(block: Self::Block, u: usize, i: usize) -> F {
        block[i][u]
    }

    #[inline(always)]
    fn rest(self, u: usize, i: usize) -> F {
        self.rest[i][u]
    }
}

/// Values of all rows side by side, one group after another for each k.
#[derive(Clone, Copy)]
pub struct Interleaved<'a, F, const GROUP: usize> {
    blocks: &'a [[[F; GROUP]; UNROLL]],
    rest: &'a [[F; GROUP]],
}

impl<'a, F, const GROUP: usize> Interleaved<'a, F, GROUP> {
    /// Groups of at least as many values as the tile has rows.
    #[inline(always)]
    pub fn new(groups: &'a [[F; GROUP]]) -> Self {
        let (blocks, rest) = groups.as_chunks();
        Self { blocks, rest }
    }
}

impl<'a, F: Copy, const GROUP: usize> Rows<F> for Interleaved<'a, F, GROUP> {
    type Block = &'a [[F; GROUP]; UNROLL];

    #[inline(always)]
    fn block(self, c: usize) -> Self::Block {
        &self.blocks[c]
    }

    #[inline(always)]
    fn of(block: Self::Block, u: usize, i: usize) -> F {
        block[u][i]
    }

    #[inline(always)]
    fn rest(self, u: usize, i: usize) -> F {
        self.rest[u][i]
    }
}

/// Groups as of [`Interleaved`] with a distance between them: the columns of a matrix where it lies.
#[derive(Clone, Copy)]
pub struct InColumns<'a, F, const MR: usize> {
    data: &'a [F],
    stride: usize,
    /// Steps in whole blocks.
    whole: usize,
}

impl<'a, F, const MR: usize> InColumns<'a, F, MR> {
    /// `n` groups, `stride` values from one to the next.
    #[inline(always)]
    pub fn new(data: &'a [F], stride: usize, n: usize) -> Self {
        Self {
            data,
            stride,
            whole: n / UNROLL * UNROLL,
        }
    }

    #[inline(always)]
    fn group(self, k: usize) -> &'a [F; MR] {
        self.data[k * self.stride..]
            .first_chunk()
            .expect("a tile lies within its matrix")
    }
}

impl<'a, F: Copy, const MR: usize> Rows<F> for InColumns<'a, F, MR> {
    type Block = [&'a [F; MR]; UNROLL];

    #[inline(always)]
    fn block(self, c: usize) -> Self::Block {
        std::array::from_fn(
            #[inline(always)]
            |u| self.group(c * UNROLL + u),
        )
    }

    #[inline(always)]
    fn of(block: Self::Block, u: usize, i: usize) -> F {
        block[u][i]
    }

    #[inline(always)]
    fn rest(self, u: usize, i: usize) -> F {
        self.group(self.whole + u)[i]
    }
}

/// Scalars with a vectorized register tile.
pub trait Tile: Sized {
    /// Stores the sums over k of `a[i][k] * panel[k][j]`, each one chain of multiply-adds from zero, fused where the
    /// machine can.
    ///
    /// Explicit vectors, since the compiler keeps plain arrays of sums in memory instead of registers.
    fn tile<S: Simd, const MR: usize>(
        simd: S,
        panel: &[[Self; NR]],
        a: impl Rows<Self>,
        sink: Sink<'_, Self>,
    );
}

macro_rules! impl_tile {
    ($F:ident, $Vector:ident, $LANES:ident, $as_simd:ident, $as_mut_simd:ident, $splat:ident, $mul:ident, $add:ident, $mul_add:ident) => {
        impl Tile for $F {
            #[inline(always)]
            fn tile<S: Simd, const MR: usize>(
                simd: S,
                panel: &[[$F; NR]],
                a: impl Rows<$F>,
                sink: Sink<'_, $F>,
            ) {
                #[inline(always)]
                fn add<S: Simd, const MR: usize, const VECTORS: usize>(
                    simd: S,
                    b: &[$F; NR],
                    a: impl Fn(usize) -> $F,
                    sums: &mut [[S::$Vector; VECTORS]; MR],
                ) {
                    let b = S::$as_simd(b).0;
                    for i in 0..MR {
                        let a = simd.$splat(a(i));
                        for j in 0..VECTORS {
                            sums[i][j] = simd.$mul_add(a, b[j], sums[i][j]);
                        }
                    }
                }

                #[inline(always)]
                fn vectors<S: Simd, A: Rows<$F>, const MR: usize, const VECTORS: usize>(
                    simd: S,
                    panel: &[[$F; NR]],
                    a: A,
                    sink: Sink<'_, $F>,
                ) {
                    let mut sums = [[simd.$splat(0.0); VECTORS]; MR];
                    let (blocks, rest) = panel.as_chunks::<UNROLL>();
                    for (c, b) in blocks.iter().enumerate() {
                        let a = a.block(c);
                        for (u, b) in b.iter().enumerate() {
                            add::<S, MR, VECTORS>(
                                simd,
                                b,
                                #[inline(always)]
                                |i| A::of(a, u, i),
                                &mut sums,
                            );
                        }
                    }
                    for (u, b) in rest.iter().enumerate() {
                        add::<S, MR, VECTORS>(
                            simd,
                            b,
                            #[inline(always)]
                            |i| a.rest(u, i),
                            &mut sums,
                        );
                    }
                    let alpha = simd.$splat(sink.alpha);
                    for (i, sums) in sums.iter().enumerate() {
                        if i >= sink.rows {
                            break;
                        }
                        let row = &mut sink.data[i * sink.row_stride..][..sink.cols];
                        if let Some(row) = row.as_mut_array::<NR>() {
                            let row = S::$as_mut_simd(row).0;
                            for j in 0..VECTORS {
                                let value = simd.$mul(alpha, sums[j]);
                                row[j] = if sink.add {
                                    simd.$add(row[j], value)
                                } else {
                                    value
                                };
                            }
                        } else {
                            let mut values = [0.0; NR];
                            S::$as_mut_simd(&mut values).0.copy_from_slice(sums);
                            for (out, &sum) in row.iter_mut().zip(&values) {
                                let value = sink.alpha * sum;
                                *out = if sink.add { *out + value } else { value };
                            }
                        }
                    }
                }
                match S::$LANES {
                    16 => vectors::<S, _, MR, 1>(simd, panel, a, sink),
                    8 => vectors::<S, _, MR, 2>(simd, panel, a, sink),
                    4 => vectors::<S, _, MR, 4>(simd, panel, a, sink),
                    2 => vectors::<S, _, MR, 8>(simd, panel, a, sink),
                    _ => vectors::<S, _, MR, NR>(simd, panel, a, sink),
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
    mul_f32s,
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
    mul_f64s,
    add_f64s,
    mul_add_e_f64s
);
