//! The operations, one file per stem, next to `shaders/wgsl/<stem>.wgsl`. Each file has the shape rules, GPU launches, CPU
//! evaluation and gradients together, and the test cases for all backends.
//!
//! The primitives are [`pointwise`], [`reduce`], [`matmul`], [`axes`] and [`gather`]. The others are fused for speed and can be
//! expanded into primitives (`Define::expand`).

pub mod adaln;
#[doc(hidden)]
pub mod adamw;
pub(crate) mod ancestral;
pub mod attention;
pub mod axes;
pub(crate) mod bound;
pub mod chunk;
pub(crate) mod control;
pub mod conv;
pub mod cross_entropy;
#[doc(hidden)]
pub mod embed;
#[doc(hidden)]
pub mod gate;
pub mod gather;
pub mod group_norm;
#[doc(hidden)]
pub mod guide;
#[doc(hidden)]
pub mod lincomb;
pub mod linear;
pub mod loss;
pub mod matmul;
pub mod max_pool;
pub mod patch;
pub mod pointwise;
pub mod qk_norm;
pub mod reduce;
pub mod resample;
pub mod rotary;
pub mod swiglu;
pub(crate) mod widen;

use crate::graph::Op;
use crate::shape::Type;
use std::sync::Arc;

/// One test case of an operation. The test suite checks the forward of every backend against the f64 CPU forward, the f64 gradient
/// against central differences of the f64 forward, and both against the expansion into primitives.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Case {
    /// The operation.
    pub op: Arc<dyn Op>,
    /// Types of its inputs.
    pub ins: Vec<Type>,
    /// Inputs whose gradient is checked.
    pub wrt: Vec<usize>,
    /// Number of outputs that are differentiated, from the first on.
    pub n_outs: usize,
    /// Integer inputs are drawn from `0..n_labels`.
    pub n_labels: u32,
}

impl Case {
    /// A case without gradients.
    pub fn new(op: impl Op + 'static, ins: &[Type]) -> Self {
        Case {
            op: Arc::new(op),
            ins: ins.to_vec(),
            wrt: Vec::new(),
            n_outs: 1,
            n_labels: 1,
        }
    }

    /// A case whose first output is differentiated with respect to the inputs `wrt`.
    pub fn with_grad(op: impl Op + 'static, ins: &[Type], wrt: &[usize]) -> Self {
        Case {
            wrt: wrt.to_vec(),
            ..Case::new(op, ins)
        }
    }
}

/// A stem and its cases.
#[doc(hidden)]
pub type Stem = (&'static str, fn() -> Vec<Case>);

/// Every stem with its cases; an operation must be listed here to be tested.
#[doc(hidden)]
pub const ALL: &[Stem] = &[
    ("adaln", adaln::cases),
    ("adamw", adamw::cases),
    ("ancestral", ancestral::cases),
    ("attention", attention::cases),
    ("axes", axes::cases),
    ("bound", bound::cases),
    ("chunk", chunk::cases),
    ("control", control::cases),
    ("conv", conv::cases),
    ("cross_entropy", cross_entropy::cases),
    ("embed", embed::cases),
    ("gate", gate::cases),
    ("gather", gather::cases),
    ("group_norm", group_norm::cases),
    ("guide", guide::cases),
    ("lincomb", lincomb::cases),
    ("linear", linear::cases),
    ("loss", loss::cases),
    ("matmul", matmul::cases),
    ("max_pool", max_pool::cases),
    ("patch", patch::cases),
    ("pointwise", pointwise::cases),
    ("qk_norm", qk_norm::cases),
    ("reduce", reduce::cases),
    ("resample", resample::cases),
    ("rotary", rotary::cases),
    ("swiglu", swiglu::cases),
    ("widen", widen::cases),
];
