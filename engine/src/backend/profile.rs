//! Profiles: how long each step of a program takes.
//!
//! # Theory
//! A step does work that its operation counts (multiply-accumulates) and moves at least the bytes of its operands. Work by time and bytes by
//! time, beside what the device can do, tell what bounds it: a product of large matrices the arithmetic, a normalization the memory,
//! a small kernel its own launch.
//!
//! # Practice
//! [`Program::profile`](super::Program::profile) runs a program once as [`Program::run`](super::Program::run) does, with the same bits, and
//! returns a [`Span`] a step, on a GPU one a kernel. The engine has no clock (a browser has none for it), so the caller hands one in:
//!
//! ```
//! use sit_engine::backend::Device;
//! use sit_engine::graph::plan::Request;
//! use sit_engine::graph::{Graph, Plan};
//! use sit_engine::ops::pointwise;
//! use std::time::Instant;
//!
//! # fn main() -> sit_engine::Result<()> {
//! let mut g = Graph::new();
//! let x = g.input("x", [2, 3]);
//! let y = pointwise::add(&mut g, x, x)?;
//! let request = Request { outputs: vec![("y".into(), y)], ..Request::default() };
//! let mut program = Device::Cpu.program(Plan::new(&g, &request, &[])?, &[])?;
//! let start = Instant::now();
//! let profile = pollster::block_on(program.profile(&mut || start.elapsed()))?;
//! assert_eq!(profile.spans[0].op, "pointwise_add");
//! assert_eq!(profile.spans[0].bytes(), 3 * 6 * 4);
//! # Ok(())
//! # }
//! ```
//!
//! On the CPU a run takes some samples through several steps before the others ([`Group`](crate::graph::plan::Group)), a profile takes all
//! samples through each step: caches hold less, and the sum of its spans is mostly more than the time of a run. On a GPU a run has many
//! kernels in a pass, a profile a pass for each, at whose ends the device writes its own time ([`Timing::Timestamps`]): kernels that would
//! overlap do not, and the gaps between passes are no one's.

use crate::graph::Plan;
use crate::shape::Type;
use std::time::Duration;

/// A clock: time since any moment, never less than before.
pub type Clock<'a> = dyn FnMut() -> Duration + Send + 'a;

/// Where the times of a profile come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timing {
    /// The caller's clock, before and after each step on the CPU.
    Clock,
    /// The GPU's own time at the begin and the end of each kernel.
    Timestamps,
    /// The caller's clock around each kernel's submission and the wait for its end, where a GPU tells no time: it counts the way to the
    /// device and back.
    Waits,
}

/// How long each step of a run took.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Profile {
    /// Where the times come from.
    pub timing: Timing,
    /// A span a step (CPU) or a kernel (GPU), in order.
    pub spans: Vec<Span>,
}

/// One step of a run, or one of its kernels.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Span {
    /// Index of the step in [`Plan::steps`].
    pub step: usize,
    /// Name of the operation.
    pub op: &'static str,
    /// Name of the kernel, on a GPU.
    pub kernel: Option<&'static str>,
    /// When it began, since the first span did.
    pub start: Duration,
    /// How long it took.
    pub time: Duration,
    /// Multiply-accumulates. Those of an operation of several kernels are shared among them by their time, so that each has the rate of the
    /// operation.
    pub macs: f64,
    /// Bytes of the operands that are read; what is changed in place is read and written.
    pub read_bytes: u64,
    /// Bytes of the operands that are written.
    pub written_bytes: u64,
    /// Types of the operation's inputs.
    pub in_types: Vec<Type>,
    /// Types of the operation's outputs.
    pub out_types: Vec<Type>,
}

impl Span {
    /// Bytes moved: read and written.
    pub fn bytes(&self) -> u64 {
        self.read_bytes + self.written_bytes
    }

    /// The step as a whole, without its times.
    pub(super) fn of(plan: &Plan, index: usize) -> Self {
        let step = &plan.steps[index];
        let bytes = |types: &[Type]| types.iter().map(Type::bytes).sum::<u64>();
        let changed = step.op.in_place().iter();
        let changed: u64 = changed.map(|&i| step.in_types[i].bytes()).sum();
        Span {
            step: index,
            op: step.op.name(),
            kernel: None,
            start: Duration::ZERO,
            time: Duration::ZERO,
            macs: step.op.macs(&step.in_types) as f64,
            read_bytes: bytes(&step.in_types),
            written_bytes: bytes(&step.out_types) + changed,
            in_types: step.in_types.clone(),
            out_types: step.out_types.clone(),
        }
    }
}

impl Profile {
    /// The profile of `spans` that lasted from the first to the second of their `times`.
    pub(super) fn new(timing: Timing, mut spans: Vec<Span>, times: &[[Duration; 2]]) -> Self {
        let first = times.first().map_or(Duration::ZERO, |&[start, _]| start);
        for (span, &[start, end]) in spans.iter_mut().zip(times) {
            span.start = start.saturating_sub(first);
            span.time = end.saturating_sub(start);
        }
        for kernels in spans.chunk_by_mut(|a, b| a.step == b.step) {
            let all: f64 = kernels.iter().map(|span| span.time.as_secs_f64()).sum();
            let n = kernels.len() as f64;
            for span in kernels {
                span.macs *= match all {
                    0.0 => 1.0 / n,
                    _ => span.time.as_secs_f64() / all,
                };
            }
        }
        Profile { timing, spans }
    }

    /// The sum of all spans.
    pub fn time(&self) -> Duration {
        self.spans.iter().map(|span| span.time).sum()
    }
}
