//! Rotary position embedding of queries and keys.

use super::{Case, axes, pointwise, reduce};
use crate::error::{Error, Result};
use crate::graph::{
    CpuIo, Define, Graph, Io, Launch, NodeId, Var,
    op::{Sealed, no_gradient},
};
use crate::num::Real;
use crate::num::par::{for_rows, grain, rows_mut};
use crate::num::simd::vectorize;
use crate::shape::{Type, expect, expect_axes};
use sit_shaders::{ROTARY_TURN, RotaryDims};

/// x `[B, T, W]`, turns `[T, hd]` -> y `[B, T, W]`, of which the first `n_heads` heads turn
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rotary {
    n_heads: usize,
    back: bool,
}

/// Turns each pair of neighboring values of the first `n_heads` heads by its token's angle a: `(x0 cos a - x1 sin a, x1 cos a + x0 sin
/// a)`; the other values are copied. x `[B, T, W]`, turns `[T, hd]` with the cosine and sine of each pair's angle (a
/// [`Table::Rotary2d`](crate::table::Table)) -> `[B, T, W]` (RoFormer, arXiv 2104.09864, section 3.2). It turns q and k of a packed
/// `[q | k | v]` with twice the number of heads of each.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit. The gradient of `turns` is not defined.
pub fn rotary(g: &mut Graph, x: Var, turns: Var, n_heads: usize) -> Result<Var> {
    let back = false;
    g.apply1(Rotary { n_heads, back }, &[x, turns])
}

impl Sealed for Rotary {}

impl Define for Rotary {
    fn name(&self) -> &'static str {
        "rotary_turn"
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let (x, turns) = (&ins[0], &ins[1]);
        expect_axes("rotary_turn", "x", x, 3, "[B, T, W]")?;
        let (tokens, width, head_dim) = (x.shape[1], x.shape[2], turns.shape.last());
        let because = format_args!("x is {x:?}");
        expect("rotary_turn", "turns", turns, [tokens, head_dim], because)?;
        if head_dim % 2 != 0 || width % 2 != 0 || self.n_heads * head_dim > width {
            return Err(Error::Shape(format!(
                "rotary_turn: x is {x:?}, expected an even width of at least {} heads of {head_dim} values, an even number",
                self.n_heads
            )));
        }
        Ok(vec![x.clone()])
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[1])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let [_, tokens, width] = io.sizes(0);
        let head_dim = io.ins[1].shape.last() as u32;
        let dims = RotaryDims {
            n: io.numel(0) / 2,
            tokens,
            width,
            rotated: self.n_heads as u32 * head_dim,
            head_dim,
            direction: if self.back { -1.0 } else { 1.0 },
        };
        Ok(vec![
            Launch::new(&ROTARY_TURN, &dims, ROTARY_TURN.grid_flat(dims.n))
                .input("x", 0)
                .input("turns", 1)
                .output("y", 0),
        ])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let &[_, tokens, width] = io.shape(0) else {
            unreachable!("checked by infer")
        };
        let head_dim = io.in_types[1].shape.last();
        let rotated = self.n_heads * head_dim;
        let direction = if self.back { -F::ONE } else { F::ONE };
        let [x, turns, ..] = io.ins;
        let [y, ..] = io.outs;
        for_rows(rows_mut(y, width), grain(width), |first, y| {
            vectorize(
                #[inline(always)]
                || {
                    let ins = x[first * width..].chunks_exact(width);
                    for (row, (y, x)) in y.chunks_exact_mut(width).zip(ins).enumerate() {
                        let turns = &turns[(first + row) % tokens * head_dim..][..head_dim];
                        let heads = y[..rotated].chunks_exact_mut(head_dim);
                        for (y, x) in heads.zip(x.chunks_exact(head_dim)) {
                            let pairs = y.as_chunks_mut::<2>().0.iter_mut();
                            let ins = x.as_chunks::<2>().0.iter().zip(turns.as_chunks::<2>().0);
                            for (y, (x, turn)) in pairs.zip(ins) {
                                let (cosine, sine) = (turn[0], direction * turn[1]);
                                *y = [x[0] * cosine - x[1] * sine, x[1] * cosine + x[0] * sine];
                            }
                        }
                        y[rotated..].copy_from_slice(&x[rotated..]);
                    }
                },
            );
        });
    }

    /// The transpose of a rotation turns back.
    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let Some(grad) = grads[0] else {
            return no_gradient(self);
        };
        let turns = g.node(node).ins[1];
        let back = Rotary {
            back: !self.back,
            ..*self
        };
        Ok(vec![Some(g.apply1(back, &[grad, turns])?), None])
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        (!self.back).then(|| in_primitives(g, ins[0], ins[1], self.n_heads))
    }
}

fn in_primitives(g: &mut Graph, x: Var, turns: Var, n_heads: usize) -> Result<Vec<Var>> {
    let (b, t, width) = (g.shape(x)[0], g.shape(x)[1], g.shape(x)[2]);
    let head_dim = g.shape(turns).last();
    let rotated = n_heads * head_dim;
    let turning = axes::slice(g, x, 2, 0..rotated)?;
    let pairs = g.reshape(turning, [b, t, n_heads, head_dim / 2, 2])?;
    let turns = g.reshape(turns, [1, t, 1, head_dim / 2, 2])?;
    let mut half = |of: Var, i| axes::slice(g, of, 4, i..i + 1);
    let (x0, x1) = (half(pairs, 0)?, half(pairs, 1)?);
    let (cosine, sine) = (half(turns, 0)?, half(turns, 1)?);
    let shape = g.shape(x0).clone();
    let cosine = reduce::broadcast(g, cosine, shape.clone())?;
    let sine = reduce::broadcast(g, sine, shape)?;
    let (a, c) = (pointwise::mul(g, x0, cosine)?, pointwise::mul(g, x1, sine)?);
    let y0 = pointwise::sub(g, a, c)?;
    let (a, c) = (pointwise::mul(g, x1, cosine)?, pointwise::mul(g, x0, sine)?);
    let y1 = pointwise::add(g, a, c)?;
    let y = axes::concat(g, &[y0, y1], 4)?;
    let y = g.reshape(y, [b, t, rotated])?;
    if rotated == width {
        return Ok(vec![y]);
    }
    let rest = axes::slice(g, x, 2, rotated..width)?;
    Ok(vec![axes::concat(g, &[y, rest], 2)?])
}

pub(super) fn cases() -> Vec<Case> {
    let case = |b, t, width, n_heads, head_dim: usize| {
        let back = false;
        let ins = [Type::f32([b, t, width]), Type::f32([t, head_dim])];
        Case::with_grad(Rotary { n_heads, back }, &ins, &[0])
    };
    vec![
        case(1, 1, 2, 1, 2),
        case(2, 3, 18, 2, 6),
        case(1, 17, 3 * 32, 4, 16),
        case(3, 5, 40, 1, 40),
    ]
}
