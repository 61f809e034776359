//! Figures of the running program: `sit-app --measure SECONDS`, or the page's address with `?measure=SECONDS`.

use crate::source::{self, Origin};
use crate::state::{LanesAction, PlaybackAction, Settings, Source, State, ode};
use futures_channel::oneshot::{Receiver, channel};
use serde::Serialize;
use sit_engine::backend::Device;
use sit_engine::error::Result;
use sit_engine::model as engine;
use sit_engine::sample::Session;
use sit_engine::transport::Method;
use std::future::Future;
use web_time::{Duration, Instant};

/// Samples of a lane while the speed is measured: so many that computing takes nearly all of the time.
const MANY: usize = 1024;

/// Steps of that lane; more could not be recorded.
const MANY_STEPS: u32 = 250;

/// A speed beyond any computation: every step is shown as soon as it is ready. Users may set at most [`crate::state::SPEEDS`].
const AT_ONCE: f64 = 1e6;

/// Steps of a turn that are not counted: the first one determines how many samples to take at a time, and the panels settle their
/// layout, which takes several frames.
const WARM_UP: usize = 2;

/// Rounds in which window and engine take turns, so that other load on the machine affects both; then the time of a turn.
const ROUNDS: usize = 9;
const TURN: Duration = Duration::from_secs(2);

/// Time for a step in progress to end.
const SETTLE: Duration = Duration::from_millis(500);

/// How often the clock is checked while the lane is idle. Otherwise frames are drawn only when something moves.
const LOOK: Duration = Duration::from_millis(100);

/// The results.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// Milliseconds from the start of the program, or the opening of the page, to the first frame with another step than the first.
    first_movement_ms: f64,
    /// Frames while 64 samples of 8x8 in two lanes play: how many, median, 99th percentile and longest time of the window's thread.
    frames: usize,
    frame_ms_median: f64,
    frame_ms_p99: f64,
    frame_ms_worst: f64,
    /// Resident memory after a tenth of the time, and at its end; 0 if the system does not report it.
    rss_mib_early: f64,
    rss_mib_late: f64,
    /// Steps of a lane of 1024 samples a second, in the window and by the engine alone.
    steps_per_second: f64,
    engine_steps_per_second: f64,
    /// Window speed over engine speed in each round, and their median, so that other load in one round has little effect.
    ratios: Vec<f64>,
    ratio: f64,
    /// Frames a second while the window computes those.
    frames_per_second: f64,
}

/// What is being measured.
enum Phase {
    /// 64 samples play.
    Plays,
    /// The lane of many samples begins: its programs are made.
    Begins,
    /// The lane runs as fast as it can: start time, steps done at the start, and steps done at the last frame.
    Window(Instant, usize, usize),
    /// The lane was stopped at this time; the engine is next.
    Stops(Instant),
    /// The engine runs alone.
    Alone(Receiver<Result<(Engine, Turn)>>),
}

/// Steps of a turn and the time that they took.
struct Turn {
    steps: usize,
    took: Duration,
}

/// Steps a second.
fn rate<'a>(turns: impl IntoIterator<Item = &'a Turn>) -> f64 {
    let (steps, took) = turns.into_iter().fold((0, Duration::ZERO), |(n, t), turn| {
        (n + turn.steps, t + turn.took)
    });
    steps as f64 / took.as_secs_f64()
}

/// Measures for some time, and then the speed for most of a minute.
pub struct Measure {
    begin: Instant,
    time: Duration,
    device: Device,
    phase: Phase,
    frames: Vec<f64>,
    figures: Figures,
    engine: Option<Engine>,
    /// The window's turns so far, the frames in them, and the engine's turns.
    window: Vec<Turn>,
    window_frames: usize,
    alone: Vec<Turn>,
}

impl Measure {
    /// Measures for `time` from `begin`, the start of the program whose lanes `device` computes.
    pub fn new(begin: Instant, time: Duration, device: Device) -> Self {
        Measure {
            begin,
            time,
            device,
            phase: Phase::Plays,
            frames: Vec::new(),
            figures: Figures::default(),
            engine: None,
            window: Vec::new(),
            window_frames: 0,
            alone: Vec::new(),
        }
    }

    /// A frame that took the window's thread `took`. Returns the figures when they are there.
    ///
    /// # Errors
    /// As of sampling.
    pub fn frame(
        &mut self,
        ctx: &egui::Context,
        state: &mut State,
        took: Duration,
    ) -> Result<Option<Figures>> {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let done = |state: &State| state.records.iter().map(|r| r.frames.len()).sum::<usize>();
        match &mut self.phase {
            Phase::Plays => {
                let passed = self.begin.elapsed();
                let figures = &mut self.figures;
                if figures.first_movement_ms == 0.0 && state.playback.cursor > 0 {
                    figures.first_movement_ms = ms(passed);
                }
                self.frames.push(ms(took));
                if passed > self.time / 10 && figures.rss_mib_early == 0.0 {
                    figures.rss_mib_early = rss_mib().unwrap_or_default();
                }
                if passed > self.time {
                    figures.rss_mib_late = rss_mib().unwrap_or_default();
                    one_lane(state);
                    self.phase = Phase::Begins;
                }
            }
            Phase::Begins => {
                let done = done(state);
                if done >= WARM_UP {
                    self.phase = Phase::Window(Instant::now(), done, done);
                }
            }
            Phase::Window(since, first, last) => {
                self.window_frames += 1;
                let (before, now, took) = (*last, done(state), since.elapsed());
                *last = now;
                // It begins and ends with a step.
                if now > before && took > TURN || now == MANY_STEPS as usize {
                    let steps = now - *first;
                    self.window.push(Turn { steps, took });
                    state.apply(PlaybackAction::TogglePlay);
                    ctx.request_repaint_after(LOOK);
                    self.phase = Phase::Stops(Instant::now());
                }
            }
            Phase::Stops(since) => {
                ctx.request_repaint_after(LOOK);
                if since.elapsed() > SETTLE {
                    let engine = match self.engine.take() {
                        Some(engine) => engine,
                        None => Engine::new(&self.device, state)?,
                    };
                    let (send, turn) = channel();
                    spawn(async move {
                        // The window may be gone.
                        send.send(engine.turn().await).ok();
                    });
                    self.phase = Phase::Alone(turn);
                }
            }
            Phase::Alone(turn) => {
                ctx.request_repaint_after(LOOK);
                let turn = turn.try_recv().expect("the engine's turn ends");
                let Some((engine, turn)) = turn.transpose()? else {
                    return Ok(None);
                };
                self.engine = Some(engine);
                self.alone.push(turn);
                if self.alone.len() == ROUNDS {
                    return Ok(Some(self.figures()));
                }
                // Start again from other noise, so that the lane does not reach its end.
                state.apply(LanesAction::SetSeed(self.alone.len() as u64));
                state.apply(PlaybackAction::Home);
                state.apply(PlaybackAction::TogglePlay);
                self.phase = Phase::Begins;
            }
        }
        Ok(None)
    }

    fn figures(&mut self) -> Figures {
        let mut figures = std::mem::take(&mut self.figures);
        figures.frames = self.frames.len();
        self.frames.sort_by(f64::total_cmp);
        figures.frame_ms_median = quantile(&self.frames, 0.5);
        figures.frame_ms_p99 = quantile(&self.frames, 0.99);
        figures.frame_ms_worst = quantile(&self.frames, 1.0);
        figures.steps_per_second = rate(&self.window);
        figures.engine_steps_per_second = rate(&self.alone);
        let rounds = self.window.iter().zip(&self.alone);
        figures.ratios = rounds.map(|(a, b)| rate([a]) / rate([b])).collect();
        let mut sorted = figures.ratios.clone();
        sorted.sort_by(f64::total_cmp);
        figures.ratio = quantile(&sorted, 0.5);
        let took: Duration = self.window.iter().map(|turn| turn.took).sum();
        figures.frames_per_second = self.window_frames as f64 / took.as_secs_f64();
        figures
    }
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q) as usize]
}

/// One lane of many samples, as fast as it goes.
fn one_lane(state: &mut State) {
    let settings = Settings {
        sampler: ode(Method::Euler, MANY_STEPS),
        ..Settings::default()
    };
    while state.lanes.len() > 1 {
        state.apply(LanesAction::RemoveLane(1));
    }
    state.apply(LanesAction::SetLane(0, settings));
    state.apply(LanesAction::SetSamples(MANY));
    state.playback.speed = AT_ONCE;
    state.apply(PlaybackAction::Home);
    state.apply(PlaybackAction::TogglePlay);
}

/// The engine alone, with the same lane and all samples at once, as in `sit sample`.
struct Engine {
    session: Session,
    labels: Vec<u32>,
}

impl Engine {
    fn new(device: &Device, state: &State) -> Result<Self> {
        let Ok(Origin::Network((model, mut weights))) = source::open(&Source::Digits) else {
            unreachable!("the digits are a network");
        };
        let network = model.network.expect("the digits are a network");
        let network = engine::Model::zeros(device, network, model.transport)?;
        weights.load(&network)?;
        let settings = state.lanes[0].settings();
        let sampling = network
            .sampler(settings.sampler.clone())
            .guided(settings.guidance);
        Ok(Engine {
            session: sampling.batch(MANY).session()?,
            labels: state.classes.labels(model.io.n_classes, MANY),
        })
    }

    /// Does steps for the time of a turn and reads each of them, after one that is not counted.
    async fn turn(mut self) -> Result<(Self, Turn)> {
        let numbers: Vec<u64> = (0..MANY as u64).collect();
        self.session.start(0, &numbers, &self.labels)?;
        self.step().await?;
        let (begin, mut steps) = (Instant::now(), 0);
        while begin.elapsed() < TURN && steps < MANY_STEPS as usize - 1 {
            self.step().await?;
            steps += 1;
        }
        let took = begin.elapsed();
        Ok((self, Turn { steps, took }))
    }

    async fn step(&mut self) -> Result<()> {
        self.session.step_async().await?;
        self.session.read_async().await?;
        Ok(())
    }
}

impl Figures {
    /// As JSON, with what computes in words.
    pub fn to_json(&self, device: &str) -> String {
        let mut json = serde_json::to_value(self).expect("plain numbers are JSON");
        json["device"] = device.into();
        serde_json::to_string_pretty(&json).expect("plain numbers are JSON")
    }
}

/// Runs a task now; in a browser, where nothing may block on a GPU, when the page's thread is free.
fn spawn(work: impl Future<Output = ()> + 'static) {
    #[cfg(not(target_arch = "wasm32"))]
    pollster::block_on(work);
    #[cfg(target_arch = "wasm32")]
    wasm_bindgen_futures::spawn_local(work);
}

/// Resident memory, where the system tells: Linux.
fn rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
