//! The U-Net: its gradient, both backends, and the command on a run of one.

use sit_engine::backend::{Device, cpu};
use sit_engine::graph::plan::{Entry, Request};
use sit_engine::graph::{Arena, Graph, Plan, SetId};
use sit_engine::model::{Blueprint, Inputs, Network as _, Unet};
use sit_engine::nn::Params;
use sit_engine::transport::Transport;
use sit_tests::net::sine;
use sit_tests::sit::{run, run_ok};
use sit_tests::{distance, gpus};
use std::fs;

/// Every kind of block: two levels, attention with two heads, a label, and outputs for a variance.
pub fn tiny() -> Unet {
    Unet {
        input_size: 8,
        channels: 2,
        width: 8,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        n_heads: 2,
        groups: 4,
        time_scale: 1000,
        n_classes: 3,
        learn_sigma: true,
        span: false,
    }
}

const BATCH: usize = 2;

/// All outputs of the network as `out`, and the gradients of their product with `seed` by the names of the parameters.
fn plan(net: &Unet, blueprint: &Blueprint) -> Plan {
    let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
    let inputs = Inputs::new(
        g.input("x", net.io().images(BATCH)),
        g.input("t", [BATCH]),
        Some(g.input_u32("y", [BATCH])),
    );
    let out = net.forward(&mut params.scope(&mut g), inputs).unwrap().all;
    let seed = g.input("seed", g.shape(out).clone());
    let (names, vars): (Vec<String>, Vec<_>) = params
        .trained()
        .map(|(name, var)| (name.to_owned(), var))
        .unzip();
    let grads = g.backward(out, seed, &vars).unwrap();
    let mut outputs = vec![("out".to_owned(), out)];
    outputs.extend(names.into_iter().zip(grads));
    let request = Request {
        outputs,
        ..Request::default()
    };
    Plan::new(&g, &request, &[blueprint.layout()]).unwrap()
}

/// Values of the inputs; none is 0, so that every gradient shows.
fn inputs(net: &Unet) -> [(&'static str, Vec<f32>); 3] {
    let len = BATCH * net.io().image_len();
    [
        ("x", sine(len, 1.0, 0.7, 0.2)),
        ("t", vec![0.25, 0.7]),
        ("seed", sine(2 * len, 1.0, 0.9, 0.4)),
    ]
}

const LABELS: [u32; BATCH] = [1, 3];

/// The weights, of a size for which every block does something.
fn weights(blueprint: &Blueprint) -> Vec<(String, Vec<f32>)> {
    let entries = blueprint.layout().entries().iter().enumerate();
    let values = |(k, entry): (usize, &Entry)| {
        let values = sine(entry.shape.numel(), 0.2, 1.7, 0.3 * k as f64);
        (entry.name.clone(), values)
    };
    entries.map(values).collect()
}

#[test]
fn gradients_of_all_parameters_are_central_differences() {
    let net = tiny();
    let blueprint = Blueprint::new(net.clone(), Transport::default(), u64::MAX).unwrap();
    let arenas = cpu::Arenas::<f64>::new(blueprint.layout(), &[Arena::Params]);
    let weights = weights(&blueprint);
    for (name, values) in &weights {
        arenas.write(Arena::Params, name, values).unwrap();
    }
    let plan = plan(&net, &blueprint);
    let mut program = cpu::Program::<f64>::new(plan, std::slice::from_ref(&arenas)).unwrap();
    let inputs = inputs(&net);
    for (name, values) in &inputs {
        program.write(name, values).unwrap();
    }
    program.write_u32("y", &LABELS).unwrap();
    program.run().unwrap();
    let seed: Vec<f64> = inputs[2].1.iter().map(|&x| f64::from(x)).collect();
    let grads: Vec<Vec<f64>> = weights
        .iter()
        .map(|(name, _)| program.read_real(name).unwrap())
        .collect();
    let mut loss = |name: &str, values: &[f32]| -> f64 {
        arenas.write(Arena::Params, name, values).unwrap();
        program.run().unwrap();
        let out = program.read_real("out").unwrap();
        out.iter().zip(&seed).map(|(a, b)| a * b).sum()
    };
    for ((name, values), grad) in weights.iter().zip(&grads) {
        let step = sine(values.len(), 1e-3, 2.3, 0.5);
        let moved = |sign: f32| -> Vec<f32> {
            values
                .iter()
                .zip(&step)
                .map(|(x, d)| x + sign * d)
                .collect()
        };
        let (up, down) = (moved(1.0), moved(-1.0));
        let difference = loss(name, &up) - loss(name, &down);
        loss(name, values);
        // The steps as they are after rounding.
        let steps = up
            .iter()
            .zip(&down)
            .map(|(a, b)| f64::from(*a) - f64::from(*b));
        let steps: Vec<f64> = steps.collect();
        let want: f64 = steps.iter().zip(grad).map(|(a, b)| a * b).sum();
        let size: f64 = steps.iter().zip(grad).map(|(a, b)| (a * b).abs()).sum();
        assert!(size > 0.0, "{name} has no gradient");
        // The third derivative times the square of the step.
        assert!(
            (difference - want).abs() <= 1e-4 * size,
            "{name}: {difference:e} for {want:e}, of terms of {size:e}"
        );
    }
}

#[test]
fn the_gpu_computes_what_the_cpu_computes() {
    let net = tiny();
    let all = |device: &Device| {
        let blueprint = Blueprint::new(
            net.clone(),
            Transport::default(),
            device.max_segment_bytes(),
        )
        .unwrap();
        let arenas = device.arenas(blueprint.layout(), &[Arena::Params]).unwrap();
        for (name, values) in weights(&blueprint) {
            arenas.write(Arena::Params, &name, &values).unwrap();
        }
        let plan = plan(&net, &blueprint);
        let names: Vec<String> = plan.outputs.iter().map(|port| port.name.clone()).collect();
        let mut program = device.program(plan, &[&arenas]).unwrap();
        for (name, values) in inputs(&net) {
            program.write(name, &values).unwrap();
        }
        program.write_u32("y", &LABELS).unwrap();
        program.run().unwrap();
        let read = |name: &String| {
            let values = pollster::block_on(program.read(name)).unwrap();
            (name.clone(), values)
        };
        names.iter().map(read).collect::<Vec<_>>()
    };
    let want = all(&Device::Cpu);
    for device in gpus() {
        for ((name, got), (_, want)) in all(device).iter().zip(&want) {
            let want: Vec<f64> = want.iter().map(|&x| f64::from(x)).collect();
            let (_, error) = distance(got, &want).unwrap();
            assert!(error <= 1e-4, "{name}: {error:e} of rms");
        }
    }
}

const RUN: &str = "train --preset digits-unet --backend cpu --out run --set train.steps=4 --set train.batch=4 \
     --set model.width=8 --set model.groups=4 --set log.every_steps=1 --set log.checkpoint_every_steps=2 \
     --set log.preview.every_steps=0";

#[test]
fn a_run_goes_on_with_the_same_bits_and_is_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, RUN);
    let last = folder.join("run/step-00000004");
    let files = ["model.safetensors", "ema.safetensors", "optim.safetensors"];
    let bytes = || files.map(|file| fs::read(last.join(file)).unwrap());
    let want = bytes();
    fs::remove_dir_all(&last).unwrap();
    run_ok(folder, "train --resume run --backend cpu");
    assert!(bytes() == want);

    run_ok(
        folder,
        "sample run --backend cpu --steps 2 --guidance 1.5 --per-class 1 --out all.png",
    );
    // A sample does not depend on its neighbors.
    let sample = |batch: usize| {
        let out = format!("b{batch}.npz");
        run_ok(
            folder,
            &format!(
                "sample run --backend cpu --steps 2 --per-class 1 --batch {batch} --npz {out}"
            ),
        );
        fs::read(folder.join(out)).unwrap()
    };
    assert!(sample(1) == sample(7));
    let info = run_ok(folder, "info run");
    assert!(info.contains("U-Net of width 8, multipliers 1 2"), "{info}");
    run_ok(folder, "train --preset digits-unet --backend cpu --dry-run");
}

#[test]
fn wrong_tables_are_refused_by_key() {
    let folder = tempfile::tempdir().unwrap();
    for (set, message) in [
        ("model.family=vit", "model.family: got \"vit\""),
        ("model.patch=2", "unknown key model.patch"),
        (
            "model.attention=[3]",
            "model.attention: got 3, expected sizes of the levels, of [8, 4]",
        ),
        (
            "model.preset=SiT-S/2",
            "model.preset: the presets are sizes of a DiT",
        ),
        (
            "transport.path=DDPM --set transport.prediction=noise",
            "model.time_scale: got 1000, expected 1 on the path DDPM",
        ),
        ("model.blocks=x", "model.blocks: got \"x\""),
    ] {
        let done = run(
            folder.path(),
            &format!("train --preset digits-unet --set {set} --dry-run"),
        );
        assert!(done.stderr.contains(message), "{set}: {}", done.stderr);
    }
}
