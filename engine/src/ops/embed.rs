//! Embeddings: position, time and label.

use super::{Case, axes, gather, pointwise, reduce};
use crate::error::{Error, Result};
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::par::{for_rows, rows_mut};
use crate::num::{Real, slice};
use crate::shape::{Elem, Type, expect, expect_axes};
use sit_shaders::{
    EMBED_LABEL_BWD, EMBED_LABEL_FWD, EMBED_POS_FWD, EMBED_TIME_FWD, EmbedLabelDims, EmbedPosDims,
    EmbedTimeDims,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Embed {
    /// x `[B, T, D]`, pos `[T, D]` -> `[B, T, D]`
    Pos,
    /// t `[B]`, freqs `[F/2]` -> `[B, F]`
    Time,
    /// table `[N+1, D]`, y `[B]` u32 -> `[B, D]`
    Label,
    /// g `[B, D]`, y `[B]` u32 -> gtable `[N+1, D]`
    LabelBwd { rows: usize },
}

/// `y = x + pos`: x `[B, T, D]`, pos `[T, D]`, the same for every sample. `pos` is fixed and gets no gradient.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn embed_pos(g: &mut Graph, x: Var, pos: Var) -> Result<Var> {
    g.apply1(Embed::Pos, &[x, pos])
}

/// Sinusoidal time embedding `e = [cos(t f), sin(t f)]` (SiT `TimestepEmbedder`, cosine first): t `[B]`, freqs `[F/2]` -> `[B, F]`.
/// It has no gradient, since t is data.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn embed_time(g: &mut Graph, t: Var, freqs: Var) -> Result<Var> {
    g.apply1(Embed::Time, &[t, freqs])
}

/// Looks up rows of a label table: table `[N+1, D]`, y `[B]` u32 -> `[B, D]`. If y is an input, labels out of range are rejected
/// when they are written.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit.
pub fn embed_label(g: &mut Graph, table: Var, y: Var) -> Result<Var> {
    g.apply1(Embed::Label, &[table, y])
}

fn expect_labels(name: &str, y: &Type, batch: Option<usize>) -> Result<usize> {
    match &y.shape[..] {
        &[b] if y.elem == Elem::U32 && batch.is_none_or(|n| n == b) => Ok(b),
        _ => Err(Error::Shape(format!(
            "{name}: y is {y:?}, expected u32[B]{}",
            batch.map_or(String::new(), |b| format!(" with B = {b}"))
        ))),
    }
}

impl Sealed for Embed {}

impl Define for Embed {
    fn name(&self) -> &'static str {
        match self {
            Embed::Pos => "embed_pos_fwd",
            Embed::Time => "embed_time_fwd",
            Embed::Label => "embed_label_fwd",
            Embed::LabelBwd { .. } => "embed_label_bwd",
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
            Embed::Label => {
                expect_axes(name, "table", a, 2, "[N+1, D]")?;
                Ok(vec![Type::f32([expect_labels(name, b, None)?, a.shape[1]])])
            }
            Embed::LabelBwd { rows } => {
                expect_axes(name, "g", a, 2, "[B, D]")?;
                expect_labels(name, b, Some(a.shape[0]))?;
                Ok(vec![Type::f32([rows, a.shape[1]])])
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        match self {
            Embed::Pos | Embed::Time => Some(&[1]),
            Embed::Label => Some(&[0]),
            Embed::LabelBwd { .. } => None,
        }
    }

    fn index_bound(&self, ins: &[Type]) -> Option<(usize, usize)> {
        match *self {
            Embed::Label => Some((1, ins[0].shape[0])),
            Embed::LabelBwd { rows } => Some((1, rows)),
            Embed::Pos | Embed::Time => None,
        }
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
            Embed::Label => {
                let [rows, dim] = io.sizes(0);
                let batch = io.numel(1);
                let dims = EmbedLabelDims { batch, rows, dim };
                let grid = EMBED_LABEL_FWD.grid_flat(batch * dim);
                Launch::new(&EMBED_LABEL_FWD, &dims, grid)
                    .input("table", 0)
                    .input("y", 1)
                    .output("e", 0)
            }
            Embed::LabelBwd { rows } => {
                let [batch, dim] = io.sizes(0);
                let rows = rows as u32;
                let dims = EmbedLabelDims { batch, rows, dim };
                let grid = EMBED_LABEL_BWD.grid_flat(rows * dim);
                Launch::new(&EMBED_LABEL_BWD, &dims, grid)
                    .input("g", 0)
                    .input("y", 1)
                    .output("gtable", 0)
            }
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let [a, b, ..] = io.ins;
        let labels = io.ins_u32[1];
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
            Embed::Label => {
                for (e, &label) in y.chunks_exact_mut(width).zip(labels) {
                    e.copy_from_slice(&a[label as usize * width..][..width]);
                }
            }
            Embed::LabelBwd { .. } => {
                y.fill(F::ZERO);
                for (g, &label) in a.chunks_exact(width).zip(labels) {
                    let row = &mut y[label as usize * width..][..width];
                    row.iter_mut().zip(g).for_each(|(y, &g)| *y += g);
                }
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
        match (self, grads[0]) {
            (Embed::Pos, grad) => Ok(vec![grad, None]),
            (Embed::Time, _) => Ok(vec![None, None]),
            (Embed::Label, Some(grad)) => {
                let rows = g.shape(ins[0])[0];
                Ok(vec![
                    Some(g.apply1(Embed::LabelBwd { rows }, &[grad, ins[1]])?),
                    None,
                ])
            }
            _ => no_gradient(self),
        }
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        let e = match self {
            Embed::Pos => pos_in_primitives(g, ins[0], ins[1]),
            Embed::Time => time_in_primitives(g, ins[0], ins[1]),
            Embed::Label => gather::gather(g, ins[0], ins[1]),
            Embed::LabelBwd { .. } => return None,
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
    let label = |n: u32, d, b| Case {
        n_labels: n,
        ..Case::with_grad(
            Embed::Label,
            &[Type::f32([n as usize, d]), Type::u32([b])],
            &[0],
        )
    };
    vec![
        pos(1, 1, 1),
        pos(2, 5, 7),
        pos(3, 16, 96),
        time(1, 1),
        time(3, 128),
        label(1, 1, 1),
        label(11, 5, 7),
        label(4, 65, 33),
    ]
}
