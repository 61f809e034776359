//! The header of a safetensors file: its length, then names, types, shapes and byte offsets as JSON.

use super::index::{Dtype, Entry, Format, Index, Place, Set, Tensors};
use super::precision::Precision;
use super::shown;
use crate::error::{Error, Result};
use crate::shape::Shape;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::io::{Read, Seek};

/// Maximum header size, the same as in the safetensors library.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Reads the header of a stream of `len` bytes from its start, and checks it against the length.
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
    let header: Header = serde_json::from_slice(&header).map_err(|e| {
        format!(
            "has a header that cannot be read: {}",
            shown(&e.to_string())
        )
    })?;
    let data_at = 8 + header_len;
    check_places(&header.tensors, len - data_at)?;
    let mut tensors = Tensors::new();
    for (name, info) in header.tensors {
        let entry = Entry {
            shape: Shape::from(info.shape),
            dtype: info.dtype,
            part: 0,
            place: Ok(Place {
                start: data_at + info.data_offsets.0 as u64,
                strides: None,
            }),
        };
        if tensors.contains_key(&name) {
            return Err(format!("has two tensors {}", shown(&name)));
        }
        tensors.insert(name, entry);
    }
    Ok(Index {
        format: Format::Safetensors,
        sets: vec![Set {
            tensors,
            ..Set::default()
        }],
        recipe: header.recipe,
    })
}

/// Checks that the tensors are contiguous, each with the bytes of its shape, and end at `len`.
fn check_places(tensors: &[(String, TensorInfo)], len: u64) -> std::result::Result<(), String> {
    let mut by_place: Vec<&(String, TensorInfo)> = tensors.iter().collect();
    by_place.sort_by_key(|(_, info)| info.data_offsets);
    let mut end = 0;
    for (name, info) in by_place {
        let (from, to) = info.data_offsets;
        let numel = info
            .shape
            .iter()
            .try_fold(1_usize, |n, &size| n.checked_mul(size));
        let bits = numel.and_then(|n| n.checked_mul(info.dtype.bitsize()));
        if from != end
            || bits.is_none_or(|bits| {
                !bits.is_multiple_of(8) || from.checked_add(bits / 8) != Some(to)
            })
        {
            return Err(format!(
                "has a header that contradicts itself: {} is {} {:?} at bytes {from} to {to}, the tensor before it ends at {end}",
                shown(name),
                info.dtype,
                info.shape
            ));
        }
        end = to;
        if end as u64 > len {
            return Err(format!(
                "is truncated: {} ends at byte {end} of the values, of which the file has {len}",
                shown(name)
            ));
        }
    }
    match len - end as u64 {
        0 => Ok(()),
        more => Err(format!("has {more} bytes after the last tensor")),
    }
}

/// The contents of the JSON.
#[derive(Default)]
struct Header {
    /// The text under [`super::recipe::RECIPE_KEY`] of the metadata.
    recipe: Option<String>,
    tensors: Vec<(String, TensorInfo)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        from.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
        let mut header = Header::default();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                header.recipe = map.next_value::<Texts>()?.sit;
            } else {
                header.tensors.push((name, map.next_value()?));
            }
        }
        Ok(header)
    }
}

/// The one metadata entry that is read.
#[derive(Deserialize)]
struct Texts {
    #[serde(default)]
    sit: Option<String>,
}

/// The header of a safetensors file with these tensors in this order and one metadata entry; write the values after it with
/// [`super::write_values`].
///
/// # Errors
/// [`Error::Checkpoint`] for a duplicate name.
#[doc(hidden)]
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

/// As [`header`], for tensors of several types whose elements are whole bytes.
///
/// # Errors
/// As [`header`].
#[doc(hidden)]
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
    // The format aligns values to 8 bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    Ok(bytes)
}
