//! Tests of several networks that are open at once, and of what opens them.

use super::{choose, drop_file, go_to, network_file, open, shot, still, until, until_tested};
use crate::state::{Action, Choice, LanesAction, Link, Source, Tab, ViewAction};
use crate::{App, Start};
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;

const DIGITS: &[u8] = include_bytes!("../../assets/digits.safetensors");

/// A file of another network for the same digits, whose weights are random.
fn other() -> Vec<u8> {
    network_file([1, 8], 2, None)
}

fn until_open(harness: &mut Harness<'_, App>, name: &str) {
    until(harness, name, |app| {
        let model = app.state().model.as_ref();
        model.is_some_and(|m| m.source == Source::File(name.into()))
    });
}

#[test]
fn two_networks_are_compared_in_two_lanes() {
    let mut harness = still();
    drop_file(&mut harness, "a.safetensors", DIGITS.to_vec());
    until_open(&mut harness, "a.safetensors");
    // Another file of the same name is another network, and the same file again is the same one.
    drop_file(&mut harness, "a.safetensors", other());
    until_open(&mut harness, "a.safetensors (2)");
    drop_file(&mut harness, "a.safetensors", DIGITS.to_vec());
    until_open(&mut harness, "a.safetensors");
    harness
        .get_by_label("Compare with a.safetensors (2)")
        .click();
    harness.step();
    until(&mut harness, "both lanes", |app| app.state().is_shown(0));
    go_to(&mut harness, 50);
    until_tested(&mut harness);
    let state = harness.state().state();
    assert_eq!(state.records[0].start, state.records[1].start);
    assert_ne!(state.records[0].state(50), state.records[1].state(50));
    harness.get_by_label("2: ODE, euler · a.safetensors (2)");
    harness.get_by_label_contains(": they have different networks");
    shot(&mut harness, "networks");
    // A lane may have the session's network again, and then both are equal.
    harness.state_mut().apply(ViewAction::SetTab(Tab::Lanes));
    harness.step();
    harness.step();
    let menus = harness.get_all_by_role_and_label(Role::ComboBox, "Network of this lane");
    assert_eq!(menus.count(), 2);
    harness.state_mut().apply(LanesAction::SetNetwork(1, None));
    until(&mut harness, "the lane", |app| app.state().is_shown(50));
    let state = harness.state().state();
    assert_eq!(state.records[0].state(50), state.records[1].state(50));
    // The session goes back to a network that is open, without its file.
    choose(&mut harness, "Network", "SiT on 8×8 digits");
    until(&mut harness, "the digits", |app| {
        app.state().source == Source::Digits && app.state().model.is_some()
    });
    choose(&mut harness, "Network", "a.safetensors (2)");
    until_open(&mut harness, "a.safetensors (2)");
}

#[test]
fn a_link_to_files_says_what_it_needs() {
    let mut harness = still();
    let mut link = harness.state().state().link();
    link.lanes[1].network = Some(Source::File("mine.safetensors".into()));
    let text = link.encode();
    assert_eq!(Link::decode(&text).unwrap(), link);
    harness
        .state_mut()
        .apply(Action::Restore(Box::new(link.clone())));
    harness.step();
    harness.step();
    harness.get_by_label_contains("This needs mine.safetensors, which no link carries");
    // The lane begins when the file comes.
    drop_file(&mut harness, "mine.safetensors", other());
    until_open(&mut harness, "mine.safetensors");
    until(&mut harness, "the lane", |app| {
        app.state().records[1].is_started()
    });
    // The whole session may need a file: no lane is computing then.
    link.source = Source::File("other.pt".into());
    let start = Start {
        link: Some(link.encode()),
        ..Start::default()
    };
    let mut harness = open(start);
    for _ in 0..5 {
        harness.step();
    }
    let told = harness.get_all_by_label_contains("This needs other.pt, which no link carries");
    assert!(told.count() >= 1);
    assert!(harness.query_by_label("Computing …").is_none());
}

#[test]
fn a_network_that_makes_other_samples_is_refused_by_the_lane() {
    let mut harness = still();
    harness.state_mut().apply(LanesAction::SetNetwork(
        1,
        Some(Source::Exact("eight-gaussians".into())),
    ));
    until(&mut harness, "the field", |app| {
        app.state().networks.len() == 2
    });
    harness.get_by_label_contains("they have no noise in common");
}

#[test]
fn what_is_written_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.safetensors");
    std::fs::write(&path, other()).unwrap();
    let mut harness = still();
    harness.get_by_label("Open …").click();
    harness.step();
    harness.step();
    harness.get_by_label("Choose files");
    let field = harness.get_by_role_and_label(Role::TextInput, "A path or a link");
    field.focus();
    harness.step();
    let text = path.to_string_lossy().into_owned();
    harness
        .get_by_role_and_label(Role::TextInput, "A path or a link")
        .type_text(&text);
    harness.step();
    harness.step();
    harness.get_by_label("Open this").click();
    harness.step();
    until_open(&mut harness, "mine.safetensors");
    harness.state_mut().apply(Action::Choose(Choice::Text(
        "https://example.org/#tour=4".into(),
    )));
    until(&mut harness, "the stop", |app| app.state().lanes.len() == 3);
    harness
        .state_mut()
        .apply(Action::Choose(Choice::Text("nowhere.pt".into())));
    until(&mut harness, "the message", |app| {
        !app.state().notices.is_empty()
    });
    for _ in 0..3 {
        harness.step();
    }
    harness.get_by_label_contains("nowhere.pt: no file or folder is there, and as a link");
}

#[test]
fn the_network_of_color_is_chosen_and_ends_in_emoji() {
    let mut harness = still();
    choose(&mut harness, "Network", "SiT on 32×32 emoji");
    until(&mut harness, "the emoji", |app| {
        app.state()
            .model
            .as_ref()
            .is_some_and(|m| m.source == Source::Emoji)
            && app.state().is_shown(0)
    });
    let model = harness.state().state().model.clone().unwrap();
    assert_eq!(
        (model.io.image, model.class_name(3)),
        ([3, 32, 32], "flag".to_owned())
    );
    harness.state_mut().apply(LanesAction::SetSamples(8));
    go_to(&mut harness, 50);
    // Emoji stand on white paper: the corners are light, and something in the middle is not.
    let x = harness.state().state().records[0]
        .state(50)
        .unwrap()
        .clone();
    for sample in x.chunks_exact(3 * 32 * 32) {
        let dark = sample.iter().filter(|x| **x < 0.5).count();
        assert!(sample[0] > 0.5 && dark > 300, "{} and {dark}", sample[0]);
    }
    shot(&mut harness, "emoji");
}
