//! End states of the solvers.

use super::{Bench, CPU, gpu_bench};
use sit_engine::model::Model;
use sit_engine::sample::Sampling;
use sit_engine::transport::{ErrorNorm, Sampler, Transport};
use sit_tests::official::{self, Official};
use sit_tests::{assert_close, net};

fn config(
    bench: &Bench,
    official: &Official,
    (transport, mut sampler): (Transport, Sampler),
    batch: usize,
) -> Sampling<Model> {
    if let Sampler::Ode(ode) = &mut sampler {
        // torchdiffeq's.
        ode.tolerance.norm = ErrorNorm::Batch;
    }
    let model = net::model(bench.device, &official.model, transport, &official.weights);
    model.sampler(sampler).batch(batch)
}

/// The end state of all images, with the steps of a schedule or with steps of its own.
fn end(
    config: Sampling<Model>,
    x0: &[f32],
    y: &[u32],
    draw: impl Fn(usize) -> Vec<f32>,
) -> Vec<f32> {
    if !config.solver().is_adaptive() {
        return net::solve(&mut config.session().unwrap(), x0, y, draw);
    }
    let images = net::solve_adaptive(&mut config.pool().unwrap(), x0, y);
    images.into_iter().flat_map(|image| image.x).collect()
}

fn end_states(bench: &Bench) {
    let tiny = Official::open("sit_tiny");
    let (samplers, arrays) = (tiny.at("samplers"), tiny.arrays());
    let y = tiny.at("inputs").at("y").labels();
    let images = |formula: &_| tiny.images(y.len(), formula);
    let (x0, noise) = (
        images(&samplers.at("z").formula()),
        samplers.at("sde_noise").formula(),
    );
    let n_steps = samplers.at("steps").count();
    let mut n = 0;
    for key in arrays.names() {
        if !key.starts_with("ode.") && !key.starts_with("sde.") {
            continue;
        }
        let settings = official::sampler(&key, n_steps);
        let tolerance = bench.end_state(&settings.1);
        let config = config(bench, &tiny, settings, y.len());
        let draw = |j: usize| images(&noise.with("j", j as f64));
        let end = end(config, &x0, &y, draw);
        assert_close(&key, &end, &arrays.get(&key), tolerance);
        n += 1;
    }
    assert!(n > 0, "the file has no end states");
}

#[test]
fn end_states_on_the_cpu() {
    end_states(&CPU);
}

#[test]
fn end_states_on_the_gpu() {
    end_states(&gpu_bench());
}

/// End states with guidance. The official code printed their sum and first values to six decimals.
#[test]
fn guided_end_states() {
    let golden = Official::open("sit_golden");
    let guided = golden.at("guided");
    let y = guided.at("y").labels();
    let x0 = golden.images(y.len(), &guided.at("x0").formula());
    let n_guided = official::n_guided(&guided.at("guided_channels"));
    let scale = guided.at("scale").number();
    let guidance = official::guidance(scale, n_guided, &golden.model);
    for (key, want) in guided.at("ends").entries() {
        let settings = official::sampler(key, guided.at("steps").count());
        let is_adaptive = settings.1.is_adaptive();
        let tolerance = if is_adaptive {
            CPU.end_state(&settings.1)
        } else {
            1e-5
        };
        let config = config(&CPU, &golden, settings, y.len());
        let end = end(config.guided(guidance), &x0, &y, |_| vec![]);
        let first = want.at("first").numbers();
        assert_close(key, &end[..first.len()], &first, tolerance);
        let got: f64 = end.iter().map(|&x| f64::from(x)).sum();
        let sum = want.at("sum").number();
        assert!(
            (got - sum).abs() < tolerance,
            "{key}: sum {got}, expected {sum}"
        );
    }
}
