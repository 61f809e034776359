//! The operands of a matrix product: stored matrices, and matrices that are gathered while they are packed.

use super::mat::Mat;
use super::pack;
use super::real::Real;
use super::tile::{NR, TILE_STRIDE};
use std::ops::Range;

/// A left operand, which is packed into tiles of some rows.
pub trait Left<F>: Copy + Sync {
    /// Number of rows.
    fn rows(&self) -> usize;
    /// Number of columns, the inner dimension of the product.
    fn cols(&self) -> usize;
    /// `n` columns from `first` on.
    #[must_use]
    fn some_cols(self, first: usize, n: usize) -> Self;
    /// Whether columns are contiguous in memory, instead of rows.
    fn is_transpose(&self) -> bool;
    /// Copies columns k0 to k0 + kc of some rows to tiles `[kc][TILE_STRIDE]` of `MR` rows; padding past the last row is unspecified.
    fn pack_rows<const MR: usize>(
        self,
        rows: Range<usize>,
        k0: usize,
        kc: usize,
        tiles: &mut [[F; TILE_STRIDE]],
    );
    /// Adds columns k0 to k0 + kc of some rows of a transpose to `sums`, in a fixed order.
    fn add_columns(self, rows: Range<usize>, k0: usize, kc: usize, sums: &mut [F]);
}

/// A right operand, which is packed into panels of `NR` columns.
pub trait Right<F>: Copy + Sync {
    /// Number of rows, the inner dimension of the product.
    fn rows(&self) -> usize;
    /// Number of columns.
    fn cols(&self) -> usize;
    /// `n` rows from `first` on.
    #[must_use]
    fn some_rows(self, first: usize, n: usize) -> Self;
    /// Whether it is far larger than what it is gathered from.
    fn is_gathered(&self) -> bool;
    /// Copies columns, from panel `first` on, to panels `[row][NR]`; padding past the last column is any value of the matrix, or 0.
    fn pack_panels(self, first: usize, panels: &mut [F]);
}

impl<F: Real> Left<F> for Mat<'_, F> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn some_cols(self, first: usize, n: usize) -> Self {
        self.cols(first, n)
    }

    fn is_transpose(&self) -> bool {
        self.col_stride != 1
    }

    #[inline(always)]
    fn pack_rows<const MR: usize>(
        self,
        rows: Range<usize>,
        k0: usize,
        kc: usize,
        tiles: &mut [[F; TILE_STRIDE]],
    ) {
        pack::pack_rows::<F, MR>(self, rows, k0, kc, tiles);
    }

    #[inline(always)]
    fn add_columns(self, rows: Range<usize>, k0: usize, kc: usize, sums: &mut [F]) {
        pack::add_columns(self, rows, k0, kc, sums);
    }
}

impl<F: Real> Right<F> for Mat<'_, F> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn cols(&self) -> usize {
        self.cols
    }

    fn some_rows(self, first: usize, n: usize) -> Self {
        self.rows(first, n)
    }

    fn is_gathered(&self) -> bool {
        false
    }

    fn pack_panels(self, first: usize, panels: &mut [F]) {
        pack::pack_panels(self, first, panels);
    }
}

/// The columns of panels from `first` on that `len` packed values of a matrix hold, given its rows and columns.
pub(super) fn columns_of_panels(
    first: usize,
    len: usize,
    [rows, cols]: [usize; 2],
) -> Range<usize> {
    let panels = len / (rows * NR).max(1);
    first * NR..cols.min((first + panels) * NR)
}
