//! Walks to what is found out about the lanes: the badge and the panels beside them.

use super::{choose, go_to, shot, still, until};
use crate::App;
use crate::findings::Side;
use crate::state::{Action, Settings, ode, sde};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use sit_engine::transport::{Diffusion, Method};

fn settings(sampler: sit_engine::transport::Sampler) -> Settings {
    Settings {
        sampler,
        ..Settings::default()
    }
}

fn light(harness: &mut Harness<'_, App>) {
    harness.get_by_label("Light").click();
    for _ in 0..3 {
        harness.step();
    }
}

#[test]
fn the_badge_compares_two_lanes_at_one_time() {
    let mut harness = still();
    harness.get_by_label_contains("both have the same samples");
    go_to(&mut harness, 50);
    harness.get_by_label_contains("at t = 1.000: equal within noise");
    shot(&mut harness, "badge");
    // Two steps of an SDE are not a hundred of an ODE.
    let coarse = sde(Method::Euler, Diffusion::default(), 2);
    let fine = ode(Method::Euler, 100);
    for (lane, sampler) in [fine, coarse].into_iter().enumerate() {
        let action = Action::SetLane(lane, settings(sampler));
        harness.state_mut().apply(action);
    }
    until(&mut harness, "the lanes", |app| app.state().is_shown(0));
    go_to(&mut harness, 30);
    harness.get_by_label_contains("compare at t = 0.500");
    go_to(&mut harness, 100);
    harness.get_by_label_contains("at t = 1.000: differs");
    // One lane has nothing to be compared with.
    harness.state_mut().apply(Action::RemoveLane(1));
    harness.step();
    harness.get_by_label("Add a lane to compare distributions.");
}

#[test]
fn marginals_are_compared_with_each_other_and_with_the_data() {
    let mut harness = still();
    harness.get_by_label("Marginals").click();
    go_to(&mut harness, 50);
    harness.state_mut().apply(Action::PickSample(Some(9)));
    for _ in 0..5 {
        harness.step();
    }
    assert!(harness.query_all_by_label("…").next().is_none());
    let App {
        state, findings, ..
    } = harness.state_mut();
    for (lane, side) in [(0, Side::Lane(1)), (0, Side::Data), (1, Side::Data)] {
        let distance = findings.distances.distance(state, lane, side, 0.0);
        let (distance, fresh) = distance.unwrap();
        // What was shown is what is asked for here. The network is good: its samples are near to the data.
        assert!(fresh && distance.t == 1.0);
        let ratio = distance.sliced.estimate / distance.chance;
        assert!((0.5..2.0).contains(&ratio), "{side:?}: {distance:?}");
    }
    harness.get_by_label("lanes 1 – 2");
    harness.get_by_label("lane 2 – data");
    harness.get_by_label_contains("Sample 10 and its nearest training image");
    harness.get_by_label_contains("lane 2: distance");
    shot(&mut harness, "marginals");
    choose(&mut harness, "Histogram along", "pixel");
    light(&mut harness);
    shot(&mut harness, "marginals-pixel");
}
