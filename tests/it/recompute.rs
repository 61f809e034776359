//! Training with blocks that are computed again: less memory, the same bits.

use super::unet::tiny;
use sit_engine::backend::Device;
use sit_engine::graph::Arena;
use sit_engine::model::{AutoencoderNet, Condition, Dit, Model, Network};
use sit_engine::objective::{Distill, Pieces, Teacher};
use sit_engine::train::{Trainer, Training};
use sit_engine::transport::{Guidance, Transport};
use sit_tests::gpu;
use sit_tests::net::{TINY, sine};

/// The losses of two steps, and the weights after them.
fn train(training: Training, device: &Device) -> (Vec<f64>, Vec<f32>, u64) {
    let batch = training.batch_size();
    let mut trainer = training.build(device).unwrap();
    let len = batch * trainer.io().image_len();
    let labels: Vec<u32> = (0..batch as u32).collect();
    let mut losses = Vec::new();
    for step in 0..2 {
        let images = sine(len, 0.9, 0.1, f64::from(step));
        let report = trainer.step(&images, &labels, 1e-2).unwrap();
        losses.extend(report.by_image.iter().map(|(_, loss)| *loss));
        losses.push(report.grad_norm);
    }
    let entries = trainer.layout().entries().iter();
    let read = |name: &str| pollster::block_on(trainer.arenas().read(Arena::Params, name)).unwrap();
    let weights = entries.flat_map(|entry| read(&entry.name)).collect();
    (losses, weights, trainer.bytes())
}

/// A transformer with everything that its blocks may have.
const MODERN: Dit = Dit {
    depth: 3,
    qk_norm: true,
    rope: true,
    class_tokens: 2,
    class_tokens_from: 1,
    n_classes: 4,
    ..TINY
};

fn autoencoder() -> AutoencoderNet {
    AutoencoderNet {
        input_size: 8,
        channels: 1,
        latent_channels: 2,
        widths: vec![8, 16],
        blocks: 1,
        groups: 4,
        middle_attention: true,
    }
}

fn of(network: impl Network + 'static) -> Training {
    Trainer::builder(network).batch(3)
}

/// Two networks in one step: a student, which is evaluated twice, and its teacher.
fn student() -> Training {
    let student = Dit {
        span: true,
        ..MODERN
    };
    let transport = Transport {
        student_steps: Some(1),
        ..Transport::default()
    };
    let teacher = Model::init(&Device::Cpu, MODERN, Transport::default(), 7).unwrap();
    let objective = Distill {
        transport: transport.clone(),
        teacher: Teacher::from(teacher),
        guidance: Guidance::default(),
        pieces: Pieces::Split { flow: 0.5 },
    };
    of(student).transport(transport).objective(objective)
}

#[test]
fn blocks_that_are_computed_again_change_no_bit_on_the_cpu() {
    let mut all = vec![of(tiny()), of(autoencoder()), student()];
    for condition in [
        Condition::AdaLnZero,
        Condition::CrossAttention,
        Condition::InContext,
    ] {
        // Class tokens are JiT's.
        let class_tokens = if condition == Condition::AdaLnZero {
            2
        } else {
            0
        };
        all.push(of(Dit {
            condition,
            class_tokens,
            class_tokens_from: class_tokens / 2,
            ..MODERN
        }));
    }
    for training in all {
        let what = format!("{training:?}");
        let n = training.n_blocks().unwrap();
        assert!(n >= 3, "{what}");
        let (losses, weights, bytes) = train(training.clone(), &Device::Cpu);
        let mut before = bytes;
        for recompute in [1, n / 2, n, n + 1] {
            let (again, same, bytes) = train(training.clone().recompute(recompute), &Device::Cpu);
            assert!(again == losses && same == weights, "{recompute} of {what}");
            assert!(
                bytes <= before,
                "{recompute}: {bytes} after {before} of {what}"
            );
            before = bytes;
        }
        assert!(before < bytes, "{what}");
    }
}

#[test]
fn blocks_that_are_computed_again_change_no_bit_on_the_gpu() {
    for training in [of(TINY), of(tiny())] {
        let (losses, weights, bytes) = train(training.clone(), gpu());
        let (again, same, less) = train(training.recompute(usize::MAX), gpu());
        assert!(again == losses && same == weights);
        assert!(less < bytes, "{less} of {bytes}");
    }
}

/// A block keeps its output, so that memory grows by that alone with the depth.
#[test]
fn memory_grows_by_the_outputs_of_blocks() {
    let activations = |depth: usize, recompute: usize| {
        let net = Dit {
            depth,
            dim: 64,
            ..TINY
        };
        let training = Trainer::builder(net).batch(8).recompute(recompute);
        let parts = training.forecast(u64::MAX).unwrap();
        let find = |name| { parts.iter() }.find(|(part, _)| *part == name).unwrap().1;
        find("activations")
    };
    let output = 4 * 8 * 16 * 64;
    let growth = (activations(12, 12) - activations(4, 4)) / 8;
    assert!(
        growth < 2 * output,
        "{growth} bytes a block, whose output has {output}"
    );
    let kept = (activations(12, 0) - activations(4, 0)) / 8;
    assert!(kept > 8 * output, "{kept} bytes a block");
}
