//! The trace of a profile: Chrome's trace event format as JSON, which Perfetto opens.

use super::measure::Part;
use serde_json::{Value, json};
use sit_engine::backend::profile::Span;
use sit_engine::shape::Type;
use std::time::Duration;

/// The process of all events.
const PID: u32 = 1;

/// All spans of all steps: a track for each kind of step, on it the programs of a step, and in them the spans.
pub fn json(parts: &[Part], device: &str) -> Value {
    let program = format!("sit profile: {device}");
    let mut events = vec![name("process_name", 0, &program)];
    for (tid, part) in (1..).zip(parts) {
        events.push(name("thread_name", tid, part.name));
        // The time between two programs is not measured.
        let mut at = Duration::ZERO;
        for (number, step) in part.steps.iter().enumerate() {
            for (&program, profile) in part.programs.iter().zip(step) {
                let ends = profile.spans.iter().map(|span| span.start + span.time);
                let whole = ends.max().unwrap_or_default();
                events.push(json!({
                    "name": program, "cat": "program", "ph": "X", "pid": PID, "tid": tid,
                    "ts": micros(at), "dur": micros(whole), "args": {"repeat": number},
                }));
                events.extend(profile.spans.iter().map(|span| event(span, at, tid)));
                at += whole;
            }
        }
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}

fn event(span: &Span, at: Duration, tid: u32) -> Value {
    let (name, cat) = match span.kernel {
        Some(kernel) => (kernel, "kernel"),
        None => (span.op, "operation"),
    };
    json!({
        "name": name, "cat": cat, "ph": "X", "pid": PID, "tid": tid,
        "ts": micros(at + span.start), "dur": micros(span.time),
        "args": {
            "step": span.step,
            "op": span.op,
            "inputs": types(&span.in_types),
            "outputs": types(&span.out_types),
            "macs": span.macs.round(),
            "read_bytes": span.read_bytes,
            "written_bytes": span.written_bytes,
        },
    })
}

/// What a process or a track is called.
fn name(what: &str, tid: u32, name: &str) -> Value {
    json!({"name": what, "ph": "M", "pid": PID, "tid": tid, "args": {"name": name}})
}

fn types(types: &[Type]) -> Vec<String> {
    types.iter().map(|ty| format!("{ty:?}")).collect()
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}
