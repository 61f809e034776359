//! Training of discrete diffusion: what the objective learns, and networks without a variance; and of a bridge between two data sets.

use super::*;
use crate::model::Dit;
use crate::transport::{
    Base, Ddpm, DdpmLoss, DdpmSchedule, DdpmTimes, Path, Prediction, Transport, Variance,
};

const TINY: Dit = Dit {
    input_size: 4,
    channels: 1,
    patch: 2,
    dim: 16,
    depth: 1,
    n_heads: 2,
    n_classes: 3,
    learn_sigma: true,
    ..Dit::SIT
};

fn discrete(change: impl FnOnce(&mut Ddpm)) -> Transport {
    let mut ddpm = Ddpm::new(DdpmSchedule::Cosine, 3).unwrap();
    change(&mut ddpm);
    Transport {
        path: Path::Ddpm(Arc::new(ddpm)),
        prediction: Prediction::Noise,
        ..Transport::default()
    }
}

fn trainer(network: Dit, transport: Transport) -> Result<Trainer> {
    let training = Trainer::builder(network).transport(transport);
    training.batch(8).seed(3).build(&Device::Cpu)
}

fn step(trainer: &mut Trainer) -> Vec<(f64, f64)> {
    let x1: Vec<f32> = (0..8 * 16).map(|i| (0.3 * i as f32).sin()).collect();
    let report = trainer.step(&x1, &[0, 1, 2, 0, 1, 2, 0, 1], 1e-3).unwrap();
    assert!(!report.skipped && report.loss.is_finite());
    report.by_image.clone()
}

#[test]
fn times_drawn_by_their_losses_go_on_from_a_state() {
    let transport = || discrete(|ddpm| ddpm.times = DdpmTimes::SecondMoment);
    let mut first = trainer(TINY, transport()).unwrap();
    // Enough for ten losses of each of the three times.
    for _ in 0..12 {
        step(&mut first);
    }
    let state = first.objective_state();
    assert_eq!(state.len(), 3 * 11);
    assert_eq!(state[..3], [10.0; 3]);
    let mut second = trainer(TINY, transport()).unwrap();
    second.resume_at(first.n_updates(), first.n_images());
    second.restore_objective(&state).unwrap();
    let mut unaware = trainer(TINY, transport()).unwrap();
    unaware.resume_at(first.n_updates(), first.n_images());
    let times = |trainer: &mut Trainer| -> Vec<f64> {
        (0..4).flat_map(|_| step(trainer)).map(|(t, _)| t).collect()
    };
    // The weights differ, so only the first step draws by equal losses.
    let (want, got, other) = (times(&mut first), times(&mut second), times(&mut unaware));
    assert_eq!(got[..8], want[..8]);
    assert_ne!(other, want);
    let wrong = trainer(TINY, discrete(|_| ())).unwrap();
    let message = wrong.restore_objective(&state).unwrap_err().to_string();
    assert!(
        message.contains("expected none with uniform ddpm_times"),
        "{message}"
    );
}

#[test]
fn every_loss_and_variance_trains() {
    for &loss in DdpmLoss::ALL {
        for &variance in Variance::ALL {
            for prediction in [Prediction::Noise, Prediction::Data, Prediction::Mean] {
                let transport = Transport {
                    prediction,
                    ..discrete(|ddpm| (ddpm.loss, ddpm.variance) = (loss, variance))
                };
                let mut trainer = trainer(TINY, transport).unwrap();
                let losses = step(&mut trainer);
                assert!(losses.iter().all(|(t, _)| {
                    [0.0, 1.0 / 3.0, 2.0 / 3.0]
                        .iter()
                        .any(|known| (t - known).abs() < 1e-6)
                }));
            }
        }
    }
}

#[test]
fn a_learned_variance_needs_outputs_for_it() {
    let plain = Dit {
        learn_sigma: false,
        ..TINY
    };
    let message = trainer(plain, discrete(|_| ())).unwrap_err().to_string();
    assert!(
        message.starts_with(
            "ddpm_variance: got learned-range, but the network has 1 outputs per pixel"
        ),
        "{message}"
    );
    let fixed = discrete(|ddpm| ddpm.variance = Variance::FixedSmall);
    step(&mut trainer(plain, fixed).unwrap());
}

#[test]
fn a_bridge_takes_its_x0_from_the_batch_and_never_draws_noise() {
    let network = Dit {
        learn_sigma: false,
        n_classes: 0,
        ..TINY
    };
    let transport = Transport {
        base: Base::Data("toy:moons".into()),
        ..Transport::default()
    };
    let mut bridge = trainer(network, transport).unwrap();
    let (x1, x0) = (vec![0.5; 8 * 16], vec![-0.25; 8 * 16]);
    let message = bridge.step(&x1, &[], 1e-3).unwrap_err().to_string();
    assert!(
        message.starts_with("base: this model begins with data:toy:moons"),
        "{message}"
    );
    let mut batch = Batch::new(&x1, &[], 0);
    batch.x0 = Some(&x0);
    bridge.accumulate(batch).unwrap();
    // The new network predicts 0, and the velocity of the Linear path is x1 - x0 at every time.
    let loss = bridge.update(1e-3).unwrap().loss;
    assert!((loss - 0.75 * 0.75).abs() < 1e-6, "{loss}");
    let sampling = bridge
        .model(Weights::Trained)
        .sampler(crate::transport::Sampler::ode(
            crate::transport::Method::Heun,
            2,
        ));
    let message = sampling.clone().sample(&[0]).unwrap_err().to_string();
    assert!(message.contains("`start_from`"), "{message}");
    let mut session = sampling.batch(1).session().unwrap();
    session.start_from(0, &[0], &x0[..16], &[]).unwrap();
    session.step().unwrap();
}
