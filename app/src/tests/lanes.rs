//! Tests of the lanes.

use super::{choose, cursor, go_to, open, press, shot, still, until, until_tested};
use crate::source::mixture;
use crate::state::{LONGEST_FRAME, LanesAction, PlaybackAction, Settings, ode, sde};
use crate::{App, Start};
use egui::Key;
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use sit_engine::transport::{
    DdpmMethod, DdpmSampler, Diffusion, DiffusionForm, Edm, Grid, Method, Ode, Path, Respacing,
    Sampler, SdeMethod,
};
use std::time::Duration;

#[test]
fn it_moves_by_itself_and_ends_in_digits() {
    let mut harness = open(Start::default());
    until(&mut harness, "the first step", |app| cursor(app) > 0);
    harness.state_mut().apply(PlaybackAction::ToggleLoop);
    harness.state_mut().apply(PlaybackAction::SetSpeed(1000.0));
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

/// If a browser draws by software, frames take so long that several steps pass in one.
#[test]
fn frames_that_are_asked_for_are_enough_to_go_on() {
    let builder = Harness::builder().with_step_dt(LONGEST_FRAME as f32);
    let mut harness = builder.build_eframe(|cc| App::new(cc, Start::default()).expect("a thread"));
    let (ask, asked) = std::sync::mpsc::channel();
    harness.ctx.set_request_repaint_callback(move |_| {
        // The receiver is gone when the last frame makes its requests.
        ask.send(()).ok();
    });
    harness.step();
    while cursor(harness.state()) < 20 {
        let frame = asked.recv_timeout(Duration::from_secs(20));
        frame.unwrap_or_else(|_| panic!("it stands at step {}", cursor(harness.state())));
        // Wait until everything requested is computed.
        std::thread::sleep(Duration::from_millis(300));
        while asked.try_recv().is_ok() {}
        harness.step();
    }
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
    let sampler = &harness.state().state().lanes[1].settings().sampler;
    let Sampler::Sde(sde) = sampler else {
        panic!("the second lane is the SDE");
    };
    assert_eq!(sde.diffusion.form, DiffusionForm::Constant);
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

#[test]
fn every_method_goes_to_its_end() {
    let mut harness = still();
    harness.state_mut().apply(LanesAction::SetSamples(4));
    let odes = Method::ALL.iter().map(|method| ode(*method, 6));
    let sdes = SdeMethod::ALL.iter();
    let sdes = sdes.map(|method| sde(*method, Diffusion::default(), 6));
    let chain = DdpmSampler {
        respacing: Some(Respacing::Sections(vec![6])),
        ..DdpmSampler::default()
    };
    let edm = Edm {
        n_steps: 6,
        churn: 2.0,
        ..Edm::default()
    };
    let along = Ode {
        n_steps: 6,
        along: Some(Path::Gvp),
        ..Ode::default()
    };
    let others = [chain.into(), edm.into(), along.into()];
    let noisy = sdes.chain(others).cycle();
    harness.get_by_role_and_label(Role::Button, "Step").click();
    let pairs = odes.zip(noisy);
    for samplers in pairs {
        for (lane, sampler) in <[Sampler; 2]>::from(samplers).into_iter().enumerate() {
            let settings = Settings {
                sampler,
                ..Settings::default()
            };
            harness
                .state_mut()
                .apply(LanesAction::SetLane(lane, settings));
        }
        // An adaptive method finds out how many steps it takes.
        loop {
            let n_steps = harness.state().state().n_steps();
            go_to(&mut harness, n_steps);
            let state = harness.state().state();
            if state.playback.cursor >= state.n_steps() {
                break;
            }
        }
        let state = harness.state().state();
        for record in &state.records {
            assert_eq!(record.failure, None);
            assert_eq!(record.frames.len(), record.steps.len());
        }
        assert_eq!(state.t(), 1.0);
    }
}

#[test]
fn more_settings_are_below_the_others() {
    let mut harness = still();
    harness.state_mut().apply(LanesAction::RemoveLane(0));
    harness.run_steps(2);
    choose(&mut harness, "Method", "pc");
    assert!(harness.query_by_label("Time grid").is_none());
    harness.get_by_label("More").click();
    harness.run_steps(3);
    choose(&mut harness, "Time grid", "shift");
    harness.get_by_label("Shift s");
    harness.get_by_label("Noise from t =");
    for label in ["Corrector's steps", "Corrector's snr"] {
        harness.get_by_role_and_label(Role::SpinButton, label);
    }
    let Sampler::Sde(sde) = &harness.state().state().lanes[0].settings().sampler else {
        panic!("the lane is the SDE");
    };
    assert_eq!(sde.grid, Grid::Shift(3.0));
    assert_eq!(harness.state().state().n_steps(), 2 * 49 + 1);
    go_to(&mut harness, 30);
    shot(&mut harness, "more");
    // One Brownian path needs equal steps.
    harness.get_by_label("One Brownian path").click();
    harness.run_steps(3);
    let failure = harness.state().state().records[0].failure.clone().unwrap();
    assert!(failure.contains("the time grid shift:3"), "{failure}");
    harness.get_by_label("ODE").click();
    harness.run_steps(3);
    // An adaptive method chooses its times, by what error it tolerates.
    choose(&mut harness, "Method", "dopri5");
    for label in ["rtol", "atol", "Most evaluations"] {
        assert!(
            harness.query_all_by_label(label).next().is_some(),
            "{label}"
        );
    }
    assert!(harness.query_by_label("Time grid").is_none());
    go_to(&mut harness, 4);
    shot(&mut harness, "adaptive");
    choose(&mut harness, "Method", "euler");
    harness.get_by_label("Last step by Euler's method").click();
    harness.run_steps(3);
    choose(&mut harness, "Method", "unipc");
    let failure = harness.state().state().records[0].failure.clone().unwrap();
    assert!(failure.starts_with("the last step: got euler"), "{failure}");
}

#[test]
fn other_kinds_of_samplers_have_their_controls() {
    let mut harness = still();
    harness.state_mut().apply(LanesAction::SetSamples(8));
    harness.state_mut().apply(LanesAction::RemoveLane(1));
    harness.state_mut().apply(LanesAction::AddLane);
    harness.run_steps(3);
    let sampler = |app: &App| app.state().lanes[0].settings().sampler.clone();
    let first = |harness: &mut Harness<'_, App>, label: &str| {
        harness.get_all_by_label(label).next().unwrap().click();
        harness.run_steps(3);
    };
    let is_well = |app: &App| app.state().records[0].failure.is_none();
    first(&mut harness, "EDM");
    assert!(matches!(sampler(harness.state()), Sampler::Edm(edm) if edm.n_steps == 50));
    harness.get_by_role_and_label(Role::SpinButton, "Churn");
    assert!(is_well(harness.state()));
    assert!(harness.query_by_label("Churn from σ =").is_none());
    first(&mut harness, "More");
    for label in ["Noise levels σ from", "Exponent ρ"] {
        harness.get_by_role_and_label(Role::SpinButton, label);
    }
    go_to(&mut harness, 25);
    // Its states have another share of noise than the ODE's at the same t.
    harness.get_by_label_contains("not compared: they follow different paths");
    harness.get_by_label("1: EDM, heun");
    shot(&mut harness, "edm");
    first(&mut harness, "DDPM");
    let Sampler::Ddpm(ddpm) = sampler(harness.state()) else {
        panic!("the chain");
    };
    assert_eq!(ddpm.respacing, Some(Respacing::Sections(vec![50])));
    assert!(is_well(harness.state()));
    harness.get_by_role_and_label(Role::ComboBox, "Spacing");
    assert!(harness.query_by_label("New noise η").is_none());
    for label in ["Variance", "Noise schedule"] {
        harness.get_by_role_and_label(Role::ComboBox, label);
    }
    first(&mut harness, "Clip predicted x₁ to ±");
    choose_first(&mut harness, "Method", "ddim");
    harness.get_by_role_and_label(Role::SpinButton, "New noise η");
    let Sampler::Ddpm(ddpm) = sampler(harness.state()) else {
        panic!("the chain");
    };
    assert_eq!((ddpm.method, ddpm.clip_x0), (DdpmMethod::Ddim, Some(1.0)));
    go_to(&mut harness, 50);
    assert_eq!(harness.state().state().t(), 1.0);
    // Both lanes end in data, and are compared there.
    until_tested(&mut harness);
    harness.get_by_label_contains("at t = 1.000: ");
    shot(&mut harness, "ddim");
    choose_first(&mut harness, "Spacing", "every k-th");
    assert!(is_well(harness.state()));
    // No whole k takes 499 of 1000 levels.
    for (n, refused) in [(499, true), (50, false)] {
        let mut settings = harness.state().state().lanes[0].settings().clone();
        if let Sampler::Ddpm(ddpm) = &mut settings.sampler {
            ddpm.respacing = Some(Respacing::Ddim(n));
        }
        harness.state_mut().apply(LanesAction::SetLane(0, settings));
        let failure = harness.state().state().records[0].failure.clone();
        let expected = |failure: String| failure.starts_with("the spacing: got ddim499");
        assert_eq!(failure.is_some_and(expected), refused);
    }
    // Back to the ODE, along another path.
    first(&mut harness, "ODE");
    choose_first(&mut harness, "Along the path", "GVP");
    assert_eq!(sampler(harness.state()).along(), Some(Path::Gvp));
    go_to(&mut harness, 20);
    harness.get_by_label_contains("not compared: they follow different paths");
    harness.get_by_label("Marginals").click();
    harness.run_steps(3);
    harness.get_by_label_contains("between the ends their distributions should not agree");
    shot(&mut harness, "along");
}

fn choose_first(harness: &mut Harness<'_, App>, menu: &str, entry: &str) {
    let mut menus = harness.get_all_by_role_and_label(Role::ComboBox, menu);
    menus.next().unwrap().click();
    drop(menus);
    harness.run_steps(3);
    harness.get_by_label(entry).click();
    harness.run_steps(3);
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
    harness.state_mut().apply(PlaybackAction::Seek(40));
    until(&mut harness, "its way", |app| app.state().is_shown(40));
    shot(&mut harness, "branch");
}

#[test]
fn the_exact_field_of_a_mixture_ends_at_its_components() {
    let mut harness = still();
    let entry = "exact field of eight-gaussians";
    choose(&mut harness, "Network", entry);
    until(&mut harness, "the exact field", |app| {
        app.state().model.as_ref().is_some_and(|m| m.is_plane()) && app.state().is_shown(0)
    });
    harness.state_mut().apply(LanesAction::SetSamples(256));
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

#[test]
fn two_lanes_of_one_sample_come_to_their_end() {
    let mut harness = still();
    harness.state_mut().apply(LanesAction::SetSamples(1));
    go_to(&mut harness, 50);
    until_tested(&mut harness);
    harness.get_by_label_contains("too few samples");
}
