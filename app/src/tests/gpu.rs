//! A test with the engine on the GPU that draws the window. Here that is a software adapter, which a window would not use to
//! compute, so the test has few samples and few steps.

use super::{cursor, go_to, shot, still, until, with_background};
use crate::device::share;
use crate::state::{LanesAction, Layout, Quantity, Record, Settings, State, ViewAction, ode, sde};
use crate::twins::Twins;
use crate::{App, Start};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use pollster::block_on;
use sit_engine::transport::{Diffusion, Method, SdeMethod};
use std::sync::Arc;

const SAMPLES: usize = 6;
const STEPS: u32 = 4;

/// A window of small lanes on the GPU that draws it.
fn open() -> Harness<'static, App> {
    let mut state = State::default();
    let lanes = [
        ode(Method::Euler, STEPS),
        sde(SdeMethod::Euler, Diffusion::default(), STEPS),
    ];
    for (lane, sampler) in lanes.into_iter().enumerate() {
        let mut settings = Settings {
            sampler,
            ..Settings::default()
        };
        // The first lane has both outputs of guidance, the second one noise.
        settings.guidance.scale = if lane == 0 { 1.5 } else { 1.0 };
        state.apply(LanesAction::SetLane(lane, settings));
    }
    state.apply(LanesAction::SetSamples(SAMPLES));
    let start = Start {
        link: Some(state.link().encode()),
        reduced_motion: true,
        ..Start::default()
    };
    let builder = Harness::builder()
        .with_size([1280.0, 800.0])
        .with_step_dt(1.0 / 60.0)
        .wgpu();
    let mut harness = with_background(builder.build_eframe(|cc| {
        let render = cc.wgpu_render_state.clone().expect("wgpu draws");
        App::on(share(&render), cc, start).expect("a thread")
    }));
    all_done(&mut harness);
    harness
}

fn all_done(harness: &mut Harness<'_, App>) {
    until(harness, "the network", |app| app.state().n_steps() > 0);
    go_to(harness, STEPS as usize);
    until(harness, "all steps", |app| {
        let mut records = app.state().records.iter();
        records.all(|record| record.frames.len() == record.steps.len())
    });
}

fn uploaded(harness: &Harness<'_, App>) -> u64 {
    harness.state().pictures.uploaded_bytes()
}

fn twins(harness: &Harness<'_, App>) -> Twins {
    let painter = harness.state().pictures.painter.as_ref();
    painter.expect("the GPU is shared").twins.clone()
}

fn arrays(record: &Record) -> Vec<Arc<[f32]>> {
    let mut arrays = vec![Arc::clone(&record.start)];
    for frame in &record.frames {
        let more = frame.uncond.iter().chain(&frame.noise);
        arrays.extend(
            [&frame.x, &frame.cond]
                .into_iter()
                .chain(more)
                .map(Arc::clone),
        );
    }
    arrays
}

#[test]
fn lanes_on_the_gpu_that_draws_are_never_uploaded() {
    let mut harness = open();
    assert!(!harness.state().device.starts_with("CPU"));
    // What was recorded is on the GPU bit for bit, and nothing else is.
    let twins = twins(&harness);
    let records = harness.state().state().records.clone();
    for (lane, record) in records.iter().enumerate() {
        for (k, array) in arrays(record).iter().enumerate() {
            let twin = twins.get(array).expect("there is room");
            assert_eq!(
                block_on(twin.read()).unwrap(),
                **array,
                "array {k} of lane {lane}"
            );
        }
    }
    let bytes = |harness: &Harness<'_, App>| -> u64 {
        harness
            .state()
            .state()
            .records
            .iter()
            .map(Record::bytes)
            .sum()
    };
    assert_eq!(twins.bytes(), bytes(&harness));
    shot(&mut harness, "gpu-end");
    for quantity in Quantity::ALL {
        harness.state_mut().apply(ViewAction::SetQuantity(quantity));
        for step in [3, 1, 2] {
            go_to(&mut harness, step);
        }
        shot(&mut harness, &format!("gpu-{quantity:?}"));
    }
    harness
        .state_mut()
        .apply(ViewAction::SetQuantity(Quantity::Predicted));
    harness
        .state_mut()
        .apply(ViewAction::SetLayout(Layout::Film));
    harness.step();
    shot(&mut harness, "gpu-film");
    harness
        .state_mut()
        .apply(ViewAction::SetLayout(Layout::Grid));
    assert_eq!(cursor(harness.state()), 2);
    // A branch draws the steps before it from its parent's twins.
    let before = twins.bytes();
    harness
        .get_all_by_label("Branch here")
        .next()
        .unwrap()
        .click();
    harness.step();
    assert_eq!(harness.state().state().lanes.len(), 3);
    all_done(&mut harness);
    shot(&mut harness, "gpu-branch");
    let branch = &harness.state().state().records[2];
    assert!(Arc::ptr_eq(
        branch.state(2).unwrap(),
        records[0].state(2).unwrap()
    ));
    let new: usize = branch.frames[2..].iter().map(|f| f.bytes() as usize).sum();
    assert_eq!(twins.bytes(), before + new as u64);
    // With other noise, the records and their twins are dropped.
    harness.state_mut().apply(LanesAction::RemoveLane(2));
    harness.state_mut().apply(LanesAction::SetSeed(3));
    drop(records);
    all_done(&mut harness);
    assert_eq!(twins.bytes(), bytes(&harness));
    assert_eq!(uploaded(&harness), 0);
    // If the CPU computes, it also draws, and the pictures are uploaded.
    let mut by_cpu = still();
    go_to(&mut by_cpu, 1);
    assert!(uploaded(&by_cpu) > 0);
}
