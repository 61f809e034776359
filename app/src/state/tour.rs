//! A tour of six stops, each one click away.

use super::{DEFAULT_STEPS, Lane, Link, Noise, Settings, Source, State, View, ode, sde};
use sit_engine::transport::{Diffusion, DiffusionForm, Method, Sampler, SdeMethod};

/// A stop of the tour.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    /// What it is called.
    pub title: &'static str,
    /// What to look at.
    pub text: &'static str,
    /// The lanes.
    lanes: fn() -> Vec<Sampler>,
    /// Whether the SDE's noise is one Brownian path.
    brownian: bool,
    /// The exact field of this data, or else the digits.
    exact: Option<&'static str>,
}

const fn sigma(norm: f64) -> Diffusion {
    Diffusion::new(DiffusionForm::Sigma, norm)
}

/// An SDE on a fixed interval, so that other numbers of steps refine the same path.
fn refined(n_steps: u32) -> Sampler {
    Sampler::sde(SdeMethod::Euler, sigma(1.0), n_steps)
}

/// The tour.
pub const STOPS: [Stop; 6] = [
    Stop {
        title: "1. One noise, two ways",
        text: "Both lanes start from the same noise. The ODE follows the velocity; the SDE is also pushed about at random. \
               Single digits differ, the crowd is the same but for fine noise, which more steps take away: see the badge.",
        lanes: || {
            vec![
                ode(Method::Euler, DEFAULT_STEPS),
                sde(SdeMethod::Euler, sigma(1.0), DEFAULT_STEPS),
            ]
        },
        brownian: false,
        exact: None,
    },
    Stop {
        title: "2. No diffusion is the ODE",
        text: "With D = 0 the term D s and the noise are gone: both lanes are equal, number by number.",
        lanes: || {
            vec![
                ode(Method::Euler, DEFAULT_STEPS),
                sde(SdeMethod::Euler, sigma(0.0), DEFAULT_STEPS),
            ]
        },
        brownian: false,
        exact: None,
    },
    Stop {
        title: "3. More noise, the same crowd",
        text: "Four times the diffusion: the samples wander far from where the ODE takes them, and the score brings them back. \
               In the limit of small steps the distribution at each t does not depend on D.",
        lanes: || {
            vec![
                sde(SdeMethod::Euler, sigma(1.0), 2 * DEFAULT_STEPS),
                sde(SdeMethod::Euler, sigma(4.0), 2 * DEFAULT_STEPS),
            ]
        },
        brownian: false,
        exact: None,
    },
    Stop {
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
        brownian: false,
        exact: None,
    },
    Stop {
        title: "5. The same Brownian path, finer",
        text: "All three lanes follow one Brownian path, in 8, 32 and 128 steps: single samples converge, because halving a step \
               refines the path and does not draw a new one.",
        lanes: || [8, 32, 128].map(refined).to_vec(),
        brownian: true,
        exact: None,
    },
    Stop {
        title: "6. The exact field",
        text: "For a mixture of Gaussians the velocity is known, so all error is the solver's. Halving the step \
               halves Euler's error and quarters Heun's. The arrows are v(x, t), the shade is the density of x at t.",
        lanes: || vec![ode(Method::Euler, 12), ode(Method::Heun, 12)],
        brownian: false,
        exact: Some("eight-gaussians"),
    },
];

impl Stop {
    /// The state at this stop: everything but the tab, the speed and the seed.
    pub fn link(&self, state: &State) -> Link {
        let noise = if self.brownian {
            Noise::Brownian
        } else {
            Noise::Independent
        };
        let lane = |sampler| {
            Lane::new(Settings {
                sampler,
                noise,
                ..Settings::default()
            })
        };
        let source = match self.exact {
            Some(toy) => Source::Exact(toy.into()),
            None => Source::Digits,
        };
        Link {
            n_samples: if self.exact.is_some() { 256 } else { 64 },
            source,
            lanes: (self.lanes)().into_iter().map(lane).collect(),
            cursor: 0,
            view: View {
                tab: state.view.tab,
                ..View::default()
            },
            ..State::default().link()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sit_engine::analytic::{Points, Toy};
    use sit_engine::transport::Transport;

    #[test]
    fn every_stop_can_be_gone_to() {
        let state = State::default();
        for stop in STOPS {
            let link = stop.link(&state);
            assert_eq!(
                Link::decode(&link.encode()).unwrap(),
                link,
                "{}",
                stop.title
            );
            for lane in &link.lanes {
                let steps = lane.steps(&Transport::default()).unwrap();
                assert_eq!(steps[steps.len() - 1].step.t_next, 1.0);
                if stop.brownian {
                    let n = lane.settings().sampler.n_steps();
                    assert!(n.is_power_of_two(), "{n}");
                }
            }
            if let Some(toy) = stop.exact {
                assert!(Toy::from_name(toy).unwrap().mixture().is_some());
            }
        }
    }
}
