//! A second batch of one lane, from noise of its own: the test of two lanes needs samples that share no noise.

use super::{Frame, Record, RunAction, State};
use std::sync::Arc;

/// The most bytes of a second batch, of which the states alone are kept.
const BUDGET: u64 = super::RECORD_BUDGET / 8;

/// The samples that follow those of a lane: the same settings and classes, and other noise.
#[derive(Debug, Clone)]
pub struct Second {
    /// The run that it repeats.
    pub of: u64,
    /// What was computed of it: of each step the state alone.
    pub record: Record,
}

impl State {
    /// The two lanes that are compared, the lead and the next that works; `None` without a second one.
    pub fn pair(&self) -> Option<[usize; 2]> {
        let lead = self.lead();
        let works = |lane: &usize| self.records[*lane].failure.is_none();
        let next = (lead + 1..self.lanes.len()).find(works)?;
        Some([lead, next])
    }

    /// The second batch, if it is that of this lane as it is now.
    pub fn second_of(&self, lane: usize) -> Option<&Second> {
        let run = self.records[lane].run;
        self.second.as_ref().filter(|second| second.of == run)
    }

    /// Begins a second batch of the lane that is compared with the lead, if there is none yet.
    pub(super) fn follow_pair(&mut self) {
        let Some([_, lane]) = self.pair() else {
            self.second = None;
            return;
        };
        let (record, Some(model)) = (&self.records[lane], self.model_of(lane)) else {
            return;
        };
        if self.second_of(lane).is_some() {
            return;
        }
        let bytes = 4 * (record.steps.len() * self.n_samples * model.io.image_len()) as u64;
        self.second = (record.works() && bytes <= BUDGET).then(|| Second {
            of: record.run,
            record: Record {
                run: self.runs + 1,
                settings: record.settings.clone(),
                // An adaptive solver chooses its steps for the samples that it has.
                steps: self.lanes[lane].steps(&model.transport).unwrap_or_default(),
                ..Record::default()
            },
        });
        self.runs += u64::from(self.second.is_some());
    }

    /// Stores a result of the second batch. Whether it was one.
    pub(super) fn record_second(&mut self, action: &RunAction) -> bool {
        let Some(Second { record, .. }) = &mut self.second else {
            return false;
        };
        match action {
            RunAction::Started { run, x } if *run == record.run => record.start = Arc::clone(x),
            RunAction::Stepped { run, step, frame } if *run == record.run => {
                if record.frames.len() == record.steps.len() {
                    record.steps.choose(**step);
                }
                record.frames.push(Frame {
                    cond: Arc::default(),
                    uncond: None,
                    noise: None,
                    ..frame.clone()
                });
            }
            RunAction::Failed { run, message } if *run == record.run => {
                record.failure = Some(message.clone());
            }
            _ => return false,
        }
        true
    }

    /// Steps of the second batch to compute when the lanes have done theirs: those that are shown of its lane.
    pub fn second_target(&self) -> Option<(u64, usize)> {
        let [_, lane] = self.pair()?;
        let second = self.second_of(lane)?;
        let record = &second.record;
        if record.failure.is_some() {
            return None;
        }
        let steps = match record.steps.is_whole() {
            true => self.position(lane),
            // Its own steps may be others.
            false => record.steps_until(self.t()) + usize::from(!record.reaches(self.t())),
        };
        Some((record.run, steps))
    }
}
