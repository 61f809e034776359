//! Sum and maximum over axes, and broadcasting.

use super::{Case, pointwise};
use crate::error::{Error, Result};
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::{Real, slice};
use crate::shape::{Shape, Type, expect};
use sit_shaders::{
    REDUCE_BROADCAST, REDUCE_MAX, REDUCE_MAX_ROWS, REDUCE_SUM, REDUCE_SUM_ROWS, ReduceDims,
};
use std::ops::Range;

/// The axes of one operation are adjacent: the tensor is viewed as `[outer, len, inner]`. Other reductions are composed of several.
#[derive(Clone, Debug)]
enum Reduce {
    /// x -> y, of size 1 along the axes
    Sum { axes: Range<usize> },
    /// x -> y, of size 1 along the axes
    Max { axes: Range<usize> },
    /// x, of size 1 along the axes -> y, of `sizes` there
    Broadcast { axes: Range<usize>, sizes: Shape },
}

/// `y = Σ x` over the axes, which are kept with size 1: `[2, 3, 4]` over axes 0 and 2 -> `[1, 3, 1]`.
///
/// # Errors
/// [`Error::Shape`] when x has no such axis.
pub fn sum(g: &mut Graph, x: Var, axes: &[usize]) -> Result<Var> {
    let reduce = |g: &mut Graph, x, axes| g.apply1(Reduce::Sum { axes }, &[x]);
    over_runs(g, "reduce_sum", x, axes, reduce)
}

/// The mean over the axes, which are kept with size 1.
///
/// # Errors
/// [`Error::Shape`] when x has no such axis.
pub fn mean(g: &mut Graph, x: Var, axes: &[usize]) -> Result<Var> {
    let total = sum(g, x, axes)?;
    let n = g.shape(x).numel() / g.shape(total).numel();
    pointwise::scale(g, total, 1.0 / n as f64)
}

/// The maximum over the axes, which are kept with size 1. It has no gradient: apply [`Graph::stop_gradient`] to the result.
///
/// # Errors
/// [`Error::Shape`] when x has no such axis.
pub fn max(g: &mut Graph, x: Var, axes: &[usize]) -> Result<Var> {
    let reduce = |g: &mut Graph, x, axes| g.apply1(Reduce::Max { axes }, &[x]);
    over_runs(g, "reduce_max", x, axes, reduce)
}

/// Repeats x along the axes where it has size 1: `[2, 1, 4]` -> `[2, 3, 4]`.
///
/// # Errors
/// [`Error::Shape`] when the numbers of axes differ, or a size of x is neither 1 nor that of `shape`.
pub fn broadcast(g: &mut Graph, x: Var, shape: impl Into<Shape>) -> Result<Var> {
    let (from, to) = (g.shape(x).clone(), shape.into());
    let fits = |(&a, &b): (&usize, &usize)| a == 1 || a == b;
    if from.len() != to.len() || !from.iter().zip(to.iter()).all(fits) {
        return Err(Error::Shape(format!(
            "reduce_broadcast: x is {from}, expected {to} or 1 in place of a size"
        )));
    }
    let axes = (0..to.len()).filter(|&axis| from[axis] != to[axis]);
    runs(axes).into_iter().try_fold(x, |x, axes| {
        let sizes = Shape::from(&to[axes.clone()]);
        g.apply1(Reduce::Broadcast { axes, sizes }, &[x])
    })
}

/// Repeats x `[B, D]` for every token: `[B, T, D]`, the `shape`.
pub(super) fn over_tokens(g: &mut Graph, x: Var, shape: &Shape) -> Result<Var> {
    let x = g.reshape(x, [shape[0], 1, shape[2]])?;
    broadcast(g, x, shape.clone())
}

/// Groups ascending numbers into contiguous ranges.
fn runs(axes: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for axis in axes {
        match runs.last_mut() {
            Some(run) if run.end == axis => run.end += 1,
            _ => runs.push(axis..axis + 1),
        }
    }
    runs
}

/// Applies `reduce` to each contiguous run of axes that have more than one element; the last run first, which reads along rows.
fn over_runs(
    g: &mut Graph,
    name: &str,
    x: Var,
    axes: &[usize],
    mut reduce: impl FnMut(&mut Graph, Var, Range<usize>) -> Result<Var>,
) -> Result<Var> {
    let shape = g.shape(x).clone();
    if let Some(axis) = axes.iter().find(|&&axis| axis >= shape.len()) {
        return Err(Error::Shape(format!(
            "{name}: x is {shape}, which has no axis {axis}"
        )));
    }
    let long = (0..shape.len()).filter(|axis| axes.contains(axis) && shape[*axis] > 1);
    let mut runs = runs(long).into_iter().rev();
    runs.try_fold(x, |x, run| reduce(g, x, run))
}

impl Reduce {
    fn axes(&self) -> &Range<usize> {
        match self {
            Reduce::Sum { axes } | Reduce::Max { axes } | Reduce::Broadcast { axes, .. } => axes,
        }
    }

    /// The sizes outer, len and inner of the longer tensor.
    fn sizes(&self, long: &[usize]) -> [usize; 3] {
        let axes = self.axes();
        [
            long[..axes.start].iter().product(),
            long[axes.clone()].iter().product(),
            long[axes.end..].iter().product(),
        ]
    }
}

impl Sealed for Reduce {}

impl Define for Reduce {
    fn name(&self) -> &'static str {
        match self {
            Reduce::Sum { .. } => "reduce_sum",
            Reduce::Max { .. } => "reduce_max",
            Reduce::Broadcast { .. } => "reduce_broadcast",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, x, axes) = (Define::name(self), &ins[0], self.axes());
        if axes.is_empty() || axes.end > x.shape.len() {
            return Err(Error::Shape(format!(
                "{name}: x is {x:?}, which has no axes {axes:?}"
            )));
        }
        let with = |sizes: &[usize]| {
            let (before, after) = (&x.shape[..axes.start], &x.shape[axes.end..]);
            Shape::from([before, sizes, after].concat())
        };
        let ones = with(&vec![1; axes.len()]);
        match self {
            Reduce::Broadcast { sizes, .. } => {
                expect(name, "x", x, ones, "it repeats along these axes")?;
                Ok(vec![Type::f32(with(sizes))])
            }
            _ => {
                expect(name, "x", x, x.shape.clone(), "numbers are reduced")?;
                Ok(vec![Type::f32(ones)])
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        match self {
            _ if self.axes().start > 0 => Some(&[]),
            Reduce::Broadcast { .. } => Some(&[0]),
            _ => None,
        }
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        // With fewer terms, most of a workgroup would be idle.
        const MIN_ROW: u32 = 64;
        let long = match self {
            Reduce::Broadcast { .. } => io.outs,
            _ => io.ins,
        };
        let [outer, len, inner] = self.sizes(&long[0].shape).map(|size| size as u32);
        // Depends on the length alone, so that a sample's bits do not depend on its batch.
        let rows = inner == 1 && len >= MIN_ROW;
        let kernel = match self {
            Reduce::Sum { .. } if rows => &REDUCE_SUM_ROWS,
            Reduce::Sum { .. } => &REDUCE_SUM,
            Reduce::Max { .. } if rows => &REDUCE_MAX_ROWS,
            Reduce::Max { .. } => &REDUCE_MAX,
            Reduce::Broadcast { .. } => &REDUCE_BROADCAST,
        };
        let dims = ReduceDims { outer, len, inner };
        Ok(vec![
            Launch::new(kernel, &dims, kernel.grid_flat(io.out_numel(0)))
                .input("x", 0)
                .output("y", 0),
        ])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let long = match self {
            Reduce::Broadcast { .. } => &io.out_types[0].shape,
            _ => &io.in_types[0].shape,
        };
        let [_, len, inner] = self.sizes(long);
        let x = io.ins[0];
        let [y, ..] = io.outs;
        if let Reduce::Broadcast { .. } = self {
            let row = len * inner;
            return for_rows(rows_mut(y, row), grain(row), |first, y| {
                let ins = x[first * inner..].chunks_exact(inner);
                for (y, x) in y.chunks_exact_mut(row).zip(ins) {
                    if inner == 1 {
                        y.fill(x[0]);
                    } else {
                        let copies = y.chunks_exact_mut(inner);
                        copies.for_each(|y| y.copy_from_slice(x));
                    }
                }
            });
        }
        let is_max = matches!(self, Reduce::Max { .. });
        for_rows(rows_mut(y, inner), grain(len * inner), |first, y| {
            let ins = x[first * len * inner..].chunks_exact(len * inner);
            for (y, x) in y.chunks_exact_mut(inner).zip(ins) {
                match (is_max, inner) {
                    (true, _) => max_rows(y, x),
                    (false, 1) => y[0] = slice::sum(x),
                    (false, _) => {
                        let (head, rest) = x.split_at(inner);
                        y.copy_from_slice(head);
                        for x in rest.chunks_exact(inner) {
                            slice::axpy(y, F::ONE, x);
                        }
                    }
                }
            }
        });
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let axes = self.axes().clone();
        let transpose = match self {
            Reduce::Sum { .. } => {
                let sizes = Shape::from(&g.shape(g.node(node).ins[0])[axes.clone()]);
                Reduce::Broadcast { axes, sizes }
            }
            Reduce::Broadcast { .. } => Reduce::Sum { axes },
            Reduce::Max { .. } => return no_gradient(self),
        };
        Ok(vec![match grads[0] {
            Some(grad) => Some(g.apply1(transpose, &[grad])?),
            None => None,
        }])
    }
}

/// The largest values of each column of x `[len, inner]`.
fn max_rows<F: Real>(y: &mut [F], x: &[F]) {
    let (head, rest) = x.split_at(y.len());
    y.copy_from_slice(head);
    for x in rest.chunks_exact(y.len()) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = y.max(x);
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let sum = |shape: &[usize], axes: Range<usize>| {
        Case::with_grad(Reduce::Sum { axes }, &[Type::f32(shape)], &[0])
    };
    let max =
        |shape: &[usize], axes: Range<usize>| Case::new(Reduce::Max { axes }, &[Type::f32(shape)]);
    let broadcast = |shape: &[usize], axes: Range<usize>| {
        let mut from = shape.to_vec();
        from[axes.clone()].fill(1);
        let sizes = Shape::from(&shape[axes.clone()]);
        Case::with_grad(Reduce::Broadcast { axes, sizes }, &[Type::f32(from)], &[0])
    };
    vec![
        sum(&[1], 0..1),
        sum(&[2, 3, 5], 1..2),
        sum(&[3, 70], 1..2),
        sum(&[3, 5, 64], 1..3),
        sum(&[70, 3], 0..1),
        sum(&[300], 0..1),
        max(&[1], 0..1),
        max(&[2, 3, 5], 1..2),
        max(&[3, 70], 1..2),
        max(&[70, 3], 0..1),
        broadcast(&[1], 0..1),
        broadcast(&[2, 3, 5], 1..2),
        broadcast(&[3, 67], 1..2),
        broadcast(&[5, 3], 0..1),
        broadcast(&[2, 3, 5], 0..3),
    ]
}
