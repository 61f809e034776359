//! Networks with formula weights as programs, trainings and sessions, for tests of the engine's upper layers.

use crate::formula::Formula;
use pollster::block_on;
use sit_engine::backend::{Arenas, Device, Program};
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Arena, Graph, Plan, SetId, Var};
use sit_engine::model::{self, Blueprint, Dit, Inputs, Model, Network, Storage};
use sit_engine::nn::{ParamSpec, Params};
use sit_engine::ops::guide;
use sit_engine::optim::{self, AdamW};
use sit_engine::sample::{Finished, Pool, Session};
use sit_engine::shape::Shape;
use sit_engine::train;
use sit_engine::transport::{Path, Prediction, Transport};

/// A small network, for tests of properties that every network has.
pub const TINY: Dit = Dit {
    input_size: 8,
    channels: 4,
    patch: 2,
    dim: 32,
    depth: 2,
    n_heads: 4,
    n_classes: 10,
    learn_sigma: true,
    ..Dit::SIT
};

/// The predictions that a path has.
pub fn predictions(path: &Path) -> Vec<Prediction> {
    let transport = |prediction: &Prediction| Transport {
        path: path.clone(),
        prediction: *prediction,
        ..Transport::default()
    };
    let is_valid = |prediction: &Prediction| transport(prediction).target().is_ok();
    Prediction::ALL.iter().copied().filter(is_valid).collect()
}

/// `scale * sin(step * i + phase)` for i = 0.., computed in f64 and rounded.
pub fn sine(n: usize, scale: f64, step: f64, phase: f64) -> Vec<f32> {
    (0..n)
        .map(|i| (scale * libm::sin(step * i as f64 + phase)) as f32)
        .collect()
}

/// Weights that are all different: `i` counts in a parameter, `k` the parameters.
pub fn sine_weights(scale: f64) -> Formula {
    Formula::stated(&format!("{scale}*sin(1.7*i+0.3*k)"))
}

/// Values of a network's trained parameters.
pub trait Weights {
    /// Those of `spec`, which is trained parameter number `k`.
    fn values(&self, k: usize, spec: &ParamSpec) -> Vec<f32>;
}

/// A formula of `i` and the parameter's number `k`.
impl Weights for Formula {
    fn values(&self, k: usize, spec: &ParamSpec) -> Vec<f32> {
        self.with("k", k as f64).values(spec.shape.numel())
    }
}

/// The trained parameters of a network with their values.
///
/// # Panics
/// When the sizes do not fit together.
pub fn params(
    config: &Dit,
    weights: &impl Weights,
) -> impl Iterator<Item = (String, Shape, Vec<f32>)> {
    let params = model::params(config).expect("valid sizes").into_iter();
    let params = params.filter(ParamSpec::is_trained).enumerate();
    params.map(|(k, spec)| {
        let values = weights.values(k, &spec);
        (spec.name, spec.shape, values)
    })
}

/// A model with formula weights.
///
/// # Panics
/// When the device refuses it.
pub fn model(device: &Device, config: &Dit, transport: Transport, weights: &impl Weights) -> Model {
    stored(device, config, transport, weights, Storage::F32)
}

/// A model with formula weights that are kept in `storage`.
///
/// # Panics
/// When the device refuses it.
pub fn stored(
    device: &Device,
    config: &Dit,
    transport: Transport,
    weights: &impl Weights,
    storage: Storage,
) -> Model {
    let model = Model::stored(device, *config, transport, storage).expect("it fits");
    for (name, _, values) in params(config, weights) {
        model.write(&name, &values).expect("the parameter is there");
    }
    model
}

/// Arenas of a network with formula weights in [`Arena::Params`] and [`Arena::Ema`].
///
/// # Panics
/// When the device refuses them.
pub fn arenas(
    device: &Device,
    blueprint: &Blueprint,
    config: &Dit,
    weights: &impl Weights,
    kinds: &[Arena],
) -> Arenas {
    let arenas = device.arenas(blueprint.layout(), kinds).expect("it fits");
    for (name, _, values) in params(config, weights) {
        for &kind in kinds
            .iter()
            .filter(|k| matches!(k, Arena::Params | Arena::Ema))
        {
            arenas
                .write(kind, &name, &values)
                .expect("the parameter is there");
        }
    }
    arenas
}

/// Runs a program and reads an output.
///
/// # Panics
/// When the device fails.
pub fn run(program: &mut Program, output: &str) -> Vec<f32> {
    program.run().expect("the device works");
    block_on(program.read(output)).expect("the device works")
}

/// A network with formula weights as a program: inputs x, t, y, output out.
///
/// # Panics
/// When the engine refuses it.
pub fn network(device: &Device, config: &Dit, batch: usize, weights: &impl Weights) -> Program {
    network_of(
        &model(device, config, Transport::default(), weights),
        config,
        batch,
    )
}

/// As [`network`], with the weights of a model.
///
/// # Panics
/// When the engine refuses it.
pub fn network_of(model: &Model, config: &Dit, batch: usize) -> Program {
    let forward = |g: &mut Graph, params: &mut Params, x| {
        let (t, y) = (g.input("t", [batch]), g.input_u32("y", [batch]));
        evaluate(config, g, params, x, t, y)
    };
    program(model, config, batch, forward)
}

/// Guidance of the first `channels` of one sample: inputs x, and two each of t and y (conditional, unconditional), and scale,
/// output out.
///
/// # Panics
/// When the engine refuses it.
pub fn guided(device: &Device, config: &Dit, channels: usize, weights: &impl Weights) -> Program {
    let forward = |g: &mut Graph, params: &mut Params, x| {
        let (t, y) = (g.input("t", [2]), g.input_u32("y", [2]));
        let scale = g.input("scale", [1]);
        let doubled = guide::double(g, x).expect("valid shapes");
        let out = evaluate(config, g, params, doubled, t, y);
        guide::mix(g, out, scale, channels).expect("valid shapes")
    };
    let model = model(device, config, Transport::default(), weights);
    program(&model, config, 1, forward)
}

fn evaluate(config: &Dit, g: &mut Graph, params: &mut Params, x: Var, t: Var, y: Var) -> Var {
    let inputs = Inputs::new(x, t, Some(y));
    let outputs = config.forward(&mut params.scope(g), inputs);
    outputs.expect("valid shapes").out
}

fn program(
    model: &Model,
    config: &Dit,
    batch: usize,
    forward: impl FnOnce(&mut Graph, &mut Params, Var) -> Var,
) -> Program {
    let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
    let x = g.input("x", config.io().images(batch));
    let out = forward(&mut g, &mut params, x);
    let request = Request {
        outputs: vec![("out".into(), out)],
        ..Request::default()
    };
    let plan = Plan::new(&g, &request, &[model.layout()]).expect("a valid graph");
    let device = model.device();
    device.program(plan, &[model.arenas()]).expect("it fits")
}

/// A training step in its two halves, at times and noise that the caller gives.
pub struct Training {
    transport: Transport,
    adamw: AdamW,
    grad: Program,
    update: Program,
    /// Weights, gradients, moments and the moving average.
    pub arenas: Arenas,
}

/// Data, noise, times and labels of a batch.
pub struct Given<'a> {
    /// Noise.
    pub x0: &'a [f32],
    /// Data.
    pub x1: &'a [f32],
    /// Times.
    pub t: &'a [f32],
    /// Labels.
    pub y: &'a [u32],
}

impl Training {
    /// From formula weights.
    ///
    /// # Panics
    /// When the engine refuses it.
    pub fn new(
        device: &Device,
        config: &Dit,
        training: &train::Training,
        weights: &impl Weights,
    ) -> Training {
        let kinds = [
            Arena::Params,
            Arena::Grads,
            Arena::MomentM,
            Arena::MomentV,
            Arena::Ema,
        ];
        let blueprint = training.blueprint(device.max_segment_bytes());
        let blueprint = blueprint.expect("valid settings");
        let arenas = arenas(device, &blueprint, config, weights, &kinds);
        let plans = training.plans(&blueprint).expect("valid settings");
        Training {
            transport: blueprint.transport().clone(),
            adamw: *training.optimizer(),
            grad: device.program(plans.grad, &[&arenas]).expect("it fits"),
            update: device.program(plans.update, &[&arenas]).expect("it fits"),
            arenas,
        }
    }

    /// The losses of a batch; its gradients are in [`Training::arenas`] then.
    ///
    /// # Panics
    /// When the device fails.
    pub fn losses(&mut self, batch: &Given) -> Vec<f32> {
        let target = self.transport.target().expect("a valid combination");
        let (mut xt_coef, mut loss_coef) = (Vec::new(), Vec::new());
        for &t in batch.t {
            let (at, loss) = (target.interpolant(f64::from(t)), target.loss(f64::from(t)));
            xt_coef.extend([at.x0, at.x1, 0.0, 0.0].map(|c| c as f32));
            loss_coef.extend([loss.weight, loss.out, loss.x0, loss.x1].map(|c| c as f32));
        }
        self.losses_of(batch, &xt_coef, &loss_coef)
    }

    /// [`Training::losses`] of the output at the state x0 with the target x1, `mean((out - x1)²)`, whatever the transport is.
    ///
    /// # Panics
    /// When the device fails.
    pub fn square_errors(&mut self, batch: &Given) -> Vec<f32> {
        let n = batch.t.len();
        let (state, error) = ([1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, -1.0]);
        self.losses_of(batch, &state.repeat(n), &error.repeat(n))
    }

    fn losses_of(&mut self, batch: &Given, xt_coef: &[f32], loss_coef: &[f32]) -> Vec<f32> {
        let floats = [
            ("x0", batch.x0),
            ("x1", batch.x1),
            ("t", batch.t),
            ("xt_coef", xt_coef),
            ("loss_coef", loss_coef),
        ];
        let grad = &mut self.grad;
        for (input, values) in floats {
            grad.write(input, values).expect("the input is there");
        }
        grad.write_u32("y", batch.y).expect("the input is there");
        run(grad, "loss")
    }

    /// Update number `n`, from 1, with the gradients of the last batch.
    ///
    /// # Panics
    /// When it is skipped, or the device fails.
    pub fn update(&mut self, lr: f64, n: u64) {
        let hyper = self.adamw.hyper(lr, n);
        self.update
            .write(optim::HYPER, &hyper)
            .expect("it is there");
        let stats = run(&mut self.update, optim::STATS);
        assert!(stats[0] > 0.0 && stats[1] == 0.0, "{stats:?}");
    }

    /// The values of a parameter in an arena: weight, gradient, moment or average.
    ///
    /// # Panics
    /// When there is no such parameter.
    pub fn read(&self, arena: Arena, param: &str) -> Vec<f32> {
        block_on(self.arenas.read(arena, param)).expect("the parameter is there")
    }
}

/// Runs all steps from x0; `draw(number of the draw)` gives the noise.
///
/// # Panics
/// When the device fails.
pub fn solve(
    session: &mut Session,
    x0: &[f32],
    y: &[u32],
    draw: impl Fn(usize) -> Vec<f32>,
) -> Vec<f32> {
    session.start_at(0, x0, y).expect("valid inputs");
    let mut n_draws = 0;
    while !session.is_over() {
        let noise = if session.needs_noise() {
            draw(n_draws)
        } else {
            vec![]
        };
        n_draws += usize::from(session.needs_noise());
        block_on(session.step_with_async(&noise)).expect("the device works");
    }
    block_on(session.read_async()).expect("the device works")
}

/// Runs images from x0 with an adaptive solver; they are numbered from 0, and come in this order.
///
/// # Panics
/// When the solver or the device fails.
pub fn solve_adaptive(pool: &mut Pool, x0: &[f32], y: &[u32]) -> Vec<Finished> {
    let len = pool.io().image_len();
    let (mut finished, mut next) = (Vec::new(), 0);
    while next < y.len() || !pool.is_empty() {
        let until = y.len().min(next + pool.room());
        let numbers: Vec<u64> = (next as u64..until as u64).collect();
        let x = &x0[next * len..until * len];
        pool.add_from(&numbers, x, &y[next..until])
            .expect("valid inputs");
        next = until;
        let step = block_on(pool.step_async());
        finished.extend(step.expect("a solution that is not singular"));
    }
    finished.sort_by_key(|image| image.number);
    finished
}
