//! Every operation of the registry against the f64 CPU: one list of cases for this machine and for browsers.

use crate::{below, distance, uniform};
use sit_engine::backend::{Device, cpu};
use sit_engine::graph::plan::{Request, Use};
use sit_engine::graph::{Arena, Graph, Kind, Layout, Plan, Var};
use sit_engine::ops::{self, Case};
use sit_engine::shape::{Elem, Shape, Type};

/// Error allowed for the CPU in f32: rounding of 6e-8 per element, multiplied by sums of up to 515 terms and exponents up to 10.
pub const CPU_TOL: f64 = 4e-6;

/// As on the CPU, but WGSL's exp may have an error of 3 + 2|x| units in the last place.
pub const GPU_TOL: f64 = 1e-5;

/// The content of a case's input.
#[derive(Clone, Debug)]
enum Values {
    Float(Vec<f32>),
    Label(Vec<u32>),
    /// An operand that is changed in place.
    InArena(Arena, Vec<f32>),
}

/// One case as a plan: the operation's outputs, the differentiated ones as one `loss`, and the gradients of its product with a seed.
#[derive(Debug)]
pub struct Bench {
    /// The operation and its operands.
    pub name: String,
    inputs: Vec<(String, Values)>,
    layout: Layout,
    /// All outputs; elements that no step writes are NaN.
    pub plan: Plan,
    /// Evaluates `loss` alone.
    loss_plan: Plan,
}

/// The name of the one parameter in every arena.
pub const PARAM: &str = "p";

impl Bench {
    /// # Panics
    /// When the case does not fit its operation.
    pub fn new(case: &Case) -> Bench {
        Self::of(case, |g, ins| {
            let id = g.append(case.op.clone(), ins).expect("the case fits");
            (0..g.node(id).outs.len()).map(|i| g.var(id, i)).collect()
        })
    }

    /// The operation's expansion in its place; `None` if it has none.
    ///
    /// # Panics
    /// When the case does not fit its operation, or the expansion has other outputs than it.
    pub fn expanded(case: &Case) -> Option<Bench> {
        // Whether an expansion exists does not depend on the graph.
        let mut g = Graph::new();
        let ins = case.ins.iter().map(|ty| match ty.elem {
            Elem::U32 => g.input_u32("", ty.shape.clone()),
            Elem::F32 => g.input("", ty.shape.clone()),
        });
        let ins: Vec<Var> = ins.collect();
        case.op.expand(&mut g, &ins)?.expect("the case fits");
        for node in &g.nodes()[ins.len()..] {
            if let Kind::Op(op) = &node.kind {
                assert!(is_primitive(op.name()), "{:?}: {op:?}", case.op);
            }
        }
        Some(Self::of(case, |g, ins| {
            let outs = case.op.expand(g, ins).expect("it expands");
            let outs = outs.expect("the case fits");
            let types: Vec<Type> = outs.iter().map(|&out| g.ty(out).clone()).collect();
            assert_eq!(Ok(types), case.op.infer(&case.ins), "{:?}", case.op);
            outs
        }))
    }

    /// A bench of the values that `apply` computes from the operands.
    fn of(case: &Case, apply: impl FnOnce(&mut Graph, &[Var]) -> Vec<Var>) -> Bench {
        let mut g = Graph::new();
        let name = format!("{:?} {:?}", case.op, case.ins);
        let in_place = case.op.in_place();
        let mut inputs = Vec::new();
        let mut ins = Vec::new();
        for (i, ty) in case.ins.iter().enumerate() {
            let port = format!("in{i}");
            let n = ty.shape.numel();
            let floats = || floats(case.op.name(), i, n);
            let (var, values) = match in_place.iter().position(|&k| k == i) {
                Some(k) => {
                    let arena = [Arena::Params, Arena::MomentM, Arena::MomentV, Arena::Ema][k];
                    (g.arena(arena, 0, n), Values::InArena(arena, floats()))
                }
                None if ty.elem == Elem::U32 => {
                    let labels = below(i as u64, n, case.n_labels);
                    (g.input_u32(&port, ty.shape.clone()), Values::Label(labels))
                }
                None => (g.input(&port, ty.shape.clone()), Values::Float(floats())),
            };
            ins.push(var);
            inputs.push((port, values));
        }
        let params: Vec<(String, Shape)> = in_place
            .first()
            .map(|&i| (PARAM.into(), case.ins[i].shape.clone()))
            .into_iter()
            .collect();
        let layout = Layout::new(&params, u64::MAX).expect("one parameter");

        let outs = apply(&mut g, &ins);
        let mut outputs: Vec<(String, Var)> = (0..outs.len())
            .map(|i| (format!("output {i}"), outs[i]))
            .chain(in_place.iter().map(|&i| (format!("input {i}"), ins[i])))
            .collect();
        let mut loss_request = Request::default();
        if !case.wrt.is_empty() {
            let loss = joined(&mut g, &outs[..case.n_outs]);
            let shape = g.shape(loss).clone();
            let seed = floats("", 99, shape.numel());
            inputs.push(("seed".into(), Values::Float(seed)));
            let seed = g.input("seed", shape);
            let wrt: Vec<Var> = case.wrt.iter().map(|&i| ins[i]).collect();
            let grads = g
                .backward(loss, seed, &wrt)
                .expect("the case has gradients");
            let named = case.wrt.iter().map(|i| format!("gradient of input {i}"));
            outputs.extend(named.zip(grads));
            loss_request.outputs = vec![("loss".into(), loss)];
        }
        let request = Request {
            outputs,
            ..Request::default()
        };
        let mut plan = Plan::new(&g, &request, &[&layout]).expect("the case has a plan");
        // Fill with NaN: elements that no step writes stay NaN.
        for slot in &mut plan.slots {
            if slot.usage == Use::Scratch {
                slot.usage = Use::Const(f32::NAN);
            }
        }
        Bench {
            name,
            inputs,
            plan,
            loss_plan: Plan::new(&g, &loss_request, &[&layout]).expect("part of the other plan"),
            layout,
        }
    }

    fn arena_kinds(&self) -> Vec<Arena> {
        self.plan.arenas.iter().map(|id| id.arena).collect()
    }

    /// Names of the outputs.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.plan.outputs.iter().map(|port| &port.name[..])
    }

    /// The program of `loss`, inputs written.
    pub fn loss_program(&self) -> cpu::Program<f64> {
        self.f64_program(&self.loss_plan)
    }

    /// A float input.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn input(&self, name: &str) -> &[f32] {
        let found = self.inputs.iter().find(|(input, _)| input == name);
        match found {
            Some((_, Values::Float(x))) => x,
            _ => panic!("{}: no float input {name}", self.name),
        }
    }

    fn f64_program(&self, plan: &Plan) -> cpu::Program<f64> {
        let arenas = cpu::Arenas::new(&self.layout, &self.arena_kinds());
        let mut program = cpu::Program::new(plan.clone(), std::slice::from_ref(&arenas))
            .expect("it has all arenas");
        for (name, values) in &self.inputs {
            let used = plan.inputs.iter().any(|port| port.name == *name);
            let written = match values {
                Values::Float(x) if used => program.write(name, x),
                Values::Label(x) if used => program.write_u32(name, x),
                Values::InArena(arena, x) => arenas.write(*arena, PARAM, x),
                _ => Ok(()),
            };
            written.expect("the input is the plan's");
        }
        program
    }

    /// All outputs in f64, the oracle.
    ///
    /// # Panics
    /// When the CPU refuses the plan.
    pub fn oracle(&self) -> Vec<Vec<f64>> {
        let mut program = self.f64_program(&self.plan);
        program.run().expect("the CPU runs everything");
        self.outputs()
            .map(|name| program.read_real(name).expect("an output of the plan"))
            .collect()
    }

    /// All outputs on `device`.
    async fn run(&self, device: &Device) -> sit_engine::Result<Vec<Vec<f32>>> {
        let arenas = device.arenas(&self.layout, &self.arena_kinds())?;
        let mut program = device.program(self.plan.clone(), &[&arenas])?;
        for (name, values) in &self.inputs {
            match values {
                Values::Float(x) => program.write(name, x)?,
                Values::Label(x) => program.write_u32(name, x)?,
                Values::InArena(arena, x) => arenas.write(*arena, PARAM, x)?,
            }
        }
        program.run()?;
        let mut outputs = Vec::new();
        for name in self.outputs() {
            outputs.push(program.read(name).await?);
        }
        Ok(outputs)
    }

    /// Compares every output on `device` with the oracle; adds to `failures`, returns the largest distance.
    async fn compare(&self, device: &Device, tol: f64, failures: &mut Vec<String>) -> f64 {
        let got = match self.run(device).await {
            Ok(got) => got,
            Err(error) => {
                failures.push(format!("{}: {error}", self.name));
                return 0.0;
            }
        };
        let mut worst: f64 = 0.0;
        for ((what, got), want) in self.outputs().zip(&got).zip(&self.oracle()) {
            match distance(got, want) {
                Ok((i, error)) => {
                    worst = worst.max(error);
                    if error > tol {
                        failures.push(format!(
                            "{}: {what}[{i}] is {}, expected {}: {error:.1e} of rms, tolerance {tol:.0e}",
                            self.name, got[i], want[i]
                        ));
                    }
                }
                Err(reason) => failures.push(format!("{}: {what}: {reason}", self.name)),
            }
        }
        worst
    }
}

/// Whether the operation's stem is one of primitives.
pub fn is_primitive(name: &str) -> bool {
    let stem = name.split('_').next().unwrap_or_default();
    ["axes", "gather", "matmul", "pointwise", "reduce"].contains(&stem)
}

/// Concatenates the outputs. The host multiplies them by the seed, so that no two can be confused. The operation that concatenates
/// is not under test: an operation with one output is differentiated alone.
fn joined(g: &mut Graph, outs: &[Var]) -> Var {
    if let [out] = outs {
        return *out;
    }
    let flat = outs.iter().map(|&out| {
        let n = g.shape(out).numel();
        g.reshape(out, [n]).expect("as many elements")
    });
    let flat: Vec<Var> = flat.collect();
    ops::axes::concat(g, &flat, 0).expect("vectors")
}

/// Realistic values for input `i` of an operation; multiples of 2^-10 if differences are taken.
pub fn floats(op: &str, i: usize, n: usize) -> Vec<f32> {
    let random = uniform(i as u64, n);
    let times = |scale: f32| random.iter().map(|x| x * scale).collect();
    match (op, i) {
        // Sums of squares.
        ("adamw_norm_part", 1) | ("adamw_norm", 0) | ("adamw_step", 5) => {
            random.iter().map(|x| x * x).collect()
        }
        // Norm and flag.
        ("adamw_step" | "adamw_average", 1) => vec![2.0, 0.0],
        // lr, beta1, beta2, adam_eps, weight_decay, ema_decay, c1, c2, clip
        ("adamw_step", 2) => vec![1e-2, 0.9, 0.95, 1e-8, 0.1, 0.999, 3.69, 7.01, 1.0],
        ("adamw_accumulate", 1) => vec![1.0],
        // The softmax is flat to peaked, the activations reach their tails, and the wave makes several turns.
        ("attention_fwd", 0) => times(2.0),
        ("pointwise_silu_fwd" | "pointwise_gelu" | "pointwise_tanh" | "pointwise_sigmoid", 0) => {
            times(4.0)
        }
        ("pointwise_gelu_bwd", 1) => times(4.0),
        ("pointwise_cos" | "pointwise_sin" | "pointwise_exp", 0) => times(4.0),
        // From 1 to 3.
        ("pointwise_ln" | "pointwise_sqrt" | "pointwise_rsqrt" | "pointwise_recip", 0)
        | ("pointwise_div", 1) => random.iter().map(|x| x + 2.0).collect(),
        // Never at the kink of a function, and never equal to the second input.
        ("pointwise_relu" | "pointwise_step" | "pointwise_maximum", 0) => {
            random.iter().map(|x| x + 1.0 / 2048.0).collect()
        }
        // No two are equal, so that the largest of a window is not in doubt.
        ("max_pool_fwd", 0) => {
            let spread = (0..n).map(|i| (i * 1009 % 4093) as f32);
            spread.map(|x| x / 1024.0 - 2.0).collect()
        }
        ("pointwise_silu_bwd", 1) => times(4.0),
        ("embed_time_fwd", 0) => times(16.0),
        _ => random,
    }
}

/// Every case with its stem.
pub fn cases() -> impl Iterator<Item = (&'static str, Case)> {
    let of = |&(stem, cases): &ops::Stem| cases().into_iter().map(move |case| (stem, case));
    ops::ALL.iter().flat_map(of)
}

/// The results of all cases.
#[derive(Debug)]
pub struct Report {
    /// The largest error of each stem divided by the root mean square of the expected values.
    pub worst: Vec<(&'static str, f64)>,
    /// What is wrong; empty when all is well.
    pub failures: Vec<String>,
}

/// Compares every output of every case on `device` with the oracle.
///
/// # Panics
/// When a case does not fit its operation.
pub async fn compare_all(device: &Device, tol: f64) -> Report {
    let mut report = Report {
        worst: ops::ALL.iter().map(|&(stem, _)| (stem, 0.0)).collect(),
        failures: Vec::new(),
    };
    for (at, (_, cases)) in ops::ALL.iter().enumerate() {
        for case in cases() {
            let error = Bench::new(&case)
                .compare(device, tol, &mut report.failures)
                .await;
            report.worst[at].1 = report.worst[at].1.max(error);
        }
    }
    report
}
