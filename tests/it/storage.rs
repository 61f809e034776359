//! Weights that are kept in 16 bits.

use super::unet::tiny;
use sit_engine::backend::Device;
use sit_engine::model::{Blueprint, Dit, Model, Network, Storage, Unet};
use sit_engine::sample::Sampling;
use sit_engine::transport::{Method, Sampler, Transport};
use sit_tests::net::{TINY, sine};
use sit_tests::{distance, gpu};

const NARROW: [Storage; 2] = [Storage::F16, Storage::Bf16];

fn dit() -> Dit {
    Dit {
        qk_norm: true,
        rope: true,
        ..TINY
    }
}

fn unet() -> Unet {
    Unet {
        n_classes: 10,
        ..tiny()
    }
}

/// A model whose weights are those of a formula, rounded first to `rounded`, and kept in `storage`.
fn model(
    device: &Device,
    network: impl Network + 'static,
    rounded: Storage,
    storage: Storage,
) -> Model {
    let model = Model::stored(device, network, Transport::default(), storage).unwrap();
    let specs = model.specs().iter().filter(|spec| spec.is_trained());
    for (k, spec) in specs.enumerate() {
        let n = spec.shape.numel();
        let mut values = sine(n, 0.2, 1.7, 0.3 * k as f64);
        if spec.shape.len() > 1 && rounded != Storage::F32 {
            for value in &mut values {
                *value = match rounded {
                    Storage::Bf16 => half::bf16::from_f32(*value).to_f32(),
                    _ => half::f16::from_f32(*value).to_f32(),
                };
            }
        }
        model.write(&spec.name, &values).unwrap();
        if rounded == storage {
            assert_eq!(model.read(&spec.name).unwrap(), values, "{}", spec.name);
        }
    }
    model
}

/// Images with guidance: two evaluations in each of two evaluations a step.
fn images(model: &Model) -> Vec<f32> {
    let sampler = Sampler::ode(Method::Heun, 2);
    let sampling = model.sampler(sampler).guidance(1.5).batch(2);
    sampling.sample(&[3, 7, 5]).unwrap()
}

fn narrow_weights_are_the_rounded_ones(device: &Device, network: impl Network + Clone + 'static) {
    let plain = images(&model(device, network.clone(), Storage::F32, Storage::F32));
    for storage in NARROW {
        let kept = model(device, network.clone(), storage, storage);
        let got = images(&kept);
        let rounded = model(device, network.clone(), storage, Storage::F32);
        // Products of widened weights are those of the same weights in f32.
        assert_eq!(got, images(&rounded), "{storage}");
        let [f16, bf16] = [1e-2, 1e-1];
        let bound = if storage == Storage::F16 { f16 } else { bf16 };
        let (_, off) = distance(&got, &plain).unwrap();
        assert!(off > 1e-5 && off < bound, "{storage}: {off}");
        let bytes = |model: &Model| model.arenas().bytes();
        assert!(bytes(&kept) < 6 * bytes(&rounded) / 10, "{storage}");
    }
}

#[test]
fn narrow_weights_are_the_rounded_ones_on_the_cpu() {
    narrow_weights_are_the_rounded_ones(&Device::Cpu, dit());
    narrow_weights_are_the_rounded_ones(&Device::Cpu, unet());
}

#[test]
fn narrow_weights_are_the_rounded_ones_on_the_gpu() {
    narrow_weights_are_the_rounded_ones(gpu(), dit());
}

#[test]
fn memory_of_narrow_weights_is_half() {
    let parts = |storage| {
        let net = Dit::preset("SiT-B/4").unwrap();
        let blueprint = Blueprint::stored(net, Transport::default(), storage, u64::MAX).unwrap();
        let sampling = Sampling::new(blueprint, Sampler::ode(Method::Euler, 1)).batch(1);
        let parts = sampling.forecast().unwrap();
        let of = |name| { parts.iter() }.find(|(part, _)| *part == name).unwrap().1;
        (
            of("parameters"),
            parts.iter().map(|(_, bytes)| bytes).sum::<u64>(),
        )
    };
    let (wide, _) = parts(Storage::F32);
    for storage in NARROW {
        let (narrow, all) = parts(storage);
        assert!(narrow < wide / 2 + wide / 100, "{narrow} of {wide}");
        // One widened matrix at a time, not all of them.
        assert!(all < wide * 6 / 10, "{all} of {wide}");
    }
}

#[test]
fn a_value_beyond_f16_is_refused_by_name() {
    let model = Model::stored(&Device::Cpu, TINY, Transport::default(), Storage::F16).unwrap();
    let name = "blocks.0.mlp.fc1.weight";
    let spec = { model.specs().iter() }
        .find(|spec| spec.name == name)
        .unwrap();
    let message = model
        .write(name, &vec![1e5; spec.shape.numel()])
        .unwrap_err();
    let expected = "blocks.0.mlp.fc1.weight has the value 100000, which f16 cannot hold";
    assert_eq!(message.to_string(), expected);
    // Vectors stay in f32.
    model.write("blocks.0.mlp.fc1.bias", &[1e5; 128]).unwrap();
}
