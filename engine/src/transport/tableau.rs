//! Explicit Runge-Kutta methods as Butcher tableaus.

use crate::error::{Error, Result};

/// Maximum network evaluations per step.
pub(crate) const MAX_STAGES: usize = 7;

/// A method for `dX = f(X, t) dt` (Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", section II.1): with the
/// step size h, `k_i = f(X + h Σ_j a_ij k_j, t + c_i h)` and `X' = X + h Σ_i b_i k_i`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tableau {
    /// c, from 0 to 1; the first is 0.
    pub nodes: &'static [f64],
    /// a: for each stage, the weights of the earlier stages.
    pub stages: &'static [&'static [f64]],
    /// b.
    pub weights: &'static [f64],
    /// b minus the weights of an embedded method of lower order: applied to the stages, it estimates the error of a step.
    pub error: Option<&'static [f64]>,
}

impl Tableau {
    /// Whether it has a stage at the end of the step.
    pub(crate) fn reaches_end(&self) -> bool {
        self.nodes.contains(&1.0)
    }

    /// Checks that it is an explicit method of at most [`MAX_STAGES`] stages.
    pub(crate) fn validate(&self) -> Result<()> {
        let n = self.nodes.len();
        let refuse = |what: String| Err(Error::Config(format!("a tableau of {n} nodes: {what}")));
        if !(1..=MAX_STAGES).contains(&n) || self.nodes[0] != 0.0 {
            return refuse(format!("expected 1 to {MAX_STAGES}, the first of them 0"));
        }
        let (rows, weights) = (self.stages.len(), self.weights.len());
        let error = self.error.map_or(n, <[f64]>::len);
        if [rows, weights, error] != [n; 3] {
            return refuse(format!(
                "got {rows} stages, {weights} weights and {error} of the error, expected {n} of each"
            ));
        }
        match self
            .stages
            .iter()
            .enumerate()
            .find(|(i, row)| row.len() > *i)
        {
            None => Ok(()),
            Some((i, row)) => refuse(format!(
                "stage {i} reads {} earlier ones, expected at most {i}",
                row.len()
            )),
        }
    }
}

#[doc(hidden)]
impl Tableau {
    /// Euler's method, order 1.
    pub const EULER: Tableau = Tableau {
        nodes: &[0.0],
        stages: &[&[]],
        weights: &[1.0],
        error: None,
    };

    /// The explicit midpoint method, order 2.
    pub const MIDPOINT: Tableau = Tableau {
        nodes: &[0.0, 0.5],
        stages: &[&[], &[0.5]],
        weights: &[0.0, 1.0],
        error: Some(&[-1.0, 1.0]),
    };

    /// Heun's method, the explicit trapezoid, order 2; the embedded method is Euler's.
    pub const HEUN: Tableau = Tableau {
        nodes: &[0.0, 1.0],
        stages: &[&[], &[1.0]],
        weights: &[0.5, 0.5],
        error: Some(&[-0.5, 0.5]),
    };

    /// The classical method of Runge and Kutta, order 4.
    pub const RK4: Tableau = Tableau {
        nodes: &[0.0, 0.5, 0.5, 1.0],
        stages: &[&[], &[0.5], &[0.0, 0.5], &[0.0, 0.0, 1.0]],
        weights: &[1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0],
        error: None,
    };

    /// Kutta's 3/8 rule, order 4: the `rk4` of torchdiffeq and thus of the official SiT.
    pub const RK4_38: Tableau = Tableau {
        nodes: &[0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0],
        stages: &[&[], &[1.0 / 3.0], &[-1.0 / 3.0, 1.0], &[1.0, -1.0, 1.0]],
        weights: &[0.125, 0.375, 0.375, 0.125],
        error: None,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_tableau_sum_to_its_nodes_and_weights_to_one() {
        let all = [
            Tableau::EULER,
            Tableau::MIDPOINT,
            Tableau::HEUN,
            Tableau::RK4,
            Tableau::RK4_38,
        ];
        for tableau in all {
            assert_eq!(tableau.nodes.len(), tableau.stages.len());
            for (node, row) in tableau.nodes.iter().zip(tableau.stages) {
                assert!(
                    (row.iter().sum::<f64>() - node).abs() < 1e-15,
                    "{tableau:?}"
                );
            }
            assert!((tableau.weights.iter().sum::<f64>() - 1.0).abs() < 1e-15);
            let error: f64 = tableau.error.unwrap_or_default().iter().sum();
            assert_eq!(error, 0.0, "{tableau:?}");
        }
    }
}
