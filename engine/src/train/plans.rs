//! The plans of a training step.

use super::Training;
use crate::error::{Error, Result};
use crate::graph::plan::Request;
use crate::graph::{Arena, Graph, Layout, Plan, SetId, Var};
use crate::model::{Blueprint, IN_PAGE, Model};
use crate::nn::Params;
use crate::objective::{Net, Objective, Ports};
use crate::ops::{adamw, loss};
use crate::optim;

/// Name of the output with the loss of each image.
pub(super) const LOSS: &str = "loss";

/// Name of the input that selects whether gradients are added to the sum (1) or start a new one (0).
pub(super) const KEEP: &str = "(keep)";

/// The plans of a training step.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Plans {
    /// Loss and gradient of one batch.
    pub grad: Plan,
    /// The update.
    pub update: Plan,
}

/// Builds the loss of each image `[B]` in a graph; returns it with the parameters that it reads and its input ports.
fn objective(
    training: &Training,
    objective: &dyn Objective,
    g: &mut Graph,
) -> Result<(Params, Ports, Var)> {
    let mut params = Params::new(SetId::MAIN);
    let mut ports = Ports::new(training.network.io(), training.batch);
    training.network.validate(training.batch)?;
    let mut net = Net::new(&*training.network, &mut params);
    let per_sample = objective.build(g, &mut net, &mut ports)?;
    let (got, expected) = (g.shape(per_sample), training.batch);
    if got[..] != [expected] {
        return Err(Error::Shape(format!(
            "the objective's loss is {got}, expected [{expected}], one for each image"
        )));
    }
    Ok((params, ports, per_sample))
}

impl Training {
    /// Device memory of a training run, in bytes per category, before anything is allocated.
    ///
    /// # Errors
    /// [`Error::Setting`] for an invalid setting; [`Error::Limit`] when one parameter alone exceeds a segment.
    pub fn forecast(&self, max_segment_bytes: u64) -> Result<Vec<(&'static str, u64)>> {
        let blueprint = self.blueprint(max_segment_bytes)?;
        let plans = self.plans(&blueprint)?;
        let arena = blueprint.layout().arena_bytes();
        let accum = if self.accumulate > 1 { arena } else { 0 };
        let mut parts = vec![
            ("parameters", arena),
            ("gradients", arena + accum),
            ("moments", 2 * arena),
            ("moving average", arena),
            ("activations", plans.grad.slot_bytes()),
            ("update", plans.update.slot_bytes()),
        ];
        if let Some(teacher) = self.chosen_objective().teacher() {
            let bytes = teacher.blueprint().layout().arena_bytes();
            parts.push(("parameters of the teacher", bytes));
        }
        if !self.averages.is_empty() {
            parts.push(("other averages", self.averages.len() as u64 * arena));
        }
        Ok(parts)
    }
}

#[doc(hidden)]
impl Training {
    /// The plans of the gradient of a batch and of the update. Needs no device.
    ///
    /// # Errors
    /// Those of [`Training::validate`].
    pub fn plans(&self, blueprint: &Blueprint) -> Result<Plans> {
        self.validate()?;
        Ok(plans(self, blueprint)?.0)
    }

    /// Blocks that [`Training::recompute`] counts.
    ///
    /// # Errors
    /// As of [`Training::plans`].
    pub fn n_blocks(&self) -> Result<usize> {
        let gradient = Gradient::new(self, &*self.chosen_objective())?;
        Ok(gradient.graph.n_blocks(gradient.backward))
    }
}

/// The gradient of the mean loss of a batch.
struct Gradient {
    graph: Graph,
    ports: Ports,
    per_sample: Var,
    /// By the names of the parameters.
    grads: Vec<(String, Var)>,
    /// Its first node.
    backward: usize,
}

impl Gradient {
    fn new(training: &Training, chosen: &dyn Objective) -> Result<Self> {
        let mut graph = Graph::new();
        let (params, ports, per_sample) = objective(training, chosen, &mut graph)?;
        let mean = loss::mean(&mut graph, per_sample)?;
        let seed = graph.constant(1.0 / training.accumulate as f32, [1]);
        let (names, vars): (Vec<_>, Vec<_>) = params
            .trained()
            .map(|(name, var)| (name.to_owned(), var))
            .unzip();
        let backward = graph.nodes().len();
        let grads = graph.backward(mean, seed, &vars)?;
        Ok(Gradient {
            graph,
            ports,
            per_sample,
            grads: names.into_iter().zip(grads).collect(),
            backward,
        })
    }

    /// The same gradient, with the first `n` blocks computed again.
    fn recompute(self, n: usize) -> Self {
        let (graph, numbers) = self.graph.recompute(self.backward, n);
        let now = |v: Var| Var {
            node: numbers[v.node.0 as usize],
            ..v
        };
        let grads = self.grads.into_iter();
        Gradient {
            graph,
            per_sample: now(self.per_sample),
            grads: grads.map(|(name, grad)| (name, now(grad))).collect(),
            ..self
        }
    }
}

/// The plans of the gradient and of the update, and the ports of the gradient.
pub(super) fn plans(training: &Training, blueprint: &Blueprint) -> Result<(Plans, Ports)> {
    let (layout, chosen) = (blueprint.layout(), training.chosen_objective());
    let mut gradient = Gradient::new(training, &*chosen)?;
    if training.recompute > 0 && !IN_PAGE {
        gradient = gradient.recompute(training.recompute);
    }
    let Gradient {
        graph: mut g,
        ports,
        per_sample,
        grads,
        ..
    } = gradient;
    let mut source = Arena::Grads;
    if training.accumulate > 1 {
        source = Arena::Accum;
        let keep = g.input(KEEP, [1]);
        for (s, &len) in layout.segments().iter().enumerate() {
            let (grads, sum) = (g.arena(Arena::Grads, s, len), g.arena(Arena::Accum, s, len));
            adamw::accumulate(&mut g, grads, keep, sum)?;
        }
    }
    let (layouts, weights) = sets(layout, Arena::Params, &*chosen);
    let parts = ports.parts().iter();
    let parts = parts.map(|&(name, part)| (name.to_owned(), part));
    let outputs = std::iter::once((LOSS.to_owned(), per_sample));
    let outputs = outputs.chain(parts).collect();
    let request = Request {
        outputs,
        grads,
        weights,
    };
    let plans = Plans {
        grad: Plan::new(&g, &request, &layouts)?,
        update: optim::update_plan(layout, source, training.averages.len())?,
    };
    Ok((plans, ports))
}

/// Layouts, and the arenas that weights are read from: of the network in training and of the teacher.
fn sets<'a>(
    layout: &'a Layout,
    weights: Arena,
    objective: &'a dyn Objective,
) -> (Vec<&'a Layout>, Vec<Arena>) {
    let (mut layouts, mut arenas) = (vec![layout], vec![weights]);
    if let Some(teacher) = objective.teacher() {
        layouts.push(teacher.blueprint().layout());
        arenas.push(teacher.model().map_or(Arena::Params, Model::weights));
    }
    (layouts, arenas)
}

/// The plan of the loss of each image, with the weights in the arena `weights`, and its ports.
pub(super) fn loss_plan(
    training: &Training,
    blueprint: &Blueprint,
    weights: Arena,
) -> Result<(Plan, Ports)> {
    let mut g = Graph::new();
    let chosen = training.chosen_objective();
    let (_, ports, per_sample) = objective(training, &*chosen, &mut g)?;
    let (layouts, weights) = sets(blueprint.layout(), weights, &*chosen);
    let request = Request {
        outputs: vec![(LOSS.into(), per_sample)],
        weights,
        ..Request::default()
    };
    Ok((Plan::new(&g, &request, &layouts)?, ports))
}
