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
            "--set trian.steps=1: unknown key trian, did you mean train.steps?",
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
        (
            "train.steps=99999999999999999999",
            "--set train.steps=99999999999999999999: train.steps: got \"99999999999999999999\", expected a whole number of 0 to 9223372036854775807",
        ),
        (
            "train.steps=1e300",
            "--set train.steps=1e300: train.steps: got 1e300, expected a whole number of 0 to 9223372036854775807",
        ),
        (
            "log.preview.steps=5e9",
            "--set log.preview.steps=5e9: log.preview.steps: got 5000000000, expected a whole number of 0 to 4294967295",
        ),
        (
            "data.background=[256, 0, 0]",
            "--set data.background=[256, 0, 0]: data.background[0]: got 256, expected a whole number of 0 to 255",
        ),
        (
            "train.learning_rate=0,001",
            "--set train.learning_rate=0,001: train.learning_rate: got \"0,001\", expected a number with a point, such as 0.5",
        ),
        (
            "train.weight_decay=1e7",
            "train.weight_decay: got 10000000, expected a number in [0, 1000000]",
        ),
        (
            "train.weight_decay=inf",
            "train.weight_decay: got inf, expected a number in [0, 1000000]",
        ),
        (
            "train.clip=1e300",
            "train.clip: got 1e300, expected a norm of at most 1e30, or 0 for no clipping",
        ),
        (
            "train.class_dropout=-0.1",
            "train.class_dropout: got -0.1, expected a probability in [0, 1]",
        ),
        (
            "log.preview.guidance=nan",
            "log.preview.guidance: got NaN, expected a finite scale",
        ),
        (
            "train.steps=",
            "--set train.steps=: got no value, expected train.steps=VALUE",
        ),
        ("=5", "--set =5: expected a key, such as train.steps=100"),
        (
            "train..steps=5",
            "--set train..steps=5: expected a key, such as train.steps=100",
        ),
        (
            "train={steps=5}",
            "--set train={steps=5}: expected one value, such as train.steps=100",
        ),
        (
            "a.b.c.d=5",
            "--set a.b.c.d=5: got a key of 4 parts, expected at most 3",
        ),
        // In another table, called as elsewhere, or no key at all.
        (
            "steps=5",
            "--set steps=5: unknown key steps, did you mean train.steps?",
        ),
        (
            "model.steps=5",
            "--set model.steps=5: unknown key model.steps, did you mean train.steps?",
        ),
        (
            "preview.count=5",
            "--set preview.count=5: unknown key preview, did you mean log.preview.count?",
        ),
        (
            "train.lr=1e-4",
            "--set train.lr=1e-4: unknown key train.lr, did you mean train.learning_rate?",
        ),
        (
            "optimizer.lr=1e-4",
            "--set optimizer.lr=1e-4: unknown key optimizer, did you mean train.learning_rate?",
        ),
        (
            "lr=1e-4",
            "--set lr=1e-4: unknown key lr, did you mean train.learning_rate?",
        ),
        (
            "train.batch-size=8",
            "--set train.batch-size=8: unknown key train.batch-size, did you mean train.batch?",
        ),
        (
            "data.num_classes=8",
            "--set data.num_classes=8: unknown key data.num_classes, did you mean model.n_classes?",
        ),
        (
            "train.epochs=8",
            "--set train.epochs=8: unknown key train.epochs, there are no epochs: train.steps is a number of steps of train.batch images each",
        ),
        (
            "trian.\u{1b}[31m=1",
            "--set trian.\\u{1b}[31m=1: unknown key trian, did you mean train?",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(error(&[text]), expected);
    }
    let long = format!("{}=1", "a.".repeat(60_000) + "a");
    let message = error(&[&long]);
    assert!(
        message.ends_with("got a key of 60001 parts, expected at most 3") && message.len() < 5000
    );
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
fn what_gave_a_value_is_named_when_it_is_out_of_range() {
    let message = |overrides: &[&str]| {
        let set: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let source = Source::Preset("digits");
        let config = RunConfig::load(source, &set).unwrap();
        source
            .blame(&set, &config.validate().unwrap_err())
            .to_string()
    };
    assert_eq!(
        message(&["train.batch=0"]),
        "--set train.batch=0: train.batch: got 0, expected 1 to 1048576"
    );
    assert_eq!(
        message(&["train.steps=9", "model.n_heads=7"]),
        "--set model.n_heads=7: model.dim: got 96, expected a multiple of model.n_heads = 7"
    );
    assert!(
        message(&["train.steps=99999999", "train.batch=1048576", "train.accumulate=1048576"])
            .ends_with("train.steps x train.batch x train.accumulate: got 99999999 x 1048576 x 1048576 images, expected at most 288230376151711743 in all")
    );
}

#[test]
fn the_average_warms_up_unless_a_published_model_is_trained() {
    for name in preset_names() {
        let reference = name.starts_with("SiT-") || name == "app-digits";
        assert_eq!(
            preset(&name, &[]).unwrap().train.ema_warmup,
            !reference,
            "{name}"
        );
    }
}

#[test]
fn only_presets_of_photographs_mirror() {
    for name in preset_names() {
        let flip = name.starts_with("SiT-") || name == "image-folder-64";
        assert_eq!(preset(&name, &[]).unwrap().data.flip, flip, "{name}");
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
    // Files as Windows and other programs make them.
    let model = "[model]\ninput_size = 8 # ok\nchannels = 1\npatch = 2\ndim = 32\n\tdepth = 1\nn_heads = 2\nn_classes = 0\n[data]\nkind = 'digits'\n";
    for text in [
        model.replace('\n', "\r\n"),
        format!("\u{feff}{model}"),
        format!("\u{feff}{}", model.replace('\n', "\r\n")),
    ] {
        fs::write(&path, text).unwrap();
        assert_eq!(
            RunConfig::load(Source::File(&path), &[]).unwrap().model.dim,
            32
        );
    }
    let utf16 = |bytes: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
        format!("{mark}{model}")
            .encode_utf16()
            .flat_map(bytes)
            .collect()
    };
    for (bytes, expected) in [
        (utf16(u16::to_le_bytes, "\u{feff}"), "is in UTF-16"),
        (utf16(u16::to_be_bytes, "\u{feff}"), "is in UTF-16"),
        (utf16(u16::to_le_bytes, ""), "looks like UTF-16"),
        (utf16(u16::to_be_bytes, ""), "looks like UTF-16"),
        (b"PK\x03\x04\0\0\0\0".to_vec(), "is not a text file"),
        (b"a = 1\nb = '\xe9'\n".to_vec(), "line 2: is not in UTF-8"),
        (vec![b'a'; 2 << 20], "is 2097152 bytes long"),
    ] {
        fs::write(&path, bytes).unwrap();
        let message = RunConfig::load(Source::File(&path), &[])
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with(&format!("{}: {expected}", path.display())),
            "{message}"
        );
    }
    for (text, expected) in [
        (
            "[data]\nkind = \u{201c}idx\u{201d}\n",
            "\u{201c} (U+201C) is of typeset text; write \"",
        ),
        (
            "[train]\nlearning_rate = 1e\u{2212}4\n",
            "\u{2212} (U+2212) is of typeset text; write -",
        ),
        (
            "[train]\nsteps\u{a0}= 5\n",
            "(U+00A0) is of typeset text; write a plain space",
        ),
        (
            "[data]\npath = \"C:\\data\"\n",
            "write 'C:\\data' in single quotes, or C:/data",
        ),
        (
            "[train]\nlearning_rate = .0001\n",
            "write learning_rate = 0.0001",
        ),
        (
            "[train]\nlearning_rate = 1.e-4 # slow\n",
            "write learning_rate = 0.0001",
        ),
        (
            "[train]\nlearning_rate = 0,0001\n",
            "write learning_rate = 0.0001",
        ),
        ("[data]\nflip = True\n", "write flip = true"),
        ("[data]\npath = None\n", "leave path out: TOML has no None"),
        ("[data]\npath = ~/photos\n", "write path = '~/photos'"),
        ("[train]\n// fast\nsteps = 5\n", "a comment begins with #"),
        ("{\"train\": {\"steps\": 5}}\n", "this looks like JSON"),
        ("train:\n  steps: 5\n", "this looks like YAML"),
        ("---\ntrain:\n", "this looks like YAML"),
    ] {
        let message = message(text);
        let hint = message.lines().last().unwrap();
        assert!(hint.contains(expected), "{message}");
        assert!(message.contains("line "), "{message}");
    }
    assert_eq!(
        message("[data]\npath = \"C:\\temp\\new\"\n"),
        "data.path: got C:\\temp\\new; in double quotes \\t, \\n and the like are one character: write the path in single quotes, or with /"
    );
    assert!(message("[train]\nsteps = 1\nsteps = 2\n").contains("duplicate key"));
    // Deeper than any stack, in one line or in many.
    for text in [
        format!("{}a = 1", "a.".repeat(60_000)),
        format!("a = {}1{}", "[".repeat(60_000), "]".repeat(60_000)),
        format!("a = {}{}", "{a=".repeat(60_000), "}".repeat(60_000)),
        format!("a = {{{}a = 1}}", "a.".repeat(60_000)),
    ] {
        assert!(message(&text).contains("too many points and brackets"));
    }
    // As deep as is read at all.
    let (nested, mut text) = (vec!["a"; 76].join("."), "1".to_owned());
    for _ in 0..13 {
        text = format!("{{{nested} = {text}}}");
    }
    assert!(message(&format!("a = {text}")).contains("unknown key a"));

    assert!(
        RunConfig::load(Source::File(folder.path()), &[])
            .unwrap_err()
            .to_string()
            .contains("is a folder")
    );
    for (name, known) in [
        ("digits", "digits"),
        ("digts", "digits"),
        ("SiT-XL/2", "SiT-XL/2"),
    ] {
        let message = RunConfig::load(Source::File(Path::new(name)), &[])
            .unwrap_err()
            .to_string();
        assert!(
            message.ends_with(&format!("did you mean --preset {known}?")),
            "{message}"
        );
    }
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
