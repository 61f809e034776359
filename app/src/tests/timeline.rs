//! Tests of the timeline: the checkpoints of a run.

use super::{drop_files, go_to, shot, still, until};
use crate::App;
use crate::state::{COLUMNS, LanesAction, STRIDE, Settings, Source, Tab, ViewAction, ode};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use sit_engine::backend::Device;
use sit_engine::transport::Method;
use sit_trainer::config::{RunConfig, Source as Config};
use sit_trainer::data::{Batches, digits};
use sit_trainer::run::{self, State, Window};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// A run with `n` checkpoints, one every `every` steps.
fn train(folder: &Path, n: u64, every: u64) {
    fs::create_dir_all(folder).unwrap();
    let steps = format!("train.steps={}", n * every);
    let config = RunConfig::load(Config::Preset("digits-smoke"), &[steps]).unwrap();
    let mut trainer = config.step().build(&Device::Cpu).unwrap();
    let mut batches = Batches::new(Arc::new(digits::train()), config.batches());
    let mut state = State {
        format: 1,
        program: "a test".into(),
        step: 0,
        n_updates: 0,
        n_samples: 0,
        skipped: 0,
        skipped_in_a_row: 0,
        window: Window::default(),
        objective: Vec::new(),
        device: Device::Cpu.to_string(),
        max_level: 16,
        latents: None,
        n_images: 1442,
        n_base: 0,
        config: config.clone(),
    };
    while state.step < n * every {
        let batch = batches.at(state.n_samples).unwrap();
        trainer.step(&batch.x1, &batch.y, 2e-3).unwrap();
        state.step += 1;
        state.n_updates += 1;
        state.n_samples += config.train.batch as u64;
        if state.step.is_multiple_of(every) {
            run::save(folder, &state, &trainer, |_| None).unwrap();
        }
    }
}

fn done(harness: &mut Harness<'_, App>, rows: usize) {
    until(harness, "all cells", |app| {
        let timeline = &app.state().timeline;
        timeline.rows.len() == rows && timeline.wanted().is_none()
    });
}

fn open(folder: &Path, rows: usize) -> Harness<'static, App> {
    let mut harness = still();
    drop_files(&mut harness, [(folder.to_owned(), Vec::new())]);
    done(&mut harness, rows);
    assert_eq!(harness.state().state().view.tab, Tab::Timeline);
    harness
}

#[test]
fn the_checkpoints_of_a_run_lie_side_by_side() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("digits");
    train(&folder, 4, 60);
    let mut harness = open(&folder, 4);
    harness.get_by_label_contains("32 of 32 cells");
    shot(&mut harness, "timeline");
    let cells = |harness: &Harness<'_, App>| {
        let rows = harness.state().state().timeline.rows.iter();
        rows.map(|row| row.cells.clone()).collect::<Vec<_>>()
    };
    let ema = cells(&harness);
    // The same noise, and another network.
    assert_eq!(ema[0][0].x, ema[3][0].x);
    assert_ne!(ema[0][7].x, ema[3][7].x);
    harness.get_by_label("Raw").click();
    harness.step();
    harness.step();
    done(&mut harness, 4);
    let raw = cells(&harness);
    assert_eq!(raw[3][0].x, ema[3][0].x);
    assert_ne!(raw[3][7].x, ema[3][7].x);

    // A cell is what a lane of the same steps shows of that sample.
    harness.state_mut().apply(ViewAction::PickSample(Some(5)));
    done(&mut harness, 4);
    let settings = Settings {
        sampler: ode(Method::Euler, (STRIDE * (COLUMNS - 1)) as u32),
        ..Settings::default()
    };
    harness.state_mut().apply(LanesAction::SetLane(0, settings));
    harness.get_by_label("step 180, t = 0.57").click();
    let name = Source::File("step 180 of digits, raw".into());
    until(&mut harness, "the checkpoint", |app| {
        app.state().source == name && (app.state().t() - 4.0 / 7.0).abs() < 1e-9
    });
    go_to(&mut harness, 16);
    let state = harness.state().state();
    let len = state.model.as_ref().unwrap().io.image_len();
    let lane = &state.records[0].state(16).unwrap()[5 * len..6 * len];
    assert_eq!(lane, &state.timeline.rows[2].cells[4].x[..]);
    assert_eq!(state.view.sample, Some(5));
    harness.get_by_label("Light").click();
    for _ in 0..3 {
        harness.step();
    }
    shot(&mut harness, "timeline-raw");
}

#[test]
fn broken_checkpoints_say_so_in_their_rows() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("broken");
    train(&folder, 5, 1);
    let of = |step: u64, file: &str| folder.join(format!("step-{step:08}")).join(file);
    let bytes = fs::read(of(2, run::EMA)).unwrap();
    fs::write(of(2, run::EMA), &bytes[..bytes.len() / 2]).unwrap();
    fs::remove_file(of(3, run::EMA)).unwrap();
    fs::write(of(4, "state.json"), "{").unwrap();
    let mut harness = open(&folder, 5);
    let rows = &harness.state().state().timeline.rows;
    let errors: Vec<Option<String>> = rows.iter().map(|row| row.error.clone()).collect();
    assert_eq!((&errors[0], &errors[4]), (&None, &None));
    for (error, expected) in errors[1..4]
        .iter()
        .zip(["truncated", "opened", "not a state"])
    {
        let error = error.as_ref().unwrap();
        assert!(error.contains(expected), "{error}");
        harness.get_by_label(error);
    }
    harness.get_by_label_contains("16 of 16 cells");
    shot(&mut harness, "timeline-broken");
    // A checkpoint that was deleted after it was listed is reported, and the lanes go on.
    fs::remove_dir_all(&folder).unwrap();
    harness.get_by_label("step 5, t = 1.00").click();
    until(&mut harness, "the reason", |app| {
        !app.state().notices.is_empty()
    });
    assert_eq!(harness.state().state().source, Source::Digits);
    go_to(&mut harness, 3);
}

#[test]
fn a_run_without_a_checkpoint_is_refused_and_another_one_stays() {
    let root = tempfile::tempdir().unwrap();
    let [good, bare] = ["good", "bare"].map(|name| root.path().join(name));
    train(&good, 1, 1);
    fs::create_dir(&bare).unwrap();
    fs::write(bare.join("config.toml"), "").unwrap();
    let mut harness = open(&good, 1);
    drop_files(&mut harness, [(bare, Vec::new())]);
    until(&mut harness, "the reason", |app| {
        !app.state().notices.is_empty()
    });
    harness.get_by_label_contains("has no checkpoint");
    assert_eq!(harness.state().state().timeline.rows.len(), 1);
}

#[test]
fn files_of_weights_make_rows_too() {
    let good = include_bytes!("../../assets/digits.safetensors").to_vec();
    let mut harness = still();
    let cut = good[..good.len() - 4].to_vec();
    let files = [
        ("b.safetensors", good.clone()),
        ("a.safetensors", good),
        ("c.safetensors", cut),
    ];
    drop_files(
        &mut harness,
        files.map(|(name, bytes)| (name.into(), bytes)),
    );
    done(&mut harness, 3);
    let rows = &harness.state().state().timeline.rows;
    assert_eq!(rows[0].name, "a.safetensors");
    assert_eq!(rows[0].cells, rows[1].cells);
    assert!(rows[2].error.as_ref().unwrap().contains("truncated"));
    assert!(harness.query_by_label("Raw").is_none());
    harness.get_by_label("a.safetensors, t = 1.00").click();
    until(&mut harness, "the file", |app| {
        app.state().source == Source::File("a.safetensors".into()) && app.state().t() == 1.0
    });
}
