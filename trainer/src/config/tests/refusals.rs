//! What is refused, and in which words.

use super::*;

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
            "--set transport.eps=1: unknown key transport.eps, expected one of path, prediction, loss_weight, vp_beta, ou_time, edm_sigma, edm_rho, data_std, times, times_mean, times_std, times_shift, t_eps_train, t_eps_sample, path_table, ddpm_schedule, ddpm_steps, ddpm_variance, ddpm_loss, ddpm_times, ddpm_rescale_times, ddpm_respacing, base, student_steps",
        ),
        (
            "transport.base=moons",
            "--set transport.base=moons: transport.base: got \"moons\", expected gaussian, paired or data:PATH",
        ),
        (
            "data.path=toy:moons",
            "data.kind: got digits, expected toy for data.path toy:moons",
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
        (
            "train.ema_decay2=-1",
            "train.ema_decay2: got -1, expected a number in [0, 1]",
        ),
        (
            "log.snapshots.widths=[0.5]",
            "log.snapshots.widths: got 0.5, expected a relative width of 0.001 to 0.2886",
        ),
        (
            "log.snapshots.widths=[0.1, 0.1]",
            "log.snapshots.widths: got [0.1, 0.1], expected 1 to 4 widths that differ",
        ),
        (
            "log.snapshots.widths=[]",
            "log.snapshots.widths: got [], expected 1 to 4 widths that differ",
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
        // A key in another table, another program's name for a key, or no key at all.
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
            .starts_with("--preset: unknown preset qqq, expected one of digits, digits-unet, ")
    );
}

#[test]
fn images_that_the_network_does_not_fit_are_refused() {
    let config = preset("digits", &[]).unwrap();
    config.check_dataset(&digits::train()).unwrap();
    let few = RunConfig {
        model: Dit {
            n_classes: 4,
            ..dit(&config)
        }
        .into(),
        ..config.clone()
    };
    let message = few.check_dataset(&digits::train()).unwrap_err().to_string();
    assert_eq!(
        message,
        "model.n_classes: got 4, expected at least 10, the classes of digits (train)"
    );
    let big = RunConfig {
        model: Dit {
            input_size: 28,
            ..dit(&config)
        }
        .into(),
        ..config
    };
    let message = big.check_dataset(&digits::train()).unwrap_err().to_string();
    assert_eq!(
        message,
        "model.input_size: got 28, expected 8, the side of the images of digits (train)"
    );
}
