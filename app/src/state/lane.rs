//! A lane: one sampler's path from noise to data, with its branches.

use super::{MAX_STEPS, Source};
use serde::{Deserialize, Serialize};
use sit_engine::error::{Error, Result};
use sit_engine::transport::{
    DdpmSampler, Diffusion, Grid, Guidance, Method, Ode, Sampler, Sde, SdeMethod,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

impl Settings {
    /// Refuses one Brownian path for steps that are not its equal parts.
    fn check_brownian(&self, sde: &Sde) -> Result<()> {
        if self.noise == Noise::Independent {
            return Ok(());
        }
        let reason = match (&sde.grid, sde.method) {
            (Grid::Uniform, SdeMethod::Euler | SdeMethod::Heun) => return Ok(()),
            (Grid::Uniform, method) => format!("{method} does not add noise once in each step"),
            (grid, _) => format!("those of the time grid {grid} are not equal"),
        };
        Err(Error::Config(format!(
            "one Brownian path: the steps are its equal parts, and {reason}"
        )))
    }

    /// Refuses what a lane cannot show, with the reason.
    pub(super) fn check(&self) -> Result<()> {
        self.guidance.validate()?;
        match &self.sampler {
            Sampler::Sde(sde) => {
                let corrections = match sde.method {
                    SdeMethod::PredictorCorrector => sde.corrector.steps,
                    _ => 0,
                };
                let n = u64::from(self.sampler.n_steps()) * (1 + u64::from(corrections));
                if corrections > 0 && n > MAX_STEPS as u64 {
                    return Err(Error::setting(
                        "steps",
                        format!("got {n} with the corrector's, expected at most {MAX_STEPS}"),
                    ));
                }
                self.check_brownian(sde)
            }
            Sampler::Ode(Ode { reverse: true, .. })
            | Sampler::Ddpm(DdpmSampler { reverse: true, .. }) => Err(Error::Config(
                "a lane goes from noise to data, and this sampler from data to noise".into(),
            )),
            _ => Ok(()),
        }
    }
}

/// An ODE of `n` equal steps.
pub fn ode(method: Method, n: u32) -> Sampler {
    Sampler::ode(method, n)
}

/// An SDE of `n` equal steps, the last one without noise, so that its times are those of an ODE of `n` steps.
pub fn sde(method: SdeMethod, diffusion: Diffusion, n: u32) -> Sampler {
    let n = n.max(2);
    Sampler::Sde(Sde {
        method,
        diffusion,
        last_step_size: 1.0 / f64::from(n),
        n_steps: n - 1,
        ..Sde::default()
    })
}

/// Settings from a time on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// A network of its own, in place of the session's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Source>,
}

impl Lane {
    /// A lane without branches.
    pub fn new(settings: Settings) -> Self {
        Lane {
            segments: vec![Segment {
                from: 0.0,
                settings,
            }],
            network: None,
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
        let network = self.network.clone();
        if segments.is_empty() || t <= TIME_EPS {
            return Lane {
                network,
                ..Lane::new(settings)
            };
        }
        segments.push(Segment { from: t, settings });
        Lane { segments, network }
    }
}

/// Times closer than this are the same.
pub const TIME_EPS: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;
    use sit_engine::transport::{Edm, Path, Respacing, Transport};

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
            let b = times(sde(SdeMethod::Euler, Diffusion::default(), n));
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
        let sampler = sde(SdeMethod::Euler, Diffusion::default(), 50);
        let settings = Settings {
            sampler,
            ..Settings::default()
        };
        let branch = lane.branch(0.5, settings.clone());
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
        assert_eq!(branch.branch(0.3, settings.clone()).segments.len(), 2);
        assert_eq!(branch.branch(0.0, settings.clone()), Lane::new(settings));
    }

    #[test]
    fn a_refused_combination_says_why() {
        let diffusion = Diffusion {
            form: sit_engine::transport::DiffusionForm::Sbdm,
            ..Diffusion::default()
        };
        let lane = Lane::new(Settings {
            sampler: sde(SdeMethod::Euler, diffusion, 10),
            ..Settings::default()
        });
        let message = lane.steps(&Transport::default()).unwrap_err().to_string();
        assert!(message.contains("SBDM"), "{message}");
    }

    #[test]
    fn what_a_lane_cannot_show_is_refused() {
        let refusal = |settings: &Settings| {
            let steps = Lane::new(settings.clone()).steps(&Transport::default());
            steps.unwrap_err().to_string()
        };
        let of = |sampler| Settings {
            sampler,
            noise: Noise::Brownian,
            ..Settings::default()
        };
        for (method, grid, expected) in [
            (SdeMethod::Euler, Grid::Shift(3.0), "time grid shift:3"),
            (SdeMethod::PredictorCorrector, Grid::Uniform, "and pc does"),
            (SdeMethod::Alternate, Grid::Uniform, "and alternate does"),
        ] {
            let sde = Sde {
                method,
                grid,
                ..Sde::default()
            };
            let mut settings = of(sde.into());
            assert!(refusal(&settings).contains(expected));
            settings.noise = Noise::Independent;
            Lane::new(settings).steps(&Transport::default()).unwrap();
        }
        // The noise of an ODE is not used.
        let settings = of(ode(Method::UniPc, 8));
        Lane::new(settings).steps(&Transport::default()).unwrap();
        let mut many = Sde {
            method: SdeMethod::PredictorCorrector,
            n_steps: 400,
            ..Sde::default()
        };
        many.corrector.steps = 10;
        let message = refusal(&Settings {
            sampler: many.into(),
            ..Settings::default()
        });
        assert!(
            message.contains("got 4400 with the corrector's"),
            "{message}"
        );
        let back = Ode {
            reverse: true,
            ..Ode::default()
        };
        assert!(refusal(&of(back.into())).contains("from data to noise"));
    }

    #[test]
    fn a_branch_goes_on_from_states_that_it_knows() {
        let transport = Transport::default();
        let of = |sampler: Sampler| Settings {
            sampler,
            ..Settings::default()
        };
        let along = |path| {
            Sampler::Ode(Ode {
                n_steps: 8,
                along: Some(path),
                ..Ode::default()
            })
        };
        let chain = |sampler: DdpmSampler, n| {
            Sampler::Ddpm(DdpmSampler {
                respacing: Some(Respacing::Sections(vec![n])),
                ..sampler
            })
        };
        let edm = |n_steps, churn| {
            Sampler::Edm(Edm {
                n_steps,
                churn,
                ..Edm::default()
            })
        };
        let steps = |from: Sampler, to: Sampler| {
            let lane = Lane::new(of(from));
            let t = lane.steps(&transport).unwrap()[3].step.t_next;
            let steps = lane.branch(t, of(to)).steps(&transport);
            steps.map(|steps| steps.len())
        };
        let noisy = sde(SdeMethod::Euler, Diffusion::default(), 8);
        let (ancestral, ddim) = (DdpmSampler::ancestral(), DdpmSampler::ddim(0.0));
        for (from, to, n) in [
            (ode(Method::Euler, 8), noisy.clone(), 8),
            // The path by its name is the model's own.
            (ode(Method::Euler, 8), along(Path::Linear), 8),
            (edm(8, 0.0), edm(8, 5.0), 8),
            (chain(ancestral.clone(), 10), chain(ddim.clone(), 10), 10),
        ] {
            assert_eq!(steps(from, to).unwrap(), n);
        }
        for (from, to) in [
            (ode(Method::Euler, 8), along(Path::Gvp)),
            (along(Path::VP), noisy),
            (ode(Method::Euler, 8), edm(8, 0.0)),
            (edm(8, 0.0), edm(16, 0.0)),
            (edm(8, 0.0), chain(ddim, 8)),
        ] {
            let message = steps(from, to).unwrap_err().to_string();
            assert!(
                message.contains("a branch goes on from its lane's state"),
                "{message}"
            );
        }
        let back = DdpmSampler {
            reverse: true,
            ..DdpmSampler::ddim(0.0)
        };
        let refused = Lane::new(of(back.into())).steps(&transport).unwrap_err();
        assert!(
            refused.to_string().contains("from data to noise"),
            "{refused}"
        );
    }
}
