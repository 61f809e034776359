//! Sums and means over windows of an image, and their transposes, among which is the enlargement by repeated pixels.

use super::conv::{Windows, shifted};
use super::{Case, pointwise, reduce};
use crate::error::Result;
use crate::graph::op::Sealed;
use crate::graph::{CpuIo, Define, Graph, Io, Launch, NodeId, Var};
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::simd::vectorize;
use crate::num::{Real, slice};
use crate::shape::{Type, expect, expect_axes};
use sit_shaders::{RESAMPLE_POOL, RESAMPLE_SPREAD, ResampleDims};
use std::ops::Range;

/// What the sum of a window is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divide {
    /// Nothing: the sum itself.
    Nothing,
    /// The pixels of the kernel, with those outside the image (PyTorch `count_include_pad = True`).
    Kernel,
    /// The pixels of the window that are inside the image (`count_include_pad = False`).
    Inside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pool {
    kernel: [usize; 2],
    windows: Windows,
    divide: Divide,
}

/// Each is the transpose of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resample {
    /// x `[B, H, W, C]` -> y `[B, H', W', C]`
    Pool(Pool),
    /// g `[B, H', W', C]` -> gx `[B, H, W, C]`
    Spread { pool: Pool, image: [usize; 2] },
}

/// The sum or mean over the windows of a kernel `[kh, kw]` (PyTorch `avg_pool2d`), with zeros outside the image: x `[B, H, W, C]` ->
/// `[B, H', W', C]`, `H' = (H + top + bottom - kh) / stride + 1`.
///
/// # Errors
/// [`crate::Error::Shape`] when no window fits on the padded image, or one is entirely outside the image.
pub fn pool(
    g: &mut Graph,
    x: Var,
    kernel: [usize; 2],
    windows: Windows,
    divide: Divide,
) -> Result<Var> {
    let pool = Pool {
        kernel,
        windows,
        divide,
    };
    g.apply1(Resample::Pool(pool), &[x])
}

/// An image `factor` times as high and wide, in which every pixel is repeated (PyTorch `interpolate`, nearest): x `[B, H, W, C]` ->
/// `[B, factor H, factor W, C]`.
///
/// # Errors
/// [`crate::Error::Shape`] when x has other axes or the factor is 0.
pub fn enlarge(g: &mut Graph, x: Var, factor: usize) -> Result<Var> {
    expect_axes("resample_spread", "x", g.ty(x), 4, "[B, H, W, C]")?;
    let image = [factor * g.shape(x)[1], factor * g.shape(x)[2]];
    let pool = Pool {
        kernel: [factor; 2],
        windows: Windows::new(factor, 0),
        divide: Divide::Nothing,
    };
    g.apply1(Resample::Spread { pool, image }, &[x])
}

impl Pool {
    fn grid(&self, x: &Type) -> Result<[usize; 2]> {
        self.windows.filled_grid("resample_pool", x, self.kernel)
    }

    /// Pixels of the image in window (r, q).
    fn pixels(&self, at: [usize; 2], image: [usize; 2]) -> [Range<usize>; 2] {
        self.windows.pixels(at, self.kernel, image)
    }

    /// The factor of the sum of window (r, q).
    fn factor<F: Real>(&self, at: [usize; 2], image: [usize; 2]) -> F {
        let n = match self.divide {
            Divide::Nothing => 1,
            Divide::Kernel => self.kernel[0] * self.kernel[1],
            Divide::Inside => self
                .pixels(at, image)
                .map(|range| range.len())
                .iter()
                .product(),
        };
        F::ONE / F::of(n as f64)
    }
}

impl Sealed for Resample {}

impl Define for Resample {
    fn name(&self) -> &'static str {
        match self {
            Resample::Pool(_) => "resample_pool",
            Resample::Spread { .. } => "resample_spread",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let x = &ins[0];
        match self {
            Resample::Pool(pool) => {
                let [rows, columns] = pool.grid(x)?;
                Ok(vec![Type::f32([x.shape[0], rows, columns, x.shape[3]])])
            }
            Resample::Spread { pool, image } => {
                let name = Define::name(self);
                expect_axes(name, "g", x, 4, "[B, H', W', C]")?;
                let y = Type::f32([x.shape[0], image[0], image[1], x.shape[3]]);
                let [rows, columns] = pool.grid(&y)?;
                let expected = [x.shape[0], rows, columns, x.shape[3]];
                expect(name, "g", x, expected, format_args!("it makes {y:?}"))?;
                Ok(vec![y])
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let (kernel, pool, x, y) = match self {
            Resample::Pool(pool) => (&RESAMPLE_POOL, pool, &io.ins[0], &io.outs[0]),
            Resample::Spread { pool, .. } => (&RESAMPLE_SPREAD, pool, &io.outs[0], &io.ins[0]),
        };
        let [batch, height, width, channels] = std::array::from_fn(|axis| x.shape[axis] as u32);
        let dims = ResampleDims {
            batch,
            height,
            width,
            channels,
            out_height: y.shape[1] as u32,
            out_width: y.shape[2] as u32,
            kernel_height: pool.kernel[0] as u32,
            kernel_width: pool.kernel[1] as u32,
            stride: pool.windows.stride as u32,
            top: pool.windows.top as u32,
            left: pool.windows.left as u32,
            divide: pool.divide as u32,
        };
        let launch = Launch::new(kernel, &dims, kernel.grid_flat(io.out_numel(0)));
        Ok(vec![launch.input("x", 0).output("y", 0)])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let (from, to) = (&io.in_types[0].shape, &io.out_types[0].shape);
        let (from, to, c) = ([from[1], from[2]], [to[1], to[2]], from[3]);
        let [x, ..] = io.ins;
        let [y, ..] = io.outs;
        let sources = |at: [usize; 2]| match *self {
            Resample::Pool(pool) => pool.pixels(at, from),
            Resample::Spread { pool, .. } => pool.windows.around(at, pool.kernel, from),
        };
        // The factor belongs to the window, which is where the sum is or where the gradient comes from.
        let factor = |at: [usize; 2], source: [usize; 2]| match *self {
            Resample::Pool(pool) => pool.factor::<F>(at, from),
            Resample::Spread { pool, .. } => pool.factor::<F>(source, to),
        };
        for_rows(rows_mut(y, c), grain(c), |first, y| {
            vectorize(
                #[inline(always)]
                || {
                    for (pixel, y) in (first..).zip(y.chunks_exact_mut(c)) {
                        let (image, at) = (pixel / (to[0] * to[1]), pixel % (to[0] * to[1]));
                        let at = [at / to[1], at % to[1]];
                        let [rows, columns] = sources(at);
                        y.fill(F::ZERO);
                        for (row, column) in rows.flat_map(|r| columns.clone().map(move |q| (r, q)))
                        {
                            let source = ((image * from[0] + row) * from[1] + column) * c;
                            slice::axpy(y, factor(at, [row, column]), &x[source..][..c]);
                        }
                    }
                },
            );
        });
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let x = g.node(node).ins[0];
        let image = [g.shape(x)[1], g.shape(x)[2]];
        let Some(grad) = grads[0] else {
            return Ok(vec![None]);
        };
        let transpose = match *self {
            Resample::Pool(pool) => Resample::Spread { pool, image },
            Resample::Spread { pool, .. } => Resample::Pool(pool),
        };
        Ok(vec![Some(g.apply1(transpose, &[grad])?)])
    }

    /// An enlargement is a broadcast; the transpose of other windows is expanded as their gradient.
    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        match *self {
            Resample::Pool(pool) => Some(pool_in_primitives(g, ins[0], pool).map(|y| vec![y])),
            Resample::Spread { pool, .. } => {
                let factor = pool.windows.stride;
                let repeats = pool.kernel == [factor; 2]
                    && pool.windows == Windows::new(factor, 0)
                    && pool.divide == Divide::Nothing;
                repeats.then(|| repeat_in_primitives(g, ins[0], factor).map(|y| vec![y]))
            }
        }
    }
}

fn repeat_in_primitives(g: &mut Graph, x: Var, factor: usize) -> Result<Var> {
    let [b, h, w, c] = std::array::from_fn(|axis| g.shape(x)[axis]);
    let x = g.reshape(x, [b, h, 1, w, 1, c])?;
    let x = reduce::broadcast(g, x, [b, h, factor, w, factor, c])?;
    g.reshape(x, [b, factor * h, factor * w, c])
}

/// The sum over the taps, times the reciprocal of the counted pixels of each window.
fn pool_in_primitives(g: &mut Graph, x: Var, pool: Pool) -> Result<Var> {
    let [rows, columns] = pool.grid(g.ty(x))?;
    let [b, height, width, c] = std::array::from_fn(|axis| g.shape(x)[axis]);
    let sum = |g: &mut Graph, x: Var| -> Result<Var> {
        let [kh, kw] = pool.kernel;
        let mut taps = (0..kh).flat_map(|i| (0..kw).map(move |j| [i, j]));
        let first = shifted(
            g,
            x,
            pool.windows,
            taps.next().unwrap_or_default(),
            [rows, columns],
        )?;
        taps.try_fold(first, |sum, tap| {
            let part = shifted(g, x, pool.windows, tap, [rows, columns])?;
            pointwise::add(g, sum, part)
        })
    };
    let total = sum(g, x)?;
    let total = match pool.divide {
        Divide::Nothing => total,
        Divide::Kernel => {
            let n = (pool.kernel[0] * pool.kernel[1]) as f64;
            pointwise::scale(g, total, 1.0 / n)?
        }
        Divide::Inside => {
            let ones = g.constant(1.0, [1, height, width, 1]);
            let counts = sum(g, ones)?;
            let factor = pointwise::recip(g, counts)?;
            let factor = g.reshape(factor, [1, rows * columns, 1])?;
            let factor = reduce::broadcast(g, factor, [b, rows * columns, c])?;
            let factor = g.reshape(factor, [b * rows * columns, c])?;
            pointwise::mul(g, total, factor)?
        }
    };
    g.reshape(total, [b, rows, columns, c])
}

pub(super) fn cases() -> Vec<Case> {
    let case = |x: [usize; 4], kernel, windows, divide| {
        let pool = Pool {
            kernel,
            windows,
            divide,
        };
        Case::with_grad(Resample::Pool(pool), &[Type::f32(x)], &[0])
    };
    let enlarge = |x: [usize; 4], factor: usize| {
        let pool = Pool {
            kernel: [factor; 2],
            windows: Windows::new(factor, 0),
            divide: Divide::Nothing,
        };
        let image = [factor * x[1], factor * x[2]];
        Case::with_grad(Resample::Spread { pool, image }, &[Type::f32(x)], &[0])
    };
    let uneven = Windows {
        stride: 2,
        top: 1,
        bottom: 0,
        left: 0,
        right: 1,
    };
    vec![
        enlarge([1, 1, 1, 1], 2),
        enlarge([2, 3, 4, 5], 2),
        enlarge([2, 2, 3, 3], 3),
        case([2, 4, 6, 5], [2, 2], Windows::new(2, 0), Divide::Kernel),
        case([2, 5, 4, 3], [3, 3], Windows::new(1, 1), Divide::Inside),
        case([2, 5, 4, 3], [3, 3], Windows::new(1, 1), Divide::Kernel),
        case([2, 7, 7, 2], [3, 3], Windows::new(2, 0), Divide::Inside),
        case([2, 6, 5, 2], [3, 2], uneven, Divide::Inside),
        case([2, 7, 5, 2], [2, 1], Windows::new(3, 0), Divide::Nothing),
    ]
}
