//! Norm of the heads of queries and keys before their product.

mod cpu;

use super::adaln::{Norm, normalized};
use super::{Case, axes, pointwise, reduce};
use crate::error::{Error, Result};
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::Real;
use crate::shape::{Type, expect, expect_axes};
use sit_shaders::{QK_NORM_BWD_WEIGHT, QK_NORM_BWD_X, QK_NORM_FWD, QkNormDims};

#[derive(Clone, Copy, Debug, PartialEq)]
enum QkNorm {
    /// qkv `[B, T, 3·H·hd]`, weight, bias `[2, hd]` -> y `[B, T, 3·H·hd]`, stats `[B, T, 3·H, 2]` (as of `adaln`; 0 for v)
    Fwd { norm: Norm, eps: f32 },
    /// g, qkv `[B, T, 3·H·hd]`, stats `[B, T, 3·H, 2]`, weight `[2, hd]` -> gqkv, and for each sample gweight, gbias `[B, 2, hd]`
    Bwd { norm: Norm },
}

/// `norm(x) ⊙ weight + bias` for each head x of q and k in the packed rows `[q | k | v]`; v is copied. qkv `[B, T, 3·H·hd]`, weight
/// and bias `[2, hd]` with a row for q and one for k -> `[B, T, 3·H·hd]`. It bounds the scores of attention (ViT-22B, arXiv
/// 2302.05442, section 2). Saves the norm's statistics.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn qk_norm(
    g: &mut Graph,
    norm: Norm,
    eps: f32,
    qkv: Var,
    weight: Var,
    bias: Var,
) -> Result<Var> {
    let id = g.apply(QkNorm::Fwd { norm, eps }, &[qkv, weight, bias])?;
    Ok(g.var(id, 0))
}

impl QkNorm {
    fn norm(&self) -> Norm {
        let (QkNorm::Fwd { norm, .. } | QkNorm::Bwd { norm }) = *self;
        norm
    }

    /// Positions of qkv and weight among the inputs.
    fn places(&self) -> [usize; 2] {
        match self {
            QkNorm::Fwd { .. } => [0, 1],
            QkNorm::Bwd { .. } => [1, 3],
        }
    }
}

impl Sealed for QkNorm {}

impl Define for QkNorm {
    fn name(&self) -> &'static str {
        match self {
            QkNorm::Fwd { .. } => "qk_norm_fwd",
            QkNorm::Bwd { .. } => "qk_norm_bwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, [qkv, weight]) = (Define::name(self), self.places().map(|i| &ins[i]));
        expect_axes(name, "qkv", qkv, 3, "[B, T, 3·H·hd]")?;
        let (b, t, width) = (qkv.shape[0], qkv.shape[1], qkv.shape[2]);
        let head_dim = weight.shape.last();
        let affine = Type::f32([2, head_dim]);
        expect(
            name,
            "weight",
            weight,
            affine.shape.clone(),
            "q and k have a row each",
        )?;
        if head_dim == 0 || width % (3 * head_dim) != 0 {
            return Err(Error::Shape(format!(
                "{name}: qkv is {qkv:?}, expected a width divisible by 3 x {head_dim}, as weight is {weight:?}"
            )));
        }
        let stats = Type::f32([b, t, width / head_dim, 2]);
        let because = format_args!("qkv is {qkv:?}");
        match self {
            QkNorm::Fwd { .. } => {
                expect(name, "bias", &ins[2], affine.shape, because)?;
                Ok(vec![qkv.clone(), stats])
            }
            QkNorm::Bwd { .. } => {
                expect(name, "g", &ins[0], qkv.shape.clone(), because)?;
                expect(name, "stats", &ins[2], stats.shape, because)?;
                let of_samples = Type::f32([b, 2, head_dim]);
                Ok(vec![qkv.clone(), of_samples.clone(), of_samples])
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(match self {
            QkNorm::Fwd { .. } => &[1, 2],
            QkNorm::Bwd { .. } => &[3],
        })
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let [qkv, weight] = self.places();
        let [b, tokens, width] = io.sizes(qkv);
        let head_dim = io.ins[weight].shape.last() as u32;
        let rows = b * tokens * width / head_dim;
        let dims = |eps| QkNormDims {
            rows,
            n_heads: width / 3 / head_dim,
            head_dim,
            tokens,
            centered: u32::from(self.norm() == Norm::Layer),
            eps,
        };
        Ok(match *self {
            QkNorm::Fwd { eps, .. } => vec![
                Launch::new(&QK_NORM_FWD, &dims(eps), QK_NORM_FWD.grid_flat(rows))
                    .input("x", 0)
                    .input("weight", 1)
                    .input("bias", 2)
                    .output("y", 0)
                    .output("stats", 1),
            ],
            QkNorm::Bwd { .. } => vec![
                Launch::new(&QK_NORM_BWD_X, &dims(0.0), QK_NORM_BWD_X.grid_flat(rows))
                    .input("g", 0)
                    .input("x", 1)
                    .input("stats", 2)
                    .input("weight", 3)
                    .output("gx", 0),
                Launch::new(
                    &QK_NORM_BWD_WEIGHT,
                    &dims(0.0),
                    QK_NORM_BWD_WEIGHT.grid_flat(b * 2 * head_dim),
                )
                .input("g", 0)
                .input("x", 1)
                .input("stats", 2)
                .output("gweight", 1)
                .output("gbias", 2),
            ],
        })
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        match *self {
            QkNorm::Fwd { norm, eps } => cpu::fwd(io, norm, F::of(f64::from(eps))),
            QkNorm::Bwd { norm } => cpu::bwd(io, norm),
        }
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let (QkNorm::Fwd { norm, .. }, Some(grad)) = (*self, grads[0]) else {
            return no_gradient(self);
        };
        let ins = g.node(node).ins.clone();
        let stats = g.var(node, 1);
        let id = g.apply(QkNorm::Bwd { norm }, &[grad, ins[0], stats, ins[1]])?;
        let affine = g.shape(ins[1]).clone();
        let mut total = |out| {
            let of_samples = g.var(id, out);
            let sum = reduce::sum(g, of_samples, &[0])?;
            g.reshape(sum, affine.clone()).map(Some)
        };
        let (weight, bias) = (total(1)?, total(2)?);
        Ok(vec![Some(g.var(id, 0)), weight, bias])
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        match *self {
            QkNorm::Fwd { norm, eps } => Some(in_primitives(g, ins, norm, f64::from(eps))),
            QkNorm::Bwd { .. } => None,
        }
    }
}

fn in_primitives(g: &mut Graph, ins: &[Var], norm: Norm, eps: f64) -> Result<Vec<Var>> {
    let (qkv, weight, bias) = (ins[0], ins[1], ins[2]);
    let (b, t, width) = (g.shape(qkv)[0], g.shape(qkv)[1], g.shape(qkv)[2]);
    let head_dim = g.shape(weight).last();
    let n_heads = width / 3 / head_dim;
    let parts = g.reshape(qkv, [b, t, 3, n_heads, head_dim])?;
    let x = axes::slice(g, parts, 2, 0..2)?;
    let v = axes::slice(g, parts, 2, 2..3)?;
    let shape = g.shape(x).clone();
    let [mean, rstd, normal] = normalized(g, x, &[4], norm, eps)?;
    let mut over_heads = |x| {
        let x = g.reshape(x, [1, 1, 2, 1, head_dim])?;
        reduce::broadcast(g, x, shape.clone())
    };
    let (weight, bias) = (over_heads(weight)?, over_heads(bias)?);
    let scaled = pointwise::mul(g, normal, weight)?;
    let y = pointwise::add(g, scaled, bias)?;
    let y = axes::concat(g, &[y, v], 2)?;
    let y = g.reshape(y, [b, t, width])?;
    let of_v = g.constant(0.0, [b, t, 1, n_heads, 2]);
    let stats = axes::concat(g, &[mean, rstd], 4)?;
    let stats = axes::concat(g, &[stats, of_v], 2)?;
    let stats = g.reshape(stats, [b, t, 3 * n_heads, 2])?;
    Ok(vec![y, stats])
}

pub(super) fn cases() -> Vec<Case> {
    let case = |norm, b: usize, t: usize, n_heads: usize, head_dim: usize| {
        let (qkv, affine) = (
            Type::f32([b, t, 3 * n_heads * head_dim]),
            Type::f32([2, head_dim]),
        );
        Case::with_grad(
            QkNorm::Fwd { norm, eps: 1e-5 },
            &[qkv, affine.clone(), affine],
            &[0, 1, 2],
        )
    };
    vec![
        case(Norm::Rms, 1, 1, 1, 2),
        case(Norm::Rms, 2, 3, 2, 5),
        case(Norm::Rms, 2, 5, 3, 72),
        case(Norm::Layer, 1, 1, 1, 3),
        case(Norm::Layer, 3, 4, 2, 16),
    ]
}
