//! Training of diffusers' AutoencoderKL with formula weights: the loss, its parts and their gradients.

use super::autoencoder::{CPU_TOLERANCE, GPU_TOLERANCE, Weights, params, three_levels};
use super::{CPU, gpu_bench};
use pollster::block_on;
use sit_engine::autoencoder::AutoencoderKl;
use sit_engine::backend::{Arenas, Device, Program};
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Arena, Graph, Plan, SetId};
use sit_engine::model::{AutoencoderNet, Blueprint};
use sit_engine::nn::Params;
use sit_engine::objective::{Autoencode, Net, Objective as _, Ports, Reconstruction};
use sit_engine::ops::loss;
use sit_engine::transport::Transport;
use sit_tests::assert_close;
use sit_tests::fixture::{Entry, Fixture};

/// The network of the fixture for its images.
fn net(kl: &AutoencoderKl, side: usize) -> AutoencoderNet {
    AutoencoderNet {
        input_size: side,
        channels: kl.channels,
        latent_channels: kl.latent_channels,
        widths: kl.widths.clone(),
        blocks: kl.blocks,
        groups: kl.groups,
        middle_attention: kl.attention,
    }
}

/// What a loss is differentiated for.
#[derive(Clone, Copy)]
enum Part {
    Loss,
    Divergence,
}

/// A loss and its gradient, of the fixture's images and noise.
struct Gradient {
    program: Program,
    arenas: Arenas,
}

impl Gradient {
    /// The mean over the images of a part of an objective, times a factor.
    fn new(
        device: &Device,
        fixture: &Fixture,
        objective: &Autoencode,
        part: Part,
        factor: f64,
    ) -> Self {
        let (kl, weights): (_, Weights) = three_levels(fixture);
        let side = fixture.root().at("config").at("sample_size").count();
        let net = net(&kl, side);
        let blueprint = Blueprint::new(
            net.clone(),
            Transport::default(),
            device.max_segment_bytes(),
        );
        let blueprint = blueprint.unwrap();
        let kinds = [Arena::Params, Arena::Grads];
        let arenas = device.arenas(blueprint.layout(), &kinds).unwrap();
        for (k, spec) in params(&kl).iter().enumerate() {
            let values = weights.values(k, spec);
            arenas.write(Arena::Params, &spec.name, &values).unwrap();
        }
        let (arrays, inputs) = (fixture.arrays(), fixture.root().at("inputs"));
        let x = arrays.get("decoded").len();
        let batch = x / (kl.channels * side * side);
        let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
        let mut ports = Ports::new(blueprint.io(), batch);
        objective.validate(&blueprint.io()).unwrap();
        let loss = objective.build(&mut g, &mut Net::new(&net, &mut params), &mut ports);
        let loss = loss.unwrap();
        let parts = ports.parts().to_vec();
        let of = |wanted| {
            let found = parts.iter().find(|(name, _)| *name == wanted);
            found.unwrap_or_else(|| panic!("no part {wanted}")).1
        };
        let outputs = [
            ("loss", loss),
            ("reconstruction", of("reconstruction")),
            ("kl", of("kl")),
        ];
        let root = match part {
            Part::Loss => loss,
            Part::Divergence => of("kl"),
        };
        let root = loss::mean(&mut g, root).unwrap();
        let seed = g.constant(factor as f32, [1]);
        let (names, vars): (Vec<_>, Vec<_>) = params
            .trained()
            .map(|(name, var)| (name.to_owned(), var))
            .unzip();
        let grads = g.backward(root, seed, &vars).unwrap();
        let request = Request {
            outputs: outputs.map(|(name, var)| (name.to_owned(), var)).to_vec(),
            grads: names.into_iter().zip(grads).collect(),
            ..Request::default()
        };
        let plan = Plan::new(&g, &request, &[blueprint.layout()]).unwrap();
        let mut program = device.program(plan, &[&arenas]).unwrap();
        program
            .write("x1", &inputs.at("x").formula().values(x))
            .unwrap();
        let latents = arrays.get("mean").len();
        let noise = inputs.at("eps").formula().values(latents);
        program.write("noise", &noise).unwrap();
        program.run().unwrap();
        Gradient { program, arenas }
    }

    fn read(&self, output: &str) -> Vec<f32> {
        block_on(self.program.read(output)).unwrap()
    }

    fn mean(&self, output: &str) -> f64 {
        let values = self.read(output);
        values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len() as f64
    }

    fn gradient(&self, param: &str) -> Vec<f32> {
        block_on(self.arenas.read(Arena::Grads, param)).unwrap()
    }
}

fn norm(values: &[f32]) -> f64 {
    let squares = values.iter().map(|&x| f64::from(x).powi(2));
    squares.sum::<f64>().sqrt()
}

/// The norm of the whole gradient.
fn total(norms: &[f64]) -> f64 {
    norms.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Tolerances of a part of the gradient, relative to its own size. In f32, diffusers differs from f64 by up to 1.3e-4 there.
const CPU_PART: f64 = 3e-4;
const GPU_PART: f64 = 1e-3;

/// `tolerance` is that of losses and of the gradient's norms as a whole, `part` that of one parameter's gradient.
fn training_agrees(device: &Device, tolerance: f64, part: f64) {
    let fixture = Fixture::open("autoencoder_kl");
    let (kl, _) = three_levels(&fixture);
    let names: Vec<String> = params(&kl).into_iter().map(|spec| spec.name).collect();
    let losses = fixture.root().at("losses");
    let wanted: Vec<(&str, Entry<'_>)> = losses.entries();
    let find = |start: &str| {
        let found = wanted.iter().find(|(key, _)| key.starts_with(start));
        &found.unwrap_or_else(|| panic!("no loss {start}")).1
    };

    let want = find("mse + w*mean");
    let objective = Autoencode {
        reconstruction: Reconstruction::Mse,
        kl_weight: want.at("w").number(),
    };
    let gradient = Gradient::new(device, &fixture, &objective, Part::Loss, 1.0);
    let close = |what: &str, got: f64, want: f64| {
        assert_close(what, &[got], &[want], tolerance);
    };
    close("loss", gradient.mean("loss"), want.at("loss").number());
    close(
        "mse",
        gradient.mean("reconstruction"),
        want.at("mse").number(),
    );
    assert_close(
        "kl",
        &gradient.read("kl"),
        &want.at("kl_per_sample").floats(),
        tolerance,
    );
    let norms: Vec<f64> = names
        .iter()
        .map(|name| norm(&gradient.gradient(name)))
        .collect();
    let want_norms = want.at("grad_norms").numbers();
    close("norm", total(&norms), want.at("grad_norm").number());
    assert_close("norms", &norms, &want_norms, tolerance);
    for ((name, got), want) in names.iter().zip(&norms).zip(&want_norms) {
        // Zero but for rounding: a constant added to all keys changes no attention.
        if !name.ends_with("to_k.bias") {
            assert_close(name, &[*got], &[*want], part);
        }
    }
    let arrays = fixture.arrays();
    let mut n = 0;
    for key in arrays.names() {
        if let Some(name) = key.strip_prefix("grad.") {
            assert_close(&key, &gradient.gradient(name), &arrays.get(&key), part);
            n += 1;
        }
    }
    assert!(n > 0, "the file has no gradients");

    const ALONE: &str = " * mean KL alone";
    let (key, want) = wanted
        .iter()
        .find(|(key, _)| key.ends_with(ALONE))
        .expect("a loss of the divergence alone");
    let factor: f64 = key.strip_suffix(ALONE).unwrap().parse().unwrap();
    let gradient = Gradient::new(device, &fixture, &objective, Part::Divergence, factor);
    close(
        "kl alone",
        factor * gradient.mean("kl"),
        want.at("loss").number(),
    );
    let norms: Vec<f64> = names
        .iter()
        .map(|name| norm(&gradient.gradient(name)))
        .collect();
    close("its norm", total(&norms), want.at("grad_norm").number());
}

#[test]
fn training_on_the_cpu() {
    training_agrees(CPU.device, CPU_TOLERANCE, CPU_PART);
}

#[test]
fn training_on_the_gpu() {
    training_agrees(gpu_bench().device, GPU_TOLERANCE, GPU_PART);
}
