//! SiT's objective: matching velocity, score, noise or data along the interpolant (SiT `Transport.training_losses`).

use super::{Batch, Net, Objective, Port, Ports, SampleKey, TIMES, draws};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::model::{Inputs, NetworkIo};
use crate::ops::{lincomb, loss};
use crate::rng::{Stream, uniform};
use crate::transport::{Interpolant, Prediction, Transport};

/// The network predicts the transport's target at `x_t = alpha_t x1 + sigma_t x0`, for noise x0, a time t and an image x1; the loss
/// is the weighted mean square of the residual.
#[derive(Debug, Clone, PartialEq)]
pub struct Matching {
    /// Path, prediction and weight.
    pub transport: Transport,
    /// Probability that a label is replaced by the null class.
    pub class_dropout: f64,
}

const X0: Port<f32> = Port::new("x0");
const X1: Port<f32> = Port::new("x1");
const Y: Port<u32> = Port::new("y");
/// What the network gets in the place of the time, where that is something else.
const T_INPUT: Port<f32> = Port::new("t_input");
const XT_COEF: Port<f32> = Port::new("xt_coef");
const LOSS_COEF: Port<f32> = Port::new("loss_coef");

impl Objective for Matching {
    fn validate(&self, _: &NetworkIo) -> Result<()> {
        self.transport.target()?;
        draws::check_dropout(self.class_dropout)
    }

    fn build(&self, g: &mut Graph, net: &mut Net<'_>, ports: &mut Ports) -> Result<Var> {
        let (b, io) = (ports.batch(), net.io());
        let x0 = ports.input(g, X0, io.images(b))?;
        let x1 = ports.input(g, X1, io.images(b))?;
        let mut t = ports.input(g, TIMES, [b])?;
        if self.has_time_input() {
            t = ports.input(g, T_INPUT, [b])?;
        }
        let y = io
            .null_class()
            .map(|_| ports.input(g, Y, [b]))
            .transpose()?;
        let xt_coef = ports.input(g, XT_COEF, [b, 4])?;
        let loss_coef = ports.input(g, LOSS_COEF, [b, 4])?;
        let x = lincomb::lincomb(g, &[x0, x1], xt_coef)?;
        let out = net.forward(g, Inputs::new(x, t, y))?.out;
        loss::loss(g, out, x0, x1, loss_coef)
    }

    fn draw(&self, key: SampleKey, batch: &Batch<'_>, ports: &mut Ports) -> Result<()> {
        let SampleKey { seed, number, .. } = key;
        let step = key.step();
        if batch.x0.is_none() {
            let why = "a batch needs its images there: `Batch::x0` got none";
            self.transport.require_gaussian("base", why)?;
        }
        draws::noise(key, batch, X0, ports)?;
        ports.copy(X1, batch.x1)?;
        let target = self.transport.target()?;
        for (b, t) in ports.fill(TIMES)?.iter_mut().enumerate() {
            let number = number + b as u64;
            let u = uniform(seed, Stream::Time, step, number);
            let normal = || draws::normal(seed, Stream::Time, step, number);
            // The network gets t in f32, so the coefficients are computed for that rounded value.
            *t = target.sample_t(u, normal) as f32;
        }
        for b in 0..ports.batch() {
            let t = f64::from(ports.get(TIMES)?[b]);
            let (time, Interpolant { x0, x1 }) = target.input(t);
            if self.has_time_input() {
                ports.fill(T_INPUT)?[b] = time as f32;
            }
            draws::put(ports.fill(XT_COEF)?, b, [x0, x1, 0.0, 0.0]);
            draws::put(ports.fill(LOSS_COEF)?, b, target.loss(t).row());
        }
        draws::labels(key, batch, self.class_dropout, Y, ports)
    }
}

impl Matching {
    /// Whether the network gets something else than the time.
    fn has_time_input(&self) -> bool {
        self.transport.prediction == Prediction::Denoiser
    }
}
