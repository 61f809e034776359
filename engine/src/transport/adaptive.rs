//! Step sizes of adaptive solvers: the standard controller of Hairer, Norsett and Wanner, with torchdiffeq's numbers.
//!
//! The error of a step is measured as `r`, the root mean square of `error / (atol + rtol max(|x|, |x'|))`. A step with `r <= 1` is
//! accepted. The next step's size is the last one's times `0.9 r^(-1/order)`, kept between 0.2 and 10, and at least 1 after an
//! accepted step. Differs from torchdiffeq: the last step ends at the end of the interval, so nothing is evaluated beyond it.

use super::along::Along;
use super::sampler::{Ode, Sampler, Solver};
use super::{Interval, Step, Tableau, Tolerance, Transport};
use crate::error::{Error, Result};
use std::fmt::Display;

/// Size of a next step, relative to what the error allows.
const SAFETY: f64 = 0.9;
/// The least and the largest factor of a step size.
const FACTORS: [f64; 2] = [0.2, 10.0];

/// Network evaluations that find the size of the first step.
pub const START_NFE: u32 = 2;

/// An adaptive solver of the ODE of a transport.
#[derive(Debug, Clone)]
pub struct Adaptive {
    transport: Transport,
    ode: Ode,
    tableau: &'static Tableau,
    order: f64,
    /// First and last time, in the direction of integration.
    pub times: [f64; 2],
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether the step is taken.
    pub is_accepted: bool,
    /// Size of the next attempt.
    pub next: f64,
    /// The error, relative to what is tolerated.
    pub error: f64,
}

impl Adaptive {
    /// The solver of an adaptive sampler.
    ///
    /// # Errors
    /// As [`schedule`](super::schedule); [`Error::Setting`] for a method of fixed steps.
    pub fn new(transport: &Transport, sampler: &Sampler) -> Result<Self> {
        let Interval { t0, t1 } = transport.sample_interval(sampler)?;
        let solver = match sampler {
            Sampler::Ode(ode) => Some((ode, ode.method.solver())),
            _ => None,
        };
        let Some((ode, Solver::Adaptive(tableau, order))) = solver else {
            return Err(Error::setting("ode", "expected an adaptive method"));
        };
        let (max_nfe, least) = (
            ode.tolerance.max_nfe,
            START_NFE + tableau.nodes.len() as u32 - 1,
        );
        if max_nfe < least {
            return Err(Error::setting(
                "max_nfe",
                format!(
                    "got {max_nfe}, expected at least {least}, which the first step of {} takes",
                    ode.method
                ),
            ));
        }
        Ok(Adaptive {
            transport: transport.clone(),
            ode: ode.clone(),
            tableau,
            order,
            times: if ode.reverse { [t1, t0] } else { [t0, t1] },
        })
    }

    /// The same solver over other times.
    pub fn between(self, times: [f64; 2]) -> Self {
        Adaptive { times, ..self }
    }

    /// Its tolerances.
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
    ///
    /// # Errors
    /// [`Error::Config`] where the drift is infinite.
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

    /// A step of size `h` from `t`, or to the end if that is nearer. Its history is the drift at the state; it keeps the one with which
    /// the next step begins.
    ///
    /// # Errors
    /// As [`Adaptive::drift`].
    pub fn step(&self, t: f64, h: f64) -> Result<Step> {
        let along = self.along();
        Step::with_first_drift(self.tableau, [t, self.end(t, h)], |t| {
            Ok((along.velocity(t)?, along.at(t)))
        })
    }

    /// The step between two times with all its evaluations: it needs no history.
    ///
    /// # Errors
    /// [`Error::Config`] where the drift is infinite.
    pub fn whole_step(&self, times: [f64; 2]) -> Result<Step> {
        let along = self.along();
        let drift = |t| Ok((along.velocity(t)?, along.at(t)));
        Step::explicit(self.tableau, times, 0.0, drift)
    }

    /// The mean square of a sample's values, each relative to what is tolerated where the state is `x`.
    pub fn mean_square(
        &self,
        values: impl IntoIterator<Item = f64>,
        x: impl IntoIterator<Item = f64>,
    ) -> f64 {
        let [atol, rtol] = self.weights();
        let (mut sum, mut n) = (0.0, 0);
        for (value, x) in values.into_iter().zip(x) {
            sum += (value / (atol + rtol * x.abs())).powi(2);
            n += 1;
        }
        sum / f64::from(n.max(1))
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

    /// Judges a step of size `h` by its error, relative to what is tolerated.
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
            error,
        }
    }

    /// Refuses to go on from time `t` after `nfe` evaluations when the step size became too small, or the evaluations too many; `who`
    /// is what the message begins with.
    ///
    /// # Errors
    /// [`Error::Config`] that says where.
    pub fn check(&self, who: impl Display, t: f64, verdict: &Verdict, nfe: u32) -> Result<()> {
        let Verdict { next, error, .. } = *verdict;
        if self.is_underflow(t, next) && error.is_nan() {
            return Err(Error::Config(format!(
                "{who}: after t = {t} the network's output is not finite, in steps of any size"
            )));
        }
        if self.is_underflow(t, next) {
            return Err(Error::Config(format!(
                "{who}: the step size became {next:.1e} at t = {t}, where the error is {error:.1e} times what is tolerated; set \
                 `rtol` or `atol` larger, or `t_eps_sample` above 0 if the solution is singular at an end"
            )));
        }
        let (max_nfe, step) = (self.tolerance().max_nfe, self.evaluations() as u32);
        if nfe.saturating_add(step) > max_nfe {
            return Err(Error::Config(format!(
                "{who}: {nfe} network evaluations reached only t = {t}, and a step takes {step}: set `max_nfe`, which is {max_nfe}, \
                 larger, or `rtol` or `atol`"
            )));
        }
        Ok(())
    }

    /// Norm weights `[atol, rtol]`.
    pub fn weights(&self) -> [f64; 2] {
        [self.ode.tolerance.atol, self.ode.tolerance.rtol]
    }

    /// Whether a step of size `h` from `t` would stay where it is.
    fn is_underflow(&self, t: f64, h: f64) -> bool {
        let next = t + h.copysign(self.times[1] - self.times[0]);
        // The network gets its time in f32; far below its resolution nothing changes any more.
        next == t || h < 1e-12
    }
}

#[cfg(test)]
mod tests;
