//! The numbers of the terms of the variational bound of discrete diffusion.

use super::{Chain, LossCoefs, Prediction, Transport, Variance};

/// The numbers of a term of the bound: the residual, how far it moves the mean of a step, and both variances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct BoundCoefs {
    /// Coefficients of noise and data in the residual `O + x0 X0 + x1 X1`.
    pub residual: [f64; 2],
    /// The mean of `p` less that of `q`, by the residual.
    pub mean: f64,
    /// The logarithmic variance of `p`, `a + b v`.
    pub log_variance: [f64; 2],
    /// The logarithmic variance of `q`.
    pub log_q: f64,
    /// Whether the term is the one that reads the image.
    pub is_first: bool,
}

impl BoundCoefs {
    /// The row that [`crate::ops::bound::bound`] reads, with a weight.
    pub fn row(self, weight: f64) -> [f64; 8] {
        let ([x0, x1], [a, b]) = (self.residual, self.log_variance);
        let is_first = if self.is_first { 1.0 } else { 0.0 };
        // Relative to that of q: in f32 the difference of the two would lose what matters.
        [
            x0,
            x1,
            self.mean,
            a - self.log_q,
            b,
            self.log_q,
            weight,
            is_first,
        ]
    }
}

impl Chain {
    /// The coefficients of data and noise in the state at a position.
    pub(crate) fn state(&self, i: usize) -> [f64; 2] {
        [libm::sqrt(self.abar(i)), libm::sqrt(1.0 - self.abar(i))]
    }

    /// The squared error of a prediction at a position. The coefficient of the output is 1.
    pub(crate) fn loss(&self, prediction: Prediction, i: usize) -> LossCoefs {
        let (x0, x1) = match prediction {
            Prediction::Mean => {
                let ([of_data, of_x], [alpha, sigma]) = (self.posterior_mean(i), self.state(i));
                (-of_x * sigma, -of_data - of_x * alpha)
            }
            Prediction::Data => (0.0, -1.0),
            _ => (-1.0, 0.0),
        };
        LossCoefs {
            weight: 1.0,
            out: 1.0,
            x0,
            x1,
        }
    }

    /// The bound's term at a position, for a network of this prediction.
    pub(crate) fn bound(&self, prediction: Prediction, variance: Variance, i: usize) -> BoundCoefs {
        let LossCoefs { x0, x1, .. } = self.loss(prediction, i);
        let ([of_data, _], [alpha, sigma]) = (self.posterior_mean(i), self.state(i));
        BoundCoefs {
            residual: [x0, x1],
            mean: match prediction {
                Prediction::Mean => 1.0,
                Prediction::Data => of_data,
                // The predicted image less the image is the noise less the predicted noise, times sigma / alpha.
                _ => -of_data * sigma / alpha,
            },
            log_variance: self.log_variance(variance, i),
            log_q: self.log_posterior_variance(i),
            is_first: i == 0,
        }
    }

    /// The bound's last term, `KL(q(x_T | x1) || N(0, I))`, for the value `x1` of an image, in nats.
    pub(crate) fn prior(&self, x1: f64) -> f64 {
        let abar = self.abar.last().copied().unwrap_or(0.0);
        0.5 * (abar * x1 * x1 - abar - libm::log1p(-abar))
    }
}

impl Transport {
    /// What the network gets in the place of the time at a position.
    pub(crate) fn index_input(&self, chain: &Chain, i: usize) -> f64 {
        let time = |index| self.path.ddpm().map_or(0.0, |ddpm| ddpm.time(index));
        self.time_input(time(chain.indices()[i]))
    }
}
