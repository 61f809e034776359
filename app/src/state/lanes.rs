//! The lanes together: their number, their common noise, and when each of them is restarted.

use super::{
    Classes, Lane, MAX_LANES, MAX_SAMPLES, MAX_STEPS, RECORD_BUDGET, Record, Settings, Source,
    State, other_kind,
};
use crate::words::in_controls;

/// What can happen to the lanes.
#[derive(Debug, Clone, PartialEq)]
pub enum LanesAction {
    /// Another seed.
    NewNoise,
    /// This seed.
    SetSeed(u64),
    /// Samples of each lane.
    SetSamples(usize),
    /// The classes asked for.
    SetClasses(Classes),
    /// Other settings for a lane, from its start or from where it branched.
    SetLane(usize, Settings),
    /// A network for a lane; `None` is the session's.
    SetNetwork(usize, Option<Source>),
    /// Compare the session's network with this one, in two lanes.
    Compare(Source),
    /// A further lane, like the last one.
    AddLane,
    /// One lane less.
    RemoveLane(usize),
    /// A new lane that branches from lane number .0 at the cursor, with settings .1. `None` branches from the lead lane and swaps
    /// ODE and SDE. If there is no room, it replaces the last lane.
    Branch(Option<(usize, Settings)>),
}

impl State {
    /// Changes the lanes or their noise.
    pub(super) fn change_lanes(&mut self, action: LanesAction) {
        match action {
            LanesAction::NewNoise => {
                self.seed = self.seed.wrapping_add(1);
                self.restart();
            }
            LanesAction::SetSeed(seed) => {
                self.seed = seed;
                self.restart();
            }
            LanesAction::SetSamples(n) => {
                self.n_samples = n.clamp(1, MAX_SAMPLES);
                self.restart();
            }
            LanesAction::SetClasses(classes) => {
                self.classes = classes;
                self.restart();
            }
            LanesAction::SetLane(lane, settings) => {
                if lane < self.lanes.len() {
                    self.set_lane(lane, settings);
                }
            }
            LanesAction::SetNetwork(lane, network) => self.set_network(lane, network),
            LanesAction::Compare(other) => self.compare_networks(other),
            LanesAction::AddLane => self.add_lane(self.lanes[self.lanes.len() - 1].clone()),
            LanesAction::RemoveLane(lane) => {
                if self.lanes.len() > 1 && lane < self.lanes.len() {
                    let t = self.t();
                    self.lanes.remove(lane);
                    self.records.remove(lane);
                    self.playback.cursor = self.lead_record().steps_until(t);
                }
            }
            LanesAction::Branch(from) => self.branch(from),
        }
    }

    fn add_lane(&mut self, lane: Lane) {
        if self.lanes.len() == MAX_LANES {
            self.lanes.pop();
            self.records.pop();
        }
        self.lanes.push(lane);
        self.records.push(Record::default());
        self.rerun(self.lanes.len() - 1);
    }

    /// Restarts a lane without branches. A branch keeps the steps that it has in common with its parent.
    fn set_lane(&mut self, lane: usize, settings: Settings) {
        let segments = &mut self.lanes[lane].segments;
        let last = segments.len() - 1;
        segments[last].settings = settings;
        let past = self.records[lane].clone();
        self.rerun(lane);
        if last > 0 {
            self.inherit(lane, &past);
        }
    }

    fn branch(&mut self, from: Option<(usize, Settings)>) {
        let (lane, settings) = from.unwrap_or_else(|| {
            let lead = self.lead();
            let mut settings = self.lanes[lead].settings_at(self.t()).clone();
            settings.sampler = other_kind(&settings.sampler);
            (lead, settings)
        });
        let Some(parent) = self.lanes.get(lane) else {
            return;
        };
        let t = self.records[lane].t(self.position(lane));
        let branch = parent.branch(t, settings);
        let past = self.records[lane].clone();
        self.add_lane(branch);
        self.inherit(self.records.len() - 1, &past);
    }

    /// Lets a lane keep the steps that it has in common with `past`. With chosen steps, the ones after them become known, too.
    fn inherit(&mut self, lane: usize, past: &Record) {
        self.records[lane].inherit(past);
        self.check_budget(lane);
    }

    /// Restarts all lanes.
    pub(super) fn restart(&mut self) {
        self.records = vec![Record::default(); self.lanes.len()];
        for lane in 0..self.lanes.len() {
            self.rerun(lane);
        }
        self.playback.live = true;
    }

    /// Restarts one lane.
    pub(super) fn rerun(&mut self, lane: usize) {
        self.runs += 1;
        let mut record = Record {
            run: self.runs,
            ..Record::default()
        };
        if let Some(refusal) = self.network_refusal(lane) {
            record.failure = Some(refusal);
        } else if let Some(model) = self.model_of(lane) {
            match self.lanes[lane].steps(&model.transport) {
                Ok(steps) => {
                    record.settings = self.lanes[lane]
                        .segments
                        .iter()
                        .map(|s| s.settings.clone())
                        .collect();
                    record.steps = steps;
                }
                Err(error) => record.failure = Some(in_controls(&error)),
            }
        }
        self.records[lane] = record;
        self.check_budget(lane);
    }

    /// Ends a lane whose record would not fit in memory.
    pub(super) fn check_budget(&mut self, lane: usize) {
        let (record, Some(model)) = (&self.records[lane], self.model_of(lane)) else {
            return;
        };
        let n = record.steps.len();
        let guided = record.settings.iter().any(|s| s.guidance.scale != 1.0);
        let len = model.io.image_len();
        let bytes = Record::forecast(&record.steps, self.n_samples, len, guided);
        let budget = RECORD_BUDGET / self.lanes.len() as u64;
        if bytes > budget {
            self.records[lane].failure = Some(format!(
                "{n} steps of {} samples take {} MiB to record, {} MiB are there for a lane: take fewer samples or steps, or a larger \
                 tolerance",
                self.n_samples,
                bytes >> 20,
                budget >> 20
            ));
        } else if n > MAX_STEPS && !record.steps.is_whole() {
            self.records[lane].failure = Some(format!(
                "more than {MAX_STEPS} steps at t = {:.3}: take a larger tolerance",
                record.t(n)
            ));
        }
    }
}
