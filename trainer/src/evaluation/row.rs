//! The numbers of a set of images.

use crate::data::ImageSet;
use crate::metrics::Band;
use serde_json::{Map, Value, json};

/// A number of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    value: f64,
    beside: Beside,
}

/// A number of a column as people see it.
pub fn shown(x: f64, column: &str) -> String {
    let digits = match column {
        "agreement %" | "copies %" => 1,
        "is" | "nearest" => 2,
        "frechet" | "pixel-sw" | "pixel-energy" => 4,
        "kid" => 5,
        _ => 3,
    };
    let text = format!("{x:.digits$}");
    // What rounds to nothing has no sign.
    let mut magnitude = text.trim_start_matches('-').chars();
    match magnitude.all(|c| c == '0' || c == '.') {
        true => text.trim_start_matches('-').to_owned(),
        false => text,
    }
}

/// What stands beside a number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    /// Bounds of 95 %.
    Bounds([f64; 2]),
    /// A standard deviation.
    Deviation(f64),
}

impl Number {
    /// The number itself.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// A number alone.
    pub fn plain(value: f64) -> Self {
        Number {
            value,
            beside: Beside::Nothing,
        }
    }

    /// A number with its band.
    pub fn band(band: Band) -> Self {
        Number {
            value: band.value,
            beside: band.bounds.map_or(Beside::Nothing, Beside::Bounds),
        }
    }

    /// A number with a standard deviation.
    pub fn deviation(value: f64, deviation: f64) -> Self {
        Number {
            value,
            beside: Beside::Deviation(deviation),
        }
    }

    /// As people see it in a column.
    pub fn text(&self, column: &str) -> String {
        let shown = |x: f64| shown(x, column);
        let value = shown(self.value);
        match self.beside {
            Beside::Nothing => value,
            Beside::Bounds([low, high]) => format!("{value} [{}, {}]", shown(low), shown(high)),
            Beside::Deviation(deviation) => format!("{value} ± {}", shown(deviation)),
        }
    }

    /// With all digits, and what stands beside it.
    pub fn json(&self) -> Value {
        match self.beside {
            Beside::Nothing => json!(self.value),
            Beside::Deviation(deviation) => json!({ "value": self.value, "deviation": deviation }),
            Beside::Bounds([low, high]) => json!({ "value": self.value, "low": low, "high": high }),
        }
    }
}

/// A set of images with its numbers.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// What the images are.
    pub title: String,
    /// How many they are.
    pub n: usize,
    /// Columns and numbers, in their order.
    pub numbers: Vec<(&'static str, Number)>,
    /// What only the JSON has.
    pub more: Map<String, Value>,
}

impl Row {
    /// Of a set that nothing is known of.
    pub fn of(set: &ImageSet) -> Self {
        Row {
            title: set.name().to_owned(),
            n: set.len(),
            ..Row::default()
        }
    }

    /// Its numbers in one line.
    pub fn said(&self) -> String {
        let numbers = self.numbers.iter();
        let numbers = numbers.map(|(column, number)| format!("{column} {}", number.text(column)));
        numbers.collect::<Vec<_>>().join(", ")
    }

    /// The number of a column, if it has it.
    pub fn number(&self, column: &str) -> Option<&Number> {
        let found = self.numbers.iter().find(|(own, _)| *own == column);
        found.map(|(_, number)| number)
    }

    /// Adds a number.
    pub fn push(&mut self, column: &'static str, number: Number) {
        self.numbers.push((column, number));
    }
}
