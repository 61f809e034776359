//! Embedders of images, times and labels (DiT `PatchEmbed`, `TimestepEmbedder`, `LabelEmbedder`).

use super::{Init, Linear, Scope};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::{embed, gather, linear, patch, pointwise};
use crate::table::Table;

/// Number of frequencies of the time embedding, which has a sine and a cosine for each.
const N_FREQS: usize = 128;

/// Standard deviation of the initial weights of the time and label embeddings.
const STD: f64 = 0.02;

/// Patches of an image as tokens, with a fixed position embedding.
#[derive(Clone, Copy, Debug)]
pub struct PatchEmbed {
    weight: Var,
    bias: Var,
    positions: Var,
    patch: usize,
    dim: usize,
}

impl PatchEmbed {
    /// Declares `pos_embed` and `x_embedder.proj`, a convolution of `patch` x `patch` pixels with that stride, for images of
    /// `channels` and `side * patch` pixels a side.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(
        s: &mut Scope<'_>,
        side: usize,
        patch: usize,
        channels: usize,
        dim: usize,
    ) -> Result<Self> {
        let table = Table::SinCos2d { side, dim };
        let positions = s.table("pos_embed", [1, side * side, dim], table)?;
        let mut s = s.at("x_embedder.proj");
        Ok(PatchEmbed {
            weight: s.param("weight", [dim, channels, patch, patch], Init::Xavier)?,
            bias: s.param("bias", [dim], Init::Zeros)?,
            positions,
            patch,
            dim,
        })
    }

    /// x `[B, C, I, I]` -> tokens `[B, T, D]`, in row-major order.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let x = patch::patch_split(g, x, self.patch)?;
        let weight = g.reshape(self.weight, [self.dim, g.shape(x).last()])?;
        let x = linear::linear(g, x, weight, self.bias)?;
        embed::embed_pos(g, x, self.positions)
    }
}

/// `mlp([cos(t f), sin(t f)])` with the frequencies `f_i = 10000^(-i/n)` for i = 0..n; like SiT, t in [0, 1] is not rescaled.
#[derive(Clone, Copy, Debug)]
pub struct TimeEmbed {
    freqs: Var,
    first: Linear,
    second: Linear,
}

impl TimeEmbed {
    /// Declares `mlp.0` and `mlp.2` under the prefix `name`.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(s: &mut Scope<'_>, name: &str, dim: usize) -> Result<Self> {
        let freqs = s.graph().table(Table::TimeFreqs { n: N_FREQS });
        let mut s = s.at(name);
        Ok(TimeEmbed {
            freqs,
            first: Linear::new(&mut s, "mlp.0", [dim, 2 * N_FREQS], Init::Normal(STD))?,
            second: Linear::new(&mut s, "mlp.2", [dim, dim], Init::Normal(STD))?,
        })
    }

    /// t `[B]` -> `[B, D]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn forward(&self, g: &mut Graph, t: Var) -> Result<Var> {
        let e = embed::embed_time(g, t, self.freqs)?;
        let e = self.first.forward(g, e)?;
        let e = pointwise::silu(g, e)?;
        self.second.forward(g, e)
    }
}

/// A table with a row for each class, and one for the null class.
#[derive(Clone, Copy, Debug)]
pub struct LabelEmbed {
    table: Var,
}

impl LabelEmbed {
    /// Declares `embedding_table.weight` `[n_classes + 1, dim]` under the prefix `name`.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(s: &mut Scope<'_>, name: &str, n_classes: usize, dim: usize) -> Result<Self> {
        let rows = [n_classes + 1, dim];
        let mut s = s.at(name);
        Ok(LabelEmbed {
            table: s.param("embedding_table.weight", rows, Init::Normal(STD))?,
        })
    }

    /// y `[B]` u32 -> `[B, D]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn forward(&self, g: &mut Graph, y: Var) -> Result<Var> {
        gather::gather(g, self.table, y)
    }
}
