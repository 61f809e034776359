//! `cargo xtask modern-vulkan`: the operations on Debian sid's software Vulkan driver, which has 16-bit floats, subgroups and matrix units.
//!
//! The drivers of stable distributions lack these for years. debootstrap makes a small root folder with the recent driver, and the test
//! binary runs inside it.

use crate::{apt, cargo, check, root, target};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The tests that run there: every operation, and whole networks, trainings and samplings against fixtures.
const TESTS: &[&str] = &[
    "ops::gpu_matches_the_f64_cpu",
    "official::model",
    "official::training",
    "official::sampling",
];

/// What the folder is made of.
const SUITE: &str = "sid";
const MIRROR: &str = "http://deb.debian.org/debian";
const PACKAGES: &str = "mesa-vulkan-drivers,libvulkan1";

/// The driver within the folder, by its manifest.
const MANIFEST: &str = "usr/share/vulkan/icd.d/lvp_icd.json";

/// Makes the folder if it is not there, and runs the tests in it.
pub fn run() -> Result<()> {
    tests(&folder()?)
}

/// The root folder with the driver. It is made under another name first, so that a half of it is never used.
///
/// # Errors
/// Why it cannot be made on this machine.
pub fn folder() -> Result<PathBuf> {
    ensure!(cfg!(target_os = "linux"), "debootstrap is of Debian");
    let folder = target().join(format!("tools/modern-vulkan-{SUITE}"));
    if folder.join(MANIFEST).is_file() {
        return Ok(folder);
    }
    ensure!(apt::is_root(), "chroot and debootstrap need root");
    if !apt::succeeds("debootstrap", "--version") {
        apt::install("no debootstrap found", "debootstrap")?;
    }
    let part = folder.with_extension("part");
    for old in [&part, &folder] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| old.display().to_string())?;
        }
    }
    fs::create_dir_all(&part).with_context(|| part.display().to_string())?;
    let mut make = Command::new("debootstrap");
    make.args(["--variant=minbase", &format!("--include={PACKAGES}"), SUITE]);
    check(make.arg(&part).arg(MIRROR))?;
    ensure!(
        part.join(MANIFEST).is_file(),
        "{SUITE}'s {PACKAGES} has no {MANIFEST}"
    );
    fs::rename(&part, &folder)?;
    Ok(folder)
}

/// Runs the tests of the binary that cargo has built.
pub fn tests(folder: &Path) -> Result<()> {
    // The binary looks for fixtures where they were when it was compiled.
    let fixtures = root().join("tests/fixtures");
    let inside = folder.join(fixtures.strip_prefix("/")?);
    if inside.exists() {
        fs::remove_dir_all(&inside)?;
    }
    copy(&fixtures, &inside)?;
    fs::copy(binary()?, folder.join("it"))?;
    for test in TESTS {
        let mut run = Command::new("chroot");
        run.arg(folder).args(["/it", test]);
        run.env("VK_DRIVER_FILES", format!("/{MANIFEST}"))
            .env("NODEVICE_SELECT", "1")
            .env("XDG_RUNTIME_DIR", "/tmp");
        check(&mut run)?;
    }
    Ok(())
}

/// The test binary, as cargo names it. The whole workspace has the features that it has in `ci`, which has built it.
fn binary() -> Result<PathBuf> {
    let mut build = cargo("test --workspace --no-run --message-format json-render-diagnostics");
    build.stderr(Stdio::inherit());
    let out = build.output().context("cargo")?;
    ensure!(out.status.success(), "cargo: {}", out.status);
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line)?;
        if message["target"]["name"] == "it"
            && let Some(path) = message["executable"].as_str()
        {
            return Ok(path.into());
        }
    }
    bail!("cargo names no test binary")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
