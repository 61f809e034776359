//! Tests of what is made of samples: latents as pictures, and likelihoods.

use super::{choose, drop_file, drop_files, go_to, network_file, shot, still, until};
use crate::App;
use crate::state::{
    Action, Export, LanesAction, Layout, LogDensity, Quantity, Source, State, Tab, ViewAction,
};
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable as _;
use sit_engine::autoencoder::{Autoencoder, TinyAutoencoder};
use sit_engine::backend::Device;
use sit_engine::checkpoint::{Data, Latents, Reader};
use sit_engine::model::Model;
use sit_engine::sample::{Draw, Sampling, Trace};
use sit_engine::transport::{Method, Sampler};
use std::path::PathBuf;

const DECODER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/fixtures/taef2/taef2_decoder.pth"
);
const SCALE: f64 = 2.0;
const SHIFT: f64 = 0.25;
/// Side of a picture.
const SIDE: usize = 16;

/// A network of random weights whose samples are latents.
fn latent_network(latent_channels: usize) -> Vec<u8> {
    let latents = Some(Latents {
        autoencoder: "taef2.safetensors".into(),
        weights: "00000000".into(),
        scale: SCALE,
        shift: SHIFT,
    });
    let data = Data {
        name: "photographs".into(),
        max_level: 255,
        latents,
    };
    network_file([latent_channels, SIDE / 8], 1, Some(data))
}

fn decoder_config() -> TinyAutoencoder {
    let file = std::fs::File::open(DECODER).unwrap();
    let reader = Reader::new("decoder", file).unwrap();
    match sit_engine::autoencoder::recognize(&reader).unwrap() {
        sit_engine::autoencoder::AutoencoderConfig::Tiny(tiny) => tiny,
        other => panic!("{other:?}"),
    }
}

/// The engine's pictures of latents as the network makes them.
fn pictures(x: &[f32]) -> Vec<f32> {
    let file = std::fs::File::open(DECODER).unwrap();
    let mut reader = Reader::new("decoder", file).unwrap();
    let loaded = Autoencoder::load(&Device::Cpu, decoder_config(), &mut reader).unwrap();
    let z: Vec<f32> = x
        .iter()
        .map(|x| (f64::from(*x) / SCALE + SHIFT) as f32)
        .collect();
    let mut decoder = loaded.decoder([SIDE, SIDE], 1, None).unwrap();
    decoder.decode(&z).unwrap()
}

fn open_both(harness: &mut Harness<'_, App>) {
    let network = latent_network(decoder_config().latent_channels);
    drop_file(harness, "latents.safetensors", network);
    until(harness, "the network", |app| {
        let model = app.state().model.as_ref();
        model.is_some_and(|m| m.source == Source::File("latents.safetensors".into()))
    });
    harness.get_by_label_contains("its samples are latents of taef2.safetensors");
    drop_files(harness, [(PathBuf::from(DECODER), Vec::new())]);
    until(harness, "the decoder", |app| {
        app.state().decoding.autoencoder.is_some()
    });
    harness.get_by_label_contains("taef2_decoder.pth, decodes the samples of the lanes");
}

fn is_decoded(state: &State) -> bool {
    state.to_decode().is_empty() && state.moment(0, state.position(0)).is_some()
}

#[test]
fn latents_are_shown_as_their_decoder_makes_them() {
    let mut harness = still();
    harness.state_mut().apply(LanesAction::SetSamples(4));
    open_both(&mut harness);
    go_to(&mut harness, 50);
    until(&mut harness, "pictures", |app| is_decoded(app.state()));
    let state = harness.state().state();
    for lane in 0..2 {
        let moment = state.moment(lane, 50).unwrap();
        let decoded = state.decoded(&moment).unwrap();
        assert_eq!(moment.n, 4);
        let own = pictures(state.records[lane].state(50).unwrap());
        assert_eq!(decoded.pictures.len(), 4 * 3 * SIDE * SIDE);
        assert_eq!(decoded.pictures[..], own[..], "lane {lane}");
    }
    let said = "Decoded by taef2_decoder.pth (latents of taef2.safetensors)";
    assert_eq!(harness.get_all_by_label(said).count(), 2);
    shot(&mut harness, "latents");

    // Velocities are no pictures, nor is a latent as it is.
    for (quantity, latents, is_shown) in [
        (Quantity::Velocity, false, false),
        (Quantity::Predicted, false, true),
        (Quantity::State, true, false),
        (Quantity::State, false, true),
    ] {
        harness.state_mut().apply(ViewAction::SetQuantity(quantity));
        if harness.state().state().view.latents != latents {
            harness.step();
            harness
                .get_by_role_and_label(Role::CheckBox, "Decode")
                .click();
        }
        harness.step();
        harness.step();
        let n = harness.query_all_by_label_contains("Decoded by").count();
        assert_eq!(n > 0, is_shown, "{quantity:?}, latents {latents}");
    }

    // A film strip has the pictures of its steps.
    harness
        .state_mut()
        .apply(ViewAction::SetLayout(Layout::Film));
    until(&mut harness, "the strip", |app| is_decoded(app.state()));
    shot(&mut harness, "latents-film");

    // An animation waits for the pictures of every step, which nobody has looked at.
    harness
        .state_mut()
        .apply(ViewAction::SetLayout(Layout::Grid));
    harness.state_mut().apply(Action::Export(Export::Gif));
    harness.step();
    assert!(harness.state().state().saving.is_some());
    until(&mut harness, "the animation", |app| {
        app.state().saving.is_none()
    });
    let state = harness.state().state();
    let at = |position| state.decoded(&state.moment(1, position).unwrap()).is_some();
    assert!((0..=50).all(at));

    // Neither other lanes nor another autoencoder keep an animation waiting for ever.
    harness.state_mut().apply(LanesAction::SetSeed(1));
    go_to(&mut harness, 20);
    harness.state_mut().apply(Action::Export(Export::Gif));
    harness.step();
    harness.state_mut().apply(LanesAction::SetSeed(2));
    until(&mut harness, "the other animation", |app| {
        app.state().saving.is_none()
    });
    let notices = &harness.state().state().notices;
    assert!(
        !notices.iter().any(|n| n.contains("given up")),
        "{notices:?}"
    );
    go_to(&mut harness, 20);
    harness.state_mut().apply(Action::Export(Export::Gif));
    harness.step();
    drop_files(&mut harness, [(PathBuf::from(DECODER), Vec::new())]);
    harness.state_mut().apply(LanesAction::SetSeed(3));
    until(&mut harness, "pictures of the same decoder again", |app| {
        app.state().saving.is_none() && is_decoded(app.state())
    });
}

#[test]
fn an_autoencoder_of_other_latents_decodes_nothing() {
    let mut harness = still();
    drop_files(&mut harness, [(PathBuf::from(DECODER), Vec::new())]);
    until(&mut harness, "the decoder", |app| {
        app.state().decoding.autoencoder.is_some()
    });
    harness.get_by_label_contains("which these samples are not");
    assert!(
        harness
            .query_by_role_and_label(Role::CheckBox, "Decode")
            .is_none()
    );
    assert!(harness.state().state().decoder().is_none());
    let encoder = DECODER.replace("_decoder", "_encoder");
    drop_files(&mut harness, [(PathBuf::from(encoder), Vec::new())]);
    harness.get_by_label_contains("It has the encoder alone");
}

fn weigh(harness: &mut Harness<'_, App>) -> Vec<Option<LogDensity>> {
    harness
        .state_mut()
        .apply(ViewAction::SetTab(Tab::Marginals));
    harness.step();
    harness.step();
    let label = "Measure log p of the finished samples";
    if !harness.state().state().weighing {
        harness.get_by_role_and_label(Role::CheckBox, label).click();
    }
    let is_done = |density: &Option<LogDensity>| {
        matches!(
            density,
            Some(LogDensity::Mean { .. } | LogDensity::Refused(_))
        )
    };
    until(harness, "likelihoods", |app| {
        app.state().records.iter().all(|r| is_done(&r.density))
    });
    let records = &harness.state().state().records;
    records.iter().map(|r| r.density.clone()).collect()
}

#[test]
fn likelihoods_of_finished_samples_are_the_engines() {
    let mut harness = still();
    harness.state_mut().apply(LanesAction::SetSamples(5));
    go_to(&mut harness, 50);
    let measured = weigh(&mut harness);
    assert!(harness.query_all_by_label_contains(" a value").count() >= 2);
    shot(&mut harness, "likelihood");
    let file = std::io::Cursor::new(include_bytes!("../../assets/digits.safetensors"));
    let mut reader = Reader::new("digits", file).unwrap();
    let network = reader.recipe().unwrap().unwrap();
    let model = Model::zeros(&Device::Cpu, network.model, network.transport).unwrap();
    reader.load(&model).unwrap();
    for (lane, density) in measured.into_iter().enumerate() {
        let Some(LogDensity::Mean { nats, .. }) = density else {
            panic!("{density:?}");
        };
        let sampling = Sampling::new(model.clone(), Sampler::ode(Method::Heun, 25)).batch(3);
        let trace = Trace::Hutchinson {
            n_probes: 4,
            draw: Draw::Rademacher,
            is_fresh: false,
        };
        let mut engine = sampling.likelihood(trace).unwrap();
        let x = harness.state().state().records[lane].state(50).unwrap();
        engine.add(&[0, 1, 2, 3, 4], x, &[0, 1, 2, 3, 4]).unwrap();
        let mut all = Vec::new();
        while !engine.is_empty() {
            all.extend(engine.step().unwrap());
        }
        let mean = all.iter().map(|one| one.nats).sum::<f64>() / 5.0;
        assert!((mean - nats).abs() < 1e-9 * mean.abs(), "{mean} {nats}");
    }

    // The exact field knows the density of its points.
    choose(&mut harness, "Network", "exact field of two-gaussians");
    until(&mut harness, "the field", |app| {
        app.state().model.as_ref().is_some_and(|m| m.is_plane()) && app.state().is_shown(0)
    });
    go_to(&mut harness, 50);
    for density in weigh(&mut harness) {
        let Some(LogDensity::Mean { nats, .. }) = density else {
            panic!("{density:?}");
        };
        assert!((-6.0..2.0).contains(&nats), "{nats}");
    }
}
