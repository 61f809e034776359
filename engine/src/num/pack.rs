//! Operands of a product copied to the order in which its tiles read them.

use super::mat::Mat;
use super::real::Real;
use super::simd;
use super::tile::{NR, TILE_STRIDE};

/// A matrix b cut into panels of `NR` columns, for products on one thread inside a parallel loop.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a, F> {
    pub(super) panels: &'a [F],
    pub(super) rows: usize,
    pub(super) cols: usize,
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

/// Copies columns of b, from panel `first` on, to panels `[k][NR]`; what lies past the last column is any finite value of b or 0.
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

/// Row after row, so that b is read in the order in which it lies.
#[inline(always)]
fn pack_rows_of_panels<F: Real>(b: Mat<'_, F>, col: usize, panels: &mut [[F; NR]]) {
    let n = (b.cols - col).min(panels.len() / b.rows.max(1) * NR);
    for k in 0..b.rows {
        let (whole, rest) = b.data[k * b.row_stride + col..][..n].as_chunks::<NR>();
        for (p, from) in whole.iter().enumerate() {
            panels[p * b.rows + k] = *from;
        }
        if !rest.is_empty() {
            let row = &mut panels[whole.len() * b.rows + k];
            row[..rest.len()].copy_from_slice(rest);
            row[rest.len()..].fill(F::ZERO);
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

/// Columns packed at a time: their pages and cache lines are still there for the next tile.
const PACK_COLUMNS: usize = 32;

/// Copies a block of a to tiles `[k][TILE_STRIDE]`; what lies past the last row is any value. Adds the rows to `sums`,
/// in a fixed order, unless that is empty.
#[inline(always)]
pub(super) fn pack_rows<F: Real, const MR: usize>(
    a: Mat<'_, F>,
    first: usize,
    rows: usize,
    k0: usize,
    kc: usize,
    tiles: &mut [[F; TILE_STRIDE]],
    sums: &mut [F],
) {
    // The columns of a transpose a few at a time, rows from end to end: as they lie.
    let columns = if a.col_stride == 1 {
        kc.max(1)
    } else {
        PACK_COLUMNS
    };
    for k1 in (0..kc).step_by(columns) {
        let k2 = kc.min(k1 + columns);
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
    if col_stride == 1 {
        F::transpose(from, row_stride, n, tile);
        return;
    }
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
