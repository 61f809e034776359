//! Multi-head self-attention on the packed product `[q | k | v]`.

use super::Case;
use crate::error::{Error, Result};
use crate::graph::{CpuIo, Define, Graph, Io, Launch, NodeId, Var, op::no_gradient};
use crate::num::gemm::with_scratch;
use crate::num::par::{for_rows, rows_mut};
use crate::num::{Mat, MatMut, Real, Store, gemm, slice};
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
/// -> `[B, T, D]` (timm `Attention`, no dropout, no qk-norm). Saves log-sum-exp; the backward computes the scores again.
///
/// # Errors
/// [`Error::Shape`] when 3·heads does not divide the width.
pub fn attention(g: &mut Graph, qkv: Var, n_heads: usize) -> Result<Var> {
    let id = g.apply(Attention::Fwd { n_heads }, &[qkv])?;
    Ok(g.var(id, 0))
}

impl Attention {
    fn n_heads(&self) -> usize {
        let (Attention::Fwd { n_heads } | Attention::Bwd { n_heads }) = *self;
        n_heads
    }
}

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
        // The smallest variant that holds the head.
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
            Attention::Fwd { n_heads } => fwd(io, *n_heads),
            Attention::Bwd { n_heads } => bwd(io, *n_heads),
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
}

/// Column block `part` (0 q, 1 k, 2 v) of head `h` in the rows `[T, 3D]` of one sample.
fn part<F>(qkv: &[F], part: usize, h: usize, t: usize, d: usize, head_dim: usize) -> Mat<'_, F> {
    Mat::strided(&qkv[part * d + h * head_dim..], t, head_dim, 3 * d)
}

fn part_mut<F>(
    qkv: &mut [F],
    part: usize,
    h: usize,
    t: usize,
    d: usize,
    head_dim: usize,
) -> MatMut<'_, F> {
    MatMut::strided(&mut qkv[part * d + h * head_dim..], t, head_dim, 3 * d)
}

fn fwd<F: Real>(io: CpuIo<'_, F>, n_heads: usize) {
    let &[_, t, d] = io.out_shape(0) else {
        unreachable!("checked by infer")
    };
    let head_dim = d / n_heads;
    let scale = F::ONE / F::of(head_dim as f64).sqrt();
    let qkv = io.ins[0];
    let [o, lse, ..] = io.outs;
    for_rows(
        (rows_mut(o, t * d), rows_mut(lse, n_heads * t)),
        1,
        |first, (o, lse)| {
            for (i, (o, lse)) in o
                .chunks_exact_mut(t * d)
                .zip(lse.chunks_exact_mut(n_heads * t))
                .enumerate()
            {
                let qkv = &qkv[(first + i) * t * 3 * d..][..t * 3 * d];
                let part = |which, h| part(qkv, which, h, t, d, head_dim);
                with_scratch(t * t, |scores| {
                    for (h, lse) in lse.chunks_exact_mut(t).enumerate() {
                        gemm(
                            MatMut::new(scores, t, t),
                            Store::Set,
                            F::ONE,
                            part(0, h),
                            part(1, h).t(),
                            |_, _| (),
                        );
                        for (row, lse) in scores.chunks_exact_mut(t).zip(lse) {
                            *lse = slice::softmax(row, scale);
                        }
                        let o = MatMut::strided(&mut o[h * head_dim..], t, head_dim, d);
                        gemm(
                            o,
                            Store::Set,
                            F::ONE,
                            Mat::new(scores, t, t),
                            part(2, h),
                            |_, _| (),
                        );
                    }
                });
            }
        },
    );
}

/// With `p = exp(s - lse)` and `delta = rows of g · o`: `gv = pᵀ g`, `gs = p (g vᵀ - delta) / √hd`, `gq = gs k`, `gk = gsᵀ q`.
fn bwd<F: Real>(io: CpuIo<'_, F>, n_heads: usize) {
    let &[_, t, d] = io.shape(1) else {
        unreachable!("checked by infer")
    };
    let head_dim = d / n_heads;
    let scale = F::ONE / F::of(head_dim as f64).sqrt();
    let [qkv, o, lse, g, ..] = io.ins;
    let [gqkv, delta, ..] = io.outs;
    for_rows(
        (rows_mut(gqkv, t * 3 * d), rows_mut(delta, n_heads * t)),
        1,
        |first, (gqkv, delta)| {
            for (i, (gqkv, delta)) in gqkv
                .chunks_exact_mut(t * 3 * d)
                .zip(delta.chunks_exact_mut(n_heads * t))
                .enumerate()
            {
                let b = first + i;
                let qkv = &qkv[b * t * 3 * d..][..t * 3 * d];
                let (g, o) = (&g[b * t * d..][..t * d], &o[b * t * d..][..t * d]);
                let part = |which, h| part(qkv, which, h, t, d, head_dim);
                with_scratch(2 * t * t, |scratch| {
                    let (p, gs) = scratch.split_at_mut(t * t);
                    for (h, delta) in delta.chunks_exact_mut(t).enumerate() {
                        let lse = &lse[(b * n_heads + h) * t..][..t];
                        let head = h * head_dim..(h + 1) * head_dim;
                        for (row, delta) in delta.iter_mut().enumerate() {
                            *delta = slice::dot(
                                &g[row * d..][head.clone()],
                                &o[row * d..][head.clone()],
                            );
                        }
                        let g = Mat::strided(&g[h * head_dim..], t, head_dim, d);
                        gemm(
                            MatMut::new(p, t, t),
                            Store::Set,
                            scale,
                            part(0, h),
                            part(1, h).t(),
                            |row, p| {
                                let lse = lse[row];
                                slice::map_in_place(
                                    p,
                                    #[inline(always)]
                                    |s| (s - lse).exp(),
                                );
                            },
                        );
                        gemm(
                            MatMut::new(gs, t, t),
                            Store::Set,
                            F::ONE,
                            g,
                            part(2, h).t(),
                            |row, gs| {
                                let delta = delta[row];
                                let p = &p[row * t..][..t];
                                gs.iter_mut()
                                    .zip(p)
                                    .for_each(|(gs, &p)| *gs = p * (*gs - delta) * scale);
                            },
                        );
                        let (p, gs) = (Mat::new(p, t, t), Mat::new(gs, t, t));
                        gemm(
                            part_mut(gqkv, 0, h, t, d, head_dim),
                            Store::Set,
                            F::ONE,
                            gs,
                            part(1, h),
                            |_, _| (),
                        );
                        gemm(
                            part_mut(gqkv, 1, h, t, d, head_dim),
                            Store::Set,
                            F::ONE,
                            gs.t(),
                            part(0, h),
                            |_, _| (),
                        );
                        gemm(
                            part_mut(gqkv, 2, h, t, d, head_dim),
                            Store::Set,
                            F::ONE,
                            p.t(),
                            g,
                            |_, _| (),
                        );
                    }
                });
            }
        },
    );
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
    ]
}
