//! Adaptive norm: layer norm or RMS norm without affine parameters, then a shift and a scale per sample.

use super::{Case, axes, pointwise, reduce};
use crate::error::Result;
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::simd::vectorize;
use crate::num::{Real, slice};
use crate::shape::{Type, expect, expect_axes};
use serde::{Deserialize, Serialize};
use sit_shaders::{ADALN_BWD_MOD, ADALN_BWD_X, ADALN_FWD, AdalnDims};

/// How a token's values are normalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Layer norm (Ba et al. 2016): `(x - mean) / sqrt(var + eps)` with the biased variance.
    #[default]
    Layer,
    /// RMS norm (Zhang and Sennrich 2019): `x / sqrt(mean(x²) + eps)`.
    Rms,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum AdaLn {
    /// x `[B, T, D]`, shift, scale `[B, D]` -> y `[B, T, D]`, stats `[B·T, 2]` (mean or 0, 1 / root of variance or mean square)
    Fwd { norm: Norm, eps: f32 },
    /// g, x `[B, T, D]`, stats `[B·T, 2]`, scale `[B, D]` -> gx `[B, T, D]`, gshift, gscale `[B, D]`
    Bwd { norm: Norm },
}

/// `y = norm(x) (1 + scale) + shift` with the norm of each token and `eps` under its root (DiT section 3.2, `modulate(norm(x), shift,
/// scale)`): x `[B, T, D]`, shift and scale `[B, D]` -> `[B, T, D]`. Saves the norm's statistics.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not fit.
pub fn adaln(g: &mut Graph, norm: Norm, eps: f32, x: Var, shift: Var, scale: Var) -> Result<Var> {
    let id = g.apply(AdaLn::Fwd { norm, eps }, &[x, shift, scale])?;
    Ok(g.var(id, 0))
}

impl AdaLn {
    fn norm(&self) -> Norm {
        let (AdaLn::Fwd { norm, .. } | AdaLn::Bwd { norm }) = *self;
        norm
    }

    /// Position of x among the inputs.
    fn x_at(&self) -> usize {
        usize::from(matches!(self, AdaLn::Bwd { .. }))
    }
}

impl Sealed for AdaLn {}

impl Define for AdaLn {
    fn name(&self) -> &'static str {
        match self {
            AdaLn::Fwd { .. } => "adaln_fwd",
            AdaLn::Bwd { .. } => "adaln_bwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, x) = ("adaln", &ins[self.x_at()]);
        expect_axes(name, "x", x, 3, "[B, T, D]")?;
        let (b, t, d) = (x.shape[0], x.shape[1], x.shape[2]);
        let (stats, per_sample) = (Type::f32([b * t, 2]), Type::f32([b, d]));
        let because = format_args!("x is {x:?}");
        match self {
            AdaLn::Fwd { .. } => {
                expect(name, "shift", &ins[1], [b, d], because)?;
                expect(name, "scale", &ins[2], [b, d], because)?;
                Ok(vec![x.clone(), stats])
            }
            AdaLn::Bwd { .. } => {
                expect(name, "g", &ins[0], x.shape.clone(), because)?;
                expect(name, "stats", &ins[2], stats.shape, because)?;
                expect(name, "scale", &ins[3], [b, d], because)?;
                Ok(vec![x.clone(), per_sample.clone(), per_sample])
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let [b, tokens, dim] = io.sizes(self.x_at());
        let rows = b * tokens;
        let centered = u32::from(self.norm() == Norm::Layer);
        let dims = |eps| AdalnDims {
            rows,
            tokens,
            dim,
            centered,
            eps,
        };
        Ok(match *self {
            AdaLn::Fwd { eps, .. } => vec![
                Launch::new(&ADALN_FWD, &dims(eps), ADALN_FWD.grid_flat(rows))
                    .input("x", 0)
                    .input("shift", 1)
                    .input("scale", 2)
                    .output("y", 0)
                    .output("stats", 1),
            ],
            AdaLn::Bwd { .. } => vec![
                Launch::new(&ADALN_BWD_X, &dims(0.0), ADALN_BWD_X.grid_flat(rows))
                    .input("g", 0)
                    .input("x", 1)
                    .input("stats", 2)
                    .input("scale", 3)
                    .output("gx", 0),
                Launch::new(&ADALN_BWD_MOD, &dims(0.0), ADALN_BWD_MOD.grid_flat(b * dim))
                    .input("g", 0)
                    .input("x", 1)
                    .input("stats", 2)
                    .output("gshift", 1)
                    .output("gscale", 2),
            ],
        })
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        match *self {
            AdaLn::Fwd { norm, eps } => fwd(io, norm, F::of(f64::from(eps))),
            AdaLn::Bwd { norm } => bwd(io, norm),
        }
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let (AdaLn::Fwd { norm, .. }, Some(grad)) = (*self, grads[0]) else {
            return no_gradient(self);
        };
        let ins = g.node(node).ins.clone();
        let stats = g.var(node, 1);
        let id = g.apply(AdaLn::Bwd { norm }, &[grad, ins[0], stats, ins[2]])?;
        Ok((0..3).map(|out| Some(g.var(id, out))).collect())
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        match *self {
            AdaLn::Fwd { norm, eps } => Some(in_primitives(g, ins, norm, f64::from(eps))),
            AdaLn::Bwd { .. } => None,
        }
    }
}

/// Maximum rows per pass: the loops over short rows are latency-bound, so several rows go through a pass together.
const ROWS: usize = 16;

/// Rows of `d` values per pass: few enough that the next pass finds them in the first-level cache.
fn rows_per_pass(d: usize) -> usize {
    (1024 / d.max(1)).clamp(1, ROWS)
}

fn fwd<F: Real>(io: CpuIo<'_, F>, norm: Norm, eps: F) {
    let &[_, t, d] = io.shape(0) else {
        unreachable!("checked by infer")
    };
    let [x, shift, scale, ..] = io.ins;
    let [y, stats, ..] = io.outs;
    let (n, rows) = (F::of(d as f64), rows_per_pass(d));
    for_rows(
        (rows_mut(y, d), rows_mut(stats, 2)),
        grain(d).next_multiple_of(rows),
        |first, (y, stats)| {
            vectorize(
                #[inline(always)]
                || {
                    let blocks = y.chunks_mut(rows * d).zip(stats.chunks_mut(2 * rows));
                    for (block, (y, stats)) in blocks.enumerate() {
                        let first = first + block * rows;
                        let x = &x[first * d..][..y.len()];
                        let rows = stats.chunks_exact_mut(2).zip(x.chunks_exact(d));
                        for (stats, x) in rows {
                            stats[0] = match norm {
                                Norm::Rms => F::ZERO,
                                Norm::Layer => {
                                    slice::sum_of(
                                        [x],
                                        #[inline(always)]
                                        |[x]| x,
                                    ) / n
                                }
                            };
                        }
                        let rows = stats.chunks_exact_mut(2).zip(x.chunks_exact(d));
                        for (stats, x) in rows {
                            let mean = stats[0];
                            let squares = slice::sum_of(
                                [x],
                                #[inline(always)]
                                |[x]| (x - mean) * (x - mean),
                            );
                            stats[1] = F::ONE / (squares / n + eps).sqrt();
                        }
                        let rows = y.chunks_exact_mut(d).zip(stats.chunks_exact(2));
                        for (row, ((y, stats), x)) in rows.zip(x.chunks_exact(d)).enumerate() {
                            let (mean, rstd) = (stats[0], stats[1]);
                            let b = (first + row) / t;
                            let (shift, scale) = (&shift[b * d..][..d], &scale[b * d..][..d]);
                            for (((y, &x), &shift), &scale) in
                                y.iter_mut().zip(x).zip(shift).zip(scale)
                            {
                                *y = (x - mean) * rstd * (F::ONE + scale) + shift;
                            }
                        }
                    }
                },
            );
        },
    );
}

/// With `x̂ = (x - mean) rstd` and `h = g (1 + scale)`: `gx = rstd (h - mean(h) - x̂ mean(h x̂))`, `gshift = Σ_t g`,
/// `gscale = Σ_t g x̂`; for the RMS norm without the two means that center.
fn bwd<F: Real>(io: CpuIo<'_, F>, norm: Norm) {
    let &[_, t, d] = io.shape(1) else {
        unreachable!("checked by infer")
    };
    let [g, x, stats, scale, ..] = io.ins;
    let [gx, gshift, gscale, ..] = io.outs;
    let (n, rows) = (F::of(d as f64), rows_per_pass(d));
    for_rows(
        (
            rows_mut(gx, t * d),
            rows_mut(gshift, d),
            rows_mut(gscale, d),
        ),
        1,
        |b, (gx, gshift, gscale)| {
            let (g, x) = (&g[b * t * d..][..t * d], &x[b * t * d..][..t * d]);
            let (stats, scale) = (&stats[2 * b * t..][..2 * t], &scale[b * d..][..d]);
            gshift.fill(F::ZERO);
            gscale.fill(F::ZERO);
            vectorize(
                #[inline(always)]
                || {
                    let blocks = gx.chunks_mut(rows * d).zip(stats.chunks(2 * rows));
                    let ins = g.chunks(rows * d).zip(x.chunks(rows * d));
                    for ((gx, stats), (g, x)) in blocks.zip(ins) {
                        let rows = gx.chunks_exact_mut(d).zip(stats.chunks_exact(2));
                        let ins = g.chunks_exact(d).zip(x.chunks_exact(d));
                        for ((gx, stats), (g, x)) in rows.zip(ins) {
                            let (mean, rstd) = (stats[0], stats[1]);
                            // Equal lengths let the compiler drop the bounds checks.
                            let (g, x, scale, gx) = (&g[..d], &x[..d], &scale[..d], &mut gx[..d]);
                            let (gshift, gscale) = (&mut gshift[..d], &mut gscale[..d]);
                            for j in 0..d {
                                gshift[j] += g[j];
                                gscale[j] += g[j] * ((x[j] - mean) * rstd);
                                gx[j] = g[j] * (F::ONE + scale[j]);
                            }
                        }
                        let mut means = [[F::ZERO; 2]; ROWS];
                        let rows = gx.chunks_exact(d).zip(x.chunks_exact(d));
                        for (means, ((gx, x), stats)) in
                            means.iter_mut().zip(rows.zip(stats.chunks_exact(2)))
                        {
                            let (mean, rstd) = (stats[0], stats[1]);
                            let h = match norm {
                                Norm::Rms => F::ZERO,
                                Norm::Layer => slice::sum_of(
                                    [gx],
                                    #[inline(always)]
                                    |[h]| h,
                                ),
                            };
                            let hx = slice::sum_of(
                                [gx, x],
                                #[inline(always)]
                                |[h, x]| h * (x - mean),
                            );
                            *means = [h / n, hx * rstd / n];
                        }
                        let rows = gx.chunks_exact_mut(d).zip(x.chunks_exact(d));
                        for ((gx, x), (stats, [h, hx])) in
                            rows.zip(stats.chunks_exact(2).zip(means))
                        {
                            let (mean, rstd) = (stats[0], stats[1]);
                            for (gx, &x) in gx.iter_mut().zip(x) {
                                *gx = rstd * (*gx - h - (x - mean) * rstd * hx);
                            }
                        }
                    }
                },
            );
        },
    );
}

/// x normalized over the axes, in primitives: mean (0 for the RMS norm), `1 / sqrt(mean((x - mean)²) + eps)`, and the product of `x - mean`
/// with it.
pub(super) fn normalized(
    g: &mut Graph,
    x: Var,
    axes: &[usize],
    norm: Norm,
    eps: f64,
) -> Result<[Var; 3]> {
    let shape = g.shape(x).clone();
    let mean = reduce::mean(g, x, axes)?;
    let (mean, centered) = match norm {
        Norm::Rms => (g.constant(0.0, g.shape(mean).clone()), x),
        Norm::Layer => {
            let means = reduce::broadcast(g, mean, shape.clone())?;
            (mean, pointwise::sub(g, x, means)?)
        }
    };
    let squares = pointwise::square(g, centered)?;
    let variance = reduce::mean(g, squares, axes)?;
    let variance = pointwise::affine(g, variance, 1.0, eps)?;
    let rstd = pointwise::rsqrt(g, variance)?;
    let rstds = reduce::broadcast(g, rstd, shape)?;
    Ok([mean, rstd, pointwise::mul(g, centered, rstds)?])
}

fn in_primitives(g: &mut Graph, ins: &[Var], norm: Norm, eps: f64) -> Result<Vec<Var>> {
    let (x, shift, scale) = (ins[0], ins[1], ins[2]);
    let shape = g.shape(x).clone();
    let [mean, rstd, normal] = normalized(g, x, &[2], norm, eps)?;
    let factor = pointwise::affine(g, scale, 1.0, 1.0)?;
    let factor = reduce::over_tokens(g, factor, &shape)?;
    let shift = reduce::over_tokens(g, shift, &shape)?;
    let scaled = pointwise::mul(g, normal, factor)?;
    let y = pointwise::add(g, scaled, shift)?;
    let stats = axes::concat(g, &[mean, rstd], 2)?;
    let stats = g.reshape(stats, [shape[0] * shape[1], 2])?;
    Ok(vec![y, stats])
}

pub(super) fn cases() -> Vec<Case> {
    let case = |norm, b, t, d| {
        let per_sample = Type::f32([b, d]);
        Case::with_grad(
            AdaLn::Fwd { norm, eps: 1e-6 },
            &[Type::f32([b, t, d]), per_sample.clone(), per_sample],
            &[0, 1, 2],
        )
    };
    vec![
        case(Norm::Layer, 1, 1, 1),
        case(Norm::Layer, 1, 1, 3),
        case(Norm::Layer, 2, 3, 5),
        case(Norm::Layer, 3, 4, 70),
        case(Norm::Layer, 1, 16, 384),
        case(Norm::Rms, 1, 1, 3),
        case(Norm::Rms, 2, 3, 5),
        case(Norm::Rms, 3, 4, 70),
    ]
}
