//! Uses the state as a user does, with steps from a simulated job.

mod chosen;

use super::*;
use sit_engine::model::{Dit, Network as _};
use sit_engine::transport::{Adaptive, Diffusion, Guidance, Method, Sampler, SdeMethod, Transport};
use std::sync::Arc;

const DIT: Dit = Dit {
    input_size: 4,
    channels: 1,
    patch: 2,
    dim: 8,
    depth: 1,
    n_heads: 1,
    n_classes: 3,
    learn_sigma: false,
    ..Dit::SIT
};

fn model() -> Model {
    Model {
        latents: None,
        of_images: false,
        source: Source::Digits,
        network: Some(DIT.into()),
        io: DIT.io(),
        transport: Transport::default(),
        classes: Vec::new(),
    }
}

fn ready() -> State {
    let mut state = State::default();
    state.apply(LanesAction::SetSamples(2));
    state.apply(Action::ModelReady(Box::new(model())));
    state
}

/// Computes what the state asks for; the numbers tell run and step.
fn compute(state: &mut State) -> usize {
    let mut n = 0;
    for lane in 0..state.lanes.len() {
        let run = state.records[lane].run;
        let value = |k: usize| -> Arc<[f32]> { vec![(100 * run) as f32 + k as f32; 32].into() };
        if !state.records[lane].is_started() {
            state.apply(RunAction::Started { run, x: value(0) });
        }
        while state.records[lane].frames.len() < state.target(lane) {
            let k = state.records[lane].frames.len();
            let step = next(&state.records[lane]);
            let frame = Frame {
                x: value(k + 1),
                cond: value(k),
                uncond: None,
                noise: (step.noise() != 0.0).then(|| value(k)),
                ms: 1.0,
                ..Frame::default()
            };
            let step = Box::new(step);
            state.apply(RunAction::Stepped { run, step, frame });
            n += 1;
        }
    }
    n
}

/// The next step of a lane; that of an adaptive solver is chosen as 0.15 long.
fn next(record: &Record) -> LaneStep {
    let k = record.frames.len();
    if let Some(step) = record.steps.get(k) {
        return *step;
    }
    let open = record.steps.open().expect("another step");
    let sampler = &record.settings[open.segment].sampler;
    let solver = Adaptive::new(&Transport::default(), sampler).unwrap();
    let t = if k == 0 { open.times[0] } else { record.t(k) };
    let step = solver.between(open.times).step(t, 0.15).unwrap();
    LaneStep {
        nfe: 8,
        ..LaneStep::new(step, open.segment)
    }
}

fn play(state: &mut State, seconds: f64) {
    for _ in 0..(seconds * 60.0) as usize {
        compute(state);
        state.apply(PlaybackAction::Tick(1.0 / 60.0));
    }
}

#[test]
fn plays_at_once_and_records_every_step() {
    let mut state = ready();
    play(&mut state, 1.0);
    assert!(
        (14..=15).contains(&state.playback.cursor),
        "{}",
        state.playback.cursor
    );
    assert!(state.playback.live);
    play(&mut state, 3.0);
    assert_eq!(state.playback.cursor, 50);
    for record in &state.records {
        assert_eq!(record.frames.len(), 50);
        assert_eq!(record.t(50), 1.0);
    }
}

#[test]
fn scrubbing_computes_nothing_and_looks_like_history() {
    let mut state = ready();
    play(&mut state, 4.0);
    state.apply(PlaybackAction::Seek(10));
    assert_eq!(
        (
            state.playback.cursor,
            state.playback.playing,
            state.playback.live
        ),
        (10, false, false)
    );
    assert_eq!(compute(&mut state), 0);
    state.apply(PlaybackAction::StepBack);
    state.apply(PlaybackAction::StepForward);
    state.apply(PlaybackAction::StepForward);
    assert_eq!(state.playback.cursor, 11);
    state.apply(PlaybackAction::Home);
    assert_eq!((state.playback.cursor, state.t()), (0, 0.0));
    state.apply(PlaybackAction::StepBack);
    assert_eq!(state.playback.cursor, 0);
    state.apply(PlaybackAction::End);
    assert_eq!((state.playback.cursor, state.t()), (50, 1.0));
    state.apply(PlaybackAction::StepForward);
    assert_eq!(state.playback.cursor, 50);
    assert_eq!(compute(&mut state), 0);
}

#[test]
fn stepping_at_the_head_computes_one_step() {
    let mut state = ready();
    state.apply(PlaybackAction::TogglePlay);
    compute(&mut state);
    assert_eq!(state.records[0].frames.len(), 1);
    state.apply(PlaybackAction::StepForward);
    assert_eq!(compute(&mut state), 2);
    assert!(state.playback.live);
    assert_eq!((state.position(0), state.position(1)), (1, 1));
}

#[test]
fn lanes_of_different_steps_are_linked_by_time() {
    let mut state = ready();
    let coarse = Settings {
        sampler: ode(Method::Heun, 10),
        ..Settings::default()
    };
    state.apply(LanesAction::SetLane(1, coarse));
    state.apply(PlaybackAction::Seek(24));
    assert_eq!((state.position(0), state.position(1)), (24, 4));
    compute(&mut state);
    assert!(state.is_shown(24));
    state.apply(PlaybackAction::Seek(50));
    assert_eq!(state.position(1), 10);
}

#[test]
fn a_change_starts_a_new_run_and_old_steps_are_not_taken() {
    let mut state = ready();
    compute(&mut state);
    let old = state.records[1].run;
    let mut settings = state.lanes[1].settings().clone();
    settings.noise_seed = 7;
    let kept = state.records[0].clone();
    state.apply(LanesAction::SetLane(1, settings));
    assert_ne!(state.records[1].run, old);
    assert!(!state.records[1].is_started());
    assert_eq!(state.records[0].frames, kept.frames);
    state.apply(RunAction::Started {
        run: old,
        x: Arc::new([0.0; 32]),
    });
    assert!(!state.records[1].is_started());
    let (step, frame) = (Box::new(kept.steps[0]), kept.frames[0].clone());
    state.apply(RunAction::Stepped {
        run: old,
        step,
        frame,
    });
    assert!(state.records[1].frames.is_empty());
    state.apply(LanesAction::NewNoise);
    assert_eq!(state.seed, 1);
    assert!(state.records.iter().all(|r| r.frames.is_empty()));
}

#[test]
fn a_branch_shares_the_past() {
    let mut state = ready();
    play(&mut state, 4.0);
    state.apply(PlaybackAction::Seek(20));
    state.apply(LanesAction::Branch(None));
    assert_eq!(state.lanes.len(), 3);
    assert_eq!(state.records[2].frames.len(), 20);
    assert_eq!(state.records[2].frames[..], state.records[0].frames[..20]);
    assert_eq!(state.position(2), 20);
    compute(&mut state);
    assert!(state.records[2].frames.len() > 20);
    assert!(
        state.records[2].steps[20..49]
            .iter()
            .all(|s| s.noise() > 0.0)
    );
    // Its settings change from the branch on.
    let other = Settings {
        class: Some(1),
        ..state.lanes[2].settings().clone()
    };
    state.apply(LanesAction::SetLane(2, other));
    assert_eq!(state.records[2].frames.len(), 20);
    assert_eq!(state.labels(state.lanes[2].settings_at(0.9)), [1, 1]);
    assert_eq!(state.labels(state.lanes[2].settings_at(0.1)), [0, 1]);
    // With four lanes, the branch replaces the last one.
    state.apply(LanesAction::AddLane);
    assert_eq!(state.lanes.len(), 4);
    state.apply(LanesAction::Branch(None));
    assert_eq!(state.lanes.len(), 4);
    while state.lanes.len() > 1 {
        state.apply(LanesAction::RemoveLane(0));
    }
    state.apply(LanesAction::RemoveLane(0));
    assert_eq!(state.lanes.len(), 1);
}

#[test]
fn several_steps_at_one_time_are_played() {
    let mut state = ready();
    let Sampler::Sde(mut sde) = sde(SdeMethod::PredictorCorrector, Diffusion::default(), 5) else {
        panic!("an SDE");
    };
    sde.corrector.steps = 7;
    let settings = Settings {
        sampler: sde.into(),
        ..Settings::default()
    };
    state.apply(LanesAction::SetLane(0, settings));
    assert_eq!(state.n_steps(), 4 * 8 + 1);
    state.playback.speed = SPEEDS[0];
    compute(&mut state);
    assert!(state.is_shown(1) && !state.is_shown(9));
    play(&mut state, 3.0);
    assert_eq!(state.playback.cursor, 1);
    // The other lane is at the time of the first corrector's step.
    assert_eq!((state.t(), state.position(1)), (0.2, 10));
    state.playback.speed = 120.0;
    play(&mut state, 1.0);
    assert_eq!((state.playback.cursor, state.t()), (33, 1.0));
    // A branch after a predictor keeps its correctors.
    state.apply(PlaybackAction::Seek(9));
    state.apply(LanesAction::Branch(None));
    let branch = &state.records[2];
    assert!(branch.t(16) == 0.4 && branch.t(17) > 0.4);
    assert_eq!(branch.steps[..16], state.records[0].steps[..16]);
    assert_eq!(branch.frames[..16], state.records[0].frames[..16]);
}

#[test]
fn a_branch_does_not_go_on_without_what_its_past_kept() {
    let mut state = ready();
    let settings = Settings {
        sampler: ode(Method::UniPc, 10),
        ..Settings::default()
    };
    state.apply(LanesAction::SetLane(0, settings));
    state.apply(PlaybackAction::Seek(2));
    compute(&mut state);
    let done = state.records[0].frames.len();
    assert_eq!(done, 3);
    // Not all of the past is computed: that needs what the third step kept.
    state.apply(PlaybackAction::Seek(5));
    state.apply(LanesAction::Branch(None));
    assert!(state.records[2].is_started() && state.records[2].frames.is_empty());
    compute(&mut state);
    state.apply(LanesAction::Branch(None));
    assert_eq!(state.records[3].frames.len(), 5);
}

#[test]
fn a_refused_lane_says_why_and_another_leads() {
    let mut state = ready();
    let mut settings = state.lanes[0].settings().clone();
    settings.guidance = Guidance {
        interval: [0.9, 0.1],
        ..Guidance::default()
    };
    state.apply(LanesAction::SetLane(0, settings));
    let failure = state.records[0].failure.as_ref().unwrap();
    assert!(failure.contains("the guidance interval"), "{failure}");
    assert_eq!(state.lead(), 1);
    play(&mut state, 4.0);
    assert_eq!(state.playback.cursor, 50);
    // More than the memory budget.
    let mut state = ready();
    state.apply(LanesAction::SetSamples(MAX_SAMPLES));
    let mut big = model();
    big.io.image = [1, 256, 256];
    state.apply(Action::ModelReady(Box::new(big)));
    let failure = state.records[0].failure.as_ref().unwrap();
    assert!(failure.contains("fewer samples"), "{failure}");
    play(&mut state, 0.1);
}

#[test]
fn a_link_restores_the_picture() {
    let mut state = ready();
    let mut settings = state.lanes[1].settings().clone();
    settings.noise_seed = 3;
    state.apply(LanesAction::SetLane(1, settings));
    state.apply(LanesAction::SetClasses(Classes::One(2)));
    state.apply(LanesAction::SetSeed(11));
    play(&mut state, 4.0);
    state.apply(PlaybackAction::Seek(20));
    state.apply(LanesAction::Branch(None));
    state.apply(ViewAction::SetQuantity(Quantity::Velocity));
    let link = state.link();

    let mut other = State::default();
    other.apply(Action::Restore(Box::new(
        Link::decode(&link.encode()).unwrap(),
    )));
    other.apply(Action::ModelReady(Box::new(model())));
    compute(&mut other);
    assert_eq!(other.link(), link);
    assert_eq!(
        (other.t(), other.position(2)),
        (state.t(), state.position(2))
    );
    assert_eq!(other.labels(other.lanes[0].settings()), [2, 2]);
    assert!(other.is_shown(20));
}

#[test]
fn no_two_shortcuts_clash() {
    let all = shortcuts();
    for (i, a) in all.iter().enumerate() {
        for b in &all[..i] {
            assert!(
                (a.key, a.shift) != (b.key, b.shift),
                "{}: {} and {}",
                a.key,
                a.help,
                b.help
            );
        }
    }
}
