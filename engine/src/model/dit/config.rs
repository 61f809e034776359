//! Sizes of a DiT and the design of its blocks.

use crate::error::{Error, Result};
use crate::nn::Activation;
use crate::ops::adaln::Norm;
use crate::text::count;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A diffusion transformer on image patches: SiT's network by default (DiT, arXiv 2212.09748, section 3.2; SiT, arXiv 2401.08740,
/// section 4), and with other settings those of LightningDiT (arXiv 2501.01423) and JiT (arXiv 2511.13720). [`Dit::preset`] has the
/// published ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dit {
    /// Height and width I of the image (or latent), in pixels.
    pub input_size: usize,
    /// Channels C of the image.
    pub channels: usize,
    /// Side p of a patch; there are T = (I/p)² tokens.
    pub patch: usize,
    /// Width D of the tokens.
    pub dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Heads of the attention; each is hd = D / heads wide.
    pub n_heads: usize,
    /// Number of classes; `n_classes` itself is the null class. 0 means an unconditional model without a label table.
    pub n_classes: usize,
    /// Whether the last layer has 2C outputs per pixel, the second half of which is dropped (SiT's training default).
    pub learn_sigma: bool,
    /// How the blocks are conditioned on time and label. Older files call it `block`.
    #[serde(default, alias = "block", skip_serializing_if = "is_default")]
    pub condition: Condition,
    /// The norm of the tokens.
    #[serde(default, skip_serializing_if = "is_default")]
    pub norm: Norm,
    /// Whether the heads of queries and keys are normalized, before they turn: by an RMS norm with weights, or beside
    /// [`Norm::Layer`] by a layer norm with weights and biases.
    #[serde(default, skip_serializing_if = "is_default")]
    pub qk_norm: bool,
    /// The activation of the MLP.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mlp: Activation,
    /// Whether queries and keys turn by angles of their row and column (rotary position embedding), beside the fixed embedding.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rope: bool,
    /// Whether adaLN-Zero shifts, besides scale and gate. The final layer always does.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub shift: bool,
    /// Values to which a patch is reduced by a first linear layer of the patch embedding; 0 for a single layer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bottleneck: usize,
    /// Copies of the label's embedding that join the tokens, each with a learned position; 0 for none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub class_tokens: usize,
    /// Index of the block before which they join.
    #[serde(default, skip_serializing_if = "is_default")]
    pub class_tokens_from: usize,
    /// Whether it reads a span of time beside the time, and predicts the mean velocity over it, as a distilled model does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub span: bool,
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How the transformer is conditioned on time and label: the four designs of DiT, section 3.2. With c the sum of their embeddings, and
/// shift, scale and gate the chunks of `linear(silu(c))`:
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The two embeddings are tokens before those of the image, without a position, and dropped after the last block:
    /// `h += attn(norm(h))`, `h += mlp(norm(h))`.
    InContext,
    /// The two embeddings are tokens that a further attention reads: `h += attn(norm(h))`, `h += cross_attn(norm(h), tokens)`,
    /// `h += mlp(norm(h))`.
    CrossAttention,
    /// `h += attn(adaln(h, shift, scale))`, `h += mlp(adaln(h, shift', scale'))`: without gates. DiT does not specify how the
    /// modulation is initialized; here like every other linear layer.
    #[serde(rename = "adaln")]
    AdaLn,
    /// `h += gate ⊙ attn(adaln(h, shift, scale))`, `h += gate' ⊙ mlp(adaln(h, shift', scale'))`; the gates are 0 at the start, so
    /// that each block starts as the identity. SiT's block.
    #[default]
    #[serde(rename = "adaln-zero")]
    AdaLnZero,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Condition::InContext => "in-context",
            Condition::CrossAttention => "cross-attention",
            Condition::AdaLn => "adaln",
            Condition::AdaLnZero => "adaln-zero",
        })
    }
}

/// `width 384, depth 12, 6 heads, patch 2`, and what differs from SiT's blocks.
impl fmt::Display for Dit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (patch, dim, depth) = (self.patch, self.dim, self.depth);
        let heads = count(self.n_heads, "head");
        write!(f, "width {dim}, depth {depth}, {heads}, patch {patch}")?;
        self.differences()
            .try_for_each(|text| write!(f, ", {text}"))
    }
}

/// Upper limit on tokens, more than attention can handle; it also keeps the position embedding a small part of the weights.
const MAX_TOKENS: usize = 1 << 16;

impl Dit {
    /// Checks the sizes, and that work on `batch` images can be counted.
    pub(super) fn check(&self, batch: usize) -> Result<()> {
        let sizes = [
            ("input_size", self.input_size, 4096),
            ("channels", self.channels, 1024),
            ("patch", self.patch, 4096),
            ("dim", self.dim, 65_536),
            ("depth", self.depth, 1024),
            ("n_heads", self.n_heads, 65_536),
        ];
        for (key, size, most) in sizes {
            if !(1..=most).contains(&size) {
                return Err(Error::setting(
                    format!("model.{key}"),
                    format!("got {size}, expected 1 to {most}"),
                ));
            }
        }
        let (dim, n_heads) = (self.dim, self.n_heads);
        if !self.input_size.is_multiple_of(self.patch) {
            return Err(Error::setting(
                "model.input_size",
                format!(
                    "got {}, expected a multiple of model.patch = {}",
                    self.input_size, self.patch
                ),
            ));
        }
        if self.tokens() > MAX_TOKENS {
            return Err(Error::setting(
                "model.input_size",
                format!(
                    "got {} with model.patch = {}, {} tokens, expected at most {MAX_TOKENS}",
                    self.input_size,
                    self.patch,
                    self.tokens()
                ),
            ));
        }
        if !dim.is_multiple_of(n_heads) {
            return Err(Error::setting(
                "model.dim",
                format!("got {dim}, expected a multiple of model.n_heads = {n_heads}"),
            ));
        }
        // A quarter each for sine and cosine of column and row.
        if !dim.is_multiple_of(4) {
            return Err(Error::setting(
                "model.dim",
                format!("got {dim}, expected a multiple of 4 for the position embedding"),
            ));
        }
        self.check_blocks()?;
        if self.n_classes > 1_000_000 {
            return Err(Error::setting(
                "model.n_classes",
                format!("got {}, expected 0 to 1000000", self.n_classes),
            ));
        }
        self.check_batch(batch)
    }

    fn check_blocks(&self) -> Result<()> {
        let refuse =
            |key: &str, message: String| Err(Error::setting(format!("model.{key}"), message));
        let head_dim = self.dim / self.n_heads;
        if self.rope && !head_dim.is_multiple_of(4) {
            return refuse(
                "rope",
                format!(
                    "got true with heads of {head_dim}, expected a multiple of 4, for pairs of rows and columns"
                ),
            );
        }
        if !self.shift && self.condition != Condition::AdaLnZero {
            return refuse(
                "shift",
                format!(
                    "got false with model.condition = {}, expected {}",
                    self.condition,
                    Condition::AdaLnZero
                ),
            );
        }
        if self.bottleneck > 65_536 {
            return refuse(
                "bottleneck",
                format!("got {}, expected 0 to 65536", self.bottleneck),
            );
        }
        if self.class_tokens > 4096 {
            return refuse(
                "class_tokens",
                format!("got {}, expected 0 to 4096", self.class_tokens),
            );
        }
        if self.class_tokens > 0 && self.n_classes == 0 {
            return refuse(
                "class_tokens",
                format!(
                    "got {} for a model without classes, expected 0",
                    self.class_tokens
                ),
            );
        }
        if self.class_tokens > 0 && self.class_tokens_from >= self.depth {
            return refuse(
                "class_tokens_from",
                format!(
                    "got {}, expected less than model.depth = {}",
                    self.class_tokens_from, self.depth
                ),
            );
        }
        if self.class_tokens == 0 && self.class_tokens_from > 0 {
            return refuse(
                "class_tokens_from",
                format!(
                    "got {} with model.class_tokens = 0, expected 0",
                    self.class_tokens_from
                ),
            );
        }
        Ok(())
    }

    /// Far more than any machine holds is refused, so that sizes in bytes and sums of them stay below 2^64. The sizes are within their
    /// ranges.
    fn check_batch(&self, batch: usize) -> Result<()> {
        const MAX_BYTES: f64 = 1e15;
        let [size, channels, patch, dim, depth, heads, classes, batch] = [
            self.input_size,
            self.channels,
            self.patch,
            self.dim,
            self.depth,
            self.n_heads,
            self.n_classes,
            batch,
        ]
        .map(|n| n as f64);
        let image = (size / patch).powi(2);
        let tokens = image + self.class_tokens as f64 + 2.0;
        let params =
            18.0 * depth * dim * dim + dim * (classes + tokens + 3.0 * channels * patch * patch);
        let values = depth * (20.0 * tokens * dim + 2.0 * heads * tokens * tokens)
            + 4.0 * channels * size * size;
        // Weights, gradients, two moments and the average.
        let bytes = 4.0 * (5.0 * params + batch * values);
        if bytes <= MAX_BYTES {
            return Ok(());
        }
        Err(Error::setting(
            "model",
            format!(
                "{image} tokens of width {dim}, {heads} heads and depth {depth} at batch {batch} take about {:.0} TB; a larger \
             model.patch, a smaller model.input_size, model.dim, model.depth or batch takes less",
                bytes / 1e12
            ),
        ))
    }
}

impl Dit {
    /// Settings of the blocks that are not SiT's, in words.
    fn differences(&self) -> impl Iterator<Item = String> {
        let if_set = |is_set: bool, text: String| is_set.then_some(text);
        [
            if_set(
                self.condition != Condition::default(),
                self.condition.to_string(),
            ),
            if_set(self.norm == Norm::Rms, "RMS norm".into()),
            if_set(self.qk_norm, "QK norm".into()),
            if_set(self.mlp == Activation::SwiGlu, "SwiGLU".into()),
            if_set(self.rope, "RoPE".into()),
            if_set(!self.shift, "no shift".into()),
            if_set(
                self.bottleneck > 0,
                format!("bottleneck {}", self.bottleneck),
            ),
            if_set(
                self.class_tokens > 0,
                format!(
                    "{} from block {}",
                    count(self.class_tokens, "class token"),
                    self.class_tokens_from
                ),
            ),
        ]
        .into_iter()
        .flatten()
    }
}

#[doc(hidden)]
impl Dit {
    /// What the blocks are, besides their sizes: weights fit blocks of the same design only.
    pub fn design(&self) -> String {
        let differences: Vec<String> = self.differences().collect();
        match &differences[..] {
            [] => Condition::default().to_string(),
            _ => differences.join(", "),
        }
    }

    /// Tokens of a row I/p.
    pub fn side(&self) -> usize {
        self.input_size / self.patch
    }

    /// Number of tokens of the image T = (I/p)².
    pub fn tokens(&self) -> usize {
        self.side().pow(2)
    }

    /// Channels of the last layer: C, or 2C with `learn_sigma`.
    pub fn out_channels(&self) -> usize {
        self.channels * (1 + usize::from(self.learn_sigma))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_do_not_fit_are_refused_by_key() {
        let good = Dit::preset("SiT-S/2").unwrap();
        good.check(1).unwrap();
        let bad = [
            (Dit { patch: 0, ..good }, "model.patch: got 0"),
            (
                Dit { patch: 3, ..good },
                "model.input_size: got 32, expected a multiple of model.patch = 3",
            ),
            (
                Dit { n_heads: 5, ..good },
                "model.dim: got 384, expected a multiple of model.n_heads = 5",
            ),
            (
                Dit {
                    dim: 6,
                    n_heads: 1,
                    ..good
                },
                "model.dim: got 6, expected a multiple of 4",
            ),
            (Dit { depth: 0, ..good }, "model.depth: got 0"),
            (
                Dit {
                    input_size: 1024,
                    ..good
                },
                "model.input_size: got 1024 with model.patch = 2, 262144 tokens, expected at most 65536",
            ),
            // Each size within its range, but together beyond all machines.
            (
                Dit {
                    dim: 65_536,
                    n_heads: 65_536,
                    depth: 1024,
                    channels: 1024,
                    input_size: 4096,
                    patch: 16,
                    n_classes: 1_000_000,
                    ..good
                },
                "model: 65536 tokens",
            ),
        ];
        for (config, message) in bad {
            let error = config.check(1).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let xl = Dit::preset("SiT-XL/2").unwrap();
        xl.check(65_536).unwrap();
        xl.check(usize::MAX).unwrap_err();
    }
}
