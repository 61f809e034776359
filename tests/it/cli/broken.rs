//! Files with something wrong.

use super::tensors::{Tensors, edit, f32s, i64s, read, truncate, write};
use std::fs;
use std::path::{Path, PathBuf};

const QKV: &str = "blocks.0.attn.qkv.bias";

/// Creates or changes files in `folder`. The first word of `how` names the file, the rest what is wrong with it.
pub fn make(folder: &Path, how: &str) {
    let (what, how) = how.split_once(": ").unwrap_or((how, ""));
    match what {
        "" => {}
        "my.toml" => config(folder, how),
        "data" => data(&folder.join("data"), how),
        "ema" => ema(&last(folder, "ema.safetensors"), how),
        "optim" => edit(&last(folder, "optim.safetensors"), |tensors| {
            tensors.remove("exp_avg.x_embedder.proj.bias").unwrap();
        }),
        "state" => state(&last(folder, "state.json"), how),
        "bare" => bare(folder, how),
        "init" => init(&folder.join("init"), how),
        // Lines, with slashes between them.
        "lines" => fs::write(folder.join("lines"), how.replace(" / ", "\n")).unwrap(),
        _ => panic!("{what}: {how}"),
    }
}

fn last(folder: &Path, file: &str) -> PathBuf {
    folder.join("run/step-00000002").join(file)
}

fn config(folder: &Path, how: &str) {
    let rest = match how {
        "key" => "[train]\nlearning_rat = 1e-3",
        "range" => "[train]\nbatch = 0",
        "syntax" => "steps 3",
        _ => panic!("{how}"),
    };
    let model = "[model]\ninput_size = 8\nchannels = 1\npatch = 2\ndim = 16\ndepth = 1\nn_heads = 2\nn_classes = 10\n";
    let text = format!("{model}[data]\nkind = \"digits\"\n\n{rest}\n");
    fs::write(folder.join("my.toml"), text).unwrap();
}

fn data(folder: &Path, how: &str) {
    match how {
        "empty" => fs::create_dir(folder).unwrap(),
        "file" => fs::write(folder, "x").unwrap(),
        "flat" => png(&folder.join("1.png")),
        "images" | "corrupt" => {
            for file in ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"] {
                png(&folder.join(file));
            }
            if how == "corrupt" {
                truncate(&folder.join("cat/1.png"), 0.5);
            }
        }
        "cut IDX" => {
            idx(folder, [0, 1, 2]);
            truncate(&folder.join("train-images-idx3-ubyte"), 0.9);
        }
        "label 12" => idx(folder, [0, 12, 2]),
        _ => panic!("{how}"),
    }
}

fn png(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pixel = |x: u32, y: u32| image::Rgb([20 * x, 30 * y, x * y].map(|level| level as u8));
    image::RgbImage::from_fn(9, 8, pixel).save(path).unwrap();
}

fn idx(folder: &Path, labels: [u8; 3]) {
    fs::create_dir(folder).unwrap();
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 8, 0, 0, 0, 8];
    images.extend((0..3 * 64).map(|i| i as u8));
    fs::write(folder.join("train-images-idx3-ubyte"), images).unwrap();
    let bytes = [&[0, 0, 8, 1, 0, 0, 0, 3][..], &labels].concat();
    fs::write(folder.join("train-labels-idx1-ubyte"), bytes).unwrap();
}

fn ema(path: &Path, how: &str) {
    let replace = |tensor| edit(path, |tensors| drop(tensors.insert(QKV.into(), tensor)));
    match how {
        "missing" => edit(path, |tensors| drop(tensors.remove(QKV).unwrap())),
        "extra" => edit(path, |tensors| {
            tensors.insert("blocks.9.x".into(), f32s(&[1], &[0.0]));
        }),
        "misshaped" => replace(f32s(&[2], &[0.0; 2])),
        "integers" => replace(i64s(&[48], &[0; 48])),
        "NaN" => {
            let mut values = [0.0; 48];
            values[2] = f32::NAN;
            replace(f32s(&[48], &values));
        }
        "zeros" => edit(path, |tensors| {
            let weight = QKV.replace("bias", "weight");
            drop(tensors.insert(weight, f32s(&[48, 16], &[0.0; 768])));
        }),
        "recipe" => {
            let text = fs::read(path).unwrap();
            let key = br#"\"input_size\""#;
            let at = text.windows(key.len()).position(|w| w == key).unwrap();
            let other = [&text[..at], br#"\"input_sizo\""#, &text[at + key.len()..]].concat();
            fs::write(path, other).unwrap();
        }
        "cut" => truncate(path, 0.7),
        "4 bytes" => fs::write(path, "1234").unwrap(),
        "header" => fs::write(path, [255; 64]).unwrap(),
        _ => panic!("{how}"),
    }
}

fn state(path: &Path, how: &str) {
    match how {
        "cut" => truncate(path, 0.5),
        // A key and its other value.
        _ => {
            let (key, value) = how.split_once(' ').unwrap();
            let text = fs::read_to_string(path).unwrap();
            let (before, after) = text.split_once(&format!("\"{key}\": ")).unwrap();
            let end = after.find([',', '\n']).unwrap();
            let other = format!("{before}\"{key}\": {value}{}", &after[end..]);
            assert_ne!(other, text);
            fs::write(path, other).unwrap();
        }
    }
}

/// A file with the official names and nothing else.
fn bare(folder: &Path, how: &str) {
    let mut tensors = read(&last(folder, "ema.safetensors"));
    tensors.remove("pos_embed").unwrap();
    if how == "positions" {
        tensors.insert("pos_embed".into(), f32s(&[1, 16, 16], &[0.5; 256]));
    }
    write(&folder.join("bare.safetensors"), &tensors);
}

/// Noise for one image.
fn init(path: &Path, how: &str) {
    let x = |values: &[f32]| ("x".to_owned(), f32s(&[1, 1, 8, values.len() / 8], values));
    let y = |labels: &[i64]| ("y".to_owned(), i64s(&[labels.len()], labels));
    let noise = x(&[0.5; 64]);
    let tensors = match how {
        "no x" => vec![y(&[1])],
        "shape" => vec![x(&[0.5; 32])],
        "infinite" => vec![x(&[f32::INFINITY; 64])],
        "labels" => vec![noise, y(&[1, 2, 3])],
        "label 11" => vec![noise, y(&[11])],
        "label 1" => vec![noise, y(&[1])],
        _ => panic!("{how}"),
    };
    write(path, &tensors.into_iter().collect::<Tensors>());
}
