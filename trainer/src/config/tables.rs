//! The tables `[init]`, `[train]` and `[log]`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sit_engine::Error;
use sit_engine::optim::{Average, Schedule};
use sit_engine::text::float;

use super::{ConfigError, EvalConfig};

/// The `[init]` table: other weights that a run starts from. It applies only when a run starts; in the run's own files it records
/// where the run came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InitConfig {
    /// Run folder (its last checkpoint), checkpoint folder, or file of weights.
    pub from: PathBuf,
    /// `"ema"` (default) or `"raw"`, where there are both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<WeightSet>,
}

/// Which weights of a run, or of a file that has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum WeightSet {
    /// Moving average of the weights.
    Ema,
    /// Second moving average, of a run with train.ema_decay2.
    Ema2,
    /// Weights as trained.
    Raw,
}

/// The `[train]` table; its defaults are SiT's, but for `ema_warmup`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Steps of the whole run; 400000 by default.
    pub steps: u64,
    /// Images of one forward and backward pass; 256 by default. A step has `batch * accumulate` images.
    pub batch: usize,
    /// Passes whose gradients are averaged into one step; 1 by default.
    pub accumulate: usize,
    /// Blocks of the network, the first ones, that keep only their output for the backward pass and are computed again there: less memory for
    /// up to a third more work, and the same bits; 0 by default.
    pub recompute: usize,
    /// Learning rate after the warm-up; 1e-4 by default.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises linearly; 0 by default.
    pub warmup_steps: u64,
    /// `"constant"` (default), or `"cosine"` down to the final fraction at the last step.
    pub schedule: Schedule,
    /// Learning rate of the last step of a cosine, as a fraction of `learning_rate`; 0.1 by default.
    pub final_lr_fraction: f64,
    /// Decay of AdamW's two moments; [0.9, 0.999] by default.
    pub betas: [f64; 2],
    /// Added to the root of AdamW's second moment; 1e-8 by default.
    pub adam_eps: f64,
    /// Decoupled weight decay; 0 by default.
    pub weight_decay: f64,
    /// Largest norm of a step's gradient, 0 (default) for no clipping.
    pub clip: f64,
    /// Decay of the moving average of the weights, by step; 0.9999 by default.
    pub ema_decay: f64,
    /// Decay of a second moving average; none by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema_decay2: Option<f64>,
    /// Whether the decay in the step after n others is at most (1 + n) / (10 + n), so that the average soon forgets the initial
    /// weights; true by default, false as in the reference code.
    pub ema_warmup: bool,
    /// Probability that a label is replaced by the null class, which guidance needs; 0.1 by default.
    pub class_dropout: f64,
    /// Key of initial weights, data order, flips, times, noise and dropped labels; 0 by default.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 400_000,
            batch: 256,
            accumulate: 1,
            recompute: 0,
            learning_rate: 1e-4,
            warmup_steps: 0,
            schedule: Schedule::Constant,
            final_lr_fraction: 0.1,
            betas: [0.9, 0.999],
            adam_eps: 1e-8,
            weight_decay: 0.0,
            clip: 0.0,
            ema_decay: 0.9999,
            ema_decay2: None,
            ema_warmup: true,
            class_dropout: 0.1,
            seed: 0,
        }
    }
}

impl TrainConfig {
    /// Checks what the engine's own checks do not cover.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        check("train.steps", self.steps, 1, MAX_STEPS)?;
        check("train.warmup_steps", self.warmup_steps, 0, self.steps)?;
        // The largest integer of TOML.
        check("train.seed", self.seed, 0, i64::MAX as u64)?;
        if let Some(decay) = self.ema_decay2 {
            let average = Average::exponential(decay);
            average
                .validate()
                .map_err(|e| within(e, "train", "ema_decay2"))?;
        }
        let rates = [
            ("learning_rate", self.learning_rate, "a number in (0, 1]"),
            (
                "final_lr_fraction",
                self.final_lr_fraction,
                "a fraction in [0, 1]",
            ),
        ];
        for (key, got, expected) in rates {
            let may_be_0 = key != "learning_rate";
            if !(0.0..=1.0).contains(&got) || (got == 0.0 && !may_be_0) {
                return Err(ConfigError::new(format!(
                    "train.{key}: got {}, expected {expected}",
                    float(got)
                )));
            }
        }
        Ok(())
    }

    /// Checks that the values drawn in the run, images of `image_len` values each, can be numbered.
    pub(super) fn validate_work(&self, image_len: usize) -> Result<(), ConfigError> {
        let images = u128::from(self.steps) * (self.batch as u128) * (self.accumulate as u128);
        let most = u128::from(u64::MAX) / image_len.max(1) as u128;
        if images <= most {
            return Ok(());
        }
        Err(ConfigError::new(format!(
            "train.steps x train.batch x train.accumulate: got {} x {} x {} images, expected at most {most} in all",
            self.steps, self.batch, self.accumulate
        )))
    }
}

/// The `[log]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The run's folder; `runs/NAME` by default, after the preset or the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// A line of metrics every so many steps; 100 by default.
    pub every_steps: u64,
    /// Whether TensorBoard event files are written too; true by default.
    pub tensorboard: bool,
    /// Whether `metrics.csv` is written beside `metrics.jsonl`; false by default.
    pub csv: bool,
    /// A checkpoint every so many steps, and one at the end; 5000 by default, 0 for the end alone.
    pub checkpoint_every_steps: u64,
    /// How many of the latest checkpoints are kept; 3 by default.
    pub keep_last: usize,
    /// Checkpoints at multiples of this step are kept too; 0 (default) for none.
    pub keep_every_steps: u64,
    /// Sample images on the way.
    pub preview: PreviewConfig,
    /// Measure the loss of held-out images on the way.
    pub validation: ValidationConfig,
    /// Measure samples on the way.
    #[serde(skip_serializing_if = "EvalConfig::is_default")]
    pub eval: EvalConfig,
    /// Keep averages of the weights on the way, of which `sit ema` makes others.
    #[serde(skip_serializing_if = "SnapshotConfig::is_default")]
    pub snapshots: SnapshotConfig,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            folder: None,
            every_steps: 100,
            tensorboard: true,
            csv: false,
            checkpoint_every_steps: 5000,
            keep_last: 3,
            keep_every_steps: 0,
            preview: PreviewConfig::default(),
            validation: ValidationConfig::default(),
            eval: EvalConfig::default(),
            snapshots: SnapshotConfig::default(),
        }
    }
}

/// The `[log.preview]` table: images sampled from the moving average with the same noise and classes each time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PreviewConfig {
    /// A preview every so many steps; 5000 by default, 0 for none.
    pub every_steps: u64,
    /// The most images, 40 by default; every class has the same number. If there are more classes than this, evenly spread ones are
    /// shown with one image each.
    pub count: usize,
    /// Steps of the ODE, by Heun's method; 20 by default.
    pub steps: u32,
    /// Scale of classifier-free guidance; 1 (default) for none.
    pub guidance: f64,
    /// The autoencoder that turns the latents of a model into pictures: a file, a folder or a run, as `sit sample --vae` takes it. None by
    /// default: pictures show latents as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vae: Option<PathBuf>,
}

/// The `[log.validation]` table: the loss of images that are not trained on, under the moving average, with the same times and
/// noise each time. The images are those of `data.hold_out`, or else the test images of data that comes with some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// A validation every so many steps, a multiple of `log.every_steps`; 0 (default) for none.
    pub every_steps: u64,
    /// At most so many images, the first of a fixed random order; 1024 by default.
    pub images: usize,
}

/// The `[log.snapshots]` table: power function averages of the weights, written to `RUN/snapshots`, for averages after the fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotConfig {
    /// A snapshot every so many steps, and one at the end; 0 (default) for none.
    pub every_steps: u64,
    /// Relative widths of the averages, 0.05 and 0.1 by default; each takes as much memory, and in each snapshot as much disk space, as
    /// the weights.
    pub widths: Vec<f64>,
}

/// The most widths of snapshots.
const MAX_WIDTHS: usize = 4;

impl Default for SnapshotConfig {
    fn default() -> Self {
        Self {
            every_steps: 0,
            widths: vec![0.05, 0.1],
        }
    }
}

impl SnapshotConfig {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let key = "log.snapshots.every_steps";
        check(key, self.every_steps, 0, MAX_STEPS)?;
        let key = "log.snapshots.widths";
        let n = self.widths.len();
        let differ = |(i, width): (usize, &f64)| !self.widths[..i].contains(width);
        if !(1..=MAX_WIDTHS).contains(&n) || !self.widths.iter().enumerate().all(differ) {
            return Err(ConfigError::new(format!(
                "{key}: got {:?}, expected 1 to {MAX_WIDTHS} widths that differ",
                self.widths
            )));
        }
        self.widths.iter().try_for_each(|&width| {
            let average = Average::power(width);
            average
                .validate()
                .map_err(|e| within(e, "log.snapshots", "widths"))
        })
    }
}

/// An error of an average, whose number is the key `key` of a table.
fn within(error: Error, table: &str, key: &str) -> ConfigError {
    let name = format!("{table}.{key}");
    ConfigError::new(error.with_names(|_| Some(name.clone())))
}

impl Default for ValidationConfig {
    fn default() -> Self {
        Self {
            every_steps: 0,
            images: 1024,
        }
    }
}

impl Default for PreviewConfig {
    fn default() -> Self {
        Self {
            every_steps: 5000,
            count: 40,
            steps: 20,
            guidance: 1.0,
            vae: None,
        }
    }
}

/// More steps than any run has. The limit keeps step numbers exact in TOML, in JSON and in file names.
pub(super) const MAX_STEPS: u64 = 99_999_999;

impl LogConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let PreviewConfig {
            every_steps,
            count,
            steps,
            guidance,
            vae: _,
        } = self.preview;
        check("log.every_steps", self.every_steps, 1, MAX_STEPS)?;
        self.snapshots.validate()?;
        check(
            "log.checkpoint_every_steps",
            self.checkpoint_every_steps,
            0,
            MAX_STEPS,
        )?;
        check("log.keep_last", self.keep_last as u64, 1, MAX_STEPS)?;
        check("log.keep_every_steps", self.keep_every_steps, 0, MAX_STEPS)?;
        let validation = self.validation;
        check(
            "log.validation.every_steps",
            validation.every_steps,
            0,
            MAX_STEPS,
        )?;
        check(
            "log.validation.images",
            validation.images as u64,
            1,
            1 << 24,
        )?;
        if !validation.every_steps.is_multiple_of(self.every_steps) {
            return Err(ConfigError::new(format!(
                "log.validation.every_steps: got {}, expected a multiple of log.every_steps = {}",
                validation.every_steps, self.every_steps
            )));
        }
        check("log.preview.every_steps", every_steps, 0, MAX_STEPS)?;
        check("log.preview.count", count as u64, 1, 4096)?;
        check("log.preview.steps", u64::from(steps), 1, 10_000)?;
        if !guidance.is_finite() {
            return Err(ConfigError::new(format!(
                "log.preview.guidance: got {guidance}, expected a finite scale"
            )));
        }
        Ok(())
    }
}

pub(super) fn check(key: &str, got: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&got) {
        return Ok(());
    }
    Err(ConfigError::new(format!(
        "{key}: got {got}, expected {least} to {most}"
    )))
}
