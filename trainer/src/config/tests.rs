mod files;
mod refusals;

use std::fs;
use std::path::Path;

use sit_engine::model::{Dit, ModelConfig};
use sit_engine::optim::Schedule;
use sit_engine::transport;

use super::*;
use crate::data::digits;

fn preset(name: &str, overrides: &[&str]) -> Result<RunConfig, ConfigError> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    RunConfig::load(Source::Preset(name), &overrides)
}

fn dit(config: &RunConfig) -> Dit {
    match config.model {
        ModelConfig::Dit(dit) => dit,
        ref other => panic!("{other} is no DiT"),
    }
}

fn error(overrides: &[&str]) -> String {
    let config = preset("digits", overrides).and_then(|config| config.validate());
    config.expect_err("refused").to_string()
}

#[test]
fn every_preset_loads_and_round_trips() {
    let names = preset_names();
    assert_eq!(names.len(), 21 + 36);
    for name in &names {
        let config = preset(name, &[]).unwrap();
        config.model.validate(1).unwrap();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<RunConfig>(&json).unwrap(),
            config,
            "{json}"
        );

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, config.to_toml().unwrap()).unwrap();
        let again = RunConfig::load(Source::File(&path), &[]).unwrap();
        assert_eq!(again, config, "{}", config.to_toml().unwrap());
    }
    for name in [
        "digits",
        "digits-smoke",
        "fashion-mnist",
        "moons",
        "moons-to-rings",
        "app-digits",
        "digits-unet",
    ] {
        preset(name, &[]).unwrap().validate().unwrap();
    }
    for name in [
        "pictures-32",
        "latents-8",
        "image-folder-64",
        "image-folder-64-unet",
    ] {
        preset(name, &["data.path=x"]).unwrap().validate().unwrap();
    }
}

#[test]
fn the_published_sizes_by_either_name() {
    for name in ["SiT-XL/2", "sit-xl-2", "SIT-xl-2"] {
        let config = preset(name, &[]).unwrap();
        assert_eq!(Some(dit(&config)), Dit::preset("SiT-XL/2"));
        assert_eq!(
            config.log.folder.as_deref(),
            Some(Path::new("runs/sit-xl-2"))
        );
    }
    let latents = ["data.path=x"];
    preset("SiT-B/4", &latents).unwrap().validate().unwrap();
    let of_images = ["data.path=x", "data.kind=folder", "data.image_size=32"];
    let message = preset("SiT-B/4", &of_images)
        .unwrap()
        .validate()
        .unwrap_err()
        .to_string();
    assert!(
        message.starts_with("model.channels: got 4, expected 3, the channels of the images of "),
        "{message}"
    );
    let images = ["model.channels=3", "model.n_classes=0"];
    let images = [&of_images[..], &images].concat();
    preset("SiT-B/4", &images).unwrap().validate().unwrap();
}

#[test]
fn a_model_preset_in_a_file_fills_what_is_not_given() {
    let config = preset("image-folder-64", &["model.depth=3"]).unwrap();
    let Dit {
        patch,
        dim,
        depth,
        n_heads,
        ..
    } = dit(&config);
    assert_eq!((patch, dim, depth, n_heads), (4, 384, 3, 6));
    assert_eq!(
        error(&["model.preset=SiT-S/3"]),
        "--set model.preset=SiT-S/3: model.preset: unknown preset SiT-S/3, did you mean SiT-S/2?"
    );
}

#[test]
fn overrides_are_typed() {
    let config = preset(
        "digits",
        &[
            "train.betas=[0.9, 0.95]",
            "train.schedule=constant",
            "data.flip = true",
            "log.folder=runs/a b",
            "train.learning_rate=1",
        ],
    )
    .unwrap();
    assert_eq!(config.train.betas, [0.9, 0.95]);
    assert_eq!(config.train.schedule, Schedule::Constant);
    assert!(config.data.flip);
    assert_eq!(config.log.folder.as_deref(), Some(Path::new("runs/a b")));
    assert_eq!(config.train.learning_rate, 1.0);
    let config = preset(
        "digits-smoke",
        &["transport.path=gvp", "train.steps=7", "train.steps=8"],
    )
    .unwrap();
    assert_eq!(config.transport.path, transport::Path::Gvp);
    assert_eq!(config.train.steps, 8);
}

#[test]
fn numbers_as_people_write_them() {
    let config = preset(
        "digits",
        &[
            "train.steps=1e5",
            "train.batch=64.0",
            "train.learning_rate=.0001",
            "train.final_lr_fraction=1.e-4",
            "train.clip=2",
            "data.flip=True",
            "log.folder=2024",
        ],
    )
    .unwrap();
    assert_eq!((config.train.steps, config.train.batch), (100_000, 64));
    assert_eq!(
        (
            config.train.learning_rate,
            config.train.final_lr_fraction,
            config.train.clip
        ),
        (1e-4, 1e-4, 2.0)
    );
    assert!(config.data.flip);
    assert_eq!(config.log.folder.as_deref(), Some(Path::new("2024")));
}

#[test]
fn a_shorter_run_has_a_shorter_warm_up() {
    let warmup = |overrides: &[&str]| preset("digits", overrides).unwrap().train.warmup_steps;
    assert_eq!(warmup(&["train.steps=30"]), 1);
    assert_eq!(warmup(&["train.steps=49"]), 2);
    assert_eq!(warmup(&["train.steps=50"]), 50);
    assert_eq!(warmup(&["train.steps=30", "train.steps=100"]), 50);
    // What is asked for is not changed.
    assert_eq!(
        error(&["train.steps=30", "train.warmup_steps=40"]),
        "train.warmup_steps: got 40, expected 0 to 30"
    );
    let saved = preset("digits", &[]).unwrap();
    let config = RunConfig::load(Source::Saved("run", &saved), &["train.steps=30".to_owned()]);
    assert_eq!(config.unwrap().train.warmup_steps, 50);
}

#[test]
fn the_average_warms_up_unless_a_published_model_is_trained() {
    for name in preset_names() {
        let reference = name.contains("iT-") || name == "app-digits";
        assert_eq!(
            preset(&name, &[]).unwrap().train.ema_warmup,
            !reference,
            "{name}"
        );
    }
}

/// The keys of other averages are in no configuration that does not set them, as before there were any.
#[test]
fn other_averages_are_kept_only_when_they_are_set() {
    for name in preset_names() {
        let config = preset(&name, &[]).unwrap();
        let text = config.to_toml().unwrap();
        assert!(config.averages().is_empty(), "{name}");
        assert!(
            !text.contains("ema_decay2") && !text.contains("snapshots"),
            "{text}"
        );
    }
    let averages = |set: &[&str]| preset("digits", set).unwrap().averages();
    let second = Average::Exponential {
        decay: 0.9996,
        warmup: true,
    };
    assert_eq!(averages(&["train.ema_decay2=0.9996"]), [second]);
    let powers = [0.05, 0.1].map(Average::power);
    assert_eq!(averages(&["log.snapshots.every_steps=10"]), powers);
    assert_eq!(averages(&["log.snapshots.widths=[0.2]"]), []);
}

#[test]
fn only_presets_of_photographs_mirror() {
    for name in preset_names() {
        let flip = name.contains("iT-") || name.starts_with("image-folder-64");
        assert_eq!(preset(&name, &[]).unwrap().data.flip, flip, "{name}");
    }
}

#[test]
fn a_bridge_says_what_it_begins_with_and_a_run_made_before_begins_with_noise() {
    let bridge = preset("moons-to-rings", &[]).unwrap();
    assert_eq!(bridge.transport.base.data(), Some("toy:moons"));
    assert_eq!(bridge.data.kind, Kind::Toy);
    let other = preset("moons-to-rings", &["transport.base=data:photos/a b"]).unwrap();
    assert_eq!(other.transport.base.data(), Some("photos/a b"));
    // A run that begins with noise has no such key, as before there was one.
    let json = serde_json::to_string(&preset("digits", &[]).unwrap()).unwrap();
    assert!(!json.contains("base"), "{json}");
    let digits: RunConfig = serde_json::from_str(&json).unwrap();
    assert_eq!(digits.transport.base, Base::Gaussian);
}
