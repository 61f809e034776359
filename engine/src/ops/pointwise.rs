//! Operations on every element by itself.

use super::Case;
use crate::error::Result;
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::{Real, slice};
use crate::shape::{Type, expect};
use sit_shaders::{
    POINTWISE_ADD, POINTWISE_COPY, POINTWISE_MUL, POINTWISE_SILU_BWD, POINTWISE_SILU_FWD,
    PointwiseDims,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pointwise {
    /// x -> y = x·sigmoid(x)
    SiluFwd,
    /// g, x -> gx
    SiluBwd,
    /// a, b -> y = a + b
    Add,
    /// a, b -> y = a·b
    Mul,
    /// x -> y = x
    Copy,
}

/// SiLU: `y = x / (1 + e^-x)`, any shape. The backward needs x.
///
/// # Errors
/// None for a float tensor.
pub fn silu(g: &mut Graph, x: Var) -> Result<Var> {
    g.apply1(Pointwise::SiluFwd, &[x])
}

/// `y = a + b`, equal shapes: where gradients meet.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes differ.
pub fn add(g: &mut Graph, a: Var, b: Var) -> Result<Var> {
    g.apply1(Pointwise::Add, &[a, b])
}

/// `y = a b` element by element, equal shapes.
///
/// # Errors
/// [`crate::Error::Shape`] when the shapes differ.
pub fn mul(g: &mut Graph, a: Var, b: Var) -> Result<Var> {
    g.apply1(Pointwise::Mul, &[a, b])
}

/// `y = x`, any shape, in memory of its own.
///
/// # Errors
/// None for a float tensor.
pub fn copy(g: &mut Graph, x: Var) -> Result<Var> {
    g.apply1(Pointwise::Copy, &[x])
}

impl Sealed for Pointwise {}

impl Define for Pointwise {
    fn name(&self) -> &'static str {
        match self {
            Pointwise::SiluFwd => "pointwise_silu_fwd",
            Pointwise::SiluBwd => "pointwise_silu_bwd",
            Pointwise::Add => "pointwise_add",
            Pointwise::Mul => "pointwise_mul",
            Pointwise::Copy => "pointwise_copy",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        for (i, x) in ins.iter().enumerate() {
            expect(
                Define::name(self),
                ["first", "second"][i],
                x,
                ins[0].shape.clone(),
                format_args!("the first is {:?}", ins[0]),
            )?;
        }
        Ok(vec![ins[0].clone()])
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let n = io.numel(0);
        let (kernel, ins, out): (_, &[&'static str], _) = match self {
            Pointwise::SiluFwd => (&POINTWISE_SILU_FWD, &["x"], "y"),
            Pointwise::SiluBwd => (&POINTWISE_SILU_BWD, &["g", "x"], "gx"),
            Pointwise::Add => (&POINTWISE_ADD, &["a", "b"], "y"),
            Pointwise::Mul => (&POINTWISE_MUL, &["a", "b"], "y"),
            Pointwise::Copy => (&POINTWISE_COPY, &["x"], "y"),
        };
        let launch = Launch::new(kernel, &PointwiseDims { n }, kernel.grid_flat(n)).output(out, 0);
        Ok(vec![
            ins.iter()
                .enumerate()
                .fold(launch, |l, (i, &name)| l.input(name, i)),
        ])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let [a, b, ..] = io.ins;
        let [y, ..] = io.outs;
        for_rows(rows_mut(y, 1), grain(1), |first, y| {
            let a = &a[first..][..y.len()];
            let b = b.get(first..first + y.len()).unwrap_or_default();
            match self {
                Pointwise::SiluFwd => slice::map(
                    y,
                    a,
                    #[inline(always)]
                    |x| slice::silu(x),
                ),
                Pointwise::SiluBwd => slice::zip_map(
                    y,
                    a,
                    b,
                    #[inline(always)]
                    |g, x| g * slice::silu_grad(x),
                ),
                Pointwise::Add => slice::zip_map(
                    y,
                    a,
                    b,
                    #[inline(always)]
                    |a, b| a + b,
                ),
                Pointwise::Copy => y.copy_from_slice(a),
                Pointwise::Mul => slice::zip_map(
                    y,
                    a,
                    b,
                    #[inline(always)]
                    |a, b| a * b,
                ),
            }
        });
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let ins = g.node(node).ins.clone();
        match (self, grads[0]) {
            (Pointwise::SiluFwd, Some(grad)) => {
                Ok(vec![Some(g.apply1(Pointwise::SiluBwd, &[grad, ins[0]])?)])
            }
            (Pointwise::Add, grad) => Ok(vec![grad, grad]),
            (Pointwise::Copy, grad) => Ok(vec![grad]),
            (Pointwise::Mul, Some(grad)) => Ok(vec![
                Some(mul(g, grad, ins[1])?),
                Some(mul(g, grad, ins[0])?),
            ]),
            _ => no_gradient(self),
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |op: Pointwise, n: usize| match op {
        Pointwise::SiluFwd => Case::with_grad(op, &[Type::f32([n])], &[0]),
        Pointwise::Copy => Case::with_grad(op, &[Type::f32([n])], &[0]),
        Pointwise::Add | Pointwise::Mul => {
            Case::with_grad(op, &[Type::f32([n]), Type::f32([n])], &[0, 1])
        }
        _ => Case::new(op, &[Type::f32([n]), Type::f32([n])]),
    };
    [
        Pointwise::SiluFwd,
        Pointwise::SiluBwd,
        Pointwise::Add,
        Pointwise::Mul,
        Pointwise::Copy,
    ]
    .into_iter()
    .flat_map(|op| [1, 7, 256, 1000].map(|n| case(op, n)))
    .collect()
}
