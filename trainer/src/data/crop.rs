//! Resizing and cropping exactly as ADM, DiT and SiT prepare their training images with Pillow.
//!
//! Pillow's resampling is a separable convolution whose filter is stretched by the scale when it shrinks (antialiasing).
//! For output `i` of an axis, with `s = input / output`, `f = max(s, 1)` and center `c = (i + 1/2) · s`:
//!
//! `out[i] = Σ_j w_j · in[j] / Σ_j w_j`, `w_j = filter((j + 1/2 - c) / f)`
//!
//! First along x, then along y, each pass rounded to 8 bits; weights are fixed-point numbers of 22 bits. This equals
//! Pillow 10 and 12 to the last bit. Pillow 13 takes y first for some tall images; the `image` crate has no box filter.

use std::ops::Range;

/// Interleaved 8-bit pixels, `[height, width, channels]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pixels {
    pub width: usize,
    pub height: usize,
    /// 1 or 3.
    pub channels: usize,
    pub levels: Vec<u8>,
}

/// A resampling filter, and the radius outside of which it is 0.
struct Filter {
    radius: f64,
    weight: fn(f64) -> f64,
}

const BOX: Filter = Filter {
    radius: 0.5,
    weight: |x| if -0.5 < x && x <= 0.5 { 1.0 } else { 0.0 },
};

/// Keys' cubic convolution with a = -1/2.
const BICUBIC: Filter = Filter {
    radius: 2.0,
    weight: |x| {
        const A: f64 = -0.5;
        match x.abs() {
            x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            _ => 0.0,
        }
    },
};

const WEIGHT_BITS: u32 = 22;

/// The center `size` x `size` square of `image` resized so that its shorter side is `size` (ADM's `center_crop_arr`).
///
/// While the shorter side is at least `2 · size`, both are halved (rounded down) with the box filter; then a bicubic
/// resize to `round(side · size / shorter side)`, ties to even; then the crop at offset `(side - size) / 2` rounded down.
pub fn center_crop(mut image: Pixels, size: usize) -> Pixels {
    while image.width.min(image.height) >= 2 * size {
        let (width, height) = (image.width / 2, image.height / 2);
        image = resample(&image, &BOX, (width, 0..width), (height, 0..height));
    }
    let scale = size as f64 / image.width.min(image.height) as f64;
    let [x, y] = [image.width, image.height].map(|side| {
        let side = (side as f64 * scale).round_ties_even() as usize;
        let offset = (side - size) / 2;
        (side, offset..offset + size)
    });
    resample(&image, &BICUBIC, x, y)
}

/// Resizes to (width, height) and keeps the given columns and rows; only what they need is computed.
fn resample(
    image: &Pixels,
    filter: &Filter,
    x: (usize, Range<usize>),
    y: (usize, Range<usize>),
) -> Pixels {
    let channels = image.channels;
    let columns = taps(filter, image.width, x.0, x.1);
    let rows = taps(filter, image.height, y.0, y.1);
    let first_row = rows.first().map_or(0, |row| row.first);
    let end_row = rows.last().map_or(0, |row| row.first + row.weights.len());

    let line = columns.len() * channels;
    let mut narrow = vec![0; (end_row - first_row) * line];
    let inputs = image
        .levels
        .chunks_exact(image.width * channels)
        .skip(first_row);
    for (out, row) in narrow.chunks_exact_mut(line).zip(inputs) {
        match channels {
            1 => resample_row::<1>(row, &columns, out),
            _ => resample_row::<3>(row, &columns, out),
        }
    }
    let mut levels = vec![0; rows.len() * line];
    let mut sums = vec![0; line];
    for (out, tap) in levels.chunks_exact_mut(line).zip(&rows) {
        sums.fill(ROUND);
        for (&weight, row) in tap
            .weights
            .iter()
            .zip(narrow.chunks_exact(line).skip(tap.first - first_row))
        {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, &level)| *sum += weight * i32::from(level));
        }
        out.iter_mut()
            .zip(&sums)
            .for_each(|(out, &sum)| *out = to_level(sum));
    }
    Pixels {
        width: columns.len(),
        height: rows.len(),
        channels,
        levels,
    }
}

fn resample_row<const C: usize>(row: &[u8], columns: &[Tap], out: &mut [u8]) {
    let pixels = row.as_chunks::<C>().0;
    for (out, tap) in out.as_chunks_mut::<C>().0.iter_mut().zip(columns) {
        let mut sums = [ROUND; C];
        for (&weight, pixel) in tap.weights.iter().zip(&pixels[tap.first..]) {
            sums.iter_mut()
                .zip(pixel)
                .for_each(|(sum, &level)| *sum += weight * i32::from(level));
        }
        *out = sums.map(to_level);
    }
}

/// One half of a level, in fixed point.
const ROUND: i32 = 1 << (WEIGHT_BITS - 1);

fn to_level(sum: i32) -> u8 {
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// The inputs that make one output: those from `first` on, one per weight.
struct Tap {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of outputs `window` of an axis resized from `input` to `output` values.
fn taps(filter: &Filter, input: usize, output: usize, window: Range<usize>) -> Vec<Tap> {
    let scale = input as f64 / output as f64;
    let stretch = scale.max(1.0);
    let radius = filter.radius * stretch;
    // `as usize` truncates, and maps negative values to 0.
    window
        .map(|i| {
            let center = (i as f64 + 0.5) * scale;
            let first = (center - radius + 0.5) as usize;
            let end = ((center + radius + 0.5) as usize).min(input);
            let inverse = 1.0 / stretch;
            let weights: Vec<f64> = (first..end)
                .map(|j| (filter.weight)((j as f64 - center + 0.5) * inverse))
                .collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |weight: f64| (weight / sum * f64::from(1 << WEIGHT_BITS)).round() as i32;
            Tap {
                first,
                weights: weights.into_iter().map(fixed).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The image of `tests/fixtures/crop/generate.py`.
    fn formula_image(width: usize, height: usize) -> Pixels {
        let level = |i: usize| {
            let (x, y, c) = (i / 3 % width, i / 3 / width, i % 3);
            (3 * x * x + 5 * y * y + 7 * x * y + 101 * c) as u8
        };
        Pixels {
            width,
            height,
            channels: 3,
            levels: (0..width * height * 3).map(level).collect(),
        }
    }

    #[test]
    fn crops_equal_those_of_pillow() {
        macro_rules! case {
            ($width:literal, $height:literal, $size:literal) => {
                (
                    $width,
                    $height,
                    $size,
                    &include_bytes!(concat!(
                        "../../../tests/fixtures/crop/",
                        $width,
                        "x",
                        $height,
                        "_",
                        $size,
                        ".png"
                    ))[..],
                )
            };
        }
        let cases = [
            case!(37, 53, 16),
            case!(64, 64, 16),
            case!(11, 7, 16),
            case!(131, 33, 8),
            case!(20, 20, 20),
            case!(31, 17, 16),
            case!(5, 90, 12),
            case!(127, 129, 21),
        ];
        for (width, height, size, png) in cases {
            let expected = image::load_from_memory(png).unwrap().into_rgb8().into_raw();
            let color = formula_image(width, height);
            assert_eq!(
                center_crop(color.clone(), size).levels,
                expected,
                "{width}x{height} to {size}"
            );
            let red = |levels: &[u8]| levels.iter().copied().step_by(3).collect::<Vec<_>>();
            let grey = Pixels {
                channels: 1,
                levels: red(&color.levels),
                ..color
            };
            assert_eq!(
                center_crop(grey, size).levels,
                red(&expected),
                "{width}x{height} to {size}, grey"
            );
        }
    }

    #[test]
    fn extreme_shapes_cost_only_the_crop() {
        for (width, height) in [(1, 100_000), (100_000, 1), (1, 1)] {
            let image = Pixels {
                width,
                height,
                channels: 1,
                levels: vec![9; width * height],
            };
            assert_eq!(center_crop(image, 256).levels, vec![9; 256 * 256]);
        }
    }
}
