//! Shared test helpers.

use super::{Curve, Diffusion, DiffusionForm, KlEta, Path, Prediction, Transport};

/// The paths on which a network predicts velocity, score, noise or data.
pub(crate) const PLAIN_PATHS: [Path; 4] = [Path::Linear, Path::Gvp, Path::VP, Path::OU];

/// The predictions that a path can have.
pub(crate) fn predictions(path: &Path) -> &'static [Prediction] {
    use Prediction::{Data, Denoiser, Mean, Noise, Score, Velocity};
    match path {
        Path::Edm { .. } => &[Denoiser],
        Path::Ddpm(_) => &[Noise, Data, Mean],
        _ => &[Velocity, Score, Noise, Data],
    }
}

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
        list.extend([0.7, 1.0].map(|norm| diffusion(form, norm)));
    }
    for end in [0.0, 0.5] {
        list.push(drawn(1.5, [0.2, 0.9, 0.4, 0.6, end]));
    }
    list
}

/// A named form, with a loss for the one that needs it.
pub(crate) fn diffusion(form: DiffusionForm, norm: f64) -> Diffusion {
    let kl = || KlEta {
        eta: 0.05,
        loss: Curve::through(vec![[0.0, 1.0], [1.0, 0.5]]).unwrap(),
    };
    Diffusion {
        kl: (form == DiffusionForm::WKlEta).then(kl),
        ..Diffusion::new(form, norm)
    }
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
    pub fn marginal(self, path: &Path, t: f64) -> (f64, f64) {
        let (alpha, sigma) = (path.alpha(t), path.sigma(t));
        (
            alpha * self.mean,
            (alpha * self.std).powi(2) + sigma.powi(2),
        )
    }

    /// `coefficient (x - E x_t) / Var x_t + at_mean`.
    fn posterior(self, path: &Path, t: f64, coefficient: f64, at_mean: f64) -> Affine {
        let (mean, variance) = self.marginal(path, t);
        let slope = coefficient / variance;
        Affine {
            slope,
            offset: at_mean - slope * mean,
        }
    }

    /// `E[x1 | x]`.
    pub fn data(self, path: &Path, t: f64) -> Affine {
        self.posterior(path, t, path.alpha(t) * self.std.powi(2), self.mean)
    }

    /// The exact prediction at time `t`; a denoiser's is the data.
    pub fn output(self, path: &Path, prediction: Prediction, t: f64) -> Affine {
        match prediction {
            Prediction::Velocity => {
                let sigma_d_sigma = match path {
                    Path::Linear => t - 1.0,
                    Path::Edm { .. } => path.sigma(t) * path.d_sigma(t),
                    // alpha^2 + sigma^2 = 1.
                    _ => -path.alpha(t) * path.d_alpha(t),
                };
                let covariance = path.d_alpha(t) * path.alpha(t) * self.std.powi(2) + sigma_d_sigma;
                self.posterior(path, t, covariance, path.d_alpha(t) * self.mean)
            }
            Prediction::Score => self.posterior(path, t, -1.0, 0.0),
            Prediction::Noise => self.posterior(path, t, path.sigma(t), 0.0),
            Prediction::Data | Prediction::Denoiser => self.data(path, t),
            Prediction::Mean => {
                let [of_data, of_x] = path.ddpm().unwrap().posterior(t);
                let data = self.data(path, t);
                Affine {
                    slope: of_data * data.slope + of_x,
                    offset: of_data * data.offset,
                }
            }
        }
    }

    /// The exact network of a transport at time `t`, as a function of what it gets.
    pub fn network(self, transport: &Transport, t: f64) -> Affine {
        let Affine { slope, offset } = self.output(&transport.path, transport.prediction, t);
        if transport.prediction != Prediction::Denoiser {
            return Affine { slope, offset };
        }
        // EDM's table 1: the data is c_skip x + c_out O for the input c_in x.
        let (sigma, std) = (transport.path.sigma(t), transport.data_std);
        let total = sigma.powi(2) + std.powi(2);
        let (skip, out) = (std.powi(2) / total, sigma * std / total.sqrt());
        Affine {
            slope: (slope - skip) / out * total.sqrt(),
            offset: offset / out,
        }
    }

    /// The exact flow of the probability flow ODE from `t0` to `t1`.
    pub fn flow(self, path: &Path, t0: f64, t1: f64) -> Affine {
        let ((mean0, variance0), (mean1, variance1)) =
            (self.marginal(path, t0), self.marginal(path, t1));
        let slope = (variance1 / variance0).sqrt();
        Affine {
            slope,
            offset: mean1 - slope * mean0,
        }
    }
}

/// The output of a network that predicts the data `x1` at a state.
pub(crate) fn output_of(transport: &Transport, t: f64, x: f64, x1: f64) -> f64 {
    let (path, alpha) = (&transport.path, transport.path.alpha(t));
    let x0 = (x - alpha * x1) / path.sigma(t);
    match transport.prediction {
        Prediction::Velocity => path.d_alpha(t) * x1 + path.d_sigma(t) * x0,
        Prediction::Score => -x0 / path.sigma(t),
        Prediction::Noise => x0,
        Prediction::Data => x1,
        Prediction::Denoiser => transport.denoiser_output(t, &[x], &[x1])[0],
        Prediction::Mean => transport.mean_output(t, &[x], &[x1])[0],
    }
}
