//! Classifier-free guidance: the doubled batch and the mix of its halves. Used for sampling only, so it has no gradient.

use super::{Case, axes, pointwise, reduce};
use crate::error::{Error, Result};
use crate::graph::{CpuIo, Define, Graph, Io, Launch, Var, op::Sealed};
use crate::num::Real;
use crate::shape::{Type, expect, expect_axes};
use sit_shaders::{GUIDE_DOUBLE, GUIDE_MIX, GuideDoubleDims, GuideMixDims};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guide {
    /// x `[B, ...]` -> `[2B, ...]`
    Double,
    /// out `[2B, C, I, I]`, scale `[B]` -> `[B, C, I, I]`
    Mix { channels: usize },
}

/// `[x; x]`: x `[B, ...]` -> `[2B, ...]`, the first half for the class, the second for the null class.
///
/// # Errors
/// None for a float tensor with a batch axis.
pub fn double(g: &mut Graph, x: Var) -> Result<Var> {
    g.apply1(Guide::Double, &[x])
}

/// `u + scale (c - u)` on the first `channels` channels and `c` on the rest, with c and u the first and second half of
/// out `[2B, C, I, I]`; scale `[B]` -> `[B, C, I, I]`. SiT guides the first 3 of 4 channels, REPA and diffusers all.
///
/// # Errors
/// [`Error::Shape`] when the batch is odd.
pub fn mix(g: &mut Graph, out: Var, scale: Var, channels: usize) -> Result<Var> {
    g.apply1(Guide::Mix { channels }, &[out, scale])
}

impl Sealed for Guide {}

impl Define for Guide {
    fn name(&self) -> &'static str {
        match self {
            Guide::Double => "guide_double",
            Guide::Mix { .. } => "guide_mix",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let x = &ins[0];
        if let Guide::Double = self {
            if x.shape.is_empty() {
                return Err(Error::Shape(
                    "guide_double: x is a scalar, expected [B, ...]".into(),
                ));
            }
            return Ok(vec![Type::f32(x.shape.with_first(2 * x.shape[0]))]);
        }
        expect_axes("guide_mix", "out", x, 4, "[2B, C, I, I]")?;
        if !x.shape[0].is_multiple_of(2) {
            return Err(Error::Shape(format!(
                "guide_mix: out is {x:?}, expected an even batch"
            )));
        }
        let batch = x.shape[0] / 2;
        expect(
            "guide_mix",
            "scale",
            &ins[1],
            [batch],
            format_args!("out is {x:?}"),
        )?;
        Ok(vec![Type::f32(x.shape.with_first(batch))])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        Ok(vec![match *self {
            Guide::Double => {
                let n = io.numel(0);
                Launch::new(
                    &GUIDE_DOUBLE,
                    &GuideDoubleDims { n },
                    GUIDE_DOUBLE.grid_flat(n),
                )
                .input("x", 0)
                .output("y", 0)
            }
            Guide::Mix { channels: guided } => {
                let [_, channels, height, width] = io.sizes(0);
                let dims = GuideMixDims {
                    n: io.out_numel(0),
                    channels,
                    plane: height * width,
                    guided: guided as u32,
                };
                Launch::new(&GUIDE_MIX, &dims, GUIDE_MIX.grid_flat(dims.n))
                    .input("out", 0)
                    .input("scale", 1)
                    .output("y", 0)
            }
        }])
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        let [x, scale, ..] = io.ins;
        let shape = io.shape(0);
        match *self {
            Guide::Double => {
                let (head, tail) = io
                    .outs
                    .into_iter()
                    .next()
                    .expect("one output")
                    .split_at_mut(x.len());
                head.copy_from_slice(x);
                tail.copy_from_slice(x);
            }
            Guide::Mix { channels } => {
                let (per_channel, n_channels) = (shape[2] * shape[3], shape[1]);
                let (c, u) = x.split_at(x.len() / 2);
                let [y, ..] = io.outs;
                for (i, ((y, &c), &u)) in y.iter_mut().zip(c).zip(u).enumerate() {
                    let plane = i / per_channel;
                    *y = if plane % n_channels < channels {
                        u + scale[plane / n_channels] * (c - u)
                    } else {
                        c
                    };
                }
            }
        }
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        let y = match *self {
            Guide::Double => axes::concat(g, &[ins[0], ins[0]], 0),
            Guide::Mix { channels } => mix_in_primitives(g, ins[0], ins[1], channels),
        };
        Some(y.map(|y| vec![y]))
    }
}

fn mix_in_primitives(g: &mut Graph, out: Var, scale: Var, guided: usize) -> Result<Var> {
    let (batch, channels) = (g.shape(out)[0] / 2, g.shape(out)[1]);
    let guided = guided.min(channels);
    let all = axes::slice(g, out, 0, 0..batch)?;
    if guided == 0 {
        return Ok(all);
    }
    let c = axes::slice(g, all, 1, 0..guided)?;
    let u = axes::slice(g, out, 0, batch..2 * batch)?;
    let u = axes::slice(g, u, 1, 0..guided)?;
    let apart = pointwise::sub(g, c, u)?;
    let scale = g.reshape(scale, [batch, 1, 1, 1])?;
    let scale = reduce::broadcast(g, scale, g.shape(c).clone())?;
    let step = pointwise::mul(g, scale, apart)?;
    let mixed = pointwise::add(g, u, step)?;
    if guided == channels {
        return Ok(mixed);
    }
    let rest = axes::slice(g, all, 1, guided..channels)?;
    axes::concat(g, &[mixed, rest], 1)
}

pub(super) fn cases() -> Vec<Case> {
    let mix = |b: usize, c: usize, i: usize, channels: usize| {
        Case::new(
            Guide::Mix { channels },
            &[Type::f32([2 * b, c, i, i]), Type::f32([b])],
        )
    };
    let double = |b: usize, per: usize| Case::new(Guide::Double, &[Type::f32([b, per])]);
    vec![
        double(1, 1),
        double(3, 70),
        mix(1, 1, 1, 1),
        mix(2, 4, 8, 3),
        mix(3, 3, 5, 3),
    ]
}
