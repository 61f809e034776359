//! Conversions of a predicted mean of a step.

use crate::transport::{Coefs, Transport};

impl Transport {
    /// The mean of `q(x_{i-1} | x_i, x1)` at the real index of `t`: coefficients of `x1` and of `x_i`. NaN on other paths than DDPM's,
    /// where no such prediction is valid.
    pub(in crate::transport) fn mean_coefs(&self, t: f64) -> [f64; 2] {
        self.path
            .ddpm()
            .map_or([f64::NAN; 2], |ddpm| ddpm.posterior(t))
    }

    /// `E[x1 | x]` from the state and the predicted mean.
    pub(in crate::transport) fn data_of_mean(&self, t: f64) -> Coefs {
        let [of_data, of_x] = self.mean_coefs(t);
        Coefs { x: -of_x, out: 1.0 }.scaled(1.0 / of_data)
    }

    /// `E[x0 | x]` from the state and the predicted mean.
    pub(in crate::transport) fn noise_of_mean(&self, t: f64) -> Coefs {
        let (alpha, sigma) = (self.path.alpha(t), self.path.sigma(t));
        let data = self.data_of_mean(t);
        Coefs { x: 1.0, out: 0.0 }
            .plus(data.scaled(-alpha))
            .scaled(1.0 / sigma)
    }

    /// The output of a network that predicts the mean, for this predicted data.
    pub(crate) fn mean_output(&self, t: f64, x: &[f64], data: &[f64]) -> Vec<f64> {
        let [of_data, of_x] = self.mean_coefs(t);
        let pairs = x.iter().zip(data);
        pairs.map(|(x, data)| of_data * data + of_x * x).collect()
    }
}
