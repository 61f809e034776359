//! Discrete diffusion: numbers of guided-diffusion. Keys, sizes and formulas come from the fixture `gaussian_diffusion`.

mod bound;
mod chains;
mod classifier;
mod losses;
mod tables;

use super::{Bench, CPU, gpu_bench};
use pollster::block_on;
use sit_engine::backend::{Device, Program};
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Graph, Plan, SetId};
use sit_engine::model::{Dit, Inputs, Model, Network as _};
use sit_engine::nn::Params;
use sit_engine::transport::{Ddpm, DdpmLoss, Path, Prediction, Transport, Variance};
use sit_tests::fixture::{Arrays, Entry, Fixture};
use sit_tests::formula::Formula;
use sit_tests::{net, official};
use std::sync::Arc;

/// The fixture, with the network that all its numbers are of.
struct Official {
    fixture: Fixture,
    model: Dit,
    weights: Formula,
}

impl Official {
    fn open() -> Official {
        let fixture = Fixture::open("gaussian_diffusion");
        let root = fixture.root();
        let config = root.at("config");
        let size = |key: &str| config.at(key).count();
        // The fixture says it in words: all 2C channels are returned.
        config.at("learn_sigma").text();
        Official {
            model: Dit {
                input_size: size("input_size"),
                channels: size("in_channels"),
                patch: size("patch_size"),
                dim: size("hidden_size"),
                depth: size("depth"),
                n_heads: size("num_heads"),
                n_classes: size("num_classes"),
                learn_sigma: true,
                ..Dit::SIT
            },
            weights: official::weights(&root),
            fixture,
        }
    }

    fn at(&self, key: &str) -> Entry<'_> {
        self.fixture.root().at(key)
    }

    fn arrays(&self) -> Arrays {
        self.fixture.arrays()
    }

    /// Values of a batch of images by a formula of the inputs.
    fn input(&self, name: &str, batch: usize) -> Vec<f32> {
        let formula = self.at("inputs").at(name).formula();
        formula.values(batch * self.model.io().image_len())
    }

    /// The noise of step `s` for a batch.
    fn step_noise(&self, s: usize, batch: usize) -> Vec<f32> {
        let formula = self.at("inputs").at("step_noise").formula();
        let len = batch * self.model.io().image_len();
        formula.with("s", s as f64).values(len)
    }

    fn model(&self, device: &Device, transport: &Transport) -> Model {
        net::model(device, &self.model, transport.clone(), &self.weights)
    }

    /// All channels of the network's output, at times as the network gets them.
    fn outputs(&self, device: &Device, x: &[f32], t: &[f64], y: &[u32]) -> Vec<f32> {
        let batch = t.len();
        let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
        let inputs = Inputs::new(
            g.input("x", self.model.io().images(batch)),
            g.input("t", [batch]),
            Some(g.input_u32("y", [batch])),
        );
        let outputs = self
            .model
            .forward(&mut params.scope(&mut g), inputs)
            .unwrap();
        let model = net::model(device, &self.model, Transport::default(), &self.weights);
        let request = Request {
            outputs: vec![("all".into(), outputs.all)],
            ..Request::default()
        };
        let plan = Plan::new(&g, &request, &[model.layout()]).unwrap();
        let mut program: Program = device.program(plan, &[model.arenas()]).unwrap();
        let t: Vec<f32> = t.iter().map(|&t| t as f32).collect();
        program.write("x", x).unwrap();
        program.write("t", &t).unwrap();
        program.write_u32("y", y).unwrap();
        program.run().unwrap();
        block_on(program.read("all")).unwrap()
    }
}

/// `EPSILON`, `START_X` or `PREVIOUS_X`.
fn prediction(name: &str) -> Prediction {
    match name {
        "EPSILON" => Prediction::Noise,
        "START_X" => Prediction::Data,
        "PREVIOUS_X" => Prediction::Mean,
        _ => panic!("{name} is no prediction"),
    }
}

/// The reference's name of a setting as this program writes it.
fn named<T: std::str::FromStr<Err: std::fmt::Display>>(name: &str) -> T {
    let name = name.to_lowercase().replace('_', "-");
    name.parse().unwrap_or_else(|e| panic!("{e}"))
}

fn transport(ddpm: Ddpm, mean: &str) -> Transport {
    Transport {
        path: Path::Ddpm(Arc::new(ddpm)),
        prediction: prediction(mean),
        ..Transport::default()
    }
}

/// The settings of a key `schedule/T[/respacing][/rescaled_t]/mean/variance/last`, and the last part.
fn keyed(key: &str) -> (Transport, &str) {
    let parts: Vec<&str> = key.split('/').collect();
    let [schedule, n, middle @ .., mean, variance, last] = &parts[..] else {
        panic!("{key}: not the key of settings");
    };
    let mut ddpm = Ddpm::new(named(schedule), n.parse().unwrap()).unwrap();
    ddpm.variance = named::<Variance>(variance);
    for part in middle {
        match *part {
            "rescaled_t" => ddpm.rescale_times = true,
            respacing => ddpm.respacing = respacing.parse().unwrap(),
        }
    }
    if let Ok(loss) = last.to_lowercase().replace('_', "-").parse::<DdpmLoss>() {
        ddpm.loss = loss;
    }
    (transport(ddpm, mean), last)
}

/// Asserts that each number is within `tol` of the wanted one, relative to it.
#[track_caller]
fn assert_each(what: &str, got: &[f64], want: &[f64], tol: f64) -> f64 {
    assert_terms(what, got, want, tol, 1e-12)
}

/// The reference's f32 sums numbers near 1 to a term of the bound, so that a small term has an error of some roundings of 1. This
/// program's terms have none of it.
const ROUNDINGS: f64 = 5e-7;

/// As [`assert_each`], where differences below `rest` do not count.
#[track_caller]
fn assert_terms(what: &str, got: &[f64], want: &[f64], tol: f64, rest: f64) -> f64 {
    assert_eq!(got.len(), want.len(), "{what}");
    let mut worst: f64 = 0.0;
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let error = ((got - want).abs() - rest).max(0.0) / want.abs().max(1e-12);
        assert!(
            error <= tol,
            "{what}[{i}]: got {got}, expected {want}: {error:.1e}"
        );
        worst = worst.max(error);
    }
    worst
}
