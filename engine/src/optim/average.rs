//! Averages of the weights beside that of [`AdamW::ema_decay`](super::AdamW::ema_decay), each with a decay by update.

use super::{AdamW, warm_decay};
use crate::error::{Error, Result};
use crate::text::float;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most averages beside that of AdamW.
pub const MAX_AVERAGES: usize = 8;

/// The relative width of a power function of exponent 0, a plain mean: `1 / sqrt(12)`. No larger exponent is as wide.
const MAX_WIDTH: f64 = 0.288_675_134_594_812_9;

/// The smallest relative width: an average over about the last thousandth of the updates.
const MIN_WIDTH: f64 = 1e-3;

/// How an average of the weights follows them: `average = β average + (1 - β) weights` after every update, with a β by update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Average {
    /// β = `decay`, as of AdamW's own average. The average begins as a copy of the initial weights.
    #[serde(rename_all = "lowercase")]
    Exponential {
        /// The decay, in [0, 1].
        decay: f64,
        /// Whether β after n updates is at most (1 + n) / (10 + n).
        warmup: bool,
    },
    /// β = (1 - 1/t)^(γ+1) in update t, counted from 1 (Karras et al. 2024, arXiv 2312.02696, section 3.1). Update i of t has the weight
    /// `(i^(γ+1) - (i-1)^(γ+1)) / t^(γ+1)`: a power function of i, whose shape does not depend on t. The initial weights have none.
    Power {
        /// Standard deviation of the power function over the training time, `sqrt(γ+1) / ((γ+2) sqrt(γ+3))`, in [0.001, 0.2886].
        width: f64,
    },
}

impl fmt::Display for Average {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Average::Exponential { decay, warmup } => {
                let warm = if *warmup { " after a warm-up" } else { "" };
                write!(f, "an exponential average of decay {decay}{warm}")
            }
            Average::Power { width } => {
                write!(f, "a power function average of relative width {width}")
            }
        }
    }
}

impl Average {
    /// An average by a power function of this relative width.
    pub fn power(width: f64) -> Self {
        Average::Power { width }
    }

    /// An average of this decay in every update.
    pub fn exponential(decay: f64) -> Self {
        let warmup = false;
        Average::Exponential { decay, warmup }
    }

    /// `1 - β` of the update after `n` others, in f64: near a β of 1, f32 would keep few of its digits.
    pub(crate) fn rate_after(&self, n: u64) -> f64 {
        match *self {
            Average::Exponential { decay, warmup } => 1.0 - warm_decay(decay, warmup, n),
            Average::Power { width } => {
                let log = libm::log1p(-1.0 / (n as f64 + 1.0));
                -libm::expm1((exponent(width) + 1.0) * log)
            }
        }
    }

    /// The weight of the initial parameters in the average after `n_updates`, in [0, 1].
    pub fn share_of_initial(&self, n_updates: u64) -> f64 {
        match *self {
            Average::Power { .. } => f64::from(n_updates == 0),
            Average::Exponential { decay, warmup } => AdamW {
                ema_decay: decay,
                ema_warmup: warmup,
                ..AdamW::default()
            }
            .ema_share_of_initial(n_updates),
        }
    }
}

#[doc(hidden)]
impl Average {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Setting`] naming `decay` or `width`, its value and what was expected.
    pub fn validate(&self) -> Result<()> {
        let (key, got, range, expected) = match *self {
            Average::Exponential { decay, .. } => ("decay", decay, 0.0..=1.0, "a number in [0, 1]"),
            Average::Power { width } => (
                "width",
                width,
                MIN_WIDTH..=MAX_WIDTH,
                "a relative width of 0.001 to 0.2886",
            ),
        };
        if range.contains(&got) {
            return Ok(());
        }
        let text = format!("got {}, expected {expected}", float(got));
        Err(Error::setting(key, text))
    }
}

/// The exponent γ of the power function of this relative width: the root that is at least 0 of `σ (γ+2) sqrt(γ+3) = sqrt(γ+1)`
/// (Karras et al. 2024, appendix C). The width falls as γ rises, and it is below `1 / (γ+2)`.
pub(super) fn exponent(width: f64) -> f64 {
    let (mut low, mut high) = (0.0, f64::max(0.0, 1.0 / width - 2.0));
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return middle;
        }
        match width_of(middle) > width {
            true => low = middle,
            false => high = middle,
        }
    }
}

/// The relative width of a power function of exponent γ.
fn width_of(exponent: f64) -> f64 {
    (exponent + 1.0).sqrt() / ((exponent + 2.0) * (exponent + 3.0).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_is_the_deviation_of_the_profile() {
        assert!((width_of(0.0) - MAX_WIDTH).abs() < 1e-16);
        for width in [0.001, 0.01, 0.05, 0.1, 0.2, 0.25, 0.28] {
            let gamma = exponent(width);
            assert!((width_of(gamma) - width).abs() < 1e-15, "{width} {gamma}");
            // By the midpoints of a fine grid: moments of (γ+1) τ^γ on [0, 1].
            let n = 200_000;
            let profile = |f: &dyn Fn(f64) -> f64| {
                let at = |i: i32| (f64::from(i) + 0.5) / f64::from(n);
                let weight = |tau: f64| (gamma + 1.0) * libm::pow(tau, gamma) / f64::from(n);
                (0..n).map(at).map(|tau| weight(tau) * f(tau)).sum::<f64>()
            };
            let (all, mean) = (profile(&|_| 1.0), profile(&|tau| tau));
            let deviation = profile(&|tau| (tau - mean) * (tau - mean)).sqrt();
            assert!((all - 1.0).abs() < 1e-5, "{width}");
            assert!(
                (deviation - width).abs() < 1e-4 * width,
                "{width} {deviation}"
            );
        }
        // γ = 1 and γ = 7: sqrt(2) / (3 sqrt(4)) and sqrt(8) / (9 sqrt(10)).
        assert!((exponent(2_f64.sqrt() / 6.0) - 1.0).abs() < 1e-12);
        assert!((exponent(8_f64.sqrt() / (9.0 * 10_f64.sqrt())) - 7.0).abs() < 1e-12);
        assert_eq!(exponent(MAX_WIDTH), 0.0);
    }

    /// The recursion gives update i of t the weight that the power function has between (i-1)/t and i/t.
    #[test]
    fn the_decays_make_a_power_function() {
        for width in [0.02, 0.05, 0.1, MAX_WIDTH] {
            let (average, gamma) = (Average::power(width), exponent(width));
            let n = 500;
            let mut weights = vec![0.0; n];
            for t in 0..n {
                let rate = average.rate_after(t as u64);
                weights[..t].iter_mut().for_each(|w| *w *= 1.0 - rate);
                weights[t] = rate;
            }
            let up_to = |i: usize| libm::pow(i as f64 / n as f64, gamma + 1.0);
            for (i, weight) in weights.iter().enumerate() {
                let want = up_to(i + 1) - up_to(i);
                assert!((weight - want).abs() < 1e-12, "{width} {i} {weight} {want}");
            }
            assert_eq!(average.rate_after(0), 1.0);
            // Late in a long training, where β as an f32 is off by a part in a hundred of 1 - β.
            let rate = average.rate_after(4_000_000 - 1);
            let want = (gamma + 1.0) / 4e6;
            assert!((rate - want).abs() < 1e-4 * want, "{rate} {want}");
        }
    }

    #[test]
    fn an_exponential_average_has_the_decays_of_adamw() {
        let decay = 0.98;
        for warmup in [false, true] {
            let average = Average::Exponential { decay, warmup };
            let adamw = AdamW {
                ema_decay: decay,
                ema_warmup: warmup,
                ..AdamW::default()
            };
            for n in [0, 1, 7, 100, 1000] {
                assert_eq!(average.rate_after(n), 1.0 - adamw.ema_decay_at(n));
                assert_eq!(average.share_of_initial(n), adamw.ema_share_of_initial(n));
            }
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for (average, expected) in [
            (
                Average::power(0.3),
                "width: got 0.3, expected a relative width of 0.001 to 0.2886",
            ),
            (Average::power(f64::NAN), "width: got nan"),
            (Average::power(0.0), "width: got 0"),
            (
                Average::exponential(1.5),
                "decay: got 1.5, expected a number in [0, 1]",
            ),
        ] {
            let message = average.validate().unwrap_err().to_string();
            assert!(message.to_lowercase().starts_with(expected), "{message}");
        }
        Average::power(0.05).validate().unwrap();
        Average::exponential(0.0).validate().unwrap();
    }
}
