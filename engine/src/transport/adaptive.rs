//! Step sizes of adaptive solvers: the standard controller of Hairer, Norsett and Wanner, with torchdiffeq's numbers.
//!
//! The error of a step is measured as `r`, the root mean square of `error / (atol + rtol max(|x|, |x'|))`. A step with `r <= 1` is
//! accepted. The next step's size is the last one's times `0.9 r^(-1/order)`, kept between 0.2 and 10, and at least 1 after an
//! accepted step. Differs from torchdiffeq: the last step ends at the end of the interval, so nothing is evaluated beyond it.

use super::along::Along;
use super::sampler::{Ode, Sampler, Solver};
use super::{Interval, Step, Tableau, Tolerance, Transport};
use crate::error::{Error, Result};

/// Size of a next step, relative to what the error allows.
const SAFETY: f64 = 0.9;
/// The least and the largest factor of a step size.
const FACTORS: [f64; 2] = [0.2, 10.0];

/// An adaptive solver of the ODE of a transport.
#[derive(Debug, Clone)]
pub(crate) struct Adaptive {
    transport: Transport,
    ode: Ode,
    tableau: &'static Tableau,
    order: f64,
    /// First and last time, in the direction of integration.
    pub times: [f64; 2],
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    pub is_accepted: bool,
    /// Size of the next step.
    pub next: f64,
}

impl Adaptive {
    /// The solver of an adaptive sampler.
    ///
    /// # Errors
    /// As [`super::schedule`].
    pub fn new(transport: &Transport, sampler: &Sampler) -> Result<Self> {
        let Interval { t0, t1 } = transport.sample_interval(sampler)?;
        let solver = match sampler {
            Sampler::Ode(ode) => Some((ode, ode.method.solver())),
            _ => None,
        };
        let Some((ode, Solver::Adaptive(tableau, order))) = solver else {
            return Err(Error::setting("ode", "expected an adaptive method"));
        };
        Ok(Adaptive {
            transport: transport.clone(),
            ode: ode.clone(),
            tableau,
            order,
            times: if ode.reverse { [t1, t0] } else { [t0, t1] },
        })
    }

    pub fn tolerance(&self) -> &Tolerance {
        &self.ode.tolerance
    }

    /// Network evaluations of an attempted step.
    pub fn evaluations(&self) -> usize {
        self.tableau.nodes.len() - 1
    }

    fn along(&self) -> Along<'_> {
        Along::new(&self.transport, self.ode.along.as_ref())
    }

    /// The evaluation of the drift at time `t`: its result is in the place of the next state.
    pub fn drift(&self, t: f64) -> Result<Step> {
        let along = self.along();
        Ok(Step::euler([t, t], along.at(t), along.velocity(t)?, 0.0))
    }

    /// Where a step of size `h` from `t` ends.
    pub fn end(&self, t: f64, h: f64) -> f64 {
        let end = self.times[1];
        match h >= (end - t).abs() {
            true => end,
            false => t + h.copysign(end - t),
        }
    }

    /// A step of size `h` from `t`, or to the end if that is nearer. It keeps the drift with which the next step begins.
    pub fn step(&self, t: f64, h: f64) -> Result<Step> {
        let along = self.along();
        Step::with_first_drift(self.tableau, [t, self.end(t, h)], |t| {
            Ok((along.velocity(t)?, along.at(t)))
        })
    }

    /// The size of the trial step that the first step's size is found with, from the norms of the state and of its drift.
    pub fn trial(&self, d0: f64, d1: f64) -> f64 {
        match d0 < 1e-5 || d1 < 1e-5 {
            true => 1e-6,
            false => 0.01 * d0 / d1,
        }
        .min(self.span())
    }

    /// The size of the first step, from the norm of the drift and of its change over the trial step of size `h0`.
    pub fn first(&self, h0: f64, d1: f64, change: f64) -> f64 {
        let d2 = change / h0;
        let h1 = match d1 <= 1e-15 && d2 <= 1e-15 {
            true => (h0 * 1e-3).max(1e-6),
            false => libm::pow(0.01 / d1.max(d2), 1.0 / self.order),
        };
        h1.min(100.0 * h0)
    }

    fn span(&self) -> f64 {
        (self.times[1] - self.times[0]).abs()
    }

    /// Judges a step of size `h` by its error.
    pub fn judge(&self, h: f64, error: f64) -> Verdict {
        let is_accepted = error <= 1.0;
        let [least, most] = FACTORS;
        let factor = match error {
            0.0 => most,
            error if error.is_nan() => least,
            error => {
                let wanted = SAFETY * libm::pow(error, -1.0 / self.order);
                wanted.clamp(if error < 1.0 { 1.0 } else { least }, most)
            }
        };
        Verdict {
            is_accepted,
            next: h * factor,
        }
    }

    /// Norm weights `[atol, rtol]`.
    pub fn weights(&self) -> [f64; 2] {
        [self.ode.tolerance.atol, self.ode.tolerance.rtol]
    }

    /// Whether a step of size `h` from `t` would stay where it is.
    pub fn is_underflow(&self, t: f64, h: f64) -> bool {
        let next = t + h.copysign(self.times[1] - self.times[0]);
        // The network gets its time in f32; far below its resolution nothing changes any more.
        next == t || h < 1e-12
    }
}

#[cfg(test)]
mod tests;
