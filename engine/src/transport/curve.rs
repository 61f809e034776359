//! A hand-drawn function of time.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// A piecewise linear function of `t` in `[0, 1]`, given by its values at 17 equally spaced times. They are finite
/// and at least 0. Files contain the list of values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "[f32; Curve::POINTS]", into = "[f32; Curve::POINTS]")]
pub struct Curve([f32; Curve::POINTS]);

impl Curve {
    const SEGMENTS: f64 = (Self::POINTS - 1) as f64;

    /// The curve through these values at `t = 0, 1/16, ..., 1`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first value that is negative or not finite.
    pub fn new(values: [f32; Self::POINTS]) -> Result<Self> {
        match values.iter().position(|v| !(v.is_finite() && *v >= 0.0)) {
            None => Ok(Self(values)),
            Some(i) => Err(Error::setting(
                "curve",
                format!(
                    "got {} at t = {i}/{}, expected a finite number of at least 0",
                    values[i],
                    Self::SEGMENTS
                ),
            )),
        }
    }

    /// The largest value.
    pub(super) fn max(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f32::max).into()
    }

    /// `lim C_t / (1 - t)` as `t` goes to 1; infinite for a curve that does not end in 0.
    pub(super) fn over_remaining_time_at_one(&self) -> f64 {
        let [.., before, end] = self.0;
        if end > 0.0 {
            f64::INFINITY
        } else {
            f64::from(before) * Self::SEGMENTS
        }
    }
}

#[doc(hidden)]
impl Curve {
    /// Number of values, one for every sixteenth.
    pub const POINTS: usize = 17;

    /// The time of point `i`.
    pub fn time(i: usize) -> f64 {
        i as f64 / Self::SEGMENTS
    }

    /// The values at `t = 0, 1/16, ..., 1`.
    pub fn values(&self) -> &[f32; Self::POINTS] {
        &self.0
    }

    /// The value at `t` in `[0, 1]`, exact at the points.
    pub fn at(&self, t: f64) -> f64 {
        let position = t * Self::SEGMENTS;
        let left = (position as usize).min(Self::POINTS - 2);
        let fraction = position - left as f64;
        f64::from(self.0[left]) * (1.0 - fraction) + f64::from(self.0[left + 1]) * fraction
    }
}

impl TryFrom<[f32; Curve::POINTS]> for Curve {
    type Error = Error;

    fn try_from(values: [f32; Self::POINTS]) -> Result<Self> {
        Self::new(values)
    }
}

impl From<Curve> for [f32; Curve::POINTS] {
    fn from(curve: Curve) -> Self {
        curve.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::testing::assert_near;

    fn squares() -> Curve {
        Curve::new(std::array::from_fn(|i| (i * i) as f32)).unwrap()
    }

    #[test]
    fn points_are_exact_and_the_middle_between_them_is_their_mean() {
        for i in 0..Curve::POINTS {
            assert_eq!(squares().at(Curve::time(i)), (i * i) as f64);
        }
        for i in 0..Curve::POINTS - 1 {
            let middle = 0.5 * (Curve::time(i) + Curve::time(i + 1));
            let mean = 0.5 * ((i * i) + (i + 1) * (i + 1)) as f64;
            assert_near("middle", squares().at(middle), mean, 1e-15);
        }
    }

    #[test]
    fn a_negative_or_infinite_value_is_named() {
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            let mut values = [1.0; Curve::POINTS];
            values[3] = bad;
            let message = Curve::new(values).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("curve: got {bad} at t = 3/16,")),
                "{message}"
            );
        }
    }

    #[test]
    fn files_hold_the_values_and_bad_ones_are_refused() {
        let text = serde_json::to_string(&squares()).unwrap();
        assert_eq!(&text[..14], "[0.0,1.0,4.0,9");
        assert_eq!(serde_json::from_str::<Curve>(&text).unwrap(), squares());
        let refusal = |text: &str| serde_json::from_str::<Curve>(text).unwrap_err().to_string();
        assert!(refusal(&text.replace(",4.0,", ",-4.0,")).contains("got -4 at t = 2/16"));
        assert!(refusal("[0.0, 1.0]").contains("17"));
    }
}
