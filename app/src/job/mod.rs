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
mod plan;
mod run;
mod second;
mod spawn;
mod timeline;
mod train;

pub use field::Field;
pub use likelihood::{PROBES, STEPS};
pub use pace::{FRAME_BUDGET, Pace};
pub use plan::Plan;
pub use spawn::{Answers, Job, Wake};
pub use train::TrainPlan;

use crate::source::{self, Origin, WeightStream};
use crate::state::{
    self, Action, Autoencoder, Checkpoint, CostAction, DecodingAction, Latents, Model,
    PlaybackAction, RunAction, Source, Subject, Sweep, TrainingAction,
};
use crate::twins::Twins;
use crate::words::in_controls;
use cost::Ladder;
use decode::Decoding;
use futures_channel::mpsc::UnboundedReceiver;
use judge::Judge;
use likelihood::Likelihoods;
use run::Run;
use sit_engine::analytic::Mixture;
use sit_engine::autoencoder::AutoencoderConfig;
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use std::io::Cursor;
use std::rc::Rc;
use timeline::Sweeping;
use train::Training;

/// What the window asks for.
pub enum Request {
    /// Use a network that is open for the next runs; runs of another one end.
    Use(Source),
    /// The networks that stay open; all others are given up.
    Open(Vec<Source>),
    /// Open this for a lane.
    OfLane(Box<Origin>),
    /// Use this network for the next runs; runs of another network end.
    Network {
        /// Sizes and transport, as the header says.
        model: Box<Model>,
        /// The weights.
        weights: Reader<Box<dyn WeightStream>>,
    },
    /// Use the exact field of a mixture instead of a network.
    Exact {
        /// Its description for the lanes.
        model: Box<Model>,
        /// The data.
        mixture: Mixture,
    },
    /// Judge what runs end with by this classifier.
    Judge {
        /// Sizes and transport, as the header says.
        model: Box<Model>,
        /// The weights.
        weights: Reader<Box<dyn WeightStream>>,
    },
    /// Decode latents by this autoencoder.
    Autoencoder {
        /// Its description for the window.
        about: Box<Autoencoder>,
        /// Its sizes.
        config: AutoencoderConfig,
        /// The weights.
        weights: Reader<Box<dyn WeightStream>>,
    },
    /// Decode these latents and no others.
    Decode(Vec<Latents>),
    /// Whether the likelihood of what runs end with is measured.
    Weigh(bool),
    /// Begin this run.
    Run(Box<Plan>),
    /// Numbers of the runs that are still wanted, each with its steps to do. A second batch waits until the lanes have done theirs.
    Targets(Vec<(u64, usize)>),
    /// Measure these curves, each with its number, and no others; those in progress continue.
    Measure(Vec<(u64, Subject)>),
    /// Train this; a training in progress ends.
    Train(Box<TrainPlan>),
    /// Pause training, or resume it.
    PauseTraining(bool),
    /// Export the averaged weights.
    Keep,
    /// Sample from the averaged weights as they are now.
    UseTrained,
    /// Compute these rows of a timeline and no others.
    Sweep(Option<Box<Sweep>>),
    /// Sample from a checkpoint of a timeline, and show this time.
    UseCheckpoint {
        /// What the lanes call it.
        name: String,
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// Which of its weights.
        weights: state::Weights,
        /// The time.
        t: f64,
    },
}

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
        targets: Vec::new(),
        training: None,
        sweep: None,
        ladders: Vec::new(),
        turn: false,
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
    targets: Vec<(u64, usize)>,
    training: Option<Training>,
    sweep: Option<Sweeping>,
    ladders: Vec<Ladder>,
    /// Whether the lanes are not next when they and others have work.
    turn: bool,
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
                if let Some((model, field)) = known.cloned() {
                    self.follow(Box::new(model), field);
                }
            }
            Request::Open(sources) => {
                self.fields
                    .retain(|(model, _)| sources.contains(&model.source));
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
            Request::Run(plan) => {
                let Some(field) = self.field_of(plan.network.as_ref()) else {
                    return;
                };
                let id = plan.run;
                // What is not drawn needs no copy on the GPU.
                let twins = self.twins.clone().filter(|_| plan.first == 0);
                match Run::new(*plan, field, twins) {
                    Ok((run, start)) => {
                        if let Some(x) = start {
                            self.answers.say(RunAction::Started { run: id, x });
                        }
                        self.runs.push(run);
                    }
                    Err(error) => self.fail(id, &error),
                }
            }
            Request::Targets(targets) => {
                self.runs
                    .retain(|run| targets.iter().any(|(id, _)| *id == run.id()));
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

    /// Does one piece of work: in turn lanes, and what is decoded of them or trained; or else the judge, likelihoods, a timeline or a measurement. Returns
    /// false if there is nothing to do.
    async fn work(&mut self, pace: &Pace) -> bool {
        self.turn = !self.turn;
        self.turn && (self.decode().await || self.train().await)
            || self.sample(pace).await
            || self.decode().await
            || self.judge().await
            || self.weigh().await
            || self.train().await
            || self.sweep().await
            || self.measure(pace).await
    }

    async fn sweep(&mut self) -> bool {
        let Some(sweep) = &mut self.sweep else {
            return false;
        };
        let (device, answers) = (&self.device, &self.answers);
        if !sweep.work(device, |action| answers.say(action)).await {
            self.sweep = None;
        }
        true
    }

    async fn judge(&mut self) -> bool {
        let Some(judge) = &mut self.judge else {
            return false;
        };
        match judge.work(&self.runs).await {
            None => return false,
            Some(Ok(None)) => {}
            Some(Ok(Some(action))) => self.answers.say(action),
            Some(Err(error)) => self.answers.say(Action::Notify(in_controls(&error))),
        }
        true
    }

    async fn weigh(&mut self) -> bool {
        let news = self.likelihoods.work(&self.runs).await;
        let is_busy = news.is_some();
        news.into_iter().for_each(|news| self.answers.say(news));
        is_busy
    }

    async fn decode(&mut self) -> bool {
        let Some(decoding) = &mut self.decoding else {
            return false;
        };
        match decoding.work().await {
            None => return false,
            Some(Ok(None)) => {}
            Some(Ok(Some(decoded))) => self.answers.say(DecodingAction::Done(decoded)),
            Some(Err(error)) => {
                self.decoding = None;
                let message = in_controls(&error);
                self.answers.say(DecodingAction::Failed(message));
            }
        }
        true
    }

    async fn measure(&mut self, pace: &Pace) -> bool {
        let Some(ladder) = self.ladders.iter_mut().find(|ladder| ladder.is_busy()) else {
            return false;
        };
        if let Some(news) = ladder.work(pace).await {
            let curve = ladder.id();
            self.answers.say(CostAction::Measured { curve, news });
        }
        true
    }

    async fn train(&mut self) -> bool {
        let Some(training) = self.training.as_mut().filter(|t| t.is_busy()) else {
            return false;
        };
        match training.work().await {
            Ok(None) => {}
            Ok(Some(action)) => self.answers.say(action),
            Err(error) => {
                // Pause and keep what was learned: a missing image may be back when training resumes.
                training.running = false;
                self.answers.say(TrainingAction::Paused(true));
                self.answers.say(Action::Notify(in_controls(&error)));
            }
        }
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
