//! The settings of samplers, in the steps that follow from them.

use super::*;
use crate::transport::Corrector;

#[test]
fn grids_have_the_stated_steps_and_evaluations() {
    let transport = transport(Path::Linear, Prediction::Score);
    let sde = |method, last_step| sde(method, &Diffusion::default(), last_step, 10);
    let cases = [
        (Sampler::ode(Method::Euler, 10), 10, 10, 0.999),
        (Sampler::ode(Method::Heun, 10), 10, 20, 0.999),
        (sde(SdeMethod::Euler, LastStep::None), 10, 10, 0.999),
        (sde(SdeMethod::Euler, LastStep::Mean), 11, 11, 1.0),
        (sde(SdeMethod::Heun, LastStep::Tweedie), 11, 21, 1.0),
        (sde(SdeMethod::Alternate, LastStep::Tweedie), 11, 11, 1.0),
    ];
    for (sampler, n_steps, n_evaluations, end) in cases {
        let steps = schedule(&transport, &sampler).unwrap();
        assert_eq!(
            (steps.len(), nfe(&steps)),
            (n_steps, n_evaluations),
            "{sampler:?}"
        );
        assert_eq!(
            (steps[0].t, steps[n_steps - 1].t_next),
            (0.001, end),
            "{sampler:?}"
        );
        assert!(
            steps.windows(2).all(|pair| pair[0].t_next == pair[1].t),
            "{sampler:?}"
        );
        assert!(steps.iter().all(|step| step.t < step.t_next), "{sampler:?}");
    }
}

/// A Langevin step of size e changes the variance V of a Gaussian in equilibrium to `V / (1 - e / 2V)`, and e is at most `2 snr^2 V`.
#[test]
fn a_corrector_keeps_the_marginals_within_its_window() {
    for path in PATHS {
        let transport = transport(path.clone(), Prediction::Score);
        let corrector = Corrector { steps: 2, snr: 0.1 };
        let sampler = |noise_window| {
            Sampler::Sde(Sde {
                method: SdeMethod::PredictorCorrector,
                last_step: LastStep::None,
                grid: Grid::times((0..=400).map(|i| 0.01 + f64::from(i) / 500.0).collect())
                    .unwrap(),
                noise_window,
                corrector,
                ..Sde::default()
            })
        };
        let steps = schedule(&transport, &sampler([0.0, 1.0])).unwrap();
        assert_eq!((steps.len(), nfe(&steps)), (1200, 1200));
        let (mean, variance) = moments(&transport, &steps);
        let exact = DATA.marginal(&path, 0.81);
        let errors = (mean - exact.0, variance / exact.1 - 1.0);
        assert!(
            errors.0.abs() < 0.01 && errors.1.abs() < 0.02,
            "{path}: {errors:?}"
        );
        let steps = schedule(&transport, &sampler([0.405, 0.606])).unwrap();
        let noisy: Vec<&Step> = steps.iter().filter(|step| step.noise() > 0.0).collect();
        assert_eq!((steps.len(), noisy.len()), (400 + 2 * 101, 2 * 101));
    }
}

#[test]
fn an_ode_can_be_reversed_and_end_with_a_step_of_euler() {
    for path in PATHS {
        let transport = transport(path.clone(), Prediction::Velocity);
        let run = |ode: Ode| schedule(&transport, &Sampler::Ode(ode)).unwrap();
        let reverse = run(Ode {
            method: Method::Rk4,
            n_steps: 200,
            reverse: true,
            ..Ode::default()
        });
        let [from, to] = [reverse[0].t, reverse[199].t_next];
        assert!(from > 0.99 && to == 0.0);
        let end = reverse
            .iter()
            .fold(1.7, |x, step| exact_step(&transport, step).1.at(x));
        assert_near(
            &format!("{path}"),
            end,
            DATA.flow(&path, from, to).at(1.7),
            1e-5,
        );
        let [heun, last] = [false, true].map(|last_euler| {
            run(Ode {
                n_steps: 7,
                last_euler,
                ..Ode::default()
            })
        });
        let euler = schedule(&transport, &Sampler::ode(Method::Euler, 7)).unwrap();
        assert_eq!((&last[..6], last[6]), (&heun[..6], euler[6]));
    }
}

#[test]
fn the_last_step_is_without_noise() {
    for &last_step in LastStep::ALL {
        let sampler = sde(SdeMethod::Heun, &Diffusion::default(), last_step, 4);
        let steps = schedule(&transport(Path::Gvp, Prediction::Noise), &sampler).unwrap();
        let last = &steps[steps.len() - 1];
        match last.times().len() {
            1 => assert!(last_step != LastStep::None && last.noise() == 0.0),
            _ => assert_eq!(last_step, LastStep::None),
        }
    }
}

#[test]
fn a_reversed_schedule_from_the_way_goes_on_to_noise() {
    let transport = transport(Path::Linear, Prediction::Velocity);
    for grid in [Grid::Uniform, Grid::Power(2.0)] {
        let sampler = Sampler::Ode(Ode {
            n_steps: 20,
            reverse: true,
            grid,
            ..Ode::default()
        });
        let whole = schedule(&transport, &sampler).unwrap();
        let rest = schedule_from(&transport, &sampler, whole[7].t).unwrap();
        let times = |steps: &[Step]| -> Vec<[f64; 2]> {
            steps.iter().map(|step| [step.t, step.t_next]).collect()
        };
        let (got, want) = (times(&rest), times(&whole[7..]));
        assert_eq!(got.len(), want.len(), "{got:?}, expected {want:?}");
        for (got, want) in got.iter().flatten().zip(want.iter().flatten()) {
            assert_near("time", *got, *want, 1e-12);
        }
    }
}

#[test]
fn an_adaptive_method_has_no_schedule() {
    let transport = transport(Path::Linear, Prediction::Velocity);
    let sampler = Sampler::ode(Method::Dopri5, 20);
    for result in [
        schedule(&transport, &sampler),
        schedule_from(&transport, &sampler, 0.5),
    ] {
        let message = result.unwrap_err().to_string();
        assert!(
            message.contains("an adaptive method has no schedule"),
            "{message}"
        );
    }
}
