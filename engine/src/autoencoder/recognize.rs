//! An autoencoder by the names and shapes of its tensors.

use super::weights::names;
use super::{AutoencoderConfig, AutoencoderKl, Half, TinyAutoencoder};
use crate::checkpoint::Reader;
use crate::error::Result;
use crate::shape::Shape;
use std::io::{Read, Seek};

/// The autoencoder whose encoder, decoder or both a file has.
///
/// Shapes tell neither the groups of the norms, for which diffusers' default of 32 is assumed where it divides the widths, nor the
/// scale and shift of the latents: Stable Diffusion's are assumed for four channels, and those of Stable Diffusion 3 for 16 without
/// convolutions of one pixel; else 1 and 0.
///
/// # Errors
/// [`crate::Error::Checkpoint`] when the file has no autoencoder, or sizes that do not fit together.
pub fn recognize<R: Read + Seek>(reader: &Reader<R>) -> Result<AutoencoderConfig> {
    let config =
        match (kl(reader), tiny(reader)) {
            (Some(kl), _) => AutoencoderConfig::Kl(kl),
            (_, Some(tiny)) => AutoencoderConfig::Tiny(tiny),
            _ => return reader.refuse(
                "has no autoencoder that is known: expected AutoencoderKL of diffusers, or TAESD",
            ),
        };
    match config.validate() {
        Ok(()) => Ok(config),
        Err(e) => reader.refuse(format_args!(
            "is an autoencoder of sizes that do not fit together: {e}"
        )),
    }
}

/// The halves that a file has of it.
#[doc(hidden)]
pub fn halves<R: Read + Seek>(reader: &Reader<R>, config: &AutoencoderConfig) -> Vec<Half> {
    let has = |half: &Half| {
        let names = names(*half, config.first_layer(*half));
        names.iter().any(|name| reader.entry(name).is_some())
    };
    [Half::Encoder, Half::Decoder]
        .into_iter()
        .filter(has)
        .collect()
}

/// Groups of norms by diffusers' default.
const GROUPS: usize = 32;

fn kl<R: Read + Seek>(reader: &Reader<R>) -> Option<AutoencoderKl> {
    let shape = |name: &str| reader.shape(name).filter(|shape| shape.len() == 4);
    let widths_of = |half: &str| -> Vec<usize> {
        let level = |i| shape(&format!("{half}.{i}.resnets.0.conv1.weight")).map(|s| s[0]);
        (0..).map_while(level).collect()
    };
    let mut widths = widths_of("encoder.down_blocks");
    let has_encoder = !widths.is_empty();
    if !has_encoder {
        widths = widths_of("decoder.up_blocks");
        widths.reverse();
    }
    let blocks_of = |half: &str| {
        let block = |i: &usize| shape(&format!("{half}.0.resnets.{i}.conv1.weight")).is_some();
        (0..).take_while(block).count()
    };
    let (blocks, channels, latent_channels) = match has_encoder {
        true => (
            blocks_of("encoder.down_blocks"),
            shape("encoder.conv_in.weight")?[1],
            shape("encoder.conv_out.weight")?[0] / 2,
        ),
        false => (
            blocks_of("decoder.up_blocks").checked_sub(1)?,
            shape("decoder.conv_out.weight")?[0],
            shape("decoder.conv_in.weight")?[1],
        ),
    };
    let quant = ["quant_conv.weight", "post_quant_conv.weight"];
    let quant = quant.iter().any(|name| reader.entry(name).is_some());
    // Before diffusers 0.13 the tensors of attention had other names below this one.
    let attention = reader
        .tensors()
        .any(|(name, _)| name.contains(".mid_block.attentions."));
    let divides = |groups: &usize| widths.iter().all(|width| width % groups == 0);
    let groups = (1..=GROUPS).rev().find(divides).unwrap_or(1);
    let [scale, shift] = match (latent_channels, quant) {
        (4, _) => [0.18215, 0.0],
        (16, false) => [1.5305, 0.0609],
        _ => [1.0, 0.0],
    };
    Some(AutoencoderKl {
        channels,
        latent_channels,
        blocks,
        groups,
        attention,
        quant,
        scale,
        shift,
        widths,
    })
}

fn tiny<R: Read + Seek>(reader: &Reader<R>) -> Option<TinyAutoencoder> {
    let find = |half: Half, name: &str| -> Option<Shape> {
        names(half, name).iter().find_map(|name| reader.shape(name))
    };
    // Only an encoder has a layer 0.
    let encoder = find(Half::Encoder, "encoder.0.weight").filter(|shape| shape.len() == 4);
    let (width, latent_channels, has_pool) = match encoder {
        Some(first) => (
            first[0],
            find(Half::Encoder, "encoder.14.weight").filter(|shape| shape.len() == 4)?[0],
            find(Half::Encoder, "encoder.11.pool.0.weight").is_some(),
        ),
        None => {
            let first = find(Half::Decoder, "decoder.1.weight").filter(|shape| shape.len() == 4)?;
            let has_pool = find(Half::Decoder, "decoder.3.pool.0.weight").is_some();
            (first[0], first[1], has_pool)
        }
    };
    Some(TinyAutoencoder {
        latent_channels,
        width,
        pool: has_pool,
    })
}
