//! End states through the command `sit`.

use super::CPU;
use crate::cli::sample::sit_files;
use crate::cli::tensors::read;
use sit_engine::transport::{Ode, Sampler};
use sit_tests::assert_close;
use sit_tests::official::{self, Official};
use sit_tests::sit::run_ok;

/// End states of the ODE only: no flag supplies the noise of an SDE.
#[test]
fn end_states_of_sit_sample() {
    let tiny = Official::open("sit_tiny");
    let (samplers, arrays) = (tiny.at("samplers"), tiny.arrays());
    let y = tiny.at("inputs").at("y").labels();
    let x0 = tiny.images(y.len(), &samplers.at("z").formula());
    let folder = tempfile::tempdir().unwrap();
    sit_files(folder.path(), &tiny.model, &tiny.weights, &x0, &y);
    let n_steps = samplers.at("steps").count();
    let mut n = 0;
    for key in arrays.names().iter().filter(|key| key.starts_with("ode.")) {
        let (transport, sampler) = official::sampler(key, n_steps);
        let Sampler::Ode(Ode { method, .. }) = &sampler else {
            panic!("{key}: no ODE");
        };
        let steps = match method.is_adaptive() {
            true => "--error-norm batch".into(),
            false => format!("--steps {n_steps}"),
        };
        let words = format!(
            "sample sit.safetensors --n-heads {} --path {} --prediction {} --ode {method} {steps} --backend cpu \
             --init noise.safetensors --trajectory trajectory",
            tiny.model.n_heads, transport.path, transport.prediction
        );
        run_ok(folder.path(), &words);
        let states = read(&folder.path().join("trajectory"))["x"].values();
        assert_eq!(states[..x0.len()], x0);
        let end = &states[states.len() - x0.len()..];
        assert_close(key, end, &arrays.get(key), CPU.end_state(&sampler));
        n += 1;
    }
    assert!(n > 0, "the file has no end states of an ODE");
}
