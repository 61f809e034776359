//! The feed-forward part of a transformer's block.

use super::{Init, Linear, Scope};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::swiglu;
use serde::{Deserialize, Serialize};

/// Width of the MLP relative to the tokens.
const RATIO: usize = 4;

/// The activation between the two layers of an [`Mlp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `fc2(gelu(fc1(x)))`, the tanh form, 4 D wide.
    #[default]
    Gelu,
    /// `w3(silu(a) ⊙ b)` with `[a | b] = w12(x)`, ⌊8 D / 3⌋ wide, which has about as many parameters (Shazeer 2020, arXiv 2002.05202).
    SwiGlu,
}

/// Two linear layers with an activation between them.
#[derive(Clone, Copy, Debug)]
pub struct Mlp {
    first: Linear,
    second: Linear,
    activation: Activation,
}

impl Mlp {
    /// Declares `fc1` and `fc2`, or for SwiGLU `w12` and `w3`, under the prefix `name`, for tokens of width `dim`.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(s: &mut Scope<'_>, name: &str, dim: usize, activation: Activation) -> Result<Self> {
        let mut s = s.at(name);
        let wide = activation.width(dim);
        let (first, second) = match activation {
            Activation::Gelu => (("fc1", wide), "fc2"),
            Activation::SwiGlu => (("w12", 2 * wide), "w3"),
        };
        Ok(Mlp {
            first: Linear::new(&mut s, first.0, [first.1, dim], Init::Xavier)?,
            second: Linear::new(&mut s, second, [dim, wide], Init::Xavier)?,
            activation,
        })
    }

    /// `res + gate ⊙ mlp(x)`, without a gate `res + mlp(x)`: x and res `[B, T, D]`, gate `[B, D]` -> `[B, T, D]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn residual(&self, g: &mut Graph, x: Var, res: Var, gate: Option<Var>) -> Result<Var> {
        let x = match self.activation {
            Activation::Gelu => self.first.gelu(g, x)?,
            Activation::SwiGlu => {
                let ab = self.first.forward(g, x)?;
                swiglu::swiglu(g, ab)?
            }
        };
        self.second.residual(g, x, res, gate)
    }
}

impl Activation {
    /// Values between the two layers, for tokens of width `dim`.
    fn width(self, dim: usize) -> usize {
        match self {
            Activation::Gelu => RATIO * dim,
            Activation::SwiGlu => 2 * RATIO * dim / 3,
        }
    }
}
