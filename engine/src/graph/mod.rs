//! The graph: an append-only list of nodes. A node refers only to earlier nodes, so it is acyclic by construction.
//!
//! # Theory
//! `Graph -> (backward) -> Graph -> Plan -> Program`: each is a plain value computed from the previous one. A node is a parameter,
//! an input, a constant or an operation. Differentiation appends nodes. Whatever the backward needs is an output of the forward, so
//! the plan counts its bytes before anything is allocated. Unused outputs are dropped if the operation supports it.
//!
//! # Practice
//! A network or an objective of your own gets its graph from a [`Scope`](crate::nn::Scope) and appends operations to it. Shapes are
//! checked at once:
//!
//! ```
//! use sit_engine::graph::Graph;
//! use sit_engine::ops::{pointwise, reduce};
//!
//! # fn main() -> sit_engine::Result<()> {
//! let mut g = Graph::new();
//! let x = g.constant(3.0, [2, 5]);
//! let y = pointwise::square(&mut g, x)?;
//! let mean = reduce::mean(&mut g, y, &[1])?;
//! assert_eq!(g.shape(mean)[0], 2);
//! assert!(pointwise::add(&mut g, mean, x).is_err());
//! # Ok(())
//! # }
//! ```

mod dump;
#[doc(hidden)]
pub mod launch;
#[doc(hidden)]
pub mod op;
#[doc(hidden)]
pub mod plan;
mod planner;
mod recompute;
mod storage;

#[doc(hidden)]
pub use op::{Arg, CpuIo, Define, Io, Launch, MAX_ARGS, Op};
pub use storage::Storage;

#[doc(hidden)]
pub use plan::{Arena, ArenaId, Layout, Plan, SetId};

use crate::error::{Error, Result};
use crate::shape::{Shape, Type};
use crate::table::Table;
use std::ops::Range;
use std::sync::Arc;

/// Index of a node in its graph.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub(crate) u32);

/// One output of a node: a value of the graph.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Var {
    pub(crate) node: NodeId,
    pub(crate) out: u32,
}

/// The kind of a node.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Kind {
    /// A trainable tensor of a parameter set, identified by its official PyTorch name and stored in an arena.
    Param(SetId, String),
    /// A tensor that the caller writes, by name. It keeps its value from run to run.
    Input(String),
    /// A tensor filled with one value.
    Const(f32),
    /// A fixed table.
    Table(Table),
    /// A whole arena segment, for the optimizer.
    Arena(ArenaId, usize),
    /// Its input with another shape; no data moves.
    Reshape,
    /// Its input, treated as a constant by differentiation; no data moves.
    StopGradient,
    /// A computation.
    Op(Arc<dyn Op>),
}

/// A node: its kind, its inputs and the types of its outputs.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Node {
    /// The kind.
    pub kind: Kind,
    /// Inputs, all earlier in the graph.
    pub ins: Vec<Var>,
    /// Types of the outputs.
    pub outs: Vec<Type>,
}

/// An append-only list of nodes.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    /// Parts whose inside may be computed again.
    blocks: Vec<Range<usize>>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shape of a value.
    pub fn shape(&self, v: Var) -> &Shape {
        &self.ty(v).shape
    }

    /// A trainable tensor of a parameter set, by its official name.
    pub(crate) fn param_of(
        &mut self,
        set: SetId,
        name: impl Into<String>,
        shape: impl Into<Shape>,
    ) -> Var {
        self.leaf(Kind::Param(set, name.into()), Type::f32(shape))
    }

    /// A tensor filled with `value`.
    pub fn constant(&mut self, value: f32, shape: impl Into<Shape>) -> Var {
        self.leaf(Kind::Const(value), Type::f32(shape))
    }

    fn leaf(&mut self, kind: Kind, ty: Type) -> Var {
        let id = self.push(kind, Vec::new(), vec![ty]);
        Var { node: id, out: 0 }
    }

    /// The same data with another shape.
    ///
    /// # Errors
    /// [`Error::Shape`] when the number of elements differs.
    pub fn reshape(&mut self, x: Var, shape: impl Into<Shape>) -> Result<Var> {
        let (from, to) = (self.ty(x).clone(), shape.into());
        if from.shape.numel() != to.numel() {
            return Err(Error::Shape(format!(
                "reshape: x is {from:?}, which does not fit {to}"
            )));
        }
        if from.shape == to {
            return Ok(x);
        }
        let id = self.push(
            Kind::Reshape,
            vec![x],
            vec![Type {
                shape: to,
                elem: from.elem,
            }],
        );
        Ok(Var { node: id, out: 0 })
    }

    /// The same data, but no gradient flows through it: differentiation treats it as a constant.
    pub fn stop_gradient(&mut self, x: Var) -> Var {
        let ty = self.ty(x).clone();
        let id = self.push(Kind::StopGradient, vec![x], vec![ty]);
        Var { node: id, out: 0 }
    }

    /// Appends an operation with one output.
    ///
    /// # Errors
    /// [`Error::Shape`] from the operation's shape rule.
    pub(crate) fn apply1(&mut self, op: impl Op + 'static, ins: &[Var]) -> Result<Var> {
        let id = self.apply(op, ins)?;
        Ok(Var { node: id, out: 0 })
    }

    fn push(&mut self, kind: Kind, ins: Vec<Var>, outs: Vec<Type>) -> NodeId {
        debug_assert!(ins.iter().all(|v| (v.node.0 as usize) < self.nodes.len()));
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { kind, ins, outs });
        id
    }
}

#[doc(hidden)]
impl Graph {
    /// A fixed table; a program computes it once, when it is created.
    pub fn table(&mut self, table: Table) -> Var {
        self.leaf(Kind::Table(table), Type::f32(table.shape()))
    }

    /// All nodes, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by its index.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// Output `out` of node `id`.
    pub fn var(&self, id: NodeId, out: usize) -> Var {
        debug_assert!(out < self.node(id).outs.len());
        Var {
            node: id,
            out: out as u32,
        }
    }

    /// Type of a value.
    pub fn ty(&self, v: Var) -> &Type {
        &self.node(v.node).outs[v.out as usize]
    }

    /// A trainable tensor of [`SetId::MAIN`], by its official name.
    pub fn param(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> Var {
        self.param_of(SetId::MAIN, name, shape)
    }

    /// A float tensor that the caller writes.
    pub fn input(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> Var {
        self.leaf(Kind::Input(name.into()), Type::f32(shape))
    }

    /// An integer tensor that the caller writes.
    pub fn input_u32(&mut self, name: impl Into<String>, shape: impl Into<Shape>) -> Var {
        self.leaf(Kind::Input(name.into()), Type::u32(shape))
    }

    /// A whole arena segment of `len` floats.
    pub fn arena(&mut self, arena: impl Into<ArenaId>, segment: usize, len: usize) -> Var {
        self.leaf(Kind::Arena(arena.into(), segment), Type::f32([len]))
    }

    /// Appends an operation; its outputs are `self.var(id, 0..)`.
    ///
    /// # Errors
    /// [`Error::Shape`] from the operation's shape rule.
    pub fn apply(&mut self, op: impl Op + 'static, ins: &[Var]) -> Result<NodeId> {
        self.append(Arc::new(op), ins)
    }

    /// [`Graph::apply`] for an operation behind a trait object.
    ///
    /// # Errors
    /// [`Error::Shape`] from the operation's shape rule.
    pub fn append(&mut self, op: Arc<dyn Op>, ins: &[Var]) -> Result<NodeId> {
        let types: Vec<Type> = ins.iter().map(|&v| self.ty(v).clone()).collect();
        let outs = op.infer(&types)?;
        debug_assert!(
            ins.len() <= MAX_ARGS && outs.len() <= MAX_ARGS,
            "{}",
            op.name()
        );
        Ok(self.push(Kind::Op(op), ins.to_vec(), outs))
    }

    /// The value whose storage `v` shares: the start of its chain of reshapes and stopped gradients, or `v` itself.
    pub fn root(&self, mut v: Var) -> Var {
        while let Kind::Reshape | Kind::StopGradient = self.node(v.node).kind {
            v = self.node(v.node).ins[0];
        }
        v
    }

    /// Multiply-accumulates of one run of all nodes (matrix products only, as in the papers).
    pub fn macs(&self) -> u64 {
        let of = |n: &Node| match &n.kind {
            Kind::Op(op) => op.macs(
                &n.ins
                    .iter()
                    .map(|&v| self.ty(v).clone())
                    .collect::<Vec<_>>(),
            ),
            _ => 0,
        };
        self.nodes.iter().map(of).sum()
    }
}
