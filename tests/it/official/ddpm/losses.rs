//! Losses, their parts and their gradients.

use super::*;
use sit_engine::graph::Arena;
use sit_engine::objective::Discrete;
use sit_engine::train::Trainer;
use sit_tests::assert_close;

/// A gradient program with the inputs of a batch.
struct Losses {
    program: Program,
    arenas: sit_engine::backend::Arenas,
    objective: Discrete,
    positions: Vec<usize>,
}

impl Losses {
    fn new(
        bench: &Bench,
        official: &Official,
        transport: &Transport,
        positions: Vec<usize>,
    ) -> Self {
        let batch = positions.len();
        let training = Trainer::builder(official.model)
            .transport(transport.clone())
            .batch(batch)
            .class_dropout(0.0);
        let blueprint = training
            .blueprint(bench.device.max_segment_bytes())
            .unwrap();
        let plans = training.plans(&blueprint).unwrap();
        let kinds = [Arena::Params, Arena::Grads];
        let arenas = net::arenas(
            bench.device,
            &blueprint,
            &official.model,
            &official.weights,
            &kinds,
        );
        let mut program = bench.device.program(plans.grad, &[&arenas]).unwrap();
        let y = official.at("inputs").at("y").labels();
        program
            .write("x0", &official.input("noise", batch))
            .unwrap();
        program
            .write("x1", &official.input("x_start", batch))
            .unwrap();
        program.write_u32("y", &y[..batch]).unwrap();
        Losses {
            objective: Discrete::new(transport.clone(), 0.0),
            program,
            arenas,
            positions,
        }
    }

    /// The losses, with these factors of the squared error and of the bound.
    fn run(&mut self, factors: [f64; 2]) -> Vec<f64> {
        let places = self
            .positions
            .iter()
            .map(|&i| self.objective.place(i, 1.0).unwrap());
        let places: Vec<_> = places.collect();
        let mut write = |name: &str, rows: Vec<f64>| {
            if self.program.plan().has_input(name) {
                let rows: Vec<f32> = rows.iter().map(|&c| c as f32).collect();
                self.program.write(name, &rows).unwrap();
            }
        };
        write("t_input", places.iter().map(|p| p.t_input).collect());
        write("xt_coef", places.iter().flat_map(|p| p.xt_coef).collect());
        let scaled = |mut row: [f64; 4]| {
            row[0] *= factors[0];
            row
        };
        write(
            "loss_coef",
            places.iter().flat_map(|p| scaled(p.loss_coef)).collect(),
        );
        let scaled = |mut row: [f64; 8]| {
            row[6] *= factors[1];
            row
        };
        write(
            "bound_coef",
            places.iter().flat_map(|p| scaled(p.bound_coef)).collect(),
        );
        let losses = net::run(&mut self.program, "loss");
        losses.into_iter().map(f64::from).collect()
    }

    fn grad(&self, param: &str) -> Vec<f32> {
        block_on(self.arenas.read(Arena::Grads, param)).unwrap()
    }
}

/// Steps of the chain that a model is trained on.
fn length(transport: &Transport) -> f64 {
    match &transport.path {
        Path::Ddpm(ddpm) => ddpm.chain().unwrap().len() as f64,
        _ => panic!("a chain"),
    }
}

fn norm(values: &[f32]) -> f64 {
    values
        .iter()
        .map(|&x| f64::from(x).powi(2))
        .sum::<f64>()
        .sqrt()
}

fn losses(bench: &Bench) {
    let (official, arrays) = (Official::open(), Official::open().arrays());
    let of_all = official.at("grad_norms_of");
    let params: Vec<&str> = of_all.list().iter().map(|name| name.text()).collect();
    let names = arrays.names();
    let (mut n, mut n_whole) = (0, 0);
    for (key, of) in official.at("losses").entries() {
        let (transport, loss) = keyed(key);
        let rest = match loss {
            "RESCALED_KL" => ROUNDINGS * length(&transport),
            _ => ROUNDINGS,
        };
        let mut losses = Losses::new(bench, &official, &transport, of.at("t").counts());
        let mut worst: f64 = 0.0;
        for (part, factors) in [("mse", [1.0, 0.0]), ("vb", [0.0, 1.0])] {
            if let Some(want) = of.get(part) {
                let got = losses.run(factors);
                let what = format!("{key} {part}");
                worst = worst.max(assert_terms(&what, &got, &want.numbers(), bench.loss, rest));
            }
        }
        // In f64 where the reference's f32 differs.
        let exact = of.get("f64").unwrap_or(of.clone());
        let got = losses.run([1.0, 1.0]);
        let want = exact.at("loss").numbers();
        worst = worst.max(assert_terms(key, &got, &want, bench.loss, rest));
        let mean = got.iter().sum::<f64>() / got.len() as f64;
        assert_each(key, &[mean], &[exact.at("mean").number()], bench.loss);
        let grads: Vec<Vec<f32>> = params.iter().map(|param| losses.grad(param)).collect();
        let norms: Vec<f64> = grads.iter().map(|grad| norm(grad)).collect();
        // A parameter's gradient is the small rest of large terms where it cancels: relative to the whole.
        let want = of.at("grad_norms").numbers();
        let whole = exact.at("grad_norm").number();
        for ((param, got), want) in params.iter().zip(&norms).zip(&want) {
            let error = (got - want).abs() / want.max(1e-2 * whole);
            assert!(
                error < 10.0 * bench.loss,
                "{key} {param}: norm {got}, expected {want}: {error:.1e}"
            );
            worst = worst.max(error);
        }
        let all = norms.iter().map(|norm| norm * norm).sum::<f64>().sqrt();
        assert_each(key, &[all], &[whole], 10.0 * bench.loss);
        for (param, grad) in params.iter().zip(&grads) {
            let name = format!("grad.{key}.{param}");
            if names.contains(&name) {
                assert_close(&name, grad, &arrays.get(&name), bench.tensor);
                n_whole += 1;
            }
        }
        println!("{key}: {worst:.1e}");
        n += 1;
    }
    assert!(n > 0 && n_whole > 0, "the file has no losses");
}

#[test]
fn losses_on_the_cpu() {
    losses(&CPU);
}

#[test]
fn losses_on_the_gpu() {
    losses(&gpu_bench());
}
