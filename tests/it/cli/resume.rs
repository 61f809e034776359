//! Runs that are stopped, killed or out of space, and go on.

use super::tensors::truncate;
use super::{TINY_RUN, checkpoints, copy, metrics, names};
use sit_tests::sit::{Done, run, run_ok, sit};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A run of every feature whose state matters: accumulation, warm-up and decay, a window of metrics across checkpoints,
/// previews, more than one epoch.
const LONG_RUN: &str = "train --preset digits-smoke --backend cpu --out run --set train.steps=300 --set train.batch=8 \
     --set train.accumulate=2 --set train.warmup_steps=10 --set train.schedule=cosine --set data.flip=true \
     --set log.every_steps=7 --set log.checkpoint_every_steps=20 --set log.keep_last=2 --set log.keep_every_steps=100 \
     --set log.preview.every_steps=50 --set log.preview.steps=2";

/// Other averages and their snapshots, for [`LONG_RUN`].
const AVERAGES: &str = "--set train.ema_decay2=0.95 --set log.snapshots.every_steps=60";

const RESUME: &str = "train --resume run --backend cpu";

const LAST: &str = "run/step-00000300";

/// The same run without a stop, for comparison.
fn whole(folder: &Path) {
    run_ok(folder, &format!("{LONG_RUN} {AVERAGES}"));
    let kept = [100, 200, 280, 300].map(|step| format!("step-{step:08}"));
    assert_eq!(checkpoints(&folder.join("run")), kept);
}

#[track_caller]
fn assert_same(got: &Path, want: &Path) {
    let snapshots = (60..=300)
        .step_by(60)
        .map(|step| format!("run/snapshots/step-{step:08}"));
    for at in snapshots.chain([LAST.to_owned()]) {
        let files = names(&want.join(&at));
        assert_eq!(names(&got.join(&at)), files);
        for file in files {
            let bytes = |folder: &Path| fs::read(folder.join(&at).join(&file)).unwrap();
            assert!(bytes(got) == bytes(want), "{at}/{file} differs");
        }
    }
    let run = |folder: &Path| folder.join("run");
    let (got_lines, want_lines) = (metrics(&run(got)), metrics(&run(want)));
    assert_eq!(got_lines.len(), want_lines.len());
    for (got, want) in got_lines.iter().zip(&want_lines) {
        assert_eq!(got, want);
    }
    assert_eq!(checkpoints(&run(got)), checkpoints(&run(want)));
    for preview in names(&run(want).join("previews")) {
        let bytes = |folder: &Path| fs::read(run(folder).join("previews").join(&preview)).unwrap();
        assert!(bytes(got) == bytes(want), "{preview} differs");
    }
}

pub fn start(folder: &Path, words: &str) -> Child {
    sit(folder)
        .args(words.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until `ready`, which must happen before the process ends.
#[track_caller]
pub fn wait(child: &mut Child, mut ready: impl FnMut() -> bool) {
    let started = Instant::now();
    while !ready() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the run ended before it was stopped"
        );
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "it does not come so far"
        );
        sleep(Duration::from_millis(1));
    }
}

fn n_lines(folder: &Path) -> usize {
    fs::read(folder.join("run/metrics.jsonl"))
        .map_or(0, |text| text.iter().filter(|&&b| b == b'\n').count())
}

/// Whether a checkpoint is being written.
fn is_saving(folder: &Path) -> bool {
    let entries = fs::read_dir(folder.join("run"))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .map(|e| e.file_name())
        .any(|name| name.to_string_lossy().starts_with(".unfinished-"))
}

pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait_with_output().unwrap();
}

#[test]
fn a_run_that_is_stopped_or_killed_ends_in_the_same_bytes() {
    let (want, got) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = got.path();
    whole(want.path());

    // Before the first checkpoint.
    let mut child = start(folder, &format!("{LONG_RUN} {AVERAGES}"));
    wait(&mut child, || folder.join("run/config.toml").exists());
    kill(child);
    let mut child = start(folder, RESUME);
    wait(&mut child, || n_lines(folder) >= 1);
    kill(child);
    // In the middle of a checkpoint, at several moments of it.
    for delay_ms in [0, 1, 2, 4, 8] {
        let mut child = start(folder, RESUME);
        wait(&mut child, || is_saving(folder));
        sleep(Duration::from_millis(delay_ms));
        kill(child);
        // Each checkpoint has its seven files, whenever the process was killed.
        for checkpoint in checkpoints(&folder.join("run")) {
            assert_eq!(names(&folder.join("run").join(checkpoint)).len(), 7);
        }
    }
    // Some time after a line of metrics.
    for delay_ms in [3, 10, 30] {
        let lines = n_lines(folder);
        let mut child = start(folder, RESUME);
        // On resuming, the run first cuts the lines after its checkpoint.
        wait(&mut child, || n_lines(folder) != lines);
        sleep(Duration::from_millis(delay_ms));
        kill(child);
    }
    // Ctrl-C.
    let lines = n_lines(folder);
    let mut child = start(folder, RESUME);
    wait(&mut child, || n_lines(folder) > lines + 1);
    interrupt(&child);
    let done: Done = child.wait_with_output().unwrap().into();
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert!(
        done.stderr.contains("go on with: sit train --resume run"),
        "{}",
        done.stderr
    );
    assert!(!is_saving(folder));
    // The run saved the step at which it stopped, and reports it.
    let last = checkpoints(&folder.join("run")).pop().unwrap();
    let step: u64 = last["step-".len()..].parse().unwrap();
    assert!(
        done.stderr.contains(&format!("stopped at step {step};")),
        "{}",
        done.stderr
    );

    run_ok(folder, RESUME);
    assert_same(folder, want.path());
    // A finished run has nothing left to do.
    run_ok(folder, RESUME);
    assert_same(folder, want.path());
}

pub fn interrupt(child: &Child) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -INT {}", child.id())])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_truncated_checkpoint_is_refused_and_the_one_before_it_goes_on() {
    let (want, got) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    whole(want.path());
    copy(want.path(), got.path());
    truncate(&got.path().join(LAST).join("model.safetensors"), 0.6);
    let done = run(got.path(), RESUME);
    assert_eq!(done.code, Some(2));
    for part in [
        "run/step-00000300/model.safetensors: is truncated: blocks.",
        "the checkpoint before it is run/step-00000280",
    ] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    let done = run(got.path(), "train --resume run/step-00000280 --backend cpu");
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("step-00000300.old"), "{}", done.stderr);
    fs::remove_dir_all(got.path().join("run/step-00000300.old")).unwrap();
    assert_same(got.path(), want.path());
}

/// A new configuration may change anything but the model, the objective and the seed.
#[test]
fn a_run_goes_on_longer_and_with_another_rate() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(folder.path(), TINY_RUN);
    let done = run(
        folder.path(),
        "train --resume run --backend cpu --set train.steps=4 --set train.learning_rate=1e-3",
    );
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for part in [
        "train.steps was 2, is now 4",
        "train.learning_rate was 0.002, is now 0.001",
    ] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    let lines = metrics(&folder.path().join("run"));
    let rates: Vec<_> = lines
        .iter()
        .map(|line| line["lr"].as_f64().unwrap())
        .collect();
    assert_eq!(rates, [2e-3, 2e-3, 1e-3, 1e-3]);
    let config = fs::read_to_string(folder.path().join("run/config.toml")).unwrap();
    assert!(config.contains("steps = 4"), "{config}");
}

#[test]
fn two_processes_do_not_train_in_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = start(
        folder.path(),
        &format!("{LONG_RUN} --set train.steps=100000"),
    );
    wait(&mut first, || {
        folder.path().join("run/step-00000020").exists()
    });
    let done = run(folder.path(), RESUME);
    kill(first);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(
        done.stderr.contains("run: another process is training"),
        "{}",
        done.stderr
    );
}

/// Limits a file to 150 or 300 KiB, by the shell's unit, which is too small for a checkpoint. Like a full disk it makes a write
/// fail in the middle, but any user can set it.
fn with_little_space(folder: &Path, words: &str) -> Done {
    let program = sit(folder);
    // If the signal is ignored, the write fails with "File too large".
    let script = format!("trap '' XFSZ; ulimit -f 300; exec \"$0\" {words}");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .arg(program.get_program())
        .current_dir(folder);
    shell.output().unwrap().into()
}

#[test]
fn a_checkpoint_without_space_leaves_the_one_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let words = LONG_RUN.replace("train.steps=300", "train.steps=20");
    run_ok(folder.path(), &words);
    let before = checkpoints(&folder.path().join("run"));
    let done = with_little_space(folder.path(), &format!("{RESUME} --set train.steps=40"));
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    for part in [
        "run/step-00000040/",
        ".safetensors: cannot be written: File too large",
        "go on with: sit train --resume run",
    ] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    assert_eq!(checkpoints(&folder.path().join("run")), before);
    assert!(!is_saving(folder.path()));
    run_ok(folder.path(), &format!("{RESUME} --set train.steps=40"));
}

#[test]
fn a_trajectory_without_space_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(folder.path(), TINY_RUN);
    fs::write(folder.path().join("old"), "old").unwrap();
    let before = names(folder.path());
    let words =
        "sample run --backend cpu --steps 30 --per-class 8 --out /dev/null --trajectory old";
    let done = with_little_space(folder.path(), words);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains("cannot write old: File too large"),
        "{}",
        done.stderr
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("old")).unwrap(),
        "old"
    );
    assert_eq!(names(folder.path()), before);
}

/// A disk that is really full, if a mount is allowed: as root, or with user namespaces.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let program = sit(folder.path());
    let words = LONG_RUN.replace("--out run", "--out disk/run");
    let script = format!(
        "mount -t tmpfs -o size=1m tmpfs disk && echo mounted && \"$0\" {words}; echo code $?; ls -A disk/run"
    );
    fs::create_dir(folder.path().join("disk")).unwrap();
    let unshare = |flags: &[&str]| -> Option<Done> {
        let mut shell = Command::new("unshare");
        shell
            .args(flags)
            .args(["sh", "-c", &script])
            .arg(program.get_program());
        let done: Done = shell.current_dir(folder.path()).output().ok()?.into();
        done.stdout.contains("mounted").then_some(done)
    };
    let Some(done) = unshare(&["--mount"]).or_else(|| unshare(&["--mount", "--map-root-user"]))
    else {
        return eprintln!("no right to mount; files of limited size stand in for a full disk");
    };
    assert!(
        done.stdout.contains("code 1"),
        "{}{}",
        done.stdout,
        done.stderr
    );
    assert!(
        done.stdout.contains("step-00000020") && !done.stdout.contains("unfinished"),
        "{}",
        done.stdout
    );
    for part in ["disk/run/step-00000040/", "No space left on device"] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
}

/// `--resume` goes on with the settings of the checkpoint, and writes them into config.toml.
#[test]
fn an_edited_configuration_is_kept_beside_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run_ok(folder, TINY_RUN);
    let (file, old) = (
        folder.join("run/config.toml"),
        folder.join("run/config.toml.old"),
    );
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let resume = |words: &str| -> String {
        let done = run(folder, &format!("train {words} --backend cpu"));
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        done.stderr
    };
    resume("--resume run --set train.steps=3");
    // Without comments and defaults, the values are the same.
    let short: String = read(&file)
        .lines()
        .filter(|line| !line.starts_with("ema_"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&file, format!("# Mine.\n{short}")).unwrap();
    resume("--resume run --set train.steps=4");
    assert!(!old.exists());

    let edit = |rate: &str| {
        let text = read(&file);
        let line = text
            .lines()
            .find(|line| line.starts_with("learning_rate"))
            .unwrap();
        let edited = text.replace(line, &format!("learning_rate = {rate}"));
        fs::write(&file, &edited).unwrap();
        edited
    };
    let first = edit("0.125");
    let said = resume("--resume run --set train.steps=5");
    assert!(said.contains("config.toml.old"), "{said}");
    assert_eq!(read(&old), first);
    assert!(!read(&file).contains("0.125"));
    let second = edit("0.25");
    resume("--resume run --set train.steps=6");
    assert_eq!(read(&old), first);
    assert_eq!(read(&folder.join("run/config.toml.old-2")), second);
    // Named as the configuration it is taken, and kept where a flag changes it.
    let third = edit("0.5");
    resume("run/config.toml --resume run --set train.steps=7");
    assert!(read(&file).contains("learning_rate = 0.5"));
    assert_eq!(read(&folder.join("run/config.toml.old-3")), third);
}
