//! The weights that the app embeds: small enough for a page, and still digits after rounding to f16.

use pollster::block_on;
use sit_engine::backend::Device;
use sit_engine::checkpoint::{Dtype, Reader};
use sit_engine::graph::{Arena, Layout};
use sit_engine::model;
use sit_engine::sample::{SampleConfig, Session, initial_noise};
use sit_engine::transport::{Guidance, Method, Sampler};
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
        .expect("it was written by sit export");
    let preset = RunConfig::load(Source::Preset("app-digits"), &[]).unwrap();
    assert_eq!(recipe.model, preset.model);
    assert_eq!(recipe.transport, preset.transport);
    assert_eq!(
        recipe.data.map(|data| (data.name, data.max_level)),
        Some(("digits".into(), 16))
    );

    let model = recipe.model;
    let layout = Layout::new(&model::params(&model), u64::MAX).unwrap();
    let arenas = Device::Cpu.arenas(&layout, &[Arena::Params]).unwrap();
    file.load(&model, &arenas, Arena::Params).unwrap();
    let labels: Vec<u32> = (0..100).map(|i| i % 10).collect();
    let config = SampleConfig {
        model,
        transport: recipe.transport,
        sampler: Sampler::Ode {
            method: Method::Euler,
            n_steps: 25,
        },
        guidance: Guidance {
            scale: 1.5,
            ..Guidance::default()
        },
        weights: Arena::Params,
        batch: labels.len(),
        keep_out: false,
    };
    let mut session = Session::new(&Device::Cpu, &arenas, &layout, config).unwrap();
    let mut x0 = vec![0.0; labels.len() * model.image_len()];
    initial_noise(&model, 0, 0, &mut x0);
    session.start(&x0, &labels).unwrap();
    for _ in 0..25 {
        block_on(session.step(&[])).unwrap();
    }
    let x = block_on(session.read()).unwrap();
    let judge = Knn::new(&digits::held_out(), Knn::DEFAULT_K).unwrap();
    let agree = judge.agreement(&x, &labels);
    // 500 of 500 of other noise; real digits have 97.6 %.
    assert!(agree >= 97, "{agree} of 100");
}
