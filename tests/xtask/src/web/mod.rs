//! `cargo xtask web` and `cargo xtask serve`: the page as a folder of static files. `cargo xtask web-test`: tests it in a browser.

mod browser;
mod files;
mod loading;
mod phone;
mod picture;
mod readers;
mod serve;
mod soak;
pub mod test;
mod toolchain;
mod walk;

use crate::{cargo, check, root, target};
use anyhow::{Context, Result, ensure};
use flate2::{Compression, write::GzEncoder};
use serve::Server;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
use toolchain::{Route, TARGET, Toolchain};

/// The most bytes that a first visit may download.
const MAX_GZIP_BYTES: usize = 3_000_000;

/// Files of `app/assets` that the page loads when they are asked for.
const LATER: [&str; 1] = ["emoji.safetensors"];

/// The build of code that runs in a browser.
const BUILD: &str = "build --lib --profile wasm";

/// Where the page is made and with what.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Folder for the page [default: target/web].
    #[arg(long)]
    out: Option<PathBuf>,
    /// Where the compiler for wasm32 comes from.
    #[arg(long, value_enum, default_value_t = Route::Auto)]
    toolchain: Route,
}

/// What is served where.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    web: Args,
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

/// How the page is tested.
#[derive(Debug, Default, clap::Args)]
pub struct TestArgs {
    #[command(flatten)]
    web: Args,
    /// Also make the README's picture of the page anew: app/assets/page.png.
    #[arg(long)]
    picture: bool,
    /// Test the files alone that the page saves and takes.
    #[arg(long, conflicts_with = "soak")]
    files: bool,
    /// Instead of the tests, play for so many minutes and check that the page's memory does not grow.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(2..))]
    soak: Option<u64>,
}

/// Builds the page and prints its size.
pub fn run(args: &Args) -> Result<PathBuf> {
    let out = args.out.clone().unwrap_or_else(|| target().join("web"));
    build(args.toolchain, "sit-web", &out.join("sit"))?;
    let version = version(&out)?;
    let wasm = fs::read(out.join("sit_bg.wasm"))?;
    let baked = [
        ("VERSION", version),
        ("WASM_BYTES", wasm.len().to_string()),
        ("WASM_GZIP_BYTES", gzip(&wasm)?.len().to_string()),
    ];
    let page = root().join("web/page");
    for entry in fs::read_dir(&page).with_context(|| page.display().to_string())? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let bake = |text: String, (name, value): &(&str, String)| text.replace(name, value);
        let text = baked.iter().fold(text, bake);
        let name = path.file_name().unwrap_or_default();
        fs::write(out.join(name), text)?;
    }
    for file in LATER {
        let from = root().join("app/assets").join(file);
        fs::copy(&from, out.join(file)).with_context(|| from.display().to_string())?;
    }
    sizes(&out)?;
    Ok(out)
}

/// Builds the page, which takes seconds if nothing has changed, and serves it until Ctrl-C.
pub fn serve(args: &ServeArgs) -> Result<()> {
    let server = Server::start(&run(&args.web)?, args.port)?;
    eprintln!("{} (Ctrl-C ends it)", server.url());
    loop {
        std::thread::park();
    }
}

/// Compiles a package for the browser: `STEM.js` and `STEM_bg.wasm`.
fn build(route: Route, package: &str, stem: &Path) -> Result<()> {
    let start = Instant::now();
    let mut build = Toolchain::find(route)?.cargo(&format!("{BUILD} --package {package}"));
    check(&mut build)?;
    let wasm = package.replace('-', "_");
    let wasm = target().join(format!("{TARGET}/wasm/{wasm}.wasm"));
    check(
        cargo("run --quiet --package sit-xtask --features bindgen --bin bindgen --")
            .args([&*wasm, stem]),
    )?;
    eprintln!("{package}: {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Refuses a package that builds with warnings; cargo repeats the warnings of earlier builds.
fn no_warnings(route: Route, package: &str) -> Result<()> {
    let mut build = Toolchain::find(route)?.cargo(&format!("{BUILD} --package {package}"));
    let said = String::from_utf8_lossy(&build.output()?.stderr).into_owned();
    ensure!(!said.contains("warning"), "{package} in wasm32: {said}");
    Ok(())
}

/// A version name of the build, so that no cache mixes two builds.
fn version(out: &Path) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for name in ["sit.js", "sit_bg.wasm"] {
        fs::read(out.join(name))
            .with_context(|| name.to_owned())?
            .hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// The bytes as a careful server compresses them.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(bytes)?;
    Ok(gzip.finish()?)
}

/// Prints the size of each file, and refuses more bytes than a first visit may download.
fn sizes(out: &Path) -> Result<()> {
    let mut sum = (0, 0);
    let mut names: Vec<_> = fs::read_dir(out)?.collect::<std::io::Result<Vec<_>>>()?;
    names.sort_by_key(fs::DirEntry::file_name);
    for entry in names {
        let bytes = fs::read(entry.path())?;
        let gzip = gzip(&bytes)?.len();
        let name = entry.file_name();
        let later = LATER.iter().any(|file| name == **file);
        eprintln!(
            "{:24} {:>9} bytes, {gzip:>9} gzipped{}",
            name.display(),
            bytes.len(),
            if later { ", when it is asked for" } else { "" }
        );
        if later {
            continue;
        }
        sum = (sum.0 + bytes.len(), sum.1 + gzip);
    }
    eprintln!(
        "{:24} {:>9} bytes, {:>9} gzipped",
        out.display(),
        sum.0,
        sum.1
    );
    ensure!(
        sum.1 <= MAX_GZIP_BYTES,
        "the page is {} bytes gzipped, at most {MAX_GZIP_BYTES} are allowed",
        sum.1
    );
    Ok(())
}
