//! Points in the plane as a picture, over the points of a data set.

use sit_engine::analytic::{Points as _, Toy};
use std::io::{self, Write};

use super::encode;

/// Pixels of a side.
const SIDE: usize = 512;

/// The picture shows coordinates from minus this to this.
pub const REACH: f32 = 1.5;

/// Points of the data that lie behind.
const BEHIND: u64 = 4000;

/// The shade of the data.
const DATA: [u8; 3] = [208, 208, 208];

/// The color of each class in turn; all are darker than the data.
const CLASSES: [[u8; 3]; 8] = [
    [31, 119, 180],
    [214, 39, 40],
    [44, 160, 44],
    [148, 103, 189],
    [140, 86, 75],
    [227, 119, 194],
    [90, 90, 90],
    [23, 190, 207],
];

/// A scatter plot that is filled point by point, on white; the second coordinate points up.
#[derive(Debug)]
pub struct Scatter {
    /// RGB, by rows.
    pixels: Vec<u8>,
}

impl Scatter {
    /// Bytes that a plot takes in memory with the PNG that is made of it.
    pub const BYTES: u64 = 2 * 3 * (SIDE * SIDE) as u64;

    /// A plot over the points of a toy, if it is known.
    pub fn new(data: Option<Toy>) -> Self {
        let mut plot = Scatter {
            pixels: vec![255; 3 * SIDE * SIDE],
        };
        let behind = data.map_or_else(Vec::new, |toy| toy.points(0, 0..BEHIND));
        behind.iter().for_each(|point| plot.dot(point.x, DATA));
        plot
    }

    /// Draws the points `[B, 2]` in the colors of their classes; what lies outside is not seen.
    pub fn put(&mut self, points: &[f32], labels: &[u32]) {
        for (i, point) in points.chunks_exact(2).enumerate() {
            let class = labels.get(i).map_or(0, |label| *label as usize);
            self.dot([point[0], point[1]], CLASSES[class % CLASSES.len()]);
        }
    }

    /// A dot of 3x3 pixels.
    fn dot(&mut self, [x, y]: [f32; 2], color: [u8; 3]) {
        let pixel = |x: f32| ((x + REACH) / (2.0 * REACH) * SIDE as f32).floor();
        let (column, row) = (pixel(x), pixel(-y));
        for (dx, dy) in (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (dx as f32, dy as f32))) {
            let (column, row) = (column + dx, row + dy);
            let inside = 0.0..SIDE as f32;
            if inside.contains(&column) && inside.contains(&row) {
                let at = 3 * (row as usize * SIDE + column as usize);
                self.pixels[at..at + 3].copy_from_slice(&color);
            }
        }
    }

    /// Writes it as a PNG.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        encode(out, &self.pixels, [3, SIDE, SIDE])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_where_they_should_over_the_data() {
        let at = |plot: &Scatter, column: usize, row: usize| {
            let at = 3 * (row * SIDE + column);
            [0, 1, 2].map(|i| plot.pixels[at + i])
        };
        let mut plot = Scatter::new(None);
        assert!(plot.pixels.iter().all(|level| *level == 255));
        plot.put(&[0.75, 0.75, -1.5, -1.5, 9.0, f32::NAN], &[1, 8, 0]);
        // Up and right; then the corner, which is not beyond the last pixel.
        assert_eq!(at(&plot, 384, 128), CLASSES[1]);
        assert_eq!(at(&plot, 0, 511), CLASSES[0]);
        let n_dots = plot.pixels.chunks(3).filter(|p| *p != [255; 3]).count();
        assert_eq!(n_dots, 9 + 2);
        let moons = Scatter::new(Some(Toy::Moons));
        let n_grey = moons.pixels.chunks(3).filter(|p| **p == DATA).count();
        assert!((4000..30_000).contains(&n_grey), "{n_grey}");
        // Between the moons there is nothing.
        assert_eq!(at(&moons, 256, 256), [255; 3]);
        let mut png = Vec::new();
        moons.write(&mut png).unwrap();
        assert!(png.starts_with(b"\x89PNG") && (png.len() as u64) < Scatter::BYTES);
    }
}
