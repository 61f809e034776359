//! Images as PNG: grids of samples.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// Pixels between two images of a grid.
const GAP: usize = 2;

/// Smaller images are enlarged by a whole factor to at least this side, in pixels.
const LEAST_SIDE: usize = 48;

/// The 8-bit level of a pixel in [-1, 1]: `clamp(round(127.5 x + 127.5), 0, 255)`, and 0 for what is not a number.
pub fn level(x: f32) -> u8 {
    // `as` saturates.
    (127.5 * x + 127.5).round() as u8
}

/// The images `[B, C, H, W]` in [-1, 1] (`shape` is `[C, H, W]`) as a PNG, `columns` in a row, on white.
///
/// One channel is grey and three are RGB; of any other number each channel is a grey image of its own, side by side.
///
/// # Panics
/// If `images` is not a whole number of images, at least one, or `columns` is 0.
pub fn grid(images: &[f32], shape: [usize; 3], columns: usize) -> Vec<u8> {
    let [channels, height, width] = shape;
    let image_size = channels * height * width;
    assert!(
        columns > 0 && !images.is_empty() && images.len().is_multiple_of(image_size),
        "whole images"
    );
    if channels != 1 && channels != 3 {
        return grid(images, [1, height, width], columns * channels);
    }
    let n_images = images.len() / image_size;
    let columns = columns.min(n_images);
    let factor = LEAST_SIDE.div_ceil(height.max(width)).max(1);
    let (cell_width, cell_height) = (factor * width + GAP, factor * height + GAP);
    let (grid_width, grid_height) = (
        columns * cell_width - GAP,
        n_images.div_ceil(columns) * cell_height - GAP,
    );
    let mut pixels = vec![255; grid_width * grid_height * channels];
    for (index, image) in images.chunks_exact(image_size).enumerate() {
        let (left, top) = (index % columns * cell_width, index / columns * cell_height);
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
        let png = grid(&[-1.0, 1.0, 0.2, -1.0, 1.0, -0.2], [1, 1, 2], 2);
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
        let image = load_from_memory(&grid(&[-1.0, 0.0, 1.0], [3, 1, 1], 8)).unwrap();
        assert_eq!(
            (image.color(), image.width(), image.height()),
            (ColorType::Rgb8, 48, 48)
        );
        assert_eq!(image.into_rgb8().get_pixel(47, 47).0, [0, 128, 255]);
        let four: Vec<f32> = (0..8).map(|i| i as f32 / 127.5 - 1.0).collect();
        let image = load_from_memory(&grid(&four, [4, 1, 1], 1))
            .unwrap()
            .into_luma8();
        assert_eq!(image.dimensions(), (4 * 50 - 2, 2 * 50 - 2));
        let at = |column: u32, row: u32| image.get_pixel(50 * column, 50 * row).0[0];
        assert_eq!(
            [at(0, 0), at(1, 0), at(3, 0), at(0, 1), at(3, 1)],
            [0, 1, 3, 4, 7]
        );
    }
}
