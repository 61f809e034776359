//! The CPU backend: runs a plan step by step on plain vectors, in `f32`; in `f64` it is the test oracle.

mod blocks;
mod step;

use super::profile::{Clock, Profile, Span, Timing};
use crate::error::{Error, Result};
use crate::graph::plan::{Entry, Place, Use};
use crate::graph::{Arena, ArenaId, CpuIo, Layout, Op, Plan, Storage};
use crate::num::{Buffer, Real, par};
use crate::shape::Elem;
use blocks::Blocks;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The segments of an arena.
type Segments<F> = Arc<Mutex<Vec<Buffer<F>>>>;

/// Maximum number of arenas in a program: those that training keeps, for two networks.
const MAX_ARENAS: usize = 12;

/// Arenas in memory, shared by programs.
#[derive(Clone, Debug)]
pub struct Arenas<F> {
    layout: Layout,
    data: BTreeMap<Arena, Segments<F>>,
}

// A panic while a lock is held may leave stale values but no broken invariants, so poisoning is ignored.
fn lock<F>(segments: &Segments<F>) -> MutexGuard<'_, Vec<Buffer<F>>> {
    segments.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The arenas of a program, locked while it runs.
struct Held<'a, F> {
    ids: &'a [(ArenaId, Segments<F>)],
    segments: [&'a mut [Buffer<F>]; MAX_ARENAS],
}

impl<F> Held<'_, F> {
    fn position(&self, id: ArenaId) -> usize {
        let position = self.ids.iter().position(|(held, _)| *held == id);
        position.expect("checked when the program was made")
    }

    fn get(&self, id: ArenaId, segment: usize) -> &Buffer<F> {
        &self.segments[self.position(id)][segment]
    }

    fn get_mut(&mut self, id: ArenaId, segment: usize) -> &mut Buffer<F> {
        let position = self.position(id);
        &mut self.segments[position][segment]
    }
}

impl<F: Scalar> Arenas<F> {
    /// Arenas of `layout`, filled with zeros.
    pub fn new(layout: &Layout, kinds: &[Arena]) -> Self {
        let zeros = || {
            layout
                .segments()
                .iter()
                .map(|&len| Buffer::zeros(len))
                .collect()
        };
        let shared = || Arc::new(Mutex::new(zeros()));
        Arenas {
            layout: layout.clone(),
            data: kinds.iter().map(|&kind| (kind, shared())).collect(),
        }
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> u64 {
        let bytes = |segments: &Segments<F>| -> usize {
            let segments = lock(segments);
            segments.iter().map(|s| size_of_val(&s[..])).sum()
        };
        self.data.values().map(bytes).sum::<usize>() as u64
    }

    fn with<R>(
        &self,
        arena: Arena,
        name: &str,
        visit: impl FnOnce(&Entry, &mut [F]) -> R,
    ) -> Result<R> {
        let entry = self
            .layout
            .get(name)
            .ok_or_else(|| Error::Shape(format!("there is no parameter {name}")))?;
        let segments = self.data.get(&arena);
        let segments =
            segments.ok_or_else(|| Error::Shape(format!("there is no arena {arena:?}")))?;
        let segment = &mut lock(segments)[entry.segment];
        Ok(visit(entry, &mut segment[entry.offset..][..entry.words()]))
    }

    /// Writes one parameter in an arena.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such arena or parameter, or the length differs.
    pub fn write(&self, arena: Arena, name: &str, data: &[f32]) -> Result<()> {
        self.with(arena, name, |entry, place| match entry.storage {
            Storage::F32 => fill(place, data, name),
            storage => {
                check_len(name, data.len(), entry.shape.numel())?;
                storage.pack(name, data, F::words_mut(place))
            }
        })?
    }

    /// Reads one parameter from an arena.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such arena or parameter.
    pub fn read(&self, arena: Arena, name: &str) -> Result<Vec<f32>> {
        self.with(arena, name, |entry, place| match entry.storage {
            Storage::F32 => place.iter().map(|x| x.to_f64() as f32).collect(),
            storage => storage.unpack(F::words(place), entry.shape.numel()),
        })
    }
}

fn check_len(name: &str, got: usize, expected: usize) -> Result<()> {
    if got != expected {
        return Err(Error::Shape(format!(
            "{name} got {got} values, expected {expected}"
        )));
    }
    Ok(())
}

fn fill<F: Real>(place: &mut [F], data: &[f32], name: &str) -> Result<()> {
    check_len(name, data.len(), place.len())?;
    place
        .iter_mut()
        .zip(data)
        .for_each(|(p, &x)| *p = F::of(f64::from(x)));
    Ok(())
}

/// A scalar that operations can be evaluated in.
pub trait Scalar: Real {
    /// Evaluates `op` on `io`.
    fn evaluate(op: &dyn Op, io: CpuIo<'_, Self>);

    /// The words of values that are kept in 16 bits; none in f64, in which nothing is.
    fn words(values: &[Self]) -> &[u32];

    /// As [`Scalar::words`].
    fn words_mut(values: &mut [Self]) -> &mut [u32];
}

impl Scalar for f32 {
    fn evaluate(op: &dyn Op, io: CpuIo<'_, f32>) {
        op.cpu_f32(io);
    }

    fn words(values: &[f32]) -> &[u32] {
        bytemuck::cast_slice(values)
    }

    fn words_mut(values: &mut [f32]) -> &mut [u32] {
        bytemuck::cast_slice_mut(values)
    }
}

#[cfg(any(feature = "oracle", not(target_arch = "wasm32")))]
impl Scalar for f64 {
    fn evaluate(op: &dyn Op, io: CpuIo<'_, f64>) {
        op.cpu_f64(io);
    }

    fn words(_: &[f64]) -> &[u32] {
        &[]
    }

    fn words_mut(_: &mut [f64]) -> &mut [u32] {
        &mut []
    }
}

/// A plan with its buffers.
#[derive(Debug)]
pub struct Program<F> {
    plan: Plan,
    floats: Vec<Buffer<F>>,
    ints: Vec<Vec<u32>>,
    /// In locking order, which is the same for all programs, so that they cannot deadlock.
    arenas: Vec<(ArenaId, Segments<F>)>,
    blocks: Vec<Option<Blocks>>,
}

impl<F: Scalar> Program<F> {
    /// Allocates the slots of `plan`. `sets` has the arenas of each parameter set.
    ///
    /// # Errors
    /// [`Error::Shape`] when `sets` lack an arena that the plan uses, or an arena has another layout.
    pub fn new(plan: Plan, sets: &[Arenas<F>]) -> Result<Self> {
        let mut arenas = Vec::new();
        for &id in &plan.arenas {
            let at = usize::from(id.set.0);
            let set = sets.get(at);
            let Some(segments) = set.and_then(|set| set.data.get(&id.arena)) else {
                return Err(Error::Shape(format!(
                    "the program uses the arena {id:?}, which was not allocated"
                )));
            };
            if set.map(|set| set.layout.segments()) != plan.layouts.get(at).map(Layout::segments) {
                return Err(Error::Shape(
                    "the arenas have another layout than the program".into(),
                ));
            }
            let mut entries = plan.layouts[at].entries().iter();
            if size_of::<F>() != 4 && entries.any(|entry| entry.storage != Storage::F32) {
                return Err(Error::Shape(
                    "weights of 16 bits are computed with in f32".into(),
                ));
            }
            arenas.push((id, Arc::clone(segments)));
        }
        arenas.sort_by_key(|(_, segments)| Arc::as_ptr(segments));
        let twice = |pair: &[(ArenaId, Segments<F>)]| Arc::ptr_eq(&pair[0].1, &pair[1].1);
        if arenas.len() > MAX_ARENAS || arenas.windows(2).any(twice) {
            return Err(Error::Shape(format!(
                "the program uses {} arenas, expected at most {MAX_ARENAS} different ones",
                arenas.len()
            )));
        }
        let floats = plan.slots.iter().map(|s| match (s.elem, s.usage) {
            (Elem::U32, _) => Buffer::default(),
            (Elem::F32, usage) => {
                let mut values = Buffer::zeros(s.len);
                match usage {
                    Use::Const(value) => values.fill(F::of(f64::from(value))),
                    Use::Table(table) => {
                        let table = table.values().into_iter();
                        let places = values.iter_mut().zip(table);
                        places.for_each(|(place, x)| *place = F::of(f64::from(x)));
                    }
                    Use::Input | Use::Scratch => {}
                }
                values
            }
        });
        let ints = plan.slots.iter().map(|s| {
            if s.elem == Elem::U32 {
                vec![0; s.len]
            } else {
                vec![]
            }
        });
        Ok(Program {
            floats: floats.collect(),
            ints: ints.collect(),
            arenas,
            blocks: plan.groups.iter().map(|g| Blocks::new(&plan, g)).collect(),
            plan,
        })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Bytes allocated for slots.
    pub fn bytes(&self) -> u64 {
        let floats: usize = self.floats.iter().map(|s| size_of_val(&s[..])).sum();
        let ints: usize = self.ints.iter().map(|s| size_of_val(&s[..])).sum();
        (floats + ints) as u64
    }

    fn input_slot(&self, input: &str, elem: Elem) -> Result<usize> {
        let port = self.plan.input(input)?;
        match port.place {
            Place::Slot(slot) if port.ty.elem == elem => Ok(slot),
            _ => Err(Error::Shape(format!(
                "input {input} is {:?}, not a tensor of {elem:?}",
                port.ty
            ))),
        }
    }

    /// Writes a float input.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such input or the length differs.
    pub fn write(&mut self, input: &str, data: &[f32]) -> Result<()> {
        let slot = self.input_slot(input, Elem::F32)?;
        fill(&mut self.floats[slot], data, input)
    }

    /// Writes an integer input.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such input or the length differs, [`Error::Config`] for an index outside its table.
    pub fn write_u32(&mut self, input: &str, data: &[u32]) -> Result<()> {
        let slot = self.input_slot(input, Elem::U32)?;
        self.plan.input(input)?.check_indices(data)?;
        if data.len() != self.ints[slot].len() {
            return Err(Error::Shape(format!(
                "{input} got {} values, expected {}",
                data.len(),
                self.ints[slot].len()
            )));
        }
        self.ints[slot].copy_from_slice(data);
        Ok(())
    }

    /// Copies an output into an input of the same shape.
    ///
    /// # Errors
    /// [`Error::Shape`] when one of them is not there or the shapes differ.
    pub fn feed(&mut self, output: &str, input: &str) -> Result<()> {
        let (from, to) = (self.plan.output(output)?, self.plan.input(input)?);
        if from.ty != to.ty {
            return Err(Error::Shape(format!(
                "output {output} is {:?}, input {input} is {:?}",
                from.ty, to.ty
            )));
        }
        let (Place::Slot(from), Place::Slot(to)) = (from.place, to.place) else {
            return Err(Error::Shape(format!(
                "output {output} lies in an arena and cannot be fed back"
            )));
        };
        let len = self.floats[to].len();
        if let Ok([from, to]) = self.floats.get_disjoint_mut([from, to]) {
            to.copy_from_slice(&from[..len]);
        }
        Ok(())
    }

    /// Reads an output of the last run, in full precision.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such output.
    pub fn read_real(&self, output: &str) -> Result<Vec<F>> {
        let port = self.plan.output(output)?;
        let len = port.ty.shape.numel();
        Ok(match port.place {
            Place::Slot(slot) => self.floats[slot][..len].to_vec(),
            Place::Arena(id, segment, offset) => {
                let held = self.arenas.iter().find(|(held, _)| *held == id);
                let (_, segments) = held.expect("checked when the program was made");
                lock(segments)[segment][offset..][..len].to_vec()
            }
        })
    }

    /// Reads an output of the last run.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is no such output.
    pub fn read(&self, output: &str) -> Result<Vec<f32>> {
        Ok(self
            .read_real(output)?
            .into_iter()
            .map(|x| x.to_f64() as f32)
            .collect())
    }

    /// Runs all steps.
    ///
    /// # Errors
    /// None on this backend; it returns a `Result` like the others.
    pub fn run(&mut self) -> Result<()> {
        self.steps(None);
        Ok(())
    }

    /// Runs each step on all samples, with the same results bit for bit, and measures it with `clock`.
    pub fn profile(&mut self, clock: &mut Clock<'_>) -> Profile {
        let times = self.steps(Some(clock));
        let spans = (0..self.plan.steps.len()).map(|i| Span::of(&self.plan, i));
        Profile::new(Timing::Clock, spans.collect(), &times)
    }

    /// Runs all steps: by blocks of samples, or one by one if there is a clock; returns the start and end time of each step.
    fn steps(&mut self, mut clock: Option<&mut Clock<'_>>) -> Vec<[Duration; 2]> {
        let ids = &self.arenas;
        let mut guards: [_; MAX_ARENAS] = std::array::from_fn(|i| Some(lock(&ids.get(i)?.1)));
        let segments = guards.each_mut().map(|guard| match guard {
            Some(segments) => &mut segments[..],
            None => &mut [],
        });
        let arenas = &mut Held { ids, segments };
        let (floats, ints) = (&mut self.floats, &self.ints);
        let (groups, blocks) = (&self.plan.groups, &self.blocks);
        let steps = &self.plan.steps;
        // Stays empty without a clock, so that a run allocates nothing.
        let mut times = Vec::new();
        par::enter(|| {
            for (group, blocks) in groups.iter().zip(blocks) {
                let steps = &steps[group.steps.clone()];
                if let (Some(blocks), None) = (blocks, &clock) {
                    blocks.run(group, steps, floats, ints, arenas);
                    continue;
                }
                for step in steps {
                    let start = clock.as_mut().map(|clock| clock());
                    step::run(step, floats, ints, arenas);
                    let end = clock.as_mut().map(|clock| clock());
                    times.extend(start.zip(end).map(|(start, end)| [start, end]));
                }
            }
        });
        times
    }
}
