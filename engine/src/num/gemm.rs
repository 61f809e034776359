//! Matrix products on packed panels, with the same bits however the rows are batched or shared among threads.
//!
//! Every element is one chain of (fused) multiply-adds over k, from zero, cut into blocks of [`KC`] that are added in
//! order: neither the number of rows nor a neighbor, a tile size or a thread enters its bits.

use super::par;
use super::real::Real;
use super::simd;
use super::tile::{NR, Sink};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// Inner dimension of a block: a panel of `KC * NR` values stays in the first-level cache.
const KC: usize = 256;
/// Multiply-adds below which a product is not worth a second thread.
const SERIAL_WORK: usize = 1 << 17;

/// A matrix seen through strides; nothing is copied by transposing.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, F> {
    data: &'a [F],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, F> Mat<'a, F> {
    /// Row-major `[rows, cols]`.
    pub fn new(data: &'a [F], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows of `cols` values that start `row_stride` values apart.
    pub fn strided(data: &'a [F], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            fits(data.len(), rows, cols, row_stride),
            "{} values for {rows} x {cols}",
            data.len()
        );
        Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// `n` rows from `first` on.
    pub fn rows(self, first: usize, n: usize) -> Self {
        assert!(first + n <= self.rows, "rows of a matrix");
        Self {
            data: &self.data[first * self.row_stride..],
            rows: n,
            ..self
        }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// A row-major matrix to write, whose rows start `row_stride` values apart.
#[derive(Debug)]
pub struct MatMut<'a, F> {
    data: &'a mut [F],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a, F> MatMut<'a, F> {
    /// Row-major `[rows, cols]`.
    pub fn new(data: &'a mut [F], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows of `cols` values that start `row_stride` values apart; what lies between them is left alone.
    pub fn strided(data: &'a mut [F], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            fits(data.len(), rows, cols, row_stride),
            "{} values for {rows} x {cols}",
            data.len()
        );
        Self {
            data,
            rows,
            cols,
            row_stride,
        }
    }

    /// The values from the first to the last of the matrix.
    fn used(self) -> &'a mut [F] {
        let len = if self.cols == 0 {
            0
        } else {
            self.rows.saturating_sub(1) * self.row_stride + self.cols
        };
        &mut self.data[..if self.rows == 0 { 0 } else { len }]
    }
}

/// Whether `len` values hold the rows without overlap.
fn fits(len: usize, rows: usize, cols: usize, row_stride: usize) -> bool {
    rows == 0 || cols == 0 || (row_stride >= cols && (rows - 1) * row_stride + cols <= len)
}

/// What a product does to the values that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// out = alpha a b.
    Set,
    /// out = out + alpha a b.
    Add,
}

/// out = alpha a b, or out + alpha a b, for a `[m, k]` and b `[k, n]`, with the rows shared among the threads.
///
/// `epilogue(row, col, values)` then gets every finished piece of a row, its values from column `col` on.
pub fn gemm<F: Real>(
    out: MatMut<'_, F>,
    store: Store,
    alpha: F,
    a: Mat<'_, F>,
    b: Mat<'_, F>,
    epilogue: impl Fn(usize, usize, &mut [F]) + Sync,
) {
    let product = Product::new(&out, store, alpha, a, b.cols);
    let rows = par::rows_mut(out.used(), product.row_stride);
    product.run(
        rows,
        b,
        #[inline(always)]
        |row, col, values: &mut [F], _: &mut [F]| epilogue(row, col, values),
    );
}

/// out = a b with a second result of the same shape: `epilogue(row, col, values, second)` gets every finished piece of a
/// row and the place of the second result, and leaves both as they shall be.
pub fn gemm_pair<F: Real>(
    out: &mut [F],
    second: &mut [F],
    a: Mat<'_, F>,
    b: Mat<'_, F>,
    epilogue: impl Fn(usize, usize, &mut [F], &mut [F]) + Sync,
) {
    assert_eq!(out.len(), second.len(), "two results of a product");
    let out = MatMut::new(out, a.rows, b.cols);
    let product = Product::new(&out, Store::Set, F::ONE, a, b.cols);
    let row_len = product.row_stride;
    let rows = (
        par::rows_mut(out.used(), row_len),
        par::rows_mut(second, row_len),
    );
    product.run(rows, b, epilogue);
}

/// out = a b and the sums of the rows of a, for an a whose columns are contiguous (a transpose), in one pass over it.
pub fn gemm_row_sums<F: Real>(out: &mut [F], sums: &mut [F], a: Mat<'_, F>, b: Mat<'_, F>) {
    assert!(a.row_stride == 1 && sums.len() == a.rows);
    let out = MatMut::new(out, a.rows, b.cols);
    let product = Product {
        sum_rows: true,
        ..Product::new(&out, Store::Set, F::ONE, a, b.cols)
    };
    let rows = (
        par::rows_mut(out.used(), product.row_stride),
        par::rows_mut(sums, 1),
    );
    product.run(rows, b, |_, _, _, _| ());
}

/// The blocks that a task writes: one result, or two of the same shape.
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

/// A matrix b cut into panels of [`NR`] columns, for products on one thread inside a parallel loop.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a, F> {
    panels: &'a [F],
    rows: usize,
    cols: usize,
}

impl<'a, F: Real> Packed<'a, F> {
    /// Values that the panels of a `[rows, cols]` matrix take.
    pub fn len_of(rows: usize, cols: usize) -> usize {
        cols.div_ceil(NR) * rows * NR
    }

    /// Packs b into the first [`Packed::len_of`] values of `panels`.
    pub fn new(b: Mat<'_, F>, panels: &'a mut [F]) -> Self {
        let panels = &mut panels[..Self::len_of(b.rows, b.cols)];
        pack_panels(b, 0, panels);
        Packed {
            panels,
            rows: b.rows,
            cols: b.cols,
        }
    }
}

/// [`gemm`] on the calling thread alone, for use inside a parallel loop.
pub fn gemm_serial<F: Real>(
    out: MatMut<'_, F>,
    store: Store,
    alpha: F,
    a: Mat<'_, F>,
    b: Packed<'_, F>,
    epilogue: impl Fn(usize, usize, &mut [F]),
) {
    assert_eq!(a.cols, b.rows, "inner dimensions of a product");
    let product = Product::new(&out, store, alpha, a, b.cols);
    product.serial(
        out.used(),
        b.panels,
        #[inline(always)]
        |row, col, values: &mut [F], _: &mut [F]| epilogue(row, col, values),
    );
}

/// Everything of a product but its output and the packed b.
#[derive(Clone, Copy)]
struct Product<'a, F> {
    a: Mat<'a, F>,
    cols: usize,
    row_stride: usize,
    store: Store,
    alpha: F,
    /// The second result is the sums of the rows of a.
    sum_rows: bool,
}

impl<'a, F: Real> Product<'a, F> {
    fn new(out: &MatMut<'_, F>, store: Store, alpha: F, a: Mat<'a, F>, cols: usize) -> Self {
        assert_eq!((out.rows, out.cols), (a.rows, cols), "shape of a product");
        Self {
            a,
            cols,
            row_stride: out.row_stride.max(1),
            store,
            alpha,
            sum_rows: false,
        }
    }

    /// Packs b, then computes the blocks of `rows` in parallel.
    fn run<'o, R, E>(&self, rows: R, b: Mat<'_, F>, epilogue: E)
    where
        R: par::Rows<Block: Results<'o, F>>,
        E: Fn(usize, usize, &mut [F], &mut [F]) + Sync,
    {
        assert_eq!(self.a.cols, b.rows, "inner dimensions of a product");
        let threads = if self.a.rows * self.a.cols * b.cols <= SERIAL_WORK {
            1
        } else {
            par::threads()
        };
        with_scratch(Packed::<F>::len_of(b.rows, b.cols), |packed| {
            let panel_len = b.rows * NR;
            let grain = b.cols.div_ceil(NR).div_ceil(threads);
            par::for_rows(
                par::rows_mut(packed, panel_len),
                grain.max(par::grain(panel_len)),
                |first, block| pack_panels(b, first, block),
            );
            par::for_rows(rows, self.rows_per_task(threads), |first, block| {
                self.block(first, block, packed, &epilogue);
            });
        });
    }

    fn serial(
        &self,
        out: &mut [F],
        packed: &[F],
        epilogue: impl Fn(usize, usize, &mut [F], &mut [F]),
    ) {
        self.block(0, out, packed, &epilogue);
    }

    /// Computes the rows from `first` on that `block` holds.
    fn block<'o, B: Results<'o, F>>(
        &self,
        first: usize,
        block: B,
        packed: &[F],
        epilogue: &impl Fn(usize, usize, &mut [F], &mut [F]),
    ) {
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

    /// Rows of a task: whole tiles, as many for each thread, few enough that their part of a stays in the second-level
    /// cache, and enough to read a panel of b often once it is in the first-level cache.
    fn rows_per_task(&self, threads: usize) -> usize {
        let max_rows = if self.a.col_stride == 1 { 96 } else { 256 };
        let tasks = self.a.rows.div_ceil(max_rows).next_multiple_of(threads);
        let rows = self.a.rows.div_ceil(tasks.max(1));
        rows.next_multiple_of(simd::dispatch(TileRows::<F>(PhantomData)))
    }
}

/// Columns that get the epilogue together: long enough for its vector loops, and still in the cache.
const STRIP: usize = 128;
/// Bytes.
const CACHE_LINE: usize = 64;
/// Values that stay in the second-level cache while a block of rows is computed.
const IN_CACHE: usize = 1 << 16;

/// Rows of a register tile. Of 16 registers of 256 bits twelve hold sums, two of them a row; one of 512 bits holds a row,
/// and eight hide the latency of an addition.
fn tile_rows<S: Simd, F>() -> usize {
    match (size_of::<F>(), S::F32_LANES) {
        (4, 16) => 8,
        (4, _) => 6,
        _ => 2,
    }
}

/// Asks for [`tile_rows`] here.
struct TileRows<F>(PhantomData<F>);

impl<F> WithSimd for TileRows<F> {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        tile_rows::<S, F>()
    }
}

/// A block of output rows to compute, with one result or two.
struct RowBlock<'a, F, E> {
    product: &'a Product<'a, F>,
    first: usize,
    out: &'a mut [F],
    /// Empty when there is one result.
    second: &'a mut [F],
    packed: &'a [F],
    epilogue: &'a E,
}

impl<F: Real, E> WithSimd for RowBlock<'_, F, E>
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

impl<F: Real, E> RowBlock<'_, F, E>
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
                    store,
                    alpha,
                    sum_rows,
                },
            first,
            out,
            second,
            packed,
            epilogue,
        } = self;
        let (rows, depth) = (out.len().div_ceil(row_stride), a.cols);
        let packed = packed.as_chunks::<NR>().0;
        if sum_rows {
            second.fill(F::ZERO);
        }
        // A transpose that is small is read where it lies, but for a last tile that would reach past its end.
        let in_cache = a.row_stride == 1 && depth * a.col_stride <= IN_CACHE;
        let pack_a = sum_rows || a.col_stride != 1 && !in_cache;
        let tile_len = depth.min(KC) * TILE_STRIDE;
        with_scratch(
            match a.col_stride {
                _ if pack_a => rows.div_ceil(MR) * tile_len,
                1 => 0,
                _ => tile_len,
            },
            #[inline(always)]
            |packed_a| {
                let packed_a = packed_a.as_chunks_mut::<TILE_STRIDE>().0;
                let strip = if pack_a { cols.max(1) } else { STRIP };
                for strip in (0..cols).step_by(strip).map(|c| c..cols.min(c + strip)) {
                    for k0 in (0..depth.max(1)).step_by(KC) {
                        let kc = KC.min(depth - k0);
                        if pack_a {
                            let sums = if sum_rows { &mut *second } else { &mut [] };
                            pack_rows::<F, MR>(a, first, rows, k0, kc, packed_a, sums);
                        }
                        for col in strip.clone().step_by(NR) {
                            let panel = &packed[col / NR * depth + k0..][..kc];
                            for row in (0..rows).step_by(MR) {
                                let sink = Sink {
                                    data: &mut out[row * row_stride + col..],
                                    row_stride,
                                    rows: rows - row,
                                    cols: NR.min(cols - col),
                                    alpha,
                                    add: store == Store::Add || k0 > 0,
                                };
                                if pack_a {
                                    let tile = &packed_a[row / MR * kc..][..kc];
                                    F::tile::<S, MR>(
                                        simd,
                                        panel,
                                        #[inline(always)]
                                        |k, i| tile[k][i],
                                        sink,
                                    );
                                } else if a.col_stride != 1 {
                                    let from = &a.data[first + row + k0 * a.col_stride..];
                                    if rows - row < MR {
                                        pack_rows::<F, MR>(
                                            a,
                                            first + row,
                                            rows - row,
                                            k0,
                                            kc,
                                            packed_a,
                                            &mut [],
                                        );
                                        F::tile::<S, MR>(
                                            simd,
                                            panel,
                                            #[inline(always)]
                                            |k, i| packed_a[k][i],
                                            sink,
                                        );
                                    } else {
                                        F::tile::<S, MR>(
                                            simd,
                                            panel,
                                            #[inline(always)]
                                            |k, i| match from[k * a.col_stride..]
                                                .first_chunk::<MR>()
                                            {
                                                Some(column) => column[i],
                                                None => F::ZERO,
                                            },
                                            sink,
                                        );
                                    }
                                } else {
                                    // Rows past the end repeat the last one; their sums are dropped.
                                    let tile: [&[F]; MR] = std::array::from_fn(|i| {
                                        let row = first + (row + i).min(rows - 1);
                                        &a.data[row * a.row_stride + k0..][..kc]
                                    });
                                    F::tile::<S, MR>(
                                        simd,
                                        panel,
                                        #[inline(always)]
                                        |k, i| tile[i][k],
                                        sink,
                                    );
                                }
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

/// Copies columns of b, from panel `first` on, to panels `[k][NR]`, with zeros past the last column.
fn pack_panels<F: Real>(b: Mat<'_, F>, first: usize, panels: &mut [F]) {
    let panels = panels.as_chunks_mut::<NR>().0;
    simd::vectorize(
        #[inline(always)]
        || {
            for (p, panel) in panels.chunks_mut(b.rows.max(1)).enumerate() {
                let col = (first + p) * NR;
                let n = NR.min(b.cols - col);
                if b.col_stride == 1 {
                    pack_rows_of_panel(b, col, n, panel);
                } else {
                    pack_columns_of_panel(b, col, n, panel);
                }
            }
        },
    );
}

#[inline(always)]
fn pack_rows_of_panel<F: Real>(b: Mat<'_, F>, col: usize, n: usize, panel: &mut [[F; NR]]) {
    for (k, row) in panel.iter_mut().enumerate() {
        let from = &b.data[k * b.row_stride + col..];
        match from.first_chunk::<NR>() {
            Some(from) if n == NR => *row = *from,
            _ => {
                row[..n].copy_from_slice(&from[..n]);
                row[n..].fill(F::ZERO);
            }
        }
    }
}

#[inline(always)]
fn pack_columns_of_panel<F: Real>(b: Mat<'_, F>, col: usize, n: usize, panel: &mut [[F; NR]]) {
    /// Rows that are transposed at once, in registers.
    const BLOCK: usize = 8;
    if n < NR {
        panel.fill([F::ZERO; NR]);
    }
    let whole = if n == NR && b.row_stride == 1 {
        panel.len() / BLOCK * BLOCK
    } else {
        0
    };
    for k in (0..whole).step_by(BLOCK) {
        let columns: [[F; BLOCK]; NR] = std::array::from_fn(
            #[inline(always)]
            |j| {
                let from = &b.data[(col + j) * b.col_stride + k..][..BLOCK];
                std::array::from_fn(
                    #[inline(always)]
                    |i| from[i],
                )
            },
        );
        for (i, row) in panel[k..k + BLOCK].iter_mut().enumerate() {
            *row = std::array::from_fn(
                #[inline(always)]
                |j| columns[j][i],
            );
        }
    }
    for j in 0..n {
        let column = &b.data[(col + j) * b.col_stride..];
        for (k, row) in panel.iter_mut().enumerate().skip(whole) {
            row[j] = column[k * b.row_stride];
        }
    }
}

/// Values between the columns of a packed tile of a: one wide copy makes one.
const TILE_STRIDE: usize = 8;

/// Columns packed at a time: their pages and cache lines are still there for the next tile.
const PACK_COLUMNS: usize = 32;

/// Copies a block of a to tiles `[k][TILE_STRIDE]`; what lies past the last row is any value. Adds the rows to `sums`,
/// in a fixed order, unless that is empty.
#[inline(always)]
fn pack_rows<F: Real, const MR: usize>(
    a: Mat<'_, F>,
    first: usize,
    rows: usize,
    k0: usize,
    kc: usize,
    tiles: &mut [[F; TILE_STRIDE]],
    sums: &mut [F],
) {
    for k1 in (0..kc).step_by(PACK_COLUMNS) {
        let k2 = kc.min(k1 + PACK_COLUMNS);
        let mut sums = sums.chunks_mut(MR);
        for (t, tile) in tiles.chunks_mut(kc).take(rows.div_ceil(MR)).enumerate() {
            let n = MR.min(rows - t * MR);
            let tile = &mut tile[k1..k2];
            let from = &a.data[(first + t * MR) * a.row_stride + (k0 + k1) * a.col_stride..];
            pack_tile(from, a.row_stride, a.col_stride, n, tile);
            if let Some(sums) = sums.next() {
                add_columns(tile, sums);
            }
        }
    }
}

/// Copies the columns of n rows to a part of a tile.
#[inline(always)]
fn pack_tile<F: Real>(
    from: &[F],
    row_stride: usize,
    col_stride: usize,
    n: usize,
    tile: &mut [[F; TILE_STRIDE]],
) {
    if row_stride == 1 && col_stride >= TILE_STRIDE {
        for (values, from) in tile.iter_mut().zip(from.chunks(col_stride)) {
            match from.first_chunk::<TILE_STRIDE>() {
                Some(from) => *values = *from,
                None => values[..n].copy_from_slice(&from[..n]),
            }
        }
        return;
    }
    for (k, values) in tile.iter_mut().enumerate() {
        let from = &from[k * col_stride..];
        for (i, value) in values.iter_mut().enumerate().take(n) {
            *value = from[i * row_stride];
        }
    }
}

/// Adds the columns of a part of a tile to the sums of its rows.
#[inline(always)]
fn add_columns<F: Real>(tile: &[[F; TILE_STRIDE]], sums: &mut [F]) {
    // Four chains, for the latency of an addition.
    let mut chains = [[F::ZERO; TILE_STRIDE]; 4];
    let (fours, rest) = tile.as_chunks::<4>();
    for four in fours {
        for (chain, values) in chains.iter_mut().zip(four) {
            for (sum, &x) in chain.iter_mut().zip(values) {
                *sum += x;
            }
        }
    }
    for (chain, values) in chains.iter_mut().zip(rest) {
        for (sum, &x) in chain.iter_mut().zip(values) {
            *sum += x;
        }
    }
    for (i, sum) in sums.iter_mut().enumerate() {
        *sum += (chains[0][i] + chains[1][i]) + (chains[2][i] + chains[3][i]);
    }
}

/// Lends `len` values, of any content, from a buffer that this thread keeps.
#[inline(always)]
pub(crate) fn with_scratch<F: Real, R>(len: usize, work: impl FnOnce(&mut [F]) -> R) -> R {
    // Taken out while lent: `work` may wait for other threads and run another product meanwhile.
    let mut buffer = F::scratch().with_borrow_mut(Vec::pop).unwrap_or_default();
    // From a cache line on, so that no vector lies across two.
    let slack = CACHE_LINE / size_of::<F>();
    if buffer.len() < len + slack {
        buffer.resize(len + slack, F::ZERO);
    }
    let start = buffer.as_ptr().align_offset(CACHE_LINE).min(slack);
    let result = work(&mut buffer[start..start + len]);
    F::scratch().with_borrow_mut(|spare| spare.push(buffer));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave<F: Real>(n: usize, step: f64) -> Vec<F> {
        (0..n).map(|i| F::of((i as f64 * step).sin())).collect()
    }

    /// A stored matrix of shape `[rows, cols]`, transposed or not, with room between the stored rows.
    fn mat<F: Real>(data: &[F], rows: usize, cols: usize, transposed: bool) -> Mat<'_, F> {
        if transposed {
            Mat::strided(data, cols, rows, rows + 3).t()
        } else {
            Mat::strided(data, rows, cols, cols + 3)
        }
    }

    /// Products of odd sizes against a triple loop in f64, in every transposition, stored and added, strided.
    fn agrees_with_triple_loop<F: Real>(eps: f64) {
        let sizes = [
            (1, 1, 1),
            (1, 7, 5),
            (5, 1, 3),
            (6, 16, 256),
            (7, 17, 257),
            (13, 33, 300),
            (50, 64, 70),
            (3, 5, 0),
            (0, 4, 2),
            (4, 0, 2),
        ];
        for (m, n, k) in sizes {
            for (ta, tb, store) in [
                (false, true, Store::Set),
                (false, false, Store::Set),
                (true, false, Store::Add),
                (true, true, Store::Add),
            ] {
                let (a_data, b_data) = (
                    wave::<F>((m + 3) * (k + 3), 0.71),
                    wave::<F>((n + 3) * (k + 3), 0.37),
                );
                let (a, b) = (mat(&a_data, m, k, ta), mat(&b_data, k, n, tb));
                let stride = n + 2;
                let before = wave::<F>(m * stride, 0.53);
                let mut want = before.clone();
                for i in 0..m {
                    for j in 0..n {
                        let term = |p: usize| {
                            a.data[i * a.row_stride + p * a.col_stride].to_f64()
                                * b.data[p * b.row_stride + j * b.col_stride].to_f64()
                        };
                        let old = if store == Store::Add {
                            before[i * stride + j].to_f64()
                        } else {
                            0.0
                        };
                        let value = old + 0.25 * (0..k).map(term).sum::<f64>();
                        want[i * stride + j] = F::of(value * (1.0 + i as f64));
                    }
                }
                let epilogue = |i: usize, _: usize, piece: &mut [F]| {
                    piece.iter_mut().for_each(|x| *x *= F::of(1.0 + i as f64))
                };
                let (mut par, mut serial) = (before.clone(), before);
                gemm(
                    MatMut::strided(&mut par, m, n, stride),
                    store,
                    F::of(0.25),
                    a,
                    b,
                    epilogue,
                );
                let mut panels = vec![F::ZERO; Packed::<F>::len_of(k, n)];
                gemm_serial(
                    MatMut::strided(&mut serial, m, n, stride),
                    store,
                    F::of(0.25),
                    a,
                    Packed::new(b, &mut panels),
                    epilogue,
                );
                assert_eq!(par, serial);
                for (got, want) in par.iter().zip(&want) {
                    let error = (got.to_f64() - want.to_f64()).abs();
                    let bound = eps * (1 + k) as f64 * (1 + m) as f64;
                    assert!(error <= bound, "{m} {n} {k}: {got:?} for {want:?}");
                }
            }
        }
    }

    #[test]
    fn f32_product_agrees_with_triple_loop() {
        agrees_with_triple_loop::<f32>(6e-8);
    }

    #[test]
    fn f64_product_agrees_with_triple_loop() {
        agrees_with_triple_loop::<f64>(2e-16);
    }

    fn bits(x: &[f32]) -> Vec<u32> {
        x.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn row_sums_agree_with_a_loop() {
        for (m, n, k) in [(1, 1, 1), (1, 3, 40), (9, 5, 1), (20, 17, 600)] {
            let (g, x) = (wave::<f64>(k * m, 0.71), wave::<f64>(k * n, 0.37));
            let (mut gw, mut sums) = (vec![0.0; m * n], vec![0.0; m]);
            let (a, b) = (Mat::new(&g, k, m).t(), Mat::new(&x, k, n));
            gemm_row_sums(&mut gw, &mut sums, a, b);
            for (i, sum) in sums.iter().enumerate() {
                let want: f64 = g.iter().skip(i).step_by(m).sum();
                assert!((sum - want).abs() < 1e-12, "{m} {n} {k}: {sum} for {want}");
            }
            let mut want = vec![0.0; m * n];
            let out = MatMut::new(&mut want, m, n);
            gemm(out, Store::Set, 1.0, a, b, |_, _, _| ());
            assert_eq!(gw, want);
        }
    }

    #[test]
    fn bits_of_a_row_do_not_depend_on_its_company() {
        for (m, n, k) in [(31, 40, 600), (130, 1, 64), (64, 17, 256), (200, 64, 384)] {
            let (x, w) = (wave::<f32>(m * k, 0.71), wave::<f32>(n * k, 0.37));
            for transposed in [false, true] {
                let a = if transposed {
                    Mat::new(&x, k, m).t()
                } else {
                    Mat::new(&x, m, k)
                };
                let b = Mat::new(&w, n, k).t();
                let run = |rows: std::ops::Range<usize>| {
                    let mut out = vec![0.0; rows.len() * n];
                    let part = Mat {
                        data: &a.data[rows.start * a.row_stride..],
                        rows: rows.len(),
                        ..a
                    };
                    gemm(
                        MatMut::new(&mut out, rows.len(), n),
                        Store::Set,
                        1.0,
                        part,
                        b,
                        |_, _, _| (),
                    );
                    bits(&out)
                };
                let full = run(0..m);
                for size in [1, 2, 5, 6, 7, 24, 29] {
                    for start in (0..m).step_by(size) {
                        let rows = start..(start + size).min(m);
                        assert_eq!(
                            run(rows.clone()),
                            full[rows.start * n..rows.end * n],
                            "{m} {n} {k} {rows:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn bits_of_a_column_do_not_depend_on_its_company() {
        let (m, n, k) = (20, 37, 300);
        let (x, w) = (wave::<f32>(m * k, 0.71), wave::<f32>(n * k, 0.37));
        let run = |cols: std::ops::Range<usize>| {
            let mut out = vec![0.0; m * cols.len()];
            let b = Mat::new(&w[cols.start * k..cols.end * k], cols.len(), k).t();
            gemm(
                MatMut::new(&mut out, m, cols.len()),
                Store::Set,
                1.0,
                Mat::new(&x, m, k),
                b,
                |_, _, _| (),
            );
            out
        };
        let full = run(0..n);
        for j in 0..n {
            let column: Vec<f32> = full.iter().skip(j).step_by(n).copied().collect();
            assert_eq!(bits(&run(j..j + 1)), bits(&column), "column {j}");
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    #[test]
    fn bits_do_not_depend_on_threads() {
        let (m, n, k) = (100, 90, 1000);
        let (x, w) = (wave::<f32>(m * k, 0.71), wave::<f32>(n * k, 0.37));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let mut out = vec![0.0; m * n];
            pool.install(|| {
                let (a, b) = (Mat::new(&x, k, m).t(), Mat::new(&w, k, n));
                gemm(
                    MatMut::new(&mut out, m, n),
                    Store::Set,
                    1.0,
                    a,
                    b,
                    |_, _, _| (),
                );
            });
            bits(&out)
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(7));
    }
}
