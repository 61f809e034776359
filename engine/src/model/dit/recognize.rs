//! A DiT by the names and shapes of its tensors.

use super::{Condition, Dit, PRESETS};
use crate::model::network::Shapes;
use crate::nn::Activation;
use crate::ops::adaln::Norm;

/// Names of the patch embedding's weight, one of which every DiT has under the official names: without and with a bottleneck.
pub(crate) const LANDMARKS: [&str; 2] = ["x_embedder.proj.weight", "x_embedder.proj1.weight"];

/// Official name of the fixed position embedding, `[1, T, D]`.
const POS_EMBED: &str = "pos_embed";

/// A DiT by its tensors, as far as they tell.
pub(crate) struct Found {
    pub dit: Dit,
    pub knows_heads: bool,
    pub knows_image: bool,
}

/// The sizes that the tensors tell; `None` when they are no DiT's.
///
/// Shapes do not tell the number of heads nor where class tokens join, which the published sizes tell for their widths, nor without a
/// position embedding the size of the image. A JiT's file does not tell that its heads turn, but its bottleneck does.
pub(crate) fn recognize(tensors: &Shapes<'_>) -> Option<Result<Found, String>> {
    let name = LANDMARKS
        .into_iter()
        .find(|name| tensors.contains_key(name))?;
    let proj = tensors.get(name)?;
    if proj.len() != 4 || proj.contains(&0) {
        return Some(Err(format!(
            "{name} is {proj}, expected 4 axes of at least 1"
        )));
    }
    let first = |name: &str| Some(*tensors.get(name)?.first()?);
    let has = |name: &str| tensors.contains_key(name);
    let (channels, patch) = (proj[1], proj[2]);
    let (dim, bottleneck) = match name == LANDMARKS[0] {
        true => (proj[0], 0),
        false => (first("x_embedder.proj2.weight").unwrap_or(0), proj[0]),
    };
    // If the outputs per pixel are neither C nor 2C, report a mismatch with the usual 2C.
    let plain = patch
        .checked_mul(patch)
        .and_then(|n| n.checked_mul(channels));
    let learn_sigma = first("final_layer.linear.weight") != plain;
    let norm = match has("blocks.0.norm1.weight") {
        true => Norm::Rms,
        false => Norm::Layer,
    };
    let modulation = first("blocks.0.adaLN_modulation.1.weight");
    // Gates and scales without shifts have as many rows as shifts and scales without gates; only LightningDiT has the former.
    let four = modulation.is_some_and(|rows| Some(rows) == dim.checked_mul(4));
    let condition = match modulation {
        Some(_) if four && norm == Norm::Layer => Condition::AdaLn,
        None if has("blocks.0.cross_attn.q.weight") => Condition::CrossAttention,
        None if has("blocks.0.attn.qkv.weight") => Condition::InContext,
        _ => Condition::AdaLnZero,
    };
    let number = |name: &str| {
        let rest = name.strip_prefix("blocks.")?;
        rest.split('.').next()?.parse::<usize>().ok()
    };
    let depth = tensors.keys().filter_map(|name| number(name)).max();
    let depth = depth.map_or(0, |last| last.saturating_add(1));
    let table = first("y_embedder.embedding_table.weight");
    let tokens = tensors.get(POS_EMBED).filter(|shape| shape.len() == 3);
    let input_size = tokens.map(|shape| shape[1].isqrt().saturating_mul(patch));
    let published = PRESETS.iter().map(|preset| preset.dit);
    let published = published.filter(|dit| (dit.bottleneck > 0) == (bottleneck > 0));
    let published = published.filter(|published| published.dim == dim);
    let published = published.min_by_key(|published| published.depth != depth);
    let class_tokens = tensors.get("in_context_posemb");
    let class_tokens = class_tokens.and_then(|shape| shape.get(1).copied());
    let dit = Dit {
        input_size: input_size.unwrap_or(patch),
        channels,
        patch,
        dim,
        depth,
        n_heads: published.map_or(1, |published| published.n_heads),
        n_classes: table.map_or(0, |rows| rows.saturating_sub(1)),
        learn_sigma,
        condition,
        norm,
        qk_norm: has("blocks.0.attn.q_norm.weight"),
        mlp: match has("blocks.0.mlp.w12.weight") {
            true => Activation::SwiGlu,
            false => Activation::Gelu,
        },
        rope: has("feat_rope.freqs_cos") || bottleneck > 0,
        shift: !(four && condition == Condition::AdaLnZero),
        bottleneck,
        class_tokens: class_tokens.unwrap_or(0),
        class_tokens_from: match class_tokens {
            None => 0,
            Some(_) => published.map_or(0, |published| published.class_tokens_from),
        },
        span: has("span_embedder.mlp.0.weight"),
    };
    Some(Ok(Found {
        dit,
        knows_heads: published.is_some(),
        knows_image: input_size.is_some(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::params;

    fn found(dit: &Dit) -> Found {
        let specs = params(dit).unwrap();
        let shapes = specs.iter().map(|spec| (&spec.name[..], &spec.shape));
        recognize(&shapes.collect()).unwrap().unwrap()
    }

    #[test]
    fn published_models_are_recognized_by_their_tensors() {
        for name in PRESETS.iter().flat_map(super::super::Preset::names) {
            let dit = Dit::preset(&name).unwrap();
            let found = found(&dit);
            assert_eq!(found.dit, dit, "{name}");
            assert!(found.knows_heads && found.knows_image, "{name}");
        }
    }

    #[test]
    fn designs_are_recognized_by_their_tensors() {
        let small = Dit {
            dim: 48,
            depth: 2,
            n_heads: 1,
            ..Dit::SIT
        };
        let lightning = Dit {
            norm: Norm::Rms,
            shift: false,
            ..small
        };
        let designs = [
            Condition::InContext,
            Condition::CrossAttention,
            Condition::AdaLn,
            Condition::AdaLnZero,
        ];
        let designs = designs.map(|condition| Dit { condition, ..small });
        for dit in designs.into_iter().chain([lightning]) {
            let found = found(&dit);
            assert_eq!(found.dit, dit);
            assert!(!found.knows_heads);
        }
    }
}
