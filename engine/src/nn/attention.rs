//! Attention of tokens to each other, and to others.

use super::{Init, Linear, Scope};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::adaln::Norm;
use crate::ops::{attention, axes, qk_norm, rotary};

/// Added to the mean square of a head of q or k.
const RMS_EPS: f32 = 1e-6;

/// Added to the variance of a head of q or k: PyTorch's default.
const LAYER_EPS: f32 = 1e-5;

/// Self-attention with several heads (timm `Attention`): `proj(softmax(q kᵀ / √hd) v)` with `[q | k | v] = qkv(x)`.
#[derive(Clone, Copy, Debug)]
pub struct SelfAttention {
    qkv: Linear,
    norm: Option<HeadNorm>,
    proj: Linear,
    n_heads: usize,
}

/// The norm of the heads of q and k.
#[derive(Clone, Copy, Debug)]
struct HeadNorm {
    norm: Norm,
    /// Weights of q and k, `[hd]` each.
    weights: [Var; 2],
    /// Biases of q and k; the RMS norm has none.
    biases: Option<[Var; 2]>,
}

impl HeadNorm {
    fn new(s: &mut Scope<'_>, norm: Norm, head_dim: usize) -> Result<Self> {
        let mut of = |name: &str| {
            let mut s = s.at(name);
            let weight = s.param("weight", [head_dim], Init::Ones)?;
            let bias = match norm {
                Norm::Rms => None,
                Norm::Layer => Some(s.param("bias", [head_dim], Init::Zeros)?),
            };
            Ok((weight, bias))
        };
        let ((q, q_bias), (k, k_bias)) = (of("q_norm")?, of("k_norm")?);
        Ok(HeadNorm {
            norm,
            weights: [q, k],
            biases: q_bias.zip(k_bias).map(|(q, k)| [q, k]),
        })
    }

    fn forward(&self, g: &mut Graph, qkv: Var) -> Result<Var> {
        let head_dim = g.shape(self.weights[0]).numel();
        let stack = |g: &mut Graph, parts: [Var; 2]| {
            let both = axes::concat(g, &parts, 0)?;
            g.reshape(both, [2, head_dim])
        };
        let weight = stack(g, self.weights)?;
        let bias = match self.biases {
            Some(biases) => stack(g, biases)?,
            None => g.constant(0.0, [2, head_dim]),
        };
        let eps = match self.norm {
            Norm::Rms => RMS_EPS,
            Norm::Layer => LAYER_EPS,
        };
        qk_norm::qk_norm(g, self.norm, eps, qkv, weight, bias)
    }
}

impl SelfAttention {
    /// Declares `qkv`, with `qk_norm` the norms `q_norm` and `k_norm` of each head, and `proj`, under the prefix `name`, for tokens of
    /// width `dim`.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(
        s: &mut Scope<'_>,
        name: &str,
        dim: usize,
        n_heads: usize,
        qk_norm: Option<Norm>,
    ) -> Result<Self> {
        let mut s = s.at(name);
        let qkv = Linear::new(&mut s, "qkv", [3 * dim, dim], Init::Xavier)?;
        let head_norm = |norm| HeadNorm::new(&mut s, norm, dim / n_heads);
        let norm = qk_norm.map(head_norm).transpose()?;
        Ok(SelfAttention {
            qkv,
            norm,
            proj: Linear::new(&mut s, "proj", [dim, dim], Init::Xavier)?,
            n_heads,
        })
    }

    /// `res + gate ⊙ attention(x)`, without a gate `res + attention(x)`: x and res `[B, T, D]`, gate `[B, D]` -> `[B, T, D]`. With
    /// `turns`, a [`Table::Rotary2d`](crate::table::Table) `[T, hd]`, queries and keys turn by their positions.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn residual(
        &self,
        g: &mut Graph,
        x: Var,
        res: Var,
        gate: Option<Var>,
        turns: Option<Var>,
    ) -> Result<Var> {
        let mut qkv = self.qkv.forward(g, x)?;
        if let Some(norm) = &self.norm {
            qkv = norm.forward(g, qkv)?;
        }
        if let Some(turns) = turns {
            qkv = rotary::rotary(g, qkv, turns, 2 * self.n_heads)?;
        }
        let x = attention::attention(g, qkv, self.n_heads)?;
        self.proj.residual(g, x, res, gate)
    }
}

/// Attention of tokens to other tokens of the same width (DiT, section 3.2): `proj(softmax(q kᵀ / √hd) v)` with `q = q(x)` and `[k | v]
/// = kv(others)`.
#[derive(Clone, Copy, Debug)]
pub struct CrossAttention {
    q: Linear,
    kv: Linear,
    proj: Linear,
    n_heads: usize,
}

impl CrossAttention {
    /// Declares `q`, `kv` and `proj` under the prefix `name`, for tokens of width `dim`.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(s: &mut Scope<'_>, name: &str, dim: usize, n_heads: usize) -> Result<Self> {
        let mut s = s.at(name);
        Ok(CrossAttention {
            q: Linear::new(&mut s, "q", [dim, dim], Init::Xavier)?,
            kv: Linear::new(&mut s, "kv", [2 * dim, dim], Init::Xavier)?,
            proj: Linear::new(&mut s, "proj", [dim, dim], Init::Xavier)?,
            n_heads,
        })
    }

    /// `res + attention(x, others)`: x and res `[B, T, D]`, others `[B, S, D]` -> `[B, T, D]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn residual(&self, g: &mut Graph, x: Var, others: Var, res: Var) -> Result<Var> {
        let q = self.q.forward(g, x)?;
        let kv = self.kv.forward(g, others)?;
        let x = attention::cross_attention(g, q, kv, self.n_heads)?;
        self.proj.residual(g, x, res, None)
    }
}
