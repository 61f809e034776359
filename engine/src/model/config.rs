//! The networks that configurations and files of weights name, by family.

use super::dit::{self, Dit};
use super::network::Shapes;
use super::{Inputs, Network, NetworkIo, Outputs, params};
use crate::error::Result;
use crate::nn::Scope;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A network of a configuration or a file. It is written as the table of its family's sizes; one that names no family is a
/// [`Dit`]'s.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelConfig {
    /// A diffusion transformer.
    Dit(Dit),
}

impl From<Dit> for ModelConfig {
    fn from(dit: Dit) -> Self {
        ModelConfig::Dit(dit)
    }
}

impl ModelConfig {
    fn network(&self) -> &dyn Network {
        match self {
            ModelConfig::Dit(dit) => dit,
        }
    }

    /// What names and shapes of tensors tell of a network.
    ///
    /// # Errors
    /// What is wrong with them, in words; `None` when they are of no known family.
    pub(crate) fn recognize(
        tensors: &Shapes<'_>,
    ) -> Option<std::result::Result<Recognized, String>> {
        let found = dit::recognize(tensors)?;
        Some(found.map(|found| Recognized {
            model: found.dit.into(),
            knows_heads: found.knows_heads,
            knows_image: found.knows_image,
        }))
    }
}

#[doc(hidden)]
impl ModelConfig {
    /// Shapes of what goes in and comes out.
    pub fn io(&self) -> NetworkIo {
        self.network().io()
    }

    /// Number of parameters as the papers count them: the trained ones and the fixed tables. 0 for sizes that do not fit.
    pub fn n_params(&self) -> usize {
        let specs = params(self).unwrap_or_default();
        specs.iter().map(|spec| spec.shape.numel()).sum()
    }

    /// Sets the number of classes; 0 makes the network unconditional.
    pub fn set_n_classes(&mut self, n_classes: usize) {
        match self {
            ModelConfig::Dit(dit) => dit.n_classes = n_classes,
        }
    }
}

/// What messages call the network: `width 384, depth 12, 6 heads, patch 2`.
impl std::fmt::Display for ModelConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ModelConfig::Dit(dit) => dit.fmt(f),
        }
    }
}

impl Network for ModelConfig {
    fn io(&self) -> NetworkIo {
        self.network().io()
    }

    fn validate(&self, batch: usize) -> Result<()> {
        self.network().validate(batch)
    }

    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
        self.network().forward(s, inputs)
    }
}

impl Serialize for ModelConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            ModelConfig::Dit(dit) => dit.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Dit::deserialize(deserializer).map(Self::Dit)
    }
}

/// The network that tensors make, as far as they tell.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recognized {
    /// The network; valid, with 1 head or 1 token where these are not known.
    pub model: ModelConfig,
    /// Whether the number of heads is known.
    pub knows_heads: bool,
    /// Whether the size of the image is known.
    pub knows_image: bool,
}

impl Recognized {
    /// A network of which everything is known.
    pub fn all(model: ModelConfig) -> Self {
        Recognized {
            model,
            knows_heads: true,
            knows_image: true,
        }
    }

    /// Adds what is known otherwise.
    pub(crate) fn add(&mut self, n_heads: Option<usize>, input_size: Option<usize>) {
        let ModelConfig::Dit(dit) = &mut self.model;
        if let Some(n_heads) = n_heads {
            dit.n_heads = n_heads;
            self.knows_heads = true;
        }
        if let Some(input_size) = input_size {
            dit.input_size = input_size;
            self.knows_image = true;
        }
    }
}
