//! Attention on the CPU, sample by sample.

use crate::graph::CpuIo;
use crate::num::panels::{product_of_rows, product_packed, product_to_panels};
use crate::num::par::{for_rows, rows_mut};
use crate::num::scratch::{IN_CACHE, with_scratch};
use crate::num::simd::dispatch;
use crate::num::{Mat, MatMut, NR, Packed, Real, slice};
use pulp::{Simd, WithSimd};

/// Sizes of one sample.
#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    width: usize,
    head_dim: usize,
}

impl Sizes {
    /// From the shape `[B, T, D]` of o.
    fn new(o: &[usize], n_heads: usize) -> Self {
        let &[_, tokens, width] = o else {
            unreachable!("checked by infer")
        };
        Sizes {
            tokens,
            width,
            head_dim: width / n_heads,
        }
    }

    fn scale<F: Real>(self) -> F {
        F::ONE / F::of(self.head_dim as f64).sqrt()
    }

    /// Offset of head `h` of row `row` in `[T, D]`.
    fn at(self, h: usize, row: usize) -> usize {
        row * self.width + h * self.head_dim
    }

    /// Offset of head `h` of row `row` in column block `part` (0 q, 1 k, 2 v) of `[T, 3D]`.
    fn part_at(self, part: usize, h: usize, row: usize) -> usize {
        (3 * row + part) * self.width + h * self.head_dim
    }

    /// Column block `part` of head `h` of qkv `[T, 3D]`.
    fn part<F>(self, qkv: &[F], part: usize, h: usize) -> Mat<'_, F> {
        let qkv = &qkv[self.part_at(part, h, 0)..];
        Mat::strided(qkv, self.tokens, self.head_dim, 3 * self.width)
    }

    /// Number of queries or keys whose scores stay in the first-level cache: whole panels, at least one.
    fn block(self) -> usize {
        const IN_FIRST_CACHE: usize = 1 << 13;
        let most = self.tokens.next_multiple_of(NR);
        (IN_FIRST_CACHE / self.tokens / NR * NR).clamp(NR, most)
    }

    /// Lengths of a packed `[hd, T]` and of a packed `[T, hd]`.
    fn packed<F: Real>(self) -> (usize, usize) {
        (
            Packed::<F>::len_of(self.head_dim, self.tokens),
            Packed::<F>::len_of(self.tokens, self.head_dim),
        )
    }
}

/// Splits the first `N` lengths off a scratch buffer.
#[inline(always)]
fn cut<const N: usize, F>(mut scratch: &mut [F], lens: [usize; N]) -> [&mut [F]; N] {
    lens.map(
        #[inline(always)]
        |len| {
            let (part, rest) = std::mem::take(&mut scratch).split_at_mut(len);
            scratch = rest;
            part
        },
    )
}

pub(super) fn fwd<F: Real>(io: CpuIo<'_, F>, n_heads: usize) {
    let sizes = Sizes::new(io.out_shape(0), n_heads);
    let len = sizes.tokens * sizes.width;
    let qkv = io.ins[0];
    let [o, lse, ..] = io.outs;
    let rows = (rows_mut(o, len), rows_mut(lse, n_heads * sizes.tokens));
    for_rows(rows, 1, |b, (o, lse)| {
        let qkv = &qkv[3 * b * len..][..3 * len];
        dispatch(Forward { sizes, qkv, o, lse });
    });
}

/// The forward of one sample: qkv `[T, 3D]` -> o `[T, D]`, lse `[H, T]`.
struct Forward<'a, F> {
    sizes: Sizes,
    qkv: &'a [F],
    o: &'a mut [F],
    lse: &'a mut [F],
}

impl<F: Real> WithSimd for Forward<'_, F> {
    type Output = ();

    /// Processes a block of queries at a time. Scores are stored as packed panels with one query per column: one product writes
    /// them that way, the next one reads them that way, and the softmax runs along whole vectors.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sizes, qkv, o, lse } = self;
        let (t, width, head_dim) = (sizes.tokens, sizes.width, sizes.head_dim);
        if qkv.len() <= IN_CACHE {
            slice::fetch(qkv);
        }
        let (wide, tall) = sizes.packed::<F>();
        let block = sizes.block();
        let lens = [wide, wide, tall, Packed::<F>::len_of(t, block), block];
        with_scratch(
            lens.iter().sum(),
            #[inline(always)]
            |scratch| {
                let [queries_t, keys_t, values, scores, totals] = cut(scratch, lens);
                for (h, lse) in lse.chunks_exact_mut(t).enumerate() {
                    let queries_t = Packed::new(sizes.part(qkv, 0, h).t(), queries_t);
                    let keys_t = Packed::new(sizes.part(qkv, 1, h).t(), keys_t);
                    let values = Packed::new(sizes.part(qkv, 2, h), values);
                    for (first, lse) in (0..t).step_by(block).zip(lse.chunks_mut(block)) {
                        let n = lse.len();
                        let queries_t = queries_t.cols(first, n);
                        let scores = product_to_panels(simd, scores, keys_t, queries_t);
                        let panels = lse.chunks_mut(NR).zip(totals.chunks_mut(NR));
                        for (scores, (lse, totals)) in scores.chunks_mut(t).zip(panels) {
                            let (sums, logs) = slice::exp_columns(scores, sizes.scale());
                            lse.copy_from_slice(&logs[..lse.len()]);
                            totals.copy_from_slice(&sums);
                        }
                        let o = &mut o[sizes.at(h, first)..];
                        let out = MatMut::strided(o, n, head_dim, width);
                        product_packed(simd, out, false, Packed::of(scores, t, n), values);
                        for (row, total) in totals[..n].iter().enumerate() {
                            let inverse = F::ONE / *total;
                            for o in &mut o[row * width..][..head_dim] {
                                *o *= inverse;
                            }
                        }
                    }
                }
            },
        );
    }
}

pub(super) fn bwd<F: Real>(io: CpuIo<'_, F>, n_heads: usize) {
    let sizes = Sizes::new(io.shape(1), n_heads);
    let (len, n_rows) = (sizes.tokens * sizes.width, n_heads * sizes.tokens);
    let [qkv, o, lse, g, ..] = io.ins;
    let [gqkv, delta, ..] = io.outs;
    let rows = (rows_mut(gqkv, 3 * len), rows_mut(delta, n_rows));
    for_rows(rows, 1, |b, (gqkv, delta)| {
        dispatch(Backward {
            sizes,
            qkv: &qkv[3 * b * len..][..3 * len],
            o: &o[b * len..][..len],
            lse: &lse[b * n_rows..][..n_rows],
            g: &g[b * len..][..len],
            gqkv,
            delta,
        });
    });
}

/// The backward of one sample: qkv `[T, 3D]`, o `[T, D]`, lse `[H, T]`, g `[T, D]` -> gqkv `[T, 3D]`, delta `[H, T]`.
struct Backward<'a, F> {
    sizes: Sizes,
    qkv: &'a [F],
    o: &'a [F],
    lse: &'a [F],
    g: &'a [F],
    gqkv: &'a mut [F],
    delta: &'a mut [F],
}

/// Maximum keys at a time: the gradients of their scores stay in the cache until they are multiplied by the keys.
const KEYS: usize = 128;

impl<F: Real> WithSimd for Backward<'_, F> {
    type Output = ();

    /// With `p = exp(s - lse)` and `delta = rows of g · o`: `gv = pᵀ g`, `gs = p (g vᵀ - delta) / √hd`, `gk = gsᵀ q`, `gq = gs k`.
    ///
    /// Processes a block of keys at a time; p and gs are stored as the packed operands of the products for gv, gk and gq.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            sizes,
            qkv,
            o,
            lse,
            g,
            gqkv,
            delta,
        } = self;
        let (t, width, head_dim) = (sizes.tokens, sizes.width, sizes.head_dim);
        if qkv.len() + g.len() + o.len() <= IN_CACHE {
            slice::fetch(qkv);
            slice::fetch(g);
            slice::fetch(o);
        }
        let scale = sizes.scale::<F>();
        let (wide, tall) = sizes.packed::<F>();
        let block = sizes.block().min(KEYS);
        let lens = [
            wide,
            wide,
            wide,
            wide,
            tall,
            tall,
            Packed::<F>::len_of(KEYS.min(t), head_dim),
            Packed::<F>::len_of(t, block),
            Packed::<F>::len_of(t, KEYS.min(t)),
        ];
        with_scratch(
            lens.iter().sum(),
            #[inline(always)]
            |scratch| {
                let [
                    queries_t,
                    keys_t,
                    values_t,
                    grads_t,
                    queries,
                    grads,
                    keys,
                    p,
                    gs,
                ] = cut(scratch, lens);
                let heads = lse.chunks_exact(t).zip(delta.chunks_exact_mut(t));
                for (h, (lse, delta)) in heads.enumerate() {
                    let part = |which| sizes.part(qkv, which, h);
                    let grad = Mat::strided(&g[sizes.at(h, 0)..], t, head_dim, width);
                    let queries_t = Packed::new(part(0).t(), queries_t);
                    let keys_t = Packed::new(part(1).t(), keys_t);
                    let values_t = Packed::new(part(2).t(), values_t);
                    let grads_t = Packed::new(grad.t(), grads_t);
                    let queries = Packed::new(part(0), queries);
                    let grads = Packed::new(grad, grads);
                    for (row, delta) in delta.iter_mut().enumerate() {
                        let at = sizes.at(h, row);
                        *delta = slice::sum_of(
                            [&g[at..][..head_dim], &o[at..][..head_dim]],
                            #[inline(always)]
                            |[g, o]| g * o,
                        );
                    }
                    for first in (0..t).step_by(KEYS) {
                        let n_keys = KEYS.min(t - first);
                        for begin in (0..n_keys).step_by(block) {
                            let n = block.min(n_keys - begin);
                            let at = first + begin;
                            let p = product_to_panels(simd, p, queries_t, keys_t.cols(at, n));
                            let gs = &mut gs[begin * t..];
                            let gs = product_to_panels(simd, gs, grads_t, values_t.cols(at, n));
                            for (p, gs) in p.chunks_mut(t).zip(gs.chunks_mut(t)) {
                                slice::softmax_rows_bwd(p, gs, scale, lse, delta);
                            }
                            for (part, a, b) in [(2, p, grads), (1, gs, queries)] {
                                let out = &mut gqkv[sizes.part_at(part, h, at)..];
                                let out = MatMut::strided(out, n, head_dim, 3 * width);
                                product_packed(simd, out, false, Packed::of(a, t, n), b);
                            }
                        }
                        let keys = Packed::new(part(1).rows(first, n_keys), keys);
                        let gs = &gs[..Packed::<F>::len_of(t, n_keys)];
                        let gs = Packed::of(gs.as_chunks().0, t, n_keys);
                        let out = &mut gqkv[sizes.part_at(0, h, 0)..];
                        let out = MatMut::strided(out, t, head_dim, 3 * width);
                        product_of_rows(simd, out, first > 0, gs, keys);
                    }
                }
            },
        );
    }
}
