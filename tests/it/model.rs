//! The model and its gradients against the official PyTorch code.

use sit_engine::backend::{Choice, Device};
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Arena, Graph, Plan};
use sit_engine::model::{self, Network};
use sit_engine::ops::guide;
use sit_engine::train::TrainConfig;
use sit_engine::transport::{LossWeight, Path, Prediction, Transport};
use sit_tests::fixture::{self, TINY, sine};
use sit_tests::{assert_close, gpu};

/// A device and how close it must come: of tensors relative to their rms, of losses relative.
struct Bench {
    device: &'static Device,
    tensor: f64,
    loss: f64,
}

const CPU: Bench = Bench {
    device: &Device::Cpu,
    tensor: 2e-5,
    loss: 1e-5,
};

fn gpu_bench() -> Bench {
    Bench {
        device: gpu(),
        tensor: 2e-4,
        loss: 1e-4,
    }
}

fn forward(bench: &Bench) {
    let mut program = fixture::network(bench.device, &TINY, 2, 0.1);
    program.write("x", &sine(512, 1.0, 0.1, 0.0)).unwrap();
    program.write("t", &[0.3, 0.8]).unwrap();
    program.write_u32("y", &[3, 10]).unwrap();
    let out = fixture::run(&mut program, "out");
    // Printed by the official code to six decimals.
    let golden = [
        0.12616, -0.324705, 0.246761, -0.367697, 0.205924, -0.233176, 0.04322, -0.102108,
    ];
    assert_close(
        "first of the golden output",
        &out[..8],
        &golden,
        bench.tensor.max(1e-5),
    );

    let json = fixture::json("sit_tiny.json");
    assert_eq!(json["param_count"], TINY.n_params());
    program.write("x", &sine(512, 0.9, 0.1, 0.0)).unwrap();
    assert_close(
        "forward",
        &fixture::run(&mut program, "out"),
        &fixture::tiny("forward"),
        bench.tensor,
    );
}

#[test]
fn forward_is_the_official_one_on_the_cpu() {
    forward(&CPU);
}

#[test]
fn forward_is_the_official_one_on_the_gpu() {
    forward(&gpu_bench());
}

/// The 21 losses at the fixture's times, noise and data, and the gradients of the plain velocity loss.
fn losses(bench: &Bench, only: impl Fn(&Transport) -> bool) {
    let json = fixture::json("sit_tiny.json");
    let mut n = 0;
    for &path in Path::ALL {
        for &prediction in Prediction::ALL {
            for &loss_weight in LossWeight::ALL {
                let transport = Transport {
                    path,
                    prediction,
                    loss_weight,
                    ..Transport::default()
                };
                if transport.validate().is_err() || !only(&transport) {
                    continue;
                }
                loss(bench, transport, &json);
                n += 1;
            }
        }
    }
    assert!(n > 0);
}

fn loss(bench: &Bench, transport: Transport, json: &serde_json::Value) {
    let weight = match transport.loss_weight {
        LossWeight::None => "None",
        LossWeight::Velocity => "velocity",
        LossWeight::Likelihood => "likelihood",
    };
    let path = match transport.path {
        Path::Linear => "Linear",
        Path::Gvp => "GVP",
        Path::Vp => "VP",
    };
    let key = format!("{path}/{}/{weight}", transport.prediction);
    let want = &json["losses"][&key];
    let config = TrainConfig {
        model: TINY,
        transport,
        adamw: Default::default(),
        batch: 2,
        accumulate: 1,
        class_dropout: 0.0,
        seed: 0,
    };
    let (layout, arenas) =
        fixture::arenas(bench.device, &TINY, 0.1, &[Arena::Params, Arena::Grads]);
    let plan = config.plans(&layout).unwrap().grad;
    let mut program = bench.device.program(plan, &arenas).unwrap();
    model::write_tables(&TINY, &mut program).unwrap();
    fixture::write_batch(
        &mut program,
        &transport,
        &sine(512, 1.1, 0.23, 0.5),
        &sine(512, 0.9, 0.1, 0.0),
        &[0.3, 0.8],
        &[3, 10],
    );
    let per_sample = fixture::run(&mut program, "loss");
    let numbers = |v: &serde_json::Value| {
        v.as_array()
            .unwrap()
            .iter()
            .map(|x| x.as_f64().unwrap() as f32)
            .collect::<Vec<_>>()
    };
    for (b, (got, want)) in per_sample
        .iter()
        .zip(numbers(&want["per_sample"]))
        .enumerate()
    {
        assert_close(&format!("{key} loss {b}"), &[*got], &[want], bench.loss);
    }

    let mut sum_sq = 0.0;
    for (name, _) in model::params(&TINY) {
        let grad = pollster::block_on(arenas.read(Arena::Grads, &name)).unwrap();
        sum_sq += grad.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        if key == "Linear/velocity/None" {
            assert_close(
                &name,
                &grad,
                &fixture::tiny(&format!("grad.{name}")),
                bench.tensor,
            );
        }
    }
    let want = want["grad_norm"].as_f64().unwrap();
    assert_close(
        &format!("{key} gradient norm"),
        &[sum_sq.sqrt() as f32],
        &[want as f32],
        bench.loss,
    );
}

#[test]
fn losses_and_gradients_are_the_official_ones_on_the_cpu() {
    losses(&CPU, |_| true);
}

#[test]
fn losses_and_gradients_are_the_official_ones_on_the_gpu() {
    losses(&gpu_bench(), |_| true);
}

/// Guidance of three channels: the first half of the official `forward_with_cfg`, which is conditional in channel 3.
fn guidance(bench: &Bench) {
    let json = fixture::json("sit_tiny.json");
    let scale = json["cfg3"]["scale"].as_f64().unwrap() as f32;
    let t = json["cfg3"]["t"].as_f64().unwrap() as f32;
    let mut g = Graph::new();
    let (x, t_in, y) = (
        g.input("x", [1, 4, 8, 8]),
        g.input("t", [2]),
        g.input_u32("y", [2]),
    );
    let scale_in = g.input("scale", [1]);
    let network = Network::new(&mut g, &TINY, false).unwrap();
    let doubled = guide::double(&mut g, x).unwrap();
    let out = network.forward(&mut g, doubled, t_in, Some(y)).unwrap();
    let out = guide::mix(&mut g, out, scale_in, 3).unwrap();
    let (layout, arenas) = fixture::arenas(bench.device, &TINY, 0.1, &[Arena::Params]);
    let request = Request {
        outputs: vec![("out".into(), out)],
        ..Request::default()
    };
    let plan = Plan::new(&g, &request, &layout).unwrap();
    let mut program = bench.device.program(plan, &arenas).unwrap();
    model::write_tables(&TINY, &mut program).unwrap();
    program.write("x", &sine(256, 1.0, 0.31, 0.2)).unwrap();
    program.write("t", &[t, t]).unwrap();
    program.write("scale", &[scale]).unwrap();
    program.write_u32("y", &[3, 10]).unwrap();
    let want = fixture::tiny("cfg3");
    assert_close(
        "guided",
        &fixture::run(&mut program, "out"),
        &want[..256],
        bench.tensor,
    );
}

#[test]
fn three_channel_guidance_is_the_official_one_on_the_cpu() {
    guidance(&CPU);
}

#[test]
fn three_channel_guidance_is_the_official_one_on_the_gpu() {
    guidance(&gpu_bench());
}

fn preset(name: &str) {
    let (got, want) = fixture::preset(&Device::Cpu, name);
    assert_close(name, &got, &want, CPU.tensor);
}

#[test]
fn sit_s_2_is_the_official_one() {
    preset("SiT-S/2");
}

#[test]
fn sit_b_4_is_the_official_one() {
    preset("SiT-B/4");
}

#[test]
fn the_software_adapter_is_taken_only_when_asked_for() {
    let device = pollster::block_on(Device::open(Choice::Auto)).unwrap();
    let text = device.to_string().to_lowercase();
    assert!(
        !text.contains("llvmpipe") && !text.contains("software"),
        "{text}"
    );
}
