//! This side of `cargo xtask bench --peers diffusers`: `peer-autoencoders FOLDER SIZE BATCH`.
//!
//! Loads the autoencoder that the other side has written, and checks that both halves compute what they do there. Then it encodes or decodes
//! for each line of standard input, and answers with the time.

mod peak;

use peak::peak_mib;
use serde_json::json;
use sit_engine::autoencoder::{Autoencoder, recognize};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, folder, size, batch] = &args[..] else {
        return Err("usage: peer-autoencoders FOLDER SIZE BATCH".into());
    };
    let (folder, side, batch) = (Path::new(folder), size.parse()?, batch.parse()?);
    let open = |name: &str| -> Result<Reader<BufReader<File>>> {
        let file = BufReader::new(File::open(folder.join(name))?);
        Ok(Reader::new(name, file)?)
    };
    let mut weights = open("diffusion_pytorch_model.safetensors")?;
    let config = recognize(&weights)?;
    let model = Autoencoder::load(&Device::Cpu, config, &mut weights)?;
    let mut encoder = model.encoder([side, side], batch, None)?;
    let mut decoder = model.decoder([side, side], batch, None)?;
    let mut exchange = open("exchange.safetensors")?;
    let [x, z, y] = ["x", "z", "y"].map(|name| exchange.read(name));
    let (x, z, y) = (x?, z?, y?);
    let differences = [
        difference(&encoder.encode(&x)?.mean, &z),
        difference(&decoder.decode(&z)?, &y),
    ];
    println!(
        "{}",
        json!({ "version": "this engine on the CPU", "differences": differences })
    );
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let start = Instant::now();
        match line.trim() {
            "encode" => drop(encoder.encode(&x)?),
            "decode" => drop(decoder.decode(&z)?),
            other => return Err(format!("{other:?}, expected encode or decode").into()),
        }
        let ms = start.elapsed().as_secs_f64() * 1e3;
        println!("{}", json!({ "ms": ms, "peak_mib": peak_mib()? }));
    }
    Ok(())
}

/// The largest difference, in units of the rms of what was expected.
fn difference(got: &[f32], want: &[f32]) -> f64 {
    let squares: f64 = want.iter().map(|x| f64::from(*x).powi(2)).sum();
    let rms = (squares / want.len() as f64).sqrt();
    let pairs = got.iter().zip(want);
    pairs
        .map(|(a, b)| f64::from((a - b).abs()))
        .fold(0.0, f64::max)
        / rms
}
