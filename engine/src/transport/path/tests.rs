use super::*;
use crate::transport::testing::{PLAIN_PATHS, assert_near};

/// Rows of values from the official code: t, alpha, d_alpha, sigma, d_sigma, drift_var.
#[expect(
    clippy::approx_constant,
    reason = "digits as the official code printed them"
)]
const GOLDEN: [(Path, [f64; 6]); 9] = [
    (Path::Linear, [0.1, 0.1, 1.0, 0.9, -1.0, 9.0]),
    (Path::Linear, [0.5, 0.5, 1.0, 0.5, -1.0, 1.0]),
    (Path::Linear, [0.9, 0.9, 1.0, 0.1, -1.0, 0.11111111]),
    (
        Path::Gvp,
        [
            0.1,
            0.15643447,
            1.5514572,
            0.98768834,
            -0.24572668,
            9.9176177,
        ],
    ),
    (
        Path::Gvp,
        [
            0.5, 0.70710678, 1.1107207, 0.70710678, -1.1107207, 1.5707963,
        ],
    ),
    (
        Path::Gvp,
        [
            0.9, 0.98768834, 0.24572668, 0.15643447, -1.5514572, 0.2487897,
        ],
    ),
    (
        Path::VP,
        [
            0.1,
            0.016996463,
            0.15305315,
            0.99985555,
            -0.0026017381,
            9.005,
        ],
    ),
    (
        Path::VP,
        [0.5, 0.28118288, 1.412944, 0.9596542, -0.41399877, 5.025],
    ),
    (
        Path::VP,
        [0.9, 0.9467218, 0.98932428, 0.32205254, -2.9082673, 1.045],
    ),
];

#[test]
fn scalars_match_the_official_code() {
    for (path, [t, alpha, d_alpha, sigma, d_sigma, drift_var]) in GOLDEN {
        // The table has eight digits.
        assert_near(&format!("{path} alpha({t})"), path.alpha(t), alpha, 5e-8);
        assert_near(
            &format!("{path} d_alpha({t})"),
            path.d_alpha(t),
            d_alpha,
            5e-8,
        );
        assert_near(&format!("{path} sigma({t})"), path.sigma(t), sigma, 5e-8);
        assert_near(
            &format!("{path} d_sigma({t})"),
            path.d_sigma(t),
            d_sigma,
            5e-8,
        );
        assert_near(
            &format!("{path} drift_var({t})"),
            path.drift_var(t),
            drift_var,
            5e-8,
        );
    }
}

#[test]
fn derivatives_match_central_differences_and_definitions() {
    for path in Path::NAMED {
        for i in 1..20 {
            let (t, h) = (f64::from(i) / 20.0, 1e-6);
            let slope = |f: &dyn Fn(f64) -> f64| (f(t + h) - f(t - h)) / (2.0 * h);
            let (alpha, sigma) = (path.alpha(t), path.sigma(t));
            assert_near(
                &format!("{path} d_alpha({t})"),
                path.d_alpha(t),
                slope(&|s| path.alpha(s)),
                1e-7,
            );
            assert_near(
                &format!("{path} d_sigma({t})"),
                path.d_sigma(t),
                slope(&|s| path.sigma(s)),
                1e-7,
            );
            let d_log_alpha = path.d_alpha(t) / alpha;
            assert_near(
                &format!("{path} d_log_alpha({t})"),
                path.d_log_alpha(t),
                d_log_alpha,
                1e-12,
            );
            let drift_var = d_log_alpha * sigma * sigma - sigma * path.d_sigma(t);
            assert_near(
                &format!("{path} drift_var({t})"),
                path.drift_var(t),
                drift_var,
                1e-12,
            );
            let slope = path.d_alpha(t) * sigma - alpha * path.d_sigma(t);
            assert_near(
                &format!("{path} data_slope({t})"),
                path.data_slope(t),
                slope,
                1e-12,
            );
            let over_sigma = path.drift_var_over_sigma(t);
            assert_near(
                &format!("{path} drift_var_over_sigma({t})"),
                over_sigma,
                drift_var / sigma,
                1e-12,
            );
        }
    }
}

#[test]
fn velocity_is_undone_at_every_time_and_both_ends() {
    for path in Path::NAMED {
        for t in [0.0, 1e-9, 0.3, 0.5, 0.7, 1.0 - 1e-9, 1.0] {
            let (x0, x1) = (0.7, -1.3);
            let (noise, data) = (path.noise_from_velocity(t), path.data_from_velocity(t));
            if path.is_decay() && t == 1.0 {
                // A single pair has infinite velocity here; compare with the limit of the coefficients, where x alone
                // determines both.
                assert_eq!(
                    (noise, data),
                    (Coefs { x: 0.0, out: -0.0 }, Coefs { x: 1.0, out: 0.0 })
                );
                continue;
            }
            let x = path.alpha(t) * x1 + path.sigma(t) * x0;
            let v = path.d_alpha(t) * x1 + path.d_sigma(t) * x0;
            assert_near(
                &format!("{path} x0 at {t}"),
                noise.x * x + noise.out * v,
                x0,
                1e-9,
            );
            assert_near(
                &format!("{path} x1 at {t}"),
                data.x * x + data.out * v,
                x1,
                1e-9,
            );
        }
    }
}

#[test]
fn ends_are_exact() {
    for (path, drift_var) in PLAIN_PATHS.into_iter().zip([0.0, 0.0, 0.05, 10.0]) {
        assert_eq!((path.alpha(1.0), path.sigma(1.0)), (1.0, 0.0), "{path}");
        assert_eq!(path.drift_var(1.0), drift_var, "{path}");
    }
    for (t, sigma) in [(0.0, 80.0), (1.0, 0.002)] {
        assert_eq!(Path::EDM.alpha(t), 1.0);
        assert_near("EDM sigma", Path::EDM.sigma(t) / sigma, 1.0, 1e-14);
    }
    for path in [Path::Linear, Path::Gvp] {
        assert_eq!((path.alpha(0.0), path.sigma(0.0)), (0.0, 1.0), "{path}");
        assert_eq!(
            (path.d_log_alpha(0.0), path.drift_var(0.0)),
            (f64::INFINITY, f64::INFINITY),
            "{path}"
        );
    }
    for path in [Path::VP, Path::OU] {
        assert_eq!(path.d_sigma(1.0), f64::NEG_INFINITY, "{path}");
    }
    for path in Path::NAMED {
        for t in [0.0, f64::MIN_POSITIVE, 1.0 - f64::EPSILON, 1.0] {
            let all = [
                path.alpha(t),
                path.sigma(t),
                path.d_alpha(t),
                path.d_sigma(t),
                path.d_log_alpha(t),
                path.drift_var(t),
                path.drift_var_over_sigma(t),
            ];
            assert!(
                all.iter().all(|value| !value.is_nan()),
                "{path} at {t}: {all:?}"
            );
        }
    }
}

#[test]
fn the_time_of_a_ratio_leads_back() {
    let falling = Path::Vp { beta: [20.0, 0.1] };
    let flat = Path::Vp { beta: [3.0, 3.0] };
    for path in Path::NAMED.into_iter().chain([falling, flat]) {
        for i in 0..=100 {
            let t = f64::from(i) / 100.0;
            let back = path.time_of(path.half_log_snr(t));
            assert_near(&format!("{path:?}"), back, t, 1e-12);
        }
    }
}

#[test]
fn larger_noise_than_edm_begins_with_has_times_before_zero() {
    let t = Path::EDM.time_of(-100.0_f64.ln());
    assert!(t < 0.0);
    assert_near("sigma", Path::EDM.sigma(t), 100.0, 1e-12);
}

#[test]
fn the_time_of_a_ratio_out_of_reach_is_the_nearer_end() {
    let falling = Path::Vp { beta: [20.0, 0.1] };
    let mut wrong = Vec::new();
    for path in PLAIN_PATHS.into_iter().chain([falling]) {
        for ratio in [f64::NEG_INFINITY, -100.0, 100.0, f64::INFINITY] {
            let (got, end) = (path.time_of(ratio), if ratio < 0.0 { 0.0 } else { 1.0 });
            let is_near = (got - end).abs() < 1e-15;
            if !is_near {
                wrong.push(format!("{got} of {ratio} on {path:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn wrong_numbers_are_refused_by_key() {
    let refusal = |path: Path| path.validate().unwrap_err().to_string();
    for beta in [[0.0, 20.0], [0.1, f64::NAN], [0.1, 1e4]] {
        assert!(refusal(Path::Vp { beta }).starts_with("vp_beta: got ["));
    }
    for time in [0.0, f64::NAN, f64::INFINITY] {
        assert!(refusal(Path::Ou { time }).starts_with("ou_time: got "));
    }
    for sigma in [[0.0, 80.0], [2.0, 2.0], [0.1, f64::NAN]] {
        assert!(refusal(Path::Edm { sigma, rho: 7.0 }).starts_with("edm_sigma: got ["));
    }
    for rho in [0.5, f64::NAN] {
        let sigma = [0.002, 80.0];
        assert!(refusal(Path::Edm { sigma, rho }).starts_with("edm_rho: got "));
    }
}

#[test]
fn names_parse_in_any_case_and_a_wrong_one_lists_the_right_ones() {
    assert_eq!("gvp".parse::<PathName>().unwrap(), PathName::Gvp);
    assert_eq!("LINEAR".parse::<PathName>().unwrap().to_string(), "Linear");
    let message = "cosine".parse::<PathName>().unwrap_err().to_string();
    assert_eq!(
        message,
        "path: got \"cosine\", expected one of Linear, GVP, VP, OU, EDM, DDPM, table"
    );
    for path in Path::NAMED {
        let name: PathName = path.to_string().parse().unwrap();
        assert_eq!((name, name.usual()), (path.name(), Some(path)));
    }
    assert_eq!(PathName::Table.usual(), None);
}
