//! A tour: stops one click away, each a state with a few words. The program has one, and others come from files.

use super::{
    Action, DEFAULT_STEPS, Lane, Link, Noise, PlaybackAction, Settings, Source, State, Tab, View,
    ode, sde,
};
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

/// The stops, and the one that was gone to last.
#[derive(Debug, Clone, PartialEq)]
pub struct Tour {
    /// All of them.
    pub stops: Vec<Stop>,
    /// The last one.
    pub at: Option<usize>,
}

/// What can happen to a tour.
#[derive(Debug, Clone, PartialEq)]
pub enum TourAction {
    /// Go to this stop.
    Go(usize),
    /// Go to the next one.
    Next,
    /// Go to the one before.
    Back,
    /// Add what is shown as a further stop.
    Add {
        /// Its title.
        title: String,
        /// Its text.
        text: String,
    },
    /// Remove this stop.
    Remove(usize),
    /// Take this tour.
    Take(Vec<Stop>),
    /// Take the program's own.
    Reset,
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
}

/// A stop on the digits without guidance.
const PLAIN: Plan = Plan {
    title: "",
    text: "",
    lanes: Vec::new,
    brownian: false,
    guidance: 1.0,
    exact: None,
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
            n_samples: if self.exact.is_some() { 256 } else { 64 },
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

impl Default for Tour {
    /// The program's own.
    fn default() -> Self {
        Tour {
            stops: PLANS.iter().map(Plan::stop).collect(),
            at: None,
        }
    }
}

/// The most stops and bytes of a file that are read.
const MOST_STOPS: usize = 100;
const MOST_BYTES: usize = 1 << 20;

/// The version of a tour's file.
const VERSION: u32 = 1;

/// A tour as a file has it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    stops: Vec<Stop>,
}

impl Tour {
    /// One without stops.
    pub(super) fn empty() -> Self {
        Tour {
            stops: Vec::new(),
            at: None,
        }
    }

    /// The tour as a file: JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let file = File {
            version: VERSION,
            stops: self.stops.clone(),
        };
        serde_json::to_vec_pretty(&file).expect("plain numbers and names are JSON")
    }

    /// Reads the stops of a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn stops_of_json(bytes: &[u8]) -> Result<Vec<Stop>, String> {
        if bytes.len() > MOST_BYTES {
            return Err(format!(
                "a tour of {} bytes, at most {MOST_BYTES}",
                bytes.len()
            ));
        }
        let file: File = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if file.version != VERSION {
            return Err(format!("version is {}, expected {VERSION}", file.version));
        }
        if !(1..=MOST_STOPS).contains(&file.stops.len()) {
            return Err(format!(
                "{} stops, expected 1 to {MOST_STOPS}",
                file.stops.len()
            ));
        }
        for (number, stop) in file.stops.iter().enumerate() {
            let refused = stop.link.check();
            refused.map_err(|e| format!("stop {}, {}: {e}", number + 1, stop.title))?;
        }
        Ok(file.stops)
    }
}

impl State {
    /// Changes the tour, or where it is.
    pub(super) fn tour(&mut self, action: TourAction) {
        let n = self.tour.stops.len();
        match action {
            TourAction::Go(stop) => self.go_to_stop(stop),
            TourAction::Next => self.go_to_stop(self.tour.at.map_or(0, |at| (at + 1).min(n - 1))),
            TourAction::Back => self.go_to_stop(self.tour.at.map_or(0, |at| at.saturating_sub(1))),
            TourAction::Add { title, text } => {
                let link = self.link();
                self.tour.stops.push(Stop { title, text, link });
            }
            TourAction::Remove(stop) if stop < n && n > 1 => {
                self.tour.stops.remove(stop);
                self.tour.at = None;
            }
            TourAction::Remove(_) => {}
            TourAction::Take(stops) => self.tour = Tour { stops, at: None },
            TourAction::Reset => self.tour = Tour::default(),
        }
    }

    /// Shows a stop and plays it. The tab and the speed stay.
    fn go_to_stop(&mut self, stop: usize) {
        let Some(link) = self.tour.stops.get(stop).map(|stop| stop.link.clone()) else {
            return;
        };
        let view = View {
            tab: self.view.tab,
            ..link.view
        };
        let speed = self.playback.speed;
        self.apply(Action::Restore(Box::new(Link {
            view,
            speed,
            ..link
        })));
        self.tour.at = Some(stop);
        self.apply(PlaybackAction::TogglePlay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sit_engine::analytic::{Points as _, Toy};
    use sit_engine::transport::Transport;

    #[test]
    fn every_stop_can_be_gone_to() {
        let tour = Tour::default();
        for (number, stop) in tour.stops.iter().enumerate() {
            let text = stop.link.encode();
            assert_eq!(Link::decode(&text).unwrap(), stop.link, "{}", stop.title);
            assert!(stop.title.starts_with(&format!("{}. ", number + 1)));
            for lane in &stop.link.lanes {
                let steps = lane.steps(&Transport::default()).unwrap();
                let last = steps.last();
                assert!(last.is_none_or(|last| last.step.t_next == 1.0 || number == 7));
                let settings = lane.settings();
                if settings.noise == Noise::Brownian {
                    let n = settings.sampler.n_steps();
                    assert!(n.is_power_of_two(), "{n}");
                }
            }
            if let Source::Exact(toy) = &stop.link.source {
                assert!(Toy::from_name(toy).unwrap().mixture().is_some());
            }
        }
    }

    #[test]
    fn a_tour_is_walked_changed_and_kept() {
        let mut state = State::default();
        state.apply(TourAction::Next);
        state.apply(TourAction::Next);
        assert_eq!(state.tour.at, Some(1));
        assert!(state.playback.playing);
        state.apply(TourAction::Back);
        state.apply(TourAction::Back);
        assert_eq!(state.tour.at, Some(0));
        let (title, text) = ("Mine".to_owned(), "Look.".to_owned());
        state.apply(TourAction::Add { title, text });
        state.apply(TourAction::Go(10));
        assert_eq!(state.tour.at, Some(10));
        let bytes = state.tour.to_json();
        let stops = Tour::stops_of_json(&bytes).unwrap();
        assert_eq!(stops, state.tour.stops);
        for _ in 0..20 {
            state.apply(TourAction::Remove(0));
        }
        assert_eq!(state.tour.stops.len(), 1);
        state.apply(TourAction::Take(stops));
        assert_eq!(state.tour.stops.len(), 11);
        state.apply(TourAction::Reset);
        assert_eq!(state.tour, Tour::default());
    }

    #[test]
    fn bad_tours_say_what_is_wrong() {
        let whole = String::from_utf8(Tour::default().to_json()).unwrap();
        for (from, to, expected) in [
            (
                "\"version\": 1",
                "\"version\": 7",
                "version is 7, expected 1",
            ),
            (
                "\"n_samples\": 64",
                "\"n_samples\": 0",
                "stop 1, 1. One noise, two ways: the number of samples is 0",
            ),
            ("\"stops\"", "\"halts\"", "unknown field"),
        ] {
            let text = whole.replacen(from, to, 1).replacen(
                "\"version\": 7,\n          \"source",
                "\"version\": 1,\n          \"source",
                0,
            );
            let message = Tour::stops_of_json(text.as_bytes()).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        assert!(
            Tour::stops_of_json(&[b' '; 1 << 21])
                .unwrap_err()
                .contains("at most")
        );
    }
}
