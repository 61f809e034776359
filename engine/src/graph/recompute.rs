//! Activations that the backward computes again rather than keeping them.
//!
//! A block of the forward keeps what later nodes read of it, its output; what else its gradient needs is computed once more, from the same
//! values by the same operations and so with the same bits, directly before the gradient of that block (Chen et al., *Training Deep
//! Nets with Sublinear Memory Cost*, arXiv 1604.06174). Of `n` blocks the memory is that of `n` outputs and of the inside of one block,
//! for one more forward of these blocks.

use super::{Graph, Kind, Node, NodeId, Var};
use std::collections::{BTreeMap, BTreeSet};

#[doc(hidden)]
impl Graph {
    /// Appends what `build` appends as a block, whose inside can be computed again.
    pub fn block<T>(&mut self, build: impl FnOnce(&mut Graph) -> T) -> T {
        let start = self.nodes.len();
        let built = build(self);
        self.end_block(start);
        built
    }

    /// Makes the nodes from `start` on a block.
    pub(crate) fn end_block(&mut self, start: usize) {
        // A block within another one is a part of that.
        self.blocks.retain(|block| block.start < start);
        self.blocks.push(start..self.nodes.len());
    }

    /// Number of blocks whose inside the nodes from `backward` on read.
    pub fn n_blocks(&self, backward: usize) -> usize {
        self.needed(backward, &self.inside(backward)).len()
    }

    /// The same graph, in which the nodes from `backward` on read the inside of the first `n` blocks that they need from a second
    /// computation. Also returns the new number of every node.
    pub fn recompute(&self, backward: usize, n: usize) -> (Graph, Vec<NodeId>) {
        let inside = self.inside(backward);
        let all = self.needed(backward, &inside);
        let mut left: BTreeMap<usize, Vec<bool>> = all.into_iter().take(n).collect();
        let is_left_out: BTreeSet<usize> = left.keys().copied().collect();
        let mut graph = Graph {
            blocks: self.blocks.clone(),
            ..Graph::default()
        };
        let mut again: BTreeMap<usize, NodeId> = BTreeMap::new();
        let mut numbers: Vec<NodeId> = Vec::with_capacity(self.nodes.len());
        let now = |v: Var, numbers: &[NodeId]| Var {
            node: numbers[v.node.0 as usize],
            ..v
        };
        for (i, node) in self.nodes.iter().enumerate() {
            if i >= backward {
                for v in &node.ins {
                    let Some(&at) = inside.get(v).filter(|at| is_left_out.contains(at)) else {
                        continue;
                    };
                    let Some(needed) = left.remove(&at) else {
                        continue;
                    };
                    let block = self.blocks[at].clone();
                    for (k, _) in block.zip(needed).filter(|(_, needed)| *needed) {
                        let Node { kind, ins, outs } = self.nodes[k].clone();
                        let from =
                            |v: &Var| match inside.get(v).and(again.get(&(v.node.0 as usize))) {
                                Some(&node) => Var { node, ..*v },
                                None => now(*v, &numbers),
                            };
                        let ins = ins.iter().map(from).collect();
                        again.insert(k, graph.push(kind, ins, outs));
                    }
                }
            }
            let from = |v: &Var| match inside.get(v).and(again.get(&(v.node.0 as usize))) {
                Some(&node) if i >= backward => Var { node, ..*v },
                _ => now(*v, &numbers),
            };
            let ins = node.ins.iter().map(from).collect();
            numbers.push(graph.push(node.kind.clone(), ins, node.outs.clone()));
        }
        (graph, numbers)
    }

    /// The values of blocks that the forward does not read outside of them, and the number of the block.
    fn inside(&self, backward: usize) -> BTreeMap<Var, usize> {
        let mut inside = BTreeMap::new();
        for (at, block) in self.blocks.iter().enumerate() {
            for i in block.clone().filter(|&i| is_computed(&self.nodes[i])) {
                let outs = 0..self.nodes[i].outs.len();
                inside.extend(outs.map(|out| (self.var(NodeId(i as u32), out), at)));
            }
        }
        for (i, node) in self.nodes[..backward].iter().enumerate() {
            for v in &node.ins {
                let is_in = |at: &usize| self.blocks[*at].contains(&i);
                if !inside.get(v).is_some_and(is_in) {
                    inside.remove(v);
                }
            }
        }
        inside
    }

    /// The blocks whose gradient needs nodes of them again, by number: which of their nodes.
    fn needed(&self, backward: usize, inside: &BTreeMap<Var, usize>) -> BTreeMap<usize, Vec<bool>> {
        let mut all: BTreeMap<usize, Vec<bool>> = BTreeMap::new();
        let mut mark = |v: &Var| {
            if let Some(&at) = inside.get(v) {
                let block = &self.blocks[at];
                let needed = all.entry(at).or_insert_with(|| vec![false; block.len()]);
                needed[v.node.0 as usize - block.start] = true;
            }
        };
        let readers = self.nodes[backward..].iter();
        readers.for_each(|node| node.ins.iter().for_each(&mut mark));
        for (at, needed) in &mut all {
            let block = &self.blocks[*at];
            for i in (0..needed.len()).rev() {
                if needed[i] {
                    let ins = self.nodes[block.start + i].ins.iter();
                    for v in ins.filter(|v| inside.get(v) == Some(at)) {
                        needed[v.node.0 as usize - block.start] = true;
                    }
                }
            }
        }
        all
    }
}

/// Whether a node computes something: others are stored anyway.
fn is_computed(node: &Node) -> bool {
    matches!(node.kind, Kind::Op(_) | Kind::Reshape | Kind::StopGradient)
}
