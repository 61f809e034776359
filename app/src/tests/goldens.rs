//! Pictures of the page and of every panel, in `tests/snapshots`, to show changes in how they look. After an intended change,
//! `UPDATE_SNAPSHOTS=1 cargo test -p sit-app` makes them again; look at them before you commit them.
//!
//! They contain no time and nothing about the machine. The panels show an exact field, which is computed in f64 with libm and has
//! the same bits everywhere.

use super::{go_to, until, wait_for_noise, with_background};
use crate::job::Request;
use crate::state::{Action, CostAction, Source, Status, Tab, ViewAction};
use crate::{App, Start};
use egui::Theme;
use egui_kittest::kittest::Queryable as _;
use egui_kittest::{
    Harness, SnapshotOptions, SnapshotResult, SnapshotResults, try_image_snapshot_options,
};
use image::RgbaImage;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use std::fs::File;

/// A color may differ by two of 255 levels: the network's f32 sums and the driver's filtering round differently with the processor's
/// vector width, by one level at the edge of two. (A gray pixel that differs by k levels counts 0.5 k^2.) No pixel may differ more.
fn options() -> SnapshotOptions {
    SnapshotOptions::new().threshold(2.1).max_failed_pixels(0)
}

/// Compares a picture with the stored one, or stores it, in half the bytes that kittest takes.
fn compare(name: &str, picture: &RgbaImage) -> SnapshotResult {
    let options = options();
    let result = try_image_snapshot_options(picture, name, &options);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        let path = options.output_path.join(format!("{name}.png"));
        let kept = image::open(&path).expect("it was written").to_rgba8();
        let file = File::create(path).expect("a file");
        let encoder =
            PngEncoder::new_with_quality(file, CompressionType::Best, FilterType::NoFilter);
        kept.write_with_encoder(encoder).expect("a disk");
    }
    result
}

/// A paused window of this size that shows nothing about the machine.
fn window(size: [f32; 2], theme: Theme) -> Harness<'static, App> {
    let start = Start {
        reduced_motion: true,
        ..Start::default()
    };
    let builder = Harness::builder()
        .with_size(size)
        .with_theme(theme)
        .with_step_dt(1.0 / 60.0);
    let harness = builder.build_eframe(|cc| App::new(cc, start).expect("a thread"));
    let mut harness = with_background(harness);
    harness.state_mut().device = "this computer".into();
    wait_for_noise(&mut harness);
    harness
}

/// Draws frames until everything is computed: the step after the one shown, whose evaluation is drawn, and the results about the
/// lanes, of which each frame computes a few.
fn settle(harness: &mut Harness<'_, App>) {
    until(harness, "every lane's steps", |app| {
        let state = app.state();
        let mut lanes = state.records.iter().enumerate();
        let second = state.second.as_ref().zip(state.second_target());
        let is_tested = second.is_none_or(|(s, (_, steps))| s.record.frames.len() >= steps);
        is_tested && lanes.all(|(lane, record)| record.frames.len() >= state.target(lane))
    });
    for record in &mut harness.state_mut().state.records {
        record.frames.iter_mut().for_each(|frame| frame.ms = 1.0);
    }
    for _ in 0..30 {
        harness.step();
    }
}

#[test]
fn the_page_looks_as_it_did() {
    let mut all = SnapshotResults::new();
    for (name, size, theme) in [
        ("page", [1000.0, 640.0], Theme::Dark),
        ("page-light", [1000.0, 640.0], Theme::Light),
        ("page-narrow", [390.0, 844.0], Theme::Light),
    ] {
        let mut harness = window(size, theme);
        go_to(&mut harness, 40);
        settle(&mut harness);
        all.add(compare(name, &harness.render().unwrap()));
    }
}

#[test]
fn every_panel_looks_as_it_did() {
    let mut harness = window([900.0, 1000.0], Theme::Dark);
    let source = Source::Exact("eight-gaussians".into());
    harness.state_mut().apply(Action::Load(source));
    until(&mut harness, "the exact field", |app| {
        app.state().model.as_ref().is_some_and(|m| m.is_plane()) && app.state().is_shown(0)
    });
    let rect = |label: &str| harness.get_by_label(label).rect();
    let (left, top) = (
        rect("Lanes").left() as u32 - 8,
        rect("Lanes").top() as u32 - 8,
    );
    let bottom = rect("To the noise").top() as u32 - 12;
    go_to(&mut harness, 30);
    let mut all = SnapshotResults::new();
    for (tab, title) in Tab::ALL {
        harness.state_mut().apply(ViewAction::SetTab(tab));
        settle(&mut harness);
        fill(&mut harness, tab);
        settle(&mut harness);
        let page = harness.render().unwrap();
        let (width, height) = (page.width() - left, bottom - top);
        let panel = image::imageops::crop_imm(&page, left, top, width, height).to_image();
        all.add(compare(&format!("panel-{}", title.to_lowercase()), &panel));
    }
}

/// Sets up everything that a panel can show. It does not click, because the pointer would be in the picture.
fn fill(harness: &mut Harness<'_, App>, tab: Tab) {
    match tab {
        Tab::Cost => {
            harness.state_mut().apply(CostAction::Measure);
            until(harness, "the curves", |app| {
                app.state().measuring().is_empty()
            });
        }
        Tab::Train => {
            let app = harness.state_mut();
            app.form.steps = 30;
            let plan = app.form.plan(&app.state.files).unwrap();
            app.job.ask(Request::Train(Box::new(plan)));
            until(harness, "the training", |app| {
                let training = &app.state().training;
                let shown = training.preview.as_ref().map(|(step, _)| *step);
                training.status == Status::Done && shown == Some(30)
            });
        }
        _ => {}
    }
}
