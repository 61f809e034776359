//! The planner, on the plan of the loss and gradient of SiT-S/2. `elem/s` are steps of the plan. The plan is first checked: its
//! work against a formula, and that no step reads a value before it is written.
//!
//! `cargo bench -p sit-engine --bench planner`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sit_engine::Result;
use sit_engine::graph::plan::{Operand, Place, Request, Use};
use sit_engine::graph::{Graph, Layout, Plan, SetId};
use sit_engine::model::{Blueprint, Dit};
use sit_engine::nn::Params;
use sit_engine::objective::{Matching, Net, Objective, Ports};
use sit_engine::ops::loss;
use sit_engine::transport::Transport;
use std::hint::black_box;
use std::time::Duration;

const BATCH: usize = 4;

/// The graph of loss and gradient as in training, the request, and the layout of the parameters.
fn gradient(model: Dit) -> Result<(Graph, Request, Layout)> {
    let blueprint = Blueprint::new(model, Transport::default(), u64::MAX)?;
    let objective = Matching {
        transport: Transport::default(),
        class_dropout: 0.1,
    };
    let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
    let mut net = Net::new(&model, &mut params);
    let mut ports = Ports::new(blueprint.io(), BATCH);
    let per_sample = objective.build(&mut g, &mut net, &mut ports)?;
    let mean = loss::mean(&mut g, per_sample)?;
    let seed = g.constant(1.0, [1]);
    let trained: Vec<_> = params
        .trained()
        .map(|(name, var)| (name.to_owned(), var))
        .collect();
    let vars: Vec<_> = trained.iter().map(|&(_, var)| var).collect();
    let grads = g.backward(mean, seed, &vars)?;
    let names = trained.into_iter().map(|(name, _)| name);
    let request = Request {
        outputs: vec![("loss".into(), per_sample)],
        grads: names.zip(grads).collect(),
        ..Request::default()
    };
    Ok((g, request, blueprint.layout().clone()))
}

/// Multiply-accumulates of loss and gradient: every product three times, except for inputs without a gradient; attention has two
/// products in the forward and five in the backward.
fn macs(model: &Dit) -> u64 {
    const FREQUENCIES: usize = 256;
    let (t, d) = (model.tokens(), model.dim);
    let patch_len = model.patch * model.patch;
    let first = t * patch_len * model.channels * d + FREQUENCIES * d;
    let block = 12 * t * d * d + 6 * d * d;
    let last = 2 * d * d + t * d * patch_len * model.out_channels();
    let linear = d * d + model.depth * block + last;
    let attention = model.depth * t * t * d;
    (BATCH * (2 * first + 3 * linear + 7 * attention)) as u64
}

/// Panics if a step reads more of a slot than earlier steps have written.
fn check_reads(plan: &Plan) {
    let is_filled = |usage: Use| usage != Use::Scratch;
    let mut holds: Vec<usize> = plan
        .slots
        .iter()
        .map(|s| if is_filled(s.usage) { s.len } else { 0 })
        .collect();
    let slot = |operand: &Operand| match operand.place {
        Place::Slot(slot) => Some((slot, operand.len)),
        Place::Arena(..) => None,
    };
    for (i, step) in plan.steps.iter().enumerate() {
        for (slot, len) in step.ins.iter().filter_map(slot) {
            assert!(holds[slot] >= len, "step {i} reads slot {slot}");
        }
        for (slot, len) in step.outs.iter().filter_map(slot) {
            assert!(len <= plan.slots[slot].len, "step {i} writes slot {slot}");
            holds[slot] = len;
        }
    }
}

fn plans(c: &mut Criterion) {
    let model = Dit::preset("SiT-S/2").expect("it is published");
    let (g, request, layout) = gradient(model).expect("the sizes are valid");
    let plan = || Plan::new(&g, &request, &[&layout]).expect("it can be planned");
    let first = plan();
    assert_eq!(first.macs(), macs(&model));
    check_reads(&first);
    let mut group = c.benchmark_group("planner");
    group.throughput(Throughput::Elements(first.steps.len() as u64));
    group.bench_function("gradient of SiT-S/2", |b| b.iter(|| black_box(plan())));
}

criterion_group! {
    name = planner;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(30);
    targets = plans
}
criterion_main!(planner);
