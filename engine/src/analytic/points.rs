//! Points in the plane, and the trait of a point set.
//!
//! A point is a function of (seed, index), roughly within `[-1, 1]`, and has a class. A model of such data has 2 channels, input
//! size 1 and patch 1: a batch `[n, 2]` is `[n, C = 2, 1, 1]`.

use super::mixture::{Component, Mixture};
use crate::rng::{Stream, normal, uniform};
use std::ops::Range;

/// A point and its class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Coordinates.
    pub x: [f32; 2],
    /// Its class, below [`Points::n_classes`].
    pub label: u32,
}

/// A distribution of points.
pub trait Points {
    /// Number of classes, at least 1.
    fn n_classes(&self) -> u32;

    /// The points with these indices.
    fn points(&self, seed: u64, indices: Range<u64>) -> Vec<Point>;

    /// The distribution as a [`Mixture`], if it is one, which has an exact velocity and density.
    fn mixture(&self) -> Option<Mixture>;
}

/// Draws a point of a mixture; its label is the component.
pub(super) fn point_of(mixture: &Mixture, seed: u64, index: u64) -> Point {
    let components = mixture.components();
    let mut rest = draw(seed, index, 0);
    let chosen = components.iter().position(|c| {
        rest -= c.weight;
        rest < 0.0
    });
    // The weights sum to 1 except for rounding.
    let label = chosen.unwrap_or(components.len() - 1);
    let Component { mean, std, .. } = &components[label];
    let x = |i: usize| (mean[i] + std[i] * draw_normal(seed, index, i)) as f32;
    Point {
        x: [x(0), x(1)],
        label: label as u32,
    }
}

/// Uniform draw number `number` of a point.
pub(super) fn draw(seed: u64, index: u64, number: u32) -> f64 {
    uniform(seed, Stream::Toy, number, index)
}

/// The normal of coordinate `i` of a point.
pub(super) fn draw_normal(seed: u64, index: u64, i: usize) -> f64 {
    normal(seed, Stream::Toy, 4, 2 * index + i as u64)
}

/// Distance of two points.
pub(super) fn distance(a: [f32; 2], b: [f32; 2]) -> f64 {
    let [dx, dy] = [0, 1].map(|i| f64::from(b[i]) - f64::from(a[i]));
    libm::sqrt(dx * dx + dy * dy)
}
