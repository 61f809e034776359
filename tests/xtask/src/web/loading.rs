//! The page over a slow connection: what a first visit downloads, and what it shows meanwhile.

use super::browser::{Browser, Graphics};
use super::serve::Server;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// 1.6 Mbit/s, and the way there and back: Lighthouse's slow 4G.
const BYTES_PER_SECOND: f64 = 200_000.0;
const LATENCY_MS: f64 = 150.0;

/// The longest that a first visit may download.
const LONGEST: Duration = Duration::from_secs(16);

/// Fewest percentages that are shown on the way.
const LEAST_SHOWN: usize = 10;

/// Opens `page` over a slow connection, with a picture on the way.
pub fn slowly(page: &Path, pictures: &Path) -> Result<()> {
    let server = Server::gzipped(page)?;
    let browser = Browser::start(Graphics::WebGl)?;
    browser.devtools("Network.enable", &json!({}))?;
    let slow = json!({
        "offline": false,
        "latency": LATENCY_MS,
        "downloadThroughput": BYTES_PER_SECOND,
        "uploadThroughput": BYTES_PER_SECOND,
    });
    browser.devtools("Network.emulateNetworkConditions", &slow)?;
    let start = Instant::now();
    browser.open(&server.url())?;

    let mut shown: Vec<(f64, String)> = Vec::new();
    let mut moves = false;
    while browser.status()?.is_none() {
        ensure!(
            start.elapsed() < 4 * LONGEST,
            "it does not start; it showed {shown:?}"
        );
        let now = browser.run(
            "const progress = document.getElementById('progress');
             return [progress.position, document.getElementById('text').innerText, document.getAnimations().length]",
        )?;
        moves |= now[2].as_u64() > Some(0);
        let part = now[0].as_f64().unwrap_or(-1.0);
        let text = now[1].as_str().unwrap_or_default().to_owned();
        if part > 0.0 && part < 1.0 && shown.last().is_none_or(|(last, _)| *last != part) {
            shown.push((part, text));
            if shown.len() == LEAST_SHOWN {
                browser.shot(&pictures.join("loading.png"))?;
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let took = start.elapsed();
    ensure!(moves, "nothing moves while it loads");
    ensure!(shown.len() >= LEAST_SHOWN, "it showed only {shown:?}");
    ensure!(
        shown.is_sorted_by(|a, b| a.0 < b.0),
        "the bar goes back: {shown:?}"
    );
    for (part, text) in &shown {
        let percent = format!("{} %: ", (100.0 * part).floor());
        ensure!(
            text.starts_with(&percent) && text.ends_with(" MB"),
            "{part}: {text}"
        );
    }

    // Whatever was downloaded until it started, and until when.
    let downloaded = browser.run(
        "const all = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
         return all.map(entry => [entry.name, entry.transferSize, entry.responseEnd])",
    )?;
    let all = downloaded.as_array().context("no downloads")?;
    let number = |i: usize| all.iter().filter_map(move |entry| entry[i].as_f64());
    let bytes: f64 = number(1).sum();
    let end = number(2).fold(0.0, f64::max) / 1e3;
    eprintln!(
        "1.6 Mbit/s: {bytes} bytes in {end:.1} s, started after {:.1} s",
        took.as_secs_f64()
    );
    let budget = LONGEST.as_secs_f64() * BYTES_PER_SECOND;
    ensure!(
        bytes <= budget,
        "{bytes} bytes, at most {budget}: {downloaded}"
    );
    // Otherwise nothing was slowed down.
    ensure!(
        bytes > 1e6 && end > bytes / BYTES_PER_SECOND / 2.0,
        "{downloaded}"
    );
    browser.no_errors()
}
