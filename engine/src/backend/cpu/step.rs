//! Runs one step on the buffers of a program.

use super::{Held, Scalar};
use crate::graph::plan::{Operand, Place, Step};
use crate::graph::{CpuIo, MAX_ARGS};
use crate::num::{Buffer, Real};
use crate::shape::Elem;

/// Moves the buffers that the step writes out of their storage, runs the step, and moves them back: plain borrows, no copies.
pub(super) fn run<F: Scalar>(
    step: &Step,
    floats: &mut [Buffer<F>],
    ints: &[Vec<u32>],
    arenas: &mut Held<'_, F>,
) {
    let in_place = step.op.in_place();
    let mut taken: [Buffer<F>; MAX_ARGS] = Default::default();
    for (i, operand) in written(step).enumerate() {
        // Two written operands may be in one arena segment: the first entry then holds the buffer for both.
        taken[i] = std::mem::take(place_of(floats, arenas, &operand.place));
    }

    let mut parts = carve(step, &mut taken).into_iter();
    let mut outs: [&mut [F]; MAX_ARGS] = Default::default();
    outs.iter_mut()
        .zip(parts.by_ref().take(step.outs.len()))
        .for_each(|(to, from)| *to = from);
    let mut changed: [&mut [F]; MAX_ARGS] = Default::default();
    changed
        .iter_mut()
        .zip(parts)
        .for_each(|(to, from)| *to = from);

    let mut ins: [&[F]; MAX_ARGS] = Default::default();
    let mut ins_u32: [&[u32]; MAX_ARGS] = Default::default();
    for (i, (operand, ty)) in step.ins.iter().zip(&step.in_types).enumerate() {
        match operand.place {
            _ if in_place.contains(&i) => {}
            Place::Slot(slot) if ty.elem == Elem::U32 => ins_u32[i] = &ints[slot],
            Place::Slot(slot) => ins[i] = &floats[slot][..operand.len],
            Place::Arena(arena, segment, offset) => {
                let values = &arenas.get(arena, segment)[offset..][..operand.len];
                match ty.elem {
                    Elem::U32 => ins_u32[i] = F::words(values),
                    Elem::F32 => ins[i] = values,
                }
            }
        }
    }
    F::evaluate(
        &*step.op,
        CpuIo {
            in_types: &step.in_types,
            out_types: &step.out_types,
            ins,
            ins_u32,
            outs,
            in_place: changed,
        },
    );

    for (i, operand) in written(step).enumerate() {
        if !taken[i].is_empty() {
            *place_of(floats, arenas, &operand.place) = std::mem::take(&mut taken[i]);
        }
    }
}

/// The operands that a step writes: its outputs, then its in-place inputs.
fn written(step: &Step) -> impl Iterator<Item = &Operand> {
    step.outs
        .iter()
        .chain(step.op.in_place().iter().map(|&i| &step.ins[i]))
}

/// The range of each written operand in the taken buffers; operands in one buffer share the entry of the first of them.
fn carve<'a, F: Real>(
    step: &Step,
    taken: &'a mut [Buffer<F>; MAX_ARGS],
) -> [&'a mut [F]; MAX_ARGS] {
    let buffer = |place: &Place| match *place {
        Place::Slot(slot) => (None, slot, 0),
        Place::Arena(arena, segment, offset) => (Some(arena), segment, offset),
    };
    let mut ranges = [(0, 0, 0, 0); MAX_ARGS];
    let mut n = 0;
    for (i, operand) in written(step).enumerate() {
        let (arena, segment, offset) = buffer(&operand.place);
        let same = |o: &Operand| buffer(&o.place).0 == arena && buffer(&o.place).1 == segment;
        let home = written(step).position(same).unwrap_or(i);
        ranges[i] = (home, offset, operand.len, i);
        n += 1;
    }
    let ranges = &mut ranges[..n];
    ranges.sort_unstable();
    let mut parts: [&mut [F]; MAX_ARGS] = Default::default();
    let mut rest = taken.each_mut().map(|buffer| (0, &mut buffer[..]));
    for &mut (home, offset, len, i) in ranges {
        let (start, data) = std::mem::take(&mut rest[home]);
        let (part, tail) = data[offset - start..].split_at_mut(len);
        parts[i] = part;
        rest[home] = (offset + len, tail);
    }
    parts
}

fn place_of<'a, F: Real>(
    floats: &'a mut [Buffer<F>],
    arenas: &'a mut Held<'_, F>,
    place: &Place,
) -> &'a mut Buffer<F> {
    match *place {
        Place::Slot(slot) => &mut floats[slot],
        Place::Arena(arena, segment, _) => arenas.get_mut(arena, segment),
    }
}
