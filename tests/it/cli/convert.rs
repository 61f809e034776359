//! `sit convert`: files that record what they are, other names, types, heads, classes and resolutions.

mod refusals;

use super::tensors::{Tensors, edit, f32s, read};
use super::{TINY_RUN, names};
use half::{bf16, f16};
use safetensors::tensor::Dtype;
use sit_engine::backend::Device;
use sit_engine::checkpoint::Precision;
use sit_engine::model::Dit;
use sit_engine::table::Table;
use sit_engine::transport::Transport;
use sit_tests::sit::{run, run_ok};
use sit_tests::{fixture, net};
use std::fs::{self, File};
use std::path::Path;

/// The output of sampling, and the bytes of all states. The trajectory also records the path of the weights.
fn sample(folder: &Path, what: &str) -> (String, Vec<u8>) {
    let text = run_ok(
        folder,
        &format!(
            "sample {what} --backend cpu --steps 3 --per-class 2 --guidance 1.5 --trajectory states.safetensors"
        ),
    );
    let states = read(&folder.join("states.safetensors"));
    (text, states["x"].bytes.clone())
}

#[test]
fn a_converted_run_samples_without_flags_as_the_run_does() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, &format!("{TINY_RUN} --set transport.path=GVP"));
    for weights in ["ema", "raw"] {
        run_ok(
            folder,
            &format!("convert run {weights}.safetensors --weights {weights}"),
        );
        let (text, states) = sample(folder, &format!("{weights}.safetensors"));
        assert!(text.contains("what was asked for"), "{text}");
        assert!(
            states == sample(folder, &format!("run --weights {weights}")).1,
            "{weights}"
        );
    }
    run_ok(folder, "convert run half.safetensors --dtype f16");
    let size = |name: &str| fs::metadata(folder.join(name)).unwrap().len();
    assert!(size("half.safetensors") < size("ema.safetensors") * 6 / 10);
    let (text, states) = sample(folder, "half.safetensors");
    assert!(text.contains("what was asked for"), "{text}");
    assert!(states != sample(folder, "run").1, "halves are rounded");
}

#[test]
fn a_pytorch_checkpoint_is_sampled_and_converted() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::copy(fixture::path("torch/training.pt"), folder.join("x.pt")).unwrap();
    let text = run_ok(folder, "info x.pt --n-heads 1");
    assert!(
        text.starts_with("x.pt: PyTorch with the sets ema, model\n4x4x1, patch 2"),
        "{text}"
    );
    let states = ["ema", "raw"].map(|weights| {
        let flags = format!("--n-heads 1 --path gvp --weights {weights}");
        run_ok(
            folder,
            &format!("convert x.pt {weights}.safetensors {flags}"),
        );
        let (_, states) = sample(folder, &format!("x.pt {flags}"));
        assert!(
            states == sample(folder, &format!("{weights}.safetensors")).1,
            "{weights}"
        );
        states
    });
    assert!(states[0] != states[1]);
    assert!(
        states[0] == sample(folder, "x.pt --n-heads 1 --path gvp").1,
        "ema is the default"
    );
}

#[test]
fn a_file_that_does_not_fit_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(
        fixture::path("torch/views.pt"),
        folder.path().join("views.pt"),
    )
    .unwrap();
    let done = run(folder.path(), "info views.pt");
    assert_eq!(done.code, Some(2));
    assert!(
        done.stderr
            .contains("views.pt: has no tensor x_embedder.proj.weight"),
        "{}",
        done.stderr
    );
}

/// A network of a width that is not published.
const DIT: Dit = Dit {
    input_size: 8,
    channels: 2,
    patch: 2,
    dim: 16,
    depth: 2,
    n_heads: 2,
    n_classes: 5,
    ..Dit::SIT
};

/// Its weights by a formula, under the official names, without a word of what they are.
fn bare(path: &Path, dit: &Dit) {
    let weights = net::sine_weights(0.1);
    let model = net::model(&Device::Cpu, dit, Transport::default(), &weights);
    let mut file = File::create(path).unwrap();
    model.save(&mut file, None, Precision::F32).unwrap();
}

/// A folder with the weights of [`DIT`], as `bare.safetensors`.
fn with_bare() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    bare(&folder.path().join("bare.safetensors"), &DIT);
    folder
}

fn same(a: &Tensors, b: &Tensors) {
    assert!(a.keys().eq(b.keys()));
    for (name, tensor) in a {
        let other = &b[name];
        assert!(
            (tensor.dtype, &tensor.shape, &tensor.bytes)
                == (other.dtype, &other.shape, &other.bytes),
            "{name}"
        );
    }
}

/// From the official names to those of diffusers and back, in each type.
#[test]
fn a_round_trip_through_diffusers_keeps_every_byte() {
    let folder = with_bare();
    let folder = folder.path();
    for (dtype, bytes) in [("f32", 4), ("f16", 2), ("bf16", 2)] {
        let at = |name: &str| folder.join(format!("{dtype}-{name}"));
        let a = format!("convert bare.safetensors {dtype}-a.safetensors --n-heads 2");
        run_ok(folder, &format!("{a} --dtype {dtype}"));
        run_ok(
            folder,
            &format!("convert {dtype}-a.safetensors {dtype}-b --to diffusers"),
        );
        assert_eq!(
            names(&at("b")),
            ["config.json", "diffusion_pytorch_model.safetensors"]
        );
        run_ok(
            folder,
            &format!("convert {dtype}-b {dtype}-c.safetensors --to official"),
        );
        let [a, c] = ["a", "c"].map(|name| at(&format!("{name}.safetensors")));
        assert!(fs::read(&a).unwrap() == fs::read(&c).unwrap(), "{dtype}");
        // A file has as many bytes for each value, and the embedders once in each block.
        let file = at("b").join("diffusion_pytorch_model.safetensors");
        let (official, diffusers) = (read(&a), read(&file));
        let count = |tensors: &Tensors| -> usize {
            let sizes = tensors.values().map(|tensor| tensor.bytes.len());
            { sizes }.sum::<usize>() / bytes
        };
        let positions = 16 * 16;
        let embedders = 16 * 256 + 16 + 16 * 16 + 16 + 6 * 16;
        assert_eq!(
            count(&diffusers),
            count(&official) - positions + embedders,
            "{dtype}"
        );
        // The program of a single file reads it again, too.
        run_ok(
            folder,
            &format!("convert {dtype}-a.safetensors {dtype}-d.safetensors --to diffusers"),
        );
        assert!(
            fs::read(at("d.safetensors")).unwrap() == fs::read(&file).unwrap(),
            "{dtype}"
        );
        if dtype == "f32" {
            same(&official, &read(&folder.join("bare.safetensors")));
        }
    }
    // Every sample is the same, also without what sit writes into the file: diffusers' config.json has the sizes.
    let states = sample(folder, "f32-a.safetensors").1;
    assert!(states == sample(folder, "f32-b").1);
    edit_without_recipe(&folder.join("f32-b/diffusion_pytorch_model.safetensors"));
    let flags = "--path linear --prediction velocity";
    assert!(states == sample(folder, &format!("f32-b {flags}")).1);
    let done = run(folder, "sample f32-b --n-heads 2");
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr.contains("records its own sizes"),
        "{}",
        done.stderr
    );
}

/// Writes the tensors again, without metadata.
fn edit_without_recipe(path: &Path) {
    let tensors = read(path);
    super::tensors::write(path, &tensors);
}

/// A folder that diffusers wrote is converted, sampled, described and trained on.
#[test]
fn the_folder_of_diffusers_is_read_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    super::copy(
        &fixture::path("diffusers_dit"),
        &folder.join("pipeline/transformer"),
    );
    for name in ["pipeline", "pipeline/transformer"] {
        let text = run_ok(folder, &format!("info {name}"));
        for part in [
            "8x8x2, patch 2: 16 tokens; width 16, depth 2, 2 heads of 8; 3 classes",
            "it is a DiT under the names of diffusers\n  differs: diffusers itself computes it with other constants (time frequencies",
            &format!("next: sit sample {name} --ddpm ancestral --respacing 250 --vae VAE"),
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    run_ok(folder, "convert pipeline x.safetensors");
    let text = run_ok(folder, "info x.safetensors");
    let said = "it is a file that sit wrote: it predicts noise on the path DDPM";
    assert!(text.contains(said), "{text}");
    let flags = "--backend cpu --ddpm ancestral --respacing 3 --per-class 1 --no-grid --npz";
    for (name, npz) in [("pipeline", "a.npz"), ("x.safetensors", "b.npz")] {
        run_ok(folder, &format!("sample {name} {flags} {npz}"));
    }
    assert!(fs::read(folder.join("a.npz")).unwrap() == fs::read(folder.join("b.npz")).unwrap());
    let train = "train --preset digits-smoke --backend cpu --dry-run --set model.dim=16 --set model.depth=2 --set model.n_heads=2";
    let done = run(folder, &format!("{train} --init-from pipeline"));
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("starting from pipeline: "),
        "{}",
        done.stderr
    );
    // Blocks that were trained apart are no SiT's, whoever reads them.
    let file = folder.join("pipeline/transformer/diffusion_pytorch_model.safetensors");
    let table = "transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight";
    edit(&file, |tensors| {
        tensors.insert(table.into(), f32s(&[4, 16], &[0.5; 64]));
    });
    for words in [
        "convert pipeline y.safetensors".to_owned(),
        format!("sample pipeline {flags} c.npz"),
        format!("{train} --init-from pipeline"),
    ] {
        let done = run(folder, &words);
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(
            done.stderr.contains(&format!("{table}[0] is not that of")),
            "{words}: {}",
            done.stderr
        );
    }
    assert!(!folder.join("y.safetensors").exists() && !folder.join("c.npz").exists());
}

/// Rounded values are the nearest ones, and files of them are read as any other.
#[test]
fn types_are_rounded_and_kept() {
    let folder = with_bare();
    let folder = folder.path();
    let whole = read(&folder.join("bare.safetensors"));
    for (dtype, stored) in [("f16", Dtype::F16), ("bf16", Dtype::BF16)] {
        let words = format!("convert bare.safetensors {dtype}.safetensors --n-heads 2");
        run_ok(folder, &format!("{words} --dtype {dtype}"));
        let half = read(&folder.join(format!("{dtype}.safetensors")));
        for (name, tensor) in &whole {
            assert_eq!(half[name].dtype, stored, "{name}");
            let want = tensor.values().into_iter().map(|x| match dtype {
                "f16" => f16::from_f32(x).to_le_bytes(),
                _ => bf16::from_f32(x).to_le_bytes(),
            });
            assert!(
                half[name].bytes.iter().copied().eq(want.flatten()),
                "{name}"
            );
        }
        // Types stay, unless one is asked for.
        run_ok(
            folder,
            &format!("convert {dtype}.safetensors again.safetensors"),
        );
        same(&half, &read(&folder.join("again.safetensors")));
        run_ok(
            folder,
            &format!("convert {dtype}.safetensors wide.safetensors --dtype f32"),
        );
        let states = sample(folder, &format!("{dtype}.safetensors")).1;
        assert!(states == sample(folder, "wide.safetensors").1, "{dtype}");
    }
    // Each tensor keeps its own type; the positions are those of f32.
    let mut mixed = whole;
    let table = "y_embedder.embedding_table.weight";
    let values = mixed[table].values();
    let tensor = mixed.get_mut(table).unwrap();
    tensor.dtype = Dtype::BF16;
    tensor.bytes = { values.iter() }
        .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
        .collect();
    super::tensors::write(&folder.join("mixed.safetensors"), &mixed);
    run_ok(
        folder,
        "convert mixed.safetensors m.safetensors --n-heads 2",
    );
    same(&mixed, &read(&folder.join("m.safetensors")));
}

#[test]
fn the_sigma_half_is_left_out_row_by_row() {
    let folder = with_bare();
    let folder = folder.path();
    run_ok(
        folder,
        "convert bare.safetensors 2c.safetensors --n-heads 2",
    );
    run_ok(
        folder,
        "convert bare.safetensors c.safetensors --n-heads 2 --drop-sigma",
    );
    let (old, new) = (
        read(&folder.join("2c.safetensors")),
        read(&folder.join("c.safetensors")),
    );
    let c = DIT.channels;
    for (name, width) in [
        ("final_layer.linear.weight", DIT.dim),
        ("final_layer.linear.bias", 1),
    ] {
        let values = old[name].values();
        let rows = values.chunks(width).enumerate();
        let kept = rows.filter(|(r, _)| r % (2 * c) < c);
        let want: Vec<f32> = kept.flat_map(|(_, row)| row.to_vec()).collect();
        assert_eq!(new[name].values(), want, "{name}");
    }
    let states = sample(folder, "2c.safetensors").1;
    assert!(states == sample(folder, "c.safetensors").1);
    // A learned variance goes with it.
    let ddpm = "--n-heads 2 --path ddpm --prediction noise";
    let words = format!("convert bare.safetensors d.safetensors {ddpm} --drop-sigma");
    let done = run(folder, &words);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("--drop-sigma: the learned variance"),
        "{}",
        done.stderr
    );
    let flags = "--backend cpu --ddpm ancestral --respacing 2 --per-class 1 --no-grid --npz d.npz";
    run_ok(folder, &format!("sample d.safetensors {flags}"));
}

/// A class is what it was, by its name or by its old number.
#[test]
fn some_classes_are_kept_in_a_new_order() {
    let folder = with_bare();
    let folder = folder.path();
    run_ok(
        folder,
        "convert bare.safetensors all.safetensors --n-heads 2",
    );
    run_ok(
        folder,
        "convert all.safetensors some.safetensors --classes 4,1",
    );
    let table = |name: &str| read(&folder.join(name))["y_embedder.embedding_table.weight"].values();
    let (old, new) = (table("all.safetensors"), table("some.safetensors"));
    let row = |row: usize| &old[row * DIT.dim..][..DIT.dim];
    assert_eq!(new, [row(4), row(1), row(DIT.n_classes)].concat());
    let states = |file: &str, classes: &str| {
        run_ok(
            folder,
            &format!(
                "sample {file} --backend cpu --steps 2 --per-class 1 --guidance 1.5 --classes {classes} --trajectory x.safetensors"
            ),
        );
        read(&folder.join("x.safetensors"))["x"].bytes.clone()
    };
    let text = run_ok(folder, "info some.safetensors");
    assert!(text.contains("2 classes"), "{text}");
    assert!(states("all.safetensors", "1,4,none") == states("some.safetensors", "1,4,none"));
}

/// Positions are computed for the new size; all else stays.
#[test]
fn another_resolution_has_its_own_positions() {
    let folder = with_bare();
    let folder = folder.path();
    run_ok(
        folder,
        "convert bare.safetensors large.safetensors --n-heads 2 --input-size 12",
    );
    let mut old = read(&folder.join("bare.safetensors"));
    let mut new = read(&folder.join("large.safetensors"));
    let positions = new.remove("pos_embed").unwrap();
    assert_eq!(positions.shape, [1, 36, DIT.dim]);
    let table = Table::SinCos2d {
        side: 6,
        dim: DIT.dim,
    };
    assert_eq!(positions.values(), table.values());
    old.remove("pos_embed");
    same(&old, &new);
    let text = run_ok(folder, "info large.safetensors");
    assert!(text.contains("12x12x2, patch 2: 36 tokens"), "{text}");
    // A file without positions needs the size as before, and a file with a recipe takes another one.
    edit(&folder.join("bare.safetensors"), |tensors| {
        drop(tensors.remove("pos_embed"));
    });
    run_ok(
        folder,
        "convert bare.safetensors same.safetensors --n-heads 2 --input-size 12",
    );
    run_ok(
        folder,
        "convert large.safetensors small.safetensors --input-size 4",
    );
    let large = fs::read(folder.join("large.safetensors")).unwrap();
    assert!(large == fs::read(folder.join("same.safetensors")).unwrap());
    sample(folder, "small.safetensors");
}
