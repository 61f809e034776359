//! Results about the lanes at the time shown. Each is computed once and kept while runs and positions stay the same. A frame
//! computes one of them, in a few milliseconds.

mod badge;
mod data;
mod distances;
mod trace;

pub use badge::{Badge, Badges, MOST};
pub use distances::{Along, Distance, Distances, LEVEL, Side};
pub use trace::{Row, Traces};

use crate::state::State;
use crate::stats::Group;

/// All results.
#[derive(Default)]
pub struct Findings {
    /// Whether two lanes agree.
    pub badges: Badges,
    /// How far lanes are from each other and from the data.
    pub distances: Distances,
    /// Numbers of every step.
    pub traces: Traces,
}

/// Identifies the state of a lane: its run and the number of steps done.
type Place = (u64, usize);

/// The run and position of a lane.
fn place(state: &State, lane: usize) -> Place {
    (state.records[lane].run, state.position(lane))
}

/// Time of the state that a lane shows.
fn time(state: &State, lane: usize) -> f64 {
    state.records[lane].t(state.position(lane))
}

/// Whether two lanes show states with the same shares of data and noise, so that their distributions should agree.
pub fn are_alike(state: &State, pair: [usize; 2]) -> bool {
    // Less noise than this cannot be seen: some paths keep a little of it at the end.
    const NEAR: f64 = 5e-3;
    let shares = |lane: usize| {
        let transport = &state.model_of(lane)?.transport;
        let (path, t) = state.records[lane].place(state.position(lane), transport);
        Some([path.alpha(t), path.sigma(t)])
    };
    let [Some(a), Some(b)] = pair.map(shares) else {
        return false;
    };
    a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= NEAR)
}

/// The first `most` samples that a lane shows, with their classes; `None` before they are computed.
fn group(state: &State, lane: usize, most: usize) -> Option<Group> {
    let x = state.records[lane].state(state.position(lane))?;
    let mut labels = state.labels(state.lanes[lane].settings_at(time(state, lane)));
    labels.truncate(most);
    let values = samples(state, x, labels.len())?;
    let len = state.model.as_ref()?.io.image_len();
    Some(Group::new(values, len, labels))
}

/// The first `n` samples of a recorded array.
fn samples(state: &State, x: &[f32], n: usize) -> Option<Vec<f32>> {
    let len = state.model.as_ref()?.io.image_len();
    x.get(..n * len).map(<[f32]>::to_vec)
}
