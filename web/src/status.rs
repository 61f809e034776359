//! What the program does right now, for tests that look at it from outside.

use crate::browser;
use serde_json::json;
use sit_app::App;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Most times of frames that are kept.
const MOST: usize = 4096;

/// The frames so far.
#[derive(Default)]
pub struct Frames {
    n: u64,
    /// Milliseconds from the opening of the address to the first frame with another step than the first.
    first_movement_ms: Option<f64>,
    times_ms: VecDeque<f32>,
}

impl Frames {
    /// Another one; `frame` knows what the one before it took, painting included.
    pub fn add(&mut self, app: &App, frame: &eframe::Frame) {
        self.n += 1;
        if self.first_movement_ms.is_none() && app.state().playback.cursor > 0 {
            self.first_movement_ms = browser::now_ms();
        }
        if let Some(seconds) = frame.info().cpu_usage {
            if self.times_ms.len() == MOST {
                self.times_ms.pop_front();
            }
            self.times_ms.push_back(1e3 * seconds);
        }
    }

    /// The times since the last call.
    pub fn take(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.times_ms).into()
    }
}

/// A line of JSON: `frames` drawn and when the first one moved, the `device` that computes, the `link`, `playing`, the `cursor`, of each
/// lane its `steps`, those `done`, why it `failed` and the bits it shows as a number (`picture`), the step of the training, the notices.
pub fn json(app: &App, frames: &Frames, reduced_motion: bool) -> String {
    let state = app.state();
    let lanes = state.records.iter().enumerate().map(|(lane, record)| {
        let mut bits = DefaultHasher::new();
        let shown = record.state(state.position(lane));
        for x in shown.iter().flat_map(|x| x.iter()) {
            x.to_bits().hash(&mut bits);
        }
        json!({
            "steps": record.steps.len(),
            "done": record.frames.len(),
            "failed": record.failure,
            "picture": shown.map(|_| format!("{:016x}", bits.finish())),
        })
    });
    let status = json!({
        "frames": frames.n,
        "first_movement_ms": frames.first_movement_ms,
        "reduced_motion": reduced_motion,
        "device": app.device(),
        "link": app.link(),
        "playing": state.playback.playing,
        "cursor": state.playback.cursor,
        "lanes": lanes.collect::<Vec<_>>(),
        "trained": state.training.step,
        "notices": state.notices,
    });
    status.to_string()
}
