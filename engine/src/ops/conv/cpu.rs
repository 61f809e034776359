//! The products on the CPU. Patches are gathered while the product packs them; no matrix of patches is written.

use super::Windows;
use crate::graph::CpuIo;
use crate::num::operand::Left;
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::scratch::with_scratch;
use crate::num::{Mat, MatMut, Patches, Real, Window, gemm, gemm_row_sums};

/// The windows on an image `[B, H, W, C]`, whose convolution is `[B, H', W', O]`.
fn window(x: &[usize], y: &[usize], kernel: [usize; 2], windows: Windows) -> Window {
    Window {
        image: [x[1], x[2], x[3]],
        grid: [y[1], y[2]],
        taps: kernel,
        stride: windows.stride,
        step: 1,
        origin: [-(windows.top as isize), -(windows.left as isize)],
    }
}

pub(super) fn fwd<F: Real>(io: CpuIo<'_, F>, windows: Windows, relu: bool) {
    let (x_shape, w_shape, y_shape) = (io.shape(0), io.shape(1), io.out_shape(0));
    let window = window(x_shape, y_shape, [w_shape[1], w_shape[2]], windows);
    let (m, n) = (io.out_types[0].shape.rows(), y_shape[3]);
    let ([x, w, b, ..], [y, ..]) = (io.ins, io.outs);
    let (y, w) = (MatMut::new(y, m, n), Mat::new(w, n, window.patch_len()).t());
    if window.taps == [1, 1] && windows == Windows::new(1, 0) {
        // The pixels are the patches, and need not be gathered.
        return product(y, Mat::new(x, m, window.image[2]), w, b, relu);
    }
    product(y, Patches::new(x, window), w, b, relu);
}

/// `y = x w + b`, whose negative values become 0 if `relu`.
fn product<F: Real>(y: MatMut<'_, F>, x: impl Left<F>, w: Mat<'_, F>, b: &[F], relu: bool) {
    if !relu {
        return gemm(
            y,
            x,
            w,
            #[inline(always)]
            |_, col, y| {
                for (y, &b) in y.iter_mut().zip(&b[col..]) {
                    *y += b;
                }
            },
        );
    }
    gemm(
        y,
        x,
        w,
        #[inline(always)]
        |_, col, y| {
            for (y, &b) in y.iter_mut().zip(&b[col..]) {
                *y = F::ZERO.max(*y + b);
            }
        },
    );
}

pub(super) fn bwd_w<F: Real>(io: CpuIo<'_, F>, windows: Windows, kernel: [usize; 2]) {
    let (g_shape, x_shape) = (io.shape(0), io.shape(1));
    let window = window(x_shape, g_shape, kernel, windows);
    let (m, n) = (io.in_types[0].shape.rows(), g_shape[3]);
    let ([g, x, ..], [gw, gb, ..]) = (io.ins, io.outs);
    gemm_row_sums(gw, gb, Mat::new(g, m, n).t(), Patches::new(x, window));
}

/// The pixels that are `first` above a multiple of the stride, along one axis: the taps whose windows contain them are every
/// `stride`-th of the kernel.
#[derive(Clone, Copy)]
struct Phase {
    first: usize,
    pixels: usize,
    first_tap: usize,
    taps: usize,
    /// The window that has the first pixel at the first tap.
    origin: isize,
}

fn phases(size: usize, kernel: usize, before: usize, stride: usize) -> impl Iterator<Item = Phase> {
    (0..stride.min(size)).map(move |first| {
        let first_tap = (first + before) % stride;
        Phase {
            first,
            pixels: (size - first).div_ceil(stride),
            first_tap,
            taps: kernel.saturating_sub(first_tap).div_ceil(stride),
            origin: ((first + before) / stride) as isize,
        }
    })
}

/// With `x` at stride s: `gx[h, w, c] = Σ_ijo w[o, i, j, c] g[(h + top - i) / s, (w + left - j) / s, o]` over the taps where both
/// divide. For the pixels of one phase these are the same taps, so that the gradient is a convolution of g with stride 1.
pub(super) fn bwd_x<F: Real>(io: CpuIo<'_, F>, windows: Windows) {
    let &[batch, height, width, c] = io.out_shape(0) else {
        unreachable!("checked by infer")
    };
    let &[n, kh, kw, _] = io.shape(1) else {
        unreachable!("checked by infer")
    };
    let (grid, stride) = ([io.shape(0)[1], io.shape(0)[2]], windows.stride);
    let ([g, w, ..], [gx, ..]) = (io.ins, io.outs);
    for rows in phases(height, kh, windows.top, stride) {
        for columns in phases(width, kw, windows.left, stride) {
            let window = Window {
                image: [grid[0], grid[1], n],
                grid: [rows.pixels, columns.pixels],
                taps: [rows.taps, columns.taps],
                stride: 1,
                step: -1,
                origin: [rows.origin, columns.origin],
            };
            with_scratch(window.patch_len() * c, |taps| {
                // From [O, kh, kw, C] to the order of the patches, (i, j, o), for the taps of this phase.
                for_rows(rows_mut(taps, c), grain(c), |first, to| {
                    for (row, to) in to.chunks_exact_mut(c).enumerate() {
                        let (tap, o) = ((first + row) / n, (first + row) % n);
                        let i = rows.first_tap + stride * (tap / columns.taps);
                        let j = columns.first_tap + stride * (tap % columns.taps);
                        to.copy_from_slice(&w[((o * kh + i) * kw + j) * c..][..c]);
                    }
                });
                let (patches, taps) = (
                    Patches::new(g, window),
                    Mat::new(taps, window.patch_len(), c),
                );
                let m = batch * window.n_windows();
                if stride == 1 {
                    return gemm(MatMut::new(gx, m, c), patches, taps, |_, _, _| ());
                }
                with_scratch(m * c, |pixels| {
                    gemm(MatMut::new(pixels, m, c), patches, taps, |_, _, _| ());
                    for_rows(rows_mut(gx, width * c), 1, |first, gx| {
                        for (row, gx) in gx.chunks_exact_mut(width * c).enumerate() {
                            let (image, h) = ((first + row) / height, (first + row) % height);
                            if h % stride != rows.first {
                                continue;
                            }
                            let from = (image * rows.pixels + h / stride) * columns.pixels;
                            let from = pixels[from * c..].chunks_exact(c);
                            let to = gx[columns.first * c..].chunks_mut(stride * c);
                            for (to, from) in to.zip(from) {
                                to[..c].copy_from_slice(from);
                            }
                        }
                    });
                });
            });
        }
    }
}
