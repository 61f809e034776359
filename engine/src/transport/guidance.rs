//! Guidance settings: scale, channels and time interval.

use super::names::named_enum;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

named_enum! {
    /// The channels that guidance changes; the others stay conditional.
    #[derive(Default)]
    pub enum GuidanceChannels: "guidance channels" {
        /// Every channel.
        #[default]
        All = "all",
        /// Channels 0 to 2, as in SiT and DiT and in their published results.
        First3 = "3",
    }
}

impl GuidanceChannels {
    /// How many of `n` channels are guided.
    pub(crate) fn count(self, n: usize) -> usize {
        match self {
            GuidanceChannels::All => n,
            GuidanceChannels::First3 => n.min(3),
        }
    }
}

/// Classifier-free guidance `out = u + scale (c - u)` of the unconditional `u` and the conditional output `c`, while `t`
/// lies in an interval (Ho and Salimans 2022; interval: Kynkaanniemi et al. 2024).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Guidance {
    /// The scale; 1 gives the conditional output and needs no unconditional evaluation.
    pub scale: f64,
    /// The channels that are guided.
    pub channels: GuidanceChannels,
    /// First and last guided time, both included; 0 is noise.
    pub interval: [f64; 2],
}

impl Default for Guidance {
    /// No guidance.
    fn default() -> Self {
        Self {
            scale: 1.0,
            channels: GuidanceChannels::All,
            interval: [0.0, 1.0],
        }
    }
}

#[doc(hidden)]
impl Guidance {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Setting`] for a scale that is not finite or an interval that is not ordered within `[0, 1]`.
    pub fn validate(&self) -> Result<()> {
        if !super::is_finite_f32(self.scale) {
            return Err(Error::setting(
                "guidance",
                format!("got {}, expected a finite scale", self.scale),
            ));
        }
        let [lo, hi] = self.interval;
        if !(0.0 <= lo && lo <= hi && hi <= 1.0) {
            return Err(Error::setting(
                "guidance_interval",
                format!("got {lo}..{hi}, expected two times in order within 0..1"),
            ));
        }
        Ok(())
    }

    /// Whether guidance applies at time `t`. Noise beyond that of `t = 0`, which churn reaches, counts as `t = 0`.
    pub fn covers(&self, t: f64) -> bool {
        let t = t.clamp(0.0, 1.0);
        (self.interval[0]..=self.interval[1]).contains(&t)
    }

    /// Whether time `t` needs the unconditional output.
    pub fn active(&self, t: f64) -> bool {
        self.scale != 1.0 && self.covers(t)
    }

    /// The scale at time `t`: 1 where guidance is not active.
    pub fn scale_at(&self, t: f64) -> f64 {
        if self.active(t) { self.scale } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applies_within_its_interval_only() {
        let guidance = Guidance {
            scale: 1.5,
            interval: [0.25, 0.75],
            ..Guidance::default()
        };
        let scales = [0.0, 0.25, 0.5, 0.75, 1.0].map(|t| guidance.scale_at(t));
        assert_eq!(scales, [1.0, 1.5, 1.5, 1.5, 1.0]);
        assert!(!Guidance::default().active(0.5));
    }

    #[test]
    fn bad_settings_are_refused_by_flag() {
        for scale in [f64::NAN, f64::INFINITY] {
            let message = Guidance {
                scale,
                ..Guidance::default()
            }
            .validate()
            .unwrap_err()
            .to_string();
            assert!(message.starts_with("guidance: "), "{message}");
        }
        for interval in [[0.8, 0.2], [-0.1, 1.0], [0.0, 1.1], [f64::NAN, 1.0]] {
            let message = Guidance {
                interval,
                ..Guidance::default()
            }
            .validate()
            .unwrap_err()
            .to_string();
            assert!(message.starts_with("guidance_interval: "), "{message}");
        }
        Guidance::default().validate().unwrap();
        assert_eq!(
            "3".parse::<GuidanceChannels>().unwrap(),
            GuidanceChannels::First3
        );
    }
}
