//! Embeddings of position and time; a label's is a row of a table ([`gather`](super::gather::gather)).

use super::{Case, axes, pointwise, reduce};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::graph::{CpuIo, Define, Graph, Io, Launch, NodeId, Var, op::Sealed};
use crate::num::par::{for_rows, rows_mut};
use crate::num::{Real, slice};
use crate::shape::{Type, expect, expect_axes};
use sit_shaders::{EMBED_POS_FWD, EMBED_TIME_FWD, EmbedPosDims, EmbedTimeDims};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Embed {
    /// x `[B, T, D]`, pos `[T, D]` -> `[B, T, D]`
    Pos,
    /// t `[B]`, freqs `[F/2]` -> `[B, F]`
    Time,
}

/// `y = x + pos`: x `[B, T, D]`, pos `[T, D]`, the same for every sample. `pos` is fixed and gets no gradient.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
#[doc(hidden)]
pub fn embed_pos(g: &mut Graph, x: Var, pos: Var) -> Result<Var> {
    g.apply1(Embed::Pos, &[x, pos])
}

/// Sinusoidal time embedding `e = [cos(t f), sin(t f)]` (SiT `TimestepEmbedder`, cosine first): t `[B]`, freqs `[F/2]` -> `[B, F]`.
/// It has no gradient, since t is data.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
#[doc(hidden)]
pub fn embed_time(g: &mut Graph, t: Var, freqs: Var) -> Result<Var> {
    g.apply1(Embed::Time, &[t, freqs])
}

impl Sealed for Embed {}

impl Define for Embed {
    fn name(&self) -> &'static str {
        match self {
            Embed::Pos => "embed_pos_fwd",
            Embed::Time => "embed_time_fwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (name, a, b) = (Define::name(self), &ins[0], &ins[1]);
        match *self {
            Embed::Pos => {
                expect_axes(name, "x", a, 3, "[B, T, D]")?;
                expect(
                    name,
                    "pos",
                    b,
                    [a.shape[1], a.shape[2]],
                    format_args!("x is {a:?}"),
                )?;
                Ok(vec![a.clone()])
            }
            Embed::Time => {
                expect_axes(name, "t", a, 1, "[B]")?;
                expect_axes(name, "freqs", b, 1, "[F/2]")?;
                Ok(vec![Type::f32([a.shape[0], 2 * b.shape[0]])])
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[1])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        Ok(vec![match *self {
            Embed::Pos => {
                let dims = EmbedPosDims {
                    n: io.numel(0),
                    period: io.numel(1),
                };
                Launch::new(&EMBED_POS_FWD, &dims, EMBED_POS_FWD.grid_flat(dims.n))
                    .input("x", 0)
                    .input("pos", 1)
                    .output("y", 0)
            }
            Embed::Time => {
                let dims = EmbedTimeDims {
                    batch: io.numel(0),
                    half: io.numel(1),
                };
                let items = dims.batch * dims.half;
                Launch::new(&EMBED_TIME_FWD, &dims, EMBED_TIME_FWD.grid_flat(items))
                    .input("t", 0)
                    .input("freqs", 1)
                    .output("e", 0)
            }
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let [a, b, ..] = io.ins;
        let (len, width) = (io.in_types[1].shape.numel(), io.out_types[0].shape.last());
        let [y, ..] = io.outs;
        match self {
            Embed::Pos => for_rows(rows_mut(y, len), 1, |first, y| {
                for (y, x) in y
                    .chunks_exact_mut(len)
                    .zip(a[first * len..].chunks_exact(len))
                {
                    slice::zip_map(
                        y,
                        x,
                        b,
                        #[inline(always)]
                        |x, pos| x + pos,
                    );
                }
            }),
            Embed::Time => {
                for (e, &t) in y.chunks_exact_mut(width).zip(a) {
                    let (cos, sin) = e.split_at_mut(width / 2);
                    for ((cos, sin), &f) in cos.iter_mut().zip(sin).zip(b) {
                        (*cos, *sin) = ((t * f).cos(), (t * f).sin());
                    }
                }
            }
        }
    }

    fn backward(
        &self,
        _: &mut Graph,
        _: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        Ok(match self {
            Embed::Pos => vec![grads[0], None],
            Embed::Time => vec![None, None],
        })
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        let e = match self {
            Embed::Pos => pos_in_primitives(g, ins[0], ins[1]),
            Embed::Time => time_in_primitives(g, ins[0], ins[1]),
        };
        Some(e.map(|e| vec![e]))
    }
}

fn pos_in_primitives(g: &mut Graph, x: Var, pos: Var) -> Result<Var> {
    let shape = g.shape(x).clone();
    let pos = g.reshape(pos, [1, shape[1], shape[2]])?;
    let pos = reduce::broadcast(g, pos, shape)?;
    pointwise::add(g, x, pos)
}

fn time_in_primitives(g: &mut Graph, t: Var, freqs: Var) -> Result<Var> {
    let (batch, half) = (g.shape(t)[0], g.shape(freqs)[0]);
    let (t, freqs) = (g.reshape(t, [batch, 1])?, g.reshape(freqs, [1, half])?);
    let t = reduce::broadcast(g, t, [batch, half])?;
    let freqs = reduce::broadcast(g, freqs, [batch, half])?;
    let angle = pointwise::mul(g, t, freqs)?;
    let (cos, sin) = (pointwise::cos(g, angle)?, pointwise::sin(g, angle)?);
    axes::concat(g, &[cos, sin], 1)
}

pub(super) fn cases() -> Vec<Case> {
    let pos =
        |b, t, d| Case::with_grad(Embed::Pos, &[Type::f32([b, t, d]), Type::f32([t, d])], &[0]);
    let time = |b, f| Case::new(Embed::Time, &[Type::f32([b]), Type::f32([f])]);
    vec![
        pos(1, 1, 1),
        pos(2, 5, 7),
        pos(3, 16, 96),
        time(1, 1),
        time(3, 128),
    ]
}
