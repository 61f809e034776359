//! Train a small model on stripes and sample from it: `cargo run --release -p sit-engine --example train_and_sample`.
//!
//! Class 0 has horizontal stripes and class 1 vertical ones, at random offsets; after some seconds the samples have them too.

use sit_engine::backend::{Choice, Device};
use sit_engine::model::Dit;
use sit_engine::train::{Trainer, Weights};
use sit_engine::transport::{Method, Sampler};

fn main() -> sit_engine::Result<()> {
    let device = Device::open(Choice::Auto)?;
    let network = Dit {
        input_size: 8,
        channels: 1,
        n_classes: 2,
        dim: 64,
        depth: 2,
        n_heads: 2,
        ..Dit::preset("SiT-S/2").expect("a published size")
    };
    let mut trainer = Trainer::builder(network).batch(64).seed(0).build(&device)?;
    for step in 0..600 {
        let labels: Vec<u32> = (0..64).map(|i| i % 2).collect();
        let images: Vec<f32> = (0..64)
            .flat_map(|i| stripes(i % 2, step + i as usize))
            .collect();
        let report = trainer.step(&images, &labels, 2e-3)?;
        if step % 100 == 0 {
            println!("step {step}: loss {:.3}", report.loss);
        }
    }
    let sampler = Sampler::ode(Method::Heun, 20);
    let samples = trainer
        .model(Weights::Trained)
        .sampler(sampler)
        .guidance(1.5)
        .sample(&[0, 1])?;
    samples.chunks(64).for_each(show);
    Ok(())
}

/// An 8x8 image with a stripe in every fourth row, or column, from `offset` on.
fn stripes(class: u32, offset: usize) -> [f32; 64] {
    std::array::from_fn(|i| {
        let line = if class == 0 { i / 8 } else { i % 8 };
        if (line + offset).is_multiple_of(4) {
            1.0
        } else {
            -1.0
        }
    })
}

fn show(image: &[f32]) {
    for row in image.chunks(8) {
        let line: String = row
            .iter()
            .map(|&x| if x > 0.0 { '#' } else { '.' })
            .collect();
        println!("{line}");
    }
    println!();
}
