//! The exact velocity, score, noise, data and density of a Gaussian mixture on its way from noise, to tell the error of a model
//! from the error of a solver.
//!
//! Data is `x1 ~ sum_k w_k N(m_k, diag s_k^2)`, and `x_t = alpha x1 + sigma x0`. Then `x_t` is a mixture of the same weights with
//! means `alpha m_k` and variances `c_k = alpha^2 s_k^2 + sigma^2`, and with the share `r_k(x)` of component `k` at `x`
//!
//! ```text
//! E[x1 | x] = sum_k r_k (m_k + alpha s_k^2 (x - alpha m_k) / c_k),
//! E[x0 | x] = sum_k r_k sigma (x - alpha m_k) / c_k,
//! v = d_alpha E[x1 | x] + d_sigma E[x0 | x],    grad log p_t = -sum_k r_k (x - alpha m_k) / c_k.
//! ```

use sit_engine::Error;
use sit_engine::transport::{Path, Prediction, Step, Transport, Update};
use std::f64::consts::PI;

/// One component of a [`Mixture`].
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Its weight, above 0; weights need not sum to 1.
    pub weight: f64,
    /// Mean `[d]`.
    pub mean: Vec<f64>,
    /// Standard deviation of each coordinate `[d]`, at least 0.
    pub std: Vec<f64>,
}

/// A mixture of Gaussians with diagonal covariances.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    d: usize,
    components: Vec<Component>,
}

impl Mixture {
    /// The mixture of these components.
    ///
    /// # Errors
    /// [`Error::Config`] naming the component: none at all, vectors of different lengths, a weight that is not above 0, a
    /// deviation below 0, anything not finite.
    pub fn new(mut components: Vec<Component>) -> Result<Self, Error> {
        let d = components.first().map_or(0, |first| first.mean.len());
        if d == 0 {
            return Err(Error::Config(
                "mixture: got no component or no coordinate".into(),
            ));
        }
        for (k, Component { weight, mean, std }) in components.iter().enumerate() {
            let wrong = if mean.len() != d || std.len() != d {
                format!(
                    "{} means and {} deviations, expected {d} each",
                    mean.len(),
                    std.len()
                )
            } else if !(*weight > 0.0 && weight.is_finite()) {
                format!("weight {weight}, expected a finite number above 0")
            } else if let Some(m) = mean.iter().find(|m| !m.is_finite()) {
                format!("mean {m}, expected a finite number")
            } else if let Some(s) = std.iter().find(|s| !(**s >= 0.0 && s.is_finite())) {
                format!("deviation {s}, expected a finite number of at least 0")
            } else {
                continue;
            };
            return Err(Error::Config(format!(
                "component {k} of a mixture: got {wrong}"
            )));
        }
        let total: f64 = components.iter().map(|c| c.weight).sum();
        components.iter_mut().for_each(|c| c.weight /= total);
        Ok(Self { d, components })
    }

    /// A mixture of equally likely points, each spread by the same deviation in every direction.
    ///
    /// # Errors
    /// As [`Mixture::new`].
    pub fn of_points(points: &[[f64; 2]], std: f64) -> Result<Self, Error> {
        let component = |p: &[f64; 2]| Component {
            weight: 1.0,
            mean: p.to_vec(),
            std: vec![std; 2],
        };
        Self::new(points.iter().map(component).collect())
    }

    /// The components; their weights sum to 1.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The distribution of `x_t` for `t` in `[0, 1]`.
    pub fn at(&self, path: Path, t: f64) -> Marginal<'_> {
        let (alpha, sigma) = (path.alpha(t), path.sigma(t));
        let variance = |s: &f64| (alpha * s).powi(2) + sigma * sigma;
        Marginal {
            mixture: self,
            alpha,
            sigma,
            d_alpha: path.d_alpha(t),
            // On VP d_sigma is infinite at t = 1, the product is not: there and on GVP alpha^2 + sigma^2 = 1.
            sigma_d_sigma: match path {
                Path::Linear => -sigma,
                Path::Gvp | Path::Vp => -alpha * path.d_alpha(t),
            },
            variances: self
                .components
                .iter()
                .flat_map(|c| c.std.iter().map(variance))
                .collect(),
        }
    }

    /// Takes states `x` `[n, d]` through a step with a perfect network in the place of a trained one; `noise` `[n, d]` is standard
    /// normal and not read where the step adds none.
    ///
    /// What is left between the end and an end with many more steps is the error of the solver alone.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn step(&self, transport: &Transport, step: &Step, x: &mut [f64], noise: &[f32]) {
        let (path, prediction) = (transport.path, transport.prediction);
        let (now, next) = (self.at(path, step.t), self.at(path, step.t_next));
        for (row, x) in x.chunks_exact_mut(self.d).enumerate() {
            let kick = |i: usize, size: f64| match size {
                0.0 => 0.0,
                _ => size * f64::from(noise[row * self.d + i]),
            };
            match step.update {
                Update::Euler {
                    x: keep,
                    out,
                    noise,
                } => {
                    let o = now.output(prediction, x);
                    for i in 0..self.d {
                        x[i] = keep * x[i] + out * o[i] + kick(i, noise);
                    }
                }
                Update::Heun { noise, mid, end } => {
                    for i in 0..self.d {
                        x[i] += kick(i, noise);
                    }
                    let o0 = now.output(prediction, x);
                    let m: Vec<f64> = (0..self.d)
                        .map(|i| mid[0] * x[i] + mid[1] * o0[i])
                        .collect();
                    let o1 = next.output(prediction, &m);
                    for i in 0..self.d {
                        x[i] = end[0] * x[i] + end[1] * o0[i] + end[2] * o1[i];
                    }
                }
            }
        }
    }
}

/// The distribution of `x_t` at one time.
///
/// Where the variance of a coordinate is 0, which is only at `t = 1` and for a deviation of 0, the density is that of a limit:
/// 0 or infinite; velocity, score and noise are then NaN, so keep away from `t = 1` with points that have no spread.
#[derive(Debug, Clone)]
pub struct Marginal<'a> {
    mixture: &'a Mixture,
    alpha: f64,
    sigma: f64,
    d_alpha: f64,
    sigma_d_sigma: f64,
    /// `c_k`, `[components, d]`.
    variances: Vec<f64>,
}

impl Marginal<'_> {
    /// `log p_t(x)` of a point `x` `[d]`.
    pub fn log_density(&self, x: &[f64]) -> f64 {
        log_sum_exp(&self.log_joint(x))
    }

    /// `p_t(x)` of a point `x` `[d]`.
    pub fn density(&self, x: &[f64]) -> f64 {
        libm::exp(self.log_density(x))
    }

    /// The posterior mean of the data, `E[x1 | x]`.
    pub fn data(&self, x: &[f64]) -> Vec<f64> {
        self.posterior(x, |_, mean, std, precise| {
            mean + self.alpha * std * std * precise
        })
    }

    /// The velocity `E[d_alpha x1 + d_sigma x0 | x]`.
    pub fn velocity(&self, x: &[f64]) -> Vec<f64> {
        self.posterior(x, |_, mean, std, precise| {
            let covariance = self.d_alpha * self.alpha * std * std + self.sigma_d_sigma;
            self.d_alpha * mean + covariance * precise
        })
    }

    /// The score `grad log p_t(x)`.
    pub fn score(&self, x: &[f64]) -> Vec<f64> {
        self.posterior(x, |_, _, _, precise| -precise)
    }

    /// The posterior mean of the noise, `E[x0 | x]`.
    pub fn noise(&self, x: &[f64]) -> Vec<f64> {
        self.posterior(x, |_, _, _, precise| self.sigma * precise)
    }

    /// What a perfect network with this prediction gives for `x` `[d]`.
    pub fn output(&self, prediction: Prediction, x: &[f64]) -> Vec<f64> {
        match prediction {
            Prediction::Velocity => self.velocity(x),
            Prediction::Score => self.score(x),
            Prediction::Noise => self.noise(x),
        }
    }

    /// The outputs of a perfect network for states `[n, d]` in the f32 of a model.
    pub fn outputs(&self, prediction: Prediction, x: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(self.mixture.d) {
            let row: Vec<f64> = row.iter().copied().map(f64::from).collect();
            out.extend(self.output(prediction, &row).into_iter().map(|x| x as f32));
        }
        out
    }

    /// `ln(w_k N(x; alpha m_k, c_k))` of every component.
    fn log_joint(&self, x: &[f64]) -> Vec<f64> {
        assert_eq!(x.len(), self.mixture.d, "a point of another dimension");
        let variances = self.variances.chunks_exact(self.mixture.d);
        let components = self.mixture.components.iter().zip(variances);
        let log = |(component, variances): (&Component, &[f64])| {
            let coordinates = x.iter().zip(&component.mean).zip(variances);
            let quadratic = coordinates.map(|((x, mean), variance)| {
                let far = x - self.alpha * mean;
                far * far / variance + libm::log(2.0 * PI * variance)
            });
            libm::log(component.weight) - 0.5 * quadratic.sum::<f64>()
        };
        components.map(log).collect()
    }

    /// `sum_k r_k f(k, mean, std, (x - alpha mean) / c)` in every coordinate.
    fn posterior(&self, x: &[f64], f: impl Fn(usize, f64, f64, f64) -> f64) -> Vec<f64> {
        let log_joint = self.log_joint(x);
        let log_density = log_sum_exp(&log_joint);
        let d = self.mixture.d;
        let mut sum = vec![0.0; d];
        for (k, component) in self.mixture.components.iter().enumerate() {
            let share = libm::exp(log_joint[k] - log_density);
            for i in 0..d {
                let (mean, std) = (component.mean[i], component.std[i]);
                let precise = (x[i] - self.alpha * mean) / self.variances[k * d + i];
                sum[i] += share * f(k, mean, std, precise);
            }
        }
        sum
    }
}

/// `ln sum exp x`, without overflow.
fn log_sum_exp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if max.is_infinite() {
        return max;
    }
    max + libm::log(x.iter().map(|x| libm::exp(x - max)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(what: &str, got: f64, want: f64, tol: f64) {
        let difference = (got - want).abs();
        assert!(
            difference <= tol * want.abs().max(1.0),
            "{what}: got {got}, want {want}, difference {difference:e}"
        );
    }

    fn component(weight: f64, mean: &[f64], std: &[f64]) -> Component {
        Component {
            weight,
            mean: mean.to_vec(),
            std: std.to_vec(),
        }
    }

    fn line() -> Mixture {
        Mixture::new(vec![
            component(2.0, &[-0.8], &[0.3]),
            component(1.0, &[0.5], &[0.1]),
            component(1.0, &[1.1], &[0.4]),
        ])
        .unwrap()
    }

    fn plane() -> Mixture {
        Mixture::new(vec![
            component(0.5, &[-0.7, 0.2], &[0.3, 0.5]),
            component(0.2, &[0.9, 0.8], &[0.2, 0.2]),
            component(0.3, &[0.1, -0.9], &[0.6, 0.1]),
        ])
        .unwrap()
    }

    /// Trapezoid rule from -8 to 8, which for smooth functions that vanish at the ends is as good as exact.
    fn integral(f: impl Fn(f64) -> f64) -> f64 {
        let n = 8000;
        (0..=n)
            .map(|i| f(-8.0 + 16.0 * f64::from(i) / f64::from(n)))
            .sum::<f64>()
            * 16.0
            / f64::from(n)
    }

    fn gaussian(x: f64, mean: f64, std: f64) -> f64 {
        let z = (x - mean) / std;
        (-0.5 * z * z).exp() / (std * (2.0 * PI).sqrt())
    }

    /// Bayes' rule with the integral over x1 done by quadrature; x0 follows from `x = alpha x1 + sigma x0`.
    #[test]
    fn posterior_means_and_density_agree_with_quadrature() {
        let mixture = line();
        let prior = |x1: f64| {
            let terms = mixture.components().iter();
            terms
                .map(|c| c.weight * gaussian(x1, c.mean[0], c.std[0]))
                .sum::<f64>()
        };
        for &path in Path::ALL {
            for t in [0.2, 0.5, 0.8] {
                let (alpha, sigma) = (path.alpha(t), path.sigma(t));
                for x in [-1.5, 0.1, 0.7] {
                    let joint = |x1| prior(x1) * gaussian(x, alpha * x1, sigma);
                    let density = integral(joint);
                    let data = integral(|x1| x1 * joint(x1)) / density;
                    let noise = (x - alpha * data) / sigma;
                    let velocity = path.d_alpha(t) * data + path.d_sigma(t) * noise;
                    let at = format!("{path} at {t} of {x}");
                    let marginal = mixture.at(path, t);
                    near(
                        &format!("density, {at}"),
                        marginal.density(&[x]),
                        density,
                        1e-10,
                    );
                    near(
                        &format!("log, {at}"),
                        marginal.log_density(&[x]),
                        density.ln(),
                        1e-10,
                    );
                    near(&format!("data, {at}"), marginal.data(&[x])[0], data, 1e-9);
                    near(
                        &format!("noise, {at}"),
                        marginal.noise(&[x])[0],
                        noise,
                        1e-9,
                    );
                    let got = marginal.output(Prediction::Velocity, &[x])[0];
                    near(&format!("velocity, {at}"), got, velocity, 1e-8);
                    let score = -noise / sigma;
                    let got = marginal.output(Prediction::Score, &[x])[0];
                    near(&format!("score, {at}"), got, score, 1e-8);
                }
            }
        }
    }

    /// The engine's closed form of one Gaussian, written out: all outputs are `slope (x - mean) + at_mean`.
    #[test]
    fn one_component_is_the_gaussian() {
        let (mean, std) = (0.8, 0.5);
        let gaussian = Mixture::new(vec![component(1.0, &[mean], &[std])]).unwrap();
        for &path in Path::ALL {
            for t in [0.0, 0.3, 0.9, 1.0] {
                let (alpha, sigma) = (path.alpha(t), path.sigma(t));
                let variance = (alpha * std).powi(2) + sigma * sigma;
                let marginal = gaussian.at(path, t);
                let x = 1.7;
                let z = (x - alpha * mean) / variance;
                let at = format!("{path} at {t}");
                near(
                    &at,
                    marginal.data(&[x])[0],
                    mean + alpha * std * std * z,
                    1e-14,
                );
                near(&at, marginal.score(&[x])[0], -z, 1e-14);
                near(&at, marginal.noise(&[x])[0], sigma * z, 1e-14);
                // The velocity of the flow that scales and shifts one marginal into the next, by central differences.
                if t > 0.0 && t < 1.0 {
                    let h = 1e-5;
                    let moved = |t: f64| {
                        let (a, s) = (path.alpha(t), path.sigma(t));
                        let scale = (((a * std).powi(2) + s * s) / variance).sqrt();
                        a * mean + scale * (x - alpha * mean)
                    };
                    let velocity = (moved(t + h) - moved(t - h)) / (2.0 * h);
                    near(
                        &format!("velocity, {at}"),
                        marginal.velocity(&[x])[0],
                        velocity,
                        1e-8,
                    );
                }
            }
        }
    }

    /// `d_t p + div(p v) = 0`, by central differences in time and space.
    #[test]
    fn density_and_velocity_satisfy_the_continuity_equation() {
        let mixture = plane();
        let h = 1e-4;
        let mut largest: f64 = 0.0;
        for &path in Path::ALL {
            for t in [0.1, 0.4, 0.7, 0.95] {
                for x in [[0.0, 0.0], [-0.5, 0.3], [0.4, -0.6]] {
                    let density = |t: f64| mixture.at(path, t).density(&x);
                    let change = (density(t + h) - density(t - h)) / (2.0 * h);
                    let marginal = mixture.at(path, t);
                    let divergence: f64 = (0..2)
                        .map(|i| {
                            let flux = |sign: f64| {
                                let mut x = x;
                                x[i] += sign * h;
                                marginal.density(&x) * marginal.velocity(&x)[i]
                            };
                            (flux(1.0) - flux(-1.0)) / (2.0 * h)
                        })
                        .sum();
                    largest = largest.max(change.abs());
                    near(
                        &format!("{path} at {t} of {x:?}"),
                        change,
                        -divergence,
                        2e-5,
                    );
                }
            }
        }
        assert!(largest > 0.3, "the density hardly changes: {largest}");
    }

    #[test]
    fn the_score_is_the_gradient_of_the_log_density() {
        let mixture = plane();
        let h = 1e-5;
        for &path in Path::ALL {
            for t in [0.0, 0.4, 1.0] {
                let (x, marginal) = ([0.3, -0.5], mixture.at(path, t));
                for i in 0..2 {
                    let log = |sign: f64| {
                        let mut x = x;
                        x[i] += sign * h;
                        marginal.log_density(&x)
                    };
                    let gradient = (log(1.0) - log(-1.0)) / (2.0 * h);
                    near(
                        &format!("{path} at {t}"),
                        marginal.score(&x)[i],
                        gradient,
                        1e-6,
                    );
                }
            }
        }
    }

    #[test]
    fn ends_are_finite_limits() {
        let mixture = plane();
        let x = [0.3, -0.5];
        for &path in Path::ALL {
            for (end, inside) in [(0.0, 1e-9), (1.0, 1.0 - 1e-9)] {
                for &prediction in Prediction::ALL {
                    let end = mixture.at(path, end).output(prediction, &x);
                    let inside = mixture.at(path, inside).output(prediction, &x);
                    for (end, inside) in end.iter().zip(&inside) {
                        // Near t = 1 VP's sigma is a square root: 1e-5 at 1e-9 from the end.
                        near(&format!("{path} {prediction}"), *inside, *end, 2e-4);
                    }
                }
            }
            // Points without spread have all but their density's limit at t = 0.
            let points = Mixture::of_points(&[[1.0, 0.0], [-1.0, 0.5]], 0.0).unwrap();
            let start = points.at(Path::Linear, 0.0);
            near("score", start.score(&x)[1], 0.5, 1e-12);
            near("mean", start.data(&x)[1], 0.25, 1e-12);
        }
    }

    #[test]
    fn far_away_nothing_overflows() {
        let far = plane();
        let marginal = far.at(Path::Linear, 0.99);
        let x = [400.0, -300.0];
        assert_eq!(marginal.density(&x), 0.0);
        assert!(marginal.log_density(&x).is_finite());
        assert!(marginal.velocity(&x).iter().all(|v| v.is_finite()));
        let got = marginal.outputs(Prediction::Velocity, &[400.0, -300.0, 0.0, 0.0]);
        let want = [marginal.velocity(&x), marginal.velocity(&[0.0; 2])].concat();
        assert_eq!(got, want.iter().map(|v| *v as f32).collect::<Vec<_>>());
    }

    #[test]
    fn bad_components_are_named() {
        let refusal = |component| Mixture::new(vec![plane().components()[0].clone(), component]);
        let cases = [
            (component(0.0, &[0.0; 2], &[1.0; 2]), "weight 0,"),
            (component(f64::NAN, &[0.0; 2], &[1.0; 2]), "weight NaN,"),
            (
                component(1.0, &[0.0; 3], &[1.0; 2]),
                "3 means and 2 deviations,",
            ),
            (
                component(1.0, &[f64::INFINITY, 0.0], &[1.0; 2]),
                "mean inf,",
            ),
            (component(1.0, &[0.0; 2], &[1.0, -1.0]), "deviation -1,"),
        ];
        for (component, expected) in cases {
            let message = refusal(component).unwrap_err().to_string();
            let expected = format!("component 1 of a mixture: got {expected}");
            assert!(message.starts_with(&expected), "{message}");
        }
        assert!(
            Mixture::new(vec![])
                .unwrap_err()
                .to_string()
                .contains("no component")
        );
    }

    use crate::stats::{Group, Verdict};
    use sit_engine::rng::{Stream, fill_brownian, fill_normal};
    use sit_engine::transport::{Diffusion, LastStep, Method, Sampler, schedule};

    /// Starts from the same noise and goes to the end; the SDE on one Brownian path, whatever the steps.
    fn run(sampler: &Sampler, transport: &Transport, n: usize) -> Vec<f64> {
        let mixture = plane();
        let mut noise = vec![0.0; 2 * n];
        fill_normal(1, Stream::SampleNoise, 0, 0, &mut noise);
        let mut x: Vec<f64> = noise.iter().copied().map(f64::from).collect();
        let level = sampler.n_steps().ilog2();
        for (k, step) in schedule(transport, sampler).unwrap().iter().enumerate() {
            if k < 1 << level {
                fill_brownian(2, level, k as u32, 0, &mut noise);
            }
            mixture.step(transport, step, &mut x, &noise);
        }
        x
    }

    fn distance(a: &[f64], b: &[f64]) -> f64 {
        let square: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
        (square / a.len() as f64).sqrt()
    }

    #[test]
    fn solver_error_falls_with_the_order_of_the_method() {
        for &prediction in Prediction::ALL {
            let transport = Transport {
                path: Path::Gvp,
                prediction,
                ..Transport::default()
            };
            for (method, range) in [(Method::Euler, 1.8..2.3), (Method::Heun, 3.5..4.6)] {
                let end = |n_steps| run(&Sampler::Ode { method, n_steps }, &transport, 16);
                let exact = end(8192);
                let ratio = distance(&end(128), &exact) / distance(&end(256), &exact);
                assert!(range.contains(&ratio), "{prediction} {method}: {ratio}");
            }
        }
    }

    /// With a perfect network the ODE and the SDE have one marginal, unless their steps are too coarse.
    #[test]
    fn the_badge_finds_coarse_steps_and_nothing_else() {
        let sde = |method, n_steps, norm| Sampler::Sde {
            method,
            diffusion: Diffusion {
                norm,
                ..Diffusion::default()
            },
            last_step: LastStep::Mean,
            last_step_size: 0.04,
            n_steps,
        };
        let ode = Sampler::Ode {
            method: Method::Heun,
            n_steps: 64,
        };
        let verdict = |sampler| {
            let lane = |sampler: &Sampler| {
                let x = run(sampler, &Transport::default(), 256);
                Group::unlabelled(x.iter().map(|x| *x as f32).collect(), 2)
            };
            Verdict::of_lanes(&lane(&ode), &lane(sampler), 199, 1)
        };
        let (fine, coarse) = (
            verdict(&sde(Method::Euler, 256, 1.0)),
            verdict(&sde(Method::Euler, 4, 4.0)),
        );
        assert!(matches!(fine, Verdict::Equal(_)), "{fine}");
        assert!(matches!(coarse, Verdict::Differs(_)), "{coarse}");
    }

    /// On one Brownian path the SDE converges as its steps are halved.
    #[test]
    fn the_sde_converges_on_its_path() {
        let end = |n_steps| {
            let sampler = Sampler::Sde {
                method: Method::Euler,
                diffusion: Diffusion::default(),
                last_step: LastStep::Mean,
                last_step_size: 0.04,
                n_steps,
            };
            run(&sampler, &Transport::default(), 64)
        };
        let fine = end(4096);
        let errors = [16, 32, 64, 128].map(|n_steps| distance(&end(n_steps), &fine));
        for pair in errors.windows(2) {
            assert!((1.4..2.8).contains(&(pair[0] / pair[1])), "{errors:?}");
        }
    }
}
