use super::*;
use crate::transport::testing::{Gaussian, assert_near};
use crate::transport::{Method, Path, Prediction};

fn adaptive(path: Path, prediction: Prediction, method: Method, tolerance: f64) -> Adaptive {
    let transport = Transport {
        path,
        prediction,
        ..Transport::default()
    };
    let sampler = Sampler::Ode(Ode {
        method,
        tolerance: Tolerance {
            rtol: tolerance,
            atol: tolerance,
            ..Tolerance::default()
        },
        ..Ode::default()
    });
    Adaptive::new(&transport, &sampler).unwrap()
}

/// Integrates one number; returns the end, the evaluations, and the largest and smallest evaluated times.
fn integrate(solver: &Adaptive, x: f64, net: impl Fn(f64, f64) -> f64) -> (f64, usize, [f64; 2]) {
    let [atol, rtol] = solver.weights();
    let mut seen = [f64::INFINITY, f64::NEG_INFINITY];
    let mut nfe = 0;
    let mut net = |x: &[f64], t: f64| {
        nfe += 1;
        seen = [seen[0].min(t), seen[1].max(t)];
        vec![net(x[0], t)]
    };
    let [mut t, end] = solver.times;
    let mut drift_at = |x: f64, t: f64| {
        let mut state = [x];
        let step = solver.drift(t).unwrap();
        step.apply(&mut state, &[], &mut net);
        state[0]
    };
    let scale = atol + rtol * x.abs();
    let f = drift_at(x, t);
    let h0 = solver.trial(x.abs() / scale, f.abs() / scale);
    let direction = (end - t).signum();
    let change = drift_at(x + direction * h0 * f, t + direction * h0) - f;
    let mut h = solver.first(h0, f.abs() / scale, change.abs() / scale);
    let (mut x, mut history) = ([x], vec![f]);
    while t != end {
        assert!(!solver.is_underflow(t, h));
        let step = solver.step(t, h).unwrap();
        let (mut next, mut kept) = (x, history.clone());
        let mut outs = Vec::new();
        step.apply_with(&mut next, &mut kept, &[], |x, t| {
            let out = net(x, t);
            outs.extend_from_slice(&out);
            out
        });
        let terms = [x[0], history[0]].into_iter().chain(outs);
        let error: f64 = step
            .error()
            .unwrap()
            .iter()
            .zip(terms)
            .map(|(c, x)| c * x)
            .sum();
        let r = error.abs() / (atol + rtol * x[0].abs().max(next[0].abs()));
        let verdict = solver.judge((step.t_next - t).abs(), r);
        if verdict.is_accepted {
            (x, history, t) = (next, kept, step.t_next);
        }
        h = verdict.next;
    }
    (x[0], nfe, seen)
}

#[test]
fn the_error_follows_the_tolerance_and_no_time_is_outside() {
    let data = Gaussian {
        mean: 0.4,
        std: 0.3,
    };
    for (path, prediction) in [
        (Path::Linear, Prediction::Velocity),
        (Path::Gvp, Prediction::Noise),
        (Path::VP, Prediction::Score),
        (Path::OU, Prediction::Velocity),
    ] {
        for method in [Method::Dopri5, Method::Bosh3, Method::AdaptiveHeun] {
            let mut before = 0;
            for tolerance in [1e-3, 1e-5, 1e-7] {
                let solver = adaptive(path.clone(), prediction, method, tolerance);
                let [t0, t1] = solver.times;
                let net = |x: f64, t: f64| data.output(&path, prediction, t).at(x);
                let (end, nfe, seen) = integrate(&solver, 0.8, net);
                let exact = data.flow(&path, t0, t1).at(0.8);
                let what = format!("{path} {method} at {tolerance}");
                assert_near(&what, end, exact, 60.0 * tolerance);
                assert!(seen[0] >= t0 && seen[1] <= t1, "{what}: {seen:?}");
                assert!(nfe > before, "{what}: {nfe} evaluations");
                before = nfe;
            }
        }
    }
}

#[test]
fn rejected_and_failed_steps_shrink_and_exact_ones_grow() {
    let solver = adaptive(Path::Linear, Prediction::Velocity, Method::Dopri5, 1e-3);
    let factor = |error: f64| {
        let verdict = solver.judge(0.1, error);
        (
            verdict.is_accepted,
            (verdict.next / 0.1 * 1e6).round() / 1e6,
        )
    };
    assert_eq!(factor(0.0), (true, 10.0));
    assert_eq!(factor(f64::NAN), (false, 0.2));
    assert_eq!(factor(1e9), (false, 0.2));
    // Accepted with almost the whole tolerance: the size stays, it does not fall.
    assert_eq!(factor(0.99), (true, 1.0));
    assert!(factor(1.5).1 < 0.9 && !factor(1.5).0);
    assert!(solver.is_underflow(0.5, 1e-17) && !solver.is_underflow(0.5, 1e-6));
}
