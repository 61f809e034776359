//! The group norm on the CPU.

use crate::graph::CpuIo;
use crate::num::par::{for_rows, rows_mut};
use crate::num::scratch::with_scratch;
use crate::num::simd::vectorize;
use crate::num::{Real, slice};

/// Pixels that are summed before they are added to the total.
const ROWS: usize = 8;

/// The sums over the pixels of a sample of `term(values, channel)`, with the values of each of the inputs `[pixels, C]`.
#[inline(always)]
fn sum_pixels<F: Real, const N: usize>(
    sums: &mut [F],
    ins: [&[F]; N],
    term: impl Fn([F; N], usize) -> F,
) {
    let c = sums.len();
    sums.fill(F::ZERO);
    let whole = ins[0].len() / (ROWS * c) * ROWS * c;
    for first in (0..whole).step_by(ROWS * c) {
        let rows: [[&[F]; N]; ROWS] = std::array::from_fn(
            #[inline(always)]
            |row| ins.map(|x| &x[first + row * c..][..c]),
        );
        for (j, sum) in sums.iter_mut().enumerate() {
            let t = rows.map(
                #[inline(always)]
                |row| {
                    let values = row.map(
                        #[inline(always)]
                        |x| x[j],
                    );
                    term(values, j)
                },
            );
            *sum += ((t[0] + t[1]) + (t[2] + t[3])) + ((t[4] + t[5]) + (t[6] + t[7]));
        }
    }
    for first in (whole..ins[0].len()).step_by(c) {
        let row = ins.map(|x| &x[first..][..c]);
        for (j, sum) in sums.iter_mut().enumerate() {
            let values = row.map(
                #[inline(always)]
                |x| x[j],
            );
            *sum += term(values, j);
        }
    }
}

/// Applies `f(y, x, channel)` to every value of `y` with the same one of x, `[pixels, C]`.
#[inline(always)]
fn for_pixels<F: Real>(y: &mut [F], x: &[F], c: usize, f: impl Fn(&mut F, F, usize)) {
    for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
        for (j, (y, &x)) in y.iter_mut().zip(x).enumerate() {
            f(y, x, j);
        }
    }
}

/// Replaces the values of the channels by `f` of the sum over their group.
#[inline(always)]
fn over_groups<F: Real>(channels: &mut [F], groups: usize, f: impl Fn(F) -> F) {
    for group in channels.chunks_exact_mut(channels.len() / groups) {
        let sum: F = group.iter().copied().sum();
        group.fill(f(sum));
    }
}

pub(super) fn fwd<F: Real>(io: CpuIo<'_, F>, groups: usize, eps: F, silu: bool) {
    let (batch, c) = (io.shape(0)[0], io.in_types[0].shape.last());
    let [x, factor, shift, ..] = io.ins;
    let [y, stats, ..] = io.outs;
    let len = x.len() / batch.max(1);
    let n = F::of((len / groups) as f64);
    let samples = (rows_mut(y, len), rows_mut(stats, 2 * groups));
    for_rows(samples, 1, |first, (y, stats)| {
        let samples = y
            .chunks_exact_mut(len)
            .zip(stats.chunks_exact_mut(2 * groups));
        for (sample, (y, stats)) in (first..).zip(samples) {
            let x = &x[sample * len..][..len];
            let (factor, shift) = (&factor[sample * c..][..c], &shift[sample * c..][..c]);
            with_scratch(2 * c, |scratch| {
                let (mean, scale) = scratch.split_at_mut(c);
                vectorize(
                    #[inline(always)]
                    || {
                        sum_pixels(
                            mean,
                            [x],
                            #[inline(always)]
                            |[x], _| x,
                        );
                        over_groups(
                            mean,
                            groups,
                            #[inline(always)]
                            |sum| sum / n,
                        );
                        let (mean, scale) = (&mean[..c], &mut scale[..c]);
                        sum_pixels(
                            scale,
                            [x],
                            #[inline(always)]
                            |[x], j| (x - mean[j]) * (x - mean[j]),
                        );
                        over_groups(
                            scale,
                            groups,
                            #[inline(always)]
                            |sum| F::ONE / (sum / n + eps).sqrt(),
                        );
                        for (group, stats) in stats.chunks_exact_mut(2).enumerate() {
                            let at = group * (c / groups);
                            stats.copy_from_slice(&[mean[at], scale[at]]);
                        }
                        for (scale, &factor) in scale.iter_mut().zip(factor) {
                            *scale *= factor;
                        }
                        let scale = &scale[..c];
                        if silu {
                            for_pixels(
                                y,
                                x,
                                c,
                                #[inline(always)]
                                |y, x, j| {
                                    *y = slice::silu((x - mean[j]) * scale[j] + shift[j]);
                                },
                            );
                        } else {
                            for_pixels(
                                y,
                                x,
                                c,
                                #[inline(always)]
                                |y, x, j| {
                                    *y = (x - mean[j]) * scale[j] + shift[j];
                                },
                            );
                        }
                    },
                );
            });
        }
    });
}

/// With `x̂ = (x - mean) rstd`, the gradient g of u and `h = g factor`: `gx = rstd (h - mean(h) - x̂ mean(h x̂))` with means over the
/// group, `gshift = Σ g`, `gfactor = Σ g x̂`. So the means over a group follow from the sums of its channels.
pub(super) fn bwd<F: Real>(io: CpuIo<'_, F>, groups: usize, silu: bool) {
    let (batch, c) = (io.shape(1)[0], io.in_types[1].shape.last());
    let [g, x, stats, factor, shift, ..] = io.ins;
    let [gx, gfactor, gshift, ..] = io.outs;
    let len = x.len() / batch.max(1);
    let n = F::of((len / groups) as f64);
    let samples = (rows_mut(gx, len), rows_mut(gfactor, c), rows_mut(gshift, c));
    for_rows(samples, 1, |first, (gx, gfactor, gshift)| {
        let sums = gfactor.chunks_exact_mut(c).zip(gshift.chunks_exact_mut(c));
        let samples = gx.chunks_exact_mut(len).zip(sums);
        for (sample, (gx, (gfactor, gshift))) in (first..).zip(samples) {
            let (g, x) = (&g[sample * len..][..len], &x[sample * len..][..len]);
            let stats = &stats[2 * sample * groups..][..2 * groups];
            let (factor, shift) = (&factor[sample * c..][..c], &shift[sample * c..][..c]);
            with_scratch(5 * c, |scratch| {
                let (mean, rest) = scratch.split_at_mut(c);
                let (rstd, rest) = rest.split_at_mut(c);
                let (scale, rest) = rest.split_at_mut(c);
                let (of_h, of_hx) = rest.split_at_mut(c);
                vectorize(
                    #[inline(always)]
                    || {
                        let of_group =
                            |channel: usize, i: usize| stats[2 * (channel / (c / groups)) + i];
                        for j in 0..c {
                            (mean[j], rstd[j]) = (of_group(j, 0), of_group(j, 1));
                            scale[j] = rstd[j] * factor[j];
                        }
                        let (mean, scale, shift) = (&mean[..c], &scale[..c], &shift[..c]);
                        gx.copy_from_slice(g);
                        if silu {
                            for_pixels(
                                gx,
                                x,
                                c,
                                #[inline(always)]
                                |g, x, j| {
                                    *g *= slice::silu_grad((x - mean[j]) * scale[j] + shift[j]);
                                },
                            );
                        }
                        sum_pixels(
                            gshift,
                            [gx],
                            #[inline(always)]
                            |[g], _| g,
                        );
                        sum_pixels(
                            gfactor,
                            [gx, x],
                            #[inline(always)]
                            |[g, x], j| g * (x - mean[j]),
                        );
                        for j in 0..c {
                            gfactor[j] *= rstd[j];
                            of_h[j] = factor[j] * gshift[j];
                            of_hx[j] = factor[j] * gfactor[j];
                        }
                        over_groups(
                            of_h,
                            groups,
                            #[inline(always)]
                            |sum| sum / n,
                        );
                        over_groups(
                            of_hx,
                            groups,
                            #[inline(always)]
                            |sum| sum / n,
                        );
                        for j in 0..c {
                            of_h[j] *= rstd[j];
                            of_hx[j] *= rstd[j] * rstd[j];
                        }
                        let (of_h, of_hx) = (&of_h[..c], &of_hx[..c]);
                        for_pixels(
                            gx,
                            x,
                            c,
                            #[inline(always)]
                            |g, x, j| {
                                *g = *g * scale[j] - of_h[j] - (x - mean[j]) * of_hx[j];
                            },
                        );
                    },
                );
            });
        }
    });
}
