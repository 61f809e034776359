//! Guidance by another checkpoint, ODE methods, blocks without gates, and data prediction, used as a user would.

use super::TINY_RUN;
use super::tensors::read;
use sit_tests::sit::{run, run_ok};
use std::path::Path;

/// The states of a trajectory of `sit sample run WORDS`.
fn states(folder: &Path, words: &str) -> Vec<f32> {
    let sample = "sample run --backend cpu --per-class 1 --no-grid --trajectory x.safetensors";
    run_ok(folder, &format!("{sample} {words}"));
    read(&folder.join("x.safetensors"))["x"].values()
}

#[test]
fn an_earlier_checkpoint_guides_a_later_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let guided = |scale: &str| {
        let guide = "--autoguide run/step-00000001 --autoguide-scale";
        states(
            folder,
            &format!("--weights raw --ode heun --steps 3 {guide} {scale}"),
        )
    };
    let plain = states(folder, "--weights raw --ode heun --steps 3");
    assert_eq!(guided("1"), plain, "1 is the model alone");
    assert!(guided("2.5") != plain);
    assert!(guided("2.5 --guidance 2") != guided("2.5"), "both together");

    run_ok(
        folder,
        &TINY_RUN.replace("--out run", "--out wide --set model.n_classes=12"),
    );
    let rows = [
        ("--autoguide run/step-00000001", "--autoguide-scale"),
        ("--autoguide-scale 2", "--autoguide"),
        ("--autoguide run --autoguide-scale x", "--autoguide-scale"),
        (
            "--autoguide none --autoguide-scale 2",
            "--autoguide: none: ",
        ),
        (
            "--classifier run --classifier-scale 2",
            "--classifier: got a network that predicts an image, expected a classifier",
        ),
        (
            "--autoguide wide --autoguide-scale 2",
            "--autoguide: got a model of [1, 8, 8] and 12 classes, expected [1, 8, 8] and 10 classes",
        ),
    ];
    for (words, expected) in rows {
        let done = run(
            folder,
            &format!("sample run --backend cpu --no-grid {words}"),
        );
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
    }
}

#[test]
fn every_method_of_the_ode_comes_to_the_same_end() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let end = |solver: &str| {
        let x = states(folder, &format!("--weights raw --ode {solver}"));
        x[x.len() - 10 * 64..].to_vec()
    };
    let exact = end("rk4 --steps 100");
    for method in [
        "euler",
        "midpoint",
        "heun",
        "heun3",
        "rk4",
        "rk4-38",
        "dopri5",
        "bosh3",
        "adaptive-heun",
        "dpm++2m",
        "unipc",
    ] {
        let steps = match ["dopri5", "bosh3", "adaptive-heun"].contains(&method) {
            true => "",
            false => "--steps 100",
        };
        let end = end(&format!("{method} {steps}"));
        let difference = end.iter().zip(&exact).map(|(a, b)| (a - b).abs());
        let most = difference.fold(0.0, f32::max);
        assert!(most < 0.01, "{method}: {most}");
    }
}

/// A classifier guides the ODE and the SDE of models with classes and without; the latter get its classes.
#[test]
fn a_classifier_guides_models_with_and_without_classes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let other = |out: &str, set: &str| {
        run_ok(
            folder,
            &TINY_RUN.replace("--out run", &format!("--out {out} {set}")),
        );
    };
    other("blind", "--set model.n_classes=0");
    other("judge", "--set model.family=classifier");
    other(
        "far",
        "--set model.family=classifier --set transport.path=GVP",
    );
    let sampled = |words: &str| {
        run_ok(
            folder,
            &format!(
                "sample {words} --backend cpu --no-grid --classes 3,7 --per-class 2 --npz x.npz"
            ),
        );
        std::fs::read(folder.join("x.npz")).unwrap()
    };
    for solver in [
        "--ode heun --steps 3",
        "--sde euler --steps 3",
        // At t = 0 the gradient of a classifier that has not learned has an infinite factor.
        "--ode dopri5 --t-eps-sample 0.1",
    ] {
        let plain = sampled(&format!("run {solver}"));
        let guided = |scale: &str| {
            sampled(&format!(
                "run {solver} --classifier judge --classifier-scale {scale}"
            ))
        };
        assert!(guided("0") == plain, "{solver}: 0 is the model alone");
        assert!(guided("4") != plain, "{solver}");
        // The classes of a model without any are those of the classifier.
        let blind = |scale: &str| {
            sampled(&format!(
                "blind {solver} --classifier judge --classifier-scale {scale}"
            ))
        };
        assert!(blind("4") != blind("0"), "{solver}");
    }
    // A chain whose variance is learned, guided by a classifier that has none.
    let chain = |out: &str, set: &str| {
        let sizes =
            "--set model.dim=16 --set model.depth=1 --set model.n_heads=2 --set train.batch=8";
        run_ok(
            folder,
            &format!(
                "train --preset digits-ddpm --backend cpu --out {out} --set train.steps=2 --set log.preview.every_steps=0 {sizes} {set}"
            ),
        );
    };
    chain("chain", "");
    chain(
        "chain-judge",
        "--set model.family=classifier --set transport.ddpm_variance=fixed-small",
    );
    for method in ["ancestral", "ddim"] {
        let guided = |scale: &str| {
            sampled(&format!(
                "chain --ddpm {method} --respacing 5 --classifier chain-judge --classifier-scale {scale}"
            ))
        };
        assert!(guided("4") != guided("0"), "{method}");
    }
    let info = run_ok(folder, "info judge");
    assert!(info.contains("classifier"), "{info}");
    for (words, expected) in [
        (
            "sample judge",
            "got a classifier, expected a network that predicts",
        ),
        ("sample run --classifier judge", "--classifier-scale"),
        (
            "sample run --classifier far --classifier-scale 1",
            "--classifier: got one of states on the GVP path",
        ),
        (
            "sample run --autoguide judge --autoguide-scale 2",
            "--autoguide: got a classifier",
        ),
        ("nll judge --data digits", "got a classifier"),
        (
            "loss judge --data digits --out loss.csv",
            "got a classifier",
        ),
    ] {
        let done = run(folder, &format!("{words} --backend cpu"));
        assert_eq!(done.code, Some(2), "{words}: {}", done.stderr);
        assert!(done.stderr.contains(expected), "{words}: {}", done.stderr);
    }
}

/// Training in one go and training with a stop in between give the same bits. The result is then sampled, exported and described.
#[test]
fn other_blocks_and_predictions_train_resume_and_sample() {
    let designs = [
        // The name that older files have.
        "--set model.block=adaln",
        "--set model.condition=cross-attention --set model.norm=rms",
        "--set model.condition=in-context --set model.rope=true --set model.qk_norm=true",
        "--set model.norm=rms --set model.mlp=swiglu --set model.qk_norm=true --set model.rope=true --set model.bottleneck=3 \
         --set model.class_tokens=2 --set model.class_tokens_from=0",
    ];
    for design in designs {
        train_resume_and_sample(design);
    }
}

fn train_resume_and_sample(design: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let set =
        format!("{design} --set transport.prediction=data --set transport.loss_weight=velocity");
    run_ok(folder, &format!("{TINY_RUN} {set}"));
    run_ok(
        folder,
        &TINY_RUN.replace(
            "--out run",
            &format!("--out half {set} --set train.steps=1"),
        ),
    );
    run_ok(
        folder,
        "train --resume half --set train.steps=2 --backend cpu",
    );
    for file in ["model", "ema", "optim"] {
        let bytes = |run: &str| {
            let path = format!("{run}/step-00000002/{file}.safetensors");
            std::fs::read(folder.join(path)).unwrap()
        };
        assert_eq!(bytes("run"), bytes("half"), "{file}");
    }
    for solver in ["--ode heun --steps 3", "--sde heun --steps 3"] {
        let x = states(folder, &format!("{solver} --guidance 1.5"));
        assert!(x.iter().all(|x| x.is_finite()), "{solver}");
    }
    let done = run(
        folder,
        &format!("train --init-from run --out other {}", &TINY_RUN[6..]).replace("--out run ", ""),
    );
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr
            .contains("those of the configuration adaln-zero"),
        "{}",
        done.stderr
    );
    let bad = run(
        folder,
        &TINY_RUN.replace("--out run", "--out bad --set model.condition=zero"),
    );
    assert!(
        bad.stderr.contains("adaln-zero") && bad.code == Some(2),
        "{}",
        bad.stderr
    );
}
