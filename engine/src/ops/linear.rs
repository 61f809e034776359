//! Matrix products with PyTorch's `[out, in]` weights and fused epilogues.

mod cases;
mod cpu;

pub(super) use cases::cases;

use super::{matmul, pointwise, reduce};
use crate::error::Result;
use crate::graph::op::{Sealed, no_gradient};
use crate::graph::{CpuIo, Define, Graph, Io, Kind, Launch, NodeId, Var};
use crate::num::Real;
use crate::shape::{Shape, Type, expect};
use sit_shaders::{
    Kernel, LINEAR_BWD_SUM, LINEAR_BWD_W_32, LINEAR_BWD_W_64, LINEAR_BWD_X_32, LINEAR_BWD_X_64,
    LINEAR_BWD_X_MUL_32, LINEAR_BWD_X_MUL_64, LINEAR_FWD_32, LINEAR_FWD_64, LINEAR_GATE_32,
    LINEAR_GATE_64, LINEAR_GATE_SAVE_32, LINEAR_GATE_SAVE_64, LINEAR_GELU_32, LINEAR_GELU_64,
    LINEAR_GELU_SAVE_32, LINEAR_GELU_SAVE_64, LinearDims, LinearGateDims, LinearSplitDims,
    LinearSumDims,
};

/// The operation applied to a product while it is still in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Epilogue {
    /// `y = x wᵀ + b`
    None,
    /// `y = gelu(x wᵀ + b)`; saved: `gelu'(x wᵀ + b)`.
    Gelu,
    /// `y = res + gate ⊙ (x wᵀ + b)`; saved: the branch `x wᵀ + b`.
    Gate,
}

#[derive(Clone, Debug)]
enum Linear {
    /// x `[.., K]`, w `[N, K]`, b `[N]` (Gate: res `[B, T, N]`, gate `[B, N]`) -> y `[.., N]` (and, if `save`, what the backward
    /// needs).
    Fwd { epilogue: Epilogue, save: bool },
    /// g `[.., N]`, w `[N, K]` (mul: factor `[.., K]`) -> gx `[.., K]`
    BwdX { mul: bool },
    /// g `[.., N]`, x `[.., K]` -> gw `[N, K]`, gb `[N]` (and, with more than one slice of rows, the GPU's partial sums
    /// `[S, N, K]`, `[S, N]`, which the CPU does not use)
    BwdW,
}

/// `y = x wᵀ + b` (PyTorch `nn.Linear`): x `[.., K]`, w `[N, K]`, b `[N]` -> `[.., N]`. The backward needs x and w.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not fit.
pub fn linear(g: &mut Graph, x: Var, w: Var, b: Var) -> Result<Var> {
    g.apply1(
        Linear::Fwd {
            epilogue: Epilogue::None,
            save: false,
        },
        &[x, w, b],
    )
}

/// `y = gelu(x wᵀ + b)` with the tanh form of GELU (`0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))`). The second output is its derivative, for the backward.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not fit.
#[doc(hidden)]
pub fn linear_gelu(g: &mut Graph, x: Var, w: Var, b: Var) -> Result<Var> {
    g.apply1(
        Linear::Fwd {
            epilogue: Epilogue::Gelu,
            save: true,
        },
        &[x, w, b],
    )
}

/// `y = res + gate ⊙ (x wᵀ + b)`, the gated residual of adaLN-Zero (DiT, section 3.2): x `[B, T, K]`, res `[B, T, N]`, gate
/// `[B, N]` -> `[B, T, N]`. The second output is the branch `x wᵀ + b`, for the backward: the gate is initially 0, so the branch
/// cannot be recovered from y.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not fit.
pub(crate) fn linear_gate(
    g: &mut Graph,
    x: Var,
    w: Var,
    b: Var,
    res: Var,
    gate: Var,
) -> Result<Var> {
    g.apply1(
        Linear::Fwd {
            epilogue: Epilogue::Gate,
            save: true,
        },
        &[x, w, b, res, gate],
    )
}

fn check_fwd(name: &str, ins: &[Type], gated: bool) -> Result<Shape> {
    let (x, w) = (&ins[0], &ins[1]);
    crate::shape::expect_axes(name, "w", w, 2, "[out, in]")?;
    let n = w.shape[0];
    expect(
        name,
        "w",
        w,
        [n, x.shape.last()],
        format_args!("x is {x:?}"),
    )?;
    expect(name, "b", &ins[2], [n], format_args!("w is {w:?}"))?;
    let y = x.shape.with_last(n);
    if gated {
        crate::shape::expect_axes(name, "x", x, 3, "[B, T, K]")?;
        expect(
            name,
            "res",
            &ins[3],
            y.clone(),
            format_args!("x is {x:?} and w is {w:?}"),
        )?;
        expect(
            name,
            "gate",
            &ins[4],
            [y[0], n],
            format_args!("x is {x:?} and w is {w:?}"),
        )?;
    }
    Ok(y)
}

impl Sealed for Linear {}

impl Define for Linear {
    fn name(&self) -> &'static str {
        match self {
            Linear::Fwd {
                epilogue: Epilogue::None,
                ..
            } => "linear_fwd",
            Linear::Fwd {
                epilogue: Epilogue::Gelu,
                ..
            } => "linear_gelu",
            Linear::Fwd {
                epilogue: Epilogue::Gate,
                ..
            } => "linear_gate",
            Linear::BwdX { .. } => BWD_X,
            Linear::BwdW => "linear_bwd_w",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let name = Define::name(self);
        match self {
            Linear::Fwd { epilogue, save } => {
                let y = Type::f32(check_fwd(name, ins, *epilogue == Epilogue::Gate)?);
                Ok(vec![
                    y;
                    1 + usize::from(*save && *epilogue != Epilogue::None)
                ])
            }
            Linear::BwdX { mul } => {
                let (g, w) = (&ins[0], &ins[1]);
                crate::shape::expect_axes(name, "w", w, 2, "[out, in]")?;
                expect(
                    name,
                    "g",
                    g,
                    g.shape.with_last(w.shape[0]),
                    format_args!("w is {w:?}"),
                )?;
                let gx = Type::f32(g.shape.with_last(w.shape[1]));
                if *mul {
                    let made = format_args!("g is {g:?} and w is {w:?}");
                    expect(name, "factor", &ins[2], gx.shape.clone(), made)?;
                }
                Ok(vec![gx])
            }
            Linear::BwdW => {
                let (g, x) = (&ins[0], &ins[1]);
                expect(
                    name,
                    "x",
                    x,
                    g.shape.with_last(x.shape.last()),
                    format_args!("g is {g:?}"),
                )?;
                let (m, n, k) = (g.shape.rows(), g.shape.last(), x.shape.last());
                let mut outs = vec![Type::f32([n, k]), Type::f32([n])];
                let slices = m.div_ceil(slice_rows(m, n, k));
                if slices > 1 {
                    outs.extend([Type::f32([slices, n, k]), Type::f32([slices, n])]);
                }
                Ok(outs)
            }
        }
    }

    /// Not split for `[B, K]`, one row per sample: every block would have to read the whole weight.
    fn shared(&self, ins: &[Type]) -> Option<&'static [usize]> {
        match self {
            _ if ins[0].shape.len() < 3 => None,
            Linear::Fwd { .. } => Some(&[1, 2]),
            Linear::BwdX { .. } => Some(&[1]),
            Linear::BwdW => None,
        }
    }

    fn macs(&self, ins: &[Type]) -> u64 {
        // The rows of x or g times both sizes of the weight, in all three products.
        let other = match self {
            Linear::Fwd { .. } => ins[1].shape[0],
            Linear::BwdX { .. } => ins[1].shape[1],
            Linear::BwdW => ins[1].shape.last(),
        };
        (ins[0].shape.numel() * other) as u64
    }

    fn first_outputs(&self, n: usize) -> Option<Self> {
        match *self {
            Linear::Fwd { epilogue, .. } if n == 1 => Some(Linear::Fwd {
                epilogue,
                save: false,
            }),
            _ => None,
        }
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        match *self {
            Linear::Fwd { epilogue, save } => Ok(vec![launch_fwd(io, epilogue, save)]),
            Linear::BwdX { mul } => {
                let [n, k] = io.sizes(1);
                let m = io.numel(0) / n;
                let kernel = if mul {
                    variant(n, k, &LINEAR_BWD_X_MUL_64, &LINEAR_BWD_X_MUL_32)
                } else {
                    variant(n, k, &LINEAR_BWD_X_64, &LINEAR_BWD_X_32)
                };
                let dims = LinearDims { m, n, k };
                let launch = Launch::new(kernel, &dims, kernel.grid([k, m, 1]))
                    .input("g", 0)
                    .input("w", 1)
                    .output("gx", 0);
                Ok(vec![if mul {
                    launch.input("factor", 2)
                } else {
                    launch
                }])
            }
            Linear::BwdW => Ok(launch_bwd_w(io)),
        }
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        cpu::run(self, io);
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let Linear::Fwd { epilogue, .. } = self else {
            return no_gradient(self);
        };
        let Some(grad) = grads[0] else {
            return Ok(vec![None; g.node(node).ins.len()]);
        };
        let ins = g.node(node).ins.clone();
        let (x, w) = (ins[0], ins[1]);
        let (grad, mut rest) = match epilogue {
            Epilogue::None => (grad, vec![]),
            Epilogue::Gelu => {
                let slope = saved(g, node)?;
                (times(g, grad, slope)?, vec![])
            }
            Epilogue::Gate => {
                let (gbranch, ggate) = super::gate::gate_bwd(g, grad, saved(g, node)?, ins[4])?;
                (gbranch, vec![Some(grad), Some(ggate)])
            }
        };
        let gx = g.apply1(Linear::BwdX { mul: false }, &[grad, w])?;
        let gw = g.apply(Linear::BwdW, &[grad, x])?;
        let mut flows = vec![Some(gx), Some(g.var(gw, 0)), Some(g.var(gw, 1))];
        flows.append(&mut rest);
        Ok(flows)
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        match *self {
            Linear::Fwd { epilogue, save } => Some(in_primitives(g, ins, epilogue, save)),
            Linear::BwdX { .. } | Linear::BwdW => None,
        }
    }
}

const BWD_X: &str = "linear_bwd_x";

/// `grad · factor`. If `grad` is a product, the factor is fused into it: the original node is then unused, and the plan drops it.
fn times(g: &mut Graph, grad: Var, factor: Var) -> Result<Var> {
    let node = g.node(grad.node);
    match (&node.kind, &node.ins[..]) {
        (Kind::Op(op), &[grad, w]) if op.name() == BWD_X => {
            g.apply1(Linear::BwdX { mul: true }, &[grad, w, factor])
        }
        _ => pointwise::mul(g, grad, factor),
    }
}

/// The second output, which exists only on nodes with `save`.
fn saved(g: &Graph, node: NodeId) -> Result<Var> {
    if g.node(node).outs.len() < 2 {
        return Err(crate::Error::Shape(
            "a fused linear made without `save` has no gradient".into(),
        ));
    }
    Ok(g.var(node, 1))
}

/// The kernel for a weight `[N, K]`, or `[N, .., K]` of a convolution. It must not depend on the number of rows, so that a row's bits do not depend on its batch.
pub(super) fn variant(
    n: u32,
    k: u32,
    wide: &'static Kernel,
    any: &'static Kernel,
) -> &'static Kernel {
    let multiple = wide.constant("MULTIPLE").unwrap_or(1);
    if n.is_multiple_of(multiple) && k.is_multiple_of(multiple) {
        wide
    } else {
        any
    }
}

/// Rows of `g [M, N]` and `x [M, K]` that one workgroup accumulates into its tile of gw. A weight has few tiles and a batch has
/// many rows, so the rows are split into slices until there are enough workgroups for a large GPU.
pub(super) fn slice_rows(m: usize, n: usize, k: usize) -> usize {
    const ENOUGH_WORKGROUPS: usize = 256;
    // With shorter slices, adding them up costs more than the parallelism gains.
    const MIN_ROWS: usize = 256;
    let tile = LINEAR_BWD_W_64.tile[0] as usize;
    let slices = ENOUGH_WORKGROUPS
        .div_ceil(n.div_ceil(tile) * k.div_ceil(tile))
        .min(m.div_ceil(MIN_ROWS))
        .max(1);
    m.div_ceil(slices).max(1)
}

fn launch_fwd(io: &Io, epilogue: Epilogue, save: bool) -> Launch {
    let [n, k] = io.sizes(1);
    let m = io.numel(0) / k;
    let (wide, any) = match (epilogue, save) {
        (Epilogue::None, _) => (&LINEAR_FWD_64, &LINEAR_FWD_32),
        (Epilogue::Gelu, false) => (&LINEAR_GELU_64, &LINEAR_GELU_32),
        (Epilogue::Gelu, true) => (&LINEAR_GELU_SAVE_64, &LINEAR_GELU_SAVE_32),
        (Epilogue::Gate, false) => (&LINEAR_GATE_64, &LINEAR_GATE_32),
        (Epilogue::Gate, true) => (&LINEAR_GATE_SAVE_64, &LINEAR_GATE_SAVE_32),
    };
    let kernel = variant(n, k, wide, any);
    let grid = kernel.grid([n, m, 1]);
    let launch = if epilogue == Epilogue::Gate {
        let [_, tokens] = io.sizes(0);
        Launch::new(kernel, &LinearGateDims { m, n, k, tokens }, grid)
            .input("res", 3)
            .input("gate", 4)
    } else {
        Launch::new(kernel, &LinearDims { m, n, k }, grid)
    };
    let launch = launch
        .input("x", 0)
        .input("w", 1)
        .input("b", 2)
        .output("y", 0);
    match (epilogue, save) {
        (Epilogue::Gelu, true) => launch.output("slope", 1),
        (Epilogue::Gate, true) => launch.output("branch", 1),
        _ => launch,
    }
}

fn launch_bwd_w(io: &Io) -> Vec<Launch> {
    let (n, k) = (io.outs[0].shape[0], io.outs[0].shape[1]);
    let m = io.ins[0].shape.rows();
    let rows = slice_rows(m, n, k);
    let [m, n, k, slice_rows] = [m, n, k, rows].map(|size| size as u32);
    let slices = m.div_ceil(slice_rows);
    let kernel = variant(n, k, &LINEAR_BWD_W_64, &LINEAR_BWD_W_32);
    let dims = LinearSplitDims {
        m,
        n,
        k,
        slice_rows,
    };
    let products = Launch::new(kernel, &dims, kernel.grid([k, n, slices]))
        .input("g", 0)
        .input("x", 1);
    with_sums(products, [n, k, slices])
}

/// The launch of the products of each slice, and those that add the slices of gw `[N, K]` and gb `[N]`.
pub(super) fn with_sums(products: Launch, [n, k, slices]: [u32; 3]) -> Vec<Launch> {
    if slices == 1 {
        return vec![products.output("gw", 0).output("gb", 1)];
    }
    let sum = |n, part, sum| {
        let dims = LinearSumDims { n, slices };
        Launch::new(&LINEAR_BWD_SUM, &dims, LINEAR_BWD_SUM.grid_flat(n))
            .output("part", part)
            .output("sum", sum)
    };
    vec![
        products.output("gw", 2).output("gb", 3),
        sum(n * k, 2, 0),
        sum(n, 3, 1),
    ]
}

fn in_primitives(g: &mut Graph, ins: &[Var], epilogue: Epilogue, save: bool) -> Result<Vec<Var>> {
    let (x, w, b) = (ins[0], ins[1], ins[2]);
    let (n, k) = (g.shape(w)[0], g.shape(w)[1]);
    let shape = g.shape(x).with_last(n);
    let m = shape.numel() / n;
    let rows = g.reshape(x, [m, k])?;
    let product = matmul::matmul(g, rows, w, false, true)?;
    let bias = g.reshape(b, [1, n])?;
    let bias = reduce::broadcast(g, bias, [m, n])?;
    let sum = pointwise::add(g, product, bias)?;
    let sum = g.reshape(sum, shape.clone())?;
    let (y, saved) = match epilogue {
        Epilogue::None => return Ok(vec![sum]),
        Epilogue::Gelu => (pointwise::gelu(g, sum)?, pointwise::gelu_slope(g, sum)?),
        Epilogue::Gate => {
            let gate = reduce::over_tokens(g, ins[4], &shape)?;
            let gated = pointwise::mul(g, gate, sum)?;
            (pointwise::add(g, ins[3], gated)?, sum)
        }
    };
    Ok(if save { vec![y, saved] } else { vec![y] })
}
