//! From a graph to a plan: live nodes, groups of steps, and storage for every value.

use super::plan::{Arena, ArenaId, Entry, Layout, Plan, SetId};
use super::plan::{Group, MAX_GROUP_SLOTS, Operand, Place, Port, Request, Slot, Step, Use};
use super::{Graph, Kind, NodeId, Op, Var};
use crate::error::{Error, Result};
use crate::shape::{Elem, Shape, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Plan {
    /// Plans the nodes of `graph` that `request` needs; `layouts` has one layout for each parameter set.
    ///
    /// # Errors
    /// [`Error::Shape`] when a parameter is missing from its layout or has another shape there, or when a step would read and
    /// write the same arena.
    pub fn new(graph: &Graph, request: &Request, layouts: &[&Layout]) -> Result<Plan> {
        let plan = |fit| Planner::new(graph, request, layouts, fit)?.run();
        // Neither is always the smaller one.
        let (any, close) = (plan(Fit::Any)?, plan(Fit::Close)?);
        Ok(match close.slot_bytes() < any.slot_bytes() {
            true => close,
            false => any,
        })
    }
}

/// Which free slots a value may take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    /// Any one, the shortest that is long enough first.
    Any,
    /// One of at most twice its length. A short value that lives long, such as the output of a block, then keeps no long slot from others.
    Close,
}

struct Planner<'a> {
    graph: &'a Graph,
    request: &'a Request,
    layouts: &'a [&'a Layout],
    live: Vec<bool>,
    /// Last node that uses a value; `usize::MAX` for values that outlive the run.
    last_use: BTreeMap<Var, usize>,
    place: BTreeMap<Var, Place>,
    /// Parameters that are kept in 16 bits: what widens them, and the words that they take.
    narrow: BTreeMap<Var, (Arc<dyn Op>, usize)>,
    free: Vec<usize>,
    fit: Fit,
    /// Slots freed within the current group, with the length of their values; `None` if a step reads the slot whole.
    ended: Vec<(usize, Option<usize>)>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    pub fn new(
        graph: &'a Graph,
        request: &'a Request,
        layouts: &'a [&'a Layout],
        fit: Fit,
    ) -> Result<Self> {
        let mut planner = Planner {
            graph,
            request,
            layouts,
            live: vec![false; graph.nodes().len()],
            last_use: BTreeMap::new(),
            place: BTreeMap::new(),
            narrow: BTreeMap::new(),
            free: Vec::new(),
            fit,
            ended: Vec::new(),
            plan: Plan {
                steps: Vec::new(),
                groups: Vec::new(),
                slots: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
                layouts: layouts.iter().map(|&layout| layout.clone()).collect(),
                arenas: BTreeSet::new(),
            },
        };
        planner.mark_live();
        planner.place_grads()?;
        Ok(planner)
    }

    /// A node is live if an output, a gradient or an in-place change depends on it.
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
            let entry = self.entry(SetId::MAIN, name, self.graph.shape(*var))?;
            let place = Place::Arena(Arena::Grads.into(), entry.segment, entry.offset);
            if self.place.insert(self.graph.root(*var), place).is_some() {
                return Err(Error::Shape(format!(
                    "the gradient of {name} is shared with another parameter's"
                )));
            }
        }
        Ok(())
    }

    fn entry(&self, set: SetId, name: &str, shape: &Shape) -> Result<&'a Entry> {
        let layout = self.layouts.get(usize::from(set.0));
        match layout.and_then(|layout| layout.get(name)) {
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

    pub fn run(mut self) -> Result<Plan> {
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
                below: None,
            });
        }
        Ok(self.plan)
    }

    fn visit(&mut self, i: usize) -> Result<()> {
        let node = &self.graph.nodes()[i];
        let first = Var {
            node: NodeId(i as u32),
            out: 0,
        };
        match &node.kind {
            Kind::Reshape | Kind::StopGradient => {}
            Kind::Param(set, name) => {
                let entry = self.entry(*set, name, &node.outs[0].shape)?;
                let weights = self.request.weights.get(usize::from(set.0));
                let arena = *weights.unwrap_or(&Arena::Params);
                let layout = self.layouts.get(usize::from(set.0));
                let widen = layout.and_then(|layout| layout.widen(entry));
                self.narrow
                    .extend(widen.map(|widen| (first, (widen, entry.words()))));
                let place = self.arena(ArenaId { set: *set, arena }, entry.segment, entry.offset);
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
                    below: None,
                });
                self.place.insert(first, place);
            }
            Kind::Const(value) => {
                let place = self.own_slot(&node.outs[0], Use::Const(*value));
                self.place.insert(first, place);
            }
            Kind::Table(table) => {
                let place = self.own_slot(&node.outs[0], Use::Table(*table));
                self.place.insert(first, place);
            }
            Kind::Op(op) => self.visit_op(i, op)?,
        }
        Ok(())
    }

    fn visit_op(&mut self, i: usize, op: &Arc<dyn Op>) -> Result<()> {
        let node = &self.graph.nodes()[i];
        let mut widened = BTreeMap::new();
        for v in node.ins.iter().map(|v| self.graph.root(*v)) {
            if !widened.contains_key(&v)
                && let Some(widen) = self.narrow.get(&v).cloned()
            {
                widened.insert(v, self.widen(v, widen)?);
            }
        }
        let operand = |v: &Var| {
            let root = self.graph.root(*v);
            let place = widened.get(&root).map(|wide: &Operand| wide.place);
            Operand {
                place: place.unwrap_or_else(|| self.place[&root]),
                len: self.graph.shape(*v).numel(),
            }
        };
        let var = |out: usize| Var {
            node: NodeId(i as u32),
            out: out as u32,
        };
        // Unused trailing outputs are dropped if the operation supports it.
        let is_read = |&out: &usize| self.last_use.contains_key(&var(out));
        let n_read = (0..node.outs.len()).rfind(is_read).map_or(0, |out| out + 1);
        let (op, n_outs) = match op.first_outputs(n_read) {
            Some(op) if n_read < node.outs.len() => (op, n_read),
            _ => (op.clone(), node.outs.len()),
        };
        let out_types = &node.outs[..n_outs];
        let mut step = Step {
            ins: node.ins.iter().map(operand).collect(),
            outs: Vec::with_capacity(n_outs),
            in_types: node.ins.iter().map(|&v| self.graph.ty(v).clone()).collect(),
            out_types: out_types.to_vec(),
            op,
        };
        if let Some((index, rows)) = step.op.index_bound(&step.in_types) {
            let place = step.ins[index].place;
            let inputs = self.plan.inputs.iter_mut();
            for port in inputs.filter(|port| port.place == place) {
                port.below = Some(port.below.map_or(rows, |below| below.min(rows)));
            }
        }
        let to_arena = (0..n_outs).any(|o| self.place.contains_key(&var(o)));
        let samples = if to_arena { 1 } else { step.samples() };
        self.join_group(&step, samples);
        for (o, ty) in out_types.iter().enumerate() {
            let len = ty.shape.numel();
            let place = match self.place.get(&var(o)) {
                Some(&Place::Arena(arena, segment, offset)) => self.arena(arena, segment, offset),
                _ => Place::Slot(self.scratch_slot(len)),
            };
            self.place.insert(var(o), place);
            step.outs.push(Operand { place, len });
        }
        check_aliasing(&step)?;

        let own = (0..n_outs).map(|o| (var(o), step.outs[o].clone()));
        let read = node.ins.iter().map(|&v| self.graph.root(v));
        let mut ended: BTreeMap<Var, Operand> = own.chain(read.zip(step.ins.clone())).collect();
        self.plan.steps.push(step);
        // Freed only after the outputs are placed: an output never shares a buffer with an input of the same step.
        ended.retain(|v, _| self.last_use.get(v).is_none_or(|&last| last == i));
        // Widened again for the next operation that reads them.
        ended.extend(widened);
        for operand in ended.values() {
            self.end(operand);
        }
        Ok(())
    }

    /// Appends a step that widens a parameter into a slot.
    fn widen(&mut self, param: Var, (op, len): (Arc<dyn Op>, usize)) -> Result<Operand> {
        let place = self.place[&param];
        let ins = vec![Operand { place, len }];
        let in_types = vec![Type {
            shape: Shape::from([len]),
            elem: Elem::U32,
        }];
        let mut step = Step {
            outs: Vec::with_capacity(1),
            out_types: op.infer(&in_types)?,
            in_types,
            ins,
            op,
        };
        self.join_group(&step, 1);
        let len = step.out_types[0].shape.numel();
        let place = Place::Slot(self.scratch_slot(len));
        let wide = Operand { place, len };
        step.outs.push(wide.clone());
        self.plan.steps.push(step);
        Ok(wide)
    }

    /// Frees the slot of a value.
    fn end(&mut self, value: &Operand) {
        let (Some(slot), Some(group)) = (value.slot(), self.plan.groups.last()) else {
            return;
        };
        if self.plan.slots[slot].usage == Use::Scratch {
            let mut steps = self.plan.steps[group.steps.clone()].iter();
            let whole = steps.any(|step| step.reads_whole(slot));
            self.ended.push((slot, (!whole).then_some(value.len)));
        }
    }

    /// Adds the step to the current group, or starts a new group with it.
    fn join_group(&mut self, step: &Step, samples: usize) {
        let next = self.plan.steps.len();
        if let Some(group) = self.plan.groups.last_mut() {
            let whole = group.slots.iter().any(|&(slot, _)| step.reads_whole(slot));
            let room = group.slots.len() + step.out_types.len() <= MAX_GROUP_SLOTS;
            let (few, many) = (group.samples.min(samples), group.samples.max(samples));
            if few > 1 && many.is_multiple_of(few) && room && !whole {
                group.samples = few;
                group.steps.end = next + 1;
                return;
            }
        }
        self.free.extend(self.ended.drain(..).map(|(slot, _)| slot));
        self.plan.groups.push(Group {
            steps: next..next + 1,
            samples,
            slots: Vec::new(),
        });
    }

    fn arena(&mut self, arena: ArenaId, segment: usize, offset: usize) -> Place {
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

    /// Prefers a slot that was freed in this group and held values of the same length; otherwise the best fit among the free slots,
    /// growing the largest one if none is large enough.
    fn scratch_slot(&mut self, len: usize) -> usize {
        let slot = match self.ended.iter().position(|&(_, had)| had == Some(len)) {
            Some(i) => self.ended.swap_remove(i).0,
            None => self.free_slot(len),
        };
        let written = self.plan.groups.last_mut().map(|group| &mut group.slots);
        if let Some(written) = written
            && !written.contains(&(slot, len))
        {
            written.push((slot, len));
        }
        slot
    }

    fn free_slot(&mut self, len: usize) -> usize {
        let slots = &mut self.plan.slots;
        let is_close = |had: usize| had <= 2 * len && len <= 2 * had;
        let may = |&s: &usize| self.fit == Fit::Any || is_close(slots[s].len);
        let free = || self.free.iter().copied().filter(may);
        let fits = free()
            .filter(|&s| slots[s].len >= len)
            .min_by_key(|&s| (slots[s].len, s));
        let chosen = fits.or_else(|| free().max_by_key(|&s| (slots[s].len, s)));
        let Some(s) = chosen else {
            slots.push(Slot {
                len,
                elem: Elem::F32,
                usage: Use::Scratch,
            });
            return slots.len() - 1;
        };
        self.free.retain(|&f| f != s);
        slots[s].len = slots[s].len.max(len);
        s
    }
}

/// WebGPU: a buffer cannot be read and written in one dispatch, even in disjoint ranges.
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
