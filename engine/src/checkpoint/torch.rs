//! PyTorch's `.pt` files: a zip archive with `data.pkl`, a pickle of dictionaries of tensors, and a stored file `data/KEY` for
//! each array.

use super::index::{Entry, Format, Index, Tensors};
use super::pickle::{self, Pickle, Value, View};
use crate::shape::Shape;
use std::collections::HashMap;
use std::io::{Read, Seek};
use std::ops::Range;
use zip::{CompressionMethod, ZipArchive};

/// First bytes of a zip archive.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

/// Largest pickle that is read; the one of SiT-XL/2 with its optimizer has less than a megabyte.
const MAX_PICKLE_BYTES: u64 = 16 << 20;

/// The sets of a training checkpoint, in the order of the official `find_model`: the moving average comes first.
const SETS: [&str; 2] = ["ema", "model"];

type Result<T> = std::result::Result<T, String>;

/// Reads the header of a stream of `len` bytes that starts with [`MAGIC`].
pub(super) fn read(stream: &mut (impl Read + Seek), len: u64) -> Result<Index> {
    let bad = |e: zip::result::ZipError| format!("is a zip archive that cannot be read: {e}");
    let mut archive = ZipArchive::new(stream).map_err(bad)?;
    let mut files = HashMap::new();
    for i in 0..archive.len() {
        let file = archive.by_index_raw(i).map_err(bad)?;
        let name = file.name().map_err(bad)?.into_owned();
        let at = file.data_start().unwrap_or(u64::MAX);
        let end = at.saturating_add(file.compressed_size());
        if end > len {
            return Err(format!(
                "is truncated: {name} ends at byte {end}, the file at {len}"
            ));
        }
        let stored = file.compression() == CompressionMethod::Stored && !file.encrypted();
        files.insert(name, stored.then_some(at..end));
    }
    let is_pickle = |name: &&String| name.ends_with("/data.pkl") && name.matches('/').count() == 1;
    let name = files.keys().find(is_pickle).cloned().ok_or(
        "is a zip archive without data.pkl, expected one of torch.save, of PyTorch 1.6 or later",
    )?;
    let folder = name.trim_end_matches("data.pkl").to_owned();
    let mut text = |name: &str, most: u64| -> Result<Vec<u8>> {
        if files.get(name).is_some_and(Option::is_none) {
            return Err(format!(
                "{name} is compressed or encrypted, expected stored"
            ));
        }
        let file = archive.by_name(name).map_err(bad)?;
        if file.size() > most {
            return Err(format!(
                "{name} has {} bytes, expected at most {most}",
                file.size()
            ));
        }
        let mut bytes = Vec::new();
        let done = file.take(most).read_to_end(&mut bytes);
        done.map_err(|e| format!("{name} cannot be read: {e}"))?;
        Ok(bytes)
    };
    let order = format!("{folder}byteorder");
    if files.contains_key(&order) && text(&order, 16)? != b"little" {
        return Err("was written by a big-endian machine, expected little-endian".into());
    }
    let (pickle, top) = pickle::read(&text(&name, MAX_PICKLE_BYTES)?)?;
    let Value::Dict(top) = top else {
        return Err("holds something else than a dictionary of tensors".into());
    };
    let archive = Archive {
        pickle: &pickle,
        files: &files,
        folder: &folder,
    };
    let named = |name: &str| archive.items(top).find(|(key, _)| *key == name);
    let mut sets = Vec::new();
    for name in SETS {
        if let Some((_, Value::Dict(set))) = named(name) {
            sets.push((name.to_owned(), archive.tensors(set)));
        }
    }
    if sets.is_empty() {
        sets.push((String::new(), archive.tensors(top)));
    }
    if sets.iter().all(|(_, tensors)| tensors.is_empty()) {
        let keys: Vec<&str> = archive.items(top).map(|(key, _)| key).take(5).collect();
        return Err(format!(
            "holds no tensors but {}; expected a state dict, or one under `ema` or `model`",
            keys.join(", ")
        ));
    }
    Ok(Index {
        format: Format::Torch,
        sets,
        recipe: None,
    })
}

struct Archive<'a> {
    pickle: &'a Pickle,
    /// Where each file's bytes are; `None` when they are compressed or encrypted.
    files: &'a HashMap<String, Option<Range<u64>>>,
    /// Of the pickle, with a slash.
    folder: &'a str,
}

impl<'a> Archive<'a> {
    /// The items of a dictionary whose keys are texts.
    fn items(&self, dict: usize) -> impl Iterator<Item = (&'a str, Value)> {
        let pickle = self.pickle;
        pickle.dicts[dict].iter().filter_map(|item| match *item {
            (Value::Text(key), value) => Some((&pickle.texts[key][..], value)),
            _ => None,
        })
    }

    /// The tensors among the items of a dictionary; a count of steps beside them is none.
    fn tensors(&self, dict: usize) -> Tensors {
        let entries = self.items(dict).filter_map(|(name, value)| match value {
            Value::Tensor(view) => Some((name.to_owned(), self.entry(&self.pickle.views[view]))),
            _ => None,
        });
        entries.collect()
    }

    fn entry(&self, view: &View) -> Entry {
        let sizes = view
            .sizes
            .iter()
            .map(|&n| usize::try_from(n).unwrap_or(usize::MAX));
        Entry {
            shape: Shape::from(sizes.collect::<Vec<_>>()),
            dtype: self.pickle.storages[view.storage].dtype,
            place: self.place(view),
        }
    }

    /// The bytes of a tensor that is contiguous and lies in its storage.
    fn place(&self, view: &View) -> Result<Range<u64>> {
        let storage = &self.pickle.storages[view.storage];
        let too_large = || format!("has the sizes {:?}, too many", view.sizes);
        let mut numel = 1_u64;
        let mut contiguous = true;
        for (&size, &stride) in view.sizes.iter().zip(&view.strides).rev() {
            contiguous &= size <= 1 || stride == numel;
            numel = numel.checked_mul(size).ok_or_else(too_large)?;
        }
        if !contiguous && numel > 0 {
            return Err(format!(
                "has the strides {:?}, expected contiguous rows; save it after .contiguous()",
                view.strides
            ));
        }
        let bytes = storage.dtype.bitsize() as u64 / 8;
        let end = view.offset.checked_add(numel).ok_or_else(too_large)?;
        if end > storage.numel {
            return Err(format!(
                "ends at element {end} of an array of {}",
                storage.numel
            ));
        }
        let name = format!("{}data/{}", self.folder, storage.key);
        let file = match self.files.get(&name) {
            Some(Some(file)) => file,
            Some(None) => return Err(format!("lies in {name}, which is compressed or encrypted")),
            None => return Err(format!("lies in {name}, which is not in the archive")),
        };
        let has = file.end - file.start;
        if storage.numel.checked_mul(bytes) != Some(has) {
            return Err(format!(
                "lies in {name} of {has} bytes, expected {} values of {bytes}",
                storage.numel
            ));
        }
        Ok(file.start + view.offset * bytes..file.start + end * bytes)
    }
}
