//! Schedules of the ODE and SDE solvers (SiT's `transport/integrators.py`).

use super::along::Along;
use super::sampler::{Ode, Sde, SdeMethod, Solver};
use super::step::At;
use super::{
    Coefs, Grid, Interval, LastStep, Path, Sampler, Step, Tableau, Transport, ancestral, multistep,
};
use crate::error::{Error, Result};

/// Number of network evaluations of a schedule (with guidance, each has twice the batch).
#[doc(hidden)]
pub fn nfe(steps: &[Step]) -> usize {
    steps.iter().map(|step| step.times().len()).sum()
}

/// The steps of a sampler: `n_steps` over the interval of [`Transport::t_eps_sample`], then the SDE's last step if it has one.
///
/// Differs from SiT: `n_steps` counts steps, not grid points, and one network evaluation gives both the velocity and the score of
/// an SDE step (SiT evaluates the network twice on the same input). With a diffusion of 0 the coefficients are those of the ODE,
/// bit for bit.
///
/// # Errors
/// [`crate::Error::Setting`] for an invalid setting or an adaptive method, which chooses its steps itself, and
/// [`crate::Error::Config`] for a singular end, naming the settings that avoid it.
pub fn schedule(transport: &Transport, sampler: &Sampler) -> Result<Vec<Step>> {
    if sampler.is_adaptive() {
        return Err(no_schedule());
    }
    transport.check_base(sampler)?;
    if let Sampler::Ddpm(sampler) = sampler {
        return ancestral::steps(transport, sampler);
    }
    let interval = transport.sample_interval(sampler)?;
    steps(transport, sampler, interval, &times(sampler, interval), 0)
}

fn no_schedule() -> Error {
    Error::setting(
        "ode",
        "an adaptive method has no schedule: it chooses its steps while it samples",
    )
}

/// Whether it goes from data to noise.
fn is_reverse(sampler: &Sampler) -> bool {
    matches!(sampler, Sampler::Ode(Ode { reverse: true, .. }))
}

/// The times of a sampler's grid.
pub(super) fn times(sampler: &Sampler, interval: Interval) -> Vec<f64> {
    let (grid, n_steps) = (sampler.grid(), sampler.n_steps());
    let mut times: Vec<f64> = match grid {
        Grid::Times(times) => times.to_vec(),
        _ => (0..=n_steps)
            .map(|i| interval.at(grid.fraction(f64::from(i) / f64::from(n_steps))))
            .collect(),
    };
    if is_reverse(sampler) {
        times.reverse();
    }
    times
}

/// The steps of a sampler from time `t` on: equal steps to the end of its interval, with a size as close as possible to that of
/// [`schedule`], or the rest of a grid that is not uniform; then its last step. A method of several steps begins anew.
///
/// # Errors
/// As [`schedule`]; [`crate::error::Error::Config`] for a time before the sampler's interval or after its last step.
#[doc(hidden)]
pub fn schedule_from(transport: &Transport, sampler: &Sampler, t: f64) -> Result<Vec<Step>> {
    transport.check_base(sampler)?;
    let own = match sampler {
        Sampler::Edm(edm) => Some(edm.steps(transport)?),
        Sampler::Ddpm(ddpm) => Some(ancestral::steps(transport, ddpm)?),
        _ => None,
    };
    if let Some(mut steps) = own {
        let Some(at) = steps.iter().position(|step| step.t == t) else {
            let (from, to) = (steps[0].t, steps[steps.len() - 1].t);
            return Err(Error::Config(format!(
                "start at t = {t}: this sampler's steps begin at its noise levels, from {from} to {to}"
            )));
        };
        return Ok(steps.split_off(at));
    }
    if sampler.is_adaptive() {
        return Err(no_schedule());
    }
    let interval = transport.sample_interval(sampler)?;
    let Interval { t0, t1 } = interval;
    let [first, end] = match is_reverse(sampler) {
        true => [t1, t0],
        false => [t0, t1],
    };
    let n_steps = f64::from(sampler.n_steps()) * (end - t) / (end - first);
    let times = match t {
        _ if t == end => vec![end],
        _ if !(t0..=t1).contains(&t) => Vec::new(),
        _ if *sampler.grid() == Grid::Uniform => {
            let n_steps = libm::round(n_steps).max(1.0) as u32;
            let rest = Interval { t0: t, t1: end };
            (0..=n_steps)
                .map(|i| rest.at(f64::from(i) / f64::from(n_steps)))
                .collect()
        }
        _ => {
            let is_later = |next: &f64| (next - t) * (end - first) > 0.0;
            let later = times(sampler, interval).into_iter().filter(is_later);
            std::iter::once(t).chain(later).collect()
        }
    };
    let rest = match times.is_empty() {
        true => Vec::new(),
        false => {
            // What alternates goes on as the whole schedule would.
            let done = (sampler.n_steps() as usize + 1).saturating_sub(times.len());
            steps(transport, sampler, interval, &times, done)?
        }
    };
    if rest.is_empty() {
        return Err(Error::Config(format!(
            "start at t = {t}: this sampler steps from {first} to {end}"
        )));
    }
    Ok(rest)
}

/// The steps between these times, of a schedule that has done some before.
fn steps(
    transport: &Transport,
    sampler: &Sampler,
    interval: Interval,
    times: &[f64],
    done: usize,
) -> Result<Vec<Step>> {
    let other = sampler.along();
    let along = Along::new(transport, other.as_ref());
    match sampler {
        Sampler::Edm(edm) => edm.steps(transport),
        Sampler::Ode(ode) => match ode.method.solver() {
            Solver::Multistep => multistep::steps(&along, ode.method, times),
            Solver::Fixed(tableau) | Solver::Adaptive(tableau, _) => {
                let n = times.len() - 1;
                let step = |(i, pair): (usize, &[f64])| {
                    let is_euler = ode.last_euler && i + 1 == n;
                    let tableau = if is_euler { &Tableau::EULER } else { tableau };
                    ode_step(&along, tableau, [pair[0], pair[1]])
                };
                times.windows(2).enumerate().map(step).collect()
            }
        },
        Sampler::Sde(sde) => {
            let mut steps = Vec::with_capacity(times.len());
            for (i, pair) in times.windows(2).enumerate() {
                sde_steps(&along, sde, done + i, [pair[0], pair[1]], &mut steps)?;
            }
            steps.extend(last_step(&along, sde, interval.t1)?);
            Ok(steps)
        }
        Sampler::Ddpm(sampler) => ancestral::steps(transport, sampler),
    }
}

fn ode_step(along: &Along<'_>, tableau: &Tableau, times: [f64; 2]) -> Result<Step> {
    let drift = |t| Ok((along.velocity(t)?, along.at(t)));
    Step::explicit(tableau, times, 0.0, drift)
}

fn sde_steps(
    along: &Along<'_>,
    sde: &Sde,
    i: usize,
    [t, t_next]: [f64; 2],
    steps: &mut Vec<Step>,
) -> Result<()> {
    let tableau = match sde.method {
        SdeMethod::Heun => &Tableau::HEUN,
        _ => &Tableau::EULER,
    };
    let is_ode = match sde.method {
        SdeMethod::Euler | SdeMethod::Heun => false,
        SdeMethod::PredictorCorrector => true,
        SdeMethod::Alternate => i.is_multiple_of(2),
    };
    if is_ode {
        steps.push(ode_step(along, tableau, [t, t_next])?);
    } else {
        let dt = t_next - t;
        let noise = libm::sqrt(2.0 * sde.diffusion_at(along.path(), t) * dt);
        let drift = |t| Ok((sde_drift(along, sde, t)?, along.at(t)));
        steps.push(Step::explicit(tableau, [t, t_next], noise, drift)?);
    }
    if sde.method == SdeMethod::PredictorCorrector && sde.has_noise(t_next) {
        let ratio = sde.corrector.snr * along.path().sigma(t_next);
        let size = 2.0 * ratio * ratio;
        if size > 0.0 {
            let score = along.score(t_next)?.scaled(size);
            let coefs = Coefs { x: 1.0, out: 0.0 }.plus(score);
            let times = [t_next, t_next];
            let step = Step::euler(times, along.at(t_next), coefs, libm::sqrt(2.0 * size));
            steps.extend(std::iter::repeat_n(step, sde.corrector.steps as usize));
        }
    }
    Ok(())
}

/// The SDE's drift `v + D s`, and the velocity outside the noise window.
fn sde_drift(along: &Along<'_>, sde: &Sde, t: f64) -> Result<Coefs> {
    match sde.has_noise(t) {
        true => along.drift(&sde.diffusion, t),
        false => along.velocity(t),
    }
}

/// The SDE's last step from time `t`, if it has one.
fn last_step(along: &Along<'_>, sde: &Sde, t: f64) -> Result<Option<Step>> {
    let Some((last_step, size)) = sde.last() else {
        return Ok(None);
    };
    let euler = |drift: Coefs| Coefs {
        x: 1.0 + size * drift.x,
        out: size * drift.out,
    };
    let is_ode = sde.method == SdeMethod::PredictorCorrector;
    let coefs = match last_step {
        LastStep::None => return Ok(None),
        LastStep::Mean if !is_ode => euler(sde_drift(along, sde, t)?),
        LastStep::Mean | LastStep::Euler => euler(along.velocity(t)?),
        LastStep::Tweedie => along.data(t)?,
    };
    Ok(Some(Step::euler([t, 1.0], along.at(t), coefs, 0.0)))
}

/// Langevin dynamics `dX = -grad f dt + sqrt(2) dB` in `n_steps` steps of size `dt`, by Euler-Maruyama; the network gives `-grad f`, such
/// as the score of a density. After many small steps `X` has a density in proportion to `e^-f`, wherever it began.
///
/// # Errors
/// [`crate::Error::Setting`] for a step size that is not above 0.
pub fn langevin(dt: f64, n_steps: usize) -> Result<Vec<Step>> {
    if !(dt > 0.0 && dt.is_finite()) {
        return Err(Error::setting(
            "dt",
            format!("got {dt}, expected a number above 0"),
        ));
    }
    let coefs = Coefs { x: 1.0, out: dt };
    let step = Step::euler([1.0, 1.0], At::plain(1.0), coefs, libm::sqrt(2.0 * dt));
    Ok(vec![step; n_steps])
}

#[doc(hidden)]
impl Transport {
    /// Standard deviation of the noise that a sampler starts from: 1, and `sigma_0` on paths that begin with more or less.
    pub fn start_std(&self, sampler: &Sampler) -> f64 {
        let along = sampler.along();
        match along.as_ref().unwrap_or(&self.path) {
            _ if matches!(sampler, Sampler::Ddpm(_)) => 1.0,
            path @ (Path::Edm { .. } | Path::Table(_)) => path.sigma(0.0),
            _ => 1.0,
        }
    }
}

impl Transport {
    /// Rejects an end at which a coefficient is infinite; in between all are finite.
    pub(super) fn check_ends(&self, sampler: &Sampler, interval: Interval) -> Result<()> {
        let Interval { t0, t1 } = interval;
        let other = sampler.along();
        let along = Along::new(self, other.as_ref());
        let advise =
            |advice: &'static str| move |error| Error::Config(format!("{error}; {advice}"));
        const START: &str = "set `t_eps_sample` above 0 (default 0.001)";
        match sampler {
            Sampler::Edm(edm) => return edm.check_reach(&self.path),
            // Its steps are checked one by one.
            Sampler::Ddpm(_) => return Ok(()),
            _ => along.check_reach([t0, t1])?,
        }
        match sampler {
            Sampler::Edm(_) | Sampler::Ddpm(_) => {}
            Sampler::Ode(ode) => {
                const END: &str =
                    "the method evaluates it: set `t_eps_sample` above 0 (default 0.001)";
                if ode.method.solver() == Solver::Multistep {
                    let read = |t| along.data(t).and_then(|_| along.noise(t));
                    read(if ode.reverse { t1 } else { t0 }).map_err(advise(START))?;
                    return Ok(());
                }
                let reaches_end = match ode.method.solver() {
                    Solver::Fixed(tableau) | Solver::Adaptive(tableau, _) => {
                        tableau.reaches_end() && !ode.last_euler
                    }
                    Solver::Multistep => false,
                };
                if !ode.reverse || reaches_end {
                    along.velocity(t0).map_err(advise(START))?;
                }
                if ode.reverse || reaches_end {
                    along.velocity(t1).map_err(advise(END))?;
                }
            }
            Sampler::Sde(sde) => {
                let d = sde.diffusion_at(along.path(), t0);
                if !super::is_finite_f32(d) && sde.method != SdeMethod::PredictorCorrector {
                    return Err(Error::Config(format!(
                        "the {} diffusion is infinite at t = {t0} on the {} path; set `t_eps_sample` above 0 (for example 0.001), \
                         or choose another `diffusion`",
                        sde.diffusion,
                        along.path()
                    )));
                }
                match sde.method {
                    SdeMethod::PredictorCorrector => along.velocity(t0),
                    _ => sde_drift(&along, sde, t0),
                }
                .map_err(advise(START))?;
                let end_advice = match sde.last() {
                    Some(_) => "use a larger `last_step_size`",
                    None => {
                        "Heun evaluates it: use `last_step` mean, tweedie or euler, or set `t_eps_sample` above 0, or choose another \
                         `diffusion` (sigma and linear have a limit)"
                    }
                };
                if sde.method == SdeMethod::Heun {
                    sde_drift(&along, sde, t1).map_err(advise(end_advice))?;
                }
                if sde.method == SdeMethod::PredictorCorrector
                    && sde.has_noise(t1)
                    && along.path().sigma(t1) > 0.0
                {
                    along.score(t1).map_err(advise(end_advice))?;
                }
                last_step(&along, sde, t1).map_err(advise(end_advice))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
