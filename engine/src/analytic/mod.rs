//! Distributions with known densities, as pure functions of numbers and a seed: Gaussian mixtures on their path from noise, and
//! point sets in the plane.

mod drawing;
mod eigen;
mod mixture;
mod network;
mod points;
mod toys;

pub use drawing::Drawing;
pub use mixture::{Component, Marginal, Mixture};
pub use network::MixtureNetwork;
pub use points::{Point, Points};
pub use toys::Toy;
