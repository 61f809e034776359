//! A stop of a tour, and those of the program's own.

use super::{DEFAULT_STEPS, Lane, Link, Noise, Settings, Source, Tab, View, ode, sde};
use serde::{Deserialize, Serialize};
use sit_engine::transport::{
    DdpmSampler, Diffusion, DiffusionForm, Edm, Guidance, LastStep, Method, Respacing, Sampler,
    Sde, SdeMethod,
};

/// A stop of a tour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// What it is called.
    pub title: String,
    /// What to look at.
    pub text: String,
    /// The state.
    pub link: Link,
}

/// A stop of the program's own tour.
struct Plan {
    title: &'static str,
    text: &'static str,
    lanes: fn() -> Vec<Sampler>,
    /// Whether the SDE's noise is one Brownian path.
    brownian: bool,
    /// Scale of the guidance.
    guidance: f64,
    /// The exact field of this data, or else the digits.
    exact: Option<&'static str>,
    /// Samples of a lane: enough for the badge to find what the stop shows.
    n_samples: usize,
}

/// A stop on the digits without guidance.
const PLAIN: Plan = Plan {
    title: "",
    text: "",
    lanes: Vec::new,
    brownian: false,
    guidance: 1.0,
    exact: None,
    n_samples: 64,
};

const fn sigma(norm: f64) -> Diffusion {
    Diffusion::new(DiffusionForm::Sigma, norm)
}

/// An SDE on a fixed interval, so that other numbers of steps refine the same path.
fn refined(n_steps: u32) -> Sampler {
    Sampler::sde(SdeMethod::Euler, sigma(1.0), n_steps)
}

const PLANS: [Plan; 10] = [
    Plan {
        title: "1. One noise, two ways",
        text: "Both lanes start from the same noise. The ODE follows the velocity; the SDE is also pushed about at random. \
               Single digits differ, the crowd is the same but for fine noise, which more steps take away: see the badge.",
        lanes: || {
            vec![
                ode(Method::Euler, DEFAULT_STEPS),
                sde(SdeMethod::Euler, sigma(1.0), DEFAULT_STEPS),
            ]
        },
        ..PLAIN
    },
    Plan {
        title: "2. No diffusion is the ODE",
        text: "With D = 0 the term D s and the noise are gone: both lanes are equal, number by number.",
        lanes: || {
            vec![
                ode(Method::Euler, DEFAULT_STEPS),
                sde(SdeMethod::Euler, sigma(0.0), DEFAULT_STEPS),
            ]
        },
        ..PLAIN
    },
    Plan {
        title: "3. More noise, the same crowd",
        text: "Four times the diffusion: the samples wander far from where the ODE takes them, and the score brings them back. \
               In the limit of small steps the distribution at each t does not depend on D.",
        lanes: || {
            vec![
                sde(SdeMethod::Euler, sigma(1.0), 2 * DEFAULT_STEPS),
                sde(SdeMethod::Euler, sigma(4.0), 2 * DEFAULT_STEPS),
            ]
        },
        ..PLAIN
    },
    Plan {
        title: "4. Too coarse",
        text: "Four steps are too few for the SDE: its noise is larger than what a step of the drift takes back. \
               The ODE of as many steps is less wrong.",
        lanes: || {
            vec![
                ode(Method::Euler, 4),
                sde(SdeMethod::Euler, sigma(1.0), 4),
                ode(Method::Heun, DEFAULT_STEPS),
            ]
        },
        ..PLAIN
    },
    Plan {
        title: "5. The same Brownian path, finer",
        text: "All three lanes follow one Brownian path, in 8, 32 and 128 steps: single samples converge, because halving a step \
               refines the path and does not draw a new one.",
        lanes: || [8, 32, 128].map(refined).to_vec(),
        brownian: true,
        ..PLAIN
    },
    Plan {
        title: "6. The exact field",
        text: "For a mixture of Gaussians the velocity is known, so all error is the solver's. Halving the step \
               halves Euler's error and quarters Heun's. The arrows are v(x, t), the shade is the density of x at t.",
        lanes: || vec![ode(Method::Euler, 12), ode(Method::Heun, 12)],
        exact: Some("eight-gaussians"),
        n_samples: 256,
        ..PLAIN
    },
    Plan {
        title: "7. Where it fails: too much noise",
        text: "With sixteen times the diffusion, 50 steps are too few: each step adds more noise than the score takes back. \
               Take 400 steps in lane 2 and the crowds agree again.",
        lanes: || {
            vec![
                ode(Method::Euler, DEFAULT_STEPS),
                sde(SdeMethod::Euler, sigma(16.0), DEFAULT_STEPS),
            ]
        },
        ..PLAIN
    },
    Plan {
        title: "8. Where it fails: the last step",
        text: "Both lanes are one SDE of 20 steps, but the second one adds noise in its last step as well, and nothing takes it back. \
               Every sampler with noise has to end without it.",
        lanes: || {
            let with = |last_step| {
                Sampler::Sde(Sde {
                    diffusion: sigma(1.0),
                    n_steps: 20,
                    last_step,
                    ..Sde::default()
                })
            };
            vec![with(LastStep::Mean), with(LastStep::None)]
        },
        n_samples: 256,
        ..PLAIN
    },
    Plan {
        title: "9. Where it fails: guidance",
        text: "Both lanes are guided four times as strongly: the digits are clearer, and fewer kinds of each are made. \
               The guided velocity is no distribution's own, so ODE and SDE need not agree any more, however small the steps.",
        lanes: || {
            vec![
                ode(Method::Heun, DEFAULT_STEPS),
                sde(SdeMethod::Heun, sigma(1.0), DEFAULT_STEPS),
            ]
        },
        guidance: 4.0,
        ..PLAIN
    },
    Plan {
        title: "10. Other samplers",
        text: "DDIM and DDPM are chains of noise levels, EDM's sampler with churn adds noise and takes it back, dopri5 chooses its own \
               steps. All of them ask the same network, and end in the same crowd.",
        lanes: || {
            let levels = |sampler: DdpmSampler| {
                Sampler::Ddpm(DdpmSampler {
                    respacing: Some(Respacing::Sections(vec![DEFAULT_STEPS])),
                    ..sampler
                })
            };
            vec![
                ode(Method::Dopri5, DEFAULT_STEPS),
                levels(DdpmSampler::ddim(0.0)),
                levels(DdpmSampler::ancestral()),
                Sampler::Edm(Edm {
                    n_steps: 25,
                    churn: 20.0,
                    ..Edm::default()
                }),
            ]
        },
        ..PLAIN
    },
];

impl Plan {
    fn stop(&self) -> Stop {
        let noise = if self.brownian {
            Noise::Brownian
        } else {
            Noise::Independent
        };
        let guidance = Guidance {
            scale: self.guidance,
            ..Guidance::default()
        };
        let lane = |sampler| {
            Lane::new(Settings {
                sampler,
                noise,
                guidance,
                ..Settings::default()
            })
        };
        let source = match self.exact {
            Some(toy) => Source::Exact(toy.into()),
            None => Source::Digits,
        };
        let link = Link {
            n_samples: self.n_samples,
            source,
            lanes: (self.lanes)().into_iter().map(lane).collect(),
            view: View {
                tab: Tab::Tour,
                ..View::default()
            },
            ..Link::default()
        };
        Stop {
            title: self.title.into(),
            text: self.text.into(),
            link,
        }
    }
}

/// All of them, in their order.
pub fn own() -> Vec<Stop> {
    PLANS.iter().map(Plan::stop).collect()
}
