//! Profiles: how long each step of a program takes.
//!
//! # Theory
//! A step does work that its operation counts (multiply-accumulates) and moves at least the bytes of its operands. Comparing both
//! rates with the peak rates of the device shows what bounds a step: arithmetic for a product of large matrices, memory for a
//! normalization, launch overhead for a small kernel.
//!
//! # Practice
//! [`Program::profile`](super::Program::profile) runs a program once, with the same results bit for bit as
//! [`Program::run`](super::Program::run), and returns one [`Span`] per step (per kernel on a GPU). The engine reads no clock
//! itself, as wasm32 has none, so the caller passes one:
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
//! A CPU run takes blocks of samples through several steps at a time ([`Group`](crate::graph::plan::Group)), while a profile runs
//! each step on all samples. Caches are then less effective, so the spans usually add up to more than the time of a run. A GPU run
//! puts many kernels into one pass, while a profile uses one pass per kernel, with timestamps at both ends
//! ([`Timing::Timestamps`]): kernels cannot overlap, and the gaps between passes belong to no span.

use crate::graph::Plan;
use crate::shape::Type;
use std::time::Duration;

/// A clock: the time since an arbitrary start, monotonic.
pub type Clock<'a> = dyn FnMut() -> Duration + Send + 'a;

/// Where the times of a profile come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timing {
    /// The caller's clock, before and after each step on the CPU.
    Clock,
    /// GPU timestamps at the start and the end of each kernel.
    Timestamps,
    /// The caller's clock around each kernel's submission and the wait for it, on GPUs without timestamps; includes the round trip
    /// to the device.
    Waits,
}

/// How long each step of a run took.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Profile {
    /// Where the times come from.
    pub timing: Timing,
    /// One span per step (CPU) or per kernel (GPU), in order.
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
    /// Start time, relative to the start of the first span.
    pub start: Duration,
    /// How long it took.
    pub time: Duration,
    /// Multiply-accumulates. If an operation has several kernels, they are divided in proportion to time, so that every kernel
    /// shows the rate of the operation.
    pub macs: f64,
    /// Bytes of the operands that are read; operands changed in place count as read and as written.
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
    /// A profile of `spans`; each of `times` is the start and the end of one of them.
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
