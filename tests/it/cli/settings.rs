//! Valid settings with unexpected effects: the user is told, or they are changed with a message.

use super::TINY_RUN;
use sit_tests::sit::{run, run_ok, sit};
use std::fs;

#[test]
fn an_average_that_lags_is_said_where_it_is_set_and_where_it_is_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let sample = "sample run --backend cpu --steps 1 --per-class 1 --classes 0 --out x.png";
    let reference = format!("{TINY_RUN} --set train.ema_decay=0.9999 --set train.ema_warmup=false");
    let done = run(folder.path(), &reference);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains("100 % of the initial weights"),
        "{}",
        done.stderr
    );
    let done = run(folder.path(), sample);
    for part in ["2 updates of train.ema_decay = 0.9999", "--weights raw"] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    let done = run(folder.path(), &format!("{sample} --weights raw"));
    assert!(!done.stderr.contains("moving average"), "{}", done.stderr);

    // With the warm-up the initial weights are 1/10 of 2/11 after two updates, and less than a hundredth after three.
    fs::remove_dir_all(folder.path().join("run")).unwrap();
    run_ok(
        folder.path(),
        &format!("{TINY_RUN} --set train.ema_decay=0.9999 --set train.steps=3"),
    );
    let done = run(folder.path(), sample);
    assert!(
        !done.stderr.contains("has not caught up"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_run_from_before_the_warm_up_of_the_average_goes_on_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = |run: &str, step: u32, name: &str| {
        folder.path().join(format!("{run}/step-{step:08}/{name}"))
    };
    run_ok(
        folder.path(),
        &format!("{TINY_RUN} --set train.ema_warmup=false --set train.steps=4"),
    );
    run_ok(
        folder.path(),
        &format!("{TINY_RUN} --set train.ema_warmup=false").replace("--out run", "--out old"),
    );
    let state = file("old", 2, "state.json");
    let text = fs::read_to_string(&state).unwrap();
    let without: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("ema_warmup"))
        .collect();
    assert_eq!(without.len(), text.lines().count() - 1);
    fs::write(&state, without.join("\n")).unwrap();
    run_ok(
        folder.path(),
        "train --resume old --backend cpu --set train.steps=4",
    );
    let ema = |run: &str| fs::read(file(run, 4, "ema.safetensors")).unwrap();
    assert!(ema("old") == ema("run"));
    assert!(
        fs::read_to_string(file("old", 4, "state.json"))
            .unwrap()
            .contains("\"ema_warmup\": false")
    );
}

#[test]
fn a_preset_can_be_shortened_and_says_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let dry = |words: &str| {
        let done = run(
            folder.path(),
            &format!("train {words} --backend cpu --dry-run"),
        );
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done
    };
    let done = dry("--preset digits --set train.steps=30");
    assert!(
        done.stdout.contains("warmup_steps = 1\n"),
        "{}",
        done.stdout
    );
    assert!(
        done.stderr
            .contains("train.warmup_steps is 1 instead of 50"),
        "{}",
        done.stderr
    );
    assert!(!done.stderr.contains("mirrored"), "{}", done.stderr);
    let done = dry("--preset digits --set data.flip=true");
    assert!(
        done.stderr.contains("every other image is mirrored"),
        "{}",
        done.stderr
    );
    // Numbers in the forms that people write.
    let done = dry("--preset digits --set train.steps=1e5 --set train.learning_rate=1.e-4");
    assert!(done.stdout.contains("steps = 100000\n"), "{}", done.stdout);
    assert!(
        done.stdout.contains("learning_rate = 0.0001\n"),
        "{}",
        done.stdout
    );
}

/// Names of files, classes and keys cannot move the cursor, set colors or change the direction of the text.
#[cfg(unix)]
#[test]
fn names_from_outside_are_printed_safely() {
    let folder = tempfile::tempdir().unwrap();
    let bad = "a\u{1b}[2J\u{202e}b\r";
    let at = |name: &str| folder.path().join(name);
    fs::write(
        at(&format!("{bad}.toml")),
        format!("[\"{bad}\"]\n", bad = "x\u{202e}"),
    )
    .unwrap();
    fs::write(at(&format!("{bad}.pt")), "x").unwrap();
    let class = at(bad).join(bad);
    fs::create_dir_all(&class).unwrap();
    fs::write(class.join(format!("{bad}.png")), "no image").unwrap();
    let data = format!("data.path={bad}");
    let toml = format!("{bad}.toml");
    let weights = format!("{bad}.pt");
    let key = format!("{bad}=1");
    let smoke = ["train", "--preset", "digits-smoke", "--backend", "cpu"];
    let images = [
        "--set",
        "data.kind=folder",
        "--set",
        "data.image_size=8",
        "--set",
        "model.channels=3",
    ];
    let with = |more: &[&str]| {
        [&smoke[..], more]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    let plain = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let cases: Vec<Vec<String>> = vec![
        plain(&["train", &toml]),
        plain(&["train", &format!("no{toml}")]),
        plain(&["info", &weights]),
        plain(&["info", &format!("no{weights}")]),
        plain(&["sample", &weights]),
        plain(&["sample", bad]),
        plain(&["convert", &weights, "x.safetensors"]),
        plain(&["train", "--preset", bad]),
        plain(&["train", "--resume", bad]),
        plain(&["data", "inspect", bad]),
        plain(&["data", "inspect", &format!("no{bad}")]),
        plain(&["sample", bad, bad]),
        plain(&["sample", bad, "--ode", bad]),
        with(&["--set", &key]),
        with(&[&["--set", &data], &images[..]].concat()),
        with(&["--set", "data.kind=idx", "--set", &data]),
        with(&["--out", &format!("{bad}/{bad}")]),
    ];
    for words in cases {
        let output = sit(folder.path()).args(&words).output().unwrap();
        for printed in [&output.stdout, &output.stderr] {
            let text = std::str::from_utf8(printed).unwrap();
            let odd = text
                .chars()
                .find(|c| c.is_control() && *c != '\n' && *c != '\t' || *c == '\u{202e}');
            assert_eq!(odd, None, "{words:?}: {text:?}");
        }
    }
}
