//! A U-Net by the names and shapes of its tensors.

use super::Unet;
use super::config::GROUPS;
use crate::model::network::Shapes;

/// Name of a tensor that every U-Net has under the names of guided-diffusion.
pub(crate) const LANDMARK: &str = "input_blocks.0.0.weight";

/// The sizes that the tensors tell; `None` when they are no U-Net's.
///
/// Shapes tell neither the number of heads and groups nor the size of the image. The size is set to the smallest that the levels
/// allow.
pub(crate) fn recognize(tensors: &Shapes<'_>) -> Option<Result<Unet, String>> {
    let stem = tensors.get(LANDMARK)?;
    // Stable Diffusion's, which has other blocks.
    if tensors
        .keys()
        .any(|name| name.contains("transformer_blocks."))
    {
        return None;
    }
    let first = |name: &str| Some(*tensors.get(name)?.first()?);
    let time = tensors
        .get("time_embed.0.weight")
        .filter(|shape| shape.len() == 2);
    let width = time.map_or(0, |shape| shape[1]);
    if stem.len() != 4 || stem.contains(&0) || width == 0 {
        return Some(Err(format!(
            "{LANDMARK} is {stem}, expected 4 axes of at least 1, and time_embed.0.weight with 2"
        )));
    }
    let (mut multipliers, mut blocks, mut levels_with_attention) = (Vec::new(), 0, Vec::new());
    let mut in_level = 0;
    for i in 1.. {
        let block = format!("input_blocks.{i}.0");
        if let Some(channels) = first(&format!("{block}.in_layers.2.weight")) {
            if in_level == 0 {
                multipliers.push(channels / width);
            }
            in_level += 1;
            blocks = blocks.max(in_level);
            let level = multipliers.len() - 1;
            let attends = first(&format!("input_blocks.{i}.1.qkv.weight")).is_some();
            if attends && levels_with_attention.last() != Some(&level) {
                levels_with_attention.push(level);
            }
        } else if first(&format!("{block}.op.weight")).is_some() {
            in_level = 0;
        } else {
            break;
        }
    }
    let input_size = 1 << multipliers.len().saturating_sub(1).min(16);
    let attention = levels_with_attention
        .iter()
        .map(|&level| input_size >> level);
    let channels = stem[1];
    Some(Ok(Unet {
        input_size,
        channels,
        width,
        blocks,
        attention: attention.collect(),
        multipliers,
        n_heads: 1,
        groups: GROUPS,
        // Files of guided-diffusion count steps; those made here say what they do.
        time_scale: 1,
        n_classes: first("label_emb.weight").map_or(0, |rows| rows.saturating_sub(1)),
        learn_sigma: first("out.2.weight") != Some(channels),
        span: first("span_embed.0.weight").is_some(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelConfig, params};

    #[test]
    fn a_network_is_known_by_its_tensors() {
        let net = Unet {
            input_size: 16,
            channels: 3,
            width: 32,
            multipliers: vec![1, 2, 3],
            blocks: 2,
            attention: vec![8, 4],
            n_heads: 4,
            groups: GROUPS,
            time_scale: 1,
            n_classes: 7,
            learn_sigma: true,
            span: true,
        };
        for net in [
            net.clone(),
            Unet {
                attention: vec![],
                n_classes: 0,
                learn_sigma: false,
                blocks: 1,
                ..net
            },
        ] {
            let specs = params(&net).unwrap();
            let tensors = specs.iter().map(|spec| (&spec.name[..], &spec.shape));
            let mut found = ModelConfig::recognize(&tensors.collect()).unwrap().unwrap();
            assert!(!found.knows_heads && !found.knows_image);
            found.add(Some(4), Some(16));
            assert_eq!(found.model, ModelConfig::Unet(net));
        }
    }
}
