//! Training of an autoencoder: its loss against the programs of its halves, and what its noise depends on.

use sit_engine::autoencoder::{Autoencoder, AutoencoderKl};
use sit_engine::backend::Device;
use sit_engine::checkpoint::{Precision, Reader};
use sit_engine::model::AutoencoderNet;
use sit_engine::objective::{Autoencode, Batch, Reconstruction};
use sit_engine::rng::{Stream, fill_normal};
use sit_engine::train::{Report, Trainer, Validation, Weights};
use sit_engine::transport::Transport;
use sit_tests::net::sine;
use std::io::Cursor;

const SEED: u64 = 5;
const BATCH: usize = 4;
const SIDE: usize = 12;
const LATENT: usize = 3 * 6 * 6;

fn net() -> AutoencoderNet {
    AutoencoderNet {
        input_size: SIDE,
        channels: 1,
        latent_channels: 3,
        widths: vec![8, 16],
        blocks: 1,
        groups: 4,
        middle_attention: false,
    }
}

fn images() -> Vec<f32> {
    sine(BATCH * SIDE * SIDE, 0.9, 0.37, 0.1)
}

fn trainer(objective: Autoencode, batch: usize) -> Trainer {
    let training = Trainer::builder(net()).objective(objective).seed(SEED);
    let training = training.batch(batch).accumulate(BATCH / batch);
    training.build(&Device::Cpu).unwrap()
}

fn part(report: &Report, name: &str) -> f64 {
    let found = report.parts.iter().find(|(part, _)| *part == name);
    found.unwrap_or_else(|| panic!("{:?}", report.parts)).1
}

/// Reconstruction and divergence, by the halves of the saved model.
fn by_halves(trainer: &Trainer, reconstruction: Reconstruction) -> (f64, f64) {
    let mut file = Vec::new();
    let model = trainer.model(Weights::Trained);
    model.save(&mut file, None, Precision::F32).unwrap();
    let mut reader = Reader::new("the model", Cursor::new(file)).unwrap();
    let kl: AutoencoderKl = net().kl();
    let autoencoder = Autoencoder::load(&Device::Cpu, kl, &mut reader).unwrap();
    let x = images();
    let mut encoder = autoencoder.encoder([SIDE; 2], 1, None).unwrap();
    let posterior = encoder.encode(&x).unwrap();
    let mut noise = vec![0.0; BATCH * LATENT];
    fill_normal(SEED, Stream::Posterior, 0, 0, &mut noise);
    let z = posterior.sample(&noise);
    let mut decoder = autoencoder.decoder([SIDE; 2], 1, None).unwrap();
    let again = decoder.decode(&z).unwrap();
    let distances = x.iter().zip(&again).map(|(x, again)| {
        let d = f64::from(again - x);
        match reconstruction {
            Reconstruction::L1 => d.abs(),
            Reconstruction::Mse => d * d,
        }
    });
    let moments = posterior.mean.iter().zip(&posterior.log_variance);
    let divergences = moments.map(|(mean, l)| {
        let (mean, l) = (f64::from(*mean), f64::from(*l));
        0.5 * (mean * mean + l.exp() - 1.0 - l)
    });
    let n = x.len() as f64;
    (
        distances.sum::<f64>() / n,
        divergences.sum::<f64>() / BATCH as f64,
    )
}

#[test]
fn the_loss_is_that_of_encoding_drawing_and_decoding() {
    for reconstruction in [Reconstruction::L1, Reconstruction::Mse] {
        let objective = Autoencode {
            reconstruction,
            kl_weight: 1e-3,
        };
        let mut trainer = trainer(objective, BATCH);
        let (distance, divergence) = by_halves(&trainer, reconstruction);
        let report = trainer.step(&images(), &[], 1e-3).unwrap().clone();
        for (got, want) in [
            (part(&report, "reconstruction"), distance),
            (part(&report, "kl"), divergence),
            (report.loss, distance + 1e-3 * divergence),
        ] {
            assert!((got / want - 1.0).abs() < 1e-5, "{got} {want}");
        }
        assert!(report.by_image.iter().all(|(t, _)| t.is_nan()));
        for _ in 0..30 {
            trainer.step(&images(), &[], 1e-3).unwrap();
        }
        let later = trainer.step(&images(), &[], 1e-3).unwrap().loss;
        assert!(later < 0.7 * report.loss, "{later} {}", report.loss);
    }
}

#[test]
fn an_image_has_its_noise_whatever_the_batch() {
    let first = |batch: usize| -> Vec<(f64, f64)> {
        let mut trainer = trainer(Autoencode::default(), batch);
        let report = trainer.step(&images(), &[], 1e-3).unwrap().clone();
        report.by_image
    };
    let losses =
        |by_image: &[(f64, f64)]| -> Vec<f64> { by_image.iter().map(|(_, loss)| *loss).collect() };
    let whole = losses(&first(BATCH));
    assert_eq!(losses(&first(1)), whole);
    assert_eq!(losses(&first(2)), whole);
    // Held-out images have other noise.
    let trainer = trainer(Autoencode::default(), BATCH);
    let mut validation = Validation::new(&trainer, Weights::Trained).unwrap();
    let x = images();
    let batch = Batch::new(&x, &[], 0);
    let held_out = losses(&validation.losses(batch).unwrap());
    assert_ne!(held_out, whole);
    assert_eq!(held_out, losses(&validation.losses(batch).unwrap()));
}

#[test]
fn settings_that_make_no_loss_are_refused() {
    let refused = |kl_weight: f64| {
        let objective = Autoencode {
            kl_weight,
            ..Autoencode::default()
        };
        let built = Trainer::builder(net())
            .objective(objective)
            .build(&Device::Cpu);
        built.unwrap_err().to_string()
    };
    for weight in [-1.0, f64::NAN, f64::INFINITY, 1e7] {
        let message = refused(weight);
        assert!(
            message.contains("kl_weight: got") && message.contains("from 0 to 1e6"),
            "{message}"
        );
    }
    let transformer = Trainer::builder(sit_tests::net::TINY).objective(Autoencode::default());
    let message = transformer.build(&Device::Cpu).unwrap_err().to_string();
    assert!(message.contains("expected an autoencoder"), "{message}");
    let transport = Transport {
        t_eps_sample: Some(0.1),
        ..Transport::default()
    };
    let with_path = Trainer::builder(net()).transport(transport);
    let message = with_path.build(&Device::Cpu).unwrap_err().to_string();
    assert!(message.starts_with("transport: got"), "{message}");
}
