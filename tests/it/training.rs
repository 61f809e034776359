//! Accumulation, the moving average, resuming, and skipped steps.

use sit_engine::backend::Device;
use sit_engine::graph::Arena;
use sit_engine::model::{Condition, Dit, Network as _};
use sit_engine::objective::Batch;
use sit_engine::optim::{AdamW, Average};
use sit_engine::rng::{Stream, fill_normal};
use sit_engine::train::{Trainer, Training, Weights};
use sit_engine::transport::{Method, Sampler};
use sit_tests::net::{TINY, sine};
use sit_tests::{assert_close, gpu};

const ADAMW: AdamW = AdamW {
    betas: [0.9, 0.999],
    adam_eps: 1e-8,
    weight_decay: 0.0,
    clip: 0.0,
    ema_decay: 0.9,
    ema_warmup: false,
};

fn config() -> Training {
    Trainer::builder(TINY).adamw(ADAMW).batch(2)
}

fn trainer(training: Training) -> Trainer {
    training.build(&Device::Cpu).unwrap()
}

fn images(first: u64, n: usize) -> Vec<f32> {
    let len = TINY.io().image_len();
    (0..n)
        .flat_map(|i| sine(len, 0.9, 0.1, (first + i as u64) as f64))
        .collect()
}

fn labels(first: u64, n: usize) -> Vec<u32> {
    (0..n as u64)
        .map(|i| ((first + i) * 7 % 10) as u32)
        .collect()
}

/// Runs steps `from..to` on formula images and returns the losses.
fn steps(trainer: &mut Trainer, from: u64, to: u64) -> Vec<f64> {
    let n = trainer.training().images_per_step();
    let step = |step: u64| {
        let first = step * n as u64;
        let report = trainer.step(&images(first, n), &labels(first, n), 1e-2);
        report.unwrap().loss
    };
    (from..to).map(step).collect()
}

fn all(trainer: &Trainer, arena: Arena) -> Vec<f32> {
    let entries = trainer.layout().entries().iter();
    let read = |name: &str| pollster::block_on(trainer.arenas().read(arena, name)).unwrap();
    entries.flat_map(|entry| read(&entry.name)).collect()
}

#[test]
fn gradient_accumulation_is_the_big_batch() {
    let mut big = trainer(config().batch(6));
    let mut small = trainer(config().batch(2).accumulate(3));
    for step in 0..3 {
        let (a, b) = (
            steps(&mut big, step, step + 1),
            steps(&mut small, step, step + 1),
        );
        assert!((a[0] - b[0]).abs() <= 1e-6 * a[0], "{a:?} {b:?}");
    }
    // AdamW divides by the root of tiny second moments, which magnifies rounding, so the moments are compared instead.
    assert_close(
        "first moment",
        &all(&small, Arena::MomentM),
        &all(&big, Arena::MomentM),
        2e-5,
    );
}

/// The warm-up of the moving average: update n (n before it) has the decay min(d, (1 + n) / (10 + n)).
fn warm_average(device: &Device) {
    let adamw = AdamW {
        // The limit is reached at n = 3.5.
        ema_decay: 1.0 / 3.0,
        ema_warmup: true,
        ..ADAMW
    };
    let mut trainer = config().adamw(adamw).build(device).unwrap();
    let mut average = all(&trainer, Arena::Ema);
    for n in 0..6 {
        steps(&mut trainer, n, n + 1);
        let decay = f64::min(1.0 / 3.0, (1.0 + n as f64) / (10.0 + n as f64)) as f32;
        for (average, weight) in average.iter_mut().zip(all(&trainer, Arena::Params)) {
            *average = decay * *average + (1.0 - decay) * weight;
        }
        // Covers six roundings, whether or not product and sum are fused.
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

/// One average of each kind beside that of AdamW.
fn averages() -> Vec<Average> {
    let second = Average::Exponential {
        decay: 0.5,
        warmup: true,
    };
    vec![second, Average::power(0.1)]
}

/// The averages follow the weights by their decays: 1 - min(d, (1 + n) / (10 + n)), and 1 - (1 - 1/t)^(γ+1) with the γ of width 0.1.
fn other_averages(device: &Device) {
    const GAMMA: f64 = 6.937_203_937_601_81;
    let width = (GAMMA + 1.0).sqrt() / ((GAMMA + 2.0) * (GAMMA + 3.0).sqrt());
    assert!((width - 0.1).abs() < 1e-12, "{width}");
    let training = config().averages(averages());
    let mut trainer = training.build(device).unwrap();
    let arenas = [Arena::Average(0), Arena::Average(1)];
    let mut expected = arenas.map(|arena| all(&trainer, arena));
    for n in 0..6 {
        steps(&mut trainer, n, n + 1);
        let (n, t) = (n as f64, n as f64 + 1.0);
        let rates = [
            1.0 - f64::min(0.5, (1.0 + n) / (10.0 + n)),
            1.0 - (1.0 - 1.0 / t).powf(GAMMA + 1.0),
        ];
        let weights = all(&trainer, Arena::Params);
        for (k, rate) in rates.into_iter().enumerate() {
            for (average, &weight) in expected[k].iter_mut().zip(&weights) {
                let old = f64::from(*average);
                *average = (old + rate * (f64::from(weight) - old)) as f32;
            }
            let name = format!("average {k} after {t} updates");
            assert_close(&name, &all(&trainer, arenas[k]), &expected[k], 1e-6);
        }
    }
}

#[test]
fn other_averages_are_kept_on_the_cpu() {
    other_averages(&Device::Cpu);
}

#[test]
fn other_averages_are_kept_on_the_gpu() {
    other_averages(gpu());
}

#[test]
fn too_many_averages_are_refused() {
    let nine = config().averages(vec![Average::power(0.1); 9]);
    let error = nine.build(&Device::Cpu).unwrap_err().to_string();
    assert_eq!(error, "averages: got 9, expected at most 8");
}

#[test]
fn a_resumed_run_has_the_same_bits() {
    resumed(config());
    resumed(config().averages(averages()));
    resumed(config().adamw(AdamW {
        ema_warmup: true,
        ..ADAMW
    }));
}

fn resumed(config: Training) {
    let mut whole = trainer(config.clone());
    let losses = steps(&mut whole, 0, 6);
    assert_eq!(losses.len(), 6);

    let mut first = trainer(config.clone());
    let mut resumed_losses = steps(&mut first, 0, 4);
    let mut second = trainer(config);
    let kept = [Arena::Params, Arena::MomentM, Arena::MomentV, Arena::Ema];
    let others = (0..first.training().other_averages().len()).map(|k| Arena::Average(k as u8));
    let kept: Vec<Arena> = kept.into_iter().chain(others).collect();
    for entry in first.layout().entries() {
        for &arena in &kept {
            let values = pollster::block_on(first.arenas().read(arena, &entry.name)).unwrap();
            second.arenas().write(arena, &entry.name, &values).unwrap();
        }
    }
    second.resume_at(first.n_updates(), first.n_images());
    resumed_losses.extend(steps(&mut second, 4, 6));
    assert_eq!(losses, resumed_losses);
    for arena in kept {
        let bits = |t: &Trainer| {
            all(t, arena)
                .iter()
                .map(|x| x.to_bits())
                .collect::<Vec<_>>()
        };
        assert_eq!(bits(&whole), bits(&second), "{arena:?}");
    }
}

/// A NaN in one image: the step changes nothing and reports it, and the next step trains as usual.
fn not_finite(device: &Device) {
    const KEPT: [Arena; 6] = [
        Arena::Params,
        Arena::MomentM,
        Arena::MomentV,
        Arena::Ema,
        Arena::Average(0),
        Arena::Average(1),
    ];
    let mut trainer = config().averages(averages()).build(device).unwrap();
    steps(&mut trainer, 0, 1);
    let before = KEPT.map(|arena| all(&trainer, arena));
    for bad in [f32::NAN, f32::INFINITY, 1e30] {
        let mut x1 = images(2, 2);
        x1[7] = bad;
        let report = trainer.step(&x1, &[1, 2], 1e-2).unwrap();
        assert!(report.skipped, "{bad}: {report:?}");
    }
    assert_eq!(trainer.n_updates(), 1);
    let after = KEPT.map(|arena| all(&trainer, arena));
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
    let mut trainer = trainer(config());
    steps(&mut trainer, 0, 1);
    for entry in trainer.layout().entries() {
        let name = &entry.name;
        let grad = pollster::block_on(trainer.arenas().read(Arena::Grads, name)).unwrap();
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

fn forecast(device: &Device, config: Training) {
    let parts = config.forecast(device.max_segment_bytes()).unwrap();
    let forecast = parts.iter().map(|(_, bytes)| bytes).sum::<u64>() as f64;
    let trainer = config.build(device).unwrap();
    let allocated = trainer.bytes() as f64;
    assert!(
        (allocated - forecast).abs() <= 0.05 * forecast,
        "{forecast} forecast, {allocated} allocated: {parts:?}"
    );
}

#[test]
fn the_memory_forecast_is_what_is_allocated_on_the_cpu() {
    forecast(&Device::Cpu, config().accumulate(2).averages(averages()));
    let model = Dit {
        n_classes: 10,
        ..Dit::preset("SiT-S/8").unwrap()
    };
    forecast(&Device::Cpu, Trainer::builder(model).batch(1));
}

#[test]
fn the_memory_forecast_is_what_is_allocated_on_the_gpu() {
    forecast(gpu(), config().batch(16));
}

/// A step needs all of its batches before its update, and accepts no more.
#[test]
fn calls_out_of_turn_are_refused() {
    let mut trainer = trainer(config().accumulate(2));
    let (x1, y) = (images(0, 2), labels(0, 2));
    let batch = |first| Batch::new(&x1, &y, first);
    let update = |trainer: &mut Trainer| trainer.update(1e-2).map(drop);
    let error = update(&mut trainer).unwrap_err().to_string();
    assert_eq!(
        error,
        "the step has 0 batches, expected 2 before the update"
    );
    trainer.accumulate(batch(0)).unwrap();
    assert!(update(&mut trainer).is_err());
    trainer.accumulate(batch(2)).unwrap();
    let third = trainer.accumulate(batch(4)).unwrap_err();
    assert_eq!(
        third.to_string(),
        "the step has its 2 batches: update comes next"
    );
    update(&mut trainer).unwrap();
    assert_eq!((trainer.n_updates(), trainer.n_images()), (1, 4));
}

/// Blocks without gates learn from the first step on, also those before the last layer.
#[test]
fn blocks_without_gates_are_trained_and_sampled() {
    let plain = Dit {
        condition: Condition::AdaLn,
        ..TINY
    };
    let mut plain = Trainer::builder(plain)
        .adamw(ADAMW)
        .batch(2)
        .build(&Device::Cpu)
        .unwrap();
    let modulation = plain
        .layout()
        .get("blocks.0.adaLN_modulation.1.weight")
        .unwrap();
    assert_eq!(modulation.shape[0], 4 * TINY.dim);
    let losses = steps(&mut plain, 0, 60);
    assert!(
        losses[50..].iter().sum::<f64>() < 0.8 * losses[..10].iter().sum::<f64>(),
        "{losses:?}"
    );
    let grad = all(&plain, Arena::Grads);
    assert!(grad.iter().filter(|&&x| x != 0.0).count() > grad.len() / 2);
    let sampling = plain
        .model(Weights::Average)
        .sampler(Sampler::ode(Method::Heun, 2));
    let images = sampling.guidance(1.5).sample(&[1, 10]).unwrap();
    assert!(images.iter().all(|x| x.is_finite()));
}

/// Reflow: if the fixed pairs use the noise that training would have drawn, the step is the same.
#[test]
fn fixed_pairs_take_the_place_of_drawn_noise() {
    let (mut drawn, mut paired) = (trainer(config()), trainer(config()));
    let (x1, y) = (images(0, 2), labels(0, 2));
    let mut x0 = vec![0.0; x1.len()];
    fill_normal(0, Stream::Noise, 0, 0, &mut x0);
    let loss = |trainer: &mut Trainer, x0: Option<&[f32]>| {
        let mut batch = Batch::new(&x1, &y, 0);
        batch.x0 = x0;
        trainer.accumulate(batch).unwrap();
        trainer.update(1e-2).unwrap().loss
    };
    let want = loss(&mut drawn, None);
    assert_eq!(loss(&mut paired, Some(&x0)), want);
    assert_eq!(all(&paired, Arena::Params), all(&drawn, Arena::Params));
    x0[3] += 1.0;
    assert!(loss(&mut trainer(config()), Some(&x0)) != want);
}
