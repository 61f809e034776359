//! Tables that `sit` writes as CSV.

use anyhow::{Context, Result, ensure};
use std::path::Path;

/// Rows with named columns. No value has a comma.
#[derive(Debug)]
pub struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// A row of a [`Table`].
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    columns: &'a [String],
    values: &'a [String],
}

impl Table {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let split = |line: &str| -> Vec<String> { line.split(',').map(str::to_owned).collect() };
        let mut lines = text.lines();
        let columns = split(lines.next().context("it is empty")?);
        let rows: Vec<Vec<String>> = lines.map(split).collect();
        for (i, row) in rows.iter().enumerate() {
            ensure!(
                row.len() == columns.len(),
                "line {}: got {} values, expected {}",
                i + 2,
                row.len(),
                columns.len()
            );
        }
        Ok(Table { columns, rows })
    }

    /// The rows, in the file's order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row {
            columns: &self.columns,
            values,
        })
    }

    /// The only row.
    ///
    /// # Errors
    /// If there is another number of rows.
    pub fn only(&self) -> Result<Row<'_>> {
        ensure!(
            self.rows.len() == 1,
            "got {} rows, expected one",
            self.rows.len()
        );
        self.rows().next().context("no row")
    }
}

impl<'a> Row<'a> {
    /// The text of a column.
    pub fn text(&self, column: &str) -> Result<&'a str> {
        let i = self.columns.iter().position(|name| name == column);
        let i = i.with_context(|| {
            format!(
                "no column {column:?}; there are {}",
                self.columns.join(", ")
            )
        })?;
        Ok(&self.values[i])
    }

    /// The number in a column.
    pub fn number(&self, column: &str) -> Result<f64> {
        let text = self.text(column)?;
        let number: f64 = text
            .parse()
            .ok()
            .with_context(|| format!("column {column:?}: got {text:?}, expected a number"))?;
        ensure!(
            number.is_finite(),
            "column {column:?}: got {text}, expected a finite number"
        );
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_have_names() {
        let table = Table::parse("solver,steps,frechet\node-heun,8,1.5\nsde-euler,16,\n").unwrap();
        let rows: Vec<_> = table.rows().collect();
        assert_eq!(rows[1].text("solver").unwrap(), "sde-euler");
        assert_eq!(rows[0].number("frechet").unwrap(), 1.5);
        let error = rows[1].number("frechet").unwrap_err().to_string();
        assert!(error.contains("expected a number"), "{error}");
        let error = rows[0].text("nfe").unwrap_err().to_string();
        assert!(error.contains("solver, steps, frechet"), "{error}");
        assert!(table.only().is_err());
    }

    #[test]
    fn a_short_line_is_refused() {
        let error = Table::parse("a,b\n1,2\n3\n").unwrap_err().to_string();
        assert_eq!(error, "line 3: got 1 values, expected 2");
        assert!(Table::parse("").is_err());
    }
}
