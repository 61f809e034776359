//! Distillation: a student learns to take in one step what its teacher, or the student itself, takes in two.
//!
//! The student's output, converted to a velocity, is the mean velocity over a span of time: `z_s = z_t + (s - t) u(z_t, t, s)` for a
//! state z on its way along the teacher's ODE. For t <= m <= s the mean velocity is that of two pieces,
//!
//! ```text
//! u(z_t, t, s) = ((m - t) u(z_t, t, m) + (s - m) u(z_m, m, s)) / (s - t),    z_m = z_t + (m - t) u(z_t, t, m),
//! ```
//!
//! and over an empty span it is the teacher's velocity. The right side is the target, without a gradient. The two methods differ in the
//! times and in who evaluates the pieces ([`Pieces`]).

mod networks;

use super::{Batch, Net, Objective, Port, Ports, SampleKey, TIMES, Teacher, draws};
use crate::error::{Error, Result};
use crate::graph::{Graph, SetId, Var};
use crate::model::NetworkIo;
use crate::nn::Params;
use crate::ops::lincomb::{MAX_TERMS, lincomb};
use crate::ops::loss;
use crate::rng::{Stream, uniform};
use crate::transport::{
    Coefs, Guidance, Interpolant, Interval, LossWeight, Method, Prediction, Sampler, Target,
    Transport,
};
use networks::Networks;

/// More halvings than a distillation has.
const MAX_STAGES: u32 = 10;

/// Where the pieces of a step begin and end, and who evaluates them.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Pieces {
    /// Random t <= m <= s; the student evaluates both pieces itself, and for the share `flow` of the images, where s = t, the
    /// teacher gives its velocity (SplitMeanFlow, arXiv 2507.16884). The student reads the span, and takes any number of steps.
    Split {
        /// Share of images with an empty span, above 0 and at most 1.
        flow: f64,
    },
    /// The steps of a fixed grid, each halved; the teacher evaluates both halves (progressive distillation, arXiv 2202.00512). There is
    /// a stage for each halving of the number of steps, down to that of the transport; after a stage the student becomes the
    /// teacher.
    Halve {
        /// Number of stages, at least 1.
        stages: u32,
        /// Images that a stage is trained on.
        images_per_stage: u64,
    },
}

/// The student predicts the mean velocity of its teacher's ODE over a step, as the mean of two pieces; see [`Pieces`]. The teacher is
/// a network of the same images, classes, path and prediction, with weights that stay.
#[derive(Debug, Clone)]
pub struct Distill {
    /// The student's transport, with its number of steps.
    pub transport: Transport,
    /// The teacher.
    pub teacher: Teacher,
    /// Guidance of the teacher, which the student takes over. In later stages of halving the teacher is a student, which has it
    /// already.
    pub guidance: Guidance,
    /// The pieces of a step.
    pub pieces: Pieces,
}

const X0: Port<f32> = Port::new("x0");
const X1: Port<f32> = Port::new("x1");
const Y: Port<u32> = Port::new("y");
/// The labels, and as many null classes.
const LABELS: Port<u32> = Port::new("labels");
/// The state at t from noise and data, and what the network gets in its place, where that is scaled.
const Z: StatePorts = StatePorts(Port::new("z"), Port::new("z_scaled"));
/// The state at m from that at t and the mean velocity between them.
const Z_M: StatePorts = StatePorts(Port::new("z_m"), Port::new("z_m_scaled"));
/// What the networks get in the place of the times t and m.
const T_INPUT: Port<f32> = Port::new("t_input");
const M_INPUT: Port<f32> = Port::new("m_input");
/// The spans s - t, m - t and s - m.
const SPAN: Port<f32> = Port::new("span");
const FIRST_SPAN: Port<f32> = Port::new("first_span");
const SECOND_SPAN: Port<f32> = Port::new("second_span");
/// The velocity from state and output, at t and m.
const VELOCITY: Port<f32> = Port::new("velocity");
const VELOCITY_M: Port<f32> = Port::new("velocity_m");
/// The shares of teacher and student in the first piece.
const TEACHER_SHARE: Port<f32> = Port::new("teacher_share");
/// The shares of the pieces.
const SHARES: Port<f32> = Port::new("shares");
/// The scale of guidance at t and m.
const SCALE: Port<f32> = Port::new("scale");
const SCALE_M: Port<f32> = Port::new("scale_m");
const LOSS_COEF: Port<f32> = Port::new("loss_coef");

/// A state as a combination of two tensors: its coefficients, and those of what a network gets.
#[derive(Clone, Copy)]
struct StatePorts(Port<f32>, Port<f32>);

/// What the times of images are drawn from.
struct TimeSource<'a> {
    target: &'a Target,
    ends: Interval,
    n_steps: u32,
}

/// The times of an image.
struct Times {
    t: f64,
    m: f64,
    s: f64,
    /// Whether the teacher evaluates the first piece.
    is_taught: bool,
    is_guided: bool,
}

impl Distill {
    fn is_split(&self) -> bool {
        matches!(self.pieces, Pieces::Split { .. })
    }

    fn n_steps(&self) -> Result<u32> {
        self.transport.student_steps.ok_or_else(|| {
            let what = "got none, expected the number of steps that the student takes";
            Error::setting("student_steps", what)
        })
    }

    /// The times between which the student goes from noise to data.
    fn ends(&self) -> Result<Interval> {
        let sampler = Sampler::ode(Method::Euler, self.n_steps()?);
        self.transport.sample_interval(&sampler)
    }

    /// The times of the image of this number.
    fn times(&self, source: &TimeSource<'_>, key: SampleKey, number: u64) -> Times {
        let &TimeSource {
            target,
            ends,
            n_steps,
        } = source;
        let step = |k: u32| 2 * k + key.step();
        let u = |k: u32| uniform(key.seed, Stream::Objective, step(k), number);
        match self.pieces {
            Pieces::Split { flow } => {
                let mut pair = [1, 2].map(|k| {
                    let normal = || draws::normal(key.seed, Stream::Objective, step(k), number);
                    target.sample_t(u(k), normal).clamp(ends.t0, ends.t1)
                });
                pair.sort_by(f64::total_cmp);
                let is_taught = u(0) < flow;
                let (t, s) = (pair[0], if is_taught { pair[0] } else { pair[1] });
                Times {
                    t,
                    m: t + (s - t) * u(3),
                    s,
                    is_taught,
                    is_guided: true,
                }
            }
            Pieces::Halve {
                stages,
                images_per_stage,
            } => {
                let last = stages - 1;
                let stage = (number / images_per_stage).min(u64::from(last)) as u32;
                let n = f64::from(n_steps << (last - stage));
                let i = (u(0) * n).floor().min(n - 1.0);
                let at = |i: f64| ends.at(i / n);
                Times {
                    t: at(i),
                    m: at(i + 0.5),
                    s: at(i + 1.0),
                    is_taught: true,
                    is_guided: stage == 0,
                }
            }
        }
    }
}

impl Objective for Distill {
    fn validate(&self, io: &NetworkIo) -> Result<()> {
        self.transport.target()?;
        self.ends()?;
        self.guidance.validate()?;
        self.check_networks(io)?;
        let usual = match self.transport.prediction {
            Prediction::Data => LossWeight::Velocity,
            _ => LossWeight::None,
        };
        if self.transport.loss_weight != usual {
            return Err(Error::setting(
                "loss_weight",
                format!(
                    "got {}, expected {usual}: a student learns a velocity",
                    self.transport.loss_weight
                ),
            ));
        }
        match self.pieces {
            Pieces::Split { flow } if !(flow > 0.0 && flow <= 1.0) => Err(Error::setting(
                "flow",
                format!("got {flow}, expected a share above 0 and at most 1"),
            )),
            Pieces::Halve { stages, .. } if !(1..=MAX_STAGES).contains(&stages) => {
                Err(Error::setting(
                    "stages",
                    format!("got {stages}, expected 1 to {MAX_STAGES}"),
                ))
            }
            Pieces::Halve {
                images_per_stage: 0,
                ..
            } => Err(Error::setting(
                "stages",
                "got stages without images, expected a step for each at least",
            )),
            _ => Ok(()),
        }
    }

    fn teacher(&self) -> Option<&Teacher> {
        Some(&self.teacher)
    }

    fn build(&self, g: &mut Graph, net: &mut Net<'_>, ports: &mut Ports) -> Result<Var> {
        let (b, io) = (ports.batch(), net.io());
        let x0 = ports.input(g, X0, io.images(b))?;
        let x1 = ports.input(g, X1, io.images(b))?;
        // Only for the log: the networks get T_INPUT.
        ports.input(g, TIMES, [b])?;
        let mut times = |port| ports.input(g, port, [b]);
        let [t, m] = [times(T_INPUT)?, times(M_INPUT)?];
        let [span, first_span, second_span] =
            [times(SPAN)?, times(FIRST_SPAN)?, times(SECOND_SPAN)?];
        let guided = self.is_guided();
        let [scale, scale_m] = match guided {
            true => [Some(times(SCALE)?), Some(times(SCALE_M)?)],
            false => [None; 2],
        };
        let mut rows = |port| ports.input(g, port, [b, MAX_TERMS]);
        let [velocity, velocity_m] = [rows(VELOCITY)?, rows(VELOCITY_M)?];
        let [shares, loss_coef] = [rows(SHARES)?, rows(LOSS_COEF)?];
        let y = io
            .null_class()
            .map(|_| ports.input(g, Y, [b]))
            .transpose()?;
        let labels = match y {
            Some(_) if guided => Some(ports.input(g, LABELS, [2 * b])?),
            _ => None,
        };
        let mut nets = Networks {
            distill: self,
            student: net,
            teacher: Params::new(SetId::GUIDE),
            y,
            labels,
        };
        let z = self.state(g, ports, &[x0, x1], Z)?;
        let at_t = |span| [t, span, velocity];
        let mut first = nets.teacher(g, z, at_t(first_span), scale)?;
        if self.is_split() {
            let own = nets.student(g, z, at_t(first_span))?;
            let share = ports.input(g, TEACHER_SHARE, [b, MAX_TERMS])?;
            first = lincomb(g, &[first, own], share)?;
        }
        let z_m = self.state(g, ports, &[z[0], first], Z_M)?;
        let at_m = [m, second_span, velocity_m];
        let second = match self.is_split() {
            true => nets.student(g, z_m, at_m)?,
            false => nets.teacher(g, z_m, at_m, scale_m)?,
        };
        let target = lincomb(g, &[first, second], shares)?;
        let target = g.stop_gradient(target);
        let out = nets.student_out(g, z[1], [t, span])?;
        loss::loss(g, out, z[0], target, loss_coef)
    }

    fn draw(&self, key: SampleKey, batch: &Batch<'_>, ports: &mut Ports) -> Result<()> {
        if batch.x0.is_none() {
            let why = "a batch needs its images there: `Batch::x0` got none";
            self.transport.require_gaussian("base", why)?;
        }
        draws::noise(key, batch, X0, ports)?;
        ports.copy(X1, batch.x1)?;
        let source = TimeSource {
            target: &self.transport.target()?,
            ends: self.ends()?,
            n_steps: self.n_steps()?,
        };
        let target = source.target;
        let guided = self.is_guided();
        for b in 0..ports.batch() {
            // The networks get times in f32, so the coefficients are computed for the rounded values.
            let rounded = |t: f64| f64::from(t as f32);
            let times = self.times(&source, key, key.number + b as u64);
            let [t, m, s] = [times.t, times.m, times.s].map(rounded);
            for (port, value) in [
                (TIMES, t),
                (T_INPUT, self.transport.time_input(t)),
                (M_INPUT, self.transport.time_input(m)),
                (SPAN, s - t),
                (FIRST_SPAN, m - t),
                (SECOND_SPAN, s - m),
            ] {
                ports.fill(port)?[b] = value as f32;
            }
            if guided {
                let scale = |t: f64| match times.is_guided {
                    true => self.guidance.scale_at(t) as f32,
                    false => 1.0,
                };
                ports.fill(SCALE)?[b] = scale(t);
                ports.fill(SCALE_M)?[b] = scale(m);
            }
            let Interpolant { x0, x1 } = target.interpolant(t);
            self.put_state(ports, Z, b, [x0, x1], t)?;
            self.put_state(ports, Z_M, b, [1.0, m - t], m)?;
            let Coefs { x, out } = self.transport.velocity(t)?;
            let at_m = self.transport.velocity(m)?;
            draws::put(ports.fill(VELOCITY)?, b, [x, out, 0.0, 0.0]);
            draws::put(ports.fill(VELOCITY_M)?, b, [at_m.x, at_m.out, 0.0, 0.0]);
            draws::put(ports.fill(LOSS_COEF)?, b, [1.0, out, x, -1.0]);
            let first = if s > t { (m - t) / (s - t) } else { 1.0 };
            draws::put(ports.fill(SHARES)?, b, [first, 1.0 - first, 0.0, 0.0]);
            if self.is_split() {
                let taught = f64::from(u8::from(times.is_taught));
                draws::put(
                    ports.fill(TEACHER_SHARE)?,
                    b,
                    [taught, 1.0 - taught, 0.0, 0.0],
                );
            }
        }
        // The student has its teacher's guidance, so that no label is dropped.
        draws::labels(key, batch, 0.0, Y, ports)?;
        if let Some(null) = ports.io().null_class().filter(|_| guided) {
            let labels = ports.fill(LABELS)?;
            let (own, none) = labels.split_at_mut(batch.y.len());
            own.copy_from_slice(batch.y);
            none.fill(null);
        }
        Ok(())
    }
}

impl Distill {
    fn is_guided(&self) -> bool {
        self.guidance.scale != 1.0
    }

    /// A state, and what a network gets in its place.
    fn state(
        &self,
        g: &mut Graph,
        ports: &mut Ports,
        terms: &[Var],
        at: StatePorts,
    ) -> Result<[Var; 2]> {
        let rows = [ports.batch(), MAX_TERMS];
        let coef = ports.input(g, at.0, rows)?;
        let z = lincomb(g, terms, coef)?;
        match self.transport.prediction {
            Prediction::Denoiser => {
                let coef = ports.input(g, at.1, rows)?;
                Ok([z, lincomb(g, terms, coef)?])
            }
            _ => Ok([z, z]),
        }
    }

    fn put_state(
        &self,
        ports: &mut Ports,
        at: StatePorts,
        b: usize,
        row: [f64; 2],
        t: f64,
    ) -> Result<()> {
        let put = |to: &mut [f32], [c0, c1]: [f64; 2]| draws::put(to, b, [c0, c1, 0.0, 0.0]);
        put(ports.fill(at.0)?, row);
        if self.transport.prediction == Prediction::Denoiser {
            let scale = self.transport.input_scale(t);
            put(ports.fill(at.1)?, row.map(|c| scale * c));
        }
        Ok(())
    }
}
