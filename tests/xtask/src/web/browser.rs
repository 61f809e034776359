//! A headless Chromium, controlled through chromedriver. WebDriver is JSON over HTTP, so no other library is needed.

use super::picture::{Picture, unbase64};
use crate::apt;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The longest wait for anything on a page. Software rendering on two busy cores is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// Without a screen, and without background tasks of the browser.
const ARGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--use-angle=swiftshader",
];

/// WebGPU on the browser's software renderer; all of these are needed to compute and to draw.
const WEBGPU: &[&str] = &[
    "--enable-unsafe-webgpu",
    "--enable-features=Vulkan",
    "--use-vulkan=swiftshader",
];

/// The graphics interfaces that the page may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Graphics {
    /// WebGPU and WebGL.
    WebGpu,
    /// WebGL alone.
    WebGl,
    /// Neither.
    Nothing,
}

/// A browser with one tab.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
}

impl Browser {
    /// Starts a browser with an empty profile.
    ///
    /// # Errors
    /// When there is none and none can be installed, or it does not start.
    pub fn start(graphics: Graphics) -> Result<Browser> {
        let (chromium, chromedriver) = find()?;
        let mut driver = Command::new(chromedriver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context(chromedriver)?;
        let port = port(&mut driver);
        let mut browser = Browser {
            driver,
            port: 0,
            session: String::new(),
        };
        browser.port = port?;
        let mut args = ARGS.to_vec();
        args.extend(match graphics {
            Graphics::WebGpu => WEBGPU,
            Graphics::WebGl => &[],
            Graphics::Nothing => &["--disable-3d-apis"],
        });
        let session = browser.call(
            "POST",
            "/session",
            &json!({ "capabilities": { "alwaysMatch": {
                "goog:chromeOptions": { "binary": chromium, "args": args },
                "goog:loggingPrefs": { "browser": "ALL" },
                "timeouts": { "script": PATIENCE.as_millis() },
            }}}),
        )?;
        let id = session["sessionId"].as_str().context("no session")?;
        browser.session = format!("/session/{id}");
        browser.resize(1280, 800)?;
        Ok(browser)
    }

    /// Gives the page this size.
    pub fn resize(&self, width: u32, height: u32) -> Result<()> {
        self.screen(width, height, 1)
    }

    /// Gives the page this size in CSS pixels, and the screen so many pixels for each in a row.
    pub fn screen(&self, width: u32, height: u32, density: u32) -> Result<()> {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": density, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics)?;
        Ok(())
    }

    /// Tells the page that the person wants less motion.
    pub fn reduce_motion(&self) -> Result<()> {
        let feature = json!({ "name": "prefers-reduced-motion", "value": "reduce" });
        let features = json!({ "features": [feature] });
        self.devtools("Emulation.setEmulatedMedia", &features)?;
        Ok(())
    }

    /// A command of the DevTools protocol, and its answer.
    pub fn devtools(&self, command: &str, params: &Value) -> Result<Value> {
        self.post(
            "/goog/cdp/execute",
            &json!({ "cmd": command, "params": params }),
        )
    }

    /// Opens an address.
    pub fn open(&self, url: &str) -> Result<()> {
        self.post("/url", &json!({ "url": url }))?;
        Ok(())
    }

    /// Loads the page again.
    pub fn reload(&self) -> Result<()> {
        self.post("/refresh", &json!({}))?;
        Ok(())
    }

    /// Runs `script` as the body of a function of the page and returns what it returns.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
            .with_context(|| script.to_owned())
    }

    /// Presses and releases a key: a character, or a name of [`key`]; with `Shift+` before it, together with that key.
    pub fn press(&self, name: &str) -> Result<()> {
        let (shift, name) = match name.strip_prefix("Shift+") {
            Some(name) => (Some("Shift"), name),
            None => (None, name),
        };
        let held = shift.into_iter().chain([name]).map(key);
        let down = held.clone().map(|key| ("keyDown", key));
        let up = held.map(|key| ("keyUp", key)).collect::<Vec<_>>();
        let actions: Vec<_> = down
            .chain(up.into_iter().rev())
            .map(|(what, value)| json!({ "type": what, "value": value }))
            .collect();
        let keyboard = json!({ "type": "key", "id": "keyboard", "actions": actions });
        self.post("/actions", &json!({ "actions": [keyboard] }))?;
        Ok(())
    }

    /// Clicks at a place, in CSS pixels.
    pub fn click(&self, x: f64, y: f64) -> Result<()> {
        let actions = [
            json!({ "type": "pointerMove", "duration": 0, "x": x.round(), "y": y.round() }),
            json!({ "type": "pointerDown", "button": 0 }),
            json!({ "type": "pause", "duration": 50 }),
            json!({ "type": "pointerUp", "button": 0 }),
        ];
        let pointer = json!({ "type": "pointer", "id": "mouse", "actions": actions });
        self.post("/actions", &json!({ "actions": [pointer] }))?;
        Ok(())
    }

    /// Puts fingers on a touch screen, moves them or lifts them: they are where `fingers` says, in CSS pixels.
    pub fn touch(&self, what: &str, fingers: &[[f64; 2]]) -> Result<()> {
        let finger = |(id, [x, y]): (usize, &[f64; 2])| json!({ "id": id, "x": x, "y": y });
        let points: Vec<_> = fingers.iter().enumerate().map(finger).collect();
        let params = json!({ "type": what, "touchPoints": points });
        self.devtools("Input.dispatchTouchEvent", &params)?;
        Ok(())
    }

    /// Lets the pages of `origin` read and write the clipboard.
    pub fn allow_clipboard(&self, origin: &str) -> Result<()> {
        let permissions = ["clipboardReadWrite", "clipboardSanitizedWrite"];
        let params = json!({ "origin": origin, "permissions": permissions });
        self.devtools("Browser.grantPermissions", &params)?;
        Ok(())
    }

    /// The text on the clipboard.
    pub fn clipboard(&self) -> Result<String> {
        let script = "const [done] = arguments;
            navigator.clipboard.readText().then(done, why => done(`refused: ${why}`))";
        let text = self.post("/execute/async", &json!({ "script": script, "args": [] }))?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// The program's status, once it runs.
    pub fn status(&self) -> Result<Option<Value>> {
        let text = self.run("return window.sit?.status() ?? null")?;
        let parse = |text: &str| serde_json::from_str(text).with_context(|| text.to_owned());
        text.as_str().map(parse).transpose()
    }

    /// Waits until the program's status satisfies `done`, and returns it.
    ///
    /// # Errors
    /// When that takes too long, with the last status and the console.
    pub fn wait(&self, what: &str, done: impl Fn(&Value) -> bool) -> Result<Value> {
        self.wait_for(what, PATIENCE, || {
            Ok(self.status()?.filter(|status| done(status)))
        })
    }

    /// Waits for a value.
    ///
    /// # Errors
    /// As [`Browser::wait`].
    pub fn wait_for<T>(
        &self,
        what: &str,
        patience: Duration,
        get: impl Fn() -> Result<Option<T>>,
    ) -> Result<T> {
        let start = Instant::now();
        while start.elapsed() < patience {
            if let Some(value) = get()? {
                return Ok(value);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!(
            "{what}: not within {} s; the program says {:?}, the page {}, the console {:#?}",
            patience.as_secs(),
            self.status()?,
            self.run("return document.body.innerText")?,
            self.console()?
        )
    }

    /// All console messages since the last call: level and text.
    pub fn console(&self) -> Result<Vec<(String, String)>> {
        let lines = self.post("/se/log", &json!({ "type": "browser" }))?;
        let word = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let lines = lines.as_array().into_iter().flatten();
        Ok(lines
            .map(|line| (word(line, "level"), word(line, "message")))
            .collect())
    }

    /// # Errors
    /// The errors in the console, if there are any.
    pub fn no_errors(&self) -> Result<()> {
        let errors: Vec<_> = self
            .console()?
            .into_iter()
            .filter(|(level, _)| level == "SEVERE")
            .collect();
        ensure!(errors.is_empty(), "errors in the console: {errors:#?}");
        Ok(())
    }

    /// Writes a picture of the page, and returns it.
    pub fn shot(&self, path: &Path) -> Result<Picture> {
        let png = self.call("GET", &format!("{}/screenshot", self.session), &Value::Null)?;
        let png = unbase64(png.as_str().context("no picture")?)?;
        fs::write(path, &png).with_context(|| path.display().to_string())?;
        Picture::read(&png)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call("POST", &format!("{}{path}", self.session), body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).context("chromedriver")?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        )?;
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            ensure!(reader.read_line(&mut line)? > 0, "chromedriver hung up");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer)?;
        let mut answer: Value = serde_json::from_slice(&answer)?;
        let value = answer["value"].take();
        match value.get("error") {
            Some(error) => bail!("{error}: {}", value["message"].as_str().unwrap_or_default()),
            None => Ok(value),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Otherwise the driver would leave the browser running.
        if !self.session.is_empty() {
            self.call("DELETE", &self.session, &Value::Null).ok();
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

/// The browser and its driver, installed when there are none.
fn find() -> Result<(&'static str, &'static str)> {
    let first =
        |paths: &[&'static str]| paths.iter().copied().find(|path| Path::new(path).exists());
    let both = || {
        let browser = first(&[
            "/usr/bin/chromium",
            "/usr/bin/google-chrome",
            "/usr/bin/chromium-browser",
        ]);
        browser.zip(first(&[
            "/usr/bin/chromedriver",
            "/usr/local/bin/chromedriver",
        ]))
    };
    if both().is_none() {
        apt::install(
            "no Chromium with chromedriver found",
            "chromium chromium-driver",
        )?;
    }
    both().context("chromium and chromium-driver are installed, but not in /usr/bin")
}

/// The port that the driver chose.
fn port(driver: &mut Child) -> Result<u16> {
    let stdout = driver.stdout.take().context("chromedriver has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if let Some((_, port)) = line.split_once("successfully on port ") {
            return port.trim_end_matches('.').parse().context(line.clone());
        }
    }
    bail!("chromedriver did not start")
}

/// A key as WebDriver calls it.
fn key(name: &str) -> &str {
    match name {
        "Tab" => "\u{e004}",
        "Enter" => "\u{e007}",
        "Shift" => "\u{e008}",
        "Escape" => "\u{e00c}",
        "Space" => " ",
        "End" => "\u{e010}",
        "Home" => "\u{e011}",
        "Left" => "\u{e012}",
        "Up" => "\u{e013}",
        "Right" => "\u{e014}",
        "Down" => "\u{e015}",
        character => character,
    }
}
