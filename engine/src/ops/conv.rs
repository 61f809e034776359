//! Convolutions of images in the order `[B, H, W, C]`, as products of patches with weights `[O, kh, kw, C]`.

mod cases;
mod cpu;

pub(super) use cases::cases;

use super::{axes, linear, matmul, pointwise, reduce};
use crate::error::{Error, Result};
use crate::graph::op::{Sealed, no_gradient};
use crate::graph::{CpuIo, Define, Graph, Io, Launch, NodeId, Var};
use crate::num::Real;
use crate::shape::{Type, expect, expect_axes};
use sit_shaders::{
    CONV_BWD_W_32, CONV_BWD_W_64, CONV_BWD_X_32, CONV_BWD_X_64, CONV_FWD_32, CONV_FWD_64,
    CONV_RELU_32, CONV_RELU_64, ConvDims,
};
use std::ops::Range;

/// How the windows of a kernel lie on an image: the distance between neighbors, and the rows and columns of zeros on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Pixels between windows, along both axes.
    pub stride: usize,
    /// Rows above the image.
    pub top: usize,
    /// Rows below it.
    pub bottom: usize,
    /// Columns to the left of it.
    pub left: usize,
    /// Columns to the right of it.
    pub right: usize,
}

impl Windows {
    /// Windows `stride` pixels apart, with `padding` on all sides.
    pub fn new(stride: usize, padding: usize) -> Self {
        Windows {
            stride,
            top: padding,
            bottom: padding,
            left: padding,
            right: padding,
        }
    }

    /// Windows along the height and the width of an image `[B, H, W, C]` for a kernel `[kh, kw]`.
    pub(super) fn grid(&self, op: &str, x: &Type, kernel: [usize; 2]) -> Result<[usize; 2]> {
        expect_axes(op, "x", x, 4, "[B, H, W, C]")?;
        let padded = [
            x.shape[1] + self.top + self.bottom,
            x.shape[2] + self.left + self.right,
        ];
        if self.stride == 0 || kernel.contains(&0) || kernel[0] > padded[0] || kernel[1] > padded[1]
        {
            return Err(Error::Shape(format!(
                "{op}: x is {x:?}, which has no window of a kernel {kernel:?} with {self:?}"
            )));
        }
        let along = |axis: usize| (padded[axis] - kernel[axis]) / self.stride + 1;
        Ok([along(0), along(1)])
    }

    /// [`Windows::grid`] where every window has a pixel of the image.
    pub(super) fn filled_grid(&self, op: &str, x: &Type, kernel: [usize; 2]) -> Result<[usize; 2]> {
        let grid = self.grid(op, x, kernel)?;
        let far = |n: usize| (n - 1) * self.stride;
        let outside = self.top >= kernel[0]
            || self.left >= kernel[1]
            || far(grid[0]) >= x.shape[1] + self.top
            || far(grid[1]) >= x.shape[2] + self.left;
        if outside {
            return Err(Error::Shape(format!(
                "{op}: x is {x:?}, and a window of kernel {kernel:?} with {self:?} is entirely outside it"
            )));
        }
        Ok(grid)
    }

    /// Rows and columns of an image `[H, W]` in window (r, q).
    pub(super) fn pixels(
        &self,
        at: [usize; 2],
        kernel: [usize; 2],
        image: [usize; 2],
    ) -> [Range<usize>; 2] {
        let along = |axis: usize, before: usize| {
            let first = at[axis] * self.stride;
            let end = (first + kernel[axis]).saturating_sub(before);
            let end = end.min(image[axis]);
            first.saturating_sub(before).min(end)..end
        };
        [along(0, self.top), along(1, self.left)]
    }

    /// Rows and columns of the windows, of a grid `[H', W']`, that contain pixel (h, w).
    pub(super) fn around(
        &self,
        at: [usize; 2],
        kernel: [usize; 2],
        grid: [usize; 2],
    ) -> [Range<usize>; 2] {
        let along = |axis: usize, before: usize| {
            let end = ((at[axis] + before) / self.stride + 1).min(grid[axis]);
            let first = (at[axis] + before + 1).saturating_sub(kernel[axis]);
            first.div_ceil(self.stride).min(end)..end
        };
        [along(0, self.top), along(1, self.left)]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conv {
    /// x `[B, H, W, C]`, w `[O, kh, kw, C]`, b `[O]` -> y `[B, H', W', O]`, whose negative values become 0 if `relu`
    Fwd { windows: Windows, relu: bool },
    /// g `[B, H', W', O]`, w `[O, kh, kw, C]` -> gx `[B, H, W, C]`
    BwdX { windows: Windows, image: [usize; 2] },
    /// g `[B, H', W', O]`, x `[B, H, W, C]` -> gw `[O, kh, kw, C]`, gb `[O]` (and, with more than one slice of windows, the GPU's
    /// partial sums `[S, O, kh, kw, C]`, `[S, O]`, which the CPU does not use)
    BwdW {
        windows: Windows,
        kernel: [usize; 2],
    },
}

/// `y[b, r, q, o] = bias[o] + Σ_ijc w[o, i, j, c] x[b, stride r + i - top, stride q + j - left, c]` with zeros outside the image
/// (PyTorch `conv2d`, a cross-correlation): x `[B, H, W, C]`, w `[O, kh, kw, C]`, bias `[O]` -> `[B, H', W', O]`,
/// `H' = (H + top + bottom - kh) / stride + 1`. The backward needs x and w.
///
/// A kernel of one pixel is [`linear`](super::linear::linear()) on the same memory, which is faster.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit, or no window fits on the padded image.
pub fn conv(g: &mut Graph, x: Var, w: Var, bias: Option<Var>, windows: Windows) -> Result<Var> {
    let bias = match bias {
        Some(bias) => bias,
        None => {
            let outputs = g.shape(w).first().copied().unwrap_or(0);
            g.constant(0.0, [outputs])
        }
    };
    let relu = false;
    g.apply1(Conv::Fwd { windows, relu }, &[x, w, bias])
}

/// `y = max(conv(x) + bias, 0)` in one pass, with a bias and shapes as in [`conv()`]. The backward needs x, w and y.
///
/// # Errors
/// As [`conv()`].
pub fn conv_relu(g: &mut Graph, x: Var, w: Var, bias: Var, windows: Windows) -> Result<Var> {
    let relu = true;
    g.apply1(Conv::Fwd { windows, relu }, &[x, w, bias])
}

impl Sealed for Conv {}

impl Define for Conv {
    fn name(&self) -> &'static str {
        match self {
            Conv::Fwd { relu: false, .. } => "conv_fwd",
            Conv::Fwd { relu: true, .. } => "conv_relu",
            Conv::BwdX { .. } => "conv_bwd_x",
            Conv::BwdW { .. } => "conv_bwd_w",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let name = Define::name(self);
        match *self {
            Conv::Fwd { windows, .. } => {
                let (x, w) = (&ins[0], &ins[1]);
                expect_axes(name, "w", w, 4, "[O, kh, kw, C]")?;
                let kernel = [w.shape[1], w.shape[2]];
                let [rows, columns] = windows.grid(name, x, kernel)?;
                let because = format_args!("x is {x:?}");
                expect(name, "w", w, w.shape.with_last(x.shape[3]), because)?;
                expect(name, "b", &ins[2], [w.shape[0]], format_args!("w is {w:?}"))?;
                Ok(vec![Type::f32([x.shape[0], rows, columns, w.shape[0]])])
            }
            Conv::BwdX { windows, image } => {
                let (g, w) = (&ins[0], &ins[1]);
                expect_axes(name, "g", g, 4, "[B, H', W', O]")?;
                expect_axes(name, "w", w, 4, "[O, kh, kw, C]")?;
                let gx = Type::f32([g.shape[0], image[0], image[1], w.shape[3]]);
                let [rows, columns] = windows.grid(name, &gx, [w.shape[1], w.shape[2]])?;
                let expected = [g.shape[0], rows, columns, w.shape[0]];
                expect(name, "g", g, expected, format_args!("w is {w:?}"))?;
                Ok(vec![gx])
            }
            Conv::BwdW { windows, kernel } => {
                let (g, x) = (&ins[0], &ins[1]);
                let [rows, columns] = windows.grid(name, x, kernel)?;
                let expected = [x.shape[0], rows, columns, g.shape.last()];
                expect(name, "g", g, expected, format_args!("x is {x:?}"))?;
                let (n, c) = (g.shape.last(), x.shape[3]);
                let mut outs = vec![Type::f32([n, kernel[0], kernel[1], c]), Type::f32([n])];
                let (m, k) = (g.shape.rows(), kernel[0] * kernel[1] * c);
                let slices = m.div_ceil(linear::slice_rows(m, n, k));
                if slices > 1 {
                    let partial = [slices, n, kernel[0], kernel[1], c];
                    outs.extend([Type::f32(partial), Type::f32([slices, n])]);
                }
                Ok(outs)
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        match self {
            Conv::Fwd { .. } => Some(&[1, 2]),
            Conv::BwdX { .. } => Some(&[1]),
            Conv::BwdW { .. } => None,
        }
    }

    /// The windows times the weight, in all three products.
    fn macs(&self, ins: &[Type]) -> u64 {
        match *self {
            Conv::Fwd { windows, .. } => {
                let (x, w) = (&ins[0].shape, &ins[1]);
                let grid = windows.grid("", &ins[0], [w.shape[1], w.shape[2]]);
                let [rows, columns] = grid.unwrap_or_default();
                (x[0] * rows * columns * w.shape.numel()) as u64
            }
            Conv::BwdX { .. } => (ins[0].shape.rows() * ins[1].shape.numel()) as u64,
            Conv::BwdW { kernel, .. } => {
                let per_output = kernel[0] * kernel[1] * ins[1].shape.last();
                (ins[0].shape.numel() * per_output) as u64
            }
        }
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        Ok(match *self {
            Conv::Fwd { windows, relu } => {
                let dims = dims(&io.ins[0], &io.outs[0], &io.ins[1], windows);
                let (wide, any) = match relu {
                    false => (&CONV_FWD_64, &CONV_FWD_32),
                    true => (&CONV_RELU_64, &CONV_RELU_32),
                };
                let kernel = linear::variant(dims.outputs, dims.channels, wide, any);
                let windows = dims.batch * dims.out_height * dims.out_width;
                vec![
                    Launch::new(kernel, &dims, kernel.grid([dims.outputs, windows, 1]))
                        .input("x", 0)
                        .input("w", 1)
                        .input("b", 2)
                        .output("y", 0),
                ]
            }
            Conv::BwdX { windows, .. } => {
                let dims = dims(&io.outs[0], &io.ins[0], &io.ins[1], windows);
                let (wide, any) = (&CONV_BWD_X_64, &CONV_BWD_X_32);
                let kernel = linear::variant(dims.outputs, dims.channels, wide, any);
                let pixels = dims.batch * dims.height * dims.width;
                vec![
                    Launch::new(kernel, &dims, kernel.grid([dims.channels, pixels, 1]))
                        .input("g", 0)
                        .input("w", 1)
                        .output("gx", 0),
                ]
            }
            Conv::BwdW { windows, .. } => launch_bwd_w(io, windows),
        })
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        match *self {
            Conv::Fwd { windows, relu } => cpu::fwd(io, windows, relu),
            Conv::BwdX { windows, .. } => cpu::bwd_x(io, windows),
            Conv::BwdW { windows, kernel } => cpu::bwd_w(io, windows, kernel),
        }
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let (&Conv::Fwd { windows, relu }, Some(grad)) = (self, grads[0]) else {
            return no_gradient(self);
        };
        let grad = match relu {
            false => grad,
            true => {
                let slope = pointwise::step(g, g.var(node, 0))?;
                pointwise::mul(g, grad, slope)?
            }
        };
        let ins = g.node(node).ins.clone();
        let (x, w) = (g.shape(ins[0]).clone(), g.shape(ins[1]).clone());
        let (image, kernel) = ([x[1], x[2]], [w[1], w[2]]);
        let gx = g.apply1(Conv::BwdX { windows, image }, &[grad, ins[1]])?;
        let gw = g.apply(Conv::BwdW { windows, kernel }, &[grad, ins[0]])?;
        Ok(vec![Some(gx), Some(g.var(gw, 0)), Some(g.var(gw, 1))])
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        match *self {
            Conv::Fwd { windows, relu } => {
                Some(in_primitives(g, ins, windows, relu).map(|y| vec![y]))
            }
            Conv::BwdX { .. } | Conv::BwdW { .. } => None,
        }
    }
}

/// Sizes for the kernels, from the image, its convolution and the weight.
fn dims(x: &Type, y: &Type, w: &Type, windows: Windows) -> ConvDims {
    let [batch, height, width, channels] = std::array::from_fn(|axis| x.shape[axis] as u32);
    let [out_height, out_width, outputs] = std::array::from_fn(|axis| y.shape[axis + 1] as u32);
    ConvDims {
        batch,
        height,
        width,
        channels,
        out_height,
        out_width,
        outputs,
        kernel_height: w.shape[1] as u32,
        kernel_width: w.shape[2] as u32,
        stride: windows.stride as u32,
        top: windows.top as u32,
        left: windows.left as u32,
        slice_rows: 0,
    }
}

fn launch_bwd_w(io: &Io, windows: Windows) -> Vec<Launch> {
    let (g, x, w) = (&io.ins[0], &io.ins[1], &io.outs[0]);
    let (m, n) = (g.shape.rows(), g.shape.last());
    let k = w.shape.numel() / n;
    let rows = linear::slice_rows(m, n, k);
    let dims = ConvDims {
        slice_rows: rows as u32,
        ..dims(x, g, w, windows)
    };
    let [n, k, slices] = [n, k, m.div_ceil(rows)].map(|size| size as u32);
    let kernel = linear::variant(n, dims.channels, &CONV_BWD_W_64, &CONV_BWD_W_32);
    let products = Launch::new(kernel, &dims, kernel.grid([k, n, slices]))
        .input("g", 0)
        .input("x", 1);
    linear::with_sums(products, [n, k, slices])
}

/// The pixels `[B H' W', C]` of x `[B, H, W, C]` that the windows of a grid `[H', W']` have at a tap, in primitives.
pub(super) fn shifted(
    g: &mut Graph,
    x: Var,
    windows: Windows,
    tap: [usize; 2],
    grid: [usize; 2],
) -> Result<Var> {
    let [batch, height, width, c] = std::array::from_fn(|axis| g.shape(x)[axis]);
    let ([rows, columns], stride) = (grid, windows.stride);
    // Enough zeros below and to the right for whole strides.
    let tall = (windows.top + height).max(tap[0] + stride * rows);
    let wide = (windows.left + width).max(tap[1] + stride * columns);
    let x = axes::pad(g, x, 1, windows.top, tall)?;
    let x = axes::pad(g, x, 2, windows.left, wide)?;
    let x = axes::slice(g, x, 1, tap[0]..tap[0] + stride * rows)?;
    let x = g.reshape(x, [batch * rows, stride, wide * c])?;
    let x = axes::slice(g, x, 1, 0..1)?;
    let x = g.reshape(x, [batch * rows, wide, c])?;
    let x = axes::slice(g, x, 1, tap[1]..tap[1] + stride * columns)?;
    let x = g.reshape(x, [batch * rows * columns, stride, c])?;
    let x = axes::slice(g, x, 1, 0..1)?;
    g.reshape(x, [batch * rows * columns, c])
}

/// A sum over the taps of products of shifted images with the tap's weights.
fn in_primitives(g: &mut Graph, ins: &[Var], windows: Windows, relu: bool) -> Result<Var> {
    let (x, w) = (ins[0], ins[1]);
    let (batch, c) = (g.shape(x)[0], g.shape(x)[3]);
    let [n, kh, kw] = std::array::from_fn(|axis| g.shape(w)[axis]);
    let [rows, columns] = windows.grid("conv_fwd", g.ty(x), [kh, kw])?;
    let taps = g.reshape(w, [n, kh * kw, c])?;
    let bias = g.reshape(ins[2], [1, n])?;
    let mut sum = reduce::broadcast(g, bias, [batch * rows * columns, n])?;
    for (i, j) in (0..kh).flat_map(|i| (0..kw).map(move |j| (i, j))) {
        let part = shifted(g, x, windows, [i, j], [rows, columns])?;
        let tap = axes::slice(g, taps, 1, i * kw + j..i * kw + j + 1)?;
        let tap = g.reshape(tap, [n, c])?;
        let product = matmul::matmul(g, part, tap, false, true)?;
        sum = pointwise::add(g, sum, product)?;
    }
    if relu {
        sum = pointwise::relu(g, sum)?;
    }
    g.reshape(sum, [batch, rows, columns, n])
}
