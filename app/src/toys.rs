//! Data sets of points in the plane: what a small model learns in seconds and the eye checks at once.
//!
//! A point is a function of (seed, index), about within `[-1, 1]`, with the class it belongs to. A model of such data has 2
//! channels, input size 1 and patch 1: a batch `[n, 2]` is `[n, C = 2, 1, 1]`.

use crate::oracle::{Component, Mixture};
use sit_engine::Error;
use sit_engine::rng::{Stream, normal, uniform};
use std::f64::consts::{PI, TAU};
use std::ops::Range;

/// A point and its class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Where it is.
    pub x: [f32; 2],
    /// Its class, below [`Points::n_classes`].
    pub label: u32,
}

/// A distribution of points.
pub trait Points {
    /// Number of classes, at least 1.
    fn n_classes(&self) -> u32;

    /// The points of these numbers.
    fn points(&self, seed: u64, indices: Range<u64>) -> Vec<Point>;

    /// The distribution as a mixture, if it is one: then [`Mixture`] knows the exact velocity and density.
    fn mixture(&self) -> Option<Mixture>;
}

/// The named data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Toy {
    /// Two interleaved half circles.
    Moons,
    /// Two circles, one inside the other.
    Rings,
    /// The black squares of a 4 x 4 board.
    Checkerboard,
    /// Two arms of a spiral.
    Spiral,
    /// Two Gaussians.
    TwoGaussians,
    /// Eight Gaussians on a circle.
    EightGaussians,
    /// Nine Gaussians on a grid.
    Grid,
    /// Three Gaussians of unequal weights and shapes.
    Unequal,
}

impl Toy {
    /// Every data set, in the order users see.
    pub const ALL: &[Self] = &[
        Self::Moons,
        Self::Rings,
        Self::Checkerboard,
        Self::Spiral,
        Self::TwoGaussians,
        Self::EightGaussians,
        Self::Grid,
        Self::Unequal,
    ];

    /// The name that users see and links hold.
    pub fn name(self) -> &'static str {
        match self {
            Self::Moons => "moons",
            Self::Rings => "rings",
            Self::Checkerboard => "checkerboard",
            Self::Spiral => "spiral",
            Self::TwoGaussians => "two-gaussians",
            Self::EightGaussians => "eight-gaussians",
            Self::Grid => "grid",
            Self::Unequal => "unequal",
        }
    }

    /// What it is and what it shows, in one sentence.
    pub fn about(self) -> &'static str {
        match self {
            Self::Moons => "Two interleaved half circles: no straight line separates the classes.",
            Self::Rings => {
                "Two circles, one inside the other: the inner one is reached across the outer."
            }
            Self::Checkerboard => {
                "The black squares of a 4 x 4 board: sharp edges, which coarse steps blur."
            }
            Self::Spiral => "Two arms of a spiral: paths must bend to get between the arms.",
            Self::TwoGaussians => {
                "Two Gaussians: the simplest choice a path has to make; exact velocity known."
            }
            Self::EightGaussians => {
                "Eight Gaussians on a circle: a path decides late where it goes; exact velocity known."
            }
            Self::Grid => {
                "Nine Gaussians on a grid: a model may drop some of them; exact velocity known."
            }
            Self::Unequal => {
                "Three Gaussians of unequal weights and shapes: check their shares; exact velocity known."
            }
        }
    }

    /// The data set of this name.
    ///
    /// # Errors
    /// [`Error::Config`] listing the names.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        Self::ALL
            .iter()
            .copied()
            .find(|toy| toy.name() == name)
            .ok_or_else(|| {
                let names: Vec<_> = Self::ALL.iter().map(|toy| toy.name()).collect();
                let names = names.join(", ");
                Error::Config(format!("data set: got \"{name}\", expected one of {names}"))
            })
    }
}

/// Spread of the Gaussians on the circle and on the grid.
const SPREAD: f64 = 0.08;

impl Points for Toy {
    fn n_classes(&self) -> u32 {
        match self {
            Self::Moons | Self::Rings | Self::Spiral | Self::TwoGaussians => 2,
            Self::Checkerboard => 1,
            Self::EightGaussians => 8,
            Self::Grid => 9,
            Self::Unequal => 3,
        }
    }

    fn points(&self, seed: u64, indices: Range<u64>) -> Vec<Point> {
        match self.mixture() {
            Some(mixture) => indices.map(|i| point_of(&mixture, seed, i)).collect(),
            None => indices.map(|i| self.shaped_point(seed, i)).collect(),
        }
    }

    fn mixture(&self) -> Option<Mixture> {
        let component = |weight, mean: [f64; 2], std: [f64; 2]| Component {
            weight,
            mean: mean.to_vec(),
            std: std.to_vec(),
        };
        let components = match self {
            Self::Moons | Self::Rings | Self::Checkerboard | Self::Spiral => return None,
            Self::TwoGaussians => vec![
                component(1.0, [-0.6, 0.0], [0.15; 2]),
                component(1.0, [0.6, 0.0], [0.15; 2]),
            ],
            Self::EightGaussians => {
                let on_circle = |k: u32| {
                    let (sin, cos) = libm::sincos(TAU * f64::from(k) / 8.0);
                    component(1.0, [0.8 * cos, 0.8 * sin], [SPREAD; 2])
                };
                (0..8).map(on_circle).collect()
            }
            Self::Grid => {
                let at = |k: u32| 0.75 * (f64::from(k) - 1.0);
                let cell = |k: u32| component(1.0, [at(k % 3), at(k / 3)], [SPREAD; 2]);
                (0..9).map(cell).collect()
            }
            Self::Unequal => vec![
                component(0.6, [-0.5, 0.3], [0.25, 0.1]),
                component(0.3, [0.5, 0.4], [0.08, 0.25]),
                component(0.1, [0.2, -0.7], [0.1, 0.1]),
            ],
        };
        Some(Mixture::new(components).expect("the components above are valid"))
    }
}

impl Toy {
    /// A point of a set that is no mixture.
    fn shaped_point(self, seed: u64, index: u64) -> Point {
        let label = (draw(seed, index, 0) * f64::from(self.n_classes())) as u32;
        let (u, v) = (draw(seed, index, 1), draw(seed, index, 2));
        let side = if label == 0 { 1.0 } else { -1.0 };
        let (x, spread) = match self {
            Self::Moons => {
                // Half circles of radius 0.6 about (-0.3, -0.15) and (0.3, 0.15).
                let (sin, cos) = libm::sincos(PI * u);
                ([side * (0.6 * cos - 0.3), side * (0.6 * sin - 0.15)], 0.05)
            }
            Self::Rings => {
                let radius = if label == 0 { 0.4 } else { 0.9 };
                let (sin, cos) = libm::sincos(TAU * u);
                ([radius * cos, radius * sin], 0.04)
            }
            Self::Spiral => {
                // The square root spreads the points along an arm whose radius grows with the angle.
                let turn = libm::sqrt(0.02 + 0.98 * u);
                let (sin, cos) = libm::sincos(1.5 * TAU * turn);
                ([side * 0.95 * turn * cos, side * 0.95 * turn * sin], 0.025)
            }
            _ => {
                // Row and column of one of the eight black squares, which are half a unit wide.
                let square = (draw(seed, index, 3) * 8.0) as u32;
                let (row, half) = (square / 2, square % 2);
                let column = 2 * half + row % 2;
                let at = |cell: u32, u: f64| -1.0 + 0.5 * (f64::from(cell) + u);
                ([at(column, u), at(row, v)], 0.0)
            }
        };
        let x = std::array::from_fn(|i| x[i] + spread * draw_normal(seed, index, i));
        Point {
            x: x.map(|x| x as f32),
            label,
        }
    }
}

/// Strokes drawn by hand, as a mixture of Gaussians along them; a stroke is a class, but for empty ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    mixture: Mixture,
    /// The stroke of each component.
    strokes: Vec<u32>,
}

impl Drawing {
    /// Components of all strokes together, but for one more each: an exact velocity costs one pass over them.
    const MAX_COMPONENTS: usize = 512;

    /// The density along polylines through these points, spread by the standard deviation `bandwidth`: each stroke has a weight
    /// in proportion to its length plus one bandwidth, so that a single point counts too.
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
        // Components half a bandwidth apart make a smooth line.
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

/// A point of a mixture; its label is the component.
fn point_of(mixture: &Mixture, seed: u64, index: u64) -> Point {
    let components = mixture.components();
    let mut rest = draw(seed, index, 0);
    let chosen = components.iter().position(|c| {
        rest -= c.weight;
        rest < 0.0
    });
    // Weights sum to 1 but for rounding.
    let label = chosen.unwrap_or(components.len() - 1);
    let Component { mean, std, .. } = &components[label];
    let x = |i: usize| (mean[i] + std[i] * draw_normal(seed, index, i)) as f32;
    Point {
        x: [x(0), x(1)],
        label: label as u32,
    }
}

/// Uniform draw number `number` of a point.
fn draw(seed: u64, index: u64, number: u32) -> f64 {
    uniform(seed, Stream::Toy, number, index)
}

/// The normal of coordinate `i` of a point.
fn draw_normal(seed: u64, index: u64, i: usize) -> f64 {
    normal(seed, Stream::Toy, 4, 2 * index + i as u64)
}

fn distance(a: [f32; 2], b: [f32; 2]) -> f64 {
    let [dx, dy] = [0, 1].map(|i| f64::from(b[i]) - f64::from(a[i]));
    libm::sqrt(dx * dx + dy * dy)
}

fn length(stroke: &[[f32; 2]]) -> f64 {
    stroke
        .windows(2)
        .map(|pair| distance(pair[0], pair[1]))
        .sum()
}

/// `n` points along a polyline, each in the middle of an equal share of its length; all on the point if it is only one.
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

    #[test]
    fn names_are_unique_and_lead_back() {
        for &toy in Toy::ALL {
            assert_eq!(Toy::from_name(toy.name()), Ok(toy));
            assert!(toy.about().ends_with('.'), "{}", toy.about());
        }
        let message = Toy::from_name("moon").unwrap_err().to_string();
        assert!(message.starts_with("data set: got \"moon\", expected one of moons, rings"));
    }

    /// Centered, about within the unit square, neither collapsed nor wider than noise; every class has its share.
    #[test]
    fn every_set_has_the_scale_of_images_and_all_its_classes() {
        const N: usize = 4000;
        for toy in Toy::ALL {
            let (points, name) = (toy.points(3, 0..N as u64), toy.name());
            for i in 0..2 {
                let x = || points.iter().map(|p| f64::from(p.x[i]));
                let mean = x().sum::<f64>() / N as f64;
                let deviation = (x().map(|x| (x - mean).powi(2)).sum::<f64>() / N as f64).sqrt();
                assert!(mean.abs() < 0.25, "{name}: mean {mean}");
                assert!(
                    (0.14..1.0).contains(&deviation),
                    "{name}: deviation {deviation}"
                );
                let outside = x().filter(|x| x.abs() > 1.15).count();
                assert!(outside < N / 200, "{name}: {outside} outside");
            }
            let mut counts = vec![0; toy.n_classes() as usize];
            points.iter().for_each(|p| counts[p.label as usize] += 1);
            let weights = toy
                .mixture()
                .map(|m| m.components().iter().map(|c| c.weight).collect());
            let weights: Vec<f64> =
                weights.unwrap_or(vec![1.0 / counts.len() as f64; counts.len()]);
            for (count, weight) in counts.iter().zip(weights) {
                let spread = (N as f64 * weight * (1.0 - weight)).sqrt();
                let z = (f64::from(*count) - N as f64 * weight) / spread.max(1.0);
                assert!(z.abs() < 5.0, "{name}: {counts:?}");
            }
        }
    }

    #[test]
    fn a_point_is_a_function_of_seed_and_index() {
        for toy in Toy::ALL {
            let one_by_one: Vec<_> = (7..12).flat_map(|i| toy.points(3, i..i + 1)).collect();
            assert_eq!(toy.points(3, 7..12), one_by_one);
            assert_ne!(toy.points(4, 7..12), one_by_one);
            assert_ne!(one_by_one[0].x, one_by_one[1].x);
        }
    }

    #[test]
    fn shapes_are_what_they_say() {
        for p in Toy::Checkerboard.points(3, 0..2000) {
            let cell = p.x.map(|x| (2.0 * (x + 1.0)) as i32);
            assert!(cell.iter().all(|c| (0..4).contains(c)) && (cell[0] + cell[1]) % 2 == 0);
        }
        for p in Toy::Rings.points(3, 0..2000) {
            let radius = distance([0.0; 2], p.x);
            let expected = if p.label == 0 { 0.4 } else { 0.9 };
            assert!((radius - expected).abs() < 0.24, "{p:?}");
        }
        for p in Toy::Moons.points(3, 0..2000) {
            // The second moon is the first one turned by half a turn.
            let x = if p.label == 0 { p.x } else { p.x.map(|x| -x) };
            assert!(
                (distance([-0.3, -0.15], x) - 0.6).abs() < 0.3 && x[1] > -0.45,
                "{p:?}"
            );
        }
        for p in Toy::Spiral.points(3, 0..2000) {
            // Undo the turning: an arm becomes a ray.
            let x = if p.label == 0 { p.x } else { p.x.map(|x| -x) };
            let radius = distance([0.0; 2], x);
            let angle = 1.5 * TAU * radius / 0.95;
            let along = f64::from(x[0]) * angle.cos() + f64::from(x[1]) * angle.sin();
            assert!(radius < 0.3 || along > 0.6 * radius, "{p:?}");
        }
    }

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
                // Coordinates are below 1.3, so deviations of the means are below 1.7 / sqrt N.
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
