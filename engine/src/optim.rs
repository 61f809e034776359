//! The optimizer as a graph over the flat arenas: gradient norm, clipping, AdamW and averages of the weights.

mod average;
mod synthesis;

pub use average::{Average, MAX_AVERAGES};
pub use synthesis::{Combination, Profile};

use crate::error::{Error, Result};
use crate::graph::plan::Request;
use crate::graph::{Arena, Graph, Layout, Plan};
use crate::ops::adamw::{self, N_HYPER, N_PARTS};
use crate::text::float;
use serde::{Deserialize, Serialize};

/// Name of the update program's input with the hyperparameters of a step.
#[doc(hidden)]
pub const HYPER: &str = "hyper";
/// Name of the update program's output: the gradient norm, and a flag that is 1 if it was not finite and nothing changed.
#[doc(hidden)]
pub const STATS: &str = "stats";

/// Name of the update program's input with `1 - β` of each [`Average`].
pub(crate) const RATES: &str = "rates";

/// The hyperparameters of AdamW (Loshchilov and Hutter 2019) and of the moving average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Decay of the two moments, in [0, 1).
    pub betas: [f64; 2],
    /// Added to the root of the second moment, above 0.
    pub adam_eps: f64,
    /// Decoupled weight decay, at least 0.
    pub weight_decay: f64,
    /// Maximum gradient norm for clipping; 0 disables it.
    pub clip: f64,
    /// Decay of the moving average of the weights, in [0, 1]; the average starts as a copy and is updated in every step.
    pub ema_decay: f64,
    /// Whether the decay after n updates is at most (1 + n) / (10 + n), so that the average forgets the initial weights sooner.
    pub ema_warmup: bool,
}

impl Default for AdamW {
    /// SiT's: betas 0.9 and 0.999, eps 1e-8, no weight decay, no clipping, EMA 0.9999 from the first update on.
    fn default() -> Self {
        AdamW {
            betas: [0.9, 0.999],
            adam_eps: 1e-8,
            weight_decay: 0.0,
            clip: 0.0,
            ema_decay: 0.9999,
            ema_warmup: true,
        }
    }
}

impl AdamW {
    /// Decay of the moving average after `n` earlier updates: `ema_decay`, or with the warm-up `min(ema_decay, (1 + n) / (10 + n))`
    /// as in TensorFlow's `ExponentialMovingAverage`.
    pub(crate) fn ema_decay_at(&self, n: u64) -> f64 {
        warm_decay(self.ema_decay, self.ema_warmup, n)
    }
}

/// `decay`, or with `warmup` at most (1 + n) / (10 + n).
fn warm_decay(decay: f64, warmup: bool, n: u64) -> f64 {
    match warmup {
        true => decay.min((1.0 + n as f64) / (10.0 + n as f64)),
        false => decay,
    }
}

#[doc(hidden)]
impl AdamW {
    /// Checks the hyperparameters.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key, its value and what was expected.
    pub fn validate(&self) -> Result<()> {
        let refuse = |key: &str, got: f64, expected: &str| {
            Err(Error::setting(
                key,
                format!("got {}, expected {expected}", float(got)),
            ))
        };
        for beta in self.betas {
            if !(0.0..1.0).contains(&beta) {
                return refuse("betas", beta, "two numbers in [0, 1)");
            }
        }
        // With 0, or a value below the smallest f32, a gradient that is always zero would cause a division by zero.
        if !(1e-30..=1.0).contains(&self.adam_eps) {
            return refuse("adam_eps", self.adam_eps, "a number in [1e-30, 1]");
        }
        if !(0.0..=1e6).contains(&self.weight_decay) {
            return refuse(
                "weight_decay",
                self.weight_decay,
                "a number in [0, 1000000]",
            );
        }
        if !(0.0..=1e30).contains(&self.clip) {
            return refuse(
                "clip",
                self.clip,
                "a norm of at most 1e30, or 0 for no clipping",
            );
        }
        if !(0.0..=1.0).contains(&self.ema_decay) {
            return refuse("ema_decay", self.ema_decay, "a number in [0, 1]");
        }
        Ok(())
    }

    /// The weight of the initial parameters in the moving average after `n_updates`, in [0, 1]: the product of all decays.
    pub fn ema_share_of_initial(&self, n_updates: u64) -> f64 {
        // (1 + n) / (10 + n) exceeds the decay d from n = (10 d - 1) / (1 - d) on; it never reaches a decay of 1.
        let end = (10.0 * self.ema_decay - 1.0) / (1.0 - self.ema_decay);
        let n_warm = if self.ema_warmup {
            n_updates.min(end.max(0.0).ceil() as u64)
        } else {
            0
        };
        // The product of (1 + n) / (10 + n) for n below m is m! 9! / (m + 9)!.
        let warm: f64 = (1..=9)
            .map(|i| f64::from(i) / (n_warm + i as u64) as f64)
            .product();
        warm * libm::pow(self.ema_decay, (n_updates - n_warm) as f64)
    }

    /// The tensor [`HYPER`] for update number `n_updates` (counted from 1) at learning rate `lr`.
    pub fn hyper(&self, lr: f64, n_updates: u64) -> [f32; N_HYPER] {
        let correction = |beta: f64| 1.0 / (1.0 - libm::pow(beta, n_updates as f64));
        let [beta1, beta2] = self.betas;
        [
            lr,
            beta1,
            beta2,
            self.adam_eps,
            self.weight_decay,
            self.ema_decay_at(n_updates.saturating_sub(1)),
            correction(beta1),
            correction(beta2),
            self.clip,
        ]
        .map(|x| x as f32)
    }
}

/// How the learning rate changes over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Constant after the warm-up.
    #[default]
    Constant,
    /// A half cosine from the peak down to `final_fraction` of it at the last step.
    Cosine,
}

/// The learning rate as a function of the step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LearningRate {
    /// Learning rate after the warm-up.
    pub peak: f64,
    /// Steps over which it rises linearly from `peak / warmup_steps`.
    pub warmup_steps: u64,
    /// Schedule after the warm-up.
    pub schedule: Schedule,
    /// Learning rate at the last step of a cosine, as a fraction of the peak.
    pub final_fraction: f64,
    /// Steps of the whole run.
    pub total_steps: u64,
}

impl LearningRate {
    /// Learning rate of step `step`, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        match self.schedule {
            Schedule::Constant => self.peak,
            Schedule::Cosine => {
                let last = self
                    .total_steps
                    .saturating_sub(1)
                    .max(self.warmup_steps + 1);
                let fraction =
                    (step - self.warmup_steps) as f64 / (last - self.warmup_steps) as f64;
                let cosine = 0.5 * (1.0 + libm::cos(std::f64::consts::PI * fraction.min(1.0)));
                self.peak * (self.final_fraction + (1.0 - self.final_fraction) * cosine)
            }
        }
    }
}

/// The plan of one update: reads gradients from the arena `source`; updates parameters, moments, the moving average, and `n_averages`
/// others.
///
/// # Errors
/// [`Error::Shape`] if `source` is an arena that the update writes.
pub(crate) fn update_plan(layout: &Layout, source: Arena, n_averages: usize) -> Result<Plan> {
    let mut g = Graph::new();
    let hyper = g.input(HYPER, [N_HYPER]);
    let rates = (n_averages > 0).then(|| g.input(RATES, [n_averages]));
    let mut part = g.constant(0.0, [N_PARTS]);
    let segments = layout.segments();
    let grads: Vec<_> = (0..segments.len())
        .map(|s| g.arena(source, s, segments[s]))
        .collect();
    for &grads in &grads {
        part = adamw::norm_part(&mut g, grads, part)?;
    }
    let stats = adamw::norm(&mut g, part)?;
    for (s, &grads) in grads.iter().enumerate() {
        let state = [Arena::Params, Arena::MomentM, Arena::MomentV, Arena::Ema]
            .map(|arena| g.arena(arena, s, segments[s]));
        adamw::step(&mut g, grads, stats, hyper, state)?;
        for (k, rates) in (0..n_averages).zip(rates.iter().cycle()) {
            let average = g.arena(Arena::Average(k as u8), s, segments[s]);
            adamw::average(&mut g, state[0], stats, (*rates, k), average)?;
        }
    }
    let request = Request {
        outputs: vec![(STATS.into(), stats)],
        ..Request::default()
    };
    Plan::new(&g, &request, &[layout])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_warms_up_and_falls() {
        let rate = LearningRate {
            peak: 2e-3,
            warmup_steps: 10,
            schedule: Schedule::Cosine,
            final_fraction: 0.1,
            total_steps: 111,
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} {b}");
        close(rate.at(0), 2e-4);
        close(rate.at(9), 2e-3);
        close(rate.at(10), 2e-3);
        close(rate.at(60), 2e-3 * 0.55);
        close(rate.at(110), 2e-4);
        close(rate.at(1000), 2e-4);
        let constant = LearningRate {
            schedule: Schedule::Constant,
            ..rate
        };
        close(constant.at(1000), 2e-3);
        // One step in all, no warm-up.
        let single = LearningRate {
            warmup_steps: 0,
            total_steps: 1,
            ..rate
        };
        close(single.at(0), 2e-3);
    }

    #[test]
    fn the_average_warms_up_and_forgets_the_initial_weights() {
        for (ema_decay, ema_warmup) in [
            (0.9999, true),
            (0.9999, false),
            (0.98, true),
            (0.05, true),
            (0.0, true),
            (1.0, true),
            (1.0, false),
        ] {
            let adamw = AdamW {
                ema_decay,
                ema_warmup,
                ..AdamW::default()
            };
            let mut product = 1.0;
            for n in 0..2000 {
                let share = adamw.ema_share_of_initial(n);
                assert!(
                    (share - product).abs() <= 1e-9 * product + 1e-300,
                    "{ema_decay} {ema_warmup} {n}: {share} {product}"
                );
                let n = n as f64;
                let decay = match ema_warmup {
                    true => f64::min(ema_decay, (1.0 + n) / (10.0 + n)),
                    false => ema_decay,
                };
                assert_eq!(adamw.hyper(0.1, n as u64 + 1)[5], decay as f32);
                product *= decay;
            }
        }
        // Far beyond the warm-up of 89,990 updates.
        let reference = AdamW {
            ema_warmup: false,
            ..AdamW::default()
        };
        let warm = AdamW {
            ema_warmup: true,
            ..reference
        };
        assert!(warm.ema_share_of_initial(200) < 1e-13);
        assert!(reference.ema_share_of_initial(200) > 0.98);
        assert_eq!(warm.ema_share_of_initial(10_000_000), 0.0);
    }

    #[test]
    fn numbers_out_of_range_are_refused_by_key() {
        AdamW::default().validate().unwrap();
        let good = AdamW::default();
        for (bad, key) in [
            (
                AdamW {
                    betas: [0.9, 1.0],
                    ..good
                },
                "betas",
            ),
            (
                AdamW {
                    adam_eps: 0.0,
                    ..good
                },
                "adam_eps",
            ),
            (
                AdamW {
                    weight_decay: -1.0,
                    ..good
                },
                "weight_decay",
            ),
            (
                AdamW {
                    clip: f64::NAN,
                    ..good
                },
                "clip",
            ),
            (
                AdamW {
                    ema_decay: 1.1,
                    ..good
                },
                "ema_decay",
            ),
        ] {
            assert!(bad.validate().unwrap_err().to_string().starts_with(key));
        }
    }
}
