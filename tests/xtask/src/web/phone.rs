//! Uses the page on a phone: small screens of every density, and fingers.

use super::walk::{PHONE, Walk};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::time::Duration;

/// The longest wait for what fingers do.
const PATIENCE: Duration = Duration::from_secs(10);

impl Walk<'_> {
    /// A phone's page has the same layout on screens of every density.
    pub fn densities(&self) -> Result<()> {
        let mut first = None;
        for density in 1..=3 {
            self.browser.screen(PHONE[0], PHONE[1], density)?;
            self.browser.open(self.url)?;
            let told = |s: &Value| s["notices"].as_array().is_some_and(|all| !all.is_empty());
            self.browser.wait("it tells of WebGPU", told)?;
            self.click("Button", "Dismiss")?;
            self.browser
                .wait("the click meets the button", |s| !told(s))?;
            let at = self.place("Button", "New noise")?;
            let place = *first.get_or_insert(at);
            ensure!(
                at == place,
                "at {at:?} with density {density}, but {place:?} with 1"
            );
            let (pixels, expected) = (self.pixels()?, PHONE.map(|x| u64::from(x * density)));
            ensure!(
                pixels == expected,
                "{pixels:?} pixels with density {density}"
            );
            self.shot(&format!("density-{density}"))?;
        }
        self.browser.no_errors()
    }

    /// What fingers do: two of them change the size, and one that stays shows what a control is for.
    pub fn touches(&self) -> Result<()> {
        self.browser.screen(PHONE[0], PHONE[1], 1)?;
        self.browser.open(self.url)?;
        self.browser.wait("it plays", |s| s["playing"] == true)?;
        // So that the link stays.
        self.browser.press("Space")?;
        self.browser.wait("it pauses", |s| s["playing"] == false)?;
        let [x, y] = self.place("Button", "New noise")?;
        let before = self.link()?;

        // Two fingers, of which the first is on a button, move apart to twice the distance, and then together.
        self.pinch([x, y], 100.0, 200.0)?;
        self.wait_for_zoom(2.0)?;
        self.shot("pinched")?;
        self.pinch([x, y], 600.0, 60.0)?;
        self.wait_for_zoom(0.5)?;
        self.pinch([x, y], 100.0, 200.0)?;
        self.wait_for_zoom(1.0)?;
        ensure!(self.link()? == before, "two fingers have pressed a button");

        // A tap first: after one egui alone shows no tooltip to a finger.
        self.tap([x, y], Duration::from_millis(100))?;
        self.browser
            .wait_for("a tap presses the button", PATIENCE, || {
                Ok((self.link()? != before).then_some(()))
            })?;
        let before = self.link()?;
        self.browser.touch("touchStart", &[[x, y]])?;
        // For as long as the finger stays.
        std::thread::sleep(Duration::from_secs(2));
        self.place("Label", "The next seed (N)")?;
        self.shot("tooltip")?;
        self.browser.touch("touchEnd", &[])?;
        std::thread::sleep(Duration::from_secs(1));
        ensure!(
            self.link()? == before,
            "a finger that stayed has pressed the button"
        );
        self.browser.no_errors()
    }

    /// Puts a finger on a place and another one below it, and moves that one.
    fn pinch(&self, [x, y]: [f64; 2], from: f64, to: f64) -> Result<()> {
        let fingers = |apart: f64| [[x, y], [x, y + apart]];
        self.browser.touch("touchStart", &fingers(from)[..1])?;
        self.browser.touch("touchStart", &fingers(from))?;
        for part in 1..=10 {
            let apart = from + (to - from) * f64::from(part) / 10.0;
            self.browser.touch("touchMove", &fingers(apart))?;
        }
        self.browser.touch("touchEnd", &[])
    }

    /// Puts a finger on a place for a while.
    fn tap(&self, at: [f64; 2], time: Duration) -> Result<()> {
        self.browser.touch("touchStart", &[at])?;
        std::thread::sleep(time);
        self.browser.touch("touchEnd", &[])
    }

    /// Waits until the program is so much larger than usual.
    fn wait_for_zoom(&self, zoom: f64) -> Result<()> {
        let is_it = || Ok((self.browser.run("return window.sit.zoom()")? == zoom).then_some(()));
        self.browser
            .wait_for(&format!("zoom {zoom}"), PATIENCE, is_it)
    }

    /// What a link to the page says, without which no button that changes something was pressed.
    pub fn link(&self) -> Result<Value> {
        let status = self.browser.status()?.context("it has stopped")?;
        Ok(status["link"].clone())
    }

    /// The pixels that the program draws.
    fn pixels(&self) -> Result<[u64; 2]> {
        let size = self.browser.run("return [canvas.width, canvas.height]")?;
        Ok([0, 1].map(|i| size[i].as_u64().unwrap_or(0)))
    }
}
