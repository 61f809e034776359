//! A lane: one sampler's path from noise to data, with its branches.

use serde::{Deserialize, Serialize};
use sit_engine::error::Result;
use sit_engine::transport::{
    Diffusion, Guidance, LastStep, Method, Sampler, Step, Transport, schedule, schedule_from,
};

/// Which normal numbers an SDE's steps use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Noise {
    /// New ones for each step.
    #[default]
    Independent,
    /// The increments of one Brownian path: halving the steps refines the same path. The number of noisy steps is a power
    /// of two.
    Brownian,
}

/// What a lane does from some time on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The solver.
    pub sampler: Sampler,
    /// Classifier-free guidance.
    pub guidance: Guidance,
    /// The SDE's noise.
    pub noise: Noise,
    /// Added to the session's seed for the SDE's noise: another number gives another path from the same start.
    pub noise_seed: u64,
    /// One class for every sample, in place of the session's classes.
    pub class: Option<u32>,
    /// Distance of the first and last time from 0 and 1, for settings that are singular there.
    pub t_eps: Option<f64>,
}

/// Steps of the lanes of a new session.
pub const DEFAULT_STEPS: u32 = 50;

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sampler: ode(Method::Euler, DEFAULT_STEPS),
            guidance: Guidance::default(),
            noise: Noise::Independent,
            noise_seed: 0,
            class: None,
            t_eps: None,
        }
    }
}

/// An ODE of `n` equal steps.
pub fn ode(method: Method, n: u32) -> Sampler {
    Sampler::Ode { method, n_steps: n }
}

/// An SDE of `n` equal steps, the last one without noise, so that its times are those of an ODE of `n` steps.
pub fn sde(method: Method, diffusion: Diffusion, n: u32) -> Sampler {
    let n = n.max(2);
    Sampler::Sde {
        method,
        diffusion,
        last_step: LastStep::Mean,
        last_step_size: 1.0 / f64::from(n),
        n_steps: n - 1,
    }
}

/// Settings from a time on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Start time. Ignored for the first segment, which starts where its sampler does.
    pub from: f64,
    /// The settings from there on.
    pub settings: Settings,
}

/// One column of the comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// At least one, in order of time.
    pub segments: Vec<Segment>,
}

/// A step of a lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneStep {
    /// Times and coefficients.
    pub step: Step,
    /// Segment it belongs to.
    pub segment: usize,
    /// Its number in the lane, which determines its noise.
    pub number: usize,
}

impl LaneStep {
    /// Factor of the normal numbers that the step adds; 0 for none.
    pub fn noise(&self) -> f64 {
        self.step.noise()
    }
}

impl Lane {
    /// A lane without branches.
    pub fn new(settings: Settings) -> Self {
        Lane {
            segments: vec![Segment {
                from: 0.0,
                settings,
            }],
        }
    }

    /// The settings at time `t`.
    pub fn settings_at(&self, t: f64) -> &Settings {
        let later = self.segments[1..]
            .iter()
            .rev()
            .find(|s| s.from <= t + TIME_EPS);
        &later.unwrap_or(&self.segments[0]).settings
    }

    /// The settings of its last segment, which its controls show.
    pub fn settings(&self) -> &Settings {
        &self.segments[self.segments.len() - 1].settings
    }

    /// Another lane with the same past up to time `t` and other settings from there.
    pub fn branch(&self, t: f64, settings: Settings) -> Lane {
        let mut segments = self.segments.clone();
        segments.retain(|s| s.from < t - TIME_EPS);
        if segments.is_empty() || t <= TIME_EPS {
            return Lane::new(settings);
        }
        segments.push(Segment { from: t, settings });
        Lane { segments }
    }

    /// All its steps.
    ///
    /// # Errors
    /// [`sit_engine::error::Error::Config`] for settings that the transport refuses, with the reason.
    pub fn steps(&self, transport: &Transport) -> Result<Vec<LaneStep>> {
        let mut list: Vec<LaneStep> = Vec::new();
        for (segment, part) in self.segments.iter().enumerate() {
            part.settings.guidance.validate()?;
            list.retain(|s| segment == 0 || s.step.t < part.from - TIME_EPS);
            let sampler = &part.settings.sampler;
            let transport = Transport {
                t_eps_sample: part.settings.t_eps.or(transport.t_eps_sample),
                ..*transport
            };
            let transport = &transport;
            let steps = match list.last() {
                // A branch starts where the step before it ended.
                Some(last) => schedule_from(transport, sampler, last.step.t_next)?,
                None => schedule(transport, sampler)?,
            };
            let first = list.len();
            list.extend(steps.into_iter().enumerate().map(|(i, step)| LaneStep {
                step,
                segment,
                number: first + i,
            }));
        }
        Ok(list)
    }
}

/// Times closer than this are the same.
pub const TIME_EPS: f64 = 1e-9;

/// An SDE with the ODE's steps, or the reverse.
pub fn other_kind(sampler: &Sampler) -> Sampler {
    match *sampler {
        Sampler::Ode { method, n_steps } => sde(method, Diffusion::default(), n_steps),
        Sampler::Sde {
            method, n_steps, ..
        } => ode(method, n_steps + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ode_and_sde_of_n_steps_have_the_same_times() {
        let transport = Transport::default();
        for n in [2, 7, 50, 250] {
            let times = |sampler| -> Vec<f64> {
                let lane = Lane::new(Settings {
                    sampler,
                    ..Settings::default()
                });
                let steps = lane.steps(&transport).unwrap();
                steps.iter().map(|s| s.step.t_next).collect()
            };
            let a = times(ode(Method::Euler, n));
            let b = times(sde(Method::Euler, Diffusion::default(), n));
            assert_eq!(a.len(), b.len());
            assert!(
                a.iter().zip(&b).all(|(a, b)| (a - b).abs() < TIME_EPS),
                "{n}"
            );
        }
    }

    #[test]
    fn a_branch_keeps_the_past_and_changes_the_rest() {
        let transport = Transport::default();
        let lane = Lane::new(Settings::default());
        let whole = lane.steps(&transport).unwrap();
        let sampler = sde(Method::Euler, Diffusion::default(), 50);
        let settings = Settings {
            sampler,
            ..Settings::default()
        };
        let branch = lane.branch(0.5, settings);
        let steps = branch.steps(&transport).unwrap();
        assert_eq!(steps.len(), whole.len());
        assert_eq!(steps[..25], whole[..25]);
        assert!(
            steps[25..49]
                .iter()
                .all(|s| s.noise() > 0.0 && s.segment == 1)
        );
        assert!(steps.windows(2).all(|w| w[0].step.t_next == w[1].step.t));
        assert_eq!(branch.settings_at(0.49), lane.settings());
        assert_eq!(branch.settings_at(0.5), &settings);
        // A branch of a branch before its start replaces it; at the start it is a new lane.
        assert_eq!(branch.branch(0.3, settings).segments.len(), 2);
        assert_eq!(branch.branch(0.0, settings), Lane::new(settings));
    }

    #[test]
    fn a_refused_combination_says_why() {
        let diffusion = Diffusion {
            form: sit_engine::transport::DiffusionForm::Sbdm,
            ..Diffusion::default()
        };
        let lane = Lane::new(Settings {
            sampler: sde(Method::Euler, diffusion, 10),
            ..Settings::default()
        });
        let message = lane.steps(&Transport::default()).unwrap_err().to_string();
        assert!(message.contains("SBDM"), "{message}");
    }
}
