//! What `sit convert` refuses.

use super::super::tensors::{Tensors, edit, f32s};
use super::super::tree;
use super::{DIT, bare, with_bare};
use sit_engine::model::Dit;
use sit_tests::sit::run;
use std::fs;

#[test]
fn what_cannot_be_converted_is_refused_and_nothing_is_written() {
    let folder = with_bare();
    let folder = folder.path();
    let other = |name: &str, dit: Dit| bare(&folder.join(format!("{name}.safetensors")), &dit);
    other("rope", Dit { rope: true, ..DIT });
    other(
        "plain",
        Dit {
            n_classes: 0,
            learn_sigma: false,
            ..DIT
        },
    );
    let change = |name: &str, change: &dyn Fn(&mut Tensors)| {
        let path = folder.join(format!("{name}.safetensors"));
        bare(&path, &DIT);
        edit(&path, change);
    };
    let bias = "blocks.1.mlp.fc1.bias";
    change("large", &|tensors| {
        tensors.insert(bias.into(), f32s(&[64], &[1e5; 64]));
    });
    change("huge", &|tensors| {
        tensors.insert(bias.into(), f32s(&[64], &[f32::MAX; 64]));
    });
    change("shape", &|tensors| {
        tensors.insert(bias.into(), f32s(&[63], &[0.0; 63]));
    });
    change("block", &|tensors| {
        tensors.retain(|name, _| !name.starts_with("blocks.0."));
    });
    change("mixed", &|tensors| {
        let tensor = f32s(&[1], &[0.0]);
        tensors.insert(
            "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight".into(),
            tensor,
        );
    });
    fs::create_dir(folder.join("full")).unwrap();
    fs::write(folder.join("full/x"), "").unwrap();
    let heads = "--n-heads 2";
    let before = tree(folder);
    for (words, expected) in [
        (
            "bare.safetensors bare.safetensors",
            "OUT: bare.safetensors is in use: it is read, by CHECKPOINT",
        ),
        (
            "large.safetensors x.safetensors --dtype f16",
            "blocks.1.mlp.fc1.bias[0] is 100000, expected at most 65504 for f16; write f32",
        ),
        (
            "huge.safetensors x --to diffusers --dtype bf16",
            "blocks.1.mlp.fc1.bias[0] is 3402823",
        ),
        (
            "shape.safetensors x.safetensors",
            "shape.safetensors: blocks.1.mlp.fc1.bias is [63], expected [64]",
        ),
        (
            "block.safetensors x.safetensors",
            "block.safetensors: has no tensor blocks.0.",
        ),
        (
            "mixed.safetensors x.safetensors",
            "expected one kind of names",
        ),
        (
            "bare.safetensors x.safetensors --to keras",
            "got \"keras\", expected official or diffusers",
        ),
        ("bare.safetensors full --to diffusers", "OUT: full: holds x"),
        (
            "bare.safetensors x.bin --to diffusers",
            "OUT: x.bin: got .bin, expected .safetensors",
        ),
        (
            "bare.safetensors x.safetensors --input-size 7",
            "--input-size: model.input_size: got 7, expected a multiple of model.patch = 2",
        ),
        (
            "bare.safetensors x.safetensors --classes 2,5",
            "--classes: none is the null class, which always stays",
        ),
        (
            "bare.safetensors x.safetensors --classes 2,1,2",
            "--classes: 2 stands in it twice",
        ),
        (
            "bare.safetensors x.safetensors --classes 9",
            "--classes 9: this model has 5 classes",
        ),
        (
            "plain.safetensors x.safetensors --classes 1",
            "--classes: plain.safetensors has no classes",
        ),
        (
            "plain.safetensors x.safetensors --drop-sigma",
            "--drop-sigma: the last layer of plain.safetensors has no sigma half",
        ),
        (
            "plain.safetensors x --to diffusers",
            "--to diffusers: diffusers' DiTTransformer2DModel has no such network: got one without classes",
        ),
        (
            "rope.safetensors x --to diffusers",
            "--to diffusers: diffusers' DiTTransformer2DModel has no such network: got RoPE, expected the blocks of DiT",
        ),
    ] {
        let done = run(folder, &format!("convert {words} {heads}"));
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(
            done.stderr.contains(expected) && !done.stderr.contains("panic"),
            "{words}: {}",
            done.stderr
        );
        assert!(tree(folder) == before, "{words}");
    }
}
