//! PyTorch's `nn.Linear`, with fused epilogues.

use super::{Init, Scope};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::{linear, pointwise};

/// `y = x wᵀ + b` with w `[out, in]` and b `[out]`.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    weight: Var,
    bias: Var,
}

impl Linear {
    /// Declares `name.weight`, initialized by `init`, and `name.bias`, initialized to zeros; `sizes` are `[out, in]`.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(s: &mut Scope<'_>, name: &str, sizes: [usize; 2], init: Init) -> Result<Self> {
        let mut s = s.at(name);
        Ok(Linear {
            weight: s.param("weight", sizes, init)?,
            bias: s.param("bias", [sizes[0]], Init::Zeros)?,
        })
    }

    /// x `[.., in]` -> `[.., out]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        linear::linear(g, x, self.weight, self.bias)
    }

    /// `gelu(x wᵀ + b)`, the tanh form: x `[.., in]` -> `[.., out]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn gelu(&self, g: &mut Graph, x: Var) -> Result<Var> {
        linear::linear_gelu(g, x, self.weight, self.bias)
    }

    /// `res + gate ⊙ (x wᵀ + b)`, without a gate `res + x wᵀ + b`: x `[B, T, in]`, res `[B, T, out]`, gate `[B, out]` -> `[B, T, out]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn residual(&self, g: &mut Graph, x: Var, res: Var, gate: Option<Var>) -> Result<Var> {
        match gate {
            Some(gate) => linear::linear_gate(g, x, self.weight, self.bias, res, gate),
            None => {
                let x = self.forward(g, x)?;
                pointwise::add(g, res, x)
            }
        }
    }
}
