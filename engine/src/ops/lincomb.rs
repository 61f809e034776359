//! Linear combinations with one coefficient per sample and term: all that the transport computes on the device.

use super::{Case, axes, pointwise, reduce};
use crate::error::{Error, Result};
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::Real;
use crate::num::par::{for_rows, rows_mut};
use crate::num::simd::vectorize;
use crate::shape::{Shape, Type, expect};
use sit_shaders::{
    LINCOMB_BWD, LINCOMB_FWD1, LINCOMB_FWD2, LINCOMB_FWD3, LINCOMB_FWD4, LincombDims,
};

/// Maximum terms of a combination, and the columns of its coefficient table.
pub(crate) const MAX_TERMS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lincomb {
    /// x0 .. x{n-1} `[B, ...]`, coef `[B, 4]` -> y `[B, ...]`
    Fwd { n_terms: usize },
    /// g `[B, ...]`, coef `[B, 4]` -> gx `[B, ...]`
    Bwd { term: usize },
}

/// `y[b] = Σ_k coef[b, k] · xs[k][b]`: one to four tensors `[B, ...]` of one shape, coef `[B, 4]`.
///
/// The interpolant, the conversions between velocity, score and noise, guidance and every solver step have this form.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit or the number of terms is not 1 to 4.
pub(crate) fn lincomb(g: &mut Graph, xs: &[Var], coef: Var) -> Result<Var> {
    let mut ins = xs.to_vec();
    ins.push(coef);
    g.apply1(Lincomb::Fwd { n_terms: xs.len() }, &ins)
}

impl Sealed for Lincomb {}

impl Define for Lincomb {
    fn name(&self) -> &'static str {
        match self {
            Lincomb::Fwd { .. } => "lincomb_fwd",
            Lincomb::Bwd { .. } => "lincomb_bwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, x) = (Define::name(self), &ins[0]);
        let n_terms = ins.len() - 1;
        if !(1..=MAX_TERMS).contains(&n_terms) || x.shape.is_empty() {
            return Err(Error::Shape(format!(
                "{name}: {n_terms} terms, the first {x:?}, expected 1 to {MAX_TERMS} terms [B, ...]"
            )));
        }
        for other in &ins[..n_terms] {
            expect(
                name,
                "x",
                other,
                x.shape.clone(),
                format_args!("x0 is {x:?}"),
            )?;
        }
        expect(
            name,
            "coef",
            &ins[n_terms],
            [x.shape[0], MAX_TERMS],
            format_args!("x0 is {x:?}"),
        )?;
        Ok(vec![x.clone()])
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        const X: [&str; MAX_TERMS] = ["x0", "x1", "x2", "x3"];
        let (n, [batch]) = (io.numel(0), io.sizes(0));
        let dims = |term| LincombDims {
            n,
            per: n / batch,
            term,
        };
        Ok(vec![match *self {
            Lincomb::Fwd { n_terms } => {
                let kernel =
                    [&LINCOMB_FWD1, &LINCOMB_FWD2, &LINCOMB_FWD3, &LINCOMB_FWD4][n_terms - 1];
                let launch = Launch::new(kernel, &dims(0), kernel.grid_flat(n))
                    .input("coef", n_terms)
                    .output("y", 0);
                (0..n_terms).fold(launch, |l, k| l.input(X[k], k))
            }
            Lincomb::Bwd { term } => {
                Launch::new(&LINCOMB_BWD, &dims(term as u32), LINCOMB_BWD.grid_flat(n))
                    .input("g", 0)
                    .input("coef", 1)
                    .output("gx", 0)
            }
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let (first_term, n_terms) = match *self {
            Lincomb::Fwd { n_terms } => (0, n_terms),
            Lincomb::Bwd { term } => (term, 1),
        };
        let per = io.in_types[0].shape[1..].iter().product::<usize>().max(1);
        let coef = io.ins[n_terms];
        let [y, ..] = io.outs;
        for_rows(rows_mut(y, per), 1, |first, y| {
            for (i, y) in y.chunks_exact_mut(per).enumerate() {
                let b = first + i;
                let c = |k: usize| coef[b * MAX_TERMS + first_term + k];
                let x = |k: usize| &io.ins[k][b * per..][..per];
                vectorize(
                    #[inline(always)]
                    || {
                        y.iter_mut().zip(x(0)).for_each(|(y, &x)| *y = c(0) * x);
                        for k in 1..n_terms {
                            let c = c(k);
                            y.iter_mut().zip(x(k)).for_each(|(y, &x)| *y += c * x);
                        }
                    },
                );
            }
        });
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let (Lincomb::Fwd { n_terms }, Some(grad)) = (*self, grads[0]) else {
            return no_gradient(self);
        };
        let coef = g.node(node).ins[n_terms];
        let mut flows: Vec<Option<Var>> = (0..n_terms)
            .map(|term| g.apply1(Lincomb::Bwd { term }, &[grad, coef]).map(Some))
            .collect::<Result<_>>()?;
        flows.push(None);
        Ok(flows)
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        match *self {
            Lincomb::Fwd { n_terms } => {
                let terms: Vec<(usize, Var)> = (0..n_terms).map(|k| (k, ins[k])).collect();
                Some(weighted_sum(g, ins[n_terms], &terms).map(|y| vec![y]))
            }
            Lincomb::Bwd { .. } => None,
        }
    }
}

/// Column k of a table of coefficients `[B, 4]`, broadcast over each sample of `shape` `[B, ...]`.
pub(super) fn column(g: &mut Graph, coef: Var, k: usize, shape: &Shape) -> Result<Var> {
    let column = axes::slice(g, coef, 1, k..k + 1)?;
    let mut sizes = vec![1; shape.len()];
    sizes[0] = shape[0];
    let column = g.reshape(column, sizes)?;
    reduce::broadcast(g, column, shape.clone())
}

/// `Σ coef[:, k] · x` over all (k, x), in primitives.
pub(super) fn weighted_sum(g: &mut Graph, coef: Var, terms: &[(usize, Var)]) -> Result<Var> {
    let term = |g: &mut Graph, &(k, x): &(usize, Var)| {
        let shape = g.shape(x).clone();
        let factor = column(g, coef, k, &shape)?;
        pointwise::mul(g, factor, x)
    };
    let first = term(g, &terms[0])?;
    terms[1..].iter().try_fold(first, |sum, next| {
        let next = term(g, next)?;
        pointwise::add(g, sum, next)
    })
}

pub(super) fn cases() -> Vec<Case> {
    let case = |n_terms: usize, b: usize, per: usize| {
        let mut ins = vec![Type::f32([b, per]); n_terms];
        ins.push(Type::f32([b, MAX_TERMS]));
        Case::with_grad(
            Lincomb::Fwd { n_terms },
            &ins,
            &(0..n_terms).collect::<Vec<_>>(),
        )
    };
    vec![case(1, 1, 1), case(2, 3, 5), case(3, 2, 64), case(4, 5, 67)]
}
