//! The probability flow ODE with its divergence, for the density of its solutions.

use super::along::Along;
use super::sampler::{Ode, Sampler, Solver};
use super::step::At;
use super::{Adaptive, Coefs, ErrorNorm, Tableau, Transport, solver};
use crate::error::{Error, Result};

/// What a solver needs to integrate the ODE together with its divergence, from data to noise.
///
/// Where the drift is `x X + out net(scale X)`, the trace of its Jacobian is `D x + out scale tr J` with the network's Jacobian `J`.
#[derive(Debug, Clone)]
pub(crate) struct Flow {
    transport: Transport,
    ode: Ode,
    way: Way,
}

/// How the steps are chosen.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// Their times and methods are given.
    Fixed(Vec<Leg>),
    /// By the error of each.
    Adaptive(Box<Adaptive>, &'static Tableau),
}

/// A step from one time to another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leg {
    pub times: [f64; 2],
    pub tableau: &'static Tableau,
}

/// The drift at a time: its coefficients, and where the network is evaluated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drift {
    pub coefs: Coefs,
    pub at: At,
}

impl Flow {
    /// The way from data to noise; the sampler's own direction does not matter.
    ///
    /// # Errors
    /// As [`super::schedule`]; [`Error::Setting`] for an SDE, a multistep method or a step size that images share.
    pub fn new(transport: &Transport, sampler: &Sampler) -> Result<Self> {
        transport.require_noise(
            "base",
            "the likelihood needs the density of Gaussian noise at t = 0",
        )?;
        let ode = match sampler {
            Sampler::Ode(ode) => Ode {
                reverse: true,
                ..ode.clone()
            },
            other => {
                let key = match other {
                    Sampler::Edm(_) => "edm",
                    Sampler::Ddpm(_) => "ddpm",
                    _ => "sde",
                };
                return Err(Error::setting(
                    key,
                    "the likelihood is that of the ODE, and only a solver of the ODE measures it",
                ));
            }
        };
        let sampler = Sampler::Ode(ode.clone());
        let way = match ode.method.solver() {
            Solver::Multistep => {
                return Err(Error::setting(
                    "ode",
                    format!(
                        "got {}, expected a method whose steps are independent (euler, midpoint, heun, heun3, rk4, rk4-38, bosh3, \
                         dopri5 or adaptive-heun): the volume changes with each evaluation",
                        ode.method
                    ),
                ));
            }
            Solver::Adaptive(..) if ode.tolerance.norm == ErrorNorm::Batch => {
                return Err(Error::setting(
                    "error_norm",
                    "got batch, expected sample: the likelihood of an image must not depend on others",
                ));
            }
            Solver::Adaptive(tableau, _) => {
                Way::Adaptive(Box::new(Adaptive::new(transport, &sampler)?), tableau)
            }
            Solver::Fixed(tableau) => {
                let interval = transport.sample_interval(&sampler)?;
                let times = solver::times(&sampler, interval);
                let n = times.len() - 1;
                let leg = |(i, pair): (usize, &[f64])| Leg {
                    times: [pair[0], pair[1]],
                    tableau: match ode.last_euler && i + 1 == n {
                        true => &Tableau::EULER,
                        false => tableau,
                    },
                };
                Way::Fixed(times.windows(2).enumerate().map(leg).collect())
            }
        };
        Ok(Flow {
            transport: transport.clone(),
            ode,
            way,
        })
    }

    pub fn way(&self) -> &Way {
        &self.way
    }

    /// First and last time: data, then noise.
    pub fn times(&self) -> [f64; 2] {
        match &self.way {
            Way::Fixed(legs) => [legs[0].times[0], legs[legs.len() - 1].times[1]],
            Way::Adaptive(solver, _) => solver.times,
        }
    }

    /// The drift at `t`.
    pub fn drift(&self, t: f64) -> Result<Drift> {
        let along = Along::new(&self.transport, self.ode.along.as_ref());
        Ok(Drift {
            coefs: along.velocity(t)?,
            at: along.at(t),
        })
    }

    /// What the network gets in the place of its time.
    pub fn time_input(&self, time: f64) -> f64 {
        self.transport.time_input(time)
    }

    /// Standard deviation of the noise at the end of the way.
    pub fn noise_std(&self) -> f64 {
        self.transport.start_std(&Sampler::Ode(self.ode.clone()))
    }

    /// `alpha` and `sigma` of the states at the ends: data, then noise.
    pub fn marginals(&self) -> [[f64; 2]; 2] {
        let path = Along::new(&self.transport, self.ode.along.as_ref()).path();
        self.times().map(|t| [path.alpha(t), path.sigma(t)])
    }
}
