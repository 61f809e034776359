//! Tests of the results about the lanes: the badge and the panels beside the lanes.

use super::{choose, go_to, shot, still, until, until_tested};
use crate::App;
use crate::findings::Side;
use crate::state::{LanesAction, Settings, ViewAction, ode, sde, slope};
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use sit_engine::transport::{
    DdpmSampler, Diffusion, DiffusionForm, Edm, Method, Path, Respacing, Sampler, SdeMethod,
};

fn settings(sampler: Sampler) -> Settings {
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
    until_tested(&mut harness);
    harness.get_by_label_contains("at t = 1.000: alike in shape, but fine noise differs");
    harness.get_by_label("How this was tested").click();
    until(&mut harness, "the power of the test", |app| {
        let badges = &app.findings.badges;
        badges.found_power().is_some()
    });
    harness.get_by_label_contains("64 samples of lane 1 against 64 further samples of lane 2");
    harness.get_by_label_contains("is found in at least 80 % of 20 trials");
    shot(&mut harness, "badge");
    // Two steps of an SDE do not give the distribution of a hundred steps of an ODE.
    let coarse = sde(SdeMethod::Euler, Diffusion::default(), 2);
    let fine = ode(Method::Euler, 100);
    for (lane, sampler) in [fine, coarse].into_iter().enumerate() {
        let action = LanesAction::SetLane(lane, settings(sampler));
        harness.state_mut().apply(action);
    }
    until(&mut harness, "the lanes", |app| app.state().is_shown(0));
    go_to(&mut harness, 30);
    harness.get_by_label_contains("compare at t = 0.500");
    go_to(&mut harness, 100);
    until_tested(&mut harness);
    harness.get_by_label_contains("too few steps (lane 2 has 2), or a network that is not exact");
    // A setting is named before the steps.
    let mut guided = settings(ode(Method::Euler, 50));
    guided.guidance.scale = 4.0;
    let fine = sde(SdeMethod::Euler, Diffusion::default(), 50);
    for (lane, settings) in [guided, settings(fine)].into_iter().enumerate() {
        harness
            .state_mut()
            .apply(LanesAction::SetLane(lane, settings));
    }
    until(&mut harness, "the lanes", |app| app.state().is_shown(0));
    go_to(&mut harness, 50);
    until_tested(&mut harness);
    harness.get_by_label_contains(": guidance is 4 in lane 1 and 1 in lane 2");
    // One lane has nothing to be compared with.
    harness.state_mut().apply(LanesAction::RemoveLane(1));
    harness.step();
    harness.get_by_label("Add a lane to compare distributions.");
}

#[test]
fn marginals_are_compared_with_each_other_and_with_the_data() {
    let mut harness = still();
    harness.get_by_label("Marginals").click();
    go_to(&mut harness, 50);
    harness.state_mut().apply(ViewAction::PickSample(Some(9)));
    until_tested(&mut harness);
    for _ in 0..8 {
        harness.step();
    }
    assert!(harness.query_all_by_label("…").next().is_none());
    let App {
        state, findings, ..
    } = harness.state_mut();
    for (lane, side) in [(0, Side::Lane(1)), (0, Side::Data), (1, Side::Data)] {
        let distance = findings.distances.distance(state, lane, side, 0.0);
        let (distance, fresh) = distance.unwrap();
        // The distance is that of the state shown. The network is good: its samples are near to the data.
        assert!(fresh && distance.t == 1.0);
        let ratio = distance.sliced / distance.chance;
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

/// On its own levels a lane is compared with the data at these, and with a lane on the same ones.
#[test]
fn lanes_on_other_levels_are_compared_where_they_are() {
    let mut harness = still();
    choose(&mut harness, "Network", "exact field of two-gaussians");
    until(&mut harness, "the exact field", |app| {
        app.state().model.as_ref().is_some_and(|m| m.is_plane()) && app.state().is_shown(0)
    });
    let edm = |churn| {
        settings(Sampler::Edm(Edm {
            n_steps: 40,
            churn,
            ..Edm::default()
        }))
    };
    let ddim = settings(Sampler::Ddpm(DdpmSampler {
        respacing: Some(Respacing::Sections(vec![40])),
        ..DdpmSampler::ddim(0.0)
    }));
    harness.state_mut().apply(LanesAction::SetSamples(128));
    harness.state_mut().apply(LanesAction::AddLane);
    for (lane, settings) in [edm(0.0), edm(10.0), ddim].into_iter().enumerate() {
        let action = LanesAction::SetLane(lane, settings);
        harness.state_mut().apply(action);
    }
    until(&mut harness, "the lanes", |app| app.state().is_shown(0));
    let mut now = 0.0;
    for step in [10, 30] {
        go_to(&mut harness, step);
        until_tested(&mut harness);
        harness.get_by_label_contains(": no difference found");
        let notes = harness.get_all_by_label_contains("Its steps are no ODE in t");
        assert_eq!(notes.count(), 3);
        let App {
            state, findings, ..
        } = harness.state_mut();
        for lane in 0..3 {
            // A call measures half of one.
            let mut distance = None;
            for _ in 0..3 {
                now += 1.0;
                distance = findings.distances.distance(state, lane, Side::Data, now);
            }
            let (distance, fresh) = distance.unwrap();
            let ratio = distance.sliced / distance.chance;
            assert!(fresh && ratio < 2.5, "lane {lane}, {step}: {distance:?}");
        }
    }
    shot(&mut harness, "levels");
    // The factor of the noise is a setting that makes them differ.
    let mut other = harness.state().state().lanes[1].settings().clone();
    if let Sampler::Edm(edm) = &mut other.sampler {
        (edm.churn, edm.churn_noise) = (40.0, 1.8);
    }
    harness.state_mut().apply(LanesAction::SetLane(1, other));
    go_to(&mut harness, 20);
    until_tested(&mut harness);
    harness.get_by_label_contains(": lane 2 adds noise of another size");
}

#[test]
fn drawing_the_diffusion_changes_it_at_once() {
    let mut harness = still();
    harness.get_by_label("Diffusion").click();
    go_to(&mut harness, 25);
    shot(&mut harness, "diffusion");
    harness.get_by_label("Draw D(t)").click();
    harness.step();
    harness.step();
    let diffusion = |app: &App| match &app.state().lanes[1].settings().sampler {
        Sampler::Sde(sde) => sde.diffusion.clone(),
        _ => panic!("the second lane is the SDE"),
    };
    let before = diffusion(harness.state());
    assert!((before.at(&Path::Linear, 0.5) - 0.5).abs() < 1e-6);
    let run = harness.state().state().records[1].run;
    let plot = harness.get_by_role_and_label(Role::Canvas, "Curve of D(t) of lane 2");
    let rect = plot.rect();
    let at = |x: f32, y: f32| rect.lerp_inside(egui::vec2(x, y));
    harness.drag_at(at(0.4, 0.1));
    harness.step();
    for k in 1..=10 {
        harness.hover_at(at(0.4 + 0.04 * k as f32, 0.1 + 0.02 * k as f32));
        harness.step();
    }
    harness.drop_at(at(0.8, 0.3));
    harness.step();
    harness.step();
    let after = diffusion(harness.state());
    assert!(after.at(&Path::Linear, 0.5) > 1.0, "{after:?}");
    assert_eq!(after.at(&Path::Linear, 0.0), before.at(&Path::Linear, 0.0));
    assert_ne!(harness.state().state().records[1].run, run);
    until(&mut harness, "the other diffusion", |app| {
        app.state().is_shown(25)
    });
    light(&mut harness);
    shot(&mut harness, "diffusion-drawn");
    harness.get_by_label("Back to sigma").click();
    harness.step();
    assert_eq!(diffusion(harness.state()).curve, None);
    let mut settings = harness.state().state().lanes[1].settings().clone();
    settings.sampler = sde(
        SdeMethod::Euler,
        Diffusion::new(DiffusionForm::Sigma, 0.0),
        50,
    );
    harness.state_mut().apply(LanesAction::SetLane(1, settings));
    harness.step();
    harness.get_by_label_contains("this SDE is the ODE now");
    go_to(&mut harness, 25);
    let state = harness.state().state();
    assert_eq!(state.records[1].state(25), state.records[0].state(25));
}

#[test]
fn the_step_is_told_in_numbers() {
    let mut harness = still();
    harness.get_by_role_and_label(Role::Button, "Step").click();
    go_to(&mut harness, 30);
    until(&mut harness, "the step after it", |app| {
        app.state().records[0].frames.len() > 30
    });
    harness.step();
    let both = |label: &str| harness.get_all_by_label(label).count();
    assert_eq!(both("30 of 50"), 2);
    assert_eq!(both("0.580 – 0.600"), 2);
    assert_eq!(both("1 (30)"), 2);
    // The ODE adds no noise and has an error of its own; the SDE has that of the mean; neither is guided.
    assert_eq!((both("0.0000"), both("–")), (1, 4));
    harness.get_by_role_and_label(Role::Image, "Curves of Heun − Euler (rms)");
    shot(&mut harness, "step");
    // With guidance one more number, and two evaluations a step.
    let mut guided = settings(ode(Method::Heun, 50));
    guided.guidance.scale = 2.0;
    harness.state_mut().apply(LanesAction::SetLane(0, guided));
    until(&mut harness, "the guided lane", |app| {
        app.state().is_shown(30)
    });
    harness.step();
    assert_eq!(harness.get_all_by_label("4 (120)").count(), 1);
    light(&mut harness);
    shot(&mut harness, "step-guided");
}

/// The line of a lane's path distances.
fn path_line(app: &App, lane: usize) -> Vec<[f64; 2]> {
    app.state().curve(lane).unwrap().line(|point| point.path)
}

fn measure(harness: &mut Harness<'_, App>) {
    harness.get_by_label("Measure").click();
    harness.step();
    harness.step();
    assert_eq!(harness.state().state().measuring().len(), 2);
    harness.get_by_label("Stop measuring");
    // This takes thousands of network evaluations: the timeout is for each of them, not for all.
    let measured = |app: &App| -> usize {
        let cost = app.state().cost.iter();
        cost.map(|curve| curve.reference + curve.points.len()).sum()
    };
    while !harness.state().state().measuring().is_empty() {
        let before = measured(harness.state());
        until(harness, "more of the curves", |app| {
            measured(app) > before || app.state().measuring().is_empty()
        });
    }
}

#[test]
fn solvers_of_a_mixture_have_their_orders() {
    let mut harness = still();
    choose(&mut harness, "Network", "exact field of two-gaussians");
    until(&mut harness, "the exact field", |app| {
        app.state().model.as_ref().is_some_and(|m| m.is_plane()) && app.state().is_shown(0)
    });
    for (lane, method) in [Method::Euler, Method::Heun].into_iter().enumerate() {
        let action = LanesAction::SetLane(lane, settings(ode(method, 20)));
        harness.state_mut().apply(action);
    }
    harness.get_by_label("Cost").click();
    harness.step();
    harness.step();
    measure(&mut harness);
    for (lane, order, within) in [(0, 1.0, 0.15), (1, 2.0, 0.25)] {
        let line = path_line(harness.state(), lane);
        let slope = slope(&line).unwrap();
        assert!(
            (slope + order).abs() < within,
            "lane {lane}: {slope}, {line:?}"
        );
    }
    harness.get_by_role_and_label(Role::Image, "Distance of path over network evaluations");
    shot(&mut harness, "cost-plane");
}

#[test]
fn both_lanes_of_the_digits_are_measured_and_a_change_ends_it() {
    let mut harness = still();
    // Few, which is enough for curves.
    harness.state_mut().apply(LanesAction::SetSamples(8));
    harness.get_by_label("Cost").click();
    harness.step();
    harness.step();
    measure(&mut harness);
    for lane in 0..2 {
        let line = path_line(harness.state(), lane);
        assert_eq!(line.len(), 8);
        assert!(line[0][1] > 10.0 * line[7][1], "lane {lane}: {line:?}");
        let curve = harness.state().state().curve(lane).unwrap();
        assert!(curve.chance.is_some() && curve.points.iter().all(|p| p.sliced.is_some()));
    }
    shot(&mut harness, "cost");
    light(&mut harness);
    shot(&mut harness, "cost-light");
    // With another seed the measurement must be requested again; the next change ends it.
    harness.state_mut().apply(LanesAction::NewNoise);
    harness.step();
    harness.get_by_label("Measure").click();
    harness.step();
    assert_eq!(harness.state().state().measuring().len(), 2);
    harness.state_mut().apply(LanesAction::NewNoise);
    harness.step();
    harness.step();
    assert!(harness.state().state().measuring().is_empty());
    // Moving the cursor and changing tabs keep the measurements.
    harness.state_mut().apply(LanesAction::SetSeed(0));
    go_to(&mut harness, 5);
    assert_eq!(path_line(harness.state(), 1).len(), 8);
}
