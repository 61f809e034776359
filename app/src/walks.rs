//! Walks through the whole program as a person takes them: by keys, and by controls found through role and label.

mod files;
mod findings;
mod goldens;
mod gpu;
mod timeline;

use crate::export;
use crate::look::background;
use crate::source::mixture;
use crate::state::{Action, Classes, Export, LONGEST_FRAME, STOPS, Source, Status};
use crate::{App, Start};
use egui::accesskit::Role;
use egui::{DroppedFile, Key};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use sit_engine::transport::{DiffusionForm, Sampler};
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn open(start: Start) -> Harness<'static, App> {
    let builder = Harness::builder()
        .with_size([1280.0, 800.0])
        .with_step_dt(1.0 / 60.0);
    with_background(builder.build_eframe(|cc| App::new(cc, start).expect("a thread")))
}

/// A window is cleared in the panels' color, a picture is not.
fn with_background(harness: Harness<'_, App>) -> Harness<'_, App> {
    let fill = |style: &mut egui::Style| style.visuals.panel_fill = background(&style.visuals);
    harness.ctx.all_styles_mut(fill);
    harness
}

/// Frames until `done`, which the work behind the window brings about.
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

/// A picture of the window in the target folder, to be looked at.
fn shot(harness: &mut Harness<'_, App>, name: &str) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/app-walks");
    std::fs::create_dir_all(&folder).unwrap();
    let image = harness.render().unwrap();
    image.save(folder.join(format!("{name}.png"))).unwrap();
}

fn cursor(app: &App) -> usize {
    app.state().playback.cursor
}

#[test]
fn it_moves_by_itself_and_ends_in_digits() {
    let mut harness = open(Start::default());
    until(&mut harness, "the first step", |app| cursor(app) > 0);
    harness.state_mut().apply(Action::ToggleLoop);
    harness.state_mut().apply(Action::SetSpeed(1000.0));
    until(&mut harness, "the last step", |app| cursor(app) == 50);
    for record in &harness.state().state().records {
        assert_eq!(record.failure, None);
        // Digits are mostly paper: black, with some ink.
        let x = record.state(50).unwrap();
        let ink = x.iter().filter(|x| **x > 0.0).count() as f64 / x.len() as f64;
        assert!((0.1..0.5).contains(&ink), "ink on {ink} of the paper");
    }
    let image = harness.render().unwrap();
    image
        .save(std::env::temp_dir().join("sit-app.png"))
        .unwrap();
}

/// A browser that draws by software takes long between frames, so that several steps pass in one.
#[test]
fn frames_that_are_asked_for_are_enough_to_go_on() {
    let builder = Harness::builder().with_step_dt(LONGEST_FRAME as f32);
    let mut harness = builder.build_eframe(|cc| App::new(cc, Start::default()).expect("a thread"));
    let (ask, asked) = std::sync::mpsc::channel();
    harness.ctx.set_request_repaint_callback(move |_| {
        // The last frame's wishes come when nobody listens.
        ask.send(()).ok();
    });
    harness.step();
    while cursor(harness.state()) < 20 {
        let frame = asked.recv_timeout(Duration::from_secs(20));
        frame.unwrap_or_else(|_| panic!("it stands at step {}", cursor(harness.state())));
        // All that may be computed is.
        std::thread::sleep(Duration::from_millis(300));
        while asked.try_recv().is_ok() {}
        harness.step();
    }
}

/// A window that does not move by itself, once the noise is there.
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
    harness.state_mut().apply(Action::Seek(step));
    until(harness, "the step", |app| app.state().is_shown(step));
}

fn press(harness: &mut Harness<'_, App>, key: Key) {
    harness.key_press(key);
    harness.step();
    harness.step();
}

#[test]
fn stepping_by_keys_and_buttons() {
    let mut harness = still();
    press(&mut harness, Key::ArrowRight);
    until(&mut harness, "one step", |app| app.state().is_shown(1));
    assert_eq!(cursor(harness.state()), 1);
    harness.get_by_label("Step forward").click();
    harness.step();
    assert_eq!(cursor(harness.state()), 2);
    press(&mut harness, Key::ArrowLeft);
    assert_eq!(cursor(harness.state()), 1);
    harness.get_by_label("Play").click();
    until(&mut harness, "playing", |app| cursor(app) >= 5);
    press(&mut harness, Key::Space);
    assert!(!harness.state().state().playback.playing);
    press(&mut harness, Key::Home);
    assert_eq!(cursor(harness.state()), 0);
    assert!(!harness.state().state().playback.live);
    harness.get_by_label_contains("history");
    press(&mut harness, Key::End);
    assert!(cursor(harness.state()) >= 5);
    press(&mut harness, Key::Questionmark);
    harness.get_by_label_contains("single samples differ");
}

#[test]
fn scrubbing_draws_what_was_recorded() {
    let mut harness = still();
    go_to(&mut harness, 12);
    let frames = |app: &App| app.state().records[0].frames.len();
    let before = frames(harness.state());
    let slider = harness.get_by_role_and_label(Role::Slider, "Step");
    slider.focus();
    harness.step();
    for _ in 0..4 {
        press(&mut harness, Key::ArrowLeft);
    }
    assert!(cursor(harness.state()) < 12);
    assert_eq!(frames(harness.state()), before);
}

#[test]
fn another_solver_and_diffusion_start_that_lane_again() {
    let mut harness = still();
    go_to(&mut harness, 10);
    let runs = |app: &App| -> Vec<u64> { app.state().records.iter().map(|r| r.run).collect() };
    let before = runs(harness.state());
    // The second lane's menu: the form of D(t).
    choose(&mut harness, "Diffusion D(t)", "constant");
    let sampler = harness.state().state().lanes[1].settings().sampler;
    let Sampler::Sde { diffusion, .. } = sampler else {
        panic!("the second lane is the SDE");
    };
    assert_eq!(diffusion.form, DiffusionForm::Constant);
    let after = runs(harness.state());
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1]);
    until(&mut harness, "the other diffusion", |app| {
        app.state().is_shown(10)
    });
    assert_eq!(cursor(harness.state()), 10);
    // SBDM is singular at t = 0: the lane says so, and how to go on.
    choose(&mut harness, "Diffusion D(t)", "SBDM");
    let failure = harness.state().state().records[1].failure.clone().unwrap();
    assert!(failure.contains("SBDM"), "{failure}");
    harness.get_by_label("Stay away from t = 0 and 1").click();
    harness.step();
    assert_eq!(harness.state().state().records[1].failure, None);
    until(&mut harness, "SBDM", |app| app.state().is_shown(10));
}

fn choose(harness: &mut Harness<'_, App>, menu: &str, entry: &str) {
    harness.get_by_role_and_label(Role::ComboBox, menu).click();
    harness.step();
    harness.step();
    harness.get_by_label(entry).click();
    harness.step();
    harness.step();
}

#[test]
fn branching_adds_a_lane_with_the_same_past() {
    let mut harness = still();
    go_to(&mut harness, 20);
    let first = harness.get_all_by_label("Branch here").next().unwrap();
    first.click();
    harness.step();
    assert_eq!(harness.state().state().lanes.len(), 3);
    until(&mut harness, "the branch", |app| {
        app.state().records[2].frames.len() > 20
    });
    let state = harness.state().state();
    assert_eq!(state.records[2].state(20), state.records[0].state(20));
    assert_ne!(state.records[2].state(21), state.records[0].state(21));
    harness.state_mut().apply(Action::Seek(40));
    until(&mut harness, "its way", |app| app.state().is_shown(40));
    shot(&mut harness, "branch");
}

#[test]
fn a_link_restores_the_picture_bit_for_bit() {
    let mut harness = still();
    harness.state_mut().apply(Action::SetSeed(5));
    harness
        .state_mut()
        .apply(Action::SetClasses(Classes::One(7)));
    go_to(&mut harness, 17);
    harness.get_by_label("Copy link").click();
    harness.step();
    let commands = &harness.output().platform_output.commands;
    let copied = commands.iter().find_map(|command| match command {
        egui::OutputCommand::CopyText(text) => Some(text.clone()),
        _ => None,
    });
    let start = Start {
        link: Some(copied.unwrap()),
        ..Start::default()
    };
    let mut other = open(start);
    until(&mut other, "the picture", |app| {
        app.state().n_steps() > 0 && app.state().is_shown(17)
    });
    assert_eq!(cursor(other.state()), 17);
    for lane in 0..2 {
        let [a, b] = [&harness, &other].map(|h| h.state().state().records[lane].state(17).cloned());
        assert_eq!(a, b, "lane {lane}");
    }
}

#[test]
fn pictures_carry_their_recipe() {
    let mut harness = still();
    go_to(&mut harness, 9);
    let state = harness.state().state().clone();
    for kind in [Export::Picture, Export::Animation] {
        let bytes = export::encode(kind, &state).unwrap();
        let image = image::load_from_memory(&bytes).unwrap();
        assert!(image.width() > 2 * 8 * 32 && image.height() >= 8 * 32);
        let mut other = still();
        drop_file(&mut other, &export::file_name(kind, &state), bytes);
        assert_eq!(cursor(other.state()), 9, "{kind:?}");
        assert_eq!(other.state().state().link(), state.link());
    }
    // A picture of something else restores nothing, and says so.
    let mut png = Vec::new();
    image::DynamicImage::new_rgb8(4, 4)
        .write_to(&mut Cursor::new(&mut png), image::ImageFormat::Png)
        .unwrap();
    drop_file(&mut harness, "cat.png", png);
    assert_eq!(cursor(harness.state()), 9);
    harness.get_by_label_contains("Not loaded");
}

#[test]
fn a_good_file_is_stepped_and_bad_ones_are_explained() {
    let good = include_bytes!("../assets/digits.safetensors").to_vec();
    let mut harness = still();
    drop_file(&mut harness, "mine.safetensors", good.clone());
    until(&mut harness, "the network", |app| {
        app.state().source == Source::File("mine.safetensors".into())
    });
    harness.get_by_label("Loaded");
    go_to(&mut harness, 2);

    let header_len = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&good[8..8 + header_len]).unwrap();
    let with_header = |header: &str| {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(&good[8 + header_len..]);
        file
    };
    let mut huge = good.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    // Another name of the same length: one tensor is missing, one too many.
    let renamed =
        with_header(&header.replace("final_layer.linear.bias", "final_layer.linear.base"));
    let misshaped = {
        let at = header.find("final_layer.linear.weight").unwrap();
        let shape = at + header[at..].find("[").unwrap();
        let end = shape + header[shape..].find("]").unwrap();
        let numbers: Vec<&str> = header[shape + 1..end].split(',').collect();
        let turned = format!("[{},{}", numbers[1], numbers[0]);
        with_header(&format!("{}{turned}{}", &header[..shape], &header[end..]))
    };
    let cases = [
        (
            "wrong magic",
            b"GGUF, which is another format".to_vec(),
            "is a GGUF file",
        ),
        ("truncated", good[..good.len() / 2].to_vec(), "truncated"),
        ("huge header", huge, "header"),
        (
            "missing tensor",
            renamed,
            "has no tensor final_layer.linear.bias",
        ),
        ("wrong shape", misshaped, "final_layer.linear.weight is"),
    ];
    for (what, bytes, expected) in cases {
        let name = format!("{what}.safetensors");
        drop_file(&mut harness, &name, bytes);
        harness.get_by_label(&name);
        harness.get_by_label_contains("Not loaded");
        assert!(
            harness
                .query_all_by_label_contains(expected)
                .next()
                .is_some(),
            "{what}: {:?}",
            harness.state().card()
        );
        // What was there goes on.
        assert_eq!(cursor(harness.state()), 2);
    }
}

#[test]
fn a_toy_is_learned_kept_and_stepped() {
    let mut harness = still();
    harness.get_by_label("Train").click();
    harness.step();
    harness.step();
    harness.get_by_label("Start training").click();
    harness.step();
    until(&mut harness, "twenty steps", |app| {
        app.state().training.step >= 20
    });
    harness.get_by_label("Pause training").click();
    until(&mut harness, "a pause", |app| {
        app.state().training.status == Status::Paused
    });
    let training = &harness.state().state().training;
    assert!(training.preview.is_some() && training.by_t().len() >= 5);
    assert!(training.curve.iter().all(|[_, loss]| loss.is_finite()));
    let step = training.step;
    for _ in 0..10 {
        harness.step();
    }
    assert_eq!(harness.state().state().training.step, step);
    harness.get_by_label("Step it in the lanes").click();
    until(&mut harness, "the lanes", |app| {
        app.state().model.as_ref().is_some_and(|m| m.is_plane()) && app.state().is_shown(0)
    });
    go_to(&mut harness, 30);
    shot(&mut harness, "train");
    harness.get_by_label("Go on").click();
    until(&mut harness, "going on", |app| {
        app.state().training.step > step + 5
    });
}

#[test]
fn the_tour_leads_to_six_different_pictures() {
    let mut harness = still();
    harness.get_by_label("Tour").click();
    harness.step();
    harness.step();
    for stop in STOPS {
        harness.get_by_label(stop.title).click();
        harness.step();
        until(&mut harness, stop.title, |app| {
            app.state()
                .model
                .as_ref()
                .is_some_and(|m| m.source == app.state().source)
                && cursor(app) >= 2
        });
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
    }
    shot(&mut harness, "tour");
}

#[test]
fn the_exact_field_of_a_mixture_ends_at_its_components() {
    let mut harness = still();
    let entry = "exact field of eight-gaussians";
    choose(&mut harness, "Network", entry);
    until(&mut harness, "the exact field", |app| {
        app.state().model.as_ref().is_some_and(|m| m.is_plane()) && app.state().is_shown(0)
    });
    harness.state_mut().apply(Action::SetSamples(256));
    go_to(&mut harness, 25);
    shot(&mut harness, "plane");
    go_to(&mut harness, 50);
    let state = harness.state().state();
    let mixture = mixture(&state.source).unwrap();
    for record in &state.records {
        let x = record.state(50).unwrap().as_chunks::<2>().0;
        let near = |p: &&[f32; 2]| {
            mixture.components().iter().any(|c| {
                let d = |i: usize| (f64::from(p[i]) - c.mean[i]) / c.std[i];
                d(0).hypot(d(1)) < 4.0
            })
        };
        let n = x.iter().filter(near).count();
        assert!(n >= 250, "{n} of 256 points are at a component");
    }
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
