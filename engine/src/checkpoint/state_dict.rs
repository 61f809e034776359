//! The dictionaries of tensors in a pickle, and the location of each tensor's values.

use super::index::{Entry, Place, Set, Tensors};
use super::pickle::{Pickle, Slice, Value, View};
use super::{LANDMARKS, shown};
use crate::shape::Shape;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

type Result<T> = std::result::Result<T, String>;

/// Maximum nesting depth of dictionaries that are searched.
const MAX_DEPTH: usize = 3;

/// Maximum number of dictionaries that are searched.
const MAX_DICTS: usize = 1000;

/// More weight sets than any real file has.
const MAX_SETS: usize = 8;

/// More tensors than the largest accepted pickle can name.
const MAX_TENSORS: usize = 1 << 17;

/// Arrays by name: their byte range in the file, or why they cannot be read.
pub(super) type Arrays = HashMap<Vec<u8>, Result<Range<u64>>>;

/// A pickle and the arrays that it refers to, in a file of `len` bytes.
pub(super) struct Archive<'a> {
    pickle: &'a Pickle<'a>,
    /// Display name and byte range of each array, looked up once even if many tensors share it.
    arrays: HashMap<Slice, (String, Result<Range<u64>>)>,
    len: u64,
}

impl<'a> Archive<'a> {
    /// `folder` is the prefix of array names in messages.
    pub fn new(pickle: &'a Pickle<'a>, arrays: &Arrays, folder: &str, len: u64) -> Self {
        let keys: HashSet<Slice> = pickle.storages.iter().map(|storage| storage.key).collect();
        let find = |key| {
            let bytes = pickle.text(key);
            let name = shown(&format!("{folder}{}", text(bytes)));
            let missing = || Err("not in the file".to_owned());
            let array = arrays.get(bytes).cloned().unwrap_or_else(missing);
            (key, (name, array))
        };
        Archive {
            pickle,
            arrays: keys.into_iter().map(find).collect(),
            len,
        }
    }

    /// All dictionaries that are weight sets.
    pub fn sets(&self) -> Result<Vec<Set>> {
        let top = match self.pickle.top {
            Value::Dict(top) => top,
            Value::Tensor(_) => return Err("holds a single tensor, expected a state dict".into()),
            _ => return Err("holds something else than a dictionary of tensors".into()),
        };
        let mut found = Vec::new();
        let mut n_left = MAX_DICTS;
        self.find(top, String::new(), 0, &mut found, &mut n_left);
        // Counters and metrics of a training run are tensors too, so keep only SiTs or else the largest dictionary.
        if found.iter().any(|dict| dict.is_sit) {
            found.retain(|dict| dict.is_sit);
        } else if let Some(most) = found.iter().map(|dict| dict.n_tensors).max() {
            let first = found.iter().position(|dict| dict.n_tensors == most);
            found = first
                .map(|at| vec![found.swap_remove(at)])
                .unwrap_or_default();
        }
        if found.is_empty() {
            let has = |wanted: &[u8]| self.items(top).any(|(key, _)| key == wanted);
            if has(b"state") && has(b"param_groups") {
                return Err(
                    "is the state of an optimizer, without the weights that it trains".into(),
                );
            }
            let keys = self.items(top).map(|(key, _)| shown(&text(key))).take(5);
            let keys = keys.collect::<Vec<_>>().join(", ");
            return Err(format!(
                "holds no tensors{}; expected a state dict, or one under `ema`, `model` or `state_dict`",
                if keys.is_empty() {
                    keys
                } else {
                    format!(" but {keys}")
                }
            ));
        }
        if found.len() > MAX_SETS {
            return Err(format!(
                "holds {} sets of weights, expected at most {MAX_SETS}",
                found.len()
            ));
        }
        let set = |dict: Found| {
            Ok(Set {
                tensors: self.tensors(dict.dict)?,
                place: dict.path,
                ..Set::default()
            })
        };
        found.into_iter().map(set).collect()
    }

    /// The dictionaries that contain tensors, outermost first.
    fn find(
        &self,
        dict: u32,
        path: String,
        depth: usize,
        found: &mut Vec<Found>,
        n_left: &mut usize,
    ) {
        let (mut n_tensors, mut is_sit) = (0, false);
        for (key, value) in self.items(dict) {
            if matches!(value, Value::Tensor(_)) {
                n_tensors += 1;
                is_sit |= LANDMARKS
                    .iter()
                    .any(|landmark| key.ends_with(landmark.as_bytes()));
            }
        }
        if n_tensors > 0 {
            let path = path.clone();
            found.push(Found {
                dict,
                path,
                n_tensors,
                is_sit,
            });
        }
        if depth == MAX_DEPTH {
            return;
        }
        for (key, value) in self.items(dict) {
            if let Value::Dict(inner) = value
                && *n_left > 0
            {
                *n_left -= 1;
                let key = shown(&text(key));
                let path = match &path[..] {
                    "" => key,
                    outer => format!("{outer}.{key}"),
                };
                self.find(inner, path, depth + 1, found, n_left);
            }
        }
    }

    /// The items of a dictionary with string keys.
    fn items(&self, dict: u32) -> impl Iterator<Item = (&'a [u8], Value)> {
        let pickle = self.pickle;
        pickle.items(dict).filter_map(|item| match item {
            (Value::Text(key), value) => Some((pickle.text(key), value)),
            _ => None,
        })
    }

    /// The tensors among the items of a dictionary; other values, such as a step count, are skipped.
    fn tensors(&self, dict: u32) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        // The last item with a key wins. Memoized strings are the same bytes of the pickle, so they are not compared twice.
        let mut seen = HashSet::new();
        let items: Vec<_> = self.pickle.items(dict).collect();
        let mut n_bytes = 0_u64;
        for &(key, value) in items.iter().rev() {
            let (Value::Text(key), Value::Tensor(view)) = (key, value) else {
                continue;
            };
            if !seen.insert(key) {
                continue;
            }
            let name = text(self.pickle.text(key));
            if tensors.contains_key(&name) {
                continue;
            }
            let entry = self.entry(&self.pickle.views[view as usize]);
            if entry.place.is_ok() {
                n_bytes = n_bytes.saturating_add(entry.n_bytes().unwrap_or(u64::MAX));
            }
            tensors.insert(name, entry);
            if tensors.len() > MAX_TENSORS {
                return Err(format!("has more than {MAX_TENSORS} tensors"));
            }
        }
        // Tensors may share an array and repeat its values, which could exhaust memory.
        if n_bytes > self.len.saturating_mul(16).max(1 << 20) {
            return Err(format!(
                "has tensors of {n_bytes} bytes in a file of {}: they repeat the same values",
                self.len
            ));
        }
        Ok(tensors)
    }

    fn entry(&self, view: &View) -> Entry {
        let sizes = self.pickle.sizes(view);
        let wide = |&n: &u64| usize::try_from(n).unwrap_or(usize::MAX);
        Entry {
            shape: Shape::from(sizes.iter().map(wide).collect::<Vec<_>>()),
            dtype: self.pickle.storages[view.storage as usize].dtype,
            part: 0,
            place: self.place(view, &sizes),
        }
    }

    /// Location of a tensor in its array.
    fn place(&self, view: &View, sizes: &[u64]) -> Result<Place> {
        let storage = &self.pickle.storages[view.storage as usize];
        let strides = self.pickle.strides(view);
        let too_large = || format!("has the sizes {sizes:?}, too many");
        let mut numel = 1_u64;
        let mut contiguous = true;
        let mut last = Some(view.offset);
        for (&size, &stride) in sizes.iter().zip(&strides).rev() {
            contiguous &= size <= 1 || stride == numel;
            numel = numel.checked_mul(size).ok_or_else(too_large)?;
            let steps = size.saturating_sub(1).checked_mul(stride);
            last = last.and_then(|last| last.checked_add(steps?));
        }
        let end = match numel {
            0 => Some(view.offset),
            _ => last.and_then(|last| last.checked_add(1)),
        };
        let end = end.ok_or_else(too_large)?;
        if end > storage.numel {
            return Err(format!(
                "ends at element {end} of an array of {}",
                storage.numel
            ));
        }
        let (name, array) = &self.arrays[&storage.key];
        let array = array
            .as_ref()
            .map_err(|why| format!("lies in {name}, which is {why}"))?;
        let bytes = storage.dtype.bitsize() as u64 / 8;
        let has = array.end - array.start;
        if storage.numel.checked_mul(bytes) != Some(has) {
            return Err(format!(
                "lies in {name} of {has} bytes, expected {} values of {bytes}",
                storage.numel
            ));
        }
        Ok(Place::Array {
            start: array.start + view.offset * bytes,
            strides: (!contiguous && numel > 0).then_some(strides),
        })
    }
}

/// A dictionary that contains tensors.
struct Found {
    dict: u32,
    path: String,
    n_tensors: usize,
    is_sit: bool,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
