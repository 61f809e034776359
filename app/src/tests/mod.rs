//! Tests of the whole program as a user operates it: by keys, and by controls found through role and label.

mod arrivals;
mod findings;
mod goldens;
mod gpu;
mod lanes;
mod latents;
mod networks;
mod sizes;
mod timeline;
mod tour;
mod train;

use crate::look::background;
use crate::state::{PlaybackAction, shortcuts};
use crate::{App, Start};
use egui::accesskit::Role;
use egui::{DroppedFile, Key};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use sit_engine::backend::Device;
use sit_engine::checkpoint::{Data, Precision, Recipe};
use sit_engine::model::{Dit, Model, ModelConfig};
use sit_engine::transport::Transport;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn open(start: Start) -> Harness<'static, App> {
    let builder = Harness::builder()
        .with_size([1280.0, 800.0])
        .with_step_dt(1.0 / 60.0);
    with_background(builder.build_eframe(|cc| App::new(cc, start).expect("a thread")))
}

/// A real window is cleared in the panels' color; a test picture is not.
fn with_background(harness: Harness<'_, App>) -> Harness<'_, App> {
    let fill = |style: &mut egui::Style| style.visuals.panel_fill = background(&style.visuals);
    harness.ctx.all_styles_mut(fill);
    harness
}

/// Draws frames until `done`, which depends on the background work.
fn until(harness: &mut Harness<'_, App>, what: &str, done: impl Fn(&App) -> bool) {
    let begin = Instant::now();
    while !done(harness.state()) {
        let notices = &harness.state().state().notices;
        assert!(
            begin.elapsed() < Duration::from_secs(120),
            "{what}: not in two minutes; {notices:?}"
        );
        harness.step();
        std::thread::sleep(Duration::from_millis(1));
    }
    harness.step();
}

/// Saves a picture of the window in the target folder, for people to look at.
fn shot(harness: &mut Harness<'_, App>, name: &str) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/app-walks");
    std::fs::create_dir_all(&folder).unwrap();
    let image = harness.render().unwrap();
    image.save(folder.join(format!("{name}.png"))).unwrap();
}

fn cursor(app: &App) -> usize {
    app.state().playback.cursor
}

/// A paused window, once its noise has been drawn.
fn still() -> Harness<'static, App> {
    let start = Start {
        reduced_motion: true,
        ..Start::default()
    };
    let mut harness = open(start);
    wait_for_noise(&mut harness);
    harness
}

fn wait_for_noise(harness: &mut Harness<'_, App>) {
    until(harness, "the noise", |app| {
        app.state().n_steps() > 0 && app.state().is_shown(0)
    });
    assert_eq!(cursor(harness.state()), 0);
}

fn go_to(harness: &mut Harness<'_, App>, step: usize) {
    harness.state_mut().apply(PlaybackAction::Seek(step));
    until(harness, "the step", |app| app.state().is_shown(step));
}

/// Draws frames until the second batch is where the lanes are.
fn until_tested(harness: &mut Harness<'_, App>) {
    until(harness, "the second batch", |app| {
        let (second, target) = (&app.state().second, app.state().second_target());
        let second = second.as_ref().expect("two lanes");
        target.is_some_and(|(_, steps)| second.record.frames.len() >= steps)
    });
    harness.step();
}

fn press(harness: &mut Harness<'_, App>, key: Key) {
    harness.key_press(key);
    harness.step();
    harness.step();
}

fn choose(harness: &mut Harness<'_, App>, menu: &str, entry: &str) {
    harness.get_by_role_and_label(Role::ComboBox, menu).click();
    harness.step();
    harness.step();
    harness.get_by_label(entry).click();
    harness.step();
    harness.step();
}

/// A file of a small network of random weights, of images of so many channels and pixels along a side, trained on `data`.
fn network_file([channels, side]: [usize; 2], patch: usize, data: Option<Data>) -> Vec<u8> {
    let network = Dit {
        dim: 24,
        depth: 1,
        n_heads: 3,
        patch,
        input_size: side,
        channels,
        n_classes: 10,
        learn_sigma: false,
        ..Dit::preset("SiT-S/2").unwrap()
    };
    let config = ModelConfig::Dit(network);
    let model = Model::init(&Device::Cpu, config.clone(), Transport::default(), 5).unwrap();
    let mut file = Vec::new();
    let recipe = Recipe {
        data,
        ..Recipe::new(config, Transport::default())
    };
    model.save(&mut file, &recipe, Precision::F32).unwrap();
    file
}

#[derive(Debug)]
struct File {
    name: PathBuf,
    bytes: Vec<u8>,
}

impl DroppedFile for File {
    fn path(&self) -> &std::path::Path {
        &self.name
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        Ok(self.bytes.clone())
    }
}

fn drop_file(harness: &mut Harness<'_, App>, name: &str, bytes: Vec<u8>) {
    drop_files(harness, [(name.into(), bytes)]);
}

/// Files that are dropped together: paths of the disk, or names with their bytes.
fn drop_files(harness: &mut Harness<'_, App>, files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) {
    for (name, bytes) in files {
        let file = File { name, bytes };
        harness.input_mut().dropped_files.push(Arc::new(file));
    }
    for _ in 0..3 {
        harness.step();
    }
}

#[test]
fn every_shortcut_is_a_key() {
    for shortcut in shortcuts() {
        assert!(Key::from_name(shortcut.key).is_some(), "{}", shortcut.key);
    }
}
