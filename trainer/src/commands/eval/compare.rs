//! `sit eval --compare`: runs side by side, by what was measured while they trained.

use super::table;
use crate::config::{Metric, RunConfig, Source};
use crate::error::{Failure, Result};
use crate::evaluation;
use serde_json::{Map, Value, json};
use sit_engine::text::shown;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What the columns before the evaluations are.
const PLAIN: [&str; 3] = ["step", "loss", "validation_loss"];

/// What the names of evaluations begin with.
const EVALUATION: &str = "eval/";

/// Keys whose values the numbers of a column depend on, and its name does not have.
const KEYS: [&str; 3] = ["log.eval.reference", "log.eval.steps", "log.eval.guidance"];

/// The lines of a run's measurements that have an evaluation, or the last line of a run without any.
struct Run {
    name: String,
    lines: Vec<Map<String, Value>>,
    /// The values of [`KEYS`].
    settings: [String; 3],
    /// Steps from one evaluation to the next; 0 for none.
    every_steps: u64,
}

/// The values of [`KEYS`] of a run.
fn settings(config: &RunConfig) -> [String; 3] {
    let eval = &config.log.eval;
    let steps = match config.transport.student_steps {
        Some(n) => format!("{n} of a student"),
        None => eval.steps.to_string(),
    };
    [
        // By default what the run is trained on.
        (eval.reference.as_ref()).map_or_else(|| config.data.described(), shown),
        steps,
        eval.guidance.to_string(),
    ]
}

impl Run {
    fn read(run: &Path) -> Result<Self> {
        let about = run.metadata();
        about.map_err(|e| {
            Failure::Input(format!("--compare: {} cannot be read: {e}", shown(run)))
        })?;
        if !run.join("config.toml").is_file() {
            return Err(Failure::Input(format!(
                "--compare: {} has no config.toml, expected the folder of a run",
                shown(run)
            )));
        }
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
        let config = RunConfig::load(Source::File(&run.join("config.toml")), &[]);
        let config = config.map_err(|e| Failure::Input(format!("--compare: {e}")))?;
        Ok(Run {
            name: shown(run),
            lines,
            settings: settings(&config),
            every_steps: config.log.eval.every_steps,
        })
    }

    /// Whether the last line has an evaluation.
    fn is_evaluated(&self) -> bool {
        let mut columns = self.last().keys();
        columns.any(|name| name.starts_with(EVALUATION) && self.has(name))
    }

    /// What it measured last.
    fn last(&self) -> &Map<String, Value> {
        &self.lines[self.lines.len() - 1]
    }

    /// Whether that has a number in a column.
    fn has(&self, column: &str) -> bool {
        self.last().get(column).is_some_and(Value::is_number)
    }
}

/// Which columns do not compare, since the runs that have them differ in a setting.
fn notes(runs: &[Run], columns: &[&str]) -> Vec<String> {
    let without = runs.iter().filter(|run| !run.is_evaluated());
    let without = without.map(|run| {
        format!(
            "{} has no evaluation yet: log.eval.every_steps is {}",
            run.name, run.every_steps
        )
    });
    let mut notes: Vec<String> = without.collect();
    for (i, key) in KEYS.iter().enumerate() {
        let differs = |column: &str| {
            let having = runs.iter().filter(|run| run.has(column));
            let values = having.map(|run| &run.settings[i]);
            values.collect::<BTreeSet<_>>().len() > 1
        };
        let differing = columns.iter().filter_map(|column| {
            let name = column.strip_prefix(EVALUATION)?;
            differs(column).then_some(name)
        });
        let differing: Vec<&str> = differing.collect();
        if !differing.is_empty() {
            let values = runs.iter();
            let values = values.map(|run| format!("{} of {}", run.settings[i], run.name));
            notes.push(format!(
                "{key} differs ({}), so that runs do not compare in {}",
                values.collect::<Vec<_>>().join(", "),
                differing.join(", ")
            ));
        }
    }
    notes
}

/// The column of the table of samples that a name such as `copies-50` is of.
fn known(name: &str) -> Option<&'static str> {
    let mut all = Metric::ALL.iter().flat_map(|metric| metric.columns());
    let is_of = |known: &&&str| {
        let rest = name.strip_prefix(known.trim_end_matches(" %"));
        rest.is_some_and(|rest| rest.starts_with('-'))
    };
    all.find(is_of).copied()
}

/// The header of an evaluation's column.
fn titled(name: &str) -> String {
    let is_percent = known(name).is_some_and(|known| known.ends_with(" %"));
    format!("{name}{}", if is_percent { " %" } else { "" })
}

/// A number of a column as people see it, as in the table of samples where it is of an evaluation.
fn text(x: f64, column: &str) -> String {
    match column.strip_prefix(EVALUATION).and_then(known) {
        Some(known) => evaluation::shown(x, known),
        None => format!("{x:.4}"),
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
    let header = std::iter::once("run".to_owned()).chain(columns.iter().map(|name| {
        name.strip_prefix(EVALUATION)
            .map_or_else(|| (*name).to_owned(), titled)
    }));
    let mut cells = vec![header.collect::<Vec<_>>()];
    for run in &runs {
        let cell = |column: &&str| match run.last().get(*column) {
            Some(Value::Number(number)) if number.is_f64() => {
                text(number.as_f64().unwrap_or(f64::NAN), column)
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
        let settings = KEYS.iter().zip(&run.settings);
        let settings = settings.map(|(key, value)| ((*key).to_owned(), json!(value)));
        json!({
            "run": run.name,
            "settings": settings.collect::<Map<String, Value>>(),
            "evaluations": lines.collect::<Vec<_>>(),
        })
    };
    let notes = notes(&runs, &columns);
    let all = json!({ "notes": notes, "runs": runs.iter().map(of_run).collect::<Vec<_>>() });
    Ok((table::under(&notes, &cells), all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(folder: &Path, name: &str, set: &[&str], line: &Value) -> std::path::PathBuf {
        let run = folder.join(name);
        fs::create_dir(&run).unwrap();
        let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
        let config = RunConfig::load(Source::Preset("digits-smoke"), &set).unwrap();
        fs::write(run.join("config.toml"), config.to_toml().unwrap()).unwrap();
        fs::write(run.join("metrics.jsonl"), line.to_string()).unwrap();
        run
    }

    #[test]
    fn columns_that_do_not_compare_are_named_and_digits_are_those_of_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let line = json!({
            "step": 4, "loss": 0.5, "eval/kid-50": 0.000123456, "eval/is-50": 2.0, "eval/pixel-sw-50": -1e-9
        });
        let a = run(folder.path(), "a", &[], &line);
        let b = run(folder.path(), "b", &["log.eval.steps=7"], &line);
        let other = json!({ "step": 4, "loss": 0.5, "eval/kid-40": 0.25 });
        let c = run(folder.path(), "c", &["log.eval.guidance=2"], &other);
        let none = json!({ "step": 4, "loss": 0.5, "eval/kid-40": null });
        let d = run(folder.path(), "d", &[], &none);
        let percent =
            json!({ "step": 4, "eval/copies-40": 12.5, "eval/agreement-40-classifier-1": 50.0 });
        let e = run(folder.path(), "e", &[], &percent);
        let (table, _) = runs(&[&d, &e]).unwrap();
        let expected = format!(
            "- {} has no evaluation yet: log.eval.every_steps is 0\n\n",
            d.display()
        );
        assert!(table.starts_with(&expected), "{table}");
        assert!(
            table.contains("| copies-40 %") && table.contains("agreement-40-classifier-1 % |"),
            "{table}"
        );
        let message = runs(&[folder.path()]).unwrap_err().to_string();
        assert!(
            message.ends_with(" has no config.toml, expected the folder of a run"),
            "{message}"
        );
        let (same, _) = runs(&[&a, &a, &c]).unwrap();
        assert!(!same.contains("differs"), "{same}");
        let (table, json) = runs(&[&a, &b, &c]).unwrap();
        let expected = format!(
            "- log.eval.steps differs (50 of {}, 7 of {}, 50 of {}), so that runs do not compare in is-50, kid-50, pixel-sw-50\n",
            a.display(),
            b.display(),
            c.display()
        );
        assert!(table.starts_with(&expected), "{table}");
        assert!(!table.contains("log.eval.guidance"), "{table}");
        for number in ["0.00012 |", "2.00 |", "0.0000 |", "0.25000 |", "0.5000 |"] {
            assert!(table.contains(&format!(" {number}")), "{number} {table}");
        }
        assert_eq!(json["runs"][1]["settings"]["log.eval.steps"], "7");
    }
}
