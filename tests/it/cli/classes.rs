//! Classes by name: from folders and files of labels to runs, files and samples; what a run keeps, and where it finds its data.

use image::RgbImage;
use sit_tests::sit::{run, run_ok, sit};
use std::fs;
use std::path::Path;

/// Three images in each class folder of `data`.
fn folders(data: &Path, classes: &[&str]) {
    for (level, class) in (0..).zip(classes) {
        for i in 0..3 {
            let path = data.join(class).join(format!("{i}.png"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let image = RgbImage::from_pixel(8, 8, image::Rgb([40 * level, 60 * i, 99]));
            image.save(path).unwrap();
        }
    }
}

const TRAIN: &str = "train --preset digits-smoke --backend cpu --set train.steps=2 --set model.dim=16 --set model.depth=1 \
     --set data.kind=folder --set data.path=data --set data.image_size=8 --set model.channels=3 --set model.n_classes=auto \
     --set train.batch=3 --set log.preview.every_steps=0 --out run";

#[test]
fn a_run_knows_its_classes_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    folders(&path.join("data"), &["ant", "bee", "cat, small"]);
    let words = TRAIN.replace("log.preview.every_steps=0", "log.preview.every_steps=2");
    let done = run(path, &words);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for part in [
        "data: 9 images of 8x8x3, 3 classes",
        "0 ant (3), 1 bee (3), 2 cat, small (3)",
        "model.n_classes = \"auto\": it trains conditionally on the 3 classes",
        "previews: a row each, from the top: 0 ant, 1 bee, 2 cat, small",
    ] {
        assert!(done.stderr.contains(part), "{part}\n{}", done.stderr);
    }
    let read = |file: &str| fs::read_to_string(path.join("run").join(file)).unwrap();
    assert!(
        read("config.toml").contains("classes = [\"ant\", \"bee\", \"cat, small\"]"),
        "{}",
        read("config.toml")
    );
    assert!(read("step-00000002/state.json").contains("\"cat, small\""));
    run_ok(path, "convert run x.safetensors");
    let sample = |what: &str, classes: &str| {
        let mut command = sit(path);
        command.args([
            "sample",
            what,
            "--backend",
            "cpu",
            "--steps",
            "1",
            "--per-class",
            "2",
        ]);
        let output = command.args(["--classes", classes]).output().unwrap();
        sit_tests::sit::Done::from(output)
    };
    for what in ["run", "x.safetensors"] {
        let info = run_ok(path, &format!("info {what}"));
        assert!(
            info.contains("classes: 0 ant, 1 bee, 2 cat, small"),
            "{info}"
        );
        let done = sample(what, "cat, small,Bee,none");
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let rows = "a row each, from the top: 2 cat, small, 1 bee, none\n";
        assert!(done.stdout.contains(rows), "{}", done.stdout);
    }
    // Each image is nearest to one of another class, and after two steps of training the samples are noise.
    let text = run_ok(
        path,
        "sample run --backend cpu --steps 1 --per-class 2 --judge data",
    );
    let judged = " of 6 (";
    let real = "says the nearest of 9 images in data (of the real images themselves 0 of 9, 0.0 %,";
    assert!(text.contains(judged) && text.contains(real), "{text}");
    fs::rename(path.join("data/bee"), path.join("data/dog")).unwrap();
    let done = run(path, "sample run --backend cpu --steps 1 --judge data");
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    let expected =
        "--judge: data: got the class folders ant, cat, small, dog, expected one called bee";
    assert!(done.stderr.contains(expected), "{}", done.stderr);
    let done = sample("run", "beee");
    assert_eq!(done.code, Some(2));
    assert!(
        done.stderr
            .contains("--classes \"beee\" is not a class, did you mean bee?"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_run_keeps_its_classes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let data = path.join("data");
    folders(&data, &["ant", "bee", "cat"]);
    run_ok(path, TRAIN);
    let resume = "train --resume run --backend cpu --set train.steps=3";
    let refused = |words: &str, parts: &[&str]| {
        let done = run(path, words);
        assert_eq!(done.code, Some(2), "{}", done.stderr);
        for part in parts {
            assert!(done.stderr.contains(part), "{part}\n{}", done.stderr);
        }
    };
    fs::rename(data.join("ant"), data.join("zebra")).unwrap();
    refused(
        resume,
        &["gone: ant; new: zebra", "a run keeps its classes"],
    );
    fs::rename(data.join("zebra"), data.join("ant")).unwrap();
    folders(&data, &["aardvark"]);
    refused(resume, &["aardvark"]);
    fs::remove_dir_all(data.join("aardvark")).unwrap();
    fs::rename(data.join("cat"), path.join("cat")).unwrap();
    refused(resume, &["gone: cat"]);
    fs::rename(path.join("cat"), data.join("cat")).unwrap();
    let moved = format!("{resume} --set data.classes=[\"bee\",\"ant\",\"cat\"]");
    refused(
        &moved,
        &[
            "data.classes",
            "moved: ant (from 0 to 1), bee (from 1 to 0)",
        ],
    );
    // If the number of classes is left to the data, it stays what it was.
    run_ok(path, &format!("{resume} --set model.n_classes=auto"));

    // A run made before names were stored takes them now, and reports it.
    let state = path.join("run/step-00000003/state.json");
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    let table = json["config"]["data"].as_object_mut().unwrap();
    assert!(table.remove("classes").is_some() && table.remove("path_from").is_some());
    fs::write(&state, json.to_string()).unwrap();
    let done = run(path, "train --resume run --backend cpu --set train.steps=4");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("takes those of its data now"),
        "{}",
        done.stderr
    );
    let text = fs::read_to_string(path.join("run/step-00000004/state.json")).unwrap();
    assert!(text.contains("\"ant\""), "{text}");

    // Another image adds no class, but it changes the training data.
    fs::copy(data.join("ant/0.png"), data.join("ant/9.png")).unwrap();
    let longer = "train --resume run --backend cpu --set train.steps=5";
    for part in [
        "was trained on 9 images, there are 10 now",
        "nothing to do: run has done its 5 steps",
    ] {
        let done = run(path, longer);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(done.stderr.contains(part), "{part}\n{}", done.stderr);
    }
}

/// A run started with a relative path can be resumed from another folder with the same bytes, also after moving it with its data.
#[test]
fn a_run_finds_its_data_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    folders(&a.join("data"), &["ant", "bee"]);
    folders(&b.join("data"), &["other"]);
    run_ok(&a, TRAIN);
    let whole = TRAIN
        .replace("train.steps=2", "train.steps=4")
        .replace("--out run", "--out whole");
    run_ok(&a, &whole);
    run_ok(
        &b,
        "train --resume ../a/run --backend cpu --set train.steps=3",
    );
    fs::rename(&a, folder.path().join("moved")).unwrap();
    run_ok(
        &b,
        "train --resume ../moved/run --backend cpu --set train.steps=4",
    );
    for file in ["state.json", "model.safetensors"] {
        let read = |run: &str| {
            fs::read(
                folder
                    .path()
                    .join("moved")
                    .join(run)
                    .join("step-00000004")
                    .join(file),
            )
            .unwrap()
        };
        assert!(read("run") == read("whole"), "{file}");
    }
    fs::rename(
        folder.path().join("moved/data"),
        folder.path().join("moved/gone"),
    )
    .unwrap();
    fs::remove_dir_all(b.join("data")).unwrap();
    let done = run(
        &b,
        "train --resume ../moved/run --backend cpu --set train.steps=5",
    );
    assert_eq!(done.code, Some(2));
    for part in [
        "data.path: data is not there (looked for ",
        "moved/data and ",
        "b/data)",
    ] {
        assert!(done.stderr.contains(part), "{part}\n{}", done.stderr);
    }
    let given = "train --resume ../moved/run --backend cpu --set train.steps=5 --set data.path=../moved/gone";
    run_ok(&b, given);
}

#[test]
fn a_home_folder_is_found() {
    let folder = tempfile::tempdir().unwrap();
    folders(&folder.path().join("home/photos"), &["ant", "bee"]);
    let mut command = sit(folder.path());
    let words = TRAIN.replace("data.path=data", "data.path=~/photos");
    command
        .env("HOME", folder.path().join("home"))
        .args(words.split_whitespace());
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn idx(folder: &Path, labels: &[u8]) {
    fs::create_dir_all(folder).unwrap();
    let n = labels.len() as u8;
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 8, 0, 0, 0, 8];
    images.extend((0..labels.len() * 64).map(|i| (i * 7) as u8));
    let head = [0, 0, 8, 1, 0, 0, 0, n];
    fs::write(folder.join("train-images-idx3-ubyte"), images).unwrap();
    fs::write(
        folder.join("train-labels-idx1-ubyte"),
        [&head, labels].concat(),
    )
    .unwrap();
}

#[test]
fn classes_without_images_are_named() {
    let folder = tempfile::tempdir().unwrap();
    idx(&folder.path().join("data"), &[1, 2, 3, 3, 2, 1]);
    let train = |n: &str, out: &str| {
        run(
            folder.path(),
            &format!(
                "train --preset digits-smoke --backend cpu --set train.steps=1 --set train.batch=2 --set data.kind=idx --set data.path=data \
                 --set log.preview.every_steps=0 --set model.n_classes={n} --out {out}"
            ),
        )
    };
    let done = train("auto", "auto");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("data.first_label = 1"),
        "{}",
        done.stderr
    );
    let text = fs::read_to_string(folder.path().join("auto/config.toml")).unwrap();
    assert!(
        text.contains("first_label = 1") && text.contains("classes = [\"1\", \"2\", \"3\"]"),
        "{text}"
    );
    let text = run_ok(
        folder.path(),
        "sample auto --backend cpu --steps 1 --classes 3 --per-class 1",
    );
    assert!(text.contains("from the top: 2 3\n"), "{text}");
    let done = train("4", "four");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("WARN") && done.stderr.contains("1 of 4 classes without an image: 0;"),
        "{}",
        done.stderr
    );
    let done = train("9", "nine");
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr
            .contains("6 of 9 classes without an image: 0, 4, 5, 6, 7, 8;"),
        "{}",
        done.stderr
    );
    assert!(!folder.path().join("nine").exists());
}

#[test]
fn a_file_of_labels_makes_the_classes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    folders(&path.join("data"), &["x", "y"]);
    let table = "file_name,label\nx/0.png,dog\nx/1.png,cat\nx/2.png,cat\ny/0.png,\"emu, old\"\ny/1.png,dog\ny/2.png,cat\n";
    fs::write(path.join("data/metadata.csv"), table).unwrap();
    let report = run_ok(path, "data inspect data");
    assert!(
        report.contains("3 classes") && report.contains("emu, old"),
        "{report}"
    );
    let done = run(path, TRAIN);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for part in [
        "labels are those of data/metadata.csv",
        "0 cat (3), 1 dog (2), 2 emu, old (1)",
    ] {
        assert!(done.stderr.contains(part), "{part}\n{}", done.stderr);
    }
    // Another name in it is another class.
    fs::write(path.join("data/metadata.csv"), table.replace("dog", "fox")).unwrap();
    let done = run(path, "train --resume run --backend cpu --set train.steps=3");
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr.contains("gone: dog; new: fox"),
        "{}",
        done.stderr
    );
}

#[test]
fn guidance_needs_label_dropout() {
    let folder = tempfile::tempdir().unwrap();
    let words = format!(
        "{} --set train.class_dropout=0 --set log.preview.every_steps=1 --set log.preview.guidance=2",
        super::TINY_RUN
    );
    let done = run(folder.path(), &words);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr
            .contains("log.preview.guidance = 2: previews go without"),
        "{}",
        done.stderr
    );
    run_ok(folder.path(), "convert run x.safetensors");
    for what in ["run", "x.safetensors"] {
        let done = run(
            folder.path(),
            &format!("sample {what} --backend cpu --steps 1 --guidance 2"),
        );
        assert_eq!(done.code, Some(2), "{}", done.stderr);
        assert!(done.stderr.contains("--guidance: got 2, expected 1 (none): the model was trained with train.class_dropout = 0"), "{}", done.stderr);
    }
    run_ok(folder.path(), "sample run --backend cpu --steps 1");
}
