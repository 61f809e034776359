//! What operations launch: every kernel, bound as its WGSL declares, within the limits of a dispatch.

use crate::ops::{Bench, cases};
use sit_engine::Error;
use sit_engine::graph::{Arg, Graph, Io, Kind, Launch, Op, Var};
use sit_engine::ops::{self, Case};
use sit_engine::shape::{Elem, Type};
use sit_shaders::{Access, Binding, MAX_WORKGROUPS};
use std::collections::BTreeSet;
use std::sync::Arc;

/// All launches of a case with the types of their operands, forward and backward.
fn launches(case: &Case) -> Vec<(Arc<dyn Op>, Vec<Type>, Vec<Type>, Vec<Launch>)> {
    let of = |step: sit_engine::graph::plan::Step| {
        let io = Io {
            ins: &step.in_types,
            outs: &step.out_types,
        };
        let launches = step.op.launch(&io).expect("the sizes are small");
        (step.op, step.in_types, step.out_types, launches)
    };
    Bench::new(case).plan.steps.into_iter().map(of).collect()
}

#[test]
fn every_kernel_is_launched_by_a_case_and_every_file_is_an_operation() {
    let mut missing: BTreeSet<&str> = sit_shaders::ALL.iter().map(|kernel| kernel.name).collect();
    for (_, case) in cases() {
        for launch in launches(&case).iter().flat_map(|(.., launches)| launches) {
            missing.remove(launch.kernel.name);
        }
    }
    assert_eq!(missing, BTreeSet::new());
    let files: BTreeSet<&str> = sit_shaders::ALL.iter().map(|kernel| kernel.stem).collect();
    assert_eq!(files, ops::ALL.iter().map(|(stem, _)| *stem).collect());
}

#[test]
fn launches_bind_what_their_kernels_declare() {
    for (op, ins, outs, launches) in cases().flat_map(|(_, case)| launches(&case)) {
        let mut written = BTreeSet::new();
        for launch in &launches {
            let kernel = launch.kernel;
            let what =
                |binding: &Binding| format!("{op:?} {ins:?}: {}: {}", kernel.name, binding.name);
            let is_uniform = |b: &&Binding| b.access == Access::Uniform;
            let uniform: u32 = kernel
                .bindings
                .iter()
                .filter(is_uniform)
                .map(|b| b.size_bytes)
                .sum();
            assert_eq!(launch.dims.len(), uniform as usize, "{}", kernel.name);
            let storage = kernel.bindings.iter().filter(|b| !is_uniform(b));
            let bound: BTreeSet<&str> = launch.bind.iter().map(|(name, _)| *name).collect();
            assert_eq!(
                bound.len(),
                launch.bind.len(),
                "{}: bound twice",
                kernel.name
            );
            assert_eq!(
                bound,
                storage.clone().map(|b| b.name).collect(),
                "{}",
                kernel.name
            );
            for binding in storage {
                let arg = launch.bind.iter().find(|(name, _)| *name == binding.name);
                let (_, arg) = *arg.expect("compared above");
                let (ty, writes) = match arg {
                    Arg::In(i) => (&ins[i], op.in_place().contains(&i)),
                    // The first kernel that takes an output writes it; a later one may read it.
                    Arg::Out(i) => (
                        &outs[i],
                        !written.contains(&i) || binding.access == Access::ReadWrite,
                    ),
                };
                let elem = match binding.elem {
                    sit_shaders::Elem::U32 => Elem::U32,
                    _ => Elem::F32,
                };
                assert_eq!(ty.elem, elem, "{}", what(binding));
                assert_eq!(
                    binding.access == Access::ReadWrite,
                    writes,
                    "{}",
                    what(binding)
                );
                assert!(
                    ty.bytes().is_multiple_of(binding.size_bytes.into()),
                    "{}",
                    what(binding)
                );
                if let Arg::Out(i) = arg {
                    written.insert(i);
                }
            }
        }
        assert_eq!(
            written,
            (0..outs.len()).collect(),
            "{op:?} {ins:?}: outputs written"
        );
    }
}

/// Launches of the node that made `var`, whatever its size: no data is made.
fn launch_of(g: &Graph, var: Var) -> sit_engine::Result<Vec<Launch>> {
    let node = g
        .nodes()
        .iter()
        .rev()
        .find(|node| matches!(node.kind, Kind::Op(_)))
        .expect("an operation");
    assert_eq!(node.outs[0], *g.ty(var));
    let ins: Vec<Type> = node.ins.iter().map(|&v| g.ty(v).clone()).collect();
    let io = Io {
        ins: &ins,
        outs: &node.outs,
    };
    let Kind::Op(op) = &node.kind else {
        unreachable!("found above")
    };
    op.launch(&io)
}

#[track_caller]
fn assert_limit(result: sit_engine::Result<Vec<Launch>>, parts: &[&str]) {
    match result {
        Err(Error::Limit(message)) => {
            let missing = parts.iter().find(|part| !message.contains(**part));
            assert_eq!(missing, None, "{message}");
        }
        other => panic!("{other:?}, expected a limit with {parts:?}"),
    }
}

#[test]
fn heads_larger_than_any_kernel_are_refused() -> sit_engine::Result<()> {
    let mut g = Graph::new();
    let qkv = g.input("qkv", [1, 4, 3 * 160]);
    let o = ops::attention::attention(&mut g, qkv, 1)?;
    assert_limit(launch_of(&g, o), &["attention_fwd", "160", "128"]);
    Ok(())
}

#[test]
fn tensors_that_a_kernel_cannot_count_are_refused() -> sit_engine::Result<()> {
    let mut g = Graph::new();
    let x = g.input("x", [1 << 16, 1 << 14, 2]);
    let y = ops::pointwise::silu(&mut g, x)?;
    assert_limit(launch_of(&g, y), &["pointwise_silu_fwd", "2147483648"]);
    Ok(())
}

#[test]
fn more_workgroups_than_an_axis_holds_are_refused() -> sit_engine::Result<()> {
    let mut g = Graph::new();
    let (x, w, b) = (
        g.input("x", [5_000_000, 8]),
        g.input("w", [8, 8]),
        g.input("b", [8]),
    );
    let y = ops::linear::linear(&mut g, x, w, b)?;
    assert_limit(launch_of(&g, y), &["linear_fwd_64", "78125", "65535"]);
    Ok(())
}

#[test]
fn a_long_grid_is_folded() -> sit_engine::Result<()> {
    let n = 1 << 27;
    let mut g = Graph::new();
    let x = g.input("x", [n]);
    let y = ops::pointwise::silu(&mut g, x)?;
    let [launch] = &launch_of(&g, y)?[..] else {
        panic!("one launch")
    };
    let [x, y, z] = launch.grid.map(u64::from);
    let per_group = u64::from(launch.kernel.tile[0]);
    assert!(x <= MAX_WORKGROUPS.into() && z == 1);
    // All elements, and less than one row of groups too many.
    assert!((n as u64..n as u64 + x * per_group).contains(&(x * y * per_group)));
    Ok(())
}
