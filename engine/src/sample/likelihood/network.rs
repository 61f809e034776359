//! A network's output and the quadratic forms of its Jacobian, on a device.

use crate::backend::Program;
use crate::error::Result;
use crate::graph::plan::Request;
use crate::graph::{Arena, Graph, Plan, SetId, Var};
use crate::model::{Blueprint, Inputs, Model, evaluate};
use crate::nn::Params;
use crate::ops::{axes, pointwise, reduce};
use crate::sample::field::check_velocity;

/// Evaluates a network: `out = net(x, t, y)`, and for each of some probes `e` the number `e^T (d out / d x) e` of each image.
#[doc(hidden)]
#[derive(Debug)]
pub struct Evaluator {
    program: Program,
    batch: usize,
    n_passes: usize,
    names: Vec<String>,
    times: Vec<f32>,
}

fn name(j: usize) -> String {
    format!("probe{j}")
}

/// Inputs x `[B, C, H, W]`, t `[B]`, y `[B]` and probes like x; outputs `out` like x and, with probes, `traces` `[B, P]`.
pub(super) fn plan(
    model: &Blueprint,
    batch: usize,
    n_passes: usize,
    weights: Vec<Arena>,
) -> Result<Plan> {
    let (mut g, mut params) = (Graph::new(), Params::new(SetId::MAIN));
    check_velocity(model, "model")?;
    let (io, network) = (model.io(), model.network());
    network.validate(batch)?;
    let images = io.images(batch);
    let (x, t) = (g.input("x", images), g.input("t", [batch]));
    let y = io.null_class().map(|_| g.input_u32("y", [batch]));
    let inputs = Inputs::new(x, t, y);
    let out = evaluate(network, &mut params.scope(&mut g), inputs)?.out;
    let mut columns = Vec::with_capacity(n_passes);
    for j in 0..n_passes {
        let probe = g.input(name(j), images);
        columns.push(quadratic(&mut g, out, inputs.x, probe)?);
    }
    let mut outputs = vec![("out".to_owned(), out)];
    match &columns[..] {
        [] => {}
        &[one] => outputs.push(("traces".to_owned(), one)),
        several => outputs.push(("traces".to_owned(), axes::concat(&mut g, several, 1)?)),
    }
    let request = Request {
        outputs,
        weights,
        ..Request::default()
    };
    Plan::new(&g, &request, &[model.layout()])
}

/// `e^T (d out / d x) e` of each image, `[B, 1]`: the gradient of `<out, e>` by x, multiplied by e.
fn quadratic(g: &mut Graph, out: Var, x: Var, probe: Var) -> Result<Var> {
    let gradient = g.backward(out, probe, &[x])?[0];
    let products = pointwise::mul(g, gradient, probe)?;
    let batch = g.shape(x)[0];
    let len = g.shape(x).numel() / batch;
    let rows = g.reshape(products, [batch, len])?;
    let sums = reduce::sum(g, rows, &[1])?;
    g.reshape(sums, [batch, 1])
}

impl Evaluator {
    /// For batches of this size, with as many probes in each run.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for a network that refuses the batch; [`crate::Error::Limit`] and [`crate::Error::Device`] when it does not
    /// fit on the device.
    pub fn new(model: &Model, batch: usize, n_passes: usize) -> Result<Self> {
        let plan = plan(model, batch, n_passes, vec![model.weights()])?;
        Ok(Evaluator {
            program: model.device().program(plan, &[model.arenas()])?,
            batch,
            n_passes,
            names: (0..n_passes).map(name).collect(),
            times: vec![0.0; batch],
        })
    }

    /// Probes of each run.
    pub fn n_passes(&self) -> usize {
        self.n_passes
    }

    /// Writes inputs x `[B, C, H, W]` with the times t `[B]` as the network knows them, and labels y `[B]`, which an unconditional
    /// network ignores.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a wrong length, [`crate::Error::Config`] for a label beyond the null class.
    pub fn write(&mut self, x: &[f32], t: &[f64], y: &[u32]) -> Result<()> {
        self.program.write("x", x)?;
        // A network may ignore the time and the label.
        if self.program.plan().has_input("t") {
            self.times.clear();
            self.times.extend(t.iter().map(|&t| t as f32));
            self.program.write("t", &self.times)?;
        }
        if self.program.plan().has_input("y") {
            self.program.write_u32("y", &y[..self.batch.min(y.len())])?;
        }
        Ok(())
    }

    /// Writes the probes of a run, each `[B, C, H, W]`; those that are not given keep their values.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] for a wrong length.
    pub fn write_probes<'p>(&mut self, probes: impl Iterator<Item = &'p [f32]>) -> Result<()> {
        for (name, probe) in self.names.iter().zip(probes) {
            self.program.write(name, probe)?;
        }
        Ok(())
    }

    /// Runs it: the outputs `[B, C, H, W]`, and the quadratic forms `[B, P]`.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device fails.
    pub async fn run_async(&mut self) -> Result<(Vec<f32>, Vec<f32>)> {
        self.program.run()?;
        if self.n_passes == 0 {
            return Ok((self.program.read("out").await?, Vec::new()));
        }
        let [out, traces] = self.program.read_all(["out", "traces"]).await?;
        Ok((out, traces))
    }
}
