//! `cargo xtask web-test`: kernels, operations and the page in a real browser.

use super::TestArgs;
use super::browser::{Browser, Graphics};
use super::loading;
use super::readers;
use super::serve::Server;
use super::soak;
use super::walk::Walk;
use crate::{root, target};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The page of the checks: the functions that a test calls are in `window.checks`.
const CHECKS: &str = r#"<!doctype html><title>checks</title><link rel="icon" href="data:,">
<script type="module">
  import init, * as checks from "./checks.js";
  await init({ module_or_path: "checks_bg.wasm" });
  // The program's own kernel, which draws on a real GPU alone: here it is compiled.
  const sheet = async () => {
    const device = await (await navigator.gpu.requestAdapter()).requestDevice();
    const module = device.createShaderModule({ code: await (await fetch("sheet.wgsl")).text() });
    await device.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "sheet" } });
    return "compiled";
  };
  window.checks = { ...checks, sheet };
</script>
"#;

/// Software rendering compiles a kernel in up to a second and runs it a hundred times slower than a GPU.
const CHECK_PATIENCE: Duration = Duration::from_secs(600);

/// Runs everything; pictures of the page are in `target/web-test`.
pub fn run(args: &TestArgs) -> Result<()> {
    let start = Instant::now();
    let page = super::run(&args.web)?;
    if let Some(minutes) = args.soak {
        return soak::play(&page, Duration::from_secs(60 * minutes));
    }
    let pictures = target().join("web-test");
    if args.files {
        fs::create_dir_all(&pictures)?;
        return Program { page, pictures }.files();
    }
    let checks = pictures.join("checks");
    let route = args.web.toolchain;
    super::build(route, "sit-browser-tests", &checks.join("checks"))?;
    for package in ["sit-web", "sit-browser-tests"] {
        super::no_warnings(route, package)?;
    }
    fs::write(checks.join("index.html"), CHECKS)?;
    let kernel = root().join("app/src/view/sheet.wgsl");
    fs::copy(kernel, checks.join("sheet.wgsl"))?;
    let built = start.elapsed();

    self::checks(&checks)?;
    let program = Program { page, pictures };
    program.walk(Graphics::WebGpu, "webgpu")?;
    program.walk(Graphics::WebGl, "webgl2")?;
    program.phone()?;
    program.files()?;
    program.readers()?;
    loading::slowly(&program.page, &program.pictures)?;
    program.nothing_to_draw_with()?;
    program.offline()?;
    if args.picture {
        program.keep_picture()?;
    }
    eprintln!(
        "web-test: {:.0} s, {:.0} s of them to build; pictures in {}",
        start.elapsed().as_secs_f64(),
        built.as_secs_f64(),
        program.pictures.display()
    );
    Ok(())
}

/// Runs every case of every operation, and so every pipeline, on WebGPU and on the CPU backend in wasm; also the kernel that draws.
fn checks(folder: &Path) -> Result<()> {
    let server = Server::start(folder, 0)?;
    let browser = Browser::start(Graphics::WebGpu)?;
    browser.open(&server.url())?;
    let ready = || {
        Ok(browser
            .run("return !!window.checks")?
            .as_bool()
            .filter(|&ready| ready))
    };
    browser.wait_for("the checks load", CHECK_PATIENCE, ready)?;
    for check in ["sheet()", "ops(true)", "ops(false)"] {
        browser.run(&format!(
            "(async () => checks.{check})().then(ok => window.answer = {{ ok }}, error => window.answer = {{ error }})"
        ))?;
        let answer = browser.wait_for(check, CHECK_PATIENCE, || {
            browser.no_errors()?;
            let answer =
                browser.run("const answer = window.answer; window.answer = null; return answer")?;
            Ok(Some(answer).filter(|answer| !answer.is_null()))
        })?;
        let ok = answer["ok"].as_str();
        let ok = ok.with_context(|| format!("{check}: {}", answer["error"]))?;
        eprintln!("{check}: {ok}");
    }
    browser.no_errors()
}

/// The program's page and where pictures of it go.
struct Program {
    page: PathBuf,
    pictures: PathBuf,
}

/// The README's picture of the page, and the most it may take.
const PICTURE: (&str, usize) = ("app/assets/page.png", 200_000);

impl Program {
    /// Opens the page and uses the program as a person would, drawn by `name`. Prints the figures.
    fn walk(&self, graphics: Graphics, name: &str) -> Result<()> {
        let server = Server::start(&self.page, 0)?;
        let browser = Browser::start(graphics)?;
        let url = server.url();
        let mut walk = self.walk_in(&browser, &url, name);
        // WebGPU is a software adapter here, and the page uses it only if it is told to.
        let figures = walk.measures()?;
        drawn_by(&browser, "webgl2")?;
        eprintln!("{graphics:?}: {figures:#}");
        told(&browser, true)?;
        if graphics == Graphics::WebGpu {
            walk.query = "?renderer=webgpu";
        }
        walk.all()?;
        drawn_by(&browser, name)?;
        told(&browser, walk.query.is_empty())?;
        if walk.query.is_empty() {
            walk.click("Button", "Dismiss")?;
            let empty = |notices: &Value| notices.as_array().is_some_and(Vec::is_empty);
            browser.wait("nothing is told any more", |s| empty(&s["notices"]))?;
        }
        Ok(())
    }

    /// Opens the page on screens of several densities, and touches it.
    fn phone(&self) -> Result<()> {
        let server = Server::start(&self.page, 0)?;
        let browser = Browser::start(Graphics::WebGl)?;
        let url = server.url();
        let walk = self.walk_in(&browser, &url, "phone");
        walk.densities()?;
        walk.touches()
    }

    /// Keeps files of the page, and drops files on it.
    fn files(&self) -> Result<()> {
        let server = Server::start(&self.page, 0)?;
        let browser = Browser::start(Graphics::WebGl)?;
        let url = server.url();
        self.walk_in(&browser, &url, "files").files()
    }

    /// Uses the page without looking at it.
    fn readers(&self) -> Result<()> {
        let server = Server::start(&self.page, 0)?;
        let browser = Browser::start(Graphics::WebGl)?;
        readers::walk(&browser, &server.url())
    }

    /// Keeps the picture of the end of both lanes for the README.
    fn keep_picture(&self) -> Result<()> {
        let (path, most) = PICTURE;
        let png = fs::read(self.pictures.join("webgpu-2-ends.png"))?;
        ensure!(
            png.len() <= most,
            "{path}: {} bytes, at most {most}",
            png.len()
        );
        fs::write(root().join(path), png).context(path)
    }

    fn walk_in<'a>(&'a self, browser: &'a Browser, url: &'a str, name: &'a str) -> Walk<'a> {
        Walk {
            browser,
            url,
            query: "",
            pictures: (&self.pictures, name),
        }
    }

    /// Without WebGPU and WebGL the page shows an explanation.
    fn nothing_to_draw_with(&self) -> Result<()> {
        let server = Server::start(&self.page, 0)?;
        let browser = Browser::start(Graphics::Nothing)?;
        let url = server.url();
        browser.open(&url)?;
        let text = browser.wait_for("the page says why", Duration::from_secs(30), || {
            let card =
                browser.run("return document.querySelector('.failed')?.innerText ?? null")?;
            Ok(card.as_str().map(str::to_owned))
        })?;
        ensure!(text.contains("WebGPU or WebGL 2"), "{text}");
        self.walk_in(&browser, &url, "nothing").shot("to-draw-with")
    }

    /// After one visit the page starts without its server. With reduced motion it does not move by itself.
    fn offline(&self) -> Result<()> {
        let server = Server::start(&self.page, 0)?;
        let browser = Browser::start(Graphics::WebGpu)?;
        let url = server.url();
        browser.open(&url)?;
        let kept = || {
            Ok(browser
                .run("return !!navigator.serviceWorker.controller")?
                .as_bool()
                .filter(|&kept| kept))
        };
        browser.wait_for("the page is kept", Duration::from_secs(30), kept)?;
        server.stop();
        browser.reduce_motion()?;
        browser.open(&url)?;
        let status = browser.wait("it starts without its server", |status| {
            let moved = |lane: &Value| lane["done"].as_u64() > Some(0);
            let lanes = status["lanes"].as_array();
            lanes.is_some_and(|lanes| lanes.iter().all(moved))
        })?;
        let still = status["reduced_motion"] == true && status["playing"] == false;
        ensure!(still && status["cursor"] == 0, "it moves: {status}");
        self.walk_in(&browser, &url, "offline").shot("still")
    }
}

/// A canvas keeps its first kind of context forever. WebGL must not smooth edges, because egui does.
fn drawn_by(browser: &Browser, name: &str) -> Result<()> {
    let drawn_by = browser.run(
        "const canvas = document.querySelector('canvas');
         const kind = ['webgpu', 'webgl2'].find(kind => canvas.getContext(kind));
         const smooths = kind == 'webgl2' && canvas.getContext(kind).getContextAttributes().antialias;
         return smooths ? `${kind}, smoothing edges again` : kind",
    )?;
    ensure!(drawn_by == name, "{name}: drawn by {drawn_by}");
    Ok(())
}

/// Checks whether the user is told that there is no WebGPU to compute with.
fn told(browser: &Browser, told: bool) -> Result<()> {
    let notices = browser.status()?.context("it has stopped")?["notices"].take();
    ensure!(
        notices.to_string().contains("WebGPU") == told,
        "the notices are {notices}"
    );
    Ok(())
}
