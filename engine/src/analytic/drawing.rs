//! Point sets along hand-drawn strokes.

use super::mixture::{Component, Mixture};
use super::points::{Point, Points, distance, point_of};
use crate::error::Error;
use std::ops::Range;

/// Hand-drawn strokes as a mixture of Gaussians along them; every non-empty stroke is a class.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    mixture: Mixture,
    /// The stroke of each component.
    strokes: Vec<u32>,
}

impl Drawing {
    /// Components of all strokes together, plus at most one for each stroke: computing an exact velocity visits all of them.
    const MAX_COMPONENTS: usize = 512;

    /// The density along the polylines through these points, with standard deviation `bandwidth`. The weight of a stroke is
    /// proportional to its length plus one bandwidth, so that single points count too.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no point, one is not finite, or the bandwidth is not a finite number above 0.
    pub fn new(strokes: &[Vec<[f32; 2]>], bandwidth: f64) -> Result<Self, Error> {
        if !(bandwidth > 0.0 && bandwidth.is_finite()) {
            return Err(Error::Config(format!(
                "bandwidth of a drawing: got {bandwidth}, expected a finite number above 0"
            )));
        }
        if let Some(point) = strokes
            .iter()
            .flatten()
            .find(|p| !p.iter().all(|x| x.is_finite()))
        {
            return Err(Error::Config(format!(
                "point of a drawing: got {point:?}, expected finite numbers"
            )));
        }
        let strokes = || strokes.iter().filter(|stroke| !stroke.is_empty());
        let lengths: Vec<f64> = strokes().map(|stroke| length(stroke)).collect();
        // Components half a bandwidth apart form a smooth line.
        let spacing =
            (0.5 * bandwidth).max(lengths.iter().sum::<f64>() / Self::MAX_COMPONENTS as f64);
        let (mut components, mut numbers) = (Vec::new(), Vec::new());
        for (number, (stroke, length)) in strokes().zip(&lengths).enumerate() {
            let points = along(stroke, (length / spacing) as usize + 1);
            for point in &points {
                components.push(Component {
                    weight: (length + bandwidth) / points.len() as f64,
                    mean: point.to_vec(),
                    std: vec![bandwidth; 2],
                });
                numbers.push(number as u32);
            }
        }
        if components.is_empty() {
            return Err(Error::Config("drawing: got no point".into()));
        }
        Ok(Self {
            mixture: Mixture::new(components)?,
            strokes: numbers,
        })
    }
}

impl Points for Drawing {
    fn n_classes(&self) -> u32 {
        self.strokes.last().map_or(1, |last| last + 1)
    }

    fn points(&self, seed: u64, indices: Range<u64>) -> Vec<Point> {
        let of_stroke = |index| {
            let point = point_of(&self.mixture, seed, index);
            Point {
                label: self.strokes[point.label as usize],
                ..point
            }
        };
        indices.map(of_stroke).collect()
    }

    fn mixture(&self) -> Option<Mixture> {
        Some(self.mixture.clone())
    }
}

fn length(stroke: &[[f32; 2]]) -> f64 {
    stroke
        .windows(2)
        .map(|pair| distance(pair[0], pair[1]))
        .sum()
}

/// `n` points along a polyline, in the middles of equal shares of its length; all at the same point if it has only one.
fn along(stroke: &[[f32; 2]], n: usize) -> Vec<[f64; 2]> {
    let total = length(stroke);
    let mut points = Vec::new();
    let (mut segment, mut before) = (0, 0.0);
    while let Some(&start) = stroke.get(segment)
        && points.len() < n
    {
        let end = stroke.get(segment + 1).copied().unwrap_or(start);
        let long = distance(start, end);
        let target = (points.len() as f64 + 0.5) / n as f64 * total - before;
        if target > long && segment + 2 < stroke.len() {
            (segment, before) = (segment + 1, before + long);
            continue;
        }
        let fraction = if long > 0.0 {
            (target / long).min(1.0)
        } else {
            0.0
        };
        points.push([0, 1].map(|i| {
            let (start, end) = (f64::from(start[i]), f64::from(end[i]));
            start + fraction * (end - start)
        }));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::Toy;

    /// Mean and covariance of the points against those of the mixture.
    #[test]
    fn points_of_a_mixture_have_its_moments() {
        const N: usize = 20_000;
        let stroke = vec![[-0.5, -0.5], [0.5, 0.0], [0.5, 0.7]];
        let drawing = Drawing::new(&[stroke, vec![[0.0, 0.9]]], 0.05).unwrap();
        let mut sets: Vec<&dyn Points> = Toy::ALL.iter().map(|toy| toy as &dyn Points).collect();
        sets.push(&drawing);
        for set in sets {
            let Some(mixture) = set.mixture() else {
                continue;
            };
            let points = set.points(9, 0..N as u64);
            let exact = |f: &dyn Fn(&Component) -> f64| -> f64 {
                mixture.components().iter().map(|c| c.weight * f(c)).sum()
            };
            for (i, j) in [(0, 0), (0, 1), (1, 1)] {
                let got = |f: &dyn Fn([f64; 2]) -> f64| {
                    points.iter().map(|p| f(p.x.map(f64::from))).sum::<f64>() / N as f64
                };
                let square = exact(&|c| {
                    c.mean[i] * c.mean[j] + if i == j { c.std[i] * c.std[i] } else { 0.0 }
                });
                // The coordinates are below 1.3, so the standard errors of the means are below 1.7 / sqrt N.
                assert!((got(&|x| x[i]) - exact(&|c| c.mean[i])).abs() < 0.03);
                assert!((got(&|x| x[i] * x[j]) - square).abs() < 0.03);
            }
        }
    }

    #[test]
    fn a_drawing_is_even_along_its_strokes() {
        assert_eq!(
            along(&[[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]], 4),
            [[0.25, 0.0], [0.75, 0.0], [1.0, 0.25], [1.0, 0.75]]
        );
        assert_eq!(along(&[[0.3, 0.5]], 1), [[0.3_f32, 0.5].map(f64::from)]);
        let strokes = [vec![[-0.8, 0.0], [0.8, 0.0]], vec![[0.0, 0.5]]];
        let drawing = Drawing::new(&strokes, 0.1).unwrap();
        assert_eq!(drawing.n_classes(), 2);
        let second: f64 = drawing
            .mixture
            .components()
            .iter()
            .zip(&drawing.strokes)
            .filter(|(_, stroke)| **stroke == 1)
            .map(|(c, _)| c.weight)
            .sum();
        assert!((second - 0.1 / 1.8).abs() < 1e-9, "{second}");
        for p in drawing.points(3, 0..500) {
            let expected = if p.label == 0 { 0.0 } else { 0.5 };
            assert!((p.x[1] - expected).abs() < 0.5, "{p:?}");
        }
        // However long the strokes, the mixture stays small.
        let scribble: Vec<[f32; 2]> = (0..5000)
            .map(|i| [(i % 2) as f32, i as f32 / 5000.0])
            .collect();
        let n = Drawing::new(&[scribble], 0.001).unwrap().strokes.len();
        assert!((500..=514).contains(&n), "{n}");
    }

    #[test]
    fn a_bad_drawing_says_why() {
        let refusal = |strokes: &[Vec<[f32; 2]>], bandwidth| {
            Drawing::new(strokes, bandwidth).unwrap_err().to_string()
        };
        assert_eq!(refusal(&[vec![]], 0.1), "drawing: got no point");
        assert!(refusal(&[vec![[0.0; 2]]], 0.0).starts_with("bandwidth of a drawing: got 0,"));
        assert!(
            refusal(&[vec![[0.0, f32::NAN]]], 0.1)
                .starts_with("point of a drawing: got [0.0, NaN]")
        );
    }
}
