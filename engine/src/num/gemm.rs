//! Matrix products on packed panels, with the same bits however the rows are batched or shared among threads.
//!
//! Every element is one chain of (fused) multiply-adds over k, from zero, cut into blocks of [`KC`] that are added in
//! order: neither the number of rows nor a neighbor, a tile size or a thread enters its bits.

use super::par;
use super::real::Real;
use super::simd;
use super::tile::NR;
use pulp::{Simd, WithSimd};

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
/// `epilogue(row, values)` then gets every finished row, all its `n` values, while it is in the cache.
pub fn gemm<F: Real>(
    out: MatMut<'_, F>,
    store: Store,
    alpha: F,
    a: Mat<'_, F>,
    b: Mat<'_, F>,
    epilogue: impl Fn(usize, &mut [F]) + Sync,
) {
    let product = Product::new(&out, store, alpha, a, b);
    let threads = if a.rows * a.cols * b.cols <= SERIAL_WORK {
        1
    } else {
        par::threads()
    };
    with_scratch(b.cols.div_ceil(NR) * b.rows * NR, |packed| {
        let n_panels = b.cols.div_ceil(NR);
        par::for_rows(
            par::rows_mut(packed, b.rows * NR),
            n_panels.div_ceil(threads),
            |first, block| {
                pack_panels(b, first, block);
            },
        );
        let rows = par::rows_mut(out.used(), product.row_stride);
        par::for_rows(rows, product.rows_per_task(threads), |first, block| {
            product.rows(first, block, packed, &epilogue);
        });
    });
}

/// [`gemm`] on the calling thread alone, for use inside a parallel loop.
pub fn gemm_serial<F: Real>(
    out: MatMut<'_, F>,
    store: Store,
    alpha: F,
    a: Mat<'_, F>,
    b: Mat<'_, F>,
    epilogue: impl Fn(usize, &mut [F]),
) {
    let product = Product::new(&out, store, alpha, a, b);
    let grain = product.rows_per_task(1);
    with_scratch(b.cols.div_ceil(NR) * b.rows * NR, |packed| {
        pack_panels(b, 0, packed);
        for (i, block) in out
            .used()
            .chunks_mut(grain * product.row_stride)
            .enumerate()
        {
            product.rows(i * grain, block, packed, &epilogue);
        }
    });
}

/// Everything of a product but its output and the packed b.
#[derive(Clone, Copy)]
struct Product<'a, F> {
    a: Mat<'a, F>,
    cols: usize,
    row_stride: usize,
    store: Store,
    alpha: F,
}

impl<'a, F: Real> Product<'a, F> {
    fn new(out: &MatMut<'_, F>, store: Store, alpha: F, a: Mat<'a, F>, b: Mat<'_, F>) -> Self {
        assert_eq!(a.cols, b.rows, "inner dimensions of a product");
        assert_eq!((out.rows, out.cols), (a.rows, b.cols), "shape of a product");
        Self {
            a,
            cols: b.cols,
            row_stride: out.row_stride.max(1),
            store,
            alpha,
        }
    }

    /// Rows of a block: few enough that the output block stays in the second-level cache, whole tiles.
    fn rows_per_task(&self, threads: usize) -> usize {
        const BLOCK_LEN: usize = 1 << 15;
        let cached = (BLOCK_LEN / self.cols.max(1)).clamp(4 * MAX_MR, 32 * MAX_MR);
        cached
            .min(self.a.rows.div_ceil(threads))
            .next_multiple_of(MAX_MR)
    }

    /// Computes the rows from `first` that `out` holds, and passes them on.
    fn rows(&self, first: usize, out: &mut [F], packed: &[F], epilogue: &impl Fn(usize, &mut [F])) {
        simd::dispatch(RowBlock {
            product: self,
            first,
            out: &mut *out,
            packed,
        });
        for (i, row) in out.chunks_mut(self.row_stride).enumerate() {
            epilogue(first + i, &mut row[..self.cols]);
        }
    }
}

/// Rows of the largest register tile.
const MAX_MR: usize = 6;

/// A block of output rows to compute.
struct RowBlock<'a, F> {
    product: &'a Product<'a, F>,
    first: usize,
    out: &'a mut [F],
    packed: &'a [F],
}

impl<F: Real> WithSimd for RowBlock<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Twelve registers of 256 bits hold sums; four are left for the operands.
        if size_of::<F>() == 4 {
            self.tiles::<S, MAX_MR>(simd)
        } else {
            self.tiles::<S, 2>(simd)
        }
    }
}

impl<F: Real> RowBlock<'_, F> {
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
                },
            first,
            out,
            packed,
        } = self;
        let (rows, depth) = (out.len().div_ceil(row_stride), a.cols);
        let packed = packed.as_chunks::<NR>().0;
        let pack_a = a.col_stride != 1;
        with_scratch(
            if pack_a {
                rows.next_multiple_of(MR) * depth.min(KC)
            } else {
                0
            },
            #[inline(always)]
            |packed_a| {
                let packed_a = packed_a.as_chunks_mut::<MR>().0;
                for k0 in (0..depth.max(1)).step_by(KC) {
                    let kc = KC.min(depth - k0);
                    let add = store == Store::Add || k0 > 0;
                    if pack_a {
                        pack_rows(a, first, rows, k0, kc, packed_a);
                    }
                    for col in (0..cols).step_by(NR) {
                        let panel = &packed[col / NR * depth + k0..][..kc];
                        for row in (0..rows).step_by(MR) {
                            let sums = if pack_a {
                                let tile = &packed_a[row / MR * kc..][..kc];
                                F::tile_sums(
                                    simd,
                                    panel,
                                    #[inline(always)]
                                    |k| tile[k],
                                )
                            } else {
                                // Rows past the end repeat the last one; their sums are dropped.
                                let tile: [&[F]; MR] = std::array::from_fn(|i| {
                                    let row = first + (row + i).min(rows - 1);
                                    &a.data[row * a.row_stride + k0..][..kc]
                                });
                                F::tile_sums(
                                    simd,
                                    panel,
                                    #[inline(always)]
                                    |k| {
                                        tile.map(
                                            #[inline(always)]
                                            |t| t[k],
                                        )
                                    },
                                )
                            };
                            let n = NR.min(cols - col);
                            for (i, sums) in sums.iter().enumerate().take(rows - row) {
                                let out = &mut out[(row + i) * row_stride + col..][..n];
                                store_row(out, sums, alpha, add);
                            }
                        }
                    }
                }
            },
        );
    }
}

#[inline(always)]
fn store_row<F: Real>(out: &mut [F], sums: &[F; NR], alpha: F, add: bool) {
    #[inline(always)]
    fn each<F: Real>(out: &mut [F], sums: &[F], alpha: F, add: bool) {
        for (out, &sum) in out.iter_mut().zip(sums) {
            *out = if add { *out + alpha * sum } else { alpha * sum };
        }
    }
    // A whole tile row has a length that the compiler knows.
    match out.as_mut_array::<NR>() {
        Some(out) => each(out, sums, alpha, add),
        None => each(out, sums, alpha, add),
    }
}

/// Copies columns of b, from panel `first` on, to panels `[k][NR]`, with zeros past the last column.
fn pack_panels<F: Real>(b: Mat<'_, F>, first: usize, panels: &mut [F]) {
    let panels = panels.as_chunks_mut::<NR>().0;
    for (p, panel) in panels.chunks_mut(b.rows.max(1)).enumerate() {
        let col = (first + p) * NR;
        let n = NR.min(b.cols - col);
        if n < NR {
            panel.fill([F::ZERO; NR]);
        }
        if b.col_stride == 1 {
            for (k, row) in panel.iter_mut().enumerate() {
                row[..n].copy_from_slice(&b.data[k * b.row_stride + col..][..n]);
            }
        } else {
            for j in 0..n {
                let column = &b.data[(col + j) * b.col_stride..];
                for (row, &x) in panel.iter_mut().zip(column.iter().step_by(b.row_stride)) {
                    row[j] = x;
                }
            }
        }
    }
}

/// Copies a block of a to tiles `[k][MR]`, with zeros past the last row.
#[inline(always)]
fn pack_rows<F: Real, const MR: usize>(
    a: Mat<'_, F>,
    first: usize,
    rows: usize,
    k0: usize,
    kc: usize,
    tiles: &mut [[F; MR]],
) {
    for (t, tile) in tiles
        .chunks_mut(kc.max(1))
        .take(rows.div_ceil(MR))
        .enumerate()
    {
        let n = MR.min(rows - t * MR);
        for (k, values) in tile.iter_mut().enumerate() {
            let at = (first + t * MR) * a.row_stride + (k0 + k) * a.col_stride;
            if n == MR && a.row_stride == 1 {
                values.copy_from_slice(&a.data[at..at + MR]);
            } else {
                *values = std::array::from_fn(|i| {
                    if i < n {
                        a.data[at + i * a.row_stride]
                    } else {
                        F::ZERO
                    }
                });
            }
        }
    }
}

/// Lends `len` values, of any content, from a buffer that this thread keeps.
#[inline(always)]
pub(crate) fn with_scratch<F: Real, R>(len: usize, work: impl FnOnce(&mut [F]) -> R) -> R {
    // Taken out while lent: `work` may wait for other threads and run another product meanwhile.
    let mut buffer = F::scratch().with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len {
        buffer.resize(len, F::ZERO);
    }
    let result = work(&mut buffer[..len]);
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
                let epilogue = |i: usize, row: &mut [F]| {
                    row.iter_mut().for_each(|x| *x *= F::of(1.0 + i as f64))
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
                gemm_serial(
                    MatMut::strided(&mut serial, m, n, stride),
                    store,
                    F::of(0.25),
                    a,
                    b,
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
                        |_, _| (),
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
                |_, _| (),
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
                    |_, _| (),
                );
            });
            bits(&out)
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(7));
    }
}
