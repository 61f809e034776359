//! The program to watch SiT sample: the ODE beside the SDE, step by step.
//!
//! The program is the same on the desktop and in the browser. A host ([`host`] has what they share) opens a window or a page and
//! passes [`App`] what only it knows, as a [`Start`]. The state is a [`state::State`] that changes only by [`state::Action`]s:
//! panels and keys ask for them, and background work ([`job`]) answers with them.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod arrivals;
mod device;
mod drops;
mod errors;
mod examine;
mod export;
mod files;
mod findings;
pub mod host;
pub mod job;
mod loader;
mod look;
mod measure;
mod panels;
#[cfg(target_arch = "wasm32")]
mod record;
mod redraw;
mod saving;
pub mod source;
pub mod state;
pub mod stats;
pub mod train;
pub mod twins;
pub mod view;
mod words;

use arrivals::Arrivals;
use examine::Card;
use findings::Findings;
use job::{Job, Pace, Request};
use redraw::Redraw;
use saving::Saving;
use sit_engine::backend::Device;
use source::Origin;
use state::{
    Action, Copied, LONGEST_FRAME, Link, PlaybackAction, RECORD_BUDGET, Source, State, Status,
    shortcuts,
};
use std::sync::Arc;
use train::{Data, Form};
use twins::Twins;
use view::{Painter, Pictures};

/// What a host knows when the program starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The state to restore, as a link carries it after its `#`.
    pub link: Option<String>,
    /// The user asked the system for reduced motion: nothing moves until the user starts it.
    pub reduced_motion: bool,
    /// Prefix of a copied link: the page's address and `#`. Empty on the desktop.
    pub address: String,
    /// Files and folders to open, as if they were dropped together.
    #[cfg(not(target_arch = "wasm32"))]
    pub open: Vec<std::path::PathBuf>,
    /// A first message to the user, if any.
    pub notice: Option<String>,
    /// Measure for this long from the start of the program, and then measure the speed for most of a minute. The desktop prints the
    /// figures and ends the program; a page shows them.
    pub measure: Option<(web_time::Instant, web_time::Duration)>,
}

/// The program.
pub struct App {
    state: State,
    job: Job,
    device: String,
    /// Whether the CPU is the device; it also draws the frames.
    on_cpu: bool,
    redraw: Redraw,
    /// Prefix of a copied link.
    address: String,
    pictures: Pictures,
    findings: Findings,
    arrivals: Arrivals,
    saving: Saving,
    /// The form of the training.
    form: Form,
    /// The network last requested from the job.
    asked: Option<Source>,
    /// The network of the session that the page fetches.
    #[cfg(target_arch = "wasm32")]
    fetched: Option<Source>,
    /// The networks last requested for lanes.
    asked_of_lanes: Vec<Source>,
    /// Number of the last reading of training data.
    read: u64,
    /// The training and the step that the lanes show, if they follow it.
    followed: (u64, u64),
    measure: Option<measure::Measure>,
}

impl App {
    /// The program as it is when its window opens.
    ///
    /// # Errors
    /// When the system refuses a thread for the work.
    pub fn new(cc: &eframe::CreationContext<'_>, start: Start) -> std::io::Result<Self> {
        Self::on(device::device(cc), cc, start)
    }

    /// The program with its work on `device`: the CPU, or the GPU that draws the window.
    fn on(device: Device, cc: &eframe::CreationContext<'_>, start: Start) -> std::io::Result<Self> {
        look::set(&cc.egui_ctx);
        if start.reduced_motion {
            look::still(&cc.egui_ctx);
        }
        let mut state = State::default();
        state.playback.playing = !start.reduced_motion;
        if let Some(text) = &start.link {
            state.apply(match Link::decode(text) {
                Ok(link) => Action::Restore(Box::new(link)),
                Err(error) => Action::Notify(error.to_string()),
            });
        }
        if let Some(text) = start.notice {
            state.apply(Action::Notify(text));
        }
        let (name, max_segment_bytes) = (device::name(&device, cc), device.max_segment_bytes());
        let on_cpu = matches!(device, Device::Cpu);
        let measure = start
            .measure
            .map(|(begin, time)| measure::Measure::new(begin, time, device.clone()));
        let by_software = device::draws_by_software(cc);
        let redraw = Redraw::new(cc.egui_ctx.clone(), by_software);
        let twins = match &device {
            Device::Cpu => None,
            // No recorded array has more than one.
            Device::Gpu(gpu) => Some(Twins::new(gpu.clone(), RECORD_BUDGET)),
        };
        let render = cc.wgpu_render_state.as_ref().zip(twins.clone());
        let painter = render.map(|(render, twins)| Painter::new(render, twins));
        #[cfg(not(target_arch = "wasm32"))]
        let pace = Pace::thread(twins.is_some());
        #[cfg(target_arch = "wasm32")]
        let pace = Pace::window(by_software)?;
        let news = redraw.clone();
        let job = Job::spawn(device, twins, pace, Arc::new(move || news.news()))?;
        let mut app = App {
            state,
            job,
            device: name,
            on_cpu,
            redraw,
            address: start.address,
            arrivals: Arrivals::new(max_segment_bytes),
            saving: Saving::default(),
            pictures: Pictures::new(painter),
            findings: Findings::default(),
            form: Form::default(),
            asked: None,
            #[cfg(target_arch = "wasm32")]
            fetched: None,
            asked_of_lanes: Vec::new(),
            read: 0,
            followed: (0, 0),
            measure,
        };
        #[cfg(not(target_arch = "wasm32"))]
        app.arrivals.open(start.open);
        // Load before the first frame, so that this frame can start the lanes.
        app.load();
        Ok(app)
    }

    /// What is shown.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What computes, in words.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// What the file that was dropped last is.
    pub fn card(&self) -> Option<&Card> {
        self.arrivals.card()
    }

    /// The text of a link to what is shown.
    pub fn link(&self) -> String {
        self.state.link().encode()
    }

    /// Does something as if it was asked for in the window.
    pub fn apply(&mut self, action: impl Into<Action>) {
        self.state.apply(action);
    }

    /// Reports the figures when they are ready.
    fn measure(&mut self, ctx: &egui::Context, frame: &eframe::Frame) {
        let Some(measure) = &mut self.measure else {
            return;
        };
        let took = frame.info().cpu_usage.unwrap_or(0.0);
        let took = web_time::Duration::from_secs_f32(took);
        let text = match measure.frame(ctx, &mut self.state, took) {
            Ok(None) => return,
            Ok(Some(figures)) => figures.to_json(&self.device),
            Err(error) => error.to_string(),
        };
        self.measure = None;
        #[cfg(target_arch = "wasm32")]
        self.state.apply(Action::Notify(text));
        #[cfg(not(target_arch = "wasm32"))]
        {
            println!("{text}");
            ctx.send_viewport_cmd(egui::ViewportCommand::Close);
        }
    }

    /// Lets the lanes show the network in training, when there is a new preview and they have done the last one.
    fn follow(&mut self) {
        let Some((step, _)) = self.state.training.preview.as_ref() else {
            return;
        };
        let is_new = self.followed != (self.state.training.number, *step);
        let state = &self.state;
        let is_idle = |lane: usize| {
            let record = &state.records[lane];
            record.failure.is_some() || record.frames.len() >= state.target(lane)
        };
        if self.form.follow && is_new && (0..state.lanes.len()).all(is_idle) {
            self.followed = (self.state.training.number, *step);
            self.job.ask(Request::UseTrained);
        }
    }

    /// Reads the training data that the state wants, if it is not what was read last.
    fn read(&mut self) {
        let Some(wanted) = &self.state.files.wanted else {
            return;
        };
        if self.read != wanted.number {
            self.read = wanted.number;
            self.form.data = Data::Files;
            if self.state.files.ready().is_none() {
                loader::read(wanted.clone(), self.job.answers());
            }
        }
    }

    /// The networks that lanes want and that the program has itself, unless they were asked for last.
    fn load_of_lanes(&mut self) {
        let missing: Vec<Source> = self.state.missing_networks().cloned().collect();
        if missing == self.asked_of_lanes {
            return;
        }
        for source in &missing {
            // What the program does not have is named by the lane.
            match source::open(source) {
                #[cfg(target_arch = "wasm32")]
                Ok(Origin::Page(file)) => {
                    saving::fetch(&self.job, file, source.clone(), |opened| {
                        Request::OfLane(Box::new(Origin::Network(opened)))
                    })
                }
                Ok(origin) => self.job.ask(Request::OfLane(Box::new(origin))),
                Err(_) => {}
            }
        }
        self.asked_of_lanes = missing;
    }

    /// The network that the state wants, if it is not the one that was asked for last.
    fn load(&mut self) {
        self.load_of_lanes();
        let wanted = &self.state.source;
        if self
            .state
            .model
            .as_ref()
            .is_some_and(|m| m.source == *wanted)
        {
            self.asked = Some(wanted.clone());
        }
        #[cfg(target_arch = "wasm32")]
        if self.fetched.as_ref() == Some(wanted)
            && self.state.networks.iter().any(|m| m.source == *wanted)
        {
            (self.fetched, self.asked) = (None, None);
        }
        if self.asked.as_ref() == Some(wanted) {
            return;
        }
        self.asked = Some(wanted.clone());
        if self
            .state
            .networks
            .iter()
            .any(|model| model.source == *wanted)
        {
            self.job.ask(Request::Use(wanted.clone()));
            return;
        }
        match source::open(wanted) {
            Ok(Origin::Network((model, weights))) => self.job.ask(Request::Network {
                model: Box::new(model),
                weights,
            }),
            #[cfg(target_arch = "wasm32")]
            Ok(Origin::Page(file)) => {
                // It is opened when it has come, and used if it is still wanted then.
                self.fetched = Some(wanted.clone());
                saving::fetch(&self.job, file, wanted.clone(), |opened| {
                    Request::OfLane(Box::new(Origin::Network(opened)))
                });
            }
            Ok(Origin::Exact(model, mixture)) => self.job.ask(Request::Exact {
                model: Box::new(model),
                mixture,
            }),
            Err(message) => self.state.apply(Action::Notify(message)),
        }
    }
}

impl eframe::App for App {
    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        look::background(visuals).to_normalized_gamma_f32()
    }

    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        let ctx = ui.ctx().clone();
        self.job.take(&mut self.state);
        self.measure(&ctx, frame);
        self.arrivals.take(&ctx, &mut self.state, &self.job);
        self.read();
        self.follow();
        #[cfg(target_arch = "wasm32")]
        self.saving.record(&mut self.state, &self.job);
        let mut actions = keys(&ctx);
        let dt = ctx.input(|input| f64::from(input.unstable_dt));
        actions.push(PlaybackAction::Tick(dt.min(LONGEST_FRAME)).into());
        let mut requests = Vec::new();
        let mut scene = panels::Scene {
            state: &self.state,
            actions: &mut actions,
            requests: &mut requests,
            form: &mut self.form,
            card: self.arrivals.card(),
            pictures: &mut self.pictures,
            findings: &mut self.findings,
            device: &self.device,
        };
        panels::show(ui, &mut scene);
        for action in actions {
            self.state.apply(action);
        }
        if let Some(export) = self.state.exported.take() {
            let dark = ctx.global_style().visuals.dark_mode;
            self.saving.begin(export, &mut self.state, &self.job, dark);
        }
        self.saving.work(&ctx, &mut self.state, &self.job);
        for request in requests {
            self.job.ask(request);
        }
        if let Some(choice) = self.state.choice.take() {
            self.arrivals
                .choose(&ctx, choice, &mut self.state, &self.job);
        }
        if let Some(bytes) = self.state.training.kept.take() {
            files::save(&self.state.training.file_name(), bytes, self.job.answers());
        }
        match self.state.copied.take() {
            Some(Copied::Link(link)) => ctx.copy_text(format!("{}{link}", self.address)),
            Some(Copied::Text(text)) => ctx.copy_text(text),
            None => {}
        }
        self.load();
        self.job.want(&self.state, self.saving.waits_for());
        // Nothing moves between two steps, and each computed step requests a frame.
        if let Some(seconds) = self.state.playback.due(self.state.n_steps()) {
            ctx.request_repaint_after(web_time::Duration::from_secs_f64(seconds));
        }
        // Draw the first step of a lane as soon as it is ready.
        let playback = &self.state.playback;
        let waits = playback.cursor > 0 && playback.waits(self.state.n_steps());
        let trains = self.state.training.status == Status::Running;
        self.redraw.frame(self.on_cpu && (waits || trains));
    }
}

/// The shortcuts that were pressed, unless a text is being edited.
fn keys(ctx: &egui::Context) -> Vec<Action> {
    if ctx.egui_wants_keyboard_input() {
        return Vec::new();
    }
    // A slow frame may bring several presses of one key.
    let presses = |s: &state::Shortcut| {
        let key = egui::Key::from_name(s.key).expect("a test names every key");
        ctx.input_mut(|input| {
            let shift = if s.shift {
                egui::Modifiers::SHIFT
            } else {
                egui::Modifiers::NONE
            };
            input.count_and_consume_key(shift, key)
        })
    };
    shortcuts()
        .into_iter()
        .flat_map(|s| std::iter::repeat_n(s.action.clone(), presses(&s)))
        .collect()
}

#[cfg(test)]
mod tests;
