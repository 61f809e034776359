//! Images of 8 bits as the network reads them: resized, and with values from -1 to 1.

use crate::num::par::{for_rows, grain, rows_mut};
use serde::{Deserialize, Serialize};

/// Channels of an image.
const CHANNELS: usize = 3;

/// How images are resized to 299 x 299 pixels. Programs differ in it, and so do their numbers: reference statistics are comparable only
/// if they were computed with the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// As TensorFlow 1 does, in which the network was published: bilinear, with pixel i at i · (in / 299), and without a filter when an
    /// image becomes smaller; then (x - 128) / 128. The evaluator of guided-diffusion and torch-fidelity do so.
    #[default]
    Tf1,
    /// As pytorch-fid does: bilinear, with the centers of pixels at i + 1/2, without a filter; then 2 x / 255 - 1.
    HalfPixel,
    /// As clean-fid does (Parmar et al. 2022, arXiv 2104.11222): Pillow's bicubic filter, as wide as an image becomes smaller, without
    /// rounding, clipped to 0 to 255; then (x - 128) / 128.
    Antialias,
}

#[doc(hidden)]
impl Resize {
    /// Images `[N, H, W, 3]` of a size `[H, W]` as the network reads them, `[N, side, side, 3]`.
    pub fn apply(self, images: &[u8], size: [usize; 2], side: usize) -> Vec<f32> {
        let n = images.len() / (size[0] * size[1] * CHANNELS);
        let mut x = vec![0.0; n * side * side * CHANNELS];
        Resizer::new(self, size, side).run(images, &mut x);
        x
    }
}

/// Resizes images of one size.
#[derive(Debug)]
pub(super) struct Resizer {
    resize: Resize,
    /// Height and width.
    from: [usize; 2],
    side: usize,
    /// Along each axis, what a pixel of the result is made of.
    axes: [Axis; 2],
    /// An image with its rows resized.
    rows: Vec<f32>,
}

#[derive(Debug)]
enum Axis {
    /// Two pixels and the weight of the second.
    Between(Vec<([usize; 2], f32)>),
    /// The first pixel, and the range of the weights of it and the next ones.
    Filter(Vec<(usize, std::ops::Range<usize>)>, Vec<f64>),
}

impl Resizer {
    /// For images `[H, W]` to `side` x `side` pixels.
    pub fn new(resize: Resize, from: [usize; 2], side: usize) -> Self {
        let rows = match resize {
            Resize::Antialias => vec![0.0; from[0] * side * CHANNELS],
            Resize::Tf1 | Resize::HalfPixel => vec![],
        };
        Resizer {
            resize,
            from,
            side,
            axes: from.map(|n| match resize {
                Resize::Tf1 => tf1(n, side),
                Resize::HalfPixel => half_pixel(n, side),
                Resize::Antialias => bicubic(n, side),
            }),
            rows,
        }
    }

    /// Whether it is for such images.
    pub fn is_for(&self, from: [usize; 2]) -> bool {
        self.from == from
    }

    /// Images `[N, H, W, 3]` to x `[N, side, side, 3]`.
    pub fn run(&mut self, images: &[u8], x: &mut [f32]) {
        let len = self.from[0] * self.from[1] * CHANNELS;
        let row_len = self.side * CHANNELS;
        match &self.axes {
            [
                Axis::Filter(rows, row_weights),
                Axis::Filter(columns, weights),
            ] => {
                let images = images.chunks_exact(len);
                for (image, x) in images.zip(x.chunks_exact_mut(self.side * row_len)) {
                    // Along the rows first, as Pillow does, which keeps this in f32.
                    let width = self.from[1] * CHANNELS;
                    for_rows(
                        rows_mut(&mut self.rows, row_len),
                        grain(row_len),
                        |first, to| {
                            for (row, to) in (first..).zip(to.chunks_exact_mut(row_len)) {
                                let from = &image[row * width..][..width];
                                filter_row(from, to, columns, weights);
                            }
                        },
                    );
                    let from = &self.rows;
                    for_rows(rows_mut(x, row_len), grain(row_len), |first, to| {
                        let rows = &rows[first..];
                        for ((start, range), to) in rows.iter().zip(to.chunks_exact_mut(row_len)) {
                            let from = &from[start * row_len..];
                            filter_rows(from, to, &row_weights[range.clone()]);
                        }
                    });
                }
            }
            [Axis::Between(rows), Axis::Between(columns)] => {
                let (width, resize) = (self.from[1] * CHANNELS, self.resize);
                for_rows(rows_mut(x, row_len), grain(row_len), |first, x| {
                    for (at, x) in (first..).zip(x.chunks_exact_mut(row_len)) {
                        let image = &images[at / self.side * len..][..len];
                        let (pair, weight) = rows[at % self.side];
                        let pair = pair.map(|row| &image[row * width..][..width]);
                        match resize {
                            Resize::HalfPixel => mix_half_pixel(pair, weight, columns, x),
                            _ => mix_tf1(pair, weight, columns, x),
                        }
                    }
                });
            }
            _ => unreachable!("both axes are of one kind"),
        }
    }
}

/// Pixel i of the result lies at `i (n / side)`, in f32 as TensorFlow computes it.
fn tf1(n: usize, side: usize) -> Axis {
    let scale = n as f32 / side as f32;
    let at = |i: usize| {
        let place = i as f32 * scale;
        let first = (place.floor() as usize).min(n - 1);
        ([first, (first + 1).min(n - 1)], place - place.floor())
    };
    Axis::Between((0..side).map(at).collect())
}

/// The center of pixel i of the result lies at `(i + 1/2) (n / side)`; PyTorch's `align_corners=False`.
fn half_pixel(n: usize, side: usize) -> Axis {
    let scale = n as f32 / side as f32;
    let at = |i: usize| {
        let place = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
        let first = (place.floor() as usize).min(n - 1);
        ([first, (first + 1).min(n - 1)], place - place.floor())
    };
    Axis::Between((0..side).map(at).collect())
}

/// Pixels are weighted by [`cubic`] of their distance from the center of that of the result, in pixels of the coarser image; the
/// weights add up to 1.
fn bicubic(n: usize, side: usize) -> Axis {
    let scale = n as f64 / side as f64;
    let wide = scale.max(1.0);
    let reach = 2.0 * wide;
    let mut weights: Vec<f64> = Vec::new();
    let at = |i: usize| {
        let center = (i as f64 + 0.5) * scale;
        let first = (center - reach + 0.5).max(0.0) as usize;
        let end = ((center + reach + 0.5) as usize).clamp(first + 1, n);
        let from = weights.len();
        weights.extend((first..end).map(|j| cubic((j as f64 - center + 0.5) / wide)));
        let own = &mut weights[from..];
        let sum: f64 = own.iter().sum();
        own.iter_mut().for_each(|weight| *weight /= sum);
        (first, from..from + end - first)
    };
    let places = (0..side).map(at).collect();
    Axis::Filter(places, weights)
}

/// The cubic convolution kernel with a = -1/2 (Keys 1981, equation 4).
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn mix_tf1(rows: [&[u8]; 2], down: f32, columns: &[([usize; 2], f32)], x: &mut [f32]) {
    let pixels = x.as_chunks_mut::<CHANNELS>().0;
    for (x, (pair, right)) in pixels.iter_mut().zip(columns) {
        for (c, x) in x.iter_mut().enumerate() {
            let [top, bottom] = rows.map(|row| {
                let [a, b] = pair.map(|column| f32::from(row[column * CHANNELS + c]));
                a + (b - a) * right
            });
            *x = (top + (bottom - top) * down - 128.0) / 128.0;
        }
    }
}

fn mix_half_pixel(rows: [&[u8]; 2], down: f32, columns: &[([usize; 2], f32)], x: &mut [f32]) {
    let pixels = x.as_chunks_mut::<CHANNELS>().0;
    for (x, (pair, right)) in pixels.iter_mut().zip(columns) {
        for (c, x) in x.iter_mut().enumerate() {
            let [top, bottom] = rows.map(|row| {
                let [a, b] = pair.map(|column| f32::from(row[column * CHANNELS + c]) / 255.0);
                (1.0 - right) * a + right * b
            });
            *x = 2.0 * ((1.0 - down) * top + down * bottom) - 1.0;
        }
    }
}

/// Filters along a row of pixels.
fn filter_row(
    from: &[u8],
    to: &mut [f32],
    columns: &[(usize, std::ops::Range<usize>)],
    weights: &[f64],
) {
    let (from, to) = (
        from.as_chunks::<CHANNELS>().0,
        to.as_chunks_mut::<CHANNELS>().0,
    );
    for (to, (start, range)) in to.iter_mut().zip(columns) {
        let mut sums = [0.0; CHANNELS];
        for (pixel, weight) in from[*start..].iter().zip(&weights[range.clone()]) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += f64::from(value) * weight;
            }
        }
        *to = sums.map(|sum| sum as f32);
    }
}

/// The sum of weighted rows, as the network reads it.
fn filter_rows(from: &[f32], to: &mut [f32], weights: &[f64]) {
    let len = to.len();
    for (i, to) in to.iter_mut().enumerate() {
        let mut sum = 0.0;
        for (row, weight) in weights.iter().enumerate() {
            sum += f64::from(from[row * len + i]) * weight;
        }
        *to = ((sum as f32).clamp(0.0, 255.0) - 128.0) / 128.0;
    }
}
