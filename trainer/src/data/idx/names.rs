//! The names of IDX files: `train-images-idx3-ubyte`, `emnist-letters-test-labels-idx1-ubyte.gz`, `qmnist-train-labels-idx2-int.gz`.

use sit_engine::text::shown;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::data::{DataError, Split};

/// The IDX files of one split of one data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The part of the file names before `train`, such as `emnist-letters-`; often empty.
    pub set: String,
    /// The images.
    pub images: PathBuf,
    /// The labels; if they are missing, the path does not exist.
    pub labels: PathBuf,
}

/// The IDX files of `split` at `path`: a folder, or one of its files if it has several data sets. `None` without images.
///
/// # Errors
/// A folder that cannot be read, or one that has several data sets.
pub fn find(path: &Path, split: Split) -> Result<Option<Found>, DataError> {
    let metadata = fs::metadata(path).map_err(|source| DataError::io(path, source))?;
    let (folder, set) = match metadata.is_dir() {
        true => (path, None),
        false => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(name) = Name::parse(&name) else {
                return Err(DataError::content(path, "a file", EXPECTED));
            };
            (folder_of(path), Some(name.set))
        }
    };
    let mut files: BTreeMap<(String, bool), BTreeSet<(u8, String)>> = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(|source| DataError::io(folder, source))? {
        let entry = entry.map_err(|source| DataError::io(folder, source))?;
        // A name that is not UTF-8 is not that of an IDX file.
        let Ok(file) = entry.file_name().into_string() else {
            continue;
        };
        if let Some(name) = Name::parse(&file).filter(|name| name.split == split)
            && entry.path().is_file()
        {
            let key = (name.set, name.is_labels);
            files.entry(key).or_default().insert((name.rank, file));
        }
    }
    let first = |set: &str, is_labels: bool| {
        let (_, file) = files.get(&(set.to_owned(), is_labels))?.first()?;
        Some(folder.join(file))
    };
    let sets: Vec<&String> = files
        .keys()
        .filter(|(_, is_labels)| !is_labels)
        .map(|(set, _)| set)
        .collect();
    let set = match (&set, &sets[..]) {
        (Some(set), _) => set,
        (None, []) => return Ok(None),
        (None, [set]) => *set,
        // Prefer the names without a prefix, which all programs know.
        (None, [plain, ..]) if plain.is_empty() => *plain,
        (None, several) => {
            let names: Vec<&str> = several
                .iter()
                .map(|set| set.trim_end_matches(['-', '_', '.']))
                .collect();
            let example = first(several[0], false).unwrap_or_default();
            return Err(DataError::content(
                folder,
                format!("the IDX files of several data sets: {}", names.join(", ")),
                format!(
                    "one of them; data.path may be a file, as in {}",
                    shown(&example)
                ),
            ));
        }
    };
    let missing = |what: &str| folder.join(format!("{set}{}-{what}-ubyte", prefix(split)));
    Ok(first(set, false).map(|images| Found {
        set: set.clone(),
        images,
        labels: first(set, true).unwrap_or_else(|| missing("labels-idx1")),
    }))
}

const EXPECTED: &str = "a folder with IDX files, or one of them by its usual name";

/// As [`find`], but both files must exist.
///
/// # Errors
/// Those of [`find`], or a file that is missing.
pub fn pair(path: &Path, split: Split) -> Result<Found, DataError> {
    let looked_for = |what: &str| {
        let name = format!("{}-{what}-ubyte", prefix(split));
        format!("{name} or {name}.gz, or with a name before it as in emnist-letters-{name}.gz")
    };
    let folder = if path.is_dir() { path } else { folder_of(path) };
    let Some(found) = find(path, split)? else {
        return Err(DataError::content(
            folder,
            "a folder without it",
            looked_for("images-idx3"),
        ));
    };
    if !found.labels.is_file() {
        return Err(DataError::content(
            folder,
            "a folder without it",
            looked_for("labels-idx1"),
        ));
    }
    Ok(found)
}

fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// What the files of a split are called.
pub fn prefix(split: Split) -> &'static str {
    match split {
        Split::Train => "train",
        Split::Test => "t10k",
    }
}

/// What a file's name tells.
struct Name {
    set: String,
    split: Split,
    is_labels: bool,
    /// Of two files with the same role, the lower rank is taken: unpacked before gzipped, and the name that MNIST's author used.
    rank: u8,
}

impl Name {
    fn parse(file: &str) -> Option<Self> {
        let file = file.to_lowercase();
        let (name, is_gz) = match file.strip_suffix(".gz") {
            Some(name) => (name, true),
            None => (&file[..], false),
        };
        let splits = [
            ("train", Split::Train),
            ("t10k", Split::Test),
            ("test", Split::Test),
        ];
        let kinds = [("images", false), ("labels", true)];
        for ((word, split), (what, is_labels)) in
            splits.into_iter().flat_map(|s| kinds.map(|k| (s, k)))
        {
            let words = format!("{word}-{what}");
            let Some((set, kind)) = name.split_once(&words) else {
                continue;
            };
            // Some mirrors write `train-images.idx3-ubyte`.
            let Some(kind) = kind.strip_prefix(['-', '.']) else {
                continue;
            };
            let is_kind = |known: &str| kind.starts_with(known);
            let is_known = match is_labels {
                false => is_kind("idx3"),
                true => is_kind("idx1") || is_kind("idx2"),
            };
            let is_dotted = name[set.len() + words.len()..].starts_with('.');
            // A copy, such as `train-images-idx3-ubyte (1)`, comes last.
            let is_copy = !kind.ends_with("-ubyte") && !kind.ends_with("-int");
            if is_known {
                return Some(Self {
                    set: set.to_owned(),
                    split,
                    is_labels,
                    rank: 4 * u8::from(is_copy) + 2 * u8::from(is_dotted) + u8::from(is_gz),
                });
            }
        }
        None
    }
}
