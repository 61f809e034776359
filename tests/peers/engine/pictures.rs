//! This side of `cargo xtask bench --peers torchvision`: `peer-pictures PATH BATCH WORKERS EXCHANGE.safetensors`.
//!
//! Writes the first pictures for the other side to compare. Then it reads as many batches as the pictures make for each line of standard input,
//! and answers with the time. Nothing is cached.

use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;
use sit_trainer::data::{self, BatchConfig, Batches, DataConfig, Kind, Loader};
use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

const SIZE: usize = 256;

/// Pictures that are compared.
const COMPARED: usize = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, path, batch, workers, exchange] = &args[..] else {
        return Err("usage: peer-pictures PATH BATCH WORKERS EXCHANGE.safetensors".into());
    };
    let (batch, workers): (usize, usize) = (batch.parse()?, workers.parse()?);
    let config = DataConfig {
        kind: Kind::Folder,
        path: Some(path.into()),
        image_size: Some(SIZE),
        cache_mib: Some(0),
        disk_cache: Some(false),
        ..DataConfig::digits()
    };
    let pictures = data::open(&config, &|_, _| ())?;
    let len = 3 * SIZE * SIZE;
    let mut x = vec![0.0; COMPARED * len];
    for (index, image) in x.chunks_exact_mut(len).enumerate() {
        pictures.read(index, image)?;
    }
    let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![COMPARED, 3, SIZE, SIZE], &bytes)?;
    safetensors::serialize_to_file([("x", view)], None, Path::new(exchange))?;
    let n_batches = pictures.len() / batch;
    println!("{}", json!({ "version": "sit", "images": pictures.len() }));
    let settings = BatchConfig {
        seed: 0,
        batch,
        flip: false,
    };
    let mut loader = Loader::new(Batches::new(pictures, settings), workers, 0)?;
    for line in std::io::stdin().lock().lines() {
        line?;
        // What was made while the other side worked is not counted.
        for _ in 0..Loader::batches_ahead(workers) {
            loader.next_batch()?;
        }
        let start = Instant::now();
        let mut sum = 0.0;
        for _ in 0..n_batches {
            sum += loader.next_batch()?.x1[0];
        }
        let ms = start.elapsed().as_secs_f64() * 1e3;
        println!(
            "{}",
            json!({ "ms": ms, "peak_mib": peak_mib()?, "sum": sum })
        );
    }
    Ok(())
}

/// The most memory that this process has had.
fn peak_mib() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no VmHWM")?.parse::<f64>()? / 1024.0)
}
