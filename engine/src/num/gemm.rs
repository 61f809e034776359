//! Matrix products on packed panels, bit for bit the same however rows are batched or shared among threads.
//!
//! Every element is one chain of (fused) multiply-adds over k, from zero, in blocks of `KC` that are added in order. Its bits do
//! not depend on the number of rows, its neighbors, the tile size or the threads. [`gemm_row_sums`] splits long chains further.

use super::mat::{Mat, MatMut};
use super::operand::{Left, Right};
use super::pack::{Packed, add_columns};
use super::par::{self, Rows, for_rows, for_rows_within, rows_mut};
use super::real::Real;
use super::scratch::{IN_CACHE, with_scratch};
use super::simd;
use super::slice::axpy;
use super::tile::{NR, Sink, TILE_STRIDE, tile_panels, tile_rows};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;
use std::ops::RangeInclusive;

/// Block size along k: a panel of `KC * NR` values stays in the first-level cache.
const KC: usize = 256;
/// Length along k of a partial sum: constant, so that the bits do not depend on the threads.
const PART: usize = 2 * KC;
/// Columns of a gathered matrix from which on the threads share them: fewer do not make enough work for several threads. Constant,
/// as [`PART`].
const MANY_COLUMNS: usize = 128;
/// Inner dimension below which writing the result dominates a product.
const FEW: usize = 16;
/// Multiply-adds below which a second thread does not pay off.
const SERIAL_WORK: usize = 1 << 17;

/// out = a b for a `[m, k]` and b `[k, n]`, with the rows shared among the threads.
///
/// `epilogue(row, col, values)` is then called on every finished piece of a row; its values start at column `col`.
pub fn gemm<F: Real>(
    out: MatMut<'_, F>,
    a: impl Left<F>,
    b: impl Right<F>,
    epilogue: impl Fn(usize, usize, &mut [F]) + Sync,
) {
    let product = Product::new(&out, a, b.cols());
    let rows = rows_mut(out.used(), product.row_stride);
    product.run(
        rows,
        b,
        #[inline(always)]
        |row, col, values: &mut [F], _: &mut [F]| epilogue(row, col, values),
    );
}

/// out = a b with a second result of the same shape: `epilogue(row, col, values, second)` gets every finished piece of a row and
/// the same piece of the second result, and computes the final values of both.
pub fn gemm_pair<F: Real>(
    out: &mut [F],
    second: &mut [F],
    a: Mat<'_, F>,
    b: Mat<'_, F>,
    epilogue: impl Fn(usize, usize, &mut [F], &mut [F]) + Sync,
) {
    assert_eq!(out.len(), second.len(), "two results of a product");
    let out = MatMut::new(out, a.rows, b.cols);
    let product = Product::new(&out, a, b.cols);
    let row_len = product.row_stride;
    let rows = (rows_mut(out.used(), row_len), rows_mut(second, row_len));
    product.run(rows, b, epilogue);
}

/// out = a b and the sums of the rows of a, for an a with contiguous columns (a transpose), in one pass over it.
///
/// If the result is small and the sums are long, they are split into parts of 512 along k and added up afterwards: each thread then
/// packs only its own part of the operands, which stays in its cache.
///
/// A b that is gathered is never packed as a whole, which would write all of it to memory: threads share its columns, and pack those
/// for some rows at a time.
pub fn gemm_row_sums<F: Real>(out: &mut [F], sums: &mut [F], a: Mat<'_, F>, b: impl Right<F>) {
    assert!(a.row_stride == 1 && sums.len() == a.rows);
    let (len, parts) = (out.len(), a.cols.div_ceil(PART));
    let product = |out: &mut [F]| Product {
        sum_rows: true,
        ..Product::new(&MatMut::new(out, a.rows, b.cols()), a, b.cols())
    };
    if b.is_gathered() && b.cols() >= MANY_COLUMNS {
        sums.fill(F::ZERO);
        for_rows(rows_mut(sums, 1), par::grain(a.cols), |first, sums| {
            simd::vectorize(
                #[inline(always)]
                || add_columns(a, first..first + sums.len(), 0, a.cols, sums),
            );
        });
        let product = product(out);
        return product.few_rows(product.threads(b), out, b, |_, _, _, _| ());
    }
    if parts < 2 || len > IN_CACHE {
        let product = product(out);
        let rows = (rows_mut(out, product.row_stride), rows_mut(sums, 1));
        return product.run(rows, b, |_, _, _, _| ());
    }
    let product = product(out);
    let both = len + sums.len();
    with_scratch(parts * both, |partial| {
        for_rows(rows_mut(partial, both), 1, |part, partial| {
            let k = part * PART..a.cols.min((part + 1) * PART);
            let (a, b) = (a.cols(k.start, k.len()), b.some_rows(k.start, k.len()));
            with_scratch(Packed::<F>::len_of(b.rows(), b.cols()), |packed| {
                b.pack_panels(0, packed);
                let block = partial.split_at_mut(len);
                Product { a, ..product }.block(0, block, packed, &|_, _, _, _| ());
            });
        });
        let add = |to: &mut [F], first: usize| {
            for (part, partial) in partial.chunks_exact(both).enumerate() {
                let from = &partial[first..][..to.len()];
                if part == 0 {
                    to.copy_from_slice(from);
                } else {
                    axpy(to, F::ONE, from);
                }
            }
        };
        for_rows(rows_mut(out, 1), par::grain(1), |first, out| {
            add(out, first)
        });
        add(sums, len);
    });
}

/// The output rows of a task: one result, or two of the same shape.
trait Results<'a, F> {
    fn into_pair(self) -> (&'a mut [F], &'a mut [F]);
}

impl<'a, F> Results<'a, F> for &'a mut [F] {
    fn into_pair(self) -> (&'a mut [F], &'a mut [F]) {
        (self, &mut [])
    }
}

impl<'a, F> Results<'a, F> for (&'a mut [F], &'a mut [F]) {
    fn into_pair(self) -> (&'a mut [F], &'a mut [F]) {
        self
    }
}

/// The parameters of a product, except the output and the packed b.
#[derive(Clone, Copy)]
struct Product<A> {
    a: A,
    cols: usize,
    row_stride: usize,
    /// If true, the second result is the sums of the rows of a.
    sum_rows: bool,
    /// Whether to add to the existing values.
    add: bool,
}

impl<A> Product<A> {
    fn new<F: Real>(out: &MatMut<'_, F>, a: A, cols: usize) -> Self
    where
        A: Left<F>,
    {
        assert_eq!((out.rows, out.cols), (a.rows(), cols), "shape of a product");
        Self {
            a,
            cols,
            row_stride: out.row_stride.max(1),
            sum_rows: false,
            add: false,
        }
    }

    /// The threads that share the work.
    fn threads<F: Real>(&self, b: impl Right<F>) -> usize
    where
        A: Left<F>,
    {
        if self.a.rows() * self.a.cols() * b.cols() <= SERIAL_WORK {
            1
        } else {
            par::threads()
        }
    }

    /// Packs b, then computes the blocks of `rows` in parallel.
    fn run<'o, F: Real, R, E>(&self, rows: R, b: impl Right<F>, epilogue: E)
    where
        A: Left<F>,
        R: Rows<Block: Results<'o, F>>,
        E: Fn(usize, usize, &mut [F], &mut [F]) + Sync,
    {
        assert_eq!(self.a.cols(), b.rows(), "inner dimensions of a product");
        let threads = self.threads(b);
        let few = self.a.rows().div_ceil(tile_rows_here::<F>()) <= threads;
        if few && !self.sum_rows {
            return self.few_rows(threads, rows.into_block(), b, epilogue);
        }
        with_scratch(Packed::<F>::len_of(b.rows(), b.cols()), |packed| {
            let panel_len = b.rows() * NR;
            let grain = b.cols().div_ceil(NR).div_ceil(threads);
            for_rows(
                rows_mut(packed, panel_len),
                grain.max(par::grain(panel_len)),
                |first, block| b.pack_panels(first, block),
            );
            for_rows_within(rows, self.rows_per_task::<F>(threads), |first, block| {
                self.block(first, block, packed, &epilogue);
            });
        });
    }

    /// For few rows: the threads share the columns instead. Each packs its own part of b, in groups that fit the second-level
    /// cache, since every panel is used only once.
    fn few_rows<'o, F: Real, B: Results<'o, F>>(
        &self,
        threads: usize,
        block: B,
        b: impl Right<F>,
        epilogue: impl Fn(usize, usize, &mut [F], &mut [F]),
    ) where
        A: Left<F>,
    {
        let (out, second) = block.into_pair();
        let (rows, panels) = (self.a.rows(), b.cols().div_ceil(NR));
        // Use the longest rows of b that fit the cache together with a block of k, and as many groups for every thread.
        let depth = b.rows().min(KC);
        let most = (IN_CACHE / (depth * NR).max(1)).max(1);
        let groups = panels.div_ceil(most).next_multiple_of(threads);
        let group = panels.div_ceil(groups.max(1)).max(1);
        let width = group * NR;
        with_scratch(panels.div_ceil(group) * rows * width, |sums| {
            let groups = rows_mut(sums, rows * width);
            for_rows(groups, 1, |first, sums| {
                let panels = group.min(panels - first * group);
                let sums = &mut sums[..rows * width + panels * NR - width];
                with_scratch(panels * depth * NR, |packed| {
                    for k0 in (0..b.rows().max(1)).step_by(KC) {
                        let kc = KC.min(b.rows() - k0);
                        let packed = &mut packed[..panels * kc * NR];
                        b.some_rows(k0, kc).pack_panels(first * group, packed);
                        let product = Product {
                            a: self.a.some_cols(k0, kc),
                            cols: panels * NR,
                            row_stride: width,
                            sum_rows: false,
                            add: k0 > 0,
                        };
                        product.block(0, &mut *sums, packed, &|_, _, _, _| ());
                    }
                });
            });
            for (row, out) in out.chunks_mut(self.row_stride).enumerate() {
                let out = &mut out[..b.cols()];
                for (group, out) in out.chunks_mut(width).enumerate() {
                    let at = (group * rows + row) * width;
                    out.copy_from_slice(&sums[at..at + out.len()]);
                }
                let at = row * self.row_stride;
                let second = second.get_mut(at..at + b.cols()).unwrap_or_default();
                epilogue(row, 0, out, second);
            }
        });
    }

    /// Computes the rows of `block`, which start at row `first`.
    fn block<'o, F: Real, B: Results<'o, F>>(
        &self,
        first: usize,
        block: B,
        packed: &[F],
        epilogue: &impl Fn(usize, usize, &mut [F], &mut [F]),
    ) where
        A: Left<F>,
    {
        let (out, second) = block.into_pair();
        simd::dispatch(RowBlock {
            product: self,
            first,
            out,
            second,
            packed,
            epilogue,
        });
    }

    /// Rows per task: whole tiles, few enough that their part of a stays in the second-level cache.
    ///
    /// A task first loads each panel of b into the first-level cache, which takes about a third of a tile's time, so even the last
    /// (shortest) tasks have several tiles. Columns of a transpose are best read in long runs, so there all tasks get the same,
    /// large number of rows; with a short inner dimension it matters more that each task writes to few rows.
    fn rows_per_task<F: Real>(&self, threads: usize) -> RangeInclusive<usize>
    where
        A: Left<F>,
    {
        let tile_rows = tile_rows_here::<F>();
        let tiles = self.a.rows().div_ceil(tile_rows);
        let (least, most) = if !self.a.is_transpose() {
            let most = 96 / tile_rows;
            let small = (tiles / (8 * threads)).clamp(1, 4);
            (if threads == 1 { most } else { small }, most)
        } else {
            let rows = if self.a.cols() < FEW { 32 } else { 256 };
            let most = (rows / tile_rows).min(tiles.div_ceil(threads)).max(1);
            let tasks = tiles.div_ceil(most).next_multiple_of(threads);
            let tiles = tiles.div_ceil(tasks.max(1));
            (tiles, tiles)
        };
        least * tile_rows..=most * tile_rows
    }
}

/// Columns per call of the epilogue: long enough for its vector loops, short enough to stay in the cache.
const STRIP: usize = 512;

/// Rows of a register tile on this machine.
fn tile_rows_here<F>() -> usize {
    simd::dispatch(TileRows::<F>(PhantomData))
}

/// Dispatches to [`tile_rows`].
struct TileRows<F>(PhantomData<F>);

impl<F> WithSimd for TileRows<F> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        tile_rows::<S, F>()
    }
}

/// A block of output rows to compute, with one result or two.
struct RowBlock<'a, F, A, E> {
    product: &'a Product<A>,
    first: usize,
    out: &'a mut [F],
    /// Empty when there is one result.
    second: &'a mut [F],
    packed: &'a [F],
    epilogue: &'a E,
}

impl<F: Real, A: Left<F>, E> WithSimd for RowBlock<'_, F, A, E>
where
    E: Fn(usize, usize, &mut [F], &mut [F]),
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match tile_rows::<S, F>() {
            8 => self.tiles::<S, 8>(simd),
            6 => self.tiles::<S, 6>(simd),
            _ => self.tiles::<S, 2>(simd),
        }
    }
}

impl<F: Real, A: Left<F>, E> RowBlock<'_, F, A, E>
where
    E: Fn(usize, usize, &mut [F], &mut [F]),
{
    #[inline(always)]
    fn tiles<S: Simd, const MR: usize>(self, simd: S) {
        let Self {
            product:
                &Product {
                    a,
                    cols,
                    row_stride,
                    sum_rows,
                    add,
                },
            first,
            out,
            second,
            packed,
            epilogue,
        } = self;
        let (rows, depth) = (out.len().div_ceil(row_stride), a.cols());
        let packed = packed.as_chunks::<NR>().0;
        if sum_rows {
            second.fill(F::ZERO);
        }
        // All of a is packed at once if it stays in the cache; else one block of k at a time, for all columns.
        let tiles = rows.div_ceil(MR);
        let whole = tiles * depth * TILE_STRIDE <= IN_CACHE;
        let (strip, packed_len) = if whole {
            (STRIP, depth)
        } else {
            (cols.max(1), depth.min(KC))
        };
        with_scratch(
            tiles * packed_len * TILE_STRIDE,
            #[inline(always)]
            |packed_a| {
                let packed_a = packed_a.as_chunks_mut::<TILE_STRIDE>().0;
                for strip in (0..cols).step_by(strip).map(|c| c..cols.min(c + strip)) {
                    for k0 in (0..depth.max(1)).step_by(KC) {
                        let kc = KC.min(depth - k0);
                        let place = if whole { k0 } else { 0 };
                        let block = &mut packed_a[tiles * place..][..tiles * kc];
                        if strip.start == 0 {
                            if sum_rows {
                                a.add_columns(first..first + rows, k0, kc, second);
                            }
                            a.pack_rows::<MR>(first..first + rows, k0, kc, block);
                        }
                        // Tiles of two panels where possible, then single panels.
                        let mut columns = strip.clone();
                        while !columns.is_empty() {
                            let col = columns.start;
                            let panel = |i| &packed[(col / NR + i) * depth + k0..][..kc];
                            macro_rules! tiles {
                                ($panels:expr) => {{
                                    let panels = $panels;
                                    columns.start += panels.len() * NR;
                                    for (tile, row) in (0..rows).step_by(MR).enumerate() {
                                        let sink = Sink {
                                            data: &mut out[row * row_stride + col..],
                                            row_stride,
                                            rows: rows - row,
                                            cols: (panels.len() * NR).min(cols - col),
                                            add: add || k0 > 0,
                                        };
                                        let tile = &block[tile * kc..][..kc];
                                        F::tile::<S, MR, _, TILE_STRIDE, 0>(
                                            simd, panels, tile, sink,
                                        );
                                    }
                                }};
                            }
                            if tile_panels::<S, F>() == 2 && columns.len() > NR {
                                tiles!([panel(0), panel(1)]);
                            } else {
                                tiles!([panel(0)]);
                            }
                        }
                    }
                    for row in 0..if sum_rows { 0 } else { rows } {
                        let at = row * row_stride;
                        let piece = at + strip.start..at + strip.end;
                        let second = second.get_mut(piece.clone()).unwrap_or_default();
                        epilogue(first + row, strip.start, &mut out[piece], second);
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests;
