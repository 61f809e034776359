//! The table of a profile.

use super::measure::Part;
use sit_engine::backend::profile::Timing;
use std::collections::BTreeMap;
use std::time::Duration;

/// What all spans of a name have in common.
#[derive(Debug, Default, Clone, Copy)]
struct Row {
    time: Duration,
    calls: usize,
    macs: f64,
    bytes: u64,
}

impl Row {
    fn add(&mut self, other: Row) {
        self.time += other.time;
        self.calls += other.calls;
        self.macs += other.macs;
        self.bytes += other.bytes;
    }
}

/// The kernels, or the operations, by the time that they take in a step.
pub fn of(part: &Part) -> String {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    let mut all = Row::default();
    for span in part.profiles().flat_map(|profile| &profile.spans) {
        let row = Row {
            time: span.time,
            calls: 1,
            macs: span.macs,
            bytes: span.bytes(),
        };
        rows.entry(span.kernel.unwrap_or(span.op))
            .or_default()
            .add(row);
        all.add(row);
    }
    let mut rows: Vec<(&str, Row)> = rows.into_iter().collect();
    rows.sort_by_key(|&(_, row)| std::cmp::Reverse(row.time));
    let timing = part.profiles().next().map(|profile| profile.timing);
    let (what, how) = match timing {
        Some(Timing::Timestamps) => ("kernel", "by the timestamps of the GPU, a pass each"),
        Some(Timing::Waits) => (
            "kernel",
            "the GPU has no timestamps: each is waited for, which counts the way there and back",
        ),
        _ => (
            "operation",
            "one after the other, each on the whole batch and timed on its own",
        ),
    };
    let n = part.steps.len();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let width = width.max(what.len());
    let mut text = format!(
        "{} ({}): {what}s, {how}\n  {what:<width$} {:>10} {:>7} {:>6} {:>9} {:>10} {:>8}\n",
        part.name,
        part.programs.join(" and "),
        "ms",
        "share",
        "calls",
        "GFLOP/s",
        "MB",
        "GB/s"
    );
    for (name, row) in rows.iter().chain([&("all", all)]) {
        text += &format!("  {name:<width$} {}\n", line(row, &all, n));
    }
    let plain: Duration = part.plain.iter().sum();
    text += &format!(
        "  {:<width$} {:>10.3}, run as always, with what the host adds\n",
        "a step",
        1e3 * plain.as_secs_f64() / n as f64
    );
    text
}

/// The mean over `n` steps.
fn line(row: &Row, all: &Row, n: usize) -> String {
    let seconds = row.time.as_secs_f64();
    let share = 100.0 * seconds / all.time.as_secs_f64().max(f64::MIN_POSITIVE);
    let rate = |amount: f64| match amount > 0.0 && seconds > 0.0 {
        true => format!("{:.1}", amount / seconds / 1e9),
        false => "-".to_owned(),
    };
    format!(
        "{:>10.3} {share:>5.1} % {:>6} {:>9} {:>10.2} {:>8}",
        1e3 * seconds / n as f64,
        row.calls / n,
        rate(2.0 * row.macs),
        row.bytes as f64 / n as f64 / 1e6,
        rate(row.bytes as f64)
    )
}
