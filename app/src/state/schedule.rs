//! A lane's steps: those that are known, and the segments whose steps an adaptive solver chooses on its way.

use super::{Lane, Settings, TIME_EPS};
use sit_engine::error::{Error, Result};
use sit_engine::transport::{
    Adaptive, Sampler, Step, Transport, nfe as evaluations, schedule, schedule_from,
};
use std::collections::VecDeque;
use std::ops::Deref;

/// A step of a lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneStep {
    /// Times and coefficients.
    pub step: Step,
    /// Segment it belongs to.
    pub segment: usize,
    /// Network evaluations of a sample, without guidance; of an adaptive solver also those that found the step's size.
    pub nfe: usize,
}

impl LaneStep {
    /// A step of a solver whose steps are known beforehand.
    pub fn new(step: Step, segment: usize) -> Self {
        LaneStep {
            nfe: evaluations(&[step]),
            step,
            segment,
        }
    }

    /// Factor of the normal numbers that the step adds; 0 for none.
    pub fn noise(&self) -> f64 {
        self.step.noise()
    }
}

/// A segment whose steps an adaptive solver chooses. All samples share them, so that a lane has one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Open {
    /// The segment.
    pub segment: usize,
    /// Its first and last time.
    pub times: [f64; 2],
}

/// The steps of a segment.
#[derive(Debug, Clone, PartialEq)]
enum Leg {
    Known(Vec<LaneStep>),
    Open(Open),
}

/// A lane's steps: it can be read as the list of those that are known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Schedule {
    known: Vec<LaneStep>,
    /// What comes after them; it begins with a segment that is open.
    ahead: VecDeque<Leg>,
}

impl Deref for Schedule {
    type Target = [LaneStep];

    fn deref(&self) -> &[LaneStep] {
        &self.known
    }
}

impl Schedule {
    /// The segment whose solver chooses the step after the known ones; `None` if there is none.
    pub fn open(&self) -> Option<Open> {
        match self.ahead.front() {
            Some(Leg::Open(open)) => Some(*open),
            _ => None,
        }
    }

    /// Whether no steps will be added.
    pub fn is_whole(&self) -> bool {
        self.ahead.is_empty()
    }

    /// Adds a step that the solver of the open segment has chosen. At the segment's end, the steps of the next one become known.
    pub fn choose(&mut self, step: LaneStep) {
        if let Some(open) = self.open() {
            self.known.push(step);
            if step.step.t_next >= open.times[1] - TIME_EPS {
                self.ahead.pop_front();
                self.append_known();
            }
        }
    }

    /// How many steps there are, in words: with a `+` if further ones will be chosen.
    pub fn total(&self) -> String {
        let more = if self.is_whole() { "" } else { "+" };
        format!("{}{more}", self.known.len())
    }

    /// The first time.
    pub fn start(&self) -> f64 {
        let first = self.known.first().map(|s| s.step.t);
        first.unwrap_or_else(|| self.open().map_or(0.0, |open| open.times[0]))
    }

    fn append_known(&mut self) {
        while let Some(Leg::Known(steps)) = self.ahead.front_mut() {
            self.known.append(steps);
            self.ahead.pop_front();
        }
    }
}

impl Leg {
    /// Ends it at time `t`, or where the step that covers `t` ends.
    fn cut(&mut self, t: f64) {
        match self {
            // A corrector's steps begin and end at one time.
            Leg::Known(steps) => {
                steps.retain(|s| s.step.t < t - TIME_EPS || s.step.t_next <= t + TIME_EPS)
            }
            Leg::Open(open) => open.times[1] = open.times[1].min(t),
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Leg::Known(steps) => steps.is_empty(),
            Leg::Open(open) => open.times[1] <= open.times[0] + TIME_EPS,
        }
    }

    /// Its segment and its last time.
    fn end(&self) -> Option<(usize, f64)> {
        match self {
            Leg::Known(steps) => steps.last().map(|s| (s.segment, s.step.t_next)),
            Leg::Open(open) => Some((open.segment, open.times[1])),
        }
    }
}

impl Settings {
    /// The model's transport with the lane's distance from the ends.
    pub fn transport(&self, transport: &Transport) -> Transport {
        Transport {
            t_eps_sample: self.t_eps.or(transport.t_eps_sample),
            ..transport.clone()
        }
    }
}

impl Lane {
    /// All its steps.
    ///
    /// # Errors
    /// [`sit_engine::error::Error::Config`] for settings that the transport refuses, with the reason.
    pub fn steps(&self, transport: &Transport) -> Result<Schedule> {
        let mut legs: Vec<Leg> = Vec::new();
        for (segment, part) in self.segments.iter().enumerate() {
            part.settings.check()?;
            legs.iter_mut().for_each(|leg| leg.cut(part.from));
            legs.retain(|leg| !leg.is_empty());
            let sampler = &part.settings.sampler;
            let transport = &part.settings.transport(transport);
            // A branch starts where the step before it ended.
            let from = match legs.last().and_then(Leg::end) {
                Some((past, t)) => {
                    let past = &self.segments[past].settings.sampler;
                    check_branch(transport, [past, sampler], t)?;
                    Some(t)
                }
                None => None,
            };
            legs.push(leg(transport, sampler, segment, from)?);
        }
        let mut schedule = Schedule {
            known: Vec::new(),
            ahead: legs.into(),
        };
        schedule.append_known();
        Ok(schedule)
    }
}

/// The steps of a segment, from a time or from its sampler's own start.
fn leg(transport: &Transport, sampler: &Sampler, segment: usize, from: Option<f64>) -> Result<Leg> {
    if sampler.is_adaptive() {
        let [first, end] = Adaptive::new(transport, sampler)?.times;
        let t = from.unwrap_or(first);
        let leg = Leg::Open(Open {
            segment,
            times: [t, end],
        });
        return match leg.is_empty() {
            true => Err(Error::Config(format!(
                "start at t = {t}: this sampler steps from {first} to {end}"
            ))),
            false => Ok(leg),
        };
    }
    let steps = match from {
        Some(t) => schedule_from(transport, sampler, t)?,
        None => schedule(transport, sampler)?,
    };
    let steps = steps.into_iter().map(|step| LaneStep::new(step, segment));
    Ok(Leg::Known(steps.collect()))
}

/// Refuses a branch by a sampler that expects other states at time `t` than its past has.
fn check_branch(transport: &Transport, samplers: [&Sampler; 2], t: f64) -> Result<()> {
    const NEAR: f64 = 1e-6;
    let [(path, [alpha, sigma]), (other, expected)] = samplers.map(|sampler| {
        let (path, t) = transport.place_of(sampler, t);
        let shares = [path.alpha(t), path.sigma(t)];
        (path, shares)
    });
    let far = |a: f64, b: f64| (a - b).abs() > NEAR * a.abs().max(1.0);
    if far(alpha, expected[0]) || far(sigma, expected[1]) {
        return Err(Error::Config(format!(
            "a branch goes on from its lane's state, which at t = {t:.3} is {alpha:.3} data + {sigma:.3} noise on the {path} path; \
             this sampler expects {:.3} data + {:.3} noise, on the {other} path",
            expected[0], expected[1],
        )));
    }
    Ok(())
}
