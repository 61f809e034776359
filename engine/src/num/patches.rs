//! The patches that a convolution reads, as a matrix that is gathered while it is packed.

use super::operand::{Left, Right, columns_of_panels};
use super::real::Real;
use super::simd;
use super::tile::{NR, TILE_STRIDE};
use std::ops::Range;

/// The windows of a convolution over images `[H, W, C]`: window (r, q) of a grid reads, with its tap (i, j), the pixel
/// `origin + stride (r, q) + step (i, j)`; pixels outside the image are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height H, width W and channels C.
    pub image: [usize; 3],
    /// Windows along the height and the width.
    pub grid: [usize; 2],
    /// Taps along the height and the width.
    pub taps: [usize; 2],
    /// Pixels between windows.
    pub stride: usize,
    /// Pixels between taps: 1, or -1 for a flipped kernel.
    pub step: isize,
    /// The pixel of the first tap of the first window.
    pub origin: [isize; 2],
}

impl Window {
    /// Values of a patch.
    pub fn patch_len(&self) -> usize {
        self.taps[0] * self.taps[1] * self.image[2]
    }

    /// Windows of an image.
    pub fn n_windows(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// Offset of tap (i, j) from the first tap.
    #[inline(always)]
    fn offset(&self, tap: usize) -> [isize; 2] {
        let (i, j) = (tap / self.taps[1], tap % self.taps[1]);
        [self.step * i as isize, self.step * j as isize]
    }

    /// The image, and the pixel of the first tap, of a window counted through all images.
    #[inline(always)]
    fn first_tap(&self, window: usize) -> (usize, [isize; 2]) {
        let (image, at) = (window / self.n_windows(), window % self.n_windows());
        let (r, q) = (at / self.grid[1], at % self.grid[1]);
        let at = |axis: usize, n: usize| self.origin[axis] + (n * self.stride) as isize;
        (image, [at(0, r), at(1, q)])
    }
}

/// The matrix of patches `[B · windows, taps · C]` of images `[B, H, W, C]`: columns in the order (row, column, channel) of a tap.
#[derive(Clone, Copy, Debug)]
pub struct Patches<'a, F> {
    x: &'a [F],
    window: Window,
    /// The windows and the columns of this part of the matrix.
    rows: (usize, usize),
    cols: (usize, usize),
}

impl<'a, F: Real> Patches<'a, F> {
    /// All patches of the images x.
    pub fn new(x: &'a [F], window: Window) -> Self {
        let images = x.len() / window.image.iter().product::<usize>().max(1);
        Patches {
            x,
            window,
            rows: (0, images * window.n_windows()),
            cols: (0, window.patch_len()),
        }
    }

    /// `len` channels of a pixel; `None` outside the image.
    #[inline(always)]
    fn pixel(&self, image: usize, at: [isize; 2], channel: usize, len: usize) -> Option<&'a [F]> {
        let [height, width, channels] = self.window.image;
        // A negative number becomes one beyond every image.
        let (row, col) = (at[0] as usize, at[1] as usize);
        if row >= height || col >= width {
            return None;
        }
        let at = ((image * height + row) * width + col) * channels + channel;
        Some(&self.x[at..][..len])
    }

    /// Copies channels of a tap to column `to` of the panel's rows; the panel has one row for each window.
    #[inline(always)]
    fn pack_tap(&self, tap: usize, channel: usize, to: Range<usize>, panel: &mut [[F; NR]]) {
        let window = &self.window;
        let [height, width, channels] = window.image;
        let shift = window.offset(tap);
        let mut row = 0;
        while row < panel.len() {
            // The rest of a row of windows.
            let first = self.rows.0 + row;
            let n = (window.grid[1] - first % window.grid[1]).min(panel.len() - row);
            let (image, at) = window.first_tap(first);
            let line = (at[0] + shift[0]) as usize;
            let rows = &mut panel[row..row + n];
            row += n;
            if line >= height {
                rows.iter_mut()
                    .for_each(|row| row[to.clone()].fill(F::ZERO));
                continue;
            }
            let line = &self.x[(image * height + line) * width * channels..][..width * channels];
            for (q, row) in rows.iter_mut().enumerate() {
                let col = (at[1] + shift[1] + (q * window.stride) as isize) as usize;
                if col >= width {
                    row[to.clone()].fill(F::ZERO);
                } else if to.len() == NR {
                    row.copy_from_slice(&line[col * channels + channel..][..NR]);
                } else {
                    let from = &line[col * channels + channel..][..to.len()];
                    row[to.clone()].copy_from_slice(from);
                }
            }
        }
    }
}

impl<F: Real> Left<F> for Patches<'_, F> {
    fn rows(&self) -> usize {
        self.rows.1
    }

    fn cols(&self) -> usize {
        self.cols.1
    }

    fn some_cols(self, first: usize, n: usize) -> Self {
        assert!(first + n <= self.cols.1, "columns of patches");
        Patches {
            cols: (self.cols.0 + first, n),
            ..self
        }
    }

    fn is_transpose(&self) -> bool {
        false
    }

    #[inline(always)]
    fn pack_rows<const MR: usize>(
        self,
        rows: Range<usize>,
        k0: usize,
        kc: usize,
        tiles: &mut [[F; TILE_STRIDE]],
    ) {
        /// Most channels that are copied at a time.
        const MOST: usize = 256;
        let zeros = [F::ZERO; MOST];
        let channels = self.window.image[2];
        let first_col = self.cols.0 + k0;
        let tiles = tiles.chunks_mut(kc.max(1));
        for (row, tile) in rows.clone().step_by(MR).zip(tiles) {
            // The tile may be wider than it has rows, and the last one may have fewer: repeat the last row.
            let mut windows = [(0, [0; 2]); TILE_STRIDE];
            for (i, window) in windows.iter_mut().enumerate() {
                let row = row + i.min(MR - 1).min(rows.end - 1 - row);
                *window = self.window.first_tap(self.rows.0 + row);
            }
            let mut k = 0;
            while k < kc {
                let (tap, channel) = ((first_col + k) / channels, (first_col + k) % channels);
                let len = (channels - channel).min(kc - k).min(MOST);
                let shift = self.window.offset(tap);
                let mut from = [&zeros[..len]; TILE_STRIDE];
                for (from, (image, at)) in from.iter_mut().zip(windows) {
                    let at = [at[0] + shift[0], at[1] + shift[1]];
                    if let Some(pixel) = self.pixel(image, at, channel, len) {
                        *from = pixel;
                    }
                }
                F::transpose_slices(from, &mut tile[k..k + len]);
                k += len;
            }
        }
    }

    fn add_columns(self, _: Range<usize>, _: usize, _: usize, _: &mut [F]) {
        unreachable!("only rows of a transpose are summed")
    }
}

impl<F: Real> Right<F> for Patches<'_, F> {
    fn rows(&self) -> usize {
        self.rows.1
    }

    fn cols(&self) -> usize {
        self.cols.1
    }

    fn some_rows(self, first: usize, n: usize) -> Self {
        assert!(first + n <= self.rows.1, "rows of patches");
        Patches {
            rows: (self.rows.0 + first, n),
            ..self
        }
    }

    fn is_gathered(&self) -> bool {
        true
    }

    fn pack_panels(self, first: usize, panels: &mut [F]) {
        let rows = self.rows.1;
        let columns = columns_of_panels(first, panels.len(), [rows, self.cols.1]);
        let panels = panels.as_chunks_mut::<NR>().0;
        simd::vectorize(
            #[inline(always)]
            || {
                for (panel, col) in panels
                    .chunks_mut(rows.max(1))
                    .zip(columns.clone().step_by(NR))
                {
                    let end = columns.end.min(col + NR);
                    if end < col + NR {
                        panel
                            .iter_mut()
                            .for_each(|row| row[end - col..].fill(F::ZERO));
                    }
                    // The columns of a panel belong to several taps where the channels are few.
                    let channels = self.window.image[2];
                    let mut at = col;
                    while at < end {
                        let (tap, channel) =
                            ((self.cols.0 + at) / channels, (self.cols.0 + at) % channels);
                        let len = (channels - channel).min(end - at);
                        self.pack_tap(tap, channel, at - col..at - col + len, panel);
                        at += len;
                    }
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mat, MatMut, gemm, gemm_row_sums};
    use super::*;

    fn wave(n: usize, step: f64) -> Vec<f32> {
        (0..n).map(|i| (i as f64 * step).sin() as f32).collect()
    }

    /// The patches of the images, written out.
    fn written(x: &[f32], images: usize, w: &Window) -> Vec<f32> {
        let [height, width, channels] = w.image.map(|n| n as isize);
        let mut all = Vec::new();
        for (b, r, q) in (0..images).flat_map(|b| {
            let rows = (0..w.grid[0]).flat_map(|r| (0..w.grid[1]).map(move |q| (r, q)));
            rows.map(move |(r, q)| (b, r, q))
        }) {
            for (i, j) in (0..w.taps[0]).flat_map(|i| (0..w.taps[1]).map(move |j| (i, j))) {
                let row = w.origin[0] + (r * w.stride) as isize + w.step * i as isize;
                let col = w.origin[1] + (q * w.stride) as isize + w.step * j as isize;
                let inside = (0..height).contains(&row) && (0..width).contains(&col);
                for c in 0..channels {
                    let at = ((b as isize * height + row) * width + col) * channels + c;
                    all.push(if inside { x[at as usize] } else { 0.0 });
                }
            }
        }
        all
    }

    #[test]
    fn products_with_patches_have_the_bits_of_products_with_the_written_matrix() {
        let windows = [
            ([8, 8, 16], [8, 8], [3, 3], 1, 1, [-1, -1]),
            ([5, 7, 3], [5, 7], [3, 3], 1, 1, [-1, -1]),
            ([9, 6, 5], [5, 3], [3, 3], 2, 1, [0, -1]),
            ([6, 5, 33], [7, 4], [2, 3], 1, -1, [1, 1]),
            ([4, 4, 300], [4, 4], [1, 7], 1, 1, [0, -3]),
        ];
        for (image, grid, taps, stride, step, origin) in windows {
            let window = Window {
                image,
                grid,
                taps,
                stride,
                step,
                origin,
            };
            let (images, n) = (3, 20);
            let x = wave(images * image.iter().product::<usize>(), 0.71);
            let (rows, cols) = (images * window.n_windows(), window.patch_len());
            let all = written(&x, images, &window);
            let (gathered, stored) = (Patches::new(&x, window), Mat::new(&all, rows, cols));
            let w = wave(n * cols, 0.37);
            let (mut got, mut want) = (vec![0.0; rows * n], vec![0.0; rows * n]);
            let right = Mat::new(&w, n, cols).t();
            gemm(
                MatMut::new(&mut got, rows, n),
                gathered,
                right,
                |_, _, _| (),
            );
            gemm(MatMut::new(&mut want, rows, n), stored, right, |_, _, _| ());
            assert!(got == want, "{window:?} on the left");

            let g = wave(rows * n, 0.53);
            let left = Mat::new(&g, rows, n).t();
            let (mut got, mut sums) = (vec![0.0; n * cols], vec![0.0; n]);
            gemm_row_sums(&mut got, &mut sums, left, gathered);
            let mut want = vec![0.0; n * cols];
            gemm(MatMut::new(&mut want, n, cols), left, stored, |_, _, _| ());
            let close = got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(close, "{window:?} on the right");
            for (j, sum) in sums.iter().enumerate() {
                let want: f32 = g.iter().skip(j).step_by(n).sum();
                assert!((sum - want).abs() < 1e-4, "{sum} for {want}");
            }
        }
    }
}
