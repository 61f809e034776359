//! The table `[autoencoder]`, and the settings that a run of an autoencoder has no use for.

use super::{ConfigError, RunConfig, TrainConfig};
use serde::{Deserialize, Serialize};
use sit_engine::objective::{Autoencode, Reconstruction};
use sit_engine::transport::Transport;

/// The `[autoencoder]` table: the loss of a run with `model.family = "autoencoder"`, the distance of an image from its reconstruction plus
/// `kl_weight` times the divergence of the latents' distribution from N(0, I).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderConfig {
    /// `"l1"` (default) or `"mse"`: the mean over the values of an image of the absolute or the square difference.
    pub loss: Reconstruction,
    /// Factor of the divergence, which is summed over a latent, in nats; 1e-6 by default.
    pub kl_weight: f64,
}

impl Default for AutoencoderConfig {
    fn default() -> Self {
        let Autoencode {
            reconstruction,
            kl_weight,
        } = Autoencode::default();
        AutoencoderConfig {
            loss: reconstruction,
            kl_weight,
        }
    }
}

/// The names of the table's keys in the engine.
pub(super) const KEYS: [&str; 1] = ["kl_weight"];

impl AutoencoderConfig {
    pub(super) fn objective(&self) -> Autoencode {
        Autoencode {
            reconstruction: self.loss,
            kl_weight: self.kl_weight,
        }
    }
}

/// Refuses the table without an autoencoder, and with one the keys of paths, labels and samples, which would have no effect.
pub(super) fn check(config: &RunConfig) -> Result<(), ConfigError> {
    let refuse = |what: String| Err(ConfigError::new(what));
    if !config.trains_autoencoder() {
        return match config.autoencoder {
            None => Ok(()),
            Some(_) => refuse(
                "autoencoder: expected no such table, or model.family = autoencoder with it".into(),
            ),
        };
    }
    let usual = RunConfig {
        transport: Transport::default(),
        ..config.clone()
    };
    let (own, usual) = (config.keys()?, usual.keys()?);
    let is_changed =
        |key: &&String| key.starts_with("transport.") && own.get(*key) != usual.get(*key);
    if let Some(key) = own.keys().chain(usual.keys()).find(is_changed) {
        return refuse(format!(
            "{key}: has no effect on an autoencoder, which is trained without a path"
        ));
    }
    if config.distill.is_some() {
        return refuse("distill: an autoencoder has no teacher".into());
    }
    if config.data.n_classes != Some(0) {
        return refuse(format!(
            "data.n_classes: got {}, expected 0: an autoencoder ignores labels",
            config
                .data
                .n_classes
                .map_or("auto".into(), |n| n.to_string())
        ));
    }
    let (preview, train) = (&config.log.preview, TrainConfig::default());
    let (usual, snapshots) = (super::PreviewConfig::default(), &config.log.snapshots);
    let unused = [
        (
            "train.class_dropout",
            config.train.class_dropout != train.class_dropout,
            "has no effect on an autoencoder, which ignores labels",
        ),
        (
            "log.preview.guidance",
            preview.guidance != usual.guidance,
            "has no effect on an autoencoder, whose previews are reconstructions",
        ),
        (
            "log.preview.vae",
            preview.vae.is_some(),
            "has no effect on an autoencoder, whose previews are reconstructions",
        ),
        (
            "log.preview.steps",
            preview.steps != usual.steps,
            "has no effect on an autoencoder, whose previews are reconstructions",
        ),
        (
            "log.snapshots.every_steps",
            snapshots.every_steps != 0,
            "expected 0 for an autoencoder: an average that is made after the fact would have no scale of its latents",
        ),
    ];
    match unused.iter().find(|(_, is_set, _)| *is_set) {
        None => Ok(()),
        Some((key, _, why)) => refuse(format!("{key}: {why}")),
    }
}
