//! End states of the solvers.

use super::{Bench, CPU, gpu_bench};
use sit_engine::model::Model;
use sit_engine::sample::Sampling;
use sit_engine::transport::{Method, Sampler, Transport};
use sit_tests::official::{self, NOT_YET, Official};
use sit_tests::{assert_close, net};

fn config(
    bench: &Bench,
    official: &Official,
    (transport, sampler): (Transport, Sampler),
    batch: usize,
) -> Sampling<Model> {
    let model = net::model(bench.device, &official.model, transport, &official.weights);
    model.sampler(sampler).batch(batch)
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
        let Some(settings) = official::sampler(&key, n_steps) else {
            continue;
        };
        let config = config(bench, &tiny, settings, y.len());
        let mut session = config.session().unwrap();
        let draw = |j: usize| images(&noise.with("j", j as f64));
        let end = net::solve(&mut session, &x0, &y, draw);
        assert_close(&key, &end, &arrays.get(&key), bench.tensor);
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

/// Only methods that the program lacks are left out.
#[test]
fn methods_that_are_left_out_are_not_offered() {
    for name in NOT_YET {
        assert!(name.parse::<Method>().is_err(), "{name} is offered now");
    }
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
        let Some(settings) = official::sampler(key, guided.at("steps").count()) else {
            continue;
        };
        let config = config(&CPU, &golden, settings, y.len());
        let mut session = config.guided(guidance).session().unwrap();
        let end = net::solve(&mut session, &x0, &y, |_| vec![]);
        let first = want.at("first").numbers();
        assert_close(key, &end[..first.len()], &first, 1e-5);
        let got: f64 = end.iter().map(|&x| f64::from(x)).sum();
        let sum = want.at("sum").number();
        assert!((got - sum).abs() < 1e-5, "{key}: sum {got}, expected {sum}");
    }
}
