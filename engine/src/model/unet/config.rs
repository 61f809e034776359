//! Sizes of a U-Net.

use crate::error::{Error, Result};
use crate::model::network::not_in_page;
use crate::text::count;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A U-Net of residual blocks and attention, conditioned on time and label (Dhariwal and Nichol, arXiv 2105.05233, appendix; the
/// tensors have the names of their program guided-diffusion). These are its sizes.
///
/// Level l works on images of `input_size / 2^l` pixels with `width · multipliers[l]` channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unet {
    /// Height and width of the image (or latent), in pixels.
    pub input_size: usize,
    /// Channels of the image.
    pub channels: usize,
    /// Channels that the multipliers multiply; the embedding of time and label is 4 times as wide.
    pub width: usize,
    /// A factor of the width for each level.
    pub multipliers: Vec<usize>,
    /// Residual blocks of a level on the way down; there is one more on the way up.
    pub blocks: usize,
    /// Sizes of the images, in pixels, at which attention follows each residual block. The middle always has attention.
    pub attention: Vec<usize>,
    /// Heads of the attention.
    pub n_heads: usize,
    /// Groups of channels that are normalized together; 32 by default.
    #[serde(default = "default_groups", skip_serializing_if = "is_default_groups")]
    pub groups: usize,
    /// What the time is multiplied by before its embedding, whose frequencies are made for steps 0 to 1000; 1000 by default. It is 1
    /// for discrete diffusion, where the network gets the step.
    #[serde(
        default = "default_time_scale",
        skip_serializing_if = "is_default_time_scale"
    )]
    pub time_scale: usize,
    /// Number of classes; `n_classes` itself is the null class. 0 means an unconditional model without a label table.
    pub n_classes: usize,
    /// Whether the last layer has as many outputs again, for a learned variance.
    pub learn_sigma: bool,
    /// Whether it reads a span of time beside the time, and predicts the mean velocity over it, as a distilled model does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub span: bool,
}

// serde hands over a reference.
fn is_false(value: &bool) -> bool {
    !*value
}

/// The number of groups of guided-diffusion.
pub(super) const GROUPS: usize = 32;

fn default_groups() -> usize {
    GROUPS
}

// serde hands over a reference.
fn is_default_groups(groups: &usize) -> bool {
    *groups == GROUPS
}

/// Most steps of a diffusion, and the default.
pub(super) const TIME_SCALE: usize = 1000;

fn default_time_scale() -> usize {
    TIME_SCALE
}

fn is_default_time_scale(time_scale: &usize) -> bool {
    *time_scale == TIME_SCALE
}

/// `U-Net of width 64, multipliers 1 2 2, 2 blocks a level, 4 heads, attention at 8`.
impl fmt::Display for Unet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: &[usize]| {
            let words: Vec<String> = numbers.iter().map(usize::to_string).collect();
            words.join(" ")
        };
        write!(
            f,
            "U-Net of width {}, multipliers {}, {} a level, {}",
            self.width,
            list(&self.multipliers),
            count(self.blocks, "block"),
            count(self.n_heads, "head"),
        )?;
        match &self.attention[..] {
            [] => Ok(()),
            sizes => write!(f, ", attention at {}", list(sizes)),
        }
    }
}

/// Upper limit on the pixels of an image with attention, as for a transformer's tokens.
const MAX_TOKENS: usize = 1 << 16;

impl Unet {
    /// Checks the sizes, and that work on `batch` images can be counted.
    pub(super) fn check(&self, batch: usize) -> Result<()> {
        not_in_page("model.family", "unet")?;
        self.check_sizes()?;
        self.check_levels()?;
        self.check_batch(batch)
    }

    fn check_sizes(&self) -> Result<()> {
        let refuse = |key: &str, got: &dyn fmt::Display, expected: String| {
            let message = format!("got {got}, expected {expected}");
            Err(Error::setting(format!("model.{key}"), message))
        };
        let sizes = [
            ("input_size", self.input_size, 4096),
            ("channels", self.channels, 1024),
            ("width", self.width, 65_536),
            ("blocks", self.blocks, 64),
            ("n_heads", self.n_heads, 65_536),
            ("groups", self.groups, 65_536),
            ("time_scale", self.time_scale, TIME_SCALE),
        ];
        for (key, size, most) in sizes {
            if !(1..=most).contains(&size) {
                return refuse(key, &size, format!("1 to {most}"));
            }
        }
        if !self.width.is_multiple_of(2) {
            return refuse(
                "width",
                &self.width,
                "an even number, for the embedding of the time".into(),
            );
        }
        if !(1..=12).contains(&self.multipliers.len()) {
            let n = format!("{} numbers", self.multipliers.len());
            return refuse("multipliers", &n, "1 to 12".into());
        }
        if let Some(factor) = self.multipliers.iter().find(|n| !(1..=64).contains(*n)) {
            return refuse("multipliers", factor, "numbers of 1 to 64".into());
        }
        if self.n_classes > 1_000_000 {
            return refuse("n_classes", &self.n_classes, "0 to 1000000".into());
        }
        Ok(())
    }

    fn check_levels(&self) -> Result<()> {
        let refuse =
            |key: &str, message: String| Err(Error::setting(format!("model.{key}"), message));
        let n_levels = self.multipliers.len();
        let multiple = 1 << (n_levels - 1);
        if !self.input_size.is_multiple_of(multiple) {
            let message = format!(
                "got {}, expected a multiple of {multiple} for {}",
                self.input_size,
                count(n_levels, "level")
            );
            return refuse("input_size", message);
        }
        let sides: Vec<usize> = (0..n_levels)
            .map(|level| self.input_size >> level)
            .collect();
        if let Some(size) = self.attention.iter().find(|size| !sides.contains(size)) {
            let message = format!("got {size}, expected sizes of the levels, of {sides:?}");
            return refuse("attention", message);
        }
        for level in 0..n_levels {
            let width = self.level_width(level);
            if !width.is_multiple_of(self.groups) {
                let message = format!(
                    "got {}, expected a divisor of the {width} channels of level {level}",
                    self.groups
                );
                return refuse("groups", message);
            }
            // The middle works on the images of the last level.
            let attends = self.attends(level) || level + 1 == n_levels;
            if attends && !width.is_multiple_of(self.n_heads) {
                let message = format!(
                    "got {}, expected a divisor of the {width} channels of level {level}",
                    self.n_heads
                );
                return refuse("n_heads", message);
            }
            if attends && sides[level].pow(2) > MAX_TOKENS {
                let message = format!(
                    "attention on images of {0}x{0} pixels, expected at most {MAX_TOKENS} pixels",
                    sides[level]
                );
                return refuse("attention", message);
            }
        }
        Ok(())
    }

    /// Far more than any machine holds is refused, so that sizes in bytes and sums of them stay below 2^64. The sizes are within their
    /// ranges.
    fn check_batch(&self, batch: usize) -> Result<()> {
        const MAX_BYTES: f64 = 1e15;
        let dim = 4.0 * self.width as f64;
        let (mut params, mut values) = (dim * (dim + self.n_classes as f64), 0.0);
        for level in 0..self.multipliers.len() {
            // A block reads at most the channels of its neighbors, of its own level and of a skip.
            let near = level.saturating_sub(1)..self.multipliers.len().min(level + 2);
            let most = near.map(|level| self.level_width(level)).max().unwrap_or(0);
            let (width, most, blocks) = (
                self.level_width(level) as f64,
                most as f64,
                (2 * self.blocks + 5) as f64,
            );
            let pixels = ((self.input_size >> level) as f64).powi(2);
            params += blocks
                * width
                * (9.0 * (width + 2.0 * most) + 2.0 * dim + 4.0 * width + 9.0 * width);
            values += blocks * pixels * (8.0 * width + 6.0 * most);
            if self.attends(level) || level + 1 == self.multipliers.len() {
                values +=
                    blocks * (8.0 * pixels * width + 2.0 * self.n_heads as f64 * pixels * pixels);
            }
        }
        // Weights, gradients, two moments and the average.
        let bytes = 4.0 * (5.0 * params + batch as f64 * values);
        if bytes <= MAX_BYTES {
            return Ok(());
        }
        let message = format!(
            "a {self} at batch {batch} takes about {:.0} TB; a smaller model.input_size, model.width, model.blocks or batch takes less",
            bytes / 1e12
        );
        Err(Error::setting("model", message))
    }
}

#[doc(hidden)]
impl Unet {
    /// Channels of a level.
    pub fn level_width(&self, level: usize) -> usize {
        self.width * self.multipliers[level]
    }

    /// Whether the blocks of a level are followed by attention.
    pub fn attends(&self, level: usize) -> bool {
        self.attention.contains(&(self.input_size >> level))
    }

    /// Channels of the first level with attention; the middle has it, if no level does.
    pub(in crate::model) fn attention_width(&self) -> usize {
        let last = self.multipliers.len().saturating_sub(1);
        let first = (0..last).find(|&level| self.attends(level));
        self.level_width(first.unwrap_or(last))
    }

    /// Sets the size of the image, with attention at the same levels.
    pub(in crate::model) fn resize(&mut self, input_size: usize) {
        for size in &mut self.attention {
            let level = (self.input_size / *size).ilog2();
            *size = input_size >> level;
        }
        self.input_size = input_size;
    }

    /// Channels of the last layer: those of the image, or twice as many with `learn_sigma`.
    pub fn out_channels(&self) -> usize {
        self.channels * (1 + usize::from(self.learn_sigma))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_do_not_fit_are_refused_by_key() {
        let good = Unet {
            input_size: 32,
            channels: 3,
            width: 64,
            multipliers: vec![1, 2, 2],
            blocks: 2,
            attention: vec![16, 8],
            n_heads: 4,
            groups: 32,
            time_scale: 1000,
            n_classes: 10,
            learn_sigma: false,
            span: false,
        };
        good.check(1).unwrap();
        type Change = fn(&mut Unet);
        let refused = |change: Change| {
            let mut net = good.clone();
            change(&mut net);
            net.check(1).unwrap_err().to_string()
        };
        let cases: [(Change, &str); 10] = [
            (
                |net| net.width = 0,
                "model.width: got 0, expected 1 to 65536",
            ),
            (
                |net| net.width = 65,
                "model.width: got 65, expected an even number, for the embedding of the time",
            ),
            (
                |net| net.multipliers = vec![],
                "model.multipliers: got 0 numbers, expected 1 to 12",
            ),
            (
                |net| net.multipliers = vec![1, 0],
                "model.multipliers: got 0, expected numbers of 1 to 64",
            ),
            (
                |net| net.input_size = 30,
                "model.input_size: got 30, expected a multiple of 4 for 3 levels",
            ),
            (
                |net| net.attention = vec![4],
                "model.attention: got 4, expected sizes of the levels, of [32, 16, 8]",
            ),
            (
                |net| net.groups = 48,
                "model.groups: got 48, expected a divisor of the 64 channels of level 0",
            ),
            (
                |net| net.n_heads = 3,
                "model.n_heads: got 3, expected a divisor of the 128 channels of level 1",
            ),
            (
                |net| net.blocks = 65,
                "model.blocks: got 65, expected 1 to 64",
            ),
            (
                |net| (net.input_size, net.attention) = (2048, vec![2048]),
                "model.attention: attention on images of 2048x2048 pixels, expected at most 65536 pixels",
            ),
        ];
        for (change, message) in cases {
            assert_eq!(refused(change), message);
        }
        assert!(good.check(1 << 40).unwrap_err().to_string().contains("TB"));
    }
}
