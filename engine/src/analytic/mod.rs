//! Distributions that are known exactly, as pure functions of numbers and a seed: mixtures of Gaussians on their way from noise,
//! and sets of points in the plane.

mod drawing;
mod mixture;
mod points;
mod toys;

pub use drawing::Drawing;
pub use mixture::{Component, Marginal, Mixture};
pub use points::{Point, Points};
pub use toys::Toy;
