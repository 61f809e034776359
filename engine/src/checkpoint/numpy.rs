//! Pickles of nested dictionaries of NumPy arrays, as programs for JAX save weights. Names of tensors are the keys on the way to them,
//! with dots between.

use super::index::{Entry, Format, Index, Place, Set, Tensors};
use super::pickle::{self, Array, Pickle, Value};
use super::shown;
use crate::shape::Shape;
use std::collections::HashSet;
use std::io::{Read, Seek};

/// Larger pickles are rejected: the arrays lie inside them, and they are read as a whole. Inception has 96 MB.
const MAX_BYTES: u64 = 1 << 28;

/// More dictionaries inside one another than any network has.
const MAX_DEPTH: usize = 8;

/// Memory of a tensor beside its name and its values.
const ENTRY_BYTES: u64 = 256;

type Result<T> = std::result::Result<T, String>;

/// Reads the header of a stream of `len` bytes that starts with a pickle.
pub(super) fn read(stream: &mut (impl Read + Seek), len: u64) -> Result<Index> {
    const ADVICE: &str = "write it again with torch.save(model.state_dict(), FILE)";
    if len > MAX_BYTES {
        return Err(format!(
            "is a pickle of {len} bytes, but none of torch.save, expected at most {MAX_BYTES}; {ADVICE}"
        ));
    }
    let mut bytes = Vec::new();
    let done = stream.by_ref().take(MAX_BYTES).read_to_end(&mut bytes);
    done.map_err(|e| format!("cannot be read: {e}"))?;
    let refused = |what: &str| format!("is a pickle, but none of torch.save{what}; {ADVICE}");
    let read = pickle::read(&bytes);
    let (pickle, _) = read.map_err(|what| refused(&format!(" ({what})")))?;
    let mut found = Found {
        pickle: &pickle,
        tensors: Tensors::new(),
        seen: HashSet::new(),
        n_bytes: 0,
        most_bytes: len.saturating_mul(16).max(1 << 20),
    };
    if let Value::Dict(top) = pickle.top {
        found.dict(top, "", 0)?;
    }
    if found.tensors.is_empty() {
        return Err(refused(""));
    }
    let set = Set {
        tensors: found.tensors,
        ..Set::default()
    };
    Ok(Index {
        format: Format::Numpy,
        sets: vec![set],
        recipe: None,
    })
}

/// The arrays found so far.
struct Found<'a> {
    pickle: &'a Pickle<'a>,
    tensors: Tensors,
    /// Dictionaries, which may be inside several others; the first one counts.
    seen: HashSet<u32>,
    /// Bytes of all names and arrays, and their limit: several may be the same bytes of the file.
    n_bytes: u64,
    most_bytes: u64,
}

impl Found<'_> {
    fn dict(&mut self, dict: u32, prefix: &str, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(format!(
                "has dictionaries {}, expected at most {MAX_DEPTH} inside one another",
                shown(prefix)
            ));
        }
        if !self.seen.insert(dict) {
            return Ok(());
        }
        let pickle = self.pickle;
        for (key, value) in pickle.items(dict) {
            let Value::Text(key) = key else {
                continue;
            };
            let key = String::from_utf8_lossy(pickle.text(key));
            let name = match prefix {
                "" => key.into_owned(),
                _ => format!("{prefix}.{key}"),
            };
            match value {
                Value::Dict(inner) => self.dict(inner, &name, depth + 1)?,
                Value::Array(at) => {
                    let Some(array) = &pickle.arrays[at as usize] else {
                        continue;
                    };
                    let entry = entry(pickle, array);
                    self.n_bytes += array.bytes.len() + name.len() as u64 + ENTRY_BYTES;
                    if self.n_bytes > self.most_bytes {
                        return Err(format!(
                            "has names and arrays of {} bytes: they repeat the same ones",
                            self.n_bytes
                        ));
                    }
                    // The last item with a key wins.
                    self.tensors.insert(name, entry);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn entry(pickle: &Pickle<'_>, array: &Array) -> Entry {
    let sizes = pickle.naturals(array.sizes);
    let wide = |&n: &u64| usize::try_from(n).unwrap_or(usize::MAX);
    Entry {
        shape: Shape::from(sizes.iter().map(wide).collect::<Vec<_>>()),
        dtype: array.dtype,
        part: 0,
        place: place(array, &sizes),
    }
}

/// Location of an array in the pickle, which begins with the file.
fn place(array: &Array, sizes: &[u64]) -> Result<Place> {
    let mut strides = Vec::new();
    let mut numel = Some(1_u64);
    for &size in sizes {
        // In Fortran's order the first axis is the closest.
        strides.push(numel.unwrap_or(0));
        numel = numel.and_then(|n| n.checked_mul(size));
    }
    let expected = numel.and_then(|n| n.checked_mul(array.dtype.bitsize() as u64 / 8));
    let has = array.bytes.len();
    if expected != Some(has) {
        return Err(format!(
            "has {has} bytes, too few or too many for {sizes:?}"
        ));
    }
    Ok(Place::Array {
        start: array.bytes.start(),
        strides: (array.is_fortran && has > 0).then_some(strides),
    })
}
