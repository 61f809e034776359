//! Values of flags: whole numbers and numbers with their range, intervals of time.

use crate::config::number;
use std::ops::RangeInclusive;

/// Reads a whole number in `range`, `1e5` among them.
///
/// # Errors
/// What was expected.
pub fn whole<T: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let (least, most) = (range.start(), range.end());
        let number = number::whole(text).and_then(|number| u64::try_from(number).ok());
        let inside = number.filter(|number| range.contains(number));
        inside
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("expected a whole number of {least} to {most}"))
    }
}

/// Reads a number that is finite, `.5` and `1.e-4` among them.
///
/// # Errors
/// What was expected.
pub fn finite(text: &str) -> Result<f64, String> {
    let number = number::float(text).filter(|number| number.is_finite());
    number.ok_or_else(|| "expected a number".to_owned())
}

/// Reads two numbers such as `0.1..0.8`.
///
/// # Errors
/// What is wrong with them.
pub fn parse_interval(text: &str) -> Result<[f64; 2], String> {
    let refuse = || format!("{text:?}: expected two numbers like 0.1..0.8");
    let (lo, hi) = text.split_once("..").ok_or_else(refuse)?;
    match (finite(lo), finite(hi)) {
        (Ok(lo), Ok(hi)) => Ok([lo, hi]),
        _ => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_their_ranges() {
        let steps = whole::<u32>(1..=100_000);
        assert_eq!(
            (steps("1"), steps("1e5"), steps("250.0")),
            (Ok(1), Ok(100_000), Ok(250))
        );
        for bad in ["0", "-1", "100001", "1e300", "1.5", "nan", "", "many"] {
            let expected = "expected a whole number of 1 to 100000".to_owned();
            assert_eq!(steps(bad), Err(expected), "{bad}");
        }
        assert_eq!(
            whole::<u64>(0..=u64::MAX)("18446744073709551615"),
            Ok(u64::MAX)
        );
        assert_eq!(
            (finite("-5"), finite(".0001"), finite("1.e-4")),
            (Ok(-5.0), Ok(1e-4), Ok(1e-4))
        );
        for bad in ["inf", "NaN", "", "x", "1e999"] {
            assert!(finite(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn intervals_of_time() {
        assert_eq!(parse_interval("0.1..0.8"), Ok([0.1, 0.8]));
        assert!(parse_interval("0.1-0.8").is_err() && parse_interval("a..b").is_err());
    }
}
