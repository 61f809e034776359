//! The official names of a DiT's tensors, and those of diffusers' `DiTTransformer2DModel`, which has queries, keys and values apart and
//! the embedders of time and label once in each block.

use crate::error::{Error, Result};
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
pub(super) const BLOCKS: &str = "transformer_blocks.";

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

/// Queries, keys and values.
pub(super) const N_PARTS: usize = 3;

/// Their layer, which diffusers has apart.
const QKV: (&str, [&str; N_PARTS]) = ("attn.qkv", ["attn1.to_q", "attn1.to_k", "attn1.to_v"]);

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

    /// What the tensor with the official name `name` is called there, for messages.
    pub(super) fn called(self, name: &str) -> String {
        match self.held(name, 1) {
            Held::Copies(names) => names.into_iter().next().unwrap_or_default(),
            Held::Parts(names) => names[0].replace("to_q", "to_{q,k,v}"),
        }
    }
}

/// What a name of diffusers stands for.
pub(super) enum Meaning {
    /// The tensor of this official name.
    Whole(String),
    /// A copy of it.
    Copy(String),
    /// A part of it.
    Part(String, usize),
}

/// The meaning of a name of diffusers; `None` for one that a DiT does not have.
pub(super) fn meaning(name: &str) -> Option<Meaning> {
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
}
