use super::*;
use crate::transport::{
    DATA_MIN_SIGMA, DiffusionForm, Path,
    testing::{PLAIN_PATHS, assert_near, diffusions, predictions},
};

fn transport(path: Path, prediction: Prediction) -> Transport {
    Transport {
        path,
        prediction,
        ..Transport::default()
    }
}

/// Rows of values from the official code: t, score for v = 1 and x = 1, velocity for s = 1 and x = 1.
#[expect(
    clippy::approx_constant,
    reason = "digits as the official code printed them"
)]
const GOLDEN: [(Path, [f64; 3]); 9] = [
    (Path::Linear, [0.1, -1.0, 19.0]),
    (Path::Linear, [0.5, -1.0, 3.0]),
    (Path::Linear, [0.9, -1.0, 1.2222222]),
    (Path::Gvp, [0.1, -0.89916933, 19.835235]),
    (Path::Gvp, [0.5, -0.36338023, 3.1415927]),
    (Path::Gvp, [0.9, 3.0194591, 0.49757939]),
    (Path::VP, [0.1, -0.88895058, 18.01]),
    (Path::VP, [0.5, -0.80099502, 10.05]),
    (Path::VP, [0.9, -0.043062201, 2.09]),
];

#[test]
fn conversions_match_the_official_code() {
    for (path, [t, score, velocity]) in GOLDEN {
        let s = transport(path.clone(), Prediction::Velocity)
            .score(t)
            .unwrap();
        assert_near(&format!("{path} score at {t}"), s.x + s.out, score, 1e-7);
        let v = transport(path.clone(), Prediction::Score)
            .velocity(t)
            .unwrap();
        assert_near(
            &format!("{path} velocity at {t}"),
            v.x + v.out,
            velocity,
            5e-8,
        );
    }
}

#[test]
fn all_predictions_agree_on_one_posterior() {
    let discrete = crate::transport::PathName::Ddpm.usual();
    for path in Path::NAMED.into_iter().chain(discrete) {
        for t in [1e-3, 0.2, 0.5, 0.8, 0.999] {
            let (x0, x1) = (0.4, -0.9);
            let x = path.alpha(t) * x1 + path.sigma(t) * x0;
            let velocity = path.d_alpha(t) * x1 + path.d_sigma(t) * x0;
            let score = -x0 / path.sigma(t);
            for &prediction in predictions(&path) {
                let transport = transport(path.clone(), prediction);
                let out = match prediction {
                    Prediction::Velocity => velocity,
                    Prediction::Score => score,
                    Prediction::Noise => x0,
                    // Below the minimum sigma, the division uses the clamped value.
                    Prediction::Data if path.ddpm().is_none() && path.sigma(t) < DATA_MIN_SIGMA => {
                        continue;
                    }
                    Prediction::Data => x1,
                    Prediction::Denoiser => transport.denoiser_output(t, &[x], &[x1])[0],
                    Prediction::Mean => transport.mean_output(t, &[x], &[x1])[0],
                };
                let apply = |c: Coefs| c.x * x + c.out * out;
                let at = format!("{path} {prediction} at {t}");
                assert_near(
                    &format!("velocity, {at}"),
                    apply(transport.velocity(t).unwrap()),
                    velocity,
                    1e-10,
                );
                assert_near(
                    &format!("score, {at}"),
                    apply(transport.score(t).unwrap()),
                    score,
                    1e-10,
                );
                assert_near(
                    &format!("noise, {at}"),
                    apply(transport.noise(t)),
                    x0,
                    1e-10,
                );
                assert_near(
                    &format!("data, {at}"),
                    apply(transport.x1_pred(t).unwrap()),
                    x1,
                    1e-10,
                );
                let diffusion = Diffusion::new(DiffusionForm::Sigma, 0.5);
                let drift = velocity + 0.5 * path.sigma(t) * score;
                assert_near(
                    &format!("drift, {at}"),
                    apply(transport.drift(&diffusion, t).unwrap()),
                    drift,
                    1e-10,
                );
            }
        }
    }
}

#[test]
fn ends_have_their_limit_or_are_refused() {
    use Prediction::{Data, Noise, Score, Velocity};
    for path in PLAIN_PATHS {
        for &prediction in predictions(&path) {
            let transport = transport(path.clone(), prediction);
            let at = format!("{path} {prediction}");
            let decay = path.is_decay();
            for t in [0.0, 1.0] {
                let velocity = if t == 0.0 {
                    decay || [Velocity, Data].contains(&prediction)
                } else {
                    !decay || ![Noise, Data].contains(&prediction)
                };
                let score = t == 0.0
                    || [Score, Data].contains(&prediction)
                    || decay && prediction == Velocity;
                let x1_pred = t == 1.0 || decay || [Velocity, Data].contains(&prediction);
                assert_eq!(
                    transport.velocity(t).is_ok(),
                    velocity,
                    "velocity of {at} at {t}"
                );
                assert_eq!(transport.score(t).is_ok(), score, "score of {at} at {t}");
                assert_eq!(transport.x1_pred(t).is_ok(), x1_pred, "data of {at} at {t}");
                assert!(transport.noise(t).is_finite_f32(), "noise of {at} at {t}");
                let near = (t - 1e-12_f64).abs();
                for (what, end, inside) in [
                    ("velocity", transport.velocity(t), transport.velocity(near)),
                    ("score", transport.score(t), transport.score(near)),
                    ("data", transport.x1_pred(t), transport.x1_pred(near)),
                    ("noise", Ok(transport.noise(t)), Ok(transport.noise(near))),
                ] {
                    if let (Ok(end), Ok(inside)) = (end, inside) {
                        // The sigma of VP and OU behaves like a square root here: on OU it is 4e-6.
                        assert_near(
                            &format!("{what} of {at} by x at {t}"),
                            end.x,
                            inside.x,
                            1e-5,
                        );
                        assert_near(
                            &format!("{what} of {at} by out at {t}"),
                            end.out,
                            inside.out,
                            1e-4,
                        );
                    }
                }
            }
        }
    }
    let message = transport(Path::Linear, Score)
        .velocity(0.0)
        .unwrap_err()
        .to_string();
    assert_eq!(
        message,
        "the velocity is not finite at t = 0 for score prediction on the Linear path"
    );
}

/// SiT multiplies an infinite score by a vanishing diffusion at `t = 1` and gets NaN.
#[test]
fn the_drift_at_one_is_the_limit_from_inside() {
    let mut n_limits = 0;
    for path in Path::NAMED {
        for &prediction in predictions(&path) {
            for shape in diffusions() {
                for norm in [0.0, shape.norm] {
                    let transport = transport(path.clone(), prediction);
                    let diffusion = Diffusion {
                        norm,
                        ..shape.clone()
                    };
                    let what = format!("{path} {prediction} {diffusion:?}");
                    let Ok(end) = transport.drift(&diffusion, 1.0) else {
                        let far = transport.drift(&diffusion, 1.0 - 1e-12).unwrap();
                        assert!(
                            far.x.abs().max(far.out.abs()) > 1e4,
                            "{what}: refused but {far:?} near the end"
                        );
                        continue;
                    };
                    n_limits += 1;
                    let near = transport.drift(&diffusion, 1.0 - 1e-10).unwrap();
                    assert_near(&format!("{what} by x"), near.x, end.x, 1e-4);
                    assert_near(&format!("{what} by out"), near.out, end.out, 1e-4);
                }
            }
        }
    }
    assert!(n_limits > 90, "{n_limits}");
}
