//! The plan: live nodes only, storage for every value, exact byte counts before anything is allocated. Needs no device.

use super::{Op, Storage, Var};
use crate::error::{Error, Result};
use crate::shape::{Elem, Shape, Type};
use crate::table::Table;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Offsets in arenas are multiples of this many floats (256 bytes, the binding alignment of WebGPU).
pub(super) const ALIGN: usize = 64;

/// Flat storage that outlives a program: parameters and their optimizer state, all with the same offsets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Arena {
    /// Trained parameters.
    Params,
    /// Their gradients.
    Grads,
    /// Sum of gradients over micro-batches.
    Accum,
    /// First moment of AdamW.
    MomentM,
    /// Second moment of AdamW.
    MomentV,
    /// Exponential moving average of the parameters.
    Ema,
    /// Another average of the parameters, by number.
    Average(u8),
}

/// A set of parameters with its own names and arenas. A program can hold several networks, or one network with several sets of
/// weights.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SetId(pub u8);

impl SetId {
    /// The first set: the network that is trained or sampled.
    pub const MAIN: SetId = SetId(0);
    /// The second set: a network that guides the first one.
    pub const GUIDE: SetId = SetId(1);
}

/// An arena of a parameter set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArenaId {
    /// The parameter set.
    pub set: SetId,
    /// The kind of arena.
    pub arena: Arena,
}

impl From<Arena> for ArenaId {
    /// The arena of the first set.
    fn from(arena: Arena) -> Self {
        let set = SetId::MAIN;
        ArenaId { set, arena }
    }
}

impl fmt::Debug for ArenaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.set {
            SetId::MAIN => write!(f, "{:?}", self.arena),
            SetId(set) => write!(f, "{:?} of set {set}", self.arena),
        }
    }
}

/// Location of one parameter, the same in every arena.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Official PyTorch name.
    pub name: String,
    /// Shape.
    pub shape: Shape,
    /// Segment of the arena.
    pub segment: usize,
    /// Offset in the segment, in floats.
    pub offset: usize,
    /// How the values are kept.
    pub storage: Storage,
}

impl Entry {
    /// Words of 32 bits that the values take.
    pub fn words(&self) -> usize {
        self.storage.words(self.shape.numel())
    }
}

/// Makes the operation that widens values kept in 16 bits. Operations are built on graphs, so a graph has it from its caller.
#[derive(Clone, Copy, Debug)]
pub struct Widen(pub fn(Storage, &Shape) -> Arc<dyn Op>);

impl PartialEq for Widen {
    /// There is one such operation.
    fn eq(&self, _: &Widen) -> bool {
        true
    }
}

/// Location of each parameter, the same in all arenas, which are split into segments that fit a binding.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Layout {
    entries: Vec<Entry>,
    segments: Vec<usize>,
    index: BTreeMap<String, usize>,
    widen: Option<Widen>,
}

impl Layout {
    /// Lays out `params` in order; a segment holds at most `max_segment_bytes`.
    ///
    /// # Errors
    /// [`Error::Limit`] when a single parameter exceeds a segment, [`Error::Shape`] for a duplicate name.
    pub fn new(params: &[(String, Shape)], max_segment_bytes: u64) -> Result<Self> {
        Self::of(params, (Storage::F32, None), max_segment_bytes)
    }

    /// As [`Layout::new`], with matrices kept in `storage`, from which `widen` widens them, and vectors in f32.
    ///
    /// # Errors
    /// As there.
    pub fn stored(
        params: &[(String, Shape)],
        storage: Storage,
        widen: Widen,
        max_segment_bytes: u64,
    ) -> Result<Self> {
        Self::of(params, (storage, Some(widen)), max_segment_bytes)
    }

    fn of(
        params: &[(String, Shape)],
        (storage, widen): (Storage, Option<Widen>),
        max_segment_bytes: u64,
    ) -> Result<Self> {
        let mut layout = Layout {
            widen,
            ..Layout::default()
        };
        for (name, shape) in params {
            let storage = match shape.len() {
                0 | 1 => Storage::F32,
                _ => storage,
            };
            let len = storage.words(shape.numel()).next_multiple_of(ALIGN);
            let bytes = len as u64 * 4;
            if bytes > max_segment_bytes {
                let mib = |b: u64| b as f64 / (1 << 20) as f64;
                return Err(Error::Limit(format!(
                    "parameter {name} {shape} needs {:.0} MiB: over the {:.0} MiB binding limit of this device",
                    mib(bytes),
                    mib(max_segment_bytes)
                )));
            }
            match layout.segments.last_mut() {
                Some(used) if (*used + len) as u64 * 4 <= max_segment_bytes => *used += len,
                _ => layout.segments.push(len),
            }
            let segment = layout.segments.len() - 1;
            let entry = Entry {
                name: name.clone(),
                shape: shape.clone(),
                segment,
                offset: layout.segments[segment] - len,
                storage,
            };
            if layout
                .index
                .insert(name.clone(), layout.entries.len())
                .is_some()
            {
                return Err(Error::Shape(format!(
                    "parameter {name} stands twice in the layout"
                )));
            }
            layout.entries.push(entry);
        }
        Ok(layout)
    }

    /// All parameters, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Length of each segment, in floats, padding included.
    pub fn segments(&self) -> &[usize] {
        &self.segments
    }

    /// Bytes of one arena.
    pub fn arena_bytes(&self) -> u64 {
        self.segments.iter().sum::<usize>() as u64 * 4
    }

    /// The operation that widens a parameter, if it is kept in 16 bits.
    pub(super) fn widen(&self, entry: &Entry) -> Option<Arc<dyn Op>> {
        let Widen(make) = self.widen?;
        (entry.storage != Storage::F32).then(|| make(entry.storage, &entry.shape))
    }

    /// A parameter by name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.index.get(name).map(|&i| &self.entries[i])
    }
}

/// Storage location of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A buffer of the program, shared by values whose lifetimes do not overlap.
    Slot(usize),
    /// A range of an arena segment, from this offset in floats.
    Arena(ArenaId, usize, usize),
}

/// One operand of a step: its location and length.
#[derive(Clone, Debug)]
pub struct Operand {
    /// Location.
    pub place: Place,
    /// Elements.
    pub len: usize,
}

impl Operand {
    /// The slot, unless it is in an arena.
    pub(crate) fn slot(&self) -> Option<usize> {
        match self.place {
            Place::Slot(slot) => Some(slot),
            Place::Arena(..) => None,
        }
    }
}

/// One operation of the plan with the locations of its operands.
#[derive(Clone, Debug)]
pub struct Step {
    /// The operation.
    pub op: Arc<dyn Op>,
    /// Inputs; those in [`Op::in_place`] are changed.
    pub ins: Vec<Operand>,
    /// Outputs.
    pub outs: Vec<Operand>,
    /// Types of the inputs.
    pub in_types: Vec<Type>,
    /// Types of the outputs.
    pub out_types: Vec<Type>,
}

impl Step {
    /// Number of samples that the step can process independently: the smallest of the first axes, if it divides the others. 1
    /// otherwise, or if the step mixes samples.
    pub fn samples(&self) -> usize {
        let Some(shared) = self.op.shared(&self.in_types) else {
            return 1;
        };
        let own = self.in_types.iter().enumerate();
        let own = own.filter(|(i, _)| !shared.contains(i)).map(|(_, ty)| ty);
        let sizes = own.chain(&self.out_types);
        let sizes = sizes.map(|ty| ty.shape.first().copied().unwrap_or(1));
        let least = sizes.clone().min().unwrap_or(1).max(1);
        if sizes.clone().all(|n| n.is_multiple_of(least)) {
            least
        } else {
            1
        }
    }

    /// Whether every sample reads all of input `i`.
    pub(crate) fn shares(&self, i: usize) -> bool {
        let shared = self.op.shared(&self.in_types);
        shared.is_some_and(|shared| shared.contains(&i))
    }

    /// Whether every sample reads the whole contents of the slot.
    pub(crate) fn reads_whole(&self, slot: usize) -> bool {
        let mut ins = self.ins.iter().enumerate();
        ins.any(|(i, operand)| operand.slot() == Some(slot) && self.shares(i))
    }
}

/// Consecutive steps that treat samples independently, so that a backend may run some samples through all of them before the
/// others. Within a group all values in a slot that the group writes have the same length and are accessed per sample, so samples
/// cannot interfere.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Indices of [`Plan::steps`].
    pub steps: Range<usize>,
    /// Number of samples; 1 for a step that mixes them.
    pub samples: usize,
    /// Slots that the group writes, with the length of their values.
    pub slots: Vec<(usize, usize)>,
}

impl Group {
    /// Index of a slot in [`Group::slots`], if the group writes it.
    pub(crate) fn place(&self, slot: usize) -> Option<usize> {
        self.slots.iter().position(|&(s, _)| s == slot)
    }
}

/// Maximum number of slots that a group writes.
pub(crate) const MAX_GROUP_SLOTS: usize = 32;

/// What a slot is used for; only scratch slots are reused.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Use {
    /// Written by the caller, keeps its value.
    Input,
    /// Filled once with this value.
    Const(f32),
    /// Filled once with this table.
    Table(Table),
    /// Intermediate values and outputs.
    Scratch,
}

/// One buffer of the program.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Elements.
    pub len: usize,
    /// Element type.
    pub elem: Elem,
    /// What it is used for.
    pub usage: Use,
}

/// A named value that the caller writes or reads.
#[derive(Clone, Debug)]
pub struct Port {
    /// Name of the input or output.
    pub name: String,
    /// Type.
    pub ty: Type,
    /// Location.
    pub place: Place,
    /// Exclusive upper bound of an integer input: the row count of the smallest table that it indexes.
    pub below: Option<usize>,
}

impl Port {
    /// Rejects indices out of range of the table. GPU kernels would clamp them to the last row, the CPU would panic.
    ///
    /// # Errors
    /// [`Error::Config`] naming the input, the element, its value and its bound.
    pub(crate) fn check_indices(&self, data: &[u32]) -> Result<()> {
        let Some(below) = self.below else {
            return Ok(());
        };
        match data.iter().position(|&index| index as usize >= below) {
            None => Ok(()),
            Some(at) => Err(Error::Config(format!(
                "{}: element {at} is {}, expected less than {below}, the rows of its table",
                self.name, data[at]
            ))),
        }
    }
}

/// What a program outputs, which arenas it reads parameters from, and which gradients it writes.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Values the caller reads after a run, by name.
    pub outputs: Vec<(String, Var)>,
    /// For each set, the arena that its parameters are read from; [`Arena::Params`] by default.
    pub weights: Vec<Arena>,
    /// Gradients by name of a parameter of the first set, written into that set's [`Arena::Grads`].
    pub grads: Vec<(String, Var)>,
}

/// A flat list of steps over slots and arenas.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Steps in order.
    pub steps: Vec<Step>,
    /// The steps, partitioned into groups.
    pub groups: Vec<Group>,
    /// Buffers of the program.
    pub slots: Vec<Slot>,
    /// Values that the caller writes.
    pub inputs: Vec<Port>,
    /// Values that the caller reads.
    pub outputs: Vec<Port>,
    /// Layout of each set's arenas.
    pub layouts: Vec<Layout>,
    /// Arenas that the steps use.
    pub arenas: BTreeSet<ArenaId>,
}

impl Plan {
    /// Bytes of the program's own buffers, arenas not included.
    pub fn slot_bytes(&self) -> u64 {
        self.slots.iter().map(|s| s.len as u64 * 4).sum()
    }

    /// Multiply-accumulates of one run.
    pub fn macs(&self) -> u64 {
        self.steps.iter().map(|s| s.op.macs(&s.in_types)).sum()
    }

    /// Whether there is an input of this name. One that no output depends on is not part of the plan.
    pub fn has_input(&self, name: &str) -> bool {
        self.inputs.iter().any(|port| port.name == name)
    }

    /// An input by name.
    ///
    /// # Errors
    /// [`Error::Shape`] listing the names there are.
    pub fn input(&self, name: &str) -> Result<&Port> {
        find(&self.inputs, "input", name)
    }

    /// An output by name.
    ///
    /// # Errors
    /// [`Error::Shape`] listing the names there are.
    pub fn output(&self, name: &str) -> Result<&Port> {
        find(&self.outputs, "output", name)
    }
}

fn find<'a>(ports: &'a [Port], what: &str, name: &str) -> Result<&'a Port> {
    ports.iter().find(|p| p.name == name).ok_or_else(|| {
        let names: Vec<&str> = ports.iter().map(|p| p.name.as_str()).collect();
        Error::Shape(format!(
            "the program has no {what} {name}; it has {}",
            names.join(", ")
        ))
    })
}
