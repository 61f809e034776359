//! The plan: live nodes only, every value with a place, exact bytes before anything is allocated. Needs no device.

use super::{Graph, Kind, Op, Var};
use crate::error::{Error, Result};
use crate::shape::{Elem, Shape, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Offsets in arenas are multiples of this many floats (256 bytes, the binding alignment of WebGPU).
pub(super) const ALIGN: usize = 64;

/// Flat storage that outlives a program: parameters, and what the optimizer keeps for each of them at the same offsets.
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
}

/// Where one parameter lies in every arena.
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
}

/// Where each parameter lies in the arenas: the same offsets in all of them, cut into segments that fit a binding.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Layout {
    entries: Vec<Entry>,
    segments: Vec<usize>,
    index: BTreeMap<String, usize>,
}

impl Layout {
    /// Lays out `params` in order; a segment holds at most `max_segment_bytes`.
    ///
    /// # Errors
    /// [`Error::Limit`] when one parameter alone exceeds a segment, [`Error::Shape`] when a name stands twice.
    pub fn new(params: &[(String, Shape)], max_segment_bytes: u64) -> Result<Self> {
        let mut layout = Layout::default();
        for (name, shape) in params {
            let len = shape.numel().next_multiple_of(ALIGN);
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

    /// A parameter by name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.index.get(name).map(|&i| &self.entries[i])
    }
}

/// Where a value lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A buffer of the program, shared by values whose lifetimes do not overlap.
    Slot(usize),
    /// A range of an arena segment, from this offset in floats.
    Arena(Arena, usize, usize),
}

/// One operand of a step: where it lies and what it is.
#[derive(Clone, Debug)]
pub struct Operand {
    /// Where it lies.
    pub place: Place,
    /// Elements.
    pub len: usize,
}

/// One operation of the plan with the places of its operands.
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

/// What a slot is used for; only scratch slots are shared.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Use {
    /// Written by the caller, keeps its value.
    Input,
    /// Filled once with this value.
    Const(f32),
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
    /// Where it lies.
    pub place: Place,
}

/// What a program keeps and leaves: its outputs, and where parameters are read and gradients written.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Values the caller reads after a run, by name.
    pub outputs: Vec<(String, Var)>,
    /// Arena the parameters are read from; `None` is [`Arena::Params`].
    pub weights: Option<Arena>,
    /// Gradients by parameter name, written into [`Arena::Grads`].
    pub grads: Vec<(String, Var)>,
}

/// A flat list of steps over slots and arenas.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Buffers of the program.
    pub slots: Vec<Slot>,
    /// Values that the caller writes.
    pub inputs: Vec<Port>,
    /// Values that the caller reads.
    pub outputs: Vec<Port>,
    /// Layout of the arenas.
    pub layout: Layout,
    /// Arenas the steps touch.
    pub arenas: BTreeSet<Arena>,
}

impl Plan {
    /// Plans the nodes of `graph` that `request` needs.
    ///
    /// # Errors
    /// [`Error::Shape`] when a parameter is missing from `layout` or has another shape there, or when a step would read and
    /// write the same arena.
    pub fn new(graph: &Graph, request: &Request, layout: &Layout) -> Result<Plan> {
        Planner::new(graph, request, layout)?.run()
    }

    /// Bytes of the program's own buffers, arenas not included.
    pub fn slot_bytes(&self) -> u64 {
        self.slots.iter().map(|s| s.len as u64 * 4).sum()
    }

    /// Multiply-accumulates of one run.
    pub fn macs(&self) -> u64 {
        self.steps.iter().map(|s| s.op.macs(&s.in_types)).sum()
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

struct Planner<'a> {
    graph: &'a Graph,
    request: &'a Request,
    layout: &'a Layout,
    live: Vec<bool>,
    /// Last node that uses a value; values that outlive the run stand at `usize::MAX`.
    last_use: BTreeMap<Var, usize>,
    place: BTreeMap<Var, Place>,
    free: Vec<usize>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, request: &'a Request, layout: &'a Layout) -> Result<Self> {
        let mut planner = Planner {
            graph,
            request,
            layout,
            live: vec![false; graph.nodes().len()],
            last_use: BTreeMap::new(),
            place: BTreeMap::new(),
            free: Vec::new(),
            plan: Plan {
                steps: Vec::new(),
                slots: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                layout: layout.clone(),
                arenas: BTreeSet::new(),
            },
        };
        planner.mark_live();
        planner.place_grads()?;
        Ok(planner)
    }

    /// A node lives when an output, a gradient or an in-place change depends on it.
    fn mark_live(&mut self) {
        let nodes = self.graph.nodes();
        let asked = self.request.outputs.iter().chain(&self.request.grads);
        for (_, v) in asked {
            self.live[v.node.0 as usize] = true;
            self.last_use.insert(self.graph.root(*v), usize::MAX);
        }
        for (i, node) in nodes.iter().enumerate().rev() {
            self.live[i] |= matches!(&node.kind, Kind::Op(op) if !op.in_place().is_empty());
            if !self.live[i] {
                continue;
            }
            for &v in &node.ins {
                self.live[v.node.0 as usize] = true;
                let root = self.graph.root(v);
                self.last_use
                    .entry(root)
                    .and_modify(|l| *l = (*l).max(i))
                    .or_insert(i);
            }
        }
    }

    fn place_grads(&mut self) -> Result<()> {
        for (name, var) in &self.request.grads {
            let entry = self.entry(name, self.graph.shape(*var))?;
            let place = Place::Arena(Arena::Grads, entry.segment, entry.offset);
            if self.place.insert(self.graph.root(*var), place).is_some() {
                return Err(Error::Shape(format!(
                    "the gradient of {name} is shared with another parameter's"
                )));
            }
        }
        Ok(())
    }

    fn entry(&self, name: &str, shape: &Shape) -> Result<&'a Entry> {
        match self.layout.get(name) {
            Some(e) if e.shape == *shape => Ok(e),
            Some(e) => Err(Error::Shape(format!(
                "parameter {name} is {shape} in the graph and {} in the layout",
                e.shape
            ))),
            None => Err(Error::Shape(format!(
                "parameter {name} is not in the layout"
            ))),
        }
    }

    fn run(mut self) -> Result<Plan> {
        for i in 0..self.graph.nodes().len() {
            if self.live[i] {
                self.visit(i)?;
            }
        }
        for (name, var) in &self.request.outputs {
            let place = self.place[&self.graph.root(*var)];
            self.plan.outputs.push(Port {
                name: name.clone(),
                ty: self.graph.ty(*var).clone(),
                place,
            });
        }
        Ok(self.plan)
    }

    fn visit(&mut self, i: usize) -> Result<()> {
        let node = &self.graph.nodes()[i];
        let first = Var {
            node: super::NodeId(i as u32),
            out: 0,
        };
        match &node.kind {
            Kind::Reshape => {}
            Kind::Param(name) => {
                let entry = self.entry(name, &node.outs[0].shape)?;
                let arena = self.request.weights.unwrap_or(Arena::Params);
                let place = self.arena(arena, entry.segment, entry.offset);
                self.place.insert(first, place);
            }
            Kind::Arena(arena, segment) => {
                let place = self.arena(*arena, *segment, 0);
                self.place.insert(first, place);
            }
            Kind::Input(name) => {
                let place = self.own_slot(&node.outs[0], Use::Input);
                self.plan.inputs.push(Port {
                    name: name.clone(),
                    ty: node.outs[0].clone(),
                    place,
                });
                self.place.insert(first, place);
            }
            Kind::Const(value) => {
                let place = self.own_slot(&node.outs[0], Use::Const(*value));
                self.place.insert(first, place);
            }
            Kind::Op(op) => self.visit_op(i, op)?,
        }
        Ok(())
    }

    fn visit_op(&mut self, i: usize, op: &Arc<dyn Op>) -> Result<()> {
        let node = &self.graph.nodes()[i];
        let mut outs = Vec::with_capacity(node.outs.len());
        for (o, ty) in node.outs.iter().enumerate() {
            let var = Var {
                node: super::NodeId(i as u32),
                out: o as u32,
            };
            let place = match self.place.get(&var) {
                Some(&Place::Arena(arena, segment, offset)) => self.arena(arena, segment, offset),
                _ => self.scratch_slot(ty.shape.numel()),
            };
            self.place.insert(var, place);
            outs.push(Operand {
                place,
                len: ty.shape.numel(),
            });
        }
        let operand = |v: &Var| Operand {
            place: self.place[&self.graph.root(*v)],
            len: self.graph.shape(*v).numel(),
        };
        let ins: Vec<Operand> = node.ins.iter().map(operand).collect();
        let in_types: Vec<Type> = node.ins.iter().map(|&v| self.graph.ty(v).clone()).collect();
        self.plan.steps.push(Step {
            op: op.clone(),
            ins,
            outs,
            in_types,
            out_types: node.outs.clone(),
        });
        self.plan.steps.last().map_or(Ok(()), check_aliasing)?;

        // Freed only now: an output never shares the buffer of an input of the same step.
        let ended: BTreeSet<Var> = node
            .ins
            .iter()
            .map(|&v| self.graph.root(v))
            .filter(|v| self.last_use.get(v) == Some(&i))
            .collect();
        let unused = (0..node.outs.len() as u32)
            .map(|out| Var {
                node: super::NodeId(i as u32),
                out,
            })
            .filter(|v| !self.last_use.contains_key(v));
        for v in ended.into_iter().chain(unused) {
            if let Place::Slot(s) = self.place[&v]
                && self.plan.slots[s].usage == Use::Scratch
            {
                self.free.push(s);
            }
        }
        Ok(())
    }

    fn arena(&mut self, arena: Arena, segment: usize, offset: usize) -> Place {
        self.plan.arenas.insert(arena);
        Place::Arena(arena, segment, offset)
    }

    fn own_slot(&mut self, ty: &Type, usage: Use) -> Place {
        self.plan.slots.push(Slot {
            len: ty.shape.numel(),
            elem: ty.elem,
            usage,
        });
        Place::Slot(self.plan.slots.len() - 1)
    }

    /// Best fit among the free slots; when none is large enough the largest of them grows.
    fn scratch_slot(&mut self, len: usize) -> Place {
        let slots = &self.plan.slots;
        let fits = self
            .free
            .iter()
            .copied()
            .filter(|&s| slots[s].len >= len)
            .min_by_key(|&s| (slots[s].len, s));
        let chosen = fits.or_else(|| self.free.iter().copied().max_by_key(|&s| (slots[s].len, s)));
        let Some(s) = chosen else {
            self.plan.slots.push(Slot {
                len,
                elem: Elem::F32,
                usage: Use::Scratch,
            });
            return Place::Slot(self.plan.slots.len() - 1);
        };
        self.free.retain(|&f| f != s);
        self.plan.slots[s].len = self.plan.slots[s].len.max(len);
        Place::Slot(s)
    }
}

/// A buffer cannot be read and written in one dispatch, whatever the ranges.
fn check_aliasing(step: &Step) -> Result<()> {
    let buffer = |p: &Place| match *p {
        Place::Slot(s) => (None, s),
        Place::Arena(a, segment, _) => (Some(a), segment),
    };
    let in_place = step.op.in_place();
    let written = step
        .outs
        .iter()
        .chain(in_place.iter().map(|&i| &step.ins[i]));
    for w in written {
        let clash = step
            .ins
            .iter()
            .enumerate()
            .any(|(i, r)| !in_place.contains(&i) && buffer(&r.place) == buffer(&w.place));
        if clash {
            return Err(Error::Shape(format!(
                "{}: {:?} is both read and written",
                step.op.name(),
                w.place
            )));
        }
    }
    Ok(())
}
