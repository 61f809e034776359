//! Named point sets in the plane: a small model learns them in seconds and errors are easy to see.

use super::mixture::{Component, Mixture};
use super::points::{Point, Points, draw, draw_normal, point_of};
use crate::error::Error;
use std::f64::consts::{PI, TAU};
use std::ops::Range;

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
    /// All data sets, in display order.
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

    /// The name in the user interface and in links.
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

    /// A description in one sentence.
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

/// Standard deviation of the Gaussians on the circle and on the grid.
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
    /// A point of a set that is not a mixture.
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
                // The square root makes the density uniform along an arm whose radius grows with the angle.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::points::distance;

    #[test]
    fn names_are_unique_and_lead_back() {
        for &toy in Toy::ALL {
            assert_eq!(Toy::from_name(toy.name()), Ok(toy));
            assert!(toy.about().ends_with('.'), "{}", toy.about());
        }
        let message = Toy::from_name("moon").unwrap_err().to_string();
        assert!(message.starts_with("data set: got \"moon\", expected one of moons, rings"));
    }

    /// Centered, roughly within the unit square, neither collapsed nor wider than noise; every class is represented.
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
            // Undo the rotation: an arm becomes a ray.
            let x = if p.label == 0 { p.x } else { p.x.map(|x| -x) };
            let radius = distance([0.0; 2], x);
            let angle = 1.5 * TAU * radius / 0.95;
            let along = f64::from(x[0]) * angle.cos() + f64::from(x[1]) * angle.sin();
            assert!(radius < 0.3 || along > 0.6 * radius, "{p:?}");
        }
    }
}
