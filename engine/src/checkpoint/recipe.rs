//! What a file of weights says of itself.

use crate::error::{Error, Result};
use crate::model::{ModelConfig, Network as _};
use crate::transport::Transport;
use serde::{Deserialize, Serialize};

/// Key of the file's metadata that holds the [`Recipe`] as JSON.
pub(super) const RECIPE_KEY: &str = "sit";

/// What a file of weights says of itself: all that sampling needs to know beside the tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// The network.
    pub model: ModelConfig,
    /// What it was trained to do.
    pub transport: Transport,
    /// What it was trained on, where that is known.
    #[serde(default)]
    pub data: Option<Data>,
    /// Names of the classes in their order, as many as are known; a class without one is called by its number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Share of the training labels that were replaced by the null class, where that is known; without any, guidance has nothing
    /// to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_dropout: Option<f64>,
}

/// What a model was trained on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Its name, in the words of the program that trained.
    pub name: String,
    /// How it was scaled: `x = 2 · level / max_level - 1`.
    pub max_level: u8,
}

impl Recipe {
    /// A network and what it was trained to do, and nothing known beside them.
    pub fn new(model: impl Into<ModelConfig>, transport: Transport) -> Self {
        Recipe {
            model: model.into(),
            transport,
            data: None,
            classes: Vec::new(),
            class_dropout: None,
        }
    }

    /// Checks all numbers, so that what reads a file can rely on them.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key, what it is and what was expected.
    pub fn validate(&self) -> Result<()> {
        self.model.validate(1)?;
        self.transport
            .objective()
            .map_err(|e| e.within("transport"))?;
        if self.data.as_ref().is_some_and(|data| data.max_level == 0) {
            return Err(Error::setting("data.max_level", "got 0, expected 1 to 255"));
        }
        let (n_names, n_classes) = (self.classes.len(), self.model.io().n_classes);
        if n_names > n_classes {
            return Err(Error::setting(
                "classes",
                format!("got {n_names} names, expected at most {n_classes}"),
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
