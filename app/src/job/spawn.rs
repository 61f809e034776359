//! Starts the background work: on a thread, or in a browser on the window's event loop.

use super::{Pace, Plan, Request, serve};
use crate::state::{Action, Latents, Moment, Source, State, Subject, Tab};
use crate::twins::Twins;
use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use sit_engine::backend::Device;
use std::sync::Arc;

/// Called when an answer is ready; it requests a frame.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The window's handle of the background work. Dropping it ends the work.
pub struct Job {
    requests: UnboundedSender<Request>,
    actions: UnboundedReceiver<Action>,
    answers: Answers,
    /// Numbers of the runs that were asked for.
    asked: Vec<u64>,
    targets: Vec<(u64, usize)>,
    /// The networks that are open.
    open: Vec<Source>,
    /// Number of the timeline's sweep that was asked for.
    sweep: Option<u64>,
    /// Numbers of the curves that are measured.
    measuring: Vec<u64>,
    /// Whether likelihoods are measured.
    weighing: bool,
    /// What is decoded, and by which autoencoder.
    decoding: (u64, Vec<Moment>),
}

impl Job {
    /// Starts the work on `device` at its `pace`, with `twins` if the device also draws the window.
    ///
    /// # Errors
    /// When the system refuses a thread, in its words.
    pub fn spawn(
        device: Device,
        twins: Option<Twins>,
        pace: Pace,
        wake: Wake,
    ) -> std::io::Result<Self> {
        let (requests, received) = unbounded();
        let (sender, actions) = unbounded();
        let answers = Answers {
            actions: sender,
            wake,
        };
        start(device, twins, received, answers.clone(), pace)?;
        Ok(Job {
            requests,
            actions,
            answers,
            asked: Vec::new(),
            targets: Vec::new(),
            open: Vec::new(),
            sweep: None,
            measuring: Vec::new(),
            weighing: false,
            decoding: (0, Vec::new()),
        })
    }

    /// Asks for something.
    pub fn ask(&self, request: Request) {
        // The receiver lives as long as this sender.
        self.requests.unbounded_send(request).ok();
    }

    /// A sender of further requests, for what is read meanwhile.
    #[cfg(target_arch = "wasm32")]
    pub fn asker(&self) -> impl Fn(Request) + 'static {
        let requests = self.requests.clone();
        move |request| {
            requests.unbounded_send(request).ok();
        }
    }

    /// A sender for other background tasks to report their results.
    pub fn answers(&self) -> Answers {
        self.answers.clone()
    }

    /// Lets `state` take what has arrived. It never waits.
    pub fn take(&mut self, state: &mut State) {
        while let Ok(action) = self.actions.try_recv() {
            state.apply(action);
        }
    }

    /// Asks for what `state` wants, if that differs from the last request, and lets be decoded what an animation waits for, too.
    ///
    /// Must come last in a frame: the cursor moved in this frame may wait for a step that was not requested yet, and then no answer
    /// would ever trigger the next frame.
    pub fn want(&mut self, state: &State, animation: Option<&State>) {
        let mut targets = Vec::new();
        for (lane, record) in state.records.iter().enumerate() {
            if !record.works() {
                continue;
            }
            if !self.asked.contains(&record.run) {
                self.ask(Request::Run(Box::new(Plan::of(state, lane))));
            }
            targets.push((record.run, state.target(lane)));
        }
        if let (Some(second), Some(target)) = (&state.second, state.second_target()) {
            if let Some([_, lane]) = state.pair().filter(|_| !self.asked.contains(&target.0)) {
                let plan = Plan::of_second(state, lane, second);
                self.ask(Request::Run(Box::new(plan)));
            }
            targets.push(target);
        }
        if targets != self.targets {
            self.asked = targets.iter().map(|(run, _)| *run).collect();
            self.targets.clone_from(&targets);
            self.ask(Request::Targets(targets));
        }
        let open: Vec<Source> = state.networks.iter().map(|m| m.source.clone()).collect();
        if open != self.open {
            // Others may just have been opened, of which the state does not know yet.
            let closed = |source: &&Source| !open.contains(source);
            let closed: Vec<Source> = self.open.iter().filter(closed).cloned().collect();
            self.open = open;
            if !closed.is_empty() {
                self.ask(Request::Close(closed));
            }
        }
        // The timeline is visible only in its own tab.
        let is_open = state.view.tab == Tab::Timeline;
        let sweep = state.timeline.wanted().filter(|_| is_open);
        if sweep != self.sweep {
            self.sweep = sweep;
            let rows = sweep.map(|_| Box::new(state.timeline.sweep()));
            self.ask(Request::Sweep(rows));
        }
        let curves = state.measuring();
        if !curves
            .iter()
            .map(|curve| curve.id)
            .eq(self.measuring.iter().copied())
        {
            self.measuring = curves.iter().map(|curve| curve.id).collect();
            let list: Vec<(u64, Subject)> = curves
                .iter()
                .map(|curve| (curve.id, curve.of.clone()))
                .collect();
            self.ask(Request::Measure(list));
        }
        if state.weighing != self.weighing {
            self.weighing = state.weighing;
            self.ask(Request::Weigh(self.weighing));
        }
        self.want_decoded(state, animation);
    }

    fn want_decoded(&mut self, state: &State, animation: Option<&State>) {
        let mut moments = Vec::new();
        let mut lanes = Vec::new();
        for of in std::iter::once(state).chain(animation) {
            for (lane, moment) in of.to_decode() {
                if !moments.contains(&moment) {
                    moments.push(moment);
                    lanes.push((of, lane));
                }
            }
        }
        let of = state.decoding.since;
        if (of, &moments) != (self.decoding.0, &self.decoding.1) {
            self.decoding = (of, moments.clone());
            let latents =
                |((of, lane), moment): ((&State, usize), Moment)| of.latents(lane, moment);
            let list: Vec<Latents> = lanes.into_iter().zip(moments).filter_map(latents).collect();
            self.ask(Request::Decode(list));
        }
    }
}

/// A sender whose every message also wakes the window.
#[derive(Clone)]
pub struct Answers {
    actions: UnboundedSender<Action>,
    wake: Wake,
}

impl Answers {
    /// Sends one. A window that is gone needs no answer.
    pub fn say(&self, action: impl Into<Action>) {
        if self.actions.unbounded_send(action.into()).is_ok() {
            (self.wake)();
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn start(
    device: Device,
    twins: Option<Twins>,
    requests: UnboundedReceiver<Request>,
    answers: Answers,
    pace: Pace,
) -> std::io::Result<()> {
    let work = move || pollster::block_on(serve(device, twins, requests, answers, pace));
    std::thread::Builder::new()
        .name("work".into())
        .spawn(work)?;
    Ok(())
}

#[cfg(target_arch = "wasm32")]
fn start(
    device: Device,
    twins: Option<Twins>,
    requests: UnboundedReceiver<Request>,
    answers: Answers,
    pace: Pace,
) -> std::io::Result<()> {
    wasm_bindgen_futures::spawn_local(serve(device, twins, requests, answers, pace));
    Ok(())
}
