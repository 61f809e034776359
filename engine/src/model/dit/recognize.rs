//! A DiT by the names and shapes of its tensors.

use super::{Block, Dit, PRESETS};
use crate::model::network::Shapes;

/// Name of a tensor that every DiT has under the official names.
pub(crate) const LANDMARK: &str = "x_embedder.proj.weight";

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
/// Shapes do not tell the number of heads, which the published sizes tell for their widths, nor without a position embedding the
/// size of the image.
pub(crate) fn recognize(tensors: &Shapes<'_>) -> Option<Result<Found, String>> {
    let proj = tensors.get(LANDMARK)?;
    if proj.len() != 4 || proj.contains(&0) {
        return Some(Err(format!(
            "{LANDMARK} is {proj}, expected 4 axes of at least 1"
        )));
    }
    let (dim, channels, patch) = (proj[0], proj[1], proj[2]);
    let first = |name: &str| Some(*tensors.get(name)?.first()?);
    // If the outputs per pixel are neither C nor 2C, report a mismatch with the usual 2C.
    let plain = patch
        .checked_mul(patch)
        .and_then(|n| n.checked_mul(channels));
    let learn_sigma = first("final_layer.linear.weight") != plain;
    let modulation = first("blocks.0.adaLN_modulation.1.weight");
    let block = match modulation.is_some_and(|rows| Some(rows) == dim.checked_mul(4)) {
        true => Block::AdaLn,
        false => Block::AdaLnZero,
    };
    let number = |name: &str| {
        let rest = name.strip_prefix("blocks.")?;
        rest.split('.').next()?.parse::<usize>().ok()
    };
    let last = tensors.keys().filter_map(|name| number(name)).max();
    let table = first("y_embedder.embedding_table.weight");
    let tokens = tensors.get(POS_EMBED).filter(|shape| shape.len() == 3);
    let input_size = tokens.map(|shape| shape[1].isqrt().saturating_mul(patch));
    let published = PRESETS.iter().find(|p| p.dim == dim).map(|p| p.n_heads);
    let dit = Dit {
        input_size: input_size.unwrap_or(patch),
        channels,
        patch,
        dim,
        depth: last.map_or(0, |last| last.saturating_add(1)),
        n_heads: published.unwrap_or(1),
        n_classes: table.map_or(0, |rows| rows.saturating_sub(1)),
        learn_sigma,
        block,
    };
    Some(Ok(Found {
        dit,
        knows_heads: published.is_some(),
        knows_image: input_size.is_some(),
    }))
}
