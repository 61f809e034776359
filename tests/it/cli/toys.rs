//! Points in the plane as data, and models that begin with another data set in the place of noise.

use super::tensors::read;
use super::{copy, names, tree};
use sit_tests::sit::{run, run_ok};
use std::fs;
use std::path::Path;

/// Trains a tiny model of points for two steps, with a checkpoint after each.
const TINY: &str = "--backend cpu --set train.steps=2 --set train.batch=16 --set log.checkpoint_every_steps=1 --set log.keep_last=9 \
     --set log.every_steps=1 --set log.preview.every_steps=0 --set model.dim=16 --set model.depth=1";

fn train(folder: &Path, words: &str) -> String {
    run_ok(folder, &format!("train {words} {TINY}"))
}

/// The refusal of a command.
#[track_caller]
fn refusal(folder: &Path, words: &str) -> String {
    let before = tree(folder);
    let done = run(folder, words);
    assert_eq!(done.code, Some(2), "sit {words}\n{}", done.stderr);
    assert_eq!(tree(folder), before, "sit {words} wrote files");
    done.stderr
}

/// Pixels of a PNG that are neither white nor grey.
fn n_colored(path: &Path) -> usize {
    let image = image::open(path).unwrap().into_rgb8();
    assert_eq!(image.dimensions(), (512, 512));
    let is_grey = |p: &image::Rgb<u8>| p.0[0] == p.0[1] && p.0[1] == p.0[2];
    assert!(image.pixels().any(|p| is_grey(p) && p.0[0] < 255));
    image.pixels().filter(|p| !is_grey(p)).count()
}

#[test]
fn a_toy_is_trained_on_and_sampled_as_a_scatter_plot() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let preview = TINY.replace("preview.every_steps=0", "preview.every_steps=2");
    run_ok(
        folder,
        &format!("train --preset moons --out run {preview} --set log.preview.count=20"),
    );
    assert!(n_colored(&folder.join("run/previews/step-00000002.png")) > 20);
    let words = "sample run --backend cpu --steps 2 --out moons.png --npz moons.npz --trajectory moons.safetensors";
    let printed = run_ok(folder, &format!("{words} --per-class 30"));
    assert!(printed.contains("a scatter plot"), "{printed}");
    assert!(!printed.contains("a row each"), "{printed}");
    assert!(n_colored(&folder.join("moons.png")) > 100);
    assert_eq!(
        names(folder),
        ["moons.npz", "moons.png", "moons.safetensors", "run"]
    );
    // By default there are enough points to see a shape; a file of weights knows its toy as well.
    let printed = run_ok(folder, "convert run run.safetensors");
    assert!(printed.contains("run.safetensors"), "{printed}");
    let words = "sample run.safetensors --backend cpu --steps 1 --out many.png";
    let printed = run_ok(folder, words);
    assert!(
        printed.starts_with("2000 images") && printed.contains("(moons)"),
        "{printed}"
    );
    let message = refusal(folder, "sample run --backend cpu --png single --no-grid");
    assert!(message.contains("points in the plane"), "{message}");
    let message = refusal(
        folder,
        "train --preset moons --set data.path=toy:moon --out x",
    );
    assert!(
        message.contains("data.path: got toy:moon, expected one of toy:moons, toy:rings"),
        "{message}"
    );
    let printed = run_ok(folder, "data inspect toy:spiral");
    assert!(
        printed.starts_with("toy:spiral: Two arms of a spiral"),
        "{printed}"
    );
}

#[test]
fn the_true_error_and_density_are_told_of_mixtures_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(
        folder,
        "--preset moons --set data.path=toy:two-gaussians --out run",
    );
    let loss = |data: &str| {
        let words =
            format!("loss run --backend cpu --data {data} --count 200 --times 3 --out loss.csv");
        run_ok(folder, &words)
    };
    let printed = loss("toy:two-gaussians");
    let row = |t: &str| -> Vec<f64> {
        let line = printed.lines().find(|line| line.contains(t)).unwrap();
        let words = line.split_whitespace().skip(3);
        words.map(|word| word.parse().unwrap()).collect()
    };
    // With all data known by its class, the variance of the target at time 1 is that of the noise, and at time 0 that of the class.
    for (t, variance) in [("t = 1.0000", 1.0), ("t = 0.0000", 0.15 * 0.15)] {
        let [loss, error] = row(t)[..] else {
            panic!("{printed}");
        };
        assert!(error > 0.0 && loss > error, "{printed}");
        // The cross term is a mean over 400 values.
        let tolerance = 4.0 * (4.0 * error * variance + 2.0 * variance * variance).sqrt() / 20.0;
        let off = (loss - error - variance).abs();
        assert!(off < tolerance, "{off} {tolerance}: {printed}");
    }
    assert!(printed.contains("The error is the true one"), "{printed}");
    let printed = loss("toy:moons");
    assert!(
        printed.contains("toy:moons is no mixture") && printed.contains("loose upper bounds"),
        "{printed}"
    );
    let nll = "nll run --backend cpu --trace exact --ode heun --steps 2 --count 20 --data";
    let printed = run_ok(folder, &format!("{nll} toy:two-gaussians"));
    // log p of one's own class: -1 - log(2 pi 0.15^2) on average, with a deviation of 1 for each point.
    let line = printed.lines().find(|l| l.contains("own log p")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let own: f64 = words[6].parse().unwrap();
    assert!((own - 0.956).abs() < 1.0, "{line}");
    assert!(line.contains("estimates KL(data | model)"), "{line}");
    let printed = run_ok(folder, &format!("{nll} toy:moons"));
    assert!(printed.contains("toy:moons is no mixture"), "{printed}");
}

#[test]
fn a_bridge_goes_on_with_the_same_bits_and_starts_from_its_own_data() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let validated = "--set log.validation.every_steps=2 --set log.validation.images=20";
    let four = TINY.replace("steps=2", "steps=4");
    run_ok(
        folder,
        &format!("train --preset moons-to-rings --out whole {validated} {four}"),
    );
    copy(&folder.join("whole"), &folder.join("parts"));
    for step in [3, 4] {
        fs::remove_dir_all(folder.join(format!("parts/step-{step:08}"))).unwrap();
    }
    run_ok(folder, "train --resume parts --backend cpu");
    let file = |run: &str, name: &str| fs::read(folder.join(run).join(name)).unwrap();
    for name in [
        "model.safetensors",
        "ema.safetensors",
        "optim.safetensors",
        "state.json",
    ] {
        let name = format!("step-00000004/{name}");
        assert!(file("whole", &name) == file("parts", &name), "{name}");
    }
    assert_eq!(
        super::metrics(&folder.join("whole")),
        super::metrics(&folder.join("parts"))
    );
    let state = String::from_utf8(file("whole", "step-00000004/state.json")).unwrap();
    assert!(
        state.contains("\"base\": \"data:toy:moons\"") && state.contains("\"n_base\": 10000"),
        "{state}"
    );
    let info = run_ok(folder, "info whole");
    assert!(
        info.contains("begins with data:toy:moons in the place of noise"),
        "{info}"
    );

    let sample = |words: &str| {
        let path = "x.safetensors";
        let words = format!(
            "sample whole --backend cpu --per-class 9 --no-grid --trajectory {path} {words}"
        );
        run_ok(folder, &words);
        read(&folder.join(path))["x"].values()
    };
    let x = sample("--steps 2");
    // Three states of two classes with nine points each; the first one is of moons, well within noise.
    assert_eq!(x.len(), 3 * 18 * 2);
    assert!(x[..36].iter().all(|x| x.abs() < 1.3));
    assert_eq!(x, sample("--steps 2 --batch 5"));
    assert_eq!(x[..6], sample("--steps 2 --index 0-2")[..6]);
    assert_ne!(x[..36], sample("--steps 2 --seed 1")[..36]);
    assert_ne!(x[..36], sample("--steps 2 --base toy:spiral")[..36]);
    for solver in [
        "--ode rk4 --steps 1",
        "--ode unipc --steps 2",
        "--along gvp --steps 1",
    ] {
        assert_eq!(x[..36], sample(solver)[..36], "{solver}");
    }
    let adaptive = "sample whole --backend cpu --per-class 9 --ode bosh3 --rtol 0.1 --atol 0.1";
    run_ok(folder, &format!("{adaptive} --npz x.npz --out x.png"));
    let reverse =
        "sample whole --backend cpu --reverse --data toy:rings --count 5 --steps 2 --out x.png";
    assert!(run_ok(folder, reverse).contains("round trip"));

    let cases = [
        (
            "sample whole --sde euler",
            "--sde: this model begins with data:toy:moons",
        ),
        ("sample whole --edm heun", "--edm: this model begins with"),
        ("sample whole --ddpm ddim", "--ddpm: this model begins with"),
        ("sample whole --along vp", "--along: this model begins with"),
        (
            "sample whole --base toy:moo",
            "--base: got toy:moo, expected one of toy:moons",
        ),
        ("sample whole --base gone", "--base: gone is not there"),
        (
            "nll whole --data toy:rings",
            "the likelihood needs the density of Gaussian noise",
        ),
        (
            "loss whole --data toy:rings --out x.csv",
            "measured with Gaussian noise",
        ),
        (
            "train --preset moons-to-rings --out y --set transport.prediction=noise",
            "transport.prediction: got noise, expected velocity",
        ),
        (
            "train --preset moons-to-rings --out y --set transport.path=vp",
            "transport.base: got data:toy:moons, expected gaussian on the VP path",
        ),
        (
            "train --preset moons-to-rings --out y --set transport.base=data:toy:x",
            "transport.base: got toy:x, expected one of toy:moons",
        ),
        (
            "train --resume whole --set train.steps=5 --set transport.base=gaussian",
            "transport.base is",
        ),
    ];
    for (words, expected) in cases {
        let words = format!("{words} --backend cpu");
        let message = refusal(folder, &words);
        assert!(message.contains(expected), "sit {words}\n{message}");
    }
    train(folder, "--preset moons --out noise");
    let message = refusal(folder, "sample noise --backend cpu --base toy:moons");
    assert!(message.contains("begins with noise"), "{message}");
    let message = refusal(
        folder,
        "sample noise --backend cpu --autoguide whole --autoguide-scale 2",
    );
    assert!(
        message.contains("--autoguide: got a model that begins with data"),
        "{message}"
    );
}

/// Two folders of pictures: from the ones to the others.
#[test]
fn a_base_of_pictures_is_found_from_the_run_and_may_move() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, level) in [("dark", 30), ("bright", 220)] {
        fs::create_dir(folder.join(name)).unwrap();
        for i in 0..3 {
            let image = image::GrayImage::from_pixel(8, 8, image::Luma([level + i]));
            image
                .save(folder.join(name).join(format!("{i}.png")))
                .unwrap();
        }
    }
    let words = "train --preset digits-smoke --backend cpu --out run --set train.steps=2 --set model.dim=16 --set model.depth=1 \
         --set log.preview.every_steps=0 --set data.kind=folder --set data.path=bright --set data.channels=1 --set data.image_size=8 \
         --set model.n_classes=0 --set transport.base=data:dark";
    run_ok(folder, words);
    let start = |at: &Path, words: &str| {
        let words = format!(
            "sample {words} --backend cpu --steps 1 --no-grid --per-class 2 --trajectory x.safetensors"
        );
        run_ok(at, &words);
        read(&at.join("x.safetensors"))["x"].values()[..2 * 64].to_vec()
    };
    let x = start(folder, "run");
    assert!(
        x.iter()
            .all(|x| (30..33).any(|level| (x - (level as f32 / 127.5 - 1.0)).abs() < 1e-6))
    );
    // From another working folder, by the place of the run.
    assert_eq!(start(&folder.join("dark").join(".."), "run"), x);
    let elsewhere = folder.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    assert_eq!(start(&elsewhere, "../run"), x);
    copy(&folder.join("dark"), &folder.join("moved"));
    fs::remove_dir_all(folder.join("dark")).unwrap();
    let message = refusal(folder, "sample run --backend cpu");
    assert!(
        message.contains("transport.base: dark is not there") && message.contains("--base PATH"),
        "{message}"
    );
    assert_eq!(start(folder, "run --base moved"), x);
    let go_on = "train --resume run --backend cpu --set train.steps=3";
    let message = refusal(folder, go_on);
    assert!(
        message.contains("--set transport.base=data:PATH"),
        "{message}"
    );
    run_ok(folder, &format!("{go_on} --set transport.base=data:moved"));
    let message = refusal(folder, "sample run --backend cpu --base toy:moons");
    assert!(
        message.contains("got images of [2, 1, 1], expected [1, 8, 8]"),
        "{message}"
    );
}

#[test]
fn the_gpu_follows_a_bridge_of_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let losses = ["cpu", "gpu"].map(|backend| {
        let words = format!("train --preset moons-to-rings --out {backend} {TINY}");
        run_ok(
            folder.path(),
            &words.replace("--backend cpu", &format!("--backend {backend}")),
        );
        let lines = super::metrics(&folder.path().join(backend));
        lines
            .iter()
            .map(|line| line["loss"].as_f64().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(losses[0].len(), 2);
    for (cpu, gpu) in losses[0].iter().zip(&losses[1]) {
        assert!((cpu - gpu).abs() <= 1e-3 * cpu, "{losses:?}");
    }
}

/// The mismatch of a path that does not begin with noise alone, and nothing of one that does.
#[test]
fn info_tells_the_mismatch_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    train(folder, "--preset moons --out vp --set transport.path=vp");
    train(folder, "--preset moons --out linear");
    let info = run_ok(folder, "info vp");
    let line = info
        .lines()
        .find(|line| line.starts_with("mismatch at t = 0"));
    let line = line.unwrap_or_else(|| panic!("{info}"));
    // alpha is exp(-20.1 / 4) on VP, and the bound for unit variance is about alpha^2 / 2 for each value.
    assert!(
        line.contains("6.572e-3 data") && line.contains("KL(start) <= 4.319e-5 nats for 2 values"),
        "{line}"
    );
    assert!(!run_ok(folder, "info linear").contains("mismatch"));
}
