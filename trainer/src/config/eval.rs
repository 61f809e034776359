//! The `[log.eval]` table, and what an evaluation measures.

use super::tables::{MAX_STEPS, check};
use super::{ConfigError, RunConfig, Source};
use crate::data::Kind;
use serde::{Deserialize, Serialize};
use sit_engine::model::{Network as _, Output};
use std::path::PathBuf;

/// The `[log.eval]` table: how far samples are from real images, as `sit eval` measures it. They are sampled from the moving average, with
/// balanced classes and with the noise of `train.seed`, by Heun's method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// An evaluation every so many steps, a multiple of `log.every_steps`, and one at the end; 0 (default) for none.
    pub every_steps: u64,
    /// Samples; 1000 by default. Distances fall with their number, so their names have it.
    pub count: usize,
    /// What is measured, as `sit eval --metrics` names it. By default `fid` with `inception`, else `agreement` and `frechet` for a model with
    /// classes, else `pixel-sw`.
    pub metrics: Vec<Metric>,
    /// Steps of the ODE; 50 by default. A student has its own.
    pub steps: u32,
    /// Scale of classifier-free guidance; 1 (default) for none.
    pub guidance: f64,
    /// The real images, or statistics of them, as `sit eval --reference` takes them. By default all images that the run is trained on; the judge
    /// and pixels compare with four fifths of them where the data has no test images and `data.hold_out` is 0, and the other fifth is the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<PathBuf>,
    /// The file of the small classifier. By default one is trained on the real images when the run begins, and kept in the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<PathBuf>,
    /// The weights of the Inception network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inception: Option<PathBuf>,
    /// Whose FID it is; `adm` by default.
    pub protocol: Protocol,
}

impl Default for EvalConfig {
    fn default() -> Self {
        EvalConfig {
            every_steps: 0,
            count: 1000,
            metrics: Vec::new(),
            steps: 50,
            guidance: 1.0,
            reference: None,
            judge: None,
            inception: None,
            protocol: Protocol::Adm,
        }
    }
}

impl EvalConfig {
    /// Images at a time in the Inception network.
    pub const INCEPTION_BATCH: usize = 8;
    /// Images whose pixels are compared, at most, and directions: as `sit eval` has them by default.
    pub const PIXELS: usize = 2000;
    /// See [`EvalConfig::PIXELS`].
    pub const DIRECTIONS: usize = 1000;

    /// Whether all is as without the table.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is measured of a model with this number of classes.
    pub fn measured(&self, n_classes: usize) -> Vec<Metric> {
        match (&self.metrics[..], &self.inception) {
            ([], Some(_)) => vec![Metric::Fid],
            ([], None) if n_classes > 0 => vec![Metric::Agreement, Metric::Frechet],
            ([], None) => vec![Metric::PixelSw],
            (asked, _) => {
                let all = Metric::ALL.into_iter();
                all.filter(|metric| asked.contains(metric)).collect()
            }
        }
    }

    /// Checks the table in its configuration.
    pub(super) fn validate(&self, config: &RunConfig) -> Result<(), ConfigError> {
        let refuse = |what: String| Err(ConfigError::new(what));
        check("log.eval.every_steps", self.every_steps, 0, MAX_STEPS)?;
        check("log.eval.count", self.count as u64, 2, 10_000_000)?;
        check("log.eval.steps", u64::from(self.steps), 1, 10_000)?;
        // The sampler takes it as f32.
        if !(self.guidance as f32).is_finite() {
            return refuse(format!(
                "log.eval.guidance: got {:e}, expected a finite scale of f32",
                self.guidance
            ));
        }
        if self.every_steps == 0 {
            return Ok(());
        }
        if !self.every_steps.is_multiple_of(config.log.every_steps) {
            return refuse(format!(
                "log.eval.every_steps: got {}, expected a multiple of log.every_steps = {}",
                self.every_steps, config.log.every_steps
            ));
        }
        if config.model.output() != Output::Prediction || config.data.kind == Kind::Toy {
            return refuse(
                "log.eval.every_steps: expected 0: only a model that makes pictures is evaluated"
                    .into(),
            );
        }
        if config.data.kind == Kind::Latents {
            for (key, path) in [
                ("log.preview.vae", &config.log.preview.vae),
                ("log.eval.reference", &self.reference),
            ] {
                if path.is_none() {
                    return refuse(format!(
                        "{key}: got none, expected a path: samples of a model of latents are decoded and compared with pictures"
                    ));
                }
            }
        }
        for metric in &self.metrics {
            let name = metric.name();
            if metric.is_of_inception() && self.inception.is_none() {
                return refuse(format!(
                    "log.eval.metrics: got {name} without log.eval.inception, expected the file of its weights"
                ));
            }
            if *metric == Metric::Is && !self.protocol.has_score() {
                return refuse(format!(
                    "log.eval.metrics: got is, which the protocol {} does not have, expected adm or torch-fidelity",
                    self.protocol.name()
                ));
            }
            let least = metric.least(self.protocol);
            if self.count < least {
                return refuse(format!(
                    "log.eval.count: got {}, expected at least {least} for {name}",
                    self.count
                ));
            }
        }
        Ok(())
    }
}

/// The configuration of the small classifier that judges samples; the size of its images and the number of classes are those of the data.
pub const CLASSIFIER: &str = "digits-classifier";

/// Patches that an image of it has along a side, at most. Attention grows with their fourth power.
const MOST_PATCHES: usize = 8;

impl RunConfig {
    /// The configuration of a [`CLASSIFIER`] of square images `[C, H, W]`.
    ///
    /// # Errors
    /// [`ConfigError`] for images or a number of classes that it cannot have.
    pub fn classifier_of(
        [channels, size, _]: [usize; 3],
        n_classes: usize,
    ) -> Result<Self, ConfigError> {
        let fits = |patch: &usize| size % patch == 0 && size / patch <= MOST_PATCHES;
        let patch = (2..=size).find(fits).unwrap_or(1);
        let set = [
            format!("model.input_size={size}"),
            format!("model.channels={channels}"),
            format!("model.patch={patch}"),
            format!("model.n_classes={n_classes}"),
        ];
        RunConfig::load(Source::Preset(CLASSIFIER), &set)
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// The Frechet distance of Inception's features: FID.
    Fid,
    /// That of its spatial features.
    Sfid,
    /// The Inception Score.
    Is,
    /// The kernel distance of its features.
    Kid,
    /// Precision and recall by its features.
    Pr,
    /// MIND of its features.
    Mind,
    /// The share of images that the judge takes for what was asked for.
    Agreement,
    /// The Frechet distance of the judge's features.
    Frechet,
    /// The sliced Wasserstein distance of pixels.
    PixelSw,
    /// MIND of pixels.
    PixelMind,
    /// The energy distance of pixels.
    PixelEnergy,
    /// The distance to the nearest training image, and the share of copies.
    Nearest,
}

impl Metric {
    /// All of them, in the order of the columns.
    pub const ALL: [Metric; 12] = [
        Metric::Fid,
        Metric::Sfid,
        Metric::Is,
        Metric::Kid,
        Metric::Pr,
        Metric::Mind,
        Metric::Agreement,
        Metric::Frechet,
        Metric::PixelSw,
        Metric::PixelMind,
        Metric::PixelEnergy,
        Metric::Nearest,
    ];

    /// As the flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Fid => "fid",
            Metric::Sfid => "sfid",
            Metric::Is => "is",
            Metric::Kid => "kid",
            Metric::Pr => "pr",
            Metric::Mind => "mind",
            Metric::Agreement => "agreement",
            Metric::Frechet => "frechet",
            Metric::PixelSw => "pixel-sw",
            Metric::PixelMind => "pixel-mind",
            Metric::PixelEnergy => "pixel-energy",
            Metric::Nearest => "nearest",
        }
    }

    /// Its columns in a table.
    pub fn columns(self) -> &'static [&'static str] {
        match self {
            Metric::Fid => &["fid"],
            Metric::Sfid => &["sfid"],
            Metric::Is => &["is"],
            Metric::Kid => &["kid"],
            Metric::Pr => &["precision", "recall"],
            Metric::Mind => &["mind"],
            Metric::Agreement => &["agreement %"],
            Metric::Frechet => &["frechet"],
            Metric::PixelSw => &["pixel-sw"],
            Metric::PixelMind => &["pixel-mind"],
            Metric::PixelEnergy => &["pixel-energy"],
            Metric::Nearest => &["nearest", "copies %"],
        }
    }

    /// Whether the small classifier measures it.
    pub fn is_of_judge(self) -> bool {
        matches!(self, Metric::Agreement | Metric::Frechet)
    }

    /// Whether pixels are compared.
    pub fn is_of_pixels(self) -> bool {
        matches!(
            self,
            Metric::PixelSw | Metric::PixelMind | Metric::PixelEnergy | Metric::Nearest
        )
    }

    /// Whether the Inception network measures it.
    pub fn is_of_inception(self) -> bool {
        !self.is_of_judge() && !self.is_of_pixels()
    }

    /// Whether samples are compared with real images.
    pub fn compares(self) -> bool {
        !matches!(self, Metric::Is | Metric::Agreement)
    }

    /// The fewest images of each set that it is computed of.
    pub fn least(self, protocol: Protocol) -> usize {
        match self {
            // The third neighbor of each.
            Metric::Pr => 4,
            // One in each split.
            Metric::Is if protocol == Protocol::TorchFidelity => 10,
            Metric::Is | Metric::Agreement => 1,
            _ => 2,
        }
    }

    /// Whether features of single real images are compared, for which statistics do not do.
    pub fn needs_vectors(self) -> bool {
        matches!(self, Metric::Kid | Metric::Pr | Metric::Mind)
    }
}

/// The evaluation programs whose numbers can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// ADM's evaluator (guided-diffusion), which published tables cite: the resize of TensorFlow 1, scores of 5,000 images.
    Adm,
    /// torch-fidelity: the same resize, scores of 10 splits and subsets by the seed 2020.
    TorchFidelity,
    /// pytorch-fid: bilinear with the centers of pixels.
    PytorchFid,
    /// clean-fid: Pillow's bicubic filter.
    CleanFid,
}

impl Protocol {
    /// As the flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Adm => "adm",
            Protocol::TorchFidelity => "torch-fidelity",
            Protocol::PytorchFid => "pytorch-fid",
            Protocol::CleanFid => "clean-fid",
        }
    }

    /// Whether it has an Inception Score.
    pub fn has_score(self) -> bool {
        matches!(self, Protocol::Adm | Protocol::TorchFidelity)
    }
}
