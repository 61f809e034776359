//! The weights that the app embeds: small enough for a page, and still digits after rounding to f16.

use sit_engine::backend::Device;
use sit_engine::checkpoint::{Dtype, Reader};
use sit_engine::model::Model;
use sit_engine::transport::{Method, Sampler};
use sit_trainer::config::{RunConfig, Source};
use sit_trainer::data::{Knn, digits};
use std::io::Cursor;
use std::path::Path;

#[test]
fn the_embedded_model_makes_digits() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../app/assets/digits.safetensors");
    let bytes = std::fs::read(path).unwrap();
    assert!(bytes.len() < 1_000_000, "{}", bytes.len());
    let mut file = Reader::new("digits.safetensors", Cursor::new(bytes)).unwrap();
    assert!(file.tensors().all(|(_, entry)| entry.dtype == Dtype::F16));
    let recipe = file
        .recipe()
        .unwrap()
        .expect("it was written by sit convert");
    let preset = RunConfig::load(Source::Preset("app-digits"), &[]).unwrap();
    assert_eq!(recipe.model, preset.model);
    assert_eq!(recipe.transport, preset.transport);
    assert_eq!(
        recipe.data.map(|data| (data.name, data.max_level)),
        Some(("digits".into(), 16))
    );

    let model = recipe.model;
    let network = Model::zeros(&Device::Cpu, model, recipe.transport).unwrap();
    file.load(&network).unwrap();
    let labels: Vec<u32> = (0..100).map(|i| i % 10).collect();
    let sampling = network.sampler(Sampler::ode(Method::Euler, 25));
    let sampling = sampling.guidance(1.5).batch(labels.len());
    let x = sampling.sample(&labels).unwrap();
    let judge = Knn::new(&digits::held_out(), Knn::DEFAULT_K).unwrap();
    let agree = judge.agreement(&x, &labels);
    // With other noise, 500 of 500 agree; of real digits, 97.6 % do.
    assert!(agree >= 97, "{agree} of 100");
}
