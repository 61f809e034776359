//! A tour: stops one click away, each a state with a few words. The program has one, and others come from files.

use super::{Link, PlaybackAction, State, Stop, View, stops};
use serde::{Deserialize, Serialize};

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

impl Default for Tour {
    /// The program's own.
    fn default() -> Self {
        Tour {
            stops: stops::own(),
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
        self.restore(Link {
            view,
            speed,
            ..link
        });
        self.tour.at = Some(stop);
        self.play(PlaybackAction::TogglePlay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Noise, Source};
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
