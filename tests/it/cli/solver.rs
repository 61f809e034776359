//! Solvers that choose their steps, and times and diffusions from files.

use super::TINY_RUN;
use super::sample::{array, sit_files};
use super::tensors::{Tensor, Tensors, read};
use sit_tests::net::{TINY, sine, sine_weights};
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::path::Path;

const LEN: usize = 4 * 8 * 8;

/// Images that need steps of different sizes: the noise of each is larger than that of the one before.
fn files(folder: &Path, n: usize) {
    let noise = |i: usize| sine(LEN, 0.1 * 3.0_f64.powi(i as i32), 0.31, 0.2 + i as f64);
    let x: Vec<f32> = (0..n).flat_map(noise).collect();
    let y: Vec<u32> = (0..n as u32).collect();
    sit_files(folder, &TINY, &sine_weights(0.3), &x, &y);
}

const SAMPLE: &str = "sample sit.safetensors --n-heads 4 --path Linear --prediction velocity --backend cpu --no-grid --init noise.safetensors";

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    let values = tensor.values();
    let row = values.len() / tensor.shape[0];
    values.chunks(row).map(<[f32]>::to_vec).collect()
}

/// The number before these words.
fn number(text: &str, words: &str) -> f64 {
    let (before, _) = text
        .split_once(words)
        .unwrap_or_else(|| panic!("{words}: {text}"));
    let number = before.rsplit([' ', '(']).next().unwrap();
    number.parse().unwrap_or_else(|e| panic!("{number}: {e}"))
}

#[test]
fn images_with_steps_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let n = 4;
    files(folder, n);
    let outputs = "--trajectory t.safetensors --npz x.npz";
    for solver in ["dopri5 --rtol 1e-3", "bosh3 --rtol 1e-3 --guidance 2"] {
        let said = run_ok(folder, &format!("{SAMPLE} --ode {solver} {outputs}"));
        let trajectory = read(&folder.join("t.safetensors"));
        let (t, x) = (&trajectory["t"], &trajectory["x"]);
        let n_states = t.shape[0];
        assert_eq!(t.shape, [n_states, n]);
        assert_eq!(x.shape, [n_states, n, 4, 8, 8]);
        assert_eq!(
            rows(x)[0],
            read(&folder.join("noise.safetensors"))["x"].values()
        );
        let (t, x) = (rows(t), rows(x));
        let mut n_steps = Vec::new();
        for b in 0..n {
            let times: Vec<f32> = t.iter().map(|t| t[b]).collect();
            let state = |k: usize| &x[k][b * LEN..][..LEN];
            let n_steps_of_image = times.iter().position(|&t| t == 1.0).unwrap();
            let (way, rest) = times.split_at(n_steps_of_image);
            assert!(way[0] == 0.0 && way.is_sorted_by(|a, b| a < b), "{times:?}");
            assert!(rest.iter().all(|&t| t == 1.0), "{times:?}");
            for k in 1..n_states {
                let is_repeated = state(k) == state(k - 1);
                assert_eq!(is_repeated, k > n_steps_of_image, "image {b}, state {k}");
            }
            n_steps.push(n_steps_of_image);
        }
        let (least, most) = (n_steps.iter().min().unwrap(), n_steps.iter().max().unwrap());
        assert!(
            least < most && *most == n_states - 1,
            "{solver}: {n_steps:?}"
        );

        // Two evaluations find the size of the first step; each step has six or three more, also a rejected one.
        let n_evaluations = if solver.starts_with("dopri5") {
            6.0
        } else {
            3.0
        };
        let mean = n_steps.iter().sum::<usize>() as f64 / n as f64;
        let rejected = number(&said, " more rejected");
        let expected = 2.0 + n_evaluations * (mean + rejected);
        let (nfe, most_nfe) = (
            number(&said, " network evaluations each"),
            said.split_once("at most "),
        );
        assert!(
            (nfe - expected).abs() < 0.06 * (1.0 + n_evaluations),
            "{said}: {expected}"
        );
        let most_nfe = number(most_nfe.unwrap().1, "; ");
        assert!(
            most_nfe >= 2.0 + n_evaluations * *most as f64 && most_nfe >= nfe,
            "{said}"
        );
        assert!((number(&said, " steps each") - mean).abs() < 0.06, "{said}");

        let (_, images) = array(folder, "arr_0.npy");
        let images: Vec<f32> = images
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        let end = &x[n_states - 1];
        for (b, image) in images.chunks(LEN).enumerate() {
            // [C, H, W] to [H, W, C].
            let moved = (0..LEN).map(|i| end[b * LEN + i % 4 * 64 + i / 4]);
            assert!(moved.eq(image.iter().copied()), "image {b}");
        }
    }
}

/// The bytes of a trajectory of `sit sample run`.
fn trajectory(folder: &Path, words: &str) -> Tensors {
    let sample = "sample run --backend cpu --per-class 1 --no-grid --trajectory x.safetensors";
    run_ok(folder, &format!("{sample} {words}"));
    read(&folder.join("x.safetensors"))
}

#[test]
fn a_seed_gives_the_same_images_in_batches_of_any_size() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let states = |seed: &str, words: &str| {
        let words = format!("--ode dopri5 --rtol 1e-5 --seed {seed} {words}");
        let trajectory = trajectory(folder, &words);
        ["t", "x", "y"].map(|name| trajectory[name].bytes.clone())
    };
    let want = states("3", "");
    for words in ["--batch 1", "--batch 3"] {
        assert!(states("3", words) == want, "{words}");
    }
    assert!(states("4", "") != want);
}

#[test]
fn times_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    fs::write(
        folder.join("grid"),
        "# four steps\nt\n0\n0.25\n\n0.5\n0.75\n1\n",
    )
    .unwrap();
    for solver in [
        "--ode heun",
        "--ode dpm++2m",
        "--sde euler --last-step none",
    ] {
        let listed = trajectory(folder, &format!("{solver} --time-grid file:grid"));
        assert_eq!(
            listed["t"].values(),
            [0.0, 0.25, 0.5, 0.75, 1.0],
            "{solver}"
        );
        let equal = trajectory(folder, &format!("{solver} --steps 4"));
        assert_eq!(listed["x"].bytes, equal["x"].bytes, "{solver}");
    }
    fs::write(folder.join("grid"), "0\n0.1\n1\n").unwrap();
    let listed = trajectory(folder, "--time-grid file:grid");
    assert_eq!(listed["t"].values(), [0.0, 0.1, 1.0]);
}

#[test]
fn a_diffusion_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    // 1 - t, with a norm: the diffusion `linear`. Without a time of 0 the first value counts from there.
    fs::write(folder.join("d"), "t,D\n0,1\n0.5,0.5\n1,0\n").unwrap();
    let sample = |diffusion: &str, norm: &str| {
        let sde = "--sde euler --steps 4 --diffusion";
        let states = trajectory(
            folder,
            &format!("{sde} {diffusion} --diffusion-norm {norm}"),
        );
        states["x"].bytes.clone()
    };
    assert!(sample("file:d", "0.5") == sample("linear", "0.5"));
    assert!(sample("file:d", "0.5") != sample("file:d", "0.6"));
    fs::write(folder.join("d"), "0.3 2\n0.7\t2\n").unwrap();
    assert!(sample("file:d", "1") == sample("constant", "2"));
}

/// The parser alone would let flags of another solver pass where nothing names the one that they belong to.
#[test]
fn flags_that_would_have_no_effect_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    for (name, text) in [
        ("times.txt", "0\n0.5\n1\n"),
        ("mark.txt", "\u{feff}t\n0\n0.5\n1\n"),
        ("letter.txt", "O\n0.5\n1\n"),
        ("t.safetensors", "0\n0.5\n1\n"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let sample = "sample run --backend cpu --per-class 1 --classes 1 --no-grid --npz x.npz";
    for grid in ["times.txt", "mark.txt"] {
        run_ok(folder, &format!("{sample} --time-grid file:{grid}"));
    }
    for (words, expected) in [
        (
            "--along gvp --steps 4 --churn 3",
            "--churn: it belongs to --edm",
        ),
        ("--steps 4 --clip-x0", "--clip-x0: it belongs to --ddpm"),
        (
            "--ode-last-step euler --noise-window 0..0.5",
            "--noise-window: it belongs to --sde",
        ),
        ("--data digits", "--data: it belongs to --reverse"),
        ("--sde pc --diffusion sigma", "--sde pc has no diffusion"),
        (
            "--sde euler --last-step none --last-step-size 0.1",
            "--last-step-size: there is no last step",
        ),
        ("--edm heun --churn-noise 1.01", "without --churn"),
        ("--edm heun --t-eps-sample 0.01", "--t-eps-sample"),
        (
            "--time-grid file:times.txt --t-eps-sample 0.01",
            "--t-eps-sample: the file of --time-grid",
        ),
        ("--time-grid file:letter.txt", "line 1 got \"O\""),
        (
            "--time-grid file:t.safetensors --trajectory t.safetensors",
            "--trajectory: t.safetensors",
        ),
    ] {
        let done = run(folder, &format!("{sample} {words}"));
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
    }
    run_ok(
        folder,
        "nll run --backend cpu --data digits --count 2 --ode euler --steps 2 --levels 17",
    );
    for (words, expected) in [
        ("--ode heun --rtol 1e-3", "--rtol, --atol and --max-nfe"),
        (
            "--ode heun --steps 2 --respacing 5",
            "--respacing: it belongs to --vlb",
        ),
    ] {
        let done = run(
            folder,
            &format!("nll run --backend cpu --data digits --count 2 {words}"),
        );
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
    }
}
