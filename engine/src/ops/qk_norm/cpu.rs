//! The norm of heads on the CPU.

use crate::graph::CpuIo;
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::simd::vectorize;
use crate::num::{Real, slice};
use crate::ops::adaln::Norm;

/// Sizes of packed rows.
#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    width: usize,
    head_dim: usize,
    n_heads: usize,
}

impl Sizes {
    fn new(qkv: &[usize], head_dim: usize) -> Sizes {
        let &[_, tokens, width] = qkv else {
            unreachable!("checked by infer")
        };
        Sizes {
            tokens,
            width,
            head_dim,
            n_heads: width / 3 / head_dim,
        }
    }

    /// Heads of a token.
    fn heads(&self) -> usize {
        3 * self.n_heads
    }
}

/// The sum of a head's values.
#[inline(always)]
fn sum<F: Real>(x: &[F]) -> F {
    slice::sum_of(
        [x],
        #[inline(always)]
        |[x]| x,
    )
}

pub(super) fn fwd<F: Real>(io: CpuIo<'_, F>, norm: Norm, eps: F) {
    let sizes = Sizes::new(io.shape(0), io.in_types[1].shape.last());
    let (hd, n) = (sizes.head_dim, F::of(sizes.head_dim as f64));
    let [x, weight, bias, ..] = io.ins;
    let [y, stats, ..] = io.outs;
    let row_stats = 2 * sizes.heads();
    for_rows(
        (rows_mut(y, sizes.width), rows_mut(stats, row_stats)),
        grain(sizes.width),
        |first, (y, stats)| {
            vectorize(
                #[inline(always)]
                || {
                    let x = &x[first * sizes.width..][..y.len()];
                    let heads = y.chunks_exact_mut(hd).zip(x.chunks_exact(hd));
                    let heads = heads.zip(stats.as_chunks_mut::<2>().0).enumerate();
                    for (head, ((y, x), stats)) in heads {
                        let part = head % sizes.heads() / sizes.n_heads;
                        if part == 2 {
                            *stats = [F::ZERO; 2];
                            y.copy_from_slice(x);
                            continue;
                        }
                        let mean = match norm {
                            Norm::Layer => sum(x) / n,
                            Norm::Rms => F::ZERO,
                        };
                        let squares = slice::sum_of(
                            [x],
                            #[inline(always)]
                            |[x]| (x - mean) * (x - mean),
                        );
                        let rstd = F::ONE / (squares / n + eps).sqrt();
                        *stats = [mean, rstd];
                        let (weight, bias) = (&weight[part * hd..][..hd], &bias[part * hd..][..hd]);
                        for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                            *y = (x - mean) * rstd * w + b;
                        }
                    }
                },
            );
        },
    );
}

/// With `x̂ = (x - mean) rstd` and `h = g weight`: `gx = rstd (h - mean(h) - x̂ mean(h x̂))`, `gweight = Σ g x̂`, `gbias = Σ g` over a
/// sample's tokens and heads; for the RMS norm without the two means that center.
pub(super) fn bwd<F: Real>(io: CpuIo<'_, F>, norm: Norm) {
    let sizes = Sizes::new(io.shape(1), io.in_types[3].shape.last());
    let (hd, n) = (sizes.head_dim, F::of(sizes.head_dim as f64));
    let [g, x, stats, weight, ..] = io.ins;
    let [gx, gweight, gbias, ..] = io.outs;
    let sample = sizes.tokens * sizes.width;
    for_rows(
        (
            rows_mut(gx, sample),
            rows_mut(gweight, 2 * hd),
            rows_mut(gbias, 2 * hd),
        ),
        1,
        |b, (gx, gweight, gbias)| {
            let (g, x) = (&g[b * sample..][..sample], &x[b * sample..][..sample]);
            let stats = &stats[2 * b * sample / hd..];
            gweight.fill(F::ZERO);
            gbias.fill(F::ZERO);
            vectorize(
                #[inline(always)]
                || {
                    let ins = g.chunks_exact(hd).zip(x.chunks_exact(hd));
                    let heads = gx.chunks_exact_mut(hd).zip(ins);
                    let heads = heads.zip(stats.as_chunks::<2>().0).enumerate();
                    for (head, ((gx, (g, x)), &[mean, rstd])) in heads {
                        let part = head % sizes.heads() / sizes.n_heads;
                        if part == 2 {
                            gx.copy_from_slice(g);
                            continue;
                        }
                        let of_part = part * hd..(part + 1) * hd;
                        let weight = &weight[of_part.clone()];
                        let (gweight, gbias) = (&mut gweight[of_part.clone()], &mut gbias[of_part]);
                        // Equal lengths let the compiler drop the bounds checks.
                        let (g, x, gx) = (&g[..hd], &x[..hd], &mut gx[..hd]);
                        for j in 0..hd {
                            gweight[j] += g[j] * ((x[j] - mean) * rstd);
                            gbias[j] += g[j];
                            gx[j] = g[j] * weight[j];
                        }
                        let h = match norm {
                            Norm::Layer => sum(gx) / n,
                            Norm::Rms => F::ZERO,
                        };
                        let hx = slice::sum_of(
                            [gx, x],
                            #[inline(always)]
                            |[h, x]| h * (x - mean),
                        ) * rstd
                            / n;
                        for (gx, &x) in gx.iter_mut().zip(x) {
                            *gx = rstd * (*gx - h - (x - mean) * rstd * hx);
                        }
                    }
                },
            );
        },
    );
}
