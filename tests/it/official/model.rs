//! The network, its gradients and its guidance.

use super::{Bench, CPU, gpu_bench};
use sit_engine::graph::Arena;
use sit_engine::model::{self, ModelConfig};
use sit_tests::assert_close;
use sit_tests::net::{self, Given, Training};
use sit_tests::official::{self, Official};

/// Tests read every array of the file.
#[test]
fn every_array_is_understood() {
    let kinds = ["forward", "cfg3", "grad", "trained", "ema", "ode", "sde"];
    for name in Official::open("sit_tiny").arrays().names() {
        let kind = name.split('.').next().unwrap();
        assert!(kinds.contains(&kind), "{name}: not understood");
    }
}

#[test]
fn parameters_have_their_names_and_order() {
    let tiny = Official::open("sit_tiny");
    let names = tiny.at("param_names").list();
    let names = names.iter().map(|name| name.text());
    let names: Vec<&str> = names.filter(|name| *name != "pos_embed").collect();
    let own = model::params(&tiny.model).unwrap();
    let own = own.iter().filter(|spec| spec.is_trained());
    let own: Vec<&str> = own.map(|spec| spec.name.as_str()).collect();
    assert_eq!(own, names);
    assert_eq!(
        tiny.at("param_count").count(),
        ModelConfig::from(tiny.model).n_params()
    );
}

fn forward(bench: &Bench) {
    let tiny = Official::open("sit_tiny");
    let inputs = tiny.at("inputs");
    let t = inputs.at("t").floats();
    let mut program = net::network(bench.device, &tiny.model, t.len(), &tiny.weights);
    let x = tiny.images(t.len(), &inputs.at("x1").formula());
    program.write("x", &x).unwrap();
    program.write("t", &t).unwrap();
    program.write_u32("y", &inputs.at("y").labels()).unwrap();
    let out = net::run(&mut program, "out");
    assert_close("forward", &out, &tiny.arrays().get("forward"), bench.tensor);
}

#[test]
fn forward_on_the_cpu() {
    forward(&CPU);
}

#[test]
fn forward_on_the_gpu() {
    forward(&gpu_bench());
}

/// All losses at the fixture's times, noise and data, and the gradients of the one that is trained.
fn losses(bench: &Bench) {
    let tiny = Official::open("sit_tiny");
    let (inputs, arrays) = (tiny.at("inputs"), tiny.arrays());
    let (t, y) = (inputs.at("t").floats(), inputs.at("y").labels());
    let images = |key| tiny.images(t.len(), &inputs.at(key).formula());
    let batch = Given {
        x0: &images("x0"),
        x1: &images("x1"),
        t: &t,
        y: &y,
    };
    let train = tiny.at("train");
    let trained = train.at("combo").text();
    let losses = tiny.at("losses").entries();
    assert!(losses.iter().any(|(key, _)| *key == trained), "{trained}");
    for (key, want) in losses {
        let config = official::objective(official::transport(key), tiny.model, t.len());
        let mut training = Training::new(bench.device, &tiny.model, &config, &tiny.weights);
        let got = training.losses(&batch);
        let wanted = want.at("per_sample").floats();
        assert_eq!(got.len(), wanted.len(), "{key}");
        for (b, (got, want)) in got.into_iter().zip(wanted).enumerate() {
            assert_close(&format!("{key} loss {b}"), &[got], &[want], bench.loss);
        }
        let mut sum_sq = 0.0;
        for (name, _, _) in net::params(&tiny.model, &tiny.weights) {
            let grad = training.read(Arena::Grads, &name);
            sum_sq += grad.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
            if key == trained {
                let want = arrays.get(&format!("grad.{name}"));
                assert_close(&name, &grad, &want, bench.tensor);
            }
        }
        let norm = want.at("grad_norm").number();
        let what = format!("{key} gradient norm");
        assert_close(&what, &[sum_sq.sqrt() as f32], &[norm as f32], bench.loss);
    }
}

#[test]
fn losses_and_gradients_on_the_cpu() {
    losses(&CPU);
}

#[test]
fn losses_and_gradients_on_the_gpu() {
    losses(&gpu_bench());
}

/// Guidance of some channels: the first half of the official `forward_with_cfg`. The other channels are conditional.
fn guidance(bench: &Bench) {
    let tiny = Official::open("sit_tiny");
    let cfg = tiny.at("cfg3");
    let n_guided = official::n_guided(&cfg.at("guided_channels"));
    let t = cfg.at("t").number() as f32;
    let y = [
        tiny.at("inputs").at("y").labels()[0],
        tiny.model.n_classes as u32,
    ];
    let x = tiny.images(1, &tiny.at("samplers").at("z").formula());
    let mut program = net::guided(bench.device, &tiny.model, n_guided, &tiny.weights);
    program.write("x", &x).unwrap();
    program.write("t", &[t, t]).unwrap();
    let scale = cfg.at("scale").number() as f32;
    program.write("scale", &[scale]).unwrap();
    program.write_u32("y", &y).unwrap();
    let out = net::run(&mut program, "out");
    let want = &tiny.arrays().get("cfg3")[..x.len()];
    assert_close("guided", &out, want, bench.tensor);
}

#[test]
fn guidance_of_some_channels_on_the_cpu() {
    guidance(&CPU);
}

#[test]
fn guidance_of_some_channels_on_the_gpu() {
    guidance(&gpu_bench());
}
