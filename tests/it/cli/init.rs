//! Runs that start from other weights.

use super::tensors::{self, Tensor, Tensors};
use super::{TINY_RUN, checkpoints, copy, metrics, tree};
use image::GrayImage;
use sit_tests::sit::{run, run_ok};
use sit_trainer::data::{Dataset, digits};
use std::fs;
use std::path::Path;

/// One step that changes nothing, so that the checkpoint shows what the run started from.
const STAND: &str = "--backend cpu --set train.steps=1 --set train.learning_rate=1e-30";

const TABLE: &str = "y_embedder.embedding_table.weight";

/// Trains with `words` and returns the messages.
#[track_caller]
fn train(folder: &Path, words: &str) -> String {
    let done = run(folder, &format!("train {words}"));
    assert_eq!(done.code, Some(0), "sit train {words}\n{}", done.stderr);
    done.stderr
}

#[track_caller]
fn refused(folder: &Path, words: &str, parts: &[&str]) {
    let before = tree(folder);
    let done = run(folder, &format!("train {words} --backend cpu --out never"));
    assert_eq!(done.code, Some(2), "sit train {words}\n{}", done.stderr);
    for part in parts {
        assert!(done.stderr.contains(part), "{part}:\n{}", done.stderr);
    }
    assert!(tree(folder) == before, "it wrote something");
}

#[track_caller]
fn assert_said(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part}:\n{said}");
    }
}

fn weights(folder: &Path, file: &str) -> Tensors {
    tensors::read(&folder.join(file))
}

/// The weights that a run of one step started from.
fn started(folder: &Path, name: &str) -> Tensors {
    weights(folder, &format!("{name}/step-00000001/model.safetensors"))
}

#[track_caller]
fn assert_same(got: &Tensors, want: &Tensors) {
    assert!(got.keys().eq(want.keys()));
    for (name, tensor) in got {
        assert_near(name, tensor, &want[name]);
    }
}

/// Values that were 0 may be 1e-30 after [`STAND`].
#[track_caller]
fn assert_near(name: &str, got: &Tensor, want: &Tensor) {
    let (got, want) = (got.values(), want.values());
    let near = got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-20);
    assert!(near && got.len() == want.len(), "{name} differs");
}

/// Four 8x8 images of each class.
fn classes(folder: &Path, names: &[&str]) {
    for (c, name) in names.iter().enumerate() {
        fs::create_dir_all(folder.join(name)).unwrap();
        for i in 0..4_u32 {
            let level = |x, y| image::Luma([(40 * c as u32 + 17 * x + 31 * y * i) as u8]);
            let image = GrayImage::from_fn(8, 8, level);
            image
                .save(folder.join(name).join(format!("{i}.png")))
                .unwrap();
        }
    }
}

/// The model of [`TINY_RUN`] on grey images of the folder `data` with `n` classes.
fn folder_run(data: &str, n: usize) -> String {
    format!(
        "--preset digits-smoke --set model.dim=16 --set model.depth=1 --set model.n_classes={n} --set data.kind=folder \
         --set data.path={data} --set data.image_size=8 --set data.channels=1 --set log.preview.every_steps=0"
    )
}

#[test]
fn a_branch_starts_from_the_average_or_the_weights_as_trained() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let said = train(folder, &format!("--init-from run {STAND}"));
    assert_said(
        &said,
        &[
            "starting from run/step-00000002, moving average: 21 of 21 tensors as they are",
            "label table: kept by number for 10 classes, as the names are not known",
            "into run-2",
        ],
    );
    let ema = weights(folder, "run/step-00000002/ema.safetensors");
    assert_same(&started(folder, "run-2"), &ema);
    let config = fs::read_to_string(folder.join("run-2/config.toml")).unwrap();
    assert_said(
        &config,
        &["[init]\nfrom = \"run/step-00000002\"\nweights = \"ema\"\n"],
    );

    train(
        folder,
        &format!("--init-from run/step-00000001 --init-weights raw --out raw {STAND}"),
    );
    let raw = weights(folder, "run/step-00000001/model.safetensors");
    assert_same(&started(folder, "raw"), &raw);
    // The written configuration starts from the same.
    train(folder, &format!("raw/config.toml --out again {STAND}"));
    assert_same(&started(folder, "again"), &raw);

    // A file of weights records nothing about data and training, except what it was trained to predict.
    run_ok(folder, "convert run x.safetensors");
    let preset = "--preset digits-smoke --set model.dim=16 --set model.depth=1 --set log.preview.every_steps=0";
    let said = train(
        folder,
        &format!("{preset} --init-from x.safetensors --set transport.path=GVP --out file {STAND}"),
    );
    assert_said(
        &said,
        &[
            "WARN",
            "trained to predict velocity on the path Linear",
            "--set transport.path=Linear",
        ],
    );
    assert_same(&started(folder, "file"), &ema);
}

#[test]
fn the_label_table_follows_the_names_of_the_classes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    classes(&folder.join("old"), &["cat", "dog", "owl"]);
    classes(&folder.join("new"), &["ant", "cat", "fox", "owl"]);
    classes(&folder.join("other"), &["ant", "bee"]);
    train(
        folder,
        &format!(
            "{} --out run --backend cpu --set train.steps=2",
            folder_run("old", 3)
        ),
    );
    let old = weights(folder, "run/step-00000002/ema.safetensors");
    let row = |tensors: &Tensors, i: usize| tensors[TABLE].values()[16 * i..][..16].to_vec();

    let said = train(
        folder,
        &format!(
            "{} --init-from run --out new-run {STAND}",
            folder_run("new", 4)
        ),
    );
    assert_said(
        &said,
        &["label table: kept by name for cat, owl; new for ant, fox"],
    );
    let new = started(folder, "new-run");
    for (name, tensor) in new.iter().filter(|(name, _)| *name != TABLE) {
        assert_near(name, tensor, &old[name]);
    }
    for (got, want) in [(1, 0), (3, 2), (4, 3)] {
        assert_eq!(row(&new, got), row(&old, want), "row {got}");
    }
    for new_row in [0, 2] {
        let new_row = row(&new, new_row);
        assert!((0..4).all(|i| row(&old, i) != new_row));
    }

    // A branch keeps the classes that it knows.
    let said = train(folder, &format!("--init-from run --out branch {STAND}"));
    assert_said(&said, &["label table: kept, for the same 3 classes"]);
    assert_same(&started(folder, "branch"), &old);
    // With other data, a branch also takes the classes of that data.
    let said = train(
        folder,
        &format!("--init-from run --out moved --set data.path=new {STAND}"),
    );
    assert_said(&said, &["label table: kept by name for cat, owl"]);

    let said = train(
        folder,
        &format!(
            "{} --init-from run --out other-run {STAND}",
            folder_run("other", 2)
        ),
    );
    assert_said(
        &said,
        &["label table: new, for ant, bee; it was for cat, dog, owl; the null class is kept"],
    );
    assert_eq!(row(&started(folder, "other-run"), 2), row(&old, 3));
}

/// Each model computes the same as the old one, so the first loss is the same.
#[test]
fn a_last_layer_without_sigma_and_a_model_without_classes_go_on_from_the_old_loss() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let words = TINY_RUN
        .replace(
            "--preset digits-smoke",
            "--preset digits-smoke --set model.learn_sigma=true",
        )
        .replace("train.steps=2", "train.steps=20");
    run_ok(
        folder,
        &format!("{words} --set train.learning_rate=1e-2 --set train.class_dropout=0.5"),
    );
    let first_loss = |name: &str, set: &str, part: &str| {
        let said = train(
            folder,
            &format!("--init-from run --out {name} {STAND} {set}"),
        );
        assert_said(&said, &[part]);
        metrics(&folder.join(name))[0]["loss"].as_f64().unwrap()
    };
    let near = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-6, "{a} {b}");
    let labels = first_loss("same", "", "label table: kept");
    near(
        first_loss(
            "plain",
            "--set model.learn_sigma=false",
            "last layer: without its sigma half",
        ),
        labels,
    );
    let null = first_loss("null", "--set train.class_dropout=1", "label table: kept");
    assert!((null / labels - 1.0).abs() > 1e-5, "the labels count");
    near(
        first_loss(
            "unlabeled",
            "--set model.n_classes=0 --set data.n_classes=0",
            "label table: none",
        ),
        null,
    );
    // Back again: the sigma half is zero, the table is new.
    let said = train(
        folder,
        &format!("--init-from plain --out sigma --set model.learn_sigma=true {STAND}"),
    );
    assert_said(&said, &["last layer: with a sigma half of zeros"]);
    let said = train(
        folder,
        &format!(
            "--init-from unlabeled --out labeled --set model.n_classes=10 --set data.n_classes=10 {STAND}"
        ),
    );
    assert_said(&said, &["label table: new, for 10 classes"]);
}

#[test]
fn images_of_another_size_and_patches_of_another_kind() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    classes(&folder.join("data"), &["0", "1"]);
    let words = folder_run("data", 2).replace("image_size=8", "image_size=16");
    let said = train(
        folder,
        &format!("{words} --set model.input_size=16 --init-from run --out large {STAND}"),
    );
    assert_said(&said, &["images of 16x16, not 8x8: positions are computed"]);
    let words = folder_run("data", 2).replace("data.channels=1", "data.channels=3");
    let said = train(
        folder,
        &format!("{words} --set model.channels=3 --init-from run --out color {STAND}"),
    );
    assert_said(
        &said,
        &["patch embedding and last layer: new, for patches of 2x2x3, not 2x2x1"],
    );
    let old = weights(folder, "run/step-00000002/ema.safetensors");
    let new = started(folder, "color");
    for name in ["x_embedder.proj.bias", "blocks.0.mlp.fc1.weight"] {
        assert_near(name, &new[name], &old[name]);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    run_ok(folder, "convert run x.safetensors");
    let smoke = "--preset digits-smoke";
    refused(
        folder,
        &format!("{smoke} --init-from run"),
        &[
            "run/step-00000002: has model.dim = 16, model.depth = 1, the configuration has 32, 2",
            "they do with --set model.dim=16 --set model.depth=1",
        ],
    );
    refused(
        folder,
        "--init-from run --set model.n_heads=1",
        &[
            "has model.n_heads = 2, the configuration has 1",
            "--set model.n_heads=2",
        ],
    );
    refused(
        folder,
        "--init-from x.safetensors",
        &["x.safetensors is a file of weights", "--preset"],
    );
    refused(
        folder,
        &format!("{smoke} --init-from nowhere"),
        &["nowhere: cannot be opened"],
    );
    refused(folder, "--init-from nowhere", &["nowhere"]);
    refused(
        folder,
        &format!("{smoke} --init-weights raw"),
        &["--init-from"],
    );
    refused(
        folder,
        &format!("{smoke} --init-from x.safetensors --init-weights raw"),
        &["x.safetensors is a file of one set of weights"],
    );
    tensors::edit(&folder.join("x.safetensors"), |tensors| {
        tensors.remove("blocks.0.attn.qkv.bias");
    });
    let tiny = "--set model.dim=16 --set model.depth=1";
    refused(
        folder,
        &format!("{smoke} {tiny} --init-from x.safetensors"),
        &["x.safetensors: has no tensor blocks.0.attn.qkv.bias"],
    );
    let done = run(folder, "train --resume run --init-from run --backend cpu");
    assert_eq!(done.code, Some(2));
    assert_said(
        &done.stderr,
        &["--init-from", "cannot be used with", "--resume"],
    );
}

#[test]
fn a_branch_resumes_to_the_same_bytes_without_what_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    train(
        folder,
        "--init-from run --out whole --backend cpu --set train.steps=6 --set log.keep_last=9",
    );
    let same = || {
        for file in [
            "model.safetensors",
            "ema.safetensors",
            "optim.safetensors",
            "state.json",
        ] {
            let bytes =
                |run: &str| fs::read(folder.join(run).join("step-00000006").join(file)).unwrap();
            assert!(bytes("stopped") == bytes("whole"), "{file} differs");
        }
        assert_eq!(
            metrics(&folder.join("stopped")),
            metrics(&folder.join("whole"))
        );
    };
    // A run stopped before its first checkpoint starts from the other weights again.
    fs::create_dir(folder.join("stopped")).unwrap();
    fs::copy(
        folder.join("whole/config.toml"),
        folder.join("stopped/config.toml"),
    )
    .unwrap();
    train(folder, "--resume stopped --backend cpu");
    same();
    // With a checkpoint, the run goes on without the other weights.
    fs::remove_dir_all(folder.join("stopped")).unwrap();
    copy(&folder.join("whole"), &folder.join("stopped"));
    for name in checkpoints(&folder.join("stopped")).iter().skip(3) {
        fs::remove_dir_all(folder.join("stopped").join(name)).unwrap();
    }
    fs::remove_dir_all(folder.join("run")).unwrap();
    train(folder, "--resume stopped --backend cpu");
    same();
}

/// The training digits as a folder of images: 0 to 4 in `low`, 5 to 9 in `high`.
fn halves_of_the_digits(folder: &Path) {
    let digits = digits::train();
    for i in 0..digits.len() {
        let label = digits.label(i);
        let half = if label < 5 { "low" } else { "high" };
        let mut x = [0.0; 64];
        digits.read(i, &mut x).unwrap();
        let pixels = x.map(|x| (127.5 * (x + 1.0)).round() as u8);
        let class = folder.join(half).join(label.to_string());
        fs::create_dir_all(&class).unwrap();
        let image = GrayImage::from_raw(8, 8, pixels.to_vec()).unwrap();
        image.save(class.join(format!("{i}.png"))).unwrap();
    }
}

/// What blocks and embeddings have learned about strokes is useful for other digits, too.
#[test]
fn other_classes_take_a_fifth_of_the_steps() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    halves_of_the_digits(folder);
    let loss = |name: &str, half: &str, steps: u64, more: &str| {
        let words = format!(
            "--preset digits-smoke --backend cpu --out {name} --set data.kind=folder --set data.path={half} --set data.image_size=8 \
             --set data.channels=1 --set data.hold_out=0.2 --set train.steps={steps} --set log.validation.every_steps={steps} \
             --set log.every_steps={steps} --set log.preview.every_steps=0 {more}"
        );
        train(folder, &words);
        metrics(&folder.join(name))[0]["validation_loss"]
            .as_f64()
            .unwrap()
    };
    loss("base", "low", 1000, "--set model.n_classes=5");
    let scratch = loss("scratch", "high", 300, "--set model.n_classes=5");
    let short = loss("short", "high", 60, "--set model.n_classes=5");
    // With six classes, the label table is new.
    let fine = loss(
        "fine",
        "high",
        60,
        "--set model.n_classes=6 --init-from base",
    );
    assert!(
        fine < scratch && scratch < short,
        "fine-tuned {fine}, from scratch {scratch}, a fifth of it {short}"
    );
}
