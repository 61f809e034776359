//! Sampling methods, last steps and their settings (SiT's `Sampler`).

use super::{Coefs, Diffusion, Step, Tableau, Transport, names::named_enum};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// More steps than any use needs; a longer schedule would only exhaust memory.
const MAX_STEPS: u32 = 1_000_000;

/// The default size of the SDE's last step (paper, table 10; SiT's `sample_sde`).
#[doc(hidden)]
pub const DEFAULT_LAST_STEP_SIZE: f64 = 0.04;

named_enum! {
    /// The integration method, of an ODE or an SDE.
    pub enum Method: "method" {
        /// Euler, or Euler-Maruyama: order 1, one network evaluation per step.
        Euler = "euler",
        /// Explicit midpoint: order 2, two evaluations per step. ODE only.
        Midpoint = "midpoint",
        /// Heun (explicit trapezoid), in an SDE with the noise added first: order 2 for the ODE, two evaluations per step.
        Heun = "heun",
        /// The classical Runge-Kutta method: order 4, four evaluations per step. ODE only.
        Rk4 = "rk4",
        /// Kutta's 3/8 rule, the `rk4` of the official code: order 4, four evaluations per step. ODE only.
        Rk438 = "rk4-38",
    }
}

impl Method {
    /// Its Butcher tableau.
    pub(crate) fn tableau(self) -> &'static Tableau {
        match self {
            Self::Euler => &Tableau::EULER,
            Self::Midpoint => &Tableau::MIDPOINT,
            Self::Heun => &Tableau::HEUN,
            Self::Rk4 => &Tableau::RK4,
            Self::Rk438 => &Tableau::RK4_38,
        }
    }
}

#[doc(hidden)]
impl Method {
    /// The methods that can integrate an SDE.
    pub const OF_SDE: [Method; 2] = [Method::Euler, Method::Heun];
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

/// How samples are generated: the ODE or SDE, its method and number of steps.
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
        /// Size of the last step in `(0, 1)`, 0.04 by default; unused without a last step.
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

    /// The SDE with this diffusion in `n_steps` steps, followed by a `mean` last step of size 0.04.
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
    pub(crate) fn method(&self) -> Method {
        match *self {
            Self::Ode { method, .. } | Self::Sde { method, .. } => method,
        }
    }
}

#[doc(hidden)]
impl Sampler {
    /// Number of steps on the grid, not counting the last step.
    pub fn n_steps(&self) -> u32 {
        match *self {
            Self::Ode { n_steps, .. } | Self::Sde { n_steps, .. } => n_steps,
        }
    }
}

impl Sampler {
    /// The last step and its size, if there is one.
    pub(super) fn last_step(&self) -> Option<(LastStep, f64)> {
        match *self {
            Self::Ode { .. }
            | Self::Sde {
                last_step: LastStep::None,
                ..
            } => None,
            Self::Sde {
                last_step,
                last_step_size,
                ..
            } => Some((last_step, last_step_size)),
        }
    }
}

#[doc(hidden)]
impl Sampler {
    /// Checks the settings that do not depend on the transport.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the key.
    pub fn validate(&self) -> Result<()> {
        let n_steps = self.n_steps();
        if !(1..=MAX_STEPS).contains(&n_steps) {
            return Err(Error::setting(
                "steps",
                format!("got {n_steps}, expected 1 to {MAX_STEPS}"),
            ));
        }
        if let Self::Sde {
            method, diffusion, ..
        } = self
        {
            if !Method::OF_SDE.contains(method) {
                return Err(Error::setting(
                    "sde",
                    format!("got {method}, expected euler or heun; the others integrate an ODE"),
                ));
            }
            diffusion.validate()?;
        }
        if let Some((_, size)) = self.last_step()
            && !(size > 0.0 && size < 1.0)
        {
            return Err(Error::setting(
                "last_step_size",
                format!(
                    "got {size}, expected a time between 0 and 1; for no last step use `last_step` none"
                ),
            ));
        }
        Ok(())
    }
}

impl Transport {
    /// The drift that a sampler integrates: the velocity, or the SDE's `v + D s`.
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
