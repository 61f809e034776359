//! A picture of samples, each with the nearest training image on its right.

use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

/// Side of an image.
const SIDE: usize = 64;

/// Space between pairs, in pixels.
const GAP: usize = 8;

/// Levels of an image `[SIDE, SIDE, 3]`.
type Image = Vec<u8>;

/// Writes `out`: a row for each class, of the samples in a folder called `000000-class3-dog.png`. `training` has a folder for each class. Returns
/// the smallest distance of a sample from a training image, as the root of the mean square of levels.
pub fn write(samples: &Path, training: &Path, out: &Path) -> Result<f64> {
    let mut known = Vec::new();
    for class in files(training)? {
        for file in files(&class)? {
            known.push(read(&file)?);
        }
    }
    ensure!(!known.is_empty(), "{}: no images", training.display());
    let mut rows: Vec<(String, Vec<[Image; 2]>)> = Vec::new();
    let mut least = f64::INFINITY;
    for file in files(samples)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let class = name
            .split_once('-')
            .map_or("", |(_, class)| class)
            .to_owned();
        let sample = read(&file)?;
        let distance = |other: &Image| -> u64 {
            let pairs = sample.iter().zip(other);
            pairs.map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum()
        };
        let nearest = known.iter().min_by_key(|other| distance(other));
        let nearest = nearest.context("no images")?.clone();
        least = least.min((distance(&nearest) as f64 / sample.len() as f64).sqrt());
        match rows.last_mut().filter(|(last, _)| *last == class) {
            Some((_, row)) => row.push([sample, nearest]),
            None => rows.push((class, vec![[sample, nearest]])),
        }
    }
    let columns = rows.iter().map(|(_, row)| row.len()).max().unwrap_or(0);
    let (width, height) = (columns * (2 * SIDE + GAP), rows.len() * (SIDE + GAP));
    let mut levels = vec![255; 3 * width * height];
    for (y, (_, row)) in rows.iter().enumerate() {
        for (x, pair) in row.iter().enumerate() {
            for (at, image) in pair.iter().enumerate() {
                let left = x * (2 * SIDE + GAP) + at * SIDE;
                for (line, row) in image.chunks_exact(3 * SIDE).enumerate() {
                    let start = 3 * ((y * (SIDE + GAP) + line) * width + left);
                    levels[start..start + row.len()].copy_from_slice(row);
                }
            }
        }
    }
    let file = File::create(out).with_context(|| out.display().to_string())?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&levels)?;
    Ok(least)
}

/// What is in a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    Ok(files)
}

/// Reads a PNG of this side, over white.
fn read(path: &Path) -> Result<Image> {
    let read = || {
        let mut decoder = png::Decoder::new(BufReader::new(File::open(path)?));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info()?;
        let size = reader.output_buffer_size().context("it is too large")?;
        let mut bytes = vec![0; size];
        let info = reader.next_frame(&mut bytes)?;
        ensure!(
            (info.width, info.height) == (SIDE as u32, SIDE as u32),
            "got {} x {} pixels, expected {SIDE} x {SIDE}",
            info.width,
            info.height
        );
        let over = |level: u8, alpha: u8| {
            let (level, alpha) = (u32::from(level), u32::from(alpha));
            ((level * alpha + 255 * (255 - alpha) + 127) / 255) as u8
        };
        let pixels = bytes[..info.buffer_size()].chunks_exact(info.color_type.samples());
        Ok(pixels
            .flat_map(|pixel| match *pixel {
                [r, g, b, a] => [r, g, b].map(|level| over(level, a)),
                [r, g, b] => [r, g, b],
                [level, a] => [over(level, a); 3],
                _ => [pixel[0]; 3],
            })
            .collect())
    };
    read().with_context(|| path.display().to_string())
}
