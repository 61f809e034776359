//! Embedders of images, times and labels (DiT `PatchEmbed`, `TimestepEmbedder`, `LabelEmbedder`).

use super::{Init, Linear, Scope};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::{embed, gather, linear, patch, pointwise, reduce};
use crate::table::{RotaryPart, Table};

/// Number of frequencies of the time embedding, which has a sine and a cosine for each.
const N_FREQS: usize = 128;

/// Standard deviation of the initial weights of the time and label embeddings.
const STD: f64 = 0.02;

/// Patches of an image as tokens, with a fixed position embedding.
#[derive(Clone, Copy, Debug)]
pub struct PatchEmbed {
    /// The convolution of patches to a bottleneck, if there is one.
    narrow: Option<Var>,
    weight: Var,
    bias: Var,
    positions: Var,
    patch: usize,
}

impl PatchEmbed {
    /// Declares `pos_embed` and `x_embedder.proj`, a convolution of `patch` x `patch` pixels with that stride, for images of
    /// `channels` and `side * patch` pixels a side. With a `bottleneck` above 0, `x_embedder.proj1` goes to that many values first, and
    /// `x_embedder.proj2` from them to `dim` (JiT, arXiv 2511.13720).
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(
        s: &mut Scope<'_>,
        side: usize,
        patch: usize,
        channels: usize,
        dim: usize,
        bottleneck: usize,
    ) -> Result<Self> {
        let table = Table::SinCos2d { side, dim };
        let positions = s.table("pos_embed", [1, side * side, dim], table)?;
        let mut s = s.at("x_embedder");
        let (narrow, last, shape) = match bottleneck {
            0 => (None, "proj", [dim, channels, patch, patch]),
            narrow => {
                let shape = [narrow, channels, patch, patch];
                let first = s.at("proj1").param("weight", shape, Init::Xavier)?;
                (Some(first), "proj2", [dim, narrow, 1, 1])
            }
        };
        let mut s = s.at(last);
        Ok(PatchEmbed {
            narrow,
            weight: s.param("weight", shape, Init::Xavier)?,
            bias: s.param("bias", [dim], Init::Zeros)?,
            positions,
            patch,
        })
    }

    /// x `[B, C, I, I]` -> tokens `[B, T, D]`, in row-major order.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn forward(&self, g: &mut Graph, x: Var) -> Result<Var> {
        let mut x = patch::patch_split(g, x, self.patch)?;
        if let Some(narrow) = self.narrow {
            let bias = g.constant(0.0, [g.shape(narrow)[0]]);
            x = product(g, x, narrow, bias)?;
        }
        let x = product(g, x, self.weight, self.bias)?;
        embed::embed_pos(g, x, self.positions)
    }
}

/// x `[B, T, K]` times a convolution's weight `[N, ..]` of K values each, plus a bias.
fn product(g: &mut Graph, x: Var, weight: Var, bias: Var) -> Result<Var> {
    let sizes = [g.shape(weight)[0], g.shape(x).last()];
    let weight = g.reshape(weight, sizes)?;
    linear::linear(g, x, weight, bias)
}

/// `[cos(s t f), sin(s t f)]` with the scale s and the frequencies `f_i = 10000^(-i/n)` for i = 0..n: t `[B]` -> `[B, 2n]`.
pub(crate) fn sines(g: &mut Graph, t: Var, n: usize, scale: f32) -> Result<Var> {
    let freqs = g.table(Table::TimeFreqs { n });
    let scale = g.constant(scale, [n]);
    let freqs = pointwise::mul(g, freqs, scale)?;
    embed::embed_time(g, t, freqs)
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
        Self::with_last(s, name, dim, Init::Normal(STD))
    }

    /// The same, with an embedding that is 0 at the start, so that a network that is given one goes on from what it computes.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn zero(s: &mut Scope<'_>, name: &str, dim: usize) -> Result<Self> {
        Self::with_last(s, name, dim, Init::Zeros)
    }

    fn with_last(s: &mut Scope<'_>, name: &str, dim: usize, last: Init) -> Result<Self> {
        let freqs = s.graph().table(Table::TimeFreqs { n: N_FREQS });
        let mut s = s.at(name);
        Ok(TimeEmbed {
            freqs,
            first: Linear::new(&mut s, "mlp.0", [dim, 2 * N_FREQS], Init::Normal(STD))?,
            second: Linear::new(&mut s, "mlp.2", [dim, dim], last)?,
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

/// Copies of the label's embedding as tokens, each with a learned position (JiT, arXiv 2511.13720).
#[derive(Clone, Copy, Debug)]
pub struct ClassTokens {
    positions: Var,
}

impl ClassTokens {
    /// Declares `in_context_posemb` `[1, n, dim]`.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn new(s: &mut Scope<'_>, n: usize, dim: usize) -> Result<Self> {
        Ok(ClassTokens {
            positions: s.param("in_context_posemb", [1, n, dim], Init::Normal(STD))?,
        })
    }

    /// The label's embedding `[B, D]` -> `[B, n, D]`.
    ///
    /// # Errors
    /// [`crate::Error::Shape`] when the shapes do not fit.
    pub fn forward(&self, g: &mut Graph, y: Var) -> Result<Var> {
        let (batch, n, dim) = (g.shape(y)[0], g.shape(self.positions)[1], g.shape(y).last());
        let y = g.reshape(y, [batch, 1, dim])?;
        let y = reduce::broadcast(g, y, [batch, n, dim])?;
        let positions = reduce::broadcast(g, self.positions, [batch, n, dim])?;
        pointwise::add(g, y, positions)
    }
}

/// The rotary position embedding of a square grid of tokens (see [`rotary`](crate::ops::rotary)).
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    /// Tokens per row, and number of rows.
    pub side: usize,
    /// Values of a head, a multiple of 4.
    pub head_dim: usize,
}

impl Rotary {
    fn table(self, n_first: usize, part: RotaryPart) -> Table {
        Table::Rotary2d {
            side: self.side,
            head_dim: self.head_dim,
            n_first,
            part,
        }
    }

    /// Declares `feat_rope.freqs_cos` and `feat_rope.freqs_sin`, which the files of LightningDiT have.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn declare(self, s: &mut Scope<'_>) -> Result<()> {
        let mut s = s.at("feat_rope");
        for (name, part) in [
            ("freqs_cos", RotaryPart::Cos),
            ("freqs_sin", RotaryPart::Sin),
        ] {
            let table = self.table(0, part);
            s.table(name, table.shape(), table)?;
        }
        Ok(())
    }

    /// The angles `[n_first + side², hd]` of the grid's tokens after `n_first` others, which do not turn.
    pub fn turns(self, g: &mut Graph, n_first: usize) -> Var {
        g.table(self.table(n_first, RotaryPart::Turn))
    }
}
