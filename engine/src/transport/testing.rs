//! Shared test helpers.

use super::{Curve, Diffusion, DiffusionForm, Path, Prediction};

/// Asserts `|got - want| <= tol max(1, |want|)`; a NaN fails.
pub(crate) fn assert_near(what: &str, got: f64, want: f64, tol: f64) {
    let difference = (got - want).abs();
    assert!(
        difference <= tol * want.abs().max(1.0),
        "{what}: got {got}, want {want}, difference {difference:e}"
    );
}

/// Every form with norms 0.7 and 1, and two curves, one ending in 0 and one not.
pub(crate) fn diffusions() -> Vec<Diffusion> {
    let mut list = Vec::new();
    for &form in DiffusionForm::ALL {
        list.extend([0.7, 1.0].map(|norm| Diffusion::new(form, norm)));
    }
    for end in [0.0, 0.5] {
        list.push(drawn(1.5, [0.2, 0.9, 0.4, 0.6, end]));
    }
    list
}

/// A curve that is linear between values at t = 0, 1/4, 1/2, 3/4, 1.
pub(crate) fn drawn(norm: f64, quarters: [f32; 5]) -> Diffusion {
    let values = std::array::from_fn(|i| {
        let (left, fraction) = ((i / 4).min(3), i as f32 / 4.0);
        let fraction = fraction - left as f32;
        quarters[left] * (1.0 - fraction) + quarters[left + 1] * fraction
    });
    Diffusion {
        norm,
        curve: Some(Curve::new(values).unwrap()),
        ..Diffusion::default()
    }
}

/// One-dimensional data `N(mean, std^2)`, for which velocity, score and noise are known exactly.
#[derive(Clone, Copy)]
pub(crate) struct Gaussian {
    pub mean: f64,
    pub std: f64,
}

/// The function `slope * x + offset`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affine {
    pub slope: f64,
    pub offset: f64,
}

impl Affine {
    pub fn at(self, x: f64) -> f64 {
        self.slope * x + self.offset
    }
}

impl Gaussian {
    /// Mean and variance of `x_t`.
    pub fn marginal(self, path: Path, t: f64) -> (f64, f64) {
        let (alpha, sigma) = (path.alpha(t), path.sigma(t));
        (
            alpha * self.mean,
            (alpha * self.std).powi(2) + sigma.powi(2),
        )
    }

    /// `coefficient (x - E x_t) / Var x_t + at_mean`.
    fn posterior(self, path: Path, t: f64, coefficient: f64, at_mean: f64) -> Affine {
        let (mean, variance) = self.marginal(path, t);
        let slope = coefficient / variance;
        Affine {
            slope,
            offset: at_mean - slope * mean,
        }
    }

    /// `E[x1 | x]`.
    pub fn data(self, path: Path, t: f64) -> Affine {
        self.posterior(path, t, path.alpha(t) * self.std.powi(2), self.mean)
    }

    /// The exact output of a network at time `t`.
    pub fn output(self, path: Path, prediction: Prediction, t: f64) -> Affine {
        match prediction {
            Prediction::Velocity => {
                // On VP and GVP alpha^2 + sigma^2 = 1.
                let sigma_d_sigma = if path == Path::Linear {
                    t - 1.0
                } else {
                    -path.alpha(t) * path.d_alpha(t)
                };
                let covariance = path.d_alpha(t) * path.alpha(t) * self.std.powi(2) + sigma_d_sigma;
                self.posterior(path, t, covariance, path.d_alpha(t) * self.mean)
            }
            Prediction::Score => self.posterior(path, t, -1.0, 0.0),
            Prediction::Noise => self.posterior(path, t, path.sigma(t), 0.0),
            Prediction::Data => self.data(path, t),
        }
    }

    /// The exact flow of the probability flow ODE from `t0` to `t1`.
    pub fn flow(self, path: Path, t0: f64, t1: f64) -> Affine {
        let ((mean0, variance0), (mean1, variance1)) =
            (self.marginal(path, t0), self.marginal(path, t1));
        let slope = (variance1 / variance0).sqrt();
        Affine {
            slope,
            offset: mean1 - slope * mean0,
        }
    }
}
