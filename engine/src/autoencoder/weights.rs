//! The weights of a half on a device, from the names that files have for them.

use super::{AutoencoderConfig, Half};
use crate::backend::{Arenas, Device};
use crate::checkpoint::Reader;
use crate::error::Result;
use crate::graph::{Arena, Layout};
use crate::nn::ParamSpec;
use crate::shape::Shape;
use std::io::{Read, Seek};

/// The weights of a half.
#[derive(Debug)]
pub(super) struct Weights {
    pub layout: Layout,
    pub arenas: Arenas,
}

/// A half, or `None` if the file has nothing of it.
pub(super) fn load<R: Read + Seek>(
    device: &Device,
    config: &AutoencoderConfig,
    half: Half,
    reader: &mut Reader<R>,
) -> Result<Option<Weights>> {
    let specs = config.params(half)?;
    let find = |name: &str| {
        let names = names(half, name).into_iter();
        { names }.find(|name| reader.entry(name).is_some())
    };
    if find(config.first_layer(half)).is_none() {
        return Ok(None);
    }
    let found: Vec<Option<String>> = specs.iter().map(|spec| find(&spec.name)).collect();
    let mut present = Vec::new();
    for (spec, name) in specs.iter().zip(found) {
        let Some(name) = name else {
            return reader.refuse(format_args!(
                "has no tensor {}, and others of the same network",
                spec.name
            ));
        };
        check_shape(reader, &name, spec)?;
        present.push((spec, name));
    }
    let layout = layout(config, half, device.max_segment_bytes())?;
    let arenas = device.arenas(&layout, &[Arena::Params])?;
    for (spec, name) in present {
        arenas.write(Arena::Params, &spec.name, &reader.read(&name)?)?;
    }
    Ok(Some(Weights { layout, arenas }))
}

/// Where the parameters of a half are in an arena.
pub(super) fn layout(
    config: &AutoencoderConfig,
    half: Half,
    max_segment_bytes: u64,
) -> Result<Layout> {
    let specs = config.params(half)?.into_iter();
    let list: Vec<(String, Shape)> = specs.map(|spec| (spec.name, spec.shape)).collect();
    Layout::new(&list, max_segment_bytes)
}

/// Shapes may differ in axes of 1 at the end: a linear layer is also stored as a convolution of one pixel.
fn check_shape<R: Read + Seek>(reader: &Reader<R>, name: &str, spec: &ParamSpec) -> Result<()> {
    let axes = |shape: &Shape| {
        let n = shape.iter().rposition(|&n| n != 1).map_or(0, |at| at + 1);
        shape[..n].to_vec()
    };
    match reader.shape(name) {
        Some(got) if axes(&got) == axes(&spec.shape) => Ok(()),
        got => {
            let got = got.map_or_else(|| "missing".to_owned(), |shape| shape.to_string());
            reader.refuse(format_args!("{name} is {got}, expected {}", spec.shape))
        }
    }
}

/// The names that files have for a parameter, the own one first.
pub(super) fn names(half: Half, name: &str) -> Vec<String> {
    let mut names = vec![name.to_owned()];
    let legacy = [
        (".to_q.", ".query."),
        (".to_k.", ".key."),
        (".to_v.", ".value."),
        (".to_out.0.", ".proj_attn."),
    ];
    for (new, old) in legacy {
        if name.contains(new) {
            names.push(name.replace(new, old));
        }
    }
    let prefix = match half {
        Half::Encoder => "encoder.",
        Half::Decoder => "decoder.",
    };
    // The layers of a tiny autoencoder are numbers: alone in its own files, and after "layers" in those of diffusers, whose decoder
    // does not count the first one.
    if let Some(rest) = name.strip_prefix(prefix)
        && let Some((layer, rest_of_name)) = rest.split_once('.')
        && let Ok(layer) = layer.parse::<usize>()
    {
        let counted = match half {
            Half::Encoder => Some(layer),
            Half::Decoder => layer.checked_sub(1),
        };
        names.push(rest.to_owned());
        names.extend(counted.map(|layer| format!("{prefix}layers.{layer}.{rest_of_name}")));
    }
    names
}
