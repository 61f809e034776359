//! The largest values of windows of an image.

use super::conv::{Windows, shifted};
use super::{Case, pointwise};
use crate::error::Result;
use crate::graph::op::{Sealed, no_gradient};
use crate::graph::{CpuIo, Define, Graph, Io, Launch, NodeId, Var};
use crate::num::Real;
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::scratch::with_scratch;
use crate::num::simd::vectorize;
use crate::shape::{Type, expect};
use sit_shaders::{MAX_POOL_BWD, MAX_POOL_FWD, MaxPoolDims};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pool {
    kernel: [usize; 2],
    windows: Windows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MaxPool {
    /// x `[B, H, W, C]` -> y `[B, H', W', C]`
    Fwd(Pool),
    /// g `[B, H', W', C]`, x `[B, H, W, C]` -> gx `[B, H, W, C]`
    Bwd(Pool),
}

/// The largest value of each window of a kernel `[kh, kw]` (PyTorch `max_pool2d`); pixels outside the image do not count: x
/// `[B, H, W, C]` -> `[B, H', W', C]`, `H' = (H + top + bottom - kh) / stride + 1`. The backward needs x; where a window has its
/// largest value twice, the gradient goes to the first.
///
/// # Errors
/// [`crate::Error::Shape`] when no window fits on the padded image, or one is entirely outside the image.
pub fn max_pool(g: &mut Graph, x: Var, kernel: [usize; 2], windows: Windows) -> Result<Var> {
    g.apply1(MaxPool::Fwd(Pool { kernel, windows }), &[x])
}

impl Pool {
    fn grid(&self, x: &Type) -> Result<[usize; 2]> {
        self.windows.filled_grid("max_pool_fwd", x, self.kernel)
    }

    /// The pixels of the image in window (r, q), as `h W + w`, in order.
    #[inline(always)]
    fn pixels(&self, at: [usize; 2], image: [usize; 2]) -> impl Iterator<Item = usize> {
        let [rows, columns] = self.windows.pixels(at, self.kernel, image);
        rows.flat_map(move |h| columns.clone().map(move |w| h * image[1] + w))
    }
}

impl Sealed for MaxPool {}

impl Define for MaxPool {
    fn name(&self) -> &'static str {
        match self {
            MaxPool::Fwd(_) => "max_pool_fwd",
            MaxPool::Bwd(_) => "max_pool_bwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        match self {
            MaxPool::Fwd(pool) => {
                let x = &ins[0];
                let [rows, columns] = pool.grid(x)?;
                Ok(vec![Type::f32([x.shape[0], rows, columns, x.shape[3]])])
            }
            MaxPool::Bwd(pool) => {
                let (g, x) = (&ins[0], &ins[1]);
                let [rows, columns] = pool.grid(x)?;
                let expected = [x.shape[0], rows, columns, x.shape[3]];
                let because = format_args!("x is {x:?}");
                expect(Define::name(self), "g", g, expected, because)?;
                Ok(vec![x.clone()])
            }
        }
    }

    /// A group ends where the forward makes the image smaller: what follows has fewer pixels, so that more of its samples fit a block,
    /// and its values can take the place of larger ones.
    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        match self {
            MaxPool::Fwd(pool) if pool.windows.stride > 1 => None,
            _ => Some(&[]),
        }
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let (kernel, pool, x, y) = match self {
            MaxPool::Fwd(pool) => (&MAX_POOL_FWD, pool, &io.ins[0], &io.outs[0]),
            MaxPool::Bwd(pool) => (&MAX_POOL_BWD, pool, &io.ins[1], &io.ins[0]),
        };
        let [batch, height, width, channels] = std::array::from_fn(|axis| x.shape[axis] as u32);
        let dims = MaxPoolDims {
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
        };
        let launch = Launch::new(kernel, &dims, kernel.grid_flat(io.out_numel(0)));
        Ok(vec![match self {
            MaxPool::Fwd(_) => launch.input("x", 0).output("y", 0),
            MaxPool::Bwd(_) => launch.input("g", 0).input("x", 1).output("gx", 0),
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        match self {
            MaxPool::Fwd(pool) => fwd(io, *pool),
            MaxPool::Bwd(pool) => bwd(io, *pool),
        }
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let &MaxPool::Fwd(pool) = self else {
            return no_gradient(self);
        };
        let x = g.node(node).ins[0];
        Ok(vec![match grads[0] {
            Some(grad) => Some(g.apply1(MaxPool::Bwd(pool), &[grad, x])?),
            None => None,
        }])
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        match *self {
            MaxPool::Fwd(pool) => Some(in_primitives(g, ins[0], pool).map(|y| vec![y])),
            MaxPool::Bwd(_) => None,
        }
    }
}

fn fwd<F: Real>(io: CpuIo<'_, F>, pool: Pool) {
    let (x_shape, y_shape) = (io.shape(0), io.out_shape(0));
    let (image, grid) = ([x_shape[1], x_shape[2]], [y_shape[1], y_shape[2]]);
    let (c, n_pixels) = (x_shape[3], image[0] * image[1]);
    let ([x, ..], [y, ..]) = (io.ins, io.outs);
    for_rows(rows_mut(y, c), grain(c), |first, y| {
        vectorize(
            #[inline(always)]
            || {
                for (at, y) in (first..).zip(y.chunks_exact_mut(c)) {
                    let (b, at) = (at / (grid[0] * grid[1]), at % (grid[0] * grid[1]));
                    let mut pixels = pool.pixels([at / grid[1], at % grid[1]], image);
                    let pixel = |pixel: usize| &x[(b * n_pixels + pixel) * c..][..c];
                    y.copy_from_slice(pixel(pixels.next().unwrap_or_default()));
                    for other in pixels {
                        for (y, &x) in y.iter_mut().zip(pixel(other)) {
                            *y = y.max(x);
                        }
                    }
                }
            },
        );
    });
}

/// An image has one writer, which adds its windows in order.
fn bwd<F: Real>(io: CpuIo<'_, F>, pool: Pool) {
    let (g_shape, x_shape) = (io.shape(0), io.shape(1));
    let (grid, image) = ([g_shape[1], g_shape[2]], [x_shape[1], x_shape[2]]);
    let (c, len) = (x_shape[3], image[0] * image[1] * x_shape[3]);
    let ([g, x, ..], [gx, ..]) = (io.ins, io.outs);
    let g_len = grid[0] * grid[1] * c;
    for_rows(rows_mut(gx, len), 1, |first, gx| {
        for (b, gx) in (first..).zip(gx.chunks_exact_mut(len)) {
            let (g, x) = (&g[b * g_len..][..g_len], &x[b * len..][..len]);
            gx.fill(F::ZERO);
            with_scratch(2 * c, |scratch| {
                let (largest, place) = scratch.split_at_mut(c);
                vectorize(
                    #[inline(always)]
                    || {
                        for (at, g) in g.chunks_exact(c).enumerate() {
                            let at = [at / grid[1], at % grid[1]];
                            // Counts the pixels of the window as numbers, so that the comparisons vectorize.
                            for (k, pixel) in pool.pixels(at, image).enumerate() {
                                let (k, x) = (F::of(k as f64), &x[pixel * c..][..c]);
                                for j in 0..c {
                                    let is_larger = k == F::ZERO || x[j] > largest[j];
                                    largest[j] = if is_larger { x[j] } else { largest[j] };
                                    place[j] = if is_larger { k } else { place[j] };
                                }
                            }
                            for (k, pixel) in pool.pixels(at, image).enumerate() {
                                let (k, gx) = (F::of(k as f64), &mut gx[pixel * c..][..c]);
                                for j in 0..c {
                                    gx[j] += if place[j] == k { g[j] } else { F::ZERO };
                                }
                            }
                        }
                    },
                );
            });
        }
    });
}

/// The largest of the images that are shifted by the taps. What is outside of them lies below every value.
fn in_primitives(g: &mut Graph, x: Var, pool: Pool) -> Result<Var> {
    /// Added outside the image.
    const BELOW: f64 = -1e9;
    let grid = pool.grid(g.ty(x))?;
    let [b, height, width, c] = std::array::from_fn(|axis| g.shape(x)[axis]);
    let ones = g.constant(1.0, [b, height, width, c]);
    let [kh, kw] = pool.kernel;
    let mut largest = None;
    for tap in (0..kh).flat_map(|i| (0..kw).map(move |j| [i, j])) {
        let value = shifted(g, x, pool.windows, tap, grid)?;
        let inside = shifted(g, ones, pool.windows, tap, grid)?;
        let below = pointwise::affine(g, inside, -BELOW, BELOW)?;
        let value = pointwise::add(g, value, below)?;
        largest = Some(match largest {
            None => value,
            Some(largest) => pointwise::maximum(g, largest, value)?,
        });
    }
    let largest = largest.unwrap_or(x);
    g.reshape(largest, [b, grid[0], grid[1], c])
}

pub(super) fn cases() -> Vec<Case> {
    let case = |x: [usize; 4], kernel, windows| {
        let pool = Pool { kernel, windows };
        Case::with_grad(MaxPool::Fwd(pool), &[Type::f32(x)], &[0])
    };
    let uneven = Windows {
        stride: 2,
        top: 1,
        bottom: 0,
        left: 0,
        right: 1,
    };
    vec![
        case([1, 1, 1, 1], [1, 1], Windows::new(1, 0)),
        case([2, 7, 7, 3], [3, 3], Windows::new(2, 0)),
        case([2, 5, 4, 3], [3, 3], Windows::new(1, 1)),
        case([2, 6, 5, 2], [3, 2], uneven),
        // Pixels that no window has.
        case([1, 7, 5, 2], [2, 1], Windows::new(3, 0)),
        // Several vectors of channels, and enough pixels for several threads.
        case([1, 9, 8, 40], [3, 3], Windows::new(2, 0)),
        Case {
            wrt: vec![],
            ..case([2, 17, 17, 40], [3, 3], Windows::new(1, 1))
        },
    ]
}
