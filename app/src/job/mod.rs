//! Background work of the window: sampling and training. [`Request`]s ask for it and [`Action`]s answer.
//!
//! Desktop and browser use the same asynchronous loop. On the desktop it has its own thread; in a browser it shares the only thread
//! with the window, and yields after a few milliseconds ([`Pace`]).

mod adaptive;
mod cost;
mod decode;
mod field;
mod judge;
mod likelihood;
mod pace;
mod part;
mod piece;
mod plan;
mod request;
mod run;
mod second;
mod spawn;
mod timeline;
mod train;

pub use field::Field;
pub use likelihood::{LIKELIHOOD_PROBES, LIKELIHOOD_STEPS};
pub use pace::{FRAME_BUDGET, Pace};
pub use plan::Plan;
pub use request::Request;
pub use spawn::{Answers, Job, Wake};
pub use train::TrainPlan;

use crate::source::{self, WeightStream};
use crate::state::{
    Action, DecodingAction, Model, PlaybackAction, RunAction, Source, TrainingAction,
};
use crate::twins::Twins;
use crate::words::in_controls;
use cost::Ladder;
use decode::Decoding;
use futures_channel::mpsc::UnboundedReceiver;
use judge::Judge;
use likelihood::Likelihoods;
use run::Run;
use second::Balance;
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use std::io::Cursor;
use std::rc::Rc;
use timeline::Sweeping;
use train::Training;

/// Serves requests until the window is closed. `twins` are given if `device` also draws the window.
pub async fn serve(
    device: Device,
    twins: Option<Twins>,
    mut requests: UnboundedReceiver<Request>,
    answers: Answers,
    mut pace: Pace,
) {
    let mut worker = Worker {
        device,
        twins,
        fields: Vec::new(),
        field: None,
        judge: None,
        decoding: None,
        likelihoods: Likelihoods::default(),
        runs: Vec::new(),
        second: None,
        balance: Balance::default(),
        targets: Vec::new(),
        training: None,
        sweep: None,
        ladders: Vec::new(),
        turn: 0,
        answers,
    };
    loop {
        // Requests may have changed since the last piece of work: handle all of them before the next one.
        while let Ok(request) = requests.try_recv() {
            worker.take(request).await;
        }
        if !worker.work(&pace).await {
            match requests.recv().await {
                Ok(request) => worker.take(request).await,
                Err(_) => return,
            }
        }
        pace.rest().await;
    }
}

struct Worker {
    device: Device,
    twins: Option<Twins>,
    /// The networks that are open, and that of the session.
    fields: Vec<(Model, Rc<Field>)>,
    field: Option<Rc<Field>>,
    judge: Option<Judge>,
    decoding: Option<Decoding>,
    likelihoods: Likelihoods,
    runs: Vec<Run>,
    /// A second batch that was asked for, and where its samples begin.
    second: Option<Box<Plan>>,
    balance: Balance,
    targets: Vec<(u64, usize)>,
    training: Option<Training>,
    sweep: Option<Sweeping>,
    ladders: Vec<Ladder>,
    /// Who is next when several have work: every second time the lanes, else the decoder and the training in turn.
    turn: usize,
    answers: Answers,
}

impl Worker {
    async fn take(&mut self, request: Request) {
        match request {
            Request::Network { model, weights } => {
                self.network(model, weights);
            }
            Request::OfLane(origin) => match Field::of(&self.device, *origin) {
                Ok((model, field)) => {
                    self.open(model.clone(), Rc::new(field));
                    self.answers.say(Action::NetworkReady(Box::new(model)));
                }
                Err(error) => self.answers.say(Action::Notify(in_controls(&error))),
            },
            Request::Use(source) => {
                let known = self.fields.iter().find(|(model, _)| model.source == source);
                match known.cloned() {
                    Some((model, field)) => self.follow(Box::new(model), field),
                    None => self.answers.say(Action::Notify(format!(
                        "{} is not open any more: open it again.",
                        source.title()
                    ))),
                }
            }
            Request::Close(sources) => {
                self.fields
                    .retain(|(model, _)| !sources.contains(&model.source));
            }
            Request::Judge { model, weights } => match Judge::load(&self.device, &model, weights) {
                Ok(judge) => {
                    self.judge = Some(judge);
                    self.answers.say(Action::JudgeReady(model));
                }
                Err(error) => self.answers.say(Action::Notify(in_controls(&error))),
            },
            Request::Autoencoder {
                about,
                config,
                weights,
            } => match Decoding::load(&self.device, config, weights) {
                Ok(decoding) => {
                    self.decoding = Some(decoding);
                    self.answers.say(DecodingAction::Ready(about));
                }
                Err(error) => self.answers.say(Action::Notify(in_controls(&error))),
            },
            Request::Decode(list) => {
                if let Some(decoding) = &mut self.decoding {
                    decoding.want(list);
                }
            }
            Request::Weigh(wanted) => self.likelihoods.wanted = wanted,
            Request::Exact { model, mixture } => {
                let field = Field::exact(&model, mixture);
                self.use_field(model, field);
            }
            Request::Train(plan) => {
                self.training = None;
                let (name, total) = (plan.name.clone(), plan.learning_rate.total_steps);
                let shape = plan.dataset.shape();
                match Training::new(&self.device, *plan) {
                    Ok(training) => {
                        let data = training.examples();
                        self.training = Some(training);
                        self.answers.say(TrainingAction::Started {
                            name,
                            shape,
                            total,
                            data,
                        });
                    }
                    Err(error) => self.answers.say(Action::Notify(in_controls(&error))),
                }
            }
            Request::PauseTraining(paused) => {
                if let Some(training) = &mut self.training {
                    training.running = !paused;
                    self.answers.say(TrainingAction::Paused(paused));
                }
            }
            Request::Keep => {
                if let Some((_, bytes)) = self.kept().await {
                    self.answers.say(TrainingAction::Kept(bytes.into()));
                }
            }
            Request::UseTrained => {
                if let Some((model, bytes)) = self.kept().await {
                    let stream: Box<dyn WeightStream> = Box::new(Cursor::new(bytes));
                    match Reader::new("the trained network", stream) {
                        Ok(weights) => {
                            self.network(Box::new(model), weights);
                        }
                        Err(error) => self.answers.say(Action::Notify(in_controls(&error))),
                    }
                }
            }
            Request::Sweep(sweep) => self.sweep = sweep.map(|sweep| Sweeping::new(*sweep)),
            Request::UseCheckpoint {
                name,
                checkpoint,
                weights,
                t,
            } => match source::checkpoint(&name, &checkpoint, weights) {
                Ok((model, weights)) => {
                    if self.network(Box::new(model), weights) {
                        self.answers.say(PlaybackAction::SeekTime(t));
                    }
                }
                Err(message) => self.answers.say(Action::Notify(message)),
            },
            Request::Measure(list) => {
                self.ladders
                    .retain(|ladder| list.iter().any(|(id, _)| *id == ladder.id()));
                for (id, of) in list {
                    if self.ladders.iter().all(|ladder| ladder.id() != id)
                        && let Some(field) = self.field_of(of.network.as_ref())
                    {
                        self.ladders.push(Ladder::new(id, of, field));
                    }
                }
            }
            // It waits until the lanes have done their steps.
            Request::Run(plan) if plan.first > 0 => self.second = Some(plan),
            Request::Run(plan) => self.begin(*plan),
            Request::Targets(targets) => {
                self.runs
                    .retain(|run| targets.iter().any(|(id, _)| *id == run.id()));
                self.second
                    .take_if(|plan| targets.iter().all(|(id, _)| *id != plan.run));
                self.targets = targets;
                self.twins.iter().for_each(Twins::sweep);
            }
        }
    }

    /// Whether the network could be loaded.
    fn network(&mut self, model: Box<Model>, weights: Reader<Box<dyn WeightStream>>) -> bool {
        match Field::network(&self.device, &model, weights) {
            Ok(field) => {
                self.use_field(model, field);
                true
            }
            Err(error) => {
                self.answers.say(Action::Notify(in_controls(&error)));
                false
            }
        }
    }

    fn use_field(&mut self, model: Box<Model>, field: Field) {
        let field = Rc::new(field);
        self.open(Model::clone(&model), Rc::clone(&field));
        self.follow(model, field);
    }

    /// Keeps a network, in the place of one with its name.
    fn open(&mut self, model: Model, field: Rc<Field>) {
        self.fields
            .retain(|(known, _)| known.source != model.source);
        self.fields.push((model, field));
    }

    /// Makes a network that of the session.
    fn follow(&mut self, model: Box<Model>, field: Rc<Field>) {
        self.runs.clear();
        self.ladders.clear();
        self.field = Some(field);
        self.answers.say(Action::ModelReady(model));
    }

    /// The network of a lane: the session's, or that of this name.
    fn field_of(&self, source: Option<&Source>) -> Option<Rc<Field>> {
        match source {
            None => self.field.clone(),
            Some(source) => {
                let known = self
                    .fields
                    .iter()
                    .find(|(model, _)| model.source == *source);
                known.map(|(_, field)| Rc::clone(field))
            }
        }
    }

    /// The averaged weights of the training, if there is one.
    async fn kept(&self) -> Option<(Model, Vec<u8>)> {
        let kept = self.training.as_ref()?.keep().await;
        kept.map_err(|error| self.answers.say(Action::Notify(in_controls(&error))))
            .ok()
    }

    fn fail(&self, run: u64, error: &sit_engine::error::Error) {
        let message = in_controls(error);
        self.answers.say(RunAction::Failed { run, message });
    }

    /// Does one piece of work: in turn lanes, and what is decoded of them or trained; or else the judge, likelihoods, a timeline or a
    /// measurement. Returns false if there is nothing to do.
    async fn work(&mut self, pace: &Pace) -> bool {
        self.turn = (self.turn + 1) % 4;
        self.turn == 1 && self.decode().await
            || self.turn % 2 == 1 && (self.train().await || self.decode().await)
            || self.sample(pace).await
            || self.begin_second()
            || self.judge().await
            || self.weigh().await
            || self.decode().await
            || self.train().await
            || self.sweep().await
            || self.measure(pace).await
    }

    /// Begins a run.
    fn begin(&mut self, plan: Plan) {
        let id = plan.run;
        let Some(field) = self.field_of(plan.network.as_ref()) else {
            let message = "Its network is not open any more: open it again.".into();
            return self.answers.say(RunAction::Failed { run: id, message });
        };
        // What is not drawn needs no copy on the GPU.
        let twins = self.twins.clone().filter(|_| plan.first == 0);
        match Run::new(plan, field, twins) {
            Ok((run, start)) => {
                if let Some(x) = start {
                    self.answers.say(RunAction::Started { run: id, x });
                }
                self.runs.push(run);
            }
            Err(error) => self.fail(id, &error),
        }
    }

    /// Begins the second batch that waits, when steps of it are wanted.
    fn begin_second(&mut self) -> bool {
        let targets = &self.targets;
        let is_wanted = |plan: &mut Box<Plan>| {
            let own = targets.iter().find(|(id, _)| *id == plan.run);
            own.is_some_and(|(_, steps)| *steps > 0)
        };
        let Some(mut plan) = self.second.take_if(is_wanted) else {
            return false;
        };
        if let Some(field) = self.field_of(plan.network.as_ref()) {
            plan.first = self.balance.first(&field.io(), &plan);
        }
        self.begin(*plan);
        true
    }

    /// One piece of the run that is furthest behind its target, a second batch last.
    async fn sample(&mut self, pace: &Pace) -> bool {
        let behind = |run: &Run| {
            let target = self.targets.iter().find(|(id, _)| *id == run.id())?.1;
            // The window may not know yet that an adaptive solver has come to its end.
            let is_behind = run.done() < target && !run.is_over();
            is_behind.then(|| (run.is_shown(), target - run.done()))
        };
        let most = (0..self.runs.len())
            .filter_map(|i| Some((behind(&self.runs[i])?, std::cmp::Reverse(i))))
            .max();
        let Some((_, std::cmp::Reverse(at))) = most else {
            return false;
        };
        let run = &mut self.runs[at];
        match run.work(pace).await {
            Ok(None) => {}
            Ok(Some(frame)) => {
                if let Some(step) = run.last() {
                    let (run, step) = (run.id(), Box::new(*step));
                    self.answers.say(RunAction::Stepped { run, step, frame });
                }
            }
            Err(error) => {
                let run = self.runs.remove(at);
                self.fail(run.id(), &error);
            }
        }
        true
    }
}
