//! The layers as a graph.

use super::layers::{self, Layer, N_SPATIAL, Tap};
use super::weights;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::conv::{self, Windows};
use crate::ops::resample::{self, Divide};
use crate::ops::{axes, linear, max_pool, reduce};

/// The name of the logits without the bias, as an output.
pub(super) const LOGITS: &str = "logits";

/// A graph and what is read of it.
pub(super) struct Built {
    pub graph: Graph,
    pub outputs: Vec<(String, Var)>,
}

/// The network for images x `[batch, side, side, 3]`.
pub(super) fn build(network: &[Layer], batch: usize, side: usize) -> Result<Built> {
    let mut graph = Graph::new();
    let x = graph.input("x", [batch, side, side, 3]);
    let mut built = Built {
        graph,
        outputs: Vec::new(),
    };
    built.run(network, x)?;
    Ok(built)
}

impl Built {
    /// The image that some layers make of x, in parts of its channels.
    fn run(&mut self, layers: &[Layer], x: Var) -> Result<Vec<Var>> {
        let mut parts = vec![x];
        for layer in layers {
            let x = match parts[..] {
                [x] => x,
                _ => axes::concat(&mut self.graph, &parts, 3)?,
            };
            parts = match layer {
                Layer::Branches(branches) => {
                    let mut parts = Vec::new();
                    for layers in branches {
                        parts.extend(self.run(layers, x)?);
                    }
                    parts
                }
                layer => vec![self.one(layer, x)?],
            };
        }
        Ok(parts)
    }

    fn one(&mut self, layer: &Layer, x: Var) -> Result<Var> {
        let g = &mut self.graph;
        match layer {
            Layer::Conv(conv) => {
                let [weight, bias] =
                    weights::folded(conv).map(|(name, shape)| g.param(name, shape));
                conv::conv_relu(g, x, weight, bias, conv.windows)
            }
            Layer::MaxPool(windows) => max_pool::max_pool(g, x, [3, 3], *windows),
            Layer::MeanPool => resample::pool(g, x, [3, 3], Windows::new(1, 1), Divide::Inside),
            Layer::Tap(tap) => {
                self.read(*tap, x)?;
                Ok(x)
            }
            Layer::Branches(_) => unreachable!("handled by the caller"),
        }
    }

    /// Names what a tap reads of x; the features have the logits behind them.
    fn read(&mut self, tap: Tap, x: Var) -> Result<()> {
        let g = &mut self.graph;
        let [batch, height, width, c] = std::array::from_fn(|axis| g.shape(x)[axis]);
        let value = match tap {
            Tap::Spatial => {
                let some = axes::slice(g, x, 3, 0..N_SPATIAL)?;
                g.reshape(some, [batch, height * width * N_SPATIAL])?
            }
            _ => {
                let mean = reduce::mean(g, x, &[1, 2])?;
                g.reshape(mean, [batch, c])?
            }
        };
        self.outputs.push((tap.name().to_owned(), value));
        if tap == Tap::Mean2048 {
            let (name, shape) = weights::last();
            let zeros = g.constant(0.0, [layers::N_LOGITS]);
            let weight = g.param(name, shape);
            let logits = linear::linear(g, value, weight, zeros)?;
            self.outputs.push((LOGITS.to_owned(), logits));
        }
        Ok(())
    }
}
