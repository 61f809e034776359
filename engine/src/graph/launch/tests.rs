use super::*;
use crate::graph::op::Sealed;
use crate::graph::plan::{Request, Use};
use crate::graph::{Arena, CpuIo, Define, Graph};
use crate::num::Real;
use crate::shape::Shape;
use sit_shaders::{ADALN_FWD, AdalnDims, LINEAR_FWD_64, LinearDims, POINTWISE_ADD, PointwiseDims};

/// An operation with given launches and outputs.
#[derive(Clone, Debug)]
struct Fake {
    launches: Vec<Launch>,
    outs: Vec<Type>,
    in_place: &'static [usize],
}

impl Sealed for Fake {}

impl Define for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn infer(&self, _: &[Type]) -> Result<Vec<Type>> {
        Ok(self.outs.clone())
    }
    fn in_place(&self) -> &'static [usize] {
        self.in_place
    }
    fn launch(&self, _: &Io) -> Result<Vec<Launch>> {
        Ok(self.launches.clone())
    }
    fn cpu<F: Real>(&self, _: CpuIo<'_, F>) {}
}

/// An operation without in-place inputs, whose outputs all have type `ty`.
fn fake(launches: Vec<Launch>, n_outs: usize, ty: &Type) -> Fake {
    Fake {
        launches,
        outs: vec![ty.clone(); n_outs],
        in_place: &[],
    }
}

fn plan(op: Fake, ins: &[Type]) -> Plan {
    let mut g = Graph::new();
    let vars: Vec<_> = ins
        .iter()
        .enumerate()
        .map(|(i, ty)| match ty.elem {
            Elem::F32 => g.input(format!("in{i}"), ty.shape.clone()),
            Elem::U32 => g.input_u32(format!("in{i}"), ty.shape.clone()),
        })
        .collect();
    let node = g.apply(op.clone(), &vars).unwrap();
    let outputs = (0..op.outs.len()).map(|o| (format!("out{o}"), g.var(node, o)));
    let request = Request {
        outputs: outputs.collect(),
        ..Request::default()
    };
    Plan::new(&g, &request, &[]).unwrap()
}

fn add() -> Launch {
    let grid = POINTWISE_ADD.grid_flat(5);
    Launch::new(&POINTWISE_ADD, &PointwiseDims { n: 5 }, grid)
}

/// The error message for a single launch with inputs `[5]`, `[5]` and one output `[5]`.
fn refusal(launch: Launch) -> String {
    refused(&plan_of(launch), &Limits::default()).to_string()
}

fn plan_of(launch: Launch) -> Plan {
    let ty = Type::f32([5]);
    plan(fake(vec![launch], 1, &ty), &[ty.clone(), ty])
}

fn refused(plan: &Plan, limits: &Limits) -> Error {
    dispatches(plan, limits).expect_err("it is refused")
}

#[test]
fn a_right_launch_is_resolved() {
    let launch = add().output("y", 0).input("b", 1).input("a", 0);
    let all = dispatches(&plan_of(launch), &Limits::default()).unwrap();
    let [one] = &all[..] else {
        panic!("one launch");
    };
    assert_eq!((one.step, one.kernel.name), (0, "pointwise_add"));
    assert_eq!((one.grid, &one.dims[..]), ([1, 1, 1], &[5, 0, 0, 0][..]));
    let places: Vec<_> = one.bind.iter().map(|(i, o)| (*i, o.place, o.len)).collect();
    let slot = Place::Slot;
    assert_eq!(places, [(3, slot(2), 5), (2, slot(1), 5), (1, slot(0), 5)]);
}

#[test]
fn names_are_checked() {
    let full = || add().input("a", 0).input("b", 1).output("y", 0);
    for (launch, reason) in [
        (add().input("a", 0).output("y", 0), "b is not bound"),
        (
            full().input("c", 1),
            "there is no storage binding c, only a, b, y",
        ),
        (
            full().input("dims", 1),
            "there is no storage binding dims, only a, b, y",
        ),
        (full().input("a", 1), "a is bound twice"),
        (
            add().input("a", 0).input("b", 2).output("y", 0),
            "b takes input 2 of 2",
        ),
        (
            add().input("a", 0).input("b", 1).output("y", 1),
            "y takes output 1 of 1",
        ),
    ] {
        assert_eq!(refusal(launch), format!("fake: pointwise_add: {reason}"));
    }
}

#[test]
fn access_is_checked() {
    for (launch, reason) in [
        (
            add().input("a", 0).input("b", 0).input("y", 1),
            "y is written, but input 1 may only be read",
        ),
        (
            add().output("a", 0).input("b", 1).output("y", 0),
            "a reads output 0 before it is written",
        ),
    ] {
        assert_eq!(refusal(launch), format!("fake: pointwise_add: {reason}"));
    }
    let ty = Type::f32([5]);
    let ins = [ty.clone(), ty.clone()];
    let launch = add().input("a", 0).input("b", 1).output("y", 0);
    let second = plan(fake(vec![launch.clone()], 2, &ty), &ins);
    assert_eq!(
        refused(&second, &Limits::default()).to_string(),
        "fake: no launch writes output 1"
    );
    let none = plan(fake(vec![], 1, &ty), &ins);
    assert_eq!(
        refused(&none, &Limits::default()).to_string(),
        "fake: no launch writes output 0"
    );
    let mut unchanged = fake(vec![launch], 1, &ty);
    unchanged.in_place = &[1];
    assert_eq!(
        refused(&plan(unchanged, &ins), &Limits::default()).to_string(),
        "fake: no launch writes in-place input 1"
    );
}

#[test]
fn a_later_launch_may_read_what_an_earlier_one_wrote() {
    let ty = Type::f32([5]);
    let first = add().input("a", 0).input("b", 1).output("y", 0);
    let second = add().output("a", 0).input("b", 1).output("y", 1);
    let ins = [ty.clone(), ty.clone()];
    let good = plan(fake(vec![first.clone(), second.clone()], 2, &ty), &ins);
    assert_eq!(dispatches(&good, &Limits::default()).unwrap().len(), 2);
    let bad = plan(fake(vec![second, first], 2, &ty), &ins);
    refused(&bad, &Limits::default());
}

#[test]
fn aliasing_is_refused() {
    let ty = Type::f32([5]);
    let mut op = fake(
        vec![add().input("a", 0).input("b", 1).input("y", 0)],
        0,
        &ty,
    );
    op.in_place = &[0];
    let both = plan(op, &[ty.clone(), ty.clone()]);
    assert_eq!(
        refused(&both, &Limits::default()).to_string(),
        "fake: pointwise_add: a and y share a buffer and one of them is written"
    );

    let dims = AdalnDims {
        rows: 1,
        tokens: 1,
        dim: 5,
        centered: 1,
        eps: 1e-6,
    };
    let launch = Launch::new(&ADALN_FWD, &dims, [1, 1, 1])
        .input("x", 0)
        .input("shift", 1)
        .input("scale", 1)
        .output("y", 0)
        .output("stats", 1);
    let mut two = plan(fake(vec![launch], 2, &ty), &[ty.clone(), ty]);
    dispatches(&two, &Limits::default()).unwrap();
    let place = |offset| Place::Arena(Arena::Grads.into(), 0, offset);
    two.steps[0].outs[0].place = place(0);
    two.steps[0].outs[1].place = place(64);
    dispatches(&two, &Limits::default()).expect("disjoint ranges may both be written");
    two.steps[0].outs[1].place = place(0);
    refused(&two, &Limits::default());
    // Reading one range and writing another of the same buffer: WebGPU tracks whole buffers.
    two.steps[0].outs[1].place = place(64);
    two.steps[0].ins[0].place = place(128);
    refused(&two, &Limits::default());
}

#[test]
fn sizes_and_types_are_checked() {
    let full = || add().input("a", 0).input("b", 1).output("y", 0);
    let mut launch = full();
    launch.dims.push(0);
    assert_eq!(
        refusal(launch),
        "fake: pointwise_add: the uniform block has 5 bytes, expected 4"
    );
    let mut launch = full();
    launch.grid = [1, 0, 1];
    assert!(refusal(launch).contains("[1, 0, 1]"));
    let mut launch = full();
    launch.grid = [1, 1, 65_536];
    let error = refused(&plan_of(launch), &Limits::default());
    assert!(matches!(&error, Error::Limit(_)), "{error}");
    assert!(error.to_string().contains("65535"), "{error}");

    let ty = Type::f32([5]);
    let labels = plan(fake(vec![full()], 1, &ty), &[Type::u32([5]), ty.clone()]);
    assert_eq!(
        refused(&labels, &Limits::default()).to_string(),
        "fake: pointwise_add: a takes F32, got u32[5]"
    );
    let mut short = plan_of(full());
    short.steps[0].ins[0].len = 4;
    assert_eq!(
        refused(&short, &Limits::default()).to_string(),
        "fake: pointwise_add: a [5] lies in 4 elements"
    );
    let mut odd = plan_of(full());
    odd.steps[0].ins[0].place = Place::Arena(Arena::Params.into(), 0, 5);
    assert!(
        refused(&odd, &Limits::default())
            .to_string()
            .contains("offset 5")
    );

    let dims = LinearDims { m: 1, n: 6, k: 4 };
    let linear = Launch::new(&LINEAR_FWD_64, &dims, [1, 1, 1])
        .input("x", 0)
        .input("w", 1)
        .input("b", 2)
        .output("y", 0);
    let ins = [Type::f32([1, 4]), Type::f32([6, 4]), Type::f32([6])];
    let wide = plan(fake(vec![linear], 1, &Type::f32([1, 6])), &ins);
    assert!(
        refused(&wide, &Limits::default())
            .to_string()
            .contains("b [6] is read four at a time")
    );
}

#[test]
fn tensors_over_the_limits_are_named() {
    let shape: Shape = [16, 16, 384, 512].into();
    let ty = Type::f32(shape);
    let launch = add().input("a", 0).input("b", 1).output("y", 0);
    let plan = plan(fake(vec![launch], 1, &ty), &[ty.clone(), ty]);
    assert_eq!(plan.slots[0].usage, Use::Input);
    let error = refused(&plan, &Limits::default());
    assert_eq!(
        error,
        Error::Limit(
            "fake: a [16, 16, 384, 512] needs 192 MiB: over the 128 MiB binding limit of this device; use a smaller batch or `backend` cpu".into()
        )
    );
    let limits = Limits {
        binding_bytes: 192 << 20,
        buffer_bytes: 192 << 20,
    };
    dispatches(&plan, &limits).expect("exactly at the limit");
    let limits = Limits {
        buffer_bytes: 128 << 20,
        ..limits
    };
    assert!(
        refused(&plan, &limits)
            .to_string()
            .contains("128 MiB buffer limit")
    );
}
