//! Every operation of the registry: its gradient against central differences, every backend against the f64 CPU.

use sit_engine::backend::{Device, cpu};
use sit_engine::graph::plan::{Request, Use};
use sit_engine::graph::{Arena, Graph, Layout, Plan, Var};
use sit_engine::ops::{self, Case};
use sit_engine::shape::{Elem, Shape};
use sit_tests::{below, distance, gpu, uniform};
use std::collections::BTreeSet;

/// What an input of a case holds.
#[derive(Clone)]
enum Values {
    Float(Vec<f32>),
    Label(Vec<u32>),
    /// An operand that is changed in place.
    InArena(Arena, Vec<f32>),
}

/// One case as a plan: the operation's outputs, the scalar-valued `loss` before the sum, the gradients of it.
pub struct Bench {
    name: String,
    inputs: Vec<(String, Values)>,
    layout: Layout,
    pub plan: Plan,
    /// Evaluates `loss` alone.
    loss_plan: Plan,
}

/// The name of the one parameter in every arena.
pub const PARAM: &str = "p";

impl Bench {
    pub fn new(case: &Case) -> Bench {
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

        let id = g.append(case.op.clone(), &ins).expect("the case fits");
        let n_outs = g.node(id).outs.len();
        let mut outputs: Vec<(String, Var)> = (0..n_outs)
            .map(|i| (format!("output {i}"), g.var(id, i)))
            .chain(in_place.iter().map(|&i| (format!("input {i}"), ins[i])))
            .collect();
        let mut loss_request = Request::default();
        if !case.wrt.is_empty() {
            let outs: Vec<Var> = (0..case.n_outs).map(|i| g.var(id, i)).collect();
            let loss = weighted_sum(&mut g, &outs, &mut inputs);
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
        let mut plan = Plan::new(&g, &request, &layout).expect("the case has a plan");
        // Poison: an element that no step writes stays NaN.
        for slot in &mut plan.slots {
            if slot.usage == Use::Scratch {
                slot.usage = Use::Const(f32::NAN);
            }
        }
        Bench {
            name,
            inputs,
            plan,
            loss_plan: Plan::new(&g, &loss_request, &layout).expect("part of the other plan"),
            layout,
        }
    }

    fn arena_kinds(&self) -> Vec<Arena> {
        self.plan.arenas.iter().copied().collect()
    }

    fn outputs(&self) -> impl Iterator<Item = &str> {
        self.plan.outputs.iter().map(|port| &port.name[..])
    }

    fn f64_program(&self, plan: &Plan) -> cpu::Program<f64> {
        let arenas = cpu::Arenas::new(&self.layout, &self.arena_kinds());
        let mut program = cpu::Program::new(plan.clone(), &arenas).expect("it has all arenas");
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
    fn oracle(&self) -> Vec<Vec<f64>> {
        let mut program = self.f64_program(&self.plan);
        program.run().expect("the CPU runs everything");
        self.outputs()
            .map(|name| program.read_real(name).expect("an output of the plan"))
            .collect()
    }

    /// All outputs on `device`.
    fn run(&self, device: &Device) -> sit_engine::Result<Vec<Vec<f32>>> {
        let arenas = device.arenas(&self.layout, &self.arena_kinds())?;
        let mut program = device.program(self.plan.clone(), &arenas)?;
        for (name, values) in &self.inputs {
            match values {
                Values::Float(x) => program.write(name, x)?,
                Values::Label(x) => program.write_u32(name, x)?,
                Values::InArena(arena, x) => arenas.write(*arena, PARAM, x)?,
            }
        }
        program.run()?;
        self.outputs()
            .map(|name| pollster::block_on(program.read(name)))
            .collect()
    }

    /// Compares every output on `device` with the oracle; adds to `failures`, returns the largest distance.
    fn compare(&self, device: &Device, tol: f64, failures: &mut Vec<String>) -> f64 {
        let got = match self.run(device) {
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

/// `Σ_k coef_k ⊙ outs_k` with random coefficients per sample, so that no two outputs can be confused.
fn weighted_sum(g: &mut Graph, outs: &[Var], inputs: &mut Vec<(String, Values)>) -> Var {
    let mut sum = outs[0];
    for (k, &out) in outs.iter().enumerate().skip(1) {
        let (name, batch) = (format!("coef{k}"), g.shape(out)[0]);
        inputs.push((
            name.clone(),
            Values::Float(uniform(100 + k as u64, batch * 4)),
        ));
        let coef = g.input(name, [batch, 4]);
        sum = ops::lincomb::lincomb(g, &[sum, out], coef).expect("outputs of one shape");
    }
    sum
}

/// Values that input `i` of an operation has in real use; multiples of 2^-10 where differences are taken.
pub fn floats(op: &str, i: usize, n: usize) -> Vec<f32> {
    let random = uniform(i as u64, n);
    let times = |scale: f32| random.iter().map(|x| x * scale).collect();
    match (op, i) {
        // Sums of squares.
        ("adamw_norm_part", 1) | ("adamw_norm", 0) | ("adamw_step", 5) => {
            random.iter().map(|x| x * x).collect()
        }
        // Norm and flag.
        ("adamw_step", 1) => vec![2.0, 0.0],
        // lr, beta1, beta2, adam_eps, weight_decay, ema_decay, c1, c2, clip
        ("adamw_step", 2) => vec![1e-2, 0.9, 0.95, 1e-8, 0.1, 0.999, 3.69, 7.01, 1.0],
        ("adamw_accumulate", 1) => vec![1.0],
        // Softmax from flat to peaked, activations into their tails, several turns of the wave.
        ("attention_fwd", 0) => times(2.0),
        ("pointwise_silu_fwd", 0) => times(4.0),
        ("pointwise_silu_bwd" | "pointwise_gelu_bwd", 1) => times(4.0),
        ("embed_time_fwd", 0) => times(16.0),
        _ => random,
    }
}

/// Every case with its stem.
pub fn cases() -> impl Iterator<Item = (&'static str, Case)> {
    let of = |&(stem, cases): &ops::Stem| cases().into_iter().map(move |case| (stem, case));
    ops::ALL.iter().flat_map(of)
}

#[track_caller]
fn report(worst: &[(&str, f64)], failures: &[String]) {
    for &(stem, _) in ops::ALL {
        let of_stem = worst.iter().filter(|(s, _)| *s == stem).map(|&(_, e)| e);
        println!("{stem}: {:.1e}", of_stem.fold(0.0, f64::max));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[track_caller]
fn compare_all(device: &Device, tol: f64) {
    let (mut worst, mut failures) = (Vec::new(), Vec::new());
    for (stem, case) in cases() {
        worst.push((stem, Bench::new(&case).compare(device, tol, &mut failures)));
    }
    report(&worst, &failures);
}

/// f32 rounds to 6e-8 of an element; sums here have up to 515 terms and exponents reach 10, which multiplies it.
#[test]
fn cpu_matches_its_f64_self() {
    compare_all(&Device::Cpu, 4e-6);
}

/// As on the CPU, but WGSL's exp may err by 3 + 2|x| units in the last place.
#[test]
fn gpu_matches_the_f64_cpu() {
    compare_all(gpu(), 1e-5);
}

/// Step of the differences: exact in f32 on multiples of 2^-10, and squared below the tolerance.
const STEP: f32 = 1.0 / 8192.0;

#[test]
fn gradients_match_central_differences() {
    let (mut worst, mut failures) = (Vec::new(), Vec::new());
    for (stem, case) in cases().filter(|(_, case)| !case.wrt.is_empty()) {
        let bench = Bench::new(&case);
        let oracle = bench.oracle();
        let mut loss = Loss::new(&bench);
        for &i in &case.wrt {
            let what = format!("gradient of input {i}");
            let at = bench.outputs().position(|name| name == what);
            let want = &oracle[at.expect("one gradient per input of wrt")];
            let error = loss.gradient_error(&format!("in{i}"), want);
            worst.push((stem, error));
            if error.is_nan() || error > 1e-6 {
                failures.push(format!("{}: {what}: {error:.1e}", bench.name));
            }
        }
    }
    report(&worst, &failures);
}

/// `L = Σ seed ⊙ loss` as a function of one input at a time.
struct Loss<'a> {
    bench: &'a Bench,
    program: cpu::Program<f64>,
    seed: &'a [f32],
}

impl<'a> Loss<'a> {
    fn new(bench: &'a Bench) -> Self {
        Loss {
            bench,
            program: bench.f64_program(&bench.loss_plan),
            seed: input(bench, "seed"),
        }
    }

    fn at(&mut self, name: &str, x: &[f32]) -> f64 {
        self.program.write(name, x).expect("an input of the plan");
        self.program.run().expect("the CPU runs everything");
        let loss = self.program.read_real("loss").expect("the plan's output");
        let terms = loss.iter().zip(self.seed);
        terms.map(|(loss, &seed)| loss * f64::from(seed)).sum()
    }

    /// `(L(x + h s) - L(x - h s)) / 2h`, which is `s · grad` up to `h²`.
    fn slope(&mut self, name: &str, x: &[f32], along: impl Fn(usize) -> f32) -> f64 {
        let moved = |h: f32| -> Vec<f32> {
            let step = |(i, &x): (usize, &f32)| x + h * along(i);
            x.iter().enumerate().map(step).collect()
        };
        let (up, down) = (moved(STEP), moved(-STEP));
        (self.at(name, &up) - self.at(name, &down)) / (2.0 * f64::from(STEP))
    }

    /// Distance of `want` from the differences: element by element, at most 192 of them, and along random signs of all
    /// elements, which no wrong one survives.
    fn gradient_error(&mut self, name: &str, want: &[f64]) -> f64 {
        let x = input(self.bench, name);
        let norm = want.iter().map(|g| g * g).sum::<f64>().sqrt();
        let rms = norm / (want.len() as f64).sqrt();
        let relative = |error: f64, unit: f64| if error == 0.0 { 0.0 } else { error / unit };
        let mut worst = 0.0f64;
        let mut note = |error: f64| worst = if error <= worst { worst } else { error };
        let elements: BTreeSet<usize> = match want.len() {
            n if n <= 192 => (0..n).collect(),
            n => below(7, 192, n as u32)
                .into_iter()
                .map(|i| i as usize)
                .collect(),
        };
        for &at in &elements {
            let got = self.slope(name, x, |i| f32::from(u8::from(i == at)));
            note(relative((got - want[at]).abs(), rms));
        }
        for seed in 0..8 {
            let signs = uniform(1000 + seed, x.len());
            let sign = |i: usize| if signs[i] < 0.0 { -1.0 } else { 1.0 };
            let along: f64 = want
                .iter()
                .enumerate()
                .map(|(i, g)| g * f64::from(sign(i)))
                .sum();
            note(relative((self.slope(name, x, sign) - along).abs(), norm));
        }
        self.program.write(name, x).expect("an input of the plan");
        worst
    }
}

fn input<'a>(bench: &'a Bench, name: &str) -> &'a [f32] {
    let found = bench.inputs.iter().find(|(input, _)| input == name);
    match found {
        Some((_, Values::Float(x))) => x,
        _ => panic!("{}: no float input {name}", bench.name),
    }
}
