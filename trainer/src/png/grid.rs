//! Grids of images: layout and pixels.

use super::{LATENT_RANGE, encode, is_picture, level};
use std::io::{self, Write};

/// Pixels between two images of a grid.
const GAP: usize = 2;

/// Additional pixels between two blocks of a grid.
const BLOCK_GAP: usize = 6;

/// Smaller images are enlarged by a whole factor to at least this side, in pixels.
const LEAST_SIDE: usize = 48;

/// The layout of a grid: blocks of images, in rows of some columns, and some blocks side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Images of a block, at least 1.
    pub per_block: usize,
    /// Columns of a block, at least 1.
    pub columns: usize,
    /// Blocks side by side, at least 1.
    pub across: usize,
}

/// Each class has a row of its own if neither the rows nor the columns are more than this.
const LONGEST: usize = 40;

impl Grid {
    /// One block that is about square.
    pub fn square(n_images: usize) -> Self {
        Self::rows(n_images.isqrt().max(1))
    }

    /// One block of rows of `columns` images.
    pub fn rows(columns: usize) -> Self {
        let per_block = usize::MAX;
        Self {
            per_block,
            columns,
            across: 1,
        }
    }

    /// A row for each class; where that would be too long or too high, a block for each class, side by side and below each
    /// other so that the whole is about square.
    pub fn by_class(n_classes: usize, per_class: usize) -> Self {
        let (n_classes, per_block) = (n_classes.max(1), per_class.max(1));
        let columns = match per_block {
            0..=LONGEST => per_block,
            // Full rows, where that is about a square.
            n => {
                let side = n.isqrt();
                let full = (side..2 * side).find(|columns| n.is_multiple_of(*columns));
                full.unwrap_or(side)
            }
        };
        let rows = per_block.div_ceil(columns);
        let is_thin = n_classes > LONGEST || rows > 1 || columns == 1 && n_classes > 4;
        let across = match is_thin {
            true => (n_classes * rows / columns).isqrt().clamp(1, n_classes),
            false => 1,
        };
        Self {
            per_block,
            columns,
            across,
        }
    }

    /// Where a class is in this layout, as text.
    pub fn say(&self) -> &'static str {
        match self {
            Self { across: 1, .. } if self.per_block <= self.columns => "a row each, from the top",
            Self { per_block: 1, .. } => "an image each, row by row",
            Self { across: 1, .. } => "a block each, from the top",
            _ => "a block each, row by row",
        }
    }
}

/// A grid of images that is filled image by image, on white.
///
/// One channel is grey and three are RGB. With any other number, each channel is a grey image of its own, side by side (see
/// [`shows`](super::shows)).
#[derive(Debug)]
pub struct Canvas {
    /// Shape of an image, `[C, H, W]`.
    shape: [usize; 3],
    place: Place,
    pixels: Vec<u8>,
}

/// A grid in pixels.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The layout of tiles: images, or their channels.
    grid: Grid,
    /// Channels of a pixel: 1 or 3.
    channels: usize,
    factor: usize,
    /// Pixels from a tile to the next, across and down.
    cell: [usize; 2],
    /// Pixels from a block to the next.
    block: [usize; 2],
    /// Pixels of the whole, width first.
    size: [usize; 2],
}

impl Place {
    /// `None` for a grid that no PNG can hold.
    fn new(n_images: usize, [channels, height, width]: [usize; 3], grid: Grid) -> Option<Self> {
        let tiles = if is_picture(channels) { 1 } else { channels };
        let per_block = grid.per_block.min(n_images);
        let columns = grid.columns.min(per_block);
        let (n_blocks, rows) = (n_images.div_ceil(per_block), per_block.div_ceil(columns));
        let across = grid.across.min(n_blocks);
        let grid = Grid {
            per_block: per_block.checked_mul(tiles)?,
            columns: columns.checked_mul(tiles)?,
            across,
        };
        let factor = LEAST_SIDE.div_ceil(height.max(width)).max(1);
        // Blocks need no gap if each is a single row and they are one below the other.
        let apart = if rows > 1 || across > 1 { BLOCK_GAP } else { 0 };
        let side = |size: usize, n_cells: usize, n_blocks: usize| {
            let cell = size.checked_mul(factor)?.checked_add(GAP)?;
            let block = n_cells.checked_mul(cell)?.checked_add(apart)?;
            let side = n_blocks.checked_mul(block)?.checked_sub(apart + GAP)?;
            (side <= i32::MAX as usize).then_some([cell, block, side])
        };
        let across = side(width, grid.columns, across)?;
        let down = side(height, rows, n_blocks.div_ceil(grid.across))?;
        let [cell, block, size] = [0, 1, 2].map(|i| [across[i], down[i]]);
        let place = Place {
            grid,
            channels: if channels == 3 { 3 } else { 1 },
            factor,
            cell,
            block,
            size,
        };
        place.bytes().map(|_| place)
    }

    fn bytes(&self) -> Option<usize> {
        let row = self.size[0].checked_mul(self.channels)?;
        row.checked_mul(self.size[1])
            .filter(|&n| isize::try_from(n).is_ok())
    }
}

impl Canvas {
    /// Bytes that the grid takes in memory with the PNG that is made of it; `None` when no PNG can hold it.
    ///
    /// # Panics
    /// As [`Canvas::new`].
    pub fn forecast(n_images: usize, shape: [usize; 3], grid: Grid) -> Option<u64> {
        let pixels = Place::new(n_images, shape, grid)?.bytes()? as u64;
        pixels.checked_mul(2)
    }

    /// A white grid for `n_images` images of `shape` `[C, H, W]`, laid out by `grid`.
    ///
    /// # Panics
    /// If there is no image, a part of `shape` or `grid` is 0, or it is larger than a PNG can be, see [`Canvas::forecast`].
    pub fn new(n_images: usize, shape: [usize; 3], grid: Grid) -> Self {
        let place = Place::new(n_images, shape, grid).expect("a size that a PNG can have");
        let n = place.bytes().expect("was checked with the place");
        Canvas {
            shape,
            place,
            pixels: vec![255; n],
        }
    }

    /// Draws the images `[B, C, H, W]` in [-1, 1] (latents in any range) at the places `first..`.
    ///
    /// # Panics
    /// If `images` is not a whole number of images, or there are more than places.
    pub fn put(&mut self, first: usize, images: &[f32]) {
        let [channels, height, width] = self.shape;
        assert!(
            images.len().is_multiple_of(channels * height * width),
            "whole images"
        );
        let tile = self.place.channels * height * width;
        let tiles_each = channels / self.place.channels;
        let scale = match is_picture(channels) {
            true => 1.0,
            false => LATENT_RANGE,
        };
        for (index, image) in images.chunks_exact(tile).enumerate() {
            self.put_tile(first * tiles_each + index, image, scale);
        }
    }

    fn put_tile(&mut self, index: usize, image: &[f32], scale: f32) {
        let [_, height, width] = self.shape;
        let Place {
            grid,
            channels,
            factor,
            cell,
            block,
            size,
        } = self.place;
        let (at_block, at) = (index / grid.per_block, index % grid.per_block);
        let left = at_block % grid.across * block[0] + at % grid.columns * cell[0];
        let top = at_block / grid.across * block[1] + at / grid.columns * cell[1];
        for y in 0..factor * height {
            let row = &mut self.pixels[((top + y) * size[0] + left) * channels..]
                [..factor * width * channels];
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                for (channel, value) in pixel.iter_mut().enumerate() {
                    let at = (channel * height + y / factor) * width + x / factor;
                    *value = level(image[at] / scale);
                }
            }
        }
    }

    /// Writes it as a PNG.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let [width, height] = self.place.size;
        encode(out, &self.pixels, [self.place.channels, height, width])
    }
}

/// The images `[B, C, H, W]` as one PNG.
#[cfg(test)]
pub(crate) fn grid(images: &[f32], shape: [usize; 3], place: Grid) -> Vec<u8> {
    let n_images = images.len() / shape.iter().product::<usize>();
    let mut canvas = Canvas::new(n_images, shape, place);
    canvas.put(0, images);
    let mut png = Vec::new();
    canvas
        .write(&mut png)
        .expect("memory takes what is written");
    png
}

#[cfg(test)]
mod tests {
    use image::{ColorType, load_from_memory};

    use super::*;

    #[test]
    fn tiny_images_are_enlarged_with_gaps_on_white() {
        // Three 2x1 images in two columns, enlarged 24 times.
        let png = grid(&[-1.0, 1.0, 0.2, -1.0, 1.0, -0.2], [1, 1, 2], Grid::rows(2));
        let image = load_from_memory(&png).unwrap();
        assert_eq!(
            (image.color(), image.width(), image.height()),
            (ColorType::L8, 2 * 48 + 2, 2 * 24 + 2)
        );
        let image = image.into_luma8();
        let at = |x, y| image.get_pixel(x, y).0[0];
        assert_eq!(
            [at(0, 0), at(23, 23), at(24, 0), at(47, 23)],
            [0, 0, 255, 255]
        );
        assert_eq!([at(48, 0), at(49, 5), at(0, 24), at(0, 25)], [255; 4]);
        assert_eq!([at(50, 0), at(74, 0)], [153, 0]);
        assert_eq!([at(0, 26), at(47, 49)], [255, 102]);
        assert_eq!(at(97, 49), 255, "an empty place");
    }

    #[test]
    fn three_channels_are_rgb_and_others_stand_side_by_side() {
        let image = load_from_memory(&grid(&[-1.0, 0.0, 1.0], [3, 1, 1], Grid::rows(8))).unwrap();
        assert_eq!(
            (image.color(), image.width(), image.height()),
            (ColorType::Rgb8, 48, 48)
        );
        assert_eq!(image.into_rgb8().get_pixel(47, 47).0, [0, 128, 255]);
        // Latents: 3 is white.
        let four: Vec<f32> = (0..8).map(|i| 3.0 * (i as f32 / 127.5 - 1.0)).collect();
        let image = load_from_memory(&grid(&four, [4, 1, 1], Grid::rows(1)))
            .unwrap()
            .into_luma8();
        assert_eq!(image.dimensions(), (4 * 50 - 2, 2 * 50 - 2));
        let at = |column: u32, row: u32| image.get_pixel(50 * column, 50 * row).0[0];
        assert_eq!(
            [at(0, 0), at(1, 0), at(3, 0), at(0, 1), at(3, 1)],
            [0, 1, 3, 4, 7]
        );
    }

    #[test]
    fn classes_have_rows_or_blocks() {
        let place = |n, per| {
            let grid = Grid::by_class(n, per);
            (grid.per_block, grid.columns, grid.across)
        };
        assert_eq!(place(10, 8), (8, 8, 1));
        assert_eq!(place(10, 1), (1, 1, 3));
        assert_eq!(place(4, 1), (1, 1, 1));
        assert_eq!(place(40, 1), (1, 1, 6));
        assert_eq!(place(1000, 8), (8, 8, 11));
        assert_eq!(place(1000, 1), (1, 1, 31));
        assert_eq!(place(1, 100), (100, 10, 1));
        assert_eq!(place(4, 100), (100, 10, 2));
        assert_eq!(place(3, 1_000_000), (1_000_000, 1000, 1));
        assert_eq!(Grid::by_class(10, 8).say(), "a row each, from the top");
        assert_eq!(Grid::by_class(40, 1).say(), "an image each, row by row");
        assert_eq!(Grid::by_class(4, 100).say(), "a block each, row by row");
    }

    #[test]
    fn blocks_stand_apart() {
        // Three blocks of three images of 48x48 in two columns, two blocks in a row.
        let images: Vec<f32> = (0..9)
            .flat_map(|i| [i as f32 / 10.0 - 1.0; 48 * 48])
            .collect();
        let place = Grid {
            per_block: 3,
            columns: 2,
            across: 2,
        };
        let image = load_from_memory(&grid(&images, [1, 48, 48], place))
            .unwrap()
            .into_luma8();
        assert_eq!(image.dimensions(), (4 * 48 + 2 * 2 + 8, 4 * 48 + 2 * 2 + 8));
        let level_of = |i: usize| level(i as f32 / 10.0 - 1.0);
        let at = |x, y| image.get_pixel(x, y).0[0];
        let (right, below) = (2 * 48 + 2 + 8, 2 * 48 + 2 + 8);
        assert_eq!([at(0, 0), at(50, 0), at(0, 50)], [0, 1, 2].map(level_of));
        assert_eq!([at(right, 0), at(right + 50, 47)], [3, 4].map(level_of));
        assert_eq!(
            [at(0, below), at(50, below), at(47, below + 50)],
            [6, 7, 8].map(level_of)
        );
        assert_eq!([at(50, 50), at(98, 0), at(0, 98)], [255; 3]);
    }

    #[test]
    fn a_grid_that_is_filled_in_parts_is_the_same() {
        let images: Vec<f32> = (0..7 * 12).map(|i| (i as f32 * 0.7).sin()).collect();
        let place = Grid {
            per_block: 3,
            columns: 2,
            across: 2,
        };
        for shape in [[3, 2, 2], [4, 1, 3]] {
            let whole = grid(&images, shape, place);
            let mut canvas = Canvas::new(7, shape, place);
            for (first, n) in [(5, 2), (0, 2), (2, 3)] {
                canvas.put(first, &images[first * 12..][..n * 12]);
            }
            let mut parts = Vec::new();
            canvas.write(&mut parts).unwrap();
            assert_eq!(parts, whole);
        }
    }

    #[test]
    fn grids_that_no_png_can_hold_are_told_beforehand() {
        assert_eq!(
            Canvas::forecast(6, [1, 48, 48], Grid::rows(3)),
            Some(2 * 148 * 98),
            "pixels, and the PNG"
        );
        assert_eq!(
            Canvas::forecast(usize::MAX, [3, 64, 64], Grid::rows(8)),
            None
        );
        assert_eq!(Canvas::forecast(1 << 30, [3, 64, 64], Grid::rows(1)), None);
        assert_eq!(
            Canvas::forecast(1 << 60, [3, 64, 64], Grid::rows(1 << 30)),
            None
        );
    }
}
