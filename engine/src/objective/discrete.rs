//! The objective of discrete diffusion (DDPM, arXiv 2006.11239; improved-diffusion, arXiv 2102.09672).

use super::second_moment::{SecondMoment, pick};
use super::{Batch, Net, Objective, Port, Ports, SampleKey, TIMES, WEIGHTS, draws};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::model::{Inputs, NetworkIo, check_variance};
use crate::ops::{bound, lincomb, loss, pointwise};
use crate::rng::{Stream, uniform};
use crate::transport::{Chain, Ddpm, DdpmLoss, DdpmTimes, Transport};
use std::sync::{Mutex, PoisonError};

/// Losses that are kept of each time, and the probability of a uniform draw (arXiv 2102.09672, section 3.3; the reference's numbers).
const N_KEPT: usize = 10;
const UNIFORM: f64 = 0.001;

/// The network predicts noise, data or the mean of a step at a noise level of the transport's chain. Its loss is a squared error, a
/// term of the variational bound, or with a learned variance their sum, in which the bound teaches the variance alone.
#[derive(Debug)]
pub struct Discrete {
    transport: Transport,
    class_dropout: f64,
    /// `None` for settings that are refused.
    chain: Option<Chain>,
    /// The losses by which times are drawn.
    losses: Option<Mutex<SecondMoment>>,
}

const X0: Port<f32> = Port::new("x0");
const X1: Port<f32> = Port::new("x1");
const Y: Port<u32> = Port::new("y");
/// What the network gets in the place of the time.
const T_INPUT: Port<f32> = Port::new("t_input");
const XT_COEF: Port<f32> = Port::new("xt_coef");
const LOSS_COEF: Port<f32> = Port::new("loss_coef");
const BOUND_COEF: Port<f32> = Port::new("bound_coef");

impl Discrete {
    /// The objective of a transport on the DDPM path. `class_dropout` is the probability that a label is replaced by the null class.
    pub fn new(transport: Transport, class_dropout: f64) -> Self {
        let ddpm = transport.path.ddpm();
        let chain = ddpm.and_then(|ddpm| ddpm.chain().ok());
        let is_drawn = ddpm.is_some_and(|ddpm| ddpm.times == DdpmTimes::SecondMoment);
        let losses = |chain: &Chain| Mutex::new(SecondMoment::new(chain.len(), N_KEPT, UNIFORM));
        Discrete {
            losses: chain.as_ref().filter(|_| is_drawn).map(losses),
            chain,
            class_dropout,
            transport,
        }
    }

    fn ddpm(&self) -> Result<&Ddpm> {
        self.transport.path.ddpm().ok_or_else(|| {
            Error::setting(
                "path",
                format!(
                    "got {}, expected DDPM for discrete diffusion",
                    self.transport.path
                ),
            )
        })
    }

    fn chain(&self) -> Result<&Chain> {
        match &self.chain {
            Some(chain) => Ok(chain),
            None => Err(match self.ddpm()?.chain() {
                Ok(_) => Error::Config("discrete diffusion without noise levels".into()),
                Err(e) => e,
            }),
        }
    }

    /// The factors of the squared error and of the bound; `None` where the loss does not have it.
    fn parts(&self, ddpm: &Ddpm, n: usize) -> [Option<f64>; 2] {
        let n = n as f64;
        let hybrid = |factor: f64| ddpm.variance.is_learned().then_some(factor);
        match ddpm.loss {
            DdpmLoss::Mse => [Some(1.0), hybrid(1.0)],
            DdpmLoss::RescaledMse => [Some(1.0), hybrid(n / 1000.0)],
            DdpmLoss::Kl => [None, Some(1.0)],
            DdpmLoss::RescaledKl => [None, Some(n)],
        }
    }

    /// The probability of each position of the chain; `None` when all are alike.
    fn probabilities(&self, key: SampleKey) -> Option<Vec<f64>> {
        let losses = self.losses.as_ref().filter(|_| !key.is_validation)?;
        let losses = losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.is_warm().then(|| losses.probabilities())
    }
}

/// The numbers of an image at a position of the chain, by the names of the objective's inputs.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// The time.
    pub t: f64,
    /// What the network gets in its place.
    pub t_input: f64,
    /// Coefficients of noise and data in the state.
    pub xt_coef: [f64; 4],
    /// The squared error.
    pub loss_coef: [f64; 4],
    /// The term of the bound.
    pub bound_coef: [f64; 8],
}

#[doc(hidden)]
impl Discrete {
    /// The numbers of an image at position `i`, whose loss has the factor `weight`.
    ///
    /// # Errors
    /// As [`Objective::validate`].
    pub fn place(&self, i: usize, weight: f64) -> Result<Place> {
        let (ddpm, chain, prediction) = (self.ddpm()?, self.chain()?, self.transport.prediction);
        let [squares, bound] = self.parts(ddpm, chain.len()).map(Option::unwrap_or_default);
        let [alpha, sigma] = chain.state(i);
        let mut loss_coef = chain.loss(prediction, i).row();
        loss_coef[0] = weight * squares;
        let terms = chain.bound(prediction, ddpm.variance, i);
        Ok(Place {
            t: ddpm.time(chain.indices()[i]),
            t_input: self.transport.index_input(chain, i),
            xt_coef: [sigma, alpha, 0.0, 0.0],
            loss_coef,
            bound_coef: terms.row(weight * bound),
        })
    }
}

impl Objective for Discrete {
    fn validate(&self, _: &NetworkIo) -> Result<()> {
        self.ddpm()?;
        self.transport.target()?;
        draws::check_dropout(self.class_dropout)
    }

    fn build(&self, g: &mut Graph, net: &mut Net<'_>, ports: &mut Ports) -> Result<Var> {
        let (b, io, ddpm) = (ports.batch(), net.io(), self.ddpm()?);
        let x0 = ports.input(g, X0, io.images(b))?;
        let x1 = ports.input(g, X1, io.images(b))?;
        ports.input(g, TIMES, [b])?;
        let t = ports.input(g, T_INPUT, [b])?;
        let y = io
            .null_class()
            .map(|_| ports.input(g, Y, [b]))
            .transpose()?;
        let xt_coef = ports.input(g, XT_COEF, [b, 4])?;
        let loss_coef = ports.input(g, LOSS_COEF, [b, 4])?;
        let bound_coef = ports.input(g, BOUND_COEF, [b, bound::COLUMNS])?;
        if self.losses.is_some() {
            ports.input(g, WEIGHTS, [b])?;
        }
        let x = lincomb::lincomb(g, &[x0, x1], xt_coef)?;
        let outputs = net.forward(g, Inputs::new(x, t, y))?;
        let n_outputs = g.shape(outputs.all).get(1).copied().unwrap_or(0);
        check_variance(ddpm.variance, n_outputs, io.channels())?;
        let all = ddpm.variance.is_learned().then_some(outputs.all);
        let parts = self.parts(ddpm, self.chain()?.len());
        let squares = match parts[0] {
            Some(_) => Some(loss::loss(g, outputs.out, x0, x1, loss_coef)?),
            None => None,
        };
        if parts[1].is_none() {
            return squares.ok_or_else(|| Error::Config("a loss of no parts".into()));
        }
        // Beside the squared error, the bound teaches the variance alone.
        let out = match squares {
            Some(_) => g.stop_gradient(outputs.out),
            None => outputs.out,
        };
        let bound = bound::bound(g, out, all, [x0, x1], bound_coef)?;
        match squares {
            Some(squares) => pointwise::add(g, squares, bound),
            None => Ok(bound),
        }
    }

    fn draw(&self, key: SampleKey, batch: &Batch<'_>, ports: &mut Ports) -> Result<()> {
        let n = self.chain()?.len();
        draws::noise(key, batch, X0, ports)?;
        ports.copy(X1, batch.x1)?;
        let probabilities = self.probabilities(key);
        for b in 0..ports.batch() {
            let u = uniform(key.seed, Stream::Time, key.step(), key.number + b as u64);
            let (i, weight) = match &probabilities {
                None => (((u * n as f64) as usize).min(n - 1), 1.0),
                Some(p) => {
                    let i = pick(p, u);
                    (i, 1.0 / (n as f64 * p[i]))
                }
            };
            let place = self.place(i, weight)?;
            ports.fill(TIMES)?[b] = place.t as f32;
            ports.fill(T_INPUT)?[b] = place.t_input as f32;
            draws::put(ports.fill(XT_COEF)?, b, place.xt_coef);
            draws::put(ports.fill(LOSS_COEF)?, b, place.loss_coef);
            draws::put(ports.fill(BOUND_COEF)?, b, place.bound_coef);
            if self.losses.is_some() {
                ports.fill(WEIGHTS)?[b] = weight as f32;
            }
        }
        draws::labels(key, batch, self.class_dropout, Y, ports)
    }

    fn learn(&self, by_image: &[(f64, f64)]) {
        let (Some(losses), Some(chain), Ok(ddpm)) = (&self.losses, &self.chain, self.ddpm()) else {
            return;
        };
        let mut losses = losses.lock().unwrap_or_else(PoisonError::into_inner);
        for &(t, loss) in by_image {
            // The time was rounded to f32.
            let index = libm::round(ddpm.index(t)) as usize;
            if let Ok(i) = chain.indices().binary_search(&index) {
                losses.add(i, loss as f32);
            }
        }
    }

    fn state(&self) -> Vec<f32> {
        let state = |losses: &Mutex<SecondMoment>| {
            losses
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .state()
        };
        self.losses.as_ref().map(state).unwrap_or_default()
    }

    fn restore(&self, state: &[f32]) -> Result<()> {
        match &self.losses {
            // A run that began before it drew times so.
            _ if state.is_empty() => Ok(()),
            Some(losses) => {
                let mut losses = losses.lock().unwrap_or_else(PoisonError::into_inner);
                losses.restore(state)
            }
            None => Err(Error::Shape(format!(
                "the objective's state has {} numbers, expected none with uniform ddpm_times",
                state.len()
            ))),
        }
    }
}
