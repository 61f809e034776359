//! LightningDiT and JiT: networks, gradients, guidance, JiT's loss and its samples.

use super::{Bench, CPU, gpu_bench};
use sit_engine::graph::Arena;
use sit_engine::table::{RotaryPart, Table};
use sit_engine::transport::{Guidance, LossWeight, Method, Ode, Prediction, Transport};
use sit_tests::fixture::{Entry, Fixture};
use sit_tests::formula::Formula;
use sit_tests::later::{self, Variant, numbers_after, variants};
use sit_tests::net::{self, Given, Training};
use sit_tests::{assert_close, official};

/// JiT's transport: the data is predicted and the loss is the velocity's.
fn jit() -> Transport {
    Transport {
        prediction: Prediction::Data,
        loss_weight: LossWeight::Velocity,
        ..Transport::default()
    }
}

#[test]
fn parameters_have_their_names_and_shapes() {
    for file in ["lightningdit", "jit"] {
        for (variant, entry) in variants(&Fixture::open(file)) {
            variant.check_params(&entry);
        }
    }
}

#[test]
fn rotary_angles() {
    let file = Fixture::open("lightningdit");
    let mut n = 0;
    for (variant, _) in variants(&file) {
        for (name, part) in [("rope_cos", RotaryPart::Cos), ("rope_sin", RotaryPart::Sin)] {
            let name = format!("{}.{name}", variant.name);
            if !file.arrays().names().contains(&name) {
                continue;
            }
            let table = Table::Rotary2d {
                side: variant.model.side(),
                head_dim: variant.model.dim / variant.model.n_heads,
                n_first: 0,
                part,
            };
            assert_close(&name, &table.values(), &file.arrays().get(&name), 1e-6);
            n += 1;
        }
    }
    assert!(n > 0, "the file has no angles");
}

fn output(bench: &Bench, variant: &Variant, x: &[f32], t: &[f32], y: &[u32]) -> Vec<f32> {
    let mut program = net::network(bench.device, &variant.model, t.len(), &variant.weights);
    program.write("x", x).unwrap();
    program.write("t", t).unwrap();
    program.write_u32("y", y).unwrap();
    net::run(&mut program, "out")
}

/// Outputs of LightningDiT's variants, and the guided output of three channels.
fn lightning_outputs(bench: &Bench) {
    let file = Fixture::open("lightningdit");
    let (inputs, arrays) = (file.root().at("inputs"), file.arrays());
    let (t, y) = (inputs.at("t").floats(), inputs.at("y").labels());
    let x = inputs.at("x").formula();
    let mut n_guided = 0;
    for (variant, _) in variants(&file) {
        let x = variant.images(t.len(), &x);
        let out = output(bench, &variant, &x, &t, &y);
        let name = format!("{}.out", variant.name);
        assert_close(&name, &out, &arrays.get(&name), bench.tensor);
        let name = format!("{}.cfg", variant.name);
        if !arrays.names().contains(&name) {
            continue;
        }
        n_guided += 1;
        let mut program = net::guided(bench.device, &variant.model, 3, &variant.weights);
        let x = &x[..x.len() / t.len()];
        program.write("x", x).unwrap();
        program.write("t", &[t[0]; 2]).unwrap();
        let scale = numbers_after(inputs.at("cfg").text(), "scale")[0];
        program.write("scale", &[scale as f32]).unwrap();
        let null = variant.model.n_classes as u32;
        program.write_u32("y", &[y[0], null]).unwrap();
        let out = net::run(&mut program, "out");
        assert_close(&name, &out, &arrays.get(&name)[..x.len()], bench.tensor);
    }
    assert!(n_guided > 0, "the file has no guided output");
}

#[test]
fn lightning_outputs_on_the_cpu() {
    lightning_outputs(&CPU);
}

#[test]
fn lightning_outputs_on_the_gpu() {
    lightning_outputs(&gpu_bench());
}

/// Compares the losses of the last batch, its gradients and their norms with those of a variant.
fn check_training(
    bench: &Bench,
    training: &Training,
    losses: &[f32],
    (name, entry): (&str, &Entry<'_>),
    file: &Fixture,
) {
    let mean = losses.iter().map(|&x| f64::from(x)).sum::<f64>() / losses.len() as f64;
    let want = entry.at("loss").number();
    assert_close(&format!("{name} loss"), &[mean], &[want], bench.loss);
    let total = entry.at("grad_norm").number();
    let mut sum_sq = 0.0;
    for (param, want) in later::grad_norms(entry) {
        let grad = training.read(Arena::Grads, &param);
        let square: f64 = grad.iter().map(|&x| f64::from(x).powi(2)).sum();
        sum_sq += square;
        // A bias of all keys changes no weight of attention: its gradient is rounding alone.
        let error = (square.sqrt() - want).abs() / want.max(1e-4 * total);
        assert!(
            error <= 10.0 * bench.loss,
            "{name} gradient norm of {param}: got {}, expected {want}",
            square.sqrt()
        );
    }
    assert_close(
        &format!("{name} gradient norm"),
        &[sum_sq.sqrt()],
        &[total],
        bench.loss,
    );
    let arrays = file.arrays();
    for (param, array) in later::grad_arrays(&arrays, name) {
        let grad = training.read(Arena::Grads, &param);
        assert_close(&array, &grad, &arrays.get(&array), bench.tensor);
    }
}

/// Losses `mean((out - target)²)` and their gradients.
fn lightning_gradients(bench: &Bench) {
    let file = Fixture::open("lightningdit");
    let inputs = file.root().at("inputs");
    let (t, y) = (inputs.at("t").floats(), inputs.at("y").labels());
    for (variant, entry) in variants(&file) {
        let x = variant.images(t.len(), &inputs.at("x").formula());
        let target = variant.images(t.len(), &inputs.at("target").formula());
        let config = official::objective(Transport::default(), variant.model, t.len());
        let mut training = Training::new(bench.device, &variant.model, &config, &variant.weights);
        let losses = training.square_errors(&Given {
            x0: &x,
            x1: &target,
            t: &t,
            y: &y,
        });
        check_training(bench, &training, &losses, (&variant.name, &entry), &file);
    }
}

#[test]
fn lightning_gradients_on_the_cpu() {
    lightning_gradients(&CPU);
}

#[test]
fn lightning_gradients_on_the_gpu() {
    lightning_gradients(&gpu_bench());
}

/// Outputs, losses and gradients of JiT's variants.
fn jit_losses(bench: &Bench) {
    let file = Fixture::open("jit");
    let (inputs, arrays) = (file.root().at("inputs"), file.arrays());
    let (out, loss) = (inputs.at("out").text(), inputs.at("loss").text());
    let y: Vec<u32> = numbers_after(out, "y = ")
        .iter()
        .map(|&y| y as u32)
        .collect();
    let t: Vec<f32> = numbers_after(out, "t = ")
        .iter()
        .map(|&t| t as f32)
        .collect();
    let x = Formula::labelled(out, "x");
    let number = |label| numbers_after(loss, label)[0];
    let (mean, std) = (number("P_mean"), number("P_std"));
    let times: Vec<f32> = numbers_after(loss, "normal numbers behind t:")
        .iter()
        .map(|n| (1.0 / (1.0 + libm::exp(-(mean + std * n)))) as f32)
        .collect();
    let noise = Formula::labelled(loss, "e").with("noise_scale", number("noise_scale "));
    let data = Formula::labelled(loss, "data");
    for (variant, entry) in variants(&file) {
        let name = format!("{}.out", variant.name);
        let got = output(bench, &variant, &variant.images(y.len(), &x), &t, &y);
        assert_close(&name, &got, &arrays.get(&name), bench.tensor);
        let config = official::objective(jit(), variant.model, y.len());
        let mut training = Training::new(bench.device, &variant.model, &config, &variant.weights);
        let losses = training.losses(&Given {
            x0: &variant.images(y.len(), &noise),
            x1: &variant.images(y.len(), &data),
            t: &times,
            y: &y,
        });
        check_training(bench, &training, &losses, (&variant.name, &entry), &file);
    }
}

#[test]
fn jit_losses_on_the_cpu() {
    jit_losses(&CPU);
}

#[test]
fn jit_losses_on_the_gpu() {
    jit_losses(&gpu_bench());
}

/// JiT's samples: Heun whose last step is Euler's, or Euler, with guidance in an interval.
fn jit_samples(bench: &Bench) {
    let file = Fixture::open("jit");
    let (sample, loss) = (
        file.root().at("inputs").at("sample"),
        file.root().at("inputs").at("loss"),
    );
    let (text, arrays) = (sample.text(), file.arrays());
    let y: Vec<u32> = numbers_after(text, "labels")
        .iter()
        .map(|&y| y as u32)
        .collect();
    let noise_scale = numbers_after(loss.text(), "noise_scale ")[0];
    let start = Formula::labelled(text, "start").with("noise_scale", noise_scale);
    let guidance = Guidance {
        scale: numbers_after(text, "scale ")[0],
        interval: [
            numbers_after(text, "where ")[0],
            numbers_after(text, "< t < ")[0],
        ],
        ..Guidance::default()
    };
    let usual_steps = numbers_after(text, "],")[0] as u32;
    let mut n = 0;
    for (variant, _) in variants(&file) {
        let prefix = format!("{}.sample.", variant.name);
        for name in arrays.names() {
            let Some(kind) = name.strip_prefix(&prefix) else {
                continue;
            };
            let words: Vec<&str> = kind.split('_').collect();
            let (method, scale, n_steps) = match words[..] {
                ["heun"] => (Method::Heun, guidance.scale, usual_steps),
                ["euler"] => (Method::Euler, guidance.scale, usual_steps),
                ["heun", "no", "guidance"] => (Method::Heun, 1.0, usual_steps),
                ["heun", n, "steps"] => (Method::Heun, guidance.scale, n.parse().unwrap()),
                _ => panic!("{name}: not understood"),
            };
            let model = net::model(bench.device, &variant.model, jit(), &variant.weights);
            let ode = Ode {
                method,
                n_steps,
                last_euler: method == Method::Heun,
                ..Ode::default()
            };
            let sampling = model.sampler(ode.into()).batch(y.len());
            let mut session = sampling
                .guided(Guidance { scale, ..guidance })
                .session()
                .unwrap();
            let x0 = variant.images(y.len(), &start);
            let end = net::solve(&mut session, &x0, &y, |_| vec![]);
            assert_close(&name, &end, &arrays.get(&name), bench.tensor);
            n += 1;
        }
    }
    assert!(n > 0, "the file has no samples");
}

#[test]
fn jit_samples_on_the_cpu() {
    jit_samples(&CPU);
}

#[test]
fn jit_samples_on_the_gpu() {
    jit_samples(&gpu_bench());
}
