//! Images as PNG: single ones, grids of samples, scatter plots of points, and plots of lines.

#[cfg(feature = "cli")]
mod font;
mod grid;
#[cfg(feature = "cli")]
mod plot;
mod scatter;
mod sheet;

#[cfg(test)]
pub(crate) use grid::grid;
pub use grid::{Canvas, Grid};
#[cfg(feature = "cli")]
pub use plot::{Line, Panel, Plot};
pub use sheet::{Sheet, shows};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};
use std::io::{self, Write};

/// Latents beyond this are drawn black or white; most are within it, at about unit variance.
const LATENT_RANGE: f32 = 3.0;

/// The 8-bit level of a pixel in [-1, 1]: `clamp(round(127.5 x + 127.5), 0, 255)`, and 0 for what is not a number.
pub fn level(x: f32) -> u8 {
    // `as` saturates.
    (127.5 * x + 127.5).round() as u8
}

/// Whether images with this number of channels are pictures, grey or RGB; others are latents of an autoencoder.
pub fn is_picture(channels: usize) -> bool {
    channels == 1 || channels == 3
}

/// Whether images of this shape `[C, H, W]` are points in the plane.
pub fn is_plane(shape: [usize; 3]) -> bool {
    shape == [2, 1, 1]
}

/// Writes the picture `[C, H, W]` in [-1, 1] of one channel or three as a PNG of its own size.
///
/// # Errors
/// Those of the stream.
///
/// # Panics
/// If it has another number of channels or of values.
pub fn write(out: impl Write, image: &[f32], shape: [usize; 3]) -> io::Result<()> {
    let [channels, height, width] = shape;
    assert!(
        is_picture(channels) && image.len() == channels * height * width,
        "a picture"
    );
    let pixel = |i: usize| level(image[i % channels * height * width + i / channels]);
    let pixels: Vec<u8> = (0..image.len()).map(pixel).collect();
    encode(out, &pixels, shape)
}

fn encode(out: impl Write, pixels: &[u8], [channels, height, width]: [usize; 3]) -> io::Result<()> {
    let color = match channels {
        1 => ExtendedColorType::L8,
        _ => ExtendedColorType::Rgb8,
    };
    PngEncoder::new(out)
        .write_image(pixels, width as u32, height as u32, color)
        .map_err(|e| match e {
            ImageError::IoError(e) => e,
            other => io::Error::other(other),
        })
}

#[cfg(test)]
mod tests {
    use image::load_from_memory;

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
    fn a_single_picture_has_its_own_size() {
        let image: Vec<f32> = (0..12).map(|i| i as f32 / 127.5 - 1.0).collect();
        let mut bytes = Vec::new();
        write(&mut bytes, &image, [3, 1, 4]).unwrap();
        let image = load_from_memory(&bytes).unwrap().into_rgb8();
        assert_eq!(image.dimensions(), (4, 1));
        assert_eq!(image.as_raw(), &[0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
    }
}
