//! Which modules of a crate may use each other.

use super::uses::Files;
use crate::root;
use anyhow::Result;

/// Modules of a crate, lowest first, each with those that it may use.
type Table = &'static [(&'static str, &'static str)];

/// The modules of the engine.
pub const ENGINE: Table = &[
    ("error", ""),
    ("text", ""),
    ("rng", ""),
    ("num", ""),
    ("shape", "error"),
    ("table", "shape"),
    ("transport", "error"),
    ("graph", "error num shape table"),
    ("ops", "error num shape graph"),
    ("autodiff", "error graph ops"),
    ("backend", "error num shape table graph"),
    ("nn", "error rng shape table graph ops"),
    ("model", "error text shape transport graph ops backend nn"),
    ("analytic", "error rng transport graph ops backend nn model"),
    ("optim", "error text graph ops"),
    (
        "checkpoint",
        "error text shape table transport graph ops backend nn model optim",
    ),
    (
        "autoencoder",
        "error shape graph ops backend nn model checkpoint",
    ),
    (
        "inception",
        "error num shape graph ops backend nn checkpoint",
    ),
    (
        "objective",
        "error text rng num shape transport graph ops backend nn model",
    ),
    (
        "sample",
        "error text rng num transport graph ops backend nn model",
    ),
    (
        "train",
        "error transport graph ops backend nn model checkpoint optim objective",
    ),
];

const TRAINER: Table = &[
    ("host", ""),
    ("pending", "files"),
    ("files", "pending"),
    ("png", ""),
    ("data", "host png"),
    ("signals", ""),
    ("metrics", "signals"),
    ("error", "files data metrics"),
    ("columns", "files error"),
    ("config", "data columns"),
    ("weights", "error config run"),
    ("run", "files error config weights"),
    ("vae", "files error config weights run"),
    ("peak", ""),
    ("progress", ""),
    ("stdout", "error"),
    ("npy", ""),
    ("npz", "pending files png npy"),
    ("trajectory", "pending files error"),
    ("reconstruct", "data error config"),
    ("sampling", "data error config progress signals"),
    (
        "preview",
        "files data error png config reconstruct vae sampling",
    ),
    (
        "memory",
        "host data error config metrics weights sampling preview",
    ),
    ("budget", "error config memory"),
    ("validation", "data error config reconstruct"),
    ("init", "data error config weights run"),
    ("log", "files config run"),
    ("outputs", "files data error weights run"),
    ("straightness", "sampling"),
    (
        "pairs",
        "data error config weights progress signals trajectory memory straightness",
    ),
    ("teacher", "files error config weights run"),
    ("real", "data error png run progress"),
    (
        "judge",
        "files data metrics error png config weights progress signals memory sampling real",
    ),
    (
        "evaluation",
        "data metrics error config run progress signals npz vae memory sampling real judge",
    ),
    ("encode", "files data error progress signals vae"),
    (
        "training",
        "host data error config run peak progress signals reconstruct preview validation init log teacher vae evaluation",
    ),
    (
        "commands",
        "pending files columns data metrics error png config weights run progress signals stdout npz trajectory memory validation init outputs sampling straightness pairs teacher real judge evaluation training vae encode budget preview",
    ),
    ("cli", "data error progress signals commands"),
];

const APP: Table = &[
    ("host", ""),
    ("twins", ""),
    ("words", ""),
    ("look", ""),
    ("redraw", ""),
    ("stats", ""),
    ("state", "words"),
    ("errors", "state"),
    ("source", "words state"),
    ("view", "twins state errors"),
    ("job", "twins words stats state source"),
    ("examine", "words state source"),
    ("train", "words state examine job"),
    ("findings", "stats state train"),
    ("files", "state job"),
    ("loader", "state source job"),
    ("drops", "state files"),
    ("measure", "state source"),
    ("device", ""),
    (
        "panels",
        "look stats state errors source examine view job train findings",
    ),
    ("export", "look state view train findings panels"),
    ("arrivals", "state examine export job loader drops"),
    ("record", "state job files"),
    ("saving", "state source job files export record"),
];

/// Known arrows to a higher module. Remove entries from this list, add none.
const UPWARD: &[(&str, &str, &str)] = &[
    // To be cut.
    ("trainer", "pending", "files"),
    ("trainer", "weights", "run"),
];

/// Checks that modules use only those that the tables allow, and that these are lower in the table.
pub fn check(wrong: &mut Vec<String>) -> Result<()> {
    for (krate, table) in [("engine", ENGINE), ("trainer", TRAINER), ("app", APP)] {
        order(krate, table, wrong);
        let files = Files::read(&root().join(krate).join("src"))?;
        let mut modules: Vec<&str> = Vec::new();
        for module in files.modules() {
            let Some(name) = module.first() else {
                continue;
            };
            let file = format!("{krate}/src/{}", files.name(module));
            let Some((name, allowed)) = table.iter().find(|(row, _)| row == name) else {
                wrong.push(format!("{file}: {name} is not in the table of arrows"));
                continue;
            };
            modules.push(name);
            for used in files.uses(module) {
                let to = used.module.first().map_or("lib.rs", String::as_str);
                if to != *name && !words(allowed).any(|word| word == to) {
                    wrong.push(format!("{file}:{}: {name} may not use {to}", used.line));
                }
            }
        }
        let gone = table.iter().filter(|(name, _)| !modules.contains(name));
        wrong.extend(
            gone.map(|(name, _)| format!("{krate}: the table of arrows has {name}, which is gone")),
        );
    }
    Ok(())
}

/// Checks that every arrow of a table leads to a row above, except for the known ones.
fn order(krate: &'static str, table: Table, wrong: &mut Vec<String>) {
    let mut upward = Vec::new();
    for (i, (name, allowed)) in table.iter().enumerate() {
        let above = |used: &&str| !table[..i].iter().any(|(name, _)| name == used);
        upward.extend(
            words(allowed)
                .filter(above)
                .map(|used| (krate, *name, used)),
        );
    }
    let known = || UPWARD.iter().filter(|arrow| arrow.0 == krate);
    for (_, from, to) in upward.iter().filter(|arrow| !UPWARD.contains(arrow)) {
        wrong.push(format!(
            "{krate}: {from} stands below {to}, which it may use"
        ));
    }
    for (_, from, to) in known().filter(|arrow| !upward.contains(arrow)) {
        wrong.push(format!(
            "{krate}: {from} -> {to} leads down: take it off the list"
        ));
    }
}

fn words(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split_whitespace()
}
