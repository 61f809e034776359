//! Operations at their limits: values that are not finite or huge, first and last steps, batches; on the CPU and on the GPU.

use sit_engine::backend::Device;
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Arena, Graph, Layout, Plan, Var};
use sit_engine::shape::Shape;
use sit_engine::{Result, ops};
use sit_tests::ops::{PARAM, floats};
use sit_tests::{assert_close, gpu, uniform};

fn on_both(check: impl Fn(&Device) -> Result<()>) -> Result<()> {
    check(&Device::Cpu)?;
    check(gpu())
}

/// Runs `g` on `device` with float inputs and the parameter [`PARAM`] in `arenas`; returns the outputs and the arenas.
fn run(
    device: &Device,
    g: &Graph,
    inputs: &[(&str, &[f32])],
    outputs: Vec<(String, Var)>,
    arenas: &[(Arena, &[f32])],
) -> Result<Vec<Vec<f32>>> {
    let params: Vec<(String, Shape)> = arenas
        .first()
        .map(|(_, data)| (PARAM.into(), Shape::from([data.len()])))
        .into_iter()
        .collect();
    let layout = Layout::new(&params, u64::MAX)?;
    let request = Request {
        outputs,
        ..Request::default()
    };
    let plan = Plan::new(g, &request, &[&layout])?;
    let kinds: Vec<Arena> = arenas.iter().map(|(kind, _)| *kind).collect();
    let store = device.arenas(&layout, &kinds)?;
    for (kind, data) in arenas {
        store.write(*kind, PARAM, data)?;
    }
    let mut program = device.program(plan, &[&store])?;
    for (name, data) in inputs {
        program.write(name, data)?;
    }
    program.run()?;
    let outputs = program.plan().outputs.iter();
    let mut values = outputs
        .map(|port| pollster::block_on(program.read(&port.name)))
        .collect::<Result<Vec<_>>>()?;
    for kind in kinds {
        values.push(pollster::block_on(store.read(kind, PARAM))?);
    }
    Ok(values)
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() -> Result<()> {
    on_both(|device| {
        const N: usize = 700;
        const ARENAS: [Arena; 4] = [Arena::Params, Arena::MomentM, Arena::MomentV, Arena::Ema];
        let mut g = Graph::new();
        let (first, second) = (g.input("first", [N]), g.input("second", [N]));
        let hyper = g.input("hyper", [ops::adamw::N_HYPER]);
        let zero = g.constant(0.0, [ops::adamw::N_PARTS]);
        let part = ops::adamw::norm_part(&mut g, first, zero)?;
        let part = ops::adamw::norm_part(&mut g, second, part)?;
        let stats = ops::adamw::norm(&mut g, part)?;
        let operands = ARENAS.map(|arena| g.arena(arena, 0, N));
        ops::adamw::step(&mut g, first, stats, hyper, operands)?;
        let ones = vec![1.0; N];
        let arenas = ARENAS.map(|arena| (arena, &ones[..]));
        // The square of the last value is not finite.
        for bad in [0.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e25] {
            let mut grads = uniform(1, N);
            grads[N - 2] = bad;
            let inputs = [
                ("first", &grads[..]),
                ("second", &uniform(2, N)[..]),
                ("hyper", &floats("adamw_step", 2, ops::adamw::N_HYPER)[..]),
            ];
            let got = run(device, &g, &inputs, vec![("stats".into(), stats)], &arenas)?;
            if bad == 0.5 {
                let grads = grads.iter().chain(inputs[1].1);
                let squares: f64 = grads.map(|&g| f64::from(g).powi(2)).sum();
                assert_close("stats", &got[0], &[squares.sqrt(), 0.0], 1e-6);
                assert!(
                    got[1..].iter().all(|arena| *arena != ones),
                    "a step was taken"
                );
            } else {
                assert_eq!(got[0], [0.0, 1.0], "{bad}");
                assert!(got[1..].iter().all(|arena| *arena == ones), "{bad}");
            }
        }
        Ok(())
    })
}

#[test]
fn the_first_micro_batch_starts_a_sum() -> Result<()> {
    on_both(|device| {
        let mut g = Graph::new();
        let (grads, keep) = (g.input("grads", [3]), g.input("keep", [1]));
        let acc = g.arena(Arena::Accum, 0, 3);
        ops::adamw::accumulate(&mut g, grads, keep, acc)?;
        let inputs = |keep| [("grads", &[1.0, 2.0, 3.0][..]), ("keep", keep)];
        let got = run(
            device,
            &g,
            &inputs(&[0.0]),
            vec![],
            &[(Arena::Accum, &[f32::NAN; 3])],
        )?;
        assert_eq!(got, [[1.0, 2.0, 3.0]]);
        let got = run(
            device,
            &g,
            &inputs(&[1.0]),
            vec![],
            &[(Arena::Accum, &[0.5; 3])],
        )?;
        assert_eq!(got, [[1.5, 2.5, 3.5]]);
        Ok(())
    })
}

/// `e^-x` and x³ overflow long before the activations do.
#[test]
fn activations_are_finite_in_their_tails() -> Result<()> {
    on_both(|device| {
        let x = [
            -1e15, -1e4, -100.0, -88.8, -30.5, 0.0, 30.5, 88.8, 100.0, 1e4, 1e15,
        ];
        let limit = x.map(|x: f32| x.max(0.0));
        let slope = x.map(|x| {
            if x < 0.0 {
                0.0
            } else if x > 0.0 {
                1.0
            } else {
                0.5
            }
        });
        let mut g = Graph::new();
        let (v, seed) = (g.input("x", [11, 1]), g.input("seed", [11, 1]));
        let (w, b) = (g.input("w", [1, 1]), g.input("b", [1]));
        let silu = ops::pointwise::silu(&mut g, v)?;
        let gelu = ops::linear::linear_gelu(&mut g, v, w, b)?;
        let mut outputs = vec![("silu".into(), silu), ("gelu".into(), gelu)];
        for (name, y) in outputs.clone() {
            let grads = g.backward(y, seed, &[v])?;
            outputs.push((format!("gradient of {name}"), grads[0]));
        }
        let inputs = [
            ("x", &x[..]),
            ("seed", &[1.0; 11]),
            ("w", &[1.0]),
            ("b", &[0.0]),
        ];
        let got = run(device, &g, &inputs, outputs, &[])?;
        for (got, want) in got.iter().zip([limit, limit, slope, slope]) {
            for ((got, want), x) in got.iter().zip(want).zip(x) {
                assert!(
                    (got - want).abs() <= 1e-6 * want.max(1.0),
                    "{x}: {got}, expected {want}"
                );
            }
        }
        Ok(())
    })
}

/// With `q = k = 100 I`, every token attends only to itself, with scores in the thousands.
#[test]
fn attention_survives_large_scores() -> Result<()> {
    on_both(|device| {
        const N: usize = 40;
        let v = uniform(1, N * N);
        let mut qkv = vec![0.0; 3 * N * N];
        for (t, row) in qkv.chunks_exact_mut(3 * N).enumerate() {
            row[t] = 100.0;
            row[N + t] = 100.0;
            row[2 * N..].copy_from_slice(&v[t * N..][..N]);
        }
        let mut g = Graph::new();
        let (x, seed) = (g.input("qkv", [1, N, 3 * N]), g.input("seed", [1, N, N]));
        let o = ops::attention::attention(&mut g, x, 1)?;
        let grads = g.backward(o, seed, &[x])?;
        let outputs = vec![("o".into(), o), ("gqkv".into(), grads[0])];
        let grad = uniform(2, N * N);
        let got = run(device, &g, &[("qkv", &qkv), ("seed", &grad)], outputs, &[])?;
        assert_close("o", &got[0], &v, 1e-6);
        let mut want = vec![0.0; 3 * N * N];
        for (want, grad) in want.chunks_exact_mut(3 * N).zip(grad.chunks_exact(N)) {
            want[2 * N..].copy_from_slice(grad);
        }
        // Rounding of g · v - delta, times a key of 100.
        assert_close("gqkv", &got[1], &want, 1e-4);
        Ok(())
    })
}

/// A sample alone and the same sample among others give the same bits.
#[test]
fn a_sample_does_not_depend_on_its_batch() -> Result<()> {
    on_both(|device| {
        const T: usize = 17;
        for (width, n) in [(24, 36), (48, 130), (96, 65)] {
            let sample = |seed| uniform(seed, T * width);
            let of = |x: &[f32]| {
                let batch = x.len() / (T * width);
                let mut g = Graph::new();
                let x_in = g.input("x", [batch, T, width]);
                let (w, b) = (g.input("w", [n, width]), g.input("b", [n]));
                let per_sample = g.constant(0.5, [batch, width]);
                let outputs = vec![
                    ("linear".into(), ops::linear::linear(&mut g, x_in, w, b)?),
                    (
                        "attention".into(),
                        ops::attention::attention(&mut g, x_in, 2)?,
                    ),
                    (
                        "adaln".into(),
                        ops::adaln::adaln(
                            &mut g,
                            ops::adaln::Norm::Layer,
                            1e-6,
                            x_in,
                            per_sample,
                            per_sample,
                        )?,
                    ),
                ];
                let inputs = [
                    ("x", x),
                    ("w", &uniform(5, n * width)),
                    ("b", &uniform(6, n)),
                ];
                run(device, &g, &inputs, outputs, &[])
            };
            let alone = of(&sample(2))?;
            let among = of(&[sample(1), sample(2), sample(3)].concat())?;
            for (alone, among) in alone.iter().zip(&among) {
                assert_eq!(*alone, among[alone.len()..2 * alone.len()], "width {width}");
            }
        }
        Ok(())
    })
}
