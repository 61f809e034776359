//! Files of weights as the command opens them: in parts, and as `sit info` describes them.

use super::TINY_RUN;
use super::tensors::{Tensors, f32s, read, write};
use sit_engine::backend::Device;
use sit_engine::checkpoint::Precision;
use sit_engine::model::{Condition, Dit};
use sit_engine::nn::Activation;
use sit_engine::ops::adaln::Norm;
use sit_engine::transport::Transport;
use sit_tests::sit::{run, run_ok};
use sit_tests::{fixture, net};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

/// Writes a model in two files, and the index that Hugging Face puts beside them.
fn split(whole: &Path, folder: &Path) {
    fs::create_dir(folder).unwrap();
    let mut first: Tensors = read(whole);
    let middle = first.keys().nth(first.len() / 2).unwrap().clone();
    let second = first.split_off(&middle);
    let mut map = BTreeMap::new();
    for (number, tensors) in [(1, first), (2, second)] {
        let file = format!("model-0000{number}-of-00002.safetensors");
        map.extend(tensors.keys().map(|name| (name.clone(), file.clone())));
        write(&folder.join(file), &tensors);
    }
    let index = serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map});
    fs::write(
        folder.join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
}

#[test]
fn a_model_in_parts_is_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    run_ok(folder, "convert run whole.safetensors");
    split(&folder.join("whole.safetensors"), &folder.join("s"));
    let whole = |what: &str| {
        run_ok(
            folder,
            &format!("convert {what} out.safetensors --n-heads 2"),
        );
        fs::read(folder.join("out.safetensors")).unwrap()
    };
    let parts = [
        "s/model-00001-of-00002.safetensors",
        "s/model-00002-of-00002.safetensors",
    ];
    let index = "s/model.safetensors.index.json";
    let folder_bytes = whole("s");
    for what in [index, parts[0], parts[1]] {
        assert!(whole(what) == folder_bytes, "{what}");
    }
    assert_eq!(
        read(&folder.join("out.safetensors"))
            .keys()
            .collect::<Vec<_>>(),
        read(&folder.join("whole.safetensors"))
            .keys()
            .collect::<Vec<_>>()
    );
    let refused = |what: &str, expected: &str| {
        let done = run(
            folder,
            &format!("convert {what} no.safetensors --n-heads 2"),
        );
        assert_eq!(done.code, Some(2), "{}", done.stderr);
        assert!(done.stderr.contains(expected), "{}", done.stderr);
    };
    // An index that names a file elsewhere; then a missing part, with the index and without.
    let text = fs::read_to_string(folder.join(index)).unwrap();
    fs::write(
        folder.join(index),
        text.replace("model-00001", "../model-00001"),
    )
    .unwrap();
    refused("s", "expected the name of a file beside it");
    fs::write(folder.join(index), text).unwrap();
    fs::rename(folder.join(parts[1]), folder.join("away")).unwrap();
    for what in ["s", index, parts[0]] {
        refused(
            what,
            "index.json: names model-00002-of-00002.safetensors, which is missing",
        );
    }
    fs::remove_file(folder.join(index)).unwrap();
    refused(
        parts[0],
        "is part 1 of a model in 2 files, of which s/model-00002-of-00002.safetensors is missing",
    );
    refused(
        "s",
        "it has files of weights; give one of them: s/model-00001",
    );
    fs::rename(folder.join("away"), folder.join(parts[1])).unwrap();
    assert!(whole(parts[1]) == folder_bytes, "without the index");
}

#[test]
fn a_dit_of_diffusers_in_parts_is_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let whole = fixture::path("diffusers_dit");
    split(
        &whole.join("diffusion_pytorch_model.safetensors"),
        &folder.join("parts"),
    );
    let config = "config.json";
    fs::copy(whole.join(config), folder.join("parts").join(config)).unwrap();
    let index = fs::read_to_string(folder.join("parts/model.safetensors.index.json")).unwrap();
    assert!(index.contains("00001-of-00002") && index.contains("00002-of-00002"));
    super::copy(&whole, &folder.join("whole"));
    for name in ["parts", "whole"] {
        run_ok(folder, &format!("convert {name} {name}.safetensors"));
    }
    let [parts, whole] = ["parts", "whole"]
        .map(|name| fs::read(folder.join(format!("{name}.safetensors"))).unwrap());
    assert!(parts == whole);
}

/// The shapes determine everything but the number of heads.
#[test]
fn info_shows_what_a_bare_file_tells() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::copy(fixture::path("torch/lightning.ckpt"), folder.join("x.ckpt")).unwrap();
    let text = run_ok(folder, "info x.ckpt");
    for part in [
        "x.ckpt: PyTorch, weights of state_dict.model, beside 1 tensors of something else\n4x4x1, patch 2: 4 tokens; width 4, depth 1, ? heads; 2 classes",
        "  blocks ",
        "forward of one image",
        "give --n-heads, a divisor of 4 (1, 2, 4)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    fs::copy(fixture::path("torch/views.pt"), folder.join("views.pt")).unwrap();
    let done = run(folder, "info views.pt");
    assert_eq!(done.code, Some(2));
    for part in [
        "views.pt: PyTorch\n",
        "  bf16 [6, 3] BF16\n",
        "more tensors",
    ] {
        assert!(done.stdout.contains(part), "{}", done.stdout);
    }
}

/// `sit info` says what each kind of file is, what differs and what to pass; the command that it names for a network runs.
#[test]
fn info_says_what_a_file_is_and_what_to_pass() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let bare = |name: &str, dit: Dit| {
        let weights = net::sine_weights(0.1);
        let model = net::model(&Device::Cpu, &dit, Transport::default(), &weights);
        let mut file = File::create(folder.join(name)).unwrap();
        model.save(&mut file, None, Precision::F32).unwrap();
    };
    let sit = Dit {
        input_size: 8,
        channels: 3,
        dim: 16,
        depth: 1,
        n_heads: 2,
        n_classes: 5,
        ..Dit::SIT
    };
    let rms = Dit {
        learn_sigma: false,
        norm: Norm::Rms,
        mlp: Activation::SwiGlu,
        rope: true,
        ..sit
    };
    bare("sit.safetensors", sit);
    bare("lightning.safetensors", rms);
    bare(
        "jit.safetensors",
        Dit {
            bottleneck: 4,
            qk_norm: true,
            ..rms
        },
    );
    bare(
        "adaln.safetensors",
        Dit {
            condition: Condition::AdaLn,
            ..sit
        },
    );
    fs::copy(fixture::path("repa/repa.pt"), folder.join("repa.pt")).unwrap();
    let rows: [(&str, &[&str]); 5] = [
        (
            "sit.safetensors",
            &[
                "it is a SiT or a DiT, which have the same tensors\n",
                "differs: 5 classes, the official ones have 1000; the null class is 5\n",
                "differs: 2C outputs a pixel",
            ],
        ),
        (
            "lightning.safetensors",
            &["it is a LightningDiT\n", "normalized by channel"],
        ),
        ("jit.safetensors", &["it is a JiT, which predicts pixels\n"]),
        (
            "adaln.safetensors",
            &["it is a DiT with other blocks than the official one: adaln\n"],
        ),
        (
            "repa.pt",
            &[
                "repa.pt: PyTorch with the sets ema, model\n",
                "it is a SiT that was trained with REPA\n",
                "differs: 6 tensors of its projectors, which only training needs, are left out",
                "its time runs from data to noise; it is turned",
                "--weights raw takes the weights as trained",
            ],
        ),
    ];
    for (file, parts) in rows {
        let text = run_ok(folder, &format!("info {file} --n-heads 2"));
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
        let commands: Vec<&str> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("next: sit sample "))
            .map(|rest| rest.split("   ").next().unwrap_or(rest))
            .map(|rest| rest.split("  ").next().unwrap_or(rest))
            .collect();
        assert!(!commands.is_empty(), "{text}");
        for command in commands {
            // The repository has no autoencoder of two channels; without it latents go to an .npz file.
            let command = command.replace("--vae VAE", "--no-grid --npz x.npz");
            let command = match command.contains("--respacing 250") {
                true => command.replace("--respacing 250", "--respacing 2"),
                false => command + " --steps 2",
            };
            run_ok(
                folder,
                &format!("sample {command} --backend cpu --per-class 1"),
            );
        }
    }
    let text = run_ok(folder, "info repa.pt --n-heads 2");
    assert!(!text.contains("of something else"), "{text}");
}

#[test]
fn info_names_files_that_are_no_samplers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let mut inception = Tensors::new();
    let name = "Mixed_5b.branch1x1.conv.weight";
    inception.insert(name.into(), f32s(&[1, 1, 1, 1], &[0.0]));
    write(&folder.join("inception.safetensors"), &inception);
    for (file, parts) in [
        (
            "run/step-00000002/optim.safetensors",
            ["it is the moments of AdamW", "next: sit train --resume RUN"],
        ),
        (
            "inception.safetensors",
            [
                "it is the Inception network of FID",
                "next: sit eval SAMPLES --reference REF --inception inception.safetensors",
            ],
        ),
    ] {
        let text = run_ok(folder, &format!("info {file}"));
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
