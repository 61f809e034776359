//! From values to places along an axis, and the values that are marked there.

/// An axis that has found its range.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    log: bool,
    /// Ends in values, or in their logarithms to base 10.
    ends: [f64; 2],
    /// Where these ends are drawn.
    places: [f64; 2],
}

impl Scale {
    /// A range that has all values and a little more. Without values it is of length 1.
    pub fn fit(values: impl Iterator<Item = f64>, log: bool, places: [f64; 2]) -> Self {
        let values = values.map(|x| if log { x.log10() } else { x });
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for x in values.filter(|x| x.is_finite()) {
            (low, high) = (low.min(x), high.max(x));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let more = if high > low { 0.06 * (high - low) } else { 0.5 };
        Scale {
            log,
            ends: [low - more, high + more],
            places,
        }
    }

    /// Where a value is drawn; a value that a logarithm cannot have is at the low end.
    pub fn place(&self, value: f64) -> f64 {
        let x = if self.log { value.log10() } else { value };
        let [low, high] = self.ends;
        let share = ((x - low) / (high - low)).clamp(0.0, 1.0);
        // A comparison with NaN is false.
        let share = if share >= 0.0 { share } else { 0.0 };
        self.places[0] + share * (self.places[1] - self.places[0])
    }

    /// About five round values within the range.
    pub fn ticks(&self) -> Vec<f64> {
        let [low, high] = self.ends;
        if !self.log {
            return round_values(low, high);
        }
        let decades = low.floor() as i32..=high.ceil() as i32;
        let all = |digits: &[f64]| -> Vec<f64> {
            let values = decades
                .clone()
                .flat_map(|d| digits.iter().map(move |m| m * 10f64.powi(d)));
            values
                .filter(|x| (low..=high).contains(&x.log10()))
                .collect()
        };
        let choices = [vec![1.0], vec![1.0, 3.0], vec![1.0, 2.0, 5.0]];
        let mut found = choices.iter().map(|digits| all(digits));
        let found = found.find(|ticks| ticks.len() >= 3);
        // A range so short is nearly linear.
        found.unwrap_or_else(|| round_values(10f64.powf(low), 10f64.powf(high)))
    }
}

/// The multiples of a round step.
fn round_values(low: f64, high: f64) -> Vec<f64> {
    let step = round_step((high - low) / 6.0);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// The next of 1, 2, 5, 10, ... from `step` on.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let digits = [1.0, 2.0, 5.0, 10.0];
    let enough = digits.iter().find(|digit| *digit * power >= step * 0.999);
    enough.unwrap_or(&10.0) * power
}

/// A value of an axis in few characters.
pub fn label(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-3..1e5).contains(&size) {
        let text = format!("{value:.3}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    format!("{value:.0e}")
}

#[cfg(test)]
mod tests {
    use super::{Scale, label};

    fn scale(values: &[f64], log: bool) -> Scale {
        Scale::fit(values.iter().copied(), log, [100.0, 200.0])
    }

    #[test]
    fn places_are_in_order_and_inside() {
        for log in [false, true] {
            let scale = scale(&[1.0, 10.0, 100.0], log);
            let places = [1.0, 10.0, 100.0].map(|x| scale.place(x));
            assert!(
                100.0 < places[0]
                    && places[0] < places[1]
                    && places[1] < places[2]
                    && places[2] < 200.0
            );
        }
        assert!((scale(&[1.0, 100.0], true).place(10.0) - 150.0).abs() < 1e-9);
        assert_eq!(scale(&[1.0, 2.0], true).place(-1.0), 100.0);
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            scale(&[0.0, 10.0], false).ticks(),
            [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
        );
        assert_eq!(
            scale(&[1.0, 1000.0], true).ticks(),
            [1.0, 10.0, 100.0, 1000.0]
        );
        assert_eq!(scale(&[19.0, 160.0], true).ticks(), [20.0, 50.0, 100.0]);
    }

    #[test]
    fn one_value_or_none_has_a_range() {
        assert_eq!(scale(&[3.0], false).place(3.0), 150.0);
        assert_eq!(scale(&[], false).place(0.5), 150.0);
    }

    #[test]
    fn labels_are_short() {
        let labels = [0.0, 0.25, 20.0, 3e12].map(label);
        assert_eq!(labels, ["0", "0.25", "20", "3e12"]);
    }
}
