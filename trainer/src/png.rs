//! Images as PNG: grids of samples.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// Pixels between two images of a grid.
const GAP: usize = 2;

/// Pixels more between two blocks of a grid.
const BLOCK_GAP: usize = 6;

/// Smaller images are enlarged by a whole factor to at least this side, in pixels.
const LEAST_SIDE: usize = 48;

/// The 8-bit level of a pixel in [-1, 1]: `clamp(round(127.5 x + 127.5), 0, 255)`, and 0 for what is not a number.
pub fn level(x: f32) -> u8 {
    // `as` saturates.
    (127.5 * x + 127.5).round() as u8
}

/// Where the images of a grid lie: blocks of so many images, in rows of so many columns, and so many blocks beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Images of a block, at least 1.
    pub per_block: usize,
    /// Columns of a block, at least 1.
    pub columns: usize,
    /// Blocks beside each other, at least 1.
    pub across: usize,
}

/// A class has a row to itself where neither the rows nor the columns are more than this.
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
            n => n.isqrt(),
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

    /// What a class is in this picture.
    pub fn say(&self) -> &'static str {
        match self {
            Self { across: 1, .. } if self.per_block <= self.columns => "a row each, from the top",
            Self { per_block: 1, .. } => "an image each, row by row",
            Self { across: 1, .. } => "a block each, from the top",
            _ => "a block each, row by row",
        }
    }
}

/// The images `[B, C, H, W]` in [-1, 1] (`shape` is `[C, H, W]`) as a PNG on white, laid out by `place`.
///
/// One channel is grey and three are RGB; of any other number each channel is a grey image of its own, side by side.
///
/// # Panics
/// If `images` is not a whole number of images, at least one, or a part of `place` is 0.
pub fn grid(images: &[f32], shape: [usize; 3], place: Grid) -> Vec<u8> {
    let [channels, height, width] = shape;
    let image_size = channels * height * width;
    let Grid {
        per_block,
        columns,
        across,
    } = place;
    assert!(
        per_block.min(columns).min(across) > 0
            && !images.is_empty()
            && images.len().is_multiple_of(image_size),
        "whole images"
    );
    if channels != 1 && channels != 3 {
        let place = Grid {
            per_block: per_block.saturating_mul(channels),
            columns: columns * channels,
            across,
        };
        return grid(images, [1, height, width], place);
    }
    let n_images = images.len() / image_size;
    let per_block = per_block.min(n_images);
    let columns = columns.min(per_block);
    let n_blocks = n_images.div_ceil(per_block);
    let across = across.min(n_blocks);
    let rows = per_block.div_ceil(columns);
    let factor = LEAST_SIDE.div_ceil(height.max(width)).max(1);
    let (cell_width, cell_height) = (factor * width + GAP, factor * height + GAP);
    // Blocks that are more than a row stand apart.
    let apart = if rows > 1 || across > 1 { BLOCK_GAP } else { 0 };
    let (block_width, block_height) = (columns * cell_width + apart, rows * cell_height + apart);
    let (grid_width, grid_height) = (
        across * block_width - apart - GAP,
        n_blocks.div_ceil(across) * block_height - apart - GAP,
    );
    let mut pixels = vec![255; grid_width * grid_height * channels];
    for (index, image) in images.chunks_exact(image_size).enumerate() {
        let (block, cell) = (index / per_block, index % per_block);
        let left = block % across * block_width + cell % columns * cell_width;
        let top = block / across * block_height + cell / columns * cell_height;
        for y in 0..factor * height {
            let row = &mut pixels[((top + y) * grid_width + left) * channels..]
                [..factor * width * channels];
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                for (channel, value) in pixel.iter_mut().enumerate() {
                    *value = level(image[(channel * height + y / factor) * width + x / factor]);
                }
            }
        }
    }
    let color = if channels == 1 {
        ExtendedColorType::L8
    } else {
        ExtendedColorType::Rgb8
    };
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&pixels, grid_width as u32, grid_height as u32, color)
        .expect("the buffer has the stated size, and writing to memory does not fail");
    png
}

#[cfg(test)]
mod tests {
    use image::{ColorType, load_from_memory};

    use super::*;

    #[test]
    fn levels_are_rounded_and_clamped() {
        let cases = [
            (-1.0, 0),
            (1.0, 255),
            (0.0, 128),
            (-7.0, 0),
            (1.01, 255),
            (f32::NAN, 0),
            (f32::INFINITY, 255),
        ];
        for (x, expected) in cases {
            assert_eq!(level(x), expected, "{x}");
        }
        for n in 0..=255_u8 {
            assert_eq!(level(f32::from(n) / 127.5 - 1.0), n);
        }
    }

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
        let four: Vec<f32> = (0..8).map(|i| i as f32 / 127.5 - 1.0).collect();
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
}
