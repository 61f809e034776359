//! `model.family = "autoencoder"`: training one, its file, and a model on its latents.

mod refusals;

use super::tensors::read;
use super::{checkpoints, metrics, names};
use half::f16;
use image::{Rgb, RgbImage};
use sit_tests::fixture::Fixture;
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::path::Path;

/// A small autoencoder of the digits, whose latents are 2 x 4 x 4.
const CONFIG: &str = r#"
[model]
family = "autoencoder"
input_size = 8
channels = 1
latent_channels = 2
widths = [8, 16]
blocks = 1
groups = 4

[data]
kind = "digits"

[train]
steps = 12
batch = 8
learning_rate = 2e-3

[log]
every_steps = 4
checkpoint_every_steps = 6

[log.preview]
every_steps = 6
count = 6

[log.validation]
every_steps = 4
images = 20
"#;

const TRAIN: &str = "train ae.toml --backend cpu --out ae";

fn config(folder: &Path) {
    fs::write(folder.join("ae.toml"), CONFIG).unwrap();
}

/// Color pictures that all differ.
fn pictures(folder: &Path, side: u32, n: u32) {
    fs::create_dir(folder.join("pictures")).unwrap();
    for i in 0..n {
        let level = |value: u32| (value % 256) as u8;
        let pixel = |x, y| Rgb([level(x * 30), level(y * 30), level(20 * i * (x + 1))]);
        let picture = RgbImage::from_fn(side, side, pixel);
        let path = folder.join(format!("pictures/{i:02}.png"));
        picture.save(path).unwrap();
    }
}

fn number(line: &serde_json::Value, key: &str) -> f64 {
    let value = line[key].as_f64();
    value.unwrap_or_else(|| panic!("{key} in {line}"))
}

/// The scale that a file of weights records.
fn scale(path: &Path) -> f64 {
    let bytes = fs::read(path).unwrap();
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + n]).unwrap();
    let recipe = header["__metadata__"]["sit"].as_str().unwrap();
    number(&serde_json::from_str(recipe).unwrap(), "latent_scale")
}

#[test]
fn a_run_tells_the_parts_of_its_loss_and_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    config(folder);
    let done = run(folder, TRAIN);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr
            .contains("sit data encode IMAGES --vae ae --out LATENTS"),
        "{}",
        done.stderr
    );
    let lines = metrics(&folder.join("ae"));
    assert_eq!(lines.len(), 3);
    for line in &lines {
        let loss = number(line, "reconstruction") + 1e-6 * number(line, "kl");
        assert!((number(line, "loss") / loss - 1.0).abs() < 1e-6, "{line}");
        // Of images whose values have a range of 2.
        assert!((0.0..60.0).contains(&number(line, "validation_psnr")));
        assert!(number(line, "validation_loss") > 0.0);
        // It draws no times.
        let by_t = line["loss_by_t"].as_array().unwrap();
        assert!(by_t.iter().all(serde_json::Value::is_null), "{line}");
    }
    let first = number(&lines[0], "validation_psnr");
    assert!(number(&lines[2], "validation_psnr") > first);
    let preview = image::open(folder.join("ae/previews/step-00000012.png")).unwrap();
    assert!(preview.width() > preview.height(), "three pairs in a row");

    // Ended after the first checkpoint, and gone on.
    run_ok(
        folder,
        "train ae.toml --backend cpu --out again --set train.steps=6",
    );
    run_ok(
        folder,
        "train --resume again --backend cpu --set train.steps=12",
    );
    assert_eq!(checkpoints(&folder.join("again")).len(), 2);
    let last = "step-00000012";
    for file in names(&folder.join("ae").join(last)) {
        let bytes = |run: &str| fs::read(folder.join(run).join(last).join(&file)).unwrap();
        assert!(bytes("ae") == bytes("again"), "{file} differs");
    }
    assert_eq!(metrics(&folder.join("again")).last(), lines.last());
}

#[test]
fn accumulated_batches_draw_the_noise_of_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    config(folder);
    let losses = |out: &str, more: &str| -> Vec<f64> {
        run_ok(
            folder,
            &format!(
                "train ae.toml --backend cpu --out {out} --set train.steps=3 --set log.every_steps=1 {more}"
            ),
        );
        let lines = metrics(&folder.join(out));
        let parts = lines
            .iter()
            .flat_map(|line| ["loss", "kl", "reconstruction"].map(|key| number(line, key)));
        parts.collect()
    };
    let whole = losses("whole", "");
    let parts = losses("parts", "--set train.batch=2 --set train.accumulate=4");
    for (whole, parts) in whole.iter().zip(&parts) {
        // Sums over images in another order.
        assert!((whole / parts - 1.0).abs() < 1e-5, "{whole} {parts}");
    }
    let other = losses("other", "--set train.seed=1");
    assert_ne!(other[0], whole[0]);
}

/// Encode, train on the latents, sample with the run.
#[test]
fn a_model_is_trained_on_its_latents_and_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    config(folder);
    pictures(folder, 8, 12);
    run_ok(
        folder,
        &format!(
            "{TRAIN} --set train.ema_decay2=0.5 --set data.kind=folder --set data.path=pictures --set data.image_size=8 \
             --set data.channels=3 --set model.channels=3 --set log.validation.every_steps=0"
        ),
    );
    let text = run_ok(
        folder,
        "data encode pictures --vae ae --out latents --backend cpu --dtype f32 --no-flips --set data.image_size=8",
    );
    assert!(text.contains("12 images as latents of 2 x 4 x 4"), "{text}");
    // The scale makes the deviation of the training images' latents 1.
    let step = folder.join("ae/step-00000012");
    let scale_of = |file: &str| scale(&step.join(file));
    let ema = scale_of("ema.safetensors");
    let shards = names(&folder.join("latents"));
    let shard = shards
        .iter()
        .find(|name| name.starts_with("shard"))
        .unwrap();
    let moments = read(&folder.join("latents").join(shard))["moments"].values();
    let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
    for record in moments.chunks_exact(2 * 32) {
        for (mean, log_variance) in record[..32].iter().zip(&record[32..]) {
            let (mean, variance) = (f64::from(*mean), f64::from(*log_variance).exp());
            n += 1.0;
            sum += mean;
            squares += mean * mean + variance;
        }
    }
    let std = (squares / n - (sum / n) * (sum / n)).sqrt();
    // The drawn noise has a deviation of 1 within some percent.
    assert!((ema * std - 1.0).abs() < 0.08, "{ema} {std}");
    // Other weights have another scale.
    assert_ne!(scale_of("model.safetensors"), ema);
    assert_ne!(scale_of("ema2.safetensors"), ema);
    let info = run_ok(folder, "info ae");
    assert!(
        info.contains(&format!("its latents are multiplied by {ema:.4}"))
            && info
                .contains("8x8x3: autoencoder of widths 8 16, 1 block a level, 2 x 4 x 4 latents")
            && info.contains("reconstructions"),
        "{info}"
    );

    run_ok(
        folder,
        "train --preset fashion-mnist-latents --backend cpu --out sit --set data.path=latents --set data.flip=false --set model.channels=2 --set model.n_classes=0 \
         --set model.input_size=4 --set model.dim=16 --set model.depth=1 --set model.n_heads=2 --set train.steps=3 --set train.batch=4 \
         --set train.warmup_steps=1",
    );
    let sample = |vae: &str, out: &str| {
        let words =
            format!("sample sit --vae {vae} --steps 2 --per-class 3 --backend cpu --out {out}.png");
        run_ok(folder, &words);
        fs::read(folder.join(format!("{out}.png"))).unwrap()
    };
    let own = sample("ae", "own");
    // The files say the same.
    run_ok(folder, "convert ae vae.safetensors");
    run_ok(folder, "convert ae vae --to diffusers");
    assert_eq!(
        names(&folder.join("vae")),
        ["config.json", "diffusion_pytorch_model.safetensors"]
    );
    assert!(sample("vae.safetensors", "file") == own);
    assert!(sample("vae", "folder") == own);
    // Without the metadata, what diffusers reads is enough.
    let weights = folder.join("vae/diffusion_pytorch_model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    let n = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + n]).unwrap();
    header.as_object_mut().unwrap().remove("__metadata__");
    let header = serde_json::to_vec(&header).unwrap();
    let plain = [
        &(header.len() as u64).to_le_bytes()[..],
        &header,
        &bytes[8 + n..],
    ];
    fs::write(&weights, plain.concat()).unwrap();
    assert!(sample("vae", "plain") == own);
    // The model was trained on latents of one scale, whatever a file beside an autoencoder says.
    let about = folder.join("vae/config.json");
    let mut changed: serde_json::Value =
        serde_json::from_slice(&fs::read(&about).unwrap()).unwrap();
    changed["scaling_factor"] = 0.5.into();
    fs::write(&about, changed.to_string()).unwrap();
    let words = "sample sit --vae vae --steps 2 --per-class 3 --backend cpu --out changed.png";
    let done = run(folder, words);
    let said = done.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("has scale 0.5") && said.contains("is not the file ema.safetensors"),
        "{said}"
    );
    assert!(fs::read(folder.join("changed.png")).unwrap() == own);
    // Nor can a run go on with latents of another one.
    let text = fs::read_to_string(folder.join("latents/latents.json")).unwrap();
    let mut latents: serde_json::Value = serde_json::from_str(&text).unwrap();
    latents["scale"] = 0.5.into();
    fs::write(folder.join("latents/latents.json"), latents.to_string()).unwrap();
    let done = run(
        folder,
        "train --resume sit --set train.steps=4 --backend cpu",
    );
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr.contains("with scale 0.5 and shift 0"),
        "{}",
        done.stderr
    );
    run_ok(
        folder,
        "convert ae half --weights raw --dtype f16 --to diffusers",
    );
    let half = read(&folder.join("half/diffusion_pytorch_model.safetensors"));
    let bias = &half["decoder.conv_out.bias"].bytes;
    assert_eq!(bias.len(), 3 * size_of::<f16>());
}

/// The file has the tensors and the configuration that diffusers' AutoencoderKL has for the same sizes.
#[test]
fn an_exported_folder_is_diffusers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let fixture = Fixture::open("autoencoder_kl");
    let root = fixture.root();
    let wanted = root.at("config");
    let side = wanted.at("sample_size").count() as u32;
    pictures(folder, side, 2);
    let text = format!(
        "[model]\nfamily = \"autoencoder\"\ninput_size = {side}\nchannels = {}\nlatent_channels = {}\nwidths = {:?}\nblocks = {}\ngroups = {}\n\
         [data]\nkind = \"folder\"\npath = \"pictures\"\nimage_size = {side}\nchannels = 3\n[train]\nsteps = 1\nbatch = 1\n\
         [log.preview]\nevery_steps = 0\n",
        wanted.at("in_channels").count(),
        wanted.at("latent_channels").count(),
        wanted.at("block_out_channels").counts(),
        wanted.at("layers_per_block").count(),
        wanted.at("norm_num_groups").count(),
    );
    fs::write(folder.join("ae.toml"), text).unwrap();
    run_ok(folder, TRAIN);
    run_ok(folder, "convert ae vae --to diffusers");
    let own = read(&folder.join("vae/diffusion_pytorch_model.safetensors"));
    let names = root.at("param_names").list();
    let mut names: Vec<&str> = names.iter().map(|name| name.text()).collect();
    names.sort_unstable();
    let own_names: Vec<&str> = own.keys().map(String::as_str).collect();
    assert_eq!(own_names, names);
    let n: usize = own.values().map(|tensor| tensor.bytes.len() / 4).sum();
    assert_eq!(n, root.at("params").count());
    // Linear layers, not convolutions.
    let query = &own["encoder.mid_block.attentions.0.to_q.weight"];
    assert_eq!(query.shape.len(), 2);
    let about = fs::read(folder.join("vae/config.json")).unwrap();
    let about: serde_json::Value = serde_json::from_slice(&about).unwrap();
    let file: serde_json::Value =
        serde_json::from_slice(&fixture.file("autoencoder_kl.json")).unwrap();
    for (key, value) in file["config"].as_object().unwrap() {
        assert_eq!(about[key], *value, "{key}");
    }
    let scale = scale(&folder.join("ae/step-00000001/ema.safetensors"));
    assert_eq!(number(&about, "scaling_factor"), scale);
}

/// The first steps on both backends.
#[test]
fn the_gpu_follows_the_losses_of_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    config(folder);
    let lines = ["cpu", "gpu"].map(|backend| {
        let words = format!(
            "train ae.toml --backend {backend} --out {backend} --set train.steps=3 --set log.every_steps=1 \
             --set log.validation.every_steps=1"
        );
        run_ok(folder, &words);
        metrics(&folder.join(backend))
    });
    for (cpu, gpu) in lines[0].iter().zip(&lines[1]) {
        for key in ["loss", "kl", "grad_norm", "validation_psnr"] {
            let (got, want) = (number(gpu, key), number(cpu, key));
            assert!((got / want - 1.0).abs() <= 1e-3, "{key}: {got} for {want}");
        }
    }
    assert_ne!(lines[0], lines[1], "both ran on the same backend");
}
