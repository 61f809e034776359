//! From an image file to 8-bit grey or RGB pixels.

use std::io::{self, BufRead, Seek};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageReader};

use super::crop::{Pixels, center_crop};
use super::{BadFile, DataConfig, DataError};

/// Whether a file is an image that can be decoded, by its extension.
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let known = ["png", "jpg", "jpeg", "webp"];
    extension.is_some_and(|extension| known.iter().any(|k| k.eq_ignore_ascii_case(extension)))
}

/// Decodes a PNG, JPEG or WebP stream, recognized by its content; `path` is what messages call it. EXIF orientation is not
/// applied (as in SiT).
pub fn decode(
    path: &Path,
    stream: io::Result<impl BufRead + Seek>,
) -> Result<DynamicImage, BadFile> {
    let bad = |reason: String| BadFile {
        path: path.to_owned(),
        reason,
    };
    let reader = stream
        .and_then(|stream| ImageReader::new(stream).with_guessed_format())
        .map_err(|error| bad(error.to_string()))?;
    if reader.format().is_none() {
        return Err(bad("not a PNG, JPEG or WebP file".to_owned()));
    }
    reader.decode().map_err(|error| bad(error.to_string()))
}

/// What an image's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Width and height.
    pub size: (usize, usize),
    /// Whether it is not grey.
    pub has_color: bool,
}

impl Header {
    /// Reads the header alone; `None` for one that cannot be read.
    pub fn read(stream: impl BufRead + Seek) -> Option<Self> {
        let reader = ImageReader::new(stream).with_guessed_format().ok()?;
        let decoder = reader.into_decoder().ok()?;
        let (width, height) = decoder.dimensions();
        Some(Header {
            size: (width as usize, height as usize),
            has_color: decoder.color_type().has_color(),
        })
    }
}

/// How images of any size and color become one shape `[C, S, S]`.
#[derive(Debug, Clone, Copy)]
pub struct Fit {
    /// C, 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// S.
    pub image_size: usize,
    /// What shows through transparent pixels.
    pub background: [u8; 3],
}

impl Fit {
    /// What a `[data]` table says.
    pub fn new(config: &DataConfig) -> Result<Self, DataError> {
        Ok(Self {
            channels: config.channels(),
            image_size: config.required_image_size()?,
            background: config.background(),
        })
    }

    /// Bytes of an image's levels.
    pub fn bytes(&self) -> usize {
        self.channels * self.image_size * self.image_size
    }

    /// Resizes and crops an image into `levels`, `[C, S, S]`.
    pub fn levels(&self, image: DynamicImage, levels: &mut [u8]) {
        let pixels = to_pixels(image, self.channels, self.background);
        let image = center_crop(pixels, self.image_size);
        let planes = levels.chunks_exact_mut(self.image_size * self.image_size);
        for (channel, plane) in planes.enumerate() {
            let pixels = image.levels.chunks_exact(self.channels);
            for (level, pixel) in plane.iter_mut().zip(pixels) {
                *level = pixel[channel];
            }
        }
    }
}

/// Converts to 1 (grey) or 3 (RGB) channels of 8 bits over `background`.
///
/// `out = (alpha · color + (255 - alpha) · background) / 255`; grey is the luma of ITU-R 601,
/// `0.299 R + 0.587 G + 0.114 B` with 16-bit weights (Pillow's `convert("L")`).
///
/// Differs from SiT: its `convert("RGB")` drops the alpha channel and shows whatever color lies under it.
pub fn to_pixels(image: DynamicImage, channels: usize, background: [u8; 3]) -> Pixels {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let pixels = |channels, levels| Pixels {
        width,
        height,
        channels,
        levels,
    };
    let color = image.color();
    if channels == 1 && !color.has_color() && !color.has_alpha() {
        return pixels(1, image.into_luma8().into_raw());
    }
    let rgb = if color.has_alpha() {
        composite(&image.into_rgba8(), background)
    } else {
        image.into_rgb8().into_raw()
    };
    match channels {
        1 => pixels(1, rgb.as_chunks().0.iter().map(luma).collect()),
        _ => pixels(3, rgb),
    }
}

fn composite(rgba: &[u8], background: [u8; 3]) -> Vec<u8> {
    let over = |&[r, g, b, alpha]: &[u8; 4]| {
        let alpha = u32::from(alpha);
        let mix = |color: u8, behind: u8| {
            ((alpha * u32::from(color) + (255 - alpha) * u32::from(behind) + 127) / 255) as u8
        };
        [
            mix(r, background[0]),
            mix(g, background[1]),
            mix(b, background[2]),
        ]
    };
    rgba.as_chunks().0.iter().flat_map(over).collect()
}

fn luma(&[r, g, b]: &[u8; 3]) -> u8 {
    ((19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests {
    use image::{GrayAlphaImage, GrayImage, RgbImage, RgbaImage};

    use super::*;

    fn levels(image: impl Into<DynamicImage>, channels: usize, background: [u8; 3]) -> Vec<u8> {
        to_pixels(image.into(), channels, background).levels
    }

    #[test]
    fn alpha_is_composited_on_the_background() {
        let rgba = || {
            RgbaImage::from_raw(
                3,
                1,
                vec![200, 100, 0, 255, 200, 100, 0, 0, 200, 100, 0, 128],
            )
            .unwrap()
        };
        assert_eq!(
            levels(rgba(), 3, [255; 3]),
            [200, 100, 0, 255, 255, 255, 227, 177, 127]
        );
        assert_eq!(levels(rgba(), 3, [0, 0, 10])[3..], [0, 0, 10, 100, 50, 5]);
        let grey = GrayAlphaImage::from_raw(2, 1, vec![50, 255, 50, 0]).unwrap();
        assert_eq!(levels(grey, 1, [9; 3]), [50, 9]);
    }

    #[test]
    fn grey_and_color_convert_both_ways() {
        let rgb = RgbImage::from_raw(4, 1, vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 7, 7, 7]).unwrap();
        assert_eq!(levels(rgb, 1, [255; 3]), [76, 150, 29, 7]);
        let grey = || GrayImage::from_raw(2, 1, vec![3, 250]).unwrap();
        assert_eq!(levels(grey(), 3, [0; 3]), [3, 3, 3, 250, 250, 250]);
        assert_eq!(levels(grey(), 1, [0; 3]), [3, 250]);
    }
}
