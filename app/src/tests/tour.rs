//! Tests of the tour and of presenting it.

use super::{cursor, drop_file, open, press, shot, still, until};
use crate::state::{Link, Tour, TourAction, ViewAction};
use crate::{App, Start};
use egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

/// Waits until a stop's network is there and plays.
fn until_it_plays(harness: &mut Harness<'_, App>, title: &str) {
    until(harness, title, |app| {
        let (state, at) = (app.state(), cursor(app));
        let model = state.model.as_ref();
        model.is_some_and(|m| m.source == state.source) && at >= 2
    });
}

#[test]
fn the_tour_leads_to_different_pictures() {
    let mut harness = still();
    harness
        .state_mut()
        .apply(ViewAction::SetTab(crate::state::Tab::Tour));
    for _ in 0..3 {
        harness.step();
    }
    let stops = harness.state().state().tour.stops.clone();
    for (number, stop) in stops.iter().enumerate() {
        harness.get_by_label(&stop.title);
        harness.state_mut().apply(TourAction::Go(number));
        until_it_plays(&mut harness, &stop.title);
        let state = harness.state().state();
        let failures: Vec<_> = state
            .records
            .iter()
            .filter_map(|r| r.failure.as_ref())
            .collect();
        assert!(failures.is_empty(), "{}: {failures:?}", stop.title);
        if stop.title.starts_with("2.") {
            assert_eq!(state.records[0].frames[1].x, state.records[1].frames[1].x);
        }
        shot(&mut harness, &format!("tour-{}", number + 1));
    }
}

#[test]
fn a_stop_is_a_short_link() {
    let link = &Tour::default().stops[3].link;
    assert_eq!(link.encode(), "tour=4");
    let start = Start {
        link: Some("tour=4".into()),
        ..Start::default()
    };
    let mut harness = open(start);
    until(&mut harness, "its lanes", |app| app.state().is_shown(0));
    assert_eq!(harness.state().state().lanes, link.lanes);
    // What was changed since is what the link holds.
    let mut other = link.clone();
    other.seed = 12;
    let text = other.encode();
    assert!(text.starts_with("tour=4&") && text.len() < 40, "{text}");
    assert_eq!(Link::decode(&text).unwrap(), other);
    for bad in ["tour=0", "tour=99", "tour=x", "tour=4&!"] {
        let message = Link::decode(bad).unwrap_err().to_string();
        assert!(message.contains("cannot be restored"), "{message}");
    }
}

#[test]
fn the_lanes_are_presented_in_larger_type() {
    let mut harness = still();
    let title = |harness: &Harness<'_, App>| harness.get_by_label("1: ODE, euler").rect();
    let before = title(&harness);
    press(&mut harness, Key::F);
    harness.step();
    // The controls are gone; the lanes are larger.
    assert!(harness.query_by_label("New noise").is_none());
    harness.get_by_label_contains("PageDown and PageUp lead through the tour");
    press(&mut harness, Key::PageDown);
    until_it_plays(&mut harness, "the first stop");
    harness.get_by_label("1. One noise, two ways");
    press(&mut harness, Key::PageDown);
    until_it_plays(&mut harness, "the second stop");
    harness.get_by_label("2. No diffusion is the ODE");
    shot(&mut harness, "present");
    let size = |label: &str| harness.get_by_label(label).rect().height();
    assert!(size("● live") > 1.2 * before.height() * 13.0 / 16.0);
    harness.get_by_label("Leave").click();
    harness.step();
    harness.step();
    harness.get_by_label("New noise");
}

#[test]
fn a_tour_of_ones_own_is_kept_as_a_file_and_opened() {
    let mut harness = still();
    harness.get_by_label("Tour").click();
    for _ in 0..3 {
        harness.step();
    }
    harness.state_mut().apply(TourAction::Add {
        title: "Mine".into(),
        text: "Look at the lanes.".into(),
    });
    let bytes = harness.state().state().tour.to_json();
    let mut other = still();
    drop_file(&mut other, "mine.json", bytes);
    other.get_by_label("Mine");
    other.get_by_label("Look at the lanes.");
    drop_file(&mut other, "bad.json", b"{}".to_vec());
    other.get_by_label_contains("bad.json is no tour: missing field");
    other.get_by_label("Mine");
}
