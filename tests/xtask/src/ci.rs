//! `cargo xtask ci`: all checks and tests on a machine that may have nothing but Rust.

use crate::{apt, cargo, check, modern_vulkan, root, target, text, tidy, web};
use anyhow::{Context, Result, bail, ensure};
use std::cell::RefCell;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Runs everything and prints the time of each part; stops at the first failure.
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
    // The trainer without its command line is built for the page.
    part("the engine without a GPU", &|| {
        check(&mut cargo(
            "check --package sit-engine --no-default-features",
        ))
    })?;
    // It has fewer features of the trainer than in the workspace.
    part("the window alone", &|| {
        check(&mut cargo("check --package sit-app"))
    })?;
    part("other platforms", &other_platforms)?;
    part("dependencies", &dependencies)?;
    part("documentation", &|| {
        check(cargo("doc --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"))?;
        dead_references(&target().join("doc/sit_engine"))
    })?;
    // A single build for the tests and for the command that they run. Built separately, the command would have other features, and
    // the engine and its dependencies would be compiled twice.
    // Clippy has checked the benchmarks, which take minutes to compile.
    part("build of the tests", &|| {
        check(&mut cargo(
            "build --workspace --lib --bins --tests --examples",
        ))
    })?;
    part("tests", &|| {
        let program = target().join("debug/sit");
        check(cargo("test --workspace --no-fail-fast").env("SIT_PROGRAM", program))
    })?;
    // What cannot be made on this machine is not checked, and said so.
    let gap = RefCell::new(None);
    part(
        "a recent Vulkan driver",
        &|| match modern_vulkan::folder() {
            Ok(folder) => modern_vulkan::tests(&folder),
            Err(why) => {
                gap.replace(Some(format!("{why:#}")));
                Ok(())
            }
        },
    )?;
    part("examples", &examples)?;
    part("the page", &|| web::test::run(&web::TestArgs::default()))?;
    for (name, seconds) in took {
        eprintln!("{seconds:>6} s  {name}");
    }
    let missing = missing()?;
    if !missing.is_empty() {
        let missing = missing.join(" ");
        eprintln!("not checked, as the toolchain lacks them (rustup target add): {missing}");
    }
    match gap.into_inner() {
        None => eprintln!("all passed"),
        Some(why) => eprintln!("not checked on a recent Vulkan driver: {why}\nall else passed"),
    }
    Ok(())
}

/// Runs the engine's examples, which the build of the tests has made.
fn examples() -> Result<()> {
    for entry in root().join("engine/examples").read_dir()? {
        let source = entry?.path();
        let Some(name) = source.file_stem() else {
            continue;
        };
        let mut example = Command::new(target().join("debug/examples").join(name));
        // Only this example needs a file of weights; the others take no arguments.
        check(example.arg(root().join("app/assets/digits.safetensors")))?;
    }
    Ok(())
}

/// Refuses references to items that are hidden from the documentation, about which rustdoc does not warn: they stand there as text in
/// brackets, or lead to a place that is not on its page.
fn dead_references(folder: &Path) -> Result<()> {
    for entry in folder.read_dir()? {
        let path = entry?.path();
        if path.is_dir() {
            dead_references(&path)?;
        } else if path.extension().is_some_and(|end| end == "html") {
            let html = std::fs::read_to_string(&path)?;
            if let Some((_, rest)) = html.split_once("[<code>") {
                let name = rest.split('<').next().unwrap_or_default();
                bail!("{}: a reference to {name}, which is hidden", path.display());
            }
            for link in html.split("href=\"").skip(1) {
                let link = link.split('"').next().unwrap_or_default();
                let Some((page, place)) = link.split_once('#') else {
                    continue;
                };
                let is_item = ["method.", "associatedconstant.", "variant."];
                if page.contains("://") || !is_item.iter().any(|kind| place.starts_with(kind)) {
                    continue;
                }
                let target = match page {
                    "" => html.clone(),
                    page => std::fs::read_to_string(folder.join(page)).unwrap_or_default(),
                };
                ensure!(
                    target.contains(&format!("id=\"{place}\"")),
                    "{}: a reference to {link}, which is hidden",
                    path.display()
                );
            }
        }
    }
    Ok(())
}

/// Checks licenses, sources and versions of all dependencies against deny.toml. Installs the tool in the build folder if it is missing.
fn dependencies() -> Result<()> {
    const VERSION: &str = "0.20.2";
    let folder = target().join(format!("tools/cargo-deny-{VERSION}"));
    let program = folder.join(format!("bin/cargo-deny{}", std::env::consts::EXE_SUFFIX));
    if !program.is_file() {
        // It runs for a second, and takes minutes to compile with optimization.
        let install = format!("install cargo-deny --version {VERSION} --locked --debug --root");
        check(cargo(&install).arg(&folder))?;
    }
    let mut deny = Command::new(program);
    check(
        deny.args(["check", "bans", "licenses", "sources"])
            .current_dir(root()),
    )
}

/// Platforms without tests. Checking with the compiler is better than nothing.
const OTHER_PLATFORMS: [&str; 4] = [
    "aarch64-unknown-linux-gnu",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
    "x86_64-pc-windows-gnu",
];

/// Checks the command and the window for each of them whose standard library is installed.
fn other_platforms() -> Result<()> {
    let missing = missing()?;
    for platform in OTHER_PLATFORMS.iter().filter(|p| !missing.contains(p)) {
        check(&mut cargo(&format!(
            "check --package sit-trainer --package sit-app --target {platform}"
        )))?;
    }
    Ok(())
}

/// The platforms without a standard library.
fn missing() -> Result<Vec<&'static str>> {
    let mut missing = Vec::new();
    for platform in OTHER_PLATFORMS {
        let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc
            .args(["--print", "target-libdir", "--target", platform])
            .current_dir(root());
        let said = rustc.output().with_context(|| text(&rustc))?;
        ensure!(said.status.success(), "{}: {}", text(&rustc), said.status);
        if !Path::new(String::from_utf8_lossy(&said.stdout).trim()).is_dir() {
            missing.push(platform);
        }
    }
    Ok(missing)
}

/// The GPU tests need a Vulkan device. If there is no driver at all, Debian's software driver is installed.
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

/// Whether the Vulkan loader would find a driver, by the places in its documentation for Linux.
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
