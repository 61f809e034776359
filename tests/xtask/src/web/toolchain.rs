//! A compiler for wasm32: the installed one with rustup's standard library, or Debian's with one built here.

use crate::{apt, cargo, check, root, target};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Cargo's name for the browser target.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// Debian's newer compiler, which exists to build browsers, and the source of its standard library.
const PACKAGES: &str = "cargo-web rust-web-src rustc-web";

/// Where a compiler for [`TARGET`] may come from.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum Route {
    /// rustup where it can, else Debian.
    #[default]
    Auto,
    /// The installed compiler, with the standard library that rustup downloads.
    Rustup,
    /// Debian's rustc-web, with a standard library built from its source.
    Debian,
}

/// A cargo that builds for [`TARGET`].
#[derive(Debug)]
pub struct Toolchain {
    cargo: Command,
}

impl Toolchain {
    /// Finds or sets up a toolchain, and says which.
    ///
    /// # Errors
    /// When no route is open.
    pub fn find(route: Route) -> Result<Toolchain> {
        let rustup = match route {
            Route::Debian => None,
            Route::Auto | Route::Rustup => rustup()?,
        };
        match (rustup, route) {
            (Some(toolchain), _) => Ok(toolchain),
            (None, Route::Rustup) => bail!(
                "there is no standard library for {TARGET}, and rustup target add {TARGET} fails"
            ),
            (None, _) => debian(),
        }
    }

    /// `cargo ARGS --target wasm32-unknown-unknown` in the root of the repository.
    pub fn cargo(mut self, args: &str) -> Command {
        self.cargo
            .args(args.split_whitespace())
            .args(["--target", TARGET])
            .current_dir(root());
        self.cargo
    }
}

fn rustup() -> Result<Option<Toolchain>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let has_std = || -> Result<bool> {
        let libdir =
            stdout(Command::new(&rustc).args(["--print", "target-libdir", "--target", TARGET]))?;
        Ok(has_core(Path::new(&libdir)))
    };
    if !has_std()? {
        let add = Command::new("rustup")
            .args(["target", "add", TARGET])
            .status();
        if !(add.is_ok_and(|status| status.success()) && has_std()?) {
            return Ok(None);
        }
    }
    eprintln!(
        "wasm32 by the installed compiler: {}",
        stdout(Command::new(&rustc).arg("-V"))?
    );
    Ok(Some(Toolchain { cargo: cargo("") }))
}

fn has_core(libdir: &Path) -> bool {
    libdir.read_dir().is_ok_and(|mut entries| {
        entries.any(|e| e.is_ok_and(|e| e.file_name().to_string_lossy().starts_with("libcore-")))
    })
}

/// Debian's compiler with a separate folder for its standard library: the compiler's own folder is not changed.
fn debian() -> Result<Toolchain> {
    const RUSTC: &str = "/usr/bin/rustc";
    const SOURCE: &str = "/usr/lib/rustlib/src/rust/library";
    if !Path::new(SOURCE).exists() || !Path::new("/usr/bin/cargo").exists() {
        apt::install("no compiler for the browser found", PACKAGES)?;
    }
    let version = stdout(Command::new(RUSTC).arg("-V"))?;
    eprintln!("wasm32 by Debian's compiler: {version}");
    let sysroot = target().join("wasm-std");
    let built_for = sysroot.join("built-for");
    if fs::read_to_string(&built_for).ok().as_deref() != Some(&version) {
        build_std(&sysroot)?;
        fs::write(&built_for, &version)?;
    }
    // As configuration, which adds to the flags of .cargo/config.toml; the environment would replace them.
    let flags = format!(
        "target.{TARGET}.rustflags = [\"--sysroot={}\", \"-Clinker={}\"]",
        sysroot.display(),
        linker()?.display()
    );
    let mut cargo = Command::new("/usr/bin/cargo");
    cargo.args(["--config", &flags]).env("RUSTC", RUSTC);
    Ok(Toolchain { cargo })
}

/// The linker of the installed toolchain, which Debian's compiler lacks, or LLVM's.
fn linker() -> Result<PathBuf> {
    let sysroot = stdout(Command::new("rustc").args(["--print", "sysroot"]))?;
    let host = stdout(Command::new("rustc").args(["--print", "host-tuple"]))?;
    let own = Path::new(&sysroot).join(format!("lib/rustlib/{host}/bin/rust-lld"));
    ensure!(own.exists(), "there is no {}", own.display());
    Ok(own)
}

/// Builds the standard library from Debian's source into `sysroot`. It takes about a minute.
fn build_std(sysroot: &Path) -> Result<()> {
    let seed = target().join("wasm-std-build");
    let libdir = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(seed.join("src"))?;
    fs::create_dir_all(&libdir)?;
    fs::write(seed.join("src/lib.rs"), "#![no_std]\n")?;
    fs::write(
        seed.join("Cargo.toml"),
        "[package]\nname = \"seed\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [profile.release]\ndebug = false\ncodegen-units = 1\n",
    )?;
    let target = seed.join("target");
    check(
        Command::new("/usr/bin/cargo")
            .args([
                "build",
                "--release",
                "--target",
                TARGET,
                "-Zbuild-std=std,panic_abort",
            ])
            .current_dir(&seed)
            .env("RUSTC", "/usr/bin/rustc")
            // Building the standard library is not stable; using it is.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", &target)
            // Otherwise link-time optimization finds no bitcode.
            .env(
                "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
                "-Cembed-bitcode=yes",
            ),
    )?;
    for entry in fs::read_dir(target.join(TARGET).join("release/deps"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".rlib") && !name.starts_with("libseed-") {
            fs::copy(&path, libdir.join(&*name))?;
        }
    }
    fs::remove_dir_all(&seed).context("target/wasm-std-build")
}

fn stdout(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| crate::text(command))?;
    ensure!(
        done.status.success(),
        "{}: {}",
        crate::text(command),
        done.status
    );
    Ok(String::from_utf8(done.stdout)?.trim().to_owned())
}
