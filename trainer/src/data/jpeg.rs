//! JPEG files, as libjpeg-turbo and Pillow show them.

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, RgbImage};
use libjpeg_turbo_rs::{DecodeLimits, Decoder, PixelFormat};

/// What a file says before its pixels.
pub struct Header {
    /// Width and height as stored.
    pub size: (u32, u32),
    /// Whether it is not grey.
    pub has_color: bool,
    /// How EXIF says to turn it.
    pub orientation: Orientation,
}

impl Header {
    /// Reads the markers before the pixels.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let decoder = Decoder::new_header_only(bytes, DecodeLimits::default())
            .map_err(|error| error.to_string())?;
        let frame = decoder.header();
        let orientation = decoder.exif_orientation().and_then(Orientation::from_exif);
        Ok(Self {
            size: (frame.width() as u32, frame.height() as u32),
            has_color: frame.components.len() != 1,
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
        })
    }
}

/// Decodes all of a file to 8 bits, grey or RGB; CMYK becomes RGB as in Pillow.
///
/// # Errors
/// A file that is cut off or damaged (no guess is made about what is missing), of more than 8 bits, or with scans of some but not all
/// components together.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<DynamicImage, String> {
    if !has_end(bytes) {
        return Err("cut off: the JPEG's end is missing".to_owned());
    }
    let limits = DecodeLimits {
        max_pixels,
        ..DecodeLimits::default()
    };
    let words = |error: libjpeg_turbo_rs::JpegError| error.to_string();
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(words)?;
    let is_grey = decoder.header().components.len() == 1;
    decoder.set_output_format(if is_grey {
        PixelFormat::Grayscale
    } else {
        PixelFormat::Rgb
    });
    let image = decoder.decode_image().map_err(words)?;
    let (width, height) = (image.width as u32, image.height as u32);
    let image = if is_grey {
        GrayImage::from_raw(width, height, image.data).map(DynamicImage::from)
    } else {
        RgbImage::from_raw(width, height, image.data).map(DynamicImage::from)
    };
    image.ok_or_else(|| "the decoder gave fewer pixels than the header says".to_owned())
}

/// Whether an end-of-image marker follows the first scan. The decoder itself would read missing arithmetic-coded data as zeros.
fn has_end(bytes: &[u8]) -> bool {
    const SCAN: u8 = 0xda;
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..).and_then(|rest| rest.first_chunk())
    {
        match marker {
            SCAN => return bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]),
            // Bytes of 0xff may fill the space before a marker.
            0xff => at += 1,
            _ => at += 2 + usize::from(u16::from_be_bytes([high, low])),
        }
    }
    // The markers are invalid: leave the error to the decoder.
    true
}
