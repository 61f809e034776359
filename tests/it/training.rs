//! Accumulation, the moving average, resume and steps that are skipped.

use sit_engine::backend::Device;
use sit_engine::graph::Arena;
use sit_engine::model::{self, ModelConfig};
use sit_engine::optim::AdamW;
use sit_engine::train::{Batch, TrainConfig, Trainer};
use sit_engine::transport::Transport;
use sit_tests::net::{TINY, sine};
use sit_tests::{assert_close, gpu};

const CONFIG: TrainConfig = TrainConfig {
    model: TINY,
    transport: Transport {
        path: sit_engine::transport::Path::Linear,
        prediction: sit_engine::transport::Prediction::Velocity,
        loss_weight: sit_engine::transport::LossWeight::None,
        t_eps_train: None,
        t_eps_sample: None,
    },
    adamw: AdamW {
        betas: [0.9, 0.999],
        adam_eps: 1e-8,
        weight_decay: 0.0,
        clip: 0.0,
        ema_decay: 0.9,
        ema_warmup: false,
    },
    batch: 2,
    accumulate: 1,
    class_dropout: 0.1,
    seed: 0,
};

fn images(first: u64, n: usize) -> Vec<f32> {
    let len = TINY.image_len();
    (0..n)
        .flat_map(|i| sine(len, 0.9, 0.1, (first + i as u64) as f64))
        .collect()
}

fn labels(first: u64, n: usize) -> Vec<u32> {
    (0..n as u64)
        .map(|i| ((first + i) * 7 % 10) as u32)
        .collect()
}

/// Runs steps `from..to` on formula images and returns the losses and the trained weights of one tensor.
fn steps(trainer: &mut Trainer, from: u64, to: u64) -> Vec<f64> {
    let config = *trainer.config();
    let mut losses = Vec::new();
    for step in from..to {
        for micro in 0..config.accumulate {
            let first = (step * config.accumulate as u64 + micro as u64) * config.batch as u64;
            let (x1, y) = (images(first, config.batch), labels(first, config.batch));
            let batch = Batch {
                x1: &x1,
                y: &y,
                first,
            };
            pollster::block_on(trainer.accumulate(micro, batch)).unwrap();
        }
        losses.push(pollster::block_on(trainer.update(1e-2)).unwrap().loss);
    }
    losses
}

fn all(trainer: &Trainer, arena: Arena) -> Vec<f32> {
    let read =
        |(name, _): &(String, _)| pollster::block_on(trainer.arenas().read(arena, name)).unwrap();
    model::params(&TINY).iter().flat_map(read).collect()
}

#[test]
fn gradient_accumulation_is_the_big_batch() {
    let mut big = Trainer::new(&Device::Cpu, TrainConfig { batch: 6, ..CONFIG }).unwrap();
    let mut small = Trainer::new(
        &Device::Cpu,
        TrainConfig {
            batch: 2,
            accumulate: 3,
            ..CONFIG
        },
    )
    .unwrap();
    for step in 0..3 {
        let (a, b) = (
            steps(&mut big, step, step + 1),
            steps(&mut small, step, step + 1),
        );
        assert!((a[0] - b[0]).abs() <= 1e-6 * a[0], "{a:?} {b:?}");
    }
    // AdamW divides by the root of tiny second moments, which magnifies rounding: the moments are what must agree.
    assert_close(
        "first moment",
        &all(&small, Arena::MomentM),
        &all(&big, Arena::MomentM),
        2e-5,
    );
}

/// The warm-up of the moving average: update n (n before it) has the decay min(d, (1 + n) / (10 + n)).
fn warm_average(device: &Device) {
    let config = TrainConfig {
        adamw: AdamW {
            // Reached at n = 3.5.
            ema_decay: 1.0 / 3.0,
            ema_warmup: true,
            ..CONFIG.adamw
        },
        ..CONFIG
    };
    let mut trainer = Trainer::new(device, config).unwrap();
    let mut average = all(&trainer, Arena::Ema);
    for n in 0..6 {
        steps(&mut trainer, n, n + 1);
        let decay = f64::min(1.0 / 3.0, (1.0 + n as f64) / (10.0 + n as f64)) as f32;
        for (average, weight) in average.iter_mut().zip(all(&trainer, Arena::Params)) {
            *average = decay * *average + (1.0 - decay) * weight;
        }
        // Six roundings, whether or not the product and the sum are fused.
        let name = format!("average after {} updates", n + 1);
        assert_close(&name, &all(&trainer, Arena::Ema), &average, 1e-6);
    }
}

#[test]
fn the_average_warms_up_on_the_cpu() {
    warm_average(&Device::Cpu);
}

#[test]
fn the_average_warms_up_on_the_gpu() {
    warm_average(gpu());
}

#[test]
fn a_resumed_run_has_the_same_bits() {
    resumed(CONFIG);
    resumed(TrainConfig {
        adamw: AdamW {
            ema_warmup: true,
            ..CONFIG.adamw
        },
        ..CONFIG
    });
}

fn resumed(config: TrainConfig) {
    let mut whole = Trainer::new(&Device::Cpu, config).unwrap();
    let losses = steps(&mut whole, 0, 6);
    assert_eq!(losses.len(), 6);

    let mut first = Trainer::new(&Device::Cpu, config).unwrap();
    let mut resumed_losses = steps(&mut first, 0, 4);
    let mut second = Trainer::new(&Device::Cpu, config).unwrap();
    for (name, _) in model::params(&TINY) {
        for arena in [Arena::Params, Arena::MomentM, Arena::MomentV, Arena::Ema] {
            let values = pollster::block_on(first.arenas().read(arena, &name)).unwrap();
            second.arenas().write(arena, &name, &values).unwrap();
        }
    }
    second.set_n_updates(first.n_updates());
    resumed_losses.extend(steps(&mut second, 4, 6));
    assert_eq!(losses, resumed_losses);
    for arena in [Arena::Params, Arena::Ema, Arena::MomentM, Arena::MomentV] {
        let bits = |t: &Trainer| {
            all(t, arena)
                .iter()
                .map(|x| x.to_bits())
                .collect::<Vec<_>>()
        };
        assert_eq!(bits(&whole), bits(&second), "{arena:?}");
    }
}

/// A NaN in one image: the step changes nothing and says so, and the next step goes on.
fn not_finite(device: &Device) {
    let mut trainer = Trainer::new(device, CONFIG).unwrap();
    steps(&mut trainer, 0, 1);
    let before = [Arena::Params, Arena::MomentM, Arena::MomentV, Arena::Ema]
        .map(|arena| all(&trainer, arena));
    for bad in [f32::NAN, f32::INFINITY, 1e30] {
        let mut x1 = images(2, 2);
        x1[7] = bad;
        pollster::block_on(trainer.accumulate(
            0,
            Batch {
                x1: &x1,
                y: &[1, 2],
                first: 2,
            },
        ))
        .unwrap();
        let report = pollster::block_on(trainer.update(1e-2)).unwrap();
        assert!(report.skipped, "{bad}: {report:?}");
    }
    assert_eq!(trainer.n_updates(), 1);
    let after = [Arena::Params, Arena::MomentM, Arena::MomentV, Arena::Ema]
        .map(|arena| all(&trainer, arena));
    assert_eq!(before, after);
    steps(&mut trainer, 1, 2);
    assert_eq!(trainer.n_updates(), 2);
}

#[test]
fn a_step_that_is_not_finite_is_skipped_on_the_cpu() {
    not_finite(&Device::Cpu);
}

#[test]
fn a_step_that_is_not_finite_is_skipped_on_the_gpu() {
    not_finite(gpu());
}

/// At the start the network is 0, so that only the last layer learns; the dropped sigma rows never do.
#[test]
fn at_the_start_only_the_last_layer_learns() {
    let mut trainer = Trainer::new(&Device::Cpu, CONFIG).unwrap();
    steps(&mut trainer, 0, 1);
    for (name, _) in model::params(&TINY) {
        let grad = pollster::block_on(trainer.arenas().read(Arena::Grads, &name)).unwrap();
        let learns = name.starts_with("final_layer.linear");
        assert_eq!(grad.iter().any(|&x| x != 0.0), learns, "{name}");
        if learns {
            let row = grad.len() / 32;
            let (c, out) = (TINY.channels, TINY.out_channels());
            let dropped = (0..32).filter(|r| r % out >= c);
            assert!(
                dropped
                    .into_iter()
                    .all(|r| grad[r * row..][..row].iter().all(|&x| x == 0.0)),
                "{name}"
            );
        }
    }
}

fn forecast(device: &Device, config: TrainConfig) {
    let parts = config.forecast(device.max_segment_bytes()).unwrap();
    let forecast = parts.iter().map(|(_, bytes)| bytes).sum::<u64>() as f64;
    let trainer = Trainer::new(device, config).unwrap();
    let allocated = trainer.bytes() as f64;
    assert!(
        (allocated - forecast).abs() <= 0.05 * forecast,
        "{forecast} forecast, {allocated} allocated: {parts:?}"
    );
}

#[test]
fn the_memory_forecast_is_what_is_allocated_on_the_cpu() {
    forecast(
        &Device::Cpu,
        TrainConfig {
            accumulate: 2,
            ..CONFIG
        },
    );
    let model = ModelConfig {
        n_classes: 10,
        ..ModelConfig::preset("SiT-S/8").unwrap()
    };
    forecast(
        &Device::Cpu,
        TrainConfig {
            model,
            batch: 1,
            ..CONFIG
        },
    );
}

#[test]
fn the_memory_forecast_is_what_is_allocated_on_the_gpu() {
    forecast(
        gpu(),
        TrainConfig {
            batch: 16,
            ..CONFIG
        },
    );
}
