//! Steps of AdamW with the moving average.

use super::{Bench, CPU, gpu_bench};
use sit_engine::graph::Arena;
use sit_tests::assert_close;
use sit_tests::net::{Given, Training};
use sit_tests::official::{self, Official};

/// Steps at the fixture's times, noise and data: losses, trained weights and moving averages.
fn adamw_steps(bench: &Bench) {
    let tiny = Official::open("sit_tiny");
    let (inputs, train, arrays) = (tiny.at("inputs"), tiny.at("train"), tiny.arrays());
    let y = inputs.at("y").labels();
    let config = official::training(&train, tiny.model, y.len());
    let mut training = Training::new(bench.device, &tiny.model, &config, &tiny.weights);
    let x1 = tiny.images(y.len(), &inputs.at("x1").formula());
    let (t, x0) = (train.at("t").formula(), train.at("x0").formula());
    let t = t.with("B", y.len() as f64);
    for (step, want) in train.at("losses").floats().into_iter().enumerate() {
        let at = step as f64;
        let t: Vec<f32> = (0..y.len())
            .map(|b| t.with("s", at).with("b", b as f64).number() as f32)
            .collect();
        let per_sample = training.losses(&Given {
            x0: &tiny.images(y.len(), &x0.with("s", at)),
            x1: &x1,
            t: &t,
            y: &y,
        });
        let mean = per_sample.iter().sum::<f32>() / y.len() as f32;
        let what = format!("loss of step {step}");
        assert_close(&what, &[mean], &[want], bench.loss);
        training.update(train.at("lr").number(), step as u64 + 1);
    }
    let mut n = 0;
    for name in arrays.names() {
        for (prefix, arena) in [("trained.", Arena::Params), ("ema.", Arena::Ema)] {
            if let Some(param) = name.strip_prefix(prefix) {
                let got = training.read(arena, param);
                assert_close(&name, &got, &arrays.get(&name), bench.tensor);
                n += 1;
            }
        }
    }
    assert!(n > 0, "the file has no trained weights");
}

#[test]
fn adamw_steps_on_the_cpu() {
    adamw_steps(&CPU);
}

#[test]
fn adamw_steps_on_the_gpu() {
    adamw_steps(&gpu_bench());
}
