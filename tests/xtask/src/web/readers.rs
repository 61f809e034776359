//! Uses the page as a person does who does not see it: with the keyboard, and by what Chromium tells screen readers.

use super::browser::Browser;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

/// The longest wait for a change of the list, which is read four times in a second.
const PATIENCE: Duration = Duration::from_secs(20);

/// More presses of Tab than the page has elements.
const MOST_TABS: usize = 150;

/// Controls that the list has, by the role and name that screen readers are told.
const LISTED: &[(&str, &str)] = &[
    ("heading", "SiT: ODE against SDE"),
    ("heading", "1: ODE, euler"),
    ("combobox", "Network"),
    ("spinbutton", "Seed"),
    ("button", "New noise"),
    ("button", "Lane 1: ODE, euler"),
    ("button", "Tour"),
    ("button", "Pause"),
    ("checkbox", "Loop"),
    ("slider", "Speed"),
    ("slider", "Step"),
];

/// The whole walk, from an address that was just opened.
pub fn walk(browser: &Browser, url: &str) -> Result<()> {
    browser.open(url)?;
    browser.wait("it moves", |s| s["cursor"].as_u64() > Some(0))?;
    ensure!(
        find(browser, "button", "Pause")?.is_none(),
        "it is listed unasked"
    );

    browser.press("Tab")?;
    ensure!(
        focus(browser)? == "list",
        "Tab does not begin with the button, but with {}",
        focus(browser)?
    );
    browser.press("Enter")?;
    for (role, name) in LISTED {
        wait_for(browser, role, name, |_| true)?;
    }
    plays(browser)?;
    seeks(browser)?;
    chooses(browser)?;

    // Past the last control the keyboard is at the end of the page, or at its beginning again.
    tab_to(browser, "", |at| at.is_empty() || at == "list")?;
    tab_to(browser, "the button", |at| at == "list")?;
    browser.press("Enter")?;
    browser.wait_for("the list is gone", PATIENCE, || {
        Ok(find(browser, "slider", "Step")?.is_none().then_some(()))
    })?;
    leaves(browser)?;

    browser.open(&format!("{url}?controls"))?;
    wait_for(browser, "slider", "Step", |_| true)?;
    browser.no_errors()
}

/// Pauses and plays by the button, which keeps the focus and changes its name.
fn plays(browser: &Browser) -> Result<()> {
    tab_to(browser, "Pause", |at| at == "Pause")?;
    browser.press("Enter")?;
    browser.wait("it pauses", |s| s["playing"] == false)?;
    wait_for(browser, "button", "Play", focused)?;
    browser.press("Space")?;
    browser.wait("it plays", |s| s["playing"] == true)?;
    wait_for(browser, "button", "Pause", focused)?;
    browser.press("Space")?;
    browser.wait("it pauses again", |s| s["playing"] == false)?;
    Ok(())
}

/// Moves through time by the slider.
fn seeks(browser: &Browser) -> Result<()> {
    tab_to(browser, "Step", |at| at == "Step")?;
    let cursor = browser.status()?.context("it has stopped")?["cursor"].take();
    wait_for(browser, "slider", "Step", |node| {
        node["value"]["value"] == cursor
    })?;
    for (key, step) in [("Home", 0), ("Right", 1), ("Right", 2), ("Left", 1)] {
        browser.press(key)?;
        browser.wait(&format!("{key} of the slider"), |s| s["cursor"] == step)?;
    }
    wait_for(browser, "slider", "Step", |node| {
        node["value"]["value"] == 1 && focused(node)
    })?;
    // Its number is next; what is typed counts when it has been entered.
    browser.press("Tab")?;
    for key in ["2", "5", "Enter"] {
        browser.press(key)?;
    }
    browser.wait("a number is entered", |s| s["cursor"] == 25)?;
    browser.press("Up")?;
    browser.wait("a step of the number", |s| s["cursor"] == 26)?;
    wait_for(browser, "spinbutton", "Step", |node| {
        let valid = property(node, "invalid") == "false";
        node["value"]["value"] == 26 && focused(node) && valid
    })
}

/// Chooses an entry of a menu, which closes and has the focus again.
fn chooses(browser: &Browser) -> Result<()> {
    tab_to(browser, "Network", |at| at == "Network")?;
    browser.press("Enter")?;
    wait_for(browser, "combobox", "Network", |node| {
        property(node, "expanded") == true
    })?;
    // The entries follow their menu; the first is what is chosen.
    browser.press("Tab")?;
    wait_for(browser, "button", "SiT on 8×8 digits", focused)?;
    browser.press("Tab")?;
    wait_for(browser, "button", "SiT on 32×32 emoji", focused)?;
    browser.press("Tab")?;
    let entry = focus(browser)?;
    ensure!(
        entry.starts_with("exact field"),
        "the third entry is {entry}"
    );
    browser.press("Enter")?;
    wait_for(browser, "combobox", "Network", |node| {
        node["value"]["value"] == entry.as_str()
            && property(node, "expanded") == false
            && focused(node)
    })
}

/// Tab moves within the canvas; after Escape it leaves it, in both directions.
fn leaves(browser: &Browser) -> Result<()> {
    for (key, at) in [
        ("Tab", "canvas"),
        ("Tab", "canvas"),
        ("Escape", "canvas"),
        ("Shift+Tab", "list"),
    ] {
        browser.press(key)?;
        ensure!(focus(browser)? == at, "{key} goes to {}", focus(browser)?);
    }
    for key in ["Tab", "Tab", "Escape", "Tab"] {
        browser.press(key)?;
    }
    ensure!(
        focus(browser)? != "canvas",
        "Escape and Tab do not leave the canvas"
    );
    Ok(())
}

/// The name or the id of the element with the focus; empty if none has it.
fn focus(browser: &Browser) -> Result<String> {
    let at = browser.run(
        "const at = document.activeElement;
         return at === document.body ? '' : (at.id || at.ariaLabel || at.tagName)",
    )?;
    Ok(at.as_str().unwrap_or_default().to_owned())
}

/// Presses Tab until what has the focus is the right one.
fn tab_to(browser: &Browser, name: &str, right: impl Fn(&str) -> bool) -> Result<()> {
    let mut seen = Vec::new();
    for _ in 0..MOST_TABS {
        browser.press("Tab")?;
        seen.push(focus(browser)?);
        if seen.last().is_some_and(|at| right(at)) {
            return Ok(());
        }
    }
    anyhow::bail!("Tab does not reach {name:?}, but {seen:?}")
}

/// Waits for a node of Chromium's accessibility tree.
fn wait_for(
    browser: &Browser,
    role: &str,
    name: &str,
    right: impl Fn(&Value) -> bool,
) -> Result<()> {
    let get = || {
        Ok(find(browser, role, name)?
            .filter(|node| right(node))
            .map(drop))
    };
    browser
        .wait_for(&format!("{role} {name}"), PATIENCE, get)
        .with_context(|| format!("told to screen readers: {:?}", find(browser, role, name)))
}

/// A node of Chromium's accessibility tree.
fn find(browser: &Browser, role: &str, name: &str) -> Result<Option<Value>> {
    let mut tree = browser.devtools("Accessibility.getFullAXTree", &json!({}))?;
    let nodes = tree["nodes"]
        .as_array_mut()
        .context("no accessibility tree")?;
    let is_it = |node: &&mut Value| {
        node["ignored"] == false && node["role"]["value"] == role && node["name"]["value"] == name
    };
    Ok(nodes.iter_mut().find(is_it).map(Value::take))
}

fn property(node: &Value, name: &str) -> Value {
    let all = node["properties"].as_array().into_iter().flatten();
    let mut found = all.filter(|property| property["name"] == name);
    found
        .next()
        .map_or(Value::Null, |property| property["value"]["value"].clone())
}

fn focused(node: &Value) -> bool {
    property(node, "focused") == true
}
