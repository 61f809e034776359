//! The numbers of a set of images.

use crate::data::ImageSet;
use crate::metrics::Band;
use serde_json::{Map, Value, json};

/// A number of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    value: f64,
    /// Digits behind the point that people see.
    digits: usize,
    beside: Beside,
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
    pub fn plain(value: f64, digits: usize) -> Self {
        Number {
            value,
            digits,
            beside: Beside::Nothing,
        }
    }

    /// A number with its band.
    pub fn band(band: Band, digits: usize) -> Self {
        Number {
            value: band.value,
            digits,
            beside: band.bounds.map_or(Beside::Nothing, Beside::Bounds),
        }
    }

    /// A number with a standard deviation.
    pub fn deviation(value: f64, deviation: f64, digits: usize) -> Self {
        Number {
            value,
            digits,
            beside: Beside::Deviation(deviation),
        }
    }

    /// As people see it.
    pub fn text(&self) -> String {
        let shown = |x: f64| {
            let text = format!("{x:.*}", self.digits);
            // What rounds to nothing has no sign.
            let is_zero = text
                .trim_start_matches('-')
                .chars()
                .all(|c| c == '0' || c == '.');
            text.strip_prefix('-')
                .filter(|_| is_zero)
                .unwrap_or(&text)
                .to_owned()
        };
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
        let numbers = numbers.map(|(column, number)| format!("{column} {}", number.text()));
        numbers.collect::<Vec<_>>().join(", ")
    }

    /// Adds a number.
    pub fn push(&mut self, column: &'static str, number: Number) {
        self.numbers.push((column, number));
    }
}
