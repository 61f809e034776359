//! The Inception network of FID on the CPU, with random weights. `elem/s` are images per second, which are resized before. The features of
//! a batch are first compared with those of its images one by one.
//!
//! `cargo bench -p sit-engine --bench inception`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use safetensors::tensor::{Dtype, TensorView};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use sit_engine::inception::{Inception, Resize};
use std::io::Cursor;
use std::time::Duration;

/// Height and width of the images.
const SIZE: [usize; 2] = [256, 256];

/// A file of uniform weights.
fn random_weights() -> Vec<u8> {
    let specs = Inception::specs();
    let tensors = specs.iter().zip(0..).map(|(spec, index)| {
        let values = spec.init.values(&spec.shape, 1, index);
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        (spec, bytes)
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors.iter().map(|(spec, bytes)| {
        let view = TensorView::new(Dtype::F32, spec.shape.to_vec(), bytes);
        (&spec.name, view.expect("the shape fits"))
    });
    safetensors::serialize(views, None).expect("names are unique")
}

fn features(c: &mut Criterion) {
    let weights = random_weights();
    let load = |batch| {
        let mut reader = Reader::new("random weights", Cursor::new(&weights)).expect("a file");
        Inception::load(&Device::Cpu, &mut reader, Resize::Tf1, batch).expect("all tensors")
    };
    let mut group = c.benchmark_group("inception");
    let len = SIZE[0] * SIZE[1] * 3;
    let images: Vec<u8> = (0..8 * len).map(|i| (i * i % 251) as u8).collect();
    let want = load(1).features(&images, SIZE).expect("whole images");
    assert!(want.pool2048.iter().any(|&x| x > 0.0));
    for batch in [1, 8] {
        let mut inception = load(batch);
        assert_eq!(inception.features(&images, SIZE).as_ref(), Ok(&want));
        let images = &images[..batch * len];
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("batch {batch}"), |bench| {
            bench.iter(|| inception.features(images, SIZE));
        });
    }
}

criterion_group! {
    name = inception;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5)).sample_size(10);
    targets = features
}
criterion_main!(inception);
