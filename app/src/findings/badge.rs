//! Whether the lead lane and the next one have the same marginal.

use super::{Place, are_alike, group, place, time};
use crate::state::{State, TIME_EPS};
use crate::stats::Verdict;
use std::collections::HashMap;

/// The most samples of a lane that are tested: more would take longer than a frame.
pub const MOST: usize = 128;

/// Relabelings of the test.
const PERMUTATIONS: u32 = 199;

/// Least seconds between two tests while the lanes play.
const PAUSE: f64 = 0.2;

/// Verdicts that are kept.
const KEPT: usize = 1 << 14;

/// The result of comparing two lanes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Badge {
    /// Nothing was computed yet.
    Waiting,
    /// Their samples are the same numbers, as at the start.
    Same,
    /// They have different classes.
    OtherClasses,
    /// Their states have other shares of data and noise, because they follow different paths.
    OtherPaths,
    /// They are at different times.
    Apart {
        /// The next time that both stop at, or else the last one.
        common: Option<f64>,
    },
    /// The test was made.
    Tested {
        /// What it found.
        verdict: Verdict,
        /// The time of the test. While the lanes play, it may be a little before the time shown.
        t: f64,
    },
}

/// The verdicts so far.
#[derive(Default)]
pub struct Badges {
    found: HashMap<[Place; 2], Verdict>,
    /// Places and time of the verdict shown last, and when it was found.
    last: Option<([Place; 2], f64)>,
    tested: f64,
}

impl Badges {
    /// The two lanes that are compared, the lead and the next that works; `None` without a second one.
    pub fn pair(state: &State) -> Option<[usize; 2]> {
        let lead = state.lead();
        let works = |lane: &usize| state.records[*lane].failure.is_none();
        let next = (lead + 1..state.lanes.len()).find(works)?;
        Some([lead, next])
    }

    /// What can be said of lanes `pair` at second `now`.
    pub fn look(&mut self, state: &State, pair: [usize; 2], now: f64) -> Badge {
        let [a, b] = pair;
        let times = pair.map(|lane| time(state, lane));
        if (times[0] - times[1]).abs() > TIME_EPS {
            let common = common_time(state, pair, times[0]);
            return Badge::Apart { common };
        }
        let places = pair.map(|lane| place(state, lane));
        if let Some(&verdict) = self.found.get(&places) {
            let t = times[0];
            self.last = Some((places, t));
            return Badge::Tested { verdict, t };
        }
        if state.playback.playing
            && now - self.tested < PAUSE
            && let Some((last, t)) = self.last
            && [0, 1].map(|i| last[i].0) == [0, 1].map(|i| places[i].0)
            && let Some(&verdict) = self.found.get(&last)
        {
            return Badge::Tested { verdict, t };
        }
        let (Some(x), Some(y)) = (group(state, a, MOST), group(state, b, MOST)) else {
            return Badge::Waiting;
        };
        if x.labels() != y.labels() {
            return Badge::OtherClasses;
        }
        if x.values() == y.values() {
            return Badge::Same;
        }
        if !are_alike(state, pair) {
            return Badge::OtherPaths;
        }
        let verdict = Verdict::of_lanes(&x, &y, PERMUTATIONS, state.seed);
        if self.found.len() >= KEPT {
            self.found.clear();
        }
        self.found.insert(places, verdict);
        (self.last, self.tested) = (Some((places, times[0])), now);
        let t = times[0];
        Badge::Tested { verdict, t }
    }
}

/// The first time from `t` on at which steps of both lanes end, or else the last one before.
fn common_time(state: &State, pair: [usize; 2], t: f64) -> Option<f64> {
    let ends = |lane: usize| state.records[lane].steps.iter().map(|s| s.step.t_next);
    let both = |t: &f64| ends(pair[1]).any(|other| (other - t).abs() < TIME_EPS);
    let common = || ends(pair[0]).filter(both);
    common()
        .find(|common| *common > t - TIME_EPS)
        .or_else(|| common().next_back())
}
