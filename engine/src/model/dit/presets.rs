//! The published transformers by name.

use super::{Condition, Dit};
use crate::nn::Activation;
use crate::ops::adaln::Norm;

/// A published model, in several patch sizes.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// `SiT-XL`; the patch size follows after a slash.
    pub name: &'static str,
    /// What follows after the patch size: nothing, or `-512` for images of 512x512.
    pub suffix: &'static str,
    /// The patch sizes.
    pub patches: &'static [usize],
    /// The model with the first of them.
    pub dit: Dit,
    /// Tokens of a row, if the image grows with the patch.
    side: Option<usize>,
}

/// SiT-S/2 for 256x256 images: 32x32 latents of 4 channels, 1000 classes.
const SIT: Dit = Dit {
    input_size: 32,
    channels: 4,
    patch: 2,
    dim: 384,
    depth: 12,
    n_heads: 6,
    n_classes: 1000,
    learn_sigma: true,
    condition: Condition::AdaLnZero,
    norm: Norm::Layer,
    qk_norm: false,
    mlp: Activation::Gelu,
    rope: false,
    shift: true,
    bottleneck: 0,
    class_tokens: 0,
    class_tokens_from: 0,
    span: false,
};

/// LightningDiT for 256x256 images: 16x16 latents of 32 channels (VA-VAE).
const LIGHTNING: Dit = Dit {
    input_size: 16,
    channels: 32,
    patch: 1,
    learn_sigma: false,
    norm: Norm::Rms,
    mlp: Activation::SwiGlu,
    rope: true,
    ..SIT
};

/// JiT for pixels: 256x256 in patches of 16, 512x512 in patches of 32.
const JIT: Dit = Dit {
    input_size: 256,
    channels: 3,
    patch: 16,
    learn_sigma: false,
    norm: Norm::Rms,
    qk_norm: true,
    mlp: Activation::SwiGlu,
    rope: true,
    bottleneck: 128,
    class_tokens: 32,
    ..SIT
};

/// The published sizes, each with several patches: DiT, table 1; LightningDiT's and JiT's repositories.
#[doc(hidden)]
pub const PRESETS: [Preset; 14] = [
    sit("SiT-S", sized(SIT, 12, 384, 6)),
    sit("SiT-B", sized(SIT, 12, 768, 12)),
    sit("SiT-L", sized(SIT, 24, 1024, 16)),
    sit("SiT-XL", sized(SIT, 28, 1152, 16)),
    sit_512("SiT-S", sized(SIT, 12, 384, 6)),
    sit_512("SiT-B", sized(SIT, 12, 768, 12)),
    sit_512("SiT-L", sized(SIT, 24, 1024, 16)),
    sit_512("SiT-XL", sized(SIT, 28, 1152, 16)),
    lightning("LightningDiT-B", sized(LIGHTNING, 12, 768, 12)),
    lightning("LightningDiT-L", sized(LIGHTNING, 24, 1024, 16)),
    lightning("LightningDiT-XL", sized(LIGHTNING, 28, 1152, 16)),
    jit("JiT-B", sized(JIT, 12, 768, 12), 128, 4),
    jit("JiT-L", sized(JIT, 24, 1024, 16), 128, 8),
    jit("JiT-H", sized(JIT, 32, 1280, 16), 256, 10),
];

const fn sized(base: Dit, depth: usize, dim: usize, n_heads: usize) -> Dit {
    Dit {
        depth,
        dim,
        n_heads,
        ..base
    }
}

const fn sit(name: &'static str, dit: Dit) -> Preset {
    Preset {
        name,
        suffix: "",
        patches: &[2, 4, 8],
        dit,
        side: None,
    }
}

/// For 512x512 images: 64x64 latents.
const fn sit_512(name: &'static str, dit: Dit) -> Preset {
    Preset {
        suffix: "-512",
        ..sit(
            name,
            Dit {
                input_size: 64,
                ..dit
            },
        )
    }
}

const fn lightning(name: &'static str, dit: Dit) -> Preset {
    Preset {
        name,
        suffix: "",
        patches: &[1, 2],
        dit,
        side: None,
    }
}

const fn jit(name: &'static str, dit: Dit, bottleneck: usize, class_tokens_from: usize) -> Preset {
    Preset {
        name,
        suffix: "",
        patches: &[16, 32],
        dit: Dit {
            bottleneck,
            class_tokens_from,
            ..dit
        },
        side: Some(16),
    }
}

impl Preset {
    fn with_patch(&self, patch: usize) -> Dit {
        Dit {
            patch,
            input_size: match self.side {
                Some(side) => side * patch,
                None => self.dit.input_size,
            },
            ..self.dit
        }
    }

    /// Names of the models: `SiT-XL/2`, `SiT-XL/4`, ...
    pub fn names(&self) -> impl Iterator<Item = String> {
        let Preset { name, suffix, .. } = *self;
        let patches = self.patches.iter();
        patches.map(move |patch| format!("{name}/{patch}{suffix}"))
    }
}

impl Dit {
    /// The published model `name`, such as `SiT-XL/2`, `LightningDiT-XL/1` or `JiT-B/16`, for images of ImageNet or latents of them;
    /// `SiT-XL/2-512` is that for images of 512x512.
    pub fn preset(name: &str) -> Option<Self> {
        let (size, rest) = name.split_once('/')?;
        PRESETS.iter().filter(|p| p.name == size).find_map(|p| {
            let wanted = rest.strip_suffix(p.suffix)?;
            let patch = p.patches.iter().find(|p| p.to_string() == wanted)?;
            Some(p.with_patch(*patch))
        })
    }
}

/// SiT-S/2.
impl Default for Dit {
    fn default() -> Self {
        SIT
    }
}

#[doc(hidden)]
impl Dit {
    /// [`Dit::default`] as a constant.
    pub const SIT: Dit = SIT;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelConfig;

    /// Names with the parameter counts of the official code, with 2C and with C outputs per pixel.
    const COUNTS: [(&str, usize, usize); 13] = [
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
        // With C outputs p² C (D + 1) fewer.
        ("SiT-XL/2-512", 676_014_368, 676_014_368 - 16 * 1153),
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
        for unknown in ["SiT-S/3", "SiT-S/2-256", "SiT-S/-512", "JiT-B/16-512"] {
            assert_eq!(Dit::preset(unknown), None, "{unknown}");
        }
    }

    /// The four designs of DiT-XL/2 (DiT, table 4 and section 5): parameters in millions without the position embedding, and GMAC. The
    /// papers' MACs have one more for each value of each of the two branches of a block.
    #[test]
    fn parameters_and_macs_of_the_block_designs() {
        let published = [
            (Condition::InContext, 449, 119.37),
            (Condition::CrossAttention, 598, 137.62),
            (Condition::AdaLn, 600, 118.56),
            (Condition::AdaLnZero, 675, 118.64),
        ];
        for (condition, millions, gmac) in published {
            let dit = Dit {
                condition,
                ..Dit::preset("SiT-XL/2").unwrap()
            };
            let model = ModelConfig::from(dit);
            let trained = model.n_params() - dit.tokens() * dit.dim;
            assert_eq!(
                (trained as f64 / 1e6).round() as u64,
                millions,
                "{condition}"
            );
            let branches = 2 * dit.depth * dit.tokens() * dit.dim;
            let macs = crate::model::macs(&dit).unwrap() + branches as u64;
            assert_eq!(
                format!("{:.2}", macs as f64 / 1e9),
                format!("{gmac:.2}"),
                "{condition}"
            );
        }
    }

    #[test]
    fn parameters_of_later_models() {
        for (name, millions) in [
            ("JiT-B/16", 131),
            ("JiT-L/16", 459),
            ("JiT-H/16", 953),
            ("LightningDiT-XL/1", 675),
        ] {
            let dit = Dit::preset(name).unwrap();
            let n = ModelConfig::from(dit).n_params();
            assert_eq!((n as f64 / 1e6).round() as u64, millions, "{name}");
        }
        assert_eq!(Dit::preset("JiT-L/32").unwrap().input_size, 512);
        assert_eq!(Dit::preset("JiT-B/2"), None);
    }
}
