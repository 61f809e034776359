//! Adaptive layer norm: normalization without affine parameters, then a shift and a scale per sample.

use super::Case;
use crate::error::Result;
use crate::graph::{CpuIo, Define, Graph, Io, Launch, NodeId, Var, op::no_gradient};
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::simd::vectorize;
use crate::num::{Real, slice};
use crate::shape::{Type, expect, expect_axes};
use sit_shaders::{ADALN_BWD_MOD, ADALN_BWD_X, ADALN_FWD, AdalnDims};

#[derive(Clone, Copy, Debug, PartialEq)]
enum AdaLn {
    /// x `[B, T, D]`, shift, scale `[B, D]` -> y `[B, T, D]`, stats `[B·T, 2]` (mean, 1 / standard deviation)
    Fwd { ln_eps: f32 },
    /// g, x `[B, T, D]`, stats `[B·T, 2]`, scale `[B, D]` -> gx `[B, T, D]`, gshift, gscale `[B, D]`
    Bwd,
}

/// `y = (x - mean) · rstd · (1 + scale) + shift` with the mean and the biased variance of each token and
/// `rstd = 1 / sqrt(var + ln_eps)` (DiT section 3.2, `modulate(norm(x), shift, scale)`): x `[B, T, D]`, shift and scale
/// `[B, D]` -> `[B, T, D]`. Saves mean and rstd.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes do not fit.
pub fn adaln(g: &mut Graph, x: Var, shift: Var, scale: Var, ln_eps: f32) -> Result<Var> {
    let id = g.apply(AdaLn::Fwd { ln_eps }, &[x, shift, scale])?;
    Ok(g.var(id, 0))
}

impl Define for AdaLn {
    fn name(&self) -> &'static str {
        match self {
            AdaLn::Fwd { .. } => "adaln_fwd",
            AdaLn::Bwd => "adaln_bwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, x) = ("adaln", &ins[usize::from(*self == AdaLn::Bwd)]);
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
            AdaLn::Bwd => {
                expect(name, "g", &ins[0], x.shape.clone(), because)?;
                expect(name, "stats", &ins[2], stats.shape, because)?;
                expect(name, "scale", &ins[3], [b, d], because)?;
                Ok(vec![x.clone(), per_sample.clone(), per_sample])
            }
        }
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let [b, tokens, dim] = io.sizes(usize::from(*self == AdaLn::Bwd));
        let rows = b * tokens;
        let dims = |ln_eps| AdalnDims {
            rows,
            tokens,
            dim,
            ln_eps,
        };
        Ok(match *self {
            AdaLn::Fwd { ln_eps } => vec![
                Launch::new(&ADALN_FWD, &dims(ln_eps), ADALN_FWD.grid_flat(rows))
                    .input("x", 0)
                    .input("shift", 1)
                    .input("scale", 2)
                    .output("y", 0)
                    .output("stats", 1),
            ],
            AdaLn::Bwd => vec![
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
            AdaLn::Fwd { ln_eps } => fwd(io, F::of(f64::from(ln_eps))),
            AdaLn::Bwd => bwd(io),
        }
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let (AdaLn::Fwd { .. }, Some(grad)) = (self, grads[0]) else {
            return no_gradient(self);
        };
        let ins = g.node(node).ins.clone();
        let stats = g.var(node, 1);
        let id = g.apply(AdaLn::Bwd, &[grad, ins[0], stats, ins[2]])?;
        Ok((0..3).map(|out| Some(g.var(id, out))).collect())
    }
}

fn fwd<F: Real>(io: CpuIo<'_, F>, ln_eps: F) {
    let &[_, t, d] = io.shape(0) else {
        unreachable!("checked by infer")
    };
    let [x, shift, scale, ..] = io.ins;
    let [y, stats, ..] = io.outs;
    let n = F::of(d as f64);
    for_rows(
        (rows_mut(y, d), rows_mut(stats, 2)),
        grain(d),
        |first, (y, stats)| {
            let rows = y
                .chunks_exact_mut(d)
                .zip(stats.chunks_exact_mut(2))
                .zip(x[first * d..].chunks_exact(d));
            for (row, ((y, stats), x)) in rows.enumerate() {
                let b = (first + row) / t;
                let (shift, scale) = (&shift[b * d..][..d], &scale[b * d..][..d]);
                let mean = slice::sum(x) / n;
                let rstd = F::ONE / (slice::sum_sq(x, mean) / n + ln_eps).sqrt();
                stats.copy_from_slice(&[mean, rstd]);
                vectorize(
                    #[inline(always)]
                    || {
                        for (((y, &x), &shift), &scale) in y.iter_mut().zip(x).zip(shift).zip(scale)
                        {
                            *y = (x - mean) * rstd * (F::ONE + scale) + shift;
                        }
                    },
                );
            }
        },
    );
}

/// With `x̂ = (x - mean) rstd` and `h = g (1 + scale)`: `gx = rstd (h - mean(h) - x̂ mean(h x̂))`, `gshift = Σ_t g`,
/// `gscale = Σ_t g x̂`.
fn bwd<F: Real>(io: CpuIo<'_, F>) {
    let &[_, t, d] = io.shape(1) else {
        unreachable!("checked by infer")
    };
    let [g, x, stats, scale, ..] = io.ins;
    let [gx, gshift, gscale, ..] = io.outs;
    let n = F::of(d as f64);
    for_rows(
        (
            rows_mut(gx, t * d),
            rows_mut(gshift, d),
            rows_mut(gscale, d),
        ),
        1,
        |first, (gx, gshift, gscale)| {
            gshift.fill(F::ZERO);
            gscale.fill(F::ZERO);
            for (row, gx) in gx.chunks_exact_mut(d).enumerate() {
                let (sample, at) = (row / t, first * t + row);
                let (g, x, scale) = (
                    &g[at * d..][..d],
                    &x[at * d..][..d],
                    &scale[(first + sample) * d..][..d],
                );
                let (gshift, gscale) = (
                    &mut gshift[sample * d..][..d],
                    &mut gscale[sample * d..][..d],
                );
                let (mean, rstd) = (stats[2 * at], stats[2 * at + 1]);
                vectorize(
                    #[inline(always)]
                    || {
                        // Seen here to have one length, they are read without checks.
                        let (g, x, scale, gx) = (&g[..d], &x[..d], &scale[..d], &mut gx[..d]);
                        let (gshift, gscale) = (&mut gshift[..d], &mut gscale[..d]);
                        for j in 0..d {
                            gshift[j] += g[j];
                            gscale[j] += g[j] * ((x[j] - mean) * rstd);
                            gx[j] = g[j] * (F::ONE + scale[j]);
                        }
                        let mean_h = slice::sum_of(
                            [&*gx],
                            #[inline(always)]
                            |[h]| h,
                        ) / n;
                        let mean_hx = slice::sum_of(
                            [&*gx, x],
                            #[inline(always)]
                            |[h, x]| h * (x - mean),
                        ) * rstd
                            / n;
                        for j in 0..d {
                            gx[j] = rstd * (gx[j] - mean_h - (x[j] - mean) * rstd * mean_hx);
                        }
                    },
                );
            }
        },
    );
}

pub(super) fn cases() -> Vec<Case> {
    let case = |b, t, d| {
        let per_sample = Type::f32([b, d]);
        Case::with_grad(
            AdaLn::Fwd { ln_eps: 1e-6 },
            &[Type::f32([b, t, d]), per_sample.clone(), per_sample],
            &[0, 1, 2],
        )
    };
    vec![
        case(1, 1, 1),
        case(1, 1, 3),
        case(2, 3, 5),
        case(3, 4, 70),
        case(1, 16, 384),
    ]
}
