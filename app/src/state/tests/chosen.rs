//! Lanes whose steps an adaptive solver chooses.

use super::*;

fn of(sampler: Sampler) -> Settings {
    Settings {
        sampler,
        ..Settings::default()
    }
}

#[test]
fn steps_that_are_chosen_on_the_way_are_played_and_inherited() {
    let mut state = ready();
    state.apply(LanesAction::SetLane(0, of(ode(Method::Dopri5, 1))));
    assert_eq!((state.lead(), state.n_steps(), state.t()), (0, 1, 0.0));
    assert_eq!(state.records[0].steps.total(), "0+");
    assert!(!state.is_shown(0), "nothing is computed");
    state.playback.playing = false;
    compute(&mut state);
    // The lane and the other one are a step ahead, and nothing is computed beyond.
    assert_eq!(state.records[0].frames.len(), 1);
    assert_eq!(state.records[0].steps.total(), "1+");
    assert_eq!(compute(&mut state), 0);
    assert!(state.is_shown(1) && !state.is_shown(2));
    state.playback.playing = true;
    play(&mut state, 1.0);
    // Steps of 0.15 and a shorter last one.
    let record = &state.records[0];
    assert_eq!((record.steps.total().as_str(), record.t(7)), ("7", 1.0));
    assert!(record.is_whole() && record.nfe(7) == 56);
    assert_eq!((state.playback.cursor, state.t()), (7, 1.0));
    assert_eq!(state.position(1), 50);

    // A branch by an SDE keeps the steps before it; its own are known.
    state.apply(PlaybackAction::Seek(3));
    state.apply(LanesAction::Branch(None));
    let [parent, branch] = [0, 2].map(|lane| state.records[lane].clone());
    assert_eq!(branch.steps[..3], parent.steps[..3]);
    assert_eq!(branch.frames, parent.frames[..3]);
    assert!(branch.steps.is_whole() && branch.steps[3..].iter().all(|s| s.segment == 1));
    assert_eq!(branch.t(3), parent.t(3));
    // From other noise, its first segment is chosen anew, and ends where the branch began.
    state.apply(LanesAction::NewNoise);
    assert_eq!(state.records[2].steps.total(), "0+");
    state.playback.playing = true;
    play(&mut state, 1.0);
    let record = &state.records[2];
    assert!(record.is_whole() && record.t(3) == parent.t(3));
    assert_eq!(record.steps.len(), branch.steps.len());

    // A time is found when its step is known.
    state.apply(LanesAction::NewNoise);
    state.apply(PlaybackAction::SeekTime(0.7));
    assert_eq!(state.playback.cursor, 0);
    for _ in 0..8 {
        compute(&mut state);
    }
    assert_eq!(
        (state.playback.cursor, state.records[0].t(4)),
        (4, state.t())
    );
    // After a restart in play, the cursor waits for its step and is not at the end.
    state.apply(PlaybackAction::Seek(6));
    compute(&mut state);
    state.playback.playing = true;
    state.apply(LanesAction::NewNoise);
    state.apply(PlaybackAction::Tick(2.0));
    assert!(state.playback.cursor == 6 && state.n_steps() == 7);
    play(&mut state, 0.5);
    assert_eq!(state.playback.cursor, 7);

    // A branch by an adaptive solver, within a lane of another kind.
    state.apply(PlaybackAction::Seek(2));
    state.apply(LanesAction::Branch(Some((1, of(ode(Method::Bosh3, 1))))));
    let record = &state.records[3];
    let from = state.position(1);
    assert_eq!((record.frames.len(), record.steps.len()), (from, from));
    assert_eq!(record.steps.open().unwrap().times, [record.t(from), 1.0]);
    // Another tolerance does not keep the steps that are not whole.
    play(&mut state, 0.2);
    let mut settings = state.lanes[3].settings().clone();
    if let Sampler::Ode(ode) = &mut settings.sampler {
        ode.tolerance.rtol = 1e-2;
    }
    state.apply(LanesAction::SetLane(3, settings));
    assert_eq!(state.records[3].frames.len(), from);
    // A picture is shown when all lanes have reached its time.
    assert!(!state.is_shown(7));
    state.apply(PlaybackAction::Seek(7));
    play(&mut state, 0.1);
    assert!(state.is_shown(7));
}

#[test]
fn a_record_that_grows_beyond_its_budget_ends() {
    let mut state = ready();
    state.apply(LanesAction::SetSamples(MAX_SAMPLES));
    state.apply(LanesAction::SetLane(0, of(ode(Method::Dopri5, 1))));
    let mut big = model();
    big.io.image = [1, 128, 128];
    state.apply(Action::ModelReady(Box::new(big)));
    assert_eq!(state.records[0].failure, None);
    compute(&mut state);
    compute(&mut state);
    state.apply(PlaybackAction::Seek(2));
    compute(&mut state);
    state.apply(PlaybackAction::Seek(3));
    compute(&mut state);
    let failure = state.records[0].failure.as_ref().unwrap();
    assert!(failure.contains("fewer samples"), "{failure}");
}
