//! Every combination of settings trains and samples to finite numbers, or is refused with the reason.

mod pairs;

use pairs::{all_pairs, product};
use sit_engine::backend::Device;
use sit_engine::error::Error;
use sit_engine::model::{Dit, Model};
use sit_engine::train::Trainer;
use sit_engine::transport::{
    Curve, DdpmMethod, DdpmSampler, DdpmSchedule, Diffusion, DiffusionForm, Edm, EdmMethod, Grid,
    KlEta, LastStep, LossWeight, Method, Ode, Path, PathName, PathTable, Prediction, Respacing,
    Sampler, Sde, SdeMethod, Times, TimesKind, Tolerance, Transport, Variance,
};
use sit_tests::net::{self, TINY, sine, sine_weights};
use std::sync::Arc;

const SMALL: Dit = Dit {
    input_size: 4,
    channels: 1,
    patch: 2,
    dim: 8,
    depth: 1,
    n_heads: 2,
    n_classes: 2,
    ..TINY
};

fn paths() -> Vec<Path> {
    let mut paths: Vec<Path> = PathName::ALL
        .iter()
        .filter_map(|name| name.usual())
        .collect();
    // Slow at both ends, alpha and sigma of no other path.
    let row = |i: u32| {
        let t = f64::from(i) / 8.0;
        let alpha = t * t * (3.0 - 2.0 * t);
        [t, alpha, 1.0 - alpha]
    };
    let table = PathTable::new((0..=8).map(row).collect()).unwrap();
    paths.push(Path::Table(Arc::new(table)));
    paths
}

/// Every path, prediction and weight.
fn transports() -> Vec<Transport> {
    let mut all = Vec::new();
    for path in paths() {
        for &prediction in Prediction::ALL {
            for &loss_weight in LossWeight::ALL {
                all.push(Transport {
                    path: path.clone(),
                    prediction,
                    loss_weight,
                    ..Transport::default()
                });
            }
        }
    }
    all
}

fn times() -> Vec<Times> {
    let mut all: Vec<Times> = TimesKind::ALL.iter().map(|&k| Times::usual(k)).collect();
    all.push(Times {
        shift: 3.0,
        ..Times::default()
    });
    all
}

/// A refusal that names a setting and says what is wrong with it.
fn assert_reason(what: &str, error: &Error) {
    let is_named = match error {
        Error::Setting { key, problem } => !key.is_empty() && problem.len() > 10,
        Error::Config(text) => text.contains('`') || text.contains("the path"),
        _ => false,
    };
    assert!(is_named, "{what}: expected a setting and a reason: {error}");
}

fn assert_finite(what: &str, values: &[f32]) {
    assert!(values.iter().all(|x| x.is_finite()), "{what}: {values:?}");
}

/// Every path, prediction, weight and distribution of times takes training steps.
#[test]
fn training_is_finite_or_refused() {
    let (mut n_valid, mut n_refused) = (0, 0);
    for transport in transports() {
        for times in times() {
            let transport = Transport {
                times,
                ..transport.clone()
            };
            let what = format!("{transport:?}");
            let builder = Trainer::builder(SMALL).transport(transport).batch(3);
            match builder.build(&Device::Cpu) {
                Err(error) => {
                    assert_reason(&what, &error);
                    n_refused += 1;
                }
                Ok(mut trainer) => {
                    for step in 0..2 {
                        let x = sine(3 * 16, 0.9, 0.7, f64::from(step));
                        let report = trainer.step(&x, &[0, 1, 0], 1e-3).expect(&what);
                        assert!(report.loss.is_finite() && !report.skipped, "{what}");
                    }
                    n_valid += 1;
                }
            }
        }
    }
    assert!(n_valid > 150, "{n_valid} valid, {n_refused} refused");
}

/// Factors of a sampler, by number.
struct Family {
    sizes: Vec<usize>,
    sampler: fn(&[usize]) -> Sampler,
}

const ALONG: [Option<Path>; 5] = [
    None,
    Some(Path::Linear),
    Some(Path::Gvp),
    Some(Path::VP),
    Some(Path::OU),
];

fn grid(i: usize, end: f64) -> Grid {
    match i {
        0 => Grid::Uniform,
        1 => Grid::Shift(3.0),
        2 => Grid::Power(2.0),
        _ => Grid::times(vec![0.01, 0.3, end]).unwrap(),
    }
}

fn ode(row: &[usize]) -> Sampler {
    Sampler::Ode(Ode {
        method: Method::ALL[row[0]],
        n_steps: 3,
        grid: grid(row[1], 0.99),
        last_euler: row[2] == 1,
        reverse: row[3] == 1,
        along: ALONG[row[4]].clone(),
        tolerance: Tolerance {
            rtol: 0.05,
            ..Tolerance::default()
        },
    })
}

fn sde(row: &[usize]) -> Sampler {
    let form = DiffusionForm::ALL[row[1]];
    let kl = || KlEta {
        eta: 0.1,
        loss: Curve::through(vec![[0.0, 1.0], [1.0, 0.1]]).unwrap(),
    };
    Sampler::Sde(Sde {
        method: SdeMethod::ALL[row[0]],
        diffusion: Diffusion {
            kl: (form == DiffusionForm::WKlEta).then(kl),
            ..Diffusion::new(form, 1.0)
        },
        last_step: LastStep::ALL[row[2]],
        n_steps: 3,
        grid: grid(row[3], 0.96),
        noise_window: [[0.0, 1.0], [0.2, 0.8]][row[4]],
        along: ALONG[row[5]].clone(),
        ..Sde::default()
    })
}

fn edm(row: &[usize]) -> Sampler {
    Sampler::Edm(Edm {
        method: EdmMethod::ALL[row[0]],
        n_steps: 3,
        churn: [0.0, 1.0][row[1]],
        ..Edm::default()
    })
}

fn ddpm(row: &[usize]) -> Sampler {
    let schedules = DdpmSchedule::ALL;
    Sampler::Ddpm(DdpmSampler {
        method: DdpmMethod::ALL[row[0]],
        respacing: Some([Respacing::Sections(vec![4]), Respacing::Ddim(4)][row[1]].clone()),
        eta: [0.0, 1.0][row[2]],
        clip_x0: [None, Some(1.0)][row[3]],
        variance: [None, Some(Variance::FixedSmall), Some(Variance::FixedLarge)][row[4]],
        schedule: schedules[row[5]],
        reverse: row[6] == 1,
    })
}

fn families() -> Vec<(&'static str, Family)> {
    let family = |sizes: &[usize], sampler| Family {
        sizes: sizes.to_vec(),
        sampler,
    };
    let (n_forms, n_last) = (DiffusionForm::ALL.len(), LastStep::ALL.len());
    vec![
        (
            "ODE",
            family(&[Method::ALL.len(), 4, 2, 2, ALONG.len()], ode),
        ),
        (
            "SDE",
            family(
                &[SdeMethod::ALL.len(), n_forms, n_last, 4, 2, ALONG.len()],
                sde,
            ),
        ),
        ("EDM", family(&[EdmMethod::ALL.len(), 2], edm)),
        (
            "DDPM",
            family(
                &[
                    DdpmMethod::ALL.len(),
                    2,
                    2,
                    2,
                    3,
                    DdpmSchedule::ALL.len(),
                    2,
                ],
                ddpm,
            ),
        ),
    ]
}

/// A model of each transport that is valid.
fn models() -> Vec<Model> {
    let valid = transports().into_iter().filter(|t| t.target().is_ok());
    valid
        .map(|transport| net::model(&Device::Cpu, &SMALL, transport, &sine_weights(0.1)))
        .collect()
}

/// Samples two images, or only makes the schedule.
fn sample(model: &Model, sampler: Sampler, guidance: f64, is_run: bool) -> bool {
    let what = format!("{:?} {sampler:?} {guidance}", model.transport());
    let is_adaptive = sampler.is_adaptive();
    let sampling = model.sampler(sampler).batch(2).guidance(guidance).seed(2);
    let end = match is_run || is_adaptive {
        true => sampling.sample(&[0, 1]),
        false => sampling.schedule().map(|_| Vec::new()),
    };
    match end {
        Ok(ref end) => assert_finite(&what, end),
        Err(ref error) => assert_reason(&what, error),
    }
    end.is_ok()
}

/// Every two values of two settings, each in some combination with the others.
#[test]
fn sampling_is_finite_or_refused() {
    let models = models();
    for (name, family) in families() {
        let sizes = [&[models.len(), 2], &family.sizes[..]].concat();
        let rows = all_pairs(&sizes);
        let run = |row: &&Vec<usize>| {
            let sampler = (family.sampler)(&row[2..]);
            sample(&models[row[0]], sampler, [1.0, 1.5][row[1]], true)
        };
        let n_valid = rows.iter().filter(run).count();
        let n = rows.len();
        assert!(4 * n_valid > n, "{name}: {n_valid} of {n} are valid");
    }
}

/// Every combination; the network runs in one of 97.
#[test]
#[ignore = "CI checks all pairs; the whole product takes a minute, by --include-ignored (CONTRIBUTING.md)"]
fn all_of_sampling_is_finite_or_refused() {
    let models = models();
    for (name, family) in families() {
        let sizes = [&[models.len(), 2], &family.sizes[..]].concat();
        let (mut n, mut n_valid) = (0, 0);
        for (i, row) in product(&sizes).enumerate() {
            let sampler = (family.sampler)(&row[2..]);
            let guidance = [1.0, 1.5][row[1]];
            n_valid += usize::from(sample(
                &models[row[0]],
                sampler,
                guidance,
                i.is_multiple_of(97),
            ));
            n += 1;
        }
        println!("{name}: {n_valid} of {n} are valid");
    }
}
