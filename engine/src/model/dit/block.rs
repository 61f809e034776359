//! A block of the transformer.

use super::{Condition, Dit};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::model::IN_PAGE;
use crate::model::network::not_in_page;
use crate::nn::{CrossAttention, Init, Linear, Mlp, Scope, SelfAttention, TokenNorm};
use crate::ops::{axes, chunk, pointwise};

/// What the blocks are conditioned on, in the form that they need.
pub(in crate::model) struct Conditions {
    /// `silu(c)` `[B, D]`, shared by the modulations of all blocks, so computed once.
    pub vector: Option<Var>,
    /// The embeddings of time and label as tokens `[B, 1 or 2, D]`.
    pub tokens: Option<Var>,
}

impl Conditions {
    /// Of the embeddings t and y `[B, D]`.
    pub fn new(g: &mut Graph, condition: Condition, t: Var, y: Option<Var>) -> Result<Self> {
        let (batch, dim) = (g.shape(t)[0], g.shape(t).last());
        match condition {
            Condition::AdaLn | Condition::AdaLnZero => {
                let c = match y {
                    Some(y) => pointwise::add(g, t, y)?,
                    None => t,
                };
                Ok(Conditions {
                    vector: Some(pointwise::silu(g, c)?),
                    tokens: None,
                })
            }
            Condition::InContext | Condition::CrossAttention => {
                let mut as_token = |x| g.reshape(x, [batch, 1, dim]);
                let mut tokens = as_token(t)?;
                if let Some(y) = y {
                    let y = as_token(y)?;
                    tokens = axes::concat(g, &[tokens, y], 1)?;
                }
                Ok(Conditions {
                    vector: None,
                    tokens: Some(tokens),
                })
            }
        }
    }
}

/// Shift, scale and gate of a branch of the block; what is missing counts as 0, 0 and 1.
#[derive(Clone, Copy, Default)]
struct Modulation {
    shift: Option<Var>,
    scale: Option<Var>,
    gate: Option<Var>,
}

/// Two residual branches, attention and MLP, and between them with [`Condition::CrossAttention`] a third.
pub(super) struct Block {
    norm1: TokenNorm,
    norm2: TokenNorm,
    attention: SelfAttention,
    cross: Option<(TokenNorm, CrossAttention)>,
    mlp: Mlp,
    modulation: Option<Linear>,
    condition: Condition,
    shift: bool,
}

impl Block {
    pub fn new(config: &Dit, s: &mut Scope<'_>) -> Result<Self> {
        let (d, n_heads, norm) = (config.dim, config.n_heads, config.norm);
        let norm1 = TokenNorm::new(s, "norm1", norm, d)?;
        let norm2 = TokenNorm::new(s, "norm2", norm, d)?;
        let qk_norm = config.qk_norm.then_some(norm);
        let attention = SelfAttention::new(s, "attn", d, n_heads, qk_norm)?;
        let cross = match config.condition {
            Condition::CrossAttention => {
                not_in_page("model.condition", "cross-attention")?;
                Some((
                    TokenNorm::new(s, "norm_cross", norm, d)?,
                    CrossAttention::new(s, "cross_attn", d, n_heads)?,
                ))
            }
            _ => None,
        };
        let mlp = Mlp::new(s, "mlp", d, config.mlp)?;
        let chunks = match (config.condition, config.shift) {
            (Condition::AdaLnZero, true) => Some((6, Init::Zeros)),
            (Condition::AdaLnZero, false) => Some((4, Init::Zeros)),
            (Condition::AdaLn, _) => Some((4, Init::Xavier)),
            (Condition::InContext | Condition::CrossAttention, _) => None,
        };
        let modulation = match chunks {
            Some((n, init)) => Some(Linear::new(s, "adaLN_modulation.1", [n * d, d], init)?),
            None => None,
        };
        Ok(Block {
            norm1,
            norm2,
            attention,
            cross,
            mlp,
            modulation,
            condition: config.condition,
            shift: config.shift,
        })
    }

    /// h `[B, T, D]` -> `[B, T, D]`; `turns` are the rotary angles `[T, hd]`.
    pub fn forward(
        &self,
        g: &mut Graph,
        h: Var,
        conditions: &Conditions,
        turns: Option<Var>,
    ) -> Result<Var> {
        let [first, second] = self.modulations(g, conditions)?;
        let x = self.norm1.forward(g, h, first.shift, first.scale)?;
        let mut h = self.attention.residual(g, x, h, first.gate, turns)?;
        let cross = self.cross.as_ref().filter(|_| !IN_PAGE);
        if let (Some((norm, attention)), Some(tokens)) = (cross, conditions.tokens) {
            let x = norm.forward(g, h, None, None)?;
            h = attention.residual(g, x, tokens, h)?;
        }
        let x = self.norm2.forward(g, h, second.shift, second.scale)?;
        self.mlp.residual(g, x, h, second.gate)
    }

    /// The modulations of attention and MLP.
    fn modulations(&self, g: &mut Graph, conditions: &Conditions) -> Result<[Modulation; 2]> {
        let (Some(linear), Some(c)) = (&self.modulation, conditions.vector) else {
            return Ok([Modulation::default(); 2]);
        };
        let all = linear.forward(g, c)?;
        Ok(match (self.condition, self.shift) {
            (Condition::AdaLnZero, true) => {
                let [shift1, scale1, gate1, shift2, scale2, gate2] =
                    chunk::split(g, all)?.map(Some);
                let of = |shift, scale, gate| Modulation { shift, scale, gate };
                [of(shift1, scale1, gate1), of(shift2, scale2, gate2)]
            }
            (Condition::AdaLnZero, false) => {
                let [scale1, gate1, scale2, gate2] = chunk::split(g, all)?.map(Some);
                let shift = None;
                let of = |scale, gate| Modulation { shift, scale, gate };
                [of(scale1, gate1), of(scale2, gate2)]
            }
            _ => {
                let [shift1, scale1, shift2, scale2] = chunk::split(g, all)?.map(Some);
                let gate = None;
                let of = |shift, scale| Modulation { shift, scale, gate };
                [of(shift1, scale1), of(shift2, scale2)]
            }
        })
    }
}
