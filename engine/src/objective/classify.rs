//! The objective of a classifier of noisy images.

use super::{Batch, Net, Objective, Port, Ports, SampleKey, TIMES, draws};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::model::{Inputs, NetworkIo};
use crate::ops::{cross_entropy, lincomb};
use crate::rng::{Stream, fill_normal, uniform};
use crate::transport::{Chain, Transport};

/// The network gives the logits of the class of the image x1 in the state `x_t = alpha_t x1 + sigma_t x0`; the loss is the cross entropy, in
/// nats. States and times are drawn, and given to the network, as for the networks that the classifier is to guide (arXiv 2105.05233, section 4).
#[derive(Debug)]
pub struct Classify {
    transport: Transport,
    /// The noise levels of the DDPM path.
    chain: Option<Chain>,
}

const X0: Port<f32> = Port::new("x0");
const X1: Port<f32> = Port::new("x1");
const Y: Port<u32> = Port::new("y");
/// What the network gets in the place of the time.
const T_INPUT: Port<f32> = Port::new("t_input");
const XT_COEF: Port<f32> = Port::new("xt_coef");

impl Classify {
    /// The objective on the path of a transport. Its prediction matters only where it scales the state or the time.
    pub fn new(transport: Transport) -> Self {
        let chain = transport.path.ddpm().and_then(|ddpm| ddpm.chain().ok());
        Classify { transport, chain }
    }

    /// The time of an image, what the network gets in its place, and the coefficients of noise and data.
    fn place(&self, key: SampleKey, number: u64) -> Result<(f32, f64, [f64; 4])> {
        let (seed, step) = (key.seed, key.step());
        let u = uniform(seed, Stream::Time, step, number);
        if let (Some(chain), Some(ddpm)) = (&self.chain, self.transport.path.ddpm()) {
            let n = chain.len();
            let i = ((u * n as f64) as usize).min(n - 1);
            let [alpha, sigma] = chain.state(i);
            let t = ddpm.time(chain.indices()[i]) as f32;
            let input = self.transport.index_input(chain, i);
            return Ok((t, input, [sigma, alpha, 0.0, 0.0]));
        }
        let normal = || {
            let mut n = [0.0];
            fill_normal(seed, Stream::Time, step, number, &mut n);
            f64::from(n[0])
        };
        let target = self.transport.target()?;
        // The network gets t in f32, so the coefficients are computed for that rounded value.
        let t = target.sample_t(u, normal) as f32;
        let (input, at) = target.input(f64::from(t));
        Ok((t, input, [at.x0, at.x1, 0.0, 0.0]))
    }
}

impl Objective for Classify {
    fn validate(&self, _: &NetworkIo) -> Result<()> {
        self.transport.target()?;
        self.transport
            .require_gaussian("base", "a classifier is trained on noisy images")
    }

    fn build(&self, g: &mut Graph, net: &mut Net<'_>, ports: &mut Ports) -> Result<Var> {
        let (b, io) = (ports.batch(), net.io());
        let x0 = ports.input(g, X0, io.images(b))?;
        let x1 = ports.input(g, X1, io.images(b))?;
        ports.input(g, TIMES, [b])?;
        let t = ports.input(g, T_INPUT, [b])?;
        let y = ports.input(g, Y, [b])?;
        let xt_coef = ports.input(g, XT_COEF, [b, 4])?;
        let x = lincomb::lincomb(g, &[x0, x1], xt_coef)?;
        let logits = net.forward(g, Inputs::new(x, t, Some(y)))?.out;
        cross_entropy::cross_entropy(g, logits, y)
    }

    fn draw(&self, key: SampleKey, batch: &Batch<'_>, ports: &mut Ports) -> Result<()> {
        draws::noise(key, batch, X0, ports)?;
        ports.copy(X1, batch.x1)?;
        for b in 0..ports.batch() {
            let (t, input, coef) = self.place(key, key.number + b as u64)?;
            ports.fill(TIMES)?[b] = t;
            ports.fill(T_INPUT)?[b] = input as f32;
            draws::put(ports.fill(XT_COEF)?, b, coef);
        }
        draws::labels(key, batch, 0.0, Y, ports)
    }
}
