//! What operations dispatch on a GPU: every kernel is within the limits. No device is needed.

use sit_engine::graph::launch::{Dispatch, Limits, dispatches};
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Graph, Plan, Var};
use sit_engine::{Error, Result, ops};
use sit_shaders::MAX_WORKGROUPS;
use sit_tests::ops::{Bench, cases};
use std::collections::BTreeSet;

#[test]
fn every_kernel_is_launched_by_a_case_and_every_file_is_an_operation() -> Result<()> {
    let mut missing: BTreeSet<&str> = sit_shaders::ALL.iter().map(|kernel| kernel.name).collect();
    for (_, case) in cases() {
        for dispatch in dispatches(&Bench::new(&case).plan, &Limits::default())? {
            missing.remove(dispatch.kernel.name);
        }
    }
    assert_eq!(missing, BTreeSet::new());
    let files: BTreeSet<&str> = sit_shaders::ALL.iter().map(|kernel| kernel.stem).collect();
    assert_eq!(files, ops::ALL.iter().map(|(stem, _)| *stem).collect());
    Ok(())
}

/// Dispatches that make `var` on a device without limits on bindings.
fn without_limits(g: &Graph, var: Var) -> Result<Vec<Dispatch>> {
    let request = Request {
        outputs: vec![("y".into(), var)],
        ..Request::default()
    };
    let limits = Limits {
        binding_bytes: u64::MAX,
        buffer_bytes: u64::MAX,
    };
    dispatches(&Plan::new(g, &request, &[])?, &limits)
}

#[track_caller]
fn assert_limit(result: Result<Vec<Dispatch>>, parts: &[&str]) {
    match result {
        Err(Error::Limit(message)) => {
            let missing = parts.iter().find(|part| !message.contains(**part));
            assert_eq!(missing, None, "{message}");
        }
        other => panic!("{other:?}, expected a limit with {parts:?}"),
    }
}

#[test]
fn heads_larger_than_any_kernel_are_refused() -> Result<()> {
    let mut g = Graph::new();
    let qkv = g.input("qkv", [1, 4, 3 * 160]);
    let o = ops::attention::attention(&mut g, qkv, 1)?;
    assert_limit(without_limits(&g, o), &["attention_fwd", "160", "128"]);
    Ok(())
}

#[test]
fn tensors_that_a_kernel_cannot_count_are_refused() -> Result<()> {
    let mut g = Graph::new();
    let x = g.input("x", [1 << 16, 1 << 14, 2]);
    let y = ops::pointwise::silu(&mut g, x)?;
    assert_limit(without_limits(&g, y), &["pointwise_silu_fwd", "2147483648"]);
    Ok(())
}

#[test]
fn more_workgroups_than_an_axis_holds_are_refused() -> Result<()> {
    let mut g = Graph::new();
    let (x, w, b) = (
        g.input("x", [5_000_000, 8]),
        g.input("w", [8, 8]),
        g.input("b", [8]),
    );
    let y = ops::linear::linear(&mut g, x, w, b)?;
    assert_limit(without_limits(&g, y), &["linear_fwd_64", "78125", "65535"]);
    Ok(())
}

#[test]
fn a_long_grid_is_folded() -> Result<()> {
    let n = 1 << 27;
    let mut g = Graph::new();
    let x = g.input("x", [n]);
    let y = ops::pointwise::silu(&mut g, x)?;
    let dispatch = &without_limits(&g, y)?[0];
    let [x, y, z] = dispatch.grid.map(u64::from);
    let per_group = u64::from(dispatch.kernel.tile[0]);
    assert!(x <= MAX_WORKGROUPS.into() && z == 1);
    // All elements are covered, with less than one row of excess groups.
    assert!((n as u64..n as u64 + x * per_group).contains(&(x * y * per_group)));
    Ok(())
}
