//! Files of diffusers that do not fit, and what their `config.json` says.

use crate::cli::tensors::{Tensors, edit, f32s};
use sit_engine::checkpoint::{Mismatch, Reader};
use sit_engine::model;
use sit_tests::fixture;
use std::fs::{self, File};
use std::io::BufReader;

type Weights = Reader<BufReader<File>>;

/// The file of the fixture after a change.
fn changed(change: impl FnOnce(&mut Tensors)) -> sit_engine::Result<Weights> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let whole = fixture::path("diffusers_dit/diffusion_pytorch_model.safetensors");
    fs::copy(whole, &path).unwrap();
    edit(&path, change);
    Reader::new("file", BufReader::new(File::open(path).unwrap()))
}

/// The first thing that does not fit.
fn refused(change: impl FnOnce(&mut Tensors)) -> String {
    let file = changed(change).unwrap();
    let error = file
        .model(Some(2), Some(8))
        .and_then(|model| file.check(&model));
    error.expect_err("it does not fit").to_string()
}

#[test]
fn what_is_missing_is_called_as_the_file_calls_it() {
    let block = "transformer_blocks.1";
    let to_k = format!("{block}.attn1.to_k.weight");
    let error = refused(|tensors| drop(tensors.remove(&to_k)));
    assert_eq!(
        error,
        format!("file: {block}.attn1.to_{{q,k,v}}.weight lacks {to_k}")
    );
    let error = refused(|tensors| {
        tensors.insert(to_k.clone(), f32s(&[16, 8], &[0.0; 128]));
    });
    assert_eq!(
        error,
        format!(
            "file: {block}.attn1.to_{{q,k,v}}.weight is made of [16, 16] F32, [16, 8] F32, [16, 16] F32, expected three of one kind"
        )
    );
    let fc2 = format!("{block}.ff.net.2.weight");
    let error = refused(|tensors| drop(tensors.remove(&fc2)));
    assert_eq!(error, format!("file: has no tensor {fc2} [16, 64]"));
    let error = refused(|tensors| {
        tensors.insert("proj_out_1.bias".into(), f32s(&[31], &[0.0; 31]));
    });
    assert_eq!(error, "file: proj_out_1.bias is [31], expected [32]");
    let error = refused(|tensors| drop(tensors.remove("pos_embed.proj.weight")));
    assert!(
        error.starts_with("file: has no tensor pos_embed.proj.weight"),
        "{error}"
    );
    // A block in between.
    let error = refused(|tensors| {
        let moved: Vec<String> = tensors.keys().cloned().collect();
        for name in moved.iter().filter(|name| name.starts_with(block)) {
            let tensor = tensors.remove(name).unwrap();
            tensors.insert(name.replace("blocks.1", "blocks.2"), tensor);
        }
    });
    assert!(
        error.starts_with(&format!("file: has no tensor {block}.")) && error.contains("more"),
        "{error}"
    );
    // A tensor that no DiT has.
    let file = changed(|tensors| {
        let tensor = f32s(&[1], &[0.0]);
        tensors.insert("transformer_blocks.01.norm1.linear.bias".into(), tensor);
    });
    let file = file.unwrap();
    let model = file.model(Some(2), Some(8)).unwrap();
    let list = file.mismatches(&model::params(&model).unwrap());
    assert!(
        matches!(&list[..], [Mismatch::Extra { name, .. }] if name.contains("blocks.01.")),
        "{list:?}"
    );
}

#[test]
fn embedders_of_blocks_must_be_equal() {
    let name = "transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight";
    let check = |change: fn(&mut Tensors)| {
        let mut file = changed(change).unwrap();
        let model = file.model(Some(2), Some(8)).unwrap();
        file.check_tables(&model::params(&model).unwrap())
    };
    check(|_| ()).unwrap();
    let error = check(|tensors| {
        let name = "transformer_blocks.1.norm1.emb.class_embedder.embedding_table.weight";
        tensors.get_mut(name).unwrap().bytes[4 * 21] ^= 1;
    });
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!(
            "file: {name}[21] is not that of transformer_blocks.0."
        )),
        "{error}"
    );
    let error = check(|tensors| {
        let name = "transformer_blocks.1.norm1.emb.timestep_embedder.linear_2.bias";
        tensors.insert(name.into(), f32s(&[15], &[0.0; 15]));
    });
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("linear_2.bias is [15] F32, expected [16] F32"),
        "{error}"
    );
}

#[test]
fn names_of_two_kinds_in_one_set_are_refused() {
    let error = changed(|tensors| {
        let tensor = f32s(&[1], &[0.0]);
        tensors.insert("blocks.0.attn.qkv.bias".into(), tensor);
    });
    let error = error.unwrap_err().to_string();
    assert_eq!(
        error,
        "file: has blocks.0.attn.qkv.bias beside names of diffusers such as transformer_blocks.0.norm1.linear.weight, expected one kind \
         of names"
    );
    // Both kinds of the first layer.
    let error = changed(|tensors| {
        let tensor = f32s(&[16, 2, 2, 2], &[0.0; 128]);
        tensors.insert("x_embedder.proj.weight".into(), tensor);
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("x_embedder.proj.weight beside"), "{error}");
}

#[test]
fn a_set_of_diffusers_is_found_behind_a_prefix() {
    let file = changed(|tensors| {
        let all = std::mem::take(tensors);
        let named = |prefix: &'static str| move |name: &String| format!("{prefix}.{name}");
        for (name, tensor) in all {
            let again = f32s(&tensor.shape, &tensor.values());
            tensors.insert(named("module.ema")(&name), again);
            tensors.insert(named("module.net")(&name), tensor);
        }
    });
    let mut file = file.unwrap();
    assert_eq!(file.sets().collect::<Vec<_>>(), ["ema", "model"]);
    for set in ["ema", "model"] {
        file.select(set).unwrap();
        let model = file.model(Some(2), Some(8)).unwrap();
        file.check(&model).unwrap();
    }
}

#[test]
fn configurations_of_other_networks_are_refused() {
    let json = fs::read_to_string(fixture::path("diffusers_dit/config.json")).unwrap();
    for (from, to, expected) in [
        (
            "DiTTransformer2DModel",
            "PixArtTransformer2DModel",
            "_class_name: got PixArtTransformer2DModel, expected DiTTransformer2DModel or Transformer2DModel",
        ),
        (
            "ada_norm_zero",
            "ada_norm_single",
            "norm_type: got ada_norm_single, expected ada_norm_zero",
        ),
        (
            "gelu-approximate",
            "gelu",
            "activation_fn: got gelu, expected gelu-approximate",
        ),
        (
            "\"norm_elementwise_affine\": false",
            "\"norm_elementwise_affine\": true",
            "norm_elementwise_affine: got true",
        ),
        (
            "\"num_attention_heads\": 2",
            "\"num_attention_heads\": 4",
            "num_attention_heads and attention_head_dim: got 4 and 8, expected a product of 16",
        ),
        (
            "\"sample_size\": 8",
            "\"sample_size\": -8",
            "is no configuration of a DiT of diffusers: invalid value",
        ),
        (
            "\"sample_size\": 8",
            "\"interpolation_scale\": 2, \"sample_size\": 8",
            "interpolation_scale: got 2, expected 1",
        ),
        ("{", "[", "is no configuration of a DiT of diffusers"),
    ] {
        assert!(json.contains(from), "{from}");
        let mut file = changed(|_| ()).unwrap();
        let error = file.configure(&json.replacen(from, to, 1)).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    // The older class stretches the positions of large images.
    let old = json.replace("DiTTransformer2DModel", "Transformer2DModel");
    let mut file = changed(|_| ()).unwrap();
    file.configure(&old).unwrap();
    let error = file.configure(&old.replace("\"sample_size\": 8", "\"sample_size\": 256"));
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with("interpolation_scale: got 4, expected 1"),
        "{error}"
    );
    // Sizes that are valid for no model are refused when the model is asked for.
    file.configure(&json.replace("\"sample_size\": 8", "\"sample_size\": 7"))
        .unwrap();
    let error = file.model(None, None).unwrap_err().to_string();
    assert!(error.contains("model.input_size: got 7"), "{error}");
}
