//! Schedules, chains and steps. The numbers of the reference are compared in `tests/it/official/ddpm.rs`.

use super::*;
use crate::transport::testing::{Gaussian, assert_near, predictions};
use crate::transport::{DdpmMethod, DdpmSampler};
use crate::transport::{
    LossWeight, Method, Ode, Path, Prediction, Sampler, Times, TimesKind, Transport, schedule,
};
use std::sync::Arc;

const DATA: Gaussian = Gaussian {
    mean: 0.8,
    std: 0.5,
};

fn transport(ddpm: Ddpm, prediction: Prediction) -> Transport {
    Transport {
        path: Path::Ddpm(Arc::new(ddpm)),
        prediction,
        ..Transport::default()
    }
}

fn fixed(variance: Variance) -> Ddpm {
    Ddpm {
        variance,
        ..Ddpm::default()
    }
}

fn respacing(text: &str) -> Option<Respacing> {
    Some(text.parse().unwrap())
}

#[test]
fn every_index_has_its_time_and_its_noise_level_exactly() {
    for (schedule, n) in [
        (DdpmSchedule::Linear, 1000),
        (DdpmSchedule::Cosine, 1000),
        (DdpmSchedule::Cosine, 7),
        (DdpmSchedule::Linear, 4001),
    ] {
        let ddpm = Ddpm::new(schedule, n).unwrap();
        let path = Path::Ddpm(Arc::new(ddpm.clone()));
        let chain = ddpm.chain().unwrap();
        for i in 0..n as usize {
            let t = ddpm.time(i);
            assert_eq!(ddpm.index(t), i as f64);
            let abar = chain.abar(i);
            assert_near("alpha", path.alpha(t) / abar.sqrt(), 1.0, 1e-12);
            assert_near("sigma", path.sigma(t) / (1.0 - abar).sqrt(), 1.0, 1e-9);
            assert_near("time", path.time_of(path.half_log_snr(t)), t, 1e-9);
        }
        assert_eq!([path.alpha(1.0), path.sigma(1.0)], [1.0, 0.0]);
    }
}

/// Between the indices `ln abar` is linear, and its derivative is that of the path.
#[test]
fn derivatives_are_those_of_the_path() {
    let path = Path::Ddpm(Arc::default());
    for t in [0.0005, 0.1234, 0.5678, 0.99871] {
        let h = 1e-7;
        let slope = |f: &dyn Fn(f64) -> f64| (f(t + h) - f(t - h)) / (2.0 * h);
        assert_near("alpha", path.d_alpha(t), slope(&|t| path.alpha(t)), 1e-6);
        assert_near("sigma", path.d_sigma(t), slope(&|t| path.sigma(t)), 1e-6);
    }
}

#[test]
fn too_few_noise_levels_are_refused_with_the_beta() {
    for n in [1, 2, 19, 20] {
        let message = Ddpm::new(DdpmSchedule::Linear, n).unwrap_err().to_string();
        assert!(
            message.starts_with(&format!(
                "ddpm_steps: got {n}, with which the linear schedule has a beta of"
            )),
            "{message}"
        );
        assert!(Ddpm::new(DdpmSchedule::Cosine, n).is_ok());
    }
    assert!(Ddpm::new(DdpmSchedule::Linear, 21).is_ok());
    for n in [0, 100_001] {
        let message = Ddpm::new(DdpmSchedule::Cosine, n).unwrap_err().to_string();
        assert!(message.contains("expected 1 to 100000"), "{message}");
    }
}

#[test]
fn respacings_come_back_and_wrong_ones_say_what_is_wrong() {
    for text in ["all", "250", "10,15,20", "ddim50"] {
        assert_eq!(text.parse::<Respacing>().unwrap().to_string(), text);
    }
    for text in ["", "0", "ddim", "ddim0", "10,,5", "-3", "1.5", "10,0"] {
        let message = text.parse::<Respacing>().unwrap_err().to_string();
        assert!(message.starts_with("respacing: got \""), "{message}");
    }
    for wrong in [
        Respacing::Sections(vec![]),
        Respacing::Sections(vec![3, 0]),
        Respacing::Sections(vec![1001]),
        Respacing::Sections(vec![1; 1001]),
        Respacing::Ddim(0),
        Respacing::Ddim(300),
    ] {
        let message = wrong.indices(1000, "respacing").unwrap_err().to_string();
        assert!(message.starts_with("respacing: got "), "{message}");
    }
}

/// A single step predicts the image from the first level, and adds no noise.
#[test]
fn a_chain_of_one_level_works() {
    for variance in Variance::ALL {
        let transport = transport(fixed(*variance), Prediction::Noise);
        for sampler in [DdpmSampler::ancestral(), DdpmSampler::ddim(1.0)] {
            let sampler = DdpmSampler {
                respacing: respacing("1"),
                ..sampler
            };
            let steps = schedule(&transport, &sampler.into()).unwrap();
            assert_eq!(steps.len(), 1);
            assert_eq!((steps[0].noise(), steps[0].t_next), (0.0, 1.0));
            let mut x = [0.3];
            steps[0].apply(&mut x, &[], |_, _| vec![0.0, 0.0]);
            let alpha = transport.path.alpha(steps[0].t);
            assert_near("image", x[0], 0.3 / alpha, 1e-12);
        }
        let chain =
            Chain::new(transport.path.ddpm().unwrap(), &respacing("1").unwrap(), "").unwrap();
        assert!(chain.log_variance(*variance, 0)[0].is_finite());
    }
}

/// Every prediction gives the same steps, on its own path and, for models of other paths, by the change of scale and time.
#[test]
fn samplers_agree_for_every_model() {
    let mut models: Vec<Transport> = [Prediction::Noise, Prediction::Data, Prediction::Mean]
        .map(|prediction| transport(fixed(Variance::FixedSmall), prediction))
        .into();
    for path in [Path::Linear, Path::Gvp, Path::OU] {
        for &prediction in predictions(&path) {
            models.push(Transport {
                path: path.clone(),
                prediction,
                ..Transport::default()
            });
        }
    }
    for sampler in [
        DdpmSampler::ancestral(),
        DdpmSampler::ddim(0.0),
        DdpmSampler::ddim(0.7),
        DdpmSampler {
            clip_x0: Some(0.9),
            ..DdpmSampler::ancestral()
        },
        DdpmSampler {
            clip_x0: Some(1.0),
            ..DdpmSampler::ddim(1.0)
        },
    ] {
        // A predicted mean is that of neighboring levels, and is not clamped.
        let is_clipped = sampler.clip_x0.is_some() && sampler.method == DdpmMethod::Ancestral;
        let sampler = Sampler::from(sampler);
        let run = |model: &Transport| {
            let mut x = [0.7, -1.1];
            for step in schedule(model, &sampler).unwrap() {
                step.apply(&mut x, &[0.3, -0.6], |x, t| {
                    let network = DATA.network(model, t);
                    x.iter().map(|x| network.at(*x)).collect()
                });
            }
            x
        };
        let want = run(&models[0]);
        for model in &models[1..] {
            if is_clipped && model.prediction == Prediction::Mean {
                continue;
            }
            let got = run(model);
            for (got, want) in got.into_iter().zip(want) {
                let what = format!("{} {} {sampler:?}", model.path, model.prediction);
                assert_near(&what, got, want, 2e-6);
            }
        }
    }
}

/// Ancestral sampling and DDIM of exact predictions reach the data's distribution, as do the ODE's solvers on the same path.
#[test]
fn exact_predictions_reach_the_data() {
    let model = transport(fixed(Variance::FixedSmall), Prediction::Noise);
    let ddim: Sampler = DdpmSampler::ddim(0.0).into();
    let heun = Sampler::Ode(Ode {
        method: Method::Heun,
        n_steps: 999,
        ..Ode::default()
    });
    let dpm = Sampler::ode(Method::DpmPlusPlus2m, 200);
    let end = |sampler: &Sampler, x: f64| {
        let mut x = [x];
        let mut history = Vec::new();
        for step in schedule(&model, sampler).unwrap() {
            step.apply_with(&mut x, &mut history, &[], |x, t| {
                vec![DATA.network(&model, t).at(x[0])]
            });
        }
        x[0]
    };
    for x in [-1.5, 0.2, 2.0] {
        let exact = DATA.flow(&model.path, 0.0, 1.0);
        let want = exact.slope * x + exact.offset;
        assert_near("ddim", end(&ddim, x), want, 1e-2);
        assert_near("heun", end(&heun, x), want, 1e-2);
        assert_near("dpm++2m", end(&dpm, x), want, 1e-2);
    }
    // Ancestral sampling is linear for these data: mean and variance follow from the coefficients.
    let (mut mean, mut variance) = (0.0, 1.0);
    for step in schedule(&model, &DdpmSampler::ancestral().into()).unwrap() {
        let network = |x: &[f64], t: f64| vec![DATA.network(&model, t).at(x[0])];
        let run = |x: f64, noise: f32| {
            let mut x = [x];
            step.apply(&mut x, &[noise], network);
            x[0]
        };
        let (offset, slope) = (run(0.0, 0.0), run(1.0, 0.0) - run(0.0, 0.0));
        let noise = run(0.0, 1.0) - offset;
        (mean, variance) = (
            slope * mean + offset,
            slope * slope * variance + noise * noise,
        );
    }
    assert_near("mean", mean, DATA.mean, 1e-2);
    assert_near("deviation", variance.sqrt(), DATA.std, 1e-2);
}

/// Inversion and sampling undo each other, but for the last step of the inversion, which goes beyond the chain.
#[test]
fn ddim_goes_back_and_forth() {
    let model = transport(Ddpm::default(), Prediction::Noise);
    let back = DdpmSampler {
        reverse: true,
        ..DdpmSampler::ddim(0.0)
    };
    let network = |x: &[f64], t: f64| vec![DATA.network(&model, t).at(x[0])];
    let back = schedule(&model, &back.into()).unwrap();
    assert_eq!((back[0].t, back[999].t_next), (1.0, 0.0));
    assert!(back.windows(2).all(|pair| pair[0].t_next == pair[1].t));
    let mut x = [0.45];
    for step in &back[..999] {
        step.apply(&mut x, &[], network);
    }
    for step in schedule(&model, &DdpmSampler::ddim(0.0).into()).unwrap() {
        step.apply(&mut x, &[], network);
    }
    assert_near("image", x[0], 0.45, 1e-2);
}

#[test]
fn settings_that_do_not_go_together_are_refused_by_key() {
    let noise = transport(Ddpm::default(), Prediction::Noise);
    for (transport, expected) in [
        (
            transport(Ddpm::default(), Prediction::Velocity),
            "prediction: got velocity, expected noise, data or mean on the DDPM path",
        ),
        (
            Transport {
                prediction: Prediction::Mean,
                ..Transport::default()
            },
            "prediction: got mean on the Linear path",
        ),
        (
            Transport {
                loss_weight: LossWeight::Velocity,
                ..noise.clone()
            },
            "loss_weight: got velocity, expected none on the DDPM path",
        ),
        (
            Transport {
                times: Times::usual(TimesKind::LogitNormal),
                ..noise.clone()
            },
            "times: expected uniform",
        ),
        (
            Transport {
                t_eps_train: Some(0.0),
                ..noise.clone()
            },
            "t_eps_train: expected none",
        ),
    ] {
        let message = transport.target().unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
    let refusal = |transport: &Transport, sampler: DdpmSampler| {
        schedule(transport, &sampler.into())
            .unwrap_err()
            .to_string()
    };
    let ancestral = DdpmSampler::ancestral;
    for (sampler, expected) in [
        (
            DdpmSampler::ddim(1.5),
            "eta: got 1.5, expected a number from 0 to 1",
        ),
        (DdpmSampler::ddim(f64::NAN), "eta: got NaN"),
        (
            DdpmSampler {
                eta: 0.5,
                ..ancestral()
            },
            "eta: got 0.5, expected 0: only ddim",
        ),
        (
            DdpmSampler {
                reverse: true,
                ..ancestral()
            },
            "reverse: ",
        ),
        (
            DdpmSampler {
                clip_x0: Some(0.0),
                ..ancestral()
            },
            "clip_x0: got 0",
        ),
        (
            DdpmSampler {
                respacing: respacing("ddim300"),
                ..ancestral()
            },
            "respacing: got ddim300",
        ),
        (
            DdpmSampler {
                variance: Some(Variance::Learned),
                ..ancestral()
            },
            "ddpm_variance: got learned, but the model has learned its steps with learned-range",
        ),
    ] {
        let message = refusal(&noise, sampler);
        assert!(message.starts_with(expected), "{message}");
    }
    let learned = DdpmSampler {
        variance: Some(Variance::LearnedRange),
        ..ancestral()
    };
    let message = refusal(&Transport::default(), learned);
    assert!(
        message.starts_with("ddpm_variance: got learned-range, but a model of the Linear path"),
        "{message}"
    );
    // A path that never comes near to noise alone.
    let short = Transport {
        path: Path::Ou { time: 1.0 },
        ..Transport::default()
    };
    let message = refusal(&short, ancestral());
    assert!(
        message.starts_with("ddpm: the model's OU path lacks noise level"),
        "{message}"
    );
}

#[test]
fn a_sampler_comes_back_from_a_file() {
    for sampler in [
        DdpmSampler::ancestral(),
        DdpmSampler {
            respacing: respacing("10,15,20"),
            clip_x0: Some(1.0),
            variance: Some(Variance::FixedLarge),
            schedule: DdpmSchedule::Cosine,
            ..DdpmSampler::ddim(0.5)
        },
    ] {
        let sampler = Sampler::Ddpm(sampler);
        let json = serde_json::to_string(&sampler).unwrap();
        let back: Sampler = serde_json::from_str(&json).unwrap();
        assert_eq!(back, sampler, "{json}");
    }
    let settings = Transport {
        path: Path::Ddpm(Arc::new(Ddpm {
            loss: DdpmLoss::RescaledMse,
            times: DdpmTimes::SecondMoment,
            rescale_times: true,
            respacing: Respacing::Ddim(50),
            ..Ddpm::usual(DdpmSchedule::Cosine)
        })),
        prediction: Prediction::Noise,
        ..Transport::default()
    };
    let json = serde_json::to_string(&settings).unwrap();
    assert_eq!(
        serde_json::from_str::<Transport>(&json).unwrap(),
        settings,
        "{json}"
    );
    for (text, expected) in [
        (
            r#"{"ddpm_steps": 500}"#,
            "ddpm_steps: it belongs to the path DDPM, and the path is Linear",
        ),
        (
            r#"{"path": "DDPM", "ddpm_steps": 20}"#,
            "ddpm_steps: got 20",
        ),
        (
            r#"{"path": "DDPM", "vp_beta": [0.1, 20.0]}"#,
            "vp_beta: it belongs to the path VP",
        ),
    ] {
        let message = serde_json::from_str::<Transport>(text)
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message}");
    }
}
