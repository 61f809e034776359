//! What guidance by a classifier adds to the steps of a chain.

use super::*;
use crate::transport::schedule;

fn model(variance: Variance) -> Transport {
    let mut ddpm = Ddpm::default();
    ddpm.variance = variance;
    Transport {
        path: Path::Ddpm(Arc::new(ddpm)),
        prediction: Prediction::Noise,
        ..Transport::default()
    }
}

/// What a classifier's gradient g adds: the variance times g to the mean, and to DDIM's noise -sigma g (arXiv 2105.05233, algorithms 1, 2).
#[test]
fn a_gradient_moves_the_mean_and_ddims_noise() {
    let g = 0.3;
    let respaced = |sampler: DdpmSampler| DdpmSampler {
        respacing: Some("10".parse().unwrap()),
        ..sampler
    };
    for (variance, last) in [(Variance::FixedSmall, false), (Variance::FixedLarge, true)] {
        let transport = model(variance);
        let steps = schedule(&transport, &respaced(DdpmSampler::ancestral()).into()).unwrap();
        for (i, step) in steps.iter().enumerate() {
            let posterior = step.as_posterior().unwrap();
            let std = libm::exp(posterior.log_std[0]);
            match i + 1 < steps.len() {
                true => assert!((posterior.gradient / (std * std) - 1.0).abs() < 1e-12),
                // The last step draws nothing, but a large variance is not 0.
                false => assert_eq!(posterior.gradient > 0.0, last, "{variance}"),
            }
        }
    }
    let samplers = [
        DdpmSampler::ddim(0.0),
        DdpmSampler::ddim(0.7),
        DdpmSampler {
            reverse: true,
            ..DdpmSampler::ddim(0.0)
        },
    ];
    for sampler in samplers.map(respaced) {
        let transport = model(Variance::FixedSmall);
        for step in schedule(&transport, &sampler.into()).unwrap() {
            let to = |change: f64| {
                let mut x = [0.8];
                step.apply(&mut x, &[0.0], |_, t| {
                    vec![0.1 - change * transport.path.sigma(t)]
                });
                x[0]
            };
            let factor = step.as_posterior().unwrap().gradient;
            let moved = to(g) - to(0.0);
            assert!((moved - factor * g).abs() < 1e-10, "{moved} {factor}");
        }
    }
}
