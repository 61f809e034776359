//! From an image file to 8-bit grey or RGB pixels.

use std::cell::Cell;
use std::io::{self, BufRead, Read, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::crop::{Pixels, center_crop};
use super::{BadFile, DataConfig, DataError, jpeg};

/// Endings of the names of images that can be decoded; `jfif` is what Windows calls some JPEGs.
pub const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "jfif", "webp"];

/// Whether a file is an image that can be decoded, by its extension.
pub fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|k| k.eq_ignore_ascii_case(extension)))
}

/// How a file becomes an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Turn the image as its EXIF orientation says (SiT does not).
    pub orientation: bool,
    /// Refuse an image of more pixels before it is decoded.
    pub max_pixels: u64,
}

impl Rules {
    /// What a `[data]` table says.
    pub fn new(config: &DataConfig) -> Self {
        Self {
            orientation: config.exif_orientation.unwrap_or(false),
            max_pixels: config
                .max_megapixels
                .unwrap_or(64)
                .saturating_mul(1_000_000),
        }
    }

    fn check(&self, (width, height): (u32, u32)) -> Result<(), String> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels <= self.max_pixels {
            return Ok(());
        }
        Err(format!(
            "{width}x{height} are {:.1} million pixels, expected at most {} (data.max_megapixels)",
            pixels as f64 / 1e6,
            self.max_pixels / 1_000_000
        ))
    }
}

/// The longest JPEG file. No picture is longer, and the limit bounds the memory for the file.
const MAX_JPEG_BYTES: u64 = 1 << 28;

/// Decodes a PNG, JPEG or WebP stream, recognized by its content; `path` is what messages call it. Of an animation it is the first
/// frame. Memory is bounded by `max_pixels`: at most 16 bytes a pixel, and the file itself for a JPEG.
pub fn decode(
    path: &Path,
    stream: io::Result<impl BufRead + Seek>,
    rules: Rules,
) -> Result<DynamicImage, BadFile> {
    stream
        .map_err(|error| error.to_string())
        .and_then(|stream| guarded(|| decode_stream(stream, rules)))
        .map_err(|reason| BadFile {
            path: path.to_owned(),
            reason,
        })
}

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a decoder. A panic then means that the decoder does not support the file: it becomes an error of that
/// file, and a program's panic hook should print nothing.
pub fn is_guarded() -> bool {
    IS_GUARDED.get()
}

/// Turns a panic of `decode` into an error: the decoder does not support the file. A browser has no such guard.
pub(super) fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    IS_GUARDED.set(true);
    let done = catch_unwind(AssertUnwindSafe(decode));
    IS_GUARDED.set(false);
    done.unwrap_or_else(|_| {
        Err("the decoder fails on this kind of file; saved anew it can be read".to_owned())
    })
}

fn decode_stream(stream: impl BufRead + Seek, rules: Rules) -> Result<DynamicImage, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let mut reader = ImageReader::new(stream)
        .with_guessed_format()
        .map_err(|error| words(&error))?;
    let (mut image, orientation) = match reader.format() {
        Some(ImageFormat::Jpeg) => {
            let mut bytes = Vec::new();
            let mut file = reader.into_inner().take(MAX_JPEG_BYTES + 1);
            file.read_to_end(&mut bytes)
                .map_err(|error| words(&error))?;
            if bytes.len() as u64 > MAX_JPEG_BYTES {
                return Err(format!("a JPEG of more than {MAX_JPEG_BYTES} bytes"));
            }
            let header = jpeg::Header::read(&bytes)?;
            rules.check(header.size)?;
            (jpeg::decode(&bytes, rules.max_pixels)?, header.orientation)
        }
        Some(ImageFormat::Png | ImageFormat::WebP) => {
            // The default limit on memory. The limit on pixels is stricter, except for 16-bit images.
            reader.limits(image::Limits::default());
            let mut decoder = reader.into_decoder().map_err(|error| words(&error))?;
            rules.check(decoder.dimensions())?;
            let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
            let image = DynamicImage::from_decoder(decoder).map_err(|error| words(&error))?;
            (image, orientation)
        }
        Some(other) => {
            let name = other.extensions_str().first().copied().unwrap_or("another");
            return Err(format!(
                "a file of format {name}, expected PNG, JPEG or WebP"
            ));
        }
        None => {
            let mut first = [0];
            let n = reader.into_inner().read(&mut first).unwrap_or(1);
            let got = if n == 0 {
                "an empty file"
            } else {
                "not a PNG, JPEG or WebP file"
            };
            return Err(got.to_owned());
        }
    };
    if rules.orientation {
        image.apply_orientation(orientation);
    }
    Ok(image)
}

/// What an image's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Width and height as stored.
    pub size: (usize, usize),
    /// Whether it is not grey.
    pub has_color: bool,
}

impl Header {
    /// Reads the header alone; `None` for one that cannot be read.
    pub fn read(stream: impl BufRead + Seek) -> Option<Self> {
        guarded(|| Self::read_stream(stream).ok_or_else(String::new)).ok()
    }

    fn read_stream(stream: impl BufRead + Seek) -> Option<Self> {
        let reader = ImageReader::new(stream).with_guessed_format().ok()?;
        let (size, has_color) = if reader.format() == Some(ImageFormat::Jpeg) {
            let mut bytes = Vec::new();
            let mut file = reader.into_inner().take(MAX_JPEG_BYTES);
            file.read_to_end(&mut bytes).ok()?;
            let header = jpeg::Header::read(&bytes).ok()?;
            (header.size, header.has_color)
        } else {
            let decoder = reader.into_decoder().ok()?;
            (decoder.dimensions(), decoder.color_type().has_color())
        };
        Some(Header {
            size: (size.0 as usize, size.1 as usize),
            has_color,
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
    /// How files are decoded.
    pub rules: Rules,
}

impl Fit {
    /// What a `[data]` table says.
    pub fn new(config: &DataConfig) -> Result<Self, DataError> {
        Ok(Self {
            channels: config.channels(),
            image_size: config.required_image_size()?,
            background: config.background(),
            rules: Rules::new(config),
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
    fn a_decoder_that_panics_has_met_a_bad_file() {
        let message = guarded(|| -> Result<(), String> { panic!("as a decoder may") });
        assert_eq!(
            message.unwrap_err(),
            "the decoder fails on this kind of file; saved anew it can be read"
        );
        assert_eq!(guarded(|| Ok(3)), Ok(3));
    }

    /// Odd files of `tests/fixtures/pictures`: JPEG is Pillow's to the byte, PNG and WebP in the mean.
    #[test]
    fn pictures_are_those_of_pillow() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/pictures");
        let folder = Path::new(folder);
        let table = std::fs::read_to_string(folder.join("expected.tsv")).unwrap();
        assert!(table.lines().count() > 50);
        let rules = Rules {
            orientation: true,
            max_pixels: 64_000_000,
        };
        for line in table.lines() {
            let mut fields = line.split('\t');
            let name = fields.next().unwrap();
            let fields: Vec<&str> = fields.collect();
            let path = folder.join(name);
            let file = std::fs::File::open(&path).map(io::BufReader::new);
            let image = decode(&path, file, rules);
            let [width, height, crc, means @ ..] = &fields[..] else {
                let error = image.expect_err(name).to_string();
                assert!(error.starts_with(path.to_str().unwrap()), "{error}");
                continue;
            };
            let pixels = to_pixels(image.unwrap_or_else(|bad| panic!("{bad}")), 3, [255; 3]);
            let size = [pixels.width.to_string(), pixels.height.to_string()];
            assert_eq!(size, [*width, *height], "{name}");
            let levels = pixels.levels.as_chunks::<3>().0;
            for (channel, mean) in means.iter().enumerate() {
                let sum: f64 = levels.iter().map(|pixel| f64::from(pixel[channel])).sum();
                let difference = sum / levels.len() as f64 - mean.parse::<f64>().unwrap();
                assert!(
                    difference.abs() < 0.05,
                    "{name}, channel {channel}: {difference}"
                );
            }
            if *crc != "-" {
                let mut sum = flate2::Crc::new();
                sum.update(&pixels.levels);
                assert_eq!(format!("{:08x}", sum.sum()), *crc, "{name}");
            }
        }
    }

    #[test]
    fn orientation_and_the_limit_on_pixels_follow_the_rules() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/pictures");
        let read = |name: &str, orientation, max_pixels| {
            let path = Path::new(folder).join(name);
            let file = std::fs::File::open(&path).map(io::BufReader::new);
            let rules = Rules {
                orientation,
                max_pixels,
            };
            decode(Path::new(name), file, rules)
        };
        for name in ["exif_6.jpg", "exif_6.png"] {
            let size = |orientation| {
                let image = read(name, orientation, 128).unwrap();
                (image.width(), image.height())
            };
            assert_eq!((size(false), size(true)), ((16, 8), (8, 16)), "{name}");
            assert!(read(name, true, 127).is_err());
        }
        let refused = read("large.webp", true, 64_000_000)
            .unwrap_err()
            .to_string();
        assert_eq!(
            refused,
            "large.webp: 10000x10000 are 100.0 million pixels, expected at most 64 (data.max_megapixels)"
        );
        let gif = read("gif.png", true, 64_000_000).unwrap_err().to_string();
        assert_eq!(
            gif,
            "gif.png: a file of format gif, expected PNG, JPEG or WebP"
        );
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
