//! `cargo xtask ci`: all checks and tests on a machine that may have nothing but Rust.

use crate::{apt, cargo, check, target, tidy, web};
use anyhow::{Result, bail};
use std::path::Path;
use std::time::Instant;

/// Runs everything; the first failure ends it. Says what each part took.
pub fn run() -> Result<()> {
    let mut took = Vec::new();
    let mut part = |name: &'static str, run: &dyn Fn() -> Result<()>| {
        let start = Instant::now();
        eprintln!("ci: {name}");
        run()?;
        took.push((name, start.elapsed().as_secs()));
        Ok::<(), anyhow::Error>(())
    };
    part("a Vulkan driver", &vulkan)?;
    part("tidy", &tidy::run)?;
    part("rustfmt", &|| check(&mut cargo("fmt --all --check")))?;
    part("clippy", &|| {
        check(&mut cargo(
            "clippy --workspace --all-targets -- -D warnings",
        ))
    })?;
    part("documentation", &|| {
        check(cargo("doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    // One build for the tests and for the command that they run: built by itself, it would have other features, and the engine
    // and its dependencies would be compiled twice.
    part("build of the tests", &|| {
        check(&mut cargo("build --workspace --all-targets"))
    })?;
    part("tests", &|| {
        let program = target().join("debug/sit");
        check(cargo("test --workspace --no-fail-fast").env("SIT_PROGRAM", program))
    })?;
    part("the page", &|| web::test::run(&web::TestArgs::default()))?;
    for (name, seconds) in took {
        eprintln!("{seconds:>6} s  {name}");
    }
    eprintln!("all passed");
    Ok(())
}

/// The GPU tests need a Vulkan device. Debian's software one will do; it is installed when there is no driver at all.
fn vulkan() -> Result<()> {
    const PACKAGE: &str = "mesa-vulkan-drivers";
    if !cfg!(target_os = "linux") || has_driver() {
        return Ok(());
    }
    apt::install("no Vulkan driver found", &format!("{PACKAGE} libvulkan1"))?;
    if !has_driver() {
        bail!("{PACKAGE} is installed, but there is still no Vulkan driver");
    }
    Ok(())
}

/// Whether the Vulkan loader would find a driver: where its documentation says it looks on Linux.
fn has_driver() -> bool {
    let named = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()));
    let folders = [
        "/etc/vulkan/icd.d",
        "/usr/local/share/vulkan/icd.d",
        "/usr/share/vulkan/icd.d",
    ];
    let has_manifest = |folder: &&str| {
        Path::new(folder)
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_some())
    };
    named || folders.iter().any(has_manifest)
}
