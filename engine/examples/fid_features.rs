//! How fast the Inception network of FID evaluates images: `cargo run --release -p sit-engine --example fid_features -- BATCH COUNT FILE`.
//! Without a file, which is one such as pt_inception-2015-12-05-6726825d.pth, it has random weights.

use safetensors::tensor::{Dtype, TensorView};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use sit_engine::inception::{Inception, Resize};
use std::error::Error;
use std::fs;
use std::io::Cursor;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, otherwise: usize| args.get(i).map_or(Ok(otherwise), |arg| arg.parse());
    let (batch, count) = (number(0, 1)?, number(1, 2)?);
    let bytes = match args.get(2) {
        Some(path) => fs::read(path)?,
        None => random_weights()?,
    };
    let mut reader = Reader::new("the weights", Cursor::new(bytes))?;
    let mut inception = Inception::load(&Device::Cpu, &mut reader, Resize::Tf1, batch)?;
    println!("{:.0} MiB", inception.bytes() as f64 / f64::from(1 << 20));
    let images: Vec<u8> = (0..batch * 256 * 256 * 3)
        .map(|i| (i * i % 251) as u8)
        .collect();
    inception.features(&images, [256, 256])?;
    let start = Instant::now();
    for _ in 0..count.div_ceil(batch) {
        inception.features(&images, [256, 256])?;
    }
    let n = count.div_ceil(batch) * batch;
    println!("{:.2} images/s", n as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

/// Uniform weights of about the size that keeps values as they are.
fn random_weights() -> Result<Vec<u8>, Box<dyn Error>> {
    let specs = Inception::specs();
    let tensors = specs.iter().zip(0..).map(|(spec, index)| {
        let values = spec.init.values(&spec.shape, 1, index);
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        (spec, bytes)
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(spec, bytes)| {
        let view = TensorView::new(Dtype::F32, spec.shape.to_vec(), bytes)?;
        Ok((&spec.name[..], view))
    });
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    Ok(safetensors::serialize(views, None)?)
}
