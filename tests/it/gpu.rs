//! The GPU backend on any Vulkan device, a software one included.

mod refusals;

use pollster::block_on;
use sit_engine::backend::gpu::Gpu;
use sit_engine::backend::{Arenas, Checks, Device, Program};
use sit_engine::error::{Error, Result};
use sit_engine::graph::launch::{Limits, dispatches};
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Arena, Graph, Layout, Plan, Var};
use sit_engine::model::Dit;
use sit_engine::ops::{adaln, attention, chunk, gather, linear, loss, pointwise};
use sit_engine::shape::Shape;
use sit_engine::train::Trainer;
use sit_tests::net::sine;
use sit_tests::{assert_close, gpu, gpus};
use std::collections::BTreeSet;

/// A separate device, for tests that count what is created on it or that release it.
fn own() -> Gpu {
    block_on(Gpu::open(true, Checks::Off)).expect("the shared device opens too")
}

fn no_arenas(device: &Device) -> Arenas {
    device.arenas(&Layout::default(), &[]).unwrap()
}

fn plan(g: &Graph, outputs: &[(&str, Var)]) -> Plan {
    let outputs = outputs.iter().map(|&(name, v)| (name.into(), v)).collect();
    let request = Request {
        outputs,
        ..Request::default()
    };
    Plan::new(g, &request, &[]).unwrap()
}

/// `y = x + c` over `n` elements.
fn shift(n: usize, c: f32) -> Plan {
    let mut g = Graph::new();
    let x = g.input("x", [n]);
    let c = g.constant(c, [n]);
    let y = pointwise::add(&mut g, x, c).unwrap();
    plan(&g, &[("y", y)])
}

fn program(device: &Device, plan: Plan) -> Program {
    device.program(plan, &[]).unwrap()
}

fn read(program: &Program, output: &str) -> Vec<f32> {
    block_on(program.read(output)).unwrap()
}

fn text<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.expect_err("it is refused").to_string()
}

#[test]
fn inputs_keep_their_values_and_outputs_feed_inputs() {
    let mut p = program(gpu(), shift(5, 1.5));
    p.run().unwrap();
    assert_eq!(read(&p, "y"), [1.5; 5], "inputs are zero at first");
    p.write("x", &[0.0, 1.0, 2.0, 3.0, 4.0]).unwrap();
    for _ in 0..2 {
        p.run().unwrap();
        assert_eq!(read(&p, "y"), [1.5, 2.5, 3.5, 4.5, 5.5]);
    }
    for _ in 0..3 {
        p.feed("y", "x").unwrap();
        p.run().unwrap();
    }
    assert_eq!(read(&p, "y"), [6.0, 7.0, 8.0, 9.0, 10.0]);
    assert_eq!(read(&p, "y"), [6.0, 7.0, 8.0, 9.0, 10.0], "read again");
    // A write after a feed takes precedence.
    p.feed("y", "x").unwrap();
    p.write("x", &[-1.5; 5]).unwrap();
    p.run().unwrap();
    assert_eq!(read(&p, "y"), [0.0; 5]);
}

#[test]
fn constants_fill_their_whole_tensor() {
    // Longer than a piece of a fill, with a remainder.
    let n = (1 << 18) + 77;
    for c in [-0.25, 0.0] {
        let mut p = program(gpu(), shift(n, c));
        p.write("x", &vec![1.0; n]).unwrap();
        p.run().unwrap();
        assert_eq!(read(&p, "y"), vec![1.0 + c; n]);
    }
}

/// A block of the network with labels, loss and gradients: what its program reads and writes.
struct Block {
    params: Vec<(String, Shape)>,
    layout: Layout,
    plan: Plan,
}

impl Block {
    fn new() -> Block {
        let (b, t, d) = (2, 3, 8);
        let params: Vec<(String, Shape)> = [
            ("table", vec![5, 2 * d]),
            ("qkv.weight", vec![3 * d, d]),
            ("qkv.bias", vec![3 * d]),
            ("proj.weight", vec![d, d]),
            ("proj.bias", vec![d]),
        ]
        .map(|(name, shape)| (name.to_string(), shape.into()))
        .into();
        let mut g = Graph::new();
        let vars: Vec<Var> = params
            .iter()
            .map(|(name, shape)| g.param(name, shape.clone()))
            .collect();
        let [x, x0, x1] = ["x", "x0", "x1"].map(|name| g.input(name, [b, t, d]));
        let (coef, seed) = (g.input("coef", [b, 4]), g.input("seed", [b]));
        let labels = g.input_u32("labels", [b]);
        let forward = |g: &mut Graph| -> Result<(Var, Var)> {
            let cond = gather::gather(g, vars[0], labels)?;
            let [shift, scale] = chunk::split(g, cond)?;
            let h = adaln::adaln(g, adaln::Norm::Layer, 1e-6, x, shift, scale)?;
            let qkv = linear::linear(g, h, vars[1], vars[2])?;
            let o = attention::attention(g, qkv, 2)?;
            let y = linear::linear(g, o, vars[3], vars[4])?;
            Ok((y, loss::loss(g, y, x0, x1, coef)?))
        };
        let (y, per_sample) = forward(&mut g).unwrap();
        let grads = g.backward(per_sample, seed, &vars).unwrap();
        let names = params.iter().map(|(name, _)| name.clone());
        let request = Request {
            outputs: vec![("y".into(), y), ("loss".into(), per_sample)],
            weights: Vec::new(),
            grads: names.zip(grads).collect(),
        };
        // Several segments, so that the operands of one step are in different buffers.
        let layout = Layout::new(&params, 1024).unwrap();
        assert_eq!(layout.segments().len(), 3);
        let plan = Plan::new(&g, &request, &[&layout]).unwrap();
        Block {
            params,
            layout,
            plan,
        }
    }

    /// Outputs and gradients of one run on fresh buffers.
    fn run(&self, device: &Device) -> Vec<(String, Vec<f32>)> {
        let kinds = [Arena::Params, Arena::Grads];
        let arenas = device.arenas(&self.layout, &kinds).unwrap();
        for (k, (name, shape)) in self.params.iter().enumerate() {
            let values = sine(shape.numel(), 0.5, 1.7, 0.3 * k as f64);
            arenas.write(Arena::Params, name, &values).unwrap();
        }
        let mut program = device.program(self.plan.clone(), &[&arenas]).unwrap();
        for (name, step) in [("x", 0.7), ("x0", 1.1), ("x1", 1.9)] {
            program.write(name, &sine(48, 1.0, step, 0.1)).unwrap();
        }
        program.write("coef", &sine(8, 1.0, 0.4, 0.9)).unwrap();
        program.write("seed", &[0.5, -1.25]).unwrap();
        program.write_u32("labels", &[3, 1]).unwrap();
        program.run().unwrap();
        let outputs = ["y", "loss"].map(|name| (name.to_string(), read(&program, name)));
        let grads = self.params.iter().map(|(name, _)| {
            let grad = block_on(arenas.read(Arena::Grads, name)).unwrap();
            (format!("gradient of {name}"), grad)
        });
        outputs.into_iter().chain(grads).collect()
    }
}

#[test]
fn a_block_and_its_gradients_are_those_of_the_cpu() {
    let block = Block::new();
    let cpu = block.run(&Device::Cpu);
    for device in gpus() {
        let gpu = block.run(device);
        for ((what, want), (_, got)) in cpu.iter().zip(&gpu) {
            assert_close(what, got, want, 1e-5);
        }
        assert_eq!(gpu.len(), 2 + block.params.len());
    }
}

#[test]
fn runs_have_the_same_bits() {
    let block = Block::new();
    let bits = |device: &Device| -> Vec<u32> {
        let values = block.run(device).into_iter().flat_map(|(_, v)| v);
        values.map(f32::to_bits).collect()
    };
    let first = bits(gpu());
    assert!(first.iter().any(|&b| b != 0));
    for device in [gpu(), gpu(), &Device::Gpu(own())] {
        assert_eq!(bits(device), first);
    }
}

#[test]
fn bytes_are_forecast_exactly() {
    let block = Block::new();
    let kinds = [Arena::Params, Arena::Grads, Arena::Ema];
    let arenas = gpu().arenas(&block.layout, &kinds).unwrap();
    assert_eq!(arenas.bytes(), 3 * block.layout.arena_bytes());
    let forecast = gpu().program_bytes(&block.plan).unwrap();
    let program = gpu().program(block.plan.clone(), &[&arenas]).unwrap();
    assert_eq!(program.bytes(), forecast);
    // The outputs, y and loss, are read through 192 + 8 bytes of staging; each uniform block takes 256 bytes.
    let uniforms = forecast - block.plan.slot_bytes() - (2 * 3 * 8 + 2) * 4;
    let all = dispatches(&block.plan, &Limits::default()).unwrap();
    let mut blocks: Vec<_> = all.iter().map(|d| &d.dims).collect();
    blocks.sort();
    blocks.dedup();
    assert_eq!(uniforms, 256 * blocks.len() as u64);
    assert_eq!(
        Device::Cpu.program_bytes(&block.plan),
        Ok(block.plan.slot_bytes())
    );
}

#[test]
fn running_makes_nothing_and_programs_share_pipelines() {
    let own = own();
    let device = Device::Gpu(own.clone());
    let mut first = program(&device, shift(5, 1.0));
    let after_one = own.made();
    assert_eq!(after_one.pipelines, 1);
    assert_eq!(after_one.buffers, 5, "x, c, y, uniform blocks, staging");
    for _ in 0..20 {
        first.write("x", &[2.0; 5]).unwrap();
        first.run().unwrap();
        first.feed("y", "x").unwrap();
        read(&first, "y");
    }
    assert_eq!(own.made(), after_one);
    let _second = program(&device, shift(9, 2.0));
    assert_eq!(own.made().pipelines, 1);
    assert_eq!(own.made().buffers, 10);
}

#[test]
fn outputs_are_copied_piece_by_piece_into_a_tensor_that_stays() {
    let Device::Gpu(device) = gpu() else {
        panic!("the device is a GPU");
    };
    let tensor = device.tensor(5).unwrap();
    let mut p = program(gpu(), shift(3, 1.0));
    p.write("x", &[1.0, 2.0, 3.0]).unwrap();
    p.run().unwrap();
    p.copy("y", 1..3, &tensor, 0).unwrap();
    p.write("x", &[5.0, 6.0, 7.0]).unwrap();
    p.run().unwrap();
    p.copy("y", 0..3, &tensor, 2).unwrap();
    p.copy("y", 2..2, &tensor, 5).unwrap();
    p.run().unwrap();
    assert_eq!(block_on(tensor.read()).unwrap(), [3.0, 4.0, 6.0, 7.0, 8.0]);
    tensor.write(&[1.0; 5]).unwrap();
    assert_eq!(block_on(tensor.read()).unwrap(), [1.0; 5]);

    let mut on_cpu = program(&Device::Cpu, shift(3, 1.0));
    on_cpu.run().unwrap();
    let refusals = [
        (p.copy("y", 0..3, &tensor, 3), "do not go into 5 from 3 on"),
        (p.copy("y", 1..4, &tensor, 0), "of y, which has 3"),
        (p.copy("z", 0..1, &tensor, 0), "z"),
        (
            p.copy("y", 0..3, &own().tensor(3).unwrap(), 0),
            "belongs to another device",
        ),
        (
            on_cpu.copy("y", 0..3, &tensor, 0),
            "belongs to another device",
        ),
        (tensor.write(&[1.0; 4]), "got 4 values, expected 5"),
    ];
    for (refusal, expected) in refusals {
        let refusal = text(refusal);
        assert!(refusal.contains(expected), "{refusal}");
    }
    let limit = device.limits().binding_bytes / 4;
    assert!(text(device.tensor(limit as usize + 1)).contains("binding limit"));
}

#[test]
fn a_loop_that_never_reads_stays_in_order() {
    let mut p = program(gpu(), shift(3, 1.0));
    for _ in 0..100 {
        p.run().unwrap();
        p.feed("y", "x").unwrap();
    }
    assert_eq!(read(&p, "y"), [100.0; 3]);
}

#[test]
fn threads_share_a_device() {
    std::thread::scope(|scope| {
        for k in 0..4_u8 {
            scope.spawn(move || {
                let c = f32::from(k);
                let mut p = program(gpu(), shift(300, c));
                for _ in 0..20 {
                    p.write("x", &[c; 300]).unwrap();
                    p.run().unwrap();
                    assert_eq!(read(&p, "y"), [2.0 * c; 300]);
                }
            });
        }
    });
}

#[test]
fn a_tensor_beyond_the_device_is_refused() {
    for n in [1 << 33, 1 << 40] {
        let mut g = Graph::new();
        let x = g.input("x", [n]);
        let y = pointwise::silu(&mut g, x).unwrap();
        let plan = plan(&g, &[("y", y)]);
        let error = gpu().program(plan, &[]).unwrap_err();
        assert!(matches!(error, Error::Limit(_)), "{error:?}");
    }
    let huge = [("w".to_string(), Shape::from([1 << 40]))];
    let layout = Layout::new(&huge, u64::MAX).unwrap();
    let error = gpu().arenas(&layout, &[Arena::Params]).unwrap_err();
    let Error::Limit(text) = error else {
        panic!("{error:?}");
    };
    assert!(
        text.starts_with("arena Params[0] needs 4194304 MiB: over the "),
        "{text}"
    );
}

#[test]
fn a_device_that_was_given_back_fails_with_the_reason() {
    let own = own();
    let device = Device::Gpu(own.clone());
    let layout = Layout::new(&[("w".into(), [3].into())], 1 << 20).unwrap();
    let arenas = device.arenas(&layout, &[Arena::Params]).unwrap();
    let mut p = program(&device, shift(5, 1.0));
    p.run().unwrap();
    own.destroy();
    let refusals = [
        text(p.run()),
        text(p.write("x", &[0.0; 5])),
        text(p.feed("y", "x")),
        text(block_on(p.read("y"))),
        text(arenas.write(Arena::Params, "w", &[0.0; 3])),
        text(block_on(arenas.read(Arena::Params, "w"))),
        text(device.arenas(&layout, &[Arena::Params])),
    ];
    for refusal in refusals {
        assert_eq!(refusal, "the GPU was given back: open it again");
    }
}

/// Every launch of the training step of real models is within the limits of any WebGPU device. Needs no device.
#[test]
fn presets_train_within_the_limits_of_webgpu() {
    for (preset, batch) in [("SiT-S/2", 16), ("SiT-B/4", 16), ("SiT-XL/2", 4)] {
        let model = Dit::preset(preset).unwrap();
        let training = Trainer::builder(model).batch(batch).accumulate(2);
        let limits = Limits::default();
        let blueprint = training.blueprint(limits.binding_bytes).unwrap();
        let plans = training.plans(&blueprint).unwrap();
        for plan in [&plans.grad, &plans.update] {
            let all = dispatches(plan, &limits).unwrap_or_else(|e| panic!("{preset}: {e}"));
            // Every step has its dispatches.
            let steps: BTreeSet<usize> = all.iter().map(|dispatch| dispatch.step).collect();
            assert_eq!(steps.len(), plan.steps.len(), "{preset}");
        }
        let plans = training.batch(1 << 12).plans(&blueprint).unwrap();
        let refusal = text(dispatches(&plans.grad, &limits));
        assert!(
            refusal.contains("use a smaller batch"),
            "{preset}: {refusal}"
        );
    }
}
