//! Sets of tensors under other names than the official ones, as sets under these: those of diffusers, and those of REPA, which has
//! projectors beside a SiT.

use super::index::{Copied, Entry, Place, Set, Tensors};
use super::names::{BLOCKS, Held, Meaning, N_PARTS, Names, meaning};
use super::shown;
use crate::table::Table;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

/// The set under official names.
pub(super) fn official(set: Set) -> Result<Set, String> {
    let is_embedder = |name: &str| name.starts_with(BLOCKS) && name.contains(".norm1.emb.");
    if set.tensors.keys().any(|name| is_embedder(name)) {
        return of_diffusers(set);
    }
    Ok(of_repa(set))
}

fn of_diffusers(mut set: Set) -> Result<Set, String> {
    const OFFICIAL: [&str; 5] = [
        "x_embedder.",
        "t_embedder.",
        "y_embedder.",
        "blocks.",
        "final_layer.",
    ];
    let is_official = |name: &&String| OFFICIAL.iter().any(|part| name.starts_with(part));
    if let Some(name) = set.tensors.keys().find(is_official) {
        return Err(format!(
            "has {} beside names of diffusers such as {BLOCKS}0.norm1.linear.weight, expected one kind of names",
            shown(name)
        ));
    }
    set.names = Names::Diffusers;
    let mut tensors = Tensors::new();
    let mut parts: BTreeMap<String, [Option<(String, Entry)>; N_PARTS]> = BTreeMap::new();
    for (name, entry) in std::mem::take(&mut set.tensors) {
        match meaning(&name) {
            Some(Meaning::Whole(official)) => drop(tensors.insert(official, entry)),
            Some(Meaning::Part(official, k)) => {
                parts.entry(official).or_default()[k] = Some((name, entry));
            }
            Some(Meaning::Copy(official)) => match tensors.entry(official) {
                Slot::Vacant(slot) => drop(slot.insert(entry)),
                Slot::Occupied(slot) => set.copies.push(Copied {
                    of: slot.key().clone(),
                    name,
                    entry,
                }),
            },
            // A buffer that only some versions store.
            None if name == "pos_embed.pos_embed" => {
                drop(tensors.insert("pos_embed".to_owned(), entry));
            }
            None => drop(tensors.insert(name, entry)),
        }
    }
    for (official, parts) in parts {
        let entry = joined(&official, parts);
        tensors.extend(entry.map(|entry| (official, entry)));
    }
    set.tensors = tensors;
    Ok(set)
}

/// The rows of queries, keys and values, one after the other.
fn joined(official: &str, parts: [Option<(String, Entry)>; N_PARTS]) -> Option<Entry> {
    let Held::Parts(names) = Names::Diffusers.held(official, 0) else {
        return None;
    };
    let missing =
        (parts.iter().zip(&names)).find_map(|(part, name)| part.is_none().then_some(name));
    let entries: Vec<Entry> = (parts.into_iter().flatten())
        .map(|(_, entry)| entry)
        .collect();
    let first = entries.first()?;
    let is_alike = |entry: &Entry| (&entry.shape, entry.dtype) == (&first.shape, first.dtype);
    let why = if let Some(missing) = missing {
        Some(format!("lacks {}", shown(missing)))
    } else if !entries.iter().all(is_alike) {
        let all = entries.iter();
        let all: Vec<String> = { all }
            .map(|entry| format!("{} {}", entry.shape, entry.dtype))
            .collect();
        let all = all.join(", ");
        Some(format!("is made of {all}, expected three of one kind"))
    } else {
        let bad = entries.iter().find_map(|entry| entry.place.as_ref().err());
        bad.cloned()
    };
    let mut sizes = first.shape.to_vec();
    if let Some(rows) = sizes.first_mut() {
        *rows = rows.saturating_mul(N_PARTS);
    }
    Some(Entry {
        shape: sizes.into(),
        dtype: first.dtype,
        part: first.part,
        place: why.map_or(Ok(Place::Joined(entries)), Err),
    })
}

/// A SiT that was trained with REPA has projectors beside it, and in early files its blocks after the aligned one under another name. Its
/// time runs from data to noise.
fn of_repa(mut set: Set) -> Set {
    const PROJECTORS: &str = "projectors.";
    const LATER: &str = "decoder_blocks.";
    let is_projector = |name: &String| name.starts_with(PROJECTORS);
    if !set.tensors.contains_key("x_embedder.proj.weight") || !set.tensors.keys().any(is_projector)
    {
        return set;
    }
    let n = set.tensors.len();
    set.tensors.retain(|name, _| !is_projector(name));
    set.n_left_out += n - set.tensors.len();
    set.is_reversed = true;
    let number = |name: &str| {
        let rest = name.strip_prefix("blocks.")?;
        rest.split('.').next()?.parse::<usize>().ok()
    };
    let last = set.tensors.keys().filter_map(|name| number(name)).max();
    let n_blocks = last.map_or(0, |last| last.saturating_add(1));
    let renamed = |(name, entry): (String, Entry)| {
        let later = || {
            let (block, rest) = name.strip_prefix(LATER)?.split_once('.')?;
            let block = block.parse::<usize>().ok()?.checked_add(n_blocks)?;
            Some(format!("blocks.{block}.{rest}"))
        };
        (later().unwrap_or_else(|| name.clone()), entry)
    };
    set.tensors = set.tensors.into_iter().map(renamed).collect();
    set
}

/// Turns the values of a tensor of a network of time 1 - t and the opposite velocity into those of a network of t: with
/// `cos((1 - t) f) = cos f cos tf + sin f sin tf` and `sin((1 - t) f) = sin f cos tf - cos f sin tf`, the first layer of the time
/// embedding reads the cosines and sines of t by other weights.
pub(super) fn reverse(name: &str, values: &mut [f32], row: usize) {
    match name {
        "final_layer.linear.weight" | "final_layer.linear.bias" => {
            values.iter_mut().for_each(|x| *x = -*x);
        }
        "t_embedder.mlp.0.weight" => {
            let freqs = Table::TimeFreqs { n: row / 2 }.values();
            for row in values.chunks_exact_mut(row.max(1)) {
                let (cosines, sines) = row.split_at_mut(freqs.len());
                for ((c, s), f) in cosines.iter_mut().zip(sines).zip(&freqs) {
                    let (sin, cos) = f64::from(*f).sin_cos();
                    let (of_cos, of_sin) = (f64::from(*c), f64::from(*s));
                    *c = (of_cos * cos + of_sin * sin) as f32;
                    *s = (of_cos * sin - of_sin * cos) as f32;
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The embedding of 1 - t by the weights as they are is that of t by the reversed ones.
    #[test]
    fn reversed_weights_read_the_time_from_the_other_end() {
        let n = 128;
        let freqs = Table::TimeFreqs { n }.values();
        let weights: Vec<f32> = (0..4 * n).map(|i| (1.7 * i as f32).sin()).collect();
        let mut reversed = weights.clone();
        reverse("t_embedder.mlp.0.weight", &mut reversed, 2 * n);
        let product = |weights: &[f32], t: f64| -> Vec<f64> {
            let angles = freqs.iter().map(|f| t * f64::from(*f));
            let cosines = angles.clone().map(f64::cos);
            let e: Vec<f64> = cosines.chain(angles.map(f64::sin)).collect();
            let row = |row: &[f32]| row.iter().zip(&e).map(|(w, e)| f64::from(*w) * e).sum();
            weights.chunks(2 * n).map(row).collect()
        };
        for t in [0.0, 0.3, 1.0] {
            let (got, want) = (product(&reversed, t), product(&weights, 1.0 - t));
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-5, "{t}: {got} {want}");
            }
        }
    }
}
