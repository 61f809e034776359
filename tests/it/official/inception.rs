//! The Inception network of FID with formula weights, against torch-fidelity and pytorch-fid.

use super::CPU;
use sit_engine::checkpoint::Reader;
use sit_engine::inception::{Inception, Resize, Taps};
use sit_tests::assert_close;
use sit_tests::fixture::{Entry, Fixture};
use sit_tests::inception::{bytes, image, official_file};
use std::io::Cursor;

/// Relative to the rms; the official numbers are of f32 too, and lie within 6e-7 of f64.
const TOLERANCE: f64 = 2e-5;

/// Positions and values are of f32.
const ROUNDING: f64 = 1e-6;

/// Height and width of the images that the network reads.
const SIDE: usize = 299;

fn load(resize: Resize) -> Inception {
    let mut reader = Reader::new("formula weights", Cursor::new(official_file())).unwrap();
    Inception::load(CPU.device, &mut reader, resize, 2).unwrap()
}

/// An image of the fixture with its numbers.
struct Image<'a> {
    name: &'a str,
    pixels: Vec<u8>,
    entry: Entry<'a>,
}

/// The images of the fixture by their sides.
fn by_side<'a>(root: &Entry<'a>) -> Vec<(usize, Vec<Image<'a>>)> {
    let mut sides: Vec<(usize, Vec<Image<'_>>)> = Vec::new();
    for (name, entry) in root.at("results").entries() {
        let (side, pixels) = image(root, name);
        let sum: usize = pixels.iter().map(|&x| usize::from(x)).sum();
        assert_eq!(sum, entry.at("pixel_sum").count(), "{name}");
        let first = entry.at("first_pixels").list();
        let first: Vec<usize> = first.iter().flat_map(Entry::counts).collect();
        let own = pixels[..first.len()].iter().map(|&x| usize::from(x));
        assert_eq!(own.collect::<Vec<_>>(), first, "{name}");
        let image = Image {
            name,
            pixels,
            entry,
        };
        match sides.iter_mut().find(|(known, _)| *known == side) {
            Some((_, images)) => images.push(image),
            None => sides.push((side, vec![image])),
        }
    }
    sides
}

/// Evaluates all images and shows each one's numbers with its name.
fn evaluate(resize: Resize, check: impl Fn(&str, &Taps)) {
    let fixture = Fixture::open("inception");
    let mut inception = load(resize);
    let mut n_images = 0;
    for (side, images) in by_side(&fixture.root()) {
        let pixels: Vec<u8> = images
            .iter()
            .flat_map(|image| image.pixels.clone())
            .collect();
        let taps = inception.features(&pixels, [side; 2]).unwrap();
        for (i, image) in images.iter().enumerate() {
            let row = |all: &[f32]| {
                let len = all.len() / images.len();
                all[i * len..(i + 1) * len].to_vec()
            };
            let own = Taps {
                tap64: row(&taps.tap64),
                tap192: row(&taps.tap192),
                tap768: row(&taps.tap768),
                pool2048: row(&taps.pool2048),
                spatial2023: row(&taps.spatial2023),
                logits: row(&taps.logits),
                logits_unbiased: row(&taps.logits_unbiased),
            };
            check(image.name, &own);
            n_images += 1;
        }
    }
    assert!(n_images >= 4);
}

/// The number in the key of a list of every n-th value.
fn step(key: &str) -> usize {
    let (_, rest) = key.rsplit_once("every_").unwrap();
    let digits = rest.trim_end_matches(|c: char| !c.is_ascii_digit());
    digits.parse().unwrap()
}

#[test]
fn taps_are_those_of_torch_fidelity() {
    let fixture = Fixture::open("inception");
    let (arrays, names) = (fixture.arrays(), fixture.arrays().names());
    let seen = std::cell::Cell::new(0);
    evaluate(Resize::Tf1, |name, taps| {
        let prefix = format!("tf.{name}.");
        for key in names.iter().filter(|key| key.starts_with(&prefix)) {
            let got = match &key[prefix.len()..] {
                "all" => [&taps.tap64[..], &taps.tap192, &taps.tap768].concat(),
                "2048" => taps.pool2048.clone(),
                "logits" => taps.logits.clone(),
                what if what.starts_with("spatial_every_") => taps
                    .spatial2023
                    .iter()
                    .step_by(step(what))
                    .copied()
                    .collect(),
                other => panic!("{other} is not understood"),
            };
            assert_close(key, &got, &arrays.get(key), TOLERANCE);
            seen.set(seen.get() + 1);
        }
        let stated = fixture.root().at("results").at(name).at("tf");
        let stated = stated.at("logits_unbiased");
        let n = taps.logits_unbiased.len() as f64;
        let logits = || taps.logits_unbiased.iter().map(|&x| f64::from(x));
        let mean = logits().sum::<f64>() / n;
        let variance = logits().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let (std, want) = (variance.sqrt(), stated.at("std").number());
        // Of n or of n - 1 values.
        assert!((std / want - 1.0).abs() < 1e-3, "{std} {want}");
        assert!((mean - stated.at("mean").number()).abs() < 1e-5 * want);
    });
    let expected = names.iter().filter(|key| key.starts_with("tf.")).count();
    assert_eq!(seen.get(), expected);
}

#[test]
fn taps_are_those_of_pytorch_fid() {
    let fixture = Fixture::open("inception");
    let arrays = fixture.arrays();
    evaluate(Resize::HalfPixel, |name, taps| {
        let prefix = format!("pytorch_fid.{name}.all_every_");
        let names = arrays.names();
        let key = names.iter().find(|key| key.starts_with(&prefix)).unwrap();
        let all = [&taps.tap64[..], &taps.tap192, &taps.tap768, &taps.pool2048];
        let all = [all.concat(), taps.logits.clone()].concat();
        let got: Vec<f32> = all.into_iter().step_by(step(key)).collect();
        assert_close(key, &got, &arrays.get(key), TOLERANCE);
    });
}

/// The list of every n-th value whose key begins so.
fn listed<'a>(entry: &Entry<'a>, key: &str) -> Option<(usize, Entry<'a>)> {
    let mut entries = entry.entries().into_iter();
    let (key, list) = entries.find(|(name, _)| name.starts_with(key))?;
    Some((step(key), list))
}

#[test]
fn images_are_resized_as_by_both() {
    let fixture = Fixture::open("inception");
    let mut n_lists = 0;
    for (side, images) in by_side(&fixture.root()) {
        for Image {
            name,
            pixels,
            entry,
        } in images
        {
            for (resize, key) in [
                (Resize::Tf1, "resized_tf_every_"),
                (Resize::HalfPixel, "resized_pytorch_fid_every_"),
            ] {
                // Back to 0 to 255, and in the order [C, H, W].
                let value = |x: f32| match resize {
                    Resize::Tf1 => f64::from(x) * 128.0 + 128.0,
                    _ => (f64::from(x) + 1.0) * 127.5,
                };
                let x = resize.apply(&pixels, [side; 2], SIDE);
                let planes = (0..3).flat_map(|c| x.iter().skip(c).step_by(3));
                let planes: Vec<f64> = planes.map(|&x| value(x)).collect();
                if let Some((step, want)) = listed(&entry, key) {
                    let got: Vec<f64> = planes.into_iter().step_by(step).collect();
                    assert_close(&format!("{name} {key}"), &got, &want.numbers(), ROUNDING);
                    n_lists += 1;
                } else {
                    // An image of the network's size stays as it is.
                    assert_eq!(side, SIDE);
                    let pixels = (0..3).flat_map(|c| pixels.iter().skip(c).step_by(3));
                    let pixels: Vec<f64> = pixels.map(|&x| f64::from(x)).collect();
                    assert_close(name, &planes, &pixels, ROUNDING);
                }
            }
        }
    }
    assert!(n_lists >= 4);
}

#[test]
fn an_image_is_filtered_as_by_clean_fid() {
    let fixture = Fixture::open("inception_antialias");
    let root = fixture.root();
    let (side, every) = (root.at("side").count(), root.at("every").count());
    for (name, entry) in root.at("images").entries() {
        let size = ["height", "width"].map(|key| entry.at(key).count());
        let pixels = bytes(&root, entry.at("k").count(), size[0] * size[1] * 3);
        let sum: usize = pixels.iter().map(|&x| usize::from(x)).sum();
        assert_eq!(sum, entry.at("pixel_sum").count(), "{name}");
        let x = Resize::Antialias.apply(&pixels, size, side);
        let got = x
            .iter()
            .step_by(every)
            .map(|&x| f64::from(x) * 128.0 + 128.0);
        let want = entry.at("resized").numbers();
        assert_close(name, &got.collect::<Vec<_>>(), &want, ROUNDING);
    }
}
