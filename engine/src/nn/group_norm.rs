//! PyTorch's `nn.GroupNorm`, with an optional SiLU and a modulation per sample.

use super::{Init, Scope};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::{group_norm, pointwise, reduce};

/// Added to the variance, as by PyTorch's default.
const EPS: f32 = 1e-5;

/// Group normalization with affine weights, `norm(x) w + b`.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm {
    weight: Var,
    bias: Var,
    groups: usize,
    eps: f32,
}

impl GroupNorm {
    /// Declares `name.weight`, initialized to ones, and `name.bias`, to zeros, of `channels` in `groups`.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(s: &mut Scope<'_>, name: &str, channels: usize, groups: usize) -> Result<Self> {
        let mut s = s.at(name);
        Ok(GroupNorm {
            weight: s.param("weight", [channels], Init::Ones)?,
            bias: s.param("bias", [channels], Init::Zeros)?,
            groups,
            eps: EPS,
        })
    }

    /// The same with another number added to the variance.
    pub fn with_eps(self, eps: f32) -> Self {
        GroupNorm { eps, ..self }
    }

    /// `norm(x) w + b`: x `[B, .., C]` -> `[B, .., C]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let affine = self.affine(g, x)?;
        group_norm::group_norm(g, x, affine, self.groups, self.eps, false)
    }

    /// `silu(norm(x) w + b)`: x `[B, .., C]` -> `[B, .., C]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn silu(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let affine = self.affine(g, x)?;
        group_norm::group_norm(g, x, affine, self.groups, self.eps, true)
    }

    /// `silu((norm(x) w + b) (1 + scale) + shift)`: x `[B, .., C]`, scale and shift `[B, C]` -> `[B, .., C]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn modulated(&self, g: &mut Graph, x: Var, [scale, shift]: [Var; 2]) -> Result<Var> {
        // One factor and one shift per sample and channel: w + w scale, and b + b scale + shift.
        let [w, b] = self.affine(g, x)?;
        let w_scale = pointwise::mul(g, w, scale)?;
        let factor = pointwise::add(g, w, w_scale)?;
        let b_scale = pointwise::mul(g, b, scale)?;
        let b = pointwise::add(g, b, b_scale)?;
        let shift = pointwise::add(g, b, shift)?;
        group_norm::group_norm(g, x, [factor, shift], self.groups, self.eps, true)
    }

    /// w and b for every sample of x.
    fn affine(&self, g: &mut Graph, x: Var) -> Result<[Var; 2]> {
        let (batch, c) = (g.shape(x)[0], g.shape(x).last());
        let mut repeat = |v: Var| {
            let row = g.reshape(v, [1, c])?;
            reduce::broadcast(g, row, [batch, c])
        };
        Ok([repeat(self.weight)?, repeat(self.bias)?])
    }
}
