//! The table of `sit eval`, for people and as JSON.

use crate::evaluation::Row;
use serde_json::{Map, Value, json};

/// The columns of some rows, in the order of the first that have them.
fn columns(rows: &[Row]) -> Vec<&'static str> {
    let mut columns = Vec::new();
    for (column, _) in rows.iter().flat_map(|row| &row.numbers) {
        if !columns.contains(column) {
            columns.push(*column);
        }
    }
    columns
}

/// The table for people, under what the numbers are.
pub fn markdown(rows: &[Row], notes: &[String]) -> String {
    let columns = columns(rows);
    let mut cells: Vec<Vec<String>> = vec![vec!["images".into(), "count".into()]];
    cells[0].extend(columns.iter().map(|column| (*column).to_owned()));
    for row in rows {
        let of_column = |column: &&'static str| {
            let number = row.number(column);
            number.map_or(String::new(), |number| number.text(column))
        };
        let mut line = vec![row.title.clone(), row.n.to_string()];
        line.extend(columns.iter().map(of_column));
        cells.push(line);
    }
    under(notes, &cells)
}

/// A table under what its numbers are.
pub fn under(notes: &[String], cells: &[Vec<String>]) -> String {
    let mut text: String = notes.iter().map(|note| format!("- {note}\n")).collect();
    if !notes.is_empty() {
        text += "\n";
    }
    text + &aligned(cells)
}

/// A table of Markdown under its header, with columns that are aligned.
fn aligned(cells: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..cells[0].len())
        .map(|i| {
            cells
                .iter()
                .map(|line| line[i].chars().count())
                .fold(2, usize::max)
        })
        .collect();
    let line = |values: &[String]| {
        let padded = values.iter().zip(&widths).enumerate();
        let padded = padded.map(|(i, (value, &width))| match i {
            0 => format!("{value:<width$}"),
            _ => format!("{value:>width$}"),
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let mut text = line(&cells[0]);
    let rules = widths.iter().enumerate().map(|(i, &width)| match i {
        0 => format!(":{}", "-".repeat(width - 1)),
        _ => format!("{}:", "-".repeat(width - 1)),
    });
    text += &format!("| {} |\n", rules.collect::<Vec<_>>().join(" | "));
    for row in &cells[1..] {
        text += &line(row);
    }
    text
}

/// All rows with all digits.
pub fn to_json(rows: &[Row], notes: &[String], settings: Value) -> Value {
    let of_row = |row: &Row| {
        let mut object = Map::new();
        object.insert("images".into(), json!(row.title));
        object.insert("count".into(), json!(row.n));
        for (column, number) in &row.numbers {
            object.insert((*column).into(), number.json());
        }
        object.extend(row.more.clone());
        Value::Object(object)
    };
    json!({
        "settings": settings,
        "notes": notes,
        "rows": rows.iter().map(of_row).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::Number;
    use crate::metrics::Band;

    fn rows() -> Vec<Row> {
        let band = Band {
            value: 0.25,
            bounds: Some([-1e-9, 0.5]),
        };
        let mut one = Row {
            title: "ode.npz".into(),
            n: 100,
            ..Row::default()
        };
        one.push("frechet", Number::plain(1.23456));
        one.push("pixel-sw", Number::band(band));
        let mut two = Row {
            title: "held out".into(),
            n: 7,
            ..Row::default()
        };
        two.push(
            "pixel-sw",
            Number::band(Band {
                bounds: None,
                ..band
            }),
        );
        vec![one, two]
    }

    #[test]
    fn people_see_a_table() {
        let expected = "- a note\n\n\
            | images   | count | frechet |                pixel-sw |\n\
            | :------- | ----: | ------: | ----------------------: |\n\
            | ode.npz  |   100 |  1.2346 | 0.2500 [0.0000, 0.5000] |\n\
            | held out |     7 |         |                  0.2500 |\n";
        assert_eq!(markdown(&rows(), &["a note".into()]), expected);
    }

    #[test]
    fn programs_get_all_digits() {
        let value = to_json(&rows(), &[], json!({ "seed": 3 }));
        assert_eq!(value["rows"][0]["frechet"], json!(1.23456));
        assert_eq!(value["rows"][0]["pixel-sw"]["low"], json!(-1e-9));
        assert_eq!(value["rows"][1]["count"], json!(7));
        assert_eq!(value["settings"]["seed"], json!(3));
    }
}
