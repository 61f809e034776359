//! The `config.json` of diffusers' `DiTTransformer2DModel`, which has sizes that its tensors do not tell.

use super::{Names, Reader, shown};
use crate::error::{Error, Result};
use crate::model::{Dit, ModelConfig};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{Read, Seek};

/// Sizes that tensors do not tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub n_heads: usize,
    pub input_size: usize,
}

/// The keys that are read; the first is `DiTTransformer2DModel`, or `Transformer2DModel` in older files.
#[derive(Deserialize)]
struct Config {
    #[serde(rename = "_class_name")]
    class: Option<String>,
    num_attention_heads: usize,
    attention_head_dim: usize,
    sample_size: usize,
    norm_type: Option<String>,
    activation_fn: Option<String>,
    norm_elementwise_affine: Option<bool>,
    interpolation_scale: Option<f64>,
}

/// Images whose positions are stretched by `Transformer2DModel` have at least this side.
const STRETCHED_FROM: usize = 128;

impl<R: Read + Seek> Reader<R> {
    /// Adds what the `config.json` beside a file of diffusers says: number of heads and size of the image.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] without the name of the file, for a configuration that cannot be read, of another network than a DiT, or
    /// of other sizes than the tensors'.
    #[doc(hidden)]
    pub fn configure(&mut self, json: &str) -> Result<()> {
        let refuse = |what: String| Err(Error::Checkpoint(what));
        let config: Config = match serde_json::from_str(json) {
            Ok(config) => config,
            Err(e) => {
                return refuse(format!(
                    "is no configuration of a DiT of diffusers: {}",
                    shown(&e.to_string())
                ));
            }
        };
        let class = config.class.as_deref();
        let texts = [
            (
                "_class_name",
                class,
                &["DiTTransformer2DModel", "Transformer2DModel"][..],
            ),
            ("norm_type", config.norm_type.as_deref(), &["ada_norm_zero"]),
            (
                "activation_fn",
                config.activation_fn.as_deref(),
                &["gelu-approximate"],
            ),
        ];
        for (key, got, expected) in texts {
            if let Some(got) = got.filter(|got| !expected.contains(got)) {
                return refuse(format!(
                    "{key}: got {}, expected {} as a DiT has",
                    shown(got),
                    expected.join(" or ")
                ));
            }
        }
        if config.norm_elementwise_affine == Some(true) {
            return refuse("norm_elementwise_affine: got true, expected false as a DiT has".into());
        }
        let usual = match class {
            Some("Transformer2DModel") if config.sample_size >= STRETCHED_FROM => {
                (config.sample_size / 64) as f64
            }
            _ => 1.0,
        };
        let scale = config.interpolation_scale.unwrap_or(usual);
        if scale != 1.0 {
            return refuse(format!(
                "interpolation_scale: got {scale}, expected 1 as a DiT has: its positions are stretched"
            ));
        }
        let [heads, of, side] = [
            config.num_attention_heads,
            config.attention_head_dim,
            config.sample_size,
        ];
        if let Ok(found) = self.recognize()
            && let ModelConfig::Dit(dit) = found.model
            && heads.checked_mul(of) != Some(dit.dim)
        {
            return refuse(format!(
                "num_attention_heads and attention_head_dim: got {heads} and {of}, expected a product of {}, the width of the tensors",
                dit.dim
            ));
        }
        self.sizes = Some(Sizes {
            n_heads: heads,
            input_size: side,
        });
        Ok(())
    }

    /// Whether the file or a configuration beside it states all sizes.
    ///
    /// # Errors
    /// As [`Reader::recipe`].
    #[doc(hidden)]
    pub fn records_sizes(&self) -> Result<bool> {
        Ok(self.sizes.is_some() || self.recipe()?.is_some())
    }
}

#[doc(hidden)]
impl Names {
    /// Checks that a network can have these names.
    ///
    /// # Errors
    /// [`Error::Config`] saying what diffusers' `DiTTransformer2DModel` does not have.
    pub fn check(self, model: &ModelConfig) -> Result<()> {
        let refuse = |what: String| {
            Err(Error::Config(format!(
                "diffusers' DiTTransformer2DModel has no such network: {what}"
            )))
        };
        let dit = match (self, model) {
            (Names::Official, _) => return Ok(()),
            (Names::Diffusers, ModelConfig::Dit(dit)) => dit,
            (Names::Diffusers, other) => return refuse(format!("got {other}, expected a DiT")),
        };
        let plain = Dit {
            input_size: dit.input_size,
            channels: dit.channels,
            patch: dit.patch,
            dim: dit.dim,
            depth: dit.depth,
            n_heads: dit.n_heads,
            n_classes: dit.n_classes,
            learn_sigma: dit.learn_sigma,
            ..Dit::SIT
        };
        if *dit != plain {
            let what = match dit.span {
                true => "a span of time".to_owned(),
                false => dit.design(),
            };
            return refuse(format!("got {what}, expected the blocks of DiT"));
        }
        if dit.n_classes == 0 {
            return refuse("got one without classes, expected a label table".into());
        }
        Ok(())
    }

    /// The `config.json` that diffusers reads. The norm before the MLP gets the official 1e-6 in place of diffusers' default of 1e-5.
    pub fn config(dit: &Dit) -> Value {
        json!({
            "_class_name": "DiTTransformer2DModel",
            "activation_fn": "gelu-approximate",
            "attention_bias": true,
            "attention_head_dim": dit.dim / dit.n_heads.max(1),
            "dropout": 0.0,
            "in_channels": dit.channels,
            "norm_elementwise_affine": false,
            "norm_eps": 1e-6,
            "norm_num_groups": 32,
            "norm_type": "ada_norm_zero",
            "num_attention_heads": dit.n_heads,
            "num_embeds_ada_norm": dit.n_classes,
            "num_layers": dit.depth,
            "out_channels": dit.out_channels(),
            "patch_size": dit.patch,
            "sample_size": dit.input_size,
            "upcast_attention": false,
        })
    }
}
