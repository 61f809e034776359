//! The `torch.save` format before PyTorch 1.6: five pickles (a magic number, a version, system information, the state dict, the
//! names of arrays), then for each array its number of values as i64 and the values.

use super::index::{Dtype, Format, Index};
use super::pickle::{self, MAX_PICKLE_BYTES, Pickle, Value};
use super::shown;
use super::state_dict::{Archive, Arrays};
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};

/// The magic number, as encoded in the first pickle.
pub(super) const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Version of the format.
const VERSION: i64 = 1001;

/// Reads the header of a stream of `len` bytes from its start.
pub(super) fn read(stream: &mut (impl Read + Seek), len: u64) -> Result<Index, String> {
    let io = |e: std::io::Error| format!("cannot be read: {e}");
    let mut bytes = Vec::new();
    let head = stream.by_ref().take(MAX_PICKLE_BYTES);
    { head }.read_to_end(&mut bytes).map_err(io)?;
    let mut at = 0;
    let mut next = || {
        let (pickle, end) = pickle::read(&bytes[at..])?;
        at += end;
        Ok::<_, String>(pickle)
    };
    next()?;
    match next()?.top {
        Value::Int(VERSION) => {}
        Value::Int(n) => return Err(format!("has version {n} of its format, expected {VERSION}")),
        _ => return Err("has no version where torch.save writes one".into()),
    }
    if !is_little_endian(&next()?) {
        return Err("was written by a big-endian machine, expected little-endian".into());
    }
    let (pickle, keys) = (next()?, next()?);
    let arrays = arrays(stream, &pickle, &keys, at as u64, len)?;
    let archive = Archive::new(&pickle, &arrays, "array ", len);
    Ok(Index {
        format: Format::TorchLegacy,
        sets: archive.sets()?,
        recipe: None,
    })
}

fn is_little_endian(machine: &Pickle) -> bool {
    let Value::Dict(machine_dict) = machine.top else {
        return true;
    };
    let big = |(key, value): (Value, Value)| {
        let named = matches!(key, Value::Text(key) if machine.text(key) == b"little_endian");
        named && value == Value::Bool(false)
    };
    !machine.items(machine_dict).any(big)
}

/// The arrays after the pickles, in the order of their names.
fn arrays(
    stream: &mut (impl Read + Seek),
    pickle: &Pickle,
    keys: &Pickle,
    mut at: u64,
    len: u64,
) -> Result<Arrays, String> {
    let types: HashMap<&[u8], Dtype> = pickle
        .storages
        .iter()
        .map(|storage| (pickle.text(storage.key), storage.dtype))
        .collect();
    let Value::List(list) = keys.top else {
        return Err("has no list of arrays where torch.save writes one".into());
    };
    let mut arrays = Arrays::new();
    for (_, key) in keys.items(list) {
        let Value::Text(key) = key else { continue };
        let key = keys.text(key);
        let name = || shown(&String::from_utf8_lossy(key));
        let Some(dtype) = types.get(key) else {
            return Err(format!("has an array {} that no tensor lies in", name()));
        };
        let mut numel = [0; 8];
        let read = stream.seek(SeekFrom::Start(at));
        let read = read.and_then(|_| stream.read_exact(&mut numel));
        read.map_err(|e| format!("is truncated: array {} is missing ({e})", name()))?;
        let n_bytes = u64::from_le_bytes(numel).checked_mul(dtype.bitsize() as u64 / 8);
        let end = n_bytes.and_then(|n| n.checked_add(at + 8));
        let end = end.filter(|&end| end <= len).ok_or_else(|| {
            format!(
                "is truncated: array {} has {} values, the file ends at byte {len}",
                name(),
                u64::from_le_bytes(numel)
            )
        })?;
        if arrays.insert(key.to_owned(), Ok(at + 8..end)).is_some() {
            return Err(format!("has two arrays {}", name()));
        }
        at = end;
    }
    Ok(arrays)
}
