//! The exact velocity of a Gaussian mixture as a network, so that solvers can be tested on a device without the error of a model.

use super::Mixture;
use crate::backend::Device;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::model::{Inputs, Model, Network, NetworkIo, Outputs};
use crate::nn::{Init, Scope};
use crate::ops::{pointwise, reduce};
use crate::transport::Transport;

/// The velocity of a mixture on the Linear path, for points as images `[d, 1, 1]`:
/// `v = sum_k r_k (m_k + (t s_k^2 - (1 - t)) (x - t m_k) / c_k)` with `c_k = (t s_k)^2 + (1 - t)^2` ([`Mixture`]). Weights, means and
/// deviations are its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct MixtureNetwork {
    mixture: Mixture,
}

impl MixtureNetwork {
    /// The network of a mixture.
    ///
    /// # Errors
    /// [`Error::Config`] for a component without spread, whose velocity is infinite at `t = 1`.
    pub fn new(mixture: Mixture) -> Result<Self> {
        let mut std = mixture.components().iter().flat_map(|c| &c.std);
        match std.any(|&s| s < 1e-3) {
            true => Err(Error::Config(
                "mixture: got a deviation below 0.001, expected a larger one".into(),
            )),
            false => Ok(MixtureNetwork { mixture }),
        }
    }

    /// The model on a device.
    ///
    /// # Errors
    /// As [`Model::zeros`].
    pub fn on(&self, device: &Device) -> Result<Model> {
        let model = Model::zeros(device, self.clone(), Transport::default())?;
        let components = self.mixture.components();
        let flat = |of: &dyn Fn(&super::Component) -> Vec<f64>| -> Vec<f32> {
            let values = components.iter().flat_map(of);
            values.map(|x| x as f32).collect()
        };
        model.write("mean", &flat(&|c| c.mean.clone()))?;
        model.write("std", &flat(&|c| c.std.clone()))?;
        model.write("log_weight", &flat(&|c| vec![libm::log(c.weight)]))?;
        Ok(model)
    }
}

impl Network for MixtureNetwork {
    fn io(&self) -> NetworkIo {
        NetworkIo::new([self.mixture.dimension(), 1, 1], 0)
    }

    fn validate(&self, _: usize) -> Result<()> {
        Ok(())
    }

    fn forward(&self, s: &mut Scope<'_>, inputs: Inputs) -> Result<Outputs> {
        let (k, d) = (self.mixture.components().len(), self.mixture.dimension());
        let mean = s.param("mean", [k, d], Init::Zeros)?;
        let std = s.param("std", [k, d], Init::Ones)?;
        let log_weight = s.param("log_weight", [k], Init::Zeros)?;
        let g = s.graph();
        let batch = g.shape(inputs.x)[0];
        let all = [batch, k, d];
        let spread = |g: &mut Graph, x: Var, shape: [usize; 3]| -> Result<Var> {
            let x = g.reshape(x, shape)?;
            reduce::broadcast(g, x, all)
        };
        let mean = spread(g, mean, [1, k, d])?;
        let std = spread(g, std, [1, k, d])?;
        let x = spread(g, inputs.x, [batch, 1, d])?;
        let t = spread(g, inputs.t, [batch, 1, 1])?;
        let sigma = pointwise::affine(g, t, -1.0, 1.0)?;

        let scaled = pointwise::mul(g, t, std)?;
        let (a, b) = (pointwise::square(g, scaled)?, pointwise::square(g, sigma)?);
        let variance = pointwise::add(g, a, b)?;
        let centre = pointwise::mul(g, t, mean)?;
        let far = pointwise::sub(g, x, centre)?;
        let precise = pointwise::div(g, far, variance)?;

        // ln w_k - (far^2 / c + ln c) / 2, up to a constant.
        let square = pointwise::mul(g, far, precise)?;
        let log = pointwise::ln(g, variance)?;
        let sum = pointwise::add(g, square, log)?;
        let sum = reduce::sum(g, sum, &[2])?;
        let sum = g.reshape(sum, [batch, k])?;
        let half = pointwise::scale(g, sum, -0.5)?;
        let log_weight = g.reshape(log_weight, [1, k])?;
        let log_weight = reduce::broadcast(g, log_weight, [batch, k])?;
        let joint = pointwise::add(g, half, log_weight)?;
        let shares = softmax(g, joint)?;

        let spread_shares = g.reshape(shares, [batch, k, 1])?;
        let spread_shares = reduce::broadcast(g, spread_shares, all)?;
        let variance1 = pointwise::square(g, std)?;
        let covariance = pointwise::mul(g, t, variance1)?;
        let covariance = pointwise::sub(g, covariance, sigma)?;
        let part = pointwise::mul(g, covariance, precise)?;
        let velocity = pointwise::add(g, mean, part)?;
        let weighted = pointwise::mul(g, spread_shares, velocity)?;
        let out = reduce::sum(g, weighted, &[1])?;
        Ok(Outputs::new(g.reshape(out, [batch, d, 1, 1])?))
    }
}

/// Softmax over the last axis of `[B, K]`.
fn softmax(g: &mut Graph, x: Var) -> Result<Var> {
    let shape = g.shape(x).clone();
    let batch = shape[0];
    let column = |g: &mut Graph, x: Var| -> Result<Var> {
        let x = g.reshape(x, [batch, 1])?;
        reduce::broadcast(g, x, shape.clone())
    };
    let top = reduce::max(g, x, &[1])?;
    // The shift does not change the result, so it has no gradient.
    let top = g.stop_gradient(top);
    let top = column(g, top)?;
    let below = pointwise::sub(g, x, top)?;
    let powers = pointwise::exp(g, below)?;
    let sum = reduce::sum(g, powers, &[1])?;
    let sum = column(g, sum)?;
    pointwise::div(g, powers, sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytic::Component;
    use crate::transport::{Method, Sampler};

    fn mixture() -> Mixture {
        let component = |weight, mean: [f64; 3], std: [f64; 3]| Component {
            weight,
            mean: mean.to_vec(),
            std: std.to_vec(),
        };
        Mixture::new(vec![
            component(0.3, [1.0, -0.5, 0.2], [0.4, 0.2, 0.3]),
            component(0.7, [-0.8, 0.6, 0.0], [0.3, 0.5, 0.1]),
        ])
        .unwrap()
    }

    #[test]
    fn one_step_of_it_is_the_exact_velocity() {
        let network = MixtureNetwork::new(mixture()).unwrap();
        let model = network.on(&Device::Cpu).unwrap();
        let sampling = model.sampler(Sampler::ode(Method::Euler, 2)).batch(4);
        let mut session = sampling.session().unwrap();
        session.start(5, &[0, 1, 2, 3], &[]).unwrap();
        let mut exact: Vec<f64> = session.read().unwrap().iter().map(|&x| x.into()).collect();
        let steps = session.steps().to_vec();
        for step in steps {
            session.step().unwrap();
            let (transport, mut history) = (Transport::default(), Vec::new());
            mixture().step(&transport, &step, &mut exact, &mut history, &[]);
        }
        for (got, want) in session.read().unwrap().iter().zip(exact) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
        }
    }
}
