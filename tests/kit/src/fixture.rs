//! Numbers of the official PyTorch code, and the formulas that made their inputs.

use safetensors::SafeTensors;
use serde_json::Value;
use sit_engine::backend::{Arenas, Device, Program};
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Arena, Graph, Layout, Plan};
use sit_engine::model::{self, ModelConfig, Network};
use sit_engine::transport::Transport;
use std::path::PathBuf;

/// A file in `tests/fixtures`.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// A JSON file in `tests/fixtures`.
pub fn json(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).expect("the fixture is JSON")
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap_or_else(|e| panic!("{}: {e}", path(name).display()))
}

/// An f32 tensor of `sit_tiny.safetensors`.
pub fn tiny(tensor: &str) -> Vec<f32> {
    let bytes = bytes("sit_tiny.safetensors");
    let file = SafeTensors::deserialize(&bytes).expect("the fixture is whole");
    let view = file.tensor(tensor).expect("the fixture has the tensor");
    assert_eq!(view.dtype(), safetensors::Dtype::F32);
    let values = view.data().as_chunks().0;
    values.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Names of all tensors of `sit_tiny.safetensors`.
pub fn tiny_names() -> Vec<String> {
    let bytes = bytes("sit_tiny.safetensors");
    let file = SafeTensors::deserialize(&bytes).expect("the fixture is whole");
    let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
    names.sort();
    names
}

/// The network of `sit_tiny`.
pub const TINY: ModelConfig = ModelConfig {
    input_size: 8,
    channels: 4,
    patch: 2,
    dim: 32,
    depth: 2,
    n_heads: 4,
    n_classes: 10,
    learn_sigma: true,
};

/// `scale * sin(step * i + phase)` for i = 0.., computed in f64 and rounded.
pub fn sine(n: usize, scale: f64, step: f64, phase: f64) -> Vec<f32> {
    (0..n)
        .map(|i| (scale * libm::sin(step * i as f64 + phase)) as f32)
        .collect()
}

/// The layout and arenas of a network with the fixtures' weights: parameter k is `scale * sin(1.7 i + 0.3 k)`.
pub fn arenas(
    device: &Device,
    config: &ModelConfig,
    scale: f64,
    kinds: &[Arena],
) -> (Layout, Arenas) {
    let params = model::params(config);
    let layout = Layout::new(&params, device.max_segment_bytes()).expect("it fits");
    let arenas = device.arenas(&layout, kinds).expect("it fits");
    for (k, (name, shape)) in params.iter().enumerate() {
        let values = sine(shape.numel(), scale, 1.7, 0.3 * k as f64);
        for &kind in kinds
            .iter()
            .filter(|k| matches!(k, Arena::Params | Arena::Ema))
        {
            arenas
                .write(kind, name, &values)
                .expect("the parameter is there");
        }
    }
    (layout, arenas)
}

/// Runs a program and reads an output.
pub fn run(program: &mut Program, output: &str) -> Vec<f32> {
    program.run().expect("the device works");
    pollster::block_on(program.read(output)).expect("the device works")
}

/// Writes a training batch with given times and noise, and the coefficients of `transport`'s objective.
pub fn write_batch(
    program: &mut Program,
    transport: &Transport,
    x0: &[f32],
    x1: &[f32],
    t: &[f32],
    y: &[u32],
) {
    let objective = transport.objective().expect("a valid combination");
    let (mut xt_coef, mut loss_coef) = (Vec::new(), Vec::new());
    for &t in t {
        let (at, loss) = (
            objective.interpolant(f64::from(t)),
            objective.loss(f64::from(t)),
        );
        xt_coef.extend([at.x0, at.x1, 0.0, 0.0].map(|c| c as f32));
        loss_coef.extend([loss.weight, loss.out, loss.x0, loss.x1].map(|c| c as f32));
    }
    let floats = [
        ("x0", x0),
        ("x1", x1),
        ("t", t),
        ("xt_coef", &xt_coef[..]),
        ("loss_coef", &loss_coef[..]),
    ];
    for (input, values) in floats {
        program.write(input, values).expect("the input is there");
    }
    program.write_u32("y", y).expect("the input is there");
}

/// A network with the fixtures' weights as a program: inputs x, t, y, output out.
pub fn network(device: &Device, config: &ModelConfig, batch: usize, scale: f64) -> Program {
    let mut g = Graph::new();
    let (c, size) = (config.channels, config.input_size);
    let x = g.input("x", [batch, c, size, size]);
    let (t, y) = (g.input("t", [batch]), g.input_u32("y", [batch]));
    let network = Network::new(&mut g, config, false).expect("valid sizes");
    let out = network
        .forward(&mut g, x, t, Some(y))
        .expect("valid shapes");
    let (layout, arenas) = arenas(device, config, scale, &[Arena::Params]);
    let request = Request {
        outputs: vec![("out".into(), out)],
        ..Request::default()
    };
    let plan = Plan::new(&g, &request, &layout).expect("a valid graph");
    let mut program = device.program(plan, &arenas).expect("it fits");
    model::write_tables(config, &mut program).expect("the tables are there");
    program
}

/// Every 97th output of a published size with formula weights: ours and the official one.
pub fn preset(device: &Device, name: &str) -> (Vec<f32>, Vec<f32>) {
    let want = &json("sit_presets.json")["models"][name];
    let config = ModelConfig::preset(name).expect("a published size");
    assert_eq!(want["params"], config.n_params());
    let batch = want["batch"].as_u64().expect("a number") as usize;
    let numbers = |key: &str| -> Vec<f64> {
        let list = want[key].as_array().expect("a list");
        list.iter().map(|x| x.as_f64().expect("a number")).collect()
    };
    let f32s = |key: &str| numbers(key).iter().map(|&x| x as f32).collect::<Vec<_>>();
    let labels: Vec<u32> = numbers("y").iter().map(|&y| y as u32).collect();
    let mut program = network(device, &config, batch, 0.03);
    let x = sine(batch * config.image_len(), 1.0, 0.1, 0.0);
    program.write("x", &x).expect("the input is there");
    program.write("t", &f32s("t")).expect("the input is there");
    program.write_u32("y", &labels).expect("the input is there");
    let out = run(&mut program, "out");
    (out.into_iter().step_by(97).collect(), f32s("every_97th"))
}
