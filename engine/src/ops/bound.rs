//! The terms of the variational bound of discrete diffusion, per sample and in bits per dimension (DDPM, arXiv 2006.11239, equations 5
//! and 13; improved-diffusion, arXiv 2102.09672, section 2.2).

mod term;

use super::Case;
use crate::error::{Error, Result};
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::Real;
use crate::num::par::{for_rows, rows_mut};
use crate::shape::{Type, expect};
use sit_shaders::{
    BOUND_BWD, BOUND_BWD_ALL, BOUND_BWD_LEARNED, BOUND_FWD, BOUND_FWD_LEARNED, BoundDims,
};
use std::f64::consts::LN_2;
use term::{Term, term};

/// Columns of the table of coefficients.
pub(crate) const COLUMNS: usize = 8;

/// The variants whose variance is learned read `all` after the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// coef `[B, 8]`, out, x0, x1 `[B, C, ...]`, all `[B, 2C, ...]` -> per_sample `[B]`
    Fwd { is_learned: bool },
    /// g `[B]`, coef `[B, 8]`, out, x0, x1 `[B, C, ...]`, all `[B, 2C, ...]` -> gout `[B, C, ...]`
    Bwd { is_learned: bool },
    /// g `[B]`, coef `[B, 8]`, out, x0, x1 `[B, C, ...]`, all `[B, 2C, ...]` -> gall `[B, 2C, ...]`
    BwdAll,
}

/// `w / ln 2` times the mean over a sample's values of a term of the bound: out, x0 and x1 `[B, C, ...]`, coef `[B, 8]` -> `[B]`.
///
/// The rows of coef are `[a_0, a_1, k, m, h, m_q, w, is_first]`. The step's mean is off by `d = k (out + a_0 x0 + a_1 x1)`, its
/// logarithmic variance is `l = m_q + z` with `z = m + h v`, `v` the second half of `all` `[B, 2C, ...]` and `m_q` the logarithmic
/// variance of `q(x_{i-1} | x_i, x1)`:
///
/// ```text
/// term = (e^-z - 1 + z + d^2 e^-l) / 2                       = KL(q || p)
/// term = -ln max(P, 1e-12)                                   where is_first is above 1/2
/// ```
///
/// with the probability `P` that a normal number of mean `x1 + d` and variance `e^l` lies within 1/255 of `x1`, or beyond where `x1` is
/// at an end of [-1, 1]. The normal distribution is the reference's tanh form, and no two of its values are subtracted: the logarithm
/// and the gradients are exact far from the mean too.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub(crate) fn bound(
    g: &mut Graph,
    out: Var,
    all: Option<Var>,
    x: [Var; 2],
    coef: Var,
) -> Result<Var> {
    let mut ins = vec![coef, out, x[0], x[1]];
    ins.extend(all);
    let is_learned = all.is_some();
    g.apply1(Bound::Fwd { is_learned }, &ins)
}

impl Sealed for Bound {}

impl Define for Bound {
    fn name(&self) -> &'static str {
        match self {
            Bound::Fwd { .. } => "bound_fwd",
            Bound::Bwd { .. } => "bound_bwd",
            Bound::BwdAll => "bound_bwd_all",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let name = Define::name(self);
        let ins = match self {
            Bound::Fwd { .. } => ins,
            Bound::Bwd { .. } | Bound::BwdAll => &ins[1..],
        };
        let out = &ins[1];
        if out.shape.len() < 2 {
            return Err(Error::Shape(format!(
                "{name}: out is {out:?}, expected [B, C, ...]"
            )));
        }
        let said = || format!("out is {out:?}");
        expect(name, "coef", &ins[0], [out.shape[0], COLUMNS], said())?;
        for (arg, other) in ["x0", "x1"].into_iter().zip(&ins[2..]) {
            expect(name, arg, other, out.shape.clone(), said())?;
        }
        if let Some(all) = ins.get(4) {
            let mut doubled = out.shape.to_vec();
            doubled[1] *= 2;
            expect(name, "all", all, doubled, said())?;
        }
        Ok(vec![match self {
            Bound::Fwd { .. } => Type::f32([out.shape[0]]),
            Bound::Bwd { .. } => out.clone(),
            Bound::BwdAll => ins[4].clone(),
        }])
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let at = usize::from(!matches!(self, Bound::Fwd { .. }));
        let (n, [batch]) = (io.numel(at + 1), io.sizes(at + 1));
        let dims = BoundDims {
            batch,
            per: n / batch,
        };
        let (kernel, items, is_learned, result) = match *self {
            Bound::Fwd { is_learned } => {
                let kernel = if is_learned {
                    &BOUND_FWD_LEARNED
                } else {
                    &BOUND_FWD
                };
                (kernel, batch, is_learned, "per_sample")
            }
            Bound::Bwd { is_learned } => {
                let kernel = if is_learned {
                    &BOUND_BWD_LEARNED
                } else {
                    &BOUND_BWD
                };
                (kernel, n, is_learned, "gout")
            }
            Bound::BwdAll => (&BOUND_BWD_ALL, 2 * n, true, "gall"),
        };
        let launch = Launch::new(kernel, &dims, kernel.grid_flat(items))
            .input("coef", at)
            .input("out", at + 1)
            .input("x0", at + 2)
            .input("x1", at + 3)
            .output(result, 0);
        let launch = if at == 1 {
            launch.input("g", 0)
        } else {
            launch
        };
        Ok(vec![if is_learned {
            launch.input("all", at + 4)
        } else {
            launch
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let at = usize::from(!matches!(self, Bound::Fwd { .. }));
        let (coef, out) = (io.ins[at], io.ins[at + 1]);
        let (x0, x1, all) = (io.ins[at + 2], io.ins[at + 3], io.ins.get(at + 4));
        let batch = coef.len() / COLUMNS;
        let per = out.len() / batch.max(1);
        let row = |b: usize| &coef[b * COLUMNS..][..COLUMNS];
        let is_learned = !matches!(
            self,
            Bound::Fwd { is_learned: false } | Bound::Bwd { is_learned: false }
        );
        let of = |b: usize, k: usize| -> Term<F> {
            let (c, i) = (row(b), b * per + k);
            let z = match all {
                Some(all) if is_learned => c[3] + c[4] * all[(2 * b + 1) * per + k],
                _ => c[3],
            };
            let r = out[i] + c[0] * x0[i] + c[1] * x1[i];
            term(r, x1[i], z, [c[2], c[5], c[7]])
        };
        let per_f = F::of(per as f64 * LN_2);
        let [y, ..] = io.outs;
        match self {
            Bound::Fwd { .. } => for_rows(rows_mut(y, 1), 1, |first, y| {
                for (i, y) in y.iter_mut().enumerate() {
                    let b = first + i;
                    let sum: f64 = (0..per).map(|k| of(b, k).value.to_f64()).sum();
                    *y = row(b)[6] * F::of(sum / (per as f64 * LN_2));
                }
            }),
            Bound::Bwd { .. } => for_rows(rows_mut(y, per), 1, |first, y| {
                for (i, y) in y.chunks_exact_mut(per).enumerate() {
                    let b = first + i;
                    let scale = io.ins[0][b] * row(b)[6] / per_f;
                    for (k, y) in y.iter_mut().enumerate() {
                        *y = scale * of(b, k).by_r;
                    }
                }
            }),
            Bound::BwdAll => for_rows(rows_mut(y, 2 * per), 1, |first, y| {
                for (i, y) in y.chunks_exact_mut(2 * per).enumerate() {
                    let b = first + i;
                    let scale = io.ins[0][b] * row(b)[6] * row(b)[4] / per_f;
                    let (prediction, variance) = y.split_at_mut(per);
                    prediction.fill(F::ZERO);
                    for (k, y) in variance.iter_mut().enumerate() {
                        *y = scale * of(b, k).by_log_var;
                    }
                }
            }),
        }
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let (Bound::Fwd { is_learned }, Some(grad)) = (*self, grads[0]) else {
            return no_gradient(self);
        };
        let mut ins = g.node(node).ins.clone();
        ins.insert(0, grad);
        let mut flows = vec![None; ins.len() - 1];
        flows[1] = Some(g.apply1(Bound::Bwd { is_learned }, &ins)?);
        if is_learned {
            flows[4] = Some(g.apply1(Bound::BwdAll, &ins)?);
        }
        Ok(flows)
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |is_learned: bool, b: usize, c: usize, per: usize| {
        let x = Type::f32([b, c, per]);
        let all = Type::f32([b, 2 * c, per]);
        let ins = [Type::f32([b, COLUMNS]), x.clone(), x.clone(), x, all];
        let (n, wrt): (_, &[usize]) = if is_learned { (5, &[1, 4]) } else { (4, &[1]) };
        Case::with_grad(Bound::Fwd { is_learned }, &ins[..n], wrt)
    };
    vec![
        case(false, 1, 1, 1),
        case(false, 5, 2, 40),
        case(true, 1, 1, 1),
        case(true, 7, 3, 30),
        case(true, 4, 4, 64),
    ]
}
