//! Finds the weight sets among a file's tensors and restores official names: wrappers and enclosing modules add prefixes.

use super::index::{Entry, Set, Tensors};
use super::{LANDMARKS, shown};
use std::collections::BTreeSet;

/// Name components that PyTorch's wrappers insert anywhere (`torch.compile`, FSDP, checkpointing).
const WRAPPERS: [&str; 3] = [
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
];

/// The prefix that `DistributedDataParallel` adds to all names.
const MODULE: &str = "module.";

/// More prefixes than any program has.
const MAX_PREFIXES: usize = 8;

/// The weight sets under official names, the moving average first.
pub(super) fn named(found: Vec<Set>) -> Result<Vec<Set>, String> {
    let mut sets = Vec::new();
    for set in found {
        sets.extend(split(unwrapped(set)?)?);
    }
    // The official `find_model` also prefers the average.
    sets.sort_by_key(|set: &Set| (!is_average(&set.place), last_word(&set.place) != "model"));
    if sets.len() > 1 || sets.iter().any(|set| set.place == role(set)) {
        let mut taken = BTreeSet::new();
        // The set that is called as its role has the name of the role, else the first set of the role.
        for is_exact in [true, false] {
            for set in &mut sets {
                let role = role(set);
                let fits = set.name.is_empty() && (!is_exact || last_word(&set.place) == role);
                if fits && taken.insert(role.to_owned()) {
                    set.name = role.to_owned();
                }
            }
        }
        for set in &mut sets {
            if set.name.is_empty() {
                let place = if set.place.is_empty() {
                    "top"
                } else {
                    &set.place
                };
                let numbered = (2..).map(|n| format!("{place}-{n}"));
                let mut names = std::iter::once(place.to_owned()).chain(numbered);
                set.name = names
                    .find(|name| taken.insert(name.clone()))
                    .unwrap_or_default();
            }
        }
    }
    Ok(sets)
}

fn role(set: &Set) -> &'static str {
    match is_average(&set.place) {
        true => "ema",
        false => "model",
    }
}

fn last_word(place: &str) -> &str {
    place.rsplit('.').next().unwrap_or_default()
}

fn is_average(place: &str) -> bool {
    let mut words = place.split(|c: char| !c.is_ascii_alphabetic());
    words.any(|word| ["ema", "shadow", "averaged"].contains(&&word.to_ascii_lowercase()[..]))
}

/// Removes the components that wrappers add to names.
fn unwrapped(mut set: Set) -> Result<Set, String> {
    if set
        .tensors
        .keys()
        .any(|name| WRAPPERS.iter().any(|part| name.contains(part)))
    {
        let mut plain = Tensors::new();
        for (name, entry) in set.tensors {
            let parts = name.split('.').filter(|part| !WRAPPERS.contains(part));
            let short = parts.collect::<Vec<_>>().join(".");
            if plain.insert(short, entry).is_some() {
                return Err(format!(
                    "has {} with and without the name of a wrapper",
                    shown(&name)
                ));
            }
        }
        set.tensors = plain;
    }
    while !set.tensors.is_empty() && set.tensors.keys().all(|name| name.starts_with(MODULE)) {
        let short = |(name, entry): (String, Entry)| (name[MODULE.len()..].to_owned(), entry);
        set.tensors = set.tensors.into_iter().map(short).collect();
    }
    Ok(set)
}

/// The prefix of a landmark's name.
fn before_landmark(name: &str) -> Option<&str> {
    LANDMARKS.iter().find_map(|mark| name.strip_suffix(mark))
}

/// Splits a set into one per network: their names differ in the prefix before one of [`LANDMARKS`].
fn split(mut set: Set) -> Result<Vec<Set>, String> {
    // An optimizer's moments are no weights.
    let is_moment = |name: &str| name.split('.').any(|word| word.starts_with("exp_avg"));
    let n = set.tensors.len();
    let mut names = set.tensors.keys();
    if names.any(|name| before_landmark(name).is_some() && !is_moment(name)) {
        set.tensors.retain(|name, _| !is_moment(name));
        set.n_left_out = n - set.tensors.len();
    }
    let prefix = |name: &String| {
        let prefix = before_landmark(name)?;
        let is_whole = prefix.is_empty() || prefix.ends_with('.');
        (is_whole && !is_moment(name)).then(|| prefix.to_owned())
    };
    let mut prefixes: Vec<String> = set.tensors.keys().filter_map(prefix).collect();
    // Names of two kinds under one prefix.
    prefixes.sort();
    prefixes.dedup();
    if prefixes.len() > MAX_PREFIXES {
        return Err(format!(
            "has {} tensors {}, expected at most {MAX_PREFIXES}",
            prefixes.len(),
            LANDMARKS.join(" or ")
        ));
    }
    if prefixes.iter().all(|prefix| prefix.is_empty()) {
        return Ok(vec![set]);
    }
    let mut sets: Vec<Set> = Vec::new();
    // A name belongs to the longest prefix that it has: `model.ema.` comes before `model.`, and the empty prefix last.
    prefixes.reverse();
    prefixes.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
    for prefix in &prefixes {
        let mut mine = Tensors::new();
        let mut others = Tensors::new();
        for (name, entry) in set.tensors {
            match name.strip_prefix(&prefix[..]) {
                Some(short) => drop(mine.insert(short.to_owned(), entry)),
                None => drop(others.insert(name, entry)),
            }
        }
        set.tensors = others;
        let words = [&set.place[..], prefix.trim_end_matches('.')];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        sets.push(Set {
            place: shown(&words.join(".")),
            tensors: mine,
            ..Set::default()
        });
    }
    let n_taken: usize = sets.iter().map(|set| set.tensors.len()).sum();
    for set in &mut sets {
        set.n_left_out = n - n_taken;
    }
    sets.reverse();
    Ok(sets)
}
