//! Discrete diffusion from the command: training, resuming, sampling, its bound.

use super::sample::array;
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::path::Path;

const TINY: &str = "train --preset digits-ddpm --backend cpu --set model.dim=12 --set model.depth=1 --set train.batch=4 \
     --set log.checkpoint_every_steps=1 --set log.preview.every_steps=0 --set transport.ddpm_times=second-moment";

/// The weights and what else the newest checkpoint of four steps holds.
fn state(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(name).join("step-00000004/model.safetensors")).unwrap()
}

#[test]
fn a_chain_is_trained_resumed_sampled_and_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, &format!("{TINY} --out whole --set train.steps=4"));
    run_ok(folder, &format!("{TINY} --out run --set train.steps=2"));
    run_ok(
        folder,
        "train --resume run --backend cpu --set train.steps=4",
    );
    assert_eq!(state(folder, "whole"), state(folder, "run"));

    let sample = |words: &str| {
        run_ok(
            folder,
            &format!(
                "sample run --backend cpu --classes 0-3 --per-class 1 --no-grid --npz x.npz {words}"
            ),
        );
        let x = array(folder, "arr_0.npy").1;
        assert!(!x.is_empty());
        x
    };
    let ancestral = sample("--ddpm ancestral --respacing 8 --clip-x0");
    assert_eq!(
        ancestral,
        sample("--ddpm ancestral --respacing 8 --clip-x0 --batch 3"),
        "an image does not depend on its batch"
    );
    assert_ne!(
        ancestral,
        sample("--ddpm ancestral --respacing 8 --clip-x0 --seed 1")
    );
    let ddim = sample("--ddpm ddim --respacing ddim10 --guidance 1.5");
    assert_ne!(
        ddim,
        sample("--ddpm ddim --respacing ddim10 --guidance 1.5 --eta 1")
    );
    // The other solvers step along the chain's path.
    for solver in [
        "--ode heun --steps 4",
        "--sde euler --steps 8",
        "--edm heun --steps 4",
        "--ode unipc --steps 6",
    ] {
        sample(solver);
    }

    let nll = |words: &str| {
        let said = run_ok(
            folder,
            &format!("nll run --data x.npz --backend cpu --vlb --csv vlb.csv {words}"),
        );
        (said, fs::read_to_string(folder.join("vlb.csv")).unwrap())
    };
    let (said, table) = nll("--respacing 8 --clip-x0");
    assert!(
        said.contains("8 network evaluations") && said.contains("a bound from above"),
        "{said}"
    );
    let rows: Vec<Vec<f64>> = table
        .lines()
        .skip(1)
        .map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect())
        .collect();
    assert_eq!(rows.len(), 4);
    for row in &rows {
        assert!(
            (row[2] - row[3..].iter().sum::<f64>()).abs() < 1e-9 && row[2] > 0.0,
            "{row:?}"
        );
    }
    assert_eq!(nll("--respacing 8 --clip-x0 --batch 3").1, table);
}

#[test]
fn what_a_chain_does_not_have_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, &format!("{TINY} --out run --set train.steps=1"));
    run_ok(
        folder,
        super::TINY_RUN.replace("--out run", "--out other").as_str(),
    );
    let one = "--backend cpu --per-class 1 --no-grid --npz x.npz";
    run_ok(
        folder,
        &format!("sample run --ddpm ddim --respacing 4 --classes 1 {one}"),
    );
    for (words, expected) in [
        (
            format!("sample run --ddpm ancestral --respacing 2000 {one}"),
            "--respacing: got 2000",
        ),
        (
            format!("sample run --ddpm ancestral --eta 1 {one}"),
            "--eta: it belongs to --ddpm ddim",
        ),
        (
            format!("sample run --ddpm ddim --eta 2 {one}"),
            "--eta: got 2",
        ),
        (
            format!("sample run --ddpm ddim --clip-x0=-1 {one}"),
            "--clip-x0: got -1",
        ),
        (format!("sample run --ddpm ddim --steps 5 {one}"), "--steps"),
        (format!("sample run --ode heun --eta 1 {one}"), "--eta"),
        (
            "nll other --data x.npz --backend cpu --vlb".into(),
            "got Linear, expected DDPM",
        ),
        (
            "nll run --data x.npz --backend cpu --vlb --respacing ddim300".into(),
            "--respacing: got ddim300",
        ),
        (
            "nll run --data x.npz --backend cpu --vlb --guidance 2".into(),
            "--guidance: got 2",
        ),
        (
            "nll run --data x.npz --backend cpu --vlb --trace exact".into(),
            "--trace",
        ),
        (
            "nll run --data x.npz --backend cpu --respacing 5".into(),
            "--vlb",
        ),
    ] {
        let done = run(folder, &words);
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
    }
}
