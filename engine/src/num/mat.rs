//! Matrices as slices with strides.

/// A matrix as a strided view; transposing copies nothing.
#[derive(Clone, Copy, Debug)]
pub struct Mat<'a, F> {
    pub(super) data: &'a [F],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
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

    /// `n` columns from `first` on.
    pub fn cols(self, first: usize, n: usize) -> Self {
        self.t().rows(first, n).t()
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
    pub(super) data: &'a mut [F],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
}

impl<'a, F> MatMut<'a, F> {
    /// Row-major `[rows, cols]`.
    pub fn new(data: &'a mut [F], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows of `cols` values that start `row_stride` values apart; the gaps are left unchanged.
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

    /// The values from the first to the last element of the matrix.
    pub(super) fn used(self) -> &'a mut [F] {
        let len = if self.cols == 0 {
            0
        } else {
            self.rows.saturating_sub(1) * self.row_stride + self.cols
        };
        &mut self.data[..if self.rows == 0 { 0 } else { len }]
    }
}

/// Whether the rows fit into `len` values without overlap.
fn fits(len: usize, rows: usize, cols: usize, row_stride: usize) -> bool {
    rows == 0 || cols == 0 || (row_stride >= cols && (rows - 1) * row_stride + cols <= len)
}
