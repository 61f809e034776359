//! Pictures of pages.

use anyhow::{Context, Result, bail, ensure};

/// Decodes base 64 (RFC 4648), in which the driver sends pictures.
pub fn unbase64(text: &str) -> Result<Vec<u8>> {
    let (mut bits, mut n_bits, mut bytes) = (0u32, 0, Vec::new());
    for c in text.bytes().filter(|&c| c != b'=') {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("{:?} is not base64", c as char),
        };
        bits = bits << 6 | u32::from(digit);
        n_bits += 6;
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
        }
    }
    Ok(bytes)
}

/// A picture of a page.
#[derive(Debug, PartialEq)]
pub struct Picture {
    /// Pixels from left to right.
    pub width: usize,
    /// Red, green, blue.
    pub pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// Reads a PNG.
    pub fn read(bytes: &[u8]) -> Result<Picture> {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info()?;
        let mut data = vec![0; reader.output_buffer_size().context("too large")?];
        let info = reader.next_frame(&mut data)?;
        let channels = info.color_type.samples();
        ensure!(
            channels >= 3 && info.bit_depth == png::BitDepth::Eight,
            "{info:?}"
        );
        Ok(Picture {
            width: info.width as usize,
            pixels: data[..info.buffer_size()]
                .chunks_exact(channels)
                .map(|p| [p[0], p[1], p[2]])
                .collect(),
        })
    }

    /// The share of pixels that differ from the picture's most frequent color: text and panels, not an empty canvas.
    pub fn ink(&self) -> f64 {
        let mut counts = std::collections::HashMap::new();
        for pixel in &self.pixels {
            *counts.entry(pixel).or_insert(0usize) += 1;
        }
        let most = counts.values().max().copied().unwrap_or(0);
        1.0 - most as f64 / self.pixels.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        for (text, want) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(unbase64(text).unwrap(), want.as_bytes());
        }
        assert_eq!(unbase64("+/+/").unwrap(), [0xfb, 0xff, 0xbf]);
        assert!(unbase64("Zm9v YmFy").is_err());
    }

    #[test]
    fn ink_is_what_is_not_background() {
        let mut pixels = vec![[0; 3]; 100];
        let blank = Picture {
            width: 10,
            pixels: pixels.clone(),
        };
        assert_eq!(blank.ink(), 0.0);
        pixels[..25].fill([255, 0, 0]);
        assert_eq!(Picture { width: 10, pixels }.ink(), 0.25);
    }
}
