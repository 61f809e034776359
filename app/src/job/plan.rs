//! What a run is to do, as the state has it.

use crate::state::{Schedule, Second, Settings, Source, State};
use std::sync::Arc;

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its number.
    pub run: u64,
    /// The network, if it is not the session's.
    pub network: Option<Source>,
    /// Names of its classes.
    pub classes: Vec<String>,
    /// The lane's steps.
    pub steps: Schedule,
    /// Settings of its segments.
    pub settings: Vec<Settings>,
    /// Labels `[N]` of each segment.
    pub labels: Vec<Vec<u32>>,
    /// The session's seed.
    pub seed: u64,
    /// The number N of samples.
    pub n: usize,
    /// The number of the first one, which its noise depends on.
    pub first: usize,
    /// Where to continue: the state `[N, C, I, I]` after the first `done` steps; `None` starts from noise.
    pub from: Option<(usize, Arc<[f32]>)>,
}

impl Plan {
    /// The plan of a lane as the state has it.
    pub fn of(state: &State, lane: usize) -> Self {
        let record = &state.records[lane];
        let done = record.frames.len();
        Plan {
            run: record.run,
            network: state.lanes[lane].network.clone(),
            classes: state
                .model_of(lane)
                .map_or_else(Vec::new, |m| m.classes.clone()),
            steps: record.steps.clone(),
            settings: record.settings.clone(),
            labels: record.settings.iter().map(|s| state.labels(s)).collect(),
            seed: state.seed,
            n: state.n_samples,
            first: 0,
            from: record.state(done).map(|x| (done, Arc::clone(x))),
        }
    }

    /// The plan of a second batch: samples after those of the lanes, of the same classes. The run takes the first ones whose noise is balanced.
    pub fn of_second(state: &State, lane: usize, second: &Second) -> Self {
        Plan {
            run: second.record.run,
            steps: second.record.steps.clone(),
            first: state.n_samples,
            from: None,
            ..Plan::of(state, lane)
        }
    }
}
