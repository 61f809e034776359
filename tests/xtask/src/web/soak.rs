//! `cargo xtask web-test --soak MINUTES`: whether the page keeps its memory while it plays.

use super::browser::{Browser, Graphics};
use super::serve::Server;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// By then everything has been used once.
const WARM: Duration = Duration::from_secs(60);

/// Between two looks at the memory.
const PAUSE: Duration = Duration::from_secs(10);

/// What may be gained: the allocator of wasm finds its last gaps, JavaScript keeps compiled code, and the list follows the program.
const SPARE_BYTES: u64 = 1 << 20;
const SPARE_NODES: u64 = 50;

/// What a page takes.
#[derive(Clone, Copy, Debug)]
struct Memory {
    wasm_bytes: u64,
    js_bytes: u64,
    /// Nodes of the document.
    nodes: u64,
    listeners: u64,
}

/// Plays at the highest speed with new noise every few seconds and with the list for screen readers, for this long.
pub fn play(page: &Path, time: Duration) -> Result<()> {
    let server = Server::start(page, 0)?;
    let browser = Browser::start(Graphics::WebGl)?;
    browser.open(&format!("{}?controls", server.url()))?;
    browser.wait("it moves", |s| s["cursor"].as_u64() > Some(0))?;
    for _ in 0..4 {
        browser.press("+")?;
    }
    let start = Instant::now();
    let mut seen: Vec<Memory> = Vec::new();
    while start.elapsed() < time {
        std::thread::sleep(PAUSE);
        browser.press("n")?;
        let now = memory(&browser)?;
        eprintln!("{:4} s: {now:?}", start.elapsed().as_secs());
        if start.elapsed() >= WARM {
            seen.push(now);
        }
        let status = browser.status()?.context("it has stopped")?;
        ensure!(status["playing"] == true, "it does not play: {status}");
    }
    ensure!(!seen.is_empty(), "no minute has passed");
    // The first and the last third: single looks meet records that are half full.
    let third = (seen.len() / 3).max(1);
    let [early, late] = [&seen[..third], &seen[seen.len() - third..]];
    let grew = |of: fn(&Memory) -> u64| {
        let most = |seen: &[Memory]| seen.iter().map(of).max();
        most(late)
            .zip(most(early))
            .map_or(0, |(late, early)| late.saturating_sub(early))
    };
    for (what, spare, grew) in [
        ("wasm_bytes", SPARE_BYTES, grew(|m| m.wasm_bytes)),
        ("js_bytes", SPARE_BYTES, grew(|m| m.js_bytes)),
        ("nodes", SPARE_NODES, grew(|m| m.nodes)),
        ("listeners", SPARE_NODES, grew(|m| m.listeners)),
    ] {
        ensure!(
            grew <= spare,
            "{what} grew by {grew} after the first minute, at most {spare} are allowed"
        );
    }
    browser.no_errors()
}

fn memory(browser: &Browser) -> Result<Memory> {
    browser.devtools("HeapProfiler.collectGarbage", &json!({}))?;
    let wasm = browser.run("return window.sit.memory.buffer.byteLength")?;
    let heap = browser.devtools("Runtime.getHeapUsage", &json!({}))?;
    let dom = browser.devtools("Memory.getDOMCounters", &json!({}))?;
    let number = |value: &serde_json::Value| value.as_f64().map(|x| x as u64).context("no number");
    Ok(Memory {
        wasm_bytes: number(&wasm)?,
        js_bytes: number(&heap["usedSize"])?,
        nodes: number(&dom["nodes"])?,
        listeners: number(&dom["jsEventListeners"])?,
    })
}
