//! The metadata that a weight file has about its model.

use crate::error::{Error, Result};
use crate::model::{ModelConfig, Network as _};
use crate::optim::{Average, Profile};
use crate::transport::Transport;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Key of the [`Recipe`] in the file's metadata, stored as JSON.
pub(super) const RECIPE_KEY: &str = "sit";

/// The metadata of a weight file: everything besides the tensors that sampling needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The network.
    pub model: ModelConfig,
    /// The transport that it was trained with.
    pub transport: Transport,
    /// The training data, if known.
    #[serde(default)]
    pub data: Option<Data>,
    /// Names of the classes in order, as many as are known; the others are identified by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Fraction of training labels replaced by the null class, if known. If it was 0, classifier-free guidance has no unconditional
    /// prediction to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_dropout: Option<f64>,
    /// The average that the weights are, if it is another than that of [`AdamW`](crate::optim::AdamW).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<Averaged>,
    /// Of an autoencoder: what its latents are multiplied by for a latent model, 1 / their standard deviation over training images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latent_scale: Option<f64>,
}

/// An average of the weights over the updates of a training run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Averaged {
    /// Its decay by update.
    pub average: Average,
    /// Updates that it is over.
    pub n_updates: u64,
    /// If it was combined from others: the distance of its profile from that of `average`, relative to the norm of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<f64>,
}

impl From<Profile> for Averaged {
    fn from(profile: Profile) -> Self {
        Averaged {
            average: profile.average,
            n_updates: profile.n_updates,
            residual: None,
        }
    }
}

impl fmt::Display for Averaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {} updates", self.average, self.n_updates)?;
        match self.residual {
            Some(residual) => write!(
                f,
                ", combined from others with a residual of {:.2} %",
                100.0 * residual
            ),
            None => Ok(()),
        }
    }
}

/// The training data of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// Its name in the training program.
    pub name: String,
    /// How it was scaled: `x = 2 · level / max_level - 1`.
    pub max_level: u8,
    /// Of latents: how an autoencoder has made them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latents: Option<Latents>,
}

/// How the latents were made that a model was trained on. The model sees `(z - shift) scale` of a latent z.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latents {
    /// The name of the autoencoder's file.
    pub autoencoder: String,
    /// CRC-32C of that file, in hexadecimal digits.
    pub weights: String,
    /// What latents were multiplied by.
    pub scale: f64,
    /// What was subtracted from them before.
    pub shift: f64,
}

impl Recipe {
    /// A network and its transport, with everything else unknown.
    pub fn new(model: impl Into<ModelConfig>, transport: Transport) -> Self {
        Recipe {
            model: model.into(),
            transport,
            data: None,
            classes: Vec::new(),
            class_dropout: None,
            average: None,
            latent_scale: None,
        }
    }
}

#[doc(hidden)]
impl Recipe {
    /// How the latents were made that the model was trained on, if it was trained on latents.
    pub fn latents(&self) -> Option<&Latents> {
        self.data.as_ref()?.latents.as_ref()
    }

    /// Checks all numbers, so that readers of a file can rely on them.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key, its value and what was expected.
    pub fn validate(&self) -> Result<()> {
        self.model.validate(1)?;
        self.transport.target().map_err(|e| e.within("transport"))?;
        if self.data.as_ref().is_some_and(|data| data.max_level == 0) {
            return Err(Error::setting("data.max_level", "got 0, expected 1 to 255"));
        }
        if let Some(Latents { scale, shift, .. }) = self.latents()
            && !(scale.is_finite() && *scale != 0.0 && shift.is_finite())
        {
            return Err(Error::setting(
                "data.latents",
                format!(
                    "got scale {scale} and shift {shift}, expected finite numbers, and no scale of 0"
                ),
            ));
        }
        let (n_names, n_classes) = (self.classes.len(), self.model.io().n_classes);
        if n_names > n_classes {
            return Err(Error::setting(
                "classes",
                format!("got {n_names} names, expected at most {n_classes}"),
            ));
        }
        if let Some(Averaged { average, .. }) = &self.average {
            average.validate().map_err(|e| e.within("average"))?;
        }
        if let Some(scale) = self.latent_scale
            && !(scale.is_finite() && scale > 0.0)
        {
            return Err(Error::setting(
                "latent_scale",
                format!("got {scale}, expected a finite number above 0"),
            ));
        }
        if let Some(share) = self.class_dropout
            && !(0.0..=1.0).contains(&share)
        {
            return Err(Error::setting(
                "class_dropout",
                format!("got {share}, expected a probability"),
            ));
        }
        Ok(())
    }
}
