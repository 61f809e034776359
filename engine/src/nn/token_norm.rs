//! Norms of tokens.

use super::{Init, Scope};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::adaln::{self, Norm};
use crate::ops::{pointwise, reduce};

/// Added to the variance or the mean square of a token.
const EPS: f32 = 1e-6;

/// The norm of each token. The layer norm has no parameters, as in DiT; the RMS norm has a weight, as in LightningDiT and JiT.
#[derive(Clone, Copy, Debug)]
pub struct TokenNorm {
    norm: Norm,
    weight: Option<Var>,
}

impl TokenNorm {
    /// Declares `name.weight` for the RMS norm of tokens of width `dim`.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(s: &mut Scope<'_>, name: &str, norm: Norm, dim: usize) -> Result<Self> {
        let weight = match norm {
            Norm::Layer => None,
            Norm::Rms => Some(s.at(name).param("weight", [dim], Init::Ones)?),
        };
        Ok(TokenNorm { norm, weight })
    }

    /// `norm(x) ⊙ weight ⊙ (1 + scale) + shift`, where a missing shift or scale is 0: x `[B, T, D]`, shift and scale `[B, D]` -> `[B, T,
    /// D]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn forward(
        &self,
        g: &mut Graph,
        x: Var,
        shift: Option<Var>,
        scale: Option<Var>,
    ) -> Result<Var> {
        let (batch, dim) = (g.shape(x)[0], g.shape(x).last());
        let mut or_zero =
            |given: Option<Var>| given.unwrap_or_else(|| g.constant(0.0, [batch, dim]));
        let (shift, zero) = (or_zero(shift), or_zero(None));
        let scale = match (self.weight, scale) {
            (None, scale) => scale.unwrap_or(zero),
            // weight (1 + scale) - 1, for each sample
            (Some(weight), scale) => {
                let weight = g.reshape(weight, [1, dim])?;
                let weight = reduce::broadcast(g, weight, [batch, dim])?;
                let minus_one = g.constant(-1.0, [batch, dim]);
                let less = pointwise::add(g, weight, minus_one)?;
                match scale {
                    None => less,
                    Some(scale) => {
                        let scaled = pointwise::mul(g, weight, scale)?;
                        pointwise::add(g, scaled, less)?
                    }
                }
            }
        };
        adaln::adaln(g, self.norm, EPS, x, shift, scale)
    }
}
