//! Sets of tensors under other names than the official ones: those of diffusers' `DiTTransformer2DModel`, which has queries, keys and
//! values apart and the embedders of time and label once in each block, and those of REPA, which has projectors beside a SiT.

use super::index::{Copied, Entry, Place, Set, Tensors};
use super::shown;
use crate::error::{Error, Result};
use crate::table::Table;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::fmt;
use std::str::FromStr;

/// What a file calls the tensors of a DiT.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// As the official code of SiT and DiT.
    #[default]
    Official,
    /// As diffusers' `DiTTransformer2DModel`.
    Diffusers,
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Names::Official => "official",
            Names::Diffusers => "diffusers",
        })
    }
}

impl FromStr for Names {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "official" => Ok(Names::Official),
            "diffusers" => Ok(Names::Diffusers),
            _ => Err(Error::Config(format!(
                "got {text:?}, expected official or diffusers"
            ))),
        }
    }
}

/// Name of the patch embedding's weight in files of diffusers; other transformers there have it, too.
pub(super) const LANDMARK: &str = "pos_embed.proj.weight";

/// Beginning of the names in diffusers' blocks.
const BLOCKS: &str = "transformer_blocks.";

/// Layers outside the blocks: the official name, and diffusers'.
const OUTER: [(&str, &str); 3] = [
    ("x_embedder.proj", "pos_embed.proj"),
    ("final_layer.adaLN_modulation.1", "proj_out_1"),
    ("final_layer.linear", "proj_out_2"),
];

/// Layers that are one for the network officially, and one for each block in diffusers.
const EMBEDDERS: [(&str, &str); 3] = [
    ("t_embedder.mlp.0", "norm1.emb.timestep_embedder.linear_1"),
    ("t_embedder.mlp.2", "norm1.emb.timestep_embedder.linear_2"),
    (
        "y_embedder.embedding_table",
        "norm1.emb.class_embedder.embedding_table",
    ),
];

/// Layers of a block.
const INNER: [(&str, &str); 4] = [
    ("adaLN_modulation.1", "norm1.linear"),
    ("attn.proj", "attn1.to_out.0"),
    ("mlp.fc1", "ff.net.0.proj"),
    ("mlp.fc2", "ff.net.2"),
];

/// The layer of queries, keys and values, which diffusers has apart.
const QKV: (&str, [&str; 3]) = ("attn.qkv", ["attn1.to_q", "attn1.to_k", "attn1.to_v"]);

/// Tensors of a file that together are one tensor with an official name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Each is the whole tensor.
    Copies(Vec<String>),
    /// Each has as many of its rows, in this order.
    Parts(Vec<String>),
}

impl Names {
    /// The tensors that hold the one with the official name `name` of a network of `depth` blocks.
    pub(super) fn held(self, name: &str, depth: usize) -> Held {
        let own = || Held::Copies(vec![name.to_owned()]);
        let Some((layer, leaf)) = name.rsplit_once('.').filter(|_| self == Names::Diffusers) else {
            return own();
        };
        let of = |table: &[(&str, &'static str)], layer: &str| {
            let found = table.iter().find(|(official, _)| *official == layer);
            found.map(|(_, diffusers)| *diffusers)
        };
        if let Some(other) = of(&OUTER, layer) {
            return Held::Copies(vec![format!("{other}.{leaf}")]);
        }
        if let Some(other) = of(&EMBEDDERS, layer) {
            let copy = |block| format!("{BLOCKS}{block}.{other}.{leaf}");
            return Held::Copies((0..depth).map(copy).collect());
        }
        let inner = layer.strip_prefix("blocks.");
        let Some((block, layer)) = inner.and_then(|rest| rest.split_once('.')) else {
            return own();
        };
        if layer == QKV.0 {
            let part = |other| format!("{BLOCKS}{block}.{other}.{leaf}");
            return Held::Parts(QKV.1.map(part).to_vec());
        }
        match of(&INNER, layer) {
            Some(other) => Held::Copies(vec![format!("{BLOCKS}{block}.{other}.{leaf}")]),
            None => own(),
        }
    }

    /// What messages call the tensor with the official name `name`.
    pub(super) fn shown(self, name: &str) -> String {
        match self.held(name, 1) {
            Held::Copies(names) => shown(names.first().map_or(name, |name| name)),
            Held::Parts(names) => shown(&names[0].replace("to_q", "to_{q,k,v}")),
        }
    }
}

/// What a name of diffusers stands for.
enum Meaning {
    /// The tensor of this official name.
    Whole(String),
    /// A copy of it.
    Copy(String),
    /// A part of it.
    Part(String, usize),
}

/// The meaning of a name of diffusers; `None` for one that a DiT does not have.
fn meaning(name: &str) -> Option<Meaning> {
    let (layer, leaf) = name.rsplit_once('.')?;
    let of = |table: &[(&'static str, &str)], layer: &str| {
        let found = table.iter().find(|(_, diffusers)| *diffusers == layer);
        found.map(|(official, _)| *official)
    };
    if let Some(official) = of(&OUTER, layer) {
        return Some(Meaning::Whole(format!("{official}.{leaf}")));
    }
    let (block, layer) = layer.strip_prefix(BLOCKS)?.split_once('.')?;
    // A name such as 00 would stand for the same block as 0.
    let is_number = |n: usize| n.to_string() == block;
    block.parse().ok().filter(|n| is_number(*n))?;
    if let Some(official) = of(&EMBEDDERS, layer) {
        return Some(Meaning::Copy(format!("{official}.{leaf}")));
    }
    if let Some(k) = QKV.1.iter().position(|part| *part == layer) {
        return Some(Meaning::Part(format!("blocks.{block}.{}.{leaf}", QKV.0), k));
    }
    let official = of(&INNER, layer)?;
    Some(Meaning::Whole(format!("blocks.{block}.{official}.{leaf}")))
}

/// The set under official names.
pub(super) fn official(set: Set) -> std::result::Result<Set, String> {
    let is_embedder = |name: &str| name.starts_with(BLOCKS) && name.contains(".norm1.emb.");
    if set.tensors.keys().any(|name| is_embedder(name)) {
        return of_diffusers(set);
    }
    Ok(of_repa(set))
}

fn of_diffusers(mut set: Set) -> std::result::Result<Set, String> {
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
    let mut parts: BTreeMap<String, [Option<(String, Entry)>; 3]> = BTreeMap::new();
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
fn joined(official: &str, parts: [Option<(String, Entry)>; 3]) -> Option<Entry> {
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
        *rows = rows.saturating_mul(QKV.1.len());
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
    use crate::model::{Dit, params};

    #[test]
    fn names_of_diffusers_mean_what_they_are_made_of() {
        let dit = Dit {
            dim: 32,
            depth: 3,
            n_heads: 2,
            ..Dit::SIT
        };
        let trained = params(&dit).unwrap().into_iter();
        for spec in trained.filter(crate::nn::ParamSpec::is_trained) {
            match Names::Diffusers.held(&spec.name, dit.depth) {
                Held::Copies(names) => {
                    assert!(!names.contains(&spec.name), "{names:?}");
                    for name in names {
                        let is_it = match meaning(&name) {
                            Some(Meaning::Whole(official) | Meaning::Copy(official)) => {
                                official == spec.name
                            }
                            _ => false,
                        };
                        assert!(is_it, "{name}");
                    }
                }
                Held::Parts(names) => {
                    for (name, i) in names.iter().zip(0..) {
                        let Some(Meaning::Part(official, k)) = meaning(name) else {
                            panic!("{name}");
                        };
                        assert_eq!((official, k), (spec.name.clone(), i));
                    }
                }
            }
            assert_eq!(
                Names::Official.held(&spec.name, dit.depth),
                Held::Copies(vec![spec.name.clone()])
            );
        }
        for other in [
            "transformer_blocks.00.norm1.linear.weight",
            "transformer_blocks.+1.norm1.linear.weight",
            "transformer_blocks.0.attn2.to_q.weight",
            "pos_embed",
        ] {
            assert!(meaning(other).is_none(), "{other}");
        }
    }

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
