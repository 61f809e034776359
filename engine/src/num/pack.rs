//! Operands of a product, copied to the order in which the register tiles read them (packed panels).

use super::mat::Mat;
use super::real::Real;
use super::simd;
use super::tile::{NR, TILE_STRIDE};
use std::ops::Range;

/// A matrix as panels of `NR` columns, each row-major: `[panel][row][NR]`. Padding past the last column is unspecified.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a, F> {
    pub(super) panels: &'a [[F; NR]],
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl<'a, F: Real> Packed<'a, F> {
    /// Number of values in the panels of a `[rows, cols]` matrix.
    pub fn len_of(rows: usize, cols: usize) -> usize {
        cols.div_ceil(NR) * rows * NR
    }

    /// Packs b into the first [`Packed::len_of`] values of `panels`.
    pub fn new(b: Mat<'_, F>, panels: &'a mut [F]) -> Self {
        let panels = &mut panels[..Self::len_of(b.rows, b.cols)];
        pack_panels(b, 0, panels);
        Packed::of(panels.as_chunks().0, b.rows, b.cols)
    }

    /// Wraps existing panels.
    pub fn of(panels: &'a [[F; NR]], rows: usize, cols: usize) -> Self {
        assert_eq!(panels.len(), cols.div_ceil(NR) * rows, "panels of a matrix");
        Packed { panels, rows, cols }
    }

    /// `n` columns from `first` on; `first` must be a multiple of `NR`.
    #[inline(always)]
    pub fn cols(self, first: usize, n: usize) -> Self {
        assert!(first.is_multiple_of(NR) && first + n <= self.cols);
        Packed {
            panels: &self.panels[first / NR * self.rows..][..n.div_ceil(NR) * self.rows],
            rows: self.rows,
            cols: n,
        }
    }
}

/// Copies columns of b, from panel `first` on, to panels `[k][NR]`; padding past the last column is any value of b, or 0.
pub(super) fn pack_panels<F: Real>(b: Mat<'_, F>, first: usize, panels: &mut [F]) {
    let panels = panels.as_chunks_mut::<NR>().0;
    simd::vectorize(
        #[inline(always)]
        || {
            if b.col_stride == 1 {
                pack_rows_of_panels(b, first * NR, panels);
                return;
            }
            for (p, panel) in panels.chunks_mut(b.rows.max(1)).enumerate() {
                let col = (first + p) * NR;
                pack_columns_of_panel(b, col, NR.min(b.cols - col), panel);
            }
        },
    );
}

/// Rows of b copied at a time, so that each panel gets more per visit.
const PACK_ROWS: usize = 4;

/// Row by row, so that b is read in memory order.
#[inline(always)]
fn pack_rows_of_panels<F: Real>(b: Mat<'_, F>, col: usize, panels: &mut [[F; NR]]) {
    let whole = b.rows / PACK_ROWS * PACK_ROWS;
    for k in (0..whole).step_by(PACK_ROWS) {
        pack_some_rows::<F, PACK_ROWS>(b, k, col, panels);
    }
    for k in whole..b.rows {
        pack_some_rows::<F, 1>(b, k, col, panels);
    }
}

/// `N` rows from row `k` on.
#[inline(always)]
fn pack_some_rows<F: Real, const N: usize>(
    b: Mat<'_, F>,
    k: usize,
    col: usize,
    panels: &mut [[F; NR]],
) {
    let n = (b.cols - col).min(panels.len() / b.rows * NR);
    let rows: [_; N] = std::array::from_fn(
        #[inline(always)]
        |i| b.data[(k + i) * b.row_stride + col..][..n].as_chunks::<NR>(),
    );
    let whole = n / NR;
    for p in 0..whole {
        let to = &mut panels[p * b.rows + k..][..N];
        for (to, row) in to.iter_mut().zip(rows) {
            *to = row.0[p];
        }
    }
    if whole * NR < n {
        let to = &mut panels[whole * b.rows + k..][..N];
        for (to, (_, rest)) in to.iter_mut().zip(rows) {
            to[..rest.len()].copy_from_slice(rest);
            to[rest.len()..].fill(F::ZERO);
        }
    }
}

#[inline(always)]
fn pack_columns_of_panel<F: Real>(b: Mat<'_, F>, col: usize, n: usize, panel: &mut [[F; NR]]) {
    if b.row_stride == 1 {
        F::transpose(&b.data[col * b.col_stride..], b.col_stride, n, panel);
        return;
    }
    panel.fill([F::ZERO; NR]);
    for j in 0..n {
        let column = &b.data[(col + j) * b.col_stride..];
        for (k, row) in panel.iter_mut().enumerate() {
            row[j] = column[k * b.row_stride];
        }
    }
}

/// Columns of a transpose packed at a time: their cache lines are still cached for the next tile.
const PACK_COLUMNS: usize = 16;

/// Copies columns k0 to k0 + kc of some rows of a to tiles `[kc][TILE_STRIDE]`; padding past the last row is unspecified.
#[inline(always)]
pub(super) fn pack_rows<F: Real, const MR: usize>(
    a: Mat<'_, F>,
    rows: Range<usize>,
    k0: usize,
    kc: usize,
    tiles: &mut [[F; TILE_STRIDE]],
) {
    if a.col_stride == 1 {
        let tiles = tiles.chunks_mut(kc.max(1));
        for (row, tile) in rows.clone().step_by(MR).zip(tiles) {
            let from = &a.data[row * a.row_stride + k0..];
            F::transpose(from, a.row_stride, MR.min(rows.end - row), tile);
        }
        return;
    }
    for k1 in (0..kc).step_by(PACK_COLUMNS) {
        let columns = k1..kc.min(k1 + PACK_COLUMNS);
        let tiles = tiles.chunks_mut(kc.max(1));
        for (row, tile) in (0..rows.len()).step_by(MR).zip(tiles) {
            for k in columns.clone() {
                let column = &a.data[rows.start + (k0 + k) * a.col_stride..];
                match column[row..].first_chunk() {
                    Some(values) => tile[k] = *values,
                    None => tile[k][..rows.len() - row].copy_from_slice(&column[row..rows.len()]),
                }
            }
        }
    }
}

/// Adds columns k0 to k0 + kc of some rows of a transpose to `sums`, in a fixed order.
#[inline(always)]
pub(super) fn add_columns<F: Real>(
    a: Mat<'_, F>,
    rows: Range<usize>,
    k0: usize,
    kc: usize,
    sums: &mut [F],
) {
    let column = |k: usize| &a.data[rows.start + (k0 + k) * a.col_stride..][..rows.len()];
    let eights = kc / 8 * 8;
    for k in (0..eights).step_by(8) {
        let [a, b, c, d, e, f, g, h] = std::array::from_fn(|i| column(k + i));
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += ((a[i] + b[i]) + (c[i] + d[i])) + ((e[i] + f[i]) + (g[i] + h[i]));
        }
    }
    for k in eights..kc {
        for (sum, &x) in sums.iter_mut().zip(column(k)) {
            *sum += x;
        }
    }
}
