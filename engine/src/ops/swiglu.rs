//! SwiGLU, the gated activation of an MLP.

use super::{Case, axes, pointwise};
use crate::error::{Error, Result};
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::{Real, slice};
use crate::shape::{Shape, Type, expect};
use sit_shaders::{SWIGLU_BWD, SWIGLU_FWD, SwigluDims};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SwiGlu {
    /// ab `[.., 2H]` -> y `[.., H]`
    Fwd,
    /// g `[.., H]`, ab `[.., 2H]` -> gab `[.., 2H]`
    Bwd,
}

/// `y = silu(a) b`, where a and b are the halves of the last axis: `[.., 2H]` -> `[.., H]` (Shazeer 2020, arXiv 2002.05202).
///
/// # Errors
/// [`Error::Shape`] when the last axis has an odd size.
pub fn swiglu(g: &mut Graph, ab: Var) -> Result<Var> {
    g.apply1(SwiGlu::Fwd, &[ab])
}

/// The shape of y, for one of ab.
fn halved(ab: &Type) -> Option<Shape> {
    let (last, before) = ab.shape.split_last()?;
    let halves = last.is_multiple_of(2);
    halves.then(|| Shape::from([before, &[last / 2]].concat()))
}

impl Sealed for SwiGlu {}

impl Define for SwiGlu {
    fn name(&self) -> &'static str {
        match self {
            SwiGlu::Fwd => "swiglu_fwd",
            SwiGlu::Bwd => "swiglu_bwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, ab) = (Define::name(self), &ins[ins.len() - 1]);
        expect(name, "ab", ab, ab.shape.clone(), "numbers are multiplied")?;
        let Some(y) = halved(ab) else {
            return Err(Error::Shape(format!(
                "{name}: ab is {ab:?}, expected a last axis of even size"
            )));
        };
        if *self == SwiGlu::Fwd {
            return Ok(vec![Type::f32(y)]);
        }
        expect(name, "g", &ins[0], y, format_args!("ab is {ab:?}"))?;
        Ok(vec![ab.clone()])
    }

    fn shared(&self, ins: &[Type]) -> Option<&'static [usize]> {
        (ins[0].shape.len() > 1).then_some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let y = match self {
            SwiGlu::Fwd => &io.outs[0].shape,
            SwiGlu::Bwd => &io.ins[0].shape,
        };
        let dims = SwigluDims {
            n: y.numel() as u32,
            width: y.last() as u32,
        };
        Ok(vec![match self {
            SwiGlu::Fwd => Launch::new(&SWIGLU_FWD, &dims, SWIGLU_FWD.grid_flat(dims.n))
                .input("ab", 0)
                .output("y", 0),
            SwiGlu::Bwd => Launch::new(&SWIGLU_BWD, &dims, SWIGLU_BWD.grid_flat(dims.n))
                .input("g", 0)
                .input("ab", 1)
                .output("gab", 0),
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let width = io.in_types[0].shape.last() / if *self == SwiGlu::Fwd { 2 } else { 1 };
        let [first, second, ..] = io.ins;
        let [out, ..] = io.outs;
        match self {
            SwiGlu::Fwd => for_rows(rows_mut(out, width), grain(width), |row, y| {
                let ins = first[2 * row * width..].chunks_exact(2 * width);
                for (y, ab) in y.chunks_exact_mut(width).zip(ins) {
                    let (a, b) = ab.split_at(width);
                    slice::zip_map(
                        y,
                        a,
                        b,
                        #[inline(always)]
                        |a, b| slice::silu(a) * b,
                    );
                }
            }),
            SwiGlu::Bwd => for_rows(rows_mut(out, 2 * width), grain(2 * width), |row, gab| {
                let g = first[row * width..].chunks_exact(width);
                let ab = second[2 * row * width..].chunks_exact(2 * width);
                for ((gab, g), ab) in gab.chunks_exact_mut(2 * width).zip(g).zip(ab) {
                    let ((ga, gb), (a, b)) = (gab.split_at_mut(width), ab.split_at(width));
                    slice::zip_map(
                        gb,
                        g,
                        a,
                        #[inline(always)]
                        |g, a| g * slice::silu(a),
                    );
                    slice::zip_map(
                        ga,
                        g,
                        a,
                        #[inline(always)]
                        |g, a| g * slice::silu_grad(a),
                    );
                    ga.iter_mut().zip(b).for_each(|(ga, &b)| *ga *= b);
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
        let (SwiGlu::Fwd, Some(grad)) = (self, grads[0]) else {
            return no_gradient(self);
        };
        let ab = g.node(node).ins[0];
        Ok(vec![Some(g.apply1(SwiGlu::Bwd, &[grad, ab])?)])
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        (*self == SwiGlu::Fwd).then(|| in_primitives(g, ins[0]))
    }
}

fn in_primitives(g: &mut Graph, ab: Var) -> Result<Vec<Var>> {
    let (axis, width) = (g.shape(ab).len() - 1, g.shape(ab).last() / 2);
    let a = axes::slice(g, ab, axis, 0..width)?;
    let b = axes::slice(g, ab, axis, width..2 * width)?;
    let s = pointwise::sigmoid(g, a)?;
    let silu = pointwise::mul(g, a, s)?;
    Ok(vec![pointwise::mul(g, silu, b)?])
}

pub(super) fn cases() -> Vec<Case> {
    let case = |shape: &[usize]| Case::with_grad(SwiGlu::Fwd, &[Type::f32(shape)], &[0]);
    vec![case(&[2]), case(&[3, 10]), case(&[2, 3, 134])]
}
