//! Large images in tiles that overlap, so that memory does not grow with the image.
//!
//! A value that several tiles have is their mean with weights that fall linearly to the edge of a tile. The norms of an autoencoder see
//! one tile at a time, and attention, too: the result is not that of the whole image, but close to it.

use crate::error::{Error, Result};

/// How an image is cut, in pixels of the latent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    /// The most pixels of a tile along each axis.
    pub side: usize,
    /// The fewest pixels that neighbors have in common.
    pub overlap: usize,
}

impl Tiles {
    /// Tiles whose neighbors have a quarter of them in common.
    pub fn of_side(side: usize) -> Self {
        Tiles {
            side,
            overlap: side / 4,
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        if self.side == 0 || self.overlap >= self.side {
            return Err(Error::setting(
                "tiles",
                format!(
                    "got tiles of {} with {} in common, expected at least 1 with fewer in common",
                    self.side, self.overlap
                ),
            ));
        }
        Ok(())
    }

    /// The tile of an image of a size, along one axis.
    pub(super) fn side_in(&self, n: usize) -> usize {
        self.side.min(n)
    }

    /// Where tiles begin along an axis of `n`: equally spaced, the last one at the end.
    fn starts(&self, n: usize) -> Vec<usize> {
        let side = self.side_in(n);
        let room = n - side;
        let count = room.div_ceil(self.side - self.overlap);
        (0..=count)
            .map(|i| (room * i).checked_div(count).unwrap_or(0))
            .collect()
    }

    /// The tiles of a latent of the size `[h, w]`: the first row and column of each.
    pub(super) fn places(&self, size: [usize; 2]) -> Vec<[usize; 2]> {
        let [rows, columns] = size.map(|n| self.starts(n));
        let row = |y: usize| columns.iter().map(move |&x| [y, x]);
        rows.into_iter().flat_map(row).collect()
    }
}

/// The part of images `[C, H, W]` from a pixel on.
pub(super) fn cut(
    image: &[f32],
    [height, width]: [usize; 2],
    [y, x]: [usize; 2],
    [rows, columns]: [usize; 2],
) -> Vec<f32> {
    let channels = image.chunks_exact(height * width);
    let lines = channels.flat_map(|channel| channel.chunks_exact(width).skip(y).take(rows));
    lines
        .flat_map(|line| &line[x..x + columns])
        .copied()
        .collect()
}

/// Sums of tiles with weights, and the sums of the weights.
pub(super) struct Blend {
    size: [usize; 2],
    sums: Vec<f32>,
    weights: Vec<f32>,
}

impl Blend {
    /// For an image `[C, H, W]`.
    pub fn new(channels: usize, size: [usize; 2]) -> Self {
        let pixels = size[0] * size[1];
        Blend {
            size,
            sums: vec![0.0; channels * pixels],
            weights: vec![0.0; pixels],
        }
    }

    /// Adds a tile `[C, rows, columns]` at a place.
    pub fn add(&mut self, tile: &[f32], [y, x]: [usize; 2], [rows, columns]: [usize; 2]) {
        let [height, width] = self.size;
        let ramp = |n: usize| (0..n).map(move |i| (i + 1).min(n - i) as f32 / n as f32);
        let columns_ramp: Vec<f32> = ramp(columns).collect();
        let channels = self.sums.chunks_exact_mut(height * width);
        for (sums, tile) in channels.zip(tile.chunks_exact(rows * columns)) {
            let lines = sums.chunks_exact_mut(width).skip(y);
            let tile = tile.chunks_exact(columns);
            for ((line, tile), weight) in lines.zip(tile).zip(ramp(rows)) {
                for ((sum, value), w) in line[x..].iter_mut().zip(tile).zip(&columns_ramp) {
                    *sum += weight * w * value;
                }
            }
        }
        let lines = self.weights.chunks_exact_mut(width).skip(y);
        for (line, weight) in lines.zip(ramp(rows)) {
            for (sum, w) in line[x..].iter_mut().zip(&columns_ramp) {
                *sum += weight * w;
            }
        }
    }

    /// The image, every pixel of which some tile has.
    pub fn finish(mut self) -> Vec<f32> {
        for sums in self.sums.chunks_exact_mut(self.weights.len()) {
            for (sum, weight) in sums.iter_mut().zip(&self.weights) {
                *sum /= weight;
            }
        }
        self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_an_image_and_have_enough_in_common() {
        for (side, overlap) in [(1, 0), (4, 1), (8, 2), (8, 7), (64, 16)] {
            let tiles = Tiles { side, overlap };
            tiles.validate().unwrap();
            for n in 1..100 {
                let starts = tiles.starts(n);
                let side = tiles.side_in(n);
                assert_eq!((starts[0], *starts.last().unwrap() + side), (0, n));
                for pair in starts.windows(2) {
                    assert!(
                        pair[0] < pair[1] && pair[1] + overlap <= pair[0] + side,
                        "{n} {starts:?}"
                    );
                }
            }
        }
        assert!(
            Tiles {
                side: 4,
                overlap: 4
            }
            .validate()
            .is_err()
        );
    }

    #[test]
    fn tiles_of_an_image_make_the_image() {
        let (channels, size) = (2, [13, 9]);
        let image: Vec<f32> = (0..channels * 13 * 9)
            .map(|i| (i as f32 * 0.3).sin())
            .collect();
        let tiles = Tiles::of_side(5);
        let mut blend = Blend::new(channels, size);
        for place in tiles.places(size) {
            blend.add(&cut(&image, size, place, [5, 5]), place, [5, 5]);
        }
        for (got, want) in blend.finish().iter().zip(&image) {
            assert!((got - want).abs() < 1e-6);
        }
    }
}
