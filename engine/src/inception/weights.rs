//! The weights on a device, from a file with the official names. Each batch norm is folded into its convolution.

use super::layers::{self, Conv, Layer, N_LOGITS, Names};
use crate::backend::{Arenas, Device};
use crate::checkpoint::{Mismatch, Reader, shown};
use crate::error::Result;
use crate::graph::{Arena, Layout};
use crate::nn::ParamSpec;
use crate::shape::Shape;
use std::io::{Read, Seek};

/// Added to the variances of the batch norms.
const EPS: f64 = 1e-3;

/// A counter that PyTorch keeps beside a batch norm.
const COUNTER: &str = ".bn.num_batches_tracked";

/// The weights of all layers.
#[derive(Debug)]
pub(super) struct Weights {
    pub layout: Layout,
    pub arenas: Arenas,
    /// The bias of the last layer, which the host adds.
    pub bias: Vec<f32>,
    /// 64-bit FNV-1a of all values in the order in which they are used here, whatever the names and the order of the file.
    pub hash: u64,
}

/// Goes on with a 64-bit FNV-1a.
fn hashed(hash: u64, values: &[f32]) -> u64 {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes());
    bytes.fold(hash, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The parameters of a convolution with its batch norm folded in: weights `[O, kh, kw, C]` and bias `[O]`.
pub(super) fn folded(conv: &Conv) -> [(String, Shape); 2] {
    let ([from, to], [kh, kw]) = (conv.channels, conv.kernel);
    [
        (
            format!("{}.weight", conv.name),
            Shape::from([to, kh, kw, from]),
        ),
        (format!("{}.bias", conv.name), Shape::from([to])),
    ]
}

/// The weights of the last layer.
pub(super) fn last() -> (String, Shape) {
    let [weight, _] = layers::last(Names::Torch, "");
    (weight.name, weight.shape)
}

/// Where all parameters lie.
pub(super) fn layout(network: &[Layer], max_segment_bytes: u64) -> Result<Layout> {
    let convs = layers::convs(network);
    let mut list: Vec<_> = convs.into_iter().flat_map(folded).collect();
    list.push(last());
    Layout::new(&list, max_segment_bytes)
}

/// Reads one tensor at a time.
pub(super) fn load<R: Read + Seek>(
    device: &Device,
    network: &[Layer],
    reader: &mut Reader<R>,
) -> Result<Weights> {
    let (names, prefix) = check(network, reader)?;
    let layout = layout(network, device.max_segment_bytes())?;
    let arenas = device.arenas(&layout, &[Arena::Params])?;
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for conv in layers::convs(network) {
        let values = fold(reader, conv, names, &prefix)?;
        for ((name, _), values) in folded(conv).iter().zip(values) {
            hash = hashed(hash, &values);
            arenas.write(Arena::Params, name, &values)?;
        }
    }
    let [weight, bias] = layers::last(names, &prefix);
    let mut values = reader.read_param(&weight)?;
    if names == Names::Jax {
        values = transposed(&values, N_LOGITS);
    }
    arenas.write(Arena::Params, &last().0, &values)?;
    let bias = reader.read_param(&bias)?;
    Ok(Weights {
        hash: hashed(hashed(hash, &values), &bias),
        bias,
        layout,
        arenas,
    })
}

/// Checks names and shapes of all tensors; returns their kind and prefix.
fn check<R: Read + Seek>(network: &[Layer], reader: &Reader<R>) -> Result<(Names, String)> {
    let convs = layers::convs(network);
    let found = [Names::Torch, Names::Jax].into_iter().find_map(|names| {
        let [first, ..] = convs[0].specs(names, "");
        let prefix = |name: &str| {
            let prefix = name.strip_suffix(&first.name[..])?;
            (prefix.is_empty() || prefix.ends_with('.')).then(|| prefix.to_owned())
        };
        let prefix = reader.tensors().find_map(|(name, _)| prefix(name))?;
        Some((names, prefix))
    });
    let Some((names, prefix)) = found else {
        let [first, ..] = convs[0].specs(Names::Torch, "");
        return reader.refuse(format_args!(
            "has no tensor {}, expected the Inception v3 of FID under the names of pytorch-fid or torch-fidelity",
            first.name
        ));
    };
    let specs = convs.iter().flat_map(|conv| conv.specs(names, &prefix));
    let specs: Vec<ParamSpec> = specs.chain(layers::last(names, &prefix)).collect();
    check_origin(reader, names, &prefix)?;
    let mut wrong = reader.mismatches(&specs);
    wrong.retain(|wrong| !matches!(wrong, Mismatch::Extra { name, .. } if name.ends_with(COUNTER)));
    match &wrong[..] {
        [] => Ok((names, prefix)),
        [only] => reader.refuse(only),
        [one, more @ ..] => {
            reader.refuse(format_args!("{one}, and {} more do not fit", more.len()))
        }
    }
}

/// Refuses torchvision's network, most of whose tensors have the same names and shapes.
fn check_origin<R: Read + Seek>(reader: &Reader<R>, names: Names, prefix: &str) -> Result<()> {
    let auxiliary = format!("{prefix}AuxLogits.");
    let mut tensors = reader.tensors().map(|(name, _)| name);
    let auxiliary = tensors.find(|name| name.starts_with(&auxiliary));
    let [weight, _] = layers::last(names, prefix);
    let outputs = reader.shape(&weight.name);
    let outputs = outputs.filter(|shape| shape.len() == 2 && shape.contains(&1000));
    let what = match (auxiliary, outputs) {
        (Some(name), _) => shown(name),
        (None, Some(shape)) => format!("{} {shape}", shown(&weight.name)),
        (None, None) => return Ok(()),
    };
    reader.refuse(format_args!(
        "has {what}: torchvision's Inception v3, whose weights and pools are others; FID is defined by the weights of 2015-12-05 with {N_LOGITS} outputs, as in pt_inception-2015-12-05-6726825d.pth"
    ))
}

/// Weights and bias of a convolution followed by `γ (x - mean) / √(var + eps) + β`: `w γ / √(var + eps)` in the order of patches, and
/// `β - mean γ / √(var + eps)`.
fn fold<R: Read + Seek>(
    reader: &mut Reader<R>,
    conv: &Conv,
    names: Names,
    prefix: &str,
) -> Result<[Vec<f32>; 2]> {
    let [weight, gamma, beta, mean, var] = conv.specs(names, prefix);
    let name = &var.name;
    let var = reader.read(name)?;
    if let Some(at) = var.iter().position(|&var| var < 0.0) {
        let got = var[at];
        return reader.refuse(format_args!("{name}[{at}] is {got}, expected at least 0"));
    }
    let mut vector = |spec: &ParamSpec| -> Result<Vec<f64>> {
        let values = reader.read(&spec.name)?;
        Ok(values.into_iter().map(f64::from).collect())
    };
    let (gamma, beta, mean) = (vector(&gamma)?, vector(&beta)?, vector(&mean)?);
    let rows = var.iter().zip(&gamma);
    let factors: Vec<f64> = rows
        .map(|(&var, gamma)| gamma / (f64::from(var) + EPS).sqrt())
        .collect();
    let bias = beta.iter().zip(&mean).zip(&factors);
    let bias: Vec<f32> = bias
        .map(|((beta, mean), factor)| (beta - mean * factor) as f32)
        .collect();
    let mut from = reader.read_param(&weight)?;
    let ([c, n], taps) = (conv.channels, conv.kernel[0] * conv.kernel[1]);
    // To the order of patches, [O, kh, kw, C].
    if names == Names::Jax {
        from = transposed(&from, n);
    }
    let mut weights = vec![0.0; from.len()];
    let [of_tap, of_channel] = match names {
        Names::Torch => [1, taps],
        Names::Jax => [c, 1],
    };
    let patches = weights.chunks_exact_mut(taps * c);
    for ((to, from), factor) in patches.zip(from.chunks_exact(taps * c)).zip(&factors) {
        for (tap, to) in to.chunks_exact_mut(c).enumerate() {
            for (channel, to) in to.iter_mut().enumerate() {
                let w = f64::from(from[tap * of_tap + channel * of_channel]);
                *to = (w * factor) as f32;
            }
        }
    }
    if !weights.iter().chain(&bias).all(|x| x.is_finite()) {
        return reader.refuse(format_args!(
            "{} is too large with its batch norm for f32",
            weight.name
        ));
    }
    Ok([weights, bias])
}

/// A matrix of `columns` columns with rows and columns exchanged.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let column = |i: usize| matrix.iter().skip(i).step_by(columns);
    (0..columns).flat_map(column).copied().collect()
}
