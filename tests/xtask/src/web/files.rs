//! Keeps files of what the page shows, and drops files on it.

use super::walk::Walk;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

/// The longest time to make a file: an animation is drawn in software here.
const PATIENCE: Duration = Duration::from_secs(180);

/// Entries of the menu, each with the media type or the first bytes of its file.
const SAVED: &[(&str, &[u8])] = &[
    (
        "PNG: A figure of the lanes, two pixels to a point",
        b"\x89PNG",
    ),
    (
        "SVG: The figure as shapes and text, sharp at every size",
        b"<svg",
    ),
    ("GIF: All recorded steps, shown everywhere", b"GIF89a"),
    (
        "APNG: All recorded steps in all colors, shown by browsers",
        b"\x89PNG",
    ),
    ("CSV: The numbers of every step of every lane", b"lane,"),
    ("npz: The samples that are shown, as NumPy arrays", b"PK"),
];

impl Walk<'_> {
    /// All files that the page makes and takes, from an address that is opened here.
    pub fn files(&self) -> Result<()> {
        // A stop of the tour waits for the person.
        self.browser.open(&format!("{}?tour=1", self.url))?;
        self.browser.wait("it is there", shown)?;
        self.browser.run(
            "window.kept = []; const make = URL.createObjectURL.bind(URL); \
             URL.createObjectURL = (blob) => { window.kept.push(blob); return make(blob); }; return null",
        )?;
        self.saves()?;
        self.restores_a_figure()?;
        self.keeps_a_tour()?;
        self.compares_two_networks()?;
        self.browser.no_errors()
    }

    /// Every entry of the menu gives a file of its kind.
    fn saves(&self) -> Result<()> {
        self.browser.press("End")?;
        self.browser.wait("the end", |s| {
            shown(s) && s["cursor"] == s["lanes"][0]["steps"]
        })?;
        for (at, (entry, begin)) in SAVED.iter().enumerate() {
            self.click("Button", "Save …")?;
            self.click("Button", entry)?;
            let bytes = self.kept(at, begin.len())?;
            ensure!(bytes == *begin, "{entry}: begins with {bytes:?}");
        }
        Ok(())
    }

    /// The figure that was saved first, dropped on another session, restores its own.
    fn restores_a_figure(&self) -> Result<()> {
        let link = self.link()?;
        self.browser.press("n")?;
        self.browser
            .wait("another session", |s| s["link"] != link)?;
        self.drop_files("window.kept[0]", "figure.png")?;
        self.browser.wait("its session", |s| s["link"] == link)?;
        Ok(())
    }

    /// A stop that was added is in the file of the tour, which opens again.
    fn keeps_a_tour(&self) -> Result<()> {
        // The list of all stops is long.
        self.browser.resize(1280, 2400)?;
        self.click("Button", "Tour")?;
        self.click("DisclosureTriangle", "Change this tour")?;
        self.click("TextInput", "Title")?;
        self.browser.press("Q")?;
        self.click("Button", "Add what is shown")?;
        let mine = "Q";
        self.place("Button", mine)?;
        self.click("Button", "Save the tour")?;
        ensure!(self.kept(SAVED.len(), 1)? == b"{", "the tour is no JSON");
        self.click("Button", "The program's own")?;
        self.browser.wait_for("the program's tour", PATIENCE, || {
            let place = format!("return window.sit.place('Button', {})", json!(mine));
            Ok(self.browser.run(&place)?.is_null().then_some(()))
        })?;
        self.drop_files(&format!("window.kept[{}]", SAVED.len()), "tour.json")?;
        self.place("Button", mine)?;
        Ok(())
    }

    /// A file of weights is a network; two of them are compared in two lanes, and the same weights make the same samples.
    fn compares_two_networks(&self) -> Result<()> {
        let file = "await (await fetch('emoji.safetensors')).blob()";
        self.drop_files(file, "mine.safetensors")?;
        self.browser
            .wait("the file's network", |s| s["network"] == "mine.safetensors")?;
        let own = "SiT on 32×32 emoji";
        self.choose("Network", own)?;
        self.browser
            .wait("the own network", |s| s["network"] == own)?;
        self.click("Button", "Model")?;
        self.click("Button", "Compare with mine.safetensors")?;
        self.browser.press("Home")?;
        self.browser.press("Right")?;
        let status = self
            .browser
            .wait("two lanes", |s| s["cursor"] == 1 && shown(s))?;
        let lanes = &status["lanes"];
        ensure!(
            lanes[0]["picture"] == lanes[1]["picture"] && lanes[1]["failed"].is_null(),
            "the same weights make other samples: {status}"
        );
        self.shot("files")
    }

    /// The first bytes of the file number `at` that the page has offered.
    fn kept(&self, at: usize, n: usize) -> Result<Vec<u8>> {
        let script = format!(
            "window.begins ??= {{}};
             window.kept[{at}]?.slice(0, {n}).arrayBuffer().then((bytes) => window.begins[{at}] = [...new Uint8Array(bytes)]);
             return window.begins[{at}] ?? null"
        );
        let bytes = self.browser.wait_for(&format!("file {at}"), PATIENCE, || {
            let begin = self.browser.run(&script)?;
            Ok((!begin.is_null()).then_some(begin))
        })?;
        let bytes = bytes.as_array().into_iter().flatten();
        Ok(bytes.filter_map(Value::as_u64).map(|b| b as u8).collect())
    }

    /// Drops a file on the canvas; `blob` is an expression of its contents.
    fn drop_files(&self, blob: &str, name: &str) -> Result<()> {
        let script = format!(
            "(async () => {{
               const data = new DataTransfer();
               data.items.add(new File([{blob}], {}));
               const options = {{ dataTransfer: data, bubbles: true, cancelable: true }};
               const canvas = document.querySelector('canvas');
               canvas.dispatchEvent(new DragEvent('dragover', options));
               canvas.dispatchEvent(new DragEvent('drop', options));
             }})(); return null",
            json!(name)
        );
        self.browser.run(&script).map(drop)
    }
}

/// Whether the page is paused and both lanes have something to show.
fn shown(status: &Value) -> bool {
    let lanes = status["lanes"].as_array();
    let is_shown =
        |all: &Vec<Value>| all.len() == 2 && all.iter().all(|lane| lane["picture"].is_string());
    status["playing"] == false && lanes.is_some_and(is_shown)
}
