//! `sit profile`: the table, the trace, refused arguments, and that profiling changes no results.

use super::{TINY_RUN, names, tree};
use pollster::block_on;
use serde_json::Value;
use sit_engine::backend::profile::Timing;
use sit_engine::backend::{Arenas, Device, Program};
use sit_engine::graph::launch::{Limits, dispatches};
use sit_engine::graph::{Arena, Plan};
use sit_engine::model::{Blueprint, Model};
use sit_engine::sample::Sampling;
use sit_engine::transport::{Method, Sampler};
use sit_tests::gpu;
use sit_tests::net::sine;
use sit_tests::sit::{run, run_ok};
use sit_trainer::config::{RunConfig, Source};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

const PROFILE: &str = "profile --preset digits-smoke --steps 2";

fn config(set: &[&str]) -> RunConfig {
    let set: Vec<String> = set.iter().map(|&set| set.to_owned()).collect();
    RunConfig::load(Source::Preset("digits-smoke"), &set).unwrap()
}

/// Gradient and update of the preset.
fn plans(config: &RunConfig) -> [Plan; 2] {
    let training = config.step();
    let blueprint = training.blueprint(u64::MAX).unwrap();
    let plans = training.plans(&blueprint).unwrap();
    [plans.grad, plans.update]
}

fn events(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("t.json")).unwrap();
    let mut trace: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(trace["traceEvents"].take()).unwrap()
}

fn number(event: &Value, key: &str) -> f64 {
    event[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key}: {event}"))
}

/// The events of each program, in order; events of a category are within their program.
fn programs(events: &[Value], cat: &str) -> Vec<(String, Vec<Value>)> {
    let complete = events.iter().filter(|event| event["ph"] == "X");
    let mut programs: Vec<(String, f64, Vec<Value>)> = Vec::new();
    for event in complete {
        let (start, time) = (number(event, "ts"), number(event, "dur"));
        assert!(start >= 0.0 && time >= 0.0, "{event}");
        if event["cat"] == "program" {
            let name = event["name"].as_str().unwrap().to_owned();
            programs.push((name, start + time, Vec::new()));
            continue;
        }
        assert_eq!(event["cat"], cat);
        let (_, end, inside) = programs.last_mut().expect("it is in a program");
        let before = inside.last().map_or(0.0, |last| number(last, "ts"));
        assert!(start >= before && start + time <= *end + 1e-3, "{event}");
        inside.push(event.clone());
    }
    let parts = programs.into_iter();
    parts.map(|(name, _, inside)| (name, inside)).collect()
}

fn args(events: &[Value], key: &str) -> f64 {
    events.iter().map(|event| number(&event["args"], key)).sum()
}

#[test]
fn the_table_has_all_operations_and_the_trace_all_steps() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let said = run_ok(
        folder,
        &format!("{PROFILE} --backend cpu --trace t.json --batch 6"),
    );
    let config = config(&["train.batch=6"]);
    let plans = plans(&config);
    let row = |name: &str| {
        said.lines()
            .find(|line| line.trim_start().starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{name}: {said}"))
    };
    for step in plans.iter().flat_map(|plan| &plan.steps) {
        assert!(row(step.op.name()).contains(" % "));
    }
    for part in ["training step", "sampling step", "batch 6; mean of 2 steps"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(row("all").contains("100.0 %") && row("a").contains("run as always"));
    assert!(said.ends_with("\nt.json\n"), "{said}");

    let programs = programs(&events(folder), "operation");
    let order: Vec<&str> = programs.iter().map(|(name, _)| name.as_str()).collect();
    let two = ["gradient", "update", "gradient", "update", "step", "step"];
    assert_eq!(order, two);
    for (i, (name, inside)) in programs.iter().enumerate() {
        let steps: Vec<f64> = inside
            .iter()
            .map(|event| number(&event["args"], "step"))
            .collect();
        let counted: Vec<f64> = (0..steps.len()).map(|step| step as f64).collect();
        assert_eq!(steps, counted, "{name}");
        let Some(plan) = plans.get(i % 2).filter(|_| name != "step") else {
            continue;
        };
        assert_eq!(steps.len(), plan.steps.len(), "{name}");
        assert_eq!(args(inside, "macs"), plan.macs() as f64, "{name}");
        for (event, step) in inside.iter().zip(&plan.steps) {
            assert_eq!(event["name"], step.op.name());
            let shapes: Vec<String> = step.in_types.iter().map(|ty| format!("{ty:?}")).collect();
            assert_eq!(event["args"]["inputs"], Value::from(shapes));
            let bytes: u64 = step.out_types.iter().map(|ty| ty.bytes()).sum();
            assert!(number(&event["args"], "written_bytes") >= bytes as f64);
        }
    }
    let blueprint = Blueprint::new(config.model, config.transport, u64::MAX).unwrap();
    let sampling = Sampling::new(blueprint, Sampler::ode(Method::Euler, 1)).batch(6);
    let macs = sampling.macs().unwrap() as f64;
    assert_eq!(args(&programs[5].1, "macs"), macs);
}

#[test]
fn the_gpu_has_all_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let said = run_ok(
        folder,
        &format!("{PROFILE} --what train --backend gpu --trace t.json"),
    );
    assert!(!said.contains("sampling step"), "{said}");
    let plans = plans(&config(&[]));
    let inside = programs(&events(folder), "kernel");
    assert_eq!(inside.len(), 4);
    for (plan, (name, inside)) in plans.iter().zip(&inside) {
        let dispatches = dispatches(plan, &Limits::default()).unwrap();
        let kernels: Vec<&str> = dispatches.iter().map(|d| d.kernel.name).collect();
        let got: Vec<&str> = inside.iter().filter_map(|e| e["name"].as_str()).collect();
        assert_eq!(got, kernels, "{name}");
        let missing = kernels.iter().find(|name| !said.contains(**name));
        assert_eq!(missing, None, "{said}");
        // If an operation has several kernels, its multiply-accumulates are divided among them.
        let (macs, want) = (args(inside, "macs"), plan.macs() as f64);
        assert!((macs - want).abs() <= inside.len() as f64, "{macs} {want}");
    }
}

#[test]
fn a_run_and_a_file_are_profiled_and_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    run_ok(folder, "convert run x.safetensors");
    let before = tree(folder);
    for source in ["run", "x.safetensors"] {
        let words = format!("profile {source} --backend cpu --steps 1 --batch 2");
        let said = run_ok(folder, &words);
        assert!(
            said.contains("width 16, depth 1, 2 heads, patch 2, batch 2"),
            "{said}"
        );
    }
    assert!(tree(folder) == before);
}

#[test]
fn what_is_wrong_is_named_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let before = names(folder);
    for (words, message) in [
        ("profile", "give a CHECKPOINT or --preset NAME (digits, "),
        ("profile nosuch", "nosuch: cannot be opened"),
        ("profile sit-s/2", "did you mean --preset SiT-S/2?"),
        ("profile --preset nosuch", "--preset: unknown preset nosuch"),
        ("profile run --preset digits", "cannot be used with"),
        ("profile run --what both", "possible values: train, sample"),
        (
            "profile run --steps 0",
            "expected a whole number of 1 to 1000",
        ),
        (
            "profile run --batch 0",
            "expected a whole number of 1 to 65536",
        ),
        ("profile run --n-heads 2", "--n-heads: run is a run"),
        (
            "profile run --trace t.txt",
            "--trace: t.txt: got .txt, expected .json",
        ),
        (
            "profile run --trace t",
            "--trace: t: expected a name that ends in .json",
        ),
        (
            "profile run --trace no/t.json",
            "--trace: cannot write no/t.json",
        ),
        (
            "profile run --trace run/step-00000002/state.json",
            "--trace: run/step-00000002/state.json is in use",
        ),
        (
            "profile --preset digits-smoke --set train.batch=x",
            "--set train.batch=x",
        ),
        (
            "profile --preset digits-smoke --backend cpu --device 0",
            "backend is cpu",
        ),
        (
            "profile --preset SiT-XL/2 --batch 60000 --backend cpu",
            "use a smaller batch or model",
        ),
    ] {
        let done = run(folder, words);
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(message), "{words}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{words}");
    }
    assert_eq!(names(folder), before);
}

/// The programs of a training step with their inputs written.
fn training(config: &RunConfig, device: &Device) -> (Arenas, [Program; 2]) {
    let training = config.step();
    let blueprint = training.blueprint(device.max_segment_bytes()).unwrap();
    let all = [
        Arena::Params,
        Arena::Grads,
        Arena::MomentM,
        Arena::MomentV,
        Arena::Ema,
    ];
    let arenas = device.arenas(blueprint.layout(), &all).unwrap();
    for (k, entry) in blueprint.layout().entries().iter().enumerate() {
        let values = sine(entry.shape.numel(), 0.1, 1.7, 0.3 * k as f64);
        arenas.write(Arena::Params, &entry.name, &values).unwrap();
    }
    let plans = training.plans(&blueprint).unwrap();
    let programs = [plans.grad, plans.update].map(|plan| {
        let mut program = device.program(plan, &[&arenas]).unwrap();
        for (k, port) in program.plan().inputs.clone().iter().enumerate() {
            let n = port.ty.shape.numel();
            match port.below {
                Some(below) => {
                    let labels: Vec<u32> = (0..n).map(|i| (i % below) as u32).collect();
                    program.write_u32(&port.name, &labels).unwrap();
                }
                // These include settings of the optimizer, which must be positive.
                None => {
                    let values = sine(n, 0.4, 0.9, 0.1 * k as f64);
                    let values: Vec<f32> = values.iter().map(|x| x + 0.5).collect();
                    program.write(&port.name, &values).unwrap();
                }
            }
        }
        program
    });
    (arenas, programs)
}

/// The results of a step: losses, gradients, weights.
fn left(config: &RunConfig, device: &Device, profiled: bool) -> Vec<u32> {
    let (arenas, mut programs) = training(config, device);
    let start = Instant::now();
    let mut bits = Vec::new();
    for program in &mut programs {
        if profiled {
            let profile = block_on(program.profile(&mut || start.elapsed())).unwrap();
            let steps: BTreeSet<usize> = profile.spans.iter().map(|span| span.step).collect();
            assert!(steps.into_iter().eq(0..program.plan().steps.len()));
            assert!(profile.time() <= start.elapsed() || profile.timing != Timing::Clock);
        } else {
            program.run().unwrap();
        }
        for port in program.plan().outputs.clone() {
            let values = block_on(program.read(&port.name)).unwrap();
            bits.extend(values.into_iter().map(f32::to_bits));
        }
    }
    let blueprint = config.step().blueprint(u64::MAX).unwrap();
    for entry in blueprint.layout().entries() {
        for arena in [Arena::Grads, Arena::Params, Arena::Ema] {
            let values = block_on(arenas.read(arena, &entry.name)).unwrap();
            bits.extend(values.into_iter().map(f32::to_bits));
        }
    }
    bits
}

#[test]
fn a_profile_has_the_bits_of_a_run() {
    // Enough samples that the CPU takes some of them through several steps before the others.
    for (device, batch) in [(&Device::Cpu, "train.batch=96"), (gpu(), "train.batch=3")] {
        let config = config(&[batch]);
        let run = left(&config, device, false);
        assert!(run.iter().any(|&bits| bits != 0));
        assert!(left(&config, device, true) == run, "{device}");
    }
}

#[test]
fn a_sampling_that_is_profiled_on_the_way_ends_with_the_same_bits() {
    let config = config(&[]);
    for device in [&Device::Cpu, gpu()] {
        let images = [false, true].map(|profiled| {
            let (network, transport) = (config.model.clone(), config.transport.clone());
            let model = Model::init(device, network, transport, 3).unwrap();
            for (k, entry) in model.layout().entries().iter().enumerate() {
                let values = sine(entry.shape.numel(), 0.1, 1.7, 0.3 * k as f64);
                model.write(&entry.name, &values).unwrap();
            }
            let sampling = model.sampler(Sampler::ode(Method::Heun, 3)).batch(2);
            let mut session = sampling.guidance(1.5).session().unwrap();
            session.start(0, &[0, 1], &[3, 4]).unwrap();
            let start = Instant::now();
            assert!(block_on(session.profile(&mut || start.elapsed())).is_err());
            while !session.is_over() {
                session.step().unwrap();
                if profiled {
                    block_on(session.profile(&mut || start.elapsed())).unwrap();
                }
            }
            session.read().unwrap()
        });
        assert!(images[0].iter().any(|&x| x != 0.0));
        assert!(images[0] == images[1], "{device}");
    }
}
