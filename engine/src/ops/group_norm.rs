//! Group normalization with a factor and a shift per sample and channel, optionally followed by SiLU.

mod cpu;

use super::adaln::{Norm, normalized};
use super::{Case, axes, pointwise, reduce};
use crate::error::{Error, Result};
use crate::graph::op::{Sealed, no_gradient};
use crate::graph::{CpuIo, Define, Graph, Io, Launch, NodeId, Var};
use crate::num::Real;
use crate::shape::{Type, expect};
use sit_shaders::{
    GROUP_NORM_BWD_MOD, GROUP_NORM_BWD_X, GROUP_NORM_FWD, GROUP_NORM_SILU, GROUP_NORM_SILU_BWD_MOD,
    GROUP_NORM_SILU_BWD_X, GroupNormDims,
};

/// C channels are normalized in `groups` of adjacent ones, over all pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
enum GroupNorm {
    /// x `[B, .., C]`, factor, shift `[B, C]` -> y `[B, .., C]`, stats `[B, G, 2]` (mean, 1 / standard deviation)
    Fwd { groups: usize, eps: f32, silu: bool },
    /// g, x `[B, .., C]`, stats `[B, G, 2]`, factor, shift `[B, C]` -> gx `[B, .., C]`, gfactor, gshift `[B, C]`
    Bwd { groups: usize, silu: bool },
}

/// `u = (x - mean) · rstd · factor + shift` (Wu and He, arXiv 1803.08494), with the mean and the biased variance of a sample's group
/// of channels over all pixels and `rstd = 1 / sqrt(var + eps)`; the result is `silu(u)` with `silu`, else u. x `[B, .., C]`, factor
/// and shift `[B, C]` -> `[B, .., C]`. Saves mean and rstd.
///
/// Affine weights `[C]` are factors and shifts that all samples share; conditioned on time, they differ.
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit, or `groups` does not divide C.
pub fn group_norm(
    g: &mut Graph,
    x: Var,
    [factor, shift]: [Var; 2],
    groups: usize,
    eps: f32,
    silu: bool,
) -> Result<Var> {
    let id = g.apply(GroupNorm::Fwd { groups, eps, silu }, &[x, factor, shift])?;
    Ok(g.var(id, 0))
}

impl GroupNorm {
    fn groups(self) -> usize {
        let (GroupNorm::Fwd { groups, .. } | GroupNorm::Bwd { groups, .. }) = self;
        groups
    }
}

impl Sealed for GroupNorm {}

impl Define for GroupNorm {
    fn name(&self) -> &'static str {
        match self {
            GroupNorm::Fwd { .. } => "group_norm_fwd",
            GroupNorm::Bwd { .. } => "group_norm_bwd",
        }
    }

    fn infer(&self, ins: &[Type]) -> Result<Vec<Type>> {
        let name = Define::name(self);
        let x = &ins[usize::from(matches!(self, GroupNorm::Bwd { .. }))];
        let (c, groups) = (x.shape.last(), self.groups());
        if x.shape.len() < 2 || groups == 0 || c % groups != 0 {
            return Err(Error::Shape(format!(
                "{name}: x is {x:?}, expected [B, .., C] with C divisible by {groups} groups"
            )));
        }
        let (stats, per_sample) = (Type::f32([x.shape[0], groups, 2]), [x.shape[0], c]);
        let because = format_args!("x is {x:?}");
        let modulation = |first: usize| {
            expect(name, "factor", &ins[first], per_sample, because)?;
            expect(name, "shift", &ins[first + 1], per_sample, because)
        };
        match self {
            GroupNorm::Fwd { .. } => {
                modulation(1)?;
                Ok(vec![x.clone(), stats])
            }
            GroupNorm::Bwd { .. } => {
                expect(name, "g", &ins[0], x.shape.clone(), because)?;
                expect(name, "stats", &ins[2], stats.shape, because)?;
                modulation(3)?;
                Ok(vec![
                    x.clone(),
                    Type::f32(per_sample),
                    Type::f32(per_sample),
                ])
            }
        }
    }

    fn shared(&self, _: &[Type]) -> Option<&'static [usize]> {
        Some(&[])
    }

    fn launch(&self, io: &Io) -> Result<Vec<Launch>> {
        let (x, groups) = (&io.outs[0].shape, self.groups() as u32);
        let (batch, channels) = (x[0] as u32, x.last() as u32);
        let dims = |eps| GroupNormDims {
            batch,
            pixels: io.out_numel(0) / (batch * channels),
            channels,
            groups,
            eps,
        };
        Ok(match *self {
            GroupNorm::Fwd { eps, silu, .. } => {
                let kernel = if silu {
                    &GROUP_NORM_SILU
                } else {
                    &GROUP_NORM_FWD
                };
                vec![
                    Launch::new(kernel, &dims(eps), kernel.grid_flat(batch * groups))
                        .input("x", 0)
                        .input("factor", 1)
                        .input("shift", 2)
                        .output("y", 0)
                        .output("stats", 1),
                ]
            }
            GroupNorm::Bwd { silu, .. } => {
                let (of_mod, of_x) = if silu {
                    (&GROUP_NORM_SILU_BWD_MOD, &GROUP_NORM_SILU_BWD_X)
                } else {
                    (&GROUP_NORM_BWD_MOD, &GROUP_NORM_BWD_X)
                };
                let bind = |kernel, workgroups, reads_factor: bool| {
                    let launch = Launch::new(kernel, &dims(0.0), kernel.grid_flat(workgroups));
                    let launch = launch.input("g", 0).input("x", 1).input("stats", 2);
                    let launch = launch.output("gfactor", 1).output("gshift", 2);
                    let launch = if silu {
                        launch.input("shift", 4)
                    } else {
                        launch
                    };
                    if reads_factor {
                        launch.input("factor", 3)
                    } else {
                        launch
                    }
                };
                vec![
                    bind(of_mod, batch * channels, silu),
                    bind(of_x, batch * groups, true).output("gx", 0),
                ]
            }
        })
    }

    fn cpu<F: Real>(&self, io: CpuIo<'_, F>) {
        match *self {
            GroupNorm::Fwd { groups, eps, silu } => {
                cpu::fwd(io, groups, F::of(f64::from(eps)), silu);
            }
            GroupNorm::Bwd { groups, silu } => cpu::bwd(io, groups, silu),
        }
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: NodeId,
        grads: &[Option<Var>],
    ) -> Result<Vec<Option<Var>>> {
        let (&GroupNorm::Fwd { groups, silu, .. }, Some(grad)) = (self, grads[0]) else {
            return no_gradient(self);
        };
        let ins = g.node(node).ins.clone();
        let stats = g.var(node, 1);
        let all = [grad, ins[0], stats, ins[1], ins[2]];
        let id = g.apply(GroupNorm::Bwd { groups, silu }, &all)?;
        Ok((0..3).map(|out| Some(g.var(id, out))).collect())
    }

    fn expand(&self, g: &mut Graph, ins: &[Var]) -> Option<Result<Vec<Var>>> {
        match *self {
            GroupNorm::Fwd { groups, eps, silu } => {
                Some(in_primitives(g, ins, groups, f64::from(eps), silu))
            }
            GroupNorm::Bwd { .. } => None,
        }
    }
}

fn in_primitives(
    g: &mut Graph,
    ins: &[Var],
    groups: usize,
    eps: f64,
    silu: bool,
) -> Result<Vec<Var>> {
    let shape = g.shape(ins[0]).clone();
    let (batch, c) = (shape[0], shape.last());
    let pixels = shape.numel() / (batch * c);
    let grouped = [batch, pixels, groups, c / groups];
    let x = g.reshape(ins[0], grouped)?;
    let [mean, rstd, normal] = normalized(g, x, &[1, 3], Norm::Layer, eps)?;
    let tokens = [batch, pixels, c].into();
    let normal = g.reshape(normal, [batch, pixels, c])?;
    let factor = reduce::over_tokens(g, ins[1], &tokens)?;
    let shift = reduce::over_tokens(g, ins[2], &tokens)?;
    let scaled = pointwise::mul(g, normal, factor)?;
    let mut y = pointwise::add(g, scaled, shift)?;
    if silu {
        let s = pointwise::sigmoid(g, y)?;
        y = pointwise::mul(g, y, s)?;
    }
    let y = g.reshape(y, shape)?;
    let stats = [mean, rstd].map(|x| g.reshape(x, [batch, groups, 1]));
    let [mean, rstd] = stats;
    let stats = axes::concat(g, &[mean?, rstd?], 2)?;
    Ok(vec![y, stats])
}

pub(super) fn cases() -> Vec<Case> {
    let case = |x: &[usize], groups, eps, silu| {
        let per_sample = Type::f32([x[0], x[x.len() - 1]]);
        let ins = [Type::f32(x), per_sample.clone(), per_sample];
        Case::with_grad(GroupNorm::Fwd { groups, eps, silu }, &ins, &[0, 1, 2])
    };
    vec![
        case(&[1, 3, 2], 1, 1e-5, false),
        case(&[2, 3, 6], 3, 1e-5, false),
        case(&[2, 3, 6], 3, 1e-5, true),
        case(&[3, 5, 3, 8], 2, 1e-6, true),
        case(&[2, 4, 5, 7], 1, 1e-5, false),
        case(&[1, 8, 9, 64], 32, 1e-6, true),
    ]
}
