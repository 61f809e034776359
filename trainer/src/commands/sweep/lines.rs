//! The plot of a sweep: what was measured over network evaluations, a line for each combination of the other settings.

use super::args::Metric;
use super::table::{self, Row};
use crate::png::{Line, Panel, Plot};

/// Settings that vary along a line.
const ALONG: [&str; 4] = ["steps", "evaluations", "passes", "judge"];

/// A panel for each metric.
pub fn plot(rows: &[Row], metrics: &[Metric]) -> Plot {
    let names: Vec<&str> = table::varying(rows)
        .0
        .into_iter()
        .filter(|name| !ALONG.contains(name) && metrics.iter().all(|metric| metric.name() != *name))
        .collect();
    let panels: Vec<Panel> = metrics
        .iter()
        .map(|metric| Panel {
            name: match metric {
                Metric::Agreement => "agreement, %".into(),
                Metric::Frechet => "Frechet distance".into(),
            },
            most: (*metric == Metric::Agreement).then_some(100.0),
            lines: lines(rows, &names, metric.name()),
        })
        .collect();
    Plot::new("network evaluations of an image", &panels)
}

/// A line for each combination of the settings `names`, in the order of the table.
fn lines(rows: &[Row], names: &[&str], metric: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for row in rows {
        let parts = names.iter().filter(|name| !row.get(name).is_empty());
        let parts: Vec<String> = parts.map(|name| part(name, row.get(name))).collect();
        let name = match parts.is_empty() {
            true => row.get("solver").to_owned(),
            false => parts.join(", "),
        };
        let value = |column: &str| row.get(column).parse::<f64>().ok();
        let point = [value("evaluations"), value(metric)];
        let [Some(x), Some(y)] = point else { continue };
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push([x, y]),
            None => lines.push(Line {
                name,
                points: vec![[x, y]],
            }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a[0].total_cmp(&b[0]));
    }
    lines
}

/// A setting in the name of a line.
fn part(name: &str, value: &str) -> String {
    match name {
        "solver" | "weights" => value.to_owned(),
        name => format!("{} {value}", name.replace('_', " ")),
    }
}
