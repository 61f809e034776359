//! What the app shows and does, as plain values: no GPU, no window, no clock. Every change is an [`Action`].

mod action;
mod bytes;
mod cost;
mod data;
mod keys;
mod lane;
mod link;
mod model;
mod playback;
mod quantity;
mod record;
mod timeline;
mod tour;
mod training;
mod view;

pub use action::{Action, Choice, Export};
pub use bytes::Bytes;
pub use cost::{Curve, Measured, Point, REFERENCE_STEPS, RUNGS, Subject, height, priced, slope};
pub use data::{DEFAULT_SIZE, Files, FilesAction, Opened, Place, SIZES, Wanted};
pub use keys::{Shortcut, shortcuts};
pub use lane::{DEFAULT_STEPS, Lane, LaneStep, Noise, Segment, Settings, TIME_EPS, ode, sde};
pub use link::{Link, LinkError};
pub use model::{Classes, Model, Source};
pub use playback::{LONGEST_FRAME, Playback, SPEEDS};
pub use quantity::{Term, evaluation, terms, total};
pub use record::{Frame, Record};
pub use timeline::{
    CELLS_BUDGET, COLUMNS, Cell, Checkpoint, MAX_ROWS, Row, STRIDE, Start, Sweep, Timeline,
    TimelineAction, Weights, row_bytes,
};
pub use tour::{STOPS, Stop};
pub use training::{Learned, Status, TIME_BINS, TrainingView};
pub use view::{Layout, Quantity, Tab, View};

use sit_engine::transport::{Diffusion, Method, Sampler};

/// Most lanes side by side.
pub const MAX_LANES: usize = 4;

/// Most samples of a lane.
pub const MAX_SAMPLES: usize = 1024;

/// Most steps of a lane.
pub const MAX_STEPS: usize = 4096;

/// Bytes that all records together may take.
pub const RECORD_BUDGET: u64 = if cfg!(target_arch = "wasm32") {
    128 << 20
} else {
    512 << 20
};

/// All of it.
#[derive(Debug, Clone)]
pub struct State {
    /// The network asked for.
    pub source: Source,
    /// The network of the lanes, when it is ready.
    pub model: Option<Model>,
    /// Seed of the noise.
    pub seed: u64,
    /// Samples of each lane.
    pub n_samples: usize,
    /// Classes asked for.
    pub classes: Classes,
    /// The lanes, 1 to [`MAX_LANES`].
    pub lanes: Vec<Lane>,
    /// What was computed of each lane.
    pub records: Vec<Record>,
    /// The cursor.
    pub playback: Playback,
    /// What is looked at.
    pub view: View,
    /// The network that is trained.
    pub training: TrainingView,
    /// Training data from files.
    pub files: Files,
    /// Checkpoints of a run side by side.
    pub timeline: Timeline,
    /// What samplers were found to cost, those measured last at the end.
    pub cost: Vec<Curve>,
    /// Whether the sheet of shortcuts is open.
    pub help: bool,
    /// A picture to be kept, which the host takes.
    pub exported: Option<Export>,
    /// Files that the person wants to choose, which the host asks for.
    pub choice: Option<Choice>,
    /// A link to be put on the clipboard, which the host takes.
    pub copied: Option<String>,
    /// What the user is told, the oldest first.
    pub notices: Vec<String>,
    /// Runs and curves started so far; each has a number of its own, so that steps of one that was given up are told apart.
    runs: u64,
}

impl Default for State {
    /// ODE on the left, SDE on the right, from the same noise, on the embedded digits.
    fn default() -> Self {
        let sampler = sde(Method::Euler, Diffusion::default(), DEFAULT_STEPS);
        let noisy = Settings {
            sampler,
            ..Settings::default()
        };
        State {
            source: Source::Digits,
            model: None,
            seed: 0,
            n_samples: 64,
            classes: Classes::All,
            lanes: vec![Lane::new(Settings::default()), Lane::new(noisy)],
            records: vec![Record::default(), Record::default()],
            playback: Playback::default(),
            view: View::default(),
            training: TrainingView::default(),
            files: Files::default(),
            timeline: Timeline::default(),
            cost: Vec::new(),
            help: false,
            exported: None,
            choice: None,
            copied: None,
            notices: Vec::new(),
            runs: 0,
        }
    }
}

impl State {
    /// Does `action`. Nothing is refused in silence: what cannot be done becomes a notice.
    pub fn apply(&mut self, action: Action) {
        match action {
            Action::TogglePlay => self.toggle_play(),
            Action::StepForward => self.seek(self.playback.cursor + 1),
            Action::StepBack => self.seek(self.playback.cursor.saturating_sub(1)),
            Action::Home => self.seek(0),
            Action::End => self.seek(self.lead_record().frames.len()),
            Action::Seek(step) => self.seek(step),
            Action::SeekTime(t) => self.seek(self.lead_record().steps_until(t)),
            Action::ToggleLoop => self.playback.looping = !self.playback.looping,
            Action::Faster => self.playback.set_speed(2.0 * self.playback.speed),
            Action::Slower => self.playback.set_speed(0.5 * self.playback.speed),
            Action::SetSpeed(speed) => self.playback.set_speed(speed),
            Action::Tick(dt) => self.tick(dt),

            Action::NewNoise => self.apply(Action::SetSeed(self.seed.wrapping_add(1))),
            Action::SetSeed(seed) => {
                self.seed = seed;
                self.restart();
            }
            Action::SetSamples(n) => {
                self.n_samples = n.clamp(1, MAX_SAMPLES);
                self.restart();
            }
            Action::SetClasses(classes) => {
                self.classes = classes;
                self.restart();
            }
            Action::SetLane(lane, settings) => {
                if lane < self.lanes.len() {
                    self.set_lane(lane, settings);
                }
            }
            Action::AddLane => self.add_lane(self.lanes[self.lanes.len() - 1].clone()),
            Action::RemoveLane(lane) => {
                if self.lanes.len() > 1 && lane < self.lanes.len() {
                    let t = self.t();
                    self.lanes.remove(lane);
                    self.records.remove(lane);
                    self.playback.cursor = self.lead_record().steps_until(t);
                }
            }
            Action::Branch(from) => self.branch(from),

            Action::SetQuantity(quantity) => self.view.quantity = quantity,
            Action::NextView => {
                let all = Quantity::ALL;
                let at = all.iter().position(|q| *q == self.view.quantity);
                self.view.quantity = all[at.map_or(0, |at| (at + 1) % all.len())];
            }
            Action::SetLayout(layout) => self.view.layout = layout,
            Action::SetTab(tab) => self.view.tab = tab,
            Action::PickSample(sample) => {
                self.view.sample = sample.filter(|&i| i < self.n_samples);
            }
            Action::ToggleHelp => self.help = !self.help,
            Action::Export(export) => self.exported = Some(export),
            Action::CopyLink => self.copied = Some(self.link().encode()),
            Action::Restore(link) => self.restore(*link),
            Action::Notify(text) => self.notify(text),
            Action::Dismiss => {
                if !self.notices.is_empty() {
                    self.notices.remove(0);
                }
            }

            Action::TrainingStarted { name, shape, total } => {
                self.training = TrainingView::start(name, shape, total);
            }
            Action::TrainingPaused(paused) => {
                let status = &mut self.training.status;
                if matches!(status, Status::Running | Status::Paused) {
                    *status = if paused {
                        Status::Paused
                    } else {
                        Status::Running
                    };
                }
            }
            Action::Learned(learned) => self.training.learn(&learned),
            Action::Previewed { step, x } => self.training.preview = Some((step, x)),
            Action::Kept(bytes) => self.training.kept = Some(bytes),

            Action::Choose(choice) => self.choice = Some(choice),
            Action::Files(action) => {
                if matches!(action, FilesAction::Ask { .. }) {
                    self.view.tab = Tab::Train;
                }
                self.files.apply(action);
            }
            Action::Timeline(action) => {
                if matches!(action, TimelineAction::Open { .. }) {
                    self.view.tab = Tab::Timeline;
                }
                self.timeline.apply(action);
            }
            Action::Measure => self.measure(),
            Action::StopMeasuring => self.stop_measuring(),
            Action::Measured { curve, news } => self.measured(curve, news),

            Action::Load(source) => self.source = source,
            Action::ModelReady(model) => {
                self.source = model.source.clone();
                self.model = Some(*model);
                self.cost.clear();
                self.restart();
            }
            Action::Started { run, x } => {
                if let Some(record) = self.record_mut(run) {
                    record.start = x;
                }
            }
            Action::Stepped { run, frame } => {
                if let Some(record) = self.record_mut(run) {
                    record.frames.push(frame);
                }
            }
            Action::RunFailed { run, message } => {
                if let Some(record) = self.record_mut(run) {
                    record.failure = Some(message);
                }
            }
        }
        self.timeline.follow(Start {
            seed: self.seed,
            sample: self.view.sample.unwrap_or(0),
            classes: self.classes,
        });
    }

    /// The lane whose steps the cursor counts: the first that works.
    pub fn lead(&self) -> usize {
        let works = |r: &Record| r.failure.is_none() && !r.steps.is_empty();
        self.records.iter().position(works).unwrap_or(0)
    }

    fn lead_record(&self) -> &Record {
        &self.records[self.lead()]
    }

    /// Steps of the lead lane.
    pub fn n_steps(&self) -> usize {
        self.lead_record().steps.len()
    }

    /// Time of the state that is shown.
    pub fn t(&self) -> f64 {
        let record = self.lead_record();
        record.t(self.playback.cursor.min(record.steps.len()))
    }

    /// Steps of `lane` before the state that is shown: as far as the lead lane in time.
    pub fn position(&self, lane: usize) -> usize {
        if lane == self.lead() || self.playback.cursor == 0 {
            self.playback.cursor.min(self.records[lane].steps.len())
        } else {
            self.records[lane].steps_until(self.t())
        }
    }

    /// Steps of `lane` to compute now.
    pub fn target(&self, lane: usize) -> usize {
        let (lead, ahead) = (self.lead(), self.playback.ahead());
        let record = &self.records[lane];
        let ahead_of_lead = (self.playback.cursor + ahead).min(self.n_steps());
        let steps = if lane == lead {
            ahead_of_lead
        } else {
            // One more than the lead's time, for the evaluation at the state that is shown.
            record.steps_until(self.records[lead].t(ahead_of_lead)) + 1
        };
        steps.min(record.steps.len())
    }

    /// Whether all lanes can show the state that `cursor` steps of the lead lane lead to.
    pub fn is_shown(&self, cursor: usize) -> bool {
        let t = self.lead_record().t(cursor.min(self.n_steps()));
        self.records.iter().all(|record| {
            record.failure.is_some()
                || record.is_started() && record.frames.len() >= record.steps_until(t)
        })
    }

    /// What a link to this state carries.
    pub fn link(&self) -> Link {
        Link {
            version: Link::VERSION,
            source: self.source.clone(),
            seed: self.seed,
            n_samples: self.n_samples,
            classes: self.classes,
            lanes: self.lanes.clone(),
            cursor: self.playback.cursor,
            speed: self.playback.speed,
            view: self.view,
        }
    }

    /// Labels of the samples of a lane's segment.
    pub fn labels(&self, settings: &Settings) -> Vec<u32> {
        let classes = settings.class.map_or(self.classes, Classes::One);
        self.model
            .as_ref()
            .map_or_else(Vec::new, |m| classes.labels(&m.config, self.n_samples))
    }

    fn toggle_play(&mut self) {
        let playing = !self.playback.playing;
        if playing && self.playback.cursor >= self.n_steps() {
            self.playback.seek(0);
        }
        self.playback.playing = playing;
    }

    fn seek(&mut self, cursor: usize) {
        let head = self.lead_record().frames.len();
        self.playback.playing = false;
        self.playback.seek(cursor.min(self.n_steps()));
        self.playback.live = self.playback.cursor + 1 >= head;
    }

    fn tick(&mut self, dt: f64) {
        let mut playback = self.playback;
        playback.tick(dt, self.n_steps(), |n| self.is_shown(n));
        if playback.cursor < self.playback.cursor {
            playback.live = false;
        }
        self.playback = playback;
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

    /// A lane without branches starts again; of a branch what it has in common with its parent stays.
    fn set_lane(&mut self, lane: usize, settings: Settings) {
        let segments = &mut self.lanes[lane].segments;
        let last = segments.len() - 1;
        segments[last].settings = settings;
        let past = self.records[lane].clone();
        self.rerun(lane);
        if last > 0 {
            self.records[lane].inherit(&past);
        }
    }

    fn branch(&mut self, from: Option<(usize, Settings)>) {
        let (lane, settings) = from.unwrap_or_else(|| {
            let lead = self.lead();
            let mut settings = *self.lanes[lead].settings_at(self.t());
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
        let at = self.records.len() - 1;
        self.records[at].inherit(&past);
    }

    fn restore(&mut self, link: Link) {
        let Link {
            version: _,
            source,
            seed,
            n_samples,
            classes,
            lanes,
            cursor,
            speed,
            view,
        } = link;
        self.records = vec![Record::default(); lanes.len()];
        (self.seed, self.n_samples, self.classes) = (seed, n_samples, classes);
        (self.lanes, self.view) = (lanes, view);
        if source != self.source {
            (self.source, self.model) = (source, None);
        }
        self.restart();
        self.playback.set_speed(speed);
        self.playback.playing = false;
        self.playback.seek(cursor);
    }

    fn notify(&mut self, text: String) {
        if !self.notices.contains(&text) {
            self.notices.push(text);
        }
    }

    /// All lanes from their start.
    fn restart(&mut self) {
        self.records = vec![Record::default(); self.lanes.len()];
        for lane in 0..self.lanes.len() {
            self.rerun(lane);
        }
        self.playback.live = true;
    }

    /// One lane from its start.
    fn rerun(&mut self, lane: usize) {
        self.runs += 1;
        let mut record = Record {
            run: self.runs,
            ..Record::default()
        };
        if let Some(model) = &self.model {
            match self.lanes[lane].steps(&model.transport) {
                Ok(steps) => {
                    record.settings = self.lanes[lane]
                        .segments
                        .iter()
                        .map(|s| s.settings)
                        .collect();
                    record.steps = steps;
                    record.failure = self.over_budget(&record, model);
                }
                Err(error) => record.failure = Some(in_controls(&error)),
            }
        }
        self.records[lane] = record;
    }

    /// Why the records would not fit, if so.
    fn over_budget(&self, record: &Record, model: &Model) -> Option<String> {
        let guided = record.settings.iter().any(|s| s.guidance.scale != 1.0);
        let len = model.config.image_len();
        let bytes = Record::forecast(&record.steps, self.n_samples, len, guided);
        let budget = RECORD_BUDGET / self.lanes.len() as u64;
        (bytes > budget).then(|| {
            format!(
                "{} steps of {} samples take {} MiB to record, {} MiB are there for a lane: take fewer samples or steps",
                record.steps.len(),
                self.n_samples,
                bytes >> 20,
                budget >> 20
            )
        })
    }

    fn record_mut(&mut self, run: u64) -> Option<&mut Record> {
        self.records.iter_mut().find(|r| r.run == run)
    }
}

/// An SDE with the ODE's steps, or the reverse.
pub fn other_kind(sampler: &Sampler) -> Sampler {
    match *sampler {
        Sampler::Ode { method, n_steps } => sde(method, Diffusion::default(), n_steps),
        Sampler::Sde {
            method, n_steps, ..
        } => ode(method, n_steps + 1),
    }
}

#[cfg(test)]
mod tests;
