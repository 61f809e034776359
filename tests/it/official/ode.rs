//! torchdiffeq's solvers: end states, numbers of evaluations, and the steps that adaptive methods try.

use super::{Bench, CPU, gpu_bench};
use sit_engine::model::Model;
use sit_engine::sample::{Finished, Sampling};
use sit_engine::transport::{Method, Ode, Sampler, Step, Tableau, Transport, nfe, schedule};
use sit_tests::fixture::{Entry, Fixture};
use sit_tests::formula::Formula;
use sit_tests::official::{self, Official};
use sit_tests::{assert_close, net};
use std::collections::BTreeMap;

/// Tolerance of an end state, relative to the distance of the official f32 run from its f64 run.
const FEW: f64 = 4.0;
/// Relative tolerance of the sizes of steps: errors are differences of close numbers in f32.
const SIZE: f64 = 2e-4;

/// The network of the file.
fn open() -> Official {
    let fixture = Fixture::open("ode");
    let sit = fixture.root().at("sit");
    Official {
        model: official::model(&sit.at("config")),
        weights: Formula::labelled(sit.at("weights").text(), "flat index i"),
        fixture,
    }
}

/// Number of steps between the points that a text counts.
fn n_steps(outputs: &Entry) -> usize {
    let words: Vec<&str> = outputs.text().split(' ').collect();
    let at = words.iter().position(|word| *word == "points");
    let n: usize = words[at.expect("points") - 1].parse().expect("a count");
    n - 1
}

/// A run that is compared: neither a fixed grid nor a last step that ends at the end makes the official solver go beyond it.
fn is_compared(key: &str, ode: &Ode) -> bool {
    !ode.method.is_adaptive() || key.ends_with(".clipped")
}

/// A step that a solver tries.
#[derive(Debug, Clone, Copy)]
struct Tried {
    t: f64,
    size: f64,
    is_accepted: bool,
}

fn tried(steps: &Entry) -> Vec<Tried> {
    let steps = steps.list();
    let steps = steps.iter().map(|step| match step.numbers()[..] {
        [t, size, accepted] => Tried {
            t,
            size,
            is_accepted: accepted == 1.0,
        },
        ref other => panic!("{other:?}: not [start, size, accepted]"),
    });
    steps.collect()
}

/// The image of one run, and the steps that the pool has tried: of those that it has rejected it does not tell the size.
fn adaptive(sampling: Sampling<Model>, x0: &[f32], y: u32) -> (Finished, Vec<Tried>) {
    let mut pool = sampling.batch(1).pool().unwrap();
    let [mut t, end] = pool.times();
    let mut steps = Vec::new();
    pool.add_from(&[0], x0, &[y]).unwrap();
    loop {
        let finished = pool.step().unwrap().pop();
        let accepted = match &finished {
            Some(_) => Some(end),
            None => pool.accepted().unwrap().pop().map(|state| state.t),
        };
        let size = accepted.map_or(f64::NAN, |next| next - t);
        let is_accepted = accepted.is_some();
        steps.push(Tried {
            t,
            size,
            is_accepted,
        });
        t = accepted.unwrap_or(t);
        if let Some(image) = finished {
            return (image, steps);
        }
    }
}

fn assert_steps(key: &str, got: &[Tried], want: &[Tried], tol: f64) {
    assert_eq!(got.len(), want.len(), "{key}: {got:?}");
    let mut worst: f64 = 0.0;
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert_eq!(got.is_accepted, want.is_accepted, "{key}: step {i}");
        let distance = |got: f64, want: f64| (got - want).abs() / want.abs().max(1e-6);
        let mut distances = vec![distance(got.t, want.t)];
        distances.extend(got.is_accepted.then(|| distance(got.size, want.size)));
        worst = distances.into_iter().fold(worst, f64::max);
        assert!(worst <= tol, "{key}: step {i}: {got:?}, expected {want:?}");
    }
    println!("{key}: {} steps: {worst:.1e}", got.len());
}

/// A state in f32 has times in f32 there.
fn assert_interval(key: &str, got: [f64; 2], want: &Entry) {
    for (got, want) in got.into_iter().zip(want.numbers()) {
        assert!(
            (got - want).abs() < 1e-7,
            "{key}: ends at {got}, not {want}"
        );
    }
}

fn net_runs(bench: &Bench) {
    let official = open();
    let (sit, arrays) = (official.at("sit"), official.arrays());
    let x0 = official.images(1, &sit.at("x0").formula());
    let y = sit.at("y").count() as u32;
    let n_steps = n_steps(&sit.at("outputs"));
    let factor = bench.tensor / CPU.tensor;
    let mut n_checked = BTreeMap::new();
    for (key, run) in sit.at("runs").entries() {
        let name = key.strip_suffix(".clipped").unwrap_or(key);
        let (transport, ode) = official::ode(name, n_steps);
        if !is_compared(key, &ode) {
            continue;
        }
        let method = ode.method;
        *n_checked.entry(method.name()).or_insert(0) += 1;
        let (single, interval) = (run.at("float32"), run.at("interval"));
        let model = net::model(bench.device, &official.model, transport, &official.weights);
        let sampling = model.sampler(ode.into()).batch(1);
        let end = if method.is_adaptive() {
            assert_interval(key, sampling.clone().pool().unwrap().times(), &interval);
            let (image, steps) = adaptive(sampling, &x0, y);
            // Otherwise rounding decides on the sizes.
            if run.get("float64").is_none() {
                let counts = ["nfe", "accepted", "rejected"].map(|key| single.at(key).count());
                let [accepted, rejected] = image.n_steps;
                assert_eq!(
                    [image.nfe, accepted, rejected].map(|n| n as usize),
                    counts,
                    "{key}"
                );
                assert_steps(key, &steps, &tried(&single.at("steps")), SIZE * factor);
            }
            image.x
        } else {
            let mut session = sampling.session().unwrap();
            let steps = session.steps();
            let ends = [steps[0].t, steps[steps.len() - 1].t_next];
            assert_interval(key, ends, &interval);
            assert_eq!(nfe(steps), single.at("nfe").count(), "{key}");
            net::solve(&mut session, &x0, &[y], |_| vec![])
        };
        let want = arrays.get(key);
        let squares: f64 = want.iter().map(|&x| f64::from(x).powi(2)).sum();
        let rms = (squares / want.len() as f64).sqrt();
        let gap = run.at("f32_f64").number();
        assert_close(key, &end, &want, FEW * factor * gap / rms);
    }
    for method in Method::ALL.iter().filter(|method| method.is_adaptive()) {
        let is_checked = n_checked.contains_key(method.name());
        assert!(is_checked, "{method}: no run that ends at the end");
    }
    assert!(n_checked.len() > 3, "{n_checked:?}: no fixed grid");
}

#[test]
fn end_states_and_steps_of_the_net_on_the_cpu() {
    net_runs(&CPU);
}

#[test]
fn end_states_and_steps_of_the_net_on_the_gpu() {
    net_runs(&gpu_bench());
}

/// Tests read every array of the file.
#[test]
fn every_array_is_a_run() {
    let official = open();
    let runs = official.at("sit").at("runs");
    for name in official.arrays().names() {
        runs.at(&name);
    }
}

/// The equations of the file's system.
fn system(y: &[f64], t: f64) -> Vec<f64> {
    vec![
        -0.5 * y[0] + 2.0 * y[1] * (3.0 * t).cos(),
        -2.0 * y[0] - 0.5 * y[1] + 0.3 * (9.0 * t).sin(),
        12.0 * y[2] * (1.0 - y[2]),
    ]
}

const EQUATIONS: &str =
    "y0' = -0.5*y0 + 2*y1*cos(3*t); y1' = -2*y0 - 0.5*y1 + 0.3*sin(9*t); y2' = 12*y2*(1-y2)";

/// In f64, without a device: the file's numbers have eleven digits.
#[test]
fn fixed_steps_of_the_system() {
    let fixture = Fixture::open("ode");
    let (system_of_file, transport) = (fixture.root().at("system"), Transport::default());
    assert_eq!(system_of_file.at("equations").text(), EQUATIONS);
    let n_steps = n_steps(&system_of_file.at("outputs"));
    let mut n = 0;
    for (key, run) in system_of_file.at("runs").entries() {
        let Some(name) = key.strip_prefix("fixed.") else {
            continue;
        };
        // The velocity is what is integrated.
        let sampler = Sampler::ode(official::method(name, key), n_steps as u32);
        let steps = schedule(&transport, &sampler).unwrap();
        let mut y = system_of_file.at("y0").numbers();
        let double = run.at("float64");
        assert_eq!(nfe(&steps), double.at("nfe").count(), "{key}");
        for step in &steps {
            step.apply(&mut y, &[], system);
            if (step.t_next - 0.5).abs() < 1e-9 {
                assert_close(
                    &format!("{key} at 0.5"),
                    &y,
                    &double.at("at_0_5").numbers(),
                    1e-9,
                );
            }
        }
        assert_close(key, &y, &double.at("end").numbers(), 1e-9);
        n += 1;
    }
    assert!(n > 0, "the file has no fixed grid");
}

/// Follows the steps of the file in f64: the tableau gives its end state, and the error of each step its verdict and the next size.
///
/// Only methods that begin a step with the derivative at its state: torchdiffeq's `adaptive_heun` does not.
#[test]
fn adaptive_steps_of_the_system() {
    let fixture = Fixture::open("ode");
    let (system_of_file, transport) = (fixture.root().at("system"), Transport::default());
    let mut n = 0;
    for (key, run) in system_of_file.at("runs").entries() {
        let of = |name: &str| key.starts_with(name) && key.ends_with(".clipped");
        let (tableau, order) = match () {
            () if of("dopri5") => (Tableau::DOPRI5, 5.0),
            () if of("bosh3") => (Tableau::BOSH3, 3.0),
            () => continue,
        };
        let double = run.at("float64");
        // The first steps only are in the file of a run of many.
        let Some(steps) = double.get("steps") else {
            continue;
        };
        let key_of_net = format!("Linear.velocity.{}", key.trim_end_matches(".clipped"));
        let (_, ode) = official::ode(&key_of_net, 1);
        let (rtol, atol) = (ode.tolerance.rtol, ode.tolerance.atol);
        let steps = tried(&steps);
        let mut y = system_of_file.at("y0").numbers();
        for (
            i,
            &Tried {
                t,
                size,
                is_accepted,
            },
        ) in steps.iter().enumerate()
        {
            let velocity = |t| transport.velocity(t);
            let step = Step::runge_kutta(&tableau, [t, t + size], 0.0, velocity).unwrap();
            let (from, mut stages) = (y.clone(), Vec::new());
            let mut next = y.clone();
            step.apply(&mut next, &[], |y, t| {
                stages.push(system(y, t));
                stages[stages.len() - 1].clone()
            });
            let square = |k: usize| {
                let row = step.error().unwrap();
                let error = row[1..].iter().zip(&stages).map(|(c, stage)| c * stage[k]);
                let allowed = atol + rtol * from[k].abs().max(next[k].abs());
                (error.sum::<f64>() / allowed).powi(2)
            };
            let ratio = ((0..y.len()).map(square).sum::<f64>() / y.len() as f64).sqrt();
            assert_eq!(ratio <= 1.0, is_accepted, "{key}: step {i}: {ratio}");
            // The last step was cut off.
            if let Some(after) = steps.get(i + 1).filter(|_| i + 2 < steps.len()) {
                let least = if is_accepted { 1.0 } else { 0.2 };
                let factor = (0.9 * ratio.powf(-1.0 / order)).clamp(least, 10.0);
                let what = format!("{key}: size after step {i}");
                assert_close(&what, &[size * factor], &[after.size], 1e-5);
            }
            if is_accepted {
                y = next;
            }
        }
        assert_close(key, &y, &double.at("end").numbers(), 1e-7);
        n += 1;
    }
    assert!(n > 1, "{n} runs have all their steps in the file");
}
