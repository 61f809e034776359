//! The header of a safetensors file: its length, then names, types, shapes and byte offsets as JSON.

use super::index::{Dtype, Entry, Format, Index, Place, Set, Tensors};
use super::shown;
use crate::error::{Error, Result};
use crate::shape::Shape;
use safetensors::tensor::TensorInfo;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
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
            place: Ok(Place::Array {
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

/// The header of a safetensors file with these tensors in this order, whose elements are whole bytes, and texts by key; write the values
/// after it.
///
/// # Errors
/// [`Error::Checkpoint`] for a duplicate name.
#[doc(hidden)]
pub fn header_of(tensors: &[(String, Shape, Dtype)], metadata: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut end = 0;
    let mut seen = BTreeSet::new();
    let mut infos = Vec::new();
    for (name, shape, dtype) in tensors {
        if !seen.insert(name) {
            return Err(Error::Checkpoint(format!("two tensors {}", shown(name))));
        }
        let start = end;
        end += dtype.bitsize() / 8 * shape.numel();
        let info = TensorInfo {
            dtype: *dtype,
            shape: shape.to_vec(),
            data_offsets: (start, end),
        };
        infos.push((&name[..], info));
    }
    let list = List {
        metadata: metadata.iter().copied().collect(),
        tensors: infos,
    };
    let mut json = serde_json::to_vec(&list).map_err(|e| Error::Checkpoint(e.to_string()))?;
    // The format aligns values to 8 bytes.
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    Ok(bytes)
}

/// The contents of the JSON to write, in an order that is the same each time.
struct List<'a> {
    metadata: BTreeMap<&'a str, &'a str>,
    tensors: Vec<(&'a str, TensorInfo)>,
}

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let metadata = (!self.metadata.is_empty()).then_some(&self.metadata);
        let mut map = to.serialize_map(None)?;
        if let Some(metadata) = metadata {
            map.serialize_entry("__metadata__", metadata)?;
        }
        for (name, info) in &self.tensors {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}
