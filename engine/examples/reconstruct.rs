//! A photograph through an autoencoder and back, as latent models see it: `cargo run --release -p sit-engine --example reconstruct --
//! ENCODER DECODER PHOTO.png OUT.png` writes both side by side. Without these it takes TAEF2 and a photograph of the tests.

use image::{GenericImage, Rgb, RgbImage};
use sit_engine::autoencoder::{Autoencoder, Half, recognize};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures");
    let (files, out) = match &args[..] {
        [encoder, decoder, photo, out] => ([encoder, decoder, photo].map(Clone::clone), Some(out)),
        _ => {
            let own = [
                "taef2/taef2_encoder.pth",
                "taef2/taef2_decoder.pth",
                "photographs/chelsea.png",
            ];
            (own.map(|file| format!("{tests}/{file}")), None)
        }
    };
    let [encoder, decoder, photo] = files;
    let half = |path: &str, half: Half| -> Result<Autoencoder, Box<dyn Error>> {
        let mut reader = Reader::new(path, BufReader::new(File::open(path)?))?;
        let config = recognize(&reader)?;
        Ok(Autoencoder::load_half(
            &Device::Cpu,
            config,
            half,
            &mut reader,
        )?)
    };
    let photo = image::open(photo)?.to_rgb8();
    let (width, height) = photo.dimensions();
    let size = [height as usize, width as usize];
    let mut encoder = half(&encoder, Half::Encoder)?.encoder(size, 1, None)?;
    let mut decoder = half(&decoder, Half::Decoder)?.decoder(size, 1, None)?;

    // [C, H, W] in [-1, 1].
    let n = size[0] * size[1];
    let level = |i: usize| f32::from(photo.as_raw()[i % n * 3 + i / n]) / 127.5 - 1.0;
    let pixels: Vec<f32> = (0..3 * n).map(level).collect();
    let latent = encoder.encode(&pixels)?.mean;
    let decoded = decoder.decode(&latent)?;

    let squares = pixels
        .iter()
        .zip(&decoded)
        .map(|(a, b)| f64::from(a - b).powi(2));
    // Of values between -1 and 1.
    let psnr = 10.0 * (4.0 / (squares.sum::<f64>() / pixels.len() as f64)).log10();
    println!(
        "{} values became {}: {psnr:.1} dB",
        pixels.len(),
        latent.len()
    );
    if let Some(out) = out {
        let back = RgbImage::from_fn(width, height, |x, y| {
            let at = (y * width + x) as usize;
            Rgb([0, 1, 2].map(|c| (127.5 * decoded[c * n + at] + 128.0).clamp(0.0, 255.0) as u8))
        });
        let mut both = RgbImage::new(2 * width, height);
        both.copy_from(&photo, 0, 0)?;
        both.copy_from(&back, width, 0)?;
        both.save(out)?;
    }
    Ok(())
}
