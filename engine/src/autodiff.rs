//! Reverse-mode differentiation: appends gradient nodes to the graph.

use crate::error::{Error, Result};
use crate::graph::{Graph, Kind, NodeId, Var};
use crate::ops::pointwise;
use std::collections::{BTreeMap, BTreeSet};

#[doc(hidden)]
impl Graph {
    /// Appends the nodes that compute d(loss)/d(w) for every `w` in `wrt`, given `seed` = d(total)/d(loss).
    ///
    /// Gradients that reach a value on several paths are added by explicit nodes, in the order of the graph, so sums are
    /// reproducible. Returns one value per entry of `wrt`, of that entry's shape; zeros if it does not influence the loss. Each is
    /// a distinct value, so that each can have its own storage.
    ///
    /// # Errors
    /// [`Error::Shape`] when `seed` does not have the loss's shape, or when an operation on the way has no gradient.
    pub fn backward(&mut self, loss: Var, seed: Var, wrt: &[Var]) -> Result<Vec<Var>> {
        if self.ty(loss) != self.ty(seed) {
            return Err(Error::Shape(format!(
                "backward: seed is {:?}, expected {:?} as the loss",
                self.ty(seed),
                self.ty(loss)
            )));
        }
        let end = loss.node.0 as usize + 1;
        let mut needed = vec![false; end];
        for w in wrt {
            if let Some(n) = needed.get_mut(w.node.0 as usize) {
                *n = true;
            }
        }
        for i in 0..end {
            let stops = matches!(self.nodes()[i].kind, Kind::StopGradient);
            needed[i] |= !stops
                && self.nodes()[i]
                    .ins
                    .iter()
                    .any(|v| needed[v.node.0 as usize]);
        }

        let mut grads: BTreeMap<Var, Var> = BTreeMap::from([(loss, seed)]);
        for i in (0..end).rev().filter(|&i| needed[i]) {
            let id = NodeId(i as u32);
            let outs: Vec<Option<Var>> = (0..self.nodes()[i].outs.len())
                .map(|o| grads.get(&self.var(id, o)).copied())
                .collect();
            if outs.iter().all(Option::is_none) {
                continue;
            }
            let ins = self.nodes()[i].ins.clone();
            let flows = match self.nodes()[i].kind.clone() {
                Kind::Op(op) => op.backward(self, id, &outs)?,
                Kind::Reshape => {
                    let shape = self.shape(ins[0]).clone();
                    let grad = outs[0].expect("a reshape has one output");
                    vec![Some(self.reshape(grad, shape)?)]
                }
                _ => continue,
            };
            debug_assert_eq!(flows.len(), ins.len());
            for (&input, flow) in ins.iter().zip(flows) {
                let Some(flow) = flow.filter(|_| needed[input.node.0 as usize]) else {
                    continue;
                };
                debug_assert_eq!(self.ty(flow), self.ty(input));
                let sum = match grads.get(&input) {
                    Some(&other) => pointwise::add(self, other, flow)?,
                    None => flow,
                };
                grads.insert(input, sum);
            }
        }
        let mut roots = BTreeSet::new();
        let mut own = |w: &Var| {
            let zeros = |g: &mut Graph| g.constant(0.0, g.shape(*w).clone());
            let grad = grads.get(w).copied().unwrap_or_else(|| zeros(self));
            let root = self.root(grad);
            let is_leaf = self.node(root.node).ins.is_empty();
            if is_leaf || !roots.insert(root) {
                return pointwise::copy(self, grad);
            }
            Ok(grad)
        };
        wrt.iter().map(&mut own).collect()
    }
}
