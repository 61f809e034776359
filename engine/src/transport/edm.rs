//! EDM's sampler (Karras et al., arXiv 2206.00364, algorithm 2): Heun steps in the noise level, with churn.
//!
//! States are `x1 + sigma n`. With `D = E[x1 | x]`, the ODE in sigma is `dx / d sigma = (x - D) / sigma`. Before a step, churn adds noise
//! that raises the level from `sigma` to `sigma (1 + gamma)`. The levels are those of [`Path::Edm`] at equal times, and 0 at the end,
//! which an Euler step reaches: it gives `D`. On a model of another path, states keep this scale, and the network gets them at the
//! scale and time of its own path.

use super::along::Along;
use super::names::named_enum;
use super::{Coefs, Path, Step, Tableau, Transport};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

named_enum! {
    /// The integration method of EDM's sampler.
    pub enum EdmMethod: "method" {
        /// Heun: two network evaluations per step, one in the last.
        Heun = "heun",
        /// Euler: one network evaluation per step.
        Euler = "euler",
    }
}

/// EDM's sampler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Edm {
    /// The integration method.
    pub method: EdmMethod,
    /// Number of steps, at least 1; 18 by default.
    pub n_steps: u32,
    /// Noise that is added over the whole way: `gamma = min(churn / n_steps, sqrt(2) - 1)`. 0, the default, gives the ODE.
    pub churn: f64,
    /// Noise levels between which it is added.
    pub churn_window: [f64; 2],
    /// Factor of the added noise, 1 by default; EDM uses 1.003 to 1.007 against lost detail.
    pub churn_noise: f64,
    /// The smallest and the largest noise level; 0.002 and 80 by default.
    pub sigma: [f64; 2],
    /// Exponent of the levels, 7 by default.
    pub rho: f64,
}

impl Default for Edm {
    /// Heun in 18 steps without churn.
    fn default() -> Self {
        Edm {
            method: EdmMethod::Heun,
            n_steps: 18,
            churn: 0.0,
            churn_window: [0.0, f64::MAX],
            churn_noise: 1.0,
            sigma: [0.002, 80.0],
            rho: 7.0,
        }
    }
}

impl Edm {
    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |key: &str, got: String, expected: &str| {
            Err(Error::setting(
                key,
                format!("got {got}, expected {expected}"),
            ))
        };
        let [lo, hi] = self.churn_window;
        match *self {
            Edm { churn, .. } if !(churn >= 0.0 && churn.is_finite()) => {
                refuse("churn", churn.to_string(), "a number of at least 0")
            }
            _ if !(lo >= 0.0 && lo <= hi) => refuse(
                "churn_window",
                format!("{lo}..{hi}"),
                "two noise levels in order, at least 0",
            ),
            Edm { churn_noise, .. } if !(churn_noise > 0.0 && churn_noise <= 2.0) => refuse(
                "churn_noise",
                churn_noise.to_string(),
                "a number above 0 and at most 2",
            ),
            _ => self.path().validate(),
        }
    }

    /// The path of the states.
    pub(super) fn path(&self) -> Path {
        Path::Edm {
            sigma: self.sigma,
            rho: self.rho,
        }
    }

    /// The noise levels, 0 the last of them.
    fn levels(&self) -> Vec<f64> {
        let (path, n) = (self.path(), self.n_steps);
        let last = f64::from(n.max(2) - 1);
        let level = |i: u32| path.sigma(f64::from(i) / last);
        (0..n).map(level).chain([0.0]).collect()
    }

    /// The level that churn raises one to.
    fn raised(&self, sigma: f64) -> f64 {
        let gamma = (self.churn / f64::from(self.n_steps)).min(std::f64::consts::SQRT_2 - 1.0);
        match (self.churn_window[0]..=self.churn_window[1]).contains(&sigma) {
            true => sigma * (1.0 + gamma),
            false => sigma,
        }
    }

    /// Rejects noise levels that the path of a model does not have. A model of the EDM path takes any level.
    pub(super) fn check_reach(&self, model: &Path) -> Result<()> {
        if matches!(model, Path::Edm { .. }) {
            return Ok(());
        }
        let [low, high] = [1.0, 0.0].map(|t| libm::exp(-model.half_log_snr(t)));
        let levels = self.levels();
        let inner = levels.iter().filter(|sigma| **sigma > 0.0);
        for sigma in inner.flat_map(|&sigma| [sigma, self.raised(sigma)]) {
            // Rounding may leave an end by a little.
            if !(sigma >= low * (1.0 - 1e-6) && sigma <= high * (1.0 + 1e-6)) {
                return Err(Error::setting(
                    "edm",
                    format!(
                        "its noise level {sigma:.4} is beyond those of the model's {model} path, {low:.4} to {high:.4}; use less `churn`, or \
                         a solver of the ODE or SDE"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// All steps. Their times are fractions of the number of steps.
    pub(super) fn steps(&self, transport: &Transport) -> Result<Vec<Step>> {
        let path = self.path();
        let along = Along::new(transport, Some(&path));
        let levels = self.levels();
        let n = f64::from(self.n_steps);
        let step = |(i, pair): (usize, &[f64])| {
            let (sigma, next) = (pair[0], pair[1]);
            let raised = self.raised(sigma);
            let noise = self.churn_noise * libm::sqrt(raised * raised - sigma * sigma);
            let tableau = match next > 0.0 && self.method == EdmMethod::Heun {
                true => &Tableau::HEUN,
                false => &Tableau::EULER,
            };
            let drift = |sigma: f64| {
                let t = level_time(&path, sigma);
                let data = along.data(t)?;
                let away = Coefs { x: 1.0, out: 0.0 }.plus(data.scaled(-1.0));
                Ok((away.scaled(1.0 / sigma), along.at(t)))
            };
            let step = Step::explicit(tableau, [raised, next], noise, drift)?;
            Ok(step
                .noise_first()
                .between([i as f64 / n, (i + 1) as f64 / n]))
        };
        levels.windows(2).enumerate().map(step).collect()
    }
}

/// The time of a noise level, beyond `[0, 1]` for one that churn has raised above the largest.
fn level_time(path: &Path, sigma: f64) -> f64 {
    path.time_of(-libm::log(sigma))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::testing::{Gaussian, assert_near, output_of};
    use crate::transport::{Prediction, Sampler, schedule};

    /// Runs the steps for one number, with a given standard normal number for every step.
    fn run(transport: &Transport, edm: &Edm, x: f64, net: impl Fn(f64, f64) -> f64) -> f64 {
        let mut x = [x];
        for step in schedule(transport, &Sampler::Edm(edm.clone())).unwrap() {
            step.apply(&mut x, &[0.7], |x, t| vec![net(x[0], t)]);
        }
        x[0]
    }

    #[test]
    fn it_reaches_the_flow_of_gaussian_data_on_every_path() {
        let data = Gaussian {
            mean: 0.4,
            std: 0.5,
        };
        for (path, prediction) in [
            (Path::Linear, Prediction::Velocity),
            (Path::Gvp, Prediction::Noise),
            (Path::VP, Prediction::Score),
            (Path::EDM, Prediction::Denoiser),
        ] {
            let transport = Transport {
                path: path.clone(),
                prediction,
                ..Transport::default()
            };
            let net = |input: f64, t: f64| {
                let x = input / transport.input_scale(t);
                output_of(&transport, t, x, data.data(&path, t).at(x))
            };
            let edm = Edm {
                n_steps: 60,
                ..Edm::default()
            };
            let end = run(&transport, &edm, 80.0 * 0.3, net);
            // The quantile of x = 24 under N(mean, std^2 + 80^2), in the data.
            let quantile = (24.0 - data.mean) / (data.std.powi(2) + 6400.0_f64).sqrt();
            let exact = data.mean + data.std * quantile;
            assert_near(&format!("{path} {prediction}"), end, exact, 2e-3);
        }
    }

    #[test]
    fn the_last_step_gives_the_data_and_churn_raises_the_level() {
        let transport = Transport {
            path: Path::EDM,
            prediction: Prediction::Denoiser,
            ..Transport::default()
        };
        let edm = Edm {
            n_steps: 8,
            churn: 3.0,
            ..Edm::default()
        };
        let steps = schedule(&transport, &Sampler::Edm(edm)).unwrap();
        assert_eq!(steps.len(), 8);
        let gamma = 3.0 / 8.0;
        let noise = 80.0 * ((1.0_f64 + gamma).powi(2) - 1.0).sqrt();
        assert_near("noise", steps[0].noise(), noise, 1e-12);
        assert!(steps.iter().all(|step| step.form().adds_noise_first()));
        assert!(steps.windows(2).all(|two| two[0].t_next == two[1].t));
        let last = steps[7];
        assert_eq!((last.t_next, last.times().len()), (1.0, 1));
    }
}
