//! The matrix product, attention and adaptive layer norm of the CPU backend. `elem/s` are floating-point operations of products,
//! two per multiply-accumulate, or values of the layer norm. Each result is first compared with plain loops in f64.
//!
//! `cargo bench -p sit-engine --bench kernels`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pollster::block_on;
use sit_engine::backend::{Device, Program};
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Graph, Plan, Var};
use sit_engine::num::{Mat, MatMut, gemm};
use sit_engine::ops::{adaln, attention};
use sit_engine::rng::{Stream, fill_normal};
use std::hint::black_box;
use std::time::Duration;

/// Images, and the sizes of SiT-S/2.
const BATCH: usize = 4;
const TOKENS: usize = 256;
const WIDTH: usize = 384;
const HEADS: usize = 6;
const EPS: f32 = 1e-6;

/// Standard normal numbers; `which` selects the tensor.
fn normal(which: u32, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    fill_normal(0, Stream::Noise, which, 0, &mut values);
    values
}

/// Panics unless `got` is within `tol` of the reference, relative to its root mean square.
fn check(what: &str, got: &[f32], want: &[f64], tol: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let rms = (want.iter().map(|x| x * x).sum::<f64>() / want.len() as f64).sqrt();
    let errors = got.iter().zip(want).map(|(&x, y)| (f64::from(x) - y).abs());
    let worst = errors.fold(0.0, f64::max);
    assert!(worst <= tol * rms, "{what}: off by {worst}, rms {rms}");
}

fn products(c: &mut Criterion) {
    let mut group = c.benchmark_group("matrix product");
    // The products of a block: the projection, the two of the MLP, and one with few rows.
    for [m, n, k] in [
        [1024, 384, 384],
        [1024, 1536, 384],
        [1024, 384, 1536],
        [4, 2304, 384],
    ] {
        let (a, b) = (normal(0, m * k), normal(1, k * n));
        let mut out = vec![0.0; m * n];
        let product = |out: &mut [f32]| {
            let out = MatMut::new(out, m, n);
            gemm(out, Mat::new(&a, m, k), Mat::new(&b, k, n), |_, _, _| ());
        };
        product(&mut out);
        // Rows at both ends and in the middle.
        for row in [0, 1, m / 2, m - 1] {
            let want = (0..n).map(|col| {
                let terms = (0..k).map(|i| f64::from(a[row * k + i]) * f64::from(b[i * n + col]));
                terms.sum()
            });
            let want: Vec<f64> = want.collect();
            check("product", &out[row * n..][..n], &want, 1e-5);
        }
        group.throughput(Throughput::Elements((2 * m * n * k) as u64));
        group.bench_function(format!("{m}x{k} by {k}x{n}"), |bench| {
            bench.iter(|| product(&mut out));
        });
    }
}

/// A program with the output `y` and its gradient `g` with respect to `x`, given the gradient `gy` of `y`.
fn program(build: impl FnOnce(&mut Graph) -> (Var, Var), with_gradient: bool) -> Program {
    let mut g = Graph::new();
    let (x, y) = build(&mut g);
    let mut outputs = vec![("y".into(), y)];
    if with_gradient {
        let gy = g.input("gy", g.shape(y).clone());
        let gx = g.backward(y, gy, &[x]).expect("it has a gradient")[0];
        outputs.push(("gx".into(), gx));
    }
    let request = Request {
        outputs,
        ..Request::default()
    };
    let plan = Plan::new(&g, &request, &[]).expect("it can be planned");
    let mut program = Device::Cpu.program(plan, &[]).expect("it needs no arena");
    for (which, port) in (0..).zip(program.plan().inputs.clone()) {
        let values = normal(which, port.ty.shape.numel());
        program.write(&port.name, &values).expect("it is an input");
    }
    program
}

fn read(program: &mut Program, name: &str) -> Vec<f32> {
    program.run().expect("the CPU does not fail");
    block_on(program.read(name)).expect("it is an output")
}

/// Compares the gradient along one direction with the central difference of `f`.
fn check_gradient(what: &str, gx: &[f32], x: &[f32], f: impl Fn(&[f64]) -> f64) {
    const STEP: f64 = 1e-4;
    let direction = normal(9, x.len());
    let moved = |by: f64| -> Vec<f64> {
        let places = x.iter().zip(&direction);
        places
            .map(|(&x, &d)| f64::from(x) + by * f64::from(d))
            .collect()
    };
    let want = (f(&moved(STEP)) - f(&moved(-STEP))) / (2.0 * STEP);
    let along = gx.iter().zip(&direction);
    let got: f64 = along.map(|(&g, &d)| f64::from(g) * f64::from(d)).sum();
    let norm = gx.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    assert!(
        (got - want).abs() <= 1e-3 * norm,
        "{what}: {got}, expected {want}"
    );
}

fn dot(a: &[f64], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, &b)| a * f64::from(b)).sum()
}

/// `softmax(q kᵀ / √hd) v`, head by head.
fn attention_reference(qkv: &[f64]) -> Vec<f64> {
    let head_dim = WIDTH / HEADS;
    let at = |b: usize, t: usize, which: usize, h: usize| {
        &qkv[(b * TOKENS + t) * 3 * WIDTH + which * WIDTH + h * head_dim..][..head_dim]
    };
    let mut out = vec![0.0; BATCH * TOKENS * WIDTH];
    for (i, out) in out.chunks_exact_mut(head_dim).enumerate() {
        let (b, t, h) = (i / HEADS / TOKENS, i / HEADS % TOKENS, i % HEADS);
        let q = at(b, t, 0, h);
        let score = |s: usize| {
            let k = at(b, s, 1, h);
            let product: f64 = q.iter().zip(k).map(|(q, k)| q * k).sum();
            (product / (head_dim as f64).sqrt()).exp()
        };
        let scores: Vec<f64> = (0..TOKENS).map(score).collect();
        let sum: f64 = scores.iter().sum();
        for (s, score) in scores.iter().enumerate() {
            let v = at(b, s, 2, h);
            out.iter_mut()
                .zip(v)
                .for_each(|(o, v)| *o += score / sum * v);
        }
    }
    out
}

fn attentions(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention");
    let build = |g: &mut Graph| {
        let qkv = g.input("qkv", [BATCH, TOKENS, 3 * WIDTH]);
        let o = attention::attention(g, qkv, HEADS).expect("the heads divide the width");
        (qkv, o)
    };
    let x = normal(0, BATCH * TOKENS * 3 * WIDTH);
    let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    for (name, with_gradient) in [("forward", false), ("forward and gradient", true)] {
        let mut program = program(build, with_gradient);
        let y = read(&mut program, "y");
        check("attention", &y, &attention_reference(&wide), 1e-5);
        if with_gradient {
            let (gx, gy) = (read(&mut program, "gx"), normal(1, y.len()));
            check_gradient("attention", &gx, &x, |x| dot(&attention_reference(x), &gy));
        }
        group.throughput(Throughput::Elements(2 * program.plan().macs()));
        group.bench_function(name, |b| b.iter(|| black_box(&mut program).run()));
    }
}

/// `(x - mean) rstd (1 + scale) + shift`, token by token.
fn adaln_reference(x: &[f64], shift: &[f32], scale: &[f32]) -> Vec<f64> {
    let mut out = Vec::with_capacity(x.len());
    for (i, x) in x.chunks_exact(WIDTH).enumerate() {
        let mean = x.iter().sum::<f64>() / WIDTH as f64;
        let var = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / WIDTH as f64;
        let rstd = 1.0 / (var + f64::from(EPS)).sqrt();
        let of_sample = i / TOKENS * WIDTH;
        out.extend(x.iter().enumerate().map(|(d, x)| {
            let (shift, scale) = (shift[of_sample + d], scale[of_sample + d]);
            (x - mean) * rstd * (1.0 + f64::from(scale)) + f64::from(shift)
        }));
    }
    out
}

fn norms(c: &mut Criterion) {
    let mut group = c.benchmark_group("adaln");
    let build = |g: &mut Graph| {
        let x = g.input("x", [BATCH, TOKENS, WIDTH]);
        let [shift, scale] = ["shift", "scale"].map(|name| g.input(name, [BATCH, WIDTH]));
        let y = adaln::adaln(g, adaln::Norm::Layer, EPS, x, shift, scale).expect("the shapes fit");
        (x, y)
    };
    let x = normal(0, BATCH * TOKENS * WIDTH);
    let [shift, scale] = [1, 2].map(|which| normal(which, BATCH * WIDTH));
    let reference = |x: &[f64]| adaln_reference(x, &shift, &scale);
    let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
    for (name, with_gradient) in [("forward", false), ("forward and gradient", true)] {
        let mut program = program(build, with_gradient);
        let y = read(&mut program, "y");
        check("adaln", &y, &reference(&wide), 1e-5);
        if with_gradient {
            let (gx, gy) = (read(&mut program, "gx"), normal(3, y.len()));
            check_gradient("adaln", &gx, &x, |x| dot(&reference(x), &gy));
        }
        group.throughput(Throughput::Elements(y.len() as u64));
        group.bench_function(name, |b| b.iter(|| black_box(&mut program).run()));
    }
}

criterion_group! {
    name = kernels;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).sample_size(30);
    targets = products, attentions, norms
}
criterion_main!(kernels);
