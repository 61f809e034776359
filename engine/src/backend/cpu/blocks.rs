//! Runs a group of steps by blocks of samples: the output of one step is still in the core's cache for the next, and the threads
//! synchronize once per group instead of once per step.

use super::{Held, Scalar};
use crate::graph::plan::{Group, MAX_GROUP_SLOTS, Operand, Place, Plan, Step};
use crate::graph::{CpuIo, MAX_ARGS};
use crate::num::Buffer;
use crate::num::par::{self, rows_mut};
use crate::shape::{Elem, Type};

/// Minimum rows (tokens) of a block: every block packs the weights again.
const ROWS: usize = 512;

/// Types of a step's inputs and outputs.
type Types = (Vec<Type>, Vec<Type>);

/// How a group is split into blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Samples per block; the last one may have fewer.
    samples: usize,
    /// Types of each step's operands for one block.
    types: Vec<Types>,
    /// The same for a shorter last block.
    last_types: Vec<Types>,
}

impl Blocks {
    /// As many blocks as threads, or a multiple; `None` if the blocks would be too short.
    pub fn new(plan: &Plan, group: &Group) -> Option<Self> {
        let steps = &plan.steps[group.steps.clone()];
        if steps.len() < 2 {
            return None;
        }
        let rows = |step: &Step| step.out_types[0].shape.rows() / group.samples;
        let rows = steps.iter().map(rows).max().unwrap_or(1).max(1);
        let threads = par::threads();
        let n_blocks = group.samples / ROWS.div_ceil(rows) / threads * threads;
        if n_blocks == 0 {
            return None;
        }
        let samples = group.samples.div_ceil(n_blocks);
        let types = |samples| steps.iter().map(|s| types(s, group, samples)).collect();
        Some(Blocks {
            samples,
            types: types(samples),
            last_types: types(group.samples % samples),
        })
    }

    /// Runs the steps on all samples.
    pub fn run<F: Scalar>(
        &self,
        group: &Group,
        steps: &[Step],
        floats: &mut [Buffer<F>],
        ints: &[Vec<u32>],
        arenas: &Held<'_, F>,
    ) {
        let mut taken: [Buffer<F>; MAX_GROUP_SLOTS] = Default::default();
        for (to, &(slot, _)) in taken.iter_mut().zip(&group.slots) {
            *to = std::mem::take(&mut floats[slot]);
        }
        let mut lens = group.slots.iter().map(|&(_, len)| len);
        let written = taken.each_mut().map(|buffer| {
            let len = lens.next().unwrap_or(0);
            rows_mut(&mut buffer[..len], len / group.samples)
        });
        let read = &*floats;
        par::for_rows(written, self.samples, |first, mut written| {
            let block = Block {
                group,
                first,
                samples: self.samples.min(group.samples - first),
                floats: read,
                ints,
                arenas,
            };
            let whole = block.samples == self.samples;
            let types = if whole { &self.types } else { &self.last_types };
            par::alone(|| {
                for (step, types) in steps.iter().zip(types) {
                    block.run(step, types, &mut written);
                }
            });
        });
        for (from, &(slot, _)) in taken.iter_mut().zip(&group.slots) {
            floats[slot] = std::mem::take(from);
        }
    }
}

/// Types of the step's operands for a block of `samples` samples.
fn types(step: &Step, group: &Group, samples: usize) -> Types {
    let cut = |ty: &Type| Type {
        shape: ty.shape.with_first(ty.shape[0] / group.samples * samples),
        elem: ty.elem,
    };
    let ins = step.in_types.iter().enumerate();
    let ins = ins.map(|(i, ty)| if step.shares(i) { ty.clone() } else { cut(ty) });
    (ins.collect(), step.out_types.iter().map(cut).collect())
}

/// A block of samples of a group.
struct Block<'a, F> {
    group: &'a Group,
    first: usize,
    samples: usize,
    /// Slots that no step of the group writes.
    floats: &'a [Buffer<F>],
    ints: &'a [Vec<u32>],
    arenas: &'a Held<'a, F>,
}

impl<F: Scalar> Block<'_, F> {
    /// Runs the step on this block's samples.
    fn run(&self, step: &Step, types: &Types, written: &mut [&mut [F]; MAX_GROUP_SLOTS]) {
        let mut taken: [&mut [F]; MAX_ARGS] = Default::default();
        for (to, operand) in taken.iter_mut().zip(&step.outs) {
            *to = std::mem::take(&mut written[self.place(operand)]);
        }
        let mut outs: [&mut [F]; MAX_ARGS] = Default::default();
        for (to, from) in outs.iter_mut().zip(&mut taken) {
            *to = from;
        }
        let mut ins: [&[F]; MAX_ARGS] = Default::default();
        let mut ins_u32: [&[u32]; MAX_ARGS] = Default::default();
        for (i, (operand, ty)) in step.ins.iter().zip(&step.in_types).enumerate() {
            let one = operand.len / self.group.samples;
            let range = if step.shares(i) {
                0..operand.len
            } else {
                self.first * one..(self.first + self.samples) * one
            };
            match operand.place {
                Place::Slot(slot) if ty.elem == Elem::U32 => ins_u32[i] = &self.ints[slot][range],
                Place::Slot(slot) => {
                    ins[i] = match self.group.place(slot) {
                        Some(place) => &*written[place],
                        None => &self.floats[slot][range],
                    }
                }
                Place::Arena(arena, segment, offset) => {
                    ins[i] = &self.arenas.get(arena, segment)[offset..][range];
                }
            }
        }
        F::evaluate(
            &*step.op,
            CpuIo {
                in_types: &types.0,
                out_types: &types.1,
                ins,
                ins_u32,
                outs,
                in_place: Default::default(),
            },
        );
        for (from, operand) in taken.into_iter().zip(&step.outs) {
            written[self.place(operand)] = from;
        }
    }

    /// Index of an output's slot in the group's list.
    fn place(&self, out: &Operand) -> usize {
        let place = out.slot().and_then(|slot| self.group.place(slot));
        place.expect("a group lists the slots that it writes")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Arenas, Program};
    use super::*;
    use crate::graph::Arena;
    use crate::model::Dit;
    use crate::ops;
    use crate::train::Trainer;

    fn wave(len: usize, step: f64) -> Vec<f64> {
        // Without a 0, so that no operation divides 0 by 0.
        (0..len).map(|i| ((i as f64 + 0.5) * step).sin()).collect()
    }

    /// The outputs of an operation for inputs of these types, integers below 2.
    fn outputs(step: &Step, types: &Types, ins: &[&[f64]], ints: &[&[u32]]) -> Vec<Vec<f64>> {
        let (in_types, out_types) = types;
        let sizes = out_types.iter().map(|ty| ty.shape.numel());
        let mut buffers: Vec<Vec<f64>> = sizes.map(|n| vec![f64::NAN; n]).collect();
        let mut io = CpuIo {
            in_types,
            out_types,
            ins: Default::default(),
            ins_u32: Default::default(),
            outs: Default::default(),
            in_place: Default::default(),
        };
        io.ins[..ins.len()].copy_from_slice(ins);
        io.ins_u32[..ints.len()].copy_from_slice(ints);
        for (to, from) in io.outs.iter_mut().zip(&mut buffers) {
            *to = from;
        }
        step.op.cpu_f64(io);
        buffers
    }

    #[test]
    fn operations_that_keep_samples_apart_do_so() {
        let mut checked = std::collections::BTreeSet::new();
        let cases = ops::ALL.iter().flat_map(|(_, cases)| cases());
        let cases = cases.map(|case| Step {
            out_types: case.op.infer(&case.ins).unwrap(),
            op: case.op,
            ins: vec![],
            outs: vec![],
            in_types: case.ins,
        });
        for step in cases.chain(plan(3).steps) {
            let group = Group {
                steps: 0..1,
                samples: step.samples(),
                slots: vec![],
            };
            if group.samples < 2 {
                continue;
            }
            checked.insert(step.op.name());
            let lens = || step.in_types.iter().map(|ty| ty.shape.numel());
            let floats: Vec<Vec<f64>> = lens().map(|n| wave(n, 0.37 + n as f64)).collect();
            let ints: Vec<Vec<u32>> = lens()
                .map(|n| (0..n).map(|i| i as u32 % 2).collect())
                .collect();
            let cut = |first: usize, samples: usize, i: usize, len: usize| {
                let one = len / group.samples;
                if step.shares(i) {
                    0..len
                } else {
                    first * one..(first + samples) * one
                }
            };
            let run = |first: usize, samples: usize| {
                let ins: Vec<&[f64]> = floats
                    .iter()
                    .enumerate()
                    .map(|(i, x)| &x[cut(first, samples, i, x.len())])
                    .collect();
                let ints: Vec<&[u32]> = ints
                    .iter()
                    .enumerate()
                    .map(|(i, x)| &x[cut(first, samples, i, x.len())])
                    .collect();
                outputs(&step, &types(&step, &group, samples), &ins, &ints)
            };
            let whole = run(0, group.samples);
            for sample in 0..group.samples {
                for (out, whole) in run(sample, 1).iter().zip(&whole) {
                    let at = sample * out.len();
                    let whole = &whole[at..at + out.len()];
                    assert!(out == whole, "sample {sample} of {:?}", step.op);
                }
            }
        }
        assert!(checked.len() >= 24, "{checked:?}");
    }

    fn plan(batch: usize) -> Plan {
        let training = Trainer::builder(Dit {
            input_size: 8,
            channels: 1,
            patch: 1,
            dim: 16,
            depth: 3,
            n_heads: 2,
            n_classes: 3,
            learn_sigma: true,
            ..Dit::SIT
        })
        .batch(batch);
        let blueprint = training.blueprint(u64::MAX).unwrap();
        training.plans(&blueprint).unwrap().grad
    }

    /// The guarantee that [`Group`] documents.
    #[test]
    fn samples_of_a_group_share_no_place() {
        let plan = plan(6);
        let mut longest = 0;
        let mut next = 0;
        for group in &plan.groups {
            assert_eq!(group.steps.start, next);
            next = group.steps.end;
            let steps = &plan.steps[group.steps.clone()];
            longest = longest.max(steps.len());
            if group.samples == 1 {
                assert_eq!(steps.len(), 1);
                continue;
            }
            assert!(group.slots.len() <= MAX_GROUP_SLOTS);
            for step in steps {
                assert!(step.samples().is_multiple_of(group.samples));
                let ins = step.ins.iter().enumerate();
                let own = ins.filter(|&(i, _)| !step.shares(i)).map(|(_, o)| o);
                for operand in own.chain(&step.outs) {
                    let place = operand.slot().and_then(|slot| group.place(slot));
                    assert!(place.is_none_or(|p| group.slots[p].1 == operand.len));
                }
                for out in &step.outs {
                    assert!(out.slot().is_some_and(|slot| group.place(slot).is_some()));
                }
                assert!(!group.slots.iter().any(|&(slot, _)| step.reads_whole(slot)));
            }
        }
        assert_eq!(next, plan.steps.len());
        assert!(longest >= 8, "groups of a block of the network");
    }

    #[test]
    fn blocks_change_no_bit() {
        // With equal blocks, and with a shorter last one.
        for (batch, threads) in [(24, 1), (25, 1), (25, 2), (25, 3)] {
            let whole = plan(batch);
            let mut steps = whole.clone();
            steps.groups = (0..whole.steps.len())
                .map(|i| Group {
                    steps: i..i + 1,
                    samples: 1,
                    slots: vec![],
                })
                .collect();
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let run = |plan: Plan| {
                let kinds: Vec<Arena> = plan.arenas.iter().map(|id| id.arena).collect();
                let arenas = Arenas::<f32>::new(&plan.layouts[0], &kinds);
                for (i, entry) in plan.layouts[0].entries().iter().enumerate() {
                    let values = wave(entry.shape.numel(), 0.1 + i as f64);
                    let values: Vec<f32> = values.iter().map(|&x| 0.2 * x as f32).collect();
                    arenas.write(Arena::Params, &entry.name, &values).unwrap();
                }
                let mut program =
                    Program::new(plan.clone(), std::slice::from_ref(&arenas)).unwrap();
                let inputs = plan.inputs.iter().zip(1..);
                for (port, i) in inputs {
                    let n = port.ty.shape.numel();
                    let x: Vec<f32> = wave(n, f64::from(i)).iter().map(|&x| x as f32).collect();
                    match port.ty.elem {
                        Elem::F32 => program.write(&port.name, &x).unwrap(),
                        Elem::U32 => program.write_u32(&port.name, &vec![1; n]).unwrap(),
                    }
                }
                let blocks = program.blocks.iter().flatten().count();
                program.run().unwrap();
                program.run().unwrap();
                let grads = plan.layouts[0].entries().iter();
                let grads = grads.map(|e| arenas.read(Arena::Grads, &e.name).unwrap());
                (
                    grads
                        .chain([program.read("loss").unwrap()])
                        .collect::<Vec<_>>(),
                    blocks,
                )
            };
            let ((got, blocks), (want, none)) = pool.install(|| (run(whole), run(steps)));
            assert!(blocks >= 5 && none == 0);
            assert!(want.iter().flatten().all(|x| x.is_finite()));
            let bits =
                |x: &[Vec<f32>]| -> Vec<u32> { x.iter().flatten().map(|x| x.to_bits()).collect() };
            assert_eq!(bits(&got), bits(&want), "{batch} on {threads}");
        }
    }
}
