//! Walks to what is found out about the lanes: the badge and the panels beside them.

use super::{go_to, shot, still, until};
use crate::state::{Action, Settings, ode, sde};
use egui_kittest::kittest::Queryable as _;
use sit_engine::transport::{Diffusion, Method};

fn settings(sampler: sit_engine::transport::Sampler) -> Settings {
    Settings {
        sampler,
        ..Settings::default()
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
