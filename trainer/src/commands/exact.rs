//! The exact density and velocity of a toy that is a mixture of Gaussians, to compare a model with.

use super::examples::Examples;
use crate::data;
use sit_engine::analytic::{Mixture, Points as _};
use sit_engine::transport::Path;

/// A mixture, and its parts for a model with classes: class k of a mixture is its component k.
pub struct Exact {
    all: Mixture,
    of_class: Vec<Mixture>,
}

impl Exact {
    /// What is known of the data, for a model of `n_classes`: `None` for data that is no toy; why not for a toy without an exact density.
    pub fn of(images: &Examples, n_classes: usize) -> Option<Result<Self, String>> {
        let toy = images.toy?;
        let Some(all) = toy.mixture() else {
            return Some(Err(format!(
                "{} is no mixture of Gaussians: its exact velocity and density are not known",
                data::path_of(toy)
            )));
        };
        let parts = all.components().iter().take(n_classes);
        let of_class = parts.map(|component| Mixture::new(vec![component.clone()]));
        let of_class: Result<Vec<Mixture>, _> = of_class.collect();
        let exact = of_class.map(|of_class| Exact { all, of_class });
        Some(exact.map_err(|e| e.to_string()))
    }

    /// The data of a label: of no class, or of a model without classes, all of it.
    fn of_label(&self, label: u32) -> &Mixture {
        self.of_class.get(label as usize).unwrap_or(&self.all)
    }

    /// The velocity `E[d_alpha x1 + d_sigma x0 | x_t = state]` of a label at time `t`.
    pub fn velocity(&self, path: &Path, t: f64, state: &[f64], label: u32) -> Vec<f64> {
        self.of_label(label).at(path, t).velocity(state)
    }

    /// `log p(x)` of the images, in nats.
    pub fn log_densities(&self, images: &Examples) -> Vec<f64> {
        let len = images.x.len() / images.len().max(1);
        let rows = images.x.chunks_exact(len).zip(&images.y);
        let density = |(x, label): (&[f32], &u32)| {
            let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            // Data alone is at time 1 of this path.
            self.of_label(*label).at(&Path::Linear, 1.0).log_density(&x)
        };
        rows.map(density).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sit_engine::analytic::Toy;

    #[test]
    fn a_class_is_a_component_and_no_class_is_all_of_them() {
        let images = |toy| Examples {
            name: "x".into(),
            numbers: vec![0, 1],
            x: vec![-0.6, 0.0, -0.6, 0.0],
            y: vec![0, 2],
            has_levels: false,
            toy,
        };
        let two = images(Some(Toy::TwoGaussians));
        let exact = Exact::of(&two, 2).unwrap().unwrap();
        let at_center = -(2.0 * std::f64::consts::PI * 0.15 * 0.15).ln();
        let densities = exact.log_densities(&two);
        assert!((densities[0] - at_center).abs() < 1e-6);
        // Half of the points are of either class, and the other one is 8 deviations away.
        assert!((densities[1] - (at_center - 2_f64.ln())).abs() < 1e-6);
        // At time 0 the state says nothing: the velocity is mean - state.
        let velocity = exact.velocity(&Path::Linear, 0.0, &[0.5, 0.25], 1);
        assert!((velocity[0] - 0.1).abs() < 1e-9 && (velocity[1] + 0.25).abs() < 1e-9);
        let plain = Exact::of(&two, 0).unwrap().unwrap();
        assert_eq!(plain.log_densities(&two)[0], densities[1]);
        assert!(Exact::of(&images(None), 0).is_none());
        let why = Exact::of(&images(Some(Toy::Moons)), 0).unwrap().err();
        assert!(why.unwrap().starts_with("toy:moons is no mixture"));
    }
}
