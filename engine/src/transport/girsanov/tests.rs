use super::*;
use crate::transport::DiffusionForm;
use crate::transport::testing::assert_near;

fn flat(value: f64) -> Curve {
    Curve::through(vec![[0.0, value], [1.0, value]]).unwrap()
}

fn bound(path: &Path, diffusion: &Diffusion, error: &Curve, times: [f64; 2]) -> Bound {
    girsanov(path, diffusion, error, times).unwrap()
}

fn of(form: DiffusionForm, norm: f64, times: [f64; 2]) -> f64 {
    bound(
        &Path::Linear,
        &Diffusion::new(form, norm),
        &flat(0.3),
        times,
    )
    .nats
}

/// On the Linear path `S = (1 - t) / t`, and the integrals are elementary.
#[test]
fn the_integral_is_that_of_the_formula() {
    let log = |t: f64| -(1.0 - t).ln();
    let (a, b): (f64, f64) = (0.1, 0.9);
    // D = S: the integral of 1 / S = t / (1 - t).
    let sbdm = log(b) - log(a) - (b - a);
    assert_near(
        "SBDM",
        of(DiffusionForm::Sbdm, 1.0, [a, b]),
        0.3 * sbdm,
        1e-12,
    );
    // D = c S: (1 + c)^2 / (4 c) times that.
    let twice = 9.0 / 8.0 * 0.3 * sbdm;
    assert_near("2 SBDM", of(DiffusionForm::Sbdm, 2.0, [a, b]), twice, 1e-12);
    // D = 1 - t: (1 + t)^2 / (4 (1 - t)).
    let of_linear = |t: f64| (4.0 * log(t) - (3.0 * t + 0.5 * t * t)) / 4.0;
    let linear = 0.3 * (of_linear(b) - of_linear(a));
    assert_near(
        "linear",
        of(DiffusionForm::Linear, 1.0, [a, b]),
        linear,
        1e-12,
    );
    // D = 1: 1 / (4 (1 - t)^2).
    let constant = 0.3 * 0.25 * (1.0 / (1.0 - b) - 1.0 / (1.0 - a));
    assert_near(
        "constant",
        of(DiffusionForm::Constant, 1.0, [a, b]),
        constant,
        1e-12,
    );
    // From the singular start SBDM's integrand vanishes.
    assert_near(
        "start",
        of(DiffusionForm::Sbdm, 1.0, [0.0, b]),
        0.3 * (log(b) - b),
        1e-12,
    );
}

#[test]
fn no_diffusion_is_better_than_sbdm() {
    let error = Curve::through(vec![[0.0, 1.0], [0.4, 0.2], [1.0, 0.7]]).unwrap();
    for path in Path::NAMED {
        let times = [0.05, 0.95];
        let least = bound(
            &path,
            &Diffusion::new(DiffusionForm::Sbdm, 1.0),
            &error,
            times,
        )
        .nats;
        for diffusion in crate::transport::testing::diffusions() {
            let other = bound(&path, &diffusion, &error, times).nats;
            assert!(
                other >= least * (1.0 - 1e-9),
                "{path} {diffusion:?}: {other} {least}"
            );
        }
    }
}

#[test]
fn singular_ends_are_infinite_or_have_their_integral() {
    let whole = [0.0, 1.0];
    for (form, at) in [
        (DiffusionForm::Sbdm, 1.0),
        (DiffusionForm::Sigma, 1.0),
        (DiffusionForm::Linear, 1.0),
        (DiffusionForm::Constant, 1.0),
        (DiffusionForm::Decreasing, 1.0),
        (DiffusionForm::IncreasingDecreasing, 0.0),
    ] {
        let diffusion = Diffusion::new(form, 1.0);
        let got = bound(&Path::Linear, &diffusion, &flat(0.3), whole);
        assert_eq!(
            (got.nats, got.diverges_at),
            (f64::INFINITY, Some(at)),
            "{form}"
        );
    }
    // An error that vanishes with 1 - t: SBDM's integrand is t e / (1 - t) = t.
    let vanishing = Curve::through(vec![[0.0, 1.0], [1.0, 0.0]]).unwrap();
    let sbdm = Diffusion::new(DiffusionForm::Sbdm, 1.0);
    let got = bound(&Path::Linear, &sbdm, &vanishing, whole);
    assert_eq!(got.diverges_at, None);
    assert_near("vanishing", got.nats, 0.5, 1e-9);
    // On VP sigma is a square root at the end, so its inverse can be integrated.
    let sigma = Diffusion::new(DiffusionForm::Sigma, 1.0);
    let got = bound(&Path::VP, &sigma, &flat(1.0), whole);
    assert!(got.nats.is_finite(), "{got:?}");
    let n = 2_000_000;
    let sum: f64 = (0..n)
        .map(|i| {
            // Equal steps of the root of the remaining time.
            let r = (f64::from(i) + 0.5) / f64::from(n);
            let t = 1.0 - r * r;
            let (d, s) = (Path::VP.sigma(t), Path::VP.drift_var(t));
            2.0 * r * (1.0 + d / s).powi(2) / (4.0 * d)
        })
        .sum();
    assert_near("VP", got.nats, sum / f64::from(n), 1e-6);
    // Without noise there is no bound.
    let none = bound(
        &Path::Linear,
        &Diffusion::new(DiffusionForm::Sigma, 0.0),
        &flat(1.0),
        [0.2, 0.8],
    );
    assert_eq!(none.nats, f64::INFINITY);
}

/// Two Gaussian worlds: the exact SDE has data of deviation `s`, the model's is that of another deviation. Both are linear, so the end
/// marginals are Gaussian; the divergence between them is at most the bound with the exact error, which is known.
#[test]
fn gaussian_worlds_are_within_the_bound() {
    use crate::transport::Prediction;
    use crate::transport::testing::Gaussian;
    let exact = Gaussian {
        mean: 0.0,
        std: 0.6,
    };
    let model = Gaussian {
        mean: 0.0,
        std: 0.75,
    };
    let end = 0.9;
    let path = Path::Linear;
    let slopes = |of: Gaussian, t: f64| {
        let slope = |prediction| of.output(&path, prediction, t).slope;
        [slope(Prediction::Velocity), slope(Prediction::Score)]
    };
    let error = |t: f64| {
        let difference = slopes(exact, t)[0] - slopes(model, t)[0];
        difference * difference * exact.marginal(&path, t).1
    };
    let points = (0..=200)
        .map(|i| f64::from(i) / 200.0)
        .map(|t| [t, error(t)]);
    let error = Curve::through(points.collect()).unwrap();
    for form in [
        DiffusionForm::Sbdm,
        DiffusionForm::Sigma,
        DiffusionForm::Linear,
    ] {
        let diffusion = Diffusion::new(form, 1.0);
        // The variance of the model's SDE, d V / dt = 2 (v + D s) V + 2 D, by small steps of the midpoint rule.
        let n = 20_000;
        let mut variance = 1.0;
        for i in 0..n {
            let t = end * (f64::from(i) + 0.5) / f64::from(n);
            let [v, s] = slopes(model, t);
            let d = diffusion.at(&path, t);
            let h = end / f64::from(n);
            let rate = |variance: f64| 2.0 * (v + d * s) * variance + 2.0 * d;
            let middle = variance + 0.5 * h * rate(variance);
            variance += h * rate(middle);
            // Near the start SBDM pulls so hard that small steps are not small enough.
            if form == DiffusionForm::Sbdm && t < 0.02 {
                variance = model.marginal(&path, t).1;
            }
        }
        let true_variance = exact.marginal(&path, end).1;
        let ratio = true_variance / variance;
        let kl = 0.5 * (ratio - 1.0 - ratio.ln());
        let bound = bound(&path, &diffusion, &error, [0.0, end]).nats;
        assert!(
            kl > 1e-3 && kl <= bound && bound < 20.0 * kl,
            "{form}: {kl} {bound}"
        );
    }
}

#[test]
fn the_start_counts_what_is_left_of_the_data() {
    assert_eq!(start_kl([0.0, 1.0], 1.0, 0.5, 8), 0.0);
    // KL(N(a m, s^2) | N(0, 1)).
    let want = 0.5 * (0.01 * 0.5 + 0.99 - 1.0 - 0.99_f64.ln()) * 8.0;
    assert_near(
        "start",
        start_kl([0.1, 0.99_f64.sqrt()], 1.0, 0.5, 8),
        want,
        1e-14,
    );
}

#[test]
fn wrong_times_are_refused() {
    for times in [[0.5, 0.5], [-0.1, 1.0], [0.0, 1.1], [f64::NAN, 1.0]] {
        let result = girsanov(&Path::Linear, &Diffusion::default(), &flat(1.0), times);
        assert!(
            result
                .unwrap_err()
                .to_string()
                .contains("expected two in order")
        );
    }
}
