//! The networks that configurations and files of weights name, by family.

use super::autoencoder::AutoencoderNet;
use super::classifier::Classifier;
use super::dit::{self, Dit};
use super::network::Shapes;
use super::unet::{self, Unet};
use super::{Inputs, Network, NetworkIo, Output, Outputs, count, params};
use crate::error::Result;
use crate::nn::Scope;
use crate::transport::Transport;
use serde::de::value::{MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::Cell;

/// A network of a configuration or a file. It is written as the table of its family's sizes, with the family's name first; one that
/// names no family is a [`Dit`]'s.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelConfig {
    /// A diffusion transformer.
    Dit(Dit),
    /// A convolutional U-Net.
    Unet(Unet),
    /// A classifier of noisy images.
    Classifier(Classifier),
    /// An autoencoder that is trained.
    Autoencoder(AutoencoderNet),
}

impl From<AutoencoderNet> for ModelConfig {
    fn from(net: AutoencoderNet) -> Self {
        ModelConfig::Autoencoder(net)
    }
}

impl From<Classifier> for ModelConfig {
    fn from(classifier: Classifier) -> Self {
        ModelConfig::Classifier(classifier)
    }
}

impl From<Unet> for ModelConfig {
    fn from(unet: Unet) -> Self {
        ModelConfig::Unet(unet)
    }
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
            ModelConfig::Unet(unet) => unet,
            ModelConfig::Classifier(classifier) => classifier,
            ModelConfig::Autoencoder(net) => net,
        }
    }

    /// What names and shapes of tensors tell of a network.
    ///
    /// # Errors
    /// What is wrong with them, in words; `None` when they are of no known family.
    pub(crate) fn recognize(
        tensors: &Shapes<'_>,
    ) -> Option<std::result::Result<Recognized, String>> {
        if let Some(found) = unet::recognize(tensors) {
            return Some(found.map(|unet| Recognized {
                model: unet.into(),
                knows_heads: false,
                knows_image: false,
            }));
        }
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

    /// Number of parameters as the papers count them: the trained ones and the position embedding. 0 for sizes that do not fit.
    pub fn n_params(&self) -> usize {
        count(&params(self).unwrap_or_default())
    }

    /// The number of channels that the number of heads must divide: that of a [`Dit`]'s tokens, or of the narrowest image of a
    /// [`Unet`] with attention; 1 of a network without heads.
    pub fn heads_divide(&self) -> usize {
        match self {
            ModelConfig::Dit(dit) => dit.dim,
            ModelConfig::Unet(unet) => unet.attention_width(),
            ModelConfig::Classifier(classifier) => classifier.trunk.dim,
            ModelConfig::Autoencoder(_) => 1,
        }
    }

    /// Sets whether the network reads a span of time; an autoencoder never does.
    pub fn set_span(&mut self, span: bool) {
        match self {
            ModelConfig::Dit(dit) => dit.span = span,
            ModelConfig::Unet(unet) => unet.span = span,
            ModelConfig::Classifier(classifier) => classifier.trunk.span = span,
            ModelConfig::Autoencoder(_) => {}
        }
    }

    /// Sets the number of classes; 0 makes the network unconditional, as an autoencoder always is.
    pub fn set_n_classes(&mut self, n_classes: usize) {
        match self {
            ModelConfig::Dit(dit) => dit.n_classes = n_classes,
            ModelConfig::Unet(unet) => unet.n_classes = n_classes,
            ModelConfig::Classifier(classifier) => classifier.trunk.n_classes = n_classes,
            ModelConfig::Autoencoder(_) => {}
        }
    }
}

/// What messages call the network: `width 384, depth 12, 6 heads, patch 2`.
impl std::fmt::Display for ModelConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ModelConfig::Dit(dit) => dit.fmt(f),
            ModelConfig::Unet(unet) => unet.fmt(f),
            ModelConfig::Classifier(classifier) => classifier.fmt(f),
            ModelConfig::Autoencoder(net) => net.fmt(f),
        }
    }
}

impl Network for ModelConfig {
    fn io(&self) -> NetworkIo {
        self.network().io()
    }

    fn output(&self) -> Output {
        self.network().output()
    }

    fn validate(&self, batch: usize) -> Result<()> {
        self.network().validate(batch)
    }

    fn check_transport(&self, transport: &Transport) -> Result<()> {
        self.network().check_transport(transport)
    }

    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
        self.network().forward(s, inputs)
    }
}

/// The key that names the family.
const FAMILY: &str = "family";

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Family {
    Dit,
    Unet,
    Classifier,
    Autoencoder,
}

/// A table with the family's name.
#[derive(Serialize)]
struct Named<'a, T> {
    family: Family,
    #[serde(flatten)]
    sizes: &'a T,
}

impl Serialize for ModelConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            ModelConfig::Dit(dit) => dit.serialize(serializer),
            ModelConfig::Unet(sizes) => Named {
                family: Family::Unet,
                sizes,
            }
            .serialize(serializer),
            ModelConfig::Classifier(sizes) => Named {
                family: Family::Classifier,
                sizes,
            }
            .serialize(serializer),
            ModelConfig::Autoencoder(sizes) => Named {
                family: Family::Autoencoder,
                sizes,
            }
            .serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(OfFamily)
    }
}

/// The families whose keys are not those of a DiT, with the first key of a table whose keys are sorted, as those of a JSON object in memory
/// are. It is the first of no other family's.
const SORTED_FIRST: [(&str, Family); 2] =
    [("attention", Family::Unet), ("blocks", Family::Autoencoder)];

/// Reads a table whose first key tells the family, or that it is one with the keys of a DiT, as a classifier is. The family says what the
/// other keys are. Nothing is held back, so that errors can name the key.
struct OfFamily;

impl<'de> Visitor<'de> for OfFamily {
    type Value = ModelConfig;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<ModelConfig, A::Error> {
        let first = map.next_key::<String>()?;
        let of_key = |key: &str| SORTED_FIRST.iter().find(|(first, _)| *first == key);
        let family = Cell::new(match first.as_deref() {
            Some(FAMILY) => map.next_value()?,
            key => key
                .and_then(of_key)
                .map_or(Family::Dit, |(_, family)| *family),
        });
        let first = first.filter(|key| key != FAMILY);
        let table = MapAccessDeserializer::new(Unread {
            first,
            family: &family,
            map,
        });
        match family.get() {
            Family::Unet => return Unet::deserialize(table).map(ModelConfig::Unet),
            Family::Autoencoder => {
                return AutoencoderNet::deserialize(table).map(ModelConfig::Autoencoder);
            }
            Family::Dit | Family::Classifier => {}
        }
        let dit = Dit::deserialize(table)?;
        Ok(match family.get() {
            Family::Classifier => ModelConfig::Classifier(Classifier { trunk: dit }),
            _ => ModelConfig::Dit(dit),
        })
    }
}

/// A map whose first key has been read. The key of the family is taken out.
struct Unread<'a, A> {
    first: Option<String>,
    family: &'a Cell<Family>,
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Unread<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> std::result::Result<Option<K::Value>, A::Error> {
        let key = match self.first.take() {
            Some(first) => Some(first),
            None => self.map.next_key()?,
        };
        match key {
            Some(key) if key == FAMILY => {
                let named: Family = self.map.next_value()?;
                let keys_of = |family| match family {
                    Family::Classifier => Family::Dit,
                    family => family,
                };
                if keys_of(named) != keys_of(self.family.get()) {
                    return Err(A::Error::custom(
                        "the key `family` is not the first, and the first is another family's",
                    ));
                }
                self.family.set(named);
                self.next_key_seed(seed)
            }
            Some(key) => {
                let key: StringDeserializer<A::Error> = key.into_deserializer();
                seed.deserialize(key).map(Some)
            }
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> std::result::Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
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
        if let Some(n_heads) = n_heads {
            match &mut self.model {
                ModelConfig::Dit(dit) => dit.n_heads = n_heads,
                ModelConfig::Unet(unet) => unet.n_heads = n_heads,
                ModelConfig::Classifier(classifier) => classifier.trunk.n_heads = n_heads,
                ModelConfig::Autoencoder(_) => {}
            }
            self.knows_heads = true;
        }
        if let Some(input_size) = input_size {
            match &mut self.model {
                ModelConfig::Dit(dit) => dit.input_size = input_size,
                ModelConfig::Unet(unet) => unet.resize(input_size),
                ModelConfig::Classifier(classifier) => classifier.trunk.input_size = input_size,
                ModelConfig::Autoencoder(net) => net.input_size = input_size,
            }
            self.knows_image = true;
        }
    }
}
