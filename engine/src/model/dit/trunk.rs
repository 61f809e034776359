//! The transformer up to its final layer.

use super::block::{Block, Conditions};
use super::{Condition, Dit};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::model::Inputs;
use crate::nn::{ClassTokens, LabelEmbed, PatchEmbed, Rotary, Scope, TimeEmbed};
use crate::ops::{axes, pointwise};

/// The embeddings and the blocks.
pub(in crate::model) struct Trunk {
    x_embedder: PatchEmbed,
    t_embedder: TimeEmbed,
    y_embedder: Option<LabelEmbed>,
    class_tokens: Option<ClassTokens>,
    rotary: Option<Rotary>,
    blocks: Vec<Block>,
    span_embedder: Option<TimeEmbed>,
    condition: Condition,
    class_tokens_from: usize,
}

impl Trunk {
    pub fn new(config: &Dit, s: &mut Scope<'_>) -> Result<Self> {
        let (d, side) = (config.dim, config.side());
        let x_embedder =
            PatchEmbed::new(s, side, config.patch, config.channels, d, config.bottleneck)?;
        let t_embedder = TimeEmbed::new(s, "t_embedder", d)?;
        let y_embedder = match config.n_classes {
            0 => None,
            n => Some(LabelEmbed::new(s, "y_embedder", n, d)?),
        };
        let class_tokens = match config.class_tokens {
            0 => None,
            n => Some(ClassTokens::new(s, n, d)?),
        };
        let head_dim = d / config.n_heads;
        let rotary = config.rope.then_some(Rotary { side, head_dim });
        // The files of JiT, which has a bottleneck, do not have the angles.
        if let Some(rotary) = rotary.filter(|_| config.bottleneck == 0) {
            rotary.declare(s)?;
        }
        let blocks = (0..config.depth)
            .map(|i| Block::new(config, &mut s.at(format_args!("blocks.{i}"))))
            .collect::<Result<Vec<_>>>()?;
        let span_embedder = match config.span {
            true => Some(TimeEmbed::zero(s, "span_embedder", d)?),
            false => None,
        };
        Ok(Trunk {
            x_embedder,
            t_embedder,
            y_embedder,
            class_tokens,
            rotary,
            blocks,
            span_embedder,
            condition: config.condition,
            class_tokens_from: config.class_tokens_from,
        })
    }

    /// The tokens of the image after the last block, `[B, T, D]`, and what they were conditioned on. Labels are not read without
    /// classes.
    pub fn forward(&self, g: &mut Graph, inputs: Inputs) -> Result<(Var, Conditions)> {
        let mut h = self.x_embedder.forward(g, inputs.x)?;
        let mut t = self.t_embedder.forward(g, inputs.t)?;
        if let (Some(embedder), Some(span)) = (&self.span_embedder, inputs.span) {
            let span = embedder.forward(g, span)?;
            t = pointwise::add(g, t, span)?;
        }
        let y = match (&self.y_embedder, inputs.y) {
            (Some(embedder), Some(y)) => Some(embedder.forward(g, y)?),
            _ => None,
        };
        let conditions = Conditions::new(g, self.condition, t, y)?;
        let turns_after =
            |g: &mut Graph, n_first| self.rotary.map(|rotary| rotary.turns(g, n_first));
        let mut turns = turns_after(g, 0);
        // Tokens before those of the image.
        let mut n_first = 0;
        if let (Condition::InContext, Some(tokens)) = (self.condition, conditions.tokens) {
            n_first = g.shape(tokens)[1];
            h = axes::concat(g, &[tokens, h], 1)?;
            turns = turns_after(g, n_first);
        }
        for (i, block) in self.blocks.iter().enumerate() {
            let joins = i == self.class_tokens_from;
            if let (true, Some(embed), Some(y)) = (joins, &self.class_tokens, y) {
                let tokens = embed.forward(g, y)?;
                n_first += g.shape(tokens)[1];
                h = axes::concat(g, &[tokens, h], 1)?;
                turns = turns_after(g, n_first);
            }
            h = g.block(|g| block.forward(g, h, &conditions, turns))?;
        }
        if n_first > 0 {
            let end = g.shape(h)[1];
            h = axes::slice(g, h, 1, n_first..end)?;
        }
        Ok((h, conditions))
    }
}
