//! Multi-head self-attention on the packed projection `[q | k | v]`.

mod cpu;

use super::{Case, axes, matmul, pointwise, reduce};
use crate::error::{Error, Result};
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::Real;
use crate::shape::{Shape, Type, expect, expect_axes};
use sit_shaders::{
    ATTENTION_BWD_DELTA, ATTENTION_BWD_KV_32, ATTENTION_BWD_KV_64, ATTENTION_BWD_KV_80,
    ATTENTION_BWD_KV_128, ATTENTION_BWD_Q_32, ATTENTION_BWD_Q_64, ATTENTION_BWD_Q_80,
    ATTENTION_BWD_Q_128, ATTENTION_FWD_32, ATTENTION_FWD_64, ATTENTION_FWD_80, ATTENTION_FWD_128,
    AttentionDeltaDims, AttentionDims, Kernel,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attention {
    /// qkv `[B, T, 3D]` -> o `[B, T, D]`, lse `[B, H, T]` (log of the sum of exponentials of the scaled scores)
    Fwd { n_heads: usize },
    /// qkv `[B, T, 3D]`, o `[B, T, D]`, lse `[B, H, T]`, g `[B, T, D]` -> gqkv `[B, T, 3D]`, delta `[B, H, T]` (rows of g · o)
    Bwd { n_heads: usize },
}

/// `o = softmax(q kᵀ / √hd) v` for each of `n_heads` heads: qkv `[B, T, 3D]` with rows `[q | k | v]`, the heads contiguous in each,
/// -> `[B, T, D]` (timm `Attention`, no dropout, no qk-norm). Saves the log-sum-exp; the backward recomputes the scores.
/// # Errors
/// [`Error::Shape`] when 3·heads does not divide the width.
pub fn attention(g: &mut Graph, qkv: Var, n_heads: usize) -> Result<Var> {
    let id = g.apply(Attention::Fwd { n_heads }, &[qkv])?;
    Ok(g.var(id, 0))
}

/// Attention of tokens to others: q `[B, T, D]`, kv `[B, S, 2D]` with rows `[k | v]` -> `[B, T, D]`, in heads as by [`attention`]. It
/// is composed of primitives.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn cross_attention(g: &mut Graph, q: Var, kv: Var, n_heads: usize) -> Result<Var> {
    let (q_shape, kv_shape) = (g.shape(q).clone(), g.shape(kv).clone());
    let (&[b, t, d], &[_, s, width]) = (&q_shape[..], &kv_shape[..]) else {
        return Err(Error::Shape(format!(
            "cross_attention: q is {q_shape} and kv {kv_shape}, expected [B, T, D] and [B, S, 2D]"
        )));
    };
    if kv_shape[0] != b || width != 2 * d || n_heads == 0 || d % n_heads != 0 {
        return Err(Error::Shape(format!(
            "cross_attention: q is {q_shape} and kv {kv_shape}, expected [B, S, 2D] beside [B, T, D] with a width divisible by {n_heads} heads"
        )));
    }
    let head_dim = d / n_heads;
    let q = g.reshape(q, [b, t, n_heads, head_dim])?;
    let q = axes::permute(g, q, &[0, 2, 1, 3])?;
    let kv = g.reshape(kv, [b, s, 2, n_heads, head_dim])?;
    let kv = axes::permute(g, kv, &[2, 0, 3, 1, 4])?;
    let mut part = |i| {
        let part = axes::slice(g, kv, 0, i..i + 1)?;
        g.reshape(part, [b, n_heads, s, head_dim])
    };
    let (k, v) = (part(0)?, part(1)?);
    let (heads, _) = of_heads(g, q, k, v)?;
    let o = axes::permute(g, heads, &[0, 2, 1, 3])?;
    g.reshape(o, [b, t, d])
}

impl Attention {
    fn n_heads(&self) -> usize {
        let (Attention::Fwd { n_heads } | Attention::Bwd { n_heads }) = *self;
        n_heads
    }
}

impl Sealed for Attention {}

impl Define for Attention {
    fn name(&self) -> &'static str {
        match self {
            Attention::Fwd { .. } => "attention_fwd",
            Attention::Bwd { .. } => "attention_bwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, qkv, heads) = (Define::name(self), &ins[0], self.n_heads());
        expect_axes(name, "qkv", qkv, 3, "[B, T, 3D]")?;
        let (b, t, width) = (qkv.shape[0], qkv.shape[1], qkv.shape[2]);
        if heads == 0 || width % (3 * heads) != 0 {
            return Err(Error::Shape(format!(
                "{name}: qkv is {qkv:?}, expected a width divisible by 3 x {heads} heads"
            )));
        }
        let (o, lse) = (Shape::from([b, t, width / 3]), Shape::from([b, heads, t]));
        if let Attention::Fwd { .. } = self {
            return Ok(vec![Type::f32(o), Type::f32(lse)]);
        }
        expect(
            name,
            "o",
            &ins[1],
            o.clone(),
            format_args!("qkv is {qkv:?}"),
        )?;
        expect(
            name,
            "lse",
            &ins[2],
            lse.clone(),
            format_args!("qkv is {qkv:?} with {heads} heads"),
        )?;
        expect(name, "g", &ins[3], o, format_args!("qkv is {qkv:?}"))?;
        Ok(vec![qkv.clone(), Type::f32(lse)])
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn macs(&self, ins: &[Type]) -> u64 {
        let (b, t, d) = (ins[0].shape[0], ins[0].shape[1], ins[0].shape[2] / 3);
        let products = if matches!(self, Attention::Fwd { .. }) {
            2
        } else {
            5
        };
        (products * b * t * t * d) as u64
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let [b, tokens, width] = io.sizes(0);
        let n_heads = self.n_heads() as u32;
        let head_dim = width / 3 / n_heads;
        // The smallest variant that fits the head dimension.
        let variant = |kernels: [&'static Kernel; 4]| {
            let most = |kernel: &Kernel| kernel.constant("MAX_HEAD_DIM").unwrap_or(0);
            let holds = |kernel: &&Kernel| head_dim <= most(kernel);
            kernels.into_iter().find(holds).ok_or_else(|| {
                Error::Limit(format!(
                    "{}: heads of {head_dim} dimensions, kernels hold {}: use more heads or the CPU",
                    Define::name(self),
                    most(kernels[3])
                ))
            })
        };
        let dims = AttentionDims {
            tokens,
            n_heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
        };
        let launch =
            |kernel: &'static Kernel| Launch::new(kernel, &dims, kernel.grid([tokens, n_heads, b]));
        if let Attention::Fwd { .. } = self {
            let fwd = variant([
                &ATTENTION_FWD_32,
                &ATTENTION_FWD_64,
                &ATTENTION_FWD_80,
                &ATTENTION_FWD_128,
            ])?;
            return Ok(vec![
                launch(fwd).input("qkv", 0).output("o", 0).output("lse", 1),
            ]);
        }
        let n = b * tokens * n_heads;
        let delta_dims = AttentionDeltaDims {
            n,
            tokens,
            n_heads,
            head_dim,
        };
        let delta = Launch::new(
            &ATTENTION_BWD_DELTA,
            &delta_dims,
            ATTENTION_BWD_DELTA.grid_flat(n),
        );
        let bwd_q = variant([
            &ATTENTION_BWD_Q_32,
            &ATTENTION_BWD_Q_64,
            &ATTENTION_BWD_Q_80,
            &ATTENTION_BWD_Q_128,
        ])?;
        let bwd_kv = variant([
            &ATTENTION_BWD_KV_32,
            &ATTENTION_BWD_KV_64,
            &ATTENTION_BWD_KV_80,
            &ATTENTION_BWD_KV_128,
        ])?;
        let grads = |kernel| {
            launch(kernel)
                .input("qkv", 0)
                .input("g", 3)
                .input("lse", 2)
                .output("delta", 1)
                .output("gqkv", 0)
        };
        Ok(vec![
            delta.input("g", 3).input("o", 1).output("delta", 1),
            grads(bwd_q),
            grads(bwd_kv),
        ])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        match self {
            Attention::Fwd { n_heads } => cpu::fwd(io, *n_heads),
            Attention::Bwd { n_heads } => cpu::bwd(io, *n_heads),
        }
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let (Attention::Fwd { n_heads }, Some(grad)) = (*self, grads[0]) else {
            return no_gradient(self);
        };
        let qkv = g.node(node).ins[0];
        let (o, lse) = (g.var(node, 0), g.var(node, 1));
        Ok(vec![Some(g.apply1(
            Attention::Bwd { n_heads },
            &[qkv, o, lse, grad],
        )?)])
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        match *self {
            Attention::Fwd { n_heads } => Some(in_primitives(g, ins[0], n_heads)),
            Attention::Bwd { .. } => None,
        }
    }
}

/// With heads as an axis: `[B, T, 3D]` to q, k and v `[B, H, T, hd]`.
fn in_primitives(g: &mut Graph, qkv: Var, n_heads: usize) -> Result<Vec<Var>> {
    let (b, t, width) = (g.shape(qkv)[0], g.shape(qkv)[1], g.shape(qkv)[2] / 3);
    let head_dim = width / n_heads;
    let parts = g.reshape(qkv, [b, t, 3, n_heads, head_dim])?;
    let parts = axes::permute(g, parts, &[2, 0, 3, 1, 4])?;
    let mut part = |i| {
        let part = axes::slice(g, parts, 0, i..i + 1)?;
        g.reshape(part, [b, n_heads, t, head_dim])
    };
    let (q, k, v) = (part(0)?, part(1)?, part(2)?);
    let (heads, lse) = of_heads(g, q, k, v)?;
    let o = axes::permute(g, heads, &[0, 2, 1, 3])?;
    let o = g.reshape(o, [b, t, width])?;
    let lse = g.reshape(lse, [b, n_heads, t])?;
    Ok(vec![o, lse])
}

/// `softmax(q kᵀ / √hd) v` of each head, in primitives: q `[B, H, T, hd]`, k and v `[B, H, S, hd]` -> `[B, H, T, hd]`, and the
/// log-sum-exp `[B, H, T, 1]`. The scores `[B, H, T, S]` are materialized.
fn of_heads(g: &mut Graph, q: Var, k: Var, v: Var) -> Result<(Var, Var)> {
    let out = g.shape(q).clone();
    let scores = matmul::matmul(g, q, k, false, true)?;
    let shape = g.shape(scores).clone();
    let scores = pointwise::scale(g, scores, 1.0 / (out.last() as f64).sqrt())?;
    // Subtracting any constant gives the same softmax, so no gradient needs to flow through the maximum.
    let most = reduce::max(g, scores, &[3])?;
    let most = g.stop_gradient(most);
    let all = reduce::broadcast(g, most, shape)?;
    let below = pointwise::sub(g, scores, all)?;
    let weights = pointwise::exp(g, below)?;
    let total = reduce::sum(g, weights, &[3])?;
    let sums = matmul::matmul(g, weights, v, false, false)?;
    let totals = reduce::broadcast(g, total, out)?;
    let heads = pointwise::div(g, sums, totals)?;
    let log = pointwise::ln(g, total)?;
    Ok((heads, pointwise::add(g, most, log)?))
}

pub(super) fn cases() -> Vec<Case> {
    let case = |b, t, heads, head_dim| {
        Case::with_grad(
            Attention::Fwd { n_heads: heads },
            &[Type::f32([b, t, 3 * heads * head_dim])],
            &[0],
        )
    };
    vec![
        case(1, 1, 1, 1),
        case(2, 3, 2, 5),
        case(1, 17, 3, 16),
        case(2, 64, 2, 24),
        case(1, 65, 2, 40),
        case(1, 70, 1, 72),
        case(1, 34, 1, 128),
        // More keys than fit a block.
        case(1, 150, 1, 8),
    ]
}
