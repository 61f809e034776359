//! Runs on data from files: folders of images and IDX.

use super::metrics;
use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageFormat, RgbImage, RgbaImage};
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::io::Write;
use std::path::Path;

/// Six images of all formats and kinds of pixels in two classes, none of them square.
pub fn images(folder: &Path) {
    let level = |x: u32, y: u32, c: u32| (17 * x + 31 * y + 77 * c) as u8;
    let rgb = |w, h| {
        DynamicImage::from(RgbImage::from_fn(w, h, |x, y| {
            image::Rgb([0, 1, 2].map(|c| level(x, y, c)))
        }))
    };
    let files: [(&str, DynamicImage, ImageFormat); 5] = [
        ("cat/rgb.png", rgb(20, 13), ImageFormat::Png),
        (
            "cat/grey.PNG",
            GrayImage::from_fn(12, 19, |x, y| image::Luma([level(x, y, 0)])).into(),
            ImageFormat::Png,
        ),
        (
            "cat/deeper/alpha.png",
            RgbaImage::from_fn(16, 11, |x, y| {
                image::Rgba([0, 1, 2, 3].map(|c| level(x, y, c)))
            })
            .into(),
            ImageFormat::Png,
        ),
        ("dog/rgb.webp", rgb(9, 40), ImageFormat::WebP),
        (
            "dog/grey-alpha.png",
            GrayAlphaImage::from_fn(8, 8, |x, y| image::LumaA([level(x, y, 0), level(x, y, 1)]))
                .into(),
            ImageFormat::Png,
        ),
    ];
    for (name, image, format) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image.save_with_format(path, format).unwrap();
    }
    let jpeg = include_bytes!("../../fixtures/pictures/422.jpg");
    fs::write(folder.join("dog/rgb.jpg"), jpeg).unwrap();
    fs::write(folder.join("cat/notes.txt"), "not an image").unwrap();
}

const FOLDER: &str = "train --preset digits-smoke --backend cpu --out run --set train.steps=4 --set data.kind=folder \
     --set data.path=data --set data.image_size=8 --set data.flip=true --set log.preview.every_steps=4";

#[test]
fn a_folder_of_images_trains_and_samples() {
    let folder = tempfile::tempdir().unwrap();
    images(&folder.path().join("data"));
    let report = run_ok(folder.path(), "data inspect data");
    for part in [
        "6 images",
        "cat",
        "dog",
        "grey with alpha",
        "left out: 1 .txt",
    ] {
        assert!(report.contains(part), "{part}:\n{report}");
    }
    // A file on which the decoder panics is a bad file, and the panic message is not shown.
    let odd = folder.path().join("odd");
    fs::create_dir(&odd).unwrap();
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/pictures/cmyk_factors.jpg"
    );
    fs::copy(file, odd.join("a.jpg")).unwrap();
    let done = run(folder.path(), "data inspect odd");
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    let is_said = done
        .stderr
        .contains("odd/a.jpg: the decoder fails on this kind of file");
    assert!(is_said && !done.stderr.contains("panic"), "{}", done.stderr);
    // The report ends with a command.
    let command = report.trim_end().rsplit_once("\nsit ").unwrap().1;
    assert!(command.contains("--set data.path=data"), "{report}");
    run_ok(folder.path(), &format!("{command} --backend cpu --dry-run"));
    for (channels, n_classes, words_for_it, run_name) in
        [(3, 2, "2 classes", "color"), (1, 0, "no classes", "grey")]
    {
        let words = FOLDER.replace("--out run", &format!("--out {run_name}"));
        let words = format!(
            "{words} --set model.channels={channels} --set data.channels={channels} --set model.n_classes={n_classes}"
        );
        let done = run(folder.path(), &words);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        let said = format!("data: 6 images of 8x8x{channels}, {words_for_it}");
        assert!(done.stderr.contains(&said), "{}", done.stderr);
        let lines = metrics(&folder.path().join(run_name));
        assert_eq!(lines.len(), 4);
        assert!(
            lines
                .iter()
                .all(|line| line["loss"].as_f64().is_some_and(|loss| loss > 0.0))
        );

        run_ok(
            folder.path(),
            &format!(
                "sample {run_name} --backend cpu --steps 2 --per-class 3 --out {run_name}.png"
            ),
        );
        let grid = image::open(folder.path().join(format!("{run_name}.png"))).unwrap();
        assert_eq!(grid.color().channel_count(), channels);
    }
}

/// The cache contains what the files decode to.
#[test]
fn a_folder_without_a_cache_trains_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    images(&folder.path().join("data"));
    let weights = |mib: u32| {
        let words = FOLDER.replace("--out run", &format!("--out run-{mib}"));
        run_ok(
            folder.path(),
            &format!(
                "{words} --set model.channels=3 --set model.n_classes=2 --set data.cache_mib={mib}"
            ),
        );
        let last = format!("run-{mib}/step-00000004/model.safetensors");
        fs::read(folder.path().join(last)).unwrap()
    };
    assert!(weights(0) == weights(1));
}

#[test]
fn idx_files_train_with_and_without_compression() {
    let folder = tempfile::tempdir().unwrap();
    let n: u8 = 20;
    let mut pixels = vec![0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 8, 0, 0, 0, 8];
    pixels.extend((0..usize::from(n) * 64).map(|i| (i * 7) as u8));
    let mut labels = vec![0, 0, 8, 1, 0, 0, 0, n];
    labels.extend((0..n).map(|i| i % 10));
    let mut weights = Vec::new();
    for name in ["plain", "gz"] {
        let data = folder.path().join(name);
        fs::create_dir(&data).unwrap();
        for (file, bytes) in [
            ("train-images-idx3-ubyte", &pixels),
            ("train-labels-idx1-ubyte", &labels),
        ] {
            if name == "plain" {
                fs::write(data.join(file), bytes).unwrap();
            } else {
                let out = fs::File::create(data.join(format!("{file}.gz"))).unwrap();
                let mut out = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
                out.write_all(bytes).unwrap();
                out.finish().unwrap();
            }
        }
        let words = format!(
            "train --preset digits-smoke --backend cpu --out run-{name} --set train.steps=3 --set data.kind=idx --set data.path={name}"
        );
        let done = run(folder.path(), &words);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        assert!(
            done.stderr.contains("20 images of 8x8x1, 10 classes"),
            "{}",
            done.stderr
        );
        weights.push(
            fs::read(
                folder
                    .path()
                    .join(format!("run-{name}/step-00000003/model.safetensors")),
            )
            .unwrap(),
        );
    }
    assert!(weights[0] == weights[1]);

    // The part to test with judges samples.
    let plain = folder.path().join("plain");
    for kind in ["images-idx3-ubyte", "labels-idx1-ubyte"] {
        let name = |part: &str| plain.join(format!("{part}-{kind}"));
        fs::copy(name("train"), name("t10k")).unwrap();
    }
    let sample = "sample run-plain --steps 1 --per-class 1 --no-grid --backend cpu --judge plain";
    let done = run(folder.path(), sample);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let said = "of 10 (";
    let source = "says the nearest of 20 images in plain";
    assert!(
        done.stdout.contains(said) && done.stdout.contains(source),
        "{}",
        done.stdout
    );
}
