//! The whole variational bound.

use super::*;
use sit_engine::sample::Vlb;

fn bounds(bench: &Bench) {
    let official = Official::open();
    let y = official.at("inputs").at("chain_y").labels();
    let x1 = official.input("x_start", y.len());
    let mut n = 0;
    for (key, of) in official.at("bound").entries() {
        let (transport, clip) = keyed(key);
        let clip = match clip {
            "clip" => Some(1.0),
            "noclip" => None,
            _ => panic!("{key}: expected clip or noclip"),
        };
        let model = official.model(bench.device, &transport);
        let mut vlb = Vlb::new(&model, y.len(), None, clip).unwrap();
        let draw = |s: usize, noise: &mut [f32]| {
            noise.copy_from_slice(&official.step_noise(s, y.len()));
        };
        let bounds = block_on(vlb.bound_with_async(&x1, &y, draw, |_| true));
        let bounds = bounds.unwrap().unwrap();
        let exact = of.get("f64").unwrap_or(of.clone());
        let mut worst: f64 = 0.0;
        for (b, bound) in bounds.iter().enumerate() {
            let row = |from: &Entry, name: &str| from.at(name).list()[b].numbers();
            let mut check = |name: &str, got: &[f64], want: &[f64], tol: f64| {
                let what = format!("{key} {name} {b}");
                let rest = if name == "vb" { ROUNDINGS } else { 1e-12 };
                worst = worst.max(assert_terms(&what, got, want, tol, rest));
            };
            check("vb", &bound.terms, &row(&exact, "vb"), 30.0 * bench.loss);
            check(
                "xstart_mse",
                &bound.x1_errors,
                &row(&of, "xstart_mse"),
                10.0 * bench.loss,
            );
            check("mse", &bound.x0_errors, &row(&of, "mse"), 30.0 * bench.loss);
            let total = exact.at("total_bpd").numbers()[b];
            check("total", &[bound.total()], &[total], bench.loss);
            // So small a number is the rest of a difference of ones in the reference's f32.
            let prior = of.at("prior_bpd").numbers()[b];
            assert!(
                (bound.prior - prior).abs() < 1e-7,
                "{key}: prior {}, expected {prior}",
                bound.prior
            );
        }
        println!("{key}: {worst:.1e}");
        n += 1;
    }
    assert!(n > 0, "the file has no bounds");
}

#[test]
fn bounds_on_the_cpu() {
    bounds(&CPU);
}

#[test]
fn bounds_on_the_gpu() {
    bounds(&gpu_bench());
}
