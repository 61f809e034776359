//! Recorded results: every step of every lane, within a memory budget, so that moving the cursor recomputes nothing.

use super::{LaneStep, Schedule, Settings, State, TIME_EPS};
use sit_engine::transport::{Path, Transport};
use std::sync::Arc;

/// Bytes that all records together may take.
pub const RECORD_BUDGET: u64 = if cfg!(target_arch = "wasm32") {
    256 << 20
} else {
    512 << 20
};

/// One step of a lane as it was computed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frame {
    /// The state after the step, `[N, C, I, I]`.
    pub x: Arc<[f32]>,
    /// The network's output for the classes at the state and time before the step, `[N, C, I, I]`. Adaptive Heun goes on with the
    /// one at the state that Heun's predictor reached.
    pub cond: Arc<[f32]>,
    /// The same for the null class, where it was evaluated: where guidance was active, and by an adaptive solver with guidance always.
    pub uncond: Option<Arc<[f32]>>,
    /// The normal numbers that the step added, if any, `[N, C, I, I]`.
    pub noise: Option<Arc<[f32]>>,
    /// Time the step took, in milliseconds.
    pub ms: f64,
    /// Where the attempts would have ended that an adaptive solver rejected before this step.
    pub rejected: Vec<f64>,
}

impl Frame {
    /// Bytes it holds.
    pub fn bytes(&self) -> u64 {
        let part = |p: &Option<Arc<[f32]>>| p.as_ref().map_or(0, |p| p.len());
        4 * (self.x.len() + self.cond.len() + part(&self.uncond) + part(&self.noise)) as u64
    }
}

/// A lane's steps so far.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The run's number, which results refer to.
    pub run: u64,
    /// Settings of the lane's segments.
    pub settings: Vec<Settings>,
    /// Its steps.
    pub steps: Schedule,
    /// The noise it starts from; empty before the job has drawn it.
    pub start: Arc<[f32]>,
    /// The steps done.
    pub frames: Vec<Frame>,
    /// Why it stopped, if it did.
    pub failure: Option<String>,
    /// What the judge says of its samples, once they are made.
    pub verdict: Option<Verdict>,
    /// The likelihood of its finished samples, once it is measured.
    pub density: Option<LogDensity>,
}

/// The likelihood of a lane's finished samples by its network, without guidance.
#[derive(Debug, Clone, PartialEq)]
pub enum LogDensity {
    /// The share that is done.
    Share(f64),
    /// The mean of log p over the samples.
    Mean {
        /// In nats.
        nats: f64,
        /// Its standard error; `None` of a single sample.
        error: Option<f64>,
        /// In nats by value of a sample.
        per_value: f64,
    },
    /// Why it has none.
    Refused(String),
}

/// What a classifier says of a lane's samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// So many of them have the class that was asked for.
    Agreement {
        /// Those that have it.
        right: usize,
        /// All of them.
        of: usize,
    },
    /// They were asked for without a class.
    NoClass,
    /// The classifier reads images of another size, or knows other classes.
    Other,
    /// The device failed.
    Failed,
}

impl Record {
    /// Whether it has steps, and can do them.
    pub fn works(&self) -> bool {
        self.failure.is_none() && (!self.steps.is_empty() || !self.steps.is_whole())
    }

    /// Whether there is a state to show.
    pub fn is_started(&self) -> bool {
        !self.start.is_empty()
    }

    /// The state after `n` steps, if it was computed.
    pub fn state(&self, n: usize) -> Option<&Arc<[f32]>> {
        match n {
            0 => self.is_started().then_some(&self.start),
            _ => self.frames.get(n - 1).map(|frame| &frame.x),
        }
    }

    /// Time of the state after `n` steps.
    pub fn t(&self, n: usize) -> f64 {
        match n {
            0 => self.steps.start(),
            _ => self.steps[n - 1].step.t_next,
        }
    }

    /// The path of the state after `n` steps, and its time on it. It is that of the model unless the sampler has its own.
    pub fn place(&self, n: usize, transport: &Transport) -> (Path, f64) {
        let next = self.steps.get(n).map(|step| step.segment);
        let open = self.steps.open().map(|open| open.segment);
        let last = self.steps.last().map(|step| step.segment);
        match next.or(open).or(last).and_then(|k| self.settings.get(k)) {
            Some(settings) => transport.place_of(&settings.sampler, self.t(n)),
            None => (transport.path.clone(), self.t(n)),
        }
    }

    /// Number of steps before time `t`, whether done or not.
    pub fn steps_until(&self, t: f64) -> usize {
        self.steps
            .iter()
            .take_while(|s| s.step.t_next <= t + TIME_EPS)
            .count()
    }

    /// Whether all its steps are done.
    pub fn is_whole(&self) -> bool {
        self.steps.is_whole() && self.frames.len() == self.steps.len()
    }

    /// Whether no further steps can be chosen that end until time `t`.
    pub fn reaches(&self, t: f64) -> bool {
        let last = self.steps.last();
        self.steps.is_whole() || last.is_some_and(|last| last.step.t_next > t + TIME_EPS)
    }

    /// Copies the steps that `past` has computed in the same way.
    pub fn inherit(&mut self, past: &Record) {
        let same = |this: &Record, k: usize| {
            let (new, old) = (&this.steps[k], &past.steps[k]);
            let settings = |r: &Record, s: &LaneStep| Settings {
                sampler: super::ode(sit_engine::transport::Method::Euler, 1),
                ..r.settings[s.segment].clone()
            };
            new.step == old.step && settings(this, new) == settings(past, old)
        };
        let mut n = 0;
        while n < past.frames.len() {
            if n == self.steps.len() && !self.inherit_chosen(past) {
                break;
            }
            if !same(self, n) {
                break;
            }
            n += 1;
        }
        // A method of several steps goes on only with what it kept, which is not recorded: it begins its segment again.
        while n > 0 && self.keeps_history(n) {
            n -= 1;
        }
        self.start = Arc::clone(&past.start);
        self.frames = past.frames[..n].to_vec();
    }

    /// Takes over the steps of the open segment, if `past` has chosen all of them in the same way. A part of them is not enough: the
    /// solver goes on only with what it kept, which is not recorded.
    fn inherit_chosen(&mut self, past: &Record) -> bool {
        let Some(open) = self.steps.open() else {
            return false;
        };
        let is_end = |t: f64| (t - open.times[1]).abs() < TIME_EPS;
        let chosen = &past.steps[self.steps.len()..past.frames.len()];
        let chosen = chosen.iter().take_while(|s| s.segment == open.segment);
        let chosen: Vec<LaneStep> = chosen.copied().collect();
        let last = chosen.iter().position(|s| is_end(s.step.t_next));
        let of = |r: &Record| r.settings.get(open.segment).cloned();
        let Some(last) = last.filter(|_| of(self) == of(past)) else {
            return false;
        };
        for step in &chosen[..=last] {
            self.steps.choose(*step);
        }
        true
    }

    /// Whether step `n` reads what earlier steps of its segment kept.
    fn keeps_history(&self, n: usize) -> bool {
        let Some(next) = self.steps.get(n) else {
            return false;
        };
        next.step.form().n_history > 0 && self.steps[n - 1].segment == next.segment
    }

    /// Network evaluations of the first `n` steps; one with guidance counts twice.
    pub fn nfe(&self, n: usize) -> usize {
        let steps = self.steps.iter().zip(&self.frames).take(n);
        steps
            .map(|(step, frame)| step.nfe * (1 + usize::from(frame.uncond.is_some())))
            .sum()
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> u64 {
        4 * self.start.len() as u64 + self.frames.iter().map(Frame::bytes).sum::<u64>()
    }

    /// Bytes it will hold when all steps are done, for `n` samples of `len` numbers.
    pub fn forecast(steps: &[LaneStep], n: usize, len: usize, guided: bool) -> u64 {
        let noisy = steps.iter().filter(|s| s.noise() != 0.0).count();
        let arrays = 1 + steps.len() * (2 + usize::from(guided)) + noisy;
        4 * (arrays * n * len) as u64
    }
}

/// Results of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunAction {
    /// The initial noise of a run.
    Started {
        /// The run.
        run: u64,
        /// `[N, C, I, I]`
        x: Arc<[f32]>,
    },
    /// A step of a run was computed.
    Stepped {
        /// The run.
        run: u64,
        /// The step.
        step: Box<LaneStep>,
        /// What it gave.
        frame: Frame,
    },
    /// A run cannot go on.
    Failed {
        /// The run.
        run: u64,
        /// Why.
        message: String,
    },
    /// The judge has seen the samples of a run.
    Judged {
        /// The run.
        run: u64,
        /// What it says.
        verdict: Verdict,
    },
    /// The likelihood of a run's samples.
    Weighed {
        /// The run.
        run: u64,
        /// How far it is.
        density: LogDensity,
    },
}

impl State {
    /// Stores a result of a run; results of an abandoned run are ignored.
    pub(super) fn record(&mut self, action: RunAction) {
        if self.record_second(&action) {
            return;
        }
        let (RunAction::Started { run, .. }
        | RunAction::Stepped { run, .. }
        | RunAction::Failed { run, .. }
        | RunAction::Judged { run, .. }
        | RunAction::Weighed { run, .. }) = action;
        let Some(lane) = self.records.iter().position(|r| r.run == run) else {
            return;
        };
        let (lead, t) = (self.lead(), self.t());
        let record = &mut self.records[lane];
        match action {
            RunAction::Started { x, .. } => record.start = x,
            RunAction::Stepped { step, frame, .. } => {
                let is_new = record.frames.len() == record.steps.len();
                record.frames.push(frame);
                if is_new {
                    record.steps.choose(*step);
                    self.check_budget(lane);
                }
            }
            RunAction::Failed { message, .. } => record.failure = Some(message),
            RunAction::Judged { verdict, .. } => record.verdict = Some(verdict),
            RunAction::Weighed { density, .. } => record.density = Some(density),
        }
        // The cursor counts steps of the lead lane.
        if self.lead() != lead {
            self.playback.cursor = self.lead_record().steps_until(t);
        }
        self.seek_on();
    }
}
