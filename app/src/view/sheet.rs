//! Many samples in one picture.

use super::Scale;
use egui::{Color32, ColorImage};

/// How samples lie in a picture, in its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sheet {
    /// Samples in a row.
    pub columns: usize,
    /// Samples in all.
    pub n: usize,
    /// Side of a sample.
    pub side: usize,
    /// Pixels between two samples.
    pub gap: usize,
}

impl Sheet {
    /// `n` samples, `columns` in a row or as near to a square as it goes.
    pub fn new(n: usize, side: usize, columns: Option<usize>) -> Self {
        Sheet {
            columns: columns.unwrap_or_else(|| (n as f64).sqrt().ceil() as usize),
            n,
            side,
            gap: (side / 8).max(1),
        }
    }

    /// Width and height.
    pub fn size(&self) -> [usize; 2] {
        let rows = self.n.div_ceil(self.columns);
        [self.columns, rows].map(|n| n * (self.side + self.gap) - self.gap)
    }

    /// The sample at a point, in parts of width and height.
    pub fn sample_at(&self, [x, y]: [f32; 2]) -> Option<usize> {
        let [width, height] = self.size();
        let cell = (self.side + self.gap) as f32;
        let column = (x * (width + self.gap) as f32 / cell) as usize;
        let row = (y * (height + self.gap) as f32 / cell) as usize;
        let sample = row * self.columns + column;
        (column < self.columns && sample < self.n).then_some(sample)
    }

    /// Where a sample lies, in parts of width and height: left, top, right, bottom.
    pub fn place(&self, sample: usize) -> [f32; 4] {
        let [width, height] = self.size().map(|s| s as f32);
        let (row, column) = (sample / self.columns, sample % self.columns);
        let [left, top] = [column, row].map(|i| (i * (self.side + self.gap)) as f32);
        let side = self.side as f32;
        [
            left / width,
            top / height,
            (left + side) / width,
            (top + side) / height,
        ]
    }
}

/// A sheet of samples `values` `[N, C, H, H]` (`shape` is `[C, H, H]`), `columns` in a row or as near to a square as it goes.
/// Three or more channels are red, green and blue; of fewer the first is drawn as a number.
///
/// # Panics
/// If `values` is not a whole number of samples, at least one.
pub fn sheet(
    values: &[f32],
    shape: [usize; 3],
    columns: Option<usize>,
    scale: Scale,
) -> (Sheet, ColorImage) {
    let [channels, side, _] = shape;
    let len = channels * side * side;
    assert!(
        !values.is_empty() && values.len().is_multiple_of(len),
        "whole samples"
    );
    let sheet = Sheet::new(values.len() / len, side, columns);
    let (columns, size) = (sheet.columns, sheet.size());
    let mut pixels = vec![Color32::TRANSPARENT; size[0] * size[1]];
    let area = side * side;
    for (i, sample) in values.chunks_exact(len).enumerate() {
        let (left, top) = (
            i % columns * (side + sheet.gap),
            i / columns * (side + sheet.gap),
        );
        for y in 0..side {
            for x in 0..side {
                let at = y * side + x;
                let pixel = if channels >= 3 {
                    scale.rgb([0, 1, 2].map(|c| sample[c * area + at]))
                } else {
                    scale.color(sample[at])
                };
                pixels[(top + y) * size[0] + left + x] = pixel;
            }
        }
    }
    (sheet, ColorImage::new(size, pixels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_lie_where_they_are_found() {
        let values: Vec<f32> = (0..5 * 4).map(|i| i as f32 / 20.0).collect();
        let (sheet, image) = sheet(&values, [1, 2, 2], None, Scale::Image);
        assert_eq!((sheet.columns, image.size), (3, [8, 5]));
        assert_eq!(
            image.pixels[3 * 8 + 4],
            Scale::Image.color(values[4 * 4 + 1])
        );
        assert_eq!(image.pixels[2], Color32::TRANSPARENT);
        for sample in 0..5 {
            let [left, top, right, bottom] = sheet.place(sample);
            let middle = [(left + right) / 2.0, (top + bottom) / 2.0];
            assert_eq!(sheet.sample_at(middle), Some(sample));
        }
        assert_eq!(sheet.sample_at([0.9, 0.9]), None);
    }
}
