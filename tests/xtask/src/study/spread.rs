//! Mean and spread over seeds.

use std::fmt;

/// Mean and standard deviation (n − 1) of a value over seeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub mean: f64,
    /// Nothing for one value.
    pub deviation: Option<f64>,
}

impl Spread {
    /// Nothing for no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
        (!values.is_empty()).then(|| Spread {
            mean,
            deviation: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
        })
    }

    /// The ends of mean ± deviation.
    pub fn ends(&self) -> (f64, f64) {
        let deviation = self.deviation.unwrap_or(0.0);
        (self.mean - deviation, self.mean + deviation)
    }
}

/// As many digits as the precision asks for.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$}", self.mean)?;
        match self.deviation {
            Some(deviation) => write!(f, " ± {deviation:.digits$}"),
            None => Ok(()),
        }
    }
}

/// Ranks from 0; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |x: &f64| {
        let below = values.iter().filter(|y| *y < x).count();
        let equal = values.iter().filter(|y| *y == x).count();
        below as f64 + (equal as f64 - 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

/// Spearman's rank correlation: 1 if y rises with x throughout, -1 if it falls. Nothing for constant values.
pub fn rank_correlation(points: &[(f64, f64)]) -> Option<f64> {
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let (x, y) = (ranks(&x), ranks(&y));
    let middle = (points.len() as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - middle) * (b - middle)).sum()
    };
    let squares = product(&x, &x) * product(&y, &y);
    (squares > 0.0).then(|| product(&x, &y) / squares.sqrt())
}

/// The Gregorian date of a day since 1970-01-01, as in 2026-11-30.
pub fn date(mut day: i64) -> String {
    let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let (mut year, mut month) = (1970, 0);
    let length = |year, month: usize| match month {
        1 => 28 + i64::from(leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    };
    while day >= length(year, month) {
        day -= length(year, month);
        month += 1;
        if month == 12 {
            (year, month) = (year + 1, 0);
        }
    }
    format!("{year}-{:02}-{:02}", month + 1, day + 1)
}

#[cfg(test)]
mod tests {
    use super::{Spread, date, rank_correlation};

    #[test]
    fn mean_and_deviation() {
        let spread = Spread::of(&[1.0, 2.0, 6.0]).unwrap();
        assert_eq!((spread.mean, spread.deviation), (3.0, Some(7f64.sqrt())));
        assert_eq!(format!("{spread:.1}"), "3.0 ± 2.6");
        assert_eq!(format!("{:.1}", Spread::of(&[1.25]).unwrap()), "1.2");
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn correlation_of_ranks() {
        let falling = [(1.0, 9.0), (10.0, 8.0), (100.0, 1.0)];
        assert_eq!(rank_correlation(&falling), Some(-1.0));
        // d = 0, 1, 1, 0: 1 - 6 * 2 / (4 * 15).
        let swapped = [(1.0, 1.0), (2.0, 3.0), (3.0, 2.0), (4.0, 4.0)];
        assert!((rank_correlation(&swapped).unwrap() - 0.8).abs() < 1e-12);
        assert_eq!(rank_correlation(&[(1.0, 1.0), (2.0, 1.0)]), None);
    }

    #[test]
    fn dates() {
        let days = [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (20_787, "2026-11-30"),
        ];
        for (day, wanted) in days {
            assert_eq!(date(day), wanted);
        }
    }
}
