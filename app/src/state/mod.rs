//! What the app shows and does, as plain values: no GPU, no window, no clock. Every change is an [`Action`].

mod action;
mod address;
mod bytes;
mod caption;
mod command;
mod cost;
mod data;
mod decoded;
mod keys;
mod kind;
mod lane;
mod lanes;
mod link;
mod model;
mod networks;
mod playback;
mod quantity;
mod record;
mod schedule;
mod second;
mod stops;
mod timeline;
mod tour;
mod training;
mod view;

pub use action::{Action, Choice, Copied, Export};
pub use address::LinkError;
pub use bytes::Bytes;
pub use caption::{caption, diffusion, equation, title};
pub use cost::{
    CostAction, Curve, Measured, Point, REFERENCE_STEPS, RUNGS, Subject, height, price, slope,
};
pub use data::{DEFAULT_SIZE, Files, FilesAction, Opened, Place, SIZES, Wanted};
pub use decoded::{Autoencoder, Decoded, Decoding, DecodingAction, FILM_SAMPLES, Latents, Moment};
pub use keys::{Shortcut, shortcuts};
pub use kind::{Kind, of_kind, other_kind};
pub use lane::{DEFAULT_STEPS, Lane, Noise, Segment, Settings, TIME_EPS, ode, sde};
pub use lanes::LanesAction;
pub use link::Link;
pub use model::{Classes, Model, Source};
pub use networks::needs;
pub use playback::{LONGEST_FRAME, Playback, PlaybackAction, SPEEDS};
pub use quantity::{Term, evaluation, terms, total};
pub use record::{Frame, LogDensity, RECORD_BUDGET, Record, RunAction, Verdict};
pub use schedule::{LaneStep, Open, Schedule};
pub use second::Second;
pub use stops::Stop;
pub use timeline::{
    CELLS_BUDGET, COLUMNS, Cell, Checkpoint, MAX_ROWS, Row, STRIDE, Start, Sweep, Timeline,
    TimelineAction, Weights, row_bytes,
};
pub use tour::{Tour, TourAction};
pub use training::{Learned, Status, TIME_BINS, TrainingAction, TrainingView};
pub use view::{Layout, Quantity, Tab, View, ViewAction};

use sit_engine::transport::{Diffusion, SdeMethod};

/// Most lanes side by side.
pub const MAX_LANES: usize = 4;

/// Most samples of a lane.
pub const MAX_SAMPLES: usize = 1024;

/// Most steps of a lane.
pub const MAX_STEPS: usize = 4096;

/// All of it.
#[derive(Debug, Clone)]
pub struct State {
    /// The network asked for.
    pub source: Source,
    /// The network of the lanes, when it is ready.
    pub model: Option<Model>,
    /// The networks that are open, which lanes may take.
    pub networks: Vec<Model>,
    /// The classifier that judges the lanes' samples, if one was opened.
    pub judge: Option<Model>,
    /// The autoencoder that decodes latents, if one was opened, and what it has decoded.
    pub decoding: Decoding,
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
    /// A second batch of the lane that is compared with the lead.
    pub second: Option<Second>,
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
    /// Whether the likelihood of the lanes' finished samples is measured.
    pub weighing: bool,
    /// The tour.
    pub tour: Tour,
    /// Whether the lanes have the whole window, in larger type.
    pub presenting: bool,
    /// Whether the page is being recorded.
    pub recording: bool,
    /// Whether the sheet of shortcuts is open.
    pub help: bool,
    /// A picture to be saved, which the host takes.
    pub exported: Option<Export>,
    /// The name of a file that is being made, and the share that is done.
    pub saving: Option<(String, f32)>,
    /// Which files the user wants to choose; the host shows the dialog.
    pub choice: Option<Choice>,
    /// What is for the clipboard, which the host takes.
    pub copied: Option<Copied>,
    /// Messages to the user, the oldest first.
    pub notices: Vec<String>,
    /// Runs and curves started so far. Each has its own number, so that results of an abandoned one are recognized.
    runs: u64,
}

impl Default for State {
    /// ODE on the left, SDE on the right, from the same noise, on the embedded digits.
    fn default() -> Self {
        State {
            tour: Tour::default(),
            ..State::without_tour()
        }
    }
}

impl State {
    /// The state at first, with a tour that has no stops.
    fn without_tour() -> Self {
        let sampler = sde(SdeMethod::Euler, Diffusion::default(), DEFAULT_STEPS);
        let noisy = Settings {
            sampler,
            ..Settings::default()
        };
        State {
            source: Source::Digits,
            model: None,
            networks: Vec::new(),
            judge: None,
            decoding: Decoding::default(),
            seed: 0,
            n_samples: 64,
            classes: Classes::All,
            lanes: vec![Lane::new(Settings::default()), Lane::new(noisy)],
            records: vec![Record::default(), Record::default()],
            second: None,
            playback: Playback::default(),
            view: View::default(),
            training: TrainingView::default(),
            files: Files::default(),
            timeline: Timeline::default(),
            cost: Vec::new(),
            weighing: false,
            tour: Tour::empty(),
            presenting: false,
            recording: false,
            help: false,
            exported: None,
            saving: None,
            choice: None,
            copied: None,
            notices: Vec::new(),
            runs: 0,
        }
    }

    /// Does `action`. Nothing is refused in silence: what cannot be done becomes a notice.
    pub fn apply(&mut self, action: impl Into<Action>) {
        match action.into() {
            Action::Playback(action) => self.play(action),
            Action::Lanes(action) => self.change_lanes(action),
            Action::View(action) => self.look(action),
            Action::Training(action) => self.training.apply(action),
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
            Action::Tour(action) => self.tour(action),
            Action::Cost(action) => self.price(action),
            Action::Run(action) => self.record(action),
            Action::Decoding(action) => self.decode(action),
            Action::Export(export) => self.exported = Some(export),
            Action::Choose(choice) => self.choice = Some(choice),
            Action::CopyLink => self.copied = Some(Copied::Link(self.link().encode())),
            Action::CopyCommand(lane) => match self.command(lane) {
                Ok(command) => self.copied = Some(Copied::Text(command)),
                Err(why) => self.apply(Action::Notify(why)),
            },
            Action::Restore(link) => self.restore(*link),
            Action::Notify(text) => self.notify(text),
            Action::Dismiss(at) => {
                if at < self.notices.len() {
                    self.notices.remove(at);
                }
            }
            Action::Load(source) => self.source = source,
            Action::NetworkReady(model) => self.network_ready(*model),
            Action::JudgeReady(model) => {
                self.judge = Some(*model);
                for record in &mut self.records {
                    record.verdict = None;
                }
            }
            Action::ModelReady(model) => {
                self.source = model.source.clone();
                self.open_network(Model::clone(&model));
                self.model = Some(*model);
                self.cost.clear();
                self.restart();
            }
        }
        self.follow_pair();
        self.timeline.follow(Start {
            seed: self.seed,
            sample: self.view.sample.unwrap_or(0),
            classes: self.classes,
        });
    }

    /// Shows a message. What happens again is news again.
    fn notify(&mut self, text: String) {
        self.notices.retain(|notice| *notice != text);
        self.notices.push(text);
    }

    /// The lane whose steps the cursor counts: the first that works.
    pub fn lead(&self) -> usize {
        self.records.iter().position(Record::works).unwrap_or(0)
    }

    /// What was computed of it.
    pub fn lead_record(&self) -> &Record {
        &self.records[self.lead()]
    }

    /// Steps of the lead lane. Where further ones will be chosen, the cursor is not at the end.
    pub fn n_steps(&self) -> usize {
        let steps = &self.lead_record().steps;
        match steps.is_whole() {
            true => steps.len(),
            false => steps.len().max(self.playback.cursor) + 1,
        }
    }

    /// Time of the state that is shown.
    pub fn t(&self) -> f64 {
        let record = self.lead_record();
        record.t(self.playback.cursor.min(record.steps.len()))
    }

    /// Steps of `lane` until the time of the state that is shown.
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
        let ahead_of_lead = self.playback.cursor + ahead;
        let steps = if lane == lead {
            ahead_of_lead
        } else {
            let known = ahead_of_lead.min(self.records[lead].steps.len());
            // One more, for the evaluation at the state that is shown.
            record.steps_until(self.records[lead].t(known)) + 1
        };
        match record.steps.is_whole() {
            true => steps.min(record.steps.len()),
            false => steps,
        }
    }

    /// Whether all lanes can show the state that `cursor` steps of the lead lane lead to.
    pub fn is_shown(&self, cursor: usize) -> bool {
        let (lead, cursor) = (self.lead(), cursor.min(self.n_steps()));
        let known = self.records[lead].steps.len();
        let t = self.records[lead].t(cursor.min(known));
        self.records.iter().enumerate().all(|(lane, record)| {
            // Several steps of the lead lane may end at one time.
            let due = match lane == lead {
                true => cursor,
                false => record.steps_until(t),
            };
            let is_done = record.is_started() && record.frames.len() >= due;
            record.failure.is_some() || is_done && (lane == lead || record.reaches(t))
        })
    }

    /// Labels of the samples of a lane's segment.
    pub fn labels(&self, settings: &Settings) -> Vec<u32> {
        let classes = settings.class.map_or(self.classes, Classes::One);
        self.model
            .as_ref()
            .map_or_else(Vec::new, |m| classes.labels(m.io.n_classes, self.n_samples))
    }
}

#[cfg(test)]
mod tests;
