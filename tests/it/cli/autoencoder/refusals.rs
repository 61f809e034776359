//! What an autoencoder refuses, and what refuses one.

use super::{TRAIN, config, names};
use sit_tests::sit::{run, run_ok};

#[test]
fn what_has_no_effect_or_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    config(folder);
    for (set, expected) in [
        (
            "model.input_size=9",
            "model.input_size: got 9, expected a multiple of 2",
        ),
        (
            "model.groups=3",
            "model.widths: got 8, expected a multiple of the 3 groups",
        ),
        (
            "autoencoder.kl_weight=-1",
            "autoencoder.kl_weight: got -1, expected a number from 0 to 1e6",
        ),
        (
            "autoencoder.kl_weight=nan",
            "autoencoder.kl_weight: got NaN",
        ),
        ("autoencoder.loss=huber", "autoencoder.loss"),
        ("autoencoder.kl=1", "expected one of loss, kl_weight"),
        ("model.n_classes=3", "n_classes"),
        ("model.patch=2", "which is a key of another model.family"),
        (
            "data.n_classes=3",
            "data.n_classes: got 3, expected 0: an autoencoder ignores labels",
        ),
        (
            "train.class_dropout=0.2",
            "train.class_dropout: has no effect on an autoencoder",
        ),
        (
            "log.preview.guidance=2.0",
            "log.preview.guidance: has no effect on an autoencoder",
        ),
        (
            "log.preview.steps=5",
            "log.preview.steps: has no effect on an autoencoder",
        ),
        (
            "log.snapshots.every_steps=4",
            "log.snapshots.every_steps: expected 0 for an autoencoder",
        ),
        (
            "transport.prediction=noise",
            "transport.prediction: has no effect on an autoencoder",
        ),
        (
            "transport.base=data:toy:moons",
            "transport.base: has no effect on an autoencoder",
        ),
        (
            "distill.guidance=2.0",
            "distill: an autoencoder has no teacher",
        ),
        ("model.preset=SiT-S/2", "model.preset"),
    ] {
        let done = run(folder, &format!("{TRAIN} --set {set}"));
        assert_eq!(done.code, Some(2), "{set}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{set}: {}", done.stderr);
    }
    let done = run(
        folder,
        "train --preset digits-smoke --set autoencoder.kl_weight=1 --out no",
    );
    assert!(
        done.stderr.contains("autoencoder: expected no such table"),
        "{}",
        done.stderr
    );
    assert_eq!(names(folder), ["ae.toml"]);
}

#[test]
fn commands_on_images_of_noise_refuse_an_autoencoder() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    config(folder);
    run_ok(
        folder,
        &format!("{TRAIN} --set train.steps=1 --set log.preview.every_steps=0"),
    );
    run_ok(
        folder,
        "train --preset digits-smoke --backend cpu --out sit --set train.steps=1 --set log.preview.every_steps=0",
    );
    for (words, expected) in [
        (
            "sample ae",
            "is an autoencoder, which makes images of latents",
        ),
        ("nll ae --data digits", "is an autoencoder"),
        ("loss ae --data digits --out loss.csv", "is an autoencoder"),
        ("sweep ae --out sweep", "is an autoencoder"),
        (
            "sample sit --classifier ae --classifier-scale 1",
            "expected a classifier",
        ),
        (
            "sample sit --autoguide ae --autoguide-scale 2",
            "got an autoencoder",
        ),
        (
            "train --preset digits-one-step --teacher ae --set model.n_classes=0 --set distill.guidance=1 --out student",
            "got a classifier or an autoencoder",
        ),
        ("sample sit --vae sit", "--vae: sit: has a model of width"),
        (
            "sample sit --vae ae",
            "its latents have 2 channels, those of the model have 1",
        ),
        (
            "data encode sit --vae sit --out latents",
            "expected an autoencoder",
        ),
        ("convert ae vae.pt", "got .pt, expected .safetensors"),
        ("convert ae ae --to diffusers", "holds"),
        (
            "train --resume ae --set autoencoder.kl_weight=0.1 --set train.steps=2",
            "a run keeps it",
        ),
    ] {
        let done = run(folder, words);
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
    }
    assert_eq!(names(folder), ["ae", "ae.toml", "sit"]);
}
