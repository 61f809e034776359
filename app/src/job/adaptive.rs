//! A segment whose steps an adaptive solver chooses: one step size for all samples, as with [`ErrorNorm::Batch`].
//!
//! [`ErrorNorm::Batch`]: sit_engine::transport::ErrorNorm::Batch

use super::Field;
use super::part::{Evaluated, Part};
use crate::state::{LaneStep, Open, Settings, TIME_EPS};
use sit_engine::error::Result;
use sit_engine::sample::Attempts;
use sit_engine::transport::{Adaptive, Step};
use web_time::Duration;

/// A segment on its way.
pub struct Adapting {
    pub segment: usize,
    solver: Adaptive,
    /// The programs for pieces of some number of samples, if the field is a network.
    attempts: Option<(usize, Attempts)>,
    task: Task,
    /// Time of the state, and the one at which the segment ends.
    t: f64,
    end: f64,
    /// Values of a sample.
    len: usize,
    /// Size of the next attempt.
    h: f64,
    /// The drift at the state, `[N, C, I, I]`, and the network's outputs that gave it, with and without the classes.
    drift: Vec<f32>,
    outs: [Vec<f32>; 2],
    /// Evaluations and time since the last step that was taken.
    nfe: usize,
    took: Duration,
    /// Where the attempts since then would have ended that were rejected.
    rejected: Vec<f64>,
    /// Evaluations of the segment.
    total: usize,
}

/// What is computed next.
enum Task {
    /// The drift at the first state.
    Drift,
    /// The drift `x` after a trial step of size `h0`, where the first drift has norm `d1`: it gives the first step's size.
    Trial { h0: f64, d1: f64, x: Vec<f32> },
    /// An attempt of a step.
    Attempt(Box<Step>),
}

impl Adapting {
    /// The solver of a segment, before its first step.
    pub fn new(field: &Field, settings: &Settings, open: Open) -> Result<Self> {
        let transport = settings.transport(field.transport());
        let solver = Adaptive::new(&transport, &settings.sampler)?;
        let [t, end] = open.times;
        Ok(Adapting {
            segment: open.segment,
            // Where a branch ends the segment, its steps are those of the whole lane until then.
            solver: solver.clone().between([t, solver.times[1]]),
            attempts: None,
            task: Task::Drift,
            t,
            end,
            len: field.io().image_len(),
            h: 0.0,
            drift: Vec::new(),
            outs: [Vec::new(), Vec::new()],
            nfe: 0,
            took: Duration::ZERO,
            rejected: Vec::new(),
            total: 0,
        })
    }

    /// Makes the programs for pieces of `chunk` samples, unless they are there.
    pub fn open(&mut self, field: &Field, settings: &Settings, chunk: usize) -> Result<()> {
        let is_open = self.attempts.as_ref().is_some_and(|(n, _)| *n == chunk);
        if let (Field::Network(network), false) = (field, is_open) {
            // Two sets of them may not fit.
            self.attempts = None;
            let sampling = network
                .sampler(settings.sampler.clone())
                .guided(settings.guidance);
            let attempts = sampling.batch(chunk).keep_out().attempts()?;
            self.attempts = Some((chunk, attempts));
        }
        Ok(())
    }

    /// Does the task for the samples `rows` of the states `x`, with a label for each, after [`Adapting::open`].
    pub async fn piece(
        &mut self,
        field: &Field,
        (x, rows): (&[f32], std::ops::Range<usize>),
        y: &[u32],
    ) -> Result<Evaluated> {
        let x = match &self.task {
            Task::Trial { x, .. } => &x[rows.clone()],
            _ => &x[rows.clone()],
        };
        let t = match &self.task {
            Task::Trial { h0, .. } => self.solver.end(self.t, *h0),
            _ => self.t,
        };
        let Some((_, attempts)) = &mut self.attempts else {
            return self.exact(field, t, x, rows);
        };
        if let Task::Attempt(step) = &self.task {
            let done = attempts.attempt(step, x, &self.drift[rows], y).await?;
            return Ok(Evaluated {
                x: done.x,
                drift: done.drift,
                out: done.out,
                squares: done.squares,
            });
        }
        let [x, out] = attempts.drifts(&[t], x, y).await?;
        Ok(Evaluated {
            x,
            drift: Vec::new(),
            out,
            squares: Vec::new(),
        })
    }

    /// The task with the exact field, in f64.
    fn exact(
        &self,
        field: &Field,
        t: f64,
        x: &[f32],
        rows: std::ops::Range<usize>,
    ) -> Result<Evaluated> {
        let Field::Exact {
            transport, mixture, ..
        } = field
        else {
            unreachable!("a network has programs");
        };
        let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|x| (*x).into()).collect() };
        let narrow = |values: &[f64]| -> Vec<f32> { values.iter().map(|x| *x as f32).collect() };
        let mut out = Vec::new();
        let net = |inputs: &[f64], t: f64| {
            out = mixture.outputs(transport, t, inputs);
            out.clone()
        };
        let mut next = wide(x);
        let Task::Attempt(step) = &self.task else {
            let step = self.solver.drift(t)?;
            step.apply_with(&mut next, &mut Vec::new(), &[], net);
            return Ok(Evaluated {
                x: narrow(&next),
                drift: Vec::new(),
                out: narrow(&out),
                squares: Vec::new(),
            });
        };
        let mut drift = wide(&self.drift[rows]);
        let error = step.apply_with(&mut next, &mut drift, &[], net);
        let error = error.unwrap_or_default();
        let len = field.io().image_len();
        let samples = error.chunks(len).zip(next.chunks(len)).zip(x.chunks(len));
        let squares = samples.map(|((error, next), x)| {
            let pairs = next.iter().zip(x);
            let largest = pairs.map(|(next, x)| next.abs().max(f64::from(x.abs())));
            self.solver.mean_square(error.iter().copied(), largest) as f32
        });
        Ok(Evaluated {
            squares: squares.collect(),
            x: narrow(&next),
            drift: narrow(&drift),
            out: narrow(&out),
        })
    }

    /// Takes what the task gave for all samples, whose states are `x`. Returns a step that is taken; the states are then those after
    /// it, and `part` is left with what is recorded.
    pub fn judge(&mut self, x: &mut Vec<f32>, part: &mut Part) -> Result<Option<LaneStep>> {
        self.took += part.time;
        let nfe = match self.task {
            Task::Attempt(_) => self.solver.evaluations(),
            _ => 1,
        };
        self.nfe += nfe;
        self.total += nfe;
        let solver = &self.solver;
        let direction = (solver.times[1] - solver.times[0]).signum();
        let wide = |values: &[f32]| -> Vec<f64> { values.iter().map(|x| (*x).into()).collect() };
        let states = wide(x);
        let norm = |values: &[f64]| {
            let samples = values.chunks(self.len).zip(states.chunks(self.len));
            let squares = samples
                .map(|(values, x)| solver.mean_square(values.iter().copied(), x.iter().copied()));
            let n = states.len() / self.len;
            (squares.sum::<f64>() / n as f64).sqrt()
        };
        match &self.task {
            Task::Drift => {
                let drift = std::mem::take(&mut part.x);
                self.outs = part.take_outs();
                let d1 = norm(&wide(&drift));
                let h0 = solver.trial(norm(&states), d1);
                let moved = x.iter().zip(&drift);
                let moved =
                    moved.map(|(x, f)| (f64::from(*x) + direction * h0 * f64::from(*f)) as f32);
                let moved = moved.collect();
                self.drift = drift;
                self.task = Task::Trial { h0, d1, x: moved };
                Ok(None)
            }
            &Task::Trial { h0, d1, .. } => {
                let pairs = part.x.iter().zip(&self.drift);
                let change: Vec<f64> = pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
                let change = norm(&change);
                self.h = solver.first(h0, d1, change);
                self.next_attempt()?;
                Ok(None)
            }
            Task::Attempt(step) => {
                let [t, t_next] = [step.t, step.t_next];
                let sum: f64 = part.squares.iter().map(|s| f64::from(*s)).sum();
                let error = (sum / part.squares.len() as f64).sqrt();
                let verdict = solver.judge((t_next - t).abs(), error);
                self.h = verdict.next;
                // The branch is within this step: it gets a step that ends there.
                let is_beyond = verdict.is_accepted && t_next > self.end + TIME_EPS;
                if is_beyond {
                    self.solver = self.solver.clone().between([t, self.end]);
                } else if verdict.is_accepted {
                    self.t = t_next;
                }
                let is_over = self.t >= self.end - TIME_EPS;
                if !is_over {
                    let nfe = self.total as u32;
                    self.solver.check("all samples", self.t, &verdict, nfe)?;
                }
                if is_beyond || !verdict.is_accepted {
                    if !verdict.is_accepted {
                        self.rejected.push(t_next);
                    }
                    self.next_attempt()?;
                    return Ok(None);
                }
                x.clone_from(&part.x);
                self.drift = part.history.pop().unwrap_or_default();
                let outs = part.take_outs();
                [part.cond, part.uncond] = std::mem::replace(&mut self.outs, outs);
                part.time = std::mem::take(&mut self.took);
                part.rejected = std::mem::take(&mut self.rejected);
                let step = LaneStep {
                    step: self.solver.whole_step([t, t_next])?,
                    segment: self.segment,
                    nfe: std::mem::take(&mut self.nfe),
                };
                if !is_over {
                    self.next_attempt()?;
                }
                Ok(Some(step))
            }
        }
    }

    /// The next task is a step of the size that the solver wants.
    fn next_attempt(&mut self) -> Result<()> {
        self.task = Task::Attempt(Box::new(self.solver.step(self.t, self.h)?));
        Ok(())
    }

    /// Whether the task is an attempt, whose time says how many samples fit in a piece.
    pub fn is_attempt(&self) -> bool {
        matches!(self.task, Task::Attempt(_))
    }
}
