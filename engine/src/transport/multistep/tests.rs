use crate::transport::testing::{Gaussian, assert_near};
use crate::transport::{Grid, Method, Ode, Path, Prediction, Sampler, Step, Transport, schedule};

const DATA: Gaussian = Gaussian {
    mean: 0.8,
    std: 0.5,
};

const START: f64 = 1.7;

const METHODS: [Method; 2] = [Method::DpmPlusPlus2m, Method::UniPc];

fn transport(path: Path, prediction: Prediction) -> Transport {
    Transport {
        path,
        prediction,
        ..Transport::default()
    }
}

/// Paths and predictions whose steps have no clamped coefficient.
fn cases() -> [Transport; 5] {
    [
        transport(Path::Linear, Prediction::Velocity),
        transport(Path::Gvp, Prediction::Noise),
        transport(Path::VP, Prediction::Velocity),
        transport(Path::OU, Prediction::Score),
        transport(Path::EDM, Prediction::Denoiser),
    ]
}

/// The steps of a method between `n_steps + 1` times of equal distance.
fn steps(transport: &Transport, ode: Ode, n_steps: u32, [t0, t1]: [f64; 2]) -> Vec<Step> {
    let time = |i| t0 + (t1 - t0) * f64::from(i) / f64::from(n_steps);
    let grid = Grid::times((0..=n_steps).map(time).collect()).unwrap();
    let steps = schedule(transport, &Sampler::Ode(Ode { grid, ..ode })).unwrap();
    assert_eq!(steps.len(), n_steps as usize);
    for step in &steps {
        let rows = [step.row(0), step.end()].into_iter();
        let rows = rows.chain((0..step.form().n_history).map(|j| step.keep(j)));
        assert!(rows.flatten().all(|c| c.is_finite()), "{step:?}");
    }
    steps
}

/// The state after all steps from `x`, with the exact network.
fn run(transport: &Transport, data: Gaussian, steps: &[Step], x: f64) -> f64 {
    let (mut x, mut history) = ([x], Vec::new());
    for step in steps {
        step.apply_with(&mut x, &mut history, &[], |x, t| {
            vec![data.network(transport, t).at(x[0])]
        });
    }
    x[0]
}

fn error(transport: &Transport, steps: &[Step]) -> f64 {
    let [from, to] = [steps[0].t, steps[steps.len() - 1].t_next];
    let exact = DATA.flow(&transport.path, from, to).at(START);
    (run(transport, DATA, steps, START) - exact).abs()
}

fn assert_second_order(method: Method, reverse: bool) {
    for transport in cases() {
        let ode = || Ode {
            method,
            reverse,
            ..Ode::default()
        };
        let errors = [40, 80, 160, 320].map(|n| {
            let steps = steps(&transport, ode(), n, [0.05, 0.95]);
            let ends = [steps[0].t, steps[steps.len() - 1].t_next];
            assert_eq!(ends[0] > ends[1], reverse);
            error(&transport, &steps)
        });
        let what = format!("{} {} {method}", transport.path, transport.prediction);
        // The corrector of UniPC makes it one order better.
        let least = match method {
            Method::UniPc => 5.0,
            _ => 3.2,
        };
        for pair in errors.windows(2) {
            let ratio = pair[0] / pair[1];
            assert!((least..9.0).contains(&ratio), "{what}: {errors:?}");
        }
    }
}

#[test]
fn half_steps_have_a_quarter_of_the_error() {
    for method in METHODS {
        assert_second_order(method, false);
    }
}

#[test]
fn they_go_from_data_to_noise_too() {
    for method in METHODS {
        assert_second_order(method, true);
    }
}

/// At both ends the half-logarithm is infinite.
#[test]
fn the_whole_interval_has_finite_steps() {
    let transport = transport(Path::Linear, Prediction::Velocity);
    for method in METHODS {
        // Backwards the step to the noise, of first order, is the largest one.
        for (reverse, bound) in [(false, 1e-2), (true, 2e-2)] {
            let ode = Ode {
                method,
                reverse,
                ..Ode::default()
            };
            let steps = steps(&transport, ode, 40, [0.0, 1.0]);
            let error = error(&transport, &steps);
            assert!(error < bound, "{method}, reverse {reverse}: {error}");
        }
    }
}

/// The predicted data of a single point is constant, and such an integral exact.
#[test]
fn a_single_point_is_reached_exactly() {
    let point = Gaussian {
        mean: -0.6,
        std: 0.0,
    };
    for transport in cases() {
        for method in METHODS {
            for n_steps in [1, 2, 7] {
                let ode = Ode {
                    method,
                    ..Ode::default()
                };
                let [t0, t1] = [0.05, 0.95];
                let steps = steps(&transport, ode, n_steps, [t0, t1]);
                let got = run(&transport, point, &steps, START);
                let want = point.flow(&transport.path, t0, t1).at(START);
                let what = format!("{} {method} in {n_steps} steps", transport.path);
                assert_near(&what, got, want, 1e-10);
            }
        }
    }
    let transport = transport(Path::Linear, Prediction::Velocity);
    for method in METHODS {
        let ode = Ode {
            method,
            ..Ode::default()
        };
        let steps = steps(&transport, ode, 1, [0.0, 1.0]);
        assert_near(
            "the point",
            run(&transport, point, &steps, START),
            -0.6,
            1e-15,
        );
    }
}
