//! Whether the lead lane and the next one have the same marginal.

use super::{Place, are_alike, group, place, samples, time};
use crate::state::{State, TIME_EPS};
use crate::stats::test::Detecting;
use crate::stats::verdict::LEVEL;
use crate::stats::{Group, Verdict, independent_halves};
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
    /// The second batch was not computed yet.
    WaitingForSecond,
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
        /// Whether the next lane's samples are a second batch; otherwise half of each lane was tested.
        second: bool,
    },
}

/// The verdicts so far.
#[derive(Default)]
pub struct Badges {
    found: HashMap<[Place; 2], (Verdict, bool)>,
    /// Places and time of the verdict shown last, and when it was found.
    last: Option<([Place; 2], f64)>,
    tested: f64,
    /// What the test of these places would find.
    detecting: Option<([Place; 2], Detecting)>,
}

impl Badges {
    /// What can be said of lanes `pair` at second `now`.
    pub fn look(&mut self, state: &State, pair: [usize; 2], now: f64) -> Badge {
        let [a, b] = pair;
        let times = pair.map(|lane| time(state, lane));
        if (times[0] - times[1]).abs() > TIME_EPS {
            let common = common_time(state, pair, times[0]);
            return Badge::Apart { common };
        }
        let places = pair.map(|lane| place(state, lane));
        let known = |of: &[Place; 2], t: f64| {
            let (verdict, second) = *self.found.get(of)?;
            Some(Badge::Tested { verdict, t, second })
        };
        if let Some(badge) = known(&places, times[0]) {
            self.last = Some((places, times[0]));
            return badge;
        }
        let earlier = || {
            let (last, t) = self.last?;
            let is_same = [0, 1].map(|i| last[i].0) == [0, 1].map(|i| places[i].0);
            known(&last, t).filter(|_| is_same)
        };
        if state.playback.playing
            && now - self.tested < PAUSE
            && let Some(badge) = earlier()
        {
            return badge;
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
        let Some(([x, y], second)) = independent(state, b, [x, y]) else {
            return earlier()
                .filter(|_| state.playback.playing)
                .unwrap_or(Badge::WaitingForSecond);
        };
        let verdict = Verdict::of_groups(&x, &y, PERMUTATIONS, state.seed);
        if self.found.len() >= KEPT {
            self.found.clear();
        }
        self.found.insert(places, (verdict, second));
        let t = times[0];
        (self.last, self.tested) = (Some((places, t)), now);
        Badge::Tested { verdict, t, second }
    }

    /// The least noise that the test of the lanes as they are shown would find, as a share of the values' deviation: `None` before it is known,
    /// `None` within if it finds none of those that are tried. A call makes one trial.
    pub fn power(&mut self, state: &State, pair: [usize; 2]) -> Option<Option<f32>> {
        let places = pair.map(|lane| place(state, lane));
        if self.detecting.as_ref().is_none_or(|(of, _)| *of != places) {
            let [x, y] = pair.map(|lane| group(state, lane, MOST));
            let ([x, y], _) = independent(state, pair[1], [x?, y?])?;
            let detecting = Detecting::new(&x, &y, LEVEL, state.seed);
            self.detecting = Some((places, detecting));
        }
        let (_, detecting) = self.detecting.as_mut()?;
        detecting.trial();
        detecting.result()
    }

    /// What [`Badges::power`] has found.
    #[cfg(test)]
    pub fn found_power(&self) -> Option<Option<f32>> {
        self.detecting.as_ref()?.1.result()
    }
}

/// Two groups that share no noise: the first lane's samples and a second batch of the other's. Half of each where there is no second batch at this
/// time, and never will be. Whether it is a second batch; `None` before it is computed.
pub(super) fn independent(
    state: &State,
    lane: usize,
    [x, y]: [Group; 2],
) -> Option<([Group; 2], bool)> {
    let halves = || {
        let (x, y) = independent_halves(&x, &y);
        Some(([x, y], false))
    };
    let Some(second) = state.second_of(lane) else {
        return halves();
    };
    let (record, t) = (&second.record, time(state, lane));
    if record.failure.is_some() {
        return halves();
    }
    let position = match record.steps.is_whole() {
        // As many steps, which may have several at one time.
        true if record.steps.len() == state.records[lane].steps.len() => state.position(lane),
        _ => record.steps_until(t),
    };
    let is_there = record.is_started() && position <= record.steps.len();
    if !is_there || !record.reaches(t) && record.t(position) < t - TIME_EPS {
        return None;
    }
    if (record.t(position) - t).abs() > TIME_EPS {
        return halves();
    }
    let values = samples(state, record.state(position)?, x.len())?;
    let second = Group::new(values, x.d(), x.labels().to_vec());
    Some(([x, second], true))
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
