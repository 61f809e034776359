//! PyTorch's `.pt` files since 1.6: a zip archive with `data.pkl`, a pickle of dictionaries of tensors, and an uncompressed file
//! `data/KEY` for each array.

use super::index::{Format, Index};
use super::pickle::{self, MAX_PICKLE_BYTES};
use super::shown;
use super::state_dict::{Archive, Arrays};
use std::collections::HashMap;
use std::io::{Read, Seek};
use std::ops::Range;
use zip::{CompressionMethod, ZipArchive};

/// First bytes of a zip archive.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

type Result<T> = std::result::Result<T, String>;

/// Byte range of each file; `None` for a compressed or encrypted one.
type Files = HashMap<String, Option<Range<u64>>>;

/// Reads the header of a stream of `len` bytes that starts with [`MAGIC`].
pub(super) fn read(stream: &mut (impl Read + Seek), len: u64) -> Result<Index> {
    let bad = |e: zip::result::ZipError| {
        format!("is a zip archive that cannot be read, as after a download that broke off: {e}")
    };
    let mut archive = ZipArchive::new(stream).map_err(bad)?;
    if archive.has_duplicate_names() {
        return Err("is a zip archive with two files of one name".into());
    }
    let mut files = Files::new();
    for i in 0..archive.len() {
        let file = archive.by_index_raw(i).map_err(bad)?;
        let name = file.name().map_err(bad)?.into_owned();
        let at = file.data_start().unwrap_or(u64::MAX);
        let end = at.saturating_add(file.compressed_size());
        if end > len {
            return Err(format!(
                "is truncated: {} ends at byte {end}, the file at {len}",
                shown(&name)
            ));
        }
        let stored = file.compression() == CompressionMethod::Stored && !file.encrypted();
        files.insert(name, stored.then_some(at..end));
    }
    let name = pickle_of(&files)?;
    let folder = name.trim_end_matches("data.pkl");
    let mut text = |name: &str, most: u64| -> Result<Vec<u8>> {
        if files.get(name).is_some_and(Option::is_none) {
            return Err(format!(
                "{} is compressed or encrypted, expected stored; was the archive packed again?",
                shown(name)
            ));
        }
        let file = archive.by_name(name).map_err(bad)?;
        if file.size() > most {
            return Err(format!(
                "{} has {} bytes, expected at most {most}",
                shown(name),
                file.size()
            ));
        }
        let mut bytes = Vec::new();
        let done = file.take(most).read_to_end(&mut bytes);
        done.map_err(|e| format!("{} cannot be read: {e}", shown(name)))?;
        Ok(bytes)
    };
    let order = format!("{folder}byteorder");
    if files.contains_key(&order) && text(&order, 16)? != b"little" {
        return Err("was written by a big-endian machine, expected little-endian".into());
    }
    let bytes = text(name, MAX_PICKLE_BYTES)?;
    let (pickle, _) = pickle::read(&bytes)?;
    let folder = format!("{folder}data/");
    let arrays: Arrays = files
        .iter()
        .filter_map(|(name, place)| {
            let key = name.strip_prefix(&folder)?.as_bytes().to_owned();
            let place = place.clone();
            Some((key, place.ok_or("compressed or encrypted".to_owned())))
        })
        .collect();
    let archive = Archive::new(&pickle, &arrays, &folder, len);
    Ok(Index {
        format: Format::Torch,
        sets: archive.sets()?,
        recipe: None,
    })
}

/// The name of the only pickle, or what the archive is if it has none.
fn pickle_of(files: &Files) -> Result<&str> {
    let is_pickle = |name: &&String| name.ends_with("/data.pkl") && name.matches('/').count() == 1;
    let mut pickles: Vec<&String> = files.keys().filter(is_pickle).collect();
    pickles.sort_unstable();
    if let [first, second, ..] = pickles[..] {
        return Err(format!(
            "has the pickles {} and {}, expected one",
            shown(first),
            shown(second)
        ));
    }
    if let [pickle] = pickles[..] {
        let folder = pickle.trim_end_matches("data.pkl");
        if files.contains_key(&format!("{folder}constants.pkl")) {
            return Err("is a TorchScript program, expected a state dict".into());
        }
        return Ok(pickle);
    }
    let mut names: Vec<&String> = files.keys().collect();
    names.sort_unstable();
    let ends = |endings: &[&str]| {
        let found = |name: &&&String| endings.iter().any(|ending| name.ends_with(ending));
        names.iter().find(found).map(|name| shown(name))
    };
    if let Some(inside) = ends(&[".safetensors", ".pt", ".pth", ".ckpt", ".bin"]) {
        return Err(format!(
            "is a zip archive with {inside} in it: unpack it and give that"
        ));
    }
    if ends(&[".npy"]).is_some() {
        return Err("is a NumPy archive (.npz), expected .safetensors or .pt".into());
    }
    Err("is a zip archive without data.pkl, expected one of torch.save".into())
}
