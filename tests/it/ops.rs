//! Every operation of the registry: its gradient against central differences, every backend against the f64 CPU.

use sit_engine::Result;
use sit_engine::backend::{Device, cpu};
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Graph, Plan, Var};
use sit_engine::ops::{self, axes, gather, matmul, pointwise, reduce};
use sit_engine::shape::Shape;
use sit_tests::ops::{Bench, CPU_TOL, GPU_TOL, cases, compare_all};
use sit_tests::{below, distance, gpus, uniform};
use std::collections::BTreeSet;

#[track_caller]
fn report(worst: &[(&str, f64)], failures: &[String]) {
    for &(stem, _) in ops::ALL {
        let of_stem = worst.iter().filter(|(s, _)| *s == stem).map(|&(_, e)| e);
        println!("{stem}: {:.1e}", of_stem.fold(0.0, f64::max));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn cpu_matches_its_f64_self() {
    let done = pollster::block_on(compare_all(&Device::Cpu, CPU_TOL));
    report(&done.worst, &done.failures);
}

#[test]
fn gpu_matches_the_f64_cpu() {
    for device in gpus() {
        let done = pollster::block_on(compare_all(device, GPU_TOL));
        report(&done.worst, &done.failures);
    }
}

/// Rounding error in f64 between two orders of the same sums.
const F64_TOL: f64 = 1e-12;

#[test]
fn fused_operations_and_their_gradients_are_those_of_their_expansions() {
    let (mut worst, mut failures) = (Vec::new(), Vec::new());
    for (stem, case) in cases() {
        let Some(expanded) = Bench::expanded(&case) else {
            continue;
        };
        let bench = Bench::new(&case);
        let names: Vec<&str> = bench.outputs().collect();
        assert_eq!(names, expanded.outputs().collect::<Vec<_>>());
        let pairs = bench.oracle().into_iter().zip(expanded.oracle());
        for (what, (got, want)) in names.iter().zip(pairs) {
            let error = match distance(&got, &want) {
                Ok((_, error)) if error <= F64_TOL => error,
                wrong => {
                    failures.push(format!("{}: {what}: {wrong:?}", bench.name));
                    continue;
                }
            };
            worst.push((stem, error));
        }
    }
    report(&worst, &failures);
}

/// No operation is forgotten: apart from the gradients of others, these are all operations without an expansion.
#[test]
fn every_fused_operation_has_an_expansion() {
    let silent: BTreeSet<&str> = cases()
        .filter(|(_, case)| Bench::expanded(case).is_none())
        .map(|(_, case)| case.op.name())
        .filter(|name| !name.contains("_bwd"))
        .collect();
    let expected = BTreeSet::from([
        // These change arenas in place.
        "adamw_accumulate",
        "adamw_average",
        "adamw_step",
        // These set a flag for values that are not finite.
        "adamw_norm",
        "adamw_norm_part",
        // These choose by a number of each sample: what is clamped, and which term of a bound it is.
        "ancestral_learned",
        "ancestral_noisy",
        "ancestral_plain",
        "bound_fwd",
        "cross_entropy_fwd",
        // Primitives.
        "axes_concat",
        "axes_pad",
        "axes_permute",
        "axes_slice",
        "control_error",
        "control_select",
        "gather_fwd",
        "matmul",
        "pointwise_add",
        "pointwise_affine",
        "pointwise_copy",
        "pointwise_cos",
        "pointwise_div",
        "pointwise_exp",
        "pointwise_ln",
        "pointwise_maximum",
        "pointwise_mul",
        "pointwise_neg",
        "pointwise_recip",
        "pointwise_relu",
        "pointwise_rsqrt",
        "pointwise_sigmoid",
        "pointwise_sin",
        "pointwise_sqrt",
        "pointwise_square",
        "pointwise_step",
        "pointwise_sub",
        "pointwise_tanh",
        "reduce_broadcast",
        "reduce_max",
        "reduce_sum",
        // These change the form of numbers.
        "widen_bf16",
        "widen_f16",
    ]);
    assert_eq!(silent, expected);
}

/// The value of what `build` makes of x `[2, 3, 2]` = 0, 1, .., 11.
fn of_counted(build: impl FnOnce(&mut Graph, Var) -> Result<Var>) -> (Shape, Vec<f32>) {
    let mut g = Graph::new();
    let x = g.input("x", [2, 3, 2]);
    let y = build(&mut g, x).expect("it fits");
    let request = Request {
        outputs: vec![("y".into(), y)],
        ..Request::default()
    };
    let plan = Plan::new(&g, &request, &[]).expect("a plan");
    let mut program = Device::Cpu.program(plan, &[]).expect("it runs");
    let counted: Vec<f32> = (0..12_u8).map(f32::from).collect();
    program.write("x", &counted).expect("an input");
    program.run().expect("it runs");
    let y_values = pollster::block_on(program.read("y")).expect("an output");
    (g.shape(y).clone(), y_values)
}

#[test]
fn axes_that_are_no_neighbors_are_reduced_and_repeated_too() {
    let sum = of_counted(|g, x| reduce::sum(g, x, &[2, 0]));
    assert_eq!(sum, ([1, 3, 1].into(), vec![14.0, 22.0, 30.0]));
    let mean = of_counted(|g, x| reduce::mean(g, x, &[0, 1, 2]));
    assert_eq!(mean, ([1, 1, 1].into(), vec![5.5]));
    let max = of_counted(|g, x| reduce::max(g, x, &[0, 2]));
    assert_eq!(max, ([1, 3, 1].into(), vec![7.0, 9.0, 11.0]));
    let repeated = of_counted(|g, x| {
        let column = reduce::sum(g, x, &[0, 2])?;
        reduce::broadcast(g, column, [2, 3, 2])
    });
    let row = [14.0, 14.0, 22.0, 22.0, 30.0, 30.0];
    assert_eq!(repeated, ([2, 3, 2].into(), [row, row].concat()));
    // With nothing to do, the value stays the same.
    let mut g = Graph::new();
    let x = g.input("x", [2, 1]);
    assert_eq!(reduce::sum(&mut g, x, &[1]), Ok(x));
    assert_eq!(reduce::broadcast(&mut g, x, [2, 1]), Ok(x));
}

#[test]
fn permuted_axes_lie_as_in_pytorch() {
    // torch.arange(12.).reshape(2, 3, 2).permute(1, 2, 0)
    let (shape, values) = of_counted(|g, x| axes::permute(g, x, &[1, 2, 0]));
    assert_eq!(shape, [3, 2, 2].into());
    let expected = [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11].map(|x: u8| f32::from(x));
    assert_eq!(values, expected);
}

#[test]
fn primitives_refuse_what_does_not_fit() {
    let mut g = Graph::new();
    let (x, v) = (g.input("x", [2, 3]), g.input("v", [3]));
    let (index, wide) = (
        g.input_u32("index", [2]),
        g.input("wide", [1, 1, 1, 1, 1, 1]),
    );
    let g = &mut g;
    let refusals = [
        (pointwise::sub(g, x, v), "pointwise_sub: second is [3]"),
        (
            reduce::sum(g, x, &[2]),
            "reduce_sum: x is [2, 3], which has no axis 2",
        ),
        (
            reduce::broadcast(g, x, [2, 4]),
            "reduce_broadcast: x is [2, 3]",
        ),
        (
            reduce::broadcast(g, v, [2, 3]),
            "reduce_broadcast: x is [3]",
        ),
        (axes::permute(g, x, &[0, 0]), "axes_permute: x is [2, 3]"),
        (
            axes::permute(g, wide, &[0, 1, 2, 3, 4, 5]),
            "at most 5 axes",
        ),
        (
            axes::slice(g, x, 1, 2..4),
            "axes_slice: x is [2, 3], expected a part 2..4",
        ),
        (axes::slice(g, x, 1, 2..2), "a part 2..2"),
        (
            axes::pad(g, x, 1, 1, 3),
            "axes_pad: x is [2, 3], expected at 1 of 3",
        ),
        (axes::concat(g, &[x, v], 0), "axes_concat: a part is [3]"),
        (axes::concat(g, &[x; 9], 0), "1 to 8 tensors, got 9"),
        (axes::concat(g, &[], 0), "1 to 8 tensors, got 0"),
        (
            axes::concat(g, &[index, index], 0),
            "axes_concat: x is u32[2]",
        ),
        (
            matmul::matmul(g, x, x, false, false),
            "matmul: b is [2, 3], expected [3, 3]",
        ),
        (
            matmul::matmul(g, x, v, false, false),
            "matmul: b is [3], expected matrices",
        ),
        (
            gather::gather(g, x, v),
            "gather_fwd: index is [3], expected u32",
        ),
        (gather::gather(g, v, index), "gather_fwd: table is [3]"),
    ];
    for (result, expected) in refusals {
        let refusal = result.expect_err(expected).to_string();
        assert!(refusal.contains(expected), "{refusal}, expected {expected}");
    }
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
            program: bench.loss_program(),
            seed: bench.input("seed"),
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

    /// Distance of `want` from the differences: element by element, at most 192 of them, and along random signs of all elements,
    /// which detects any wrong element.
    fn gradient_error(&mut self, name: &str, want: &[f64]) -> f64 {
        let x = self.bench.input(name);
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
