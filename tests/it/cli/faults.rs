//! Runs without a user to watch them: streams that accept nothing, signals, folders changed by others, limits.

use super::{TINY_RUN, checkpoints, names, tree};
use sit_tests::sit::{Done, run, run_ok, sit};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A run that continues until it is stopped.
const ENDLESS: &str = "train --preset digits-smoke --backend cpu --out run --set train.steps=1000000 --set model.dim=16 \
     --set model.depth=1 --set log.checkpoint_every_steps=0 --set log.preview.every_steps=0";

/// `sit` with `words` from a shell that runs `first` before it.
fn in_shell(folder: &Path, first: &str, words: &str) -> Command {
    let program = sit(folder);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{first} exec \"$0\" {words}")])
        .arg(program.get_program())
        .current_dir(folder)
        .env_remove("SIT_LOG")
        .stdin(Stdio::null());
    shell
}

fn start(mut command: Command) -> Child {
    let piped = command.stdout(Stdio::null()).stderr(Stdio::piped());
    piped.spawn().unwrap()
}

#[track_caller]
fn wait_until(child: &mut Child, mut ready: impl FnMut() -> bool) {
    let started = Instant::now();
    while !ready() {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        assert!(started.elapsed() < Duration::from_secs(120), "it hangs");
        sleep(Duration::from_millis(2));
    }
}

fn n_lines(run: &Path) -> usize {
    let text = fs::read(run.join("metrics.jsonl")).unwrap_or_default();
    text.iter().filter(|&&byte| byte == b'\n').count()
}

fn signal(name: &str, child: &Child) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
}

fn end(child: Child) -> Done {
    child.wait_with_output().unwrap().into()
}

/// Lines of metrics to wait for before an endless run is disturbed.
const SOME: usize = 3;

#[test]
fn a_run_goes_on_when_nobody_reads_its_messages() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = sit(folder.path());
    command.args("train --preset digits-smoke --backend cpu --out gone".split(' '));
    let mut child = start(command);
    // As `2>&1 | head -1`.
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    drop(stderr);
    assert_eq!(child.wait().unwrap().code(), Some(0), "{line}");
    assert_eq!(checkpoints(&folder.path().join("gone")).len(), 2);
}

/// Every command ends by its own exit code; results that cannot be written are a failure, messages are not.
#[cfg(target_os = "linux")]
#[test]
fn no_stream_makes_a_command_panic() {
    let folder = tempfile::tempdir().unwrap();
    let smoke = TINY_RUN.replace("--out run", "");
    for (i, (streams, results)) in [
        ("2>/dev/full", 0),
        (">/dev/full 2>/dev/full", 1),
        (">&- 2>&-", 0),
        ("<&- >&- 2>&-", 0),
    ]
    .into_iter()
    .enumerate()
    {
        let code = |words: &str| {
            let status = in_shell(folder.path(), "", &format!("{words} {streams}")).status();
            status.unwrap().code()
        };
        let out = format!("run{i}");
        assert_eq!(code(&format!("{smoke} --out {out}")), Some(0), "{streams}");
        assert_eq!(checkpoints(&folder.path().join(&out)).len(), 2);
        let grid = format!("sample {out} --backend cpu --steps 1 --per-class 1 --out {out}.png");
        assert_eq!(code(&grid), Some(results), "{streams}");
        assert!(folder.path().join(format!("{out}.png")).exists());
        assert_eq!(code("data inspect digits"), Some(results), "{streams}");
        for (words, expected) in [("--help", 0), ("--nosuch", 2), ("sample nosuch", 2)] {
            assert_eq!(code(words), Some(expected), "{words} {streams}");
        }
    }
}

/// Whether these tests run with SIGHUP ignored, as under `nohup`; their child processes inherit this.
fn hangups_are_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

#[test]
fn signals_leave_a_checkpoint() {
    for (name, first) in [
        ("TERM", ""),
        ("HUP", ""),
        ("USR2", ""),
        ("USR1", ""),
        ("HUP", "trap '' HUP;"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let mut child = start(in_shell(folder.path(), first, ENDLESS));
        wait_until(&mut child, || n_lines(&run) >= SOME);
        signal(name, &child);
        if name == "USR1" {
            wait_until(&mut child, || !checkpoints(&run).is_empty());
        }
        let is_ignored = !first.is_empty() || name == "HUP" && hangups_are_ignored();
        if name == "USR1" || is_ignored {
            // The run continues.
            let lines = n_lines(&run);
            wait_until(&mut child, || n_lines(&run) >= lines + SOME);
            signal("INT", &child);
        }
        let done = end(child);
        assert_eq!(done.code, Some(130), "{name}: {}", done.stderr);
        let n = if name == "USR1" { 2 } else { 1 };
        assert_eq!(checkpoints(&run).len(), n, "{name}: {}", done.stderr);
        assert!(done.stderr.contains("go on with"), "{}", done.stderr);
    }
}

/// `timeout` and service managers send a signal twice at once.
#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut child = start(in_shell(folder.path(), "", ENDLESS));
    wait_until(&mut child, || n_lines(&run) >= SOME);
    let pid = child.id();
    let twice = format!("kill -TERM {pid}; kill -TERM {pid}; kill -HUP {pid}");
    Command::new("sh").args(["-c", &twice]).status().unwrap();
    let done = end(child);
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert_eq!(checkpoints(&run).len(), 1, "{}", done.stderr);
}

#[test]
fn runs_that_start_together_get_a_folder_each() {
    let folder = tempfile::tempdir().unwrap();
    let words = TINY_RUN.replace("--out run", "");
    let children: Vec<Child> = (0..6)
        .map(|_| start(in_shell(folder.path(), "", &words)))
        .collect();
    for child in children {
        let done = end(child);
        assert_eq!(done.code, Some(0), "{}", done.stderr);
    }
    let runs = names(&folder.path().join("runs"));
    assert_eq!(runs.len(), 6, "{runs:?}");
    for run in runs {
        assert_eq!(checkpoints(&folder.path().join("runs").join(run)).len(), 2);
    }
}

/// Before its configuration is written, a run folder contains at most an unfinished file.
#[test]
fn a_run_that_was_killed_at_once_starts_again() {
    let again = [
        TINY_RUN.to_owned(),
        TINY_RUN.replace("--out", "--resume"),
        format!("{TINY_RUN} --auto-resume"),
    ];
    for words in again {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        fs::create_dir_all(run.join(".unfinished-x")).unwrap();
        fs::write(run.join(".sit-x.partial"), "x").unwrap();
        run_ok(folder.path(), &words);
        assert_eq!(checkpoints(&run).len(), 2);
        assert!(
            names(&run).iter().all(|name| !name.starts_with('.')),
            "{:?}",
            names(&run)
        );
    }
}

#[test]
fn one_command_starts_a_run_and_goes_on_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let job = format!("{ENDLESS} --auto-resume")
        .replace("checkpoint_every_steps=0", "checkpoint_every_steps=5");
    for _ in 0..2 {
        let lines = n_lines(&run);
        let mut child = start(in_shell(folder.path(), "", &job));
        wait_until(&mut child, || n_lines(&run) > lines + 12);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!checkpoints(&run).is_empty());
    }
    // Runs to the end, with and without the configuration; then there is nothing left to do.
    let last: u64 = checkpoints(&run).pop().unwrap()["step-".len()..]
        .parse()
        .unwrap();
    let ends = format!("{job} --set train.steps={}", last + 2);
    for words in [&ends, &ends, "train --backend cpu --out run --auto-resume"] {
        run_ok(folder.path(), words);
    }
    assert_eq!(
        checkpoints(&run).pop().unwrap(),
        format!("step-{:08}", last + 2)
    );
    assert_eq!(names(folder.path()), ["run"]);
    // The default folder has no number in its name.
    let words = TINY_RUN.replace("--out run", "--auto-resume");
    run_ok(folder.path(), &words);
    run_ok(folder.path(), &words);
    assert_eq!(names(&folder.path().join("runs")), ["digits-smoke"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_whose_folder_is_renamed_stays_in_one_place() {
    let folder = tempfile::tempdir().unwrap();
    let (run, moved) = (folder.path().join("run"), folder.path().join("moved"));
    let mut child = start(in_shell(folder.path(), "", ENDLESS));
    wait_until(&mut child, || n_lines(&run) >= SOME);
    fs::rename(&run, &moved).unwrap();
    let lines = n_lines(&moved);
    wait_until(&mut child, || n_lines(&moved) >= lines + SOME);
    signal("INT", &child);
    let done = end(child);
    assert_eq!(done.code, Some(130), "{}", done.stderr);
    assert!(
        done.stderr.contains("the run goes on there"),
        "{}",
        done.stderr
    );
    assert_eq!(checkpoints(&moved).len(), 1);
    assert_eq!(names(folder.path()), ["moved"]);
}

#[test]
fn a_run_whose_folder_is_deleted_fails() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut child = start(in_shell(folder.path(), "", ENDLESS));
    wait_until(&mut child, || n_lines(&run) >= SOME);
    fs::remove_dir_all(&run).unwrap();
    let done = end(child);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains("run: the run folder was deleted"),
        "{}",
        done.stderr
    );
    assert!(tree(folder.path()).is_empty());
}

#[test]
fn going_on_with_a_diverged_run_keeps_its_good_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(
        folder.path(),
        "train --preset digits-smoke --backend cpu --out run",
    );
    let good = checkpoints(&folder.path().join("run"));
    for every in [1000, 1, 1, 1] {
        let words = format!(
            "train --resume run --backend cpu --set train.steps=2000 --set train.weight_decay=1e6 \
             --set log.checkpoint_every_steps={every} --set log.keep_last=2 --set log.preview.every_steps=0"
        );
        let done = run(folder.path(), &words);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        for part in [
            "the last good checkpoint is that of step 20",
            "sit train --resume run/step-00000020",
        ] {
            assert!(done.stderr.contains(part), "{every}: {}", done.stderr);
        }
        let kept = checkpoints(&folder.path().join("run"));
        assert!(kept.contains(&good[1]), "{every}: {kept:?}");
    }
}

/// The default action of this signal is to end the process.
#[test]
fn a_limit_of_file_sizes_has_a_message() {
    let folder = tempfile::tempdir().unwrap();
    run_ok(folder.path(), TINY_RUN);
    let words = "sample run --backend cpu --steps 30 --per-class 8 --out /dev/null --trajectory x.safetensors";
    let done: Done = in_shell(folder.path(), "ulimit -f 300;", words)
        .output()
        .unwrap()
        .into();
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(
        done.stderr
            .contains("cannot write x.safetensors: File too large"),
        "{}",
        done.stderr
    );
    assert_eq!(names(folder.path()), ["run"]);
}

/// A failure that does not come from the run's own files.
#[test]
fn what_was_learned_before_a_failure_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    super::broken::make(folder.path(), "data: images");
    let words = format!(
        "{ENDLESS} --set data.kind=folder --set data.path=data --set data.image_size=8 --set model.channels=3 --set model.n_classes=2 --set data.cache_mib=0"
    );
    let run = folder.path().join("run");
    let mut child = start(in_shell(folder.path(), "", &words));
    wait_until(&mut child, || n_lines(&run) >= SOME);
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    let done = end(child);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    for part in ["data/", "saved step", "go on with: sit train --resume run"] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    let step = format!("step-{:08}", n_lines(&run));
    assert_eq!(checkpoints(&run), [step]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_memory_is_seen_beforehand() {
    let folder = tempfile::tempdir().unwrap();
    let words = format!("{TINY_RUN} --set train.batch=1048576");
    let done: Done = in_shell(folder.path(), "ulimit -v 2000000;", &words)
        .output()
        .unwrap()
        .into();
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    for part in ["training at batch 1048576 needs", "MiB are free"] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    assert!(tree(folder.path()).is_empty());
}
