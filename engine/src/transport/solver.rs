//! Schedules of the ODE and SDE solvers: SiT's `transport/integrators.py` and `Sampler`.

use super::{Coefs, Diffusion, Interval, Step, Tableau, Transport, names::named_enum};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The default size of the SDE's last step (paper, table 10; SiT's `sample_sde`).
pub const DEFAULT_LAST_STEP_SIZE: f64 = 0.04;

named_enum! {
    /// The integration method, of an ODE or an SDE.
    pub enum Method: "method" {
        /// Euler, or Euler-Maruyama: order 1, one network evaluation a step.
        Euler = "euler",
        /// Explicit midpoint: order 2, two evaluations a step. Of an ODE alone.
        Midpoint = "midpoint",
        /// Heun (explicit trapezoid), with the SDE's noise added before it: order 2 for the ODE, two evaluations a step.
        Heun = "heun",
        /// The classical Runge-Kutta method: order 4, four evaluations a step. Of an ODE alone.
        Rk4 = "rk4",
        /// Kutta's 3/8 rule, the `rk4` of the official code: order 4, four evaluations a step. Of an ODE alone.
        Rk438 = "rk4-38",
    }
}

impl Method {
    /// Those that integrate an SDE.
    pub const OF_SDE: [Method; 2] = [Method::Euler, Method::Heun];

    /// Its coefficients.
    pub fn tableau(self) -> &'static Tableau {
        match self {
            Self::Euler => &Tableau::EULER,
            Self::Midpoint => &Tableau::MIDPOINT,
            Self::Heun => &Tableau::HEUN,
            Self::Rk4 => &Tableau::RK4,
            Self::Rk438 => &Tableau::RK4_38,
        }
    }
}

named_enum! {
    /// The SDE's last step, without noise, from `1 - last_step_size` to 1.
    #[derive(Default)]
    pub enum LastStep: "last step" {
        /// The mean of an Euler-Maruyama step, `x + size (v + D s)`.
        #[default]
        Mean = "mean",
        /// The predicted data, `(x + sigma^2 s) / alpha`.
        Tweedie = "tweedie",
        /// An Euler step of the ODE, `x + size v`.
        Euler = "euler",
        /// No last step: the SDE is integrated to the end of its interval.
        None = "none",
    }
}

/// How to get from noise to data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Sampler {
    /// The probability flow ODE `dX = v dt`.
    Ode {
        /// The integration method.
        method: Method,
        /// Number of steps, at least 1.
        n_steps: u32,
    },
    /// The SDE `dX = (v + D s) dt + sqrt(2 D) dW`.
    Sde {
        /// The integration method.
        method: Method,
        /// The diffusion `D`.
        diffusion: Diffusion,
        /// The last step.
        last_step: LastStep,
        /// Size of the last step in `(0, 1)`, 0.04 by default; without a last step it has no meaning.
        last_step_size: f64,
        /// Number of steps before the last step, at least 1.
        n_steps: u32,
    },
}

impl Sampler {
    /// The probability flow ODE in `n_steps` steps.
    pub const fn ode(method: Method, n_steps: u32) -> Self {
        Self::Ode { method, n_steps }
    }

    /// The SDE with this diffusion in `n_steps` steps and a last one, the mean of size 0.04.
    pub const fn sde(method: Method, diffusion: Diffusion, n_steps: u32) -> Self {
        Self::Sde {
            method,
            diffusion,
            last_step: LastStep::Mean,
            last_step_size: DEFAULT_LAST_STEP_SIZE,
            n_steps,
        }
    }

    /// The integration method.
    pub fn method(&self) -> Method {
        match *self {
            Self::Ode { method, .. } | Self::Sde { method, .. } => method,
        }
    }

    /// Number of steps on the grid, without the last step.
    pub fn n_steps(&self) -> u32 {
        match *self {
            Self::Ode { n_steps, .. } | Self::Sde { n_steps, .. } => n_steps,
        }
    }
}

/// Number of network evaluations of a schedule (each of twice the batch where guidance is active).
pub fn nfe(steps: &[Step]) -> usize {
    steps.iter().map(|step| step.times().len()).sum()
}

/// The steps of a sampler: `n_steps` equal ones over [`Transport::sample_interval`], then the SDE's last step if it has one.
///
/// Differs from SiT: `n_steps` counts steps, not grid points, and one network evaluation serves the velocity and the score
/// of an SDE step (the reference evaluates the network twice on the same input). With a diffusion of 0 the coefficients
/// are those of the ODE, bit for bit.
///
/// # Errors
/// [`crate::error::Error::Config`] from [`Transport::sample_interval`].
pub fn schedule(transport: &Transport, sampler: &Sampler) -> Result<Vec<Step>> {
    let interval = transport.sample_interval(sampler)?;
    steps(transport, sampler, interval, sampler.n_steps())
}

/// The steps of a sampler from time `t` on: as many equal ones to the end of its interval as come nearest to the size of
/// [`schedule`]'s, then its last step.
///
/// # Errors
/// As [`schedule`]; [`crate::error::Error::Config`] for a time before the sampler's interval or after its last step.
pub fn schedule_from(transport: &Transport, sampler: &Sampler, t: f64) -> Result<Vec<Step>> {
    let Interval { t0, t1 } = transport.sample_interval(sampler)?;
    let n_steps = f64::from(sampler.n_steps()) * (t1 - t) / (t1 - t0);
    let rest = match t {
        _ if t == t1 => steps(transport, sampler, Interval { t0, t1 }, 0)?,
        _ if (t0..t1).contains(&t) => {
            let n_steps = libm::round(n_steps).max(1.0) as u32;
            steps(transport, sampler, Interval { t0: t, t1 }, n_steps)?
        }
        _ => Vec::new(),
    };
    if rest.is_empty() {
        return Err(Error::Config(format!(
            "start at t = {t}: this sampler steps from {t0} to {t1}"
        )));
    }
    Ok(rest)
}

fn steps(
    transport: &Transport,
    sampler: &Sampler,
    interval: Interval,
    n_steps: u32,
) -> Result<Vec<Step>> {
    let time = |i: u32| interval.at(f64::from(i) / f64::from(n_steps));
    let mut steps = Vec::with_capacity(n_steps as usize + 1);
    for i in 0..n_steps {
        let (t, t_next) = (time(i), time(i + 1));
        let dt = t_next - t;
        let noise = match sampler {
            Sampler::Ode { .. } => 0.0,
            Sampler::Sde { diffusion, .. } => {
                libm::sqrt(2.0 * diffusion.at(transport.path, t) * dt)
            }
        };
        let drift = |t| transport.sampler_drift(sampler, t);
        let tableau = sampler.method().tableau();
        steps.push(Step::runge_kutta(tableau, [t, t_next], noise, drift)?);
    }
    steps.extend(transport.last_step(sampler, interval.t1)?);
    Ok(steps)
}

impl Transport {
    /// The drift a sampler integrates: the velocity, or the SDE's `v + D s`.
    pub(super) fn sampler_drift(&self, sampler: &Sampler, t: f64) -> Result<Coefs> {
        match sampler {
            Sampler::Ode { .. } => self.velocity(t),
            Sampler::Sde { diffusion, .. } => self.drift(diffusion, t),
        }
    }

    /// The SDE's last step from time `t`, if the sampler has one.
    pub(super) fn last_step(&self, sampler: &Sampler, t: f64) -> Result<Option<Step>> {
        let Sampler::Sde {
            last_step,
            last_step_size,
            ..
        } = *sampler
        else {
            return Ok(None);
        };
        let euler = |drift: Coefs| Coefs {
            x: 1.0 + last_step_size * drift.x,
            out: last_step_size * drift.out,
        };
        let coefs = match last_step {
            LastStep::None => return Ok(None),
            LastStep::Mean => euler(self.sampler_drift(sampler, t)?),
            LastStep::Euler => euler(self.velocity(t)?),
            LastStep::Tweedie => self.x1_pred(t)?,
        };
        Ok(Some(Step::euler(t, 1.0, coefs, 0.0)))
    }
}

#[cfg(test)]
mod tests;
