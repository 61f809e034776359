//! The command `sit` as a user runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// The command `sit` in the working folder `folder`. The program is built once, in the profile of these tests, unless
/// `SIT_PROGRAM` names one that is built already.
///
/// # Panics
/// When it does not build.
pub fn sit(folder: &Path) -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(PROGRAM.get_or_init(build));
    command
        .current_dir(folder)
        .env_remove("SIT_LOG")
        .stdin(Stdio::null());
    command
}

fn build() -> PathBuf {
    if let Some(program) = std::env::var_os("SIT_PROGRAM") {
        return program.into();
    }
    // TARGET/debug/deps/it-0123456789abcdef
    let exe = std::env::current_exe().expect("a running program has a path");
    let profile_folder = exe.ancestors().nth(2).expect("it lies in deps");
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
    let built = Command::new(cargo)
        .args([
            "build",
            "--quiet",
            "--package",
            "sit-trainer",
            "--bin",
            "sit",
        ])
        .args(["--profile", profile, "--message-format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(built.status.success(), "building sit: {}", built.status);
    // Cargo reports where the program is, because target folders can be configured.
    let messages = String::from_utf8_lossy(&built.stdout);
    let program = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    program.expect("cargo names the program that it built")
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// Its messages.
    pub stderr: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Done {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `sit` with `words`, split at spaces, in `folder`.
///
/// # Panics
/// When it cannot be started.
pub fn run(folder: &Path, words: &str) -> Done {
    let output = sit(folder).args(words.split_whitespace()).output();
    output.expect("sit was built").into()
}

/// Runs `sit` as [`run`] and returns what it printed.
///
/// # Panics
/// When it does not end with exit code 0.
#[track_caller]
pub fn run_ok(folder: &Path, words: &str) -> String {
    let done = run(folder, words);
    assert_eq!(done.code, Some(0), "sit {words}\n{}", done.stderr);
    done.stdout
}
