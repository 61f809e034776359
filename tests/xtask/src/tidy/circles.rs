//! Finds files that use each other in a circle.

use super::uses::{Files, Module};
use crate::root;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Known uses that close a circle: crate, user and used. Remove entries from this list, add none.
const KNOWN: &[(&str, &str, &str)] = &[];

type Edges = BTreeMap<Module, BTreeSet<Module>>;

/// Checks that there is no circle of files in the engine and the app.
///
/// The files are those of [`Files`]. A module uses its children, whatever its own file contains. A child's use of its ancestors
/// does not count: a folder may share names through its `mod.rs`, as the app's state does.
pub fn check(wrong: &mut Vec<String>) -> Result<()> {
    for krate in ["engine", "app"] {
        let files = Files::read(&root().join(krate).join("src"))?;
        let mut edges = edges(&files);
        let known: Vec<_> = KNOWN.iter().filter(|known| known.0 == krate).collect();
        let mut cut = Vec::new();
        for (_, from, to) in &known {
            let find = |name| files.modules().find(|module| files.name(module) == name);
            let pair = find(*from).zip(find(*to));
            cut.push(
                pair.filter(|(from, to)| edges.get_mut(*from).is_some_and(|uses| uses.remove(*to))),
            );
        }
        for ((_, from, to), cut) in known.iter().zip(cut) {
            if cut.is_none_or(|(from, to)| way(&edges, to, from).is_none()) {
                wrong.push(format!(
                    "{krate}: {from} -> {to} closes no circle: take it off the list"
                ));
            }
        }
        let mut told: BTreeSet<&Module> = BTreeSet::new();
        for (from, used) in &edges {
            if told.contains(from) {
                continue;
            }
            let Some(back) = used.iter().find_map(|to| way(&edges, to, from)) else {
                continue;
            };
            let names: Vec<_> = back.iter().map(|module| files.name(module)).collect();
            let (first, rest) = (files.name(from), names.join(" -> "));
            wrong.push(format!("{krate}: a circle: {first} -> {rest}"));
            // Report one circle; others that overlap with it can wait until this one is cut.
            let tied = |other: &&Module| {
                way(&edges, from, other).is_some() && way(&edges, other, from).is_some()
            };
            told.extend(edges.keys().filter(tied));
        }
    }
    Ok(())
}

fn edges(files: &Files) -> Edges {
    let mut edges = Edges::new();
    for module in files.modules() {
        if let Some((_, parent)) = module.split_last() {
            edges
                .entry(parent.to_vec())
                .or_default()
                .insert(module.clone());
        }
        let used = files.uses(module).into_iter().map(|used| used.module);
        let others = used.filter(|used| !module.starts_with(used));
        edges.entry(module.clone()).or_default().extend(others);
    }
    edges
}

/// The shortest way from one file to another, both included.
fn way(edges: &Edges, from: &Module, to: &Module) -> Option<Vec<Module>> {
    let mut before = BTreeMap::from([(from, from)]);
    let mut ring = vec![from];
    while !before.contains_key(to) && !ring.is_empty() {
        let mut next = Vec::new();
        for at in ring {
            for used in &edges[at] {
                if !before.contains_key(used) {
                    before.insert(used, at);
                    next.push(used);
                }
            }
        }
        ring = next;
    }
    let mut way = vec![before.get_key_value(to)?.0.to_vec()];
    while way[way.len() - 1] != *from {
        way.push(before[&way[way.len() - 1]].clone());
    }
    way.reverse();
    Some(way)
}
