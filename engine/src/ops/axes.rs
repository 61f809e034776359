//! Data movement: permuting axes, slicing and padding an axis, concatenating tensors.

use super::Case;
use crate::error::{Error, Result};
use crate::graph::{CpuIo, Define, Graph, Io, Launch, MAX_ARGS, NodeId, Var, op::Sealed};
use crate::num::Real;
use crate::num::par::{for_rows, grain, rows_mut};
use crate::shape::{Shape, Type, expect};
use sit_shaders::{AXES_CONCAT, AXES_PAD, AXES_PERMUTE, AXES_SLICE, AxesDims, AxesPermuteDims};
use std::ops::Range;

/// Maximum number of axes in a permutation.
pub(crate) const MAX_AXES: usize = 5;

#[derive(Clone, Debug)]
enum Axes {
    /// x -> y, axis k of y is axis `order[k]` of x
    Permute { order: Vec<usize> },
    /// x -> y, the range `part` of the axis
    Slice { axis: usize, part: Range<usize> },
    /// x -> y, padded with 0 to `size` along the axis; x begins at `first`
    Pad {
        axis: usize,
        first: usize,
        size: usize,
    },
    /// x0, x1, .. -> y, concatenated along the axis
    Concat { axis: usize },
}

/// Permutes the axes: axis k of y is axis `order[k]` of x (PyTorch `permute`), for at most 5 axes.
///
/// # Errors
/// [`Error::Shape`] when `order` does not name every axis once.
pub fn permute(g: &mut Graph, x: Var, order: &[usize]) -> Result<Var> {
    let order = order.to_vec();
    g.apply1(Axes::Permute { order }, &[x])
}

/// `y = x[.., part, ..]` along one axis.
///
/// # Errors
/// [`Error::Shape`] when x has no such axis, or the range exceeds it.
pub fn slice(g: &mut Graph, x: Var, axis: usize, part: Range<usize>) -> Result<Var> {
    g.apply1(Axes::Slice { axis, part }, &[x])
}

/// Pads x with zeros along one axis to `size` elements, x beginning at `first`. The adjoint of [`slice()`].
///
/// # Errors
/// [`Error::Shape`] when x has no such axis, or does not fit.
pub fn pad(g: &mut Graph, x: Var, axis: usize, first: usize, size: usize) -> Result<Var> {
    g.apply1(Axes::Pad { axis, first, size }, &[x])
}

/// Concatenates the tensors along one axis (PyTorch `cat`): at most 8, equal except for their sizes along the axis.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit or there are too many.
pub fn concat(g: &mut Graph, xs: &[Var], axis: usize) -> Result<Var> {
    g.apply1(Axes::Concat { axis }, xs)
}

/// `[B, C, H, W]` -> `[B, H, W, C]`.
///
/// # Errors
/// [`Error::Shape`] for other than four axes.
pub fn channels_last(g: &mut Graph, x: Var) -> Result<Var> {
    let [b, c, height, width] = four(g, x)?;
    let x = g.reshape(x, [b, c, height * width])?;
    let x = permute(g, x, &[0, 2, 1])?;
    g.reshape(x, [b, height, width, c])
}

/// `[B, H, W, C]` -> `[B, C, H, W]`.
///
/// # Errors
/// [`Error::Shape`] for other than four axes.
pub fn channels_first(g: &mut Graph, x: Var) -> Result<Var> {
    let [b, height, width, c] = four(g, x)?;
    let x = g.reshape(x, [b, height * width, c])?;
    let x = permute(g, x, &[0, 2, 1])?;
    g.reshape(x, [b, c, height, width])
}

fn four(g: &Graph, x: Var) -> Result<[usize; 4]> {
    let shape = g.shape(x);
    let sizes: &[usize] = shape;
    sizes
        .try_into()
        .map_err(|_| Error::Shape(format!("x is {shape}, expected the four axes of images")))
}

fn with_size(shape: &Shape, axis: usize, size: usize) -> Shape {
    let mut sizes = shape.to_vec();
    sizes[axis] = size;
    Shape::from(sizes)
}

/// Elements from the axis on: the product of its size and the inner sizes.
fn width(shape: &[usize], axis: usize) -> usize {
    shape[axis..].iter().product()
}

/// The stride in x of each axis of y.
fn strides(x: &[usize], order: &[usize]) -> Vec<usize> {
    let along = order.iter().map(|&axis| width(x, axis + 1));
    along.collect()
}

impl Sealed for Axes {}

impl Define for Axes {
    fn name(&self) -> &'static str {
        match self {
            Axes::Permute { .. } => "axes_permute",
            Axes::Slice { .. } => "axes_slice",
            Axes::Pad { .. } => "axes_pad",
            Axes::Concat { .. } => "axes_concat",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let name = Define::name(self);
        let refuse = |expected: String| {
            let got = ins.first();
            let got = got.map_or("nothing".into(), |x| format!("{x:?}"));
            Err(Error::Shape(format!(
                "{name}: x is {got}, expected {expected}"
            )))
        };
        let Some(x) = ins.first().filter(|_| ins.len() <= MAX_ARGS) else {
            return refuse(format!("1 to {MAX_ARGS} tensors, got {}", ins.len()));
        };
        let n_axes = x.shape.len();
        expect(name, "x", x, x.shape.clone(), "numbers are moved")?;
        match self {
            Axes::Permute { order } => {
                let once = (0..n_axes).all(|axis| order.contains(&axis));
                if order.len() != n_axes || !once || n_axes > MAX_AXES {
                    return refuse(format!(
                        "at most {MAX_AXES} axes, each once in the order {order:?}"
                    ));
                }
                let sizes: Vec<usize> = order.iter().map(|&axis| x.shape[axis]).collect();
                Ok(vec![Type::f32(sizes)])
            }
            Axes::Slice { axis, part } => {
                if *axis >= n_axes || part.is_empty() || part.end > x.shape[*axis] {
                    return refuse(format!("a part {part:?} along axis {axis}"));
                }
                Ok(vec![Type::f32(with_size(&x.shape, *axis, part.len()))])
            }
            Axes::Pad { axis, first, size } => {
                if *axis >= n_axes || first + x.shape[*axis] > *size {
                    return refuse(format!("at {first} of {size} elements along axis {axis}"));
                }
                Ok(vec![Type::f32(with_size(&x.shape, *axis, *size))])
            }
            Axes::Concat { axis } => {
                if *axis >= n_axes {
                    return refuse(format!("an axis {axis}"));
                }
                let mut size = 0;
                for part in ins {
                    let along = part.shape.get(*axis).copied().unwrap_or(0);
                    let expected = with_size(&x.shape, *axis, along);
                    let because = format_args!("the first is {x:?}");
                    expect(name, "a part", part, expected, because)?;
                    size += along;
                }
                Ok(vec![Type::f32(with_size(&x.shape, *axis, size))])
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        let keeps_samples = match self {
            Axes::Permute { order } => order.first().is_some_and(|&axis| axis == 0),
            Axes::Slice { axis, .. } | Axes::Pad { axis, .. } | Axes::Concat { axis } => *axis > 0,
        };
        keeps_samples.then_some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let (x, y) = (&io.ins[0].shape, &io.outs[0].shape);
        if let Axes::Permute { order } = self {
            let missing = MAX_AXES - order.len();
            let pad = |sizes: &[usize], fill: usize| -> [u32; MAX_AXES] {
                std::array::from_fn(|k| if k < missing { fill } else { sizes[k - missing] } as u32)
            };
            let [_, size1, size2, size3, size4] = pad(y, 1);
            let [stride0, stride1, stride2, stride3, stride4] = pad(&strides(x, order), 0);
            let dims = AxesPermuteDims {
                n: io.out_numel(0),
                size1,
                size2,
                size3,
                size4,
                stride0,
                stride1,
                stride2,
                stride3,
                stride4,
            };
            let grid = AXES_PERMUTE.grid_flat(dims.n);
            return Ok(vec![
                Launch::new(&AXES_PERMUTE, &dims, grid)
                    .input("x", 0)
                    .output("y", 0),
            ]);
        }
        let (kernel, axis, mut at) = match *self {
            Axes::Slice { axis, ref part } => (&AXES_SLICE, axis, part.start),
            Axes::Pad { axis, first, .. } => (&AXES_PAD, axis, first),
            Axes::Concat { axis } => (&AXES_CONCAT, axis, 0),
            Axes::Permute { .. } => unreachable!("launched above"),
        };
        let inner = width(y, axis + 1);
        let launch = |i: usize| {
            let n = match self {
                Axes::Concat { .. } => io.numel(i),
                _ => io.out_numel(0),
            };
            let dims = AxesDims {
                n,
                width: width(&io.ins[i].shape, axis) as u32,
                out_width: width(y, axis) as u32,
                first: (at * inner) as u32,
            };
            at += io.ins[i].shape[axis];
            Launch::new(kernel, &dims, kernel.grid_flat(n))
                .input("x", i)
                .output("y", 0)
        };
        Ok((0..io.ins.len()).map(launch).collect())
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let types = io.in_types;
        let (shape, out_shape) = (&types[0].shape[..], &io.out_types[0].shape[..]);
        let (parts, x) = (io.ins, io.ins[0]);
        let [y, ..] = io.outs;
        match *self {
            Axes::Permute { ref order } => permute_cpu(y, out_shape, x, &strides(shape, order)),
            Axes::Slice { axis, ref part } => {
                let (from, to) = (width(shape, axis), width(out_shape, axis));
                let first = part.start * width(shape, axis + 1);
                for_rows(rows_mut(y, to), grain(to), |row, y| {
                    let ins = x[row * from..].chunks_exact(from);
                    for (y, x) in y.chunks_exact_mut(to).zip(ins) {
                        y.copy_from_slice(&x[first..][..to]);
                    }
                });
            }
            Axes::Pad { axis, first, .. } => {
                let (from, to) = (width(shape, axis), width(out_shape, axis));
                let first = first * width(shape, axis + 1);
                for_rows(rows_mut(y, to), grain(to), |row, y| {
                    let ins = x[row * from..].chunks_exact(from);
                    for (y, x) in y.chunks_exact_mut(to).zip(ins) {
                        y[..first].fill(F::ZERO);
                        y[first..][..from].copy_from_slice(x);
                        y[first + from..].fill(F::ZERO);
                    }
                });
            }
            Axes::Concat { axis } => {
                let to = width(out_shape, axis);
                for_rows(rows_mut(y, to), grain(to), |row, y| {
                    for (i, mut y) in y.chunks_exact_mut(to).enumerate() {
                        for (ty, x) in types.iter().zip(parts) {
                            let from = width(&ty.shape, axis);
                            let (part, rest) = y.split_at_mut(from);
                            part.copy_from_slice(&x[(row + i) * from..][..from]);
                            y = rest;
                        }
                    }
                });
            }
        }
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let ins = g.node(node).ins.clone();
        let Some(grad) = grads[0] else {
            return Ok(vec![None; ins.len()]);
        };
        let size = |g: &Graph, x: Var, axis: usize| g.shape(x)[axis];
        let flow = match *self {
            Axes::Permute { ref order } => {
                let back = |axis| order.iter().position(|&from| from == axis);
                let back: Vec<usize> = (0..order.len()).filter_map(back).collect();
                permute(g, grad, &back)?
            }
            Axes::Slice { axis, ref part } => {
                let size = size(g, ins[0], axis);
                pad(g, grad, axis, part.start, size)?
            }
            Axes::Pad { axis, first, .. } => {
                let end = first + size(g, ins[0], axis);
                slice(g, grad, axis, first..end)?
            }
            Axes::Concat { axis } => {
                let mut end = 0;
                let mut part = |&x: &Var| {
                    let first = end;
                    end += size(g, x, axis);
                    slice(g, grad, axis, first..end).map(Some)
                };
                return ins.iter().map(&mut part).collect();
            }
        };
        Ok(vec![Some(flow)])
    }
}

/// Fills y row by row, along its last axis.
fn permute_cpu<F: Real>(y: &mut [F], sizes: &[usize], x: &[F], strides: &[usize]) {
    let (Some((&len, sizes)), Some((&stride, strides))) =
        (sizes.split_last(), strides.split_last())
    else {
        return y.copy_from_slice(x);
    };
    for_rows(rows_mut(y, len), grain(len), |first, y| {
        let (mut rest, mut at, mut index) = (first, 0, [0; MAX_AXES]);
        for axis in (0..sizes.len()).rev() {
            index[axis] = rest % sizes[axis];
            at += index[axis] * strides[axis];
            rest /= sizes[axis];
        }
        for y in y.chunks_exact_mut(len) {
            if stride == 1 {
                y.copy_from_slice(&x[at..][..len]);
            } else {
                let elements = y.iter_mut().zip(x[at..].iter().step_by(stride.max(1)));
                elements.for_each(|(y, &x)| *y = x);
            }
            // Counts the rows like an odometer: a division for each would take longer than a short row.
            for axis in (0..sizes.len()).rev() {
                (index[axis], at) = (index[axis] + 1, at + strides[axis]);
                if index[axis] < sizes[axis] {
                    break;
                }
                (index[axis], at) = (0, at - sizes[axis] * strides[axis]);
            }
        }
    });
}

pub(super) fn cases() -> Vec<Case> {
    let permute = |shape: &[usize], order: &[usize]| {
        let order = order.to_vec();
        Case::with_grad(Axes::Permute { order }, &[Type::f32(shape)], &[0])
    };
    let slice = |shape: &[usize], axis, part| {
        Case::with_grad(Axes::Slice { axis, part }, &[Type::f32(shape)], &[0])
    };
    let pad = |shape: &[usize], axis, first, size| {
        Case::with_grad(Axes::Pad { axis, first, size }, &[Type::f32(shape)], &[0])
    };
    let concat = |shape: &[usize], axis: usize, sizes: &[usize]| {
        let part = |&size: &usize| Type::f32(with_size(&Shape::from(shape), axis, size));
        let ins: Vec<Type> = sizes.iter().map(part).collect();
        let wrt: Vec<usize> = (0..ins.len()).collect();
        Case::with_grad(Axes::Concat { axis }, &ins, &wrt)
    };
    vec![
        permute(&[1], &[0]),
        permute(&[3, 5], &[1, 0]),
        permute(&[2, 7, 5, 5], &[0, 2, 1, 3]),
        permute(&[2, 3, 3, 2, 5], &[2, 0, 3, 1, 4]),
        permute(&[2, 3, 2, 2, 5], &[4, 2, 0, 1, 3]),
        slice(&[1], 0, 0..1),
        slice(&[5, 3], 0, 1..4),
        slice(&[3, 7, 5], 1, 2..5),
        slice(&[3, 130], 1, 1..130),
        pad(&[1], 0, 0, 1),
        pad(&[3, 2], 0, 1, 5),
        pad(&[3, 3, 5], 1, 2, 7),
        concat(&[1], 0, &[1]),
        concat(&[1, 3], 0, &[2, 1]),
        concat(&[3, 1, 5], 1, &[1, 3, 2]),
        concat(&[2, 1], 1, &[1, 130, 2, 3, 4, 5, 6, 7]),
    ]
}
