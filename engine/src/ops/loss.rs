//! The training loss: per sample and weighted, with the target computed on the fly; and its mean over the batch.

use super::lincomb::{column, weighted_sum};
use super::{Case, pointwise, reduce};
use crate::error::{Error, Result};
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::Real;
use crate::num::par::{for_rows, rows_mut};
use crate::num::simd::vectorize;
use crate::shape::{Type, expect};
use sit_shaders::{LOSS_BWD, LOSS_FWD, LOSS_MEAN_BWD, LOSS_MEAN_FWD, LossDims, LossMeanDims};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// out, x0, x1 `[B, ...]`, coef `[B, 4]` -> per_sample `[B]`
    Fwd,
    /// out, x0, x1 `[B, ...]`, coef `[B, 4]`, g `[B]` -> gout `[B, ...]`
    Bwd,
    /// per_sample `[B]` -> mean `[1]`
    Mean,
    /// g `[1]` -> gx `[B]`
    MeanBwd { batch: usize },
}

/// `per_sample[b] = w_b · mean(r²)` with the residual `r = c_b·out + a_b·x0 + d_b·x1` and coef rows `[w, c, a, d]`:
/// out, x0, x1 `[B, ...]`, coef `[B, 4]` -> `[B]`.
///
/// Velocity, noise and score matching (SiT `training_losses`) are choices of the coefficients, see [`crate::transport`].
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn loss(g: &mut Graph, out: Var, x0: Var, x1: Var, coef: Var) -> Result<Var> {
    g.apply1(Loss::Fwd, &[out, x0, x1, coef])
}

/// Mean over the batch: `[B]` -> `[1]`.
///
/// # Errors
/// [`Error::Shape`] when the input has other axes.
#[doc(hidden)]
pub fn mean(g: &mut Graph, per_sample: Var) -> Result<Var> {
    g.apply1(Loss::Mean, &[per_sample])
}

impl Sealed for Loss {}

impl Define for Loss {
    fn name(&self) -> &'static str {
        match self {
            Loss::Fwd => "loss_fwd",
            Loss::Bwd => "loss_bwd",
            Loss::Mean => "loss_mean_fwd",
            Loss::MeanBwd { .. } => "loss_mean_bwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, out) = (Define::name(self), &ins[0]);
        match *self {
            Loss::Mean => {
                crate::shape::expect_axes(name, "per_sample", out, 1, "[B]")?;
                Ok(vec![Type::f32([1])])
            }
            Loss::MeanBwd { batch } => {
                expect(name, "g", out, [1], "the mean is one number")?;
                Ok(vec![Type::f32([batch])])
            }
            Loss::Fwd | Loss::Bwd => {
                if out.shape.is_empty() {
                    return Err(Error::Shape(format!(
                        "{name}: out is a scalar, expected [B, ...]"
                    )));
                }
                let batch = out.shape[0];
                expect(
                    name,
                    "x0",
                    &ins[1],
                    out.shape.clone(),
                    format_args!("out is {out:?}"),
                )?;
                expect(
                    name,
                    "x1",
                    &ins[2],
                    out.shape.clone(),
                    format_args!("out is {out:?}"),
                )?;
                expect(
                    name,
                    "coef",
                    &ins[3],
                    [batch, 4],
                    format_args!("out is {out:?}"),
                )?;
                if let Loss::Fwd = self {
                    return Ok(vec![Type::f32([batch])]);
                }
                expect(name, "g", &ins[4], [batch], format_args!("out is {out:?}"))?;
                Ok(vec![out.clone()])
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        match self {
            Loss::Fwd | Loss::Bwd => Some(&[]),
            Loss::Mean | Loss::MeanBwd { .. } => None,
        }
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let [batch] = match *self {
            Loss::MeanBwd { batch } => [batch as u32],
            _ => io.sizes(0),
        };
        let dims = || LossDims {
            batch,
            per: io.numel(0) / batch,
        };
        let mean_dims = LossMeanDims { batch };
        let residual = |launch: Launch| {
            launch
                .input("out", 0)
                .input("x0", 1)
                .input("x1", 2)
                .input("coef", 3)
        };
        Ok(vec![match self {
            Loss::Fwd => residual(Launch::new(&LOSS_FWD, &dims(), LOSS_FWD.grid_flat(batch)))
                .output("per_sample", 0),
            Loss::Bwd => residual(Launch::new(
                &LOSS_BWD,
                &dims(),
                LOSS_BWD.grid_flat(io.numel(0)),
            ))
            .input("g", 4)
            .output("gout", 0),
            Loss::Mean => Launch::new(&LOSS_MEAN_FWD, &mean_dims, LOSS_MEAN_FWD.grid_flat(batch))
                .input("per_sample", 0)
                .output("mean", 0),
            Loss::MeanBwd { .. } => {
                Launch::new(&LOSS_MEAN_BWD, &mean_dims, LOSS_MEAN_BWD.grid_flat(batch))
                    .input("g", 0)
                    .output("gx", 0)
            }
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let [out, x0, x1, coef, g, ..] = io.ins;
        let batch = io.in_types[0].shape[0];
        let per = out.len() / batch;
        let [y, ..] = io.outs;
        match self {
            Loss::Fwd => for_rows(rows_mut(y, 1), 1, |first, y| {
                for (i, y) in y.iter_mut().enumerate() {
                    let (rows, c) = (
                        (first + i) * per..(first + i + 1) * per,
                        &coef[(first + i) * 4..][..4],
                    );
                    let squares = out[rows.clone()]
                        .iter()
                        .zip(&x0[rows.clone()])
                        .zip(&x1[rows])
                        .map(|((&out, &x0), &x1)| {
                            let r = c[1] * out + c[2] * x0 + c[3] * x1;
                            (r * r).to_f64()
                        });
                    // Summed in f64 for accuracy, which is cheap: there is only one sum per image.
                    *y = c[0] * F::of(squares.sum::<f64>() / per as f64);
                }
            }),
            Loss::Bwd => for_rows(rows_mut(y, per), 1, |first, y| {
                for (i, y) in y.chunks_exact_mut(per).enumerate() {
                    let (b, c) = (first + i, &coef[(first + i) * 4..][..4]);
                    let scale = g[b] * c[0] * F::of(2.0 / per as f64) * c[1];
                    let (out, x0, x1) = (
                        &out[b * per..][..per],
                        &x0[b * per..][..per],
                        &x1[b * per..][..per],
                    );
                    vectorize(
                        #[inline(always)]
                        || {
                            for (((y, &out), &x0), &x1) in y.iter_mut().zip(out).zip(x0).zip(x1) {
                                *y = scale * (c[1] * out + c[2] * x0 + c[3] * x1);
                            }
                        },
                    );
                }
            }),
            Loss::Mean => y[0] = F::of(out.iter().map(|x| x.to_f64()).sum::<f64>() / batch as f64),
            Loss::MeanBwd { batch } => y.fill(out[0] / F::of(*batch as f64)),
        }
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let ins = g.node(node).ins.clone();
        match (self, grads[0]) {
            (Loss::Fwd, Some(grad)) => {
                let gout = g.apply1(Loss::Bwd, &[ins[0], ins[1], ins[2], ins[3], grad])?;
                Ok(vec![Some(gout), None, None, None])
            }
            (Loss::Mean, Some(grad)) => {
                let batch = g.shape(ins[0])[0];
                Ok(vec![Some(g.apply1(Loss::MeanBwd { batch }, &[grad])?)])
            }
            _ => no_gradient(self),
        }
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        let y = match self {
            Loss::Fwd => in_primitives(g, ins),
            Loss::Mean => reduce::mean(g, ins[0], &[0]),
            Loss::Bwd | Loss::MeanBwd { .. } => return None,
        };
        Some(y.map(|y| vec![y]))
    }
}

fn in_primitives(g: &mut Graph, ins: &[Var]) -> Result<Var> {
    let (out, coef) = (ins[0], ins[3]);
    let (batch, n) = (g.shape(out)[0], g.shape(out).numel());
    let residual = weighted_sum(g, coef, &[(1, out), (2, ins[1]), (3, ins[2])])?;
    let squares = pointwise::square(g, residual)?;
    let squares = g.reshape(squares, [batch, n / batch])?;
    let mean = reduce::mean(g, squares, &[1])?;
    let mean = g.reshape(mean, [batch])?;
    let weight = column(g, coef, 0, &[batch].into())?;
    pointwise::mul(g, weight, mean)
}

pub(super) fn cases() -> Vec<Case> {
    let loss = |b: usize, per: usize| {
        let x = Type::f32([b, per]);
        Case::with_grad(
            Loss::Fwd,
            &[x.clone(), x.clone(), x, Type::f32([b, 4])],
            &[0],
        )
    };
    let mean = |b: usize| Case::with_grad(Loss::Mean, &[Type::f32([b])], &[0]);
    vec![
        loss(1, 1),
        loss(3, 5),
        loss(2, 64),
        loss(5, 300),
        mean(1),
        mean(7),
        mean(300),
    ]
}
