//! `sit export`, and files that record what they are.

use super::TINY_RUN;
use super::tensors::read;
use sit_tests::fixture;
use sit_tests::sit::run_ok;
use std::fs;
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
fn an_exported_run_samples_without_flags_as_the_run_does() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, &format!("{TINY_RUN} --set transport.path=GVP"));
    for weights in ["ema", "raw"] {
        run_ok(
            folder,
            &format!("export run --weights {weights} --out {weights}.safetensors"),
        );
        let (text, states) = sample(folder, &format!("{weights}.safetensors"));
        assert!(text.contains("what was asked for"), "{text}");
        assert!(
            states == sample(folder, &format!("run --weights {weights}")).1,
            "{weights}"
        );
    }
    run_ok(folder, "export run --dtype f16 --out half.safetensors");
    let size = |name: &str| fs::metadata(folder.join(name)).unwrap().len();
    assert!(size("half.safetensors") < size("ema.safetensors") * 6 / 10);
    let (text, states) = sample(folder, "half.safetensors");
    assert!(text.contains("what was asked for"), "{text}");
    assert!(states != sample(folder, "run").1, "halves are rounded");
}

#[test]
fn a_pytorch_checkpoint_is_sampled_and_exported() {
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
            &format!("export x.pt {flags} --out {weights}.safetensors"),
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
    let done = sit_tests::sit::run(folder.path(), "info views.pt");
    assert_eq!(done.code, Some(2));
    assert!(
        done.stderr
            .contains("views.pt: has no tensor x_embedder.proj.weight"),
        "{}",
        done.stderr
    );
}
