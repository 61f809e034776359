//! Schedules of the ODE and SDE solvers (SiT's `transport/integrators.py`).

use super::{Interval, Sampler, Step, Transport};
use crate::error::{Error, Result};

/// Number of network evaluations of a schedule (with guidance, each has twice the batch).
#[doc(hidden)]
pub fn nfe(steps: &[Step]) -> usize {
    steps.iter().map(|step| step.times().len()).sum()
}

/// The steps of a sampler: `n_steps` equal ones over the interval of [`Transport::t_eps_sample`], then the SDE's last step if it has one.
///
/// Differs from SiT: `n_steps` counts steps, not grid points, and one network evaluation gives both the velocity and the score of
/// an SDE step (SiT evaluates the network twice on the same input). With a diffusion of 0 the coefficients are those of the ODE,
/// bit for bit.
///
/// # Errors
/// [`crate::Error::Setting`] for an invalid setting, and [`crate::Error::Config`] for a singular end, naming the settings that avoid it.
pub fn schedule(transport: &Transport, sampler: &Sampler) -> Result<Vec<Step>> {
    let interval = transport.sample_interval(sampler)?;
    steps(transport, sampler, interval, sampler.n_steps())
}

/// The steps of a sampler from time `t` on: equal steps to the end of its interval, with a size as close as possible to that of
/// [`schedule`], then its last step.
///
/// # Errors
/// As [`schedule`]; [`crate::error::Error::Config`] for a time before the sampler's interval or after its last step.
#[doc(hidden)]
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

#[cfg(test)]
mod tests;
