//! `sit data encode`, and training on latents.

use super::eval::json;
use super::tensors::read;
use super::{copy, tree};
use half::f16;
use image::{Rgb, RgbImage};
use serde_json::Value;
use sit_engine::autoencoder::{Autoencoder, recognize};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Reader;
use sit_tests::fixture;
use sit_tests::sit::{run, run_ok};
use std::fs::{self, File};
use std::path::Path;

const SIDE: u32 = 16;
const IMAGES: usize = 12;
/// `[Z, h, w]` of TAEF2.
const LATENT: usize = 32 * 2 * 2;

/// Two classes of six pictures each.
fn pictures(folder: &Path) {
    for (class, name) in ["cat", "dog"].iter().enumerate() {
        let folder = folder.join("pictures").join(name);
        fs::create_dir_all(&folder).unwrap();
        for i in 0..IMAGES / 2 {
            let pixel = |x: u32, y: u32| {
                let level = |k: u32| {
                    ((x * (k + 3) + y * 7 + 31 * i as u32 + 90 * class as u32) * 5 % 256) as u8
                };
                Rgb([level(0), level(1), level(2)])
            };
            let picture = RgbImage::from_fn(SIDE, SIDE, pixel);
            picture.save(folder.join(format!("{i}.png"))).unwrap();
        }
    }
}

fn taef2(half: &str) -> String {
    let path = fixture::path(&format!("taef2/taef2_{half}.pth"));
    path.display().to_string()
}

fn encode(more: &str) -> String {
    format!(
        "data encode pictures --vae {} --set data.image_size={SIDE} --backend cpu {more}",
        taef2("encoder")
    )
}

#[test]
fn shards_have_the_latents_of_the_images_and_are_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pictures(folder);
    let text = run_ok(folder, &encode("--out latents --shard-images 5"));
    assert!(
        text.contains("12 images as latents of 32 x 2 x 2, plain and mirrored, in 3 shards"),
        "{text}"
    );
    let text = run_ok(folder, "data inspect latents");
    assert!(
        text.contains("latents of 12 images of folder pictures, 2 classes"),
        "{text}"
    );
    let shard = |n: usize| format!("shard-{n:05}-of-00003.safetensors");
    let tensors: Vec<_> = (0..3)
        .map(|n| read(&folder.join("latents").join(shard(n))))
        .collect();
    let labels = tensors.iter().flat_map(|t| t["label"].bytes.clone());
    let labels: Vec<i64> = labels
        .collect::<Vec<u8>>()
        .as_chunks()
        .0
        .iter()
        .map(|b| i64::from_le_bytes(*b))
        .collect();
    assert_eq!(labels, [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    let names = String::from_utf8(tensors[1]["names"].bytes.clone()).unwrap();
    assert_eq!(names.lines().count(), 5);
    assert_eq!(names.lines().next(), Some("cat/5.png"));

    // The library's latents of the same pictures.
    let mut reader = Reader::new("taef2", File::open(taef2("encoder")).unwrap()).unwrap();
    let config = recognize(&reader).unwrap();
    let autoencoder = Autoencoder::load(&Device::Cpu, config, &mut reader).unwrap();
    let mut encoder = autoencoder.encoder([SIDE as usize; 2], 1, None).unwrap();
    let n = (SIDE * SIDE) as usize;
    let mut at = 0;
    for tensor in &tensors {
        let values = tensor["moments"].bytes.as_chunks().0.iter();
        let values: Vec<f32> = values.map(|b| f16::from_le_bytes(*b).to_f32()).collect();
        for image in values.chunks(2 * LATENT) {
            let (class, i) = (["cat", "dog"][at / 6], at % 6);
            let path = folder.join(format!("pictures/{class}/{i}.png"));
            let mut picture = image::open(path).unwrap().to_rgb8();
            for got in image.chunks(LATENT) {
                let level = |k: usize| f32::from(picture.as_raw()[k % n * 3 + k / n]) / 127.5 - 1.0;
                let x: Vec<f32> = (0..3 * n).map(level).collect();
                let want = encoder.encode(&x).unwrap().mean;
                for (got, want) in got.iter().zip(&want) {
                    assert!(
                        (got - want).abs() <= 1e-3 * want.abs().max(0.1),
                        "{got} {want}"
                    );
                }
                picture = image::imageops::flip_horizontal(&picture);
            }
            at += 1;
        }
    }
    assert_eq!(at, IMAGES);

    // A folder whose work was stopped after two shards.
    copy(&folder.join("latents"), &folder.join("again"));
    let again = folder.join("again");
    let about = fs::read_to_string(again.join("latents.json")).unwrap();
    let mut about: Value = serde_json::from_str(&about).unwrap();
    about["shards"] = serde_json::json!([]);
    fs::write(again.join("encoding.json"), about.to_string()).unwrap();
    fs::remove_file(again.join("latents.json")).unwrap();
    fs::remove_file(again.join(shard(1))).unwrap();
    let other = run(folder, &encode("--out again --no-flips"));
    assert_eq!(other.code, Some(2));
    assert!(other.stderr.contains("other settings"), "{}", other.stderr);
    let text = run_ok(folder, &encode("--out again --shard-images 5"));
    assert!(
        text.contains("3 shards, 2 of which were there already"),
        "{text}"
    );
    for file in fs::read_dir(folder.join("latents")).unwrap() {
        let file = file.unwrap().path();
        let other = again.join(file.file_name().unwrap());
        assert!(
            fs::read(&file).unwrap() == fs::read(other).unwrap(),
            "{file:?}"
        );
    }
    fs::create_dir(folder.join("taken")).unwrap();
    fs::write(folder.join("taken/file"), "x").unwrap();
    for (out, expected) in [
        ("latents", "holds latents already"),
        ("taken", "holds other files"),
        ("pictures", "lies in the folder of the images"),
        ("pictures/latents", "lies in the folder of the images"),
        ("other --set data.flip=true", "data.flip: is of a training"),
    ] {
        let (out, more) = out.split_once(' ').unwrap_or((out, ""));
        let before = tree(folder);
        let refused = run(folder, &encode(&format!("--out {out} {more}")));
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
        assert!(tree(folder) == before);
    }
}

const TRAIN: &str = "train --preset SiT-S/2 --set model.input_size=2 --set model.channels=32 --set model.dim=16 --set model.depth=1 \
     --set model.n_heads=2 --set model.n_classes=auto --set train.batch=4 --set log.preview.every_steps=0 --backend cpu";

#[test]
fn a_model_of_latents_trains_resumes_and_makes_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pictures(folder);
    run_ok(folder, &encode("--out latents"));
    let train = |more: &str| format!("{TRAIN} --set data.path=latents {more}");
    run_ok(folder, &train("--out whole --set train.steps=6"));
    run_ok(folder, &train("--out parts --set train.steps=3"));
    run_ok(
        folder,
        "train --resume parts --set train.steps=6 --backend cpu",
    );
    let weights = |run: &str| {
        let file = format!("{run}/step-00000006/model.safetensors");
        fs::read(folder.join(file)).unwrap()
    };
    assert!(
        weights("whole") == weights("parts"),
        "a resumed run has other weights"
    );
    let vae = taef2("decoder");
    let previews = format!(
        "--out shown --set train.steps=2 --set log.preview.every_steps=1 --set log.preview.count=4 --set log.preview.vae={vae}"
    );
    let again = train(&previews).replace("--set log.preview.every_steps=0 ", "");
    run_ok(folder, &again);
    let preview = image::open(folder.join("shown/previews/step-00000002.png")).unwrap();
    // Two rows of two pictures.
    let (width, height) = (preview.width(), preview.height());
    assert!(width == height && width > 2 * SIDE, "{width} x {height}");
    let channels = { preview.to_rgb8() }.pixels().any(|p| p.0[0] != p.0[1]);
    assert!(channels, "the preview shows latents, not colors");
    let sample = "sample whole --steps 2 --per-class 2 --classes cat,dog --backend cpu";
    run_ok(
        folder,
        &format!("{sample} --vae {vae} --png made --no-grid"),
    );
    let made: Vec<_> = fs::read_dir(folder.join("made")).unwrap().collect();
    assert_eq!(made.len(), 4);
    for file in made {
        let picture = image::open(file.unwrap().path()).unwrap();
        assert_eq!((picture.width(), picture.height()), (SIDE, SIDE));
    }
}

#[test]
fn samples_of_a_model_of_latents_are_evaluated_as_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pictures(folder);
    run_ok(folder, &encode("--out latents"));
    let eval = "--set log.every_steps=1 --set log.eval.every_steps=1 --set log.eval.count=6 --set log.eval.steps=2 --set log.eval.metrics=[\"pixel-sw\"]";
    let train = format!("{TRAIN} --set data.path=latents --set train.steps=2 --out run {eval}");
    let refused = run(folder, &train);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.stderr.contains("log.preview.vae: got none"),
        "{}",
        refused.stderr
    );
    let vae = taef2("decoder");
    let set = format!("--set log.preview.vae={vae} --set log.eval.reference=pictures");
    run_ok(folder, &format!("{train} {set}"));
    run_ok(
        folder,
        &format!(
            "sample run --ode heun --steps 2 --count 6 --balanced --backend cpu --vae {vae} --npz s.npz"
        ),
    );
    run_ok(
        folder,
        "eval s.npz --reference pictures --metrics pixel-sw --resamples 0 --json e.json",
    );
    let all = json(&folder.join("e.json"));
    let row = &all["rows"][0];
    let lines = fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(row["pixel-sw"].is_f64(), "{row}");
    // The name has the number of images that are compared, which the reference limits.
    let n = all["settings"]["pixels"].as_u64().unwrap();
    assert!(n < 6, "{n}");
    assert_eq!(last[format!("eval/pixel-sw-{n}")], row["pixel-sw"]);
}

#[test]
fn broken_latents_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    pictures(folder);
    run_ok(folder, &encode("--out latents --no-flips --dtype f32"));
    let train = format!(
        "{TRAIN} --set data.path=broken --set train.steps=1 --out run --set data.flip=false"
    );
    let file = "shard-00000-of-00001.safetensors";
    type Break = fn(&Path);
    let cases: [(&str, Break, &str); 6] = [
        (
            "a file that is cut off",
            |f| {
                let path = f.join("shard-00000-of-00001.safetensors");
                let bytes = fs::read(&path).unwrap();
                fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            },
            file,
        ),
        (
            "no file",
            |f| fs::remove_file(f.join("shard-00000-of-00001.safetensors")).unwrap(),
            file,
        ),
        (
            "another version",
            |f| replace(f, "\"version\": 1", "\"version\": 9"),
            "version 9",
        ),
        (
            "another size",
            |f| replace(f, "\"images\": 12", "\"images\": 13"),
            file,
        ),
        (
            "a path out of the folder",
            |f| replace(f, "shard-00000", "../shard-00000"),
            "expected files of the same folder",
        ),
        (
            "no description",
            |f| fs::write(f.join("latents.json"), "{").unwrap(),
            "latents.json",
        ),
    ];
    for (what, spoil, expected) in cases {
        let broken = folder.join("broken");
        copy(&folder.join("latents"), &broken);
        spoil(&broken);
        let done = run(folder, &train);
        assert_eq!(done.code, Some(2), "{what}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{what}: {}", done.stderr);
        assert!(!folder.join("run").exists(), "{what}");
        fs::remove_dir_all(&broken).unwrap();
    }
    let mirrored = format!(
        "{TRAIN} --set data.path=latents --set train.steps=1 --out run --set data.flip=true"
    );
    let done = run(folder, &mirrored);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr.contains("data.flip: got true"),
        "{}",
        done.stderr
    );
}

fn replace(folder: &Path, from: &str, to: &str) {
    let path = folder.join("latents.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}
