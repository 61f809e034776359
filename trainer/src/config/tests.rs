use std::fs;
use std::path::Path;

use sit_engine::model::ModelConfig;
use sit_engine::optim::Schedule;
use sit_engine::transport;

use super::*;
use crate::data::digits;

fn preset(name: &str, overrides: &[&str]) -> Result<RunConfig, ConfigError> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    RunConfig::load(Source::Preset(name), &overrides)
}

fn error(overrides: &[&str]) -> String {
    let config = preset("digits", overrides).and_then(|config| config.validate());
    config.expect_err("refused").to_string()
}

#[test]
fn every_preset_loads_and_round_trips() {
    let names = preset_names();
    assert_eq!(names.len(), 5 + 12);
    for name in &names {
        let config = preset(name, &[]).unwrap();
        config.model.validate().unwrap();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<RunConfig>(&json).unwrap(),
            config,
            "{json}"
        );

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, config.to_toml()).unwrap();
        let again = RunConfig::load(Source::File(&path), &[]).unwrap();
        assert_eq!(again, config, "{}", config.to_toml());
    }
    for name in ["digits", "digits-smoke", "fashion-mnist", "app-digits"] {
        preset(name, &[]).unwrap().validate().unwrap();
    }
    preset("image-folder-64", &["data.path=x"])
        .unwrap()
        .validate()
        .unwrap();
}

#[test]
fn the_published_sizes_by_either_name() {
    for name in ["SiT-XL/2", "sit-xl-2", "SIT-xl-2"] {
        let config = preset(name, &[]).unwrap();
        assert_eq!(Some(config.model), ModelConfig::preset("SiT-XL/2"));
        assert_eq!(
            config.log.folder.as_deref(),
            Some(Path::new("runs/sit-xl-2"))
        );
    }
    let images = ["model.channels=3", "model.n_classes=0", "data.path=x"];
    preset("SiT-B/4", &images).unwrap().validate().unwrap();
    let latents = preset("SiT-B/4", &["data.path=x"])
        .unwrap()
        .validate()
        .unwrap_err()
        .to_string();
    assert!(
        latents.starts_with("model.channels: got 4, expected 3, the channels of the images of "),
        "{latents}"
    );
}

#[test]
fn a_model_preset_in_a_file_fills_what_is_not_given() {
    let config = preset("image-folder-64", &["model.depth=3"]).unwrap();
    let ModelConfig {
        patch,
        dim,
        depth,
        n_heads,
        ..
    } = config.model;
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
fn what_is_wrong_is_named() {
    let cases = [
        (
            "train.lerning_rate=1",
            "--set train.lerning_rate=1: unknown key train.lerning_rate, did you mean train.learning_rate?",
        ),
        (
            "trian.steps=1",
            "--set trian.steps=1: unknown key trian, did you mean train?",
        ),
        (
            "log.preview.cuont=1",
            "--set log.preview.cuont=1: unknown key log.preview.cuont, did you mean log.preview.count?",
        ),
        (
            "transport.eps=1",
            "--set transport.eps=1: unknown key transport.eps, expected one of path, prediction, loss_weight, t_eps_train, t_eps_sample",
        ),
        (
            "train.steps=many",
            "--set train.steps=many: train.steps: got \"many\", expected a whole number of at least 0",
        ),
        (
            "train.steps=-1",
            "--set train.steps=-1: train.steps: got -1, expected a whole number of at least 0",
        ),
        (
            "train.steps=1.5",
            "--set train.steps=1.5: train.steps: got 1.5, expected a whole number of at least 0",
        ),
        (
            "train.clip=true",
            "--set train.clip=true: train.clip: got true, expected a number",
        ),
        (
            "data.flip=1",
            "--set data.flip=1: data.flip: got 1, expected true or false",
        ),
        (
            "train.betas=[0.9]",
            "--set train.betas=[0.9]: train.betas: got 1 values, expected an array of length 2",
        ),
        (
            "train.betas=[1, 2, 3]",
            "--set train.betas=[1, 2, 3]: train.betas: got 3 values, expected 2",
        ),
        (
            "train.betas=[1, \"x\"]",
            "--set train.betas=[1, \"x\"]: train.betas[1]: got \"x\", expected a number",
        ),
        (
            "train.schedule=cosin",
            "--set train.schedule=cosin: train.schedule: got \"cosin\", did you mean cosine?",
        ),
        (
            "train.schedule=3",
            "--set train.schedule=3: train.schedule: got 3, expected one of constant, cosine",
        ),
        ("train=3", "--set train=3: train: got 3, expected a table"),
        (
            "train.steps.x=3",
            "--set train.steps.x=3: steps is a value, not a table",
        ),
        (
            "train",
            "--set train: expected key=value, such as train.steps=100",
        ),
        (
            "model.dim=50",
            "model.dim: got 50, expected a multiple of model.n_heads = 6",
        ),
        (
            "model.patch=3",
            "model.input_size: got 8, expected a multiple of model.patch = 3",
        ),
        (
            "model.input_size=16",
            "model.input_size: got 16, expected 8, the side of the images of the digits",
        ),
        (
            "model.channels=3",
            "model.channels: got 3, expected 1, the channels of the images of the digits",
        ),
        (
            "data.n_classes=9",
            "data.n_classes: got 9, expected model.n_classes = 10",
        ),
        (
            "data.workers=0",
            "data.workers: got 0, expected 1 to 256 threads",
        ),
        (
            "train.learning_rate=0",
            "train.learning_rate: got 0, expected a number in (0, 1]",
        ),
        (
            "train.learning_rate=nan",
            "train.learning_rate: got NaN, expected a number in (0, 1]",
        ),
        (
            "train.ema_decay=1.5",
            "train.ema_decay: got 1.5, expected a number in [0, 1]",
        ),
        ("train.batch=0", "train.batch: got 0, expected 1 to 1048576"),
        (
            "train.warmup_steps=1801",
            "train.warmup_steps: got 1801, expected 0 to 1800",
        ),
        (
            "log.every_steps=0",
            "log.every_steps: got 0, expected 1 to 99999999",
        ),
        (
            "transport.t_eps_train=0.7",
            "transport.t_eps_train: got 0.7, expected a time in [0, 0.5)",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(error(&[text]), expected);
    }
}

#[test]
fn a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    let message = |text: &str| {
        fs::write(&path, text).unwrap();
        let message = RunConfig::load(Source::File(&path), &[])
            .unwrap_err()
            .to_string();
        message
            .strip_prefix(&format!("{}: ", path.display()))
            .expect("starts with the file")
            .to_owned()
    };
    assert_eq!(
        message("[model]\ninput_size = 8"),
        "model.channels: missing"
    );
    assert_eq!(
        message("modle = 3"),
        "unknown key modle, did you mean model?"
    );
    assert!(
        message("[model\n").contains("line 1"),
        "{}",
        message("[model\n")
    );
    let missing = folder.path().join("missing.toml");
    let error = RunConfig::load(Source::File(&missing), &[])
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("{}: ", missing.display())),
        "{error}"
    );
}

#[test]
fn unknown_presets_are_met_with_a_suggestion() {
    let message = |name| preset(name, &[]).unwrap_err().to_string();
    assert_eq!(
        message("digts"),
        "--preset: unknown preset digts, did you mean digits?"
    );
    assert_eq!(
        message("SiT-XXL/2"),
        "--preset: unknown preset SiT-XXL/2, did you mean SiT-XL/2?"
    );
    assert!(
        message("qqq")
            .starts_with("--preset: unknown preset qqq, expected one of digits, digits-smoke, ")
    );
}

#[test]
fn images_that_the_network_does_not_fit_are_refused() {
    let config = preset("digits", &[]).unwrap();
    config.check_dataset(&digits::train()).unwrap();
    let few = RunConfig {
        model: ModelConfig {
            n_classes: 4,
            ..config.model
        },
        ..config.clone()
    };
    let message = few.check_dataset(&digits::train()).unwrap_err().to_string();
    assert_eq!(
        message,
        "model.n_classes: got 4, expected at least 10, the classes of digits (train)"
    );
    let big = RunConfig {
        model: ModelConfig {
            input_size: 28,
            ..config.model
        },
        ..config
    };
    let message = big.check_dataset(&digits::train()).unwrap_err().to_string();
    assert_eq!(
        message,
        "model.input_size: got 28, expected 8, the side of the images of digits (train)"
    );
}
