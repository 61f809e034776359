//! Files of weights as the command opens them: in parts, and as `sit info` describes them.

use super::TINY_RUN;
use super::tensors::{Tensors, read, write};
use sit_tests::fixture;
use sit_tests::sit::{run, run_ok};
use std::collections::BTreeMap;
use std::fs;
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
    run_ok(folder, "export run --out whole.safetensors");
    split(&folder.join("whole.safetensors"), &folder.join("s"));
    let export = |what: &str| {
        run_ok(
            folder,
            &format!("export {what} --n-heads 2 --out out.safetensors"),
        );
        fs::read(folder.join("out.safetensors")).unwrap()
    };
    let parts = [
        "s/model-00001-of-00002.safetensors",
        "s/model-00002-of-00002.safetensors",
    ];
    let index = "s/model.safetensors.index.json";
    let folder_bytes = export("s");
    for what in [index, parts[0], parts[1]] {
        assert!(export(what) == folder_bytes, "{what}");
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
            &format!("export {what} --n-heads 2 --out no.safetensors"),
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
    assert!(export(parts[1]) == folder_bytes, "without the index");
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
