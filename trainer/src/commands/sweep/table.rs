//! The table of a sweep: a row for each cell.

use super::cells::Cell;
use crate::error::{Failure, Result};
use sit_engine::text::shown;
use sit_engine::transport::GuidanceChannels;
use std::fmt::Write as _;
use std::path::Path;

/// The columns of `table.csv`.
pub const COLUMNS: [&str; 17] = [
    "weights",
    "solver",
    "steps",
    "evaluations",
    "passes",
    "diffusion",
    "diffusion_norm",
    "guidance",
    "guidance_channels",
    "guidance_interval",
    "autoguide_scale",
    "classifier_scale",
    "count",
    "seed",
    "judge",
    "agreement",
    "frechet",
];

/// Columns that are measured, and not known before.
const MEASURED: [&str; 4] = ["evaluations", "passes", "agreement", "frechet"];

/// The values of a cell, one for each of [`COLUMNS`]; empty where a setting does not apply.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Row(pub [String; COLUMNS.len()]);

/// What a cell has come to.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Network evaluations of an image, as `sit sample` counts them.
    pub evaluations: f64,
    /// Passes of a network, where they are known.
    pub passes: f64,
    /// In percent.
    pub agreement: Option<f64>,
    pub frechet: Option<f64>,
}

fn at(column: &str) -> usize {
    let at = COLUMNS.iter().position(|name| *name == column);
    at.expect("a column of the table")
}

impl Row {
    /// The settings of a cell, with nothing measured. `weights` are those that were taken, `judge` the hash of the classifier.
    pub fn new(
        cell: &Cell,
        weights: Option<&str>,
        has_classes: bool,
        (n, seed): (u32, u64),
        judge: Option<&str>,
    ) -> Self {
        let mut row = Row::default();
        let mut put = |column: &str, value: String| row.0[at(column)] = value;
        put("weights", weights.unwrap_or_default().to_owned());
        put("solver", cell.solver.to_string());
        if let Some(steps) = cell.steps {
            put("steps", steps.to_string());
        }
        if let Some((form, norm)) = &cell.diffusion {
            put("diffusion", form.clone());
            put("diffusion_norm", norm.to_string());
        }
        if has_classes {
            put("guidance", cell.guidance.scale.to_string());
        }
        if cell.guidance.scale != 1.0 {
            put(
                "guidance_channels",
                GuidanceChannels::to_string(&cell.guidance.channels),
            );
        }
        if cell.n_guides() > 0 {
            let [lo, hi] = cell.guidance.interval;
            put("guidance_interval", format!("{lo}..{hi}"));
        }
        if let Some(scale) = cell.autoguide {
            put("autoguide_scale", scale.to_string());
        }
        if let Some(scale) = cell.classifier {
            put("classifier_scale", scale.to_string());
        }
        put("count", n.to_string());
        put("seed", seed.to_string());
        put("judge", judge.unwrap_or_default().to_owned());
        row
    }

    /// With what was measured.
    pub fn with(mut self, measured: &Measured) -> Self {
        let values = [
            Some(round(measured.evaluations, 2)),
            Some(round(measured.passes, 2)),
            measured.agreement.map(|share| format!("{share:.2}")),
            measured.frechet.map(|distance| format!("{distance:.5}")),
        ];
        for (column, value) in MEASURED.iter().zip(values) {
            self.0[at(column)] = value.unwrap_or_default();
        }
        self
    }

    /// The value of a column.
    pub fn get(&self, column: &str) -> &str {
        &self.0[at(column)]
    }

    /// The first setting in which it differs from another row: the column, and both values.
    pub fn differs<'a>(&'a self, other: &'a Row) -> Option<(&'static str, [&'a str; 2])> {
        let settings = COLUMNS.iter().filter(|name| !MEASURED.contains(name));
        let both = settings.map(|&name| (name, [self.get(name), other.get(name)]));
        both.into_iter().find(|(_, [a, b])| a != b)
    }
}

/// A number without zeros at its end.
fn round(x: f64, digits: i32) -> String {
    let factor = 10f64.powi(digits);
    ((x * factor).round() / factor).to_string()
}

/// The line of a row.
pub fn line<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Nothing fails in memory.
    writer.write_record(values).ok();
    writer.into_inner().unwrap_or_default()
}

/// All of `table.csv`.
pub fn csv(rows: &[Row]) -> Vec<u8> {
    let mut text = line(COLUMNS);
    for row in rows {
        text.extend(line(row.0.iter().map(String::as_str)));
    }
    text
}

/// The finished rows of a `table.csv` that may have been cut off in a line.
///
/// # Errors
/// [`Failure::Input`] naming the file and the line that is not of this table.
pub fn read(path: &Path, text: &[u8]) -> Result<Vec<Row>> {
    let end = text.iter().rposition(|byte| *byte == b'\n');
    let whole = &text[..end.map_or(0, |end| end + 1)];
    let refuse = |n: usize, what: &str| {
        Failure::Input(format!(
            "{}: line {n} {what}; delete the file to begin the sweep again",
            shown(path)
        ))
    };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(whole);
    let mut rows = Vec::new();
    for (i, record) in reader.records().enumerate() {
        let record = record.map_err(|e| refuse(i + 1, &format!("cannot be read: {e}")))?;
        let values: Vec<String> = record.iter().map(str::to_owned).collect();
        if i == 0 && values != COLUMNS {
            return Err(refuse(1, "has other columns than this program writes"));
        }
        let n = values.len();
        let values: [String; COLUMNS.len()] = values.try_into().map_err(|_| {
            refuse(
                i + 1,
                &format!("has {n} values, expected {}", COLUMNS.len()),
            )
        })?;
        if i > 0 {
            rows.push(Row(values));
        }
    }
    Ok(rows)
}

/// Settings of which another column tells whether they apply, so that a place without one says nothing more.
const IMPLIED: [&str; 4] = [
    "diffusion",
    "diffusion_norm",
    "guidance_channels",
    "guidance_interval",
];

/// Columns whose values differ between rows, and those that are the same wherever they apply.
pub fn varying(rows: &[Row]) -> (Vec<&'static str>, Vec<&'static str>) {
    let varies = |name: &'static str| {
        let values = rows.iter().map(|row| row.get(name));
        let mut values = values.filter(|value| !IMPLIED.contains(&name) || !value.is_empty());
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let is_empty = |name: &&'static str| rows.iter().all(|row| row.get(name).is_empty());
    let shown = COLUMNS.into_iter().filter(|name| !is_empty(name));
    shown.partition(|name| MEASURED.contains(name) || varies(name))
}

/// The table for people: the settings that vary, the others in a line above, and what the judges say of themselves.
pub fn markdown(title: &str, rows: &[Row], notes: &[String]) -> String {
    let (columns, constant) = varying(rows);
    let mut text = format!("# {title}\n\n");
    let settings: Vec<String> = constant
        .iter()
        .filter(|name| **name != "judge")
        .map(|name| {
            let mut values = rows.iter().map(|row| row.get(name));
            let value = values.find(|value| !value.is_empty());
            format!("{name} {}", value.unwrap_or_default())
        })
        .collect();
    // Writing to a string does not fail.
    writeln!(
        text,
        "Of all rows, where it applies: {}.\n",
        settings.join(", ")
    )
    .ok();
    for note in notes {
        writeln!(text, "- {note}").ok();
    }
    let cells: Vec<Vec<&str>> = rows
        .iter()
        .map(|row| columns.iter().map(|name| row.get(name)).collect())
        .collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|i| {
            let values = cells.iter().map(|row| row[i].chars().count());
            values.fold(columns[i].len().max(2), usize::max)
        })
        .collect();
    let padded = |values: &[&str]| {
        let cells = values.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(value, &width)| format!("{value:>width$}"))
            .collect();
        format!("| {} |\n", cells.join(" | "))
    };
    text += "\n";
    text += &padded(&columns);
    let rules: Vec<String> = widths
        .iter()
        .map(|&width| format!("{}:", "-".repeat(width - 1)))
        .collect();
    text += &format!("| {} |\n", rules.join(" | "));
    for row in &cells {
        text += &padded(row);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(steps: &str, frechet: &str) -> Row {
        let mut row = Row::default();
        for (column, value) in [
            ("solver", "ode-heun"),
            ("steps", steps),
            ("frechet", frechet),
        ] {
            row.0[at(column)] = value.into();
        }
        row
    }

    #[test]
    fn a_table_is_read_back_up_to_where_it_was_cut() {
        let rows = [row("8", "1.5"), row("16", "0.5")];
        let text = csv(&rows);
        let path = Path::new("table.csv");
        assert_eq!(read(path, &text).unwrap(), rows);
        for cut in 1..20 {
            assert_eq!(read(path, &text[..text.len() - cut]).unwrap(), rows[..1]);
        }
        assert_eq!(read(path, b"").unwrap(), []);
        let message = read(path, b"a,b\n").unwrap_err().to_string();
        assert!(
            message.starts_with("table.csv: line 1 has other columns"),
            "{message}"
        );
        let mut short = text.clone();
        short.extend(b"a,b\n");
        let message = read(path, &short).unwrap_err().to_string();
        assert!(message.contains("line 4 has 2 values"), "{message}");
    }

    #[test]
    fn settings_are_compared_and_what_was_measured_is_not() {
        assert_eq!(row("8", "1").differs(&row("8", "2")), None);
        let difference = Some(("steps", ["8", "16"]));
        assert_eq!(row("8", "1").differs(&row("16", "1")), difference);
    }

    #[test]
    fn people_see_what_varies() {
        let text = markdown(
            "T",
            &[row("8", "1.5"), row("16", "0.5")],
            &["a note".into()],
        );
        let expected = "# T\n\nOf all rows, where it applies: solver ode-heun.\n\n- a note\n\n\
            | steps | frechet |\n| ----: | ------: |\n|     8 |     1.5 |\n|    16 |     0.5 |\n";
        assert_eq!(text, expected);
    }
}
