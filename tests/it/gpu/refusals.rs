//! Which GPU is opened, and what programs, arenas and plans on it refuse.

use super::{no_arenas, own, plan, program, shift, text};
use pollster::block_on;
use sit_engine::backend::gpu::{Gpu, list};
use sit_engine::backend::{Arenas, Checks, Choice, Device, Options};
use sit_engine::error::Error;
use sit_engine::graph::plan::Request;
use sit_engine::graph::{Arena, Graph, Layout, Plan};
use sit_engine::ops::{embed, gather, linear, pointwise};
use sit_tests::{gpu, gpus};
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn the_software_adapter_is_taken_only_when_asked_for() {
    let device = Device::open(Choice::Auto).unwrap();
    let text = device.to_string().to_lowercase();
    assert!(
        !text.contains("llvmpipe") && !text.contains("software"),
        "{text}"
    );
}

#[test]
fn a_software_adapter_is_refused_by_name_and_reason() {
    match block_on(Gpu::open(false, Checks::Off)) {
        Ok(gpu) => assert!(!gpu.is_software(), "{gpu}"),
        Err(Error::Device(text)) => {
            let software = own();
            let name = software.to_string();
            assert!(
                software.is_software() && name.contains("software"),
                "{name}"
            );
            assert!(text.contains(&name), "{text} does not name {name}");
            assert!(text.contains("`backend` cpu"), "{text}");
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// The host checks for a request to stop while it waits. The GPU may be slow or fast: each wait checks at least once.
#[test]
fn a_wait_that_is_given_up_ends_the_device() {
    let own = own();
    let asked = AtomicU32::new(0);
    own.give_up_when(move |_| asked.fetch_add(1, Ordering::Relaxed) == 2);
    let device = Device::Gpu(own);
    let n = 1024;
    let mut g = Graph::new();
    let [x, w] = ["x", "w"].map(|name| g.input(name, [n, n]));
    let b = g.input("b", [n]);
    let y = linear::linear(&mut g, x, w, b).unwrap();
    let mut p = program(&device, plan(&g, &[("y", y)]));
    let ended = (0..3).find_map(|_| {
        p.run().unwrap();
        block_on(p.read("y")).err()
    });
    let refusal = ended.expect("the third question is answered with yes");
    assert!(refusal.to_string().contains("was given up"), "{refusal}");
    assert_eq!(p.run(), Err(refusal.clone()));
    assert_eq!(block_on(p.read("y")), Err(refusal));
}

/// A GPU is chosen as on the command line.
#[test]
fn a_gpu_is_chosen_by_number_or_name() {
    let listed = list().unwrap();
    let usable = listed.iter().position(|gpu| gpu.refused.is_none());
    let at = usable.expect("the shared device is among them");
    let open = |choice, gpu: &str| {
        Device::open(Options {
            choice,
            gpu: Some(gpu.into()),
            ..Options::default()
        })
    };
    for name in [
        &at.to_string(),
        &listed[at].name,
        &listed[at].name.to_uppercase(),
    ] {
        let device = open(Choice::Auto, name).unwrap();
        assert_eq!(device.to_string(), listed[at].name);
    }
    for name in ["no-such-card", "4096", "-1"] {
        let Err(Error::Config(refusal)) = open(Choice::Gpu, name) else {
            panic!("{name} is refused");
        };
        assert!(refusal.contains(&format!("{name:?}")), "{refusal}");
        assert!(refusal.contains(&listed[at].name), "{refusal}");
    }
    let refusal = text(open(Choice::Cpu, "0"));
    assert!(refusal.contains("the backend is cpu"), "{refusal}");
}

/// The CPU would panic at such a label, a kernel would read the table's last row.
#[test]
fn a_label_past_its_table_is_refused_alike_everywhere() {
    let mut g = Graph::new();
    let (table, y) = (g.input("table", [4, 3]), g.input_u32("y", [2]));
    let smaller = g.input("smaller", [3, 3]);
    let e = gather::gather(&mut g, table, y).unwrap();
    let f = gather::gather(&mut g, smaller, y).unwrap();
    let plans = [
        (plan(&g, &[("e", e)]), 3),
        (plan(&g, &[("e", e), ("f", f)]), 2),
    ];
    let [unchecked, checked] = gpus();
    for device in [&Device::Cpu, unchecked, checked] {
        for (plan, last) in &plans {
            let mut p = program(device, plan.clone());
            p.write_u32("y", &[0, *last]).unwrap();
            p.run().unwrap();
            assert_eq!(
                p.write_u32("y", &[*last, last + 1]),
                Err(Error::Config(format!(
                    "y: element 1 is {0}, expected less than {0}, the rows of its table",
                    last + 1
                )))
            );
            p.run().unwrap();
        }
    }
}

/// A plan's fields are public, but its shaders run without runtime checks.
#[test]
fn a_plan_whose_types_were_changed_is_refused() {
    let mut g = Graph::new();
    let (x, pos) = (g.input("x", [2, 3, 4]), g.input("pos", [3, 4]));
    let y = embed::embed_pos(&mut g, x, pos).unwrap();
    let good = plan(&g, &[("y", y)]);
    let mut short = good.clone();
    short.steps[0].in_types[1].shape = [2, 4].into();
    short.steps[0].ins[1].len = 8;
    let mut long = good.clone();
    long.steps[0].out_types[0].shape = [2, 3, 5].into();
    long.steps[0].outs[0].len = 30;
    for bad in [short, long] {
        let refusal = text(gpu().program(bad, &[]));
        assert!(refusal.starts_with("embed_pos_fwd: "), "{refusal}");
    }
    gpu().program(good, &[]).unwrap();
}

#[test]
fn wrong_names_lengths_and_types_are_refused() {
    let mut p = program(gpu(), shift(5, 1.0));
    assert_eq!(
        text(p.write("z", &[0.0; 5])),
        "the program has no input z; it has x"
    );
    assert_eq!(text(p.write("x", &[0.0; 4])), "x got 4 values, expected 5");
    assert_eq!(
        text(p.write_u32("x", &[0; 5])),
        "input x is [5], not a tensor of U32"
    );
    assert_eq!(
        text(block_on(p.read("x"))),
        "the program has no output x; it has y"
    );
    assert_eq!(
        text(p.feed("x", "y")),
        "the program has no output x; it has y"
    );

    let mut g = Graph::new();
    let (a, b) = (g.input("a", [4]), g.input("b", [2, 2]));
    let y = pointwise::add(&mut g, a, a).unwrap();
    let z = pointwise::add(&mut g, b, b).unwrap();
    let mut p = program(gpu(), plan(&g, &[("y", y), ("z", z)]));
    assert_eq!(text(p.feed("y", "b")), "output y is [4], input b is [2, 2]");

    let layout = Layout::new(&[("w".into(), [3].into())], 1 << 20).unwrap();
    let arenas = gpu().arenas(&layout, &[Arena::Params]).unwrap();
    assert_eq!(
        text(arenas.write(Arena::Params, "v", &[])),
        "there is no parameter v"
    );
    assert_eq!(
        text(arenas.write(Arena::Params, "w", &[0.0])),
        "w got 1 values, expected 3"
    );
    assert_eq!(
        text(block_on(arenas.read(Arena::Ema, "w"))),
        "there is no arena Ema"
    );
}

#[test]
fn arenas_of_another_layout_device_or_kind_are_refused() {
    let mut g = Graph::new();
    let w = g.param("w", [3]);
    let y = pointwise::add(&mut g, w, w).unwrap();
    let request = Request {
        outputs: vec![("y".into(), y)],
        ..Request::default()
    };
    let layout = Layout::new(&[("w".into(), [3].into())], 1 << 20).unwrap();
    let plan = Plan::new(&g, &request, &[&layout]).unwrap();
    let refusal = |arenas: &Arenas| text(gpu().program(plan.clone(), &[arenas]));
    assert_eq!(
        refusal(&no_arenas(gpu())),
        "the arenas have another layout than the program"
    );
    assert_eq!(
        refusal(&gpu().arenas(&layout, &[Arena::Grads]).unwrap()),
        "the program uses the arena Params, which was not allocated"
    );
    let other = Device::Gpu(own());
    let other = other.arenas(&layout, &[Arena::Params]).unwrap();
    assert_eq!(refusal(&other), "the arenas belong to another device");
    let cpu = Device::Cpu.arenas(&layout, &[Arena::Params]).unwrap();
    assert_eq!(refusal(&cpu), "the arenas belong to another device");
}
