//! Sizes of a DiT, and the published ones by name.

use crate::error::{Error, Result};
use crate::text::count;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A diffusion transformer: SiT's network, on image patches with adaLN conditioning (DiT, arXiv 2212.09748, section 3.2; SiT, arXiv
/// 2401.08740, section 4). These are its sizes.
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
    /// Heads of the attention; each is D / heads wide.
    pub n_heads: usize,
    /// Number of classes; `n_classes` itself is the null class. 0 means an unconditional model without a label table.
    pub n_classes: usize,
    /// Whether the last layer has 2C outputs per pixel, the second half of which is dropped (SiT's training default).
    pub learn_sigma: bool,
    /// How the blocks are conditioned.
    #[serde(default, skip_serializing_if = "Block::is_default")]
    pub block: Block,
}

/// How a block of the transformer is conditioned on time and label (DiT, section 3.2). With c their embedding, and shift, scale and
/// gate the chunks of `linear(silu(c))`:
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Block {
    /// `h += gate ⊙ attn(adaln(h, shift, scale))`, `h += gate' ⊙ mlp(adaln(h, shift', scale'))`; the gates are 0 at the start, so
    /// that each block starts as the identity. SiT's block.
    #[default]
    #[serde(rename = "adaln-zero")]
    AdaLnZero,
    /// `h += attn(adaln(h, shift, scale))`, `h += mlp(adaln(h, shift', scale'))`: without gates. DiT does not specify how the
    /// modulation is initialized; here like every other linear layer.
    #[serde(rename = "adaln")]
    AdaLn,
}

impl Block {
    fn is_default(&self) -> bool {
        *self == Block::default()
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Block::AdaLnZero => "adaln-zero",
            Block::AdaLn => "adaln",
        })
    }
}

/// `width 384, depth 12, 6 heads, patch 2`.
impl fmt::Display for Dit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (patch, dim, depth) = (self.patch, self.dim, self.depth);
        let heads = count(self.n_heads, "head");
        write!(f, "width {dim}, depth {depth}, {heads}, patch {patch}")
    }
}

/// Upper limit on tokens, more than attention can handle; it also keeps the position embedding a small part of the weights.
const MAX_TOKENS: usize = 1 << 16;

/// A published size.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// `SiT-XL`; the patch size follows after a slash.
    pub name: &'static str,
    /// Number of blocks.
    pub depth: usize,
    /// Width.
    pub dim: usize,
    /// Heads.
    pub n_heads: usize,
}

/// The four published sizes (DiT, table 1), each with patch 2, 4 and 8.
#[doc(hidden)]
pub const PRESETS: [Preset; 4] = [
    preset("SiT-S", 12, 384, 6),
    preset("SiT-B", 12, 768, 12),
    preset("SiT-L", 24, 1024, 16),
    preset("SiT-XL", 28, 1152, 16),
];

const fn preset(name: &'static str, depth: usize, dim: usize, n_heads: usize) -> Preset {
    Preset {
        name,
        depth,
        dim,
        n_heads,
    }
}

impl Dit {
    /// The published model `name`, such as `SiT-XL/2`, for 256x256 images: 32x32 latents of 4 channels, 1000 classes.
    pub fn preset(name: &str) -> Option<Self> {
        let (size, patch) = name.split_once('/')?;
        let preset = PRESETS.iter().find(|p| p.name == size)?;
        let patch = ["2", "4", "8"].iter().find(|p| **p == patch)?;
        Some(Dit {
            input_size: 32,
            channels: 4,
            patch: patch.parse().ok()?,
            dim: preset.dim,
            depth: preset.depth,
            n_heads: preset.n_heads,
            n_classes: 1000,
            learn_sigma: true,
            block: Block::AdaLnZero,
        })
    }

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
        if self.n_classes > 1_000_000 {
            return Err(Error::setting(
                "model.n_classes",
                format!("got {}, expected 0 to 1000000", self.n_classes),
            ));
        }
        self.check_batch(batch)
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
        let tokens = (size / patch).powi(2);
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
                "{tokens} tokens of width {dim}, {heads} heads and depth {depth} at batch {batch} take about {:.0} TB; a larger \
             model.patch, a smaller model.input_size, model.dim, model.depth or batch takes less",
                bytes / 1e12
            ),
        ))
    }
}

#[doc(hidden)]
impl Dit {
    /// Number of tokens T = (I/p)².
    pub fn tokens(&self) -> usize {
        (self.input_size / self.patch).pow(2)
    }

    /// Channels of the last layer: C, or 2C with `learn_sigma`.
    pub fn out_channels(&self) -> usize {
        self.channels * (1 + usize::from(self.learn_sigma))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelConfig;

    /// Names with the parameter counts of the official code, with 2C and with C outputs per pixel.
    const COUNTS: [(&str, usize, usize); 12] = [
        ("SiT-S/2", 32_963_360, 32_957_200),
        ("SiT-S/4", 32_945_024, 32_920_384),
        ("SiT-S/8", 33_148_160, 33_049_600),
        ("SiT-B/2", 130_512_416, 130_500_112),
        ("SiT-B/4", 130_475_648, 130_426_432),
        ("SiT-B/8", 130_881_536, 130_684_672),
        ("SiT-L/2", 458_102_816, 458_086_416),
        ("SiT-L/4", 458_053_760, 457_988_160),
        ("SiT-L/8", 458_594_816, 458_332_416),
        ("SiT-XL/2", 675_129_632, 675_111_184),
        ("SiT-XL/4", 675_074_432, 675_000_640),
        ("SiT-XL/8", 675_683_072, 675_387_904),
    ];

    #[test]
    fn parameter_counts_of_the_published_sizes() {
        for (name, sigma, plain) in COUNTS {
            let config = Dit::preset(name).unwrap();
            assert_eq!(ModelConfig::from(config).n_params(), sigma, "{name}");
            let config = Dit {
                learn_sigma: false,
                ..config
            };
            assert_eq!(ModelConfig::from(config).n_params(), plain, "{name}");
        }
        let large = Dit {
            input_size: 64,
            ..Dit::preset("SiT-XL/2").unwrap()
        };
        assert_eq!(ModelConfig::from(large).n_params(), 676_014_368);
        assert_eq!(Dit::preset("SiT-S/3"), None);
    }

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
