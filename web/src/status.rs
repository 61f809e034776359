//! What the program is doing now, for tests that observe it from outside.

use serde_json::json;
use sit_app::App;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A line of JSON: the `device` that computes, the `network` of the session, the `link`, `playing`, the `cursor`; for each lane its `steps`, those `done`, why it
/// `failed` and a hash of the bits it shows (`picture`); the step of the training, and the notices.
pub fn json(app: &App, reduced_motion: bool) -> String {
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
        "reduced_motion": reduced_motion,
        "device": app.device(),
        "network": state.model.as_ref().map(|model| model.source.title()),
        "link": app.link(),
        "playing": state.playback.playing,
        "cursor": state.playback.cursor,
        "lanes": lanes.collect::<Vec<_>>(),
        "trained": state.training.step,
        "notices": state.notices,
    });
    status.to_string()
}
