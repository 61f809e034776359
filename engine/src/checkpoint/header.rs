//! The header of a safetensors file: a length, then names, types, shapes and places as JSON.

use super::RECIPE_KEY;
use super::index::{Dtype, Entry, Format, Index};
use super::write::Precision;
use crate::error::{Error, Result};
use crate::shape::Shape;
use safetensors::tensor::{Metadata, TensorInfo};
use std::io::{Read, Seek};

/// Largest header that is read; safetensors itself allows no more.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Reads the header of a stream of `len` bytes that stands at its start, and checks it against the length.
pub(super) fn read(
    stream: &mut (impl Read + Seek),
    len: u64,
) -> std::result::Result<Index, String> {
    let io = |e: std::io::Error| format!("cannot be read: {e}");
    if len < 8 {
        return Err(format!(
            "is {len} bytes long, too short for a safetensors file"
        ));
    }
    let mut prefix = [0; 8];
    stream.read_exact(&mut prefix).map_err(io)?;
    let header_len = u64::from_le_bytes(prefix);
    if header_len > MAX_HEADER_BYTES.min(len - 8) {
        return Err(format!(
            "states a header of {header_len} bytes in a file of {len}: truncated, or not a safetensors file"
        ));
    }
    let mut header = vec![0; header_len as usize];
    stream.read_exact(&mut header).map_err(io)?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|e| format!("has a header that cannot be read: {e}"))?;
    let data_at = 8 + header_len;
    let mut infos: Vec<(String, &TensorInfo)> = metadata.tensors().into_iter().collect();
    infos.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
    let mut end = data_at;
    for (tensor, info) in &infos {
        end = data_at + info.data_offsets.1 as u64;
        if end > len {
            return Err(format!(
                "is truncated: {tensor} ends at byte {end}, the file at {len}"
            ));
        }
    }
    if end < len {
        return Err(format!("has {} bytes after the last tensor", len - end));
    }
    let entry = |(name, info): (String, &TensorInfo)| {
        let (start, end) = info.data_offsets;
        let entry = Entry {
            shape: Shape::from(&info.shape[..]),
            dtype: info.dtype,
            place: Ok(data_at + start as u64..data_at + end as u64),
        };
        (name, entry)
    };
    let tensors = infos.into_iter().map(entry).collect();
    let text = metadata.metadata().as_ref();
    Ok(Index {
        format: Format::Safetensors,
        sets: vec![(String::new(), tensors)],
        recipe: text.and_then(|text| text.get(RECIPE_KEY)).cloned(),
    })
}

/// The header of a safetensors file of these tensors in this order, with one text of metadata; their values follow, see
/// [`super::write_values`].
///
/// # Errors
/// [`Error::Checkpoint`] when a name stands twice.
pub fn header(
    tensors: &[(String, Shape)],
    precision: Precision,
    metadata: Option<(&str, &str)>,
) -> Result<Vec<u8>> {
    let dtype = match precision {
        Precision::F32 => Dtype::F32,
        Precision::F16 => Dtype::F16,
    };
    let of = |(name, shape): &(String, Shape)| (name.clone(), shape.clone(), dtype);
    header_of(&tensors.iter().map(of).collect::<Vec<_>>(), metadata)
}

/// As [`header`], for tensors of whole bytes of several types.
///
/// # Errors
/// As [`header`].
pub fn header_of(
    tensors: &[(String, Shape, Dtype)],
    metadata: Option<(&str, &str)>,
) -> Result<Vec<u8>> {
    let mut end = 0;
    let infos = tensors.iter().map(|(name, shape, dtype)| {
        let start = end;
        end += dtype.bitsize() / 8 * shape.numel();
        let info = TensorInfo {
            dtype: *dtype,
            shape: shape.to_vec(),
            data_offsets: (start, end),
        };
        (name.clone(), info)
    });
    let text = metadata.map(|(key, text)| [(key.to_owned(), text.to_owned())].into());
    let refuse = |e: String| Error::Checkpoint(e);
    let metadata = Metadata::new(text, infos.collect()).map_err(|e| refuse(e.to_string()))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|e| refuse(e.to_string()))?;
    // Values start at a multiple of 8 bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    Ok(bytes)
}
