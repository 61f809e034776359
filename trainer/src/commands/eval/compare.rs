//! `sit eval --compare`: runs side by side, by what was measured while they trained.

use super::table;
use crate::error::{Failure, Result};
use serde_json::{Map, Value, json};
use sit_engine::text::shown;
use std::fs;
use std::path::Path;

/// What the columns before the evaluations are.
const PLAIN: [&str; 3] = ["step", "loss", "validation_loss"];

/// What the names of evaluations begin with.
const EVALUATION: &str = "eval/";

/// The lines of a run's measurements that have an evaluation, or the last line of a run without any.
struct Run {
    name: String,
    lines: Vec<Map<String, Value>>,
}

impl Run {
    fn read(run: &Path) -> Result<Self> {
        let file = run.join("metrics.jsonl");
        let text = fs::read_to_string(&file).map_err(|e| {
            Failure::Input(format!("--compare: {} cannot be read: {e}", shown(&file)))
        })?;
        let lines = text.lines();
        // A line that is cut off is none.
        let lines = lines.filter_map(|line| serde_json::from_str::<Map<String, Value>>(line).ok());
        let all: Vec<Map<String, Value>> = lines.filter(|line| line.contains_key("step")).collect();
        let is_evaluated = |line: &&Map<String, Value>| {
            let mut evaluations = line.iter().filter(|(name, _)| name.starts_with(EVALUATION));
            evaluations.any(|(_, value)| value.is_number())
        };
        let lines: Vec<_> = all.iter().filter(is_evaluated).cloned().collect();
        let lines = match lines.is_empty() {
            true => all.last().cloned().into_iter().collect(),
            false => lines,
        };
        if lines.is_empty() {
            return Err(Failure::Input(format!(
                "{}: got no line of measurements, expected those of a run",
                shown(&file)
            )));
        }
        Ok(Run {
            name: shown(run),
            lines,
        })
    }

    /// What it measured last.
    fn last(&self) -> &Map<String, Value> {
        &self.lines[self.lines.len() - 1]
    }
}

/// The table of some runs, and as JSON with all their evaluations.
///
/// # Errors
/// [`Failure`] naming a run without measurements.
pub fn runs(paths: &[impl AsRef<Path>]) -> Result<(String, Value)> {
    let runs = paths.iter().map(|path| Run::read(path.as_ref()));
    let runs = runs.collect::<Result<Vec<Run>>>()?;
    let mut columns: Vec<&str> = PLAIN.to_vec();
    for (name, _) in runs.iter().flat_map(|run| &run.lines).flatten() {
        if name.starts_with(EVALUATION) && !columns.contains(&&**name) {
            columns.push(name);
        }
    }
    let header = std::iter::once("run").chain(columns.iter().map(|name| {
        let without = name.strip_prefix(EVALUATION);
        without.unwrap_or(name)
    }));
    let mut cells = vec![header.map(str::to_owned).collect::<Vec<_>>()];
    for run in &runs {
        let cell = |column: &&str| match run.last().get(*column) {
            Some(Value::Number(number)) if number.is_f64() => {
                format!("{:.4}", number.as_f64().unwrap_or(f64::NAN))
            }
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        let mut line = vec![run.name.clone()];
        line.extend(columns.iter().map(cell));
        cells.push(line);
    }
    let of_run = |run: &Run| {
        let lines = run.lines.iter().map(|line| {
            let kept = line.iter().filter(|(name, _)| columns.contains(&&***name));
            Value::Object(
                kept.map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            )
        });
        json!({ "run": run.name, "evaluations": lines.collect::<Vec<_>>() })
    };
    let all = json!({ "runs": runs.iter().map(of_run).collect::<Vec<_>>() });
    Ok((table::aligned(&cells), all))
}
