//! A piecewise linear function of time.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A piecewise linear function of `t` in `[0, 1]`: a hand-drawn one, by its values at 17 equally spaced times, or one of any
/// points. Values are finite and at least 0. A file contains the list of values, or the list of `[t, value]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "CurveFile", into = "CurveFile")]
pub struct Curve(Arc<[[f64; 2]]>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum CurveFile {
    Values(Vec<f32>),
    Points(Vec<[f64; 2]>),
}

impl Curve {
    const SEGMENTS: f64 = (Self::POINTS - 1) as f64;

    /// The curve through these values at `t = 0, 1/16, ..., 1`.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first value that is negative or not finite.
    pub fn new(values: [f32; Self::POINTS]) -> Result<Self> {
        match values.iter().position(|v| !(v.is_finite() && *v >= 0.0)) {
            None => Ok(Self(
                (0..Self::POINTS)
                    .map(|i| [Self::time(i), values[i].into()])
                    .collect(),
            )),
            Some(i) => Err(refused(format!(
                "got {} at t = {i}/{}, expected a finite number of at least 0",
                values[i],
                Self::SEGMENTS
            ))),
        }
    }

    /// As [`Curve::through`], for times that rise within `[0, 1]`; the first and the last value count to the ends.
    ///
    /// # Errors
    /// As there.
    pub fn extended(mut points: Vec<[f64; 2]>) -> Result<Self> {
        if let (Some(&[first, at_first]), Some(&[last, at_last])) = (points.first(), points.last())
        {
            if first > 0.0 {
                points.insert(0, [0.0, at_first]);
            }
            if last < 1.0 {
                points.push([1.0, at_last]);
            }
        }
        Self::through(points)
    }

    /// The curve through these points `[t, value]`, whose times rise from 0 to 1.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first point that is wrong.
    pub fn through(points: Vec<[f64; 2]>) -> Result<Self> {
        let n = points.len();
        if n < 2 || points[0][0] != 0.0 || points[n - 1][0] != 1.0 {
            return Err(refused(
                "expected at least two points, the first at time 0 and the last at time 1".into(),
            ));
        }
        if let Some(pair) = points
            .windows(2)
            .find(|pair| pair[1][0].is_nan() || pair[1][0] <= pair[0][0])
        {
            let ([t0, _], [t1, _]) = (pair[0], pair[1]);
            return Err(refused(format!(
                "got the time {t1} after {t0}, expected each time above the one before"
            )));
        }
        match points.iter().find(|[_, v]| !(v.is_finite() && *v >= 0.0)) {
            None => Ok(Self(points.into())),
            Some([t, v]) => Err(refused(format!(
                "got {v} at t = {t}, expected a finite number of at least 0"
            ))),
        }
    }

    /// The largest value.
    pub(super) fn max(&self) -> f64 {
        self.0.iter().map(|point| point[1]).fold(0.0, f64::max)
    }

    /// `lim C_t / (1 - t)` as `t` goes to 1; infinite for a curve that does not end in 0.
    pub(super) fn over_remaining_time_at_one(&self) -> f64 {
        let [before, end] = [self.0.len() - 2, self.0.len() - 1].map(|i| self.0[i]);
        match end[1] > 0.0 {
            true => f64::INFINITY,
            false => before[1] / (1.0 - before[0]),
        }
    }
}

#[doc(hidden)]
impl Curve {
    /// Number of values of a hand-drawn curve, one for every sixteenth.
    pub const POINTS: usize = 17;

    /// The time of point `i` of a hand-drawn curve.
    pub fn time(i: usize) -> f64 {
        i as f64 / Self::SEGMENTS
    }

    /// The values at `t = 0, 1/16, ..., 1`, which are all of a hand-drawn curve.
    pub fn values(&self) -> [f32; Self::POINTS] {
        std::array::from_fn(|i| self.at(Self::time(i)) as f32)
    }

    /// The points `[t, value]`.
    pub fn points(&self) -> &[[f64; 2]] {
        &self.0
    }

    /// The value at `t` in `[0, 1]`, exact at the points.
    pub fn at(&self, t: f64) -> f64 {
        let after = self.0.partition_point(|point| point[0] <= t);
        let left = after.clamp(1, self.0.len() - 1) - 1;
        let ([t0, v0], [t1, v1]) = (self.0[left], self.0[left + 1]);
        let fraction = (t - t0) / (t1 - t0);
        v0 * (1.0 - fraction) + v1 * fraction
    }

    /// Whether it is a hand-drawn one.
    fn is_drawn(&self) -> bool {
        let drawn = |(i, point): (usize, &[f64; 2])| {
            point[0] == Self::time(i) && f64::from(point[1] as f32) == point[1]
        };
        self.0.len() == Self::POINTS && self.0.iter().enumerate().all(drawn)
    }
}

fn refused(problem: String) -> Error {
    Error::setting("curve", problem)
}

impl TryFrom<CurveFile> for Curve {
    type Error = Error;

    fn try_from(file: CurveFile) -> Result<Self> {
        match file {
            CurveFile::Values(values) => {
                let n = values.len();
                Self::new(
                    values.try_into().map_err(|_| {
                        refused(format!("got {n} values, expected {}", Self::POINTS))
                    })?,
                )
            }
            CurveFile::Points(points) => Self::through(points),
        }
    }
}

impl From<Curve> for CurveFile {
    fn from(curve: Curve) -> Self {
        match curve.is_drawn() {
            true => CurveFile::Values(curve.values().to_vec()),
            false => CurveFile::Points(curve.0.to_vec()),
        }
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

    #[test]
    fn points_at_any_times_come_back() {
        let points = vec![[0.0, 1.0], [0.1, 3.0], [1.0, 0.0]];
        let curve = Curve::through(points.clone()).unwrap();
        assert_eq!(curve.points(), points);
        assert_near("between", curve.at(0.05), 2.0, 1e-15);
        assert_near(
            "limit",
            curve.over_remaining_time_at_one(),
            3.0 / 0.9,
            1e-15,
        );
        let text = serde_json::to_string(&curve).unwrap();
        assert_eq!(serde_json::from_str::<Curve>(&text).unwrap(), curve);
        for bad in [
            vec![[0.0, 1.0]],
            vec![[0.0, 1.0], [0.9, 1.0]],
            vec![[0.0, 1.0], [0.0, 2.0], [1.0, 1.0]],
            vec![[0.0, -1.0], [1.0, 1.0]],
        ] {
            assert!(Curve::through(bad).is_err());
        }
    }
}
