//! Uses the page as a user does: keys, and controls by their role and name.

use super::browser::Browser;
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Time to measure frames, and the longest wait for all measurements of the program.
const MEASURE: Duration = Duration::from_secs(5);
const MEASURE_PATIENCE: Duration = Duration::from_secs(300);

/// Time to play.
const PLAY: Duration = Duration::from_secs(3);

/// Width and height of a phone, in CSS pixels.
pub const PHONE: [u32; 2] = [390, 844];

/// The page in a browser.
pub struct Walk<'a> {
    /// The browser that shows it.
    pub browser: &'a Browser,
    /// Its address, and what follows it for this walk.
    pub url: &'a str,
    pub query: &'a str,
    /// Where pictures go, and what their names begin with.
    pub pictures: (&'a Path, &'a str),
}

impl Walk<'_> {
    /// Does everything, in the order in which a user might.
    pub fn all(&self) -> Result<()> {
        self.opens()?;
        self.plays()?;
        self.ends()?;
        self.steps()?;
        self.scrubs_back()?;
        self.changes_the_diffusion()?;
        self.trains()?;
        self.restores_a_copied_link()?;
        self.restores_its_address()?;
        self.records()?;
        self.opens_a_stop_and_another_network()?;
        self.fits_a_phone()?;
        self.browser.no_errors()
    }

    /// If the page is opened with a time to measure, it reports its figures.
    pub fn measures(&self) -> Result<Value> {
        self.browser
            .open(&format!("{}?measure={}", self.url, MEASURE.as_secs()))?;
        self.browser.wait_for("the figures", MEASURE_PATIENCE, || {
            // Each query of the status slows the page down.
            std::thread::sleep(Duration::from_secs(1));
            let status = self.browser.status()?;
            let notices = status.as_ref().and_then(|s| s["notices"].as_array());
            let mut notices = notices.into_iter().flatten().filter_map(Value::as_str);
            Ok(notices.find_map(|notice| serde_json::from_str(notice).ok()))
        })
    }

    /// The page moves by itself.
    fn opens(&self) -> Result<()> {
        self.browser.open(&format!("{}{}", self.url, self.query))?;
        let status = self
            .browser
            .wait("it moves", |s| s["cursor"].as_u64() > Some(0))?;
        let device = status["device"].as_str().unwrap_or_default();
        // WebGPU and WebGL are software here, so the CPU computes in both cases, and the user is told.
        ensure!(
            device.starts_with("CPU") && device.contains("software"),
            "computed by {device}"
        );
        self.shot("1-opens")
    }

    /// While it plays, the address does not change.
    fn plays(&self) -> Result<()> {
        self.browser.run(
            "const replace = history.replaceState; window.replaced = 0;
             history.replaceState = function (...args) { window.replaced++; replace.apply(this, args); };
             return null",
        )?;
        std::thread::sleep(PLAY);
        let replaced = self.browser.run("return window.replaced")?;
        ensure!(
            replaced == 0,
            "the address changed {replaced} times while it played"
        );
        Ok(())
    }

    /// Plays at the highest speed with new noise, to the last step.
    fn ends(&self) -> Result<()> {
        for _ in 0..4 {
            self.browser.press("+")?;
        }
        self.browser.press("n")?;
        self.browser.wait("it begins again", |s| {
            lanes(s).all(|lane| lane["done"] != lane["steps"])
        })?;
        self.browser.wait("all steps", |s| {
            lanes(s).all(|lane| lane["done"] == lane["steps"])
        })?;
        self.browser.press("Space")?;
        self.browser.press("End")?;
        self.browser.wait("the end", |s| {
            s["playing"] == false && s["cursor"] == lane_of(s, 0)["steps"]
        })?;
        self.shot("2-ends")
    }

    /// Three steps of ODE and SDE from the same noise.
    fn steps(&self) -> Result<()> {
        self.browser.press("Home")?;
        let start = self.at(0)?;
        ensure!(
            picture(&start, 0) == picture(&start, 1),
            "both lanes begin with the same noise: {start}"
        );
        let mut seen = vec![start];
        for step in 1..=3 {
            self.browser.press("Right")?;
            let status = self.at(step)?;
            ensure!(
                picture(&status, 0) != picture(&status, 1),
                "the SDE is another one: {status}"
            );
            for lane in 0..2 {
                let new = seen
                    .iter()
                    .all(|old| picture(old, lane) != picture(&status, lane));
                ensure!(
                    new,
                    "step {step} of lane {lane} shows what an earlier one did: {status}"
                );
            }
            seen.push(status);
        }
        self.shot("3-steps")
    }

    /// Goes back to the first of these steps, which is recorded and not computed again.
    fn scrubs_back(&self) -> Result<()> {
        let before = self.at(3)?;
        self.browser.press("Left")?;
        let two = self.at(2)?;
        self.browser.press("Left")?;
        let one = self.at(1)?;
        self.browser.press("Right")?;
        let again = self.at(2)?;
        for lane in 0..2 {
            ensure!(
                picture(&two, lane) == picture(&again, lane),
                "step 2 looks otherwise: {two}, {again}"
            );
            ensure!(
                picture(&one, lane) != picture(&two, lane),
                "step 1 looks as step 2: {one}"
            );
            let done = |status| lane_of(status, lane)["done"].clone();
            ensure!(
                done(&before) == done(&again),
                "something was computed: {before}, {again}"
            );
        }
        self.shot("4-back")
    }

    /// Changes D(t) in the SDE's lane: that lane restarts, and its neighbor does not.
    fn changes_the_diffusion(&self) -> Result<()> {
        let before = self.at(2)?;
        self.choose("Diffusion D(t)", "constant")?;
        let after = self.browser.wait("another SDE", |s| {
            s["link"] != before["link"]
                && picture(s, 1).is_some()
                && picture(s, 1) != picture(&before, 1)
        })?;
        ensure!(
            picture(&after, 0) == picture(&before, 0),
            "the ODE changed: {before}, {after}"
        );
        self.shot("5-diffusion")
    }

    /// Ten steps of training on points in the plane, while the lanes stay where they are.
    fn trains(&self) -> Result<()> {
        let before = self.at(2)?;
        self.click("Button", "Train")?;
        self.click("Button", "Start training")?;
        self.browser
            .wait("ten steps", |s| s["trained"].as_u64() >= Some(10))?;
        self.click("Button", "Pause training")?;
        let after = self.at(2)?;
        for lane in 0..2 {
            ensure!(
                picture(&after, lane) == picture(&before, lane),
                "the lanes changed: {before}, {after}"
            );
        }
        self.shot("6-trains")
    }

    /// The copied link restores the same picture, bit for bit.
    fn restores_a_copied_link(&self) -> Result<()> {
        let before = self.at(2)?;
        self.browser.allow_clipboard(self.url)?;
        self.click("Button", "Copy link")?;
        let link = self
            .browser
            .wait_for("the link is copied", Duration::from_secs(10), || {
                let text = self.browser.clipboard()?;
                Ok(text.starts_with(self.url).then_some(text))
            })?;
        self.browser.no_errors()?;
        // Open another page in between: otherwise only the part after the # would change.
        self.browser.open("about:blank")?;
        let query = format!("{}{}#", self.url, self.query);
        self.browser
            .open(&link.replacen(&format!("{}#", self.url), &query, 1))?;
        self.same(&before)?;
        self.shot("7-link")
    }

    /// A reload restores the paused state from the address.
    fn restores_its_address(&self) -> Result<()> {
        self.browser.press("Right")?;
        let before = self.at(3)?;
        self.browser.wait_for(
            "the state is in the address",
            Duration::from_secs(10),
            || {
                let hash = self.browser.run("return location.hash.slice(1)")?;
                Ok((hash == before["link"]).then_some(()))
            },
        )?;
        self.browser.reload()?;
        self.same(&before)
    }

    /// A recording of the page is downloaded when it ends.
    fn records(&self) -> Result<()> {
        self.browser.run(
            "window.kept = []; const make = URL.createObjectURL.bind(URL); \
             URL.createObjectURL = (blob) => { window.kept.push([blob.type, blob.size]); return make(blob); }; return null",
        )?;
        self.click("Button", "Save …")?;
        self.click("Button", "WebM: Record the page from now on")?;
        self.browser.press("Space")?;
        std::thread::sleep(PLAY);
        self.click("Button", "● Stop recording")?;
        let kept = || {
            let kept = self.browser.run("return window.kept")?;
            Ok(kept.get(0).cloned())
        };
        let patience = Duration::from_secs(30);
        let kept = self.browser.wait_for("the recording", patience, kept)?;
        let kind = kept[0].as_str().unwrap_or_default();
        let is_video = kind.starts_with("video/webm") && kept[1].as_u64() > Some(1000);
        ensure!(is_video, "the recording is {kept}");
        self.browser.press("Space")
    }

    /// An address with a stop of the tour opens it; the network of color is loaded when it is chosen.
    fn opens_a_stop_and_another_network(&self) -> Result<()> {
        let query = match self.query {
            "" => "?tour=4".to_owned(),
            query => format!("{query}&tour=4"),
        };
        self.browser.open(&format!("{}{query}", self.url))?;
        self.browser.wait("the lanes of the stop", |s| {
            lanes(s).count() == 3 && picture(s, 2).is_some()
        })?;
        let name = "SiT on 32×32 emoji";
        self.choose("Network", name)?;
        self.browser.wait("the network of color", |s| {
            s["network"] == name && picture(s, 0).is_some()
        })?;
        self.shot("9-emoji")
    }

    /// Below 700 pixels there is one column.
    fn fits_a_phone(&self) -> Result<()> {
        self.browser.resize(PHONE[0], PHONE[1])?;
        // One frame with the new size, and one for the layout that it measured.
        self.browser
            .run("window.sit.place('Button', 'Train'); return null")?;
        std::thread::sleep(Duration::from_secs(1));
        self.shot("8-phone")
    }

    /// Waits until step `cursor` of both lanes is shown.
    fn at(&self, cursor: u64) -> Result<Value> {
        self.browser.wait(&format!("step {cursor}"), |status| {
            status["cursor"] == cursor
                && status["playing"] == false
                && lanes(status).all(|lane| lane["picture"].is_string())
        })
    }

    /// Waits for the same step and checks that both lanes show the same bits.
    fn same(&self, before: &Value) -> Result<()> {
        let after = self.at(before["cursor"].as_u64().unwrap_or(0))?;
        for what in ["link", "lanes"] {
            let of = |status: &Value| match what {
                "link" => vec![status["link"].clone()],
                _ => lanes(status).map(|lane| lane["picture"].clone()).collect(),
            };
            ensure!(
                of(&after) == of(before),
                "another {what}: {before}, then {after}"
            );
        }
        ensure!(
            after["notices"] == before["notices"],
            "something was refused: {after}"
        );
        Ok(())
    }

    /// The center of a control, in CSS pixels.
    pub fn place(&self, role: &str, name: &str) -> Result<[f64; 2]> {
        let script = format!(
            "return Array.from(window.sit?.place({}, {}) ?? [])",
            json!(role),
            json!(name)
        );
        self.browser
            .wait_for(&format!("{role} {name}"), Duration::from_secs(20), || {
                let place = self.browser.run(&script)?;
                let at = |i: usize| place[i].as_f64();
                Ok(at(0).zip(at(1)).map(|(x, y)| [x, y]))
            })
    }

    /// Clicks on a control.
    pub fn click(&self, role: &str, name: &str) -> Result<()> {
        let [x, y] = self.place(role, name)?;
        self.browser.click(x, y)
    }

    /// Chooses an entry of a menu.
    pub fn choose(&self, menu: &str, entry: &str) -> Result<()> {
        self.click("ComboBox", menu)?;
        self.click("Button", entry)
    }

    /// Takes a picture of the page, which must not be empty.
    pub fn shot(&self, name: &str) -> Result<()> {
        let (folder, prefix) = self.pictures;
        let path = folder.join(format!("{prefix}-{name}.png"));
        let ink = self.browser.shot(&path)?.ink();
        ensure!(
            ink > 1e-2,
            "{}: {:.3} % is not background",
            path.display(),
            100.0 * ink
        );
        Ok(())
    }
}

fn lanes(status: &Value) -> impl Iterator<Item = &Value> {
    status["lanes"].as_array().into_iter().flatten()
}

fn lane_of(status: &Value, lane: usize) -> &Value {
    &status["lanes"][lane]
}

/// A hash of what a lane shows.
fn picture(status: &Value, lane: usize) -> Option<&str> {
    lane_of(status, lane)["picture"].as_str()
}
