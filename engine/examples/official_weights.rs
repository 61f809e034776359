//! Sample from a file of official weights: `cargo run --release -p sit-engine --example official_weights -- SiT-XL-2-256.pt`.
//!
//! The file is a safetensors or `.pt` file with the names of the official PyTorch code. The samples are latents `[4, 32, 32]`,
//! which an autoencoder would decode to images; here their mean and standard deviation are printed.

use sit_engine::backend::{Choice, Device};
use sit_engine::checkpoint::Reader;
use sit_engine::model::Model;
use sit_engine::transport::{Method, Sampler, Transport};
use std::fs::File;
use std::io::BufReader;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: official_weights FILE")?;
    let mut weights = Reader::new(path.clone(), BufReader::new(File::open(&path)?))?;
    // Files of this project have metadata; for others the sizes are inferred from the tensors and the transport is SiT's default.
    let transport = match weights.recipe()? {
        Some(recipe) => recipe.transport,
        None => Transport::default(),
    };
    let network = weights.model(None, None)?;
    println!("{network:?}");

    let model = Model::zeros(&Device::open(Choice::Auto)?, network, transport)?;
    weights.load(&model)?;
    // Without classes there is nothing to guide by.
    let scale = if model.io().n_classes > 0 { 1.5 } else { 1.0 };
    let labels: Vec<u32> = (0..model.io().n_classes.clamp(1, 2) as u32).collect();
    let sampler = Sampler::ode(Method::Euler, 10);
    let samples = model
        .sampler(sampler)
        .guidance(scale)
        .seed(7)
        .sample(&labels)?;
    for (label, image) in labels.iter().zip(samples.chunks(model.io().image_len())) {
        let n = image.len() as f32;
        let mean = image.iter().sum::<f32>() / n;
        let spread = (image.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / n).sqrt();
        println!("class {label}: mean {mean:.3}, standard deviation {spread:.3}");
    }
    Ok(())
}
