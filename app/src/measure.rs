//! Figures of the running program: `sit-app --measure SECONDS`.

use crate::source::{self, Origin};
use crate::state::{Action, Settings, Source, State, ode};
use serde::Serialize;
use sit_engine::backend::Device;
use sit_engine::error::Result;
use sit_engine::graph::{Arena, Layout};
use sit_engine::model::params;
use sit_engine::sample::{SampleConfig, Session, initial_noise};
use sit_engine::transport::Method;
use std::future::Future;
use web_time::{Duration, Instant};

/// Samples of a lane while the speed is measured: the work is all computing.
const MANY: usize = 1024;

/// Steps of that lane: more than there is time for, and no more than can be recorded.
const MANY_STEPS: u32 = 250;

/// Part of the time that is given to each of the three phases: as it starts, as it loops, as fast as it goes.
const PHASES: [f64; 2] = [0.8, 0.9];

/// What came out.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// What computes.
    device: String,
    /// Milliseconds from the start of the program to the first frame with another step than the first.
    first_movement_ms: f64,
    /// Frames while 64 samples of 8x8 in two lanes play: how many, median, 99th percentile and longest time of the window's thread.
    frames: usize,
    frame_ms_median: f64,
    frame_ms_p99: f64,
    frame_ms_worst: f64,
    /// Resident memory a tenth into the time, and after it.
    rss_mib_early: f64,
    rss_mib_late: f64,
    /// Steps of a lane of 1024 samples a second, in the window and by the engine alone.
    steps_per_second: f64,
    engine_steps_per_second: f64,
}

/// Measures for some time, then ends the program.
pub struct Measure {
    begin: Instant,
    time: Duration,
    frames: Vec<f64>,
    early: Option<f64>,
    /// Since when it goes as fast as it can, and the steps done until then.
    fast: Option<(Instant, usize)>,
    figures: Figures,
}

impl Measure {
    /// Measures for `time` from `begin`, the start of the program.
    pub fn new(begin: Instant, time: Duration) -> Self {
        Measure {
            begin,
            time,
            frames: Vec::new(),
            early: None,
            fast: None,
            figures: Figures::default(),
        }
    }

    /// A frame that took the window's thread `took`. Returns the figures when the time is over.
    pub fn frame(&mut self, state: &mut State, took: Duration, device: &str) -> Option<Figures> {
        let part = self.begin.elapsed().as_secs_f64() / self.time.as_secs_f64();
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        if self.figures.first_movement_ms == 0.0 && state.playback.cursor > 0 {
            self.figures.first_movement_ms = ms(self.begin.elapsed());
        }
        if part < PHASES[0] {
            self.frames.push(ms(took));
            if part > 0.1 && self.early.is_none() {
                self.early = rss_mib();
            }
            return None;
        }
        let done = |state: &State| state.records.iter().map(|r| r.frames.len()).sum::<usize>();
        match self.fast {
            None => {
                self.figures.rss_mib_late = rss_mib().unwrap_or(f64::NAN);
                let settings = Settings {
                    sampler: ode(Method::Euler, MANY_STEPS),
                    ..Settings::default()
                };
                while state.lanes.len() > 1 {
                    state.apply(Action::RemoveLane(1));
                }
                state.apply(Action::SetLane(0, settings));
                state.apply(Action::SetSamples(MANY));
                state.apply(Action::SetSpeed(f64::MAX));
                state.apply(Action::Home);
                state.apply(Action::TogglePlay);
                self.fast = Some((Instant::now(), 0));
                None
            }
            // The programs are made anew: they do not count.
            Some((_, 0)) if part > PHASES[1] && done(state) > 0 => {
                self.fast = Some((Instant::now(), done(state)));
                None
            }
            Some((since, before)) if part > 1.0 && before > 0 => {
                let steps = (done(state) - before) as f64;
                let figures = &mut self.figures;
                figures.steps_per_second = steps / since.elapsed().as_secs_f64();
                figures.device = device.to_owned();
                figures.rss_mib_early = self.early.unwrap_or(f64::NAN);
                figures.frames = self.frames.len();
                self.frames.sort_by(f64::total_cmp);
                let at = |q: f64| self.frames[((self.frames.len() - 1) as f64 * q) as usize];
                figures.frame_ms_median = at(0.5);
                figures.frame_ms_p99 = at(0.99);
                figures.frame_ms_worst = at(1.0);
                Some(std::mem::take(figures))
            }
            Some(_) => None,
        }
    }
}

impl Figures {
    /// Adds what the engine alone does in the same step.
    ///
    /// # Errors
    /// As of sampling.
    pub fn with_engine(mut self, state: &State, device: &Device) -> Result<Self> {
        let Ok(Origin::Network((model, mut weights))) = source::open(&Source::Digits) else {
            return Ok(self);
        };
        let layout = Layout::new(&params(&model.config), device.max_segment_bytes())?;
        let arenas = device.arenas(&layout, &[Arena::Params])?;
        weights.load(&model.config, &arenas, Arena::Params)?;
        let settings = state.lanes[0].settings();
        let config = SampleConfig {
            model: model.config,
            transport: model.transport,
            sampler: settings.sampler,
            guidance: settings.guidance,
            weights: Arena::Params,
            batch: MANY,
            keep_out: false,
        };
        let mut session = Session::new(device, &arenas, &layout, config)?;
        let mut x = vec![0.0; MANY * model.config.image_len()];
        initial_noise(&model.config, 0, 0, &mut x);
        let labels = state.classes.labels(&model.config, MANY);
        session.start(&x, &labels)?;
        wait(session.step(&[]))?;
        let begin = Instant::now();
        let steps = 20;
        for _ in 0..steps {
            wait(session.step(&[]))?;
        }
        wait(session.read())?;
        self.engine_steps_per_second = f64::from(steps) / begin.elapsed().as_secs_f64();
        Ok(self)
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain numbers are JSON")
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    pollster::block_on(future)
}

/// Resident memory, where the system tells: Linux.
fn rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
