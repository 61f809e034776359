//! Multi-head self-attention on the packed product `[q | k | v]`.

use super::Case;
use crate::error::{Error, Result};
use crate::graph::{CpuIo, Define, Graph, Io, Launch, NodeId, Var, op::no_gradient};
use crate::num::par::{for_rows, rows_mut};
use crate::num::scratch::with_scratch;
use crate::num::simd::vectorize;
use crate::num::{Mat, MatMut, Packed, Real, Store, gemm_serial, slice};
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

/// Queries that are worked on at once: their scores stay in the cache.
const ROWS: usize = 64;

/// Cuts `n` lengths off a scratch buffer.
fn cut<const N: usize, F>(mut scratch: &mut [F], lens: [usize; N]) -> [&mut [F]; N] {
    lens.map(|len| {
        let (part, rest) = std::mem::take(&mut scratch).split_at_mut(len);
        scratch = rest;
        part
    })
}

fn fwd<F: Real>(io: CpuIo<'_, F>, n_heads: usize) {
    let &[_, t, d] = io.out_shape(0) else {
        unreachable!("checked by infer")
    };
    let head_dim = d / n_heads;
    let scale = F::ONE / F::of(head_dim as f64).sqrt();
    let qkv = io.ins[0];
    let [o, lse, ..] = io.outs;
    let lens = [
        Packed::<F>::len_of(head_dim, t),
        Packed::<F>::len_of(t, head_dim),
        ROWS.min(t) * t,
        ROWS,
    ];
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
                with_scratch(lens.iter().sum(), |scratch| {
                    let [keys, values, scores, totals] = cut(scratch, lens);
                    for (h, lse) in lse.chunks_exact_mut(t).enumerate() {
                        let part = |which| part(qkv, which, h, t, d, head_dim);
                        let keys = Packed::new(part(1).t(), keys);
                        let values = Packed::new(part(2), values);
                        for (block, lse) in lse.chunks_mut(ROWS).enumerate() {
                            let (row, n) = (block * ROWS, lse.len());
                            let scores = &mut scores[..n * t];
                            gemm_serial(
                                MatMut::new(scores, n, t),
                                Store::Set,
                                F::ONE,
                                part(0).rows(row, n),
                                keys,
                                |_, _, _| (),
                            );
                            let totals = &mut totals[..n];
                            slice::exp_rows(scores, scale, totals, lse);
                            gemm_serial(
                                MatMut::strided(&mut o[row * d + h * head_dim..], n, head_dim, d),
                                Store::Set,
                                F::ONE,
                                Mat::new(scores, n, t),
                                values,
                                #[inline(always)]
                                |row, _, o| {
                                    let inverse = F::ONE / totals[row];
                                    for o in o {
                                        *o *= inverse;
                                    }
                                },
                            );
                        }
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
    let (wide, tall, block) = (
        Packed::<F>::len_of(head_dim, t),
        Packed::<F>::len_of(t, head_dim),
        Packed::<F>::len_of(ROWS.min(t), head_dim),
    );
    let n_scores = ROWS.min(t) * t;
    let lens = [wide, wide, tall, block, block, n_scores, n_scores];
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
                with_scratch(lens.iter().sum(), |scratch| {
                    let [keys_t, values_t, keys, queries, gs_o, p, gs] = cut(scratch, lens);
                    for (h, delta) in delta.chunks_exact_mut(t).enumerate() {
                        let part = |which| part(qkv, which, h, t, d, head_dim);
                        let grad = Mat::strided(&g[h * head_dim..], t, head_dim, d);
                        let keys_t = Packed::new(part(1).t(), keys_t);
                        let values_t = Packed::new(part(2).t(), values_t);
                        let keys = Packed::new(part(1), keys);
                        vectorize(
                            #[inline(always)]
                            || {
                                for (row, delta) in delta.iter_mut().enumerate() {
                                    let at = row * d + h * head_dim;
                                    *delta = slice::sum_of(
                                        [&g[at..][..head_dim], &o[at..][..head_dim]],
                                        #[inline(always)]
                                        |[g, o]| g * o,
                                    );
                                }
                            },
                        );
                        for (block, delta) in delta.chunks(ROWS).enumerate() {
                            let (row, n) = (block * ROWS, delta.len());
                            let lse = &lse[(b * n_heads + h) * t + row..][..n];
                            let (p, gs) = (&mut p[..n * t], &mut gs[..n * t]);
                            gemm_serial(
                                MatMut::new(p, n, t),
                                Store::Set,
                                scale,
                                part(0).rows(row, n),
                                keys_t,
                                #[inline(always)]
                                |row, _, s| {
                                    let lse = lse[row];
                                    for s in s {
                                        *s -= lse;
                                    }
                                },
                            );
                            slice::map_in_place(
                                p,
                                #[inline(always)]
                                |s| s.exp(),
                            );
                            gemm_serial(
                                MatMut::new(gs, n, t),
                                Store::Set,
                                F::ONE,
                                grad.rows(row, n),
                                values_t,
                                #[inline(always)]
                                |row, col, gs| {
                                    let delta = delta[row];
                                    let p = &p[row * t + col..][..gs.len()];
                                    for (gs, &p) in gs.iter_mut().zip(p) {
                                        *gs = p * (*gs - delta) * scale;
                                    }
                                },
                            );
                            let (p, gs) = (Mat::new(p, n, t), Mat::new(gs, n, t));
                            let place =
                                |which: usize, row: usize| row * 3 * d + which * d + h * head_dim;
                            gemm_serial(
                                MatMut::strided(&mut gqkv[place(0, row)..], n, head_dim, 3 * d),
                                Store::Set,
                                F::ONE,
                                gs,
                                keys,
                                |_, _, _| (),
                            );
                            let store = if block == 0 { Store::Set } else { Store::Add };
                            let rows = [
                                (1, gs, Packed::new(part(0).rows(row, n), queries)),
                                (2, p, Packed::new(grad.rows(row, n), gs_o)),
                            ];
                            for (which, a, b) in rows {
                                gemm_serial(
                                    MatMut::strided(
                                        &mut gqkv[place(which, 0)..],
                                        t,
                                        head_dim,
                                        3 * d,
                                    ),
                                    store,
                                    F::ONE,
                                    a.t(),
                                    b,
                                    |_, _, _| (),
                                );
                            }
                        }
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
