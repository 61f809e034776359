//! Explicit Runge-Kutta methods as Butcher tableaus.

use crate::error::{Error, Result};

/// Maximum network evaluations per step.
pub(crate) const MAX_STAGES: usize = 7;

const DOPRI5_WEIGHTS: [f64; 6] = [
    35.0 / 384.0,
    0.0,
    500.0 / 1113.0,
    125.0 / 192.0,
    -2187.0 / 6784.0,
    11.0 / 84.0,
];

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

    /// The basis of `adaptive-heun`: Heun's method as torchdiffeq has it.
    pub const ADAPTIVE_HEUN: Tableau = Tableau {
        error: Some(&[0.5, -0.5]),
        ..Tableau::HEUN
    };

    /// Heun's third-order method.
    pub const HEUN3: Tableau = Tableau {
        nodes: &[0.0, 1.0 / 3.0, 2.0 / 3.0],
        stages: &[&[], &[1.0 / 3.0], &[0.0, 2.0 / 3.0]],
        weights: &[0.25, 0.0, 0.75],
        error: None,
    };

    /// The method of Bogacki and Shampine, order 3; the embedded method has order 2. Its last stage is the first one of the next step.
    pub const BOSH3: Tableau = Tableau {
        nodes: &[0.0, 0.5, 0.75, 1.0],
        stages: &[
            &[],
            &[0.5],
            &[0.0, 0.75],
            &[2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0],
        ],
        weights: &[2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0, 0.0],
        error: Some(&[
            2.0 / 9.0 - 7.0 / 24.0,
            1.0 / 3.0 - 1.0 / 4.0,
            4.0 / 9.0 - 1.0 / 3.0,
            -1.0 / 8.0,
        ]),
    };

    /// The method of Dormand and Prince, order 5; the embedded method has order 4, with Shampine's weights as in torchdiffeq. Its last
    /// stage is the first one of the next step.
    pub const DOPRI5: Tableau = Tableau {
        nodes: &[0.0, 0.2, 0.3, 0.8, 8.0 / 9.0, 1.0, 1.0],
        stages: &[
            &[],
            &[0.2],
            &[3.0 / 40.0, 9.0 / 40.0],
            &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
            &[
                19372.0 / 6561.0,
                -25360.0 / 2187.0,
                64448.0 / 6561.0,
                -212.0 / 729.0,
            ],
            &[
                9017.0 / 3168.0,
                -355.0 / 33.0,
                46732.0 / 5247.0,
                49.0 / 176.0,
                -5103.0 / 18656.0,
            ],
            &DOPRI5_WEIGHTS,
        ],
        weights: &[
            DOPRI5_WEIGHTS[0],
            0.0,
            DOPRI5_WEIGHTS[2],
            DOPRI5_WEIGHTS[3],
            DOPRI5_WEIGHTS[4],
            DOPRI5_WEIGHTS[5],
            0.0,
        ],
        error: Some(&[
            DOPRI5_WEIGHTS[0] - 1951.0 / 21600.0,
            0.0,
            DOPRI5_WEIGHTS[2] - 22642.0 / 50085.0,
            DOPRI5_WEIGHTS[3] - 451.0 / 720.0,
            DOPRI5_WEIGHTS[4] + 12231.0 / 42400.0,
            DOPRI5_WEIGHTS[5] - 649.0 / 6300.0,
            -1.0 / 60.0,
        ]),
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
    use crate::transport::{Coefs, Step};

    #[test]
    fn rows_of_a_tableau_sum_to_its_nodes_and_weights_to_one() {
        let all = [
            Tableau::EULER,
            Tableau::MIDPOINT,
            Tableau::HEUN,
            Tableau::ADAPTIVE_HEUN,
            Tableau::HEUN3,
            Tableau::BOSH3,
            Tableau::DOPRI5,
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
            assert!(error.abs() < 1e-16, "{tableau:?}");
        }
    }

    /// `dX = X^2 cos t dt`, whose solution from 1/2 is `1 / (2 - sin t)`, in equal steps from 0 to 1: the error at the end, and the
    /// estimated error of the first step.
    fn errors(tableau: &Tableau, n_steps: u32) -> (f64, Option<f64>) {
        let net = |x: &[f64], t: f64| vec![x[0] * x[0] * t.cos()];
        let time = |i: u32| f64::from(i) / f64::from(n_steps);
        let drift = |_| Ok(Coefs { x: 0.0, out: 1.0 });
        let (mut x, mut estimate) = ([0.5], None);
        for i in 0..n_steps {
            let step = Step::runge_kutta(tableau, [time(i), time(i + 1)], 0.0, drift).unwrap();
            if let Some(row) = step.error().filter(|_| i == 0) {
                let mut known = vec![x[0]];
                for (k, t) in step.times().iter().enumerate() {
                    let state: f64 = step.row(k).iter().zip(&known).map(|(c, k)| c * k).sum();
                    known.extend(net(&[state], *t));
                }
                estimate = Some(
                    row.iter()
                        .zip(&known)
                        .map(|(c, k)| c * k)
                        .sum::<f64>()
                        .abs(),
                );
            }
            step.apply(&mut x, &[], net);
        }
        ((x[0] - 1.0 / (2.0 - 1.0_f64.sin())).abs(), estimate)
    }

    #[test]
    fn methods_have_their_order_and_their_estimate_that_of_the_embedded_one() {
        // The tableau, its order, and that of the embedded method.
        let cases = [
            (Tableau::EULER, 1.0, None),
            (Tableau::MIDPOINT, 2.0, Some(1.0)),
            (Tableau::HEUN, 2.0, Some(1.0)),
            (Tableau::ADAPTIVE_HEUN, 2.0, Some(1.0)),
            (Tableau::HEUN3, 3.0, None),
            (Tableau::BOSH3, 3.0, Some(2.0)),
            (Tableau::DOPRI5, 5.0, Some(4.0)),
            (Tableau::RK4, 4.0, None),
            (Tableau::RK4_38, 4.0, None),
        ];
        for (tableau, order, embedded) in cases {
            let [(whole, first), (half, first_half)] = [40, 80].map(|n| errors(&tableau, n));
            let got = (whole / half).log2();
            assert!((got - order).abs() < 0.2, "order {got} of {tableau:?}");
            let local = first
                .zip(first_half)
                .map(|(whole, half)| (whole / half).log2());
            assert_eq!(local.is_some(), embedded.is_some());
            if let (Some(got), Some(embedded)) = (local, embedded) {
                assert!(
                    (got - (embedded + 1.0)).abs() < 0.2,
                    "estimate {got} of {tableau:?}"
                );
            }
        }
    }
}
