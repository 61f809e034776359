//! One image on its way from data to noise, and the sums of the trace along it.
//!
//! A walk says at which state and time it needs the network, and goes on when it gets the result. It does not know who evaluates the
//! network, so the exact velocity of a known distribution is integrated by the same code.

use super::LogLikelihood;
use crate::error::{Error, Result};
use crate::transport::{Adaptive, Drift, Flow, Leg, Sampler, Tableau, Transport, Way};
use std::f64::consts::PI;

/// What the next evaluation is for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// A stage of a step.
    Stage,
    /// The first drift, from which the first step size is found.
    First,
    /// The drift after a trial step of this size; the second number is the norm of the first drift.
    Trial(f64, f64),
    /// Nothing is left to do.
    Over,
}

/// An image on its way.
#[derive(Debug)]
pub(super) struct Walk {
    pub number: u64,
    pub label: u32,
    t: f64,
    /// Size of the step under way, of an adaptive method.
    h: f64,
    phase: Phase,
    x: Vec<f64>,
    /// The integral of each estimate of the trace, from data on.
    sums: Vec<f64>,
    /// Drift and trace at each stage of the step so far.
    drifts: Vec<Vec<f64>>,
    traces: Vec<Vec<f64>>,
    /// The state that is evaluated next, and the drift's coefficients there.
    state: Vec<f64>,
    at: Option<Drift>,
    nfe: u32,
    n_steps: [u32; 2],
}

/// Where a step ends.
struct Target {
    times: [f64; 2],
    tableau: &'static Tableau,
}

impl Walk {
    pub fn new(number: u64, label: u32, x: Vec<f64>, n_sums: usize, flow: &Flow) -> Self {
        Walk {
            number,
            label,
            t: flow.times()[0],
            h: 0.0,
            phase: match flow.way() {
                Way::Fixed(_) => Phase::Stage,
                Way::Adaptive(..) => Phase::First,
            },
            state: x.clone(),
            x,
            sums: vec![0.0; n_sums],
            drifts: Vec::new(),
            traces: Vec::new(),
            at: None,
            nfe: 0,
            n_steps: [0; 2],
        }
    }

    pub fn t(&self) -> f64 {
        self.t
    }

    pub fn nfe(&self) -> u32 {
        self.nfe
    }

    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The step under way.
    fn target(&self, flow: &Flow) -> Target {
        match flow.way() {
            Way::Fixed(legs) => {
                let Leg { times, tableau } = legs[self.n_steps[0] as usize];
                Target { times, tableau }
            }
            Way::Adaptive(solver, tableau) => Target {
                times: [self.t, solver.end(self.t, self.h)],
                tableau,
            },
        }
    }

    /// Writes what the network gets, and returns the time as the path knows it.
    pub fn input(&mut self, flow: &Flow, input: &mut [f32]) -> Result<f64> {
        let scale = self.prepare(flow)?;
        for (to, from) in input.iter_mut().zip(&self.state) {
            *to = (scale * from) as f32;
        }
        Ok(self.at.map_or(self.t, |at| at.at.time))
    }

    /// Computes the next state and the coefficients there; returns the factor by which the network gets it.
    fn prepare(&mut self, flow: &Flow) -> Result<f64> {
        let t = match self.phase {
            Phase::First | Phase::Over => {
                self.state.copy_from_slice(&self.x);
                self.t
            }
            Phase::Trial(h, _) => {
                let direction = (flow.times()[1] - flow.times()[0]).signum();
                self.move_state(direction * h, &[1.0]);
                self.t + direction * h
            }
            Phase::Stage => {
                let Target { times, tableau } = self.target(flow);
                let i = self.drifts.len();
                self.move_state(times[1] - times[0], tableau.stages[i]);
                match tableau.nodes[i] {
                    0.0 => times[0],
                    1.0 => times[1],
                    node => times[0] + node * (times[1] - times[0]),
                }
            }
        };
        let drift = flow.drift(t)?;
        self.at = Some(drift);
        Ok(drift.at.scale)
    }

    /// `state = x + dt sum_j weights_j drift_j`.
    fn move_state(&mut self, dt: f64, weights: &[f64]) {
        self.state.copy_from_slice(&self.x);
        add(&mut self.state, dt, weights, &self.drifts);
    }

    /// Takes the network's output for the input, and the quadratic forms of its Jacobian.
    ///
    /// # Errors
    /// As of [`super::Likelihood::step`].
    pub fn take<T: Copy + Into<f64>>(&mut self, flow: &Flow, out: &[T], q: &[f64]) -> Result<()> {
        let Some(Drift { coefs, at }) = self.at.take() else {
            return Ok(());
        };
        let pairs = self.state.iter().zip(out);
        let drift: Vec<f64> = pairs
            .map(|(x, &out)| coefs.x * x + coefs.out * out.into())
            .collect();
        let own = self.x.len() as f64 * coefs.x;
        let trace: Vec<f64> = q.iter().map(|q| own + coefs.out * at.scale * q).collect();
        self.nfe += 1;
        if !drift.iter().chain(&trace).all(|value| value.is_finite()) {
            return Err(Error::Config(format!(
                "image {}: the drift or its trace is not finite at t = {}",
                self.number, self.t
            )));
        }
        self.drifts.push(drift);
        self.traces.push(trace);
        match (self.phase, flow.way()) {
            (Phase::First, Way::Adaptive(solver, _)) => {
                let [d0, d1] = [&self.x, &self.drifts[0]].map(|of| self.norm(solver, of));
                self.phase = Phase::Trial(solver.trial(d0, d1), d1);
            }
            (Phase::Trial(h0, d1), Way::Adaptive(solver, _)) => {
                let (after, before) = (&self.drifts[1], &self.drifts[0]);
                let change: Vec<f64> = after.iter().zip(before).map(|(a, b)| a - b).collect();
                self.h = solver.first(h0, d1, self.norm(solver, &change));
                self.drifts.truncate(1);
                self.traces.truncate(1);
                self.phase = Phase::Stage;
            }
            (_, Way::Fixed(legs)) => {
                let target = self.target(flow);
                if self.drifts.len() == target.tableau.nodes.len() {
                    self.end_step(&target);
                    self.drifts.clear();
                    self.traces.clear();
                    self.n_steps[0] += 1;
                    if self.n_steps[0] as usize == legs.len() {
                        self.phase = Phase::Over;
                    }
                }
            }
            (_, Way::Adaptive(solver, tableau)) => {
                if self.drifts.len() == tableau.nodes.len() {
                    self.judge(flow, solver, tableau)?;
                }
            }
        }
        Ok(())
    }

    /// Goes to the end of the step.
    fn end_step(&mut self, target: &Target) {
        let dt = target.times[1] - target.times[0];
        add(&mut self.x, dt, target.tableau.weights, &self.drifts);
        add(&mut self.sums, dt, target.tableau.weights, &self.traces);
        self.t = target.times[1];
    }

    /// Takes or rejects an adaptive step by its error.
    fn judge(&mut self, flow: &Flow, solver: &Adaptive, tableau: &'static Tableau) -> Result<()> {
        let target = self.target(flow);
        let size = (target.times[1] - target.times[0]).abs();
        let error = self.error(solver, &target);
        let verdict = solver.judge(size, error);
        self.h = verdict.next;
        if verdict.is_accepted {
            self.end_step(&target);
            // The last drift of a step is the first one of the next.
            let last = tableau.nodes.len() - 1;
            self.drifts.swap(0, last);
            self.traces.swap(0, last);
            self.n_steps[0] += 1;
            if self.t == solver.times[1] {
                self.phase = Phase::Over;
            }
        } else {
            self.n_steps[1] += 1;
        }
        self.drifts.truncate(1);
        self.traces.truncate(1);
        if self.is_over() {
            return Ok(());
        }
        let who = format_args!("image {}", self.number);
        solver.check(who, self.t, &verdict, self.nfe)
    }

    /// The error of a step relative to what is tolerated: the larger one of the state's and of the log-likelihood's, by dimension.
    fn error(&self, solver: &Adaptive, target: &Target) -> f64 {
        let [atol, rtol] = solver.weights();
        let dt = target.times[1] - target.times[0];
        let weights = target.tableau.error.unwrap_or_default();
        let (n, k) = (self.x.len(), self.sums.len() as f64);
        let (mut next, mut error) = (self.x.clone(), vec![0.0; n]);
        add(&mut next, dt, target.tableau.weights, &self.drifts);
        add(&mut error, dt, weights, &self.drifts);
        let largest = self.x.iter().zip(&next).map(|(a, b)| a.abs().max(b.abs()));
        let of_state = libm::sqrt(solver.mean_square(error, largest));
        // The estimate is the mean over the probes. Its tolerance is that of n values.
        let mean = |values: &[f64]| values.iter().sum::<f64>() / k;
        let (mut after, mut wrong) = (self.sums.clone(), vec![0.0; self.sums.len()]);
        add(&mut after, dt, target.tableau.weights, &self.traces);
        add(&mut wrong, dt, weights, &self.traces);
        let scale = mean(&self.sums).abs().max(mean(&after).abs());
        let of_sum = mean(&wrong).abs() / (n as f64 * atol + rtol * scale);
        // A NaN is kept, so that the step is rejected.
        match of_state >= of_sum {
            true => of_state,
            false if of_state.is_nan() => of_state,
            false => of_sum,
        }
    }

    /// Root mean square relative to the tolerances at the state.
    fn norm(&self, solver: &Adaptive, values: &[f64]) -> f64 {
        let (values, x) = (values.iter().copied(), self.x.iter().copied());
        libm::sqrt(solver.mean_square(values, x))
    }

    /// The log-likelihood of an image that has arrived.
    pub fn finish(self, flow: &Flow) -> LogLikelihood {
        let (n, std) = (self.x.len() as f64, flow.noise_std());
        let squares: f64 = self.x.iter().map(|z| (z / std).powi(2)).sum();
        let prior = -0.5 * (squares + n * libm::log(2.0 * PI * std * std));
        let k = self.sums.len() as f64;
        // From data to noise the sums are minus the integral.
        let sum = self.sums.iter().sum::<f64>() / k;
        let spread: f64 = self.sums.iter().map(|s| (s - sum).powi(2)).sum();
        LogLikelihood {
            number: self.number,
            nats: prior + sum,
            std_error: (self.sums.len() > 1).then(|| libm::sqrt(spread / (k - 1.0) / k)),
            prior,
            integral: -sum,
            noise: self.x,
            nfe: self.nfe,
            n_steps: self.n_steps,
        }
    }
}

/// `to += dt sum_j weights_j terms_j`.
fn add(to: &mut [f64], dt: f64, weights: &[f64], terms: &[Vec<f64>]) {
    for (weight, term) in weights.iter().zip(terms).filter(|(w, _)| **w != 0.0) {
        let pairs = to.iter_mut().zip(term);
        pairs.for_each(|(to, term)| *to += dt * weight * term);
    }
}

/// The log-likelihood of one image `x` with any function in the place of the network, in f64. `net(input, time)` gives the output for
/// an input, and one or more estimates of the trace of its Jacobian, always as many: `n_estimates`.
///
/// # Errors
/// As of [`super::Likelihood::step`], and for settings as of [`crate::sample::Sampling::likelihood`].
#[doc(hidden)]
pub fn log_likelihood(
    transport: &Transport,
    sampler: &Sampler,
    x: &[f64],
    n_estimates: usize,
    mut net: impl FnMut(&[f64], f64) -> (Vec<f64>, Vec<f64>),
) -> Result<LogLikelihood> {
    let flow = Flow::new(transport, sampler)?;
    let mut walk = Walk::new(0, 0, x.to_vec(), n_estimates, &flow);
    while !walk.is_over() {
        let scale = walk.prepare(&flow)?;
        let input: Vec<f64> = walk.state.iter().map(|x| scale * x).collect();
        let time = walk.at.map_or(walk.t, |at| at.at.time);
        let (out, traces) = net(&input, time);
        walk.take(&flow, &out, &traces)?;
    }
    Ok(walk.finish(&flow))
}
